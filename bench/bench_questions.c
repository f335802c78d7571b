/* The ready-made queries on a large database.
 *
 *   bench/run questions [--results 10000000] [--images 100000] [--configurations 10] [--file DB]
 *
 * Fills a new database (the schema is the product's; the rows are made up, in bulk) with runs of
 * images x configurations results, each with 8 layers and two curves of 6 ratios, writes what a
 * run's end writes, then asks every ready-made query about the last run, each three times, and a
 * few about the whole file. A file that is there is asked as it is. */
#include <argp.h>
#include <inttypes.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "lib/base/text.h"
#include "lib/store/query.h"
#include "lib/store/store.h"
#include "tools/queries/catalogue.h"

enum { TRIES = 3, LAYERS = 8 };

typedef struct options {
    size_t results, images, configurations;
    const char *file;
} options;

static double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static void must(pm_status status) {
    if (!status) return;
    fprintf(stderr, "%s\n", pm_error_text());
    exit(1);
}

/* ---- filling ---- */

/* ?1 images, ?2 configurations, ?3 the run, from 1. u(k) is a number in [0, 1) of the row. */
#define NUMBERS(limit)                                                                             \
    "WITH RECURSIVE k(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM k WHERE i + 1 < " limit ")"
#define U(prime) "((k.i * " prime " + c.configuration_id * 7919) % 1000003 / 1000003.0)"

/* clang-format off */
static const char *const once[] = {
    "INSERT INTO model VALUES (1, 'resnet18', printf('%064d', 1), 46000000, 'resnet18.pth', 1000)",
    NUMBERS("8") " INSERT INTO layer SELECT i + 1, 1, i, 'layer' || i, 64 << (i / 2) FROM k",
    "INSERT INTO data_set VALUES (1, printf('%064d', 2), 'photographs', '/photographs', ?1)",
    NUMBERS("?1") " INSERT INTO image SELECT i + 1, printf('%064d', i), 100000, i % 1000, '', 500,"
                  " 375 FROM k",
    NUMBERS("?1") " INSERT INTO data_set_item SELECT 1, i, i + 1, printf('n%08d.JPEG', i) FROM k",
    NUMBERS("1000") " INSERT INTO class_name SELECT 1, i, 'class ' || i FROM k",
    NUMBERS("4") " INSERT INTO worker SELECT i + 1, printf('%032d', i), 'node:' || i, 'node', i, 8,"
                 " 'avx512', '1', 0, 0 FROM k",
    NULL};

static const char *const each_run[] = {
    "INSERT INTO run (run_id, request_id, name, model_id, data_set_id, engine_version, channels,"
    " heat_maps, data_root, weights_path, statistics_path, foreground, task_items, results_reused,"
    " state, items_dropped, submitted_ms, finished_ms, evaluation) VALUES (?3, printf('%064d', ?3),"
    " '', 1, 1, '1', 'summary', 'none', '', '', '', 0, 8, 0, 'done', 0, 0, 1, 'zero:0.1')",
    NUMBERS(
        "?2") " INSERT INTO configuration (configuration_id, sha256, engine_version, text, label,"
              " model_id, method, mask, layers, target, resize, crop, filter, quantile)"
              " SELECT (?3 - 1) * ?2 + i + 1, printf('%064d', (?3 - 1) * ?2 + i), '1', '{}',"
              " 'cls q0.' || i, 1, 'grad', 'cls', 'default', 'label', 256, 224, 'bilinear',"
              " i / 10.0 FROM k",
    NUMBERS("?2") " INSERT INTO run_configuration SELECT ?3, i, (?3 - 1) * ?2 + i + 1 FROM k",
    NUMBERS(
        "?1") " INSERT INTO result (configuration_id, image_id, run_id, target, predicted,"
              " p_target, p_predicted, mu_in, mu_in_w, mu_out, mu_out_w, compute_ms, worker_id,"
              " recorded_ms, channels_kept, heat_map_kept, evaluation, deletion_auc,"
              " insertion_auc, pointing)"
              " SELECT c.configuration_id, k.i + 1, ?3, k.i % 1000, (k.i + (k.i % 3 = 0)) % "
              "1000," U("13") ", " U("17") ", " U("19") ", 3 * " U("23") ", 1 - " U(
                  "19") ", " U("29") ", 50 + 9 * " U("31") ", k.i % 4 + 1, k.i, 1, 0, "
                                                           "'zero:0.1', " U("37") ", " U("41") ", "
                                                                                               "k."
                                                                                               "i "
                                                                                               "% 2"
                                                                                               " FR"
                                                                                               "OM "
                                                                                               "run"
                                                                                               "_co"
                                                                                               "nfi"
                                                                                               "gur"
                                                                                               "ati"
                                                                                               "on "
                                                                                               "AS "
                                                                                               "c "
                                                                                               "CRO"
                                                                                               "SS "
                                                                                               "JOI"
                                                                                               "N "
                                                                                               "k "
                                                                                               "WHE"
                                                                                               "RE "
                                                                                               "c."
                                                                                               "run"
                                                                                               "_id"
                                                                                               " = "
                                                                                               "?3",
    NUMBERS("?1") " INSERT INTO layer_gradient SELECT c.configuration_id, k.i + 1, l.layer_id,"
                  " l.channels / 10, " U("13") ", " U("17") ", 1 + " U("19") ", 1 + " U(
                      "19") ", 0, " U("23") ", " U("23") " FROM run_configuration AS c CROSS JOIN "
                                                         "k CROSS JOIN layer AS l"
                                                         " WHERE c.run_id = ?3",
    NUMBERS(
        "?1") " INSERT INTO perturbation (configuration_id, image_id, curve, ratio, aopc, lodds,"
              " fracdiff, correct, p_target) SELECT c.configuration_id, k.i + 1, v.column1,"
              " r.column1, r.column1 * " U("13") ", -" U("17") ", " U("19") ", k.i % 2, " U(
                  "23") " FROM run_configuration AS c CROSS JOIN k"
                        " CROSS JOIN (VALUES ('lerf'), ('morf')) AS v CROSS JOIN (VALUES (0.0), "
                        "(0.1),"
                        " (0.2), (0.3), (0.4), (0.5)) AS r WHERE c.run_id = ?3",
    "INSERT INTO channel_gradient SELECT c.configuration_id, l.layer_id, -1, s.value, ?1,"
    " 1e-6 * (s.value * 7919 % 1000), 1e-7, 0, 1e-3, s.value * 31 % ?1"
    " FROM run_configuration AS c CROSS JOIN layer AS l CROSS JOIN"
    " (WITH RECURSIVE n(value) AS (SELECT 0 UNION ALL SELECT value + 1 FROM n WHERE value < 511)"
    "  SELECT value FROM n) AS s WHERE c.run_id = ?3 AND s.value < l.channels",
    NULL};

/* clang-format on */

static void check(sqlite3 *db, int code) {
    if (code == SQLITE_OK || code == SQLITE_DONE) return;
    fprintf(stderr, "%s\n", sqlite3_errmsg(db));
    exit(1);
}

static void execute(sqlite3 *db, const char *const *list, const options *o, size_t run) {
    for (size_t i = 0; list[i]; i++) {
        sqlite3_stmt *statement = NULL;
        check(db, sqlite3_prepare_v2(db, list[i], -1, &statement, NULL));
        const size_t values[] = {o->images, o->configurations, run};
        for (int v = 0; v < sqlite3_bind_parameter_count(statement); v++)
            check(db, sqlite3_bind_int64(statement, v + 1, (sqlite3_int64)values[v]));
        check(db, sqlite3_step(statement));
        sqlite3_finalize(statement);
    }
}

static void fill(const options *o) {
    pm_store *store = NULL;
    sqlite3 *db = NULL;
    const size_t runs = o->results / (o->images * o->configurations);
    const double begin = seconds();
    must(pm_store_open(o->file, &store));
    must(pm_store_close(&store));
    check(NULL, sqlite3_open(o->file, &db));
    sqlite3_exec(db,
                 "PRAGMA synchronous = OFF; PRAGMA journal_mode = OFF; PRAGMA cache_size = "
                 "-500000; BEGIN",
                 NULL, NULL, NULL);
    execute(db, once, o, 0);
    for (size_t run = 1; run <= runs; run++) {
        execute(db, each_run, o, run);
        fprintf(stderr, "run %zu of %zu: %.0f s\n", run, runs, seconds() - begin);
    }
    sqlite3_exec(db, "COMMIT", NULL, NULL, NULL);
    sqlite3_close(db);
}

/* What the end of a run writes, of every run. */
static void summarise(const options *o) {
    pm_store *store = NULL;
    const size_t runs = o->results / (o->images * o->configurations);
    must(pm_store_open(o->file, &store));
    for (size_t run = 1; run <= runs; run++) {
        const double begin = seconds();
        double longest = 0;
        size_t slices = 0;
        for (bool unfinished = true; unfinished; slices++) {
            const double from = seconds();
            pm_op *op = pm_op_new(PM_OP_SUMMARISE);
            op->run.run_id = run;
            must(pm_store_apply(store, &op, 1));
            must(op->status);
            unfinished = op->run.unfinished;
            pm_op_free(&op);
            longest = seconds() - from > longest ? seconds() - from : longest;
        }
        printf("summary of run %zu: %.1f s in %zu transactions, the longest %.2f s\n", run,
               seconds() - begin, slices, longest);
    }
    must(pm_store_close(&store));
}

/* ---- asking ---- */

static pm_status count_row(void *user, size_t count, const pm_value *values) {
    (void)count;
    (void)values;
    ++*(size_t *)user;
    return PM_OK;
}

static pm_status ask_query(void *user, const char *sql, const pm_value *parameters, size_t count,
                           const pm_query_sink *sink) {
    return pm_query_run(user, sql, parameters, count, sink, NULL);
}

static void time_one(pm_query *query, const char *name, const char *sql, const pm_value *values,
                     size_t count) {
    double least = 1e9, most = 0;
    size_t rows = 0;
    for (int i = 0; i < TRIES; i++) {
        const pm_query_sink sink = {.user = &rows, .row = count_row};
        rows = 0;
        const double begin = seconds();
        must(pm_query_run(query, sql, values, count, &sink, NULL));
        const double took = seconds() - begin;
        least = took < least ? took : least;
        most = took > most ? took : most;
    }
    printf("%-24s %8zu rows  %8.3f .. %.3f s\n", name, rows, least, most);
    fflush(stdout);
}

static void ask(const options *o) {
    pm_query *query = NULL;
    const pm_query_limits none = {0};
    must(pm_query_open(o->file, &none, &query));
    for (size_t i = 0; i < pm_ready_count; i++) {
        pm_ready ready;
        pm_value values[PM_READY_PARAMETERS];
        char name[PM_READY_LINE];
        const pm_asker asker = {.user = query, .ask = ask_query};
        must(pm_ready_at(i, &ready));
        if (pm_ready_values(&ready, &asker, NULL, 0, name, values)) continue;
        time_one(query, ready.name, ready.sql, values, ready.parameter_count);
    }
    time_one(query, "file: results", "SELECT count(*) FROM result", NULL, 0);
    time_one(query, "file: mean by run",
             "SELECT run, avg(mean) FROM score WHERE measure = 'mu_in_w'"
             " GROUP BY run",
             NULL, 0);
    time_one(query, "file: time spent", "SELECT worker, sum(results) FROM timing GROUP BY worker",
             NULL, 0);
    time_one(query, "file: by prediction",
             "SELECT predicted, count(*), avg(mu_in_w) FROM result GROUP BY predicted", NULL, 0);
    pm_query_close(&query);
}

static error_t parse(int key, char *arg, struct argp_state *state) {
    options *o = state->input;
    switch (key) {
    case 'r': must(pm_parse_size("--results", arg, &o->results)); return 0;
    case 'i': must(pm_parse_size("--images", arg, &o->images)); return 0;
    case 'c': must(pm_parse_size("--configurations", arg, &o->configurations)); return 0;
    case 'f': o->file = arg; return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

int main(int argc, char **argv) {
    const struct argp_option list[] = {
        {"results", 'r', "N", 0, "results in the file (10000000)", 0},
        {"images", 'i', "N", 0, "images of each run (100000)", 0},
        {"configurations", 'c', "N", 0, "configurations of each run (10)", 0},
        {"file", 'f', "DB", 0, "the database (/var/tmp/parchmill-questions.db)", 0},
        {0}};
    const struct argp how = {list, parse, NULL, "The ready-made queries on a large database.",
                             NULL, NULL,  NULL};
    options o = {.results = 10000000,
                 .images = 100000,
                 .configurations = 10,
                 .file = "/var/tmp/parchmill-questions.db"};
    argp_parse(&how, argc, argv, 0, NULL, &o);
    if (access(o.file, F_OK) != 0) {
        fill(&o);
        summarise(&o);
    }
    ask(&o);
    return 0;
}
