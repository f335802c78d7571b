/* Forward passes of which only the logits count: as close to the others' logits as Winograd allows,
 * and the same to the bit in any company. */
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/base/random.h"
#include "tests/engine/cases.h"
#include "worker/engine/kernels/kernels.h"

enum { IMAGES = 5, CLASSES = 37 };

typedef struct net {
    const char *arch;
    size_t height, width;
} net;

/* Every op, maps that are no multiple of a tile, one of each family. */
static const net nets[] = {
    {"resnet18", 61, 71},       {"resnet50", 33, 32},     {"vgg11_bn", 32, 32},
    {"cifar_resnet20", 32, 32}, {"mobilenet_v2", 64, 64}, {"efficientnet_b0", 64, 50},
    {"squeezenet1_1", 70, 54},  {"densenet121", 64, 64},  {"googlenet", 64, 64},
    {"inception_v3", 96, 80},   {"convnext_tiny", 64, 64}};
enum { NETS = sizeof nets / sizeof *nets };

typedef struct scene {
    size_t values;
    pm_model *model;
    pm_context *context;
    float *inputs, *plain, *together; /* [IMAGES][...] */
} scene;

static void make(const net *n, scene *s) {
    s->values = 3 * n->height * n->width;
    if (pm_case_model_new(n->arch, CLASSES, &s->model) ||
        pm_context_new(s->model, n->height, n->width, 8, &s->context))
        fail_msg("%s: %s", n->arch, pm_error_text());
    s->inputs = malloc(IMAGES * s->values * sizeof *s->inputs);
    s->plain = malloc(IMAGES * CLASSES * sizeof *s->plain);
    s->together = malloc(IMAGES * CLASSES * sizeof *s->together);
    assert_true(s->inputs && s->plain && s->together);
    pm_synth("inputs", 0, s->inputs, IMAGES * s->values);
    for (size_t i = 0; i < IMAGES; i++)
        assert_int_equal(
            pm_context_logits(s->context, s->inputs + i * s->values, s->plain + i * CLASSES),
            PM_OK);
}

static void release(scene *s) {
    free(s->inputs);
    free(s->plain);
    free(s->together);
    pm_context_free(&s->context);
    pm_model_free(&s->model);
}

static pm_status copy_map(void *user, const pm_attribution_result *result) {
    memcpy(user, result->heat_map, result->height * result->width * sizeof(float));
    return PM_OK;
}

/* The heat map of the first image; freed by the caller. */
static float *heat_map(const scene *s) {
    pm_attribution plain;
    pm_configuration *configuration = NULL;
    float *map = malloc(s->values * sizeof *map);
    assert_non_null(map);
    pm_attribution_defaults(&plain);
    assert_int_equal(pm_configuration_new(s->model, &plain, NULL, &configuration), PM_OK);
    const pm_request request = {.configuration = configuration, .target = 3};
    assert_int_equal(pm_context_attribute(s->context, s->inputs, &request, 1, copy_map, map),
                     PM_OK);
    pm_configuration_free(&configuration);
    return map;
}

static void check(const net *n, const char *isa) {
    scene s;
    make(n, &s);
    float *before = heat_map(&s);
    if (pm_context_prepare_logits(s.context, 4)) fail_msg("%s: %s", n->arch, pm_error_text());
    assert_int_equal(pm_context_logits_batch(s.context, s.inputs, IMAGES, s.together), PM_OK);
    double worst = 0, largest = 0;
    for (size_t i = 0; i < IMAGES * CLASSES; i++) {
        worst = fmax(worst, fabs((double)s.together[i] - (double)s.plain[i]));
        largest = fmax(largest, fabs((double)s.plain[i]));
    }
    print_message("%s %s: off by %.1e of the largest logit\n", isa, n->arch, worst / largest);
    if (!(worst <= 2e-5 * largest)) fail_msg("%s: logits differ", n->arch);
    float alone[CLASSES];
    for (size_t i = 0; i < IMAGES; i++) {
        assert_int_equal(pm_context_logits_batch(s.context, s.inputs + i * s.values, 1, alone),
                         PM_OK);
        assert_memory_equal(alone, s.together + i * CLASSES, sizeof alone);
    }
    /* And the pass before is not disturbed by the one between. */
    assert_int_equal(pm_context_logits(s.context, s.inputs, alone), PM_OK);
    assert_memory_equal(alone, s.plain, sizeof alone);
    assert_int_equal(pm_context_logits_batch(s.context, s.inputs, 1, alone), PM_OK);
    float *after = heat_map(&s);
    assert_memory_equal(after, before, n->height * n->width * sizeof *after);
    free(before);
    free(after);
    release(&s);
}

static void logits_are_close_and_do_not_depend_on_company(void **state) {
    (void)state;
    static const char *const isas[] = {"avx512", "avx2", "baseline"};
    for (size_t k = 0; k < 3; k++) {
        if (!pm_kernels_named(isas[k])->usable()) continue;
        setenv("PARCHMILL_ISA", isas[k], 1);
        for (size_t i = 0; i < NETS; i++) check(&nets[i], isas[k]);
    }
    unsetenv("PARCHMILL_ISA");
}

/* The filters are made once, whoever asks first. */
typedef struct caller {
    scene *s;
    pm_context *context;
    float logits[CLASSES];
    pm_status status;
} caller;

static void *call(void *user) {
    caller *c = user;
    c->status = pm_context_prepare_logits(c->context, 1);
    if (!c->status) c->status = pm_context_logits_batch(c->context, c->s->inputs, 1, c->logits);
    return NULL;
}

static void threads_may_ask_at_once(void **state) {
    (void)state;
    enum { CALLERS = 4 };
    scene s;
    caller callers[CALLERS];
    pthread_t threads[CALLERS];
    make(&nets[3], &s);
    for (size_t i = 0; i < CALLERS; i++) {
        callers[i] = (caller){.s = &s};
        assert_int_equal(pm_context_new(s.model, 32, 32, 1, &callers[i].context), PM_OK);
    }
    for (size_t i = 0; i < CALLERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, call, &callers[i]), 0);
    for (size_t i = 0; i < CALLERS; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(callers[i].status, PM_OK);
        assert_memory_equal(callers[i].logits, callers[0].logits, sizeof callers[0].logits);
        pm_context_free(&callers[i].context);
    }
    release(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(logits_are_close_and_do_not_depend_on_company),
        cmocka_unit_test(threads_may_ask_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
