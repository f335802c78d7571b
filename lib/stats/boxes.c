/* Owns the box score of a heat map. */
#include "lib/stats/boxes.h"

#include <assert.h>

pm_box_score pm_box_score_of(const float *heat_map, size_t height, size_t width, size_t xmin,
                             size_t ymin, size_t xmax, size_t ymax) {
    assert(xmax <= width && ymax <= height);
    pm_box_score score = {0};
    if (xmin >= xmax || ymin >= ymax) {
        score.reason = "box-empty";
        return score;
    }
    double area = (double)(height * width), size = (double)((xmax - xmin) * (ymax - ymin));
    if (size == area) {
        score.reason = "box-full";
        return score;
    }
    double inside = 0, outside = 0;
    for (size_t y = 0; y < height; y++) {
        for (size_t x = 0; x < width; x++) {
            double value = (double)heat_map[y * width + x];
            if (y >= ymin && y < ymax && x >= xmin && x < xmax)
                inside += value;
            else
                outside += value;
        }
    }
    double total = inside + outside;
    if (!(total > 0)) {
        score.reason = "map-zero";
        return score;
    }
    score.mu_in = inside / total;
    score.mu_out = outside / total;
    score.mu_in_w = score.mu_in * (area / size);
    score.mu_out_w = score.mu_out * (area / (area - size));
    return score;
}
