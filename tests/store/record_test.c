/* Operations on the store: what they write, what they refuse, what they reuse. */
#include <math.h>

#include "lib/stats/moments.h"
#include "tests/store/fixture.h"

static const plan small = {.items = 10,
                           .configs = 3,
                           .channels = PM_CHANNELS_SUMMARY,
                           .heat_maps = PM_HEAT_MAPS_NONE,
                           .task_items = 4};

static void submit_makes_tasks_of_neighbouring_items(void **state) {
    scratch *s = *state;
    pm_store *store = open_store(s);
    pm_op *op = submit_op(&small);
    apply(store, op, PM_OK);
    assert_false(op->submit.existed);
    assert_int_equal(op->submit.state, PM_RUN_QUEUED);
    assert_int_equal(op->submit.items, 10);
    assert_int_equal(op->submit.items_open, 10);
    assert_int_equal(op->submit.results_reused, 0);
    assert_int_equal(op->submit.made.count, 3);
    const uint64_t ends[] = {4, 8, 10};
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(op->submit.made.rows[i].next_item, 4 * i);
        assert_int_equal(op->submit.made.rows[i].end_item, ends[i]);
        assert_int_equal(op->submit.made.rows[i].config_count, 3);
    }
    pm_op *again = submit_op(&small);
    apply(store, again, PM_OK);
    assert_true(again->submit.existed);
    assert_int_equal(again->submit.run_id, op->submit.run_id);
    assert_int_equal(again->submit.items_open, 10);
    assert_int_equal(again->submit.made.count, 0);
    again->submit.data_set->items[0].label = 2; /* the id of something else */
    apply(store, again, PM_E_MISMATCH);
    pm_op_free(&op);
    pm_op_free(&again);
    close_store(&store);
    assert_int_equal(ask(s, "SELECT count(*) FROM run"), 1);
}

/* The largest task of a run of so many items and configurations of a method. */
static int64_t largest_task(scratch *s, size_t items, size_t configs, pm_method method,
                            const char *evaluation) {
    plan p = {.items = items, .configs = configs, .evaluation = evaluation};
    pm_store *store = open_store(s);
    pm_op *op = submit_op(&p);
    for (size_t i = 0; i < configs; i++) {
        op->submit.spec->configs[i].attribution.method = method;
        op->submit.spec->configs[i].attribution.seed = i;
    }
    op->submit.request_id = pm_run_request_id(op->submit.spec, op->submit.data_set);
    apply(store, op, PM_OK);
    pm_op_free(&op);
    close_store(&store);
    return ask(s, "SELECT max(end_item - next_item) FROM task WHERE run_id ="
                  " (SELECT max(run_id) FROM run)");
}

static void tasks_are_small_where_items_are_work(void **state) {
    assert_int_equal(largest_task(*state, 1000, 1, PM_METHOD_GRAD, NULL), 16);
    assert_int_equal(largest_task(*state, 1000, 8, PM_METHOD_GRAD, NULL), 8);
    assert_int_equal(largest_task(*state, 1000, 1, PM_METHOD_IG, NULL), 2);
    assert_int_equal(largest_task(*state, 1000, 1, PM_METHOD_GRAD, "zero:0,0.5"), 12);
    assert_int_equal(largest_task(*state, 128, 1, PM_METHOD_GRAD, NULL), 4);
    assert_int_equal(largest_task(*state, 10, 1, PM_METHOD_GRAD, NULL), 1);
}

static void what_is_submitted_is_loaded_back(void **state) {
    scratch *s = *state;
    pm_store *store = open_store(s);
    pm_op *op = submit_op(&small);
    apply(store, op, PM_OK);
    pm_run_row *rows = NULL;
    size_t count = 0;
    assert_int_equal(pm_store_load_queue(store, &rows, &count), PM_OK);
    assert_int_equal(count, 1);
    assert_int_equal(rows->tasks.count, 3);
    assert_int_equal(rows->items_open, 10);
    assert_int_equal(rows->spec.classes, 1000);
    assert_string_equal(rows->spec.weights_path, "/models/resnet18.pth");
    assert_string_equal(rows->spec.statistics_path, "/models/statistics.safetensors");
    assert_int_equal(rows->spec.weights_size, 46830571);
    assert_int_equal(rows->spec.statistics_size, 777);
    assert_string_equal(rows->spec.baseline_path, "/pictures/grey.png");
    assert_int_equal(rows->spec.baseline_size, 4321);
    assert_string_equal(rows->data_set.root, "/pictures");
    assert_string_equal(rows->data_set.class_names[1], "tench");
    assert_int_equal(rows->data_set.items[3].size_bytes, 1003);
    /* The request id covers paths, bytes, labels, boxes, configurations and what is recorded. */
    pm_sha256 id = pm_run_request_id(&rows->spec, &rows->data_set);
    assert_true(pm_sha256_equal(&id, &op->submit.request_id));
    pm_run_row_fini(rows);
    free(rows);
    pm_op_free(&op);
    close_store(&store);
}

static void two_photographs_to_start_from_are_refused(void **state) {
    scratch *s = *state;
    pm_store *store = open_store(s);
    pm_op *op = submit_op(&small);
    for (size_t i = 0; i < 2; i++) {
        pm_config *config = &op->submit.spec->configs[i];
        config->attribution.method = PM_METHOD_IG;
        config->attribution.baseline = PM_BASELINE_IMAGE;
        config->baseline_image = pm_sha256_of(&i, sizeof i);
    }
    apply(store, op, PM_E_USAGE);
    op->submit.spec->configs[1].baseline_image = op->submit.spec->configs[0].baseline_image;
    apply(store, op, PM_OK);
    pm_op_free(&op);
    close_store(&store);
}

static void stale_record_writes_nothing(void **state) {
    scratch *s = *state;
    pm_store *store = open_store(s);
    pm_op *op = submit_op(&small);
    apply(store, op, PM_OK);
    const pm_task_row *task = &op->submit.made.rows[0];
    pm_op *late = record_op(&small, task, 0), *early = record_op(&small, task, 1);
    apply(store, early, PM_E_STALE);
    apply(store, late, PM_OK);
    apply(store, late, PM_E_STALE);
    pm_op *nowhere = record_op(&small, &(pm_task_row){.task_id = 999}, 0);
    apply(store, nowhere, PM_E_STALE);
    pm_op *group[] = {early, late};
    assert_int_equal(pm_store_apply(store, group, 2), PM_OK); /* one refused, one not */
    assert_int_equal(early->status, PM_OK);
    assert_int_equal(late->status, PM_E_STALE);
    pm_op_free(&late);
    pm_op_free(&early);
    pm_op_free(&nowhere);
    pm_op_free(&op);
    close_store(&store);
    assert_int_equal(ask(s, "SELECT count(*) FROM result"), 6);
    assert_int_equal(ask(s, "SELECT count(*) FROM layer_gradient"), 12);
    assert_int_equal(ask(s, "SELECT next_item FROM task WHERE task_id = 1"), 2);
    assert_int_equal(ask(s, "SELECT items_done FROM run_progress"), 2);
}

static void record_wants_a_heat_map_with_side_and_scale(void **state) {
    scratch *s = *state;
    plan p = small;
    p.heat_maps = PM_HEAT_MAPS_F16;
    pm_store *store = open_store(s);
    pm_op *op = submit_op(&p);
    apply(store, op, PM_OK);
    pm_op *record = record_op(&p, &op->submit.made.rows[0], 2);
    record->record.item = 0;
    pm_record_result *r = &record->record.results[1];
    static const double wrong[] = {0, -1, (double)INFINITY, (double)NAN};
    const double scale = r->heat_map_scale;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        r->heat_map_scale = wrong[i];
        apply(store, record, PM_E_PROTOCOL);
    }
    r->heat_map_scale = scale;
    r->heat_map_side = 0;
    apply(store, record, PM_E_PROTOCOL);
    r->heat_map_side = 224;
    assert_int_equal(ask(s, "SELECT count(*) FROM heat_map"), 0);
    apply(store, record, PM_OK);
    assert_int_equal(ask(s, "SELECT count(*) FROM heat_map WHERE scale = 0.25"), 3);
    pm_op_free(&record);
    pm_op_free(&op);
    close_store(&store);
}

static void record_wants_exactly_the_configurations_of_the_task(void **state) {
    scratch *s = *state;
    pm_store *store = open_store(s);
    pm_op *op = submit_op(&small);
    apply(store, op, PM_OK);
    const pm_task_row *task = &op->submit.made.rows[0];
    pm_op *record = record_op(&small, task, 0);
    record->record.results[2].configuration = 1;
    apply(store, record, PM_E_PROTOCOL);
    record->record.results[2].configuration = 2;
    record->record.results[2].channel_count--;
    apply(store, record, PM_E_PROTOCOL);
    record->record.results[2].channel_count++;
    record->record.results[1].layers[1].conv = 10;
    apply(store, record, PM_E_PROTOCOL);
    record->record.results[1].layers[1].conv = 11;
    record->record.result_count = 2;
    apply(store, record, PM_E_PROTOCOL);
    record->record.result_count = 3;
    assert_int_equal(ask(s, "SELECT count(*) FROM result"), 0);
    assert_int_equal(ask(s, "SELECT next_item FROM task WHERE task_id = 1"), 0);
    apply(store, record, PM_OK);
    pm_op_free(&record);
    pm_op_free(&op);
    close_store(&store);
}

static void number_that_is_not_finite_is_an_error_row(void **state) {
    scratch *s = *state;
    pm_store *store = open_store(s);
    pm_op *op = submit_op(&small);
    apply(store, op, PM_OK);
    pm_op *record = record_op(&small, &op->submit.made.rows[0], 0);
    record->record.results[0].p_target = NAN;
    record->record.results[1].channel_variance[7] = INFINITY;
    apply(store, record, PM_OK);
    pm_op_free(&record);
    pm_op_free(&op);
    close_store(&store);
    assert_int_equal(ask(s, "SELECT count(*) FROM result WHERE reason = 'not-finite'"), 2);
    assert_int_equal(ask(s, "SELECT count(*) FROM result WHERE error IS NULL"), 1);
    assert_int_equal(ask(s, "SELECT count(*) FROM channel_accumulator"), 2);
}

/* count, mean, deviation etc. of each channel, straight from the numbers that went in */
static void check_sums(const scratch *s, size_t items) {
    for (size_t config = 0; config < 3; config++) {
        for (size_t c = 0; c < CHANNELS; c++) {
            double sum = 0, squares = 0, least = INFINITY, most = 0;
            int64_t selected = 0;
            for (size_t i = 0; i < items; i++) {
                double v = (double)variance_of(i, config, c);
                sum += v;
                least = fmin(least, v);
                most = fmax(most, v);
                selected += in_h_of(i, config, c);
            }
            for (size_t i = 0; i < items; i++)
                squares += pow((double)variance_of(i, config, c) - sum / (double)items, 2);
            char sql[400];
            const char *from = "FROM channel_gradient JOIN layer USING (layer_id)"
                               " JOIN run_configuration USING (configuration_id)";
            size_t channel = c < CHANNELS_0 ? c : c - CHANNELS_0;
            int conv = c < CHANNELS_0 ? 10 : 11;
            const struct {
                const char *column;
                double want;
            } reals[] = {{"mean", sum / (double)items},
                         {"std", sqrt(squares / (double)(items - 1))},
                         {"min", least},
                         {"max", most}};
            for (size_t r = 0; r < 4; r++) {
                snprintf(sql, sizeof sql,
                         "SELECT %s %s WHERE run_id = 1 AND ordinal = %zu AND conv = %d AND "
                         "channel = %zu",
                         reals[r].column, from, config, conv, channel);
                double got = ask_real(s, sql);
                if (!(fabs(got - reals[r].want) <= 1e-9 * fabs(reals[r].want)))
                    fail_msg("%s: %.17g is not %.17g", sql, got, reals[r].want);
            }
            snprintf(sql, sizeof sql,
                     "SELECT count * 1000 + selected %s WHERE run_id = 1 AND ordinal = %zu"
                     " AND conv = %d AND channel = %zu",
                     from, config, conv, channel);
            assert_int_equal(ask(s, sql), (int64_t)items * 1000 + selected);
        }
    }
}

static void sums_equal_a_direct_computation(void **state) {
    scratch *s = *state;
    pm_store *store = open_store(s);
    whole_run(store, &small);
    close_store(&store);
    check_sums(s, 10);
    assert_int_equal(ask(s, "SELECT count(*) FROM channel_gradient"), 3 * CHANNELS);
    assert_int_equal(ask(s, "SELECT count(*) FROM channel_gradient_summary"), 3 * CHANNELS);
}

/* The cache is dropped with a refused op and kept over a reopening: sums must not care. */
static void sums_survive_refusals_and_reopening(void **state) {
    scratch *s = *state;
    pm_store *store = open_store(s);
    pm_op *op = submit_op(&small);
    apply(store, op, PM_OK);
    for (size_t t = 0; t < op->submit.made.count; t++) {
        const pm_task_row *task = &op->submit.made.rows[t];
        for (uint64_t item = task->next_item; item < task->end_item; item++) {
            pm_op *good = record_op(&small, task, item), *stale = record_op(&small, task, item);
            pm_op *bad = record_op(&small, task, item + 1 < task->end_item ? item + 1 : item);
            bad->record.results[1].layers[0].name[0] = 0; /* a layer too many channels wide */
            bad->record.results[2].layers[0].channels = CHANNELS_1;
            bad->record.results[2].layers[1].channels = CHANNELS_0;
            pm_op *group[] = {good, stale, bad};
            assert_int_equal(pm_store_apply(store, group, 3), PM_OK);
            assert_int_equal(good->status, PM_OK);
            assert_int_equal(stale->status, PM_E_STALE);
            assert_true(bad->status == PM_E_PROTOCOL || bad->status == PM_E_STALE);
            for (size_t i = 0; i < 3; i++) pm_op_free(&group[i]);
            if (item % 3 == 1) {
                close_store(&store);
                store = open_store(s);
            }
        }
    }
    pm_op *finish = run_op(PM_OP_FINISH, op->submit.run_id);
    apply(store, finish, PM_OK);
    pm_op_free(&finish);
    pm_op_free(&op);
    close_store(&store);
    check_sums(s, 10);
}

static void what_exists_is_reused(void **state) {
    scratch *s = *state;
    pm_store *store = open_store(s);
    whole_run(store, &small);
    plan more = small; /* four more images, one more configuration, two images fewer */
    more.items = 12;
    more.first_image = 2;
    more.configs = 4;
    more.name = "more";
    pm_op *op = submit_op(&more);
    apply(store, op, PM_OK);
    assert_false(op->submit.existed);
    assert_int_equal(op->submit.results_reused, 8 * 3);
    assert_int_equal(op->submit.items_open, 12);
    /* images 2..9 lack configuration 3, 10..13 lack all four */
    assert_int_equal(op->submit.made.count, 3);
    assert_int_equal(op->submit.made.rows[0].config_count, 1);
    assert_int_equal(op->submit.made.rows[0].configs[0], 3);
    assert_int_equal(op->submit.made.rows[2].config_count, 4);
    assert_int_equal(op->submit.made.rows[2].next_item, 8);
    assert_int_equal(op->submit.made.rows[2].end_item, 12);
    pm_op_free(&op);
    whole_run(
        store,
        &(plan){.items = 8, .configs = 3, .channels = PM_CHANNELS_SUMMARY, .name = "all there"});
    close_store(&store);
    assert_int_equal(ask(s, "SELECT results_reused FROM run WHERE name = 'all there'"), 24);
    assert_int_equal(ask(s, "SELECT count(*) FROM result"), 30);
    assert_int_equal(ask(s, "SELECT count(*) FROM result_wide WHERE run = 1"), 30);
    assert_int_equal(ask(s, "SELECT count(*) FROM result_wide WHERE run = 2"), 24);
    assert_int_equal(ask(s, "SELECT count(*) FROM image"), 14);
}

static void two_runs_over_the_same_record_each_result_once(void **state) {
    scratch *s = *state;
    pm_store *store = open_store(s);
    pm_op *first = submit_op(&small);
    plan twin = small;
    twin.name = "twin";
    apply(store, first, PM_OK);
    whole_run(store, &twin); /* overtakes: same work, all of it recorded before the first */
    const pm_task_list *made = &first->submit.made;
    for (size_t t = 0; t < made->count; t++)
        for (uint64_t i = made->rows[t].next_item; i < made->rows[t].end_item; i++) {
            pm_op *record = record_op(&small, &made->rows[t], i);
            record->record.results[0].p_target = 0.123; /* would be seen if it won */
            apply(store, record, PM_OK);
            pm_op_free(&record);
        }
    pm_op *finish = run_op(PM_OP_FINISH, first->submit.run_id);
    apply(store, finish, PM_OK);
    pm_op_free(&finish);
    pm_op_free(&first);
    close_store(&store);
    assert_int_equal(ask(s, "SELECT count(*) FROM result"), 30);
    assert_int_equal(ask(s, "SELECT count(*) FROM result WHERE p_target = 0.123"), 0);
    assert_int_equal(ask(s, "SELECT max(count) FROM channel_gradient"), 10); /* counted once */
    assert_int_equal(ask(s, "SELECT count(*) FROM run WHERE state = 'done'"), 2);
}

static void richer_record_adds_what_was_not_kept(void **state) {
    scratch *s = *state;
    pm_store *store = open_store(s);
    plan p = small;
    p.channels = PM_CHANNELS_NONE;
    whole_run(store, &p);
    assert_int_equal(ask(s, "SELECT count(*) FROM channel_accumulator"), 0);
    p.channels = PM_CHANNELS_FULL;
    p.heat_maps = PM_HEAT_MAPS_F16;
    whole_run(store, &p);
    assert_int_equal(ask(s, "SELECT count(*) FROM heat_map WHERE format = 'f16'"), 30);
    p.heat_maps = PM_HEAT_MAPS_F32;
    whole_run(store, &p);
    close_store(&store);
    check_sums(s, 10);
    assert_int_equal(ask(s, "SELECT count(*) FROM result"), 30);
    assert_int_equal(ask(s, "SELECT count(*) FROM channel_gradient_item"), 30 * LAYERS);
    assert_int_equal(ask(s, "SELECT count(*) FROM heat_map WHERE format = 'f32'"), 30);
    assert_int_equal(ask(s, "SELECT min(length(variances) / 4) FROM channel_gradient_item"),
                     CHANNELS_0);
}

static void same_photograph_twice_is_computed_once(void **state) {
    scratch *s = *state;
    pm_store *store = open_store(s);
    plan p = small;
    p.items = 6;
    pm_op *op = submit_op(&p);
    pm_item *items = op->submit.data_set->items;
    items[4].sha256 = items[0].sha256;
    items[4].label = items[0].label;
    op->submit.request_id = pm_run_request_id(op->submit.spec, op->submit.data_set);
    apply(store, op, PM_OK);
    assert_int_equal(op->submit.items_open, 5);
    assert_int_equal(op->submit.made.count, 2); /* 0..3 and 5 */
    for (size_t t = 0; t < op->submit.made.count; t++)
        for (uint64_t i = op->submit.made.rows[t].next_item; i < op->submit.made.rows[t].end_item;
             i++) {
            pm_op *record = record_op(&p, &op->submit.made.rows[t], i);
            apply(store, record, PM_OK);
            pm_op_free(&record);
        }
    pm_op_free(&op);
    close_store(&store);
    assert_int_equal(ask(s, "SELECT count(*) FROM result"), 15);
    assert_int_equal(ask(s, "SELECT count(*) FROM result_wide"), 18);
    assert_int_equal(ask(s, "SELECT items_done FROM run_progress"), 6);
}

static void retry_takes_up_the_errors(void **state) {
    scratch *s = *state;
    pm_store *store = open_store(s);
    plan p = small;
    pm_op *op = submit_op(&p);
    apply(store, op, PM_OK);
    uint64_t run_id = op->submit.run_id;
    for (size_t t = 0; t < op->submit.made.count; t++) {
        const pm_task_row *task = &op->submit.made.rows[t];
        for (uint64_t i = task->next_item; i < task->end_item; i++) {
            pm_op *record =
                i == 2 || i == 7 ? record_error_op(&p, task, i) : record_op(&p, task, i);
            apply(store, record, PM_OK);
            pm_op_free(&record);
        }
    }
    pm_op *finish = run_op(PM_OP_FINISH, run_id);
    apply(store, finish, PM_OK);
    pm_op_free(&finish);
    assert_int_equal(ask(s, "SELECT items_failed FROM run_progress"), 2);
    pm_op *again = submit_op(&p); /* the same request: errors stay */
    apply(store, again, PM_OK);
    assert_int_equal(again->submit.items_open, 0);
    assert_int_equal(again->submit.state, PM_RUN_DONE);
    pm_op_free(&again);
    pm_op *retry = run_op(PM_OP_RETRY, run_id);
    apply(store, retry, PM_OK);
    assert_int_equal(retry->run.count, 6);
    assert_int_equal(retry->run.made.count, 2);
    assert_int_equal(retry->run.run->items_open, 2);
    assert_int_equal(retry->run.state, PM_RUN_QUEUED);
    for (size_t t = 0; t < 2; t++) {
        const pm_task_row *task = &retry->run.made.rows[t];
        pm_op *record = record_op(&p, task, task->next_item);
        apply(store, record, PM_OK);
        pm_op_free(&record);
    }
    pm_op_free(&retry);
    retry = run_op(PM_OP_RETRY, run_id);
    apply(store, retry, PM_OK);
    assert_int_equal(retry->run.count, 0);
    assert_null(retry->run.run);
    retry->run.run_id = 99;
    apply(store, retry, PM_E_NOT_FOUND);
    pm_op_free(&retry);
    finish = run_op(PM_OP_FINISH, run_id);
    apply(store, finish, PM_OK);
    pm_op_free(&finish);
    pm_op_free(&op);
    close_store(&store);
    assert_int_equal(ask(s, "SELECT count(*) FROM result WHERE error IS NULL"), 30);
    assert_int_equal(ask(s, "SELECT count(*) FROM failure"), 6); /* the diary keeps them */
    check_sums(s, 10);
}

static void new_run_takes_up_the_errors_of_another(void **state) {
    scratch *s = *state;
    pm_store *store = open_store(s);
    plan one = small;
    one.items = 1;
    pm_op *op = submit_op(&one);
    apply(store, op, PM_OK);
    pm_op *record = record_error_op(&one, &op->submit.made.rows[0], 0);
    apply(store, record, PM_OK);
    pm_op_free(&record);
    pm_op_free(&op);
    one.name = "second";
    whole_run(store, &one);
    close_store(&store);
    assert_int_equal(ask(s, "SELECT count(*) FROM result WHERE error IS NULL"), 3);
    assert_int_equal(ask(s, "SELECT count(*) FROM result"), 3);
}

static void crashing_item_is_set_aside_and_the_rest_stays(void **state) {
    scratch *s = *state;
    pm_store *store = open_store(s);
    plan p = small;
    p.task_items = 10;
    pm_op *op = submit_op(&p);
    apply(store, op, PM_OK);
    uint64_t task_id = op->submit.made.rows[0].task_id;
    pm_op *first = record_op(&p, &op->submit.made.rows[0], 0);
    apply(store, first, PM_OK);
    pm_op_free(&first);
    pm_op *aside = crash_op(PM_OP_SET_ASIDE, task_id, 4, "SIGSEGV");
    apply(store, aside, PM_OK);
    const pm_task_row *rows = aside->crash.changed.rows;
    assert_int_equal(aside->crash.changed.count, 3);
    assert_true(rows[0].task_id == task_id && rows[0].next_item == 1 && rows[0].end_item == 4);
    assert_true(rows[1].alone && rows[1].next_item == 4 && rows[1].end_item == 5);
    assert_int_equal(rows[1].crashes, 1);
    assert_true(!rows[2].alone && rows[2].next_item == 5 && rows[2].end_item == 10);
    assert_int_equal(rows[2].config_count, 3);
    uint64_t alone = rows[1].task_id;
    apply(store, aside, PM_E_STALE); /* it is no longer in that task */
    pm_op_free(&aside);
    aside = crash_op(PM_OP_SET_ASIDE, task_id, 1, "SIGSEGV");
    apply(store, aside, PM_OK);
    assert_int_equal(aside->crash.changed.count, 2);
    assert_int_equal(aside->crash.changed.rows[0].next_item, 2);
    pm_op_free(&aside);
    pm_op *crashed = crash_op(PM_OP_CRASHED, alone, 4, "SIGBUS");
    apply(store, crashed, PM_OK);
    assert_int_equal(crashed->crash.changed.rows[0].crashes, 2);
    pm_op_free(&crashed);
    crashed = crash_op(PM_OP_SET_ASIDE, alone, 4, "SIGBUS"); /* alone already: only counts */
    apply(store, crashed, PM_OK);
    assert_int_equal(crashed->crash.changed.count, 1);
    assert_int_equal(crashed->crash.changed.rows[0].crashes, 3);
    pm_op_free(&crashed);
    pm_op *poison = crash_op(PM_OP_POISON, alone, 4, "SIGBUS");
    apply(store, poison, PM_OK);
    assert_true(poison->crash.task_done);
    apply(store, poison, PM_E_STALE);
    pm_op_free(&poison);
    pm_op_free(&op);
    close_store(&store);
    assert_int_equal(
        ask(s, "SELECT count(*) FROM result WHERE stage = 'crash' AND reason = 'SIGBUS'"), 3);
    assert_int_equal(ask(s, "SELECT sum(end_item - next_item) FROM task"), 8);
    assert_int_equal(ask(s, "SELECT items_done FROM run_progress"), 2);
    assert_int_equal(ask(s, "SELECT items_failed FROM run_progress"), 1);
    assert_int_equal(ask(s, "SELECT count(*) FROM failure WHERE stage = 'crash'"), 4 + 3);
    /* Each with what to do about it. */
    assert_int_equal(
        ask(s, "SELECT count(*) FROM failure WHERE hint LIKE 'three workers crashed%'"), 4 + 3);
    assert_int_equal(
        ask(s, "SELECT count(*) FROM result_wide WHERE error IS NOT NULL AND hint LIKE '%retry%'"
               " AND stage = 'crash' AND reason = 'SIGBUS'"),
        3);
    assert_int_equal(ask(s, "SELECT count(*) FROM result WHERE (error IS NULL) <> (hint IS NULL)"),
                     0);
}

static void cancelled_run_goes_on_when_submitted_again(void **state) {
    scratch *s = *state;
    pm_store *store = open_store(s);
    pm_op *op = submit_op(&small);
    apply(store, op, PM_OK);
    uint64_t run_id = op->submit.run_id;
    pm_op *record = record_op(&small, &op->submit.made.rows[1], 4);
    apply(store, record, PM_OK);
    pm_op *finish = run_op(PM_OP_FINISH, run_id);
    apply(store, finish, PM_E_STALE);
    pm_op *cancel = run_op(PM_OP_CANCEL, run_id);
    apply(store, cancel, PM_OK);
    assert_int_equal(cancel->run.count, 3);
    assert_int_equal(ask(s, "SELECT items_done FROM run_progress"), 1);
    apply(store, cancel, PM_OK);
    apply(store, finish, PM_E_STALE);
    pm_op_free(&op);
    pm_op_free(&record);
    pm_op_free(&cancel);
    pm_op_free(&finish);
    pm_run_row *rows = NULL;
    size_t count = 9;
    assert_int_equal(pm_store_load_queue(store, &rows, &count), PM_OK);
    assert_int_equal(count, 0);
    free(rows);
    assert_int_equal(whole_run(store, &small), run_id);
    cancel = run_op(PM_OP_CANCEL, run_id);
    apply(store, cancel, PM_E_USAGE);
    pm_op_free(&cancel);
    close_store(&store);
    assert_int_equal(ask(s, "SELECT count(*) FROM result"), 30);
    assert_int_equal(ask(s, "SELECT items_done FROM run_progress"), 10);
    check_sums(s, 10);
}

static void worker_is_one_row_however_often_seen(void **state) {
    scratch *s = *state;
    pm_store *store = open_store(s);
    pm_op *op = pm_op_new(PM_OP_WORKER_SEEN);
    memset(op->worker.instance, 7, sizeof op->worker.instance);
    strcpy(op->worker.host, "node1");
    strcpy(op->worker.isa, "avx2");
    op->worker.pid = 42;
    apply(store, op, PM_OK);
    uint64_t id = op->worker.worker_id;
    assert_true(id > 0);
    apply(store, op, PM_OK);
    assert_int_equal(op->worker.worker_id, id);
    pm_op_free(&op);
    close_store(&store);
    assert_int_equal(ask(s, "SELECT count(*) FROM worker WHERE name = 'node1:42'"), 1);
}

static void submit_refuses_what_does_not_combine(void **state) {
    scratch *s = *state;
    pm_store *store = open_store(s);
    pm_op *op = submit_op(&small);
    op->submit.spec->configs[1] = op->submit.spec->configs[2];
    apply(store, op, PM_E_USAGE);
    op->submit.spec->configs[1].weights = pm_sha256_of("x", 1);
    apply(store, op, PM_E_USAGE);
    pm_op_free(&op);
    op = submit_op(&small);
    free(op->submit.data_set->items[1].path);
    op->submit.data_set->items[1].path = strdup(op->submit.data_set->items[0].path);
    apply(store, op, PM_E_USAGE);
    assert_non_null(strstr(op->text, "named twice"));
    pm_op_free(&op);
    op = pm_op_new(PM_OP_SUBMIT);
    apply(store, op, PM_E_USAGE);
    pm_op_free(&op);
    close_store(&store);
    assert_int_equal(ask(s, "SELECT count(*) FROM run"), 0);
    assert_int_equal(ask(s, "SELECT count(*) FROM image"), 0);
}

static void same_work_gives_the_same_dump(void **state) {
    scratch *s = *state, other = *s;
    snprintf(other.path, sizeof other.path, "%s/other.db", s->folder);
    plan p = small;
    p.channels = PM_CHANNELS_FULL;
    p.heat_maps = PM_HEAT_MAPS_F32;
    pm_store *a = open_store(s), *b = open_store(&other);
    whole_run(a, &p);
    /* backwards, in other tasks, with a crash on the way */
    p.task_items = 1;
    pm_op *op = submit_op(&p);
    apply(b, op, PM_OK);
    pm_op *aside = crash_op(PM_OP_SET_ASIDE, op->submit.made.rows[3].task_id, 3, "SIGSEGV");
    apply(b, aside, PM_OK);
    pm_op_free(&aside);
    for (size_t t = op->submit.made.count; t > 0; t--) {
        pm_op *record = record_op(&p, &op->submit.made.rows[t - 1], t - 1);
        apply(b, record, PM_OK);
        pm_op_free(&record);
    }
    pm_op *finish = run_op(PM_OP_FINISH, op->submit.run_id);
    apply(b, finish, PM_OK);
    pm_op_free(&finish);
    pm_op_free(&op);
    close_store(&a);
    close_store(&b);
    char *one = dump_of(s->path), *two = dump_of(other.path);
    assert_string_equal(one, two);
    assert_non_null(strstr(one, "\nheat_map|"));
    assert_non_null(strstr(one, "\nlayer_gradient|"));
    free(one);
    free(two);
    check_sums(&other, 10);
}

#define STORE_TEST(f) cmocka_unit_test_setup_teardown(f, scratch_set_up, scratch_tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        STORE_TEST(submit_makes_tasks_of_neighbouring_items),
        STORE_TEST(tasks_are_small_where_items_are_work),
        STORE_TEST(what_is_submitted_is_loaded_back),
        STORE_TEST(two_photographs_to_start_from_are_refused),
        STORE_TEST(stale_record_writes_nothing),
        STORE_TEST(record_wants_a_heat_map_with_side_and_scale),
        STORE_TEST(record_wants_exactly_the_configurations_of_the_task),
        STORE_TEST(number_that_is_not_finite_is_an_error_row),
        STORE_TEST(sums_equal_a_direct_computation),
        STORE_TEST(sums_survive_refusals_and_reopening),
        STORE_TEST(what_exists_is_reused),
        STORE_TEST(two_runs_over_the_same_record_each_result_once),
        STORE_TEST(richer_record_adds_what_was_not_kept),
        STORE_TEST(same_photograph_twice_is_computed_once),
        STORE_TEST(retry_takes_up_the_errors),
        STORE_TEST(new_run_takes_up_the_errors_of_another),
        STORE_TEST(crashing_item_is_set_aside_and_the_rest_stays),
        STORE_TEST(cancelled_run_goes_on_when_submitted_again),
        STORE_TEST(worker_is_one_row_however_often_seen),
        STORE_TEST(submit_refuses_what_does_not_combine),
        STORE_TEST(same_work_gives_the_same_dump),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
