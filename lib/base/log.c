/* Owns the log line. Knows nothing of what is logged. */
#include "lib/base/log.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/text.h"

static pm_log_level least_level = PM_LOG_INFO;
static pm_log_format line_format = PM_LOG_TEXT;
static bool colour;

static const char *const level_names[] = {"debug", "info", "warn", "error"};
static const char *const level_colours[] = {"\033[2m", "", "\033[33m", "\033[31m"};

enum { LINE_BYTES = 4096 };

typedef struct line {
    char bytes[LINE_BYTES];
    size_t used;
} line;

void pm_log_setup(pm_log_level least, pm_log_format format) {
    const char *no_colour = getenv("NO_COLOR");
    least_level = least;
    line_format = format;
    colour = format == PM_LOG_TEXT && isatty(STDERR_FILENO) && !(no_colour && no_colour[0]);
}

static void put(line *out, char byte) {
    /* Two bytes stay free for the closing brace and the newline. */
    if (out->used + 2 < sizeof out->bytes) out->bytes[out->used++] = byte;
}

static void put_text(line *out, const char *text) {
    for (; *text; text++) put(out, *text);
}

/* One character of a text that others may have written, whole or not at all: control characters and
 * what is not UTF-8 never reach a terminal. What stands for them: a blank, "?", or the escape. */
static const char *put_character(line *out, const char *text) {
    size_t n = pm_utf8_size(text, strnlen(text, 4));
    if (n == 0)
        put(out, (unsigned char)*text < 0x20 ? ' ' : '?');
    else if (out->used + n + 1 < sizeof out->bytes)
        for (size_t i = 0; i < n; i++) put(out, text[i]);
    return text + (n ? n : 1);
}

static const char *put_json_character(line *out, const char *text) {
    char escaped[8];
    if (*text == '"' || *text == '\\') {
        put(out, '\\');
        put(out, *text);
    } else if ((unsigned char)*text < 0x20) {
        snprintf(escaped, sizeof escaped, "\\u%04x", (unsigned)(unsigned char)*text);
        put_text(out, escaped);
    } else {
        return put_character(out, text);
    }
    return text + 1;
}

/* Turn `key=value key="a b"` into `,"key":"value","key":"a b"`. */
static void put_json_fields(line *out, const char *text) {
    while (*text) {
        while (*text == ' ') text++;
        if (!*text) return;
        put_text(out, ",\"");
        while (*text && *text != '=' && *text != ' ') text = put_json_character(out, text);
        put_text(out, "\":\"");
        if (*text == '=') text++;
        bool quoted = *text == '"';
        if (quoted) text++;
        /* A closing quote is one before a blank or the end: values may hold quotes themselves. */
        while (*text && !(quoted ? *text == '"' && (text[1] == ' ' || !text[1]) : *text == ' '))
            text = put_json_character(out, text);
        if (quoted && *text) text++;
        put(out, '"');
    }
}

__attribute__((format(printf, 3, 0))) static void log_line(pm_log_level level, const char *event,
                                                           const char *fields, va_list args) {
    char text[LINE_BYTES - 256], stamp[40];
    struct timespec now;
    struct tm utc;
    line out = {.used = 0};
    vsnprintf(text, sizeof text, fields, args);
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &utc);
    size_t n = strftime(stamp, sizeof stamp, "%Y-%m-%dT%H:%M:%S", &utc);
    snprintf(stamp + n, sizeof stamp - n, ".%03ldZ", now.tv_nsec / 1000000);
    if (line_format == PM_LOG_JSON) {
        put_text(&out, "{\"time\":\"");
        put_text(&out, stamp);
        put_text(&out, "\",\"level\":\"");
        put_text(&out, level_names[level]);
        put_text(&out, "\",\"event\":\"");
        put_text(&out, event);
        put(&out, '"');
        put_json_fields(&out, text);
        out.bytes[out.used++] = '}';
    } else {
        put_text(&out, stamp);
        put(&out, ' ');
        if (colour) put_text(&out, level_colours[level]);
        put_text(&out, level_names[level]);
        if (colour && level_colours[level][0]) put_text(&out, "\033[0m");
        put(&out, ' ');
        put_text(&out, event);
        if (text[0]) put(&out, ' ');
        for (const char *p = text; *p;) p = put_character(&out, p);
    }
    out.bytes[out.used++] = '\n';
    /* Nothing useful can be done when stderr is gone. */
    if (write(STDERR_FILENO, out.bytes, out.used) < 0) return;
}

void pm_log(pm_log_level level, const char *event, const char *fields, ...) {
    va_list args;
    if (level < least_level) return;
    va_start(args, fields);
    log_line(level, event, fields, args);
    va_end(args);
}

/* False: keep the line back. *unsaid: how many were kept back before this one. */
static bool may_say(pm_log_budget *budget, size_t *unsaid) {
    int64_t now_ms = pm_clock_ms();
    *unsaid = 0;
    if (!budget->window_ms || now_ms - budget->window_ms > PM_LOG_BUDGET_MS) {
        *unsaid = budget->unsaid;
        *budget = (pm_log_budget){.window_ms = now_ms};
    }
    if (budget->lines++ < PM_LOG_BUDGET_LINES) return true;
    budget->unsaid++;
    return false;
}

void pm_log_seldom(pm_log_budget *budget, pm_log_level level, const char *event, const char *fields,
                   ...) {
    char longer[256]; /* fields are literals of ours */
    size_t unsaid;
    va_list args;
    if (level < least_level || !may_say(budget, &unsaid)) return;
    snprintf(longer, sizeof longer, unsaid ? "%s unsaid=%zu" : "%s", fields, unsaid);
    va_start(args, fields);
    log_line(level, event, unsaid ? longer : fields, args);
    va_end(args);
}
