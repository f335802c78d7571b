/* How much of a heat map lies in a box. Formulas: docs/ARCHITECTURE.md, section 6, "boxes". */
#ifndef PM_STATS_BOXES_H
#define PM_STATS_BOXES_H

#include <stddef.h>

typedef struct pm_box_score {
    const char *reason; /* NULL and the four hold, or "box-empty", "box-full", "map-zero" */
    double mu_in;       /* share of the map inside the box */
    double mu_in_w;     /* that share over the box's share of the area */
    double mu_out, mu_out_w;
} pm_box_score;

/* heat_map [height][width], not negative; the box in its pixels, xmax and ymax exclusive, within
 * the map. Sums run row by row in double, so equal maps give equal bits. */
pm_box_score pm_box_score_of(const float *heat_map, size_t height, size_t width, size_t xmin,
                             size_t ymin, size_t xmax, size_t ymax);

#endif
