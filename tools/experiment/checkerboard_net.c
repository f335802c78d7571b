/* Owns the network of checkerboard: draws it, runs it, takes its gradient. Writes nothing. */
#include <inttypes.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>

#include "lib/base/random.h"
#include "lib/base/real.h"
#include "tools/experiment/checkerboard.h"

enum { PADDING = 3, LOUD = 6 };

/* Uniform in +-bound. */
static void draw_uniform(uint64_t seed, const char *what, double bound, size_t count, double *out) {
    char name[64];
    float values[256];
    snprintf(name, sizeof name, "checkerboard %" PRIu64 " %s", seed, what);
    for (size_t done = 0, n; done < count; done += n) {
        n = count - done < 256 ? count - done : 256;
        pm_synth(name, done, values, n);
        for (size_t i = 0; i < n; i++) out[done + i] = bound * (double)values[i];
    }
}

static void draw_normal(uint64_t seed, const char *what, size_t count, double *out) {
    draw_uniform(seed, what, 1, count, out);
    /* The middle of pm_synth's 2^24 steps, so that neither 0 nor 1 comes up. */
    for (size_t i = 0; i < count; i++) out[i] = pm_real_normal((out[i] + 1) / 2 + 0x1p-25);
}

size_t pm_board_side(size_t side, size_t stride) {
    return (side + 2 * PADDING - PM_BOARD_KERNEL) / stride + 1;
}

void pm_board_draw(uint64_t seed, size_t stride, pm_board *out) {
    char what[32];
    size_t hidden = pm_board_side(PM_BOARD_SIDE, stride), side = pm_board_side(hidden, stride);
    draw_normal(seed, "input", PM_BOARD_CELLS, out->input);
    draw_uniform(seed, "first", 1 / sqrt(PM_BOARD_TAPS), PM_BOARD_HIDDEN * PM_BOARD_TAPS,
                 out->first);
    draw_uniform(seed, "second", 1 / sqrt(PM_BOARD_HIDDEN * PM_BOARD_TAPS),
                 (size_t)PM_BOARD_OUT * PM_BOARD_HIDDEN * PM_BOARD_TAPS, out->second);
    snprintf(what, sizeof what, "gradient %zu", stride);
    draw_normal(seed, what, PM_BOARD_OUT * side * side, out->gradient);
    for (size_t i = 0; i < PM_BOARD_OUT * side * side; i++) {
        size_t channel = i / (side * side);
        out->gradient[i] = channel < LOUD ? ldexp(out->gradient[i], -(int)channel) : 0;
    }
}

/* What one output cell and one tap of a kernel read; false where it is padding. */
static bool tap(size_t at, size_t stride, size_t k, size_t side, size_t *out) {
    size_t padded = at * stride + k;
    if (padded < PADDING || padded >= side + PADDING) return false;
    *out = padded - PADDING;
    return true;
}

/* in [from][side], weights [7][7]; adds to out [to][side]. */
static void correlate(const double *in, size_t from, const double *weights, size_t stride,
                      double *out, size_t to) {
    for (size_t y = 0; y < to; y++)
        for (size_t x = 0; x < to; x++)
            for (size_t i = 0; i < PM_BOARD_TAPS; i++) {
                size_t row, column;
                if (tap(y, stride, i / PM_BOARD_KERNEL, from, &row) &&
                    tap(x, stride, i % PM_BOARD_KERNEL, from, &column))
                    out[y * to + x] += weights[i] * in[row * from + column];
            }
}

/* The transpose: gradient [to][to], adds to out [from][from]. */
static void spread(const double *gradient, size_t to, const double *weights, size_t stride,
                   double *out, size_t from) {
    for (size_t y = 0; y < to; y++)
        for (size_t x = 0; x < to; x++)
            for (size_t i = 0; i < PM_BOARD_TAPS; i++) {
                size_t row, column;
                if (tap(y, stride, i / PM_BOARD_KERNEL, from, &row) &&
                    tap(x, stride, i % PM_BOARD_KERNEL, from, &column))
                    out[row * from + column] += weights[i] * gradient[y * to + x];
            }
}

void pm_board_backward(const pm_board *board, size_t stride, double scale,
                       double out[PM_BOARD_CELLS]) {
    size_t hidden = pm_board_side(PM_BOARD_SIDE, stride), side = pm_board_side(hidden, stride);
    for (size_t i = 0; i < PM_BOARD_CELLS; i++) out[i] = 0;
    for (size_t h = 0; h < PM_BOARD_HIDDEN; h++) {
        double raw[PM_BOARD_CELLS] = {0}, back[PM_BOARD_CELLS] = {0};
        const double *first = board->first + h * PM_BOARD_TAPS;
        correlate(board->input, PM_BOARD_SIDE, first, stride, raw, hidden);
        for (size_t c = 0; c < PM_BOARD_OUT; c++)
            spread(board->gradient + c * side * side, side,
                   board->second + (c * PM_BOARD_HIDDEN + h) * PM_BOARD_TAPS, stride, back, hidden);
        for (size_t i = 0; i < hidden * hidden; i++) back[i] = raw[i] > 0 ? back[i] * scale : 0;
        spread(back, hidden, first, stride, out, PM_BOARD_SIDE);
    }
}

double pm_board_phase_share(const double map[PM_BOARD_CELLS], size_t stride) {
    double mean = 0, total = 0, between = 0;
    for (size_t i = 0; i < PM_BOARD_CELLS; i++) mean += fabs(map[i]) / PM_BOARD_CELLS;
    for (size_t i = 0; i < PM_BOARD_CELLS; i++) total += pow(fabs(map[i]) - mean, 2);
    for (size_t phase = 0; phase < stride * stride; phase++) {
        double sum = 0, n = 0;
        for (size_t i = 0; i < PM_BOARD_CELLS; i++) {
            size_t y = i / PM_BOARD_SIDE, x = i % PM_BOARD_SIDE;
            if (y % stride != phase / stride || x % stride != phase % stride) continue;
            sum += fabs(map[i]);
            n++;
        }
        between += n * pow(sum / n - mean, 2);
    }
    return total > 0 ? between / total : 0;
}
