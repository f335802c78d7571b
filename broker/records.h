/* A worker's item result as an operation of the store. */
#ifndef PM_BROKER_RECORDS_H
#define PM_BROKER_RECORDS_H

#include "lib/net/wire.h"
#include "lib/spec/spec.h"
#include "lib/store/store.h"

/* PM_E_PROTOCOL: frames that do not fit what the message and the run's spec announce;
 * PM_E_MEMORY. */
pm_status pm_record_make(const Pm__Wire__ItemResult *result, const pm_bytes *frames,
                         size_t frame_count, const pm_run_spec *spec, pm_op **out);

#endif
