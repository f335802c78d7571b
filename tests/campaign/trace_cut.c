/* Owns what a power cut leaves of a tale. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/random.h"
#include "tests/campaign/trace.h"

typedef struct body {
    uint8_t *bytes;
    size_t size, capacity;
} body;

typedef struct cut {
    cut_kind kind;
    luck *luck;
    bool garbage; /* in gaps; else zeros */
    uint64_t lost;
} cut;

static bool survives(cut *c) {
    bool kept = true;
    switch (c->kind) {
    case CUT_NONE:
    case CUT_KINDS: break;
    case CUT_ALL: kept = false; break;
    case CUT_SOME: kept = luck_one_in(c->luck, 2); break;
    case CUT_FEW: kept = luck_one_in(c->luck, 16); break;
    case CUT_MOST: kept = !luck_one_in(c->luck, 16); break;
    }
    c->lost += !kept;
    return kept;
}

static pm_status resize(body *b, size_t size, bool garbage) {
    if (size > b->capacity) {
        size_t capacity = size + size / 2 + 4096;
        uint8_t *more = realloc(b->bytes, capacity);
        if (!more) return pm_fail(PM_E_MEMORY, "no memory for an image");
        b->bytes = more;
        b->capacity = capacity;
    }
    for (size_t i = b->size; i < size; i++)
        b->bytes[i] = (uint8_t)(garbage ? pm_splitmix64(i / 8) >> (i % 8 * 8) : 0);
    b->size = size;
    return PM_OK;
}

static pm_status put(body *b, const event *e, size_t from, size_t size, bool garbage) {
    size_t end = (size_t)e->offset + from + size;
    pm_status status = end > b->size ? resize(b, end, garbage) : PM_OK;
    if (!status) memcpy(b->bytes + (size_t)e->offset + from, e->bytes + from, size);
    return status;
}

/* Sector by sector. */
static pm_status put_torn(body *b, const event *e, cut *c) {
    pm_status status = PM_OK;
    for (size_t from = 0; from < e->size && !status;) {
        size_t size = TRACE_SECTOR - ((size_t)e->offset + from) % TRACE_SECTOR;
        if (size > e->size - from) size = e->size - from;
        if (survives(c)) status = put(b, e, from, size, c->garbage);
        from += size;
    }
    return status;
}

static size_t last_sync(const trace *t, size_t place, size_t node) {
    while (place-- > 0)
        if (t->events[place].kind == EVENT_SYNC && t->events[place].node == node) return place;
    return 0;
}

static pm_status body_of(const trace *t, size_t place, size_t node, cut *c, body *out) {
    size_t synced = last_sync(t, place, node);
    pm_status status = PM_OK;
    for (size_t i = 0; i < place && !status; i++) {
        const event *e = &t->events[i];
        if (e->node != node) continue;
        if (e->kind == EVENT_WRITE)
            status = i < synced ? put(out, e, 0, e->size, false) : put_torn(out, e, c);
        else if (e->kind == EVENT_TRUNCATE && (i < synced || survives(c)))
            status = resize(out, (size_t)e->offset, false);
    }
    return status;
}

/* The node that a name leads to after the cut; SIZE_MAX: none. */
static size_t named(const trace *t, size_t place, const char *name, cut *c) {
    size_t synced = 0, found = SIZE_MAX;
    for (size_t i = 0; i < place; i++)
        if (t->events[i].kind == EVENT_DIR_SYNC) synced = i;
    for (size_t i = 0; i < place; i++) {
        const event *e = &t->events[i];
        if (e->kind != EVENT_CREATE && e->kind != EVENT_UNLINK) continue;
        if (strcmp(t->nodes[e->node].name, name) != 0) continue;
        if (i < synced || survives(c)) found = e->kind == EVENT_CREATE ? e->node : SIZE_MAX;
    }
    return found;
}

static pm_status write_out(const char *folder, const char *name, const body *b) {
    char path[CAMPAIGN_PATH + 40];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "wb");
    if (!file) return pm_fail(PM_E_IO, "%s: %s", path, strerror(errno));
    bool good = b->size == 0 || fwrite(b->bytes, b->size, 1, file) == 1;
    return fclose(file) == 0 && good ? PM_OK : pm_fail(PM_E_IO, "%s: %s", path, strerror(errno));
}

/* The memory of the log's index, as another life of the blocks may have left it. */
static pm_status leave_shm(const char *folder, const char *name, cut *c) {
    body b = {0};
    char path[80];
    if (luck_one_in(c->luck, 2)) return PM_OK;
    snprintf(path, sizeof path, "%s-shm", name);
    pm_status status = resize(&b, (size_t)1 << 15, true);
    if (!status) status = write_out(folder, path, &b);
    free(b.bytes);
    return status;
}

pm_status trace_cut(const trace *t, size_t place, cut_kind kind, luck *l, const char *folder,
                    uint64_t *lost) {
    cut c = {.kind = kind, .luck = l, .garbage = luck_one_in(l, 2)};
    pm_status status = PM_OK;
    for (size_t n = 0; n < t->node_count && !status; n++) {
        bool first = true; /* of that name */
        for (size_t m = 0; m < n; m++) first &= strcmp(t->nodes[m].name, t->nodes[n].name) != 0;
        if (!first) continue;
        size_t found = named(t, place, t->nodes[n].name, &c);
        if (found == SIZE_MAX) continue;
        body b = {0};
        status = body_of(t, place, found, &c, &b);
        if (!status) status = write_out(folder, t->nodes[found].name, &b);
        free(b.bytes);
    }
    if (!status && t->node_count) status = leave_shm(folder, t->nodes[0].name, &c);
    if (!status) *lost = c.lost;
    return status;
}
