/* Sweeps of a threshold over a few photographs: what the run says, image by image, as pictures.
 * tools/experiment/sweep.c puts the parts together. */
#ifndef PM_TOOLS_SWEEP_H
#define PM_TOOLS_SWEEP_H

#include "lib/image/image.h"
#include "lib/stats/moments.h"
#include "tools/experiment/sheet.h"

enum { PM_SWEEP_VALUES = 12, PM_SWEEP_IMAGES = 100, PM_SWEEP_GAP = 6 };

/* One photograph with a heat map of each configuration, in the run's order. */
typedef struct pm_sweep_image {
    uint64_t item;
    char path[512];
    pm_image photograph; /* as cropped, of the panels' size */
    size_t count;
    pm_image panels[PM_SWEEP_VALUES]; /* without rgb where there is no heat map */
    char labels[PM_SWEEP_VALUES][24]; /* "q 0.05", "alpha 1e-10", "off" */
} pm_sweep_image;

/* Over the images, by configuration. share: of channels in H, over the layers where that is not
 * all; whole: the share of layers where it is, that is, where nothing is changed. */
typedef struct pm_sweep_sums {
    size_t images, count;
    char labels[PM_SWEEP_VALUES][24];
    pm_moments mu_in_w[PM_SWEEP_VALUES], share[PM_SWEEP_VALUES];
    pm_moments whole[PM_SWEEP_VALUES];
} pm_sweep_sums;

typedef pm_status (*pm_sweep_draw)(void *user, const pm_sweep_image *image);

/* The first PM_SWEEP_IMAGES images of the run in order: draw of each; rows of data go to `sheet`.
 */
pm_status pm_sweep_read(pm_study *study, pm_sweep_draw draw, void *user, pm_sheet *sheet,
                        pm_sweep_sums *sums);

/* Names of sheet's columns. */
enum { PM_SWEEP_COLUMNS = 7 };
extern const char *const pm_sweep_names[PM_SWEEP_COLUMNS];

/* White. */
pm_status pm_picture_new(size_t width, size_t height, pm_image *out);
/* What lies outside is cut. */
void pm_picture_paste(pm_image *to, size_t x, size_t y, const pm_image *from);

/* One picture of all, a row an image. Zero first; finish writes DIR/NAME and releases it. */
typedef struct pm_panels {
    pm_image *rows;
    size_t count;
} pm_panels;
pm_status pm_panels_draw(void *panels, const pm_sweep_image *image);
pm_status pm_panels_write(const pm_panels *panels, const pm_study *study, const char *name);
void pm_panels_fini(pm_panels *panels);

/* DIR/NAME.gif and .webp of one image; user: the study. */
pm_status pm_sweep_animate(void *study, const pm_sweep_image *image);
/* The number and path of an image as a file's name without ending: "00012-cat_3". Paths that differ
 * may look alike as names, numbers do not. */
enum { PM_SWEEP_NAME = 544 };
void pm_sweep_file_name(uint64_t item, const char *path, char out[PM_SWEEP_NAME]);

#endif
