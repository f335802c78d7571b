/* Owns the box scores of a heat map. */
#include "lib/stats/boxes.h"

#include <assert.h>

static bool is_empty(const pm_pixel_box *box) {
    return box->xmin >= box->xmax || box->ymin >= box->ymax;
}

static bool is_inside(const pm_pixel_box *boxes, size_t count, size_t x, size_t y) {
    for (size_t i = 0; i < count; i++)
        if (x >= boxes[i].xmin && x < boxes[i].xmax && y >= boxes[i].ymin && y < boxes[i].ymax)
            return true;
    return false;
}

/* Steps from a pixel to the nearest of first .. end - 1. */
static size_t distance_to(size_t pixel, size_t first, size_t end) {
    if (pixel < first) return first - pixel;
    return pixel >= end ? pixel - (end - 1) : 0;
}

static bool is_near(const pm_pixel_box *boxes, size_t count, size_t x, size_t y) {
    for (size_t i = 0; i < count; i++) {
        if (is_empty(&boxes[i])) continue;
        size_t dx = distance_to(x, boxes[i].xmin, boxes[i].xmax);
        size_t dy = distance_to(y, boxes[i].ymin, boxes[i].ymax);
        if (dx * dx + dy * dy < PM_POINTING_TOLERANCE * PM_POINTING_TOLERANCE) return true;
    }
    return false;
}

pm_box_score pm_boxes_score_of(const float *heat_map, size_t height, size_t width,
                               const pm_pixel_box *boxes, size_t count) {
    for (size_t i = 0; i < count; i++) assert(boxes[i].xmax <= width && boxes[i].ymax <= height);
    size_t pixels = height * width, covered = 0, top = 0;
    double inside = 0, outside = 0;
    for (size_t i = 0; i < pixels; i++) {
        if (heat_map[i] > heat_map[top]) top = i;
        if (is_inside(boxes, count, i % width, i / width)) {
            inside += (double)heat_map[i];
            covered++;
        } else {
            outside += (double)heat_map[i];
        }
    }
    pm_box_score score = {0};
    double total = inside + outside, area = (double)pixels, size = (double)covered;
    score.has_pointing = covered > 0 && total > 0;
    score.pointing = score.has_pointing && is_near(boxes, count, top % width, top / width);
    if (covered == 0)
        score.reason = "box-empty";
    else if (covered == pixels)
        score.reason = "box-full";
    else if (!(total > 0))
        score.reason = "map-zero";
    if (score.reason) return score;
    score.mu_in = inside / total;
    score.mu_out = outside / total;
    score.mu_in_w = score.mu_in * (area / size);
    score.mu_out_w = score.mu_out * (area / (area - size));
    return score;
}

pm_box_score pm_box_score_of(const float *heat_map, size_t height, size_t width, size_t xmin,
                             size_t ymin, size_t xmax, size_t ymax) {
    const pm_pixel_box box = {.xmin = xmin, .ymin = ymin, .xmax = xmax, .ymax = ymax};
    return pm_boxes_score_of(heat_map, height, width, &box, 1);
}
