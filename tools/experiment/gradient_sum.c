/* parchmill experiment gradient-sum: its options, its reading. */
#include "tools/experiment/gradient_sum.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/experiment/experiment.h"
#include "tools/experiment/files.h"

enum { SEED = 21 };

static pm_status choose(const char *name, bool chosen[PM_SPREAD_COUNT]) {
    bool any = false;
    for (int i = 0; i < PM_SPREAD_COUNT; i++) {
        chosen[i] = !name || strcmp(name, pm_spread_name((pm_spread)i)) == 0;
        any |= chosen[i];
    }
    if (any) return PM_OK;
    return pm_fail(PM_E_USAGE, "--distribution '%.40s' is neither normal nor uniform", name);
}

static const char *spread_text(pm_spread spread) {
    if (spread == PM_SPREAD_NORMAL)
        return "normal with standard deviations (0.1, 1) for H and (0.1, 0.1) for L";
    return "uniform in \xc2\xb1"
           "0.05 \xc3\x97 \xc2\xb1"
           "0.5 for H and \xc2\xb1"
           "0.05 \xc3\x97 \xc2\xb1"
           "0.05 for L";
}

static pm_status describe(const pm_gradient *g, pm_buffer *out) {
    const pm_sums *s = &g->sums;
    const char *name = pm_spread_name(g->spread);
    const size_t last = PM_GRADIENT_STEPS - 1;
    pm_status status = pm_buffer_printf(
        out,
        "\n## %s\n\nVectors %s, seed %u. The ten of H sum up to (%.4f, %.4f), the hundred of L to "
        "(%.4f, %.4f), all to (%.4f, %.4f): %.1f degrees away from where H alone points. Over %d "
        "draws that angle is %.1f degrees in the mean and %.1f in the median, and beyond 45 "
        "degrees "
        "in %.1f %% of them. It grows with the number of small vectors: its mean is 0 without any, "
        "%.1f degrees with 250, %.1f with 1000, though each of them is small beside those of H.\n",
        name, spread_text(g->spread), g->seed, s->h_u, s->h_v, s->l_u, s->l_v, s->h_u + s->l_u,
        s->h_v + s->l_v, g->angle, (int)PM_GRADIENT_DRAWS, g->mean, g->median, 100 * g->beyond,
        g->means[last / 4], g->means[last]);
    static const char *const figures[] = {"vectors", "angle", "angle-by-count"};
    for (size_t i = 0; !status && i < 3; i++)
        status = pm_buffer_printf(out, "\n![%s, %s](gradient-sum-%s-%s.svg)\n", figures[i], name,
                                  name, figures[i]);
    return status;
}

static void print_headline(const pm_gradient *g) {
    const pm_sums *s = &g->sums;
    printf("%s, seed %u: sums H (%.4f, %.4f), L (%.4f, %.4f), all (%.4f, %.4f)\n",
           pm_spread_name(g->spread), g->seed, s->h_u, s->h_v, s->l_u, s->l_v, s->h_u + s->l_u,
           s->h_v + s->l_v);
    printf("  angle between all and H: %.1f here; of %d draws mean %.1f, median %.1f; with 1000 "
           "small vectors mean %.1f\n",
           g->angle, (int)PM_GRADIENT_DRAWS, g->mean, g->median, g->means[PM_GRADIENT_STEPS - 1]);
}

static pm_status one(pm_spread spread, uint32_t seed, const char *dir, bool say,
                     pm_buffer *reading) {
    pm_gradient *g = malloc(sizeof *g);
    if (!g) return pm_fail(PM_E_MEMORY, "no memory for an experiment");
    pm_status status = pm_gradient_compute(spread, seed, g);
    if (!status) status = pm_gradient_write(g, dir, say);
    if (!status) status = describe(g, reading);
    if (!status && say) print_headline(g);
    free(g);
    return status;
}

pm_status pm_experiment_gradient_sum(const pm_options *options, const char *dir) {
    bool chosen[PM_SPREAD_COUNT];
    const bool say = !pm_options_flag(options, PM_OPT_QUIET);
    size_t seed = SEED;
    pm_buffer reading = {0};
    pm_status status = choose(pm_options_text(options, PM_OPT_DISTRIBUTION), chosen);
    if (!status && pm_options_given(options, PM_OPT_EXPERIMENT_SEED))
        status = pm_options_size(options, PM_OPT_EXPERIMENT_SEED, 0, UINT32_MAX, &seed);
    if (!status)
        status = pm_buffer_printf(
            &reading,
            "# gradient-sum\n\nTen vectors of large contribution (H, blue) and a hundred of small "
            "(L, red): where does the sum of all (black) point, and where that of H? A convolution "
            "sums up the gradients of its channels in this way.\n");
    for (int i = 0; !status && i < PM_SPREAD_COUNT; i++)
        if (chosen[i]) status = one((pm_spread)i, (uint32_t)seed, dir, say, &reading);
    if (!status)
        status = pm_experiment_write(dir, "gradient-sum.md", reading.bytes, reading.size, say);
    pm_buffer_fini(&reading);
    return status;
}
