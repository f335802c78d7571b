/* What a group of configurations shows the network of one item, and where the item's boxes lie in
 * it. Knows no engine and no socket. */
#ifndef PM_WORKER_INPUT_H
#define PM_WORKER_INPUT_H

#include "lib/image/extras.h"
#include "lib/image/inputs.h"
#include "lib/net/net.h"
#include "lib/spec/spec.h"
#include "lib/stats/boxes.h"

/* Zero-initialise; pm_item_input_fini also after a failure. */
typedef struct pm_item_input {
    float *tensor; /* [3][crop][crop] */
    size_t box_count;
    pm_pixel_box *boxes; /* [box_count], pixels of the tensor, clamped: some may be empty */
    pm_extras extras;    /* of the tensor */
} pm_item_input;

/* By the configuration's preprocessing, input and seed; `requests` of them will share it.
 * PM_E_MEMORY, and what pm_image_crop and pm_image_input give. */
pm_status pm_item_input_make(const Pm__Wire__Item *item, const pm_image *photograph,
                             const pm_config *config, size_t requests, pm_item_input *out);
void pm_item_input_fini(pm_item_input *input);

/* Boxes that this configuration is scored by: none, the first, or all. */
size_t pm_item_input_boxes(const pm_item_input *input, const pm_config *config);

#endif
