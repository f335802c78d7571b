/* Owns boxes and curves of one heat map: from options to numbers to words. */
#include "tools/attribute_score.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/text.h"
#include "lib/image/replacement.h"
#include "tools/dataset/data_set.h"
#include "tools/order.h"

/* ---- what is asked for ---- */

static pm_status first_seed(const pm_options *options, uint64_t *out) {
    size_t seed = 0;
    pm_status status = pm_parse_size("--seed", pm_options_value(options, PM_OPT_SEED, 0), &seed);
    *out = seed;
    return status;
}

pm_status pm_evaluation_asked(const pm_options *options, pm_evaluation *out) {
    static const pm_option_id ids[] = {PM_OPT_RATIOS, PM_OPT_REPLACE};
    pm_evaluation e = {0};
    if (!pm_options_flag(options, PM_OPT_EVALUATE)) {
        for (size_t i = 0; i < sizeof ids / sizeof *ids; i++)
            if (pm_options_given(options, ids[i]))
                return pm_fail(PM_E_USAGE, "--%s is for --evaluate, which is not given",
                               pm_option_at(ids[i])->name);
        *out = e;
        return PM_OK;
    }
    pm_evaluation_defaults(&e);
    pm_status status = pm_evaluation_set_ratios(pm_options_text(options, PM_OPT_RATIOS), &e);
    if (status) return pm_fail_in(status, "--ratios");
    status = pm_replacement_parse(pm_options_text(options, PM_OPT_REPLACE), &e.replacement);
    if (status) return pm_fail_in(status, "--replace");
    if (e.replacement == PM_REPLACEMENT_NOISE) status = first_seed(options, &e.seed);
    if (!status) *out = e;
    return status;
}

/* ---- boxes ---- */

static pm_status parse_box(const char *text, pm_spec_box *out) {
    char copy[160], *save = NULL;
    double edges[4];
    size_t count = 0;
    snprintf(copy, sizeof copy, "%s", text);
    for (char *part = strtok_r(copy, ",", &save); part; part = strtok_r(NULL, ",", &save)) {
        if (count == 4 || pm_parse_double("--box", part, &edges[count])) {
            count = 0;
            break;
        }
        count++;
    }
    if (count != 4)
        return pm_fail(PM_E_USAGE, "--box '%.80s': it takes four numbers, XMIN,YMIN,XMAX,YMAX",
                       text);
    if (!(edges[0] < edges[2]) || !(edges[1] < edges[3]))
        return pm_fail(PM_E_USAGE, "--box '%.80s': it is empty; the order is XMIN,YMIN,XMAX,YMAX",
                       text);
    *out = (pm_spec_box){edges[0], edges[1], edges[2], edges[3]};
    return PM_OK;
}

pm_status pm_attribute_boxes(const pm_options *options, const char *photograph,
                             pm_attribute_score *out) {
    const char *text = pm_options_text(options, PM_OPT_BOX), *folder = pm_boxes_folder(options);
    if (text && folder)
        return pm_fail(PM_E_USAGE, "--box and --boxes are both given; use one of them");
    out->item.path = (char *)photograph;
    if (folder) return pm_boxes_of(folder, &out->item);
    if (!text) return PM_OK;
    pm_spec_box *box = malloc(sizeof *box);
    if (!box) return pm_fail(PM_E_MEMORY, "no memory for a box");
    pm_status status = parse_box(text, box);
    if (status) {
        free(box);
        return status;
    }
    out->item.boxes = box;
    out->item.box_count = 1;
    return PM_OK;
}

static pm_status map_boxes(const pm_scored *subject, pm_attribute_score *out) {
    size_t count = subject->all_boxes || !out->item.box_count ? out->item.box_count : 1;
    if (!count) return PM_OK;
    out->boxes = calloc(count, sizeof *out->boxes);
    if (!out->boxes) return pm_fail(PM_E_MEMORY, "no memory for %zu boxes", count);
    out->box_count = count;
    for (size_t i = 0; i < count; i++) {
        const pm_spec_box *b = &out->item.boxes[i];
        pm_crop_box crop =
            pm_geometry_box(&subject->geometry, &(pm_box){b->xmin, b->ymin, b->xmax, b->ymax});
        out->boxes[i] = (pm_pixel_box){crop.xmin, crop.ymin, crop.xmax, crop.ymax};
    }
    return PM_OK;
}

/* ---- numbers ---- */

static pm_status forward(void *user, pm_masked_fn next, void *from, size_t count, float *logits) {
    return pm_context_logits_each(user, next, from, count, logits);
}

static pm_status take_rows(const pm_curves_result *curves, pm_attribute_score *score) {
    if (!curves->finite)
        return pm_fail(PM_E_FORMAT, "a masked photograph's logits are not finite numbers");
    score->rows = calloc(curves->row_count + 1, sizeof *score->rows);
    if (!score->rows) return pm_fail(PM_E_MEMORY, "evaluation: no memory");
    memcpy(score->rows, curves->rows, curves->row_count * sizeof *score->rows);
    score->row_count = curves->row_count;
    score->deletion_auc = curves->deletion_auc;
    score->insertion_auc = curves->insertion_auc;
    return PM_OK;
}

static pm_status evaluate(const pm_scored *s, const pm_evaluation *e, pm_attribute_score *score) {
    const size_t pixels = s->side * s->side;
    pm_curves *curves = NULL;
    pm_curves_result result;
    float *replacement = malloc(3 * pixels * sizeof *replacement);
    pm_status status = replacement ? PM_OK : pm_fail(PM_E_MEMORY, "evaluation: no memory");
    if (!status)
        status = pm_image_replacement(e->replacement, e->seed, &s->image, s->input, s->side,
                                      replacement);
    if (!status) status = pm_context_prepare_logits(s->context, PM_CURVES_BATCH);
    if (!status) status = pm_curves_new(pixels, s->classes, e->ratios, e->ratio_count, &curves);
    if (!status) {
        pm_curves_begin(curves, s->input, replacement);
        status =
            pm_curves_run(curves, s->heat_map, s->logits, s->target, forward, s->context, &result);
    }
    if (!status) status = take_rows(&result, score);
    pm_curves_free(&curves);
    free(replacement);
    return status;
}

pm_status pm_attribute_score_make(const pm_scored *subject, const pm_evaluation *evaluation,
                                  pm_attribute_score *score) {
    pm_status status = map_boxes(subject, score);
    if (status) return status;
    if (score->box_count)
        score->inside = pm_boxes_score_of(subject->heat_map, subject->side, subject->side,
                                          score->boxes, score->box_count);
    score->evaluation = *evaluation;
    return evaluation->on ? evaluate(subject, evaluation, score) : PM_OK;
}

void pm_attribute_score_fini(pm_attribute_score *score) {
    free(score->item.boxes);
    free(score->boxes);
    free(score->rows);
    *score = (pm_attribute_score){0};
}

/* ---- words ---- */

static void print_boxes(const pm_attribute_score *score, FILE *out) {
    const pm_box_score *s = &score->inside;
    const pm_pixel_box *b = &score->boxes[0];
    if (!score->box_count) return;
    fprintf(out, "\n%zu box%s, the first at %zu,%zu to %zu,%zu of the crop: ", score->box_count,
            score->box_count == 1 ? "" : "es", b->xmin, b->ymin, b->xmax, b->ymax);
    if (s->reason)
        fprintf(out, "no score (%s)", s->reason);
    else
        fprintf(out,
                "%.4f of the heat inside (%.3f times its share of the area), %.4f outside (%.3f)",
                s->mu_in, s->mu_in_w, s->mu_out, s->mu_out_w);
    if (s->has_pointing) fprintf(out, "; it %s", s->pointing ? "points there" : "points elsewhere");
    fprintf(out, "\n");
}

static void print_curves(const pm_attribute_score *score, FILE *out) {
    if (!score->row_count) return;
    fprintf(out, "\n%-7s %6s %10s %10s %10s %10s  %s\n", "curve", "ratio", "p(target)", "aopc",
            "lodds", "fracdiff", "correct");
    for (size_t i = 0; i < score->row_count; i++) {
        const pm_perturbation *row = &score->rows[i];
        char lodds[24] = "-";
        double shown = fabs(row->lodds) < 5e-5 ? 0 : row->lodds; /* not -0.0000 */
        if (row->has_lodds) snprintf(lodds, sizeof lodds, "%.4f", shown);
        fprintf(out, "%-7s %6g %10.4f %10.4f %10s %10.4f  %s\n", pm_curve_name(row->curve),
                row->ratio, row->p_target, row->aopc, lodds, row->fracdiff,
                row->correct ? "yes" : "no");
    }
    if (isfinite(score->deletion_auc))
        fprintf(out, "pixels replaced by %s; deletion AUC %.4f, insertion AUC %.4f\n",
                pm_replacement_name(score->evaluation.replacement), score->deletion_auc,
                score->insertion_auc);
}

void pm_attribute_score_print(const pm_attribute_score *score, FILE *out) {
    print_boxes(score, out);
    print_curves(score, out);
}

static json_t *real_if(bool given, double value) {
    return given && isfinite(value) ? json_real(value) : json_null();
}

static json_t *boxes_json(const pm_attribute_score *score) {
    const pm_box_score *s = &score->inside;
    if (!score->box_count) return json_null();
    json_t *crop = json_array();
    for (size_t i = 0; i < score->box_count; i++) {
        const pm_pixel_box *b = &score->boxes[i];
        json_array_append_new(crop,
                              json_pack("[I, I, I, I]", (json_int_t)b->xmin, (json_int_t)b->ymin,
                                        (json_int_t)b->xmax, (json_int_t)b->ymax));
    }
    const bool known = !s->reason;
    return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "crop", crop, "reason",
                     s->reason ? json_string(s->reason) : json_null(), "mu_in",
                     real_if(known, s->mu_in), "mu_in_w", real_if(known, s->mu_in_w), "mu_out",
                     real_if(known, s->mu_out), "mu_out_w", real_if(known, s->mu_out_w), "pointing",
                     s->has_pointing ? json_boolean(s->pointing) : json_null());
}

static json_t *rows_json(const pm_attribute_score *score) {
    json_t *rows = json_array();
    for (size_t i = 0; i < score->row_count; i++) {
        const pm_perturbation *row = &score->rows[i];
        json_array_append_new(rows, json_pack("{s:s, s:f, s:f, s:f, s:o, s:f, s:b}", "curve",
                                              pm_curve_name(row->curve), "ratio", row->ratio,
                                              "p_target", row->p_target, "aopc", row->aopc, "lodds",
                                              real_if(row->has_lodds, row->lodds), "fracdiff",
                                              row->fracdiff, "correct", (int)row->correct));
    }
    return rows;
}

pm_status pm_attribute_score_json(const pm_attribute_score *score, json_t *object) {
    json_t *evaluation = json_null();
    if (score->row_count)
        evaluation = json_pack("{s:s, s:o, s:o, s:o}", "replacement",
                               pm_replacement_name(score->evaluation.replacement), "deletion_auc",
                               real_if(true, score->deletion_auc), "insertion_auc",
                               real_if(true, score->insertion_auc), "curves", rows_json(score));
    bool failed = json_object_set_new(object, "boxes", boxes_json(score)) != 0;
    failed |= json_object_set_new(object, "evaluation", evaluation) != 0;
    return failed ? pm_fail(PM_E_MEMORY, "no memory for the JSON") : PM_OK;
}
