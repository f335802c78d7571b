/* The research code's own pickles: shapiro_p_values.pkl, and beside it cls_p_values.pkl,
 * gap_mean.pkl and gap_std.pkl, each a list of one tensor a convolution. Read by the restricted
 * reader of weights files, which executes nothing (docs/WEIGHTS.md). */
#ifndef PM_TOOLS_STATISTICS_IMPORT_H
#define PM_TOOLS_STATISTICS_IMPORT_H

#include "tools/statistics/compute.h"

/* From the folder `pickles`, where a file may also have the architecture's name in front:
 * resnet18_shapiro_p_values.pkl. What the files say is checked against the model: so many
 * convolutions in registration order, so many channels each, no more classes than it has; p-values
 * within 0..1 (NaN is 1), means and deviations finite. The class p-values become Student's: they
 * are of the pooled test. PM_E_NOT_FOUND: no Shapiro-Wilk p-values, or a mean without deviation;
 * PM_E_MISMATCH: not of this model; PM_E_FORMAT, and whatever opening the files gives. */
pm_status pm_stats_import(const char *pickles, const pm_model *model, const char *folder,
                          pm_stats_made **out);

#endif
