/* What is kept of a run at its end: the same as the views compute, and spoiled by what changes. */
#include <math.h>
#include <sqlite3.h>

#include "lib/store/db.h"
#include "tests/store/fixture.h"

static const plan evaluated = {.items = 12,
                               .configs = 3,
                               .channels = PM_CHANNELS_SUMMARY,
                               .task_items = 4,
                               .evaluation = "zero:0,0.5,1"};

/* Nothing is summarised: the views compute. The store is closed; only derived rows are touched. */
static void forget(const scratch *s) {
    sqlite3 *db;
    assert_int_equal(sqlite3_open(s->path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "UPDATE run SET summarised = 0", NULL, NULL, NULL), 0);
    sqlite3_close(db);
}

typedef struct answer {
    size_t count, capacity;
    pm_value *values; /* texts are copies */
} answer;

static pm_status keep(void *user, size_t count, const pm_value *values) {
    answer *a = user;
    for (size_t i = 0; i < count; i++) {
        if (a->count == a->capacity) {
            a->capacity = a->capacity ? 2 * a->capacity : 64;
            a->values = realloc(a->values, a->capacity * sizeof *a->values);
            assert_non_null(a->values);
        }
        a->values[a->count] = values[i];
        if (values[i].kind == PM_VALUE_TEXT)
            a->values[a->count].text = strndup(values[i].text, values[i].size);
        a->count++;
    }
    return PM_OK;
}

static answer all_of(const scratch *s, const char *sql) {
    answer out = {0};
    pm_query *query = NULL;
    const pm_query_sink sink = {.user = &out, .row = keep};
    assert_int_equal(pm_query_open(s->path, &pm_query_default_limits, &query), PM_OK);
    assert_int_equal(pm_query_run(query, sql, NULL, 0, &sink, NULL), PM_OK);
    pm_query_close(&query);
    return out;
}

static void release(answer *a) {
    for (size_t i = 0; i < a->count; i++)
        if (a->values[i].kind == PM_VALUE_TEXT) free((char *)(uintptr_t)a->values[i].text);
    free(a->values);
}

static void same_value(const pm_value *a, const pm_value *b, const char *sql, size_t at) {
    if (a->kind == PM_VALUE_TEXT && b->kind == PM_VALUE_TEXT && strcmp(a->text, b->text) == 0)
        return;
    if (a->kind == PM_VALUE_NULL && b->kind == PM_VALUE_NULL) return;
    if (a->kind == PM_VALUE_INTEGER && b->kind == PM_VALUE_INTEGER && a->integer == b->integer)
        return;
    /* The views take the variance from squares, which loses half of the digits, and t from a series
     * (schema/sql/0008), which is right to 1e-4. */
    if (a->kind == PM_VALUE_REAL && b->kind == PM_VALUE_REAL &&
        fabs(a->real - b->real) <= 1e-4 * fabs(a->real) + 1e-7)
        return;
    fail_msg("%s: value %zu: %.17g and %.17g", sql, at, a->real, b->real);
}

static const char *const questions[] = {
    "SELECT * FROM score ORDER BY run, configuration, measure",
    "SELECT * FROM curve ORDER BY run, configuration, curve, ratio",
    "SELECT * FROM layer_gradient_mean ORDER BY run, configuration, conv",
    "SELECT * FROM timing ORDER BY run, worker"};

static void kept_and_computed_answers_are_the_same(void **state) {
    scratch *s = *state;
    answer kept[4];
    pm_store *store = open_store(s);
    whole_run(store, &evaluated);
    close_store(&store);
    assert_int_equal(ask(s, "SELECT summarised FROM run"), 1);
    for (size_t q = 0; q < 4; q++) kept[q] = all_of(s, questions[q]);
    forget(s);
    for (size_t q = 0; q < 4; q++) {
        answer computed = all_of(s, questions[q]);
        assert_int_equal(kept[q].count, computed.count);
        assert_true(kept[q].count > 0);
        for (size_t i = 0; i < computed.count; i++)
            same_value(&kept[q].values[i], &computed.values[i], questions[q], i);
        release(&kept[q]);
        release(&computed);
    }
}

/* By plain SQL over the results, as anybody would write it. */
static void scores_are_those_of_the_results(void **state) {
    scratch *s = *state;
    pm_store *store = open_store(s);
    whole_run(store, &evaluated);
    close_store(&store);
    assert_int_equal(ask(s, "SELECT count(*) FROM score"), 3 * 12);
    assert_int_equal(
        ask(s, "SELECT count(*) FROM score AS s WHERE measure = 'mu_in_w' AND n ="
               " (SELECT count(mu_in_w) FROM result WHERE configuration_id = s.configuration) AND"
               " missing = (SELECT count(*) - count(mu_in_w) FROM result WHERE configuration_id ="
               " s.configuration) AND abs(mean - (SELECT avg(mu_in_w) FROM result WHERE"
               " configuration_id = s.configuration)) < 1e-12 AND missing > 0 AND n > 0"),
        3);
    assert_int_equal(
        ask(s, "SELECT count(*) FROM score AS s WHERE measure = 'accuracy' AND abs(mean -"
               " (SELECT avg(predicted = label) FROM result JOIN image USING (image_id) WHERE"
               " configuration_id = s.configuration)) < 1e-12"),
        3);
    /* Differences of pairs, by a plain join. */
    assert_int_equal(
        ask(s, "SELECT count(*) FROM paired_difference AS d WHERE measure = 'deletion_auc' AND"
               " abs(delta - (SELECT avg(y.deletion_auc - x.deletion_auc) FROM result AS x JOIN"
               " result AS y USING (image_id) WHERE x.configuration_id = d.a AND"
               " y.configuration_id = d.b)) < 1e-12"),
        6);
}

/* Submits; all but item 3, which fails, is recorded. */
static uint64_t run_with_an_error(pm_store *store, const plan *p) {
    pm_op *op = submit_op(p);
    apply(store, op, PM_OK);
    const uint64_t run = op->submit.run_id;
    for (size_t t = 0; t < op->submit.made.count; t++) {
        const pm_task_row *task = &op->submit.made.rows[t];
        for (uint64_t item = task->next_item; item < task->end_item; item++) {
            pm_op *record = item == 3 ? record_error_op(p, task, item) : record_op(p, task, item);
            apply(store, record, PM_OK);
            pm_op_free(&record);
        }
    }
    pm_op_free(&op);
    op = run_op(PM_OP_FINISH, run);
    apply(store, op, PM_OK);
    pm_op_free(&op);
    return run;
}

static void a_retry_and_another_evaluation_spoil_what_was_kept(void **state) {
    scratch *s = *state;
    plan other = evaluated;
    pm_store *store = open_store(s);
    const uint64_t run = run_with_an_error(store, &evaluated);
    assert_int_equal(ask(s, "SELECT summarised FROM run"), 1);
    assert_int_equal(ask(s, "SELECT n FROM score WHERE measure = 'p_target' LIMIT 1"), 11);

    pm_op *op = run_op(PM_OP_RETRY, run);
    apply(store, op, PM_OK);
    assert_int_equal(ask(s, "SELECT summarised FROM run"), 0);
    for (size_t t = 0; t < op->run.made.count; t++) {
        pm_op *record =
            record_op(&evaluated, &op->run.made.rows[t], op->run.made.rows[t].next_item);
        apply(store, record, PM_OK);
        pm_op_free(&record);
    }
    pm_op_free(&op);
    op = run_op(PM_OP_FINISH, run);
    apply(store, op, PM_OK);
    pm_op_free(&op);
    assert_int_equal(ask(s, "SELECT summarised FROM run"), 1);
    assert_int_equal(ask(s, "SELECT n FROM score WHERE measure = 'p_target' LIMIT 1"), 12);

    /* The same results with other curves: those of the first run are no more. */
    other.evaluation = "zero:0,0.25";
    other.name = "again";
    whole_run(store, &other);
    assert_int_equal(ask(s, "SELECT count(*) FROM run WHERE summarised = 1"), 1);
    assert_int_equal(ask(s, "SELECT count(*) FROM curve WHERE run = 1 AND ratio = 0.5"), 0);
    assert_int_equal(ask(s, "SELECT count(*) FROM curve WHERE run = 1 AND ratio = 0.25"), 6);
    close_store(&store);
}

/* Two runs over the same; one's retry takes a result away from the other, and brings it back. */
static void what_a_retry_brings_back_is_in_the_other_runs_summary(void **state) {
    scratch *s = *state;
    pm_store *store = open_store(s);
    const uint64_t first = run_with_an_error(store, &evaluated);
    plan twin = evaluated; /* takes the error as it is: nothing is open */
    twin.name = "twin";
    twin.items = 3;
    const uint64_t second = whole_run(store, &twin);
    twin.items = 12;
    twin.name = "whole";
    pm_op *op = run_op(PM_OP_RETRY, first);
    apply(store, op, PM_OK);
    assert_int_equal(op->run.made.count, 1);
    /* In between everybody's summary is written anew, without the result that is away. */
    pm_op *refresh = run_op(PM_OP_REFRESH, second);
    apply(store, refresh, PM_OK);
    pm_op_free(&refresh);
    assert_int_equal(ask(s, "SELECT summarised FROM run WHERE run_id = 2"), 1);
    pm_op *record = record_op(&evaluated, &op->run.made.rows[0], op->run.made.rows[0].next_item);
    apply(store, record, PM_OK);
    pm_op_free(&record);
    pm_op_free(&op);
    /* Item 3 is none of the second run's images: what is kept of it still holds. */
    assert_int_equal(ask(s, "SELECT summarised FROM run WHERE run_id = 2"), 1);
    op = run_op(PM_OP_FINISH, first);
    apply(store, op, PM_OK);
    pm_op_free(&op);

    /* Now a run that has all of them. */
    const uint64_t third = whole_run(store, &twin);
    assert_int_equal(third, 3);
    sqlite3 *db;
    close_store(&store);
    assert_int_equal(sqlite3_open(s->path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db,
                                  "DELETE FROM perturbation WHERE image_id = 4;"
                                  "DELETE FROM layer_gradient WHERE image_id = 4;"
                                  "UPDATE result SET error = 'x', stage = 'compute', reason ="
                                  " 'x', p_target = NULL, p_predicted = NULL, target = NULL,"
                                  " predicted = NULL WHERE image_id = 4",
                                  NULL, NULL, NULL),
                     SQLITE_OK);
    sqlite3_close(db);
    store = open_store(s);
    op = run_op(PM_OP_RETRY, first);
    apply(store, op, PM_OK);
    assert_int_equal(op->run.made.count, 1);
    refresh = run_op(PM_OP_REFRESH, third);
    apply(store, refresh, PM_OK);
    pm_op_free(&refresh);
    assert_int_equal(ask(s, "SELECT summarised FROM run WHERE run_id = 3"), 1);
    assert_int_equal(ask(s, "SELECT n FROM score WHERE run = 3 AND measure = 'p_target' LIMIT 1"),
                     11);
    record = record_op(&evaluated, &op->run.made.rows[0], op->run.made.rows[0].next_item);
    apply(store, record, PM_OK);
    pm_op_free(&record);
    pm_op_free(&op);
    assert_int_equal(ask(s, "SELECT summarised FROM run WHERE run_id = 3"), 0);
    assert_int_equal(ask(s, "SELECT n FROM score WHERE run = 3 AND measure = 'p_target' LIMIT 1"),
                     12);
    close_store(&store);
}

static void a_photograph_that_stands_twice_counts_once(void **state) {
    scratch *s = *state;
    sqlite3 *db;
    pm_store *store = open_store(s);
    const uint64_t run = whole_run(store, &evaluated);
    close_store(&store);
    assert_int_equal(sqlite3_open(s->path, &db), SQLITE_OK);
    assert_int_equal(
        sqlite3_exec(db, "UPDATE data_set_item SET image_id = 1 WHERE item = 5", NULL, NULL, NULL),
        SQLITE_OK);
    sqlite3_close(db);
    forget(s);
    for (int kept = 0; kept < 2; kept++) {
        assert_int_equal(ask(s, "SELECT n FROM score WHERE measure = 'p_target' LIMIT 1"), 11);
        assert_int_equal(ask(s, "SELECT n FROM curve LIMIT 1"), 11);
        assert_int_equal(ask(s, "SELECT images FROM layer_gradient_mean LIMIT 1"), 11);
        assert_int_equal(ask(s, "SELECT sum(results) FROM timing"), 33);
        assert_int_equal(ask(s, "SELECT n FROM paired_difference WHERE a = 1 AND b = 2 AND"
                                " measure = 'deletion_auc'"),
                         11);
        store = open_store(s);
        pm_op *op = run_op(PM_OP_SUMMARISE, run);
        apply(store, op, PM_OK);
        pm_op_free(&op);
        close_store(&store);
    }
    assert_int_equal(ask(s, "SELECT summarised FROM run"), 1);
}

/* As after a large run, whose slices a change comes between. */
static void a_change_in_between_has_it_begin_anew(void **state) {
    scratch *s = *state;
    sqlite3 *db;
    pm_store *store = open_store(s);
    const uint64_t run = whole_run(store, &evaluated);
    close_store(&store);
    assert_int_equal(sqlite3_open(s->path, &db), SQLITE_OK);
    /* Two of three configurations written, then a change. */
    assert_int_equal(sqlite3_exec(db,
                                  "UPDATE run SET summarised = -3; DELETE FROM score_summary"
                                  " WHERE configuration_id = 3;"
                                  " DELETE FROM curve_summary WHERE configuration_id = 3;"
                                  " DELETE FROM layer_summary WHERE configuration_id = 3;"
                                  " DELETE FROM timing_summary",
                                  NULL, NULL, NULL),
                     0);
    sqlite3_close(db);
    store = open_store(s);
    pm_op *op = run_op(PM_OP_SUMMARISE, run);
    apply(store, op, PM_OK);
    assert_false(op->run.unfinished);
    pm_op_free(&op);
    assert_int_equal(ask(s, "SELECT summarised FROM run"), 1);
    assert_int_equal(ask(s, "SELECT count(*) FROM score"), 3 * 12);
    close_store(&store);
    assert_int_equal(sqlite3_open(s->path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "UPDATE run SET summarised = 0", NULL, NULL, NULL), 0);
    sqlite3_close(db);
    store = open_store(s);
    op = run_op(PM_OP_SUMMARISE, run); /* would break the primary keys if it did not clear them */
    apply(store, op, PM_OK);
    pm_op_free(&op);
    assert_int_equal(ask(s, "SELECT summarised FROM run"), 1);
    close_store(&store);
}

/* ---- more than a slice ---- */

enum { LARGE_ITEMS = 6000, GROUP = 200 };

/* All but its end. */
static uint64_t large_run(pm_store *store, const plan *p) {
    pm_op *submit = submit_op(p), *group[GROUP];
    size_t count = 0;
    apply(store, submit, PM_OK);
    const uint64_t run = submit->submit.run_id;
    for (size_t t = 0; t < submit->submit.made.count; t++) {
        const pm_task_row *task = &submit->submit.made.rows[t];
        for (uint64_t item = task->next_item; item < task->end_item; item++) {
            group[count++] = record_op(p, task, item);
            if (count < GROUP && item + 1 < task->end_item) continue;
            assert_int_equal(pm_store_apply(store, group, count), PM_OK);
            while (count) pm_op_free(&group[--count]);
        }
    }
    pm_op_free(&submit);
    return run;
}

static bool goes_on(pm_store *store, pm_op_kind kind, uint64_t run) {
    pm_op *op = run_op(kind, run);
    apply(store, op, PM_OK);
    const bool unfinished = op->run.unfinished;
    pm_op_free(&op);
    return unfinished;
}

static int refuse(void *user) {
    (void)user;
    return 1;
}

/* Two runs end at the same time: their slices take turns, and both come to their end; also where a
 * commit fails in between, or one is to be made anew. */
static void slices_of_two_runs_take_turns(void **state) {
    scratch *s = *state;
    const plan one = {.items = LARGE_ITEMS,
                      .configs = 2,
                      .channels = PM_CHANNELS_SUMMARY,
                      .task_items = LARGE_ITEMS};
    plan two = one;
    two.first_image = LARGE_ITEMS;
    two.name = "two";
    pm_store *store = open_store(s);
    const uint64_t runs[] = {large_run(store, &one), large_run(store, &two)};
    /* Some images are the work of two workers, some of either, some results nobody's. */
    assert_int_equal(
        sqlite3_exec(store->db,
                     "WITH k(i) AS (VALUES (101), (102)) INSERT INTO worker SELECT i,"
                     " printf('%032d', i), 'node:' || i, 'node', i, 1, 'avx512', '1', 0, 0 FROM k;"
                     "UPDATE result SET worker_id = CASE (image_id + configuration_id) % 3"
                     " WHEN 0 THEN NULL WHEN 1 THEN 101 ELSE 102 END",
                     NULL, NULL, NULL),
        SQLITE_OK);
    for (size_t i = 0; i < 2; i++) assert_true(goes_on(store, PM_OP_FINISH, runs[i]));
    assert_int_equal(ask(s, "SELECT sum(summarised) FROM run"), -2);
    assert_non_null(store->summaries);

    sqlite3_commit_hook(store->db, refuse, NULL);
    pm_op *op = run_op(PM_OP_SUMMARISE, runs[0]);
    assert_int_not_equal(pm_store_apply(store, &op, 1), PM_OK);
    pm_op_free(&op);
    sqlite3_commit_hook(store->db, NULL, NULL);
    assert_null(store->summaries); /* what it had read may not be so */

    bool open[] = {true, true};
    size_t slices = 0;
    for (; (open[0] || open[1]) && slices < 40; slices++)
        for (size_t i = 0; i < 2; i++)
            if (open[i])
                open[i] =
                    goes_on(store, slices == 1 && i ? PM_OP_REFRESH : PM_OP_SUMMARISE, runs[i]);
    assert_true(slices >= 4 && slices <= 10);
    assert_null(store->summaries);
    assert_int_equal(ask(s, "SELECT sum(summarised) FROM run"), 2);
    close_store(&store);

    answer kept[4];
    for (size_t q = 0; q < 4; q++) kept[q] = all_of(s, questions[q]);
    assert_int_equal(ask(s, "SELECT min(n + missing) FROM score"), LARGE_ITEMS);
    assert_int_equal(ask(s, "SELECT count(*) FROM timing"), 6);
    assert_int_equal(ask(s, "SELECT sum(results) FROM timing"), 4 * LARGE_ITEMS);
    assert_true(ask(s, "SELECT sum(images) FROM timing") > 2 * LARGE_ITEMS);
    forget(s);
    for (size_t q = 0; q < 4; q++) {
        answer computed = all_of(s, questions[q]);
        assert_int_equal(kept[q].count, computed.count);
        for (size_t i = 0; i < computed.count; i++)
            same_value(&kept[q].values[i], &computed.values[i], questions[q], i);
        release(&kept[q]);
        release(&computed);
    }
}

#define STORE_TEST(f) cmocka_unit_test_setup_teardown(f, scratch_set_up, scratch_tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        STORE_TEST(kept_and_computed_answers_are_the_same),
        STORE_TEST(scores_are_those_of_the_results),
        STORE_TEST(a_retry_and_another_evaluation_spoil_what_was_kept),
        STORE_TEST(what_a_retry_brings_back_is_in_the_other_runs_summary),
        STORE_TEST(a_photograph_that_stands_twice_counts_once),
        STORE_TEST(a_change_in_between_has_it_begin_anew),
        STORE_TEST(slices_of_two_runs_take_turns),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
