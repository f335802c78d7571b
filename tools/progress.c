/* Owns the progress line: rate, words, width. */
#include "tools/progress.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum {
    REDRAW_MS = 100,
    LINE_EVERY_MS = 5000,
    SAMPLE_MS = 500,
    WINDOW_MS = 30000,
    BAR_MOST = 40,
    BAR_LEAST = 8,
    PARTS = 7
};

void pm_progress_init(pm_progress *progress, FILE *out, bool quiet) {
    *progress = (pm_progress){.out = out ? out : stderr, .quiet = quiet};
    const char *term = getenv("TERM");
    progress->terminal = isatty(fileno(progress->out)) && !(term && strcmp(term, "dumb") == 0);
}

void pm_duration_text(double seconds, char *out, size_t size) {
    long whole = seconds < 0 ? 0 : seconds > 3.6e8 ? (long)3.6e8 : (long)(seconds + 0.5);
    if (whole >= 3600)
        snprintf(out, size, "%ld:%02ld:%02ld", whole / 3600, whole / 60 % 60, whole % 60);
    else
        snprintf(out, size, "%ld:%02ld", whole / 60, whole % 60);
}

static void sample(pm_progress *p, uint64_t done, int64_t now_ms) {
    size_t last = (p->first + p->count - 1) % PM_PROGRESS_SAMPLES;
    if (p->count && now_ms - p->samples[last].at_ms < SAMPLE_MS && done != 0) {
        if (p->count > 1) {
            p->samples[last].done = done;
            p->samples[last].at_ms = now_ms;
        }
        return;
    }
    while (p->count && (p->count == PM_PROGRESS_SAMPLES ||
                        (p->count > 2 && now_ms - p->samples[p->first].at_ms > WINDOW_MS))) {
        p->first = (p->first + 1) % PM_PROGRESS_SAMPLES;
        p->count--;
    }
    size_t at = (p->first + p->count++) % PM_PROGRESS_SAMPLES;
    p->samples[at].at_ms = now_ms;
    p->samples[at].done = done;
}

double pm_progress_rate(const pm_progress *p) {
    if (p->count < 2) return 0;
    size_t last = (p->first + p->count - 1) % PM_PROGRESS_SAMPLES;
    int64_t ms = p->samples[last].at_ms - p->samples[p->first].at_ms;
    uint64_t from = p->samples[p->first].done, to = p->samples[last].done;
    return ms > 0 && to > from ? (double)(to - from) * 1e3 / (double)ms : 0;
}

/* Parts from the most to the least needed; what does not fit is left out. */
void pm_progress_line(const pm_progress *p, const pm_progress_state *s, size_t columns, char *out,
                      size_t size) {
    char parts[PARTS][48] = {{0}}, eta[24];
    double rate = pm_progress_rate(p);
    size_t used = 0;
    unsigned percent = s->items ? (unsigned)(s->items_done * 100 / s->items) : 100;
    snprintf(parts[0], sizeof parts[0], "%" PRIu64 "/%" PRIu64, s->items_done, s->items);
    snprintf(parts[1], sizeof parts[1], "%u%%", percent);
    if (rate > 0) {
        pm_duration_text((double)(s->items - s->items_done) / rate, eta, sizeof eta);
        snprintf(parts[2], sizeof parts[2], "%.3g images/s", rate);
        snprintf(parts[3], sizeof parts[3], "ETA %s", eta);
    }
    if (s->items_failed) snprintf(parts[4], sizeof parts[4], "%" PRIu64 " failed", s->items_failed);
    if (s->held) snprintf(parts[5], sizeof parts[5], "paused");
    if (s->priority) snprintf(parts[6], sizeof parts[6], "priority %d", s->priority);
    if (columns >= size) columns = size - 1;
    out[0] = '\0';
    size_t text = 0;
    for (size_t i = 0; i < PARTS; i++) text += parts[i][0] ? strlen(parts[i]) + 2 : 0;
    if (columns > text + BAR_LEAST + 2) {
        size_t bar = columns - text - 2;
        if (bar > BAR_MOST) bar = BAR_MOST;
        size_t full = s->items ? (size_t)(s->items_done * bar / s->items) : bar;
        out[used++] = '[';
        for (size_t i = 0; i < bar; i++) out[used++] = i < full ? '#' : '.';
        out[used++] = ']';
        out[used] = '\0';
    }
    for (size_t i = 0; i < PARTS; i++) {
        size_t length = strlen(parts[i]), gap = used ? 2 : 0;
        if (!length || used + gap + length > columns) continue;
        memset(out + used, ' ', gap);
        memcpy(out + used + gap, parts[i], length + 1);
        used += gap + length;
    }
}

static size_t width_of(FILE *out) {
    struct winsize size;
    if (ioctl(fileno(out), TIOCGWINSZ, &size) == 0 && size.ws_col > 1) return size.ws_col - 1u;
    return 79;
}

static void clear(pm_progress *p) {
    if (!p->drawn) return;
    fputs("\r\033[K", p->out);
    p->drawn = false;
}

void pm_progress_say(pm_progress *p, const char *text) {
    clear(p);
    fprintf(p->out, "%s\n", text);
    fflush(p->out);
    p->shown_ms = 0;
}

static void draw(pm_progress *p, const pm_progress_state *s) {
    char line[512];
    pm_progress_line(p, s, width_of(p->out), line, sizeof line);
    fprintf(p->out, "\r%s\033[K", line);
    fflush(p->out);
    p->drawn = true;
}

static void print_line(pm_progress *p, const pm_progress_state *s) {
    char eta[24];
    double rate = pm_progress_rate(p);
    fprintf(p->out, "%" PRIu64 " of %" PRIu64 " images", s->items_done, s->items);
    if (rate > 0) {
        pm_duration_text((double)(s->items - s->items_done) / rate, eta, sizeof eta);
        fprintf(p->out, ", %.3g images/s, about %s left", rate, eta);
    }
    if (s->items_failed) fprintf(p->out, ", %" PRIu64 " failed", s->items_failed);
    if (s->priority) fprintf(p->out, ", priority %d", s->priority);
    if (s->held) fputs(", paused", p->out);
    fputc('\n', p->out);
    fflush(p->out);
}

static void pauses(pm_progress *p, const char *paused) {
    char text[512];
    if (paused && !p->paused) {
        snprintf(text, sizeof text, "paused: %s; it goes on by itself", paused);
        pm_progress_say(p, text);
    } else if (!paused && p->paused) {
        pm_progress_say(p, "going on");
    }
    p->paused = paused != NULL;
}

void pm_progress_show(pm_progress *p, const pm_progress_state *state, int64_t now_ms) {
    sample(p, state->items_done, now_ms);
    pauses(p, state->paused);
    if (state->held != p->held)
        pm_progress_say(p, state->held ? "paused by somebody; `parchmill resume` lets it go on"
                                       : "going on");
    p->held = state->held;
    if (p->quiet || p->paused) return;
    int64_t every_ms = p->terminal ? REDRAW_MS : LINE_EVERY_MS;
    if (p->shown_ms && now_ms - p->shown_ms < every_ms) return;
    p->shown_ms = now_ms;
    if (p->terminal)
        draw(p, state);
    else
        print_line(p, state);
}

void pm_progress_end(pm_progress *p) {
    clear(p);
    fflush(p->out);
}
