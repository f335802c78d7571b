/* Perturbation curves: how a model's answer changes as pixels are taken away in the order of a heat
 * map, the most attributed first (MoRF) or the least (LeRF). Formulas: docs/ARCHITECTURE.md,
 * section 6, "evaluation"; Samek et al., arXiv:1509.06321; Petsiuk et al. (RISE), arXiv:1806.07421.
 *
 * Use: pm_curves_new -> for each photograph pm_curves_begin -> for each heat map pm_curves_run. The
 * model is a callback. Sums and softmax run in double in fixed order, by exp and log of our own, so
 * equal logits give equal bits; probabilities are rounded to float, as results have them. */
#ifndef PM_STATS_PERTURBATION_H
#define PM_STATS_PERTURBATION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/status.h"

typedef enum pm_curve { PM_CURVE_MORF, PM_CURVE_LERF, PM_CURVE_COUNT } pm_curve;

const char *pm_curve_name(pm_curve curve); /* "morf", "lerf" */

/* order [pixels]: pixel indices, heat descending for MoRF, ascending for LeRF; pixels of equal heat
 * by index in both, so that neither is the other reversed. heat_map [pixels]: no NaN; -0 is 0.
 * scratch [pixels]. */
void pm_pixels_rank(const float *heat_map, size_t pixels, pm_curve curve, uint32_t *scratch,
                    uint32_t *order);

/* How many pixels a ratio within 0..1 takes: floor of the product in double. */
size_t pm_pixels_taken(size_t pixels, double ratio);

/* Area under p [count] over ascending ratios by trapezoids, divided by their range: the mean height
 * of the curve. NAN where there is no range. */
double pm_curve_area(const double *ratios, const double *p, size_t count);

/* One masked pass. x: the photograph, x_r: with pixels taken, y: the target. */
typedef struct pm_perturbation {
    pm_curve curve;
    double ratio;
    double p_target; /* p_y(x_r) */
    double aopc;     /* p_y(x) - p_y(x_r) */
    bool has_lodds;  /* else p_y(x_r) is 0 */
    double lodds;    /* ln(p_y(x_r) / (p_y(x) + 1e-10)) */
    double fracdiff; /* |p_z(x) - p_z(x_r)|, z the first argmax of x */
    bool correct;    /* the first argmax of x_r is y */
} pm_perturbation;

/* What one heat map gives. Valid until the next call with the same pm_curves. */
typedef struct pm_curves_result {
    bool finite; /* false: a logit of a masked photograph is not; nothing below holds */
    const pm_perturbation *rows; /* MoRF by ratio, then LeRF by ratio */
    size_t row_count;
    /* Mean of p_y along MoRF. And along LeRF: taking the least attributed share r keeps the most
     * attributed 1 - r, so the insertion curve is LeRF mirrored and has its area. NAN where the
     * ratios have no range. */
    double deletion_auc, insertion_auc;
} pm_curves_result;

typedef struct pm_curves pm_curves;

/* Passes that are asked for together. */
enum { PM_CURVES_BATCH = 10 };

/* Tensor n of those that are asked for together, [3][pixels]: each once, in order, valid until the
 * next. */
typedef const float *(*pm_masked_fn)(void *from, size_t n);

/* logits [count][classes] of tensors next(from, 0 .. count - 1), count at most PM_CURVES_BATCH. */
typedef pm_status (*pm_logits_fn)(void *user, pm_masked_fn next, void *from, size_t count,
                                  float *logits);

/* ratios [ratio_count] within 0..1, ascending, are copied. PM_E_MEMORY. */
pm_status pm_curves_new(size_t pixels, size_t classes, const double *ratios, size_t ratio_count,
                        pm_curves **out);
void pm_curves_free(pm_curves **curves);

/* The photograph of the heat maps that follow, and what its pixels are replaced by, both
 * [3][pixels], borrowed until the next begin. */
void pm_curves_begin(pm_curves *curves, const float *input, const float *replacement);

/* heat_map [pixels] and logits [classes], of the input itself, finite. `forward` is asked for each
 * ratio and order whose tensor was not asked for before: never where no pixel is taken, once a
 * photograph where all are. Gives what `forward` gives. */
pm_status pm_curves_run(pm_curves *curves, const float *heat_map, const float *logits,
                        size_t target, pm_logits_fn forward, void *user, pm_curves_result *out);

#endif
