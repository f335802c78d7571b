/* The checklist of `parchmill doctor`: lines of ok, warn or FAIL, the last two with what to do.
 *
 * Each part says its lines; none of them fails as a function, since what cannot be looked at is a
 * line as well. */
#ifndef PM_TOOLS_DOCTOR_H
#define PM_TOOLS_DOCTOR_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tools/options.h"

typedef enum pm_doctor_level { PM_DOCTOR_OK, PM_DOCTOR_WARN, PM_DOCTOR_FAIL } pm_doctor_level;

typedef struct pm_doctor {
    const pm_options *options;
    json_t *lines; /* NULL: text, written at once */
    size_t count[PM_DOCTOR_FAIL + 1];
} pm_doctor;

/* `advice`: what to do; NULL where all is well. */
__attribute__((format(printf, 5, 6))) void pm_doctor_say(pm_doctor *d, pm_doctor_level level,
                                                         const char *check, const char *advice,
                                                         const char *format, ...);

/* The file behind --db, its folder and disk; wall clock against its last write. */
void pm_doctor_database(pm_doctor *d);
/* --broker: who answers, in which versions, with which clock; ports where nobody does; keys. */
void pm_doctor_broker(pm_doctor *d);
void pm_doctor_keys(pm_doctor *d);
/* --images: there and readable. */
void pm_doctor_images(pm_doctor *d);
/* Processor, memory, clock, limits, libraries. */
void pm_doctor_host(pm_doctor *d);

#endif
