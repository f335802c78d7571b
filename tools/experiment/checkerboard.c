/* parchmill experiment checkerboard: its nine maps, table, figure and reading. */
#include "tools/experiment/checkerboard.h"

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/chart/chart.h"
#include "tools/experiment/experiment.h"

enum { STRIDES = 3, SCALES = 3, MAPS = STRIDES * SCALES };

static const double scales[SCALES] = {1e-4, 1, 100};

typedef struct boards {
    pm_board board;
    double maps[MAPS][PM_BOARD_CELLS]; /* |g| */
    double most[MAPS], phase[STRIDES];
} boards;

static void compute(uint64_t seed, boards *b) {
    for (size_t m = 0; m < MAPS; m++) {
        size_t stride = m / SCALES + 1;
        if (m % SCALES == 0) pm_board_draw(seed, stride, &b->board);
        pm_board_backward(&b->board, stride, scales[m % SCALES], b->maps[m]);
        b->most[m] = 0;
        for (size_t i = 0; i < PM_BOARD_CELLS; i++) {
            b->maps[m][i] = fabs(b->maps[m][i]);
            b->most[m] = fmax(b->most[m], b->maps[m][i]);
        }
        b->phase[m / SCALES] = pm_board_phase_share(b->maps[m], stride);
    }
}

static pm_status write_table(const boards *b, const char *dir) {
    pm_buffer text = {0};
    pm_status status = pm_buffer_printf(&text, "stride,scale,row,column,abs_gradient\n");
    for (size_t m = 0; m < MAPS; m++)
        for (size_t i = 0; !status && i < PM_BOARD_CELLS; i++)
            status = pm_buffer_printf(&text, "%zu,%g,%zu,%zu,%.17g\n", m / SCALES + 1,
                                      scales[m % SCALES], i / PM_BOARD_SIDE, i % PM_BOARD_SIDE,
                                      b->maps[m][i]);
    if (!status) status = pm_experiment_write(dir, "checkerboard.csv", &text);
    pm_buffer_fini(&text);
    return status;
}

static pm_status write_figure(const boards *b, const char *dir) {
    char names[MAPS][64], description[320];
    pm_panel panels[MAPS];
    pm_buffer svg = {0};
    for (size_t m = 0; m < MAPS; m++) {
        snprintf(names[m], sizeof names[m], "stride %zu, gradient \xc3\x97 %g", m / SCALES + 1,
                 scales[m % SCALES]);
        panels[m] = (pm_panel){names[m], b->maps[m], PM_BOARD_SIDE, PM_BOARD_SIDE};
    }
    snprintf(description, sizeof description,
             "Nine maps of the input gradient's absolute value, strides 1 to 3 from above, the "
             "output gradient's scale from left to right. Maxima at scale 1: %.3g, %.3g, %.3g.",
             b->most[1], b->most[SCALES + 1], b->most[2 * SCALES + 1]);
    pm_chart chart =
        pm_chart_new("Gradient to a 10 \xc3\x97 10 input, by stride and scale", "", "");
    chart.description = description;
    pm_status status = pm_chart_panels(&chart, panels, MAPS, SCALES, &svg);
    if (!status) status = pm_experiment_write_figure(dir, "checkerboard.svg", &svg);
    pm_buffer_fini(&svg);
    return status;
}

static pm_status write_reading(const boards *b, uint64_t seed, const char *dir) {
    pm_buffer text = {0};
    pm_status status = pm_buffer_printf(
        &text,
        "# checkerboard\n\nconv 7\xc3\x97"
        "7 1\xe2\x86\x92"
        "64, ReLU, conv 7\xc3\x97"
        "7 64\xe2\x86\x92"
        "12, both of stride 1, 2 or 3, padding 3, no bias, on a 10\xc3\x97"
        "10 normal input, seed %zu. The output's gradient is normal, channel c < 6 times "
        "2^-c and the scale, the rest 0. Where strides skip cells, input cells get their gradient "
        "through different numbers of taps: position within the tile of stride\xc3\x97"
        "stride cells explains %.0f %% of the variance of |g| with stride 2 and %.0f %% with "
        "stride 3, where chance alone would give about %.0f and %.0f. The scale does not change "
        "the map: the backward pass is linear in it, and each maximum grows by the scale's factor "
        "(stride 1: %.3g, %.3g, %.3g; stride 2: %.3g, %.3g, %.3g; stride 3: %.3g, %.3g, %.3g).\n"
        "\n![nine maps](checkerboard.svg)\n",
        (size_t)seed, 100 * b->phase[1], 100 * b->phase[2], 100.0 * 3 / (PM_BOARD_CELLS - 1),
        100.0 * 8 / (PM_BOARD_CELLS - 1), b->most[0], b->most[1], b->most[2], b->most[3],
        b->most[4], b->most[5], b->most[6], b->most[7], b->most[8]);
    if (!status) status = pm_experiment_write(dir, "checkerboard.md", &text);
    pm_buffer_fini(&text);
    return status;
}

pm_status pm_experiment_checkerboard(const pm_options *options, const char *dir) {
    size_t seed = 0;
    pm_status status = PM_OK;
    if (pm_options_given(options, PM_OPT_DISTRIBUTION))
        return pm_fail(PM_E_USAGE, "--distribution is of gradient-sum only");
    if (pm_options_given(options, PM_OPT_EXPERIMENT_SEED))
        status = pm_options_size(options, PM_OPT_EXPERIMENT_SEED, 0, SIZE_MAX / 4, &seed);
    if (status) return status;
    boards *b = calloc(1, sizeof *b);
    if (!b) return pm_fail(PM_E_MEMORY, "no memory for an experiment");
    compute(seed, b);
    status = write_table(b, dir);
    if (!status) status = write_figure(b, dir);
    if (!status) status = write_reading(b, seed, dir);
    for (size_t s = 0; !status && s < STRIDES; s++)
        printf("stride %zu: maxima %.3g, %.3g, %.3g at scales 1e-4, 1, 100; the position within "
               "a tile explains %.0f %% of the variance\n",
               s + 1, b->most[s * SCALES], b->most[s * SCALES + 1], b->most[s * SCALES + 2],
               100 * b->phase[s]);
    free(b);
    return status;
}
