/* A restricted pickle machine: bytes in, a tree of plain values out.
 *
 * It imports nothing and calls nothing. Names are matched against the fixed list below and become
 * enum values; "calling" one only makes a PM_PICKLE_CALL value that holds the name and the
 * arguments, for the reader to interpret. Every other name, every other opcode, and anything past
 * the limits is refused with one line that says which and where.
 *
 * Values borrow from the bytes given to pm_pickle_read: keep those longer than the pickle.
 * Lists and dictionaries may contain themselves (memo): do not walk a tree recursively. */
#ifndef PM_ENGINE_PICKLE_H
#define PM_ENGINE_PICKLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/status.h"

/* Limits; beyond them PM_E_LIMIT. */
#define PM_PICKLE_VALUES_MAX ((size_t)4 << 20)
#define PM_PICKLE_ITEMS_MAX ((size_t)8 << 20) /* in all tuples, lists and dictionaries */
#define PM_PICKLE_STACK_MAX ((size_t)1 << 20)
#define PM_PICKLE_MEMO_MAX ((size_t)2 << 20)
enum { PM_PICKLE_DEPTH_MAX = 256 }; /* open marks */

typedef enum pm_pickle_global {
    PM_GLOBAL_ORDERED_DICT,      /* collections.OrderedDict */
    PM_GLOBAL_REBUILD_TENSOR,    /* torch._utils._rebuild_tensor */
    PM_GLOBAL_REBUILD_TENSOR_V2, /* torch._utils._rebuild_tensor_v2 */
    PM_GLOBAL_REBUILD_PARAMETER, /* torch._utils._rebuild_parameter */
    PM_GLOBAL_LOAD_FROM_BYTES,   /* torch.storage._load_from_bytes */
    PM_GLOBAL_ENCODE,            /* _codecs.encode: bytes in protocol 2 */
    PM_GLOBAL_FLOAT_STORAGE,     /* torch.FloatStorage; the storages from here on */
    PM_GLOBAL_HALF_STORAGE,
    PM_GLOBAL_BFLOAT16_STORAGE,
    PM_GLOBAL_LONG_STORAGE,
    PM_GLOBAL_DOUBLE_STORAGE,
    PM_GLOBAL_INT_STORAGE,
    PM_GLOBAL_SHORT_STORAGE,
    PM_GLOBAL_CHAR_STORAGE,
    PM_GLOBAL_BYTE_STORAGE,
    PM_GLOBAL_BOOL_STORAGE,
    PM_GLOBAL_COUNT
} pm_pickle_global;

typedef enum pm_pickle_kind {
    PM_PICKLE_NONE,
    PM_PICKLE_BOOL,
    PM_PICKLE_INT,
    PM_PICKLE_BIG, /* an integer beyond 64 bits: its little-endian two's complement, as text */
    PM_PICKLE_FLOAT,
    PM_PICKLE_STRING, /* text, UTF-8 as the file has it: not checked */
    PM_PICKLE_BYTES,
    PM_PICKLE_TUPLE,
    PM_PICKLE_LIST,
    PM_PICKLE_DICT, /* items: key, value, key, value ...; a key may come twice */
    PM_PICKLE_GLOBAL,
    PM_PICKLE_CALL,
    PM_PICKLE_PERSISTENT
} pm_pickle_kind;

typedef struct pm_pickle_value pm_pickle_value;
struct pm_pickle_value {
    pm_pickle_kind kind;
    size_t note; /* the reader's own, SIZE_MAX at first */
    union {
        bool boolean;
        int64_t integer;
        double real;
        struct {
            const uint8_t *bytes;
            size_t size;
        } text;
        struct {
            pm_pickle_value **items;
            size_t count, capacity;
        } list;
        pm_pickle_global global;
        struct {
            pm_pickle_global global;
            pm_pickle_value *arguments; /* a tuple */
        } call;
        pm_pickle_value *id; /* of a persistent object */
    } as;
};

typedef struct pm_pickle pm_pickle;

/* One pickle, from its PROTO (2 to 5) to its STOP, at the start of bytes. `where` begins every
 * error line. PM_E_FORMAT, PM_E_UNSUPPORTED (a name or opcode), PM_E_LIMIT, PM_E_MEMORY. */
pm_status pm_pickle_read(const char *where, const uint8_t *bytes, size_t size, pm_pickle **out);
void pm_pickle_free(pm_pickle **pickle);

pm_pickle_value *pm_pickle_root(const pm_pickle *pickle);
size_t pm_pickle_size(const pm_pickle *pickle); /* bytes read, STOP included */
/* Every persistent object that the pickle names, in order of appearance. */
size_t pm_pickle_persistent_count(const pm_pickle *pickle);
pm_pickle_value *pm_pickle_persistent(const pm_pickle *pickle, size_t index);

/* The name, "torch.FloatStorage". */
const char *pm_pickle_global_name(pm_pickle_global global);

bool pm_pickle_text_is(const pm_pickle_value *value, const char *text); /* a string equal to text */
/* Value of the first such key; NULL if there is none or `dict` is no dictionary. */
pm_pickle_value *pm_pickle_get(const pm_pickle_value *dict, const char *key);

#endif
