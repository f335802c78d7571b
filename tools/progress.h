/* How far a run is: one line that is drawn over on a terminal, plain lines every few seconds
 * elsewhere. Writes to stderr; knows no sockets and no database. */
#ifndef PM_TOOLS_PROGRESS_H
#define PM_TOOLS_PROGRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

typedef struct pm_progress_state {
    uint64_t items, items_done, items_failed;
    size_t workers;     /* that the broker knows of */
    const char *paused; /* NULL, or why nothing moves */
    int priority;       /* shown unless 0 */
    bool held;          /* somebody paused the run */
} pm_progress_state;

enum { PM_PROGRESS_SAMPLES = 64 };

typedef struct pm_progress {
    FILE *out;
    bool terminal, quiet, drawn, paused, held;
    int64_t shown_ms; /* when something was last written; 0: never */
    struct {
        int64_t at_ms;
        uint64_t done;
    } samples[PM_PROGRESS_SAMPLES]; /* ring: the last half minute */
    size_t first, count;
} pm_progress;

/* out NULL: stderr. quiet: nothing is shown but pauses. */
void pm_progress_init(pm_progress *progress, FILE *out, bool quiet);
/* Feed it as often as you like; it draws at most ten times a second, or every five seconds. */
void pm_progress_show(pm_progress *progress, const pm_progress_state *state, int64_t now_ms);
/* A line of its own above the bar. */
void pm_progress_say(pm_progress *progress, const char *text);
/* Take the bar away. */
void pm_progress_end(pm_progress *progress);

/* Images a second over the last half minute; 0 while not known. */
double pm_progress_rate(const pm_progress *progress);
/* The line as drawn, at most `columns` wide. */
void pm_progress_line(const pm_progress *progress, const pm_progress_state *state, size_t columns,
                      char *out, size_t size);
/* "1:02:03", "0:39". */
void pm_duration_text(double seconds, char *out, size_t size);

#endif
