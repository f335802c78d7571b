/* Owns what a PyTorch checkpoint means once it is a tree of values: storages, tensors, parameters,
 * state dicts. Knows neither bytes of pickles nor containers. Layouts of the argument tuples:
 * PyTorch, torch/_utils.py (_rebuild_*) and torch/serialization.py (persistent_id). */
#include "worker/engine/weights/checkpoint.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static pm_status malformed(const pm_checkpoint *c, const char *what) {
    return pm_fail(PM_E_FORMAT, "%s: %s", c->weights->path, what);
}

/* ---- storages ---- */

static size_t storage_element_bytes(pm_pickle_global type) {
    switch (type) {
    case PM_GLOBAL_DOUBLE_STORAGE:
    case PM_GLOBAL_LONG_STORAGE: return 8;
    case PM_GLOBAL_FLOAT_STORAGE:
    case PM_GLOBAL_INT_STORAGE: return 4;
    case PM_GLOBAL_HALF_STORAGE:
    case PM_GLOBAL_BFLOAT16_STORAGE:
    case PM_GLOBAL_SHORT_STORAGE: return 2;
    case PM_GLOBAL_CHAR_STORAGE:
    case PM_GLOBAL_BYTE_STORAGE:
    case PM_GLOBAL_BOOL_STORAGE: return 1;
    case PM_GLOBAL_ORDERED_DICT:
    case PM_GLOBAL_REBUILD_TENSOR:
    case PM_GLOBAL_REBUILD_TENSOR_V2:
    case PM_GLOBAL_REBUILD_PARAMETER:
    case PM_GLOBAL_LOAD_FROM_BYTES:
    case PM_GLOBAL_ENCODE:
    case PM_GLOBAL_COUNT: break;
    }
    return 0;
}

static bool size_of(const pm_pickle_value *value, uint64_t *out) {
    if (value->kind != PM_PICKLE_INT || value->as.integer < 0) return false;
    *out = (uint64_t)value->as.integer;
    return true;
}

static bool is_tuple(const pm_pickle_value *value, size_t least, size_t most) {
    return value->kind == PM_PICKLE_TUPLE && value->as.list.count >= least &&
           value->as.list.count <= most;
}

/* ('storage', TYPE, key, location, count[, view]) */
static pm_status read_persistent(const pm_checkpoint *c, const pm_pickle_value *persistent,
                                 pm_checkpoint_storage *out) {
    const pm_pickle_value *id = persistent->as.id;
    if (!is_tuple(id, 5, 6) || !pm_pickle_text_is(id->as.list.items[0], "storage"))
        return malformed(c, "the pickle names a persistent object that is no tensor storage");
    const pm_pickle_value *type = id->as.list.items[1], *key = id->as.list.items[2];
    if (type->kind != PM_PICKLE_GLOBAL || !storage_element_bytes(type->as.global) ||
        key->kind != PM_PICKLE_STRING || !size_of(id->as.list.items[4], &out->count))
        return malformed(c, "a storage without type, key or size");
    out->key = key->as.text.bytes;
    out->key_size = key->as.text.size;
    out->type = type->as.global;
    out->index = SIZE_MAX;
    if (out->count > PM_WEIGHTS_FILE_MAX)
        return pm_fail(PM_E_LIMIT, "%s: a storage of %" PRIu64 " elements", c->weights->path,
                       out->count);
    out->size_bytes = out->count * storage_element_bytes(out->type);
    return PM_OK;
}

static int compare_keys(const uint8_t *a, size_t a_size, const uint8_t *b, size_t b_size) {
    if (a_size != b_size) return a_size < b_size ? -1 : 1;
    return a_size ? memcmp(a, b, a_size) : 0;
}

static int compare_storages(const void *left, const void *right) {
    const pm_checkpoint_storage *a = left, *b = right;
    return compare_keys(a->key, a->key_size, b->key, b->key_size);
}

/* One of each key; what is named twice must be named alike. */
static pm_status unify_storages(pm_checkpoint *c) {
    size_t kept = 0;
    qsort(c->storages, c->storage_count, sizeof *c->storages, compare_storages);
    for (size_t i = 0; i < c->storage_count; i++) {
        pm_checkpoint_storage *last = kept ? &c->storages[kept - 1] : NULL;
        if (!last || compare_storages(last, &c->storages[i])) {
            c->storages[kept++] = c->storages[i];
        } else if (last->type != c->storages[i].type || last->count != c->storages[i].count) {
            return malformed(c, "one storage is named with two types or sizes");
        }
    }
    c->storage_count = kept;
    return PM_OK;
}

pm_status pm_checkpoint_begin(pm_checkpoint *checkpoint, pm_weights *weights, pm_pickle *pickle) {
    *checkpoint = (pm_checkpoint){.weights = weights, .pickle = pickle};
    size_t count = pm_pickle_persistent_count(pickle);
    checkpoint->storages = calloc(count + 1, sizeof *checkpoint->storages);
    if (!checkpoint->storages)
        return pm_fail(PM_E_MEMORY, "%s: no memory for the table of storages", weights->path);
    for (size_t i = 0; i < count; i++) {
        pm_status status =
            read_persistent(checkpoint, pm_pickle_persistent(pickle, i), &checkpoint->storages[i]);
        if (status) return status;
    }
    checkpoint->storage_count = count;
    return unify_storages(checkpoint);
}

void pm_checkpoint_fini(pm_checkpoint *checkpoint) {
    free(checkpoint->storages);
    pm_pickle_free(&checkpoint->pickle);
    *checkpoint = (pm_checkpoint){0};
}

pm_checkpoint_storage *pm_checkpoint_find(const pm_checkpoint *checkpoint, const uint8_t *key,
                                          size_t key_size) {
    size_t low = 0, high = checkpoint->storage_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        pm_checkpoint_storage *storage = &checkpoint->storages[middle];
        int order = compare_keys(key, key_size, storage->key, storage->key_size);
        if (order == 0) return storage;
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

pm_checkpoint_storage *pm_checkpoint_storage_of(const pm_checkpoint *checkpoint,
                                                const pm_pickle_value *persistent) {
    const pm_pickle_value *key = persistent->as.id->as.list.items[2];
    return pm_checkpoint_find(checkpoint, key->as.text.bytes, key->as.text.size);
}

/* ---- storages inside the pickle ---- */

/* _codecs.encode(text, 'latin1'): UTF-8 whose code points are bytes. */
static pm_status decode_latin1(pm_checkpoint *c, const pm_pickle_value *arguments,
                               const uint8_t **out, size_t *out_size) {
    if (!is_tuple(arguments, 2, 2) || arguments->as.list.items[0]->kind != PM_PICKLE_STRING ||
        !pm_pickle_text_is(arguments->as.list.items[1], "latin1"))
        return malformed(c, "_codecs.encode of something other than latin1 text");
    const uint8_t *text = arguments->as.list.items[0]->as.text.bytes;
    size_t size = arguments->as.list.items[0]->as.text.size, used = 0;
    uint8_t *bytes = malloc(size + 1);
    if (!bytes) return pm_fail(PM_E_MEMORY, "%s: no memory for %zu bytes", c->weights->path, size);
    for (size_t i = 0; i < size; i++) {
        uint8_t b = text[i];
        if (b >= 0x80) {
            if ((b != 0xc2 && b != 0xc3) || i + 1 >= size || (text[i + 1] & 0xc0) != 0x80) {
                free(bytes);
                return malformed(c, "_codecs.encode of something other than latin1 text");
            }
            b = (uint8_t)((b & 3) << 6 | (text[++i] & 0x3f));
        }
        bytes[used++] = b;
    }
    pm_status status = pm_weights_keep(c->weights, bytes);
    if (status) return status;
    *out = bytes;
    *out_size = used;
    return PM_OK;
}

/* torch.storage._load_from_bytes(bytes) */
static pm_status read_nested(pm_checkpoint *c, const pm_pickle_value *call,
                             pm_checkpoint_storage *out) {
    const pm_pickle_value *arguments = call->as.call.arguments;
    const uint8_t *bytes = NULL;
    size_t size = 0;
    if (!is_tuple(arguments, 1, 1)) return malformed(c, "_load_from_bytes without bytes");
    const pm_pickle_value *value = arguments->as.list.items[0];
    bool encoded = value->kind == PM_PICKLE_CALL && value->as.call.global == PM_GLOBAL_ENCODE;
    if (!encoded && value->kind != PM_PICKLE_BYTES)
        return malformed(c, "_load_from_bytes without bytes");
    size = encoded ? 0 : value->as.text.size;
    if (encoded && is_tuple(value->as.call.arguments, 2, 2) &&
        value->as.call.arguments->as.list.items[0]->kind == PM_PICKLE_STRING)
        size = value->as.call.arguments->as.list.items[0]->as.text.size;
    /* One byte string may be loaded many times over: bound the work, not only the file. */
    c->nested_bytes += size;
    if (c->nested_bytes > PM_WEIGHTS_NESTED_MAX)
        return pm_fail(PM_E_LIMIT, "%s: more than %" PRIu64 " bytes of streams inside the pickle",
                       c->weights->path, PM_WEIGHTS_NESTED_MAX);
    if (encoded) {
        pm_status status = decode_latin1(c, value->as.call.arguments, &bytes, &size);
        if (status) return status;
    } else {
        bytes = value->as.text.bytes;
    }
    return pm_stream_read_storage(c->weights, bytes, size, out);
}

/* ---- tensors ---- */

/* A tensor's storage as the table of the weights knows it. */
typedef struct located {
    pm_pickle_global type;
    size_t index;
    uint64_t view_first, view_count; /* elements: a view of the older stream, else everything */
} located;

static pm_status read_view(const pm_checkpoint *c, const pm_pickle_value *id, located *out) {
    if (id->as.list.count < 6 || id->as.list.items[5]->kind == PM_PICKLE_NONE) return PM_OK;
    const pm_pickle_value *view = id->as.list.items[5]; /* (view key, offset, size) */
    uint64_t first = 0, count = 0;
    if (!is_tuple(view, 3, 3) || !size_of(view->as.list.items[1], &first) ||
        !size_of(view->as.list.items[2], &count) || first > out->view_count ||
        count > out->view_count - first)
        return malformed(c, "a view reaches beyond its storage");
    out->view_first = first;
    out->view_count = count;
    return PM_OK;
}

static pm_status locate_persistent(pm_checkpoint *c, const pm_pickle_value *value, located *out) {
    pm_checkpoint_storage *storage = pm_checkpoint_storage_of(c, value);
    if (!storage) return malformed(c, "a storage that the pickle does not name");
    if (!storage->placed) {
        pm_status status = c->locate ? c->locate(c->user, storage)
                                     : malformed(c, "a storage is missing from the file");
        if (status) return status;
        storage->placed = true;
    }
    if (storage->index == SIZE_MAX) {
        pm_status status = pm_weights_add_storage(c->weights, &storage->place, &storage->index);
        if (status) return status;
    }
    *out = (located){storage->type, storage->index, 0, storage->count};
    return read_view(c, value->as.id, out);
}

static pm_status locate_nested(pm_checkpoint *c, pm_pickle_value *value, located *out) {
    pm_checkpoint_storage storage = {0};
    if (value->note != SIZE_MAX) { /* the same object again: one storage, shared */
        const pm_pickle_value *type = value->as.call.arguments;
        *out = (located){(pm_pickle_global)type->note, value->note, 0, UINT64_MAX};
        return PM_OK;
    }
    pm_status status = read_nested(c, value, &storage);
    if (!status) status = pm_weights_add_storage(c->weights, &storage.place, &storage.index);
    if (status) return status;
    value->note = storage.index;
    value->as.call.arguments->note = (size_t)storage.type;
    *out = (located){storage.type, storage.index, 0, storage.count};
    return PM_OK;
}

static pm_status read_dtype(const pm_checkpoint *c, const char *name, size_t name_size,
                            pm_pickle_global type, pm_dtype *out) {
    if (type == PM_GLOBAL_FLOAT_STORAGE)
        *out = PM_DTYPE_F32;
    else if (type == PM_GLOBAL_HALF_STORAGE)
        *out = PM_DTYPE_F16;
    else if (type == PM_GLOBAL_BFLOAT16_STORAGE)
        *out = PM_DTYPE_BF16;
    else if (type == PM_GLOBAL_LONG_STORAGE)
        *out = PM_DTYPE_I64;
    else
        return pm_fail(PM_E_UNSUPPORTED,
                       "%s: tensor %.*s lies in a %s; F32, F16, BF16 and I64 can be read",
                       c->weights->path, (int)name_size, name, pm_pickle_global_name(type));
    return PM_OK;
}

/* The call that rebuilds the tensor, parameters taken off; NULL if it is something else. */
static pm_pickle_value *tensor_call(pm_pickle_value *value) {
    if (value->kind == PM_PICKLE_CALL && value->as.call.global == PM_GLOBAL_REBUILD_PARAMETER) {
        const pm_pickle_value *arguments = value->as.call.arguments;
        if (!arguments->as.list.count) return NULL;
        value = arguments->as.list.items[0];
    }
    bool rebuilds =
        value->kind == PM_PICKLE_CALL && (value->as.call.global == PM_GLOBAL_REBUILD_TENSOR ||
                                          value->as.call.global == PM_GLOBAL_REBUILD_TENSOR_V2);
    return rebuilds ? value : NULL;
}

/* _rebuild_tensor[_v2](storage, first, shape, stride, ...) */
static pm_status add_tensor(pm_checkpoint *c, const char *name, size_t name_size,
                            const pm_pickle_value *call) {
    const pm_pickle_value *arguments = call->as.call.arguments;
    uint64_t shape[PM_RANK_MAX], stride[PM_RANK_MAX];
    pm_weights_claim claim = {
        .name = name, .name_size = name_size, .shape = shape, .stride = stride};
    located where = {PM_GLOBAL_COUNT, 0, 0, 0};
    pm_status status = pm_weights_check_name(c->weights, name, name_size);
    if (status) return status;
    if (!is_tuple(arguments, 4, 7)) return malformed(c, "a tensor without storage or shape");
    pm_pickle_value **items = arguments->as.list.items, *storage = items[0];
    const pm_pickle_value *sizes = items[2], *strides = items[3];
    if (!size_of(items[1], &claim.first) || !is_tuple(sizes, 0, PM_RANK_MAX) ||
        !is_tuple(strides, sizes->as.list.count, sizes->as.list.count))
        return pm_fail(PM_E_FORMAT, "%s: tensor %.*s has no valid offset, shape or strides",
                       c->weights->path, (int)name_size, name);
    claim.rank = sizes->as.list.count;
    for (size_t i = 0; i < claim.rank; i++)
        if (!size_of(sizes->as.list.items[i], &shape[i]) ||
            !size_of(strides->as.list.items[i], &stride[i]))
            return pm_fail(PM_E_FORMAT, "%s: tensor %.*s has a negative size or stride",
                           c->weights->path, (int)name_size, name);
    if (storage->kind == PM_PICKLE_PERSISTENT)
        status = locate_persistent(c, storage, &where);
    else if (storage->kind == PM_PICKLE_CALL &&
             storage->as.call.global == PM_GLOBAL_LOAD_FROM_BYTES)
        status = locate_nested(c, storage, &where);
    else
        status = malformed(c, "a tensor without storage");
    if (!status) status = read_dtype(c, name, name_size, where.type, &claim.dtype);
    if (status) return status;
    if (__builtin_add_overflow(claim.first, where.view_first, &claim.first))
        return malformed(c, "a tensor reaches beyond its storage");
    claim.storage = where.index;
    claim.limit = where.view_count == UINT64_MAX ? UINT64_MAX : where.view_first + where.view_count;
    return pm_weights_add(c->weights, &claim);
}

static pm_status fill_from_dict(pm_checkpoint *c, const pm_pickle_value *dict) {
    for (size_t i = 0; i + 1 < dict->as.list.count; i += 2) {
        const pm_pickle_value *key = dict->as.list.items[i];
        const pm_pickle_value *call = tensor_call(dict->as.list.items[i + 1]);
        if (!call) continue; /* epoch, best_prec1, optimizer ... */
        if (key->kind != PM_PICKLE_STRING) return malformed(c, "a tensor whose name is not text");
        pm_status status = add_tensor(c, (const char *)key->as.text.bytes, key->as.text.size, call);
        if (status) return status;
    }
    return PM_OK;
}

static pm_status fill_from_list(pm_checkpoint *c, const pm_pickle_value *list) {
    for (size_t i = 0; i < list->as.list.count; i++) {
        char name[24];
        const pm_pickle_value *call = tensor_call(list->as.list.items[i]);
        if (!call) return malformed(c, "the pickle is a list, but not of tensors alone");
        int size = snprintf(name, sizeof name, "%zu", i);
        pm_status status = add_tensor(c, name, (size_t)size, call);
        if (status) return status;
    }
    return PM_OK;
}

pm_status pm_checkpoint_fill(pm_checkpoint *checkpoint) {
    pm_weights *weights = checkpoint->weights;
    const pm_pickle_value *root = pm_pickle_root(checkpoint->pickle);
    const pm_pickle_value *inner = pm_pickle_get(root, "state_dict");
    pm_status status;
    if (inner && inner->kind == PM_PICKLE_DICT) root = inner;
    if (root->kind == PM_PICKLE_DICT)
        status = fill_from_dict(checkpoint, root);
    else if (root->kind == PM_PICKLE_LIST || root->kind == PM_PICKLE_TUPLE)
        status = fill_from_list(checkpoint, root);
    else
        status =
            malformed(checkpoint, "the pickle holds neither a state dict nor a list of tensors");
    if (!status && weights->count == 0)
        status = malformed(checkpoint, "no tensors, neither at the top nor under state_dict");
    return status;
}
