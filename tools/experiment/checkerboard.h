/* The small network of the experiment checkerboard, in double, by plain loops. Inside
 * tools/experiment.
 *
 * conv 7x7 1 -> 64, ReLU, conv 7x7 64 -> 12; both of one stride, padding 3, no bias; weights
 * uniform in +-1/sqrt(fan_in), as PyTorch draws them (He's kaiming-uniform with a = sqrt 5). All
 * random numbers are pm_synth's, streams "checkerboard SEED WHAT": any language can draw them. */
#ifndef PM_TOOLS_EXPERIMENT_CHECKERBOARD_H
#define PM_TOOLS_EXPERIMENT_CHECKERBOARD_H

#include <stddef.h>
#include <stdint.h>

enum {
    PM_BOARD_SIDE = 10,
    PM_BOARD_CELLS = PM_BOARD_SIDE * PM_BOARD_SIDE,
    PM_BOARD_HIDDEN = 64,
    PM_BOARD_OUT = 12,
    PM_BOARD_KERNEL = 7,
    PM_BOARD_TAPS = PM_BOARD_KERNEL * PM_BOARD_KERNEL
};

typedef struct pm_board {
    double input[PM_BOARD_CELLS];
    double first[PM_BOARD_HIDDEN * PM_BOARD_TAPS];                 /* [64][7][7] */
    double second[PM_BOARD_OUT * PM_BOARD_HIDDEN * PM_BOARD_TAPS]; /* [12][64][7][7] */
    double gradient[PM_BOARD_OUT * PM_BOARD_CELLS];                /* [12][height][width] */
} pm_board;

/* Draw the input, the weights and the output's gradient; the last as it is of scale 1 for `stride`:
 * normal, times 2^-c for channels c < 6, 0 for the others. */
void pm_board_draw(uint64_t seed, size_t stride, pm_board *out);

/* Side of the map behind a convolution of this stride. */
size_t pm_board_side(size_t side, size_t stride);

/* The gradient to the input: out [10][10], signed. */
void pm_board_backward(const pm_board *board, size_t stride, double scale,
                       double out[PM_BOARD_CELLS]);

/* Share of the variance of |map| that is between the stride x stride positions of a cell within
 * its tile: what a checkerboard is. 0 for stride 1. */
double pm_board_phase_share(const double map[PM_BOARD_CELLS], size_t stride);

#endif
