/* What is no longer wanted goes, and what remains is as if it had never been there. */
#include "lib/store/gathered.h"
#include "tests/store/keep_support.h"

static const plan first = {.items = 8,
                           .configs = 3,
                           .channels = PM_CHANNELS_FULL,
                           .heat_maps = PM_HEAT_MAPS_F16,
                           .evaluation = "zero:0,0.5"};
static const plan second = {.items = 8,
                            .configs = 2,
                            .channels = PM_CHANNELS_FULL,
                            .heat_maps = PM_HEAT_MAPS_F16,
                            .first_image = 6, /* two images are of both */
                            .name = "second"};
static const plan bare = {.items = 8, .configs = 1, .first_image = 2, .name = "bare"};
static const plan gathering = {.items = 5, .configs = 1, .gather = true, .name = "gather"};

static pm_prune_counts prune_as(const scratch *s, pm_prune_plan p, pm_status want,
                                const char *words) {
    pm_prune_counts counts = {0};
    pm_status status = pm_store_prune(s->path, &p, &counts);
    if (status != want || (words && !strstr(pm_error_text(), words)))
        fail_msg("%s (%s), not %s with '%s'", pm_status_name(status), status ? pm_error_text() : "",
                 pm_status_name(want), words ? words : "");
    assert_whole(s);
    return counts;
}

static void heat_maps_go_and_can_be_asked_for_again(void **state) {
    scratch *s = *state;
    scratch before = beside(s, "before.db");
    make_db(s, (const plan *const[]){&first, &second}, 2);
    copy_db(s, &before);
    pm_prune_counts n = prune_as(s, (pm_prune_plan){.heat_maps = true, .dry = true}, PM_OK, NULL);
    assert_int_equal(n.heat_maps.rows, 24 + 16 - 4);
    assert_same_dump(s, &before);
    n = prune_as(s, (pm_prune_plan){.heat_maps = true}, PM_OK, NULL);
    assert_int_equal(n.heat_maps.rows, 36);
    assert_int_equal(n.heat_maps.bytes, ask(&before, "SELECT sum(length(zstd)) FROM heat_map"));
    assert_int_equal(ask(s, "SELECT count(*) FROM heat_map"), 0);
    assert_int_equal(ask(s, "SELECT sum(heat_map_kept) FROM result"), 0);
    assert_int_equal(complete(s, &first), 8);
    assert_int_equal(complete(s, &second), 6);
    assert_same_dump(s, &before);
    assert_sums(s, 1, 0, 14);
}

static void heat_maps_of_a_run_leave_those_that_another_asks_for(void **state) {
    scratch *s = *state;
    make_db(s, (const plan *const[]){&first, &second, &bare}, 3);
    pm_prune_counts n = prune_as(s, (pm_prune_plan){.heat_maps = true, .of_run = 1}, PM_OK, NULL);
    assert_int_equal(n.heat_maps.rows, 24 - 4);
    assert_int_equal(ask(s, "SELECT count(*) FROM heat_map"), 16);
    assert_int_equal(complete(s, &second), 0);
}

static void channel_items_go_and_the_sums_stay(void **state) {
    scratch *s = *state;
    scratch before = beside(s, "before.db");
    make_db(s, (const plan *const[]){&first}, 1);
    copy_db(s, &before);
    pm_prune_counts n = prune_as(s, (pm_prune_plan){.channel_items = true}, PM_OK, NULL);
    assert_int_equal(n.channel_items.rows, 24 * LAYERS);
    assert_int_equal(n.channel_items.bytes, 24 * (4 * CHANNELS + 1 + 2));
    assert_sums(s, 1, 0, 8);
    assert_int_equal(ask(s, "SELECT count(*) FROM result WHERE channels_kept = 1"), 24);
    assert_int_equal(complete(s, &first), 8);
    assert_same_dump(s, &before);
    assert_sums(s, 1, 0, 8); /* not counted twice */
}

/* ---- a run ---- */

static void run_that_goes_leaves_the_others_as_they_were(void **state) {
    scratch *s = *state;
    scratch one = beside(s, "one.db");
    make_db(s, (const plan *const[]){&first, &second}, 2);
    pm_prune_counts n = prune_as(s, (pm_prune_plan){.run = 1, .orphans = true}, PM_OK, NULL);
    assert_int_equal(n.runs, 1);
    assert_int_equal(n.results.rows, 24 - 4);
    assert_int_equal(n.data_sets, 1);
    assert_int_equal(n.images, 6);
    assert_int_equal(n.configurations, 1);
    /* But for the curves, which the first run alone had asked for. */
    make_db(&one, (const plan *const[]){&second}, 1);
    execute(s, "DELETE FROM perturbation; UPDATE result SET evaluation = '', deletion_auc = NULL,"
               " insertion_auc = NULL");
    assert_same_dump(s, &one);
    assert_sums(s, 0, 6, 14);
    assert_sums(s, 1, 6, 14);
    assert_int_equal(complete(s, &second), 0);
    n = prune_as(s, (pm_prune_plan){.run = 2, .orphans = true}, PM_OK, NULL);
    assert_int_equal(n.results.rows, 16);
    assert_int_equal(n.models, 1);
    assert_int_equal(ask(s, "SELECT (SELECT count(*) FROM image) + (SELECT count(*) FROM layer)"
                            " + (SELECT count(*) FROM statistics) + (SELECT count(*) FROM result)"
                            " + (SELECT count(*) FROM channel_gradient) + (SELECT count(*)"
                            " FROM channel_accumulator) + (SELECT count(*) FROM score_summary)"
                            " + (SELECT count(*) FROM layer_summary) + (SELECT count(*) FROM"
                            " timing_summary)"),
                     0);
}

static void sums_without_a_way_back_keep_the_run(void **state) {
    static const plan a = {.items = 6, .configs = 2, .channels = PM_CHANNELS_SUMMARY},
                      b = {.items = 6,
                           .configs = 2,
                           .channels = PM_CHANNELS_SUMMARY,
                           .first_image = 4,
                           .name = "b"};
    scratch *s = *state;
    make_db(s, (const plan *const[]){&a, &b}, 2);
    char *before = dump_of(s->path);
    prune_as(s, (pm_prune_plan){.run = 1}, PM_E_MISMATCH, "--drop-channel-sums");
    char *after = dump_of(s->path);
    assert_string_equal(before, after);
    free(before);
    free(after);
    assert_sums(s, 1, 0, 10);
    pm_prune_counts n =
        prune_as(s, (pm_prune_plan){.run = 1, .drop_channel_sums = true}, PM_OK, NULL);
    assert_int_equal(n.sums_dropped, 2);
    assert_int_equal(ask(s, "SELECT count(*) FROM channel_gradient"), 0);
    assert_int_equal(complete(s, &b), 6);
    assert_sums(s, 1, 4, 10);
}

static void run_that_has_not_ended_is_let_be(void **state) {
    scratch *s = *state;
    make_db(s, (const plan *const[]){&first}, 1);
    record_range(s, &second, 0, 4); /* of its own: images 8 and 9, and 6 and 7 of both */
    char *before = dump_of(s->path);
    prune_as(s, (pm_prune_plan){.run = 2}, PM_E_USAGE, "run 2 has not ended");
    prune_as(s, (pm_prune_plan){.heat_maps = true, .of_run = 2}, PM_E_USAGE, "has not ended");
    prune_as(s, (pm_prune_plan){.run = 9}, PM_E_NOT_FOUND, "no run 9");
    char *after = dump_of(s->path);
    assert_string_equal(before, after);
    free(before);
    free(after);
    /* What it asks for stays, also what the other brought. */
    pm_prune_counts n = prune_as(s, (pm_prune_plan){.heat_maps = true}, PM_OK, NULL);
    assert_int_equal(n.heat_maps.rows, 24 - 4);
    assert_int_equal(complete(s, &second), 4);
    pm_store *held = open_store(s);
    pm_prune_counts counts;
    assert_int_equal(pm_store_prune(s->path, &(pm_prune_plan){.heat_maps = true}, &counts),
                     PM_E_BUSY);
    close_store(&held);
}

/* ---- statistics ---- */

static pm_status one_channel(void *user, size_t conv, pm_statistics_layer *out) {
    static const double p[] = {0.5};
    (void)user;
    (void)conv;
    *out = (pm_statistics_layer){.name = "conv1", .channels = 1, .density = 0.5, .p = p};
    return PM_OK;
}

static void keep_statistics(const scratch *s, const char *name, const char *numbers, bool force,
                            uint64_t run_id) {
    pm_store *store = open_store(s);
    pm_op *submit = submit_op(&gathering), *op = pm_op_new(PM_OP_STATISTICS);
    snprintf(op->statistics.name, sizeof op->statistics.name, "%s", name);
    op->statistics.force = force;
    op->statistics.sha256 = pm_sha256_of(numbers, strlen(numbers));
    op->statistics.spec = submit->submit.spec;
    op->statistics.run_id = run_id;
    op->statistics.layer_count = 1;
    op->statistics.layer = one_channel;
    apply(store, op, PM_OK);
    pm_op_free(&op);
    pm_op_free(&submit);
    close_store(&store);
}

static void activations_go_once_statistics_are_made(void **state) {
    static const plan more = {.items = 7, .configs = 1, .gather = true, .name = "more"};
    scratch *s = *state;
    make_db(s, (const plan *const[]){&gathering}, 1);
    pm_prune_counts n = prune_as(s, (pm_prune_plan){.activations = true}, PM_OK, NULL);
    assert_int_equal(n.activations.rows, 0); /* nothing is made of them yet */
    keep_statistics(s, "tiny", "numbers", false, 1);
    make_db(s, (const plan *const[]){&more}, 1);
    n = prune_as(s, (pm_prune_plan){.activations = true}, PM_OK, NULL);
    assert_int_equal(n.activations.rows, 0); /* another run has not had its turn */
    keep_statistics(s, "more", "other numbers", false, 2);
    n = prune_as(s, (pm_prune_plan){.activations = true}, PM_OK, NULL);
    assert_int_equal(n.activations.rows, 7);
    assert_int_equal(n.activations.bytes, 7 * 4 * (CHANNELS + LAYERS));
    assert_int_equal(ask(s, "SELECT count(*) FROM result"), 7);
    /* Whoever gathers over them again gathers all of them. */
    static const plan again = {.items = 7, .configs = 1, .gather = true, .name = "again"};
    assert_int_equal(complete(s, &again), 7);
    pm_gathered *g = NULL;
    if (pm_gathered_open(s->path, 3, &g)) fail_msg("%s", pm_error_text());
    for (size_t i = 0; i < 7; i++) {
        float value;
        assert_int_equal(pm_gathered_read(g, i, 3, 1, &value), PM_OK);
        assert_true(value == activation_of(i, 3));
    }
    pm_gathered_close(&g);
}

/* ---- orphans ---- */

static void orphans_are_what_nothing_refers_to(void **state) {
    scratch *s = *state;
    scratch before = beside(s, "before.db");
    make_db(s, (const plan *const[]){&first, &gathering}, 2);
    keep_statistics(s, "kept", "kept", false, 2);
    copy_db(s, &before);
    pm_prune_counts n = prune_as(s, (pm_prune_plan){.orphans = true}, PM_OK, NULL);
    assert_int_equal(
        n.data_sets + n.images + n.configurations + n.statistics + n.models + n.workers, 0);
    assert_same_dump(s, &before);
    /* A submission that was cut short between two slices, a worker that did nothing, statistics
     * that lost their name. */
    pm_store *store = open_store(s);
    pm_op *cut = submit_op(&second), *worker = pm_op_new(PM_OP_WORKER_SEEN);
    cut->submit.slice_items = 5;
    apply(store, cut, PM_OK);
    assert_true(cut->submit.unfinished);
    strcpy(worker->worker.host, "here");
    apply(store, worker, PM_OK);
    pm_op_free(&worker);
    pm_op_free(&cut);
    close_store(&store);
    execute(s, "INSERT INTO statistics (sha256, size_bytes, path) VALUES ('aa', 1, '/x')");
    n = prune_as(s, (pm_prune_plan){.orphans = true}, PM_OK, NULL);
    assert_int_equal(n.data_sets, 1);
    assert_int_equal(n.images, 3); /* two of the five are of the run */
    assert_int_equal(n.workers, 1);
    assert_int_equal(n.statistics, 1);
    assert_same_dump(s, &before);
    make_db(s, (const plan *const[]){&second}, 1);
}

/* Statistics go with the last configuration that used them, and then what gathered them. */
static void orphans_of_orphans_go_too(void **state) {
    scratch *s = *state;
    make_db(s, (const plan *const[]){&gathering}, 1);
    keep_statistics(s, "used", "statistics", false, 1);
    make_db(s, (const plan *const[]){&first}, 1);
    prune_as(s, (pm_prune_plan){.run = 1}, PM_OK, NULL);
    prune_as(s, (pm_prune_plan){.run = 2}, PM_OK, NULL);
    execute(s, "UPDATE statistics SET name = NULL");
    pm_prune_counts n = prune_as(s, (pm_prune_plan){.orphans = true}, PM_OK, NULL);
    assert_int_equal(n.configurations, 4);
    assert_int_equal(n.statistics, 1);
    assert_int_equal(n.data_sets, 2);
    assert_int_equal(n.models, 1);
    assert_int_equal(ask(s, "SELECT (SELECT count(*) FROM configuration)"
                            " + (SELECT count(*) FROM model) + (SELECT count(*) FROM layer)"),
                     0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(heat_maps_go_and_can_be_asked_for_again, scratch_set_up,
                                        scratch_tear_down),
        cmocka_unit_test_setup_teardown(heat_maps_of_a_run_leave_those_that_another_asks_for,
                                        scratch_set_up, scratch_tear_down),
        cmocka_unit_test_setup_teardown(channel_items_go_and_the_sums_stay, scratch_set_up,
                                        scratch_tear_down),
        cmocka_unit_test_setup_teardown(run_that_goes_leaves_the_others_as_they_were,
                                        scratch_set_up, scratch_tear_down),
        cmocka_unit_test_setup_teardown(sums_without_a_way_back_keep_the_run, scratch_set_up,
                                        scratch_tear_down),
        cmocka_unit_test_setup_teardown(run_that_has_not_ended_is_let_be, scratch_set_up,
                                        scratch_tear_down),
        cmocka_unit_test_setup_teardown(activations_go_once_statistics_are_made, scratch_set_up,
                                        scratch_tear_down),
        cmocka_unit_test_setup_teardown(orphans_are_what_nothing_refers_to, scratch_set_up,
                                        scratch_tear_down),
        cmocka_unit_test_setup_teardown(orphans_of_orphans_go_too, scratch_set_up,
                                        scratch_tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
