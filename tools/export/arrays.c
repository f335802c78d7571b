/* Owns which arrays there are, their rows and their names. One row is in memory at a time. */
#include "tools/export/arrays.h"

#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lib/spec/heat_map.h"
#include "tools/npy.h"

enum { SIDE_MAX = 1 << 14, CHANNELS_MAX = 1 << 20 };

/* ?1 the run, ?2 the configuration; the rows of the index. */
#define ROWS_OF_ONE                                                                                \
    " FROM run JOIN data_set_item AS i ON i.data_set_id = run.data_set_id"                         \
    " JOIN result AS r ON r.configuration_id = ?2 AND r.image_id = i.image_id"
#define WHERE_KEPT " WHERE run.run_id = ?1 AND (r.heat_map_kept <> 0 OR r.channels_kept = 2)"

static const char configurations_sql[] =
    "SELECT rc.configuration_id, c.label FROM run_configuration AS rc JOIN configuration AS c"
    " ON c.configuration_id = rc.configuration_id WHERE rc.run_id = ?1 ORDER BY rc.ordinal";
static const char index_sql[] =
    "SELECT row_number() OVER (PARTITION BY rc.ordinal ORDER BY i.item) - 1 AS row,"
    " rc.configuration_id AS configuration, i.path AS image, p.sha256,"
    " r.heat_map_kept <> 0 AS heat_map, r.channels_kept = 2 AS channels"
    " FROM run JOIN run_configuration AS rc ON rc.run_id = run.run_id"
    " JOIN data_set_item AS i ON i.data_set_id = run.data_set_id"
    " JOIN image AS p ON p.image_id = i.image_id"
    " JOIN result AS r ON r.configuration_id = rc.configuration_id"
    " AND r.image_id = i.image_id" WHERE_KEPT " ORDER BY rc.ordinal, i.item";
static const char maps_sql[] =
    "SELECT h.side, h.format, h.zstd, i.path, h.scale" ROWS_OF_ONE
    " LEFT JOIN heat_map AS h ON h.configuration_id = ?2 AND h.image_id = i.image_id" WHERE_KEPT
    " ORDER BY i.item";
static const char side_sql[] =
    "SELECT max(h.side)" ROWS_OF_ONE " JOIN heat_map AS h"
    " ON h.configuration_id = ?2 AND h.image_id = i.image_id WHERE run.run_id = ?1";
/* A configuration hooks the same layers for every image: those of the first say which. */
static const char layers_sql[] =
    "SELECT l.layer_id, l.conv, l.channels, l.name FROM channel_gradient_item AS g"
    " JOIN layer AS l ON l.layer_id = g.layer_id WHERE g.configuration_id = ?2 AND g.image_id ="
    " (SELECT i.image_id" ROWS_OF_ONE " WHERE run.run_id = ?1 AND r.channels_kept = 2"
    "  ORDER BY i.item LIMIT 1) ORDER BY l.conv";
static const char vectors_sql[] =
    "SELECT g.variances, g.in_h, i.path" ROWS_OF_ONE
    " LEFT JOIN channel_gradient_item AS g ON g.configuration_id = ?2"
    " AND g.image_id = i.image_id AND g.layer_id = ?3" WHERE_KEPT " ORDER BY i.item";

static pm_value number(int64_t value) {
    return (pm_value){.kind = PM_VALUE_INTEGER, .integer = value};
}

/* ---- lists that are small: configurations, layers ---- */

typedef struct entry {
    int64_t id, conv, channels;
    char *name;
} entry;

typedef struct entries {
    size_t count;
    entry *list;
} entries;

static void entries_fini(entries *all) {
    for (size_t i = 0; i < all->count; i++) free(all->list[i].name);
    free(all->list);
}

/* id, name or id, conv, channels, name. */
static pm_status take_entry(void *user, size_t count, const pm_value *v) {
    entries *all = user;
    entry *list = realloc(all->list, (all->count + 1) * sizeof *list);
    if (!list) return pm_fail(PM_E_MEMORY, "no memory for a list");
    all->list = list;
    list[all->count] = (entry){.id = v[0].integer};
    if (count == 4) {
        list[all->count].conv = v[1].integer;
        list[all->count].channels = v[2].integer;
    }
    if (!(list[all->count].name = strdup(v[count - 1].text)))
        return pm_fail(PM_E_MEMORY, "no memory for a list");
    all->count++;
    return PM_OK;
}

static pm_status ask(const pm_export_run *run, const char *sql, int64_t second, int64_t third,
                     size_t parameters, void *user,
                     pm_status (*row)(void *, size_t, const pm_value *)) {
    const pm_value values[] = {number(run->run), number(second), number(third)};
    const pm_query_sink sink = {.user = user, .row = row};
    return pm_query_run(run->query, sql, values, parameters, &sink, NULL);
}

/* ---- the list of arrays in tables.json ---- */

typedef struct album {
    const pm_export_run *run;
    pm_out *out;
    json_t *arrays;
    pm_export_arrays_told *told;
} album;

static pm_status list_array(album *a, const char *file, const entry *configuration,
                            const entry *layer, const char *what, const pm_npy *npy) {
    json_t *row =
        json_pack("{s:s, s:I, s:s, s:s, s:s, s:[I]}", "file", file, "configuration",
                  (json_int_t)configuration->id, "label", configuration->name, "array", what,
                  "dtype", pm_npy_type_name(npy->type), "shape", (json_int_t)npy->rows);
    bool bad = !row || json_array_append_new(a->arrays, row) != 0;
    json_t *shape = bad ? NULL : json_object_get(row, "shape");
    for (size_t i = 0; i < npy->inner_count && !bad; i++)
        bad = json_array_append_new(shape, json_integer((json_int_t)npy->inner[i])) != 0;
    if (layer && !bad)
        bad = json_object_set_new(row, "conv", json_integer(layer->conv)) != 0 ||
              json_object_set_new(row, "layer", json_string(layer->name)) != 0;
    return bad ? pm_fail(PM_E_MEMORY, "no memory for the list of arrays") : PM_OK;
}

/* ---- heat maps ---- */

typedef struct maps {
    size_t side;
    bool there;
    pm_npy npy;
    float *values; /* [side][side] */
} maps;

static pm_status take_side(void *user, size_t count, const pm_value *v) {
    maps *m = user;
    (void)count;
    if (v[0].kind == PM_VALUE_NULL) return PM_OK;
    if (v[0].integer < 1 || v[0].integer > SIDE_MAX)
        return pm_fail(PM_E_FORMAT, "a heat map of side %" PRId64, v[0].integer);
    m->there = true;
    m->side = (size_t)v[0].integer;
    return PM_OK;
}

static pm_status take_map(void *user, size_t count, const pm_value *v) {
    maps *m = user;
    (void)count;
    if (v[0].kind == PM_VALUE_NULL) {
        for (size_t i = 0; i < m->side * m->side; i++) m->values[i] = NAN;
        return pm_npy_row(&m->npy, m->values);
    }
    if ((size_t)v[0].integer != m->side)
        return pm_fail(PM_E_MISMATCH, "%s: its heat map is %" PRId64 " pixels wide, others %zu",
                       v[3].text, v[0].integer, m->side);
    pm_status status =
        pm_heat_map_decode(strcmp(v[1].text, "f32") == 0 ? PM_HEAT_MAPS_F32 : PM_HEAT_MAPS_F16,
                           (const uint8_t *)v[2].text, v[2].size, v[4].real, m->side, m->values);
    if (status) return pm_fail_in(status, "%s", v[3].text);
    return pm_npy_row(&m->npy, m->values);
}

static pm_status write_maps(album *a, const entry *configuration) {
    maps m = {0};
    FILE *stream = NULL;
    char file[80];
    pm_status status = ask(a->run, side_sql, configuration->id, 0, 2, &m, take_side);
    if (status || !m.there) return status;
    snprintf(file, sizeof file, "configuration_%" PRId64 ".heat_map.npy", configuration->id);
    m.values = malloc(m.side * m.side * sizeof *m.values);
    if (!m.values) return pm_fail(PM_E_MEMORY, "no memory for a heat map");
    status = pm_out_stream(a->out, file, &stream);
    if (!status)
        status = pm_npy_begin(&m.npy, stream, PM_NPY_F32, (const size_t[]){m.side, m.side}, 2);
    if (!status) status = ask(a->run, maps_sql, configuration->id, 0, 2, &m, take_map);
    if (!status) status = pm_npy_end(&m.npy);
    status = pm_out_close(a->out, file, &stream, status);
    if (!status) status = list_array(a, file, configuration, NULL, "heat_map", &m.npy);
    if (!status) a->told->heat_maps++;
    free(m.values);
    return status;
}

/* ---- channel vectors ---- */

typedef struct vectors {
    size_t channels;
    pm_npy variance, in_h;
    float *values; /* [channels] */
} vectors;

static float f32_at(const uint8_t *at) {
    uint32_t word =
        (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
    float value;
    memcpy(&value, &word, sizeof value);
    return value;
}

static pm_status take_vector(void *user, size_t count, const pm_value *v) {
    vectors *s = user;
    (void)count;
    bool there = v[0].kind != PM_VALUE_NULL;
    const uint8_t *variances = (const uint8_t *)v[0].text, *bits = (const uint8_t *)v[1].text;
    if (there && (v[0].size != 4 * s->channels || v[1].size != (s->channels + 7) / 8))
        return pm_fail(PM_E_FORMAT, "%s: its channel vectors are not of %zu channels", v[2].text,
                       s->channels);
    for (size_t c = 0; c < s->channels; c++)
        s->values[c] = there ? f32_at(variances + 4 * c) : (float)NAN;
    pm_status status = pm_npy_row(&s->variance, s->values);
    for (size_t c = 0; c < s->channels; c++)
        s->values[c] = there && (bits[c / 8] >> c % 8 & 1) ? 1.0f : 0.0f;
    return status ? status : pm_npy_row(&s->in_h, s->values);
}

static pm_status write_layer(album *a, const entry *configuration, const entry *layer) {
    vectors s = {.channels = (size_t)layer->channels};
    FILE *streams[2] = {NULL, NULL};
    char files[2][96];
    if (layer->channels < 1 || layer->channels > CHANNELS_MAX)
        return pm_fail(PM_E_FORMAT, "layer %s has %" PRId64 " channels", layer->name,
                       layer->channels);
    if (!(s.values = malloc(s.channels * sizeof *s.values)))
        return pm_fail(PM_E_MEMORY, "no memory for %zu channels", s.channels);
    pm_status status = PM_OK;
    for (size_t i = 0; i < 2 && !status; i++) {
        snprintf(files[i], sizeof files[i], "configuration_%" PRId64 ".conv_%" PRId64 ".%s.npy",
                 configuration->id, layer->conv, i ? "in_h" : "variance");
        status = pm_out_stream(a->out, files[i], &streams[i]);
    }
    if (!status) status = pm_npy_begin(&s.variance, streams[0], PM_NPY_F32, &s.channels, 1);
    if (!status) status = pm_npy_begin(&s.in_h, streams[1], PM_NPY_BOOL, &s.channels, 1);
    if (!status)
        status = ask(a->run, vectors_sql, configuration->id, layer->id, 3, &s, take_vector);
    if (!status) status = pm_npy_end(&s.variance);
    if (!status) status = pm_npy_end(&s.in_h);
    for (size_t i = 0; i < 2; i++) status = pm_out_close(a->out, files[i], &streams[i], status);
    if (!status) status = list_array(a, files[0], configuration, layer, "variance", &s.variance);
    if (!status) status = list_array(a, files[1], configuration, layer, "in_h", &s.in_h);
    if (!status) a->told->vectors += 2;
    free(s.values);
    return status;
}

static pm_status write_vectors(album *a, const entry *configuration) {
    entries layers = {0};
    pm_status status = ask(a->run, layers_sql, configuration->id, 0, 2, &layers, take_entry);
    for (size_t i = 0; i < layers.count && !status; i++)
        status = write_layer(a, configuration, &layers.list[i]);
    entries_fini(&layers);
    return status;
}

/* ---- the folder ---- */

static pm_status write_index(album *a) {
    FILE *stream = NULL;
    pm_rows *rows = NULL;
    const pm_value id = number(a->run->run);
    pm_status status = pm_out_stream(a->out, "index.csv", &stream);
    if (!status) status = pm_rows_new(PM_ROWS_CSV, stream, &rows);
    if (!status) {
        const pm_query_sink sink = pm_rows_sink(rows);
        status = pm_query_run(a->run->query, index_sql, &id, 1, &sink, NULL);
    }
    if (!status) a->told->rows = pm_rows_count(rows);
    pm_rows_free(&rows);
    return pm_out_close(a->out, "index.csv", &stream, status);
}

static pm_status write_words(album *a) {
    FILE *stream = NULL;
    json_t *root = json_pack("{s:i, s:s, s:{s:I, s:s, s:s}, s:O}", PM_OUT_MARK_KEY, 1, "format",
                             "npy", "run", "number", (json_int_t)a->run->run, "name", a->run->name,
                             "state", a->run->state, "arrays", a->arrays);
    if (!root) return pm_fail(PM_E_FORMAT, "a name of run %" PRId64 " is no UTF-8", a->run->run);
    pm_status status = pm_out_stream(a->out, PM_OUT_MARK_FILE, &stream);
    if (!status) {
        json_dumpf(root, stream, JSON_INDENT(1));
        fputc('\n', stream);
    }
    status = pm_out_close(a->out, PM_OUT_MARK_FILE, &stream, status);
    json_decref(root);
    if (!status) status = pm_out_stream(a->out, "README.txt", &stream);
    if (!status)
        fprintf(stream,
                "Arrays of run %" PRId64 " of a parchmill database, for numpy.load; tables.json "
                "lists them.\n\n"
                "configuration_N.heat_map.npy         [n, side, side] float32\n"
                "configuration_N.conv_K.variance.npy  [n, channels] float32: each channel's "
                "gradient variance over space\n"
                "configuration_N.conv_K.in_h.npy      [n, channels] bool: the channel was in H\n\n"
                "index.csv says which image row r of the arrays of configuration N is. Its columns "
                "heat_map and\nchannels are 0 where an image lacks one of them: that row is NaN, H "
                "is false.\n",
                a->run->run);
    return pm_out_close(a->out, "README.txt", &stream, status);
}

pm_status pm_export_arrays(const pm_export_run *run, pm_out *out, pm_export_arrays_told *told) {
    entries configurations = {0};
    *told = (pm_export_arrays_told){0};
    album a = {run, out, json_array(), told};
    if (!a.arrays) return pm_fail(PM_E_MEMORY, "no memory for the list of arrays");
    pm_status status = ask(run, configurations_sql, 0, 0, 1, &configurations, take_entry);
    for (size_t i = 0; i < configurations.count && !status; i++) {
        status = write_maps(&a, &configurations.list[i]);
        if (!status) status = write_vectors(&a, &configurations.list[i]);
    }
    if (!status && !told->heat_maps && !told->vectors)
        status = pm_fail(PM_E_NOT_FOUND,
                         "run %" PRId64 " kept no heat maps and no channel vectors; the same run "
                         "again with --heatmaps f16 or --channels full adds them",
                         run->run);
    if (!status) status = write_index(&a);
    if (!status) status = write_words(&a);
    entries_fini(&configurations);
    json_decref(a.arrays);
    return status;
}
