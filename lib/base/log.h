/* Logs: one line to stderr, `time level event key=value ...`, or one JSON object a line.
 *
 * Event names are stable (people grep them): lower case, dots between words. The key=value text
 * is written by the caller with printf formats; values with spaces go through PM_QUOTED. */
#ifndef PM_BASE_LOG_H
#define PM_BASE_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum pm_log_level { PM_LOG_DEBUG, PM_LOG_INFO, PM_LOG_WARN, PM_LOG_ERROR } pm_log_level;
typedef enum pm_log_format { PM_LOG_TEXT, PM_LOG_JSON } pm_log_format;

/* Set once at start, before threads. Colour only on a terminal without NO_COLOR. */
void pm_log_setup(pm_log_level least, pm_log_format format);

/* Write one event. Thread-safe: one write(2) a line. `fields` is "key=value key=\"a b\"" text. */
__attribute__((format(printf, 3, 4))) void pm_log(pm_log_level level, const char *event,
                                                  const char *fields, ...);

/* For lines that a stranger can cause: at most PM_LOG_BUDGET_LINES a minute. Zero-initialise. */
typedef struct pm_log_budget {
    int64_t window_ms; /* since when, monotonic */
    size_t lines, unsaid;
} pm_log_budget;

enum { PM_LOG_BUDGET_LINES = 10, PM_LOG_BUDGET_MS = 60000 };

/* As pm_log, where the budget allows it; the first line of a minute tells how many were kept back
 * before it (unsaid=N). Not thread-safe. */
__attribute__((format(printf, 4, 5))) void pm_log_seldom(pm_log_budget *budget, pm_log_level level,
                                                         const char *event, const char *fields,
                                                         ...);

#define PM_QUOTED "\"%s\""

#endif
