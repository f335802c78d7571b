/* Activations of a gather run, read back in slices; statistics by name: kept, replaced, let go. */
#include <math.h>

#include "lib/store/gathered.h"
#include "tests/store/fixture.h"

static const plan gather = {.items = 6, .configs = 1, .gather = true, .task_items = 4};

/* ---- activations ---- */

static void slices_are_what_was_recorded(void **state) {
    scratch *s = *state;
    pm_store *store = open_store(s);
    uint64_t run = whole_run(store, &gather);
    close_store(&store);
    pm_gathered *g = NULL;
    if (pm_gathered_open(s->path, run, &g)) fail_msg("%s", pm_error_text());
    assert_int_equal(pm_gathered_count(g), 6);
    assert_int_equal(pm_gathered_channels(g), CHANNELS);
    assert_int_equal(pm_gathered_convs(g), LAYERS);
    for (size_t i = 0; i < 6; i++) {
        const pm_gathered_item *item = &pm_gathered_items(g)[i];
        assert_true(item->there);
        assert_int_equal(item->label, i % 4 == 3 ? -1 : (int)(i % 3));
    }
    /* Blocks of three channels, all images each, as the statistics read them. */
    for (size_t first = 0; first < CHANNELS; first += 3) {
        size_t count = CHANNELS - first < 3 ? CHANNELS - first : 3;
        for (size_t i = 0; i < 6; i++) {
            float values[3], density[LAYERS];
            assert_int_equal(pm_gathered_read(g, i, first, count, values), PM_OK);
            for (size_t c = 0; c < count; c++)
                assert_true(values[c] == activation_of(i, first + c));
            assert_int_equal(pm_gathered_density(g, i, density), PM_OK);
            for (size_t l = 0; l < LAYERS; l++) assert_true(density[l] == density_of(i, l));
        }
    }
    pm_gathered_close(&g);
    assert_null(g);
}

static void images_that_failed_are_not_there(void **state) {
    scratch *s = *state;
    pm_store *store = open_store(s);
    pm_op *submit = submit_op(&gather);
    apply(store, submit, PM_OK);
    const pm_task_row *task = &submit->submit.made.rows[0];
    pm_op *bad = record_error_op(&gather, task, 0), *good = record_op(&gather, task, 1);
    apply(store, bad, PM_OK);
    apply(store, good, PM_OK);
    pm_gathered *g = NULL;
    assert_int_equal(pm_gathered_open(s->path, submit->submit.run_id, &g), PM_OK);
    assert_false(pm_gathered_items(g)[0].there);
    assert_true(pm_gathered_items(g)[1].there);
    assert_false(pm_gathered_items(g)[5].there);
    float value;
    assert_int_equal(pm_gathered_read(g, 0, 0, 1, &value), PM_E_INTERNAL);
    assert_int_equal(pm_gathered_read(g, 1, CHANNELS, 1, &value), PM_E_INTERNAL);
    pm_gathered_close(&g);
    assert_int_equal(pm_gathered_open(s->path, 99, &g), PM_E_NOT_FOUND);
    pm_op_free(&bad);
    pm_op_free(&good);
    pm_op_free(&submit);
    close_store(&store);
}

static void only_gather_results_carry_activations(void **state) {
    scratch *s = *state;
    const plan plain = {.items = 2, .configs = 1};
    pm_store *store = open_store(s);
    pm_op *submit = submit_op(&gather), *other = submit_op(&plain);
    apply(store, submit, PM_OK);
    apply(store, other, PM_OK);
    pm_op *record = record_op(&gather, &submit->submit.made.rows[0], 0);
    record->record.results[0].density_count = 0;
    apply(store, record, PM_E_PROTOCOL);
    record->record.results[0].density_count = LAYERS;
    record->record.results[0].activation_count = 0;
    apply(store, record, PM_E_PROTOCOL);
    pm_op *stray = record_op(&gather, &other->submit.made.rows[0], 0);
    apply(store, stray, PM_E_PROTOCOL);
    record->record.results[0].activation_count = CHANNELS;
    record->record.results[0].activations[3] = NAN; /* an error row, never a number */
    apply(store, record, PM_OK);
    assert_int_equal(ask(s, "SELECT count(*) FROM activation"), 0);
    assert_int_equal(ask(s, "SELECT count(*) FROM result WHERE reason = 'not-finite'"), 1);
    pm_gathered *g = NULL;
    assert_int_equal(pm_gathered_open(s->path, other->submit.run_id, &g), PM_E_NOT_FOUND);
    pm_op_free(&stray);
    pm_op_free(&record);
    pm_op_free(&other);
    pm_op_free(&submit);
    close_store(&store);
}

static void gather_stands_alone_in_its_run(void **state) {
    scratch *s = *state;
    pm_store *store = open_store(s);
    const plan bad[] = {
        {.items = 2, .configs = 2, .gather = true},
        {.items = 2, .configs = 1, .gather = true, .channels = PM_CHANNELS_SUMMARY},
        {.items = 2, .configs = 1, .gather = true, .heat_maps = PM_HEAT_MAPS_F16},
    };
    for (size_t i = 0; i < 3; i++) {
        pm_op *op = submit_op(&bad[i]);
        apply(store, op, PM_E_USAGE);
        pm_op_free(&op);
    }
    close_store(&store);
}

/* A second gather run over more images computes only what is missing. */
static void activations_are_reused(void **state) {
    scratch *s = *state;
    const plan more = {.items = 9, .configs = 1, .gather = true};
    pm_store *store = open_store(s);
    whole_run(store, &gather);
    pm_op *submit = submit_op(&more);
    apply(store, submit, PM_OK);
    assert_int_equal(submit->submit.items_open, 3);
    assert_int_equal(submit->submit.results_reused, 6);
    pm_op_free(&submit);
    close_store(&store);
}

/* ---- statistics by name ---- */

typedef struct source {
    size_t layers, classes;
    double shift; /* makes other numbers */
    double values[4][CHANNELS_1];
    float tests[2][3 * CHANNELS_1];
    size_t asked;
} source;

static pm_status give_layer(void *user, size_t conv, pm_statistics_layer *out) {
    source *from = user;
    from->asked++;
    size_t channels = conv ? CHANNELS_1 : CHANNELS_0;
    for (size_t c = 0; c < channels; c++) {
        from->values[0][c] = (double)c + from->shift;
        from->values[1][c] = 0.5 * (double)c;
        from->values[2][c] = c ? 0.9 : NAN;
        from->values[3][c] = (double)c / 32;
    }
    for (size_t k = 0; k < from->classes; k++)
        for (size_t c = 0; c < channels; c++) {
            from->tests[0][k * channels + c] = (float)(k * 100 + c) / 1024;
            from->tests[1][k * channels + c] = (float)(k * 100 + c) / 2048;
        }
    *out = (pm_statistics_layer){.name = conv ? "conv2" : "conv1",
                                 .channels = channels,
                                 .density = conv ? NAN : 0.375,
                                 .mean = from->values[0],
                                 .std = conv ? NULL : from->values[1],
                                 .w = from->values[2],
                                 .p = from->values[3],
                                 .welch_p = conv ? NULL : from->tests[0],
                                 .student_p = from->tests[1]};
    return PM_OK;
}

static const uint32_t classes[3] = {2, 7, 900};
static const uint64_t class_images[3] = {10, 20, 1};

static pm_op *statistics_op(const pm_op *submit, source *from, const char *name) {
    pm_op *op = pm_op_new(PM_OP_STATISTICS);
    assert_non_null(op);
    snprintf(op->statistics.name, sizeof op->statistics.name, "%s", name);
    snprintf(op->statistics.note, sizeof op->statistics.note, "made up");
    op->statistics.sha256 = pm_sha256_of(&from->shift, sizeof from->shift);
    op->statistics.size_bytes = 4711;
    op->statistics.spec = submit->submit.spec;
    op->statistics.images = 31;
    op->statistics.class_count = from->classes;
    op->statistics.classes = classes;
    op->statistics.class_images = class_images;
    op->statistics.layer_count = from->layers;
    op->statistics.layer = give_layer;
    op->statistics.user = from;
    return op;
}

static void statistics_are_kept_by_name(void **state) {
    scratch *s = *state;
    source from = {.layers = 2, .classes = 3};
    pm_store *store = open_store(s);
    uint64_t run = whole_run(store, &gather);
    pm_op *submit = submit_op(&gather), *op = statistics_op(submit, &from, "tiny");
    op->statistics.run_id = run;
    apply(store, op, PM_OK);
    assert_false(op->statistics.existed);
    close_store(&store);
    assert_int_equal(ask(s, "SELECT count(*) FROM statistics AS s JOIN model USING (model_id)"
                            " JOIN configuration AS c USING (configuration_id)"
                            " JOIN data_set USING (data_set_id) WHERE s.name = 'tiny'"
                            " AND s.images = 31 AND s.size_bytes = 4711 AND s.note = 'made up'"
                            " AND c.method = 'gather' AND data_set.items = 6"),
                     1);
    assert_int_equal(ask(s, "SELECT count(*) FROM channel_statistics_named WHERE name = 'tiny'"),
                     CHANNELS);
    assert_int_equal(ask(s, "SELECT classes * 10000 + layers * 1000 + channels"
                            " FROM statistics_named WHERE name = 'tiny'"),
                     32000 + CHANNELS);
    assert_true(ask_real(s, "SELECT mean FROM channel_statistics_named WHERE layer = 'conv2'"
                            " AND channel = 10") == 10);
    assert_int_equal(ask(s, "SELECT count(*) FROM channel_statistics_named WHERE layer = 'conv2'"
                            " AND std IS NULL"),
                     CHANNELS_1);
    assert_int_equal(ask(s, "SELECT count(*) FROM channel_statistics WHERE shapiro_w IS NULL"), 2);
    assert_true(ask_real(s, "SELECT density FROM layer_statistics JOIN layer USING (layer_id)"
                            " WHERE conv = 0") == 0.375);
    assert_int_equal(ask(s, "SELECT count(*) FROM layer_statistics WHERE density IS NULL"), 1);
    /* Class 7, channel 3: 103 / 1024 = 0x3dce0000, 103 / 2048 = 0x3d4e0000. */
    assert_int_equal(ask(s, "SELECT substr(welch_p, 13, 4) = x'0000ce3d'"
                            " AND substr(student_p, 13, 4) = x'00004e3d' AND images = 20"
                            " AND length(welch_p) = 20 FROM class_statistics"
                            " JOIN layer USING (layer_id) WHERE conv = 0 AND class = 7"),
                     1);
    assert_int_equal(ask(s, "SELECT count(*) FROM class_statistics WHERE welch_p IS NULL"), 3);
    pm_op_free(&op);
    pm_op_free(&submit);
}

static void a_name_is_for_one_set_of_numbers(void **state) {
    scratch *s = *state;
    source from = {.layers = 2, .classes = 3}, other = {.layers = 2, .classes = 3, .shift = 1};
    pm_store *store = open_store(s);
    pm_op *submit = submit_op(&gather);
    pm_op *first = statistics_op(submit, &from, "tiny"),
          *again = statistics_op(submit, &from, "tiny");
    pm_op *second = statistics_op(submit, &other, "tiny"),
          *alias = statistics_op(submit, &from, "small");
    apply(store, first, PM_OK);
    from.asked = 0;
    apply(store, again, PM_OK);
    assert_true(again->statistics.existed);
    assert_int_equal(again->statistics.statistics_id, first->statistics.statistics_id);
    assert_int_equal(from.asked, 0); /* nothing written twice */
    apply(store, second, PM_E_MISMATCH);
    assert_non_null(strstr(second->text, "--force"));
    apply(store, alias, PM_E_MISMATCH);
    assert_non_null(strstr(alias->text, "'tiny'"));
    assert_true(ask_real(s, "SELECT min(mean) FROM channel_statistics") == 0);

    second->statistics.force = true; /* the name goes over, nothing needs the old numbers */
    apply(store, second, PM_OK);
    assert_true(ask_real(s, "SELECT min(mean) FROM channel_statistics") == 1);
    assert_int_equal(ask(s, "SELECT count(*) FROM statistics"), 1);
    assert_int_equal(ask(s, "SELECT count(*) FROM class_statistics"), 6);

    alias->statistics.sha256 = second->statistics.sha256;
    alias->statistics.force = true; /* renamed */
    apply(store, alias, PM_OK);
    assert_int_equal(ask(s, "SELECT count(*) FROM statistics_named WHERE name = 'small'"), 1);
    assert_int_equal(ask(s, "SELECT count(*) FROM statistics"), 1);
    pm_op_free(&first);
    pm_op_free(&again);
    pm_op_free(&second);
    pm_op_free(&alias);
    pm_op_free(&submit);
    close_store(&store);
}

/* A run with mask cls knows them by their file's hash: the row is the same, and stays. */
static void numbers_that_a_configuration_needs_stay(void **state) {
    scratch *s = *state;
    source from = {.layers = 2, .classes = 3}, other = {.layers = 2, .classes = 3, .shift = 1};
    const plan masked = {.items = 2, .configs = 2};
    pm_store *store = open_store(s);
    whole_run(store, &masked);
    assert_int_equal(ask(s, "SELECT count(*) FROM statistics WHERE name IS NULL"), 1);
    pm_op *submit = submit_op(&gather), *op = statistics_op(submit, &from, "tiny");
    op->statistics.sha256 = pm_sha256_of("statistics", 10); /* as the fixture's runs have it */
    apply(store, op, PM_OK);
    assert_int_equal(ask(s, "SELECT count(*) FROM statistics WHERE name = 'tiny'"), 1);
    assert_int_equal(ask(s, "SELECT count(*) FROM statistics"), 1);
    pm_op *force = statistics_op(submit, &other, "tiny");
    force->statistics.force = true;
    apply(store, force, PM_OK);
    assert_int_equal(ask(s, "SELECT count(*) FROM statistics"), 2);
    assert_int_equal(ask(s, "SELECT count(*) FROM channel_statistics"), 2 * CHANNELS);
    assert_int_equal(ask(s, "SELECT count(*) FROM configuration AS c JOIN statistics AS s"
                            " USING (statistics_id) WHERE s.name IS NULL"),
                     1);
    apply(store, op, PM_E_MISMATCH);
    op->statistics.force = true; /* and back: the old rows are still there */
    from.asked = 0;
    apply(store, op, PM_OK);
    assert_int_equal(from.asked, 0);
    assert_int_equal(ask(s, "SELECT count(*) FROM channel_statistics_named WHERE name = 'tiny'"
                            " AND layer = 'conv1' AND mean = channel"),
                     CHANNELS_0);
    assert_int_equal(ask(s, "SELECT count(*) FROM channel_statistics"), CHANNELS);
    pm_op_free(&force);
    pm_op_free(&op);
    pm_op_free(&submit);
    close_store(&store);
}

static pm_status give_nothing(void *user, size_t conv, pm_statistics_layer *out) {
    if (conv == 0) return give_layer(user, conv, out);
    return pm_fail(PM_E_IO, "the second layer cannot be read");
}

static void what_fails_leaves_nothing(void **state) {
    scratch *s = *state;
    source from = {.layers = 2, .classes = 3};
    pm_store *store = open_store(s);
    pm_op *submit = submit_op(&gather), *op = statistics_op(submit, &from, "tiny");
    op->statistics.run_id = 77;
    apply(store, op, PM_E_NOT_FOUND);
    op->statistics.run_id = 0;
    op->statistics.layer = give_nothing;
    pm_op *group[] = {op};
    assert_int_equal(pm_store_apply(store, group, 1), PM_E_IO);
    assert_int_equal(ask(s, "SELECT count(*) FROM statistics"), 0);
    assert_int_equal(ask(s, "SELECT count(*) FROM channel_statistics"), 0);
    op->statistics.name[0] = 0;
    apply(store, op, PM_E_USAGE);
    pm_op_free(&op);
    pm_op_free(&submit);
    close_store(&store);
}

#define STORE_TEST(f) cmocka_unit_test_setup_teardown(f, scratch_set_up, scratch_tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        STORE_TEST(slices_are_what_was_recorded),
        STORE_TEST(images_that_failed_are_not_there),
        STORE_TEST(only_gather_results_carry_activations),
        STORE_TEST(gather_stands_alone_in_its_run),
        STORE_TEST(activations_are_reused),
        STORE_TEST(statistics_are_kept_by_name),
        STORE_TEST(a_name_is_for_one_set_of_numbers),
        STORE_TEST(numbers_that_a_configuration_needs_stay),
        STORE_TEST(what_fails_leaves_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
