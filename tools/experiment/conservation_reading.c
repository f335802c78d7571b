/* Owns the words of variance-conservation: what this run says, in its own numbers. */
#include <stdio.h>
#include <string.h>

#include "tools/experiment/conservation.h"

static const char method_text[] =
    "mu_in_w is the share of a heat map inside the object's box over the box's share of the "
    "picture: 1 is as much as chance gives. Intervals are 95 % by Student's t; differences are "
    "of the same images, with the paired t-test, two-sided and not corrected for their number. A "
    "result without mu_in_w (no box, a box that is empty or full after the crop, a class "
    "without statistics) is left out, and counted by its reason in `means.csv`.";

static pm_status say_cell(const pm_cells *cells, const char *layers, const char *mask,
                          const char *threshold, pm_buffer *out) {
    const pm_cell *on = pm_cells_find(cells, layers, mask, threshold, 1);
    const pm_cell *off = pm_cells_find(cells, layers, mask, threshold, 0);
    const pm_cell *plain = pm_cells_plain(cells);
    if (!on || !off || !on->mu_w.count || !off->mu_w.count) return PM_OK;
    const pm_paired d = pm_cells_compare(cells, off, on);
    pm_status status = pm_buffer_printf(
        out,
        " With mask %s and %s it is %.3f ± %.3f with conservation and %.3f ± %.3f without: a "
        "difference of %+.3f ± %.3f (n = %llu, t = %.2f, p = %.2g)",
        mask, threshold, on->mu_w.mean, pm_ci95(&on->mu_w), off->mu_w.mean, pm_ci95(&off->mu_w),
        d.mean, d.ci95, (unsigned long long)d.n, d.t, d.p);
    if (!status && plain) {
        const pm_paired e = pm_cells_compare(cells, plain, on);
        status = pm_buffer_printf(out, ", and %+.3f ± %.3f (p = %.2g) against the plain gradient",
                                  e.mean, e.ci95, e.p);
    }
    return status ? status : pm_buffer_printf(out, ".");
}

/* Over all layers, masks and thresholds: where does conservation help? */
static pm_status say_all(const pm_cells *cells, pm_buffer *out) {
    size_t pairs = 0, up = 0, surely_up = 0, surely_down = 0;
    for (size_t i = 0; i < cells->count; i++) {
        const pm_cell *on = &cells->cells[i];
        const pm_cell *off = on->conserved == 1
                                 ? pm_cells_find(cells, on->layers, on->mask, on->threshold, 0)
                                 : NULL;
        if (!off) continue;
        const pm_paired d = pm_cells_compare(cells, off, on);
        if (d.n < 2) continue;
        pairs++;
        up += d.mean > 0;
        surely_up += d.mean > 0 && d.p < 0.05;
        surely_down += d.mean < 0 && d.p < 0.05;
    }
    return pm_buffer_printf(out,
                            " Of the %zu pairs of layers, mask and threshold, conservation raises "
                            "mu_in_w in %zu, in %zu of them with p < 0.05; it lowers it with p < "
                            "0.05 in %zu.",
                            pairs, up, surely_up, surely_down);
}

static pm_status say(const pm_cells *cells, pm_buffer *out) {
    const char *masks[PM_VALUES_MAX], *thresholds[PM_VALUES_MAX], *layers[PM_VALUES_MAX];
    const size_t mask_count = pm_cells_masks(cells, masks);
    const size_t count = pm_cells_thresholds(cells, thresholds);
    const pm_cell *plain = pm_cells_plain(cells);
    pm_status status = PM_OK;
    if (!pm_cells_layers(cells, layers)) layers[0] = "default";
    if (plain && plain->mu_w.count)
        status =
            pm_buffer_printf(out,
                             "Over %llu of %zu images of %s, the plain gradient of %s has a "
                             "mean mu_in_w of %.3f ± %.3f. What follows is for layers %s.",
                             (unsigned long long)plain->mu_w.count, cells->items, cells->data_set,
                             cells->model, plain->mu_w.mean, pm_ci95(&plain->mu_w), layers[0]);
    for (size_t m = 0; m < mask_count; m++)
        for (size_t i = 0; i < count && !status; i++)
            status = say_cell(cells, layers[0], masks[m], thresholds[i], out);
    return status ? status : say_all(cells, out);
}

/* The figures of one mask, and what they do not show. */
static pm_status show(const pm_cells *cells, const char *mask, pm_buffer *out) {
    const char *left_out[PM_VALUES_MAX];
    const size_t count = pm_conservation_left_out(cells, mask, left_out);
    pm_status status = pm_buffer_printf(out,
                                        "![Bars: mask %s, by threshold](bars-%s.svg)\n"
                                        "![Points: mask %s, by layer ratio](ratios-%s.svg)\n\n",
                                        mask, mask, mask, mask);
    for (size_t i = 0; i < count && !status; i++)
        status = pm_buffer_printf(
            out, "%s%s", i ? ", " : "Not drawn in ratios, for want of room: ", left_out[i]);
    return status || !count ? status : pm_buffer_printf(out, ".\n\n");
}

pm_status pm_conservation_reading(const pm_cells *cells, const pm_study *study) {
    const char *masks[PM_VALUES_MAX];
    const size_t count = pm_cells_masks(cells, masks);
    pm_buffer text = {0};
    pm_status status = pm_buffer_printf(
        &text, "# Does conserving variance put more of the gradient on the object?\n\n");
    if (!status) status = say(cells, &text);
    if (!status) status = pm_buffer_printf(&text, "\n\n%s\n\n", method_text);
    for (size_t i = 0; i < count && !status; i++) status = show(cells, masks[i], &text);
    if (!status)
        status = pm_buffer_printf(&text,
                                  "`means.csv`: a row a configuration. `pairs.csv`: the paired "
                                  "differences. Run %llu of `%s` has every image.\n",
                                  (unsigned long long)study->summary.run, study->db);
    if (!status) status = pm_study_reading(study, &text);
    pm_buffer_fini(&text);
    return status;
}
