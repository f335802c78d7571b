/* Owns the vectors of gradient-sum: drawing, sums, angles, their distribution. Writes nothing. */
#include <assert.h>
#include <math.h>
#include <stdlib.h>

#include "tools/experiment/gradient_sum.h"

const char *pm_spread_name(pm_spread spread) {
    return spread == PM_SPREAD_NORMAL ? "normal" : "uniform";
}

static void draw(pm_mt *generator, pm_spread spread, double scale, size_t count, double *out) {
    for (size_t i = 0; i < count; i++)
        out[i] = scale * (spread == PM_SPREAD_NORMAL ? pm_mt_normal(generator)
                                                     : pm_mt_uniform(generator) - 0.5);
}

void pm_vectors_draw(pm_mt *generator, pm_spread spread, size_t l_count, pm_vectors *out) {
    assert(l_count <= PM_GRADIENT_L_MAX);
    out->l_count = l_count;
    draw(generator, spread, 0.1, PM_GRADIENT_H, out->h_u);
    draw(generator, spread, 1.0, PM_GRADIENT_H, out->h_v);
    draw(generator, spread, 0.1, l_count, out->l_u);
    draw(generator, spread, 0.1, l_count, out->l_v);
}

pm_sums pm_vectors_sum(const pm_vectors *vectors, size_t l_count) {
    pm_sums s = {0};
    for (size_t i = 0; i < PM_GRADIENT_H; i++) {
        s.h_u += vectors->h_u[i];
        s.h_v += vectors->h_v[i];
    }
    for (size_t i = 0; i < l_count; i++) {
        s.l_u += vectors->l_u[i];
        s.l_v += vectors->l_v[i];
    }
    return s;
}

double pm_sums_angle(const pm_sums *s) {
    double u = s->h_u + s->l_u, v = s->h_v + s->l_v;
    double cross = s->h_u * v - s->h_v * u, dot = s->h_u * u + s->h_v * v;
    return fabs(atan2(cross, dot)) * 180 / acos(-1);
}

static int by_size(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Sorts the values. */
static void summarise(double *values, size_t count, double *mean, double *median) {
    double sum = 0;
    for (size_t i = 0; i < count; i++) sum += values[i];
    qsort(values, count, sizeof *values, by_size);
    *mean = sum / (double)count;
    *median = (values[(count - 1) / 2] + values[count / 2]) / 2;
}

/* The first draw is the figure's; the others follow in the same stream. */
static void find_angles(pm_mt *generator, pm_gradient *g, double *angles) {
    pm_vectors vectors;
    for (size_t i = 0; i < PM_GRADIENT_DRAWS; i++) {
        pm_vectors_draw(generator, g->spread, PM_GRADIENT_L, &vectors);
        pm_sums sums = pm_vectors_sum(&vectors, PM_GRADIENT_L);
        angles[i] = pm_sums_angle(&sums);
        if (i > 0) continue;
        g->first = vectors;
        g->sums = sums;
        g->angle = angles[0];
    }
    for (size_t i = 0; i <= PM_GRADIENT_BINS; i++)
        g->edges[i] = 180.0 * (double)i / PM_GRADIENT_BINS;
    for (size_t i = 0; i < PM_GRADIENT_DRAWS; i++) {
        size_t bin = (size_t)(angles[i] / 180 * PM_GRADIENT_BINS);
        g->counts[bin < PM_GRADIENT_BINS ? bin : PM_GRADIENT_BINS - 1]++;
        g->beyond += angles[i] > 45 ? 1.0 / PM_GRADIENT_DRAWS : 0;
    }
    summarise(angles, PM_GRADIENT_DRAWS, &g->mean, &g->median);
}

/* Each draw has 1000 small vectors; |L| of them are taken. angles [steps][draws]. */
static void find_angles_by_count(pm_mt *generator, pm_gradient *g, double *angles) {
    const size_t every = PM_GRADIENT_L_MAX / (PM_GRADIENT_STEPS - 1);
    pm_vectors vectors;
    for (size_t i = 0; i < PM_GRADIENT_DRAWS; i++) {
        pm_vectors_draw(generator, g->spread, PM_GRADIENT_L_MAX, &vectors);
        pm_sums sums = pm_vectors_sum(&vectors, 0);
        for (size_t k = 0; k < PM_GRADIENT_STEPS; k++) {
            angles[k * PM_GRADIENT_DRAWS + i] = pm_sums_angle(&sums);
            for (size_t j = k * every; k + 1 < PM_GRADIENT_STEPS && j < (k + 1) * every; j++) {
                sums.l_u += vectors.l_u[j];
                sums.l_v += vectors.l_v[j];
            }
        }
    }
    for (size_t k = 0; k < PM_GRADIENT_STEPS; k++) {
        g->l[k] = (double)(k * every);
        summarise(angles + k * PM_GRADIENT_DRAWS, PM_GRADIENT_DRAWS, &g->means[k], &g->medians[k]);
    }
}

pm_status pm_gradient_compute(pm_spread spread, uint32_t seed, pm_gradient *out) {
    pm_mt generator;
    double *angles = malloc((size_t)PM_GRADIENT_STEPS * PM_GRADIENT_DRAWS * sizeof *angles);
    if (!angles) return pm_fail(PM_E_MEMORY, "no memory for angles");
    *out = (pm_gradient){.spread = spread, .seed = seed};
    pm_mt_begin(&generator, seed);
    find_angles(&generator, out, angles);
    find_angles_by_count(&generator, out, angles);
    free(angles);
    return PM_OK;
}
