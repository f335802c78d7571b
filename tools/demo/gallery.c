/* Owns the demo's pictures of heat maps. Reads the database as anyone may. */
#include "tools/demo/gallery.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/file.h"
#include "lib/image/image.h"
#include "lib/spec/heat_map.h"
#include "lib/store/query.h"
#include "tools/demo/shapes.h"

enum { ZOOM = 4, SIDE = PM_DEMO_SIDE * ZOOM, GAP = 4, PANELS_MAX = 8, SIDE_BYTES = SIDE * 3 };

static const char heat_maps_sql[] =
    "SELECT i.path, image.label, b.xmin, b.ymin, b.xmax, b.ymax, h.side, h.format, h.zstd,"
    " h.scale"
    " FROM run JOIN run_configuration AS c USING (run_id)"
    " JOIN data_set_item AS i USING (data_set_id) JOIN image USING (image_id)"
    " JOIN heat_map AS h USING (configuration_id, image_id)"
    " LEFT JOIN box AS b ON b.image_id = i.image_id AND b.ordinal = 0"
    " WHERE run_id = (SELECT max(run_id) FROM run) AND i.item < ?1 ORDER BY i.item, c.ordinal";

typedef struct gallery {
    const char *images, *dir;
    char path[256]; /* of the image whose panels are being filled; "" before the first */
    int label;
    pm_image strip; /* SIDE high, room for PANELS_MAX panels */
    size_t panels;
    pm_image all;
    size_t strips, strips_max;
} gallery;

static void fill_white(pm_image *image) {
    memset(image->rgb, 255, image->width * image->height * 3);
}

static pm_status image_new(size_t width, size_t height, pm_image *out) {
    uint8_t *rgb = malloc(width * height * 3);
    if (!rgb) return pm_fail(PM_E_MEMORY, "no memory for a picture of %zu x %zu", width, height);
    *out = (pm_image){width, height, rgb};
    fill_white(out);
    return PM_OK;
}

static void paste(pm_image *to, size_t x, size_t y, const pm_image *from) {
    size_t width = from->width < to->width - x ? from->width : to->width - x;
    for (size_t row = 0; row < from->height && y + row < to->height; row++)
        memcpy(to->rgb + ((y + row) * to->width + x) * 3, from->rgb + row * from->width * 3,
               width * 3);
}

static pm_status read_photograph(const gallery *g, pm_image *out) {
    char path[4096];
    uint8_t *bytes;
    size_t size;
    pm_image small;
    snprintf(path, sizeof path, "%s/%s", g->images, g->path);
    pm_status status = pm_file_read(path, 1 << 24, &bytes, &size);
    if (status) return status;
    status = pm_image_decode(path, bytes, size, &pm_image_default_limits, &small);
    free(bytes);
    if (status) return status;
    status = pm_image_resize(&small, SIDE, SIDE, PM_FILTER_BICUBIC, out);
    pm_image_fini(&small);
    return status;
}

/* Write the strip of the image that is complete, and put it into the whole. */
static pm_status finish_strip(gallery *g) {
    if (!g->path[0] || g->panels == 0) return PM_OK;
    char path[4096];
    size_t stem = strcspn(g->path, ".");
    pm_image cut;
    pm_status status = image_new(g->panels * (SIDE + GAP) - GAP, SIDE, &cut);
    if (status) return status;
    paste(&cut, 0, 0, &g->strip);
    snprintf(path, sizeof path, "%s/%.*s_%s.png", g->dir, (int)stem, g->path,
             pm_demo_class_name(g->label));
    status = pm_image_write_png(path, &cut);
    if (!status && !g->all.rgb)
        status = image_new(cut.width, g->strips_max * (SIDE + GAP) - GAP, &g->all);
    if (!status && g->strips < g->strips_max) paste(&g->all, 0, g->strips++ * (SIDE + GAP), &cut);
    pm_image_fini(&cut);
    return status;
}

static pm_status begin_strip(gallery *g, const char *path, int label) {
    pm_image photograph;
    if (label < 0 || label >= PM_DEMO_CLASSES)
        return pm_fail(PM_E_FORMAT, "%s: label %d is not one of the demo's", path, label);
    snprintf(g->path, sizeof g->path, "%s", path);
    g->label = label;
    fill_white(&g->strip);
    pm_status status = read_photograph(g, &photograph);
    if (status) return status;
    paste(&g->strip, 0, 0, &photograph);
    pm_image_fini(&photograph);
    g->panels = 1;
    return PM_OK;
}

/* Each value as a square of ZOOM x ZOOM: what was computed is what is seen. */
static void enlarge(const float *small, float *large) {
    for (size_t y = 0; y < SIDE; y++)
        for (size_t x = 0; x < SIDE; x++)
            large[y * SIDE + x] = small[y / ZOOM * PM_DEMO_SIDE + x / ZOOM];
}

static pm_status add_panel(gallery *g, const pm_value *v) {
    static float small[PM_DEMO_SIDE * PM_DEMO_SIDE], large[SIDE * SIDE];
    pm_heat_maps format;
    pm_image photograph, panel;
    pm_crop_box box = {0};
    bool boxed = v[2].kind != PM_VALUE_NULL;
    if (g->panels == PANELS_MAX) return PM_OK;
    if (v[6].integer != PM_DEMO_SIDE)
        return pm_fail(PM_E_FORMAT, "%s: not a heat map of the demo", g->path);
    pm_status status = pm_heat_maps_parse(v[7].text, &format);
    if (!status)
        status = pm_heat_map_decode(format, (const uint8_t *)v[8].text, v[8].size, v[9].real,
                                    PM_DEMO_SIDE, small);
    if (!status) status = read_photograph(g, &photograph);
    if (status) return status;
    enlarge(small, large);
    if (boxed)
        box = (pm_crop_box){(size_t)v[2].real * ZOOM, (size_t)v[3].real * ZOOM,
                            (size_t)v[4].real * ZOOM, (size_t)v[5].real * ZOOM};
    status = pm_image_overlay(&photograph, large, boxed ? &box : NULL, &panel);
    pm_image_fini(&photograph);
    if (status) return status;
    paste(&g->strip, g->panels++ * (SIDE + GAP), 0, &panel);
    pm_image_fini(&panel);
    return PM_OK;
}

static pm_status take_row(void *user, size_t count, const pm_value *values) {
    gallery *g = user;
    pm_status status = PM_OK;
    if (count != 10 || values[0].kind != PM_VALUE_TEXT || values[8].kind != PM_VALUE_BLOB)
        return pm_fail(PM_E_INTERNAL, "the gallery's query has other columns");
    if (strcmp(g->path, values[0].text) != 0) {
        status = finish_strip(g);
        if (!status) status = begin_strip(g, values[0].text, (int)values[1].integer);
    }
    return status ? status : add_panel(g, values);
}

pm_status pm_demo_gallery(const char *db, const char *images, const char *dir, size_t count) {
    gallery g = {.images = images, .dir = dir, .strips_max = count};
    pm_query *query = NULL;
    pm_value limit = {.kind = PM_VALUE_INTEGER, .integer = (int64_t)count};
    pm_query_sink sink = {.user = &g, .row = take_row};
    char path[4096];
    pm_status status = pm_dir_make(dir);
    if (!status) status = image_new(PANELS_MAX * (SIDE + GAP), SIDE, &g.strip);
    if (!status) status = pm_query_open(db, &pm_query_default_limits, &query);
    if (!status) status = pm_query_run(query, heat_maps_sql, &limit, 1, &sink, NULL);
    if (!status) status = finish_strip(&g);
    snprintf(path, sizeof path, "%s/all.png", dir);
    if (!status && g.all.rgb) status = pm_image_write_png(path, &g.all);
    pm_query_close(&query);
    pm_image_fini(&g.strip);
    pm_image_fini(&g.all);
    return status;
}
