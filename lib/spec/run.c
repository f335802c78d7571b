/* Owns data sets and run specifications in memory, and what makes two of them the same. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "lib/spec/canonical.h"

static const char *const channel_names[PM_CHANNELS_COUNT] = {"none", "summary", "full"};
static const char *const heat_map_names[PM_HEAT_MAPS_COUNT] = {"none", "f16", "f32"};

const char *pm_channels_name(pm_channels channels) { return channel_names[channels]; }
const char *pm_heat_maps_name(pm_heat_maps heat_maps) { return heat_map_names[heat_maps]; }

pm_status pm_channels_parse(const char *name, pm_channels *out) {
    for (size_t i = 0; i < PM_CHANNELS_COUNT; i++) {
        if (strcmp(name, channel_names[i]) == 0) {
            *out = (pm_channels)i;
            return PM_OK;
        }
    }
    return pm_fail(PM_E_USAGE, "channels '%.80s' is not known; there are: none, summary, full",
                   name);
}

pm_status pm_heat_maps_parse(const char *name, pm_heat_maps *out) {
    for (size_t i = 0; i < PM_HEAT_MAPS_COUNT; i++) {
        if (strcmp(name, heat_map_names[i]) == 0) {
            *out = (pm_heat_maps)i;
            return PM_OK;
        }
    }
    return pm_fail(PM_E_USAGE, "heat maps '%.80s' is not known; there are: none, f16, f32", name);
}

void pm_data_set_fini(pm_data_set *data_set) {
    for (size_t i = 0; i < data_set->count && data_set->items; i++) {
        free(data_set->items[i].path);
        free(data_set->items[i].boxes);
    }
    for (size_t i = 0; i < data_set->class_name_count && data_set->class_names; i++)
        free(data_set->class_names[i]);
    free(data_set->items);
    free(data_set->class_names);
    free(data_set->root);
    free(data_set->name);
    *data_set = (pm_data_set){0};
}

void pm_run_spec_fini(pm_run_spec *spec) {
    free(spec->configs);
    *spec = (pm_run_spec){0};
}

const pm_sha256 *pm_run_spec_baseline(const pm_run_spec *spec) {
    for (size_t i = 0; i < spec->config_count; i++) {
        const pm_attribution *a = &spec->configs[i].attribution;
        if (a->method == PM_METHOD_IG && a->baseline == PM_BASELINE_IMAGE)
            return &spec->configs[i].baseline_image;
    }
    return NULL;
}

/* Numbers go in as 8 bytes, low first, and text with its length, so that no two lists run into
 * the same bytes. */
static void hash_number(pm_sha256_stream *stream, uint64_t value) {
    uint8_t bytes[8];
    for (size_t i = 0; i < sizeof bytes; i++) bytes[i] = (uint8_t)(value >> 8 * i);
    pm_sha256_update(stream, bytes, sizeof bytes);
}

static void hash_text(pm_sha256_stream *stream, const char *text) {
    hash_number(stream, strlen(text));
    pm_sha256_update(stream, text, strlen(text));
}

static void hash_real(pm_sha256_stream *stream, double value) {
    uint64_t bits;
    value += 0.0; /* -0 is 0 */
    memcpy(&bits, &value, sizeof bits);
    hash_number(stream, bits);
}

pm_sha256 pm_data_set_hash(const pm_data_set *data_set) {
    pm_sha256_stream stream;
    pm_sha256_begin(&stream);
    hash_text(&stream, "parchmill data set 1");
    hash_number(&stream, data_set->count);
    for (size_t i = 0; i < data_set->count; i++) {
        const pm_item *item = &data_set->items[i];
        hash_text(&stream, item->path);
        pm_sha256_update(&stream, item->sha256.bytes, sizeof item->sha256.bytes);
        hash_number(&stream, (uint64_t)(int64_t)item->label);
        hash_number(&stream, item->box_count);
        for (size_t b = 0; b < item->box_count; b++) {
            const pm_spec_box *box = &item->boxes[b];
            hash_real(&stream, box->xmin);
            hash_real(&stream, box->ymin);
            hash_real(&stream, box->xmax);
            hash_real(&stream, box->ymax);
        }
    }
    return pm_sha256_end(&stream);
}

pm_sha256 pm_run_request_id(const pm_run_spec *spec, const pm_data_set *data_set) {
    pm_sha256_stream stream;
    pm_sha256 hash = pm_data_set_hash(data_set);
    pm_sha256_begin(&stream);
    hash_text(&stream, "parchmill run 1");
    pm_sha256_update(&stream, hash.bytes, sizeof hash.bytes);
    hash_number(&stream, spec->config_count);
    for (size_t i = 0; i < spec->config_count; i++) {
        char text[PM_CANONICAL_BYTES];
        pm_config_write(&spec->configs[i], text, &hash);
        pm_sha256_update(&stream, hash.bytes, sizeof hash.bytes);
    }
    hash_text(&stream, pm_channels_name(spec->channels));
    hash_text(&stream, pm_heat_maps_name(spec->heat_maps));
    hash_text(&stream, spec->name);
    if (spec->evaluation.on) {
        char text[PM_EVALUATION_BYTES];
        pm_evaluation_format(&spec->evaluation, text);
        hash_text(&stream, "evaluation");
        hash_text(&stream, text);
    }
    return pm_sha256_end(&stream);
}
