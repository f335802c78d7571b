/* Owns the rows of statistics: found or made, named, written layer by layer. Computes nothing and
 * knows no file format. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/clock.h"
#include "lib/store/db.h"

pm_status pm_layer_put(pm_store *store, int64_t model_id, size_t conv, const char *name,
                       size_t channels, int64_t *layer_id) {
    sqlite3_stmt *statement = NULL;
    bool row = false;
    pm_status status =
        pm_db_begin(store, "SELECT layer_id, channels FROM layer WHERE model_id = ?1 AND conv = ?2",
                    PM_BINDS(pm_int(model_id), pm_id(conv)), &statement);
    if (status) return status;
    status = pm_db_step(store, statement, &row);
    if (!status && row && pm_db_column_id(statement, 1) != channels)
        status = pm_fail(PM_E_PROTOCOL, "layer %.80s has %llu channels, %zu came", name,
                         (unsigned long long)pm_db_column_id(statement, 1), channels);
    if (!status && row) *layer_id = sqlite3_column_int64(statement, 0);
    pm_db_end(statement);
    if (status || row) return status;
    status = pm_db_run(store,
                       "INSERT INTO layer (model_id, conv, name, channels) VALUES (?1, ?2, ?3, ?4)",
                       PM_BINDS(pm_int(model_id), pm_id(conv), pm_text(name), pm_id(channels)));
    *layer_id = sqlite3_last_insert_rowid(store->db);
    return status;
}

/* ---- whose name it is ---- */

/* What the database has of a name and of these numbers. */
typedef struct found {
    bool numbers, name, filled; /* filled: the numbers' rows are there, not only their file */
    int64_t numbers_id, name_id;
    char numbers_name[PM_STATISTICS_NAME_BYTES]; /* "" without */
} found;

static pm_status look_up(pm_store *store, const pm_op_statistics *op, const char *hex, found *out) {
    sqlite3_stmt *statement = NULL;
    bool row = false;
    found f = {0};
    pm_status status =
        pm_db_begin(store,
                    "SELECT statistics_id, ifnull(name, ''), EXISTS (SELECT 1"
                    " FROM layer_statistics AS l WHERE l.statistics_id = s.statistics_id)"
                    " FROM statistics AS s WHERE sha256 = ?1",
                    PM_BINDS(pm_text(hex)), &statement);
    if (status) return status;
    status = pm_db_step(store, statement, &row);
    if (!status && row) {
        f.numbers = true;
        f.numbers_id = sqlite3_column_int64(statement, 0);
        f.filled = sqlite3_column_int(statement, 2) != 0;
        status = pm_db_column_text(statement, 1, f.numbers_name, sizeof f.numbers_name);
    }
    pm_db_end(statement);
    if (!status)
        status = pm_db_get(store, "SELECT statistics_id FROM statistics WHERE name = ?1",
                           PM_BINDS(pm_text(op->name)), &f.name_id, &f.name);
    if (!status) *out = f;
    return status;
}

/* Rows that nothing needs any more; numbers that a configuration was made with stay. */
static pm_status let_go(pm_store *store, int64_t id) {
    int64_t needed = 0;
    bool any = false;
    pm_status status = pm_db_run(
        store, "UPDATE statistics SET name = NULL WHERE statistics_id = ?1", PM_BINDS(pm_int(id)));
    if (!status)
        status = pm_db_get(store,
                           "SELECT EXISTS (SELECT 1 FROM configuration WHERE statistics_id = ?1)"
                           " OR EXISTS (SELECT 1 FROM run WHERE statistics_id = ?1)",
                           PM_BINDS(pm_int(id)), &needed, &any);
    if (status || needed) return status;
    status = pm_db_run(store, "DELETE FROM class_statistics WHERE statistics_id = ?1",
                       PM_BINDS(pm_int(id)));
    if (!status)
        status = pm_db_run(store, "DELETE FROM channel_statistics WHERE statistics_id = ?1",
                           PM_BINDS(pm_int(id)));
    if (!status)
        status = pm_db_run(store, "DELETE FROM layer_statistics WHERE statistics_id = ?1",
                           PM_BINDS(pm_int(id)));
    if (!status)
        status = pm_db_run(store, "DELETE FROM statistics WHERE statistics_id = ?1",
                           PM_BINDS(pm_int(id)));
    return status;
}

static pm_status settle_name(pm_store *store, const pm_op_statistics *op, const found *f) {
    bool other_numbers = f->name && !(f->numbers && f->name_id == f->numbers_id);
    bool other_name = f->numbers_name[0] && strcmp(f->numbers_name, op->name) != 0;
    if (other_numbers && !op->force)
        return pm_fail(PM_E_MISMATCH,
                       "statistics '%s' are there already, with other numbers; take another name, "
                       "or --force to replace them",
                       op->name);
    if (other_name && !op->force)
        return pm_fail(PM_E_MISMATCH,
                       "these statistics are there already, by the name of '%s'; use that, or "
                       "--force to rename them",
                       f->numbers_name);
    return other_numbers ? let_go(store, f->name_id) : PM_OK;
}

/* ---- the head row ---- */

/* Where they were gathered; both NULL for what was imported. */
static pm_status read_origin(pm_store *store, const pm_op_statistics *op, pm_bind *configuration,
                             pm_bind *data_set) {
    sqlite3_stmt *statement = NULL;
    bool row = false;
    *configuration = *data_set = pm_null();
    if (!op->run_id) return PM_OK;
    pm_status status = pm_db_begin(store,
                                   "SELECT rc.configuration_id, run.data_set_id FROM run"
                                   " JOIN run_configuration AS rc USING (run_id)"
                                   " JOIN configuration AS c USING (configuration_id)"
                                   " WHERE run_id = ?1 AND rc.ordinal = 0 AND c.method = 'gather'",
                                   PM_BINDS(pm_id(op->run_id)), &statement);
    if (status) return status;
    status = pm_db_step(store, statement, &row);
    if (!status && row) {
        *configuration = pm_int(sqlite3_column_int64(statement, 0));
        *data_set = pm_int(sqlite3_column_int64(statement, 1));
    }
    pm_db_end(statement);
    if (!status && !row)
        status =
            pm_fail(PM_E_NOT_FOUND, "run %llu is no gather run", (unsigned long long)op->run_id);
    return status;
}

static pm_status put_head(pm_store *store, const pm_op_statistics *op, const found *f,
                          const char *hex, int64_t model_id, int64_t *id) {
    pm_bind configuration, data_set;
    pm_status status = read_origin(store, op, &configuration, &data_set);
    if (!status && !f->numbers) {
        status = pm_db_run(store,
                           "INSERT INTO statistics (sha256, size_bytes, path) VALUES (?1, ?2, '')",
                           PM_BINDS(pm_text(hex), pm_id(op->size_bytes)));
        *id = sqlite3_last_insert_rowid(store->db);
    } else {
        *id = f->numbers_id;
    }
    if (status) return status;
    return pm_db_run(
        store,
        "UPDATE statistics SET name = ?2, images = ?3, configuration_id = ?4, note = ?5,"
        " created_ms = ?6, model_id = ?7, data_set_id = ?8 WHERE statistics_id = ?1",
        PM_BINDS(pm_int(*id), pm_text(op->name), pm_int_if(op->images > 0, (int64_t)op->images),
                 configuration, pm_text(op->note), pm_int(pm_clock_wall_ms()), pm_int(model_id),
                 data_set));
}

/* ---- the numbers ---- */

static pm_bind known(const double *values, size_t c) {
    return values && isfinite(values[c]) ? pm_real(values[c]) : pm_null();
}

static pm_status put_channels(pm_store *store, int64_t id, int64_t layer_id,
                              const pm_statistics_layer *l) {
    pm_status status = PM_OK;
    for (size_t c = 0; c < l->channels && !status; c++) {
        if (!(l->p[c] >= 0 && l->p[c] <= 1))
            return pm_fail(PM_E_INTERNAL, "a p-value of %s is %g", l->name, l->p[c]);
        status = pm_db_run(store,
                           "INSERT INTO channel_statistics (statistics_id, layer_id, channel, mean,"
                           " std, shapiro_w, shapiro_p) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                           PM_BINDS(pm_int(id), pm_int(layer_id), pm_id(c), known(l->mean, c),
                                    known(l->std, c), known(l->w, c), pm_real(l->p[c])));
    }
    return status;
}

static pm_status put_classes(pm_store *store, const pm_op_statistics *op, int64_t id,
                             int64_t layer_id, const pm_statistics_layer *l) {
    const size_t size = l->channels * sizeof(float);
    pm_status status = PM_OK;
    for (size_t k = 0; k < op->class_count && !status; k++) {
        pm_bind welch = l->welch_p ? pm_blob(l->welch_p + k * l->channels, size) : pm_null();
        pm_bind student = l->student_p ? pm_blob(l->student_p + k * l->channels, size) : pm_null();
        pm_bind images = op->class_images ? pm_int((int64_t)op->class_images[k]) : pm_null();
        status = pm_db_run(
            store,
            "INSERT INTO class_statistics (statistics_id, layer_id, class, images,"
            " welch_p, student_p) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            PM_BINDS(pm_int(id), pm_int(layer_id), pm_int(op->classes[k]), images, welch, student));
    }
    return status;
}

static pm_status put_layer(pm_store *store, const pm_op_statistics *op, int64_t id,
                           int64_t model_id, size_t conv) {
    pm_statistics_layer l = {.density = NAN};
    int64_t layer_id = 0;
    pm_status status = op->layer(op->user, conv, &l);
    if (!status) status = pm_layer_put(store, model_id, conv, l.name, l.channels, &layer_id);
    if (!status)
        status = pm_db_run(store,
                           "INSERT INTO layer_statistics (statistics_id, layer_id, density)"
                           " VALUES (?1, ?2, ?3)",
                           PM_BINDS(pm_int(id), pm_int(layer_id), known(&l.density, 0)));
    if (!status) status = put_channels(store, id, layer_id, &l);
    if (!status) status = put_classes(store, op, id, layer_id, &l);
    return status;
}

pm_status pm_apply_statistics(pm_store *store, pm_op_statistics *op) {
    char hex[PM_SHA256_HEX_BYTES];
    found f;
    int64_t model_id = 0, id = 0;
    if (!op->name[0] || op->layer_count == 0)
        return pm_fail(PM_E_USAGE, "statistics need a name and a layer");
    pm_sha256_hex(&op->sha256, hex);
    pm_status status = look_up(store, op, hex, &f);
    if (!status) status = settle_name(store, op, &f);
    if (!status) status = pm_model_put(store, op->spec, &model_id);
    if (!status && f.filled && strcmp(f.numbers_name, op->name) == 0) {
        op->existed = true;
        op->statistics_id = (uint64_t)f.numbers_id;
        return PM_OK;
    }
    if (!status) status = put_head(store, op, &f, hex, model_id, &id);
    for (size_t conv = 0; conv < op->layer_count && !status && !f.filled; conv++)
        status = put_layer(store, op, id, model_id, conv);
    if (!status) op->statistics_id = (uint64_t)id;
    return status;
}
