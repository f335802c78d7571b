/* Owns which rows belong to a run, and their copy into a file of its own. */
#include "lib/store/extract.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/file.h"
#include "lib/store/db.h"
#include "lib/store/identity.h"

static const struct {
    const char *name;
    unsigned bit;
} parts[] = {
    {"heat_map", PM_EXTRACT_HEAT_MAP},
    {"channel_gradient_item", PM_EXTRACT_CHANNEL_GRADIENT_ITEM},
    {"layer_gradient", PM_EXTRACT_LAYER_GRADIENT},
    {"perturbation", PM_EXTRACT_PERTURBATION},
    {"activation", PM_EXTRACT_ACTIVATION},
    {"channel_statistics", PM_EXTRACT_CHANNEL_STATISTICS},
    {"class_statistics", PM_EXTRACT_CLASS_STATISTICS},
    {"failure", PM_EXTRACT_FAILURE},
};

pm_status pm_extract_part_parse(const char *name, unsigned *bit) {
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (strcmp(parts[i].name, name) == 0) {
            *bit = parts[i].bit;
            return PM_OK;
        }
    return pm_fail(PM_E_USAGE,
                   "--without '%.80s' is not known; there are: heat_map, channel_gradient_item, "
                   "layer_gradient, perturbation, activation, channel_statistics, "
                   "class_statistics, failure",
                   name);
}

/* Of all the configurations of the run (not of one that only gathered its statistics) and its
 * images. */
#define OF_RESULTS                                                                                 \
    " WHERE configuration_id IN (SELECT configuration_id FROM main.run_configuration)"             \
    " AND image_id IN (SELECT image_id FROM main.image)"
#define OF_STATISTICS " WHERE statistics_id IN (SELECT statistics_id FROM main.statistics)"

/* In this order: each looks at what those before it brought. Foreign keys are checked at COMMIT.
 * Both files have come through the same migrations, so * is the same columns in both. */
static const struct {
    unsigned bit; /* 0: always */
    const char *sql;
} copies[] = {
    {0, "INSERT INTO main.run SELECT * FROM src.run WHERE run_id = ?1"},
    {0, "INSERT INTO main.run_configuration SELECT * FROM src.run_configuration"
        " WHERE run_id = ?1"},
    {0, "INSERT INTO main.configuration SELECT * FROM src.configuration WHERE configuration_id IN"
        " (SELECT configuration_id FROM main.run_configuration)"},
    {0, "INSERT INTO main.statistics SELECT * FROM src.statistics WHERE statistics_id IN"
        " (SELECT statistics_id FROM main.configuration UNION SELECT statistics_id FROM main.run)"
        " OR configuration_id IN (SELECT configuration_id FROM main.configuration)"},
    {0, "INSERT INTO main.configuration SELECT * FROM src.configuration WHERE configuration_id IN"
        " (SELECT configuration_id FROM main.statistics) AND configuration_id NOT IN"
        " (SELECT configuration_id FROM main.configuration)"},
    {0, "INSERT INTO main.model SELECT * FROM src.model WHERE model_id IN"
        " (SELECT model_id FROM main.configuration UNION SELECT model_id FROM main.statistics"
        "  UNION SELECT model_id FROM main.run)"},
    {0, "INSERT INTO main.layer SELECT * FROM src.layer WHERE model_id IN"
        " (SELECT model_id FROM main.model)"},
    {0, "INSERT INTO main.data_set SELECT * FROM src.data_set WHERE data_set_id IN"
        " (SELECT data_set_id FROM main.run UNION SELECT data_set_id FROM main.statistics)"},
    {0, "INSERT INTO main.class_name SELECT * FROM src.class_name WHERE data_set_id IN"
        " (SELECT data_set_id FROM main.data_set)"},
    {0, "INSERT INTO main.data_set_item SELECT * FROM src.data_set_item WHERE data_set_id ="
        " (SELECT data_set_id FROM main.run)"},
    {0, "INSERT INTO main.image SELECT * FROM src.image WHERE image_id IN"
        " (SELECT image_id FROM main.data_set_item)"},
    {0, "INSERT INTO main.box SELECT * FROM src.box WHERE image_id IN"
        " (SELECT image_id FROM main.image)"},
    {0, "INSERT INTO main.task SELECT * FROM src.task WHERE run_id = ?1"},
    {0, "INSERT INTO main.result SELECT * FROM src.result" OF_RESULTS},
    {PM_EXTRACT_FAILURE, "INSERT INTO main.failure SELECT * FROM src.failure WHERE run_id = ?1"},
    {0, "INSERT INTO main.worker SELECT * FROM src.worker WHERE worker_id IN"
        " (SELECT worker_id FROM main.result UNION SELECT worker_id FROM main.failure)"},
    {PM_EXTRACT_PERTURBATION,
     "INSERT INTO main.perturbation SELECT * FROM src.perturbation" OF_RESULTS},
    {PM_EXTRACT_LAYER_GRADIENT,
     "INSERT INTO main.layer_gradient SELECT * FROM src.layer_gradient" OF_RESULTS},
    {PM_EXTRACT_CHANNEL_GRADIENT_ITEM, "INSERT INTO main.channel_gradient_item"
                                       " SELECT * FROM src.channel_gradient_item" OF_RESULTS},
    {PM_EXTRACT_HEAT_MAP, "INSERT INTO main.heat_map SELECT * FROM src.heat_map" OF_RESULTS},
    {PM_EXTRACT_ACTIVATION, "INSERT INTO main.activation SELECT * FROM src.activation" OF_RESULTS},
    {0, "INSERT INTO main.channel_gradient SELECT * FROM src.channel_gradient WHERE"
        " configuration_id IN (SELECT configuration_id FROM main.run_configuration)"},
    {0, "INSERT INTO main.channel_accumulator SELECT * FROM src.channel_accumulator WHERE"
        " configuration_id IN (SELECT configuration_id FROM main.run_configuration)"},
    {0, "INSERT INTO main.score_summary SELECT * FROM src.score_summary WHERE run_id = ?1"},
    {0, "INSERT INTO main.curve_summary SELECT * FROM src.curve_summary WHERE run_id = ?1"},
    {0, "INSERT INTO main.layer_summary SELECT * FROM src.layer_summary WHERE run_id = ?1"},
    {0, "INSERT INTO main.timing_summary SELECT * FROM src.timing_summary WHERE run_id = ?1"},
    {0, "INSERT INTO main.layer_statistics SELECT * FROM src.layer_statistics" OF_STATISTICS},
    {PM_EXTRACT_CHANNEL_STATISTICS,
     "INSERT INTO main.channel_statistics SELECT * FROM src.channel_statistics" OF_STATISTICS},
    {PM_EXTRACT_CLASS_STATISTICS,
     "INSERT INTO main.class_statistics SELECT * FROM src.class_statistics" OF_STATISTICS},
};

/* What stays true of the rows that are there. ?1 is the run. */
static const struct {
    unsigned bit; /* 0: always; else where that table stays behind */
    const char *sql;
} mends[] = {
    {0, "UPDATE main.result SET run_id = ?1 WHERE run_id <> ?1"},
    {PM_EXTRACT_HEAT_MAP, "UPDATE main.result SET heat_map_kept = 0 WHERE heat_map_kept <> 0"},
    {PM_EXTRACT_CHANNEL_GRADIENT_ITEM,
     "UPDATE main.result SET channels_kept = 1 WHERE channels_kept = 2"},
    {PM_EXTRACT_PERTURBATION, "UPDATE main.result SET evaluation = '' WHERE evaluation <> ''"},
};

static pm_status run(sqlite3 *db, const char *sql, uint64_t run_id) {
    sqlite3_stmt *statement = NULL;
    errno = 0;
    int code = sqlite3_prepare_v2(db, sql, -1, &statement, NULL);
    if (code == SQLITE_OK && sqlite3_bind_parameter_count(statement))
        code = sqlite3_bind_int64(statement, 1, (int64_t)run_id);
    if (code == SQLITE_OK) code = sqlite3_step(statement);
    pm_status status =
        code == SQLITE_DONE || code == SQLITE_ROW ? PM_OK : pm_db_fail(db, code, "copy of a run");
    sqlite3_finalize(statement);
    return status;
}

static pm_status attach(sqlite3 *db, const char *source) {
    char *uri = NULL;
    sqlite3_stmt *statement = NULL;
    pm_status status = pm_db_uri(source, &uri);
    if (status) return status;
    int code = sqlite3_prepare_v2(db, "ATTACH ?1 AS src", -1, &statement, NULL);
    if (code == SQLITE_OK) code = sqlite3_bind_text(statement, 1, uri, -1, SQLITE_STATIC);
    if (code == SQLITE_OK) code = sqlite3_step(statement);
    if (code != SQLITE_DONE) status = pm_db_fail(db, code, source);
    sqlite3_finalize(statement);
    free(uri);
    return status;
}

/* The file is nobody's yet: what makes it durable is the fsync at its end. */
static pm_status make_empty(sqlite3 *db) {
    pm_status status = pm_db_exec(db, "PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF;"
                                      "PRAGMA foreign_keys=ON; PRAGMA cache_size=-65536");
    for (int i = 0; i < pm_migration_count && !status; i++)
        status = pm_db_exec(db, pm_migrations[i].sql);
    return status ? status : pm_identity_write(db, pm_migration_count);
}

static pm_status copy(sqlite3 *db, const char *source, uint64_t run_id, unsigned without) {
    pm_status status = pm_db_exec(db, "BEGIN; PRAGMA defer_foreign_keys=ON");
    for (size_t i = 0; i < sizeof copies / sizeof *copies && !status; i++) {
        if (copies[i].bit & without) continue;
        status = run(db, copies[i].sql, run_id);
        if (!status && i == 0 && sqlite3_changes(db) == 0)
            status =
                pm_fail(PM_E_NOT_FOUND, "%s has no run %llu", source, (unsigned long long)run_id);
    }
    for (size_t i = 0; i < sizeof mends / sizeof *mends && !status; i++)
        if (!mends[i].bit || (mends[i].bit & without)) status = run(db, mends[i].sql, run_id);
    return status ? status : pm_db_exec(db, "COMMIT");
}

/* The source is what it says, and of this program's schema. */
static pm_status check_source(const char *source) {
    const pm_query_limits none = {0};
    pm_query *query = NULL;
    pm_status status = pm_query_open(source, &none, &query);
    if (!status) status = pm_query_current(query, source);
    pm_query_close(&query);
    return status;
}

static int look(void *user) {
    const volatile sig_atomic_t *const *stop = user;
    return *stop && **stop;
}

pm_status pm_store_extract(const char *source, uint64_t run_id, unsigned without,
                           const volatile sig_atomic_t *stop, const char *target) {
    enum { STEPS_BETWEEN_LOOKS = 1000 };
    sqlite3 *db = NULL;
    pm_status status = check_source(source);
    if (status) return status;
    int fd = open(target, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd < 0) return pm_file_fail(target, errno);
    close(fd);
    int code = sqlite3_open_v2(target, &db,
                               SQLITE_OPEN_READWRITE | SQLITE_OPEN_URI | SQLITE_OPEN_NOMUTEX |
                                   SQLITE_OPEN_EXRESCODE,
                               NULL);
    if (code != SQLITE_OK) status = pm_db_fail(db, code, target);
    if (!status) {
        sqlite3_busy_timeout(db, 5000);
        sqlite3_db_config(db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
        sqlite3_progress_handler(db, STEPS_BETWEEN_LOOKS, look, &stop);
        status = make_empty(db);
    }
    if (!status) status = attach(db, source);
    if (!status) status = copy(db, source, run_id, without);
    sqlite3_close(db);
    if (!status) status = pm_file_sync(target);
    if (look(&stop)) status = pm_fail(PM_E_CANCELLED, "copy of a run: stopped");
    if (status) unlink(target);
    return status;
}
