/* A run made ready: its model, statistics and configurations in memory.
 *
 * Models are shared between runs and threads by the hash of their weights. What fails is not
 * remembered: the next task of the run tries again, so that a mended file is enough. */
#ifndef PM_WORKER_RUN_H
#define PM_WORKER_RUN_H

#include <pthread.h>

#include "lib/spec/spec.h"
#include "parchgrad.h"
#include "worker/supply.h"
#include "worker/work.h"

typedef struct pm_loaded {
    struct pm_loaded *next;
    size_t users; /* under the models' mutex */
    struct pm_models *models;
    pm_sha256 hash;
    char arch[64];
    pm_model *model;
} pm_loaded;

typedef struct pm_models {
    pthread_mutex_t lock;
    pm_loaded *first;
} pm_models;

void pm_models_init(pm_models *models);
/* Nobody may hold a model any more. */
void pm_models_fini(pm_models *models);
void pm_loaded_hold(pm_loaded *loaded);
void pm_loaded_release(pm_loaded **loaded);

typedef struct pm_ready_configuration {
    pm_config config;
    bool gathers;             /* method gather: the engine needs no configuration */
    pm_configuration *engine; /* NULL otherwise: `text` says why */
    const float *baseline;    /* of the photograph that ig starts from, [3][crop][crop]; or NULL */
    char *text;
} pm_ready_configuration;

struct pm_run_ready {
    pm_loaded *loaded;
    pm_statistics *statistics; /* may be NULL */
    pm_channels channels;
    pm_heat_maps heat_maps;
    pm_evaluation evaluation;
    size_t count;
    pm_ready_configuration *configurations; /* [count] by ordinal */
    size_t baseline_count;
    float **baselines; /* [baseline_count], one a preprocessing */
};

void pm_run_ready_free(pm_run_ready **ready);

/* Load what is missing; *out lives as long as the lease's run.
 * On failure *stage is a Failure's. PM_E_CANCELLED: the lease is over. */
pm_status pm_run_prepare(pm_models *models, pm_work *work, pm_lease *lease, const pm_supply *supply,
                         pm_run_ready **out, const char **stage);

#endif
