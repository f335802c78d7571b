/* PyTorch checkpoints in two steps that every container shares: which storages a pickle names
 * (pm_checkpoint_begin), and its tensors (pm_checkpoint_fill). Between them the container says
 * where each storage lies, at once (stream.c) or when asked (archive.c). */
#ifndef PM_ENGINE_CHECKPOINT_H
#define PM_ENGINE_CHECKPOINT_H

#include "worker/engine/weights/pickle.h"
#include "worker/engine/weights/weights.h"

typedef struct pm_checkpoint pm_checkpoint;

/* A storage that the pickle names. */
typedef struct pm_checkpoint_storage {
    const uint8_t *key; /* borrowed from the pickle's bytes */
    size_t key_size;
    pm_pickle_global type; /* PM_GLOBAL_FLOAT_STORAGE and on */
    uint64_t count;        /* elements */
    uint64_t size_bytes;
    bool placed; /* `place` is known; its size_bytes equals ours */
    pm_weights_storage place;
    size_t index; /* in the weights; SIZE_MAX: no tensor of use lies in it so far */
} pm_checkpoint_storage;

struct pm_checkpoint {
    pm_weights *weights;
    pm_pickle *pickle;
    pm_checkpoint_storage *storages; /* sorted by key */
    size_t storage_count;
    /* Sets place, with size_bytes as declared; NULL: all are placed before fill. */
    pm_status (*locate)(void *user, pm_checkpoint_storage *storage);
    void *user;
    uint64_t nested_bytes; /* of streams inside the pickle, so far */
};

/* Takes the pickle over; collects what it names. */
pm_status pm_checkpoint_begin(pm_checkpoint *checkpoint, pm_weights *weights, pm_pickle *pickle);
/* Adds every tensor of the state dict, or of the list, to the weights. */
pm_status pm_checkpoint_fill(pm_checkpoint *checkpoint);
void pm_checkpoint_fini(pm_checkpoint *checkpoint);

/* NULL if the pickle names no storage of that key. */
pm_checkpoint_storage *pm_checkpoint_find(const pm_checkpoint *checkpoint, const uint8_t *key,
                                          size_t key_size);
/* The storage of a persistent object of this checkpoint. */
pm_checkpoint_storage *pm_checkpoint_storage_of(const pm_checkpoint *checkpoint,
                                                const pm_pickle_value *persistent);

/* stream.c: a stream in memory whose object is one bare storage, as torch.storage._load_from_bytes
 * reads it. The bytes must outlive the weights. */
pm_status pm_stream_read_storage(pm_weights *weights, const uint8_t *bytes, size_t size,
                                 pm_checkpoint_storage *out);

#endif
