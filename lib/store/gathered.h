/* Reading what a gather run left, image by image, some channels at a time: statistics are made of
 * it without ever holding all of it.
 *
 * Read-only, beside whoever writes. One user at a time. */
#ifndef PM_GATHERED_H
#define PM_GATHERED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/status.h"

typedef struct pm_gathered pm_gathered;

typedef struct pm_gathered_item {
    int label;  /* class index; -1: none */
    bool there; /* false: it failed, or is not computed yet */
} pm_gathered_item;

/* PM_E_NOT_FOUND: no such run, no gather run, or not one image has activations; PM_E_FORMAT: images
 * with different numbers of channels; PM_E_IO, PM_E_MEMORY. */
pm_status pm_gathered_open(const char *db, uint64_t run_id, pm_gathered **out);
void pm_gathered_close(pm_gathered **gathered);

size_t pm_gathered_count(const pm_gathered *gathered); /* items of the run's data set */
/* [count], in item order. */
const pm_gathered_item *pm_gathered_items(const pm_gathered *gathered);
size_t pm_gathered_channels(const pm_gathered *gathered); /* of all convolutions together */
size_t pm_gathered_convs(const pm_gathered *gathered);

/* Activations of an item that is there: channels first .. first + count - 1. out: [count]. */
pm_status pm_gathered_read(pm_gathered *gathered, size_t item, size_t first, size_t count,
                           float *out);
/* Share of raw outputs above 0, of every convolution. out: [convs]. */
pm_status pm_gathered_density(pm_gathered *gathered, size_t item, float *out);

#endif
