/* Statistics from a database's activations, against plain sums over the same values; the same bytes
 * whatever the budget and the threads; and what they leave in the database. */
#include <math.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/file.h"
#include "lib/stats/shapiro.h"
#include "lib/stats/ttest.h"
#include "tests/store/fixture.h"
#include "tools/statistics/keep.h"

enum { IMAGES = 150, CLASSES = 3, FAILS = 7 };

static const plan gather = {.items = IMAGES, .configs = 1, .gather = true};

/* A gather run in which one image fails. */
static uint64_t make_run(const scratch *s) {
    pm_store *store = open_store(s);
    pm_op *submit = submit_op(&gather);
    apply(store, submit, PM_OK);
    for (size_t t = 0; t < submit->submit.made.count; t++) {
        const pm_task_row *task = &submit->submit.made.rows[t];
        for (uint64_t item = task->next_item; item < task->end_item; item++) {
            pm_op *record = item == FAILS ? record_error_op(&gather, task, item)
                                          : record_op(&gather, task, item);
            apply(store, record, PM_OK);
            pm_op_free(&record);
        }
    }
    uint64_t run = submit->submit.run_id;
    pm_op_free(&submit);
    close_store(&store);
    return run;
}

static pm_stats_shape make_shape(void) {
    pm_stats_shape shape = {.arch = "resnet18"};
    assert_int_equal(pm_stats_shape_add(&shape, "conv1", CHANNELS_0), PM_OK);
    assert_int_equal(pm_stats_shape_add(&shape, "layer1.conv2", CHANNELS_1), PM_OK);
    return shape;
}

static void folder_of(const scratch *s, char out[128]) {
    snprintf(out, 128, "%s/r.db.statistics", s->folder);
}

static pm_stats_made *compute(const scratch *s, uint64_t run, const pm_stats_how *how) {
    pm_stats_made *made = NULL;
    pm_stats_shape shape = make_shape();
    char folder[128];
    folder_of(s, folder);
    if (pm_stats_compute(s->path, run, &shape, folder, how, &made)) fail_msg("%s", pm_error_text());
    assert_null(shape.convs);
    return made;
}

/* The folder beside the database goes too; it must be empty by then. */
static int tear_down(void **state) {
    char folder[128];
    folder_of(*state, folder);
    rmdir(folder);
    return scratch_tear_down(state);
}

static void remove_folder(const scratch *s, const pm_stats_made *made) {
    char folder[128], path[256], hex[PM_SHA256_HEX_BYTES];
    folder_of(s, folder);
    pm_sha256_hex(&made->sha256, hex);
    snprintf(path, sizeof path, "%s/%s.safetensors", folder, hex);
    unlink(path);
    assert_int_equal(rmdir(folder), 0); /* and no temporary is left in it */
}

/* ---- plain sums ---- */

static int label_of(size_t image) { return image % 4 == 3 ? -1 : (int)(image % 3); }

/* Of the images whose label `class` is (-2: of all; other: of all other classes). */
static pm_moments plain_moments(size_t channel, int class, bool other) {
    long double sum = 0, squares = 0;
    uint64_t count = 0;
    for (int pass = 0; pass < 2; pass++) {
        for (size_t i = 0; i < IMAGES; i++) {
            int label = label_of(i);
            if (i == FAILS || (class != -2 && label < 0)) continue;
            if (class != -2 && (label == class) == other) continue;
            long double value = (long double)activation_of(i, channel);
            if (pass) {
                long double off = value - sum / (long double)count;
                squares += off * off;
            } else {
                sum += value;
                count++;
            }
        }
    }
    return (pm_moments){
        .count = count, .mean = (double)(sum / (long double)count), .m2 = (double)squares};
}

static int by_value(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static pm_shapiro plain_shapiro(size_t channel) {
    float values[IMAGES];
    pm_shapiro out;
    size_t count = 0;
    for (size_t i = 0; i < IMAGES; i++)
        if (i != FAILS) values[count++] = activation_of(i, channel);
    qsort(values, count, sizeof *values, by_value);
    assert_int_equal(pm_shapiro_wilk(values, count, &out), PM_OK);
    return out;
}

static void close_to(double got, double want, double relative) {
    if (!(fabs(got - want) <= relative * fabs(want))) fail_msg("%.17g, not %.17g", got, want);
}

static void check_channel(pm_stats_made *made, size_t channel) {
    const pm_channel_summary *got = &made->channels[channel];
    pm_moments all = plain_moments(channel, -2, false);
    pm_shapiro shapiro = plain_shapiro(channel);
    assert_int_equal(all.count, IMAGES - 1);
    close_to(got->mean, all.mean, 1e-13);
    close_to(got->std, sqrt(all.m2 / (IMAGES - 2)), 1e-12);
    close_to(got->w, shapiro.w, 1e-15);
    close_to(got->p, shapiro.p, 1e-15);
    size_t conv = channel >= CHANNELS_0, in = channel - made->shape.convs[conv].first;
    float values[CHANNELS_1 * CLASSES];
    for (int part = PM_STATS_MEAN; part <= PM_STATS_SHAPIRO; part++) {
        const double want[] = {got->mean, got->std, got->p};
        assert_int_equal(pm_stats_file_get(made->file, (pm_stats_part)part, conv, values), PM_OK);
        assert_true(values[in] == (float)want[part]);
    }
    for (int welch = 0; welch < 2; welch++) {
        pm_stats_part part = welch ? PM_STATS_WELCH : PM_STATS_STUDENT;
        assert_int_equal(pm_stats_file_get(made->file, part, conv, values), PM_OK);
        for (int k = 0; k < CLASSES; k++) {
            pm_moments a = plain_moments(channel, k, false), b = plain_moments(channel, k, true);
            close_to((double)values[in * CLASSES + (size_t)k], pm_t_test_greater(&a, &b, welch),
                     1e-6);
        }
    }
}

static void numbers_are_those_of_plain_sums(void **state) {
    scratch *s = *state;
    const pm_stats_how how = {.threads = 1};
    uint64_t run = make_run(s);
    pm_stats_made *made = compute(s, run, &how);
    assert_int_equal(made->shape.images, IMAGES - 1);
    assert_int_equal(made->failed, 1);
    /* Every fourth image has no label; image 7, which failed, is one of them. */
    assert_int_equal(made->unlabelled, IMAGES / 4 - 1);
    assert_int_equal(made->shape.class_count, CLASSES);
    for (uint32_t k = 0; k < CLASSES; k++) {
        assert_int_equal(made->shape.classes[k], k);
        assert_int_equal(made->class_images[k], plain_moments(0, (int)k, false).count);
    }
    for (size_t c = 0; c < CHANNELS; c++) check_channel(made, c);
    for (size_t l = 0; l < LAYERS; l++) {
        long double sum = 0;
        for (size_t i = 0; i < IMAGES; i++)
            if (i != FAILS) sum += (long double)density_of(i, l);
        close_to(made->density[l], (double)(sum / (IMAGES - 1)), 1e-14);
    }
    pm_stats_made_free(&made);
}

static void budget_and_threads_change_no_bit(void **state) {
    scratch *s = *state;
    uint64_t run = make_run(s);
    pm_stats_made *first = NULL;
    /* One channel a pass, a few that cross from one convolution to the next, all at once. */
    const size_t budgets[] = {1, 3 * (IMAGES + 6) * sizeof(float), 0};
    for (size_t b = 0; b < 3; b++)
        for (size_t threads = 1; threads <= 3; threads += 2) {
            const pm_stats_how how = {.threads = threads, .budget_bytes = budgets[b]};
            pm_stats_made *made = compute(s, run, &how);
            if (!first) {
                first = made;
                continue;
            }
            assert_true(pm_sha256_equal(&made->sha256, &first->sha256));
            assert_memory_equal(made->channels, first->channels, CHANNELS * sizeof *made->channels);
            pm_stats_made_free(&made);
        }
    pm_stats_made_free(&first);
}

/* The engine reads it as any other file. */
static void the_file_is_read_back_by_the_engine(void **state) {
    scratch *s = *state;
    const pm_stats_how how = {.threads = 2};
    uint64_t run = make_run(s);
    pm_stats_made *made = compute(s, run, &how);
    pm_weights *weights = NULL;
    char path[128];
    pm_sha256 hash;
    snprintf(path, sizeof path, "%s/out.safetensors", s->folder);
    assert_int_equal(pm_stats_file_keep(made->file, path), PM_OK);
    assert_int_equal(pm_sha256_file(path, &hash), PM_OK);
    assert_true(pm_sha256_equal(&hash, &made->sha256));
    if (pm_weights_open(path, &weights)) fail_msg("%s", pm_error_text());
    static const char *const order[] = {"classes",
                                        "mean/conv1",
                                        "std/conv1",
                                        "shapiro/conv1",
                                        "student/conv1",
                                        "welch/conv1",
                                        "mean/layer1.conv2",
                                        "std/layer1.conv2",
                                        "shapiro/layer1.conv2",
                                        "student/layer1.conv2",
                                        "welch/layer1.conv2"};
    assert_int_equal(pm_weights_count(weights), sizeof order / sizeof *order);
    for (size_t i = 0; i < pm_weights_count(weights); i++)
        assert_string_equal(pm_weights_at(weights, i)->name, order[i]);
    const pm_tensor_info *info = pm_weights_find(weights, "welch/layer1.conv2");
    assert_int_equal(info->shape[0], CHANNELS_1);
    assert_int_equal(info->shape[1], CLASSES);
    float read[CHANNELS_1 * CLASSES], kept[CHANNELS_1 * CLASSES];
    assert_int_equal(pm_weights_read(weights, info, read), PM_OK);
    assert_int_equal(pm_stats_file_get(made->file, PM_STATS_WELCH, 1, kept), PM_OK);
    assert_memory_equal(read, kept, sizeof read);
    pm_weights_free(&weights);
    pm_stats_made_free(&made);
}

static void what_does_not_fit_is_refused(void **state) {
    scratch *s = *state;
    const pm_stats_how how = {.threads = 1};
    uint64_t run = make_run(s);
    char folder[128];
    folder_of(s, folder);
    pm_stats_made *made = NULL;
    pm_stats_shape shape = {.arch = "vgg16"};
    assert_int_equal(pm_stats_shape_add(&shape, "conv1", CHANNELS), PM_OK);
    assert_int_equal(pm_stats_compute(s->path, run, &shape, folder, &how, &made), PM_E_MISMATCH);
    shape = make_shape();
    assert_int_equal(pm_stats_compute(s->path, run + 1, &shape, folder, &how, &made),
                     PM_E_NOT_FOUND);
    volatile sig_atomic_t stop = 1;
    const pm_stats_how stopped = {.threads = 2, .stop = &stop};
    shape = make_shape();
    assert_int_equal(pm_stats_compute(s->path, run, &shape, folder, &stopped, &made),
                     PM_E_CANCELLED);
    assert_null(made);
    assert_int_equal(rmdir(folder), 0); /* nothing is left in it */
}

static void they_are_kept_by_name_with_every_number(void **state) {
    scratch *s = *state;
    const pm_stats_how how = {.threads = 1};
    uint64_t run = make_run(s);
    pm_stats_made *made = compute(s, run, &how);
    pm_op *submit = submit_op(&gather);
    pm_stats_label label = {
        .name = "tiny", .note = "150 made-up images", .spec = submit->submit.spec, .run_id = run};
    bool existed = true;
    if (pm_stats_keep(s->path, made, &label, &existed)) fail_msg("%s", pm_error_text());
    assert_false(existed);
    assert_int_equal(ask(s, "SELECT images FROM statistics_named WHERE name = 'tiny'"), IMAGES - 1);
    assert_true(ask_real(s, "SELECT mean FROM channel_statistics_named WHERE layer = 'layer1.conv2'"
                            " AND channel = 4") == made->channels[CHANNELS_0 + 4].mean);
    assert_true(ask_real(s, "SELECT shapiro_p FROM channel_statistics_named"
                            " WHERE layer = 'conv1' AND channel = 2") == made->channels[2].p);
    assert_true(ask_real(s, "SELECT density FROM layer_statistics JOIN layer USING (layer_id)"
                            " WHERE conv = 1") == made->density[1]);
    float welch[CHANNELS_1 * CLASSES];
    char sql[256];
    uint32_t bits;
    assert_int_equal(pm_stats_file_get(made->file, PM_STATS_WELCH, 1, welch), PM_OK);
    memcpy(&bits, &welch[4 * CLASSES + 2], sizeof bits);
    snprintf(sql, sizeof sql,
             "SELECT substr(welch_p, 17, 4) = x'%02x%02x%02x%02x' FROM class_statistics"
             " JOIN layer USING (layer_id) WHERE conv = 1 AND class = 2",
             bits & 255, bits >> 8 & 255, bits >> 16 & 255, bits >> 24);
    assert_int_equal(ask(s, sql), 1);
    pm_stats_made *again = compute(s, run, &how);
    if (pm_stats_keep(s->path, again, &label, &existed)) fail_msg("%s", pm_error_text());
    assert_true(existed);
    remove_folder(s, again);
    pm_stats_made_free(&again);
    pm_stats_made_free(&made);
    pm_op_free(&submit);
}

static void names_cannot_be_taken_for_paths(void **state) {
    (void)state;
    static const char *const good[] = {"a", "resnet18.v2", "Tiny_imagenet-2000"};
    static const char *const bad[] = {"", "a/b", ".x", "a b", "-x", "a\n", "caf\xc3\xa9"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        assert_int_equal(pm_stats_check_name(good[i]), PM_OK);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(pm_stats_check_name(bad[i]), PM_E_USAGE);
}

#define STORE_TEST(f) cmocka_unit_test_setup_teardown(f, scratch_set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        STORE_TEST(numbers_are_those_of_plain_sums),
        STORE_TEST(budget_and_threads_change_no_bit),
        STORE_TEST(the_file_is_read_back_by_the_engine),
        STORE_TEST(what_does_not_fit_is_refused),
        STORE_TEST(they_are_kept_by_name_with_every_number),
        cmocka_unit_test(names_cannot_be_taken_for_paths),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
