/* Owns models in memory and what runs need of them. Knows no socket; blobs come by pm_work_fetch.
 */
#include "worker/run.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "lib/base/file.h"
#include "lib/base/log.h"
#include "lib/image/decoder.h"
#include "lib/image/image.h"

void pm_models_init(pm_models *models) {
    models->first = NULL;
    pthread_mutex_init(&models->lock, NULL);
}

void pm_models_fini(pm_models *models) { pthread_mutex_destroy(&models->lock); }

void pm_loaded_hold(pm_loaded *loaded) {
    pthread_mutex_lock(&loaded->models->lock);
    loaded->users++;
    pthread_mutex_unlock(&loaded->models->lock);
}

void pm_loaded_release(pm_loaded **loaded) {
    pm_loaded *gone = *loaded;
    if (!gone) return;
    *loaded = NULL;
    pm_models *models = gone->models;
    pthread_mutex_lock(&models->lock);
    if (--gone->users > 0) gone = NULL;
    if (gone) {
        pm_loaded **place = &models->first;
        while (*place != gone) place = &(*place)->next;
        *place = gone->next;
    }
    pthread_mutex_unlock(&models->lock);
    if (!gone) return;
    pm_model_free(&gone->model);
    free(gone);
}

/* A blob to read: open, and verified through this very descriptor, so that whatever is put at its
 * path meanwhile is not what is loaded. */
typedef struct source {
    const char *name; /* for messages */
    int fd;           /* -1: none */
} source;

static void source_fini(source *s) {
    if (s->fd >= 0) close(s->fd);
    s->fd = -1;
}

static bool open_shared(const Pm__Wire__Blob *blob, const pm_sha256 *hash, int *fd) {
    int found = open(blob->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (found < 0) return false;
    if (pm_cache_is_blob(found, hash, blob->size_bytes)) {
        *fd = found;
        return true;
    }
    close(found);
    return false;
}

/* Into the cache, or where the disk does not take it or it is gone from there at once, into memory.
 */
static pm_status fetch_blob(pm_work *work, const pm_supply *supply, pm_lease *lease,
                            const pm_sha256 *hash, uint64_t size_bytes, source *out) {
    pm_log(PM_LOG_INFO, "worker.fetch", "bytes=%llu path=" PM_QUOTED,
           (unsigned long long)size_bytes, out->name);
    if (supply->cache) {
        pm_status status = pm_work_fetch(work, lease, pm_cache_folder(supply->cache), hash,
                                         size_bytes, NULL, NULL);
        if (!status) pm_cache_added(supply->cache, size_bytes);
        if (!status && pm_cache_find(supply->cache, hash, size_bytes, &out->fd)) return PM_OK;
        if (status && status != PM_E_FULL && status != PM_E_IO) return status;
        if (status) pm_cache_refused(supply->cache);
    }
    return pm_work_fetch_nameless(work, lease, hash, size_bytes, &out->fd);
}

/* By hash: the broker's own path, the cache, else by wire. */
static pm_status open_blob(pm_work *work, pm_lease *lease, const pm_supply *supply,
                           const Pm__Wire__Blob *blob, const char *what, source *out) {
    pm_sha256 hash;
    *out = (source){.name = blob->path ? blob->path : what, .fd = -1};
    memcpy(hash.bytes, blob->sha256.data, sizeof hash.bytes);
    if (!supply->no_shared_paths && blob->path && open_shared(blob, &hash, &out->fd)) return PM_OK;
    if (pm_cache_find(supply->cache, &hash, blob->size_bytes, &out->fd)) return PM_OK;
    return fetch_blob(work, supply, lease, &hash, blob->size_bytes, out);
}

/* With the models' mutex held. */
static pm_loaded *find_model(pm_models *models, const char *arch, const pm_sha256 *hash) {
    for (pm_loaded *loaded = models->first; loaded; loaded = loaded->next)
        if (strcmp(loaded->arch, arch) == 0 && pm_sha256_equal(&loaded->hash, hash)) return loaded;
    return NULL;
}

static pm_status load_model(const char *arch, const source *from, pm_model **out) {
    pm_weights *weights = NULL;
    pm_status status = pm_weights_open_fd(from->fd, from->name, &weights);
    if (!status) status = pm_model_new(arch, weights, out);
    pm_weights_free(&weights);
    return status;
}

static pm_status new_loaded(pm_models *models, const char *arch, const pm_sha256 *hash,
                            const source *from, pm_loaded **out) {
    pm_loaded *loaded = calloc(1, sizeof *loaded);
    if (!loaded) return pm_fail(PM_E_MEMORY, "model: no memory");
    pm_status status = load_model(arch, from, &loaded->model);
    if (status) {
        free(loaded);
        return status;
    }
    loaded->models = models;
    loaded->hash = *hash;
    snprintf(loaded->arch, sizeof loaded->arch, "%s", arch);
    *out = loaded;
    return PM_OK;
}

static pm_status fetch_model(pm_models *models, pm_work *work, pm_lease *lease,
                             const pm_supply *supply, const pm_sha256 *hash, pm_loaded **out,
                             const char **stage) {
    const Pm__Wire__RunInfo *info = lease->run->info;
    source from;
    *stage = "fetch";
    pm_status status = open_blob(work, lease, supply, info->weights, "weights", &from);
    if (status) return status;
    *stage = "compute";
    status = new_loaded(models, info->arch, hash, &from, out);
    source_fini(&from);
    return status;
}

static pm_status get_model(pm_models *models, pm_work *work, pm_lease *lease,
                           const pm_supply *supply, pm_loaded **out, const char **stage) {
    const Pm__Wire__RunInfo *info = lease->run->info;
    pm_sha256 hash;
    pm_loaded *loaded = NULL, *mine = NULL;
    memcpy(hash.bytes, info->weights->sha256.data, sizeof hash.bytes);
    pthread_mutex_lock(&models->lock);
    loaded = find_model(models, info->arch, &hash);
    if (loaded) loaded->users++;
    pthread_mutex_unlock(&models->lock);
    if (loaded) goto done;
    pm_status status = fetch_model(models, work, lease, supply, &hash, &mine, stage);
    if (status) return status;
    pthread_mutex_lock(&models->lock);
    /* Another run may have loaded the same while this one did. */
    loaded = find_model(models, info->arch, &hash);
    if (!loaded) {
        loaded = mine;
        mine = NULL;
        loaded->next = models->first;
        models->first = loaded;
    }
    loaded->users++;
    pthread_mutex_unlock(&models->lock);
    if (mine) {
        pm_model_free(&mine->model);
        free(mine);
    }
done:
    *out = loaded;
    return PM_OK;
}

/* Of what the run's configurations compare: a network's class p-values can be more than all else
 * that a worker holds. */
static pm_status read_statistics(pm_run_ready *ready, const source *from) {
    const pm_attribution **attributions = calloc(ready->count + 1, sizeof *attributions);
    pm_weights *tensors = NULL;
    size_t count = 0;
    if (!attributions) return pm_fail(PM_E_MEMORY, "statistics: no memory");
    for (size_t i = 0; i < ready->count; i++)
        if (!ready->configurations[i].text)
            attributions[count++] = &ready->configurations[i].config.attribution;
    pm_status status = pm_weights_open_fd(from->fd, from->name, &tensors);
    if (!status)
        status = pm_statistics_new_for(ready->loaded->model, tensors, attributions, count,
                                       &ready->statistics);
    pm_weights_free(&tensors);
    free(attributions);
    return status;
}

static pm_status get_statistics(pm_work *work, pm_lease *lease, const pm_supply *supply,
                                pm_run_ready *ready, const char **stage) {
    const Pm__Wire__Blob *blob = lease->run->info->statistics;
    source from;
    if (!blob) return PM_OK;
    *stage = "fetch";
    pm_status status = open_blob(work, lease, supply, blob, "statistics", &from);
    if (status) return status;
    *stage = "compute";
    status = read_statistics(ready, &from);
    source_fini(&from);
    return status;
}

static pm_status read_source(const source *from, uint8_t **bytes, size_t *size) {
    char path[32];
    snprintf(path, sizeof path, "/proc/self/fd/%d", from->fd);
    return pm_file_read(path, PM_IMAGE_BYTES_MAX, bytes, size);
}

static pm_status open_baseline(pm_work *work, pm_lease *lease, const pm_supply *supply,
                               pm_image *out, const char **stage) {
    const Pm__Wire__Blob *blob = lease->run->info->baseline;
    source from;
    uint8_t *bytes = NULL;
    size_t size = 0;
    if (!blob) return PM_OK;
    *stage = "fetch";
    pm_status status = open_blob(work, lease, supply, blob, "baseline", &from);
    if (!status) status = read_source(&from, &bytes, &size);
    source_fini(&from);
    if (status) return pm_fail_in(status, "baseline");
    *stage = "decode";
    status = pm_decoder_decode_one(from.name, bytes, size, NULL, out);
    free(bytes);
    return status ? pm_fail_in(status, "baseline") : PM_OK;
}

static bool starts_from_photograph(const pm_ready_configuration *c) {
    return c->engine && c->config.attribution.method == PM_METHOD_IG &&
           c->config.attribution.baseline == PM_BASELINE_IMAGE;
}

static pm_status make_baseline(pm_run_ready *ready, const pm_image *photograph,
                               pm_ready_configuration *c) {
    const pm_config *config = &c->config;
    pm_preprocessing how = {
        .resize = config->resize, .crop = config->crop, .filter = config->filter};
    memcpy(how.mean, config->mean, sizeof how.mean);
    memcpy(how.std, config->std, sizeof how.std);
    float *tensor = malloc(3 * how.crop * how.crop * sizeof *tensor);
    if (!tensor) return pm_fail(PM_E_MEMORY, "baseline: no memory");
    pm_status status = pm_image_tensor(photograph, &how, tensor, NULL);
    if (status) {
        free(tensor);
        return pm_fail_in(status, "baseline");
    }
    c->baseline = ready->baselines[ready->baseline_count++] = tensor;
    return PM_OK;
}

/* The tensor of the photograph that ig starts from, one for all that preprocess alike. */
static pm_status get_baselines(pm_work *work, pm_lease *lease, const pm_supply *supply,
                               pm_run_ready *ready, const char **stage) {
    pm_image photograph = {0};
    pm_status status = open_baseline(work, lease, supply, &photograph, stage);
    if (status || !photograph.rgb) return status;
    *stage = "preprocess";
    ready->baselines = calloc(ready->count, sizeof *ready->baselines);
    if (!ready->baselines) status = pm_fail(PM_E_MEMORY, "baseline: no memory");
    for (size_t i = 0; i < ready->count && !status; i++) {
        pm_ready_configuration *c = &ready->configurations[i];
        if (!starts_from_photograph(c)) continue;
        for (size_t k = 0; k < i && !c->baseline; k++) {
            const pm_ready_configuration *other = &ready->configurations[k];
            if (other->baseline && pm_config_same_preprocessing(&other->config, &c->config))
                c->baseline = other->baseline;
        }
        if (!c->baseline) status = make_baseline(ready, &photograph, c);
    }
    pm_image_fini(&photograph);
    return status;
}

/* A configuration that does not hold fails alone: its results say why. */
static pm_status refuse(pm_ready_configuration *c) {
    pm_log(PM_LOG_ERROR, "worker.configuration", "error=" PM_QUOTED, pm_error_text());
    c->text = strdup(pm_error_text());
    return c->text ? PM_OK : pm_fail(PM_E_MEMORY, "configuration: no memory");
}

static pm_status parse_configurations(const Pm__Wire__RunInfo *info, pm_run_ready *ready) {
    ready->configurations = calloc(info->n_configurations, sizeof *ready->configurations);
    if (!ready->configurations) return pm_fail(PM_E_MEMORY, "run: no memory");
    for (size_t i = 0; i < info->n_configurations; i++) {
        pm_ready_configuration *c = &ready->configurations[ready->count++];
        pm_status status = pm_config_parse(info->configurations[i], &c->config);
        if (!status) status = pm_config_check(&c->config);
        c->gathers = !status && c->config.attribution.method == PM_METHOD_GATHER;
        if (status && (status = refuse(c))) return status;
    }
    return PM_OK;
}

static pm_status make_configurations(pm_run_ready *ready) {
    for (size_t i = 0; i < ready->count; i++) {
        pm_ready_configuration *c = &ready->configurations[i];
        if (c->text || c->gathers) continue;
        pm_status status =
            pm_configuration_new(ready->loaded->model, &c->config.attribution,
                                 c->config.has_statistics ? ready->statistics : NULL, &c->engine);
        if (status && (status = refuse(c))) return status;
    }
    return PM_OK;
}

void pm_run_ready_free(pm_run_ready **ready) {
    if (!*ready) return;
    for (size_t i = 0; i < (*ready)->count; i++) {
        pm_configuration_free(&(*ready)->configurations[i].engine);
        free((*ready)->configurations[i].text);
    }
    for (size_t i = 0; i < (*ready)->baseline_count; i++) free((*ready)->baselines[i]);
    free((*ready)->baselines);
    free((*ready)->configurations);
    pm_statistics_free(&(*ready)->statistics);
    pm_loaded_release(&(*ready)->loaded);
    free(*ready);
    *ready = NULL;
}

static pm_status make_ready(pm_models *models, pm_work *work, pm_lease *lease,
                            const pm_supply *supply, pm_run_ready **out, const char **stage) {
    const Pm__Wire__RunInfo *info = lease->run->info;
    pm_run_ready *ready = calloc(1, sizeof *ready);
    if (!ready) return pm_fail(PM_E_MEMORY, "run: no memory");
    *stage = "compute";
    pm_status status = pm_channels_parse(info->channels, &ready->channels);
    if (!status) status = pm_heat_maps_parse(info->heat_maps, &ready->heat_maps);
    if (!status && info->evaluation)
        status = pm_evaluation_parse(info->evaluation, &ready->evaluation);
    if (!status) status = get_model(models, work, lease, supply, &ready->loaded, stage);
    if (!status) status = parse_configurations(info, ready);
    if (!status) status = get_statistics(work, lease, supply, ready, stage);
    if (!status) status = make_configurations(ready);
    if (!status) status = get_baselines(work, lease, supply, ready, stage);
    if (status) {
        pm_run_ready_free(&ready);
        return status;
    }
    pm_log(PM_LOG_INFO, "worker.run", "run=%llu arch=%s configurations=%zu isa=%s",
           (unsigned long long)info->run, info->arch, ready->count,
           pm_model_isa(ready->loaded->model));
    *out = ready;
    return PM_OK;
}

/* Another thread may be fetching the weights: as long as chunks come, waiting for it is progress.
 */
static void lock_load(pm_work *work, pm_lease *lease, pm_run *run) {
    if (pthread_mutex_trylock(&run->load_lock) == 0) return;
    unsigned long received = pm_work_chunks(work);
    for (;;) {
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_sec++;
        if (pthread_mutex_timedlock(&run->load_lock, &until) == 0) return;
        unsigned long now = pm_work_chunks(work);
        if (now != received) pm_work_beat(work, lease);
        received = now;
    }
}

pm_status pm_run_prepare(pm_models *models, pm_work *work, pm_lease *lease, const pm_supply *supply,
                         pm_run_ready **out, const char **stage) {
    pm_run *run = lease->run;
    pm_status status = PM_OK;
    lock_load(work, lease, run);
    if (!run->ready) status = make_ready(models, work, lease, supply, &run->ready, stage);
    if (!status) *out = run->ready;
    pthread_mutex_unlock(&run->load_lock);
    return status;
}
