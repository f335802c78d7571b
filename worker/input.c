/* Owns the way from a photograph to the network's input, and its boxes'. */
#include "worker/input.h"

#include <stdlib.h>
#include <string.h>

static pm_pixel_box map_box(const pm_geometry *geometry, const pm_box *box) {
    pm_crop_box crop = pm_geometry_box(geometry, box);
    return (pm_pixel_box){crop.xmin, crop.ymin, crop.xmax, crop.ymax};
}

/* The first box has fields of its own; `corners` holds four numbers for each behind it. */
static pm_status map_boxes(const Pm__Wire__Item *item, const pm_geometry *geometry,
                           pm_item_input *out) {
    if (!item->has_xmin || !item->has_ymin || !item->has_xmax || !item->has_ymax) return PM_OK;
    size_t count = 1 + item->n_corners / 4;
    out->boxes = calloc(count, sizeof *out->boxes);
    if (!out->boxes) return pm_fail(PM_E_MEMORY, "boxes: no memory");
    out->box_count = count;
    out->boxes[0] = map_box(geometry, &(pm_box){item->xmin, item->ymin, item->xmax, item->ymax});
    for (size_t i = 1; i < count; i++) {
        const double *at = item->corners + 4 * (i - 1);
        out->boxes[i] = map_box(geometry, &(pm_box){at[0], at[1], at[2], at[3]});
    }
    return PM_OK;
}

pm_status pm_item_input_make(const Pm__Wire__Item *item, const pm_image *photograph,
                             const pm_config *config, size_t requests, pm_item_input *out) {
    pm_preprocessing how = {
        .resize = config->resize, .crop = config->crop, .filter = config->filter};
    pm_geometry geometry;
    pm_sha256 hash;
    memcpy(how.mean, config->mean, sizeof how.mean);
    memcpy(how.std, config->std, sizeof how.std);
    memcpy(hash.bytes, item->sha256.data, sizeof hash.bytes);
    out->tensor = malloc(3 * config->crop * config->crop * sizeof *out->tensor);
    if (!out->tensor) return pm_fail(PM_E_MEMORY, "input: no memory");
    pm_status status = pm_image_input_tensor(
        photograph, &how, &config->input, config->attribution.seed, &hash, out->tensor, &geometry);
    if (!status) status = pm_extras_init(&out->extras, out->tensor, config->crop, &hash, requests);
    return status ? status : map_boxes(item, &geometry, out);
}

void pm_item_input_fini(pm_item_input *input) {
    pm_extras_fini(&input->extras);
    free(input->tensor);
    free(input->boxes);
    *input = (pm_item_input){0};
}

size_t pm_item_input_boxes(const pm_item_input *input, const pm_config *config) {
    return config->all_boxes || input->box_count == 0 ? input->box_count : 1;
}
