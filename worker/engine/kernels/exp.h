/* exp of a vector, for the activations. Included by kernel sources only. */
#ifndef PM_ENGINE_EXP_H
#define PM_ENGINE_EXP_H

#include "worker/engine/kernels/vec.h"

/* Within 1.02 units in the last place (seen over all floats); below -87.3, where the result would
 * be subnormal, exactly 0; above 88.37 infinite; NaN stays. exp(x) = 2^n exp(r), n = round(x / ln
 * 2); the polynomial for |r| <= ln 2 / 2 is that of expf in Moshier's Cephes. */
PM_INLINE vec vec_exp(vec x) {
    const float magic = 12582912.0F; /* 1.5 2^23: adding it leaves the integer in the low bits */
    const ivec tiny = (ivec)(x < -87.3F);
    x = vec_select((ivec)(x > 89.0F), (vec){0} + 89.0F, x);
    x = vec_select(tiny, (vec){0}, x);
    const vec shifted = x * 1.44269504F + magic;
    const vec n = shifted - magic;
    const vec r = (x - n * 0.693359375F) + n * 2.12194440e-4F; /* ln 2 in two parts */
    vec p = r * 1.9875691500e-4F + 1.3981999507e-3F;
    p = p * r + 8.3334519073e-3F;
    p = p * r + 4.1665795894e-2F;
    p = p * r + 1.6666665459e-1F;
    p = p * r + 5.0000001201e-1F;
    p = (p * (r * r) + r) + 1.0F;
    const ivec power = ((ivec)shifted - (ivec)((vec){0} + magic) + 127) << 23;
    return vec_select(tiny, (vec){0}, p * (vec)power);
}

#endif
