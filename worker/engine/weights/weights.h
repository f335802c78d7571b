/* What the readers of weights files share: one table of tensors over one table of storages.
 *
 * A reader (safetensors.c, checkpoint.c) fills storages and entries by pm_weights_add_*; table.c
 * checks them; weights.c opens the file, picks the reader by content and reads elements.
 * Data stays in the file until pm_weights_read asks for it. */
#ifndef PM_ENGINE_WEIGHTS_H
#define PM_ENGINE_WEIGHTS_H

#include <stdbool.h>
#include <stdint.h>
#include <zip.h>

#include "parchgrad.h"

/* Hard limits. Beyond them a file is refused with PM_E_LIMIT before memory is taken for it. */
#define PM_WEIGHTS_FILE_MAX ((uint64_t)8 << 30) /* bytes */
#define PM_WEIGHTS_HEADER_MAX                                                                      \
    ((uint64_t)100000000)                          /* bytes, safetensors header, as in its spec    \
                                                    */
#define PM_WEIGHTS_PICKLE_MAX ((uint64_t)64 << 20) /* bytes of pickle beside the storages */
#define PM_WEIGHTS_PLAIN_MAX ((uint64_t)1 << 30)   /* bytes of a pickle that holds its storages */
#define PM_WEIGHTS_NESTED_MAX ((uint64_t)1 << 30)  /* bytes of streams inside a pickle, in all */
#define PM_WEIGHTS_TENSORS_MAX ((size_t)65536)
#define PM_WEIGHTS_ELEMENTS_MAX ((size_t)1 << 31) /* of all tensors together */
#define PM_WEIGHTS_READ_MAX                                                                        \
    ((uint64_t)16 << 30)            /* bytes to unpack in order to read every tensor               \
                                     */
enum { PM_WEIGHTS_NAME_MAX = 512 }; /* bytes of a tensor name */

/* Where the bytes of a storage lie. */
typedef enum pm_weights_place {
    PM_WEIGHTS_IN_FILE,   /* `offset` in the file */
    PM_WEIGHTS_IN_MEMORY, /* `memory`, owned by the weights (a stream inside a pickle) */
    PM_WEIGHTS_IN_ZIP     /* entry `zip_index` */
} pm_weights_place;

typedef struct pm_weights_storage {
    pm_weights_place place;
    uint64_t offset;
    const uint8_t *memory;
    zip_uint64_t zip_index;
    bool seekable; /* false: what lies before the wanted bytes has to be unpacked too */
    uint64_t size_bytes;
} pm_weights_storage;

typedef struct pm_weights_entry {
    pm_tensor_info info; /* info.name points to `name` */
    char *name;
    size_t storage;             /* index */
    size_t first;               /* element of the storage at index 0 */
    size_t stride[PM_RANK_MAX]; /* in elements */
    size_t extent;              /* elements from first to the last one used, inclusive; 0: empty */
} pm_weights_entry;

struct pm_weights {
    char *path;
    const char *format;
    int fd;
    uint64_t size_bytes;
    zip_t *zip;
    pm_weights_storage *storages;
    size_t storage_count, storage_capacity;
    pm_weights_entry *entries;
    size_t count, capacity;
    const pm_weights_entry **by_name; /* sorted */
    void **blocks;                    /* memory that storages point into */
    size_t block_count;
    size_t elements;     /* of all tensors */
    uint64_t read_bytes; /* to be unpacked in order to read all tensors */
};

/* ---- used by the readers ---- */

/* Exactly `size` bytes at `offset`, or PM_E_IO (PM_E_FORMAT where the file has become shorter). */
pm_status pm_weights_pread(const pm_weights *weights, uint64_t offset, void *out, size_t size);

/* Keep `block` (from malloc) until the weights are freed; on failure it is freed at once. */
pm_status pm_weights_keep(pm_weights *weights, void *block);

pm_status pm_weights_add_storage(pm_weights *weights, const pm_weights_storage *storage,
                                 size_t *out_index);

/* A tensor as a file declares it: nothing in it has been checked yet. */
typedef struct pm_weights_claim {
    const char *name; /* name_size bytes, no NUL needed */
    size_t name_size;
    pm_dtype dtype;
    size_t rank;
    const uint64_t *shape;  /* [rank] */
    const uint64_t *stride; /* [rank] in elements, or NULL: row-major */
    size_t storage;
    uint64_t first; /* element */
    uint64_t limit; /* elements of the storage that are its to use; UINT64_MAX: all */
} pm_weights_claim;

/* Checks name, rank, overflow, the limits, and that every element lies inside the storage. */
pm_status pm_weights_add(pm_weights *weights, const pm_weights_claim *claim);

/* After the reader: takes `module.` off, refuses a name that is there twice, sorts. */
pm_status pm_weights_finish(pm_weights *weights);

/* PM_E_FORMAT unless the name is short UTF-8 without control characters. */
pm_status pm_weights_check_name(const pm_weights *weights, const char *name, size_t size);

/* Text of a file made fit for an error line: printable ASCII, at most `capacity` - 1 bytes. */
void pm_weights_clean(const void *text, size_t size, char *out, size_t capacity);

size_t pm_dtype_bytes(pm_dtype dtype);

/* `count` little-endian elements at `bytes` to float: F32, F16, BF16 exactly, I64 rounded to
 * nearest where a float cannot hold it. */
void pm_dtype_convert(pm_dtype dtype, const uint8_t *bytes, size_t count, float *out);

/* ---- the readers: fill an opened, empty pm_weights ---- */

pm_status pm_weights_load_safetensors(pm_weights *weights);
pm_status pm_weights_load_zip(pm_weights *weights);
pm_status pm_weights_load_pickle(pm_weights *weights); /* the older stream, or a plain pickle */

#endif
