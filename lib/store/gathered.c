/* Owns the slices: a blob handle moves from row to row, and only the pages asked for are read. */
#include "lib/store/gathered.h"

#include <stdlib.h>
#include <string.h>

#include "lib/store/db.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "blobs are read as memory has them");

struct pm_gathered {
    pm_query *query;
    sqlite3_blob *activations, *density; /* opened at the first read, then moved */
    size_t count, channels, convs;
    pm_gathered_item *items; /* [count] */
    sqlite3_int64 *rows;     /* [count] rowid in activation, where there */
};

typedef struct listing {
    pm_gathered *gathered;
    size_t next;
    bool gathers;
} listing;

static pm_status take_head(void *user, size_t count, const pm_value *values) {
    listing *l = user;
    pm_gathered *g = l->gathered;
    (void)count;
    l->gathers = true;
    g->count = (size_t)values[0].integer;
    g->items = calloc(g->count + 1, sizeof *g->items);
    g->rows = calloc(g->count + 1, sizeof *g->rows);
    if (!g->items || !g->rows) return pm_fail(PM_E_MEMORY, "no memory for %zu items", g->count);
    return PM_OK;
}

static pm_status take_item(void *user, size_t count, const pm_value *values) {
    listing *l = user;
    pm_gathered *g = l->gathered;
    (void)count;
    if (l->next == g->count) return pm_fail(PM_E_FORMAT, "database: a data set has more items");
    pm_gathered_item *item = &g->items[l->next];
    item->label = values[0].kind == PM_VALUE_NULL ? -1 : (int)values[0].integer;
    item->there = values[1].kind != PM_VALUE_NULL;
    g->rows[l->next++] = values[1].integer;
    if (!item->there) return PM_OK;
    size_t channels = (size_t)values[2].integer / sizeof(float);
    size_t convs = (size_t)values[3].integer / sizeof(float);
    if (!g->channels) {
        g->channels = channels;
        g->convs = convs;
    }
    if (channels != g->channels || convs != g->convs || channels == 0)
        return pm_fail(PM_E_FORMAT,
                       "database: item %zu has activations of %zu channels, others of %zu",
                       l->next - 1, channels, g->channels);
    return PM_OK;
}

static pm_status list_items(pm_gathered *g, uint64_t run_id) {
    listing l = {.gathered = g};
    const pm_value id = {.kind = PM_VALUE_INTEGER, .integer = (int64_t)run_id};
    pm_query_sink sink = {.user = &l, .row = take_head};
    pm_status status = pm_query_run(
        g->query,
        "SELECT data_set.items FROM run JOIN data_set USING (data_set_id)"
        " JOIN run_configuration AS rc USING (run_id) JOIN configuration AS c"
        " USING (configuration_id) WHERE run_id = ?1 AND rc.ordinal = 0 AND c.method = 'gather'",
        &id, 1, &sink, NULL);
    if (!status && !l.gathers)
        status = pm_fail(PM_E_NOT_FOUND, "run %llu is no gather run", (unsigned long long)run_id);
    sink.row = take_item;
    if (!status)
        status = pm_query_run(
            g->query,
            "SELECT image.label, a.rowid, length(a.activations), length(a.density) FROM run"
            " JOIN run_configuration AS rc ON rc.run_id = run.run_id AND rc.ordinal = 0"
            " JOIN data_set_item AS i ON i.data_set_id = run.data_set_id"
            " JOIN image ON image.image_id = i.image_id LEFT JOIN activation AS a"
            " ON a.configuration_id = rc.configuration_id AND a.image_id = i.image_id"
            " WHERE run.run_id = ?1 ORDER BY i.item",
            &id, 1, &sink, NULL);
    if (!status && l.next != g->count)
        status =
            pm_fail(PM_E_FORMAT, "database: a data set of %zu items has %zu", g->count, l.next);
    if (!status && !g->channels)
        status = pm_fail(PM_E_NOT_FOUND, "run %llu has no activations of any image",
                         (unsigned long long)run_id);
    return status;
}

pm_status pm_gathered_open(const char *db, uint64_t run_id, pm_gathered **out) {
    const pm_query_limits limits = {0};
    pm_gathered *g = calloc(1, sizeof *g);
    if (!g) return pm_fail(PM_E_MEMORY, "no memory to read activations");
    pm_status status = pm_query_open(db, &limits, &g->query);
    if (!status) status = list_items(g, run_id);
    if (status)
        pm_gathered_close(&g);
    else
        *out = g;
    return status;
}

void pm_gathered_close(pm_gathered **gathered) {
    pm_gathered *g = *gathered;
    *gathered = NULL;
    if (!g) return;
    sqlite3_blob_close(g->activations);
    sqlite3_blob_close(g->density);
    pm_query_close(&g->query);
    free(g->items);
    free(g->rows);
    free(g);
}

size_t pm_gathered_count(const pm_gathered *g) { return g->count; }
const pm_gathered_item *pm_gathered_items(const pm_gathered *g) { return g->items; }
size_t pm_gathered_channels(const pm_gathered *g) { return g->channels; }
size_t pm_gathered_convs(const pm_gathered *g) { return g->convs; }

static pm_status read_slice(pm_gathered *g, sqlite3_blob **blob, const char *column, size_t item,
                            size_t first, size_t count, float *out) {
    sqlite3 *db = pm_query_db(g->query);
    const sqlite3_int64 row = g->rows[item];
    int code = *blob ? sqlite3_blob_reopen(*blob, row)
                     : sqlite3_blob_open(db, "main", "activation", column, row, 0, blob);
    if (code == SQLITE_OK)
        code =
            sqlite3_blob_read(*blob, out, (int)(count * sizeof *out), (int)(first * sizeof *out));
    return code == SQLITE_OK ? PM_OK : pm_db_fail(db, code, "activations");
}

pm_status pm_gathered_read(pm_gathered *g, size_t item, size_t first, size_t count, float *out) {
    if (item >= g->count || !g->items[item].there || first > g->channels ||
        count > g->channels - first)
        return pm_fail(PM_E_INTERNAL, "no activations of item %zu, channel %zu", item, first);
    return read_slice(g, &g->activations, "activations", item, first, count, out);
}

pm_status pm_gathered_density(pm_gathered *g, size_t item, float *out) {
    if (item >= g->count || !g->items[item].there)
        return pm_fail(PM_E_INTERNAL, "no activations of item %zu", item);
    return read_slice(g, &g->density, "density", item, 0, g->convs, out);
}
