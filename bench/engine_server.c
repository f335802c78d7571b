/* The engine as a process that the paired benchmarks in Python talk to: both sides alternate in
 * one run, each in its own memory.
 *
 *     engine_server ARCH SIDE THREADS [WEIGHTS]       without weights: synthetic ones
 *
 * One command a line on stdin, one line of answer on stdout:
 *     attribute IMAGES CONFIGURATION [| CONFIGURATION ...]   -> milliseconds, wall
 *     memory                                                 -> peak resident bytes
 * A CONFIGURATION is words: method=ig mask=cls quantile=0.1 layers=ratio:0.5 vc=off steps=25
 * samples=25. IMAGES are shared out over the threads, each with a context of its own, as in a
 * worker; class p-values are synthetic. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "lib/base/random.h"
#include "lib/base/text.h"
#include "tests/engine/cases.h"

enum { THREADS_MAX = 64, CONFIGURATIONS_MAX = 64, LINE_BYTES = 4096, BATCH = 8, IMAGES_MAX = 16 };

typedef struct server server;

typedef struct member {
    server *s;
    size_t index;
    pthread_t thread;
    pm_context *context;
    pm_status status;
} member;

struct server {
    size_t side, threads, images;
    pm_model *model;
    pm_statistics *statistics;
    float *input;
    pm_configuration *configurations[CONFIGURATIONS_MAX];
    pm_request requests[CONFIGURATIONS_MAX];
    size_t count;
    member members[THREADS_MAX];
    pthread_barrier_t gate;
    bool stop;
};

static pm_status ignore(void *user, const pm_attribution_result *result) {
    (void)user, (void)result;
    return PM_OK;
}

static void work(member *m) {
    server *s = m->s;
    const size_t first = s->images * m->index / s->threads,
                 end = s->images * (m->index + 1) / s->threads,
                 most = pm_context_images(m->context);
    const float *inputs[IMAGES_MAX];
    pm_request requests[IMAGES_MAX * CONFIGURATIONS_MAX];
    m->status = PM_OK;
    for (size_t i = first, count; i < end && m->status == PM_OK; i += count) {
        count = end - i < most ? end - i : most;
        for (size_t n = 0; n < count; n++) {
            inputs[n] = s->input;
            for (size_t k = 0; k < s->count; k++) {
                requests[n * s->count + k] = s->requests[k];
                requests[n * s->count + k].image = n;
            }
        }
        m->status = pm_context_attribute_images(m->context, inputs, count, requests,
                                                count * s->count, ignore, NULL);
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

static double now_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
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

static pm_status add_configuration(server *s, char *words) {
    pm_attribution a;
    char *save = NULL;
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
    pm_status status =
        pm_configuration_new(s->model, &a, s->statistics, &s->configurations[s->count]);
    if (status) return status;
    s->requests[s->count] = (pm_request){
        .configuration = s->configurations[s->count], .target = 7, .noise = noise, .noise_user = s};
    s->count++;
    return PM_OK;
}

static void drop_configurations(server *s) {
    for (size_t i = 0; i < s->count; i++) pm_configuration_free(&s->configurations[i]);
    s->count = 0;
}

static pm_status attribute(server *s, char *rest, double *ms) {
    char *save = NULL, *number = strtok_r(rest, " ", &save), *part;
    pm_status status = number ? pm_parse_size("images", number, &s->images)
                              : pm_fail(PM_E_USAGE, "attribute: how many images?");
    drop_configurations(s);
    while (status == PM_OK && (part = strtok_r(NULL, "|", &save)))
        status = add_configuration(s, part);
    if (status) return status;
    double start = now_ms();
    pthread_barrier_wait(&s->gate);
    work(&s->members[0]);
    pthread_barrier_wait(&s->gate);
    *ms = now_ms() - start;
    for (size_t i = 0; i < s->threads; i++)
        if (s->members[i].status) return pm_fail(s->members[i].status, "a thread failed");
    return PM_OK;
}

static void serve(server *s) {
    char line[LINE_BYTES];
    while (fgets(line, sizeof line, stdin)) {
        double ms = 0;
        line[strcspn(line, "\n")] = 0;
        if (strncmp(line, "attribute ", 10) == 0) {
            pm_status status = attribute(s, line + 10, &ms);
            if (status)
                printf("error %s\n", pm_error_text());
            else
                printf("%.3f\n", ms);
        } else if (strcmp(line, "memory") == 0) {
            struct rusage usage;
            getrusage(RUSAGE_SELF, &usage);
            printf("%ld\n", usage.ru_maxrss * 1024);
        } else {
            printf("error no such command: %s\n", line);
        }
        fflush(stdout);
    }
}

/* ---- life ---- */

/* Uniform p-values of a few classes; the target is one of them. */
static pm_status make_statistics(server *s) {
    pm_status status = pm_statistics_new_empty(s->model, &s->statistics);
    for (size_t i = 0; i < pm_model_conv_count(s->model) && status == PM_OK; i++) {
        const pm_conv_info *conv = pm_model_conv(s->model, i);
        const size_t count = conv->channels * pm_model_classes(s->model);
        float *p = malloc(count * sizeof *p), *shapiro = calloc(conv->channels, sizeof *shapiro);
        if (p && shapiro) {
            pm_synth(conv->name, 0, p, count);
            for (size_t k = 0; k < count; k++) p[k] = (p[k] + 1) / 2;
            status = pm_statistics_set(s->statistics, i, PM_TEST_WELCH, p, shapiro);
        } else {
            status = pm_fail(PM_E_MEMORY, "no memory for statistics");
        }
        free(p);
        free(shapiro);
    }
    return status;
}

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
    pm_status status = make_statistics(s);
    s->input = malloc(floats * sizeof *s->input);
    if (!s->input) status = pm_fail(PM_E_MEMORY, "no memory for an input");
    if (status) return status;
    pm_synth("input/0", 0, s->input, floats);
    pthread_barrier_init(&s->gate, NULL, (unsigned)s->threads);
    for (size_t i = 0; i < s->threads && status == PM_OK; i++) {
        s->members[i] = (member){.s = s, .index = i};
        status = pm_context_new(s->model, s->side, s->side, BATCH, &s->members[i].context);
    }
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
    for (size_t i = 0; i < s.threads; i++) pm_context_free(&s.members[i].context);
    pthread_barrier_destroy(&s.gate);
    pm_statistics_free(&s.statistics);
    pm_model_free(&s.model);
    free(s.input);
    return 0;
}
