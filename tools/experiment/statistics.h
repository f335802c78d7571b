/* statistics: how p-values are spread, layer by layer. Parts of one experiment;
 * tools/experiment/statistics.c puts them together. */
#ifndef PM_TOOLS_EXPERIMENT_STATISTICS_H
#define PM_TOOLS_EXPERIMENT_STATISTICS_H

#include "tools/experiment/study.h"

enum { PM_P_BINS = 20 };

/* Of many p-values: shares of the whole. */
typedef struct pm_p_spread {
    size_t count, below; /* below: p < 0.05 */
    double bins[PM_P_BINS];
} pm_p_spread;

typedef struct pm_p_layer {
    char name[96];
    size_t channels;
    pm_p_spread shapiro, by_class; /* one p a channel; one a channel and class */
} pm_p_layer;

typedef struct pm_p_layers {
    char test[16]; /* of the class p-values */
    size_t count, classes;
    pm_p_layer *layers; /* [count] in the file's order, which is the network's */
} pm_p_layers;

/* Of a .safetensors file of statistics. `test`: welch, student. PM_E_MISMATCH: it has none. */
pm_status pm_p_layers_read(const char *path, const char *test, pm_p_layers *out);
void pm_p_layers_fini(pm_p_layers *layers);

double pm_p_share(const pm_p_spread *spread); /* below 0.05; NAN of none */

/* shares.svg; histograms.svg, a panel a layer. */
pm_status pm_p_figures(const pm_p_layers *layers, const pm_study *study, const char *title);

#endif
