/* Perturbation curves and box scores: a heat map that PyTorch made, pixels taken by lib/stats, the
 * engine's forward passes, against PyTorch's in double; over photographs against the reference,
 * where env PARCHMILL_DATA points at them. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/base/random.h"
#include "lib/stats/boxes.h"
#include "lib/stats/perturbation.h"
#include "tests/engine/cases.h"
#include "tests/engine/data_file.h"

enum { RATIOS_MAX = 16 };

static pm_status forward(void *user, pm_masked_fn next, void *from, size_t count, float *logits) {
    return pm_context_logits_each(user, next, from, count, logits);
}

/* The largest difference; both NaN (or no logarithm) is none. */
static void worst(double *so_far, double got, double want) {
    double off = fabs(got - want);
    if (!(off <= *so_far)) *so_far = off;
}

/* ---- one heat map ---- */

typedef struct subject {
    const pm_model *model;
    size_t height, width;
    const float *input, *heat_map;
    size_t target;
    double ratios[RATIOS_MAX];
    size_t ratio_count;
} subject;

static void run(const subject *s, const float *replacement, pm_curves **curves,
                pm_curves_result *out) {
    size_t pixels = s->height * s->width, classes = pm_model_classes(s->model);
    float *logits = malloc(classes * sizeof *logits);
    pm_context *context = NULL;
    assert_non_null(logits);
    assert_int_equal(pm_context_new(s->model, s->height, s->width, 1, &context), PM_OK);
    assert_int_equal(pm_context_logits(context, s->input, logits), PM_OK);
    assert_int_equal(pm_context_prepare_logits(context, PM_CURVES_BATCH), PM_OK);
    assert_int_equal(pm_curves_new(pixels, classes, s->ratios, s->ratio_count, curves), PM_OK);
    pm_curves_begin(*curves, s->input, replacement);
    assert_int_equal(pm_curves_run(*curves, s->heat_map, logits, s->target, forward, context, out),
                     PM_OK);
    assert_true(out->finite);
    assert_int_equal(out->row_count, PM_CURVE_COUNT * s->ratio_count);
    pm_context_free(&context);
    free(logits);
}

/* prefix/CURVE/MEASURE for each measure; `correct` by the name that the file has for it. */
static double distance(const pm_weights *want, const char *prefix, const char *correct,
                       const pm_curves_result *got, size_t ratios) {
    const char *const measures[] = {"aopc", "lodds", "fracdiff", correct};
    double off = 0;
    for (int c = 0; c < PM_CURVE_COUNT; c++)
        for (size_t m = 0; m < 4; m++) {
            char name[96];
            snprintf(name, sizeof name, "%s%s/%s", prefix, pm_curve_name((pm_curve)c), measures[m]);
            float *values = read_tensor(want, name, ratios);
            for (size_t i = 0; i < ratios; i++) {
                const pm_perturbation *row = &got->rows[(size_t)c * ratios + i];
                const double all[] = {row->aopc, row->has_lodds ? row->lodds : -INFINITY,
                                      row->fracdiff, row->correct};
                assert_int_equal(row->curve, c);
                worst(&off, all[m], (double)values[i]);
            }
            free(values);
        }
    return off;
}

/* ---- cases ---- */

static pm_weights *open_curves(const char *name) {
    const char *root = getenv("PARCHMILL_SOURCE_DIR");
    char path[4200];
    pm_weights *weights;
    snprintf(path, sizeof path, "%s/tests/data/engine/%s_curves.safetensors", root ? root : ".",
             name);
    if (pm_weights_open(path, &weights)) fail_msg("%s", pm_error_text());
    return weights;
}

/* "zero", "mean", "noise", as the vectors' maker has them. */
static float *replacement_of(const char *kind, const subject *s) {
    size_t pixels = s->height * s->width;
    float *out = calloc(3 * pixels, sizeof *out);
    assert_non_null(out);
    if (strcmp(kind, "noise") == 0) pm_synth("replacement/0", 0, out, 3 * pixels);
    for (size_t k = 0; k < 3 && strcmp(kind, "mean") == 0; k++) {
        double sum = 0;
        for (size_t i = 0; i < pixels; i++) sum += (double)s->input[k * pixels + i];
        for (size_t i = 0; i < pixels; i++) out[k * pixels + i] = (float)(sum / (double)pixels);
    }
    return out;
}

static void check_kind(const char *kind, const subject *s, const pm_weights *want) {
    char name[64];
    pm_curves *curves = NULL;
    pm_curves_result got;
    float *replacement = replacement_of(kind, s);
    run(s, replacement, &curves, &got);
    snprintf(name, sizeof name, "%s/", kind);
    double off = distance(want, name, "correct", &got, s->ratio_count);
    snprintf(name, sizeof name, "%s/auc", kind);
    float *auc = read_tensor(want, name, 2);
    double area = 0;
    worst(&area, got.deletion_auc, (double)auc[0]);
    worst(&area, got.insertion_auc, (double)auc[1]);
    printf("  %s: rows %.1e areas %.1e\n", kind, off, area);
    assert_true(off <= 1e-4);
    assert_true(area <= 1e-5);
    free(auc);
    free(replacement);
    pm_curves_free(&curves);
}

static void check_box(const subject *s, const pm_weights *want) {
    float *box = read_tensor(want, "box", 4), *score = read_tensor(want, "box/score", 4);
    pm_box_score got = pm_box_score_of(s->heat_map, s->height, s->width, (size_t)box[0],
                                       (size_t)box[1], (size_t)box[2], (size_t)box[3]);
    double off = 0;
    assert_null(got.reason);
    worst(&off, got.mu_in, (double)score[0]);
    worst(&off, got.mu_in_w, (double)score[1]);
    worst(&off, got.mu_out, (double)score[2]);
    worst(&off, got.mu_out_w, (double)score[3]);
    assert_true(off <= 1e-5);
    free(box);
    free(score);
}

static void check_case(pm_case_set *set, const char *name) {
    size_t index = 0;
    pm_case c;
    while (strcmp(pm_case_name(index), name) != 0) assert_true(++index < pm_case_count());
    if (pm_case_load(set, index, &c)) fail_msg("%s", pm_error_text());
    pm_weights *want = open_curves(name);
    float *heat = read_tensor(c.vectors, "heatmap", c.height * c.width);
    subject s = {.model = c.model,
                 .height = c.height,
                 .width = c.width,
                 .input = c.input,
                 .heat_map = heat,
                 .target = (size_t)c.target};
    s.ratio_count = pm_weights_find(want, "ratios")->count;
    assert_true(s.ratio_count <= RATIOS_MAX);
    /* Not the file's, which are floats: 0.3 in float takes another pixel. */
    static const double ratios[] = {0, 0.1, 0.2, 0.3, 0.4, 0.5, 1};
    float *rounded = read_tensor(want, "ratios", s.ratio_count);
    for (size_t i = 0; i < s.ratio_count; i++) {
        s.ratios[i] = ratios[i];
        assert_true((float)ratios[i] == rounded[i]);
    }
    printf("%s\n", name);
    check_kind("zero", &s, want);
    check_kind("mean", &s, want);
    check_kind("noise", &s, want);
    check_box(&s, want);
    free(rounded);
    free(heat);
    pm_weights_free(&want);
}

static void curves_and_boxes_are_pytorchs_in_double(void **state) {
    (void)state;
    /* CURVES of make_engine_vectors.py */
    static const char *const cases[] = {"resnet18_64_off",
                                        "resnet18_64_cls",
                                        "resnet18_64_novc",
                                        "resnet18_64_all_q0.05",
                                        "resnet18_64_ratio0.9_alpha0.3",
                                        "resnet18_64_ins_q0.3",
                                        "resnet18_64_gamma2",
                                        "resnet18_64_gamma2_exact",
                                        "resnet18_64_inputgrad",
                                        "resnet18_64_ig",
                                        "resnet18_64_smoothgrad4",
                                        "resnet18_64_guided",
                                        "resnet18_32_cls",
                                        "resnet18_40x72_cls",
                                        "resnet50_64_cls",
                                        "vgg16_bn_64_cls",
                                        "vgg16_bn_64_novc",
                                        "vgg16_bn_64_ig5",
                                        "vgg16_bn_64_guided",
                                        "vgg16_64_cls",
                                        "efficientnet_b0_64_off",
                                        "efficientnet_b0_64_cls",
                                        "efficientnet_b0_96_ratio0.5_ins",
                                        "convnext_tiny_64_ratio0.5",
                                        "inception_v3_96_ratio0.3",
                                        "cifar_resnet20_32_cls"};
    pm_case_set set = {0};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) check_case(&set, cases[i]);
    pm_case_set_fini(&set);
}

/* ---- photographs ---- */

enum { SIDE = 224, PIXELS = SIDE * SIDE };

static void check_photograph(const pm_model *model, const char *folder, const char *image,
                             size_t label) {
    static const float zero[3 * PIXELS];
    char path[256];
    snprintf(path, sizeof path, "expected/resnet18_tiny/off/%s.safetensors", image);
    pm_weights *source = open_data(path);
    snprintf(path, sizeof path, "expected/resnet18_tiny/%s/%s.safetensors", folder, image);
    pm_weights *want = open_data(path);
    float *input = read_tensor(source, "input", 3 * PIXELS);
    float *heat = read_tensor(want, "heatmap", PIXELS);
    subject s = {.model = model,
                 .height = SIDE,
                 .width = SIDE,
                 .input = input,
                 .heat_map = heat,
                 .target = label,
                 .ratios = {0, 0.1, 0.2, 0.3, 0.4, 0.5},
                 .ratio_count = 6};
    pm_curves *curves = NULL;
    pm_curves_result got;
    run(&s, zero, &curves, &got);
    double off = distance(want, "", "acc", &got, 6);
    float *box = read_tensor(want, "box", 4);
    float *score = read_tensor(want, "box/mu_in_mu_in_w_mu_out_mu_out_w", 4);
    pm_box_score found = pm_box_score_of(heat, SIDE, SIDE, (size_t)box[0], (size_t)box[1],
                                         (size_t)box[2], (size_t)box[3]);
    double boxes = 0;
    assert_null(found.reason);
    worst(&boxes, found.mu_in, (double)score[0]);
    worst(&boxes, found.mu_in_w, (double)score[1]);
    worst(&boxes, found.mu_out, (double)score[2]);
    worst(&boxes, found.mu_out_w, (double)score[3]);
    printf("%s %s: rows %.1e box %.1e\n", folder, image, off, boxes);
    assert_true(off <= 1e-4);
    assert_true(boxes <= 1e-5);
    pm_curves_free(&curves);
    free(input);
    free(heat);
    free(box);
    free(score);
    pm_weights_free(&source);
    pm_weights_free(&want);
}

static void curves_and_boxes_of_photographs_are_the_references(void **state) {
    (void)state;
    static const char *const folders[] = {"off", "cls_q0.1", "cls_q0.05_novc_ratio0.5",
                                          "cls_q0.1_ig", "ins_q0.1"};
    static const struct {
        const char *name;
        size_t label;
    } images[] = {{"n01768244_n01768244_0", 69},
                  {"n02364673_n02364673_17", 338},
                  {"n02999410_n02999410_34", 488}};
    if (!getenv("PARCHMILL_DATA")) skip();
    pm_weights *weights = open_data("weights/resnet18.pth");
    pm_model *model = NULL;
    if (pm_model_new("resnet18", weights, &model)) fail_msg("%s", pm_error_text());
    pm_weights_free(&weights);
    for (size_t f = 0; f < sizeof folders / sizeof *folders; f++)
        for (size_t i = 0; i < sizeof images / sizeof *images; i++)
            check_photograph(model, folders[f], images[i].name, images[i].label);
    pm_model_free(&model);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(curves_and_boxes_are_pytorchs_in_double),
        cmocka_unit_test(curves_and_boxes_of_photographs_are_the_references),
    };
    return cmocka_run_group_tests_name("engine_curves", tests, NULL, NULL);
}
