/* What people change of a run: terms, retries by what failed, dead letters. */
#include "tests/store/fixture.h"

static const plan small = {.items = 6, .configs = 2, .task_items = 3, .name = "small"};

static pm_op *terms_op(uint64_t run_id) {
    pm_op *op = pm_op_new(PM_OP_TERMS);
    assert_non_null(op);
    op->terms.run_id = run_id;
    return op;
}

static pm_op *priority_op(uint64_t run_id, int priority) {
    pm_op *op = terms_op(run_id);
    op->terms.set_priority = true;
    op->terms.terms.priority = priority;
    return op;
}

static void terms_are_kept_and_each_is_changed_alone(void **state) {
    scratch *s = *state;
    pm_store *store = open_store(s);
    pm_op *submit = submit_op(&small);
    submit->submit.terms = (pm_run_terms){.priority = -7, .max_workers = 2};
    apply(store, submit, PM_OK);
    uint64_t run = submit->submit.run_id;
    pm_op_free(&submit);
    pm_op *op = priority_op(run, 9);
    apply(store, op, PM_OK);
    assert_true(op->terms.changed);
    assert_int_equal(op->terms.terms.max_workers, 2);
    apply(store, op, PM_OK); /* said again */
    assert_false(op->terms.changed);
    pm_op_free(&op);
    op = terms_op(run);
    op->terms.set_paused = op->terms.terms.paused = true;
    apply(store, op, PM_OK);
    assert_true(op->terms.changed);
    pm_op_free(&op);
    close_store(&store);
    assert_int_equal(ask(s, "SELECT priority * 100 + paused * 10 + max_workers FROM run"), 912);
    assert_int_equal(ask(s, "SELECT priority + paused + max_workers FROM run_progress"), 12);
    store = open_store(s);
    pm_run_row *rows = NULL;
    size_t count = 0;
    assert_int_equal(pm_store_load_queue(store, &rows, &count), PM_OK);
    assert_int_equal(count, 1);
    assert_int_equal(rows[0].terms.priority, 9);
    assert_true(rows[0].terms.paused);
    assert_int_equal(rows[0].terms.max_workers, 2);
    pm_run_row_fini(&rows[0]);
    free(rows);
    close_store(&store);
}

static void known_run_keeps_its_terms(void **state) {
    scratch *s = *state;
    pm_store *store = open_store(s);
    pm_op *submit = submit_op(&small);
    submit->submit.terms.priority = 5;
    apply(store, submit, PM_OK);
    uint64_t run = submit->submit.run_id;
    pm_op_free(&submit);
    submit = submit_op(&small);
    submit->submit.terms = (pm_run_terms){.priority = 50, .max_workers = 9};
    apply(store, submit, PM_OK);
    assert_true(submit->submit.existed);
    assert_int_equal(submit->submit.run_id, run);
    assert_int_equal(submit->submit.terms.priority, 5);
    assert_int_equal(submit->submit.terms.max_workers, 0);
    pm_op_free(&submit);
    close_store(&store);
    assert_int_equal(ask(s, "SELECT count(*) FROM run"), 1);
    assert_int_equal(ask(s, "SELECT priority FROM run"), 5);
}

static void terms_that_make_no_sense_are_refused(void **state) {
    scratch *s = *state;
    pm_store *store = open_store(s);
    pm_op *submit = submit_op(&small);
    submit->submit.terms.priority = 101;
    apply(store, submit, PM_E_USAGE);
    pm_op_free(&submit);
    pm_op *op = priority_op(1, 1);
    apply(store, op, PM_E_NOT_FOUND);
    pm_op_free(&op);
    uint64_t run = whole_run(store, &small);
    op = priority_op(run, 1);
    apply(store, op, PM_E_USAGE); /* it is done */
    pm_op_free(&op);
    submit = submit_op(&(plan){.items = 3, .configs = 1, .name = "other"});
    apply(store, submit, PM_OK);
    op = priority_op(submit->submit.run_id, -101);
    apply(store, op, PM_E_USAGE);
    pm_op_free(&op);
    pm_op_free(&submit);
    close_store(&store);
}

static void ended_run_is_not_paused_any_more(void **state) {
    scratch *s = *state;
    pm_store *store = open_store(s);
    pm_op *submit = submit_op(&small);
    apply(store, submit, PM_OK);
    pm_op *op = terms_op(submit->submit.run_id);
    op->terms.set_paused = op->terms.terms.paused = true;
    apply(store, op, PM_OK);
    pm_op *cancel = run_op(PM_OP_CANCEL, submit->submit.run_id);
    apply(store, cancel, PM_OK);
    pm_op_free(&cancel);
    pm_op_free(&op);
    pm_op_free(&submit);
    close_store(&store);
    assert_int_equal(ask(s, "SELECT paused FROM run"), 0);
}

/* ---- dead letters ---- */

/* All items recorded: 0 and 2 failed altogether, 4 in its second configuration; the run is done. */
static uint64_t half_failed(pm_store *store) {
    pm_op *submit = submit_op(&small);
    apply(store, submit, PM_OK);
    uint64_t run = submit->submit.run_id;
    for (size_t t = 0; t < submit->submit.made.count; t++) {
        const pm_task_row *task = &submit->submit.made.rows[t];
        for (uint64_t item = task->next_item; item < task->end_item; item++) {
            pm_op *record = item == 0 || item == 2 ? record_error_op(&small, task, item)
                                                   : record_op(&small, task, item);
            if (item == 4) {
                record->record.results[1].stage = strdup("compute");
                record->record.results[1].reason = strdup("not-finite");
                record->record.results[1].text = strdup("a number is not finite");
            }
            apply(store, record, PM_OK);
            pm_op_free(&record);
        }
    }
    pm_op_free(&submit);
    pm_op *finish = run_op(PM_OP_FINISH, run);
    apply(store, finish, PM_OK);
    pm_op_free(&finish);
    return run;
}

static void every_error_row_is_a_dead_letter_until_it_is_tried_again(void **state) {
    scratch *s = *state;
    pm_store *store = open_store(s);
    uint64_t run = half_failed(store);
    assert_int_equal(ask(s, "SELECT count(*) FROM dead_letter"), 3);
    assert_int_equal(ask(s, "SELECT items_failed FROM run_progress"), 3);
    assert_int_equal(ask(s, "SELECT count(*) FROM dead_letter WHERE run = 1 AND item IN (0, 2) AND"
                            " configurations = 'all' AND stage = 'decode' AND reason = 'truncated'"
                            " AND text = 'photo.jpg: the file ends early' AND at_ms > 0"),
                     2);
    assert_int_equal(ask(s, "SELECT count(*) FROM dead_letter WHERE item = 4 AND image ="
                            " 'c1/00004.jpg' AND configurations = '2' AND stage = 'compute'"),
                     1);
    pm_op *retry = run_op(PM_OP_RETRY, run);
    retry->run.image = strdup("*");
    apply(store, retry, PM_OK);
    assert_int_equal(retry->run.count, 5);
    pm_op_free(&retry);
    assert_int_equal(ask(s, "SELECT count(*) FROM dead_letter"), 0);
    close_store(&store);
}

static pm_op *retry_op(uint64_t run, const char *stage, const char *reason, const char *image) {
    pm_op *op = run_op(PM_OP_RETRY, run);
    if (stage) op->run.stage = strdup(stage);
    if (reason) op->run.reason = strdup(reason);
    if (image) op->run.image = strdup(image);
    return op;
}

static void retry_takes_only_what_matches_and_once(void **state) {
    scratch *s = *state;
    pm_store *store = open_store(s);
    uint64_t run = half_failed(store);
    static const char *const nothing[][3] = {{"fetch", NULL, NULL},
                                             {"decode", "not-finite", NULL},
                                             {NULL, "truncated", "c1/*"},
                                             {NULL, NULL, "c2/00005.jpg"}};
    for (size_t i = 0; i < sizeof nothing / sizeof *nothing; i++) {
        pm_op *op = retry_op(run, nothing[i][0], nothing[i][1], nothing[i][2]);
        apply(store, op, PM_OK);
        assert_int_equal(op->run.count, 0);
        assert_null(op->run.run);
        pm_op_free(&op);
    }
    assert_int_equal(ask(s, "SELECT state = 'done' FROM run"), 1);
    pm_op *op = retry_op(run, "decode", "truncated", "c2/*");
    apply(store, op, PM_OK);
    assert_int_equal(op->run.count, 2);
    assert_int_equal(op->run.made.count, 1);
    assert_int_equal(op->run.made.rows[0].next_item, 2);
    assert_int_equal(op->run.made.rows[0].end_item, 3);
    assert_int_equal(op->run.run->items_open, 1);
    assert_int_equal(ask(s, "SELECT count(*) FROM dead_letter"), 2);
    apply(store, op, PM_OK); /* the same request, sent again: nothing is left of it */
    assert_int_equal(op->run.count, 0);
    pm_op_free(&op);
    op = retry_op(run, "compute", NULL, NULL);
    apply(store, op, PM_OK);
    assert_int_equal(op->run.count, 1);
    assert_int_equal(op->run.made.rows[0].config_count, 1);
    assert_int_equal(op->run.made.rows[0].configs[0], 1);
    pm_op_free(&op);
    close_store(&store);
    assert_int_equal(ask(s, "SELECT count(*) FROM result WHERE error IS NOT NULL"), 2);
    assert_int_equal(ask(s, "SELECT state = 'queued' FROM run"), 1);
    assert_int_equal(ask(s, "SELECT count(*) FROM task"), 2);
}

#define STORE_TEST(f) cmocka_unit_test_setup_teardown(f, scratch_set_up, scratch_tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        STORE_TEST(terms_are_kept_and_each_is_changed_alone),
        STORE_TEST(known_run_keeps_its_terms),
        STORE_TEST(terms_that_make_no_sense_are_refused),
        STORE_TEST(ended_run_is_not_paused_any_more),
        STORE_TEST(every_error_row_is_a_dead_letter_until_it_is_tried_again),
        STORE_TEST(retry_takes_only_what_matches_and_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
