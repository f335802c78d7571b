/* The normal distribution of a vector, for GELU. Included by kernel sources only. */
#ifndef PM_ENGINE_NORMAL_H
#define PM_ENGINE_NORMAL_H

#include "worker/engine/kernels/exp.h"

/* exp(-a^2 / 2) for 0 <= a <= PM_NORMAL_RANGE. The square would lose what exp then magnifies: it is
 * taken of a's multiple of 2^-8, which is exact, and the rest comes in by exp's series. */
#define PM_NORMAL_RANGE 13.1F /* its square's half is within PM_EXP_RANGE */
PM_INLINE vec vec_bell(vec a) {
    const float grid = 49152.0F; /* 1.5 2^15: adding it leaves multiples of 2^-8 */
    const vec high = (a + grid) - grid;
    const vec d = (a - high) * (a + high) * 0.5F; /* below 0.028 */
    const vec e = vec_exp(high * high * -0.5F);
    return e - e * (d - d * d * (0.5F - d * 0.16666667F));
}

/* Phi(v), relative error below 4e-7 even where it is tiny (to -PM_NORMAL_RANGE, and from there on
 * what it is there), and its density in
 * *density. Around 0: 1/2 + v S(v^2). Else by the tail Q(a) = exp(-a^2 / 2) R(a) with
 * R(a) = P(t) t, t = 1 / (1 + a). S and P are fitted for least relative error: 7e-10, 2e-8. */
PM_INLINE vec vec_normal(vec v, vec *density) {
    const ivec negative = (ivec)(v < 0.0F);
    vec a = vec_select(negative, -v, v);
    a = vec_at_most(a, PM_NORMAL_RANGE);
    const vec bell = vec_bell(a);
    *density = bell * 0.398942280F; /* 1 / sqrt(2 pi) */

    const vec t = 1.0F / (a + 1.0F), u = t - 0.284965038F;
    vec p = u * -5.821755409F + 3.719761848F;
    p = p * u + 8.539703488e-2F;
    p = p * u - 1.317081690F;
    p = p * u + 8.183632493e-1F;
    p = p * u + 4.302862287e-2F;
    p = p * u - 4.621118009e-1F;
    p = p * u + 2.250815630e-1F;
    p = p * u + 4.944912791e-1F;
    const vec tail = bell * (p * t);

    const vec z = v * v;
    vec s = z * -7.654210094e-6F + 1.134863778e-4F;
    s = s * z - 1.186329988e-3F;
    s = s * z + 9.973322973e-3F;
    s = s * z - 6.649035960e-2F;
    s = s * z + 3.989422917e-1F;
    const vec outer = vec_select(negative, tail, 1.0F - tail);
    return vec_select((ivec)(a < 1.0F), v * s + 0.5F, outer);
}

#endif
