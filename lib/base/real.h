/* log, exp and the inverse normal distribution from + - * / and sqrt alone, which IEEE 754 rounds
 * in one way: the same bits with any libc, on any CPU. libm promises no such thing. */
#ifndef PM_BASE_REAL_H
#define PM_BASE_REAL_H

/* Natural logarithm of a finite x > 0, within 1 unit in the last place. */
double pm_real_log(double x);

/* e to the x for -700 <= x <= 700, within 1 unit in the last place; 0 below, infinity above. */
double pm_real_exp(double x);

/* The standard normal deviate below which a share p of the distribution lies, 0 < p < 1, to about
 * 1 part in 1e16. Wichura, Algorithm AS 241 (PPND16), Applied Statistics 37, 1988. */
double pm_real_normal(double p);

#endif
