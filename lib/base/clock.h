/* Time. Monotonic for intervals, wall for what is written into the database. */
#ifndef PM_BASE_CLOCK_H
#define PM_BASE_CLOCK_H

#include <stdint.h>

int64_t pm_clock_ms(void);        /* monotonic, milliseconds */
int64_t pm_clock_us(void);        /* monotonic, microseconds */
int64_t pm_clock_wall_ms(void);   /* since 1970-01-01T00:00:00Z, milliseconds */
int64_t pm_clock_thread_us(void); /* processor time of the calling thread, microseconds */

#endif
