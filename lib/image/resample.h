/* Inside lib/image: a part of a resized photograph, without computing the rest. */
#ifndef PM_IMAGE_RESAMPLE_H
#define PM_IMAGE_RESAMPLE_H

#include "lib/image/image.h"

/* Inside a photograph resized to full_width x full_height; not empty and not outside of it. */
typedef struct pm_region {
    size_t full_width, full_height;
    size_t left, top, width, height;
} pm_region;

/* Equal to resizing whole and cropping then. PM_E_MEMORY. */
pm_status pm_resample(const pm_image *in, const pm_region *region, pm_filter filter, pm_image *out);

#endif
