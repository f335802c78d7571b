/* What a person can do about a failure: one line for each stage and reason that workers and broker
 * give. The one table of it; it goes into the database with the failure. */
#ifndef PM_SPEC_FAILURE_H
#define PM_SPEC_FAILURE_H

/* Never NULL: what is not known has the general advice of its stage. */
const char *pm_failure_hint(const char *stage, const char *reason);

#endif
