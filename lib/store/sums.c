/* Owns the sums of channel gradients where they are made from something else than arriving results:
 * each image that a result says is in them (channels_kept > 0) is in them once. */
#include "lib/store/db.h"

pm_status pm_sums_clear(pm_store *store, int64_t configuration_id) {
    pm_status status = pm_accumulators_flush(store);
    pm_accumulators_drop(store, true);
    if (!status)
        status = pm_db_run(store, "DELETE FROM channel_accumulator WHERE configuration_id = ?1",
                           PM_BINDS(pm_int(configuration_id)));
    if (!status)
        status = pm_db_run(store, "DELETE FROM channel_gradient WHERE configuration_id = ?1",
                           PM_BINDS(pm_int(configuration_id)));
    return status;
}

static pm_status add_row(pm_store *store, int64_t configuration_id, sqlite3_stmt *row) {
    const size_t channels = (size_t)sqlite3_column_int64(row, 1);
    const float *variances = sqlite3_column_blob(row, 2);
    const uint8_t *in_h = sqlite3_column_blob(row, 3);
    pm_accumulator *a;
    if (channels && ((size_t)sqlite3_column_bytes(row, 2) != channels * sizeof *variances ||
                     (size_t)sqlite3_column_bytes(row, 3) != (channels + 7) / 8))
        return pm_fail(PM_E_FORMAT, "database: an item's channels are not %zu", channels);
    pm_status status =
        pm_accumulator_get(store, configuration_id, sqlite3_column_int64(row, 0), channels, &a);
    if (status) return status;
    for (size_t c = 0; c < channels; c++)
        pm_moments_add(&a->moments[c], (double)variances[c], (in_h[c / 8] >> c % 8 & 1) != 0);
    a->dirty = true;
    return PM_OK;
}

pm_status pm_sums_add_items(pm_store *store, int64_t configuration_id, const char *sql,
                            const pm_bind *binds, size_t count) {
    sqlite3_stmt *statement = NULL;
    bool row = false;
    pm_status status = pm_db_begin(store, sql, binds, count, &statement);
    if (status) return status;
    while (!(status = pm_db_step(store, statement, &row)) && row)
        if ((status = add_row(store, configuration_id, statement))) break;
    pm_db_end(statement);
    return status;
}

pm_status pm_sums_from_items(pm_store *store, int64_t configuration_id) {
    pm_status status = pm_sums_clear(store, configuration_id);
    if (!status)
        status = pm_db_run(store,
                           "UPDATE result SET channels_kept = 0"
                           " WHERE configuration_id = ?1 AND channels_kept = 1",
                           PM_BINDS(pm_int(configuration_id)));
    if (!status)
        status = pm_sums_add_items(store, configuration_id,
                                   "SELECT g.layer_id, l.channels, g.variances, g.in_h"
                                   " FROM channel_gradient_item AS g JOIN layer AS l"
                                   " USING (layer_id) WHERE g.configuration_id = ?1"
                                   " ORDER BY g.image_id",
                                   PM_BINDS(pm_int(configuration_id)));
    return status ? status : pm_channels_write(store, configuration_id);
}
