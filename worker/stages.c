/* Owns the sums of a compute thread's processor time. Knows no work. */
#include "worker/stages.h"

#include <inttypes.h>

#include "lib/base/clock.h"
#include "lib/base/log.h"

void pm_stages_start(pm_stages *stages) {
    *stages = (pm_stages){.now = PM_STAGE_OTHER, .since_us = pm_clock_thread_us()};
}

void pm_stages_enter(pm_stages *stages, pm_stage stage) {
    const int64_t now_us = pm_clock_thread_us();
    stages->us[stages->now] += now_us - stages->since_us;
    stages->since_us = now_us;
    stages->now = stage;
}

void pm_stages_log(pm_stages *stages, size_t thread) {
    pm_stages_enter(stages, PM_STAGE_OTHER);
    pm_log(PM_LOG_INFO, "worker.spent",
           "thread=%zu items=%zu load_us=%" PRId64 " read_us=%" PRId64 " image_us=%" PRId64
           " engine_us=%" PRId64 " other_us=%" PRId64 " wait_us=%" PRId64,
           thread, stages->items, stages->us[PM_STAGE_LOAD], stages->us[PM_STAGE_READ],
           stages->us[PM_STAGE_IMAGE], stages->us[PM_STAGE_ENGINE], stages->us[PM_STAGE_OTHER],
           stages->wait_us);
}
