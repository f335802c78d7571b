/* The research code's pickles (tests/data/make_pickle_vectors.py): every value, what is refused,
 * and the way through the database back to the same file. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/base/file.h"
#include "lib/base/random.h"
#include "lib/store/query.h"
#include "tests/integration/fixture.h"
#include "tools/statistics/import.h"
#include "tools/statistics/keep.h"
#include "tools/statistics/named.h"

enum { CONVS = 19, CHANNELS = 16 * 7 + 32 * 6 + 64 * 6, CLASSES = PM_FIXTURE_CLASSES, PATH = 512 };

typedef struct scene {
    pm_fixture fixture;
    char pickles[PM_FIXTURE_PATH], db[PM_FIXTURE_PATH], folder[PM_FIXTURE_PATH];
    pm_model *model;
    pm_run_spec spec;
    pm_config config;
} scene;

static int set_up(void **state) {
    scene *s = calloc(1, sizeof *s);
    pm_weights *weights = NULL;
    if (!s) return -1;
    pm_fixture_make(&s->fixture, 1);
    pm_fixture_path(&s->fixture, "pickles", s->pickles);
    pm_fixture_path(&s->fixture, "r.db", s->db);
    pm_fixture_path(&s->fixture, "r.db.statistics", s->folder);
    assert_int_equal(mkdir(s->pickles, 0700), 0);
    if (pm_weights_open(s->fixture.weights, &weights) ||
        pm_model_new("cifar_resnet20", weights, &s->model))
        fail_msg("%s", pm_error_text());
    pm_weights_free(&weights);
    s->spec = (pm_run_spec){.classes = CLASSES, .config_count = 1, .configs = &s->config};
    snprintf(s->spec.weights_path, sizeof s->spec.weights_path, "%s", s->fixture.weights);
    snprintf(s->config.arch, sizeof s->config.arch, "cifar_resnet20");
    assert_int_equal(pm_sha256_file(s->fixture.weights, &s->config.weights), PM_OK);
    *state = s;
    return 0;
}

static int tear_down(void **state) {
    scene *s = *state;
    pm_model_free(&s->model);
    pm_fixture_remove(&s->fixture);
    free(s);
    return 0;
}

/* Put a file of tests/data in place of a pickle. */
static void place(const scene *s, const char *source, const char *name) {
    const char *root = getenv("PARCHMILL_SOURCE_DIR");
    char from[PATH], to[PATH];
    snprintf(from, sizeof from, "%s/tests/data/%s", root ? root : ".", source);
    snprintf(to, sizeof to, "%s/%s", s->pickles, name);
    unlink(to);
    assert_int_equal(access(from, R_OK), 0);
    assert_int_equal(symlink(from, to), 0);
}

static void place_all(const scene *s) {
    static const char *const names[] = {"shapiro_p_values.pkl", "cls_p_values.pkl", "gap_mean.pkl",
                                        "gap_std.pkl"};
    for (size_t i = 0; i < 4; i++) {
        char source[64];
        snprintf(source, sizeof source, "pickles/%s", names[i]);
        place(s, source, names[i]);
    }
}

static pm_stats_made *import(const scene *s) {
    pm_stats_made *made = NULL;
    if (pm_stats_import(s->pickles, s->model, s->folder, &made)) fail_msg("%s", pm_error_text());
    return made;
}

static void check_refused(const scene *s, pm_status want, const char *words) {
    pm_stats_made *made = NULL;
    pm_status status = pm_stats_import(s->pickles, s->model, s->folder, &made);
    if (status != want || !strstr(pm_error_text(), words))
        fail_msg("%s: '%s', not '%s'", pm_status_name(status), pm_error_text(), words);
    assert_null(strchr(pm_error_text(), '\n'));
    assert_null(made);
}

/* As make_pickle_vectors.py writes it: KIND/INDEX rounded down to 1/64. */
static double value_of(const char *kind, size_t conv, size_t index) {
    char name[32];
    float value;
    snprintf(name, sizeof name, "%s/%zu", kind, conv);
    pm_synth(name, index, &value, 1);
    return floor((double)value * 64) / 64;
}

static double p_of(const char *kind, size_t conv, size_t index) {
    if (strcmp(kind, "shapiro") == 0 && conv == 3 && index == 5) return 1; /* NaN in the file */
    return (value_of(kind, conv, index) + 1) / 2;
}

static void every_value_is_the_pickles(void **state) {
    scene *s = *state;
    place_all(s);
    pm_stats_made *made = import(s);
    assert_int_equal(made->shape.conv_count, CONVS);
    assert_int_equal(made->shape.channels, CHANNELS);
    assert_int_equal(made->shape.class_count, CLASSES);
    assert_int_equal(made->shape.images, 0);
    assert_null(made->class_images);
    assert_true(made->shape.has[PM_STATS_STUDENT] && !made->shape.has[PM_STATS_WELCH]);
    for (size_t i = 0; i < CONVS; i++) {
        const pm_stats_conv *conv = &made->shape.convs[i];
        float values[64 * CLASSES], one[64];
        assert_int_equal(pm_stats_file_get(made->file, PM_STATS_STUDENT, i, values), PM_OK);
        for (size_t k = 0; k < conv->channels * CLASSES; k++)
            assert_true((double)values[k] == p_of("cls", i, k));
        assert_int_equal(pm_stats_file_get(made->file, PM_STATS_MEAN, i, one), PM_OK);
        for (size_t c = 0; c < conv->channels; c++) {
            const pm_channel_summary *got = &made->channels[conv->first + c];
            assert_true(got->mean == value_of("mean", i, c) + 1);
            assert_true(got->mean == (double)one[c]);
            assert_true(got->std == p_of("std", i, c));
            assert_true(got->p == p_of("shapiro", i, c));
            assert_true(isnan(got->w));
        }
        assert_true(isnan(made->density[i]));
    }
    pm_stats_made_free(&made);
}

static pm_status take_integer(void *user, size_t count, const pm_value *values) {
    (void)count;
    *(int64_t *)user = values[0].integer;
    return PM_OK;
}

static int64_t ask(const scene *s, const char *sql) {
    pm_query *query = NULL;
    int64_t value = -1;
    const pm_query_sink sink = {.user = &value, .row = take_integer};
    if (pm_query_open(s->db, &pm_query_default_limits, &query) ||
        pm_query_run(query, sql, NULL, 0, &sink, NULL))
        fail_msg("%s", pm_error_text());
    pm_query_close(&query);
    return value;
}

static void keep(scene *s, pm_stats_made *made, const char *name) {
    const pm_stats_label label = {.name = name, .note = "imported", .spec = &s->spec};
    bool existed = true;
    if (pm_stats_keep(s->db, made, &label, &existed)) fail_msg("%s", pm_error_text());
    assert_false(existed);
}

static void the_database_gives_the_same_file_back(void **state) {
    scene *s = *state;
    place_all(s);
    pm_stats_made *made = import(s);
    keep(s, made, "research");
    assert_int_equal(ask(s, "SELECT count(*) FROM channel_statistics WHERE mean NOT NULL"),
                     CHANNELS);
    assert_int_equal(ask(s, "SELECT count(*) FROM class_statistics WHERE welch_p IS NULL"
                            " AND images IS NULL AND student_p NOT NULL"),
                     CONVS * CLASSES);
    char path[PM_STATS_PATH_BYTES], out[PATH];
    pm_sha256 hash;
    snprintf(out, sizeof out, "%s/out.safetensors", s->fixture.folder);
    if (pm_stats_named_export(s->db, "research", out)) fail_msg("%s", pm_error_text());
    assert_int_equal(pm_sha256_file(out, &hash), PM_OK);
    assert_true(pm_sha256_equal(&hash, &made->sha256));

    /* By name: the file beside the database, and again where somebody took it away. */
    for (int round = 0; round < 2; round++) {
        if (pm_stats_named_file(s->db, "research", "cifar_resnet20", &s->config.weights, path))
            fail_msg("%s", pm_error_text());
        assert_int_equal(strncmp(path, s->folder, strlen(s->folder)), 0);
        assert_int_equal(pm_sha256_file(path, &hash), PM_OK);
        assert_true(pm_sha256_equal(&hash, &made->sha256));
        unlink(path);
    }
    pm_stats_made_free(&made);
}

static void parts_that_are_missing_stay_missing(void **state) {
    scene *s = *state;
    place(s, "pickles/shapiro_p_values.pkl", "cifar_resnet20_shapiro_p_values.pkl");
    pm_stats_made *made = import(s);
    assert_int_equal(made->shape.class_count, 0);
    for (int part = 0; part < PM_STATS_PART_COUNT; part++)
        assert_int_equal(made->shape.has[part], part == PM_STATS_SHAPIRO);
    keep(s, made, "only-shapiro");
    assert_int_equal(ask(s, "SELECT count(*) FROM channel_statistics WHERE mean IS NULL"
                            " AND std IS NULL AND shapiro_w IS NULL"),
                     CHANNELS);
    assert_int_equal(ask(s, "SELECT count(*) FROM class_statistics"), 0);
    char path[PATH];
    pm_sha256 hash;
    snprintf(path, sizeof path, "%s/out.safetensors", s->fixture.folder);
    if (pm_stats_named_export(s->db, "only-shapiro", path)) fail_msg("%s", pm_error_text());
    assert_int_equal(pm_sha256_file(path, &hash), PM_OK);
    assert_true(pm_sha256_equal(&hash, &made->sha256));
    pm_stats_made_free(&made);
}

static void lists_that_do_not_fit_are_refused(void **state) {
    scene *s = *state;
    check_refused(s, PM_E_NOT_FOUND, "holds neither shapiro_p_values.pkl nor cifar_resnet20_");
    place_all(s);
    place(s, "pickles/bad_few.pkl", "shapiro_p_values.pkl");
    check_refused(s, PM_E_MISMATCH, "18 tensors; cifar_resnet20 has 19 convolutions");
    place(s, "pickles/bad_narrow.pkl", "shapiro_p_values.pkl");
    check_refused(s, PM_E_MISMATCH,
                  "tensor 12 is [31]; layer2.2.conv2 of cifar_resnet20 wants [32]");
    place(s, "pickles/bad_beyond.pkl", "shapiro_p_values.pkl");
    check_refused(s, PM_E_FORMAT, "tensor 18 holds 1.5, which is no p-value");
    place_all(s);
    place(s, "pickles/bad_negative.pkl", "gap_std.pkl");
    check_refused(s, PM_E_FORMAT, "tensor 0 holds -0.25, which is no standard deviation");
    place_all(s);
    place(s, "pickles/bad_classes.pkl", "cls_p_values.pkl");
    check_refused(s, PM_E_MISMATCH, "11 classes; the model has 10");
    place(s, "pickles/shapiro_p_values.pkl", "cls_p_values.pkl");
    check_refused(s, PM_E_MISMATCH, "tensor 0 is not of channels by classes");
    place_all(s);
    char path[PATH];
    snprintf(path, sizeof path, "%s/gap_std.pkl", s->pickles);
    unlink(path);
    check_refused(s, PM_E_NOT_FOUND, "gap_mean.pkl and gap_std.pkl belong together");
}

/* Nothing is executed, and nothing but a list of tensors is taken. */
static void other_files_are_refused(void **state) {
    scene *s = *state;
    place(s, "pickles/bad_mixed.pkl", "shapiro_p_values.pkl");
    check_refused(s, PM_E_FORMAT, "a list, but not of tensors alone");
    place(s, "weights/bad_os_system_stream.pth", "shapiro_p_values.pkl");
    check_refused(s, PM_E_UNSUPPORTED, "names os.system, which is not part of a weights file");
    place(s, "weights/plain.safetensors", "shapiro_p_values.pkl");
    check_refused(s, PM_E_FORMAT, "a safetensors file, not a pickled list of tensors");
    place(s, "weights/plain_zip.pth", "shapiro_p_values.pkl");
    check_refused(s, PM_E_FORMAT, "a pytorch-zip file, not a pickled list of tensors");
    assert_int_not_equal(access(s->folder, F_OK), 0); /* nothing was begun */
}

static void a_name_that_is_not_there_lists_those_that_are(void **state) {
    scene *s = *state;
    char path[PM_STATS_PATH_BYTES];
    pm_stats_named named;
    assert_int_equal(pm_stats_named_find(s->db, "tiny", &named), PM_E_NOT_FOUND);
    assert_non_null(strstr(pm_error_text(), "r.db"));
    place_all(s);
    pm_stats_made *made = import(s);
    keep(s, made, "research");
    assert_int_equal(pm_stats_named_find(s->db, "tiny", &named), PM_E_NOT_FOUND);
    assert_non_null(strstr(pm_error_text(), "no statistics called 'tiny'; there are: research"));
    assert_int_equal(pm_stats_named_find(s->db, "research", &named), PM_OK);
    assert_string_equal(named.arch, "cifar_resnet20");
    assert_true(pm_sha256_equal(&named.weights, &s->config.weights));
    assert_false(named.gathered);
    assert_int_equal(pm_stats_named_file(s->db, "research", "cifar_resnet20", &named.sha256, path),
                     PM_E_MISMATCH);
    assert_non_null(strstr(pm_error_text(), "are of cifar_resnet20 with weights "));
    pm_stats_made_free(&made);
}

/* Two of the real ones, where env PARCHMILL_DATA points at them: resnet18 fits, vgg16 is beside it.
 */
static void real_pickles_fit_their_network(void **state) {
    scene *s = *state;
    const char *data = getenv("PARCHMILL_DATA");
    if (!data) skip();
    char path[PATH];
    pm_weights *weights = NULL, *pickle = NULL;
    pm_model *model = NULL;
    pm_stats_made *made = NULL;
    snprintf(path, sizeof path, "%s/weights/resnet18.pth", data);
    if (pm_weights_open(path, &weights) || pm_model_new("resnet18", weights, &model))
        fail_msg("%s", pm_error_text());
    snprintf(path, sizeof path, "%s/weights", data);
    if (pm_stats_import(path, model, s->folder, &made)) fail_msg("%s", pm_error_text());
    assert_int_equal(made->shape.channels, 4800);
    snprintf(path, sizeof path, "%s/weights/resnet18_shapiro_p_values.pkl", data);
    assert_int_equal(pm_weights_open(path, &pickle), PM_OK);
    for (size_t i = 0; i < made->shape.conv_count; i++) {
        float values[512];
        assert_int_equal(pm_weights_read(pickle, pm_weights_at(pickle, i), values), PM_OK);
        for (size_t c = 0; c < made->shape.convs[i].channels; c++)
            assert_true(made->channels[made->shape.convs[i].first + c].p == (double)values[c]);
    }
    pm_stats_made_free(&made);
    pm_weights_free(&pickle);
    pm_model_free(&model);
    pm_weights_free(&weights);
}

#define SCENE_TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        SCENE_TEST(every_value_is_the_pickles),
        SCENE_TEST(the_database_gives_the_same_file_back),
        SCENE_TEST(parts_that_are_missing_stay_missing),
        SCENE_TEST(lists_that_do_not_fit_are_refused),
        SCENE_TEST(other_files_are_refused),
        SCENE_TEST(a_name_that_is_not_there_lists_those_that_are),
        SCENE_TEST(real_pickles_fit_their_network),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
