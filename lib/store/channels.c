/* Owns the running sums of channel gradients: cached here, merged while recording, written once a
 * transaction. Knows no run. Layout of a blob: schema/sql, channel_accumulator. */
#include <endian.h>
#include <stdlib.h>
#include <string.h>

#include "lib/store/db.h"

enum {
    ALL_CLASSES = -1,
    MOMENTS_BYTES = 48,
    CACHE_BYTES = 128 << 20 /* trimmed to nothing above; a big grid on ResNet-152 is 100 MB */
};

static void put_u64(uint8_t *out, uint64_t value) {
    value = htole64(value);
    memcpy(out, &value, sizeof value);
}

static uint64_t get_u64(const uint8_t *in) {
    uint64_t value;
    memcpy(&value, in, sizeof value);
    return le64toh(value);
}

static void put_f64(uint8_t *out, double value) {
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    put_u64(out, bits);
}

static double get_f64(const uint8_t *in) {
    uint64_t bits = get_u64(in);
    double value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static void encode(const pm_accumulator *a, uint8_t *out) {
    for (size_t c = 0; c < a->channels; c++, out += MOMENTS_BYTES) {
        const pm_moments *m = &a->moments[c];
        put_u64(out, m->count);
        put_u64(out + 8, m->selected);
        put_f64(out + 16, m->mean);
        put_f64(out + 24, m->m2);
        put_f64(out + 32, m->min);
        put_f64(out + 40, m->max);
    }
}

static void decode(const uint8_t *in, size_t channels, pm_moments *out) {
    for (size_t c = 0; c < channels; c++, in += MOMENTS_BYTES)
        out[c] = (pm_moments){.count = get_u64(in),
                              .selected = get_u64(in + 8),
                              .mean = get_f64(in + 16),
                              .m2 = get_f64(in + 24),
                              .min = get_f64(in + 32),
                              .max = get_f64(in + 40)};
}

static pm_status load(pm_store *store, pm_accumulator *a) {
    sqlite3_stmt *statement = NULL;
    bool row = false;
    pm_status status =
        pm_db_begin(store,
                    "SELECT moments FROM channel_accumulator"
                    " WHERE configuration_id = ?1 AND layer_id = ?2 AND class = ?3",
                    PM_BINDS(pm_int(a->configuration_id), pm_int(a->layer_id), pm_int(ALL_CLASSES)),
                    &statement);
    if (status) return status;
    status = pm_db_step(store, statement, &row);
    if (!status && row) {
        const void *blob = sqlite3_column_blob(statement, 0);
        if ((size_t)sqlite3_column_bytes(statement, 0) != a->channels * MOMENTS_BYTES || !blob)
            status = pm_fail(PM_E_PROTOCOL, "layer %lld does not have %zu channels",
                             (long long)a->layer_id, a->channels);
        else
            decode(blob, a->channels, a->moments);
    }
    pm_db_end(statement);
    return status;
}

/* The first entry not below the key. */
static size_t place(const pm_store *store, int64_t configuration_id, int64_t layer_id) {
    size_t low = 0, high = store->accumulator_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const pm_accumulator *a = &store->accumulators[middle];
        if (a->configuration_id < configuration_id ||
            (a->configuration_id == configuration_id && a->layer_id < layer_id))
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static pm_status make_room(pm_store *store) {
    if (store->accumulator_count < store->accumulator_capacity) return PM_OK;
    size_t capacity = store->accumulator_capacity ? 2 * store->accumulator_capacity : 64;
    pm_accumulator *more = realloc(store->accumulators, capacity * sizeof *more);
    if (!more) return pm_fail(PM_E_MEMORY, "no memory for %zu accumulators", capacity);
    store->accumulators = more;
    store->accumulator_capacity = capacity;
    return PM_OK;
}

pm_status pm_accumulator_get(pm_store *store, int64_t configuration_id, int64_t layer_id,
                             size_t channels, pm_accumulator **out) {
    size_t at = place(store, configuration_id, layer_id);
    pm_accumulator *a = &store->accumulators[at];
    if (at < store->accumulator_count && a->configuration_id == configuration_id &&
        a->layer_id == layer_id) {
        if (a->channels != channels)
            return pm_fail(PM_E_PROTOCOL, "layer %lld does not have %zu channels",
                           (long long)layer_id, channels);
        *out = a;
        return PM_OK;
    }
    pm_status status = make_room(store);
    if (status) return status;
    pm_accumulator fresh = {configuration_id, layer_id, false, channels, NULL};
    fresh.moments = calloc(channels ? channels : 1, sizeof *fresh.moments);
    if (!fresh.moments) return pm_fail(PM_E_MEMORY, "no memory for %zu channels", channels);
    if ((status = load(store, &fresh))) {
        free(fresh.moments);
        return status;
    }
    a = &store->accumulators[at];
    memmove(a + 1, a, (store->accumulator_count - at) * sizeof *a);
    *a = fresh;
    store->accumulator_count++;
    *out = a;
    return PM_OK;
}

pm_status pm_accumulator_merge(pm_store *store, int64_t configuration_id, int64_t layer_id,
                               const void *blob, size_t size) {
    const size_t channels = size / MOMENTS_BYTES;
    pm_accumulator *a;
    if (size % MOMENTS_BYTES || !blob)
        return pm_fail(PM_E_FORMAT, "database: sums of channels have %zu bytes", size);
    pm_status status = pm_accumulator_get(store, configuration_id, layer_id, channels, &a);
    for (size_t c = 0; c < channels && !status; c++) {
        pm_moments other;
        decode((const uint8_t *)blob + c * MOMENTS_BYTES, 1, &other);
        pm_moments_merge(&a->moments[c], &other);
    }
    if (!status) a->dirty = true;
    return status;
}

pm_status pm_accumulators_flush(pm_store *store) {
    for (size_t i = 0; i < store->accumulator_count; i++) {
        pm_accumulator *a = &store->accumulators[i];
        if (!a->dirty) continue;
        size_t size = a->channels * MOMENTS_BYTES;
        uint8_t *blob = malloc(size ? size : 1);
        if (!blob) return pm_fail(PM_E_MEMORY, "no memory for %zu channels", a->channels);
        encode(a, blob);
        pm_status status =
            pm_db_run(store,
                      "INSERT INTO channel_accumulator (configuration_id, layer_id, class, moments)"
                      " VALUES (?1, ?2, ?3, ?4)"
                      " ON CONFLICT DO UPDATE SET moments = excluded.moments",
                      PM_BINDS(pm_int(a->configuration_id), pm_int(a->layer_id),
                               pm_int(ALL_CLASSES), pm_blob(blob, size)));
        free(blob);
        if (status) return status;
        a->dirty = false;
    }
    return PM_OK;
}

void pm_accumulators_drop(pm_store *store, bool dirty_too) {
    size_t kept = 0;
    for (size_t i = 0; i < store->accumulator_count; i++) {
        pm_accumulator *a = &store->accumulators[i];
        if (a->dirty && !dirty_too)
            store->accumulators[kept++] = *a;
        else
            free(a->moments);
    }
    store->accumulator_count = kept;
}

void pm_accumulators_trim(pm_store *store) {
    size_t bytes = 0;
    for (size_t i = 0; i < store->accumulator_count; i++)
        bytes += store->accumulators[i].channels * sizeof(pm_moments);
    if (bytes > CACHE_BYTES) pm_accumulators_drop(store, false);
}

static pm_status write_layer(pm_store *store, int64_t configuration_id, int64_t layer_id,
                             const pm_moments *moments, size_t channels) {
    pm_status status = PM_OK;
    for (size_t c = 0; c < channels && !status; c++) {
        const pm_moments *m = &moments[c];
        if (m->count == 0) continue;
        status = pm_db_run(
            store,
            "INSERT INTO channel_gradient (configuration_id, layer_id, class, channel, count, mean,"
            " std, min, max, selected) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)"
            " ON CONFLICT DO UPDATE SET count = excluded.count, mean = excluded.mean,"
            " std = excluded.std, min = excluded.min, max = excluded.max,"
            " selected = excluded.selected",
            PM_BINDS(pm_int(configuration_id), pm_int(layer_id), pm_int(ALL_CLASSES), pm_id(c),
                     pm_id(m->count), pm_real(m->mean), pm_real_if(m->count > 1, pm_moments_std(m)),
                     pm_real(m->min), pm_real(m->max), pm_id(m->selected)));
    }
    return status;
}

pm_status pm_channels_write(pm_store *store, int64_t configuration_id) {
    pm_status status = pm_accumulators_flush(store);
    if (status) return status;
    sqlite3_stmt *statement = NULL;
    status = pm_db_begin(store,
                         "SELECT layer_id, moments FROM channel_accumulator"
                         " WHERE configuration_id = ?1 AND class = ?2",
                         PM_BINDS(pm_int(configuration_id), pm_int(ALL_CLASSES)), &statement);
    if (status) return status;
    bool row = false;
    while (!(status = pm_db_step(store, statement, &row)) && row) {
        const void *blob = sqlite3_column_blob(statement, 1);
        size_t channels = (size_t)sqlite3_column_bytes(statement, 1) / MOMENTS_BYTES;
        pm_moments *moments = calloc(channels ? channels : 1, sizeof *moments);
        if (!moments) {
            status = pm_fail(PM_E_MEMORY, "no memory for %zu channels", channels);
            break;
        }
        if (blob) decode(blob, channels, moments);
        status = write_layer(store, configuration_id, sqlite3_column_int64(statement, 0), moments,
                             channels);
        free(moments);
        if (status) break;
    }
    pm_db_end(statement);
    return status;
}
