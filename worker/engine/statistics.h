/* Channel statistics and class p-values as the engine keeps them: one row of channels a class, so
 * that the choice of H reads memory in order. */
#ifndef PM_ENGINE_STATISTICS_H
#define PM_ENGINE_STATISTICS_H

#include "parchgrad.h"

/* [channels], each in [+0, 1]; NULL where the convolution has none. */
const float *pm_statistics_shapiro(const pm_statistics *statistics, size_t conv);
/* Of the activation, [channels], std 0 where it says nothing; NULL where there are none. */
const float *pm_statistics_mean(const pm_statistics *statistics, size_t conv);
const float *pm_statistics_std(const pm_statistics *statistics, size_t conv);
bool pm_statistics_has(const pm_statistics *statistics, size_t conv, pm_test test);
/* p-values [channels] of one class, each in [+0, 1]. PM_E_NOT_FOUND where the class has none. */
pm_status pm_statistics_class(const pm_statistics *statistics, size_t conv, pm_test test,
                              size_t target, const float **out);

#endif
