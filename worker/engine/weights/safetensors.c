/* Owns the safetensors format: an 8-byte little-endian header length, a JSON header, the data.
 * The checks are the reference implementation's (huggingface/safetensors, README "Format"): header
 * at most 100,000,000 bytes, no duplicate keys, spans that match shape times element size and
 * that follow one another without overlap or hole up to the end of the file. */
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "worker/engine/weights/weights.h"

/* Values and separators a header may hold: bounds what the JSON parser allocates. */
#define PM_JSON_MARKS_MAX ((size_t)2 << 20)

typedef struct claim_span {
    const char *name;
    size_t order; /* in the header: keeps empty tensors where they were */
    uint64_t begin, end;
    json_t *tensor;
} claim_span;

static pm_status check_marks(const pm_weights *weights, const char *text, size_t size) {
    size_t marks = 0;
    bool in_string = false;
    for (size_t i = 0; i < size; i++) {
        char c = text[i];
        if (in_string && c == '\\') {
            i++;
        } else if (c == '"') {
            in_string = !in_string;
        } else if (!in_string && (c == ',' || c == '[' || c == '{')) {
            marks++;
        }
    }
    if (marks > PM_JSON_MARKS_MAX)
        return pm_fail(PM_E_LIMIT, "%s: the header holds more than %zu JSON values", weights->path,
                       PM_JSON_MARKS_MAX);
    return PM_OK;
}

static pm_status read_header(const pm_weights *weights, json_t **out, uint64_t *out_data) {
    uint8_t prefix[8];
    uint64_t size = 0;
    json_error_t error = {.text = ""};
    pm_status status = pm_weights_pread(weights, 0, prefix, sizeof prefix);
    if (status) return status;
    for (size_t i = 0; i < 8; i++) size |= (uint64_t)prefix[i] << (8 * i);
    if (size > PM_WEIGHTS_HEADER_MAX)
        return pm_fail(PM_E_LIMIT,
                       "%s: safetensors header of %" PRIu64 " bytes, the limit is %" PRIu64,
                       weights->path, size, PM_WEIGHTS_HEADER_MAX);
    if (size > weights->size_bytes - 8)
        return pm_fail(PM_E_FORMAT,
                       "%s: safetensors header of %" PRIu64 " bytes in a file of %" PRIu64
                       ": the file is cut short",
                       weights->path, size, weights->size_bytes);
    char *text = malloc((size_t)size + 1);
    if (!text) return pm_fail(PM_E_MEMORY, "%s: no memory for the header", weights->path);
    status = pm_weights_pread(weights, 8, text, (size_t)size);
    if (!status) status = check_marks(weights, text, (size_t)size);
    if (status) goto done;
    if (size < 2 || text[0] != '{') {
        status =
            pm_fail(PM_E_FORMAT, "%s: the safetensors header is not a JSON object", weights->path);
        goto done;
    }
    errno = 0;
    json_t *header = json_loadb(text, (size_t)size, JSON_REJECT_DUPLICATES, &error);
    /* Without memory jansson finds fault with the text; malloc's errno tells. */
    if (!header && (errno == ENOMEM || !error.text[0])) {
        status = pm_fail(PM_E_MEMORY, "%s: no memory for the header", weights->path);
        goto done;
    }
    if (!header) {
        char clean[JSON_ERROR_TEXT_LENGTH];
        pm_weights_clean(error.text, strlen(error.text), clean, sizeof clean);
        status = pm_fail(PM_E_FORMAT, "%s: safetensors header, byte %d: %s", weights->path,
                         error.position, clean);
        goto done;
    }
    *out = header;
    *out_data = 8 + size;
done:
    free(text);
    return status;
}

/* A JSON array of whole numbers >= 0. */
static pm_status read_numbers(const pm_weights *weights, const char *name, const char *key,
                              const json_t *array, size_t limit, uint64_t *out, size_t *out_count) {
    if (!json_is_array(array))
        return pm_fail(PM_E_FORMAT, "%s: tensor %s: %s is missing or not an array", weights->path,
                       name, key);
    size_t count = json_array_size(array);
    if (count > limit)
        return pm_fail(PM_E_LIMIT, "%s: tensor %s: %s has %zu numbers, the limit is %zu",
                       weights->path, name, key, count, limit);
    for (size_t i = 0; i < count; i++) {
        const json_t *item = json_array_get(array, i);
        if (!json_is_integer(item) || json_integer_value(item) < 0)
            return pm_fail(PM_E_FORMAT, "%s: tensor %s: %s holds something other than a size",
                           weights->path, name, key);
        out[i] = (uint64_t)json_integer_value(item);
    }
    *out_count = count;
    return PM_OK;
}

static pm_status read_dtype(const pm_weights *weights, const char *name, const json_t *tensor,
                            pm_dtype *out) {
    static const pm_dtype known[] = {PM_DTYPE_F32, PM_DTYPE_F16, PM_DTYPE_BF16, PM_DTYPE_I64};
    const char *text = json_string_value(json_object_get(tensor, "dtype"));
    char clean[16];
    if (!text) return pm_fail(PM_E_FORMAT, "%s: tensor %s: dtype is missing", weights->path, name);
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (!strcmp(text, pm_dtype_name(known[i]))) {
            *out = known[i];
            return PM_OK;
        }
    pm_weights_clean(text, strlen(text), clean, sizeof clean);
    return pm_fail(PM_E_UNSUPPORTED,
                   "%s: tensor %s has dtype %s; F32, F16, BF16 and I64 can be read", weights->path,
                   name, clean);
}

static pm_status add_tensor(pm_weights *weights, const claim_span *span, uint64_t data) {
    uint64_t shape[PM_RANK_MAX];
    pm_weights_claim claim = {
        .name = span->name, .name_size = strlen(span->name), .shape = shape, .limit = UINT64_MAX};
    pm_status status = read_dtype(weights, span->name, span->tensor, &claim.dtype);
    if (status) return status;
    status = read_numbers(weights, span->name, "shape", json_object_get(span->tensor, "shape"),
                          PM_RANK_MAX, shape, &claim.rank);
    if (status) return status;
    pm_weights_storage storage = {.place = PM_WEIGHTS_IN_FILE,
                                  .offset = data + span->begin,
                                  .seekable = true,
                                  .size_bytes = span->end - span->begin};
    status = pm_weights_add_storage(weights, &storage, &claim.storage);
    if (status) return status;
    status = pm_weights_add(weights, &claim);
    if (status) return status;
    /* pm_weights_add has made sure that the tensor is not larger than its span, nor overflows. */
    uint64_t needed =
        (uint64_t)weights->entries[weights->count - 1].info.count * pm_dtype_bytes(claim.dtype);
    if (needed != storage.size_bytes)
        return pm_fail(PM_E_FORMAT,
                       "%s: tensor %s needs %" PRIu64
                       " bytes by its shape, data_offsets span %" PRIu64,
                       weights->path, span->name, needed, storage.size_bytes);
    return PM_OK;
}

static int compare_spans(const void *left, const void *right) {
    const claim_span *a = left, *b = right;
    if (a->begin != b->begin) return a->begin < b->begin ? -1 : 1;
    if (a->end != b->end) return a->end < b->end ? -1 : 1;
    return a->order < b->order ? -1 : a->order > b->order;
}

static pm_status check_metadata(const pm_weights *weights, json_t *metadata) {
    const char *key;
    json_t *value;
    if (!json_is_object(metadata))
        return pm_fail(PM_E_FORMAT, "%s: __metadata__ is not an object", weights->path);
    json_object_foreach(metadata, key, value) {
        if (!json_is_string(value))
            return pm_fail(PM_E_FORMAT, "%s: __metadata__ holds something other than text",
                           weights->path);
    }
    return PM_OK;
}

static pm_status collect_spans(const pm_weights *weights, json_t *header, claim_span *spans,
                               size_t *out_count) {
    size_t count = 0;
    const char *name;
    json_t *tensor;
    json_object_foreach(header, name, tensor) {
        pm_status status;
        uint64_t offsets[2];
        size_t offset_count = 0;
        if (!strcmp(name, "__metadata__")) {
            status = check_metadata(weights, tensor);
            if (status) return status;
            continue;
        }
        status = pm_weights_check_name(weights, name, strlen(name));
        if (status) return status;
        if (!json_is_object(tensor))
            return pm_fail(PM_E_FORMAT, "%s: tensor %s is not an object", weights->path, name);
        status = read_numbers(weights, name, "data_offsets",
                              json_object_get(tensor, "data_offsets"), 2, offsets, &offset_count);
        if (status) return status;
        if (offset_count != 2 || offsets[0] > offsets[1])
            return pm_fail(PM_E_FORMAT, "%s: tensor %s: data_offsets are not begin and end",
                           weights->path, name);
        spans[count] = (claim_span){name, count, offsets[0], offsets[1], tensor};
        count++;
    }
    *out_count = count;
    return PM_OK;
}

static pm_status check_spans(const pm_weights *weights, const claim_span *spans, size_t count,
                             uint64_t data_bytes) {
    uint64_t end = 0;
    for (size_t i = 0; i < count; i++) {
        if (spans[i].begin < end)
            return pm_fail(PM_E_FORMAT, "%s: tensor %s overlaps the one before it", weights->path,
                           spans[i].name);
        if (spans[i].begin > end)
            return pm_fail(PM_E_FORMAT, "%s: a hole of %" PRIu64 " bytes before tensor %s",
                           weights->path, spans[i].begin - end, spans[i].name);
        end = spans[i].end;
    }
    if (end > data_bytes)
        return pm_fail(PM_E_FORMAT,
                       "%s: tensors end at data byte %" PRIu64 ", the file holds %" PRIu64
                       ": the file is cut short",
                       weights->path, end, data_bytes);
    if (end < data_bytes)
        return pm_fail(PM_E_FORMAT, "%s: %" PRIu64 " bytes behind the last tensor", weights->path,
                       data_bytes - end);
    return PM_OK;
}

pm_status pm_weights_load_safetensors(pm_weights *weights) {
    json_t *header = NULL;
    claim_span *spans = NULL;
    uint64_t data = 0;
    size_t count = 0;
    weights->format = "safetensors";
    pm_status status = read_header(weights, &header, &data);
    if (status) goto done;
    if (json_object_size(header) > PM_WEIGHTS_TENSORS_MAX) {
        status = pm_fail(PM_E_LIMIT, "%s: %zu tensors, the limit is %zu", weights->path,
                         json_object_size(header), PM_WEIGHTS_TENSORS_MAX);
        goto done;
    }
    spans = calloc(json_object_size(header) + 1, sizeof *spans);
    if (!spans) {
        status = pm_fail(PM_E_MEMORY, "%s: no memory for the table of tensors", weights->path);
        goto done;
    }
    status = collect_spans(weights, header, spans, &count);
    if (status) goto done;
    qsort(spans, count, sizeof *spans, compare_spans);
    status = check_spans(weights, spans, count, weights->size_bytes - data);
    for (size_t i = 0; !status && i < count; i++) status = add_tensor(weights, &spans[i], data);
done:
    free(spans);
    json_decref(header);
    return status;
}
