/* Owns the order of pixels, the masked tensors and what is read off their logits. Knows no model:
 * a callback answers for it. */
#include "lib/stats/perturbation.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/real.h"

enum { COLORS = 3, DIGIT_BITS = 11, DIGITS = 1 << DIGIT_BITS, PASSES = 3 };

/* A pass that waits to be run together with others. */
typedef struct pass {
    pm_curve curve;
    size_t taken; /* pixels, along the curve */
    float *to;    /* where its logits belong */
} pass;

struct pm_curves {
    size_t pixels, classes, ratio_count;
    double *ratios; /* [ratio_count] */
    const float *input, *replacement;
    float *masked;         /* [COLORS][pixels], grows along a curve: */
    pm_curve along;        /* that one; PM_CURVE_COUNT: none yet */
    size_t taken;          /* pixels so far */
    float *logits_of_none; /* [classes] of the replacement alone */
    bool none_known;
    pass waiting[PM_CURVES_BATCH];
    size_t waiting_count;
    float *batch_logits;             /* [PM_CURVES_BATCH][classes] */
    float *answers;                  /* [PM_CURVE_COUNT * ratio_count][classes] */
    const float **answer;            /* [PM_CURVE_COUNT * ratio_count] each row's logits */
    uint32_t *order[PM_CURVE_COUNT]; /* [pixels] */
    double *p;                       /* [ratio_count] */
    pm_perturbation *rows;           /* [PM_CURVE_COUNT * ratio_count] */
};

const char *pm_curve_name(pm_curve curve) { return curve == PM_CURVE_MORF ? "morf" : "lerf"; }

/* ---- order ---- */

/* Floats as unsigned numbers of the same order; descending by the complement. */
static uint32_t key_of(float value, pm_curve curve) {
    uint32_t bits;
    value += 0.0F; /* -0 is 0 */
    memcpy(&bits, &value, sizeof bits);
    bits = bits & 0x80000000U ? ~bits : bits | 0x80000000U;
    return curve == PM_CURVE_MORF ? ~bits : bits;
}

/* A stable radix sort keeps equal heat in order of index. */
void pm_pixels_rank(const float *heat_map, size_t pixels, pm_curve curve, uint32_t *scratch,
                    uint32_t *order) {
    uint32_t place[PASSES][DIGITS + 1] = {0};
    const uint32_t *from = NULL; /* as they stand */
    for (size_t i = 0; i < pixels; i++) {
        const uint32_t key = key_of(heat_map[i], curve);
        for (size_t p = 0; p < PASSES; p++) place[p][(key >> p * DIGIT_BITS) % DIGITS + 1]++;
    }
    for (size_t p = 0; p < PASSES; p++) {
        uint32_t *to = p % 2 == 0 ? order : scratch; /* the last pass writes to `order` */
        for (size_t d = 1; d < DIGITS; d++) place[p][d] += place[p][d - 1];
        for (size_t i = 0; i < pixels; i++) {
            const uint32_t pixel = from ? from[i] : (uint32_t)i;
            const uint32_t key = key_of(heat_map[pixel], curve);
            to[place[p][(key >> p * DIGIT_BITS) % DIGITS]++] = pixel;
        }
        from = to;
    }
}

/* LeRF's is MoRF's reversed, but for pixels of equal heat. */
static void find_orders(pm_curves *c, const float *heat_map) {
    const uint32_t *down = c->order[PM_CURVE_MORF];
    uint32_t *up = c->order[PM_CURVE_LERF];
    pm_pixels_rank(heat_map, c->pixels, PM_CURVE_MORF, up, c->order[PM_CURVE_MORF]);
    for (size_t end = c->pixels, first; end > 0; end = first) {
        const float heat = heat_map[down[end - 1]];
        for (first = end - 1; first > 0 && heat_map[down[first - 1]] == heat;) first--;
        for (size_t i = first; i < end; i++) *up++ = down[i];
    }
}

size_t pm_pixels_taken(size_t pixels, double ratio) { return (size_t)((double)pixels * ratio); }

/* ---- measures ---- */

double pm_curve_area(const double *ratios, const double *p, size_t count) {
    double area = 0;
    if (count < 2 || !(ratios[count - 1] > ratios[0])) return NAN;
    for (size_t i = 1; i < count; i++) area += (ratios[i] - ratios[i - 1]) * (p[i] + p[i - 1]) / 2;
    return area / (ratios[count - 1] - ratios[0]);
}

static size_t argmax(const float *values, size_t count) {
    size_t best = 0;
    for (size_t i = 1; i < count; i++)
        if (values[i] > values[best]) best = i;
    return best;
}

static double probability(const float *logits, size_t classes, size_t top, size_t k) {
    double sum = 0, most = (double)logits[top];
    for (size_t i = 0; i < classes; i++) sum += pm_real_exp((double)logits[i] - most);
    return (double)(float)(pm_real_exp((double)logits[k] - most) / sum);
}

static bool are_finite(const float *logits, size_t classes) {
    for (size_t i = 0; i < classes; i++)
        if (!isfinite(logits[i])) return false;
    return true;
}

/* Before anything was taken. */
typedef struct untouched {
    size_t target, first; /* first: the argmax */
    double p_target, p_first;
} untouched;

static void measure(const pm_curves *c, const untouched *was, const float *logits,
                    pm_perturbation *row) {
    size_t top = argmax(logits, c->classes);
    row->p_target = probability(logits, c->classes, top, was->target);
    row->aopc = was->p_target - row->p_target;
    row->has_lodds = row->p_target > 0;
    row->lodds = 0;
    if (row->has_lodds) row->lodds = pm_real_log(row->p_target / (was->p_target + 1e-10));
    row->fracdiff = fabs(was->p_first - probability(logits, c->classes, top, was->first));
    row->correct = top == was->target;
}

/* ---- passes ---- */

/* The masked tensor of a pass, from that of the pass before. */
static const float *mask_next(void *from, size_t n) {
    pm_curves *c = from;
    const pass *p = &c->waiting[n];
    const uint32_t *order = c->order[p->curve];
    if (c->along != p->curve) {
        memcpy(c->masked, c->input, COLORS * c->pixels * sizeof *c->masked);
        c->along = p->curve;
        c->taken = 0;
    }
    for (; c->taken < p->taken; c->taken++)
        for (size_t k = 0; k < COLORS; k++) {
            const size_t at = k * c->pixels + order[c->taken];
            c->masked[at] = c->replacement[at];
        }
    return c->masked;
}

static pm_status flush(pm_curves *c, pm_logits_fn forward, void *user) {
    if (c->waiting_count == 0) return PM_OK;
    pm_status status = forward(user, mask_next, c, c->waiting_count, c->batch_logits);
    for (size_t i = 0; i < c->waiting_count && !status; i++) {
        float *to = c->waiting[i].to;
        memcpy(to, c->batch_logits + i * c->classes, c->classes * sizeof *to);
        if (to == c->logits_of_none) c->none_known = true;
    }
    c->waiting_count = 0;
    return status;
}

static pm_status ask(pm_curves *c, pass p, pm_logits_fn forward, void *user) {
    c->waiting[c->waiting_count++] = p;
    return c->waiting_count < PM_CURVES_BATCH ? PM_OK : flush(c, forward, user);
}

static bool asks_for_none(const pm_curves *c) {
    for (size_t i = 0; i < c->waiting_count; i++)
        if (c->waiting[i].to == c->logits_of_none) return true;
    return c->none_known;
}

/* Every row's logits, or where they will be; a tensor that was asked for is not asked for again. */
static pm_status ask_curve(pm_curves *c, pm_curve curve, const float *logits, pm_logits_fn forward,
                           void *user) {
    size_t before = 0;
    const float *answer = logits;
    for (size_t i = 0; i < c->ratio_count; i++) {
        const size_t row = (size_t)curve * c->ratio_count + i;
        const size_t taken = pm_pixels_taken(c->pixels, c->ratios[i]);
        if (taken != before) {
            float *to = taken == c->pixels ? c->logits_of_none : c->answers + row * c->classes;
            before = taken;
            pm_status status = PM_OK;
            if (to != c->logits_of_none || !asks_for_none(c))
                status = ask(c, (pass){curve, taken, to}, forward, user);
            if (status) return status;
            answer = to;
        }
        c->answer[row] = answer;
    }
    return PM_OK;
}

/* p_target of each ratio to c->p. False: a logit is not finite. */
static bool measure_curve(pm_curves *c, pm_curve curve, const untouched *was) {
    for (size_t i = 0; i < c->ratio_count; i++) {
        const size_t at = (size_t)curve * c->ratio_count + i;
        if (!are_finite(c->answer[at], c->classes)) return false;
        c->rows[at] = (pm_perturbation){.curve = curve, .ratio = c->ratios[i]};
        measure(c, was, c->answer[at], &c->rows[at]);
        c->p[i] = c->rows[at].p_target;
    }
    return true;
}

pm_status pm_curves_run(pm_curves *c, const float *heat_map, const float *logits, size_t target,
                        pm_logits_fn forward, void *user, pm_curves_result *out) {
    size_t first = argmax(logits, c->classes);
    untouched was = {target, first, probability(logits, c->classes, first, target),
                     probability(logits, c->classes, first, first)};
    pm_curves_result r = {.rows = c->rows};
    c->waiting_count = 0;
    c->along = PM_CURVE_COUNT;
    find_orders(c, heat_map);
    pm_status status = ask_curve(c, PM_CURVE_MORF, logits, forward, user);
    if (!status) status = ask_curve(c, PM_CURVE_LERF, logits, forward, user);
    if (!status) status = flush(c, forward, user);
    if (status) return status;
    r.finite = measure_curve(c, PM_CURVE_MORF, &was);
    if (r.finite) r.deletion_auc = pm_curve_area(c->ratios, c->p, c->ratio_count);
    if (r.finite) r.finite = measure_curve(c, PM_CURVE_LERF, &was);
    if (r.finite) r.insertion_auc = pm_curve_area(c->ratios, c->p, c->ratio_count);
    r.row_count = r.finite ? PM_CURVE_COUNT * c->ratio_count : 0;
    *out = r;
    return PM_OK;
}

/* ---- life ---- */

pm_status pm_curves_new(size_t pixels, size_t classes, const double *ratios, size_t ratio_count,
                        pm_curves **out) {
    pm_curves *c = calloc(1, sizeof *c);
    if (!c) return pm_fail(PM_E_MEMORY, "evaluation: no memory");
    c->pixels = pixels;
    c->classes = classes;
    c->ratio_count = ratio_count;
    c->ratios = calloc(ratio_count + 1, sizeof *c->ratios);
    c->masked = malloc(pixels * COLORS * sizeof *c->masked);
    c->logits_of_none = calloc(classes, sizeof *c->logits_of_none);
    c->batch_logits = calloc(PM_CURVES_BATCH, classes * sizeof *c->batch_logits);
    c->answers = calloc(PM_CURVE_COUNT * ratio_count + 1, classes * sizeof *c->answers);
    c->answer = calloc(PM_CURVE_COUNT * ratio_count + 1, sizeof *c->answer);
    for (size_t i = 0; i < PM_CURVE_COUNT; i++) c->order[i] = malloc(pixels * sizeof *c->order[i]);
    c->p = calloc(ratio_count + 1, sizeof *c->p);
    c->rows = calloc(PM_CURVE_COUNT * ratio_count + 1, sizeof *c->rows);
    if (!c->ratios || !c->masked || !c->logits_of_none || !c->order[0] || !c->order[1] || !c->p ||
        !c->rows || !c->batch_logits || !c->answers || !c->answer) {
        pm_curves_free(&c);
        return pm_fail(PM_E_MEMORY, "evaluation: no memory for %zu pixels", pixels);
    }
    memcpy(c->ratios, ratios, ratio_count * sizeof *ratios);
    *out = c;
    return PM_OK;
}

void pm_curves_free(pm_curves **curves) {
    pm_curves *c = *curves;
    if (!c) return;
    free(c->ratios);
    free(c->masked);
    free(c->logits_of_none);
    free(c->batch_logits);
    free(c->answers);
    free(c->answer);
    for (size_t i = 0; i < PM_CURVE_COUNT; i++) free(c->order[i]);
    free(c->p);
    free(c->rows);
    free(c);
    *curves = NULL;
}

void pm_curves_begin(pm_curves *curves, const float *input, const float *replacement) {
    curves->input = input;
    curves->replacement = replacement;
    curves->none_known = false;
}
