/* Vectors of one instruction set: PM_LANES floats, with the few operations that GCC's vector
 * extensions lack. Included by kernel sources only, which are compiled once an instruction set
 * with PM_LANES and PM_ISA defined. */
#ifndef PM_ENGINE_VEC_H
#define PM_ENGINE_VEC_H

#include <immintrin.h>

#include "worker/engine/kernels/kernels.h"

#define PM_JOIN_(a, b) a##_##b
#define PM_JOIN(a, b) PM_JOIN_(a, b)
#define PM_ISA_SYMBOL(name) PM_JOIN(name, PM_ISA)

#define PM_INLINE static inline __attribute__((always_inline, unused))
#ifdef __clang__
#define PM_UNROLL _Pragma("clang loop unroll(full)")
#else
#define PM_UNROLL _Pragma("GCC unroll 32")
#endif

typedef float vec __attribute__((vector_size(PM_LANES * 4), may_alias));
typedef int32_t ivec __attribute__((vector_size(PM_LANES * 4), may_alias));
typedef uint32_t uvec __attribute__((vector_size(PM_LANES * 4), may_alias));
typedef uint8_t bvec __attribute__((vector_size(PM_LANES), may_alias));
/* Half as many floats, and as many doubles: for sums in double. */
typedef float half __attribute__((vector_size(PM_LANES * 2), may_alias));
typedef double dvec __attribute__((vector_size(PM_LANES * 4), may_alias));
typedef int64_t lvec __attribute__((vector_size(PM_LANES * 4), may_alias));

#if PM_LANES == 16
typedef uint16_t mask_t;
PM_INLINE mask_t vec_greater(vec a, vec b) {
    return _mm512_cmp_ps_mask((__m512)a, (__m512)b, _CMP_GT_OQ);
}
#define PM_LANE_NUMBERS                                                                            \
    { 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15 }
PM_INLINE vec vec_keep(mask_t bits, vec a) { return (vec)_mm512_maskz_mov_ps(bits, (__m512)a); }
#else
typedef uint8_t mask_t;
#if PM_LANES == 8
PM_INLINE mask_t vec_greater(vec a, vec b) {
    return (mask_t)_mm256_movemask_ps(_mm256_cmp_ps((__m256)a, (__m256)b, _CMP_GT_OQ));
}
#define PM_LANE_NUMBERS                                                                            \
    { 0, 1, 2, 3, 4, 5, 6, 7 }
#define PM_LANE_BITS                                                                               \
    { 1, 2, 4, 8, 16, 32, 64, 128 }
#else
PM_INLINE mask_t vec_greater(vec a, vec b) {
    return (mask_t)_mm_movemask_ps(_mm_cmpgt_ps((__m128)a, (__m128)b));
}
#define PM_LANE_NUMBERS                                                                            \
    { 0, 1, 2, 3 }
#define PM_LANE_BITS                                                                               \
    { 1, 2, 4, 8 }
#endif
PM_INLINE vec vec_keep(mask_t bits, vec a) {
    const ivec lane = PM_LANE_BITS;
    ivec kept = ((lane & (int32_t)bits) == lane);
    return (vec)(kept & (ivec)a);
}
#endif

PM_INLINE vec vec_load(const float *p) { return *(const vec *)p; }
PM_INLINE void vec_store(float *p, vec a) { *(vec *)p = a; }
PM_INLINE vec vec_select(ivec where, vec a, vec b) {
    return (vec)((where & (ivec)a) | (~where & (ivec)b));
}
/* max(least, a) and min(most, a); a NaN stays. */
PM_INLINE vec vec_at_least(vec a, float least) {
#if PM_LANES == 16
    return (vec)_mm512_max_ps(_mm512_set1_ps(least), (__m512)a);
#elif PM_LANES == 8
    return (vec)_mm256_max_ps(_mm256_set1_ps(least), (__m256)a);
#else
    return (vec)_mm_max_ps(_mm_set1_ps(least), (__m128)a);
#endif
}
PM_INLINE vec vec_at_most(vec a, float most) {
#if PM_LANES == 16
    return (vec)_mm512_min_ps(_mm512_set1_ps(most), (__m512)a);
#elif PM_LANES == 8
    return (vec)_mm256_min_ps(_mm256_set1_ps(most), (__m256)a);
#else
    return (vec)_mm_min_ps(_mm_set1_ps(most), (__m128)a);
#endif
}

PM_INLINE vec vec_sqrt(vec a) {
#if PM_LANES == 16
    return (vec)_mm512_sqrt_ps((__m512)a);
#elif PM_LANES == 8
    return (vec)_mm256_sqrt_ps((__m256)a);
#else
    return (vec)_mm_sqrt_ps((__m128)a);
#endif
}
/* Over all lanes: halves onto halves. */
PM_INLINE float vec_sum(vec a) {
#if PM_LANES == 16
    const __m512 all = (__m512)a;
    const __m256 two = _mm256_add_ps(_mm512_castps512_ps256(all), _mm512_extractf32x8_ps(all, 1));
#elif PM_LANES == 8
    const __m256 two = (__m256)a;
#endif
#if PM_LANES >= 8
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(two), _mm256_extractf128_ps(two, 1));
#else
    __m128 s = (__m128)a;
#endif
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_shuffle_ps(s, s, 1)));
}

/* Store `count` pixels of one block from (image, block, y, x) on, by way of the epilogue. */
void PM_ISA_SYMBOL(pm_finish)(const pm_epilogue *epilogue, vec *pixels, size_t image, size_t block,
                              size_t y, size_t x, size_t count);

/* Sums of `pixels` neighbouring pixels (1 .. pm_conv_tile_pixels) for one or two output blocks:
 * out[blocks][pixels]. One tap; of conv, in.plane, in_blocks and what is `ahead` are read. */
enum { PM_ISA_SYMBOL(pm_conv_tile_pixels) = PM_LANES == 16 ? 14 : 6 };
void PM_ISA_SYMBOL(pm_conv_tile)(const pm_conv *conv, size_t blocks, size_t pixels, const float *in,
                                 const float *weights, vec *out);

/* Products that one running sum takes in before it is added to the total: short sums lose less in
 * fp32 than one long one, and it costs a percent. A property of the layer and the ISA only. */
enum { PM_RUN = 256 };

/* Pixels that a kernel works out before it hands them to pm_finish. */
enum { PM_STRIP = 16 };

/* The members of this set's table; table.c puts them together. */
void PM_ISA_SYMBOL(pm_conv)(const pm_conv *conv);
void PM_ISA_SYMBOL(pm_winograd)(const pm_winograd *work);
size_t PM_ISA_SYMBOL(pm_winograd_scratch)(size_t in_blocks, size_t out_blocks, size_t tiles);
void PM_ISA_SYMBOL(pm_winograd_weights)(size_t taps, const float *filter,
                                        float out[PM_WINOGRAD_POINTS]);
void PM_ISA_SYMBOL(pm_depthwise)(const pm_conv *convs, size_t count);
void PM_ISA_SYMBOL(pm_pointwise)(const pm_map *map);
void PM_ISA_SYMBOL(pm_maxpool)(const pm_map *map);
void PM_ISA_SYMBOL(pm_maxpool_backward)(const pm_map *map);
void PM_ISA_SYMBOL(pm_scale_map)(const pm_map *map);
void PM_ISA_SYMBOL(pm_scale_sum)(const pm_map *map);
void PM_ISA_SYMBOL(pm_avgpool)(const pm_map *map);
void PM_ISA_SYMBOL(pm_avgpool_backward)(const pm_map *map);
void PM_ISA_SYMBOL(pm_avgpool_window)(const pm_map *map);
void PM_ISA_SYMBOL(pm_avgpool_window_backward)(const pm_map *map);
void PM_ISA_SYMBOL(pm_subsample)(const pm_map *map);
void PM_ISA_SYMBOL(pm_subsample_backward)(const pm_map *map);
void PM_ISA_SYMBOL(pm_layernorm)(const pm_map *map);
void PM_ISA_SYMBOL(pm_layernorm_backward)(const pm_map *map);
void PM_ISA_SYMBOL(pm_linear)(const pm_linear *linear);
void PM_ISA_SYMBOL(pm_linear_backward)(const pm_linear *linear);
void PM_ISA_SYMBOL(pm_linear_row)(const pm_linear *linear, const size_t *rows, const float *values);
void PM_ISA_SYMBOL(pm_measure)(const pm_measure *measure);
void PM_ISA_SYMBOL(pm_scale)(const pm_measure *measure, const float *factors);
void PM_ISA_SYMBOL(pm_activity)(pm_activity *activity);
extern const pm_kernels PM_ISA_SYMBOL(pm_kernels);

#endif
