/* Every distinct convolution of a network: our forward and backward steps against oneDNN's, in one
 * interleaved run, and both against the FMA peak of this machine.
 *
 *     bench_layers [ARCH [SIDE [BATCH [THREADS [REPEATS]]]]]     resnet18 224 8 2 9
 *
 * Ours as in a worker: each thread has images of its own and BATCH / THREADS of them, forward one
 * after the other, backward together. oneDNN gets the whole batch and all threads. Medians of wall
 * time; a row is a convolution shape with how often the network has it. Figures are effective
 * GF/s: two flops a product of the plain sum, whatever the kernel saves. */
#include <dnnl.h>
#include <immintrin.h>
#include <omp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "lib/base/text.h"
#include "tests/engine/cases.h"
#include "worker/engine/model.h"
#include "worker/engine/plan/plan.h"

enum { REPEATS_MAX = 99, THREADS_MAX = 64, WORK_US = 2000 };

typedef struct bench {
    size_t side, batch, threads, repeats;
    const char *arch;
    pm_model *model;
    pm_plan plans[THREADS_MAX];
} bench;

/* A convolution as both sides see it. */
typedef struct layer {
    size_t group, times;
    const pm_node *node;
    size_t in_height, in_width, out_height, out_width;
    size_t forward, backward; /* steps */
} layer;

static double now_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static int by_value(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values, size_t count) {
    qsort(values, count, sizeof *values, by_value);
    return values[count / 2];
}

/* ---- ours ---- */

typedef struct team {
    bench *b;
    size_t step, images, inner;
    pthread_barrier_t gate;
    bool stop;
} team;

typedef struct member {
    team *t;
    size_t index;
} member;

/* As a context does it. */
static void run_plan(pm_plan *plan, size_t step, size_t images, const size_t *rows,
                     const float *values) {
    const size_t count = plan->steps[step].together ? images : 1;
    for (size_t n = 0; n < images; n += count) pm_plan_run(plan, step, n, count, rows, values);
}

static void run_step(team *t, size_t index) {
    pm_plan *plan = &t->b->plans[index];
    const size_t rows[16] = {0};
    const float values[16] = {0};
    for (size_t i = 0; i < t->inner; i++) run_plan(plan, t->step, t->images, rows, values);
}

static void *member_main(void *user) {
    member *m = user;
    for (;;) {
        pthread_barrier_wait(&m->t->gate);
        if (m->t->stop) return NULL;
        run_step(m->t, m->index);
        pthread_barrier_wait(&m->t->gate);
    }
}

static double ours_us(team *t, size_t step) {
    t->step = step;
    double start = now_us();
    pthread_barrier_wait(&t->gate);
    run_step(t, 0);
    pthread_barrier_wait(&t->gate);
    return (now_us() - start) / (double)t->inner;
}

/* ---- oneDNN ---- */

typedef struct rival {
    dnnl_primitive_desc_t descriptor;
    dnnl_primitive_t primitive;
    dnnl_memory_t memory[3];
    int argument[3];
} rival;

static dnnl_engine_t the_cpu;
static dnnl_stream_t the_stream;

static void need(dnnl_status_t status, const char *what) {
    if (status == dnnl_success) return;
    fprintf(stderr, "bench_layers: oneDNN: %s: status %d\n", what, (int)status);
    exit(1);
}

static dnnl_memory_t filled(dnnl_primitive_desc_t descriptor, dnnl_query_t which) {
    dnnl_memory_t memory;
    void *data;
    const dnnl_memory_desc_t *shape = dnnl_primitive_desc_query_md(descriptor, which, 0);
    need(dnnl_memory_create(&memory, shape, the_cpu, DNNL_MEMORY_ALLOCATE), "memory");
    need(dnnl_memory_get_data_handle(memory, &data), "memory");
    const size_t count = dnnl_memory_desc_get_size(shape) / sizeof(float);
    for (size_t i = 0; i < count; i++)
        ((float *)data)[i] = (float)((i * 2654435761U >> 8) % 1000) * 1e-3F - 0.5F;
    return memory;
}

static size_t groups_of(const pm_node *node) { return node->depthwise ? node->channels : 1; }

static void shapes_of(const layer *l, size_t batch, dnnl_memory_desc_t out[3]) {
    const pm_node *n = l->node;
    const dnnl_dim_t g = (dnnl_dim_t)groups_of(n), outs = (dnnl_dim_t)n->channels;
    const dnnl_dim_t ins = (dnnl_dim_t)n->in_channels;
    dnnl_dims_t in = {(dnnl_dim_t)batch, ins, (dnnl_dim_t)l->in_height, (dnnl_dim_t)l->in_width};
    dnnl_dims_t to = {(dnnl_dim_t)batch, outs, (dnnl_dim_t)l->out_height, (dnnl_dim_t)l->out_width};
    dnnl_dims_t filter = {outs, ins, (dnnl_dim_t)n->kernel[0], (dnnl_dim_t)n->kernel[1]};
    dnnl_dims_t grouped = {g, outs / g, ins / g, filter[2], filter[3]};
    need(dnnl_memory_desc_init_by_tag(&out[0], 4, in, dnnl_f32, dnnl_format_tag_any), "shape");
    need(g > 1 ? dnnl_memory_desc_init_by_tag(&out[1], 5, grouped, dnnl_f32, dnnl_format_tag_any)
               : dnnl_memory_desc_init_by_tag(&out[1], 4, filter, dnnl_f32, dnnl_format_tag_any),
         "shape");
    need(dnnl_memory_desc_init_by_tag(&out[2], 4, to, dnnl_f32, dnnl_format_tag_any), "shape");
}

/* Forward inference, or backward data where `hint` is the forward one. */
static void rival_init(const layer *l, size_t batch, dnnl_primitive_desc_t hint, rival *out) {
    const pm_node *n = l->node;
    dnnl_memory_desc_t d[3];
    dnnl_convolution_desc_t conv;
    const dnnl_dims_t stride = {(dnnl_dim_t)n->stride, (dnnl_dim_t)n->stride};
    const dnnl_dims_t pad = {(dnnl_dim_t)n->pad[0], (dnnl_dim_t)n->pad[1]};
    shapes_of(l, batch, d);
    if (hint)
        need(dnnl_convolution_backward_data_desc_init(&conv, dnnl_convolution_direct, &d[0], &d[1],
                                                      &d[2], stride, pad, pad),
             "backward");
    else
        need(dnnl_convolution_forward_desc_init(&conv, dnnl_forward_inference,
                                                dnnl_convolution_direct, &d[0], &d[1], NULL, &d[2],
                                                stride, pad, pad),
             "forward");
    need(dnnl_primitive_desc_create(&out->descriptor, &conv, NULL, the_cpu, hint), "primitive");
    need(dnnl_primitive_create(&out->primitive, out->descriptor), "primitive");
    const dnnl_query_t which[2][3] = {
        {dnnl_query_src_md, dnnl_query_weights_md, dnnl_query_dst_md},
        {dnnl_query_diff_src_md, dnnl_query_weights_md, dnnl_query_diff_dst_md}};
    const int argument[2][3] = {{DNNL_ARG_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_DST},
                                {DNNL_ARG_DIFF_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_DIFF_DST}};
    for (int i = 0; i < 3; i++) {
        out->argument[i] = argument[hint != NULL][i];
        out->memory[i] = filled(out->descriptor, which[hint != NULL][i]);
    }
}

static void rival_fini(rival *r) {
    for (int i = 0; i < 3; i++) dnnl_memory_destroy(r->memory[i]);
    dnnl_primitive_destroy(r->primitive);
    dnnl_primitive_desc_destroy(r->descriptor);
}

static double rival_us(const rival *r, size_t inner) {
    dnnl_exec_arg_t arguments[3];
    for (int i = 0; i < 3; i++) arguments[i] = (dnnl_exec_arg_t){r->argument[i], r->memory[i]};
    double start = now_us();
    for (size_t i = 0; i < inner; i++) {
        need(dnnl_primitive_execute(r->primitive, the_stream, 3, arguments), "run");
        need(dnnl_stream_wait(the_stream), "run");
    }
    return (now_us() - start) / (double)inner;
}

/* ---- the peak ---- */

#if defined __AVX512F__
typedef __m512 wide;
#define MULTIPLY_ADD _mm512_fmadd_ps
#define WIDE_ONE _mm512_set1_ps(1)
#else
typedef __m256 wide;
#define MULTIPLY_ADD _mm256_fmadd_ps
#define WIDE_ONE _mm256_set1_ps(1)
#endif

static double peak_gf(size_t threads) {
    enum { CHAINS = 10, ROUNDS = 20000000, LANES = sizeof(wide) / sizeof(float) };
    double best = 0;
    for (int repeat = 0; repeat < 3; repeat++) {
        double start = now_us();
#pragma omp parallel num_threads((int)threads)
        {
            const wide x = WIDE_ONE;
            wide a = x, b = x, c = x, d = x, e = x, f = x, g = x, h = x, i = x, j = x;
            for (int r = 0; r < ROUNDS; r++) {
                a = MULTIPLY_ADD(a, x, x), b = MULTIPLY_ADD(b, x, x), c = MULTIPLY_ADD(c, x, x);
                d = MULTIPLY_ADD(d, x, x), e = MULTIPLY_ADD(e, x, x), f = MULTIPLY_ADD(f, x, x);
                g = MULTIPLY_ADD(g, x, x), h = MULTIPLY_ADD(h, x, x), i = MULTIPLY_ADD(i, x, x);
                j = MULTIPLY_ADD(j, x, x);
                /* Every sum is made. */
                __asm__ volatile("" : "+v"(a), "+v"(b), "+v"(c), "+v"(d), "+v"(e));
                __asm__ volatile("" : "+v"(f), "+v"(g), "+v"(h), "+v"(i), "+v"(j));
            }
        }
        double gf = 2.0 * LANES * CHAINS * ROUNDS * (double)threads / (now_us() - start) / 1e3;
        if (gf > best) best = gf;
    }
    return best;
}

/* ---- rows ---- */

static bool alike(const layer *a, const layer *b) {
    return a->node->channels == b->node->channels && a->node->in_channels == b->node->in_channels &&
           a->node->kernel[0] == b->node->kernel[0] && a->node->kernel[1] == b->node->kernel[1] &&
           a->node->stride == b->node->stride && a->node->depthwise == b->node->depthwise &&
           a->in_height == b->in_height && a->in_width == b->in_width;
}

static size_t list_layers(const bench *b, layer *out) {
    const pm_plan *plan = &b->plans[0];
    size_t count = 0;
    for (size_t g = 0; g < plan->packed->fusion.count; g++) {
        const pm_node *node = pm_plan_head(plan, (int)g);
        if (node->op != PM_OP_CONV) continue;
        const size_t *in = plan->sizes[node->input[0]];
        const size_t *size = plan->sizes[plan->packed->fusion.groups[g].head];
        layer l = {.group = g,
                   .times = 1,
                   .node = node,
                   .in_height = in[0],
                   .in_width = in[1],
                   .out_height = size[0],
                   .out_width = size[1]};
        for (size_t i = 0; i < plan->step_count; i++) {
            const pm_step *step = &plan->steps[i];
            if (step->group != (int)g || step->op == PM_DO_HOOK) continue;
            if (step->forward)
                l.forward = i;
            else if (step->target != step->group)
                l.backward = i;
        }
        size_t at = 0;
        while (at < count && !alike(&out[at], &l)) at++;
        if (at < count)
            out[at].times++;
        else
            out[count++] = l;
    }
    return count;
}

typedef struct totals {
    double ours[2], rival[2], square_ours, square_rival;
} totals;

static void measure(bench *b, team *t, const layer *l, double peak, totals *sum) {
    double us[4][REPEATS_MAX], medians[4];
    rival forward, backward;
    const pm_node *n = l->node;
    const double flops =
        2.0 * (double)(b->batch * l->out_height * l->out_width * n->channels *
                       (n->in_channels / groups_of(n)) * n->kernel[0] * n->kernel[1]);
    rival_init(l, b->batch, NULL, &forward);
    rival_init(l, b->batch, forward.descriptor, &backward);
    t->images = b->batch / b->threads;
    for (size_t i = 0; i < b->repeats + 1; i++) {
        const size_t at = i == 0 ? 0 : i - 1; /* the first round warms up */
        t->inner = 1;
        if (i > 0) t->inner = us[1][0] > WORK_US ? 1 : (size_t)(WORK_US / (us[1][0] + 1)) + 1;
        us[0][at] = ours_us(t, l->forward);
        us[1][at] = rival_us(&forward, t->inner);
        us[2][at] = ours_us(t, l->backward);
        us[3][at] = rival_us(&backward, t->inner);
    }
    for (size_t k = 0; k < 4; k++) medians[k] = median(us[k], b->repeats);
    printf("| %zu@%zu to %zu, %zux%zu/%zu%s | %zu | %.0f | %.0f | %.2f | %.0f | %.0f | %.2f | %.2f "
           "|\n",
           n->in_channels, l->in_height, n->channels, n->kernel[0], n->kernel[1], n->stride,
           n->depthwise ? " depthwise" : "", l->times, flops / medians[0] / 1e3,
           flops / medians[1] / 1e3, medians[1] / medians[0], flops / medians[2] / 1e3,
           flops / medians[3] / 1e3, medians[3] / medians[2], flops / medians[2] / 1e3 / peak);
    fflush(stdout);
    for (int k = 0; k < 2; k++) {
        sum->ours[k] += medians[2 * k] * (double)l->times;
        sum->rival[k] += medians[2 * k + 1] * (double)l->times;
    }
    if (n->kernel[0] == 3 && n->kernel[1] == 3 && n->stride == 1 && !n->depthwise &&
        n->in_channels > PM_RGB) {
        sum->square_ours += medians[2] * (double)l->times;
        sum->square_rival += medians[3] * (double)l->times;
    }
    rival_fini(&backward);
    rival_fini(&forward);
}

static pm_status open_plans(bench *b) {
    pm_status status = pm_case_model_new(b->arch, 1000, &b->model);
    for (size_t i = 0; i < b->threads && status == PM_OK; i++) {
        const size_t images = b->batch / b->threads;
        status = pm_plan_init(b->model->packed, b->side, b->side, images, images, &b->plans[i]);
        for (size_t n = 0; n < images && status == PM_OK; n++) b->plans[i].point_of[n] = (uint8_t)n;
        /* Real values everywhere, so that nothing is timed on denormals. */
        for (size_t k = 0; k < b->plans[i].forward_count && status == PM_OK; k++)
            run_plan(&b->plans[i], k, images, NULL, NULL);
    }
    return status;
}

static void run(bench *b) {
    layer *layers = calloc(b->model->graph->conv_count, sizeof *layers);
    team t = {.b = b, .inner = 1};
    member members[THREADS_MAX];
    pthread_t threads[THREADS_MAX];
    totals sum = {0};
    const size_t count = list_layers(b, layers);
    const double peak = peak_gf(b->threads);
    pthread_barrier_init(&t.gate, NULL, (unsigned)b->threads);
    for (size_t i = 1; i < b->threads; i++) {
        members[i] = (member){&t, i};
        pthread_create(&threads[i], NULL, member_main, &members[i]);
    }
    printf("%s %zux%zu, batch %zu, %zu threads, %s, oneDNN %d.%d.%d, FMA peak %.0f GF/s\n\n",
           b->arch, b->side, b->side, b->batch, b->threads, pm_model_isa(b->model),
           dnnl_version()->major, dnnl_version()->minor, dnnl_version()->patch, peak);
    printf(
        "| convolution | times | forward | oneDNN | ratio | backward | oneDNN | ratio | of peak |\n"
        "|---|---|---|---|---|---|---|---|---|\n");
    for (size_t i = 0; i < count; i++) measure(b, &t, &layers[i], peak, &sum);
    printf(
        "\ntotal: forward %.2f ms, oneDNN %.2f ms, ratio %.2f; backward %.2f ms, oneDNN %.2f ms, "
        "ratio %.2f\n",
        sum.ours[0] / 1e3, sum.rival[0] / 1e3, sum.rival[0] / sum.ours[0], sum.ours[1] / 1e3,
        sum.rival[1] / 1e3, sum.rival[1] / sum.ours[1]);
    if (sum.square_ours > 0)
        printf("3x3 stride 1 backward: %.2f ms, oneDNN %.2f ms, ratio %.2f\n",
               sum.square_ours / 1e3, sum.square_rival / 1e3, sum.square_rival / sum.square_ours);
    t.stop = true;
    pthread_barrier_wait(&t.gate);
    for (size_t i = 1; i < b->threads; i++) pthread_join(threads[i], NULL);
    pthread_barrier_destroy(&t.gate);
    free(layers);
}

int main(int argc, char **argv) {
    static bench b = {.side = 224, .batch = 8, .threads = 2, .repeats = 9, .arch = "resnet18"};
    size_t *const numbers[] = {&b.side, &b.batch, &b.threads, &b.repeats};
    pm_status status = PM_OK;
    if (!getenv("OMP_WAIT_POLICY")) { /* oneDNN's idle threads would spin while ours compute */
        setenv("OMP_WAIT_POLICY", "passive", 1);
        execv("/proc/self/exe", argv);
    }
    if (argc > 1) b.arch = argv[1];
    for (int i = 2; i < argc && i < 6 && status == PM_OK; i++)
        status = pm_parse_size("argument", argv[i], numbers[i - 2]);
    if (status == PM_OK && (b.threads < 1 || b.threads > THREADS_MAX || b.batch % b.threads != 0 ||
                            b.batch / b.threads > 16 || b.repeats < 1 || b.repeats > REPEATS_MAX))
        status = pm_fail(PM_E_USAGE, "the threads must divide the batch; 1 to 16 images a thread");
    omp_set_num_threads((int)b.threads);
    need(dnnl_engine_create(&the_cpu, dnnl_cpu, 0), "engine");
    need(dnnl_stream_create(&the_stream, the_cpu, dnnl_stream_default_flags), "stream");
    if (status == PM_OK) status = open_plans(&b);
    if (status == PM_OK) run(&b);
    if (status != PM_OK) fprintf(stderr, "bench_layers: %s\n", pm_error_text());
    for (size_t i = 0; i < THREADS_MAX; i++) pm_plan_fini(&b.plans[i]);
    pm_model_free(&b.model);
    dnnl_stream_destroy(the_stream);
    dnnl_engine_destroy(the_cpu);
    return status == PM_OK ? 0 : 1;
}
