/* The oracle's number: its sources are compiled twice, with PM_ORACLE_DOUBLE defined and not. */
#ifndef PM_ORACLE_REAL_H
#define PM_ORACLE_REAL_H

#ifdef PM_ORACLE_DOUBLE
typedef double pm_real;
#define PM_ORACLE(name) pm_oracle_##name##_f64
#else
typedef float pm_real;
#define PM_ORACLE(name) pm_oracle_##name##_f32
#endif

#endif
