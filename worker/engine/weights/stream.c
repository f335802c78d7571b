/* Owns PyTorch's older stream: five pickles (magic number, protocol, system, object, storage keys)
 * and then, in the order of the keys, each storage as an 8-byte count and its elements. Also plain
 * pickles, which are the object alone. Layout: PyTorch, torch/serialization.py, _legacy_save. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "worker/engine/weights/checkpoint.h"

enum { STREAM_PROTOCOL = 1001 };

/* 0x1950a86a20f9469cfc6c, little-endian */
static const uint8_t magic[10] = {0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19};

/* The bytes of a stream: its beginning in memory, all `size` of it there or in the file. */
typedef struct stream {
    pm_weights *weights;
    const uint8_t *bytes;
    size_t held; /* of bytes */
    uint64_t size;
    uint64_t at;
} stream;

static pm_status malformed(const stream *s, const char *what) {
    return pm_fail(PM_E_FORMAT, "%s: PyTorch stream: %s", s->weights->path, what);
}

static pm_status next_pickle(stream *s, pm_pickle **out) {
    size_t at = (size_t)s->at;
    pm_status status = pm_pickle_read(s->weights->path, s->bytes + at, s->held - at, out);
    if (!status) s->at += pm_pickle_size(*out);
    return status;
}

static bool is_magic(const pm_pickle *pickle) {
    const pm_pickle_value *value = pm_pickle_root(pickle);
    return value->kind == PM_PICKLE_BIG && value->as.text.size == sizeof magic &&
           !memcmp(value->as.text.bytes, magic, sizeof magic);
}

/* Protocol number and system description, behind the magic number. */
static pm_status read_preamble(stream *s) {
    pm_pickle *pickle = NULL;
    pm_status status = next_pickle(s, &pickle);
    if (status) return status;
    const pm_pickle_value *value = pm_pickle_root(pickle);
    if (value->kind != PM_PICKLE_INT || value->as.integer != STREAM_PROTOCOL)
        status = pm_fail(PM_E_UNSUPPORTED, "%s: PyTorch stream of another protocol than %d",
                         s->weights->path, STREAM_PROTOCOL);
    pm_pickle_free(&pickle);
    if (!status) status = next_pickle(s, &pickle);
    if (status) return status;
    value = pm_pickle_get(pm_pickle_root(pickle), "little_endian");
    if (!value || value->kind != PM_PICKLE_BOOL || !value->as.boolean)
        status = pm_fail(PM_E_UNSUPPORTED, "%s: saved on a machine that is not little-endian",
                         s->weights->path);
    pm_pickle_free(&pickle);
    return status;
}

static pm_status read_count(stream *s, uint64_t *out) {
    uint8_t bytes[8];
    if (s->size - s->at < sizeof bytes) return malformed(s, "cut short before a storage");
    if (s->held == s->size) {
        memcpy(bytes, s->bytes + s->at, sizeof bytes);
    } else {
        pm_status status = pm_weights_pread(s->weights, s->at, bytes, sizeof bytes);
        if (status) return status;
    }
    s->at += sizeof bytes;
    *out = 0;
    for (size_t i = 0; i < sizeof bytes; i++) *out |= (uint64_t)bytes[i] << (8 * i);
    return PM_OK;
}

static pm_status place_storage(stream *s, bool in_memory, pm_checkpoint_storage *storage) {
    uint64_t count = 0;
    pm_status status = read_count(s, &count);
    if (status) return status;
    if (count != storage->count)
        return pm_fail(PM_E_FORMAT,
                       "%s: PyTorch stream: a storage has %" PRIu64 " elements, %" PRIu64
                       " were declared",
                       s->weights->path, count, storage->count);
    if (storage->size_bytes > s->size - s->at)
        return malformed(s, "cut short, or a storage size beyond the end");
    storage->place =
        (pm_weights_storage){.place = in_memory ? PM_WEIGHTS_IN_MEMORY : PM_WEIGHTS_IN_FILE,
                             .offset = s->at,
                             .memory = in_memory ? s->bytes + s->at : NULL,
                             .seekable = true,
                             .size_bytes = storage->size_bytes};
    storage->placed = true;
    s->at += storage->size_bytes;
    return PM_OK;
}

/* The list of keys, then the storages in that order, up to the end of the stream. */
static pm_status place_storages(stream *s, bool in_memory, pm_checkpoint *checkpoint) {
    pm_pickle *keys = NULL;
    pm_status status = next_pickle(s, &keys);
    if (status) return status;
    const pm_pickle_value *list = pm_pickle_root(keys);
    if (list->kind != PM_PICKLE_LIST) status = malformed(s, "no list of storages");
    for (size_t i = 0; !status && i < list->as.list.count; i++) {
        const pm_pickle_value *key = list->as.list.items[i];
        pm_checkpoint_storage *storage =
            key->kind == PM_PICKLE_STRING
                ? pm_checkpoint_find(checkpoint, key->as.text.bytes, key->as.text.size)
                : NULL;
        if (!storage)
            status = malformed(s, "a storage that no tensor names");
        else if (storage->placed)
            status = malformed(s, "a storage is there twice");
        else
            status = place_storage(s, in_memory, storage);
    }
    if (!status && s->at != s->size) status = malformed(s, "bytes behind the last storage");
    pm_pickle_free(&keys);
    return status;
}

pm_status pm_stream_read_storage(pm_weights *weights, const uint8_t *bytes, size_t size,
                                 pm_checkpoint_storage *out) {
    stream s = {.weights = weights, .bytes = bytes, .held = size, .size = size};
    pm_pickle *pickle = NULL;
    pm_checkpoint checkpoint = {0};
    pm_status status = next_pickle(&s, &pickle);
    if (status) return status;
    if (!is_magic(pickle)) status = malformed(&s, "no magic number");
    pm_pickle_free(&pickle);
    if (!status) status = read_preamble(&s);
    if (!status) status = next_pickle(&s, &pickle);
    if (status) return status;
    const pm_pickle_value *root = pm_pickle_root(pickle);
    status = pm_checkpoint_begin(&checkpoint, weights, pickle);
    if (!status && root->kind != PM_PICKLE_PERSISTENT)
        status = malformed(&s, "something other than a storage inside the pickle");
    if (!status && root->as.id->as.list.count == 6 &&
        root->as.id->as.list.items[5]->kind != PM_PICKLE_NONE)
        status = malformed(&s, "a view inside the pickle");
    if (!status) status = place_storages(&s, true, &checkpoint);
    if (!status) {
        const pm_checkpoint_storage *storage = pm_checkpoint_storage_of(&checkpoint, root);
        if (storage && storage->placed)
            *out = *storage;
        else
            status = malformed(&s, "a storage is missing");
    }
    pm_checkpoint_fini(&checkpoint);
    return status;
}

/* How much of the file to hold. A stream's pickles are at its beginning and the storages behind
 * them; a plain pickle has its storages inside, and is held whole. */
static pm_status choose_held(stream *s) {
    enum { HEAD = 4 }; /* PROTO 2, LONG1 of the magic number's size */
    uint8_t head[HEAD + sizeof magic] = {0};
    size_t size = s->size < sizeof head ? (size_t)s->size : sizeof head;
    pm_status status = pm_weights_pread(s->weights, 0, head, size);
    if (status) return status;
    const bool plain = memcmp(head + HEAD, magic, sizeof magic) != 0;
    if (plain && s->size > PM_WEIGHTS_PLAIN_MAX)
        return pm_fail(PM_E_LIMIT, "%s: a pickle of %" PRIu64 " bytes, the limit is %" PRIu64,
                       s->weights->path, s->size, PM_WEIGHTS_PLAIN_MAX);
    const uint64_t most = plain ? PM_WEIGHTS_PLAIN_MAX : PM_WEIGHTS_PICKLE_MAX;
    s->held = (size_t)(s->size < most ? s->size : most);
    return PM_OK;
}

/* The beginning of the file, kept with the weights. */
static pm_status hold_beginning(stream *s) {
    pm_weights *weights = s->weights;
    s->size = weights->size_bytes;
    pm_status status = choose_held(s);
    if (status) return status;
    uint8_t *bytes = malloc(s->held);
    if (!bytes) return pm_fail(PM_E_MEMORY, "%s: no memory to read the pickle", weights->path);
    status = pm_weights_pread(weights, 0, bytes, s->held);
    if (status) {
        free(bytes);
        return status;
    }
    s->bytes = bytes;
    return pm_weights_keep(weights, bytes);
}

static pm_status load_plain(stream *s, pm_checkpoint *checkpoint) {
    s->weights->format = "pickle";
    if (s->at != s->size) return malformed(s, "bytes behind the pickle");
    if (pm_pickle_persistent_count(checkpoint->pickle))
        return malformed(s, "a pickle that names storages, but not a PyTorch file");
    return PM_OK;
}

pm_status pm_weights_load_pickle(pm_weights *weights) {
    stream s = {.weights = weights};
    pm_pickle *pickle = NULL;
    pm_checkpoint checkpoint = {0};
    pm_status status = hold_beginning(&s);
    if (!status) status = next_pickle(&s, &pickle);
    if (status) return status;
    bool plain = !is_magic(pickle);
    if (!plain) {
        weights->format = "pytorch-stream";
        pm_pickle_free(&pickle);
        status = read_preamble(&s);
        if (!status) status = next_pickle(&s, &pickle);
        if (status) return status;
    }
    status = pm_checkpoint_begin(&checkpoint, weights, pickle);
    if (!status)
        status = plain ? load_plain(&s, &checkpoint) : place_storages(&s, false, &checkpoint);
    if (!status) status = pm_checkpoint_fill(&checkpoint);
    pm_checkpoint_fini(&checkpoint);
    return status;
}
