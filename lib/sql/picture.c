/* Owns heat_png. */
#include <math.h>
#include <png.h>
#include <string.h>

#include "lib/base/colormap.h"
#include "lib/spec/heat_map.h"
#include "lib/sql/internal.h"

/* No network's input is larger; what unpacking needs is not SQLite's memory, so it is bounded here:
 * 32 MiB. */
enum { SIDE_MAX = 2048 };

static void paint_even(const float *values, size_t count, uint8_t *rgb) {
    uint8_t colours[PM_COLORMAP_STEPS][3];
    float least = INFINITY, most = -INFINITY;
    for (size_t i = 0; i < count; i++) {
        if (!isfinite(values[i])) continue;
        least = fminf(least, values[i]);
        most = fmaxf(most, values[i]);
    }
    pm_colormap_even(colours);
    for (size_t i = 0; i < count; i++) {
        double t = most > least
                       ? ((double)values[i] - (double)least) / ((double)most - (double)least)
                       : 0.0;
        t = t > 0 ? fmin(t, 1.0) : 0.0; /* NaN is the least */
        memcpy(rgb + 3 * i, colours[lround(t * (PM_COLORMAP_STEPS - 1))], 3);
    }
}

static void paint_seismic(const float *values, size_t count, uint8_t *rgb) {
    double sum = 0;
    size_t finite = 0;
    for (size_t i = 0; i < count; i++) {
        if (!isfinite(values[i])) continue;
        sum += fabs((double)values[i]);
        finite++;
    }
    const double end = finite ? 10 * sum / (double)finite : 0;
    for (size_t i = 0; i < count; i++)
        pm_colormap_seismic(end > 0 ? 0.5 + 0.5 * (double)values[i] / end : 0.5, rgb + 3 * i);
}

static void write_png(sqlite3_context *context, const uint8_t *rgb, size_t side) {
    png_image image = {.version = PNG_IMAGE_VERSION,
                       .width = (png_uint_32)side,
                       .height = (png_uint_32)side,
                       .format = PNG_FORMAT_RGB};
    png_alloc_size_t size = PNG_IMAGE_PNG_SIZE_MAX(image);
    uint8_t *png = sqlite3_malloc64(size);
    if (!png) {
        sqlite3_result_error_nomem(context);
        return;
    }
    if (png_image_write_to_memory(&image, png, &size, 0, rgb, 0, NULL)) {
        sqlite3_result_blob64(context, png, size, sqlite3_free);
        return;
    }
    pm_sql_fail(context, "%s", image.message);
    sqlite3_free(png);
}

static void paint(sqlite3_context *context, const uint8_t *bytes, size_t size, bool seismic) {
    pm_heat_maps format = PM_HEAT_MAPS_NONE;
    size_t side = 0;
    float *values = NULL;
    uint8_t *rgb = NULL;
    pm_status status = pm_heat_map_shape(bytes, size, &format, &side);
    if (!status && side > SIDE_MAX)
        status = pm_fail(PM_E_LIMIT, "a heat map of side %zu, more than %d", side, SIDE_MAX);
    if (status) goto done;
    values = sqlite3_malloc64(side * side * sizeof *values);
    rgb = sqlite3_malloc64(side * side * 3);
    if (!values || !rgb)
        status = pm_fail(PM_E_MEMORY, "out of memory");
    else
        status =
            pm_heat_map_decode(format, bytes, size, 1, side, values); /* colours are relative */
    if (status) goto done;
    if (seismic)
        paint_seismic(values, side * side, rgb);
    else
        paint_even(values, side * side, rgb);
    write_png(context, rgb, side);
done:
    if (status == PM_E_MEMORY)
        sqlite3_result_error_nomem(context);
    else if (status)
        pm_sql_fail(context, "%s", pm_error_text());
    sqlite3_free(values);
    sqlite3_free(rgb);
}

void pm_sql_heat_png(sqlite3_context *context, int count, sqlite3_value **values) {
    const uint8_t *bytes = NULL;
    size_t size = 0;
    bool seismic = false;
    if (count > 1) {
        if (sqlite3_value_type(values[1]) == SQLITE_NULL) return;
        const char *name = (const char *)sqlite3_value_text(values[1]);
        if (!name) {
            sqlite3_result_error_nomem(context);
            return;
        }
        seismic = strcmp(name, "seismic") == 0;
        if (!seismic && strcmp(name, "magma-like") != 0) {
            pm_sql_fail(context, "no colours '%.40s'; there are: magma-like, seismic", name);
            return;
        }
    }
    if (pm_sql_blob(context, values[0], &bytes, &size)) paint(context, bytes, size, seismic);
}
