/* parchmill export: a run in forms that other programs read. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/file.h"
#include "lib/base/text.h"
#include "lib/store/extract.h"
#include "tools/command.h"
#include "tools/export/arrays.h"
#include "tools/export/out.h"
#include "tools/export/postgres.h"
#include "tools/export/tables.h"
#include "tools/place.h"

typedef enum form { CSV, JSONL, NPY, SQLITE, POSTGRES } form;

typedef struct job {
    const char *db, *path, *table; /* table: NULL for all */
    form form;
    bool force;
    unsigned without;
    uint64_t wanted; /* RUN; 0: the only one */
    pm_query *query;
    int64_t run, items, items_done;
    char name[256], state[32];
} job;

/* ---- what is asked for ---- */

static pm_status parse_form(const char *word, form *out) {
    static const char *const names[] = {"csv", "jsonl", "npy", "sqlite", "postgres"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(names[i], word) == 0) {
            *out = (form)i;
            return PM_OK;
        }
    return pm_fail(PM_E_USAGE,
                   "--format '%.80s' is not known; there are: csv, jsonl, npy, sqlite, postgres",
                   word);
}

static bool is_table_form(form f) { return f == CSV || f == JSONL; }

static pm_status check(const pm_options *options, const job *j) {
    struct stat source, target;
    if (j->table && !is_table_form(j->form))
        return pm_fail(PM_E_USAGE, "--table goes with --format csv and jsonl");
    if (pm_options_count(options, PM_OPT_EXPORT_WITHOUT) && j->form != SQLITE &&
        j->form != POSTGRES)
        return pm_fail(PM_E_USAGE, "--without goes with --format sqlite and postgres");
    if (strcmp(j->path, "-") == 0 && j->form != POSTGRES && !(is_table_form(j->form) && j->table))
        return pm_fail(PM_E_USAGE, is_table_form(j->form)
                                       ? "--out - takes one table: give --table results, or another"
                                       : "--out - does not go with this --format; give a path");
    if (stat(j->db, &source) == 0 && stat(j->path, &target) == 0 &&
        source.st_ino == target.st_ino && source.st_dev == target.st_dev)
        return pm_fail(PM_E_USAGE, "--out %s is the database itself; give another", j->path);
    return PM_OK;
}

static pm_status read_options(const pm_options *options, job *j) {
    pm_status status = pm_options_operands(options, "[RUN]", 0, 1);
    if (!status) status = pm_options_run(options, 0, &j->wanted);
    if (!status) status = pm_options_need(options, PM_OPT_EXPORT_FORMAT);
    if (!status) status = pm_options_need(options, PM_OPT_EXPORT_OUT);
    if (!status) status = parse_form(pm_options_text(options, PM_OPT_EXPORT_FORMAT), &j->form);
    for (size_t i = 0; i < pm_options_count(options, PM_OPT_EXPORT_WITHOUT) && !status; i++) {
        unsigned bit = 0;
        status = pm_extract_part_parse(pm_options_value(options, PM_OPT_EXPORT_WITHOUT, i), &bit);
        j->without |= bit;
    }
    if (status) return status;
    j->db = pm_options_text(options, PM_OPT_DB);
    j->path = pm_options_text(options, PM_OPT_EXPORT_OUT);
    j->table = pm_options_text(options, PM_OPT_EXPORT_TABLE);
    j->force = pm_options_flag(options, PM_OPT_EXPORT_FORCE);
    return check(options, j);
}

/* ---- which run ---- */

typedef struct choice {
    job *job;
    size_t count;
    pm_buffer list; /* "1 (name, done), 2 (running)" */
} choice;

static pm_status take_run(void *user, size_t count, const pm_value *v) {
    enum { LISTED = 20 };
    choice *c = user;
    (void)count;
    if (c->count++ == 0) {
        c->job->run = v[0].integer;
        c->job->items = v[3].integer;
        c->job->items_done = v[4].integer;
        snprintf(c->job->name, sizeof c->job->name, "%s", v[1].text);
        snprintf(c->job->state, sizeof c->job->state, "%s", v[2].text);
    }
    if (c->count > LISTED)
        return c->count == LISTED + 1 ? pm_buffer_printf(&c->list, ", ...") : PM_OK;
    char name[64];
    pm_text_clean(v[1].text, name, sizeof name);
    return pm_buffer_printf(&c->list, "%s%" PRId64 " (%s%s%s)", c->count > 1 ? ", " : "",
                            v[0].integer, name, name[0] ? ", " : "", v[2].text);
}

static pm_status choose_run(job *j) {
    choice c = {.job = j};
    const pm_value id = {.kind = PM_VALUE_INTEGER, .integer = (int64_t)j->wanted};
    const pm_query_sink sink = {.user = &c, .row = take_run};
    pm_status status = pm_query_run(j->query,
                                    "SELECT run, name, state, items, items_done FROM run_progress"
                                    " WHERE ?1 = 0 OR run = ?1 ORDER BY run",
                                    &id, 1, &sink, NULL);
    if (!status && c.count == 0)
        status = j->wanted ? pm_fail(PM_E_NOT_FOUND, "there is no run %" PRIu64 " in %s", j->wanted,
                                     j->db)
                           : pm_fail(PM_E_NOT_FOUND, "there is no run in %s", j->db);
    if (!status && c.count > 1)
        status =
            pm_fail(PM_E_USAGE, "RUN is missing; %s has: %s", j->db, (const char *)c.list.bytes);
    pm_buffer_fini(&c.list);
    return status;
}

/* ---- what people should know ---- */

static pm_status take_number(void *user, size_t count, const pm_value *v) {
    (void)count;
    *(int64_t *)user = v[0].integer;
    return PM_OK;
}

static const char shared_sql[] =
    "SELECT count(*) FROM run_configuration AS rc WHERE rc.run_id = ?1 AND"
    " (SELECT max(g.count) FROM channel_gradient AS g"
    "  WHERE g.configuration_id = rc.configuration_id) >"
    " (SELECT count(DISTINCT i.image_id) FROM run JOIN data_set_item AS i"
    "  ON i.data_set_id = run.data_set_id WHERE run.run_id = ?1)";

static pm_status tell(const job *j) {
    int64_t shared = 0;
    const pm_value id = {.kind = PM_VALUE_INTEGER, .integer = j->run};
    const pm_query_sink sink = {.user = &shared, .row = take_number};
    if (strcmp(j->state, "done") != 0)
        fprintf(stderr,
                "parchmill export: run %" PRId64 " is %s: the export has what is there, %" PRId64
                " of %" PRId64 " images\n",
                j->run, j->state, j->items_done, j->items);
    if (j->form == NPY || (j->table && strcmp(j->table, "channels") != 0)) return PM_OK;
    pm_status status = pm_query_run(j->query, shared_sql, &id, 1, &sink, NULL);
    if (!status && shared)
        fprintf(stderr,
                "parchmill export: channel_gradient of %" PRId64 " configuration%s is over images "
                "of other runs, too (count says how many)\n",
                shared, shared == 1 ? "" : "s");
    return status;
}

/* ---- the work ---- */

static const char *plural(size_t count) { return count == 1 ? "" : "s"; }

static pm_status write_tables(const job *j, const pm_export_run *run) {
    pm_out *out = NULL;
    size_t rows = 0;
    pm_rows_format format = j->form == CSV ? PM_ROWS_CSV : PM_ROWS_JSONL;
    pm_status status = pm_out_open(j->path, j->table ? PM_OUT_FILE : PM_OUT_FOLDER, j->force, &out);
    if (!status)
        status = j->table ? pm_export_table(run, format, j->table, out, &rows)
                          : pm_export_tables(run, format, out, &rows);
    status = pm_out_end(&out, status);
    if (!status && strcmp(j->path, "-") != 0)
        printf("run %" PRId64 " is in %s: %zu row%s of %s\n", j->run, j->path, rows, plural(rows),
               j->table ? j->table : "results");
    return status;
}

static pm_status write_arrays(const job *j, const pm_export_run *run) {
    pm_out *out = NULL;
    pm_export_arrays_told told;
    pm_status status = pm_out_open(j->path, PM_OUT_FOLDER, j->force, &out);
    if (!status) status = pm_export_arrays(run, out, &told);
    status = pm_out_end(&out, status);
    if (status) return status;
    if (!told.heat_maps)
        fputs("parchmill export: the run kept no heat maps; the same run again with --heatmaps f16 "
              "adds them\n",
              stderr);
    if (!told.vectors)
        fputs("parchmill export: the run kept no channel vectors; the same run again with "
              "--channels full adds them\n",
              stderr);
    printf("run %" PRId64 " is in %s: %zu array%s, %zu row%s in index.csv\n", j->run, j->path,
           told.heat_maps + told.vectors, plural(told.heat_maps + told.vectors), told.rows,
           plural(told.rows));
    return PM_OK;
}

/* Only what is written can be full, and SQLite does not say which file that is. */
static pm_status extract(const job *j, const char *target, const char *name) {
    pm_status status =
        pm_store_extract(j->db, (uint64_t)j->run, j->without, &pm_stop_asked, target);
    return status == PM_E_FULL ? pm_fail_in(status, "%s", name) : status;
}

static pm_status write_database(const job *j) {
    pm_out *out = NULL;
    pm_status status = pm_out_open(j->path, PM_OUT_FILE, j->force, &out);
    if (!status) status = extract(j, pm_out_temporary(out), j->path);
    status = pm_out_end(&out, status);
    if (!status) printf("run %" PRId64 " is in %s\n", j->run, j->path);
    return status;
}

/* The run alone, in a database that is there while the script is written: beside the script, or
 * where temporary files go; in a folder that nobody else may enter. */
typedef struct scratch {
    char *folder, *path; /* NULL before they are there */
} scratch;

static pm_status make_scratch(const job *j, scratch *s) {
    const char *temporary = getenv("TMPDIR");
    bool piped = strcmp(j->path, "-") == 0;
    char *folder = NULL;
    int n = piped ? asprintf(&folder, "%s/parchmill-export-XXXXXX", temporary ? temporary : "/tmp")
                  : asprintf(&folder, "%s.db.tmp-XXXXXX", j->path);
    if (n < 0) return pm_fail(PM_E_MEMORY, "no memory for a name");
    if (!mkdtemp(folder)) {
        pm_status status = pm_file_fail(folder, errno);
        free(folder);
        return status;
    }
    s->folder = folder;
    if (asprintf(&s->path, "%s/run.db", folder) < 0) {
        s->path = NULL;
        return pm_fail(PM_E_MEMORY, "no memory for a name");
    }
    return extract(j, s->path, s->path);
}

static void remove_scratch(scratch *s) {
    if (s->path) unlink(s->path);
    if (s->folder) rmdir(s->folder);
    free(s->path);
    free(s->folder);
}

static pm_status write_script(const job *j) {
    pm_out *out = NULL;
    FILE *stream = NULL;
    scratch s = {0};
    pm_query *query = NULL;
    const pm_query_limits limits = {.stop = &pm_stop_asked};
    pm_status status = pm_out_open(j->path, PM_OUT_FILE, j->force, &out);
    if (!status) status = make_scratch(j, &s);
    if (!status) status = pm_query_open(s.path, &limits, &query);
    if (!status) status = pm_out_stream(out, NULL, &stream);
    if (!status) status = pm_export_postgres(query, j->run, stream);
    if (out) status = pm_out_close(out, NULL, &stream, status);
    status = pm_out_end(&out, status);
    pm_query_close(&query);
    remove_scratch(&s);
    if (!status && strcmp(j->path, "-") != 0)
        printf("run %" PRId64 " is in %s: psql -1 -f %s\n", j->run, j->path, j->path);
    return status;
}

static pm_status write_form(const job *j) {
    const pm_export_run run = {j->run, j->query, j->name, j->state};
    switch (j->form) {
    case CSV:
    case JSONL: return write_tables(j, &run);
    case NPY: return write_arrays(j, &run);
    case SQLITE: return write_database(j);
    case POSTGRES: return write_script(j);
    }
    return PM_OK;
}

static pm_status work(job *j) {
    const pm_query_limits limits = {.stop = &pm_stop_asked};
    pm_status status = pm_query_open(j->db, &limits, &j->query);
    if (!status) status = pm_query_current(j->query, j->db);
    if (!status) status = pm_query_hold(j->query);
    if (!status) status = choose_run(j);
    if (!status) status = write_form(j);
    return status ? status : tell(j);
}

int pm_cmd_export(const pm_options *options) {
    job j = {0};
    pm_status status = read_options(options, &j);
    pm_stop_catch();
    if (!status) status = work(&j);
    pm_query_close(&j.query);
    if (status && pm_stop_asked) {
        fputs("parchmill export: stopped\n", stderr);
        return PM_EXIT_INTERRUPTED;
    }
    return status ? pm_command_failed("export", status) : PM_EXIT_OK;
}
