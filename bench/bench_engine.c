/* Milliseconds an image, on one thread: forward, and forward with the gradient to the input, for a
 * network with synthetic weights.
 *
 *     bench_engine [ARCH [SIDE [BATCH [REPEATS]]]]      PARCHMILL_ISA chooses the kernels
 *
 * BATCH requests for different targets are given together; the gradient's figure is a request's
 * share of what the forward pass does not take. Medians of the thread's processor time, so that a
 * busy machine shows less. With BENCH_LAYERS=1 also every step. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "lib/base/random.h"
#include "lib/base/text.h"
#include "tests/engine/cases.h"
#include "worker/engine/plan/context.h"

enum { REPEATS_MAX = 1000, STEPS_MAX = 4096, BATCH_MAX = 16 };

typedef struct bench {
    size_t side, batch, repeats;
    const char *arch;
    pm_model *model;
    pm_context *context;
    pm_configuration *configuration;
    float *input, *logits;
    bool layers;
    int64_t last_us;
    size_t step, steps;
    double step_us[STEPS_MAX]; /* the least seen */
} bench;

static int64_t spent_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static void beat(void *user) {
    bench *b = user;
    int64_t now = spent_us();
    if (b->step < STEPS_MAX) {
        double spent = (double)(now - b->last_us);
        if (b->step >= b->steps || spent < b->step_us[b->step]) b->step_us[b->step] = spent;
        if (b->step >= b->steps) b->steps = b->step + 1;
        b->step++;
    }
    b->last_us = now;
}

static pm_status ignore(void *user, const pm_attribution_result *result) {
    (void)user, (void)result;
    return PM_OK;
}

static int by_value(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static const char *op_name(const pm_step *step, const pm_node *head) {
    switch (step->op) {
    case PM_DO_CONV: return head->depthwise ? "depthwise" : "conv";
    case PM_DO_WINOGRAD: return "winograd";
    case PM_DO_LINEAR:
    case PM_DO_LINEAR_BACKWARD: return "linear";
    case PM_DO_POINTWISE: return "pointwise";
    case PM_DO_MAXPOOL:
    case PM_DO_MAXPOOL_BACKWARD: return "maxpool";
    case PM_DO_SCALE: return "scale";
    case PM_DO_SCALE_SUM: return "scale_sum";
    case PM_DO_AVGPOOL:
    case PM_DO_AVGPOOL_BACKWARD:
    case PM_DO_AVGPOOL_WINDOW:
    case PM_DO_AVGPOOL_WINDOW_BACKWARD: return "avgpool";
    case PM_DO_SUBSAMPLE:
    case PM_DO_SUBSAMPLE_BACKWARD: return "subsample";
    case PM_DO_LAYERNORM:
    case PM_DO_LAYERNORM_BACKWARD: return "layernorm";
    case PM_DO_LINEAR_ROW: return "linear_row";
    case PM_DO_SEED: return "seed";
    case PM_DO_HOOK: return "hook";
    }
    return "";
}

/* What it is, the size and kernel of what is read forward, where it stands in the network, and its
 * least time. */
static void print_step(const bench *b, size_t i) {
    const pm_plan *plan = &b->context->plan;
    if (i >= plan->step_count) return; /* of a method's later points */
    const pm_step *step = &plan->steps[i];
    const pm_node *head = pm_plan_head(plan, step->group);
    const size_t *size = pm_plan_size(plan, plan->packed->fusion.groups[step->group].input);
    printf("  step %zu: %s %s %zux%zu/%zu %zu -> %zu at %zux%zu %s: %.0f us\n", i,
           step->forward ? "forward" : "backward", op_name(step, head), head->kernel[0],
           head->kernel[1], head->stride, head->in_channels, head->channels, size[0], size[1],
           head->name, b->step_us[i]);
}

static pm_status measure(bench *b) {
    double forward[REPEATS_MAX], whole[REPEATS_MAX];
    pm_request requests[BATCH_MAX];
    for (size_t i = 0; i < b->batch; i++)
        requests[i] = (pm_request){.configuration = b->configuration, .target = (int)i};
    pm_status status = PM_OK;
    if (b->layers) pm_context_set_beat(b->context, beat, b);
    for (size_t i = 0; i < b->repeats + 1 && status == PM_OK; i++) {
        const size_t at = i == 0 ? 0 : i - 1; /* the first run warms up */
        b->step = STEPS_MAX;
        int64_t start = spent_us();
        status = pm_context_logits(b->context, b->input, b->logits);
        int64_t middle = spent_us();
        b->step = 0;
        b->last_us = middle;
        if (status == PM_OK)
            status = pm_context_attribute(b->context, b->input, requests, b->batch, ignore, NULL);
        forward[at] = (double)(middle - start) / 1e3;
        whole[at] = (double)(spent_us() - middle) / 1e3;
    }
    if (status != PM_OK) return status;
    qsort(forward, b->repeats, sizeof *forward, by_value);
    qsort(whole, b->repeats, sizeof *whole, by_value);
    double f = forward[b->repeats / 2], w = whole[b->repeats / 2];
    printf("%s %zux%zu %s batch %zu: forward %.2f ms, forward + gradient %.2f ms, gradient a "
           "request %.2f ms, arena %.1f MB\n",
           b->arch, b->side, b->side, pm_model_isa(b->model), b->batch, f, w,
           (w - f) / (double)b->batch, (double)pm_context_arena_bytes(b->context) / 1048576.0);
    for (size_t i = 0; i < b->steps; i++) print_step(b, i);
    return PM_OK;
}

static pm_status run(bench *b) {
    pm_attribution attribution;
    pm_attribution_defaults(&attribution);
    const size_t floats = 3 * b->side * b->side;
    pm_status status = pm_case_model_new(b->arch, 1000, &b->model);
    if (status == PM_OK) status = pm_context_new(b->model, b->side, b->side, b->batch, &b->context);
    if (status == PM_OK)
        status = pm_configuration_new(b->model, &attribution, NULL, &b->configuration);
    if (status != PM_OK) return status;
    b->input = malloc(floats * sizeof *b->input);
    b->logits = malloc(pm_model_classes(b->model) * sizeof *b->logits);
    if (b->input == NULL || b->logits == NULL) return pm_fail(PM_E_MEMORY, "no memory");
    pm_synth("input/0", 0, b->input, floats);
    return measure(b);
}

int main(int argc, char **argv) {
    static bench b = {.side = 224, .batch = 1, .repeats = 15, .arch = "resnet18"};
    pm_status status = PM_OK;
    if (argc > 1) b.arch = argv[1];
    if (argc > 2) status = pm_parse_size("side", argv[2], &b.side);
    if (argc > 3 && status == PM_OK) status = pm_parse_size("batch", argv[3], &b.batch);
    if (argc > 4 && status == PM_OK) status = pm_parse_size("repeats", argv[4], &b.repeats);
    if (b.repeats < 1 || b.repeats > REPEATS_MAX || b.batch > BATCH_MAX || b.side > 1 << 14)
        status = pm_fail(PM_E_USAGE, "repeats 1 to %d, batch 1 to %d", REPEATS_MAX, BATCH_MAX);
    b.layers = getenv("BENCH_LAYERS") != NULL;
    if (status == PM_OK) status = run(&b);
    if (status != PM_OK) fprintf(stderr, "bench_engine: %s\n", pm_error_text());
    pm_context_free(&b.context);
    pm_configuration_free(&b.configuration);
    pm_model_free(&b.model);
    free(b.input);
    free(b.logits);
    return status == PM_OK ? 0 : 1;
}
