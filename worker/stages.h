/* What a compute thread's processor time goes into. One thread's own. */
#ifndef PM_WORKER_STAGES_H
#define PM_WORKER_STAGES_H

#include <stddef.h>
#include <stdint.h>

typedef enum pm_stage {
    PM_STAGE_OTHER,
    PM_STAGE_LOAD,   /* a run made ready: model, statistics */
    PM_STAGE_READ,   /* a photograph's bytes, and that their hash is right (ahead.h) */
    PM_STAGE_IMAGE,  /* from bytes to the network's input */
    PM_STAGE_ENGINE, /* gradients and perturbation curves */
    PM_STAGE_COUNT
} pm_stage;

typedef struct pm_stages {
    pm_stage now;
    int64_t since_us;
    int64_t us[PM_STAGE_COUNT];
    size_t items;    /* finished */
    int64_t wait_us; /* wall time without a lease, between the first and the last */
} pm_stages;

/* On the thread itself, as it begins. */
void pm_stages_start(pm_stages *stages);
/* The time until now belongs to the stage before. */
void pm_stages_enter(pm_stages *stages, pm_stage stage);
/* One line, event worker.spent. */
void pm_stages_log(pm_stages *stages, size_t thread);

#endif
