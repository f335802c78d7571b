/* Owns: the table of one instruction set. */
#include "worker/engine/kernels/vec.h"

static bool usable(void) {
    __builtin_cpu_init();
#if PM_LANES == 16
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("fma");
#elif PM_LANES == 8
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#else
    return true;
#endif
}

#define PM_TEXT_(x) #x
#define PM_TEXT(x) PM_TEXT_(x)

const pm_kernels PM_ISA_SYMBOL(pm_kernels) = {
    .name = PM_TEXT(PM_ISA),
    .lanes = PM_LANES,
    .mask_bytes = sizeof(mask_t),
    .usable = usable,
    .conv = PM_ISA_SYMBOL(pm_conv),
    .winograd = PM_ISA_SYMBOL(pm_winograd),
    .winograd_scratch = PM_ISA_SYMBOL(pm_winograd_scratch),
    .winograd_weights = PM_ISA_SYMBOL(pm_winograd_weights),
    .depthwise = PM_ISA_SYMBOL(pm_depthwise),
    .pointwise = PM_ISA_SYMBOL(pm_pointwise),
    .maxpool = PM_ISA_SYMBOL(pm_maxpool),
    .maxpool_backward = PM_ISA_SYMBOL(pm_maxpool_backward),
    .scale_map = PM_ISA_SYMBOL(pm_scale_map),
    .scale_sum = PM_ISA_SYMBOL(pm_scale_sum),
    .avgpool = PM_ISA_SYMBOL(pm_avgpool),
    .avgpool_backward = PM_ISA_SYMBOL(pm_avgpool_backward),
    .avgpool_window = PM_ISA_SYMBOL(pm_avgpool_window),
    .avgpool_window_backward = PM_ISA_SYMBOL(pm_avgpool_window_backward),
    .subsample = PM_ISA_SYMBOL(pm_subsample),
    .subsample_backward = PM_ISA_SYMBOL(pm_subsample_backward),
    .layernorm = PM_ISA_SYMBOL(pm_layernorm),
    .layernorm_backward = PM_ISA_SYMBOL(pm_layernorm_backward),
    .linear = PM_ISA_SYMBOL(pm_linear),
    .linear_backward = PM_ISA_SYMBOL(pm_linear_backward),
    .linear_row = PM_ISA_SYMBOL(pm_linear_row),
    .measure = PM_ISA_SYMBOL(pm_measure),
    .scale = PM_ISA_SYMBOL(pm_scale),
    .activity = PM_ISA_SYMBOL(pm_activity),
};
