/* Owns clocks, samples, processes, and a broker of ours under measurement. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "bench/queue.h"
#include "lib/base/attribution.h"

enum { ANSWER_MS = 120000 };

void die(const char *format, ...) {
    va_list args;
    fputs("bench_queue: ", stderr);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    exit(1);
}

double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

void samples_add(samples *s, double value) {
    if (s->count == s->capacity) {
        s->capacity = s->capacity ? 2 * s->capacity : 1024;
        s->values = realloc(s->values, s->capacity * sizeof *s->values);
        if (!s->values) die("out of memory");
    }
    s->values[s->count++] = value;
}

static int compare(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double samples_quantile(samples *s, double q) {
    if (!s->count) return 0;
    qsort(s->values, s->count, sizeof *s->values, compare);
    return s->values[(size_t)(q * (double)(s->count - 1))];
}

void samples_fini(samples *s) {
    free(s->values);
    *s = (samples){.values = NULL};
}

pid_t process_start(char *const *argv, const char *log) {
    pid_t pid = fork();
    if (pid < 0) die("cannot fork: %s", strerror(errno));
    if (pid == 0) {
        int fd = open(log, O_WRONLY | O_CREAT | O_APPEND, 0600);
        if (fd >= 0) {
            dup2(fd, STDOUT_FILENO);
            dup2(fd, STDERR_FILENO);
        }
        execvp(argv[0], argv);
        _exit(127);
    }
    return pid;
}

void process_end(pid_t pid, int signal_number) {
    kill(pid, signal_number);
    waitpid(pid, NULL, 0);
}

double process_mib(pid_t pid) {
    char path[64];
    long pages = 0;
    snprintf(path, sizeof path, "/proc/%d/statm", (int)pid);
    FILE *file = fopen(path, "r");
    if (!file || fscanf(file, "%*d %ld", &pages) != 1) pages = 0;
    if (file) fclose(file);
    return (double)pages * (double)sysconf(_SC_PAGESIZE) / 1048576;
}

void broker_make(broker *b, const char *where) {
    snprintf(b->folder, sizeof b->folder, "%s/pm_queue_XXXXXX", where);
    if (!mkdtemp(b->folder)) die("%s: %s", where, strerror(errno));
    snprintf(b->db, sizeof b->db, "%s/q.db", b->folder);
    snprintf(b->url, sizeof b->url, "ipc://%s/s", b->folder);
    snprintf(b->log, sizeof b->log, "%s/log", b->folder);
}

void broker_start(broker *b) {
    const char *folder = getenv("PARCHMILL_BIN_DIR");
    char program[4096];
    snprintf(program, sizeof program, "%s/parchmill-broker", folder ? folder : "build/bench/bin");
    char *argv[] = {program, "--db", b->db, "--listen", b->url, NULL, NULL, NULL};
    if (b->task_items) {
        argv[5] = "--task-items";
        argv[6] = (char *)b->task_items;
    }
    b->pid = process_start(argv, b->log);
    pm_client_free(&b->client);
    if (pm_client_open(b->url, false, ANSWER_MS, &b->client)) die("%s", pm_error_text());
}

void broker_stop(broker *b, int signal_number) {
    process_end(b->pid, signal_number);
    b->pid = 0;
}

void broker_remove(broker *b) {
    char command[640];
    pm_client_free(&b->client);
    snprintf(command, sizeof command, "rm -rf '%s'", b->folder);
    if (system(command) != 0) die("cannot remove %s", b->folder);
}

pm_accepted broker_submit(broker *b, size_t items, const char *name) {
    pm_config config = {.arch = "resnet18", .resize = 256, .crop = 224};
    pm_run_spec spec = {.classes = 1000, .config_count = 1, .configs = &config, .weights_size = 10};
    pm_data_set set = {.root = b->folder, .name = (char *)"set", .count = items};
    pm_accepted accepted;
    snprintf(spec.name, sizeof spec.name, "%s", name);
    snprintf(spec.weights_path, sizeof spec.weights_path, "%s/weights", b->folder);
    config.weights = pm_sha256_of(name, strlen(name)); /* no results of another run are reused */
    config.std[0] = config.std[1] = config.std[2] = 1;
    config.target_rule = PM_TARGET_RULE_TOP;
    pm_attribution_defaults(&config.attribution);
    char(*paths)[48] = calloc(items, sizeof *paths);
    set.items = calloc(items, sizeof *set.items);
    if (!paths || !set.items) die("out of memory");
    for (size_t i = 0; i < items; i++) {
        snprintf(paths[i], sizeof paths[i], "n%08zu/n%08zu_%zu.JPEG", i / 1300, i / 1300, i);
        set.items[i] = (pm_item){.path = paths[i], .size_bytes = 110000, .label = (int)(i % 1000)};
        set.items[i].sha256 = pm_sha256_of(paths[i], strlen(paths[i]));
    }
    if (pm_client_submit(b->client, &spec, &set, NULL, false, ANSWER_MS, &accepted))
        die("%s", pm_error_text());
    free(set.items);
    free(paths);
    return accepted;
}
