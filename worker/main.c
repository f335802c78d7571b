/* parchmill-worker: takes tasks from a broker, computes, gives results. Owns nothing that cannot
 * be killed. This file owns the command line and which of the three processes this is. */
#include <argp.h>
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "lib/base/log.h"
#include "lib/base/text.h"
#include "lib/image/decoder.h"
#include "worker/compute.h"
#include "worker/link.h"
#include "worker/parent.h"

const char *argp_program_version = "parchmill-worker " PM_ENGINE_VERSION;

enum {
    EXIT_FAILED = 1,
    EXIT_USAGE = 2,
    LAST_WORDS_MS = 300, /* for messages on their way when a thread has to be left behind */
    PATH_BYTES = 4096
};

typedef struct settings {
    pm_worker_options options;
    const char *key, *broker_key;
    bool insecure;
    char cache[PATH_BYTES];
    uint64_t cache_bytes;
    bool no_shared_paths;
    int lifeline, child; /* descriptors; -1: none */
    pm_log_level log_level;
    pm_log_format log_format;
} settings;

enum {
    KEY_INSECURE = 256,
    KEY_CACHE,
    KEY_CACHE_SIZE,
    KEY_NO_SHARED_PATHS,
    KEY_BROKER_KEY,
    KEY_LOG_FORMAT,
    KEY_LOG_LEVEL,
    KEY_LIFELINE,
    KEY_CHILD
};

static const struct argp_option options_table[] = {
    {"broker", 'b', "URL", 0, "Where the broker listens: ipc://PATH or tcp://HOST:PORT", 0},
    {"threads", 't', "N", 0, "Compute threads, one a core (default: all cores)", 0},
    {"cache", KEY_CACHE, "DIR", 0,
     "Where fetched weights and images are kept; workers may share it (default: "
     "$XDG_CACHE_HOME/parchmill)",
     0},
    {"cache-size", KEY_CACHE_SIZE, "SIZE", 0,
     "Most that is kept there: 500M, 20G (default: 4G, or a tenth of the disk)", 0},
    {"no-shared-paths", KEY_NO_SHARED_PATHS, NULL, 0,
     "Never open files that the broker names: all bytes come by wire", 0},
    {"key", 'k', "FILE", 0,
     "This worker's secret key, for tcp (default: $PARCHMILL_KEY, else "
     "~/.config/parchmill/worker.key)",
     0},
    {"broker-key", KEY_BROKER_KEY, "KEY", 0,
     "The broker's public key: a .pub file or the key itself (default: $PARCHMILL_BROKER_KEY, else "
     "~/.config/parchmill/broker.pub)",
     0},
    {"insecure", KEY_INSECURE, NULL, 0, "Allow tcp without encryption (loopback only)", 0},
    {"log-format", KEY_LOG_FORMAT, "FORMAT", 0, "text or json (default: text)", 0},
    {"log-level", KEY_LOG_LEVEL, "LEVEL", 0, "debug, info, warn or error (default: info)", 0},
    {"lifeline", KEY_LIFELINE, "FD", 0, "Stop when this descriptor reaches its end", 0},
    {"child", KEY_CHILD, "FD", OPTION_HIDDEN, "Set by the parent process", 0},
    {0}};

static size_t cores(void) {
    cpu_set_t set;
    int count = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
    return count < 1 ? 1 : count > PM_THREADS_MAX ? PM_THREADS_MAX : (size_t)count;
}

static pm_status parse_fd(const char *what, const char *text, int *out) {
    size_t value;
    pm_status status = pm_parse_size(what, text, &value);
    if (status) return status;
    if (value > 1 << 20) return pm_fail(PM_E_USAGE, "%s: %s is no descriptor", what, text);
    *out = (int)value;
    return PM_OK;
}

static pm_status parse_threads(const char *text, size_t *out) {
    pm_status status = pm_parse_size("--threads", text, out);
    if (!status && (*out < 1 || *out > PM_THREADS_MAX))
        status = pm_fail(PM_E_USAGE, "--threads: 1 to %d", PM_THREADS_MAX);
    return status;
}

static pm_status parse_log_level(const char *text, pm_log_level *out) {
    static const char *const names[] = {"debug", "info", "warn", "error"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (strcmp(text, names[i]) != 0) continue;
        *out = (pm_log_level)i;
        return PM_OK;
    }
    return pm_fail(PM_E_USAGE, "--log-level: debug, info, warn or error, not %s", text);
}

static pm_status parse_log_format(const char *text, pm_log_format *out) {
    bool json = strcmp(text, "json") == 0;
    if (!json && strcmp(text, "text") != 0)
        return pm_fail(PM_E_USAGE, "--log-format: text or json, not %s", text);
    *out = json ? PM_LOG_JSON : PM_LOG_TEXT;
    return PM_OK;
}

static pm_status set_cache(settings *s, const char *folder) {
    int length = snprintf(s->cache, sizeof s->cache, "%s", folder);
    return length > 0 && (size_t)length < sizeof s->cache
               ? PM_OK
               : pm_fail(PM_E_USAGE, "--cache: the path is empty or too long");
}

static error_t parse_option(int key, char *text, struct argp_state *state) {
    settings *s = state->input;
    pm_status status = PM_OK;
    switch (key) {
    case 'b': s->options.url = text; break;
    case 't': status = parse_threads(text, &s->options.threads); break;
    case KEY_CACHE: status = set_cache(s, text); break;
    case KEY_CACHE_SIZE: status = pm_cache_parse_size(text, &s->cache_bytes); break;
    case KEY_NO_SHARED_PATHS: s->no_shared_paths = true; break;
    case 'k': s->key = text; break;
    case KEY_BROKER_KEY: s->broker_key = text; break;
    case KEY_INSECURE: s->insecure = true; break;
    case KEY_LOG_FORMAT: status = parse_log_format(text, &s->log_format); break;
    case KEY_LOG_LEVEL: status = parse_log_level(text, &s->log_level); break;
    case KEY_LIFELINE: status = parse_fd("--lifeline", text, &s->lifeline); break;
    case KEY_CHILD: status = parse_fd("--child", text, &s->child); break;
    case ARGP_KEY_ARG: status = pm_fail(PM_E_USAGE, "%s: no such argument", text); break;
    case ARGP_KEY_END:
        if (!s->options.url) status = pm_fail(PM_E_USAGE, "--broker URL is needed");
        break;
    default: return ARGP_ERR_UNKNOWN;
    }
    return status ? EINVAL : 0;
}

static void default_cache(settings *s) {
    const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    if (cache && cache[0] == '/')
        snprintf(s->cache, sizeof s->cache, "%s/parchmill", cache);
    else if (home && home[0] == '/')
        snprintf(s->cache, sizeof s->cache, "%s/.cache/parchmill", home);
    else
        snprintf(s->cache, sizeof s->cache, "/var/tmp/parchmill-%u", (unsigned)getuid());
}

static int say_failure(pm_status status) {
    fprintf(stderr, "parchmill-worker: %s\n", pm_error_text());
    return status == PM_E_USAGE ? EXIT_USAGE : EXIT_FAILED;
}

static pm_status open_signals(int *fd) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    *fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    return *fd < 0 ? pm_fail(PM_E_IO, "signalfd: %s", strerror(errno)) : PM_OK;
}

/* Compute threads around the link thread, which is this one. */
static pm_status work_until_told(const settings *s, const pm_supply *supply, pm_work *work,
                                 pm_models *models, int signal_fd) {
    pm_compute *threads[PM_THREADS_MAX] = {0};
    bool left_computing = false;
    pm_status status = PM_OK;
    for (size_t i = 0; i < s->options.threads && !status; i++)
        status = pm_compute_start(work, models, supply, i, &threads[i]);
    /* A machine where no photograph can be shut in is better told of at once. */
    if (!status) status = pm_compute_ready(threads[0]);
    if (!status) status = pm_worker_link_run(&s->options, work, signal_fd, &left_computing);
    if (left_computing) {
        /* Its image takes too long; the lease is given back, nothing of it is lost. */
        if (status && status != PM_E_TIMEOUT) (void)say_failure(status);
        usleep(LAST_WORDS_MS * 1000);
        _exit(status == PM_E_TIMEOUT ? PM_EXIT_HUNG : status ? EXIT_FAILED : 0);
    }
    pm_work_stop(work);
    for (size_t i = 0; i < s->options.threads; i++) pm_compute_join(&threads[i]);
    return status;
}

/* A disk that takes nothing is no reason not to work; a folder that others can reach into is. */
static pm_status open_cache(const settings *s, pm_supply *supply) {
    supply->no_shared_paths = s->no_shared_paths;
    pm_status status = pm_cache_open(s->cache, s->cache_bytes, &supply->cache);
    if (status == PM_E_DENIED) return pm_fail_in(status, "--cache");
    if (status)
        pm_log(PM_LOG_WARN, "worker.cache.off",
               "reason=" PM_QUOTED " what=\"fetched bytes stay in memory\"", pm_error_text());
    return PM_OK;
}

static int run_child(const settings *s) {
    pm_supply supply = {.cache = NULL};
    pm_slots *slots = NULL;
    pm_work work;
    pm_models models;
    int signal_fd = -1;
    signal(SIGPIPE, SIG_IGN);
    pm_status status = pm_slots_open(s->child, &slots);
    if (!status) status = open_signals(&signal_fd);
    if (!status) status = pm_work_init(&work, slots);
    if (status) return say_failure(status);
    pm_log(PM_LOG_INFO, "worker.start", "pid=%d threads=%zu engine=%s", (int)getpid(),
           s->options.threads, PM_ENGINE_VERSION);
    pm_models_init(&models);
    status = open_cache(s, &supply);
    if (!status) status = work_until_told(s, &supply, &work, &models, signal_fd);
    char text[1024];
    snprintf(text, sizeof text, "%s", pm_error_text());
    pm_work_fini(&work);
    pm_models_fini(&models);
    pm_cache_close(&supply.cache);
    pm_slots_free(&slots);
    close(signal_fd);
    if (status) {
        (void)pm_fail(status, "%s", text);
        int code = say_failure(status);
        return status == PM_E_TIMEOUT ? PM_EXIT_HUNG : code;
    }
    pm_log(PM_LOG_INFO, "worker.stop", "pid=%d", (int)getpid());
    return 0;
}

static int run_parent(const settings *s, int argc, char **argv) {
    pm_link *probe = NULL;
    int exit_code = EXIT_FAILED;
    /* A URL that cannot be is better said once, here. */
    pm_status status = pm_link_new(s->options.url, PM_ROLE_WORKER, &s->options.credentials, &probe);
    pm_link_free(&probe);
    if (!status) status = pm_parent_run(argc, argv, s->lifeline, &exit_code);
    return status ? say_failure(status) : exit_code;
}

int main(int argc, char **argv) {
    pm_decoder_main(argc, argv);
    static const struct argp argp = {
        options_table, parse_option, NULL, "Compute for a parchmill broker.", NULL, NULL, NULL};
    settings s = {
        .lifeline = -1, .child = -1, .log_level = PM_LOG_INFO, .cache_bytes = PM_CACHE_DEFAULT};
    s.options.threads = cores();
    default_cache(&s);
    error_t error = argp_parse(&argp, argc, argv, 0, NULL, &s);
    if (error) return say_failure(PM_E_USAGE);
    pm_log_setup(s.log_level, s.log_format);
    pm_status status = pm_credentials_for_peer(s.options.url, "worker", s.key, s.broker_key,
                                               s.insecure, &s.options.credentials);
    if (status) return say_failure(status);
    int code = s.child >= 0 ? run_child(&s) : run_parent(&s, argc, argv);
    pm_credentials_wipe(&s.options.credentials);
    return code;
}
