/* parchmill experiment checkerboard: its nine maps, table, figure and reading. */
#include "tools/experiment/checkerboard.h"

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/chart/chart.h"
#include "tools/experiment/experiment.h"
#include "tools/experiment/files.h"

enum { STRIDES = 3, SCALES = 3, MAPS = STRIDES * SCALES, NETWORKS = 200 };

static const double scales[SCALES] = {1e-4, 1, 100};

typedef struct boards {
    pm_board board;
    double maps[MAPS][PM_BOARD_CELLS];     /* |g| */
    double means[STRIDES][PM_BOARD_CELLS]; /* of |g| over NETWORKS networks, scale 1 */
    double most[MAPS];
    double phase[STRIDES], mean_phase[STRIDES];
} boards;

static void compute_maps(uint64_t seed, boards *b) {
    for (size_t m = 0; m < MAPS; m++) {
        size_t stride = m / SCALES + 1;
        if (m % SCALES == 0) pm_board_draw(seed, stride, &b->board);
        pm_board_backward(&b->board, stride, scales[m % SCALES], b->maps[m]);
        for (size_t i = 0; i < PM_BOARD_CELLS; i++) {
            b->maps[m][i] = fabs(b->maps[m][i]);
            b->most[m] = fmax(b->most[m], b->maps[m][i]);
        }
        b->phase[m / SCALES] = pm_board_phase_share(b->maps[m], stride);
    }
}

/* What one draw hides in its chance: the pattern that all networks of a stride have in common. */
static void compute_means(uint64_t seed, boards *b) {
    double map[PM_BOARD_CELLS];
    for (size_t s = 0; s < STRIDES; s++) {
        for (uint64_t n = 0; n < NETWORKS; n++) {
            pm_board_draw(seed + n, s + 1, &b->board);
            pm_board_backward(&b->board, s + 1, 1, map);
            for (size_t i = 0; i < PM_BOARD_CELLS; i++) b->means[s][i] += fabs(map[i]) / NETWORKS;
        }
        b->mean_phase[s] = pm_board_phase_share(b->means[s], s + 1);
    }
}

static pm_status write_table(const boards *b, const char *dir, bool say) {
    pm_buffer text = {0};
    pm_status status = pm_buffer_printf(&text, "stride,scale,row,column,abs_gradient\n");
    for (size_t m = 0; m < MAPS; m++)
        for (size_t i = 0; !status && i < PM_BOARD_CELLS; i++)
            status = pm_buffer_printf(&text, "%zu,%g,%zu,%zu,%.17g\n", m / SCALES + 1,
                                      scales[m % SCALES], i / PM_BOARD_SIDE, i % PM_BOARD_SIDE,
                                      b->maps[m][i]);
    if (!status) status = pm_experiment_write(dir, "checkerboard.csv", text.bytes, text.size, say);
    pm_buffer_fini(&text);
    return status;
}

static pm_status write_figure(const boards *b, const char *dir, bool say) {
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
    if (!status) status = pm_experiment_chart(dir, "checkerboard.svg", &svg, say);
    pm_buffer_fini(&svg);
    return status;
}

static pm_status write_means_table(const boards *b, const char *dir, bool say) {
    pm_buffer text = {0};
    pm_status status = pm_buffer_printf(&text, "stride,row,column,mean_abs_gradient\n");
    for (size_t s = 0; s < STRIDES; s++)
        for (size_t i = 0; !status && i < PM_BOARD_CELLS; i++)
            status = pm_buffer_printf(&text, "%zu,%zu,%zu,%.17g\n", s + 1, i / PM_BOARD_SIDE,
                                      i % PM_BOARD_SIDE, b->means[s][i]);
    if (!status)
        status = pm_experiment_write(dir, "checkerboard-mean.csv", text.bytes, text.size, say);
    pm_buffer_fini(&text);
    return status;
}

static pm_status write_means_figure(const boards *b, const char *dir, bool say) {
    char names[STRIDES][32], description[240];
    pm_panel panels[STRIDES];
    pm_buffer svg = {0};
    for (size_t s = 0; s < STRIDES; s++) {
        snprintf(names[s], sizeof names[s], "stride %zu", s + 1);
        panels[s] = (pm_panel){names[s], b->means[s], PM_BOARD_SIDE, PM_BOARD_SIDE};
    }
    snprintf(description, sizeof description,
             "Three maps of the mean. The position within the tile of a stride explains %.0f %% of "
             "the variance with stride 2, %.0f %% with stride 3.",
             100 * b->mean_phase[1], 100 * b->mean_phase[2]);
    pm_chart chart =
        pm_chart_new("Mean of |gradient| over 200 networks, scale 1, by stride", "", "");
    chart.description = description;
    pm_status status = pm_chart_panels(&chart, panels, STRIDES, STRIDES, &svg);
    if (!status) status = pm_experiment_chart(dir, "checkerboard-mean.svg", &svg, say);
    pm_buffer_fini(&svg);
    return status;
}

static pm_status write_reading(const boards *b, uint64_t seed, const char *dir, bool say) {
    pm_buffer text = {0};
    pm_status status = pm_buffer_printf(
        &text,
        "# checkerboard\n\nconv 7\xc3\x97"
        "7 1\xe2\x86\x92"
        "64, ReLU, conv 7\xc3\x97"
        "7 64\xe2\x86\x92"
        "12, both of stride 1, 2 or 3, padding 3, no bias, on a 10\xc3\x97"
        "10 normal input, seed %zu. The output's gradient is normal, channel c < 6 times "
        "2^-c and the scale, the rest 0. The scale does not change the map, for the backward pass "
        "is linear in it, and each maximum grows by the scale's factor (stride 1: %.3g, %.3g, "
        "%.3g; stride 2: %.3g, %.3g, %.3g; stride 3: %.3g, %.3g, %.3g). With a stride, input cells "
        "get their gradient through different numbers of taps, by where they lie in a tile of "
        "stride\xc3\x97"
        "stride cells. In one draw chance covers it: that position explains %.0f %% of the "
        "variance "
        "of |g| with stride 2 and %.0f %% with stride 3, where chance alone gives about %.0f and "
        "%.0f. In the mean of |g| over %d networks, which have only the pattern in common, it "
        "explains %.0f %% and %.0f %%.\n"
        "\n![nine maps](checkerboard.svg)\n\n![the mean](checkerboard-mean.svg)\n",
        (size_t)seed, b->most[0], b->most[1], b->most[2], b->most[3], b->most[4], b->most[5],
        b->most[6], b->most[7], b->most[8], 100 * b->phase[1], 100 * b->phase[2],
        100.0 * 3 / (PM_BOARD_CELLS - 1), 100.0 * 8 / (PM_BOARD_CELLS - 1), (int)NETWORKS,
        100 * b->mean_phase[1], 100 * b->mean_phase[2]);
    if (!status) status = pm_experiment_write(dir, "checkerboard.md", text.bytes, text.size, say);
    pm_buffer_fini(&text);
    return status;
}

pm_status pm_experiment_checkerboard(const pm_options *options, const char *dir) {
    const bool say = !pm_options_flag(options, PM_OPT_QUIET);
    size_t seed = 0;
    pm_status status = PM_OK;
    if (pm_options_given(options, PM_OPT_EXPERIMENT_SEED))
        status = pm_options_size(options, PM_OPT_EXPERIMENT_SEED, 0, SIZE_MAX / 4, &seed);
    if (status) return status;
    boards *b = calloc(1, sizeof *b);
    if (!b) return pm_fail(PM_E_MEMORY, "no memory for an experiment");
    compute_maps(seed, b);
    compute_means(seed, b);
    status = write_table(b, dir, say);
    if (!status) status = write_figure(b, dir, say);
    if (!status) status = write_means_table(b, dir, say);
    if (!status) status = write_means_figure(b, dir, say);
    if (!status) status = write_reading(b, seed, dir, say);
    for (size_t s = 0; !status && say && s < STRIDES; s++)
        printf("stride %zu: maxima %.3g, %.3g, %.3g at scales 1e-4, 1, 100; position in the tile "
               "explains %.0f %% of the variance, of %d networks' mean %.0f %%\n",
               s + 1, b->most[s * SCALES], b->most[s * SCALES + 1], b->most[s * SCALES + 2],
               100 * b->phase[s], (int)NETWORKS, 100 * b->mean_phase[s]);
    free(b);
    return status;
}
