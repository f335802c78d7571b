/* Owns elementary functions whose every bit is ours. Compiled without contraction, as all of the
 * project but its kernels. */
#include "lib/base/real.h"

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* ln 2 in two parts; the first ends in 33 zero bits, so that a small integer times it is exact. */
static const double ln2_high = 0x1.62e42p-1, ln2_low = 0x1.fdf473de6af28p-22;

static double from_bits(uint64_t bits) {
    double out;
    memcpy(&out, &bits, sizeof out);
    return out;
}

/* x = 2^k (1 + f), 1 + f in [sqrt(1/2), sqrt 2). With s = f / (2 + f), log(1 + f) is 2 artanh s =
 * f - (f^2/2 - s (f^2/2 + R)), R = sum of 2 s^2i / (2i + 1): f itself enters exactly. */
double pm_real_log(double x) {
    uint64_t bits;
    int k = -1023;
    if (x < 0x1p-1022) {
        x *= 0x1p54;
        k -= 54;
    }
    memcpy(&bits, &x, sizeof bits);
    k += (int)(bits >> 52);
    double m = from_bits((bits & 0xFFFFFFFFFFFFFu) | 0x3FF0000000000000u);
    if (m >= 0x1.6a09e667f3bcdp+0) {
        m *= 0.5;
        k++;
    }
    double f = m - 1.0, s = f / (2.0 + f), z = s * s, sum = 0.0;
    for (int i = 12; i >= 1; i--) sum = z * (2.0 / (2 * i + 1) + sum);
    double half = 0.5 * f * f;
    return k * ln2_high - ((half - (s * (half + sum) + k * ln2_low)) - f);
}

/* e^x = 2^k e^r, |r| <= ln 2 / 2. e^r = 1 + 2r / (t - r), t = 2 + r^2/6 - r^4/360 + ... even in r:
 * r coth(r / 2). Its coefficients are B_2n / (2n)! (Bernoulli numbers). */
double pm_real_exp(double x) {
    static const double even[] = {1.0 / 6,          -1.0 / 360,     1.0 / 15120,
                                  -1.0 / 604800,    1.0 / 23950080, -691.0 / 653837184000,
                                  1.0 / 37362124800};
    if (x < -700.0) return 0.0;
    if (x > 700.0) return INFINITY;
    double scaled = x * 0x1.71547652b82fep+0;
    int k = (int)(scaled < 0 ? scaled - 0.5 : scaled + 0.5);
    double high = x - k * ln2_high, low = k * ln2_low, r = high - low, z = r * r, sum = 0.0;
    for (size_t i = sizeof even / sizeof *even; i-- > 0;) sum = z * (even[i] + sum);
    double c = r - sum;
    double y = 1.0 - ((low - r * c / (2.0 - c)) - high);
    return y * from_bits((uint64_t)(k + 1023) << 52);
}

/* c[0] + c[1] r + ... + c[7] r^7. */
static double polynomial(const double c[8], double r) {
    double sum = c[7];
    for (size_t i = 7; i-- > 0;) sum = sum * r + c[i];
    return sum;
}

double pm_real_normal(double p) {
    static const double a[8] = {3.3871328727963666080e0,  1.3314166789178437745e+2,
                                1.9715909503065514427e+3, 1.3731693765509461125e+4,
                                4.5921953931549871457e+4, 6.7265770927008700853e+4,
                                3.3430575583588128105e+4, 2.5090809287301226727e+3};
    static const double b[8] = {1.0,
                                4.2313330701600911252e+1,
                                6.8718700749205790830e+2,
                                5.3941960214247511077e+3,
                                2.1213794301586595867e+4,
                                3.9307895800092710610e+4,
                                2.8729085735721942674e+4,
                                5.2264952788528545610e+3};
    static const double c[8] = {1.42343711074968357734e0,  4.63033784615654529590e0,
                                5.76949722146069140550e0,  3.64784832476320460504e0,
                                1.27045825245236838258e0,  2.41780725177450611770e-1,
                                2.27238449892691845833e-2, 7.74545014278341407640e-4};
    static const double d[8] = {1.0,
                                2.05319162663775882187e0,
                                1.67638483018380384940e0,
                                6.89767334985100004550e-1,
                                1.48103976427480074590e-1,
                                1.51986665636164571966e-2,
                                5.47593808499534494600e-4,
                                1.05075007164441684324e-9};
    static const double e[8] = {6.65790464350110377720e0,  5.46378491116411436990e0,
                                1.78482653991729133580e0,  2.96560571828504891230e-1,
                                2.65321895265761230930e-2, 1.24266094738807843860e-3,
                                2.71155556874348757815e-5, 2.01033439929228813265e-7};
    static const double f[8] = {1.0,
                                5.99832206555887937690e-1,
                                1.36929880922735805310e-1,
                                1.48753612908506148525e-2,
                                7.86869131145613259100e-4,
                                1.84631831751005468180e-5,
                                1.42151175831644588870e-7,
                                2.04426310338993978564e-15};
    double q = p - 0.5;
    if (q >= -0.425 && q <= 0.425) {
        double r = 0.180625 - q * q;
        return q * polynomial(a, r) / polynomial(b, r);
    }
    double r = sqrt(-pm_real_log(q < 0 ? p : 1.0 - p));
    double z = r <= 5.0 ? polynomial(c, r - 1.6) / polynomial(d, r - 1.6)
                        : polynomial(e, r - 5.0) / polynomial(f, r - 5.0);
    return q < 0 ? -z : z;
}
