/* Owns the passes over the activations. Knows neither how they came there nor where the statistics
 * go. */
#include "tools/statistics/compute.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/store/gathered.h"

enum { BUDGET_BYTES = 256 << 20, THREADS_MAX = 256 };

typedef struct pass {
    pm_gathered *gathered;
    const pm_stats_how *how;
    pm_stats_made *made;
    pm_channel_plan *plan;
    size_t images; /* that are there */
    size_t *items; /* [images] their ordinals */
    /* One block of channels. */
    size_t block, first, count; /* most channels; of this one */
    float *slice;               /* [block] of one image */
    float *values;              /* [block][images] */
    float *welch, *student;     /* [block][class_count] */
    atomic_size_t next;         /* channel of the block that nobody works on yet */
} pass;

pm_stats_made *pm_stats_made_new(void) { return calloc(1, sizeof(pm_stats_made)); }

void pm_stats_made_free(pm_stats_made **made) {
    pm_stats_made *gone = *made;
    *made = NULL;
    if (!gone) return;
    pm_stats_file_free(&gone->file);
    pm_stats_shape_fini(&gone->shape);
    free(gone->channels);
    free(gone->density);
    free(gone->class_images);
    free(gone);
}

static pm_status no_memory(void) { return pm_fail(PM_E_MEMORY, "no memory for the statistics"); }

static bool stopped(const pass *p) { return p->how->stop && *p->how->stop; }

static pm_status cancelled(void) { return pm_fail(PM_E_CANCELLED, "stopped"); }

/* ---- before the first pass ---- */

static int ascending(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

/* The classes that occur, and the plan for every channel. */
static pm_status plan_classes(pass *p) {
    const pm_gathered_item *items = pm_gathered_items(p->gathered);
    pm_stats_shape *shape = &p->made->shape;
    int *column = malloc((p->images + 1) * sizeof *column);
    shape->classes = malloc((p->images + 1) * sizeof *shape->classes);
    p->made->class_images = calloc(p->images + 1, sizeof *p->made->class_images);
    pm_status status = column && shape->classes && p->made->class_images ? PM_OK : no_memory();
    size_t labelled = 0;
    for (size_t i = 0; i < p->images && !status; i++)
        if (items[p->items[i]].label >= 0)
            shape->classes[labelled++] = (uint32_t)items[p->items[i]].label;
    p->made->unlabelled = p->images - labelled;
    if (!status) qsort(shape->classes, labelled, sizeof *shape->classes, ascending);
    for (size_t i = 0; i < labelled; i++)
        if (shape->class_count == 0 || shape->classes[shape->class_count - 1] != shape->classes[i])
            shape->classes[shape->class_count++] = shape->classes[i];
    for (size_t i = 0; i < p->images && !status; i++) {
        const uint32_t label = (uint32_t)items[p->items[i]].label;
        const uint32_t *at =
            items[p->items[i]].label < 0
                ? NULL
                : bsearch(&label, shape->classes, shape->class_count, sizeof label, ascending);
        column[i] = at ? (int)(at - shape->classes) : -1;
        if (at) p->made->class_images[at - shape->classes]++;
    }
    if (!status) status = pm_channel_plan_new(column, p->images, shape->class_count, &p->plan);
    free(column);
    return status;
}

static pm_status check_model(const pass *p) {
    const pm_stats_shape *shape = &p->made->shape;
    if (pm_gathered_channels(p->gathered) == shape->channels &&
        pm_gathered_convs(p->gathered) == shape->conv_count)
        return PM_OK;
    return pm_fail(PM_E_MISMATCH,
                   "the run gathered %zu channels of %zu convolutions, %s has %zu of %zu",
                   pm_gathered_channels(p->gathered), pm_gathered_convs(p->gathered), shape->arch,
                   shape->channels, shape->conv_count);
}

static pm_status list_images(pass *p) {
    const size_t count = pm_gathered_count(p->gathered);
    p->items = malloc((count + 1) * sizeof *p->items);
    if (!p->items) return no_memory();
    for (size_t i = 0; i < count; i++)
        if (pm_gathered_items(p->gathered)[i].there) p->items[p->images++] = i;
    p->made->failed = count - p->images;
    p->made->shape.images = p->images;
    return PM_OK;
}

static pm_status mean_density(pass *p) {
    const size_t convs = p->made->shape.conv_count;
    float *one = malloc((convs + 1) * sizeof *one);
    p->made->density = calloc(convs + 1, sizeof *p->made->density);
    pm_status status = one && p->made->density ? PM_OK : no_memory();
    for (size_t i = 0; i < p->images && !status; i++) {
        status = pm_gathered_density(p->gathered, p->items[i], one);
        for (size_t c = 0; c < convs && !status; c++) p->made->density[c] += (double)one[c];
    }
    for (size_t c = 0; c < convs && !status; c++) p->made->density[c] /= (double)p->images;
    free(one);
    return status;
}

static pm_status make_room(pass *p) {
    const pm_stats_shape *shape = &p->made->shape;
    const size_t budget = p->how->budget_bytes ? p->how->budget_bytes : (size_t)BUDGET_BYTES;
    const size_t each = (p->images + 2 * shape->class_count + 1) * sizeof(float);
    p->block = budget / each;
    if (p->block < 1) p->block = 1;
    if (p->block > shape->channels) p->block = shape->channels;
    p->slice = malloc(p->block * sizeof *p->slice);
    p->values = malloc(p->block * p->images * sizeof *p->values);
    p->welch = malloc(p->block * (shape->class_count + 1) * sizeof *p->welch);
    p->student = malloc(p->block * (shape->class_count + 1) * sizeof *p->student);
    p->made->channels = calloc(shape->channels, sizeof *p->made->channels);
    return p->slice && p->values && p->welch && p->student && p->made->channels ? PM_OK
                                                                                : no_memory();
}

/* ---- one block ---- */

static pm_status read_block(pass *p) {
    for (size_t i = 0; i < p->images; i++) {
        if (stopped(p)) return cancelled();
        pm_status status = pm_gathered_read(p->gathered, p->items[i], p->first, p->count, p->slice);
        if (status) return status;
        for (size_t c = 0; c < p->count; c++) p->values[c * p->images + i] = p->slice[c];
    }
    return PM_OK;
}

/* One thread: channels of the block until none is left. */
typedef struct hand {
    pass *pass;
    bool shows; /* the one that is the caller's */
    pthread_t thread;
    pm_status status;
    char text[256];
} hand;

static void *work(void *user) {
    hand *h = user;
    pass *p = h->pass;
    const size_t classes = p->made->shape.class_count;
    pm_channel_scratch *scratch = NULL;
    h->status = pm_channel_scratch_new(p->plan, &scratch);
    while (!h->status) {
        const size_t c = atomic_fetch_add(&p->next, 1);
        if (c >= p->count) break;
        if (h->shows && p->how->progress)
            p->how->progress(p->how->user, p->first + c, p->made->shape.channels);
        h->status = stopped(p) ? cancelled()
                               : pm_channel_run(p->plan, scratch, p->values + c * p->images,
                                                &p->made->channels[p->first + c],
                                                p->welch + c * classes, p->student + c * classes);
    }
    if (h->status) snprintf(h->text, sizeof h->text, "%s", pm_error_text());
    pm_channel_scratch_free(&scratch);
    return NULL;
}

static pm_status compute_block(pass *p) {
    hand hands[THREADS_MAX];
    size_t count = p->how->threads < 1 ? 1 : p->how->threads, started = 1;
    if (count > THREADS_MAX) count = THREADS_MAX;
    atomic_store(&p->next, 0);
    for (size_t i = 0; i < count; i++) hands[i] = (hand){.pass = p, .shows = i == 0};
    /* A thread that cannot be started leaves its share to the others. */
    while (started < count &&
           pthread_create(&hands[started].thread, NULL, work, &hands[started]) == 0)
        started++;
    work(&hands[0]);
    for (size_t i = 1; i < started; i++) pthread_join(hands[i].thread, NULL);
    for (size_t i = 0; i < started; i++)
        if (hands[i].status) return pm_fail(hands[i].status, "%s", hands[i].text);
    return PM_OK;
}

/* Fewer than two images have no deviation: 0 in the file, as for a channel that never changes. */
static float in_file(const pm_channel_summary *s, pm_stats_part part) {
    switch (part) {
    case PM_STATS_MEAN: return (float)s->mean;
    case PM_STATS_STD: return isnan(s->std) ? 0 : (float)s->std;
    case PM_STATS_SHAPIRO: return (float)s->p;
    case PM_STATS_STUDENT:
    case PM_STATS_WELCH:
    case PM_STATS_PART_COUNT: break;
    }
    return 0;
}

static pm_status write_block(pass *p) {
    pm_stats_file *file = p->made->file;
    pm_status status = PM_OK;
    for (int part = PM_STATS_MEAN; part <= PM_STATS_SHAPIRO && !status; part++) {
        for (size_t c = 0; c < p->count; c++)
            p->slice[c] = in_file(&p->made->channels[p->first + c], (pm_stats_part)part);
        status = pm_stats_file_put(file, (pm_stats_part)part, p->first, p->count, p->slice);
    }
    if (!status && p->made->shape.has[PM_STATS_STUDENT])
        status = pm_stats_file_put(file, PM_STATS_STUDENT, p->first, p->count, p->student);
    if (!status && p->made->shape.has[PM_STATS_WELCH])
        status = pm_stats_file_put(file, PM_STATS_WELCH, p->first, p->count, p->welch);
    return status;
}

static pm_status pass_over_blocks(pass *p) {
    const size_t channels = p->made->shape.channels;
    pm_status status = PM_OK;
    for (p->first = 0; p->first < channels && !status; p->first += p->count) {
        p->count = channels - p->first < p->block ? channels - p->first : p->block;
        status = read_block(p);
        if (!status) status = compute_block(p);
        if (!status) status = write_block(p);
    }
    if (!status && p->how->progress) p->how->progress(p->how->user, channels, channels);
    return status;
}

static pm_status compute(pass *p, const char *db, uint64_t run_id, const char *folder) {
    pm_stats_shape *shape = &p->made->shape;
    pm_status status = pm_gathered_open(db, run_id, &p->gathered);
    if (!status) status = check_model(p);
    if (!status) status = list_images(p);
    if (!status) status = plan_classes(p);
    if (!status) status = mean_density(p);
    if (!status) status = make_room(p);
    for (int part = 0; part < PM_STATS_PART_COUNT; part++)
        shape->has[part] = pm_stats_columns(shape, (pm_stats_part)part) > 0;
    if (!status) status = pm_stats_file_new(shape, folder, &p->made->file);
    if (!status) status = pass_over_blocks(p);
    if (!status) status = pm_stats_file_seal(p->made->file, &p->made->sha256, &p->made->size_bytes);
    return status;
}

pm_status pm_stats_compute(const char *db, uint64_t run_id, pm_stats_shape *shape,
                           const char *folder, const pm_stats_how *how, pm_stats_made **out) {
    pass p = {.how = how, .made = pm_stats_made_new()};
    if (!p.made) return no_memory();
    p.made->shape = *shape;
    *shape = (pm_stats_shape){0};
    pm_status status = compute(&p, db, run_id, folder);
    pm_gathered_close(&p.gathered);
    pm_channel_plan_free(&p.plan);
    free(p.items);
    free(p.slice);
    free(p.values);
    free(p.welch);
    free(p.student);
    if (status)
        pm_stats_made_free(&p.made);
    else
        *out = p.made;
    return status;
}
