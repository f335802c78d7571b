/* Submissions that come in slices: the same database as in one go, whatever comes between. */
#include <poll.h>

#include "lib/base/clock.h"
#include "tests/store/fixture.h"

enum { ITEMS = 95, SLICE = 10, SLICES = 10, PATIENCE_MS = 60000 };

static const plan big = {.items = ITEMS, .configs = 2, .task_items = 8, .name = "big"};

static pm_op *sliced_op(void) {
    pm_op *op = submit_op(&big);
    op->submit.slice_items = SLICE;
    return op;
}

/* Submits in one go, into a database of its own. */
static char *dump_in_one_go(void) {
    void *other = NULL;
    assert_int_equal(scratch_set_up(&other), 0);
    const scratch *s = other;
    pm_store *store = open_store(s);
    pm_op *op = submit_op(&big);
    apply(store, op, PM_OK);
    assert_false(op->submit.unfinished);
    pm_op_free(&op);
    close_store(&store);
    char *dump = dump_of(s->path);
    assert_int_equal(scratch_tear_down(&other), 0);
    return dump;
}

static void assert_as_in_one_go(const scratch *s) {
    char *sliced = dump_of(s->path), *whole = dump_in_one_go();
    assert_string_equal(sliced, whole);
    free(sliced);
    free(whole);
    assert_int_equal(ask(s, "SELECT count(*) FROM data_set_item"), ITEMS);
    assert_int_equal(ask(s, "SELECT sum(end_item - next_item) FROM task"), ITEMS);
}

/* How many transactions it takes to the end. */
static size_t finish(pm_store *store, pm_op *op) {
    size_t count = 0;
    do {
        apply(store, op, PM_OK);
        count++;
    } while (op->submit.unfinished && count < 10 * SLICES);
    return count;
}

static void slices_make_the_run_of_one_go(void **state) {
    const scratch *s = *state;
    pm_store *store = open_store(s);
    pm_op *op = sliced_op();
    apply(store, op, PM_OK);
    assert_true(op->submit.unfinished);
    assert_int_equal(ask(s, "SELECT count(*) FROM run"), 0);
    assert_int_equal(finish(store, op), SLICES - 1);
    assert_int_equal(op->submit.items_open, ITEMS);
    assert_int_equal(op->submit.made.count, (ITEMS + 7) / 8);
    pm_op_free(&op);
    close_store(&store);
    assert_as_in_one_go(s);
}

static void what_a_kill_left_is_gone_on_with(void **state) {
    const scratch *s = *state;
    pm_store *store = open_store(s);
    pm_op *op = sliced_op();
    for (size_t i = 0; i < 4; i++) apply(store, op, PM_OK);
    pm_op_free(&op);
    close_store(&store);
    assert_int_equal(ask(s, "SELECT count(*) FROM data_set_item"), 4 * SLICE);
    store = open_store(s);
    op = sliced_op();
    assert_int_equal(finish(store, op), SLICES - 4);
    assert_false(op->submit.existed);
    pm_op_free(&op);
    close_store(&store);
    assert_as_in_one_go(s);
}

static void two_of_the_same_at_a_time_are_one_run(void **state) {
    const scratch *s = *state;
    pm_store *store = open_store(s);
    pm_op *ops[] = {sliced_op(), sliced_op()};
    for (size_t i = 0; i < SLICES; i++) {
        assert_int_equal(pm_store_apply(store, ops, 2), PM_OK);
        assert_int_equal(ops[0]->status, PM_OK);
        assert_int_equal(ops[1]->status, PM_OK);
        if (!ops[0]->submit.unfinished && !ops[1]->submit.unfinished) break;
    }
    assert_int_equal(ops[0]->submit.run_id, ops[1]->submit.run_id);
    assert_true(ops[1]->submit.existed);
    pm_op_free(&ops[0]);
    pm_op_free(&ops[1]);
    close_store(&store);
    assert_as_in_one_go(s);
}

static void one_that_is_refused_at_last_leaves_nothing(void **state) {
    const scratch *s = *state;
    pm_store *store = open_store(s);
    pm_op *op = sliced_op();
    pm_data_set *set = op->submit.data_set;
    free(set->items[ITEMS - 1].path);
    set->items[ITEMS - 1].path = strdup(set->items[3].path);
    op->submit.request_id = pm_run_request_id(op->submit.spec, set);
    for (size_t i = 0; i < SLICES - 1; i++) apply(store, op, PM_OK);
    assert_true(op->submit.unfinished);
    apply(store, op, PM_E_USAGE);
    assert_non_null(strstr(op->text, "named twice"));
    pm_op_free(&op);
    close_store(&store);
    assert_int_equal(ask(s, "SELECT count(*) FROM data_set"), 0);
    assert_int_equal(ask(s, "SELECT count(*) FROM data_set_item"), 0);
}

static void configurations_that_are_the_same_are_refused_first(void **state) {
    const scratch *s = *state;
    pm_store *store = open_store(s);
    pm_op *op = sliced_op();
    op->submit.spec->configs[1] = op->submit.spec->configs[0];
    apply(store, op, PM_E_USAGE);
    assert_non_null(strstr(op->text, "are the same"));
    pm_op_free(&op);
    close_store(&store);
    assert_int_equal(ask(s, "SELECT count(*) FROM data_set"), 0);
}

static void a_data_set_that_a_refused_one_took_along_is_put_in_anew(void **state) {
    const scratch *s = *state;
    pm_store *store = open_store(s);
    pm_op *refused = sliced_op(), *good = sliced_op();
    apply(store, refused, PM_OK);
    apply(store, good, PM_OK);
    assert_int_equal(good->submit.data_set_id, refused->submit.data_set_id);
    refused->submit.engine_version[0] = 0;
    apply(store, refused, PM_E_USAGE);
    assert_int_equal(ask(s, "SELECT count(*) FROM data_set_item"), 0);
    assert_int_equal(finish(store, good), SLICES);
    pm_op_free(&refused);
    pm_op_free(&good);
    close_store(&store);
    assert_as_in_one_go(s);
}

/* ---- by the writer ---- */

static pm_op *next(pm_writer *writer) {
    const int64_t until = pm_clock_ms() + PATIENCE_MS;
    for (pm_op *op;;) {
        if ((op = pm_writer_take(writer))) return op;
        struct pollfd fd = {.fd = pm_writer_fd(writer), .events = POLLIN};
        if (pm_clock_ms() > until) fail_msg("nothing came back");
        poll(&fd, 1, 1000);
    }
}

static void put(pm_writer *writer, pm_op *op) {
    if (pm_writer_put(writer, &op)) fail_msg("put: %s", pm_error_text());
}

static void others_pass_a_submission_in_slices(void **state) {
    const scratch *s = *state;
    const plan small = {.items = 4, .configs = 1, .task_items = 4, .name = "small"};
    pm_store *store = open_store(s);
    pm_writer *writer = NULL;
    assert_int_equal(pm_writer_new(&store, &pm_writer_default_limits, &writer), PM_OK);
    put(writer, submit_op(&small));
    pm_op *first = next(writer), *sliced = submit_op(&big);
    sliced->submit.slice_items = 1;
    put(writer, sliced);
    /* Records of another run go on between the slices; the submission comes when it is whole. */
    const pm_task_row *task = &first->submit.made.rows[0];
    size_t passed = 0;
    for (uint64_t item = 0; item < small.items; item++) {
        put(writer, record_op(&small, task, item));
        pm_op *back = next(writer);
        assert_int_equal(back->status, PM_OK);
        passed += back->kind == PM_OP_RECORD;
        if (back->kind != PM_OP_RECORD) break;
        pm_op_free(&back);
    }
    assert_int_equal(passed, small.items);
    pm_op *back = next(writer);
    assert_int_equal(back->kind, PM_OP_SUBMIT);
    assert_int_equal(back->status, PM_OK);
    assert_int_equal(back->submit.items_open, ITEMS);
    pm_op_free(&back);
    pm_op_free(&first);
    assert_int_equal(pm_writer_stop(&writer, &store), PM_OK);
    close_store(&store);
}

static void a_stop_does_not_wait_for_all_slices(void **state) {
    const scratch *s = *state;
    pm_store *store = open_store(s);
    pm_writer *writer = NULL;
    assert_int_equal(pm_writer_new(&store, &pm_writer_default_limits, &writer), PM_OK);
    const plan long_one = {.items = 20000, .configs = 1, .name = "long"};
    pm_op *op = submit_op(&long_one);
    op->submit.slice_items = 1;
    put(writer, op);
    while (ask(s, "SELECT count(*) FROM data_set_item") < 1) continue;
    assert_int_equal(pm_writer_stop(&writer, &store), PM_OK);
    close_store(&store);
    assert_in_range(ask(s, "SELECT count(*) FROM data_set_item"), 1, 19999);
    assert_int_equal(ask(s, "SELECT count(*) FROM run"), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(slices_make_the_run_of_one_go, scratch_set_up,
                                        scratch_tear_down),
        cmocka_unit_test_setup_teardown(what_a_kill_left_is_gone_on_with, scratch_set_up,
                                        scratch_tear_down),
        cmocka_unit_test_setup_teardown(two_of_the_same_at_a_time_are_one_run, scratch_set_up,
                                        scratch_tear_down),
        cmocka_unit_test_setup_teardown(one_that_is_refused_at_last_leaves_nothing, scratch_set_up,
                                        scratch_tear_down),
        cmocka_unit_test_setup_teardown(configurations_that_are_the_same_are_refused_first,
                                        scratch_set_up, scratch_tear_down),
        cmocka_unit_test_setup_teardown(a_data_set_that_a_refused_one_took_along_is_put_in_anew,
                                        scratch_set_up, scratch_tear_down),
        cmocka_unit_test_setup_teardown(others_pass_a_submission_in_slices, scratch_set_up,
                                        scratch_tear_down),
        cmocka_unit_test_setup_teardown(a_stop_does_not_wait_for_all_slices, scratch_set_up,
                                        scratch_tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
