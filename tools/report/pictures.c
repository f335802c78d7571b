/* Owns the pictures' files. Reads photographs where the run read them, through the sandbox. */
#include "tools/report/pictures.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/colormap.h"
#include "lib/base/file.h"
#include "lib/base/hash.h"
#include "lib/spec/heat_map.h"

enum { SMALL_SIDE = 128, JPEG_QUALITY = 82, SIDE_MOST = 4096 };

struct pm_pictures {
    pm_query *query;
    const pm_report *report;
    const pm_report_folder *folder;
    pm_decoder *decoder; /* NULL: there is none to be had */
    pm_preprocessing how;
    pm_picture_set set;
    size_t item;
    bool has_geometry;
    pm_geometry geometry;
};

void pm_pictures_table(pm_colours colours, uint8_t rgb[PM_PICTURES_STEPS][3]) {
    uint8_t even[PM_COLORMAP_STEPS][3];
    pm_colormap_even(even);
    for (size_t i = 0; i < PM_PICTURES_STEPS; i++) {
        const double grey = (double)i / (PM_PICTURES_STEPS - 1);
        if (colours == PM_COLOURS_UNIFORM)
            memcpy(rgb[i], even[lround(grey * (PM_COLORMAP_STEPS - 1))], 3);
        else /* linear from -10 to 10 means, and a heat map has no values below 0 */
            pm_colormap_seismic(0.5 + 0.5 * grey * grey, rgb[i]);
    }
}

void pm_pictures_heat_map_name(size_t item, size_t configuration, char out[PM_PICTURE_NAME_BYTES]) {
    snprintf(out, PM_PICTURE_NAME_BYTES, "pictures/%05zu-%zu.png", item, configuration);
}

pm_status pm_pictures_open(pm_query *query, const pm_report *report, const pm_report_folder *folder,
                           pm_pictures **out) {
    pm_pictures *p = calloc(1, sizeof *p);
    if (!p) return pm_report_no_memory();
    *p = (pm_pictures){.query = query, .report = report, .folder = folder};
    p->how = (pm_preprocessing){.resize = report->resize, .crop = report->crop};
    p->set.heat_maps = calloc(report->configuration_count + 1, sizeof *p->set.heat_maps);
    pm_status status = p->set.heat_maps ? PM_OK : pm_report_no_memory();
    if (!status && report->filter) status = pm_filter_parse(report->filter, &p->how.filter);
    if (!status && (p->how.crop == 0 || p->how.crop > SIDE_MOST || p->how.resize > SIDE_MOST))
        p->how.crop = 0; /* no photographs */
    if (!status && (pm_decoder_new(NULL, &p->decoder) || pm_decoder_ready(p->decoder)))
        pm_decoder_free(&p->decoder);
    if (status)
        pm_pictures_close(&p);
    else
        *out = p;
    return status;
}

void pm_pictures_close(pm_pictures **pictures) {
    pm_pictures *p = *pictures;
    if (!p) return;
    pm_decoder_free(&p->decoder);
    free(p->set.heat_maps);
    free(p);
    *pictures = NULL;
}

/* ---- photographs ---- */

/* The path of a data set is beneath its folder; one that would leave it is not followed. */
static bool stays_beneath(const char *path) {
    if (path[0] == '/' || path[0] == 0) return false;
    for (const char *at = path; at; at = strchr(at, '/')) {
        at += *at == '/';
        if (strncmp(at, "..", 2) == 0 && (at[2] == '/' || at[2] == 0)) return false;
    }
    return true;
}

/* The decoded photograph; a text where it is not to be had. */
static const char *read_photograph(pm_pictures *p, const pm_report_item *item, pm_image *out) {
    char path[PM_REPORT_PATH_BYTES], hex[PM_SHA256_HEX_BYTES];
    uint8_t *bytes;
    size_t size;
    if (!p->decoder) return "not read: no sandbox here";
    if (p->how.crop == 0) return "not read: too large a crop";
    int n = snprintf(path, sizeof path, "%s/%s", p->report->data_root, item->path);
    if (n < 0 || (size_t)n >= sizeof path || !stays_beneath(item->path))
        return "not read: odd path";
    if (pm_file_read(path, PM_DECODER_FILE_BYTES_MAX, &bytes, &size)) return "not there any more";
    pm_sha256 hash = pm_sha256_of(bytes, size);
    pm_sha256_hex(&hash, hex);
    const char *missing = strcmp(hex, item->sha256) != 0 ? "another file by now" : NULL;
    if (!missing && pm_decoder_decode(p->decoder, path, bytes, size, NULL, out))
        missing = "cannot be decoded";
    free(bytes);
    return missing;
}

static size_t shrink_of(size_t side) {
    return (side + PM_PICTURE_SIDE_MAX - 1) / PM_PICTURE_SIDE_MAX;
}

static pm_status write_photograph(pm_pictures *p, const pm_image *crop) {
    size_t side = crop->width / shrink_of(crop->width), size = 0;
    bool small = side <= SMALL_SIDE;
    pm_image drawn = {0};
    uint8_t *bytes = NULL;
    char *name = p->set.photograph;
    pm_status status = pm_image_resize(crop, side, side, PM_FILTER_BICUBIC, &drawn);
    if (!status)
        status = small ? pm_image_encode_png(&drawn, &bytes, &size)
                       : pm_image_encode_jpeg(&drawn, JPEG_QUALITY, &bytes, &size);
    snprintf(name, PM_PICTURE_NAME_BYTES, "pictures/%05zu.%s", p->item, small ? "png" : "jpg");
    if (!status) status = pm_report_folder_write(p->folder, name, bytes, size);
    free(bytes);
    pm_image_fini(&drawn);
    return status;
}

static pm_status photograph(pm_pictures *p) {
    pm_image whole = {0}, crop = {0};
    const pm_report_item *item = &p->report->of_items[p->item];
    p->set.photograph[0] = 0;
    p->has_geometry = false;
    p->set.missing = read_photograph(p, item, &whole);
    if (p->set.missing) return PM_OK;
    pm_status status = pm_image_crop(&whole, &p->how, &crop, &p->geometry);
    p->has_geometry = !status;
    pm_decoder_forget(p->decoder);
    if (!status) status = write_photograph(p, &crop);
    pm_image_fini(&crop);
    return status;
}

/* ---- heat maps ---- */

/* Means of blocks where a map is larger than the gallery shows; *side becomes smaller. */
static void shrink(float *map, size_t *side) {
    size_t by = shrink_of(*side), small = *side / by;
    if (by == 1) return;
    for (size_t y = 0; y < small; y++)
        for (size_t x = 0; x < small; x++) {
            float sum = 0;
            for (size_t k = 0; k < by * by; k++)
                sum += map[(y * by + k / by) * *side + x * by + k % by];
            map[y * small + x] = sum / (float)(by * by);
        }
    *side = small;
}

static void to_grey(const float *map, size_t count, uint8_t *grey) {
    double sum = 0;
    for (size_t i = 0; i < count; i++)
        if (isfinite(map[i])) sum += fabs((double)map[i]);
    double most = 10.0 * sum / (double)count;
    for (size_t i = 0; i < count; i++) {
        double v = most > 0 && isfinite(map[i]) ? fmin(fmax((double)map[i] / most, 0.0), 1.0) : 0.0;
        double step = round(sqrt(v) * (PM_PICTURES_STEPS - 1));
        grey[i] = (uint8_t)lround(step * 255.0 / (PM_PICTURES_STEPS - 1));
    }
}

static pm_status write_heat_map(pm_pictures *p, size_t configuration, float *map, size_t side) {
    char name[PM_PICTURE_NAME_BYTES];
    uint8_t *bytes = NULL;
    size_t size = 0;
    shrink(map, &side);
    uint8_t *grey = malloc(side * side);
    if (!grey) return pm_report_no_memory();
    to_grey(map, side * side, grey);
    pm_pictures_heat_map_name(p->item, configuration, name);
    pm_status status = pm_image_encode_grey_png(grey, side, side, &bytes, &size);
    if (!status) status = pm_report_folder_write(p->folder, name, bytes, size);
    if (!status) p->set.heat_maps[configuration] = true;
    free(bytes);
    free(grey);
    return status;
}

static const char heat_maps_sql[] =
    "SELECT rc.ordinal, h.side, h.format, h.zstd, h.scale FROM run_configuration AS rc CROSS JOIN "
    "heat_map"
    " AS h ON h.configuration_id = rc.configuration_id AND h.image_id = ?2 WHERE rc.run_id = ?1";

static pm_status take_heat_map(void *user, size_t count, const pm_value *v) {
    pm_pictures *p = user;
    size_t configuration = (size_t)v[0].integer, side = (size_t)v[1].integer;
    pm_heat_maps format;
    (void)count;
    if (configuration >= p->report->configuration_count || side == 0 || side > SIDE_MOST)
        return PM_OK;
    float *map = malloc(side * side * sizeof *map);
    if (!map) return pm_report_no_memory();
    pm_status status = PM_OK;
    if (!pm_heat_maps_parse(v[2].text, &format) &&
        !pm_heat_map_decode(format, (const uint8_t *)v[3].text, v[3].size, v[4].real, side, map))
        status = write_heat_map(p, configuration, map, side);
    free(map);
    return status;
}

/* ---- boxes ---- */

static const char boxes_sql[] =
    "SELECT xmin, ymin, xmax, ymax FROM box WHERE image_id = ?1 AND (?2 OR ordinal = 0)"
    " ORDER BY ordinal";

static pm_status take_box(void *user, size_t count, const pm_value *v) {
    pm_pictures *p = user;
    const pm_box box = {v[0].real, v[1].real, v[2].real, v[3].real};
    (void)count;
    if (p->set.box_count == PM_PICTURE_BOXES || !p->has_geometry) return PM_OK;
    pm_crop_box inside = pm_geometry_box(&p->geometry, &box);
    if (inside.xmin < inside.xmax && inside.ymin < inside.ymax)
        p->set.boxes[p->set.box_count++] = inside;
    return PM_OK;
}

/* Without the photograph its size still says where the crop lay. */
static const char size_sql[] = "SELECT width, height FROM image WHERE image_id = ?1";

static pm_status take_size(void *user, size_t count, const pm_value *v) {
    pm_pictures *p = user;
    (void)count;
    if (p->has_geometry || v[0].kind != PM_VALUE_INTEGER || v[0].integer < 1 ||
        v[1].kind != PM_VALUE_INTEGER || v[1].integer < 1 || p->how.crop == 0)
        return PM_OK;
    p->geometry = pm_geometry_of(&p->how, (size_t)v[0].integer, (size_t)v[1].integer);
    p->has_geometry = true;
    return PM_OK;
}

pm_status pm_pictures_write(pm_pictures *p, size_t item, const pm_picture_set **out) {
    const pm_value image = {.kind = PM_VALUE_INTEGER,
                            .integer = p->report->of_items[item].image_id};
    const pm_value run_image[] = {{.kind = PM_VALUE_INTEGER, .integer = p->report->run}, image};
    const pm_value box_values[] = {image,
                                   {.kind = PM_VALUE_INTEGER, .integer = p->report->all_boxes}};
    const pm_query_sink maps = {.user = p, .row = take_heat_map};
    const pm_query_sink sizes = {.user = p, .row = take_size};
    const pm_query_sink boxes = {.user = p, .row = take_box};
    p->item = item;
    p->set.box_count = 0;
    p->set.side = p->how.crop;
    memset(p->set.heat_maps, 0, p->report->configuration_count * sizeof *p->set.heat_maps);
    pm_status status = photograph(p);
    if (!status) status = pm_query_run(p->query, heat_maps_sql, run_image, 2, &maps, NULL);
    if (!status) status = pm_query_run(p->query, size_sql, &image, 1, &sizes, NULL);
    if (!status) status = pm_query_run(p->query, boxes_sql, box_values, 2, &boxes, NULL);
    if (!status) *out = &p->set;
    return status;
}
