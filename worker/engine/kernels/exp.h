/* exp of a vector, for the activations. Included by kernel sources only. */
#ifndef PM_ENGINE_EXP_H
#define PM_ENGINE_EXP_H

#include "worker/engine/kernels/vec.h"

/* exp(x) for |x| <= PM_EXP_RANGE, within 1.02 units in the last place (seen over all floats there);
 * NaN stays. exp(x) = 2^n exp(r), n = round(x / ln 2); the polynomial for |r| <= ln 2 / 2 is that
 * of expf in Moshier's Cephes. */
#define PM_EXP_RANGE 87.0F
PM_INLINE vec vec_exp(vec x) {
    const float magic = 12582912.0F; /* 1.5 2^23: adding it leaves the integer in the low bits */
    const vec shifted = x * 1.44269504F + magic;
    const vec n = shifted - magic;
    const vec r = (x - n * 0.693359375F) + n * 2.12194440e-4F; /* ln 2 in two parts */
    vec p = r * 1.9875691500e-4F + 1.3981999507e-3F;
    p = p * r + 8.3334519073e-3F;
    p = p * r + 4.1665795894e-2F;
    p = p * r + 1.6666665459e-1F;
    p = p * r + 5.0000001201e-1F;
    p = (p * (r * r) + r) + 1.0F;
    return (vec)((uvec)p + ((uvec)shifted << 23)); /* n to p's exponent: magic's bits fall off */
}

#endif
