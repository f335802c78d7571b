/* Owns the table of an opened weights file: what is allowed into it, the limits, the order by
 * name, and the public look-ups. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/text.h"
#include "worker/engine/weights/weights.h"

static pm_status no_memory(const pm_weights *weights) {
    return pm_fail(PM_E_MEMORY, "%s: no memory for the table of tensors", weights->path);
}

/* ---- text ---- */

void pm_weights_clean(const void *text, size_t size, char *out, size_t capacity) {
    const uint8_t *from = text;
    size_t n = size < capacity - 1 ? size : capacity - 1;
    for (size_t i = 0; i < n; i++) out[i] = from[i] >= 0x20 && from[i] < 0x7f ? (char)from[i] : '?';
    out[n] = 0;
}

pm_status pm_weights_check_name(const pm_weights *weights, const char *name, size_t size) {
    char clean[80];
    if (size == 0 || size > PM_WEIGHTS_NAME_MAX)
        return pm_fail(PM_E_FORMAT, "%s: a tensor name of %zu bytes; 1 to %d are allowed",
                       weights->path, size, PM_WEIGHTS_NAME_MAX);
    for (size_t i = 0; i < size;) {
        size_t n = pm_utf8_size(name + i, size - i);
        if (!n) {
            pm_weights_clean(name, size, clean, sizeof clean);
            return pm_fail(PM_E_FORMAT, "%s: the tensor name %s is not printable UTF-8",
                           weights->path, clean);
        }
        i += n;
    }
    return PM_OK;
}

/* ---- fill ---- */

/* Room for one more of `size` bytes; limits elsewhere keep counts far from overflow. */
static void *grown(void *array, size_t count, size_t *capacity, size_t size) {
    if (count < *capacity) return array;
    size_t wanted = *capacity ? 2 * *capacity : 64;
    void *larger = realloc(array, wanted * size);
    if (larger) *capacity = wanted;
    return larger;
}

pm_status pm_weights_keep(pm_weights *weights, void *block) {
    void **larger = realloc(weights->blocks, (weights->block_count + 1) * sizeof *larger);
    if (!larger) {
        free(block);
        return no_memory(weights);
    }
    weights->blocks = larger;
    larger[weights->block_count++] = block;
    return PM_OK;
}

pm_status pm_weights_add_storage(pm_weights *weights, const pm_weights_storage *storage,
                                 size_t *out_index) {
    pm_weights_storage *larger = grown(weights->storages, weights->storage_count,
                                       &weights->storage_capacity, sizeof *larger);
    if (!larger) return no_memory(weights);
    weights->storages = larger;
    larger[weights->storage_count] = *storage;
    *out_index = weights->storage_count++;
    return PM_OK;
}

/* Shape, strides and count of a claim, each product checked for overflow. */
static pm_status measure(const pm_weights *weights, const pm_weights_claim *claim,
                         pm_weights_entry *entry) {
    uint64_t count = 1, last = 0;
    bool empty = false;
    for (size_t i = 0; i < claim->rank; i++) empty |= claim->shape[i] == 0;
    for (size_t i = claim->rank; i-- > 0;) {
        uint64_t stride = claim->stride ? claim->stride[i] : count;
        entry->info.shape[i] = (size_t)claim->shape[i];
        entry->stride[i] = (size_t)stride;
        if (claim->shape[i] > PM_WEIGHTS_ELEMENTS_MAX) goto too_large;
        if (empty) continue;
        if (__builtin_mul_overflow(count, claim->shape[i], &count) ||
            count > PM_WEIGHTS_ELEMENTS_MAX)
            goto too_large;
        uint64_t reach;
        if (__builtin_mul_overflow(claim->shape[i] - 1, stride, &reach) ||
            __builtin_add_overflow(last, reach, &last))
            goto too_large;
    }
    if (last >= PM_WEIGHTS_FILE_MAX) goto too_large;
    entry->info.count = empty ? 0 : (size_t)count;
    entry->extent = empty ? 0 : (size_t)last + 1;
    return PM_OK;
too_large:
    return pm_fail(PM_E_LIMIT, "%s: tensor %.*s: its shape is over the limit of %zu elements",
                   weights->path, (int)claim->name_size, claim->name, PM_WEIGHTS_ELEMENTS_MAX);
}

/* Every element inside the storage; what reading it costs goes on the account. */
static pm_status check_span(pm_weights *weights, const pm_weights_claim *claim,
                            pm_weights_entry *entry) {
    const pm_weights_storage *storage = &weights->storages[claim->storage];
    uint64_t size = pm_dtype_bytes(claim->dtype), held = storage->size_bytes / size;
    if (claim->limit < held) held = claim->limit;
    if (entry->extent > held || (entry->extent && claim->first > held - entry->extent))
        return pm_fail(PM_E_FORMAT, "%s: tensor %s reaches beyond its storage of %" PRIu64 " bytes",
                       weights->path, entry->name, storage->size_bytes);
    entry->first = entry->extent ? (size_t)claim->first : 0;
    uint64_t unpacked = entry->extent + (storage->seekable ? 0 : entry->first);
    weights->read_bytes += unpacked * size; /* both at most 2^33, tensors at most 2^16 */
    weights->elements += entry->info.count;
    if (weights->read_bytes > PM_WEIGHTS_READ_MAX || weights->elements > PM_WEIGHTS_ELEMENTS_MAX)
        return pm_fail(PM_E_LIMIT,
                       "%s: the tensors up to %s have over %zu elements in all, or %" PRIu64
                       " bytes to unpack",
                       weights->path, entry->name, PM_WEIGHTS_ELEMENTS_MAX, PM_WEIGHTS_READ_MAX);
    return PM_OK;
}

pm_status pm_weights_add(pm_weights *weights, const pm_weights_claim *claim) {
    pm_weights_entry entry = {.storage = claim->storage};
    pm_status status = pm_weights_check_name(weights, claim->name, claim->name_size);
    if (status) return status;
    if (weights->count >= PM_WEIGHTS_TENSORS_MAX)
        return pm_fail(PM_E_LIMIT, "%s: more than %zu tensors", weights->path,
                       PM_WEIGHTS_TENSORS_MAX);
    if (claim->rank > PM_RANK_MAX)
        return pm_fail(PM_E_LIMIT, "%s: tensor %.*s has %zu dimensions, the limit is %d",
                       weights->path, (int)claim->name_size, claim->name, claim->rank, PM_RANK_MAX);
    entry.info.dtype = claim->dtype;
    entry.info.rank = claim->rank;
    status = measure(weights, claim, &entry);
    if (status) return status;
    pm_weights_entry *larger =
        grown(weights->entries, weights->count, &weights->capacity, sizeof *larger);
    if (!larger) return no_memory(weights);
    weights->entries = larger;
    entry.name = strndup(claim->name, claim->name_size);
    if (!entry.name) return no_memory(weights);
    status = check_span(weights, claim, &entry);
    if (status) {
        free(entry.name);
        return status;
    }
    larger[weights->count++] = entry;
    return PM_OK;
}

/* ---- finish ---- */

static int compare_entries(const void *left, const void *right) {
    const pm_weights_entry *const *a = left, *const *b = right;
    return strcmp((*a)->name, (*b)->name);
}

/* nn.DataParallel puts "module." before every name. */
static void strip_module(pm_weights *weights) {
    static const char prefix[] = "module.";
    size_t size = sizeof prefix - 1;
    for (size_t i = 0; i < weights->count; i++) {
        const char *name = weights->entries[i].name;
        if (strncmp(name, prefix, size) != 0 || !name[size]) return;
    }
    for (size_t i = 0; i < weights->count; i++) {
        char *name = weights->entries[i].name;
        memmove(name, name + size, strlen(name) + 1 - size);
    }
}

pm_status pm_weights_finish(pm_weights *weights) {
    strip_module(weights);
    weights->by_name = calloc(weights->count + 1, sizeof *weights->by_name);
    if (!weights->by_name) return no_memory(weights);
    for (size_t i = 0; i < weights->count; i++) {
        weights->entries[i].info.name = weights->entries[i].name;
        weights->by_name[i] = &weights->entries[i];
    }
    qsort(weights->by_name, weights->count, sizeof *weights->by_name, compare_entries);
    for (size_t i = 1; i < weights->count; i++)
        if (!compare_entries(&weights->by_name[i - 1], &weights->by_name[i]))
            return pm_fail(PM_E_FORMAT, "%s: tensor %s is there twice", weights->path,
                           weights->by_name[i]->name);
    return PM_OK;
}

/* ---- look up ---- */

const char *pm_weights_path(const pm_weights *weights) { return weights->path; }
const char *pm_weights_format(const pm_weights *weights) { return weights->format; }
size_t pm_weights_count(const pm_weights *weights) { return weights->count; }

const pm_tensor_info *pm_weights_at(const pm_weights *weights, size_t index) {
    return index < weights->count ? &weights->entries[index].info : NULL;
}

const pm_tensor_info *pm_weights_find(const pm_weights *weights, const char *name) {
    size_t low = 0, high = weights->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = strcmp(name, weights->by_name[middle]->name);
        if (order == 0) return &weights->by_name[middle]->info;
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}
