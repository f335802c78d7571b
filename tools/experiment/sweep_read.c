/* Owns the way from a run's heat maps to overlays on photographs. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/file.h"
#include "lib/image/decoder.h"
#include "lib/spec/heat_map.h"
#include "tools/experiment/sweep.h"
#include "tools/order.h"

const char *const pm_sweep_names[PM_SWEEP_COLUMNS] = {
    "image", "threshold", "p_target", "mu_in_w", "share_in_h", "layers_whole", "error"};

static const char sweep_sql[] =
    "SELECT i.path, run.data_root, i.item, b.xmin, b.ymin, b.xmax, b.ymax, c.quantile, c.alpha, "
    "h.side,"
    " h.format, h.zstd, h.scale, r.p_target, r.mu_in_w, r.error,"
    " (SELECT avg(CASE WHEN g.selected < layer.channels THEN g.selected * 1.0 / layer.channels END)"
    "  FROM layer_gradient AS g"
    "  JOIN layer USING (layer_id) WHERE g.configuration_id = r.configuration_id"
    "  AND g.image_id = r.image_id),"
    /* All channels in H: as where none passed. */
    " (SELECT avg(g.selected = layer.channels) FROM layer_gradient AS g"
    "  JOIN layer USING (layer_id) WHERE g.configuration_id = r.configuration_id"
    "  AND g.image_id = r.image_id)"
    " FROM run JOIN run_configuration AS rc USING (run_id) JOIN data_set USING (data_set_id)"
    " JOIN configuration AS c USING (configuration_id)"
    " JOIN data_set_item AS i USING (data_set_id)"
    " JOIN result AS r ON r.configuration_id = c.configuration_id AND r.image_id = i.image_id"
    " LEFT JOIN heat_map AS h ON h.configuration_id = c.configuration_id"
    " AND h.image_id = i.image_id"
    " LEFT JOIN box AS b ON b.image_id = i.image_id AND b.ordinal = 0"
    " WHERE run.run_id = ?1 AND i.item < 100 ORDER BY i.item, rc.ordinal";

enum {
    PATH,
    ROOT,
    ITEM,
    XMIN,
    YMIN,
    XMAX,
    YMAX,
    QUANTILE,
    ALPHA,
    SIDE,
    FORMAT,
    ZSTD,
    SCALE,
    P_TARGET,
    MU_IN_W,
    ERROR,
    SHARE,
    WHOLE
};
enum { SMALL_SIDE = 112, DRAWN_SIDE = 224, FILE_BYTES = 256 << 20 };

typedef struct reading {
    pm_preprocessing how;
    pm_sweep_draw draw;
    void *user;
    pm_sheet *sheet;
    pm_sweep_sums *sums;
    pm_sweep_image now; /* path "": before the first */
    pm_image crop;      /* of its photograph; without rgb where it cannot be read */
    pm_geometry geometry;
} reading;

static void drop_image(reading *r) {
    pm_image_fini(&r->crop);
    pm_image_fini(&r->now.photograph);
    for (size_t i = 0; i < r->now.count; i++) pm_image_fini(&r->now.panels[i]);
    r->now = (pm_sweep_image){0};
}

static pm_status finish_image(reading *r) {
    pm_status status = PM_OK;
    if (r->now.photograph.rgb) status = r->draw(r->user, &r->now);
    drop_image(r);
    return status;
}

static pm_status photograph(reading *r, const char *root) {
    char path[4096 + 512];
    uint8_t *bytes = NULL;
    size_t size = 0;
    pm_image whole = {0};
    snprintf(path, sizeof path, "%s/%s", root, r->now.path);
    pm_status status = pm_file_read(path, FILE_BYTES, &bytes, &size);
    if (!status) status = pm_decoder_decode_one(path, bytes, size, NULL, &whole);
    free(bytes);
    if (!status) status = pm_image_crop(&whole, &r->how, &r->crop, &r->geometry);
    pm_image_fini(&whole);
    return status;
}

/* A photograph that gave error rows has no picture; its rows say why. */
static pm_status begin_image(reading *r, const pm_value *v) {
    snprintf(r->now.path, sizeof r->now.path, "%s", v[PATH].text);
    r->now.item = (uint64_t)v[ITEM].integer;
    r->sums->images++;
    if (v[ERROR].kind == PM_VALUE_TEXT) return PM_OK;
    pm_status status = photograph(r, v[ROOT].text);
    if (status) return status;
    const size_t side =
        r->how.crop < SMALL_SIDE ? r->how.crop * (DRAWN_SIDE / r->how.crop) : r->how.crop;
    return pm_image_resize(&r->crop, side, side, PM_FILTER_BICUBIC, &r->now.photograph);
}

static pm_status overlay(reading *r, const pm_value *v, pm_image *out) {
    const size_t side = (size_t)v[SIDE].integer;
    const bool boxed = v[XMIN].kind != PM_VALUE_NULL;
    const pm_box source = {v[XMIN].real, v[YMIN].real, v[XMAX].real, v[YMAX].real};
    const pm_crop_box box = boxed ? pm_geometry_box(&r->geometry, &source) : (pm_crop_box){0};
    pm_heat_maps format;
    if (side != r->how.crop)
        return pm_fail(PM_E_MISMATCH, "%s: a heat map of %zu pixels a side, not %zu", r->now.path,
                       side, r->how.crop);
    float *map = malloc(side * side * sizeof *map);
    if (!map) return pm_fail(PM_E_MEMORY, "no memory for a heat map");
    pm_status status = pm_heat_maps_parse(v[FORMAT].text, &format);
    if (!status)
        status = pm_heat_map_decode(format, (const uint8_t *)v[ZSTD].text, v[ZSTD].size,
                                    v[SCALE].real, side, map);
    if (!status) status = pm_image_overlay(&r->crop, map, boxed ? &box : NULL, out);
    free(map);
    return status;
}

static double number(const pm_value *v) { return v->kind == PM_VALUE_REAL ? v->real : (double)NAN; }

static pm_status take_row(void *user, size_t count, const pm_value *v) {
    reading *r = user;
    pm_status status = PM_OK;
    (void)count;
    if (strcmp(r->now.path, v[PATH].text) != 0) {
        status = finish_image(r);
        if (!status) status = begin_image(r, v);
        if (status) return status;
    }
    const size_t at = r->now.count;
    if (at == PM_SWEEP_VALUES)
        return pm_fail(PM_E_USAGE, "more than %d configurations do not fit a row", PM_SWEEP_VALUES);
    char *label = r->now.labels[at];
    const size_t label_size = sizeof r->now.labels[at];
    snprintf(label, label_size, "off");
    if (v[QUANTILE].kind == PM_VALUE_REAL) snprintf(label, label_size, "q %g", v[QUANTILE].real);
    if (v[ALPHA].kind == PM_VALUE_REAL) snprintf(label, label_size, "alpha %g", v[ALPHA].real);
    memcpy(r->sums->labels[at], label, label_size);
    r->now.count = at + 1;
    if (r->sums->count < r->now.count) r->sums->count = r->now.count;
    if (v[MU_IN_W].kind == PM_VALUE_REAL)
        pm_moments_add(&r->sums->mu_in_w[at], v[MU_IN_W].real, false);
    if (v[SHARE].kind == PM_VALUE_REAL) pm_moments_add(&r->sums->share[at], v[SHARE].real, false);
    if (v[WHOLE].kind == PM_VALUE_REAL) pm_moments_add(&r->sums->whole[at], v[WHOLE].real, false);
    if (v[ZSTD].kind == PM_VALUE_BLOB && r->crop.rgb) status = overlay(r, v, &r->now.panels[at]);
    if (status) return status;
    return pm_sheet_add(r->sheet, "ssggggs", r->now.path, label, number(&v[P_TARGET]),
                        number(&v[MU_IN_W]), number(&v[SHARE]), number(&v[WHOLE]),
                        v[ERROR].kind == PM_VALUE_TEXT ? v[ERROR].text : NULL);
}

pm_status pm_sweep_read(pm_study *study, pm_sweep_draw draw, void *user, pm_sheet *sheet,
                        pm_sweep_sums *sums) {
    const pm_arch_info *arch;
    reading r = {.draw = draw, .user = user, .sheet = sheet, .sums = sums};
    *sums = (pm_sweep_sums){0};
    pm_status status = pm_arch_find(pm_options_text(study->options, PM_OPT_MODEL), &arch);
    if (!status) status = pm_order_preprocessing(study->options, arch, &r.how);
    if (!status) status = pm_study_ask(study, sweep_sql, take_row, &r);
    if (!status) status = finish_image(&r);
    drop_image(&r);
    return status;
}
