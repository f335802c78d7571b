/* worker/run: runs made ready from what is announced of them. Their files lie at the broker's own
 * paths, so that nothing is fetched. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/base/file.h"
#include "lib/base/random.h"
#include "tests/engine/tensor_file.h"
#include "worker/engine/statistics.h"
#include "worker/run.h"

/* The statistics are of three convolutions of cifar_resnet20 from layer3.0.conv2 on. */
enum { CLASSES = 10, CHANNELS = 64, CONFIGURATIONS = 4, CONVS = 3, FIRST_CONV = 14 };

typedef struct fixture {
    char folder[64], weights[4096], statistics[128];
    pm_models models;
} fixture;

typedef struct announced {
    Pm__Wire__RunInfo info;
    Pm__Wire__Blob weights, statistics;
    pm_sha256 weights_hash, statistics_hash;
    char *texts[CONFIGURATIONS];
    pm_run run;
    pm_lease lease;
    pm_run_ready *ready;
} announced;

/* ---- what is done to a file once it was hashed ---- */

static const char *exchanged, *exchanged_by; /* NULL: nothing */

pm_status __real_pm_sha256_fd(int fd, const char *name, uint64_t limit_bytes, pm_sha256 *out,
                              uint64_t *size_bytes);
pm_status __wrap_pm_sha256_fd(int fd, const char *name, uint64_t limit_bytes, pm_sha256 *out,
                              uint64_t *size_bytes);

/* Linked in place of pm_sha256_fd: the moment between hashing and loading. */
pm_status __wrap_pm_sha256_fd(int fd, const char *name, uint64_t limit_bytes, pm_sha256 *out,
                              uint64_t *size_bytes) {
    struct stat hashed, named;
    pm_status status = __real_pm_sha256_fd(fd, name, limit_bytes, out, size_bytes);
    if (!exchanged || fstat(fd, &hashed) != 0 || stat(exchanged, &named) != 0) return status;
    if (hashed.st_ino != named.st_ino) return status;
    assert_int_equal(rename(exchanged_by, exchanged), 0);
    exchanged = NULL;
    return status;
}

static int set_up(void **state) {
    static const char *const convs[] = {"layer3.0.conv2", "layer3.1.conv1", "layer3.1.conv2"};
    static float p[CONVS][CHANNELS * CLASSES];
    pm_file_tensor tensors[2 * CONVS];
    fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    strcpy(f->folder, "/tmp/parchmill-run-XXXXXX");
    assert_non_null(mkdtemp(f->folder));
    snprintf(f->weights, sizeof f->weights, "%s/tools/demo/demo_resnet20.safetensors",
             getenv("PARCHMILL_SOURCE_DIR"));
    snprintf(f->statistics, sizeof f->statistics, "%s/s.safetensors", f->folder);
    for (size_t i = 0; i < CONVS; i++) {
        pm_synth(convs[i], 0, p[i], CHANNELS * CLASSES);
        for (size_t k = 0; k < CHANNELS * CLASSES; k++) p[i][k] = (p[i][k] + 1) / 2;
        tensors[i] = (pm_file_tensor){.rank = 2, .shape = {CHANNELS, CLASSES}, .values = p[i]};
        tensors[CONVS + i] = (pm_file_tensor){.rank = 1, .shape = {CHANNELS}};
        snprintf(tensors[i].name, sizeof tensors[i].name, "welch/%s", convs[i]);
        snprintf(tensors[CONVS + i].name, sizeof tensors[CONVS + i].name, "shapiro/%s", convs[i]);
    }
    pm_tensor_file_write(f->statistics, tensors, 2 * CONVS);
    pm_models_init(&f->models);
    *state = f;
    return 0;
}

static int tear_down(void **state) {
    fixture *f = *state;
    pm_models_fini(&f->models);
    unlink(f->statistics);
    rmdir(f->folder);
    free(f);
    return 0;
}

static void make_blob(const char *path, Pm__Wire__Blob *blob, pm_sha256 *hash) {
    struct stat info;
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(pm_sha256_file(path, hash), PM_OK);
    pm__wire__blob__init(blob);
    blob->sha256 = (ProtobufCBinaryData){PM_SHA256_BYTES, hash->bytes};
    blob->size_bytes = (uint64_t)info.st_size;
    blob->path = (char *)(uintptr_t)path;
}

static char *configuration_text(const announced *a, const char *layers) {
    const pm_arch_info *arch;
    pm_config config = {.target_rule = PM_TARGET_RULE_TOP, .has_statistics = true};
    pm_sha256 hash;
    char *text = NULL;
    assert_int_equal(pm_arch_find("cifar_resnet20", &arch), PM_OK);
    snprintf(config.arch, sizeof config.arch, "%s", arch->name);
    config.weights = a->weights_hash;
    config.statistics = a->statistics_hash;
    config.resize = arch->resize;
    config.crop = arch->crop;
    config.filter = arch->filter;
    memcpy(config.mean, arch->mean, sizeof config.mean);
    memcpy(config.std, arch->std, sizeof config.std);
    pm_attribution_defaults(&config.attribution);
    config.attribution.mask = PM_MASK_CLS;
    strcpy(config.attribution.layers, layers);
    assert_int_equal(pm_config_format(&config, &text, &hash), PM_OK);
    return text;
}

/* A run with one configuration for each of `layers` [count]. */
static void announce(const fixture *f, const char *const *layers, size_t count, announced *a) {
    *a = (announced){0};
    make_blob(f->weights, &a->weights, &a->weights_hash);
    make_blob(f->statistics, &a->statistics, &a->statistics_hash);
    for (size_t i = 0; i < count; i++) a->texts[i] = configuration_text(a, layers[i]);
    pm__wire__run_info__init(&a->info);
    a->info.arch = (char *)"cifar_resnet20";
    a->info.weights = &a->weights;
    a->info.statistics = &a->statistics;
    a->info.n_configurations = count;
    a->info.configurations = a->texts;
    a->info.channels = (char *)"full";
    a->info.heat_maps = (char *)"f32";
    a->run.info = &a->info;
    pthread_mutex_init(&a->run.load_lock, NULL);
    a->lease.run = &a->run;
}

static void prepare_announced(fixture *f, announced *a) {
    const char *stage = NULL;
    const pm_supply supply = {.cache = NULL};
    assert_int_equal(pm_run_prepare(&f->models, NULL, &a->lease, &supply, &a->ready, &stage),
                     PM_OK);
    assert_int_equal(a->ready->count, a->info.n_configurations);
}

static void prepare(fixture *f, const char *const *layers, size_t count, announced *a) {
    announce(f, layers, count, a);
    prepare_announced(f, a);
}

static void drop(announced *a) {
    pm_run_ready_free(&a->run.ready);
    pthread_mutex_destroy(&a->run.load_lock);
    for (size_t i = 0; i < CONFIGURATIONS; i++) free(a->texts[i]);
}

/* Exactly these convolutions have p-values, a bit each from FIRST_CONV on. */
static void expect_kept(const announced *a, unsigned convs) {
    for (size_t i = 0; i < pm_model_conv_count(a->ready->loaded->model); i++) {
        const bool kept =
            i >= FIRST_CONV && i < FIRST_CONV + CONVS && convs >> (i - FIRST_CONV) & 1;
        assert_int_equal(pm_statistics_has(a->ready->statistics, i, PM_TEST_WELCH), kept);
    }
}

static void a_run_keeps_the_p_values_that_its_configurations_compare(void **state) {
    fixture *f = *state;
    static const char *const two[] = {"layer3.1.conv1", "layer3.0.conv2"}, *const one[] = {
                                                                               "layer3.1.conv2"};
    announced a, b, again;
    prepare(f, two, 2, &a);
    prepare(f, one, 1, &b);
    assert_ptr_equal(a.ready->loaded, b.ready->loaded);
    assert_true(a.ready->configurations[0].engine && a.ready->configurations[1].engine);
    assert_non_null(b.ready->configurations[0].engine);
    expect_kept(&a, 3);
    expect_kept(&b, 4);
    drop(&b);
    expect_kept(&a, 3);
    prepare(f, one, 1, &again);
    expect_kept(&again, 4);
    drop(&again);
    drop(&a);
    assert_null(f->models.first);
}

static void a_configuration_that_does_not_hold_fails_alone(void **state) {
    fixture *f = *state;
    static const char *const layers[] = {"layer3.1.*", "layer3.2.conv2", "layer9.*",
                                         "layer3.0.conv2"};
    announced a;
    prepare(f, layers, 4, &a);
    const pm_ready_configuration *c = a.ready->configurations;
    assert_true(c[0].engine && !c[0].text && c[3].engine && !c[3].text);
    assert_string_equal(c[1].text, "configuration: the statistics have no welch p-values for "
                                   "hooked layer layer3.2.conv2");
    assert_non_null(strstr(c[2].text, "'layer9.*' names no convolution"));
    assert_true(!c[1].engine && !c[2].engine);
    expect_kept(&a, 7);
    drop(&a);
}

/* Also one that cannot be read: whatever it hooks is not read. */
static void a_text_that_is_no_configuration_fails_alone(void **state) {
    fixture *f = *state;
    static const char *const layers[] = {"layer3.1.conv1", "layer3.0.conv2"};
    announced a;
    announce(f, layers, 2, &a);
    a.texts[0][0] = '[';
    prepare_announced(f, &a);
    assert_non_null(strstr(a.ready->configurations[0].text, "not a JSON object"));
    assert_null(a.ready->configurations[0].engine);
    assert_non_null(a.ready->configurations[1].engine);
    expect_kept(&a, 1);
    drop(&a);
}

/* Garbage is put in the place of `path` once that was hashed. */
static void prepare_while_exchanging(fixture *f, const char *path) {
    static const char *const layers[] = {"layer3.1.conv1"};
    char garbage[128];
    uint8_t *left = NULL;
    size_t size = 0;
    announced a;
    announce(f, layers, 1, &a);
    snprintf(garbage, sizeof garbage, "%s/garbage", f->folder);
    assert_int_equal(pm_file_write(garbage, "no file of tensors", 18), PM_OK);
    exchanged = path;
    exchanged_by = garbage;
    prepare_announced(f, &a);
    assert_null(exchanged);
    assert_int_equal(pm_file_read(path, 100, &left, &size), PM_OK);
    assert_int_equal(size, 18);
    assert_non_null(a.ready->configurations[0].engine);
    expect_kept(&a, 2);
    free(left);
    drop(&a);
}

static void weights_that_were_verified_are_those_that_are_loaded(void **state) {
    fixture *f = *state;
    uint8_t *bytes = NULL;
    size_t size = 0;
    assert_int_equal(pm_file_read(f->weights, 1 << 26, &bytes, &size), PM_OK);
    snprintf(f->weights, sizeof f->weights, "%s/w.safetensors", f->folder);
    assert_int_equal(pm_file_write(f->weights, bytes, size), PM_OK);
    free(bytes);
    prepare_while_exchanging(f, f->weights);
    unlink(f->weights);
}

static void statistics_that_were_verified_are_those_that_are_loaded(void **state) {
    fixture *f = *state;
    prepare_while_exchanging(f, f->statistics);
}

#define WITH(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        WITH(a_run_keeps_the_p_values_that_its_configurations_compare),
        WITH(a_configuration_that_does_not_hold_fails_alone),
        WITH(a_text_that_is_no_configuration_fails_alone),
        WITH(weights_that_were_verified_are_those_that_are_loaded),
        WITH(statistics_that_were_verified_are_those_that_are_loaded),
    };
    return cmocka_run_group_tests_name("worker_run", tests, NULL, NULL);
}
