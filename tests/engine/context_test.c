/* What a context promises beside the numbers' closeness: the same bits in any company, nothing
 * allocated, requests answered in order, each error before any result. */
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/base/random.h"
#include "tests/engine/cases.h"
#include "worker/engine/kernels/kernels.h"
#include "worker/engine/plan/context.h"

enum { SIDE = 64, PIXELS = SIDE * SIDE, CLASSES = 30, FORMS = 16, KEPT_MAX = 120 };
static const char *const isas[] = {"avx512", "avx2", "baseline"};

/* ---- an allocation counter: the linker sends these here (--wrap) ---- */

static atomic_size_t allocations;

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *old, size_t size);
void *__real_aligned_alloc(size_t align, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *old, size_t size);
void *__wrap_aligned_alloc(size_t align, size_t size);

void *__wrap_malloc(size_t size) {
    allocations++;
    return __real_malloc(size);
}
void *__wrap_calloc(size_t count, size_t size) {
    allocations++;
    return __real_calloc(count, size);
}
void *__wrap_realloc(void *old, size_t size) {
    allocations++;
    return __real_realloc(old, size);
}
void *__wrap_aligned_alloc(size_t align, size_t size) {
    allocations++;
    return __real_aligned_alloc(align, size);
}

/* ---- a model and many ways to attribute ---- */

typedef struct fixture {
    pm_model *model;
    pm_statistics *statistics;
    pm_configuration *forms[FORMS];
    float input[2][3 * PIXELS], baseline[3 * PIXELS];
    size_t count; /* of their values: pm_case_noise's */
} fixture;

typedef struct form {
    pm_method method;
    pm_mask mask;
    double quantile, gamma; /* gamma 0: infinite */
    bool all_layers, exact, guided;
    size_t points; /* steps or samples */
    const char *cam_layer;
} form;

/* Methods of one pass and of many, guided and not, so that all kinds of company come about. */
static const form forms[FORMS] = {
    {.method = PM_METHOD_GRAD, .mask = PM_MASK_OFF, .quantile = 0.05},
    {.method = PM_METHOD_GRAD, .mask = PM_MASK_CLS, .quantile = 0.1, .all_layers = true},
    {.method = PM_METHOD_INPUTGRAD, .mask = PM_MASK_INS, .quantile = 0.15},
    {.method = PM_METHOD_IG, .mask = PM_MASK_CLS, .quantile = 0.2, .points = 3},
    {.method = PM_METHOD_GRAD, .mask = PM_MASK_CLS, .quantile = 0.25, .gamma = 2, .guided = true},
    {.method = PM_METHOD_GRAD,
     .mask = PM_MASK_INS,
     .quantile = 0.3,
     .gamma = 2,
     .exact = true,
     .all_layers = true},
    {.method = PM_METHOD_SMOOTHGRAD, .mask = PM_MASK_CLS, .quantile = 0.1, .points = 3},
    {.method = PM_METHOD_IG, .mask = PM_MASK_INS, .quantile = 0.3, .points = 3, .guided = true},
    {.method = PM_METHOD_VARGRAD, .mask = PM_MASK_OFF, .quantile = 0.1, .points = 3},
    {.method = PM_METHOD_GRADCAM, .mask = PM_MASK_CLS, .quantile = 0.1},
    {.method = PM_METHOD_GRADCAM,
     .mask = PM_MASK_CLS,
     .quantile = 0.1,
     .all_layers = true,
     .cam_layer = "first"},
    {.method = PM_METHOD_IG, .mask = PM_MASK_OFF, .quantile = 0.1, .points = 2},
    {.method = PM_METHOD_SMOOTHGRAD,
     .mask = PM_MASK_INS,
     .quantile = 0.2,
     .points = 3,
     .guided = true},
    {.method = PM_METHOD_VARGRAD,
     .mask = PM_MASK_CLS,
     .quantile = 0.2,
     .points = 2,
     .all_layers = true},
    {.method = PM_METHOD_GRADCAM,
     .mask = PM_MASK_INS,
     .quantile = 0.2,
     .cam_layer = "last",
     .guided = true},
    {.method = PM_METHOD_INPUTGRAD,
     .mask = PM_MASK_CLS,
     .quantile = 0.3,
     .gamma = 3,
     .guided = true},
};

static void set_statistics(fixture *f) {
    assert_int_equal(pm_statistics_new_empty(f->model, &f->statistics), PM_OK);
    for (size_t i = 0; i < pm_model_conv_count(f->model); i++) {
        const pm_conv_info *info = pm_model_conv(f->model, i);
        const size_t count = info->channels * CLASSES;
        float *p = malloc(count * sizeof *p);
        assert_non_null(p);
        pm_synth(info->name, 0, p, count);
        for (size_t k = 0; k < count; k++) p[k] = (p[k] + 1) / 2;
        assert_int_equal(pm_statistics_set(f->statistics, i, PM_TEST_WELCH, p, p), PM_OK);
        assert_int_equal(pm_statistics_set_moments(f->statistics, i, p, p), PM_OK);
        free(p);
    }
}

static fixture *make(const char *arch) {
    fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    if (pm_case_model_new(arch, CLASSES, &f->model)) fail_msg("%s", pm_error_text());
    set_statistics(f);
    for (size_t i = 0; i < FORMS; i++) {
        const form *this = &forms[i];
        const size_t last = pm_model_conv_count(f->model) - 1;
        pm_attribution a;
        pm_attribution_defaults(&a);
        a.method = this->method;
        a.mask = this->mask;
        a.p_value_threshold = 0.5;
        a.threshold = this->quantile;
        if (this->all_layers) strcpy(a.layers, "ratio:1");
        if (this->gamma > 0) a.gamma = this->gamma;
        a.exact = this->exact;
        a.guided = this->guided;
        a.steps = a.samples = this->points ? this->points : 25;
        if (this->cam_layer)
            strcpy(a.cam_layer,
                   pm_model_conv(f->model, strcmp(this->cam_layer, "last") == 0 ? last : 0)->name);
        if (pm_configuration_new(f->model, &a, f->statistics, &f->forms[i]))
            fail_msg("%s", pm_error_text());
    }
    f->count = 3 * PIXELS;
    pm_synth("baseline/0", 0, f->baseline, f->count);
    for (size_t i = 0; i < 2; i++) {
        char name[16];
        snprintf(name, sizeof name, "input/%zu", i);
        pm_synth(name, 0, f->input[i], sizeof f->input[i] / sizeof *f->input[i]);
    }
    return f;
}

static void release(fixture *f) {
    for (size_t i = 0; i < FORMS; i++) pm_configuration_free(&f->forms[i]);
    pm_statistics_free(&f->statistics);
    pm_model_free(&f->model);
    free(f);
}

/* ---- results by their bits ---- */

typedef struct kept {
    size_t count;
    size_t requests[KEPT_MAX];
    uint64_t hashes[KEPT_MAX];
} kept;

static uint64_t mix(uint64_t hash, const void *bytes, size_t size) {
    const uint8_t *p = bytes;
    for (size_t i = 0; i < size; i++) hash = (hash ^ p[i]) * 0x100000001b3;
    return hash;
}

static pm_status keep(void *user, const pm_attribution_result *r) {
    kept *k = user;
    uint64_t h = mix(0xcbf29ce484222325, r->heat_map, r->height * r->width * sizeof *r->heat_map);
    h = mix(h, r->logits, CLASSES * sizeof *r->logits);
    h = mix(h, &r->p_target, sizeof r->p_target);
    h = mix(h, &r->p_predicted, sizeof r->p_predicted);
    h = mix(h, &r->ig_sum, sizeof r->ig_sum);
    h = mix(h, &r->ig_expected, sizeof r->ig_expected);
    h = mix(h, &r->target, sizeof r->target);
    for (size_t i = 0; i < r->layer_count; i++) {
        const pm_layer_gradient *l = &r->layers[i];
        double values[] = {
            l->m, l->n, l->beta, l->scale_h, l->scale_l, l->variance_before, l->variance_after};
        h = mix(h, values, sizeof values);
        h = mix(h, l->channel_variance, l->channels * sizeof *l->channel_variance);
        h = mix(h, l->in_h, l->channels);
    }
    k->requests[k->count] = r->request;
    k->hashes[k->count++] = h;
    return PM_OK;
}

/* In an order that parts what shares a path. */
static void fill_requests(fixture *f, pm_request *requests, size_t count) {
    for (size_t i = 0; i < count; i++)
        requests[i] = (pm_request){.configuration = f->forms[i * 5 % FORMS],
                                   .target = i % 5 == 4 ? PM_TARGET_TOP : (int)(i / FORMS * 7),
                                   .baseline = i % 3 == 0 ? f->baseline : NULL,
                                   .noise = pm_case_noise,
                                   .noise_user = &f->count};
}

enum { REQUESTS = 40 };

/* Each request alone, in a context of its own. */
static void alone(fixture *f, size_t image, uint64_t *hashes) {
    pm_request requests[REQUESTS];
    fill_requests(f, requests, REQUESTS);
    for (size_t i = 0; i < REQUESTS; i++) {
        pm_context *c;
        kept k = {0};
        assert_int_equal(pm_context_new(f->model, SIDE, SIDE, 1, &c), PM_OK);
        assert_int_equal(pm_context_attribute(c, f->input[image], &requests[i], 1, keep, &k),
                         PM_OK);
        hashes[i] = k.hashes[0];
        pm_context_free(&c);
    }
}

/* All at once, the second image's the other way round. */
static void together(fixture *f, pm_context *c, size_t image, const uint64_t *want) {
    pm_request requests[REQUESTS], turned[REQUESTS];
    kept k = {0};
    fill_requests(f, requests, REQUESTS);
    for (size_t i = 0; i < REQUESTS; i++) turned[i] = requests[image ? REQUESTS - 1 - i : i];
    assert_int_equal(pm_context_attribute(c, f->input[image], turned, REQUESTS, keep, &k), PM_OK);
    assert_int_equal(k.count, REQUESTS);
    for (size_t i = 0; i < REQUESTS; i++) {
        assert_int_equal(k.requests[i], i);
        if (k.hashes[i] != want[image ? REQUESTS - 1 - i : i]) fail_msg("request %zu differs", i);
    }
}

/* Three images at once, each with every request, the images' requests in turn. */
static void images_together(fixture *f, pm_context *c, uint64_t want[2][REQUESTS]) {
    enum { IMAGES = 3 };
    const float *const inputs[IMAGES] = {f->input[0], f->input[1], f->input[0]};
    pm_request one[REQUESTS], all[IMAGES * REQUESTS];
    kept k = {0};
    fill_requests(f, one, REQUESTS);
    for (size_t i = 0; i < IMAGES * REQUESTS; i++) {
        all[i] = one[i / IMAGES];
        all[i].image = i % IMAGES;
    }
    assert_int_equal(
        pm_context_attribute_images(c, inputs, IMAGES, all, IMAGES * REQUESTS, keep, &k), PM_OK);
    assert_int_equal(k.count, IMAGES * REQUESTS);
    for (size_t i = 0; i < IMAGES * REQUESTS; i++)
        if (k.hashes[i] != want[i % IMAGES % 2][i / IMAGES])
            fail_msg("request %zu of image %zu differs", i / IMAGES, i % IMAGES);
    assert_int_equal(
        pm_context_attribute_images(c, inputs, pm_context_images(c) + 1, all, 1, keep, &k),
        PM_E_USAGE);
    all[0].image = IMAGES;
    assert_int_equal(pm_context_attribute_images(c, inputs, IMAGES, all, 1, keep, &k), PM_E_USAGE);
}

static void check_company(const char *arch, const char *isa) {
    setenv("PARCHMILL_ISA", isa, 1);
    fixture *f = make(arch);
    uint64_t want[2][REQUESTS];
    for (size_t image = 0; image < 2; image++) alone(f, image, want[image]);
    static const struct { size_t points, batch; } sizes[] = {{1, 1}, {3, 8}, {4, 16}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        pm_context *c;
        assert_int_equal(
            pm_context_new_points(f->model, SIDE, SIDE, sizes[i].points, sizes[i].batch, &c),
            PM_OK);
        for (size_t turn = 0; turn < 2; turn++) together(f, c, turn % 2, want[turn % 2]);
        if (sizes[i].points > 1) images_together(f, c, want);
        pm_context_free(&c);
    }
    release(f);
    unsetenv("PARCHMILL_ISA");
}

static void numbers_do_not_depend_on_company(void **state) {
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        if (!pm_kernels_named(isas[i])->usable()) continue;
        check_company("cifar_resnet20", isas[i]);
        check_company("resnet18", isas[i]);
    }
    const pm_kernels *best;
    assert_int_equal(pm_kernels_choose(&best), PM_OK);
    check_company("vgg11_bn", best->name);
    check_company("convnext_tiny", best->name);
    check_company("squeezenet1_1", best->name);
    check_company("densenet121", best->name);
    check_company("mobilenet_v2", best->name);
    check_company("efficientnet_b0", best->name);
}

/* Requests for one target share a backward pass down to the first layer where one of them does
 * something of its own: some part high up, some low, some never. */
static void requests_part_where_they_differ(void **state) {
    (void)state;
    static const struct {
        pm_method method;
        pm_mask mask;
        const char *layers;
        double quantile;
    } ways[] = {{PM_METHOD_IG, PM_MASK_OFF, "default", 0.1},
                {PM_METHOD_IG, PM_MASK_OFF, "conv1", 0.1},
                {PM_METHOD_GRAD, PM_MASK_CLS, "layer1.0.conv1", 0.1},
                {PM_METHOD_GRAD, PM_MASK_CLS, "layer1.0.conv1", 0.4},
                {PM_METHOD_GRAD, PM_MASK_CLS, "conv1", 0.2},
                {PM_METHOD_GRAD, PM_MASK_OFF, "layer4.*", 0.1},
                {PM_METHOD_GRADCAM, PM_MASK_OFF, "conv1", 0.1}};
    enum { WAYS = sizeof ways / sizeof *ways };
    fixture *f = make("resnet18");
    pm_configuration *all[WAYS];
    pm_request requests[WAYS];
    pm_context *c;
    kept k = {0};
    for (size_t i = 0; i < WAYS; i++) {
        pm_attribution a;
        pm_attribution_defaults(&a);
        a.method = ways[i].method;
        a.mask = ways[i].mask;
        a.threshold = ways[i].quantile;
        a.p_value_threshold = 0.5;
        a.steps = 3;
        strcpy(a.layers, ways[i].layers);
        assert_int_equal(pm_configuration_new(f->model, &a, f->statistics, &all[i]), PM_OK);
        requests[i] = (pm_request){.configuration = all[i], .target = 5};
    }
    assert_int_equal(pm_context_new_points(f->model, SIDE, SIDE, 2, 8, &c), PM_OK);
    assert_int_equal(pm_context_attribute(c, f->input[0], requests, WAYS, keep, &k), PM_OK);
    pm_context_free(&c);
    for (size_t i = 0; i < WAYS; i++) {
        kept one = {0};
        assert_int_equal(pm_context_new_points(f->model, SIDE, SIDE, 1, 1, &c), PM_OK);
        assert_int_equal(pm_context_attribute(c, f->input[0], &requests[i], 1, keep, &one), PM_OK);
        if (one.hashes[0] != k.hashes[i]) fail_msg("way %zu differs", i);
        pm_context_free(&c);
        pm_configuration_free(&all[i]);
    }
    release(f);
}

/* ---- threads ---- */

typedef struct worker {
    fixture *f;
    size_t image, batch;
    uint64_t want[REQUESTS];
    bool equal;
} worker;

static void *work(void *user) {
    worker *w = user;
    pm_request requests[REQUESTS];
    pm_context *c = NULL;
    fill_requests(w->f, requests, REQUESTS);
    w->equal = pm_context_new(w->f->model, SIDE, SIDE, w->batch, &c) == PM_OK;
    for (size_t turn = 0; turn < 3 && w->equal; turn++) {
        kept k = {0};
        w->equal =
            pm_context_attribute(c, w->f->input[w->image], requests, REQUESTS, keep, &k) == PM_OK &&
            memcmp(k.hashes, w->want, sizeof w->want) == 0;
    }
    pm_context_free(&c);
    return NULL;
}

static void threads_share_a_model_and_get_the_same_bits(void **state) {
    (void)state;
    fixture *f = make("cifar_resnet20");
    worker workers[2] = {{.f = f, .image = 0, .batch = 4}, {.f = f, .image = 1, .batch = 7}};
    pthread_t threads[2];
    for (size_t i = 0; i < 2; i++) alone(f, i, workers[i].want);
    for (size_t i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, work, &workers[i]), 0);
    for (size_t i = 0; i < 2; i++) pthread_join(threads[i], NULL);
    assert_true(workers[0].equal && workers[1].equal);
    release(f);
}

/* ---- memory ---- */

static void attributing_allocates_nothing(void **state) {
    (void)state;
    fixture *f = make("cifar_resnet20");
    pm_context *c;
    pm_request requests[REQUESTS];
    kept k = {0};
    float logits[CLASSES];
    pm_activations activations;
    fill_requests(f, requests, REQUESTS);
    size_t before = allocations;
    assert_int_equal(pm_context_new(f->model, SIDE, SIDE, 4, &c), PM_OK);
    assert_true(allocations > before); /* the counter counts */
    before = allocations;
    assert_int_equal(pm_context_attribute(c, f->input[0], requests, REQUESTS, keep, &k), PM_OK);
    assert_int_equal(pm_context_logits(c, f->input[1], logits), PM_OK);
    assert_int_equal(pm_context_activations(c, f->input[1], &activations), PM_OK);
    assert_int_equal(allocations, before);
    assert_true(pm_context_arena_bytes(c) > 0);
    pm_context_free(&c);
    release(f);
}

/* ---- requests ---- */

static pm_status stop_at_second(void *user, const pm_attribution_result *r) {
    kept *k = user;
    k->count++;
    return r->request == 1 ? pm_fail(PM_E_CANCELLED, "enough") : PM_OK;
}

static void errors_come_before_any_result(void **state) {
    (void)state;
    fixture *f = make("cifar_resnet20");
    pm_statistics *empty;
    pm_configuration *lacking = NULL;
    pm_context *c;
    kept k = {0};
    assert_int_equal(pm_context_new(f->model, SIDE, SIDE, 1, &c), PM_OK);
    pm_request requests[] = {{.configuration = f->forms[0], .target = 1},
                             {.configuration = f->forms[1], .target = CLASSES},
                             {.configuration = f->forms[6], .target = 1}};
    assert_int_equal(pm_context_attribute(c, f->input[0], requests, 2, keep, &k), PM_E_USAGE);
    assert_non_null(strstr(pm_error_text(), "30"));
    requests[1].target = 1;
    assert_int_equal(pm_context_attribute(c, f->input[0], requests, 3, keep, &k), PM_E_USAGE);
    assert_non_null(strstr(pm_error_text(), "request 2: smoothgrad needs noise"));
    requests[1].target = -2;
    assert_int_equal(pm_context_attribute(c, f->input[0], requests, 2, keep, &k), PM_E_USAGE);
    assert_int_equal(pm_statistics_new_empty(f->model, &empty), PM_OK);
    pm_attribution a;
    pm_attribution_defaults(&a);
    a.mask = PM_MASK_CLS;
    if (pm_configuration_new(f->model, &a, empty, &lacking) == PM_OK) {
        requests[1] = (pm_request){.configuration = lacking, .target = 1};
        assert_int_equal(pm_context_attribute(c, f->input[0], requests, 2, keep, &k),
                         PM_E_NOT_FOUND);
    }
    assert_int_equal(k.count, 0);
    pm_configuration_free(&lacking);
    pm_statistics_free(&empty);
    pm_context_free(&c);
    release(f);
}

static void configurations_of_another_model_are_refused(void **state) {
    (void)state;
    fixture *f = make("cifar_resnet20"), *g = make("cifar_resnet20");
    pm_context *c;
    kept k = {0};
    pm_request request = {.configuration = g->forms[0], .target = 1};
    assert_int_equal(pm_context_new(f->model, SIDE, SIDE, 1, &c), PM_OK);
    assert_int_equal(pm_context_attribute(c, f->input[0], &request, 1, keep, &k), PM_E_USAGE);
    pm_context_free(&c);
    release(f);
    release(g);
}

static void a_status_from_the_callback_stops_and_comes_back(void **state) {
    (void)state;
    fixture *f = make("cifar_resnet20");
    pm_context *c;
    kept k = {0};
    pm_request requests[4];
    fill_requests(f, requests, 4);
    assert_int_equal(pm_context_new(f->model, SIDE, SIDE, 2, &c), PM_OK);
    assert_int_equal(pm_context_attribute(c, f->input[0], requests, 4, stop_at_second, &k),
                     PM_E_CANCELLED);
    assert_int_equal(k.count, 2);
    pm_context_free(&c);
    release(f);
}

static void count(void *user) { ++*(size_t *)user; }

static void beats_come_between_layers_and_equal_requests_run_once(void **state) {
    (void)state;
    fixture *f = make("cifar_resnet20");
    pm_context *c;
    kept k = {0};
    size_t beats[3] = {0};
    pm_request requests[] = {{.configuration = f->forms[1], .target = 2},
                             {.configuration = f->forms[1], .target = 2},
                             {.configuration = f->forms[2], .target = 2}};
    assert_int_equal(pm_context_new(f->model, SIDE, SIDE, 1, &c), PM_OK);
    for (size_t i = 0; i < 3; i++) {
        pm_context_set_beat(c, count, &beats[i]);
        assert_int_equal(pm_context_attribute(c, f->input[0], requests, i + 1, keep, &k), PM_OK);
    }
    pm_context_set_beat(c, NULL, NULL);
    assert_int_equal(pm_context_attribute(c, f->input[0], requests, 0, keep, &k), PM_OK);
    assert_true(beats[0] >= 2 * pm_model_conv_count(f->model));
    assert_int_equal(beats[1], beats[0]);
    assert_true(beats[2] > beats[1]);
    assert_int_equal(k.count, 6);
    assert_true(k.hashes[1] == k.hashes[2]);
    pm_context_free(&c);
    release(f);
}

/* ---- sizes ---- */

static void sizes_that_leave_no_map_are_refused(void **state) {
    (void)state;
    pm_model *model;
    pm_context *c = NULL;
    assert_int_equal(pm_case_model_new("vgg11", 10, &model), PM_OK);
    static const size_t bad[][3] = {
        {16, 64, 1}, {0, 32, 1}, {32, 1 << 20, 1}, {32, 32, 0}, {32, 32, 17}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(pm_context_new(model, bad[i][0], bad[i][1], bad[i][2], &c), PM_E_USAGE);
        assert_null(c);
    }
    pm_model_free(&model);
}

static void any_size_that_fits_runs(void **state) {
    (void)state;
    static const size_t sizes[][2] = {{227, 227}, {96, 33}, {32, 225}, {224, 224}, {1, 1}};
    pm_model *model;
    assert_int_equal(pm_case_model_new("resnet18", 10, &model), PM_OK);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        const size_t floats = 3 * sizes[i][0] * sizes[i][1];
        float *input = malloc(floats * sizeof *input), logits[10];
        assert_non_null(input);
        pm_synth("input/0", 0, input, floats);
        pm_context *c;
        assert_int_equal(pm_context_new(model, sizes[i][0], sizes[i][1], 2, &c), PM_OK);
        assert_int_equal(pm_context_logits(c, input, logits), PM_OK);
        for (size_t k = 0; k < 10; k++) assert_true(isfinite(logits[k]));
        pm_context_free(&c);
        free(input);
    }
    pm_model_free(&model);
}

static void an_input_transform_can_be_taken_back(void **state) {
    (void)state;
    enum { COUNT = 3 * SIDE * SIDE };
    pm_model *model;
    pm_context *c;
    float scale[3] = {9, 9, 9}, shift[3], plain[CLASSES], moved[CLASSES], back[CLASSES];
    float *input = malloc(COUNT * sizeof *input);
    assert_non_null(input);
    pm_synth("input/0", 0, input, COUNT);
    assert_int_equal(pm_case_model_new("googlenet", CLASSES, &model), PM_OK);
    assert_int_equal(pm_arch_transform_input(pm_model_arch(model), scale, shift), PM_OK);
    assert_int_equal(pm_context_new(model, SIDE, SIDE, 1, &c), PM_OK);
    assert_int_equal(pm_context_logits(c, input, plain), PM_OK);
    pm_context_set_input_transform(c, scale, shift);
    assert_int_equal(pm_context_logits(c, input, moved), PM_OK);
    assert_memory_not_equal(moved, plain, sizeof plain);
    pm_context_set_input_transform(c, NULL, NULL);
    assert_int_equal(pm_context_logits(c, input, back), PM_OK);
    assert_memory_equal(back, plain, sizeof plain);
    pm_context_free(&c);
    pm_model_free(&model);
    free(input);
    const pm_arch_info *other;
    assert_int_equal(pm_arch_find("resnet18", &other), PM_OK);
    scale[0] = 9;
    assert_int_equal(pm_arch_transform_input(other, scale, shift), PM_E_USAGE);
    assert_true(scale[0] == 9);
}

/* ig's first point is kept from image to image: of this configuration, class and transform alone.
 */
static void zeros_are_remembered_for_what_they_were(void **state) {
    (void)state;
    static const float scale[3] = {0.5F, 0.5F, 0.5F}, shift[3] = {0.3F, 0.2F, 0.1F};
    fixture *f = make("cifar_resnet20");
    pm_request requests[2] = {{.configuration = f->forms[3], .target = 1},
                              {.configuration = f->forms[3], .target = 2}};
    pm_context *c, *fresh;
    size_t beats = 0, first = 0;
    assert_int_equal(pm_context_new(f->model, SIDE, SIDE, 1, &c), PM_OK);
    pm_context_set_beat(c, count, &beats);
    for (size_t i = 0; i < 12; i++) {
        const bool moved = i % 4 >= 2;
        kept got = {0}, want = {0};
        beats = 0;
        pm_context_set_input_transform(c, moved ? scale : NULL, moved ? shift : NULL);
        assert_int_equal(
            pm_context_attribute(c, f->input[i % 2], &requests[i % 3 / 2], 1, keep, &got), PM_OK);
        if (i == 0) first = beats;
        if (i == 1) assert_true(beats < first); /* the same class again: one point less */
        assert_int_equal(pm_context_new(f->model, SIDE, SIDE, 1, &fresh), PM_OK);
        pm_context_set_input_transform(fresh, moved ? scale : NULL, moved ? shift : NULL);
        assert_int_equal(
            pm_context_attribute(fresh, f->input[i % 2], &requests[i % 3 / 2], 1, keep, &want),
            PM_OK);
        pm_context_free(&fresh);
        if (got.hashes[0] != want.hashes[0]) fail_msg("image %zu differs", i);
    }
    pm_context_free(&c);
    release(f);
}

static void a_bad_isa_stops_the_model(void **state) {
    (void)state;
    pm_model *model = NULL;
    setenv("PARCHMILL_ISA", "sse9", 1);
    assert_int_equal(pm_case_model_new("cifar_resnet20", 10, &model), PM_E_USAGE);
    assert_null(model);
    unsetenv("PARCHMILL_ISA");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_do_not_depend_on_company),
        cmocka_unit_test(requests_part_where_they_differ),
        cmocka_unit_test(threads_share_a_model_and_get_the_same_bits),
        cmocka_unit_test(attributing_allocates_nothing),
        cmocka_unit_test(errors_come_before_any_result),
        cmocka_unit_test(configurations_of_another_model_are_refused),
        cmocka_unit_test(a_status_from_the_callback_stops_and_comes_back),
        cmocka_unit_test(beats_come_between_layers_and_equal_requests_run_once),
        cmocka_unit_test(sizes_that_leave_no_map_are_refused),
        cmocka_unit_test(any_size_that_fits_runs),
        cmocka_unit_test(an_input_transform_can_be_taken_back),
        cmocka_unit_test(zeros_are_remembered_for_what_they_were),
        cmocka_unit_test(a_bad_isa_stops_the_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
