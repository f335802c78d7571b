/* Owns ranges, ticks and tick labels. */
#include "lib/chart/axis.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

range range_new(const pm_axis *axis) {
    return (range){.log = axis->log, .least = INFINITY, .most = -INFINITY};
}

void range_add(range *seen, double value) {
    if (!isfinite(value) || (seen->log && value <= 0)) return;
    seen->least = fmin(seen->least, value);
    seen->most = fmax(seen->most, value);
}

bool range_is_empty(const range *seen) { return seen->least > seen->most; }

bool scale_shows(const scale *of, double value) {
    return isfinite(value) && (!of->log || value > 0) && value >= of->least && value <= of->most;
}

/* 1, 2 or 5 times a power of ten, such that `span` has at most about `target` steps. */
static double nice_step(double span, size_t target) {
    double rough = span / (double)(target ? target : 1);
    double power = pow(10, floor(log10(rough)));
    double lead = rough / power;
    if (lead <= 1.1) return power;
    if (lead <= 2.2) return 2 * power;
    if (lead <= 5.5) return 5 * power;
    return 10 * power;
}

static void linear_ticks(scale *s, size_t target, bool exact) {
    s->step = nice_step(s->most - s->least, target);
    double slack = s->step * 1e-9;
    if (!exact) {
        double half = s->step / 2; /* whole steps would leave much of the plot empty */
        s->least = floor(s->least / half + 1e-9) * half;
        s->most = ceil(s->most / half - 1e-9) * half;
    }
    double first = ceil((s->least - slack) / s->step);
    for (size_t i = 0; i < TICKS_MAX; i++) {
        double tick = (first + (double)i) * s->step;
        if (tick > s->most + slack) break;
        s->ticks[s->tick_count++] = tick == 0 ? 0 : tick;
    }
    double most = fmax(fabs(s->least), fabs(s->most));
    if (most >= 1e5 || most < 1e-2) s->power = 3 * (int)floor(log10(most) / 3);
}

static void add_tick(scale *s, double tick) {
    if (tick >= s->least * (1 - 1e-9) && tick <= s->most * (1 + 1e-9) && s->tick_count < TICKS_MAX)
        s->ticks[s->tick_count++] = tick;
}

static void log_ticks(scale *s, size_t target, bool exact) {
    int first = (int)floor(log10(s->least) + 1e-9), last = (int)ceil(log10(s->most) - 1e-9);
    bool short_axis = log10(s->most / s->least) < 1.5;
    if (!exact && !short_axis) {
        s->least = pow(10, first);
        s->most = pow(10, last);
    } else if (!exact) {
        s->least *= 0.9;
        s->most *= 1.1;
    }
    int every = (int)((size_t)(last - first) / (target ? target : 1)) + 1;
    for (int i = first - (first % every + every) % every; i <= last; i += every) {
        double decade = pow(10, i);
        add_tick(s, decade);
        if (short_axis)
            for (int k = 2; k <= 9; k++)
                if (k == 2 || k == 5 || s->most / s->least < 4) add_tick(s, decade * k);
    }
}

scale scale_new(const pm_axis *axis, const range *seen, size_t target, bool exact) {
    scale s = {.log = axis->log, .least = seen->least, .most = seen->most};
    if (axis->fixed) {
        s.least = axis->least;
        s.most = axis->most;
    } else if (s.log && s.least == s.most) {
        s.least /= 2;
        s.most *= 2;
    } else if (s.least == s.most) {
        double room = s.least == 0 ? 0.5 : fabs(s.least) * 0.1;
        if (s.least != 0 || s.log) s.least -= room;
        s.most += room == 0.5 ? 1 : room;
    }
    if (s.log)
        log_ticks(&s, target, exact || axis->fixed);
    else
        linear_ticks(&s, target, exact || axis->fixed);
    return s;
}

double scale_at(const scale *of, double value) {
    double share = of->log ? log(value / of->least) / log(of->most / of->least)
                           : (value - of->least) / (of->most - of->least);
    return of->from + share * (of->to - of->from);
}

double scale_clamped(const scale *of, double value) {
    return scale_at(of, fmin(fmax(value, of->least), of->most));
}

static void power_text(int power, char out[NUMBER_BYTES]) {
    static const char *const raised[] = {
        "\xe2\x81\xb0", "\xc2\xb9",     "\xc2\xb2",     "\xc2\xb3",     "\xe2\x81\xb4",
        "\xe2\x81\xb5", "\xe2\x81\xb6", "\xe2\x81\xb7", "\xe2\x81\xb8", "\xe2\x81\xb9"};
    char digits[16], text[NUMBER_BYTES] = "";
    snprintf(digits, sizeof digits, "%d", power < 0 ? -power : power);
    for (const char *d = digits; *d; d++)
        strncat(text, raised[*d - '0'], sizeof text - strlen(text) - 1);
    snprintf(out, NUMBER_BYTES, "10%s%.40s", power < 0 ? "\xe2\x81\xbb" : "", text);
}

static const char *log_label(double tick, char out[NUMBER_BYTES]) {
    double power = log10(tick);
    bool decade = fabs(power - round(power)) < 1e-9;
    if (decade && (tick > 9999 || tick < 0.00099)) {
        power_text((int)lround(power), out);
        return out;
    }
    return number_text(tick, 3, out);
}

const char *scale_label(const scale *of, size_t index, char out[NUMBER_BYTES]) {
    if (of->log) return log_label(of->ticks[index], out);
    double unit = pow(10, of->power);
    double places = -floor(log10(of->step / unit) + 1e-9);
    return fixed_text(of->ticks[index] / unit, places > 0 ? (int)places : 0, out);
}

double scale_label_width(const scale *of, double size) {
    double most = 0;
    char text[NUMBER_BYTES];
    for (size_t i = 0; i < of->tick_count; i++)
        most = fmax(most, text_width(scale_label(of, i, text), size));
    return most;
}

void scale_put_name(svg *out, const scale *of, const char *label) {
    char power[NUMBER_BYTES];
    svg_text(out, label);
    if (!of->power) return;
    power_text(of->power, power);
    svg_put(out, "%s(\xc3\x97%s)", label[0] ? " " : "", power);
}
