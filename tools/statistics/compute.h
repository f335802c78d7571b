/* Statistics of what a gather run left: a block of channels at a time over all images, so that
 * memory is bounded whatever there is. The numbers do not depend on the size of a block, the number
 * of threads, or who computed which image. */
#ifndef PM_TOOLS_STATISTICS_COMPUTE_H
#define PM_TOOLS_STATISTICS_COMPUTE_H

#include <signal.h>

#include "lib/stats/channel.h"
#include "tools/statistics/file.h"

/* Statistics that are made: the small numbers here, those of the classes in the file. */
typedef struct pm_stats_made {
    pm_stats_shape shape;
    pm_channel_summary *channels; /* [shape.channels] */
    double *density;              /* [shape.conv_count]; NAN: not known */
    uint64_t *class_images;       /* [shape.class_count]; NULL: not known */
    uint64_t failed, unlabelled;  /* images left out of everything, or of the class tests */
    pm_stats_file *file;          /* sealed */
    pm_sha256 sha256;
    uint64_t size_bytes; /* of the file */
} pm_stats_made;

/* Empty, shape and all. NULL without memory. */
pm_stats_made *pm_stats_made_new(void);
void pm_stats_made_free(pm_stats_made **made);

typedef struct pm_stats_how {
    size_t threads;
    size_t budget_bytes;                                     /* 0: 256 MiB */
    const volatile sig_atomic_t *stop;                       /* may be NULL */
    void (*progress)(void *user, size_t done, size_t total); /* channels; may be NULL */
    void *user;
} pm_stats_how;

/* `shape`: the convolutions of the run's model, taken over and left empty. `folder`: for the file.
 * PM_E_NOT_FOUND: no gather run, or no image of it has activations; PM_E_MISMATCH: they are of
 * other convolutions; PM_E_CANCELLED: *stop was set. */
pm_status pm_stats_compute(const char *db, uint64_t run_id, pm_stats_shape *shape,
                           const char *folder, const pm_stats_how *how, pm_stats_made **out);

#endif
