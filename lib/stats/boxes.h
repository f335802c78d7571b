/* How much of a heat map lies in the boxes of an image, and whether it points at them.
 * Shares: docs/ARCHITECTURE.md, section 6, "boxes". mu_in is also the energy-based pointing game of
 * Score-CAM (Wang et al., CVPR workshops 2020), since maps are never negative.
 * Pointing game: Zhang et al., Top-down neural attention by excitation backprop, ECCV 2016; here
 * by the rule of TorchRay (Fong, Patrick, Vedaldi, ICCV 2019). */
#ifndef PM_STATS_BOXES_H
#define PM_STATS_BOXES_H

#include <stdbool.h>
#include <stddef.h>

/* Pixels of the map, xmax and ymax exclusive; empty where a maximum is not above its minimum. */
typedef struct pm_pixel_box {
    size_t xmin, ymin, xmax, ymax;
} pm_pixel_box;

/* The map points at a box that has a pixel nearer than this to its maximum, between centers. */
#define PM_POINTING_TOLERANCE 15

typedef struct pm_box_score {
    const char *reason; /* NULL and the four hold, or "box-empty", "box-full", "map-zero" */
    double mu_in;       /* share of the map inside the boxes */
    double mu_in_w;     /* that share over the boxes' share of the area */
    double mu_out, mu_out_w;
    bool has_pointing; /* some box is not empty, the map is not zero; so also with "box-full" */
    bool pointing;     /* the map's maximum, its first by rows, is in a box or near one */
} pm_box_score;

/* heat_map [height][width], not negative; the boxes within it. Inside is what any box covers, each
 * pixel counted once; no boxes are as good as empty ones. Sums run row by row in double, so equal
 * maps give equal bits. */
pm_box_score pm_boxes_score_of(const float *heat_map, size_t height, size_t width,
                               const pm_pixel_box *boxes, size_t count);

/* The same with one box. */
pm_box_score pm_box_score_of(const float *heat_map, size_t height, size_t width, size_t xmin,
                             size_t ymin, size_t xmax, size_t ymax);

#endif
