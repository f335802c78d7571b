/* Owns the closing words of a run. */
#include "tools/run_summary.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "lib/store/query.h"
#include "tools/progress.h"

/* Images that failed, by reason, with one example each. */
static const char failures_sql[] =
    "SELECT r.stage, r.reason, count(DISTINCT i.item) AS images, min(i.path), min(r.error),"
    " min(r.hint)"
    " FROM run JOIN run_configuration AS rc USING (run_id)"
    " JOIN result AS r ON r.configuration_id = rc.configuration_id AND r.error IS NOT NULL"
    " JOIN data_set_item AS i ON i.image_id = r.image_id AND i.data_set_id = run.data_set_id"
    " WHERE run.run_id = ?1 GROUP BY r.stage, r.reason ORDER BY images DESC, r.reason LIMIT 8";

static double rate(const pm_run_summary *s) {
    uint64_t done = s->items_done - s->items_before;
    return s->seconds > 0 ? (double)done / s->seconds : 0;
}

static pm_status for_failures(const pm_run_summary *s, const pm_query_sink *sink) {
    pm_query *query = NULL;
    pm_value run = {.kind = PM_VALUE_INTEGER, .integer = (int64_t)s->run};
    pm_status status = pm_query_open(s->db, &pm_query_default_limits, &query);
    if (!status) status = pm_query_run(query, failures_sql, &run, 1, sink, NULL);
    pm_query_close(&query);
    return status;
}

static pm_status print_failure(void *user, size_t count, const pm_value *v) {
    (void)user;
    (void)count;
    printf("  %lld x %s: %s, for example %s\n", (long long)v[2].integer, v[0].text, v[1].text,
           v[4].text);
    if (v[5].kind == PM_VALUE_TEXT) printf("    %s\n", v[5].text);
    return PM_OK;
}

static pm_status add_failure(void *user, size_t count, const pm_value *v) {
    (void)count;
    json_array_append_new(user, json_pack("{s:s, s:s, s:I, s:s, s:s, s:s?}", "stage", v[0].text,
                                          "reason", v[1].text, "images", (json_int_t)v[2].integer,
                                          "image", v[3].text, "error", v[4].text, "hint",
                                          v[5].kind == PM_VALUE_TEXT ? v[5].text : NULL));
    return PM_OK;
}

static pm_status print_json(const pm_run_summary *s) {
    json_t *failures = json_array();
    pm_query_sink sink = {.user = failures, .row = add_failure};
    pm_status status = s->items_failed ? for_failures(s, &sink) : PM_OK;
    json_t *root = json_pack(
        "{s:I, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:f, s:f, s:I, s:o}", "run",
        (json_int_t)s->run, "state", s->cancelled ? "cancelled" : "done", "db", s->db, "images",
        (json_int_t)s->items, "configurations", (json_int_t)s->configurations, "results",
        (json_int_t)s->items_done * (json_int_t)s->configurations, "images_done",
        (json_int_t)s->items_done, "images_failed", (json_int_t)s->items_failed,
        "images_done_before", (json_int_t)s->items_before, "results_reused",
        (json_int_t)s->results_reused, "seconds", s->seconds, "images_per_second", rate(s),
        "restarts", (json_int_t)s->restarts, "failures", failures);
    if (!root) return pm_fail(PM_E_MEMORY, "no memory for the JSON");
    json_dumpf(root, stdout, JSON_INDENT(1) | JSON_REAL_PRECISION(6));
    fputc('\n', stdout);
    json_decref(root);
    return status;
}

static void print_counts(const pm_run_summary *s) {
    char duration[32];
    pm_duration_text(s->seconds, duration, sizeof duration);
    printf("run %" PRIu64 " %s: %" PRIu64 " image%s x %zu configuration%s = %" PRIu64 " results",
           s->run, s->cancelled ? "was cancelled" : "is done", s->items_done,
           s->items_done == 1 ? "" : "s", s->configurations, s->configurations == 1 ? "" : "s",
           s->items_done * s->configurations);
    if (s->items_failed)
        printf(", %" PRIu64 " image%s failed", s->items_failed, s->items_failed == 1 ? "" : "s");
    if (s->items_done == s->items_before)
        printf("; nothing was left to compute");
    else
        printf("; %s, %.3g images/s", duration, rate(s));
    if (s->items_before && s->items_done != s->items_before)
        printf(" (%" PRIu64 " were done before)", s->items_before);
    fputc('\n', stdout);
}

static void print_hints(const pm_run_summary *s) {
    printf("\nThe database is %s; broker and workers wrote %s.log. Ask it, for example:\n", s->db,
           s->db);
    printf("  parchmill sql --db %s 'SELECT * FROM run_progress'\n", s->db);
    printf("  parchmill sql --db %s 'SELECT configuration, count(*), avg(predicted = label) AS "
           "accuracy, avg(mu_in_w) FROM result_wide WHERE run = %" PRIu64
           " GROUP BY configuration'\n",
           s->db, s->run);
    printf("  parchmill sql --db %s 'SELECT layer, avg(variance_before), avg(variance_after) FROM "
           "layer_gradient_wide WHERE run = %" PRIu64 " GROUP BY conv'\n",
           s->db, s->run);
}

pm_status pm_run_summary_print(const pm_run_summary *s, const pm_options *options) {
    if (pm_options_flag(options, PM_OPT_JSON)) return print_json(s);
    if (pm_options_flag(options, PM_OPT_QUIET)) return PM_OK;
    print_counts(s);
    if (s->items_failed) {
        pm_query_sink sink = {.row = print_failure};
        pm_status status = for_failures(s, &sink);
        if (status) return status;
        printf("  they are rows with an error; `parchmill retry %" PRIu64
               " --db %s` and the same command try them again\n",
               s->run, s->db);
    }
    if (s->restarts)
        printf("  %zu time%s a broker or worker died and was started again\n", s->restarts,
               s->restarts == 1 ? "" : "s");
    print_hints(s);
    return PM_OK;
}

void pm_run_summary_stopped(const pm_run_summary *s, const pm_options *options) {
    if (pm_options_flag(options, PM_OPT_QUIET)) return;
    if (s->run)
        fprintf(stderr,
                "parchmill run: stopped with %" PRIu64 " of %" PRIu64
                " images done; the same command goes on from there\n",
                s->items_done, s->items);
    else
        fprintf(stderr, "parchmill run: stopped before the run was submitted; nothing is lost\n");
}
