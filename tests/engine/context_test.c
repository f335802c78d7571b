/* What a context promises beside numbers (company_test.c): the same bits on any thread, nothing
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
#include "tests/engine/ways.h"
#include "worker/engine/kernels/kernels.h"

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

/* ---- threads ---- */

typedef struct worker {
    pm_ways *f;
    size_t image, batch;
    uint64_t want[REQUESTS];
    bool equal;
} worker;

static void *work(void *user) {
    worker *w = user;
    pm_request requests[REQUESTS];
    pm_context *c = NULL;
    pm_ways_requests(w->f, requests, REQUESTS);
    w->equal = pm_context_new(w->f->model, SIDE, SIDE, w->batch, &c) == PM_OK;
    for (size_t turn = 0; turn < 3 && w->equal; turn++) {
        pm_kept k = {0};
        w->equal = pm_context_attribute(c, w->f->input[w->image], requests, REQUESTS, pm_kept_keep,
                                        &k) == PM_OK &&
                   memcmp(k.hashes, w->want, sizeof w->want) == 0;
    }
    pm_context_free(&c);
    return NULL;
}

static void threads_share_a_model_and_get_the_same_bits(void **state) {
    (void)state;
    pm_ways *f = pm_ways_new("cifar_resnet20");
    worker workers[2] = {{.f = f, .image = 0, .batch = 4}, {.f = f, .image = 1, .batch = 7}};
    pthread_t threads[2];
    for (size_t i = 0; i < 2; i++) pm_ways_alone(f, i, workers[i].want);
    for (size_t i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, work, &workers[i]), 0);
    for (size_t i = 0; i < 2; i++) pthread_join(threads[i], NULL);
    assert_true(workers[0].equal && workers[1].equal);
    pm_ways_free(f);
}

/* ---- memory ---- */

static void attributing_allocates_nothing(void **state) {
    (void)state;
    pm_ways *f = pm_ways_new("cifar_resnet20");
    pm_context *c;
    pm_request requests[REQUESTS];
    pm_kept k = {0};
    float logits[CLASSES];
    pm_activations activations;
    pm_ways_requests(f, requests, REQUESTS);
    size_t before = allocations;
    assert_int_equal(pm_context_new(f->model, SIDE, SIDE, 4, &c), PM_OK);
    assert_true(allocations > before); /* the counter counts */
    before = allocations;
    assert_int_equal(pm_context_attribute(c, f->input[0], requests, REQUESTS, pm_kept_keep, &k),
                     PM_OK);
    assert_int_equal(pm_context_logits(c, f->input[1], logits), PM_OK);
    assert_int_equal(pm_context_activations(c, f->input[1], &activations), PM_OK);
    assert_int_equal(allocations, before);
    assert_true(pm_context_arena_bytes(c) > 0);
    pm_context_free(&c);
    pm_ways_free(f);
}

/* ---- requests ---- */

static pm_status stop_at_second(void *user, const pm_attribution_result *r) {
    pm_kept *k = user;
    k->count++;
    return r->request == 1 ? pm_fail(PM_E_CANCELLED, "enough") : PM_OK;
}

static void errors_come_before_any_result(void **state) {
    (void)state;
    pm_ways *f = pm_ways_new("cifar_resnet20");
    pm_statistics *empty;
    pm_configuration *lacking = NULL;
    pm_context *c;
    pm_kept k = {0};
    assert_int_equal(pm_context_new(f->model, SIDE, SIDE, 1, &c), PM_OK);
    pm_request requests[] = {{.configuration = f->forms[0], .target = 1},
                             {.configuration = f->forms[1], .target = CLASSES},
                             {.configuration = f->forms[6], .target = 1}};
    assert_int_equal(pm_context_attribute(c, f->input[0], requests, 2, pm_kept_keep, &k),
                     PM_E_USAGE);
    assert_non_null(strstr(pm_error_text(), "30"));
    requests[1].target = 1;
    assert_int_equal(pm_context_attribute(c, f->input[0], requests, 3, pm_kept_keep, &k),
                     PM_E_USAGE);
    assert_non_null(strstr(pm_error_text(), "request 2: smoothgrad needs noise"));
    requests[1].target = -2;
    assert_int_equal(pm_context_attribute(c, f->input[0], requests, 2, pm_kept_keep, &k),
                     PM_E_USAGE);
    assert_int_equal(pm_statistics_new_empty(f->model, &empty), PM_OK);
    pm_attribution a;
    pm_attribution_defaults(&a);
    a.mask = PM_MASK_CLS;
    if (pm_configuration_new(f->model, &a, empty, &lacking) == PM_OK) {
        requests[1] = (pm_request){.configuration = lacking, .target = 1};
        assert_int_equal(pm_context_attribute(c, f->input[0], requests, 2, pm_kept_keep, &k),
                         PM_E_NOT_FOUND);
    }
    assert_int_equal(k.count, 0);
    pm_configuration_free(&lacking);
    pm_statistics_free(&empty);
    pm_context_free(&c);
    pm_ways_free(f);
}

static void configurations_of_another_model_are_refused(void **state) {
    (void)state;
    pm_ways *f = pm_ways_new("cifar_resnet20"), *g = pm_ways_new("cifar_resnet20");
    pm_context *c;
    pm_kept k = {0};
    pm_request request = {.configuration = g->forms[0], .target = 1};
    assert_int_equal(pm_context_new(f->model, SIDE, SIDE, 1, &c), PM_OK);
    assert_int_equal(pm_context_attribute(c, f->input[0], &request, 1, pm_kept_keep, &k),
                     PM_E_USAGE);
    pm_context_free(&c);
    pm_ways_free(f);
    pm_ways_free(g);
}

static void a_status_from_the_callback_stops_and_comes_back(void **state) {
    (void)state;
    pm_ways *f = pm_ways_new("cifar_resnet20");
    pm_context *c;
    pm_kept k = {0};
    pm_request requests[4];
    pm_ways_requests(f, requests, 4);
    assert_int_equal(pm_context_new(f->model, SIDE, SIDE, 2, &c), PM_OK);
    assert_int_equal(pm_context_attribute(c, f->input[0], requests, 4, stop_at_second, &k),
                     PM_E_CANCELLED);
    assert_int_equal(k.count, 2);
    pm_context_free(&c);
    pm_ways_free(f);
}

static void count(void *user) { ++*(size_t *)user; }

static void beats_come_between_layers_and_equal_requests_run_once(void **state) {
    (void)state;
    pm_ways *f = pm_ways_new("cifar_resnet20");
    pm_context *c;
    pm_kept k = {0};
    size_t beats[3] = {0};
    pm_request requests[] = {{.configuration = f->forms[1], .target = 2},
                             {.configuration = f->forms[1], .target = 2},
                             {.configuration = f->forms[2], .target = 2}};
    assert_int_equal(pm_context_new(f->model, SIDE, SIDE, 1, &c), PM_OK);
    for (size_t i = 0; i < 3; i++) {
        pm_context_set_beat(c, count, &beats[i]);
        assert_int_equal(pm_context_attribute(c, f->input[0], requests, i + 1, pm_kept_keep, &k),
                         PM_OK);
    }
    pm_context_set_beat(c, NULL, NULL);
    assert_int_equal(pm_context_attribute(c, f->input[0], requests, 0, pm_kept_keep, &k), PM_OK);
    assert_true(beats[0] >= 2 * pm_model_conv_count(f->model));
    assert_int_equal(beats[1], beats[0]);
    assert_true(beats[2] > beats[1]);
    assert_int_equal(k.count, 6);
    assert_true(k.hashes[1] == k.hashes[2]);
    pm_context_free(&c);
    pm_ways_free(f);
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
        cmocka_unit_test(threads_share_a_model_and_get_the_same_bits),
        cmocka_unit_test(attributing_allocates_nothing),
        cmocka_unit_test(errors_come_before_any_result),
        cmocka_unit_test(configurations_of_another_model_are_refused),
        cmocka_unit_test(a_status_from_the_callback_stops_and_comes_back),
        cmocka_unit_test(beats_come_between_layers_and_equal_requests_run_once),
        cmocka_unit_test(sizes_that_leave_no_map_are_refused),
        cmocka_unit_test(any_size_that_fits_runs),
        cmocka_unit_test(an_input_transform_can_be_taken_back),
        cmocka_unit_test(a_bad_isa_stops_the_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
