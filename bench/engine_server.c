/* The engine as a process that the paired benchmarks in Python talk to: both sides alternate in
 * one run, each in its own memory.
 *
 *     engine_server ARCH SIDE THREADS [WEIGHTS]       without weights: synthetic ones
 *
 * One command a line on stdin, one line of answer on stdout:
 *     attribute IMAGES CONFIGURATION [| CONFIGURATION ...]   -> milliseconds, wall and processor
 *     evaluate IMAGES CONFIGURATION [| CONFIGURATION ...]    -> the same, with the worker's
 *                                                               perturbation curves
 *     memory                                                 -> peak resident bytes
 * A CONFIGURATION is words: method=ig mask=cls quantile=0.1 layers=ratio:0.5 vc=off steps=25
 * samples=25; layers=none hooks nothing, which only a benchmark asks for. IMAGES are shared out
 * over the threads, each with contexts of its own, as in a worker; class p-values are synthetic. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lib/base/random.h"
#include "lib/base/text.h"
#include "tests/engine/cases.h"
#include "worker/engine/partition.h"
#include "worker/engine/statistics.h"
#include "worker/evaluate.h"

enum {
    THREADS_MAX = 64,
    CONFIGURATIONS_MAX = PM_EVALUATED_MAX,
    LINE_BYTES = 4096,
    BATCH = 8,
    IMAGES_MAX = BATCH
};

typedef struct server server;

typedef struct member {
    server *s;
    size_t index;
    pthread_t thread;
    pm_context *contexts[BATCH + 1]; /* by batch; made when first asked for */
    pm_evaluator *evaluators[IMAGES_MAX];
    pm_status status;
} member;

struct server {
    size_t side, threads, images;
    pm_model *model;
    pm_statistics *statistics;
    float *input;
    pm_configuration *configurations[CONFIGURATIONS_MAX];
    pm_request requests[CONFIGURATIONS_MAX];
    size_t count, at_once, batch; /* configurations, images a call, of the context */
    bool evaluates;
    pm_evaluation evaluation;
    member members[THREADS_MAX];
    pthread_barrier_t gate;
    bool stop;
};

static pm_status ignore(void *user, const pm_attribution_result *result) {
    (void)user, (void)result;
    return PM_OK;
}

static pm_status ignore_curves(void *user, size_t key, const pm_curves_result *curves) {
    (void)user, (void)key, (void)curves;
    return PM_OK;
}

static pm_status keep(void *user, const pm_attribution_result *result) {
    member *m = user;
    const size_t count = m->s->count;
    return pm_evaluator_keep(m->evaluators[result->request / count], result->request % count,
                             result);
}

/* As worker/attribute.c and worker/contexts.c choose. */
static void choose_batch(server *s) {
    const size_t together = pm_model_together(s->model), room = BATCH / s->count;
    s->at_once = together < room ? together : room;
    for (size_t i = 0; i < s->count; i++) {
        const pm_method method = s->configurations[i]->attribution.method;
        if (method == PM_METHOD_IG || pm_method_is_random(method)) s->at_once = 1;
    }
    if (s->evaluates)
        while (s->at_once * s->count * s->evaluation.ratio_count > PM_RATIOS_TOGETHER) s->at_once--;
    if (s->at_once < 1) s->at_once = 1;
    s->batch = s->count * s->at_once;
    if (s->batch > BATCH) s->batch = BATCH;
    if (s->batch < together) s->batch = together;
}

/* So many images at once, the same input each time. */
static pm_status some(member *m, size_t images) {
    server *s = m->s;
    pm_context *context = m->contexts[s->batch];
    const pm_sha256 image = {{0}};
    const float *inputs[IMAGES_MAX];
    pm_request requests[IMAGES_MAX * CONFIGURATIONS_MAX];
    pm_status status = PM_OK;
    for (size_t n = 0; n < images && !status; n++) {
        inputs[n] = s->input;
        for (size_t k = 0; k < s->count; k++) {
            requests[n * s->count + k] = s->requests[k];
            requests[n * s->count + k].image = n;
        }
        if (s->evaluates)
            status = pm_evaluator_new(&s->evaluation, s->input, s->side, pm_model_classes(s->model),
                                      &image, &m->evaluators[n]);
    }
    if (!status)
        status = pm_context_attribute_images(context, inputs, images, requests, images * s->count,
                                             s->evaluates ? keep : ignore, m);
    for (size_t n = 0; n < images && s->evaluates; n++) {
        if (!status) status = pm_evaluator_run(m->evaluators[n], context, ignore_curves, NULL);
        pm_evaluator_free(&m->evaluators[n]);
    }
    return status;
}

static void work(member *m) {
    server *s = m->s;
    const size_t first = s->images * m->index / s->threads,
                 end = s->images * (m->index + 1) / s->threads;
    m->status = PM_OK;
    for (size_t i = first, count; i < end && m->status == PM_OK; i += count) {
        count = end - i < s->at_once ? end - i : s->at_once;
        m->status = some(m, count);
    }
}

static void *member_main(void *user) {
    member *m = user;
    for (;;) {
        pthread_barrier_wait(&m->s->gate);
        if (m->s->stop) return NULL;
        work(m);
        pthread_barrier_wait(&m->s->gate);
    }
}

static double now_ms(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

/* ---- commands ---- */

static pm_status set_word(pm_attribution *a, const char *key, const char *value) {
    if (strcmp(key, "method") == 0) return pm_method_parse(value, &a->method);
    if (strcmp(key, "mask") == 0) return pm_mask_parse(value, &a->mask);
    if (strcmp(key, "quantile") == 0) return pm_parse_double(key, value, &a->threshold);
    if (strcmp(key, "gamma") == 0) return pm_parse_double(key, value, &a->gamma);
    if (strcmp(key, "steps") == 0) return pm_parse_size(key, value, &a->steps);
    if (strcmp(key, "samples") == 0) return pm_parse_size(key, value, &a->samples);
    if (strcmp(key, "layers") == 0) {
        snprintf(a->layers, sizeof a->layers, "%s", value);
        return PM_OK;
    }
    if (strcmp(key, "vc") == 0) {
        a->variance_conservation = strcmp(value, "off") != 0;
        return PM_OK;
    }
    return pm_fail(PM_E_USAGE, "no such word: %s", key);
}

static void noise(void *user, size_t draw, float *out) {
    const server *s = user;
    char name[32];
    snprintf(name, sizeof name, "noise/%zu", draw);
    pm_synth(name, 0, out, 3 * s->side * s->side);
}

/* Uniform p-values of all classes. */
static pm_status make_statistics_of(server *s, size_t index) {
    const pm_conv_info *conv = pm_model_conv(s->model, index);
    const size_t count = conv->channels * pm_model_classes(s->model);
    float *p = malloc(count * sizeof *p), *shapiro = calloc(conv->channels, sizeof *shapiro);
    pm_status status = PM_OK;
    if (p && shapiro) {
        pm_synth(conv->name, 0, p, count);
        for (size_t k = 0; k < count; k++) p[k] = (p[k] + 1) / 2;
        status = pm_statistics_set(s->statistics, index, PM_TEST_WELCH, p, shapiro);
    } else {
        status = pm_fail(PM_E_MEMORY, "no memory for statistics");
    }
    free(p);
    free(shapiro);
    return status;
}

/* Of the convolutions that a mask hooks, as in a worker; those of earlier commands stay. */
static pm_status make_statistics(server *s, const char *layers) {
    const size_t convs = pm_model_conv_count(s->model);
    bool *hooked = calloc(convs, sizeof *hooked);
    pm_status status = hooked ? PM_OK : pm_fail(PM_E_MEMORY, "no memory for statistics");
    if (!status && !s->statistics) status = pm_statistics_new_empty(s->model, &s->statistics);
    if (!status) status = pm_layers_select(s->model, layers, hooked);
    for (size_t i = 0; i < convs && !status; i++)
        if (hooked[i] && !pm_statistics_has(s->statistics, i, PM_TEST_WELCH))
            status = make_statistics_of(s, i);
    free(hooked);
    return status;
}

static void unhook(const server *s, pm_configuration *configuration) {
    configuration->hook_count = 0;
    for (size_t i = 0; i < pm_model_conv_count(s->model); i++) configuration->hook_of[i] = -1;
}

static pm_status add_configuration(server *s, char *words) {
    pm_attribution a;
    char *save = NULL;
    bool hookless;
    pm_attribution_defaults(&a);
    a.p_value_threshold = 0.5;
    for (char *word = strtok_r(words, " ", &save); word; word = strtok_r(NULL, " ", &save)) {
        char *value = strchr(word, '=');
        if (!value) return pm_fail(PM_E_USAGE, "not key=value: %s", word);
        *value++ = 0;
        pm_status status = set_word(&a, word, value);
        if (status) return status;
    }
    if (s->count == CONFIGURATIONS_MAX) return pm_fail(PM_E_USAGE, "too many configurations");
    hookless = strcmp(a.layers, "none") == 0;
    if (hookless) strcpy(a.layers, "default");
    pm_status status = a.mask == PM_MASK_OFF ? PM_OK : make_statistics(s, a.layers);
    if (!status)
        status = pm_configuration_new(s->model, &a, s->statistics, &s->configurations[s->count]);
    if (status) return status;
    if (hookless) unhook(s, s->configurations[s->count]);
    s->requests[s->count] = (pm_request){
        .configuration = s->configurations[s->count], .target = 7, .noise = noise, .noise_user = s};
    s->count++;
    return PM_OK;
}

static void drop_configurations(server *s) {
    for (size_t i = 0; i < s->count; i++) pm_configuration_free(&s->configurations[i]);
    s->count = 0;
}

/* What a worker has warm. */
static pm_status warm(server *s) {
    pm_status status = PM_OK;
    for (size_t i = 0; i < s->threads && !status; i++) {
        pm_context **context = &s->members[i].contexts[s->batch];
        if (!*context) status = pm_context_new(s->model, s->side, s->side, s->batch, context);
    }
    return status;
}

typedef struct spent {
    double wall_ms, processor_ms;
} spent;

static pm_status run(server *s, char *rest, spent *out) {
    char *save = NULL, *number = strtok_r(rest, " ", &save), *part;
    pm_status status = number ? pm_parse_size("images", number, &s->images)
                              : pm_fail(PM_E_USAGE, "how many images?");
    drop_configurations(s);
    while (status == PM_OK && (part = strtok_r(NULL, "|", &save)))
        status = add_configuration(s, part);
    if (!status && s->count == 0) status = pm_fail(PM_E_USAGE, "no configuration");
    if (status) return status;
    choose_batch(s);
    status = warm(s);
    if (status) return status;
    double wall = now_ms(CLOCK_MONOTONIC), processor = now_ms(CLOCK_PROCESS_CPUTIME_ID);
    pthread_barrier_wait(&s->gate);
    work(&s->members[0]);
    pthread_barrier_wait(&s->gate);
    *out = (spent){now_ms(CLOCK_MONOTONIC) - wall, now_ms(CLOCK_PROCESS_CPUTIME_ID) - processor};
    for (size_t i = 0; i < s->threads; i++)
        if (s->members[i].status) return pm_fail(s->members[i].status, "a thread failed");
    return PM_OK;
}

/* getrusage would give what the parent had before this program was executed. */
static long long peak_bytes(void) {
    char line[256];
    long long kilobytes = 0;
    FILE *file = fopen("/proc/self/status", "re");
    while (file && fgets(line, sizeof line, file))
        if (strncmp(line, "VmHWM:", 6) == 0) kilobytes = strtoll(line + 6, NULL, 10);
    if (file) fclose(file);
    return kilobytes * 1024;
}

static void serve(server *s) {
    char line[LINE_BYTES];
    while (fgets(line, sizeof line, stdin)) {
        spent took = {0};
        char *rest = line + strcspn(line, " \n");
        pm_status status = PM_OK;
        if (*rest) *rest++ = 0;
        rest[strcspn(rest, "\n")] = 0;
        s->evaluates = strcmp(line, "evaluate") == 0;
        if (strcmp(line, "memory") == 0)
            printf("%lld\n", peak_bytes());
        else if (!s->evaluates && strcmp(line, "attribute") != 0)
            status = pm_fail(PM_E_USAGE, "no such command: %s", line);
        else if ((status = run(s, rest, &took)) == PM_OK)
            printf("%.3f %.3f\n", took.wall_ms, took.processor_ms);
        if (status) printf("error %s\n", pm_error_text());
        fflush(stdout);
    }
}

/* ---- life ---- */

static pm_status make_model(server *s, const char *arch, const char *path) {
    pm_weights *weights = NULL;
    if (!path) return pm_case_model_new(arch, 1000, &s->model);
    pm_status status = pm_weights_open(path, &weights);
    if (!status) status = pm_model_new(arch, weights, &s->model);
    pm_weights_free(&weights);
    return status;
}

static pm_status start(server *s) {
    const size_t floats = 3 * s->side * s->side;
    pm_status status = PM_OK;
    s->input = malloc(floats * sizeof *s->input);
    if (!s->input) return pm_fail(PM_E_MEMORY, "no memory for an input");
    pm_evaluation_defaults(&s->evaluation);
    pm_synth("input/0", 0, s->input, floats);
    pthread_barrier_init(&s->gate, NULL, (unsigned)s->threads);
    for (size_t i = 0; i < s->threads; i++) s->members[i] = (member){.s = s, .index = i};
    for (size_t i = 1; i < s->threads && status == PM_OK; i++)
        if (pthread_create(&s->members[i].thread, NULL, member_main, &s->members[i]) != 0)
            status = pm_fail(PM_E_INTERNAL, "no thread");
    return status;
}

int main(int argc, char **argv) {
    static server s;
    pm_status status = argc == 4 || argc == 5
                           ? PM_OK
                           : pm_fail(PM_E_USAGE, "engine_server ARCH SIDE THREADS [WEIGHTS]");
    if (status == PM_OK) status = pm_parse_size("side", argv[2], &s.side);
    if (status == PM_OK) status = pm_parse_size("threads", argv[3], &s.threads);
    if (status == PM_OK && (s.threads < 1 || s.threads > THREADS_MAX))
        status = pm_fail(PM_E_USAGE, "1 to %d threads", THREADS_MAX);
    if (status == PM_OK) status = make_model(&s, argv[1], argc == 5 ? argv[4] : NULL);
    if (status == PM_OK) status = start(&s);
    if (status != PM_OK) {
        fprintf(stderr, "engine_server: %s\n", pm_error_text());
        return 1;
    }
    printf("ready %s\n", pm_model_isa(s.model));
    fflush(stdout);
    serve(&s);
    s.stop = true;
    pthread_barrier_wait(&s.gate);
    for (size_t i = 1; i < s.threads; i++) pthread_join(s.members[i].thread, NULL);
    drop_configurations(&s);
    for (size_t i = 0; i < s.threads; i++)
        for (size_t batch = 1; batch <= BATCH; batch++)
            pm_context_free(&s.members[i].contexts[batch]);
    pthread_barrier_destroy(&s.gate);
    pm_statistics_free(&s.statistics);
    pm_model_free(&s.model);
    free(s.input);
    return 0;
}
