/* The ready-made queries: their heads, the values that they find, and plans without a scan of what
 * grows with results. */
#include <math.h>

#include "tests/store/fixture.h"
#include "tools/queries/catalogue.h"

static const plan evaluated = {.items = 12,
                               .configs = 3,
                               .channels = PM_CHANNELS_FULL,
                               .task_items = 4,
                               .evaluation = "zero:0,0.5,1"};

static pm_status ask_query(void *user, const char *sql, const pm_value *parameters, size_t count,
                           const pm_query_sink *sink) {
    return pm_query_run(user, sql, parameters, count, sink, NULL);
}

static pm_query *open_query(const scratch *s) {
    pm_query *query = NULL;
    assert_int_equal(pm_query_open(s->path, &pm_query_default_limits, &query), PM_OK);
    return query;
}

static void make_runs(const scratch *s) {
    plan second = evaluated;
    second.name = "second";
    second.items = 5;
    pm_store *store = open_store(s);
    whole_run(store, &evaluated);
    whole_run(store, &second);
    whole_run(store, &(plan){.items = 3, .configs = 1, .gather = true});
    close_store(&store);
}

/* Names in a plan that stand for no table of results: what a view has computed, constants, and the
 * tables that have a row a run, a configuration or a name. */
static bool may_scan(const char *detail) {
    static const char *const fine[] = {
        "rows",       "sums",  "moments", "tall",       "errors",      "m",
        "(subquery",  "run",   "s",       "statistics", "dead_letter", "channel_rank",
        "score_live", "means", "counts",  "shares",     "ranked",      "within",
        "overall",    "c",     "v",       "curve_live", "layer_live",  "timing_live"};
    char word[64];
    if (sscanf(detail, "SCAN %63s", word) != 1) return true;
    if (strstr(detail, "CONSTANT ROW")) return true;
    for (size_t i = 0; i < sizeof fine / sizeof *fine; i++)
        if (strncmp(word, fine[i], strlen(fine[i])) == 0 &&
            (fine[i][0] == '(' || word[strlen(fine[i])] == 0))
            return true;
    return false;
}

typedef struct plan_steps {
    const char *query;
    size_t count;
    bool per_result; /* we are inside the loop over results or gradients */
} plan_steps;

/* A whole data set for each result would be as bad as a scan. */
static void check_items(plan_steps *steps, const char *detail) {
    if (strncmp(detail, "SEARCH run ", 11) == 0) steps->per_result = false;
    if (strncmp(detail, "SEARCH r ", 9) == 0 || strncmp(detail, "SEARCH g ", 9) == 0)
        steps->per_result = true;
    if (steps->per_result && strcmp(detail, "SEARCH i USING PRIMARY KEY (data_set_id=?)") == 0)
        fail_msg("%s: all items for each result", steps->query);
}

static pm_status take_step(void *user, size_t count, const pm_value *values) {
    plan_steps *steps = user;
    assert_int_equal(count, 4);
    steps->count++;
    check_items(steps, values[3].text);
    if (!may_scan(values[3].text)) fail_msg("%s: %s", steps->query, values[3].text);
    return PM_OK;
}

static void no_question_scans_what_grows_with_results(void **state) {
    scratch *s = *state;
    make_runs(s);
    pm_query *query = open_query(s);
    assert_true(pm_ready_count > 15);
    for (size_t i = 0; i < pm_ready_count; i++) {
        pm_ready ready;
        char sql[8192];
        assert_int_equal(pm_ready_at(i, &ready), PM_OK);
        plan_steps steps = {.query = ready.name};
        const pm_query_sink sink = {.user = &steps, .row = take_step};
        snprintf(sql, sizeof sql, "EXPLAIN QUERY PLAN %s", ready.sql);
        if (pm_query_run(query, sql, NULL, 0, &sink, NULL)) fail_msg("%s", pm_error_text());
        assert_true(steps.count > 0);
    }
    pm_query_close(&query);
}

static void every_view_for_people_has_a_question(void **state) {
    scratch *s = *state;
    pm_store *store = open_store(s);
    close_store(&store);
    for (size_t i = 0; i < pm_ready_count; i++) {
        pm_ready ready;
        char sql[200];
        assert_int_equal(pm_ready_at(i, &ready), PM_OK);
        snprintf(sql, sizeof sql, "SELECT count(*) FROM sqlite_schema WHERE name = '%s'",
                 ready.view);
        if (ask(s, sql) != 1) fail_msg("%s: there is no view %s", ready.name, ready.view);
    }
}

/* Nogueira's measure by its definition, over the H that the fixture gives: of the images of one
 * target, or of all (-1). NAN where H is empty or everything. */
static double stability_of(const int64_t *targets, int64_t target, size_t config, size_t first,
                           size_t channels) {
    double spread = 0, selected = 0, n = 0;
    for (size_t i = 0; i < evaluated.items; i++) n += target < 0 || targets[i] == target;
    for (size_t c = 0; c < channels; c++) {
        double p = 0;
        for (size_t i = 0; i < evaluated.items; i++)
            if (target < 0 || targets[i] == target) p += in_h_of(i, config, first + c) / n;
        spread += n / (n - 1) * p * (1 - p);
        selected += p;
    }
    const double d = (double)channels, share = selected / d;
    return 1 - spread / d / (share * (1 - share));
}

typedef struct stabilities {
    size_t rows;
    const int64_t *targets;
} stabilities;

static pm_status take_stability(void *user, size_t count, const pm_value *v) {
    stabilities *s = user;
    const size_t first[] = {0, CHANNELS_0}, channels[] = {CHANNELS_0, CHANNELS_1};
    const size_t layer = s->rows++;
    double sum = 0, classes = 0;
    assert_int_equal(count, 5);
    for (int64_t target = 0; target < 100; target++) {
        bool any = false;
        for (size_t i = 0; i < evaluated.items; i++) any = any || s->targets[i] == target;
        const double one =
            any ? stability_of(s->targets, target, 1, first[layer], channels[layer]) : NAN;
        if (isnan(one)) continue;
        sum += one;
        classes++;
    }
    assert_true(classes > 1);
    assert_true(fabs(v[3].real - sum / classes) <= 0.00051);
    assert_true(fabs(v[4].real - stability_of(s->targets, -1, 1, first[layer], channels[layer])) <=
                0.00051);
    return PM_OK;
}

static pm_status take_target(void *user, size_t count, const pm_value *v) {
    int64_t **next = user;
    (void)count;
    *(*next)++ = v[0].integer;
    return PM_OK;
}

static void stability_is_nogueiras(void **state) {
    scratch *s = *state;
    pm_ready ready;
    int64_t targets[64], *next = targets;
    stabilities seen = {.targets = targets};
    const pm_query_sink each = {.user = &next, .row = take_target};
    const pm_query_sink sink = {.user = &seen, .row = take_stability};
    const pm_value values[] = {{.kind = PM_VALUE_INTEGER, .integer = 1},
                               {.kind = PM_VALUE_INTEGER, .integer = 2}};
    make_runs(s);
    pm_query *query = open_query(s);
    assert_int_equal(pm_query_run(query,
                                  "SELECT target FROM result_wide WHERE run = 1 AND"
                                  " configuration = 2 ORDER BY image",
                                  NULL, 0, &each, NULL),
                     PM_OK);
    assert_int_equal(next - targets, evaluated.items);
    assert_int_equal(pm_ready_find("stability", &ready), PM_OK);
    if (pm_query_run(query, ready.sql, values, 2, &sink, NULL)) fail_msg("%s", pm_error_text());
    assert_int_equal(seen.rows, LAYERS);
    pm_query_close(&query);
}

static void values_that_are_not_given_are_found(void **state) {
    scratch *s = *state;
    pm_ready ready;
    pm_value values[PM_READY_PARAMETERS];
    char name[PM_READY_LINE];
    make_runs(s);
    pm_query *query = open_query(s);
    const pm_asker asker = {.user = query, .ask = ask_query};
    assert_int_equal(pm_ready_find("differences", &ready), PM_OK);
    assert_int_equal(ready.parameter_count, 3);
    /* The newest that attributes; run 3 gathers. */
    assert_int_equal(pm_ready_values(&ready, &asker, NULL, 0, name, values), PM_OK);
    assert_int_equal(values[0].integer, 2);
    assert_int_equal(values[1].integer, 1);
    assert_int_equal(values[2].integer, 2);
    const char *const words[] = {"1", "3", "1"};
    assert_int_equal(pm_ready_values(&ready, &asker, words, 3, name, values), PM_OK);
    assert_int_equal(values[0].integer, 1);
    assert_int_equal(values[1].integer, 3);
    assert_int_equal(values[2].integer, 1);
    pm_query_close(&query);
}

static void what_is_wrong_is_said(void **state) {
    scratch *s = *state;
    pm_ready ready;
    pm_value values[PM_READY_PARAMETERS];
    char name[PM_READY_LINE];
    pm_store *store = open_store(s);
    close_store(&store);
    pm_query *query = open_query(s);
    const pm_asker asker = {.user = query, .ask = ask_query};
    assert_int_equal(pm_ready_find("score", &ready), PM_E_USAGE);
    assert_non_null(strstr(pm_error_text(), "did you mean 'scores'"));
    assert_int_equal(pm_ready_find("differences", &ready), PM_OK);
    assert_int_equal(pm_ready_values(&ready, &asker, NULL, 0, name, values), PM_E_NOT_FOUND);
    pm_query_close(&query);
    make_runs(s);
    query = open_query(s);
    const pm_asker again = {.user = query, .ask = ask_query};
    const char *const run[] = {"9"}, *const zero[] = {"0"}, *const letters[] = {"x"},
                      *const other[] = {"1", "77"}, *const many[] = {"1", "1", "2", "3"};
    assert_int_equal(pm_ready_values(&ready, &again, run, 1, name, values), PM_E_NOT_FOUND);
    assert_int_equal(pm_ready_values(&ready, &again, zero, 1, name, values), PM_E_USAGE);
    assert_int_equal(pm_ready_values(&ready, &again, letters, 1, name, values), PM_E_USAGE);
    assert_int_equal(pm_ready_values(&ready, &again, other, 2, name, values), PM_E_USAGE);
    assert_non_null(strstr(pm_error_text(), "77"));
    assert_int_equal(pm_ready_values(&ready, &again, many, 4, name, values), PM_E_USAGE);
    assert_int_equal(pm_ready_find("normality", &ready), PM_OK);
    assert_int_equal(pm_ready_values(&ready, &again, NULL, 0, name, values), PM_E_NOT_FOUND);
    pm_query_close(&query);
}

#define STORE_TEST(f) cmocka_unit_test_setup_teardown(f, scratch_set_up, scratch_tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        STORE_TEST(no_question_scans_what_grows_with_results),
        STORE_TEST(every_view_for_people_has_a_question),
        STORE_TEST(stability_is_nogueiras),
        STORE_TEST(values_that_are_not_given_are_found),
        STORE_TEST(what_is_wrong_is_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
