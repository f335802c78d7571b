/* parchmill-broker: the command line, and nothing else. Exit: 0 stopped cleanly, 2 usage,
 * 3 the database or the endpoint is held by another broker, 1 any other failure; with one line. */
#include <argp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "broker/answer.h"
#include "broker/broker.h"
#include "lib/base/log.h"
#include "lib/base/text.h"

enum {
    EXIT_USAGE = 2,
    EXIT_BUSY = 3,
    OPT_INSECURE = 256,
    OPT_LOG_FORMAT,
    OPT_LOG_LEVEL,
    OPT_LIFELINE,
    OPT_TASK_ITEMS,
    OPT_LEASE_MS,
    OPT_QUERY_MS,
    OPT_ANSWER
};

typedef struct arguments {
    pm_broker_options options;
    const char *key;
    bool insecure;
    pm_log_level level;
    pm_log_format format;
    bool answer; /* this is the process of one question */
} arguments;

static const struct argp_option table[] = {
    {"db", 'd', "FILE", 0, "The database: queue and results (made if it is not there)", 0},
    {"listen", 'l', "URL", 0,
     "Where to listen: ipc://PATH or tcp://HOST:PORT (HOST may be * or an interface); may be "
     "repeated",
     0},
    {"key", 'k', "FILE", 0, "The broker's secret key, for tcp; `parchmill keygen` makes it", 0},
    {"allow", 'a', "FILE", 0,
     "Whose keys may come: lines of ROLE KEY NAME; read again when it changes", 0},
    {"insecure", OPT_INSECURE, NULL, 0, "Allow tcp, unencrypted, on loopback addresses only", 0},
    {"log-format", OPT_LOG_FORMAT, "FORMAT", 0, "text or json (text)", 0},
    {"log-level", OPT_LOG_LEVEL, "LEVEL", 0, "debug, info, warn or error (info)", 0},
    {"lifeline", OPT_LIFELINE, "FD", 0, "Stop cleanly when this inherited pipe closes", 0},
    {"task-items", OPT_TASK_ITEMS, "N", 0, "Items a task (chosen by the number of configurations)",
     0},
    {"lease-ms", OPT_LEASE_MS, "MS", 0, "A task without progress for this long goes back (30000)",
     0},
    {"query-ms", OPT_QUERY_MS, "MS", 0, "A question in SQL may take so long (60000)", 0},
    {"answer", OPT_ANSWER, NULL, OPTION_HIDDEN, "Set by the broker itself", 0},
    {0}};

/* One line, as for every other failure. */
__attribute__((format(printf, 1, 2), noreturn)) static void usage(const char *format, ...) {
    va_list args;
    fputs("parchmill-broker: ", stderr);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputs("; see --help\n", stderr);
    exit(EXIT_USAGE);
}

static size_t number(const char *what, const char *text, size_t least, size_t most) {
    size_t value = 0;
    if (pm_parse_size(what, text, &value) != PM_OK) usage("%s", pm_error_text());
    if (value < least || value > most)
        usage("--%s: %zu is not within %zu and %zu", what, value, least, most);
    return value;
}

static void set_level(arguments *out, const char *text) {
    static const char *const names[] = {"debug", "info", "warn", "error"};
    for (size_t i = 0; i < 4; i++) {
        if (strcmp(names[i], text) != 0) continue;
        out->level = (pm_log_level)i;
        return;
    }
    usage("--log-level: '%s' is none of debug, info, warn, error", text);
}

static error_t parse(int key, char *text, struct argp_state *state) {
    arguments *out = state->input;
    pm_broker_options *o = &out->options;
    switch (key) {
    case 'd': o->db = text; return 0;
    case 'l':
        if (o->url_count == PM_BROKER_URLS) usage("--listen: at most %d", PM_BROKER_URLS);
        o->urls[o->url_count++] = text;
        return 0;
    case 'k': out->key = text; return 0;
    case 'a': o->allow = text; return 0;
    case OPT_INSECURE: out->insecure = true; return 0;
    case OPT_LOG_FORMAT:
        if (strcmp(text, "json") != 0 && strcmp(text, "text") != 0)
            usage("--log-format: '%s' is neither text nor json", text);
        out->format = strcmp(text, "json") == 0 ? PM_LOG_JSON : PM_LOG_TEXT;
        return 0;
    case OPT_LOG_LEVEL: set_level(out, text); return 0;
    case OPT_LIFELINE: o->lifeline_fd = (int)number("lifeline", text, 0, 1 << 20); return 0;
    case OPT_TASK_ITEMS: o->task_items = number("task-items", text, 1, 65536); return 0;
    case OPT_LEASE_MS:
        o->lease_ms = (int64_t)number("lease-ms", text, 2000, 24 * 3600 * 1000);
        return 0;
    case OPT_QUERY_MS: o->query_ms = (int64_t)number("query-ms", text, 100, 3600 * 1000); return 0;
    case OPT_ANSWER: out->answer = true; return 0;
    case ARGP_KEY_ARG: usage("what is '%s'?", text); return 0;
    case ARGP_KEY_END:
        if (!o->db) usage("--db FILE is needed");
        if (!o->url_count && !out->answer) usage("--listen URL is needed");
        if (!out->key != !o->allow) usage("--key FILE and --allow FILE go together");
        return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

int main(int argc, char **argv) {
    const struct argp argp = {
        .options = table,
        .parser = parse,
        .doc = "Owns a queue of attributions and the database of their results."};
    arguments given = {
        .options = {.lifeline_fd = -1, .lease_ms = PM_LEASE_MS, .query_ms = PM_QUERY_MS},
        .level = PM_LOG_INFO,
        .format = PM_LOG_TEXT};
    argp_err_exit_status = EXIT_USAGE;
    if (argp_parse(&argp, argc, argv, 0, NULL, &given) != 0) return EXIT_USAGE;
    pm_log_setup(given.level, given.format);
    if (given.answer) return pm_answer_run(given.options.db);
    pm_status status =
        pm_credentials_for_broker(given.key, given.insecure, &given.options.credentials);
    if (!status) status = pm_broker_run(&given.options);
    pm_credentials_wipe(&given.options.credentials);
    if (!status) return EXIT_SUCCESS;
    fprintf(stderr, "parchmill-broker: %s\n", pm_error_text());
    if (status == PM_E_USAGE || status == PM_E_DENIED) return EXIT_USAGE;
    return status == PM_E_BUSY ? EXIT_BUSY : EXIT_FAILURE;
}
