/* Owns the item list of a submission as bytes. Knows nothing of where images come from. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lib/net/budget.h"
#include "lib/net/wire.h"

/* Everything that a packed list points to, released together. */
typedef struct packing {
    Pm__Wire__Item *items;
    Pm__Wire__Item **item_pointers;
    Pm__Wire__ItemBoxes *boxes;
    Pm__Wire__ItemBoxes **box_pointers;
    double *corners;
} packing;

static void packing_fini(packing *p) {
    free(p->items);
    free(p->item_pointers);
    free(p->boxes);
    free(p->box_pointers);
    free(p->corners);
}

static void *room(size_t count, size_t size) { return calloc(count ? count : 1, size); }

static void pack_item(const pm_item *from, size_t ordinal, Pm__Wire__Item *to) {
    pm__wire__item__init(to);
    to->ordinal = ordinal;
    to->path = from->path;
    to->sha256 = (ProtobufCBinaryData){PM_SHA256_BYTES, (uint8_t *)from->sha256.bytes};
    to->size_bytes = from->size_bytes;
    to->has_label = from->label >= 0;
    to->label = from->label;
    if (from->box_count == 0) return;
    to->has_xmin = to->has_ymin = to->has_xmax = to->has_ymax = true;
    to->xmin = from->boxes[0].xmin;
    to->ymin = from->boxes[0].ymin;
    to->xmax = from->boxes[0].xmax;
    to->ymax = from->boxes[0].ymax;
}

static void pack_more_boxes(const pm_item *from, size_t ordinal, Pm__Wire__ItemBoxes *to,
                            double *corners) {
    pm__wire__item_boxes__init(to);
    to->ordinal = ordinal;
    to->n_corners = 4 * (from->box_count - 1);
    to->corners = corners;
    for (size_t b = 1; b < from->box_count; b++, corners += 4) {
        corners[0] = from->boxes[b].xmin;
        corners[1] = from->boxes[b].ymin;
        corners[2] = from->boxes[b].xmax;
        corners[3] = from->boxes[b].ymax;
    }
}

static pm_status pack_list(const Pm__Wire__ItemList *list, pm_buffer *bytes) {
    size_t size = pm__wire__item_list__get_packed_size(list);
    if (size > PM_ITEM_LIST_BYTES_MAX)
        return pm_fail(PM_E_LIMIT,
                       "%zu images: a list of %zu bytes, the limit is %d; split the run",
                       list->n_items, size, PM_ITEM_LIST_BYTES_MAX);
    uint8_t *packed = malloc(size ? size : 1);
    if (!packed) return pm_fail(PM_E_MEMORY, "item list: no memory for %zu bytes", size);
    pm__wire__item_list__pack(list, packed);
    *bytes = (pm_buffer){.bytes = packed, .size = size, .capacity = size ? size : 1};
    return PM_OK;
}

pm_status pm_wire_items_pack(const pm_data_set *data_set, pm_buffer *bytes) {
    packing p = {0};
    pm_status status = PM_OK;
    size_t boxed = 0, corners = 0, next = 0, corner = 0;
    for (size_t i = 0; i < data_set->count; i++) {
        if (data_set->items[i].box_count < 2) continue;
        boxed++;
        corners += 4 * (data_set->items[i].box_count - 1);
    }
    p.items = room(data_set->count, sizeof *p.items);
    p.item_pointers = room(data_set->count, sizeof *p.item_pointers);
    p.boxes = room(boxed, sizeof *p.boxes);
    p.box_pointers = room(boxed, sizeof *p.box_pointers);
    p.corners = room(corners, sizeof *p.corners);
    if (!p.items || !p.item_pointers || !p.boxes || !p.box_pointers || !p.corners) {
        status = pm_fail(PM_E_MEMORY, "item list: no memory for %zu images", data_set->count);
        goto done;
    }
    for (size_t i = 0; i < data_set->count; i++) {
        const pm_item *item = &data_set->items[i];
        pack_item(item, i, &p.items[i]);
        p.item_pointers[i] = &p.items[i];
        if (item->box_count < 2) continue;
        pack_more_boxes(item, i, &p.boxes[next], p.corners + corner);
        p.box_pointers[next] = &p.boxes[next];
        next++;
        corner += 4 * (item->box_count - 1);
    }
    Pm__Wire__ItemList list = PM__WIRE__ITEM_LIST__INIT;
    list.n_items = data_set->count;
    list.items = p.item_pointers;
    list.n_boxes = boxed;
    list.boxes = p.box_pointers;
    status = pack_list(&list, bytes);
done:
    packing_fini(&p);
    return status;
}

static bool box_is_sound(const pm_spec_box *box) {
    return isfinite(box->xmin) && isfinite(box->ymin) && isfinite(box->xmax) && isfinite(box->ymax);
}

static pm_status take_item(const Pm__Wire__Item *from, size_t ordinal, size_t more_boxes,
                           pm_item *to) {
    if (from->ordinal != ordinal)
        return pm_fail(PM_E_PROTOCOL, "item list: item %zu is numbered %llu", ordinal,
                       (unsigned long long)from->ordinal);
    if (from->sha256.len != PM_SHA256_BYTES)
        return pm_fail(PM_E_PROTOCOL, "item list: item %zu has a hash of %zu bytes", ordinal,
                       from->sha256.len);
    if (!from->path[0] || (from->has_label && from->label < 0))
        return pm_fail(PM_E_PROTOCOL, "item list: item %zu has %s", ordinal,
                       from->path[0] ? "a negative label" : "no path");
    bool boxed = from->has_xmin && from->has_ymin && from->has_xmax && from->has_ymax;
    if (!boxed && more_boxes)
        return pm_fail(PM_E_PROTOCOL, "item list: item %zu has later boxes but no first", ordinal);
    to->path = strdup(from->path);
    to->boxes = boxed ? calloc(1 + more_boxes, sizeof *to->boxes) : NULL;
    if (!to->path || (boxed && !to->boxes))
        return pm_fail(PM_E_MEMORY, "item list: no memory for item %zu", ordinal);
    memcpy(to->sha256.bytes, from->sha256.data, PM_SHA256_BYTES);
    to->size_bytes = from->size_bytes;
    to->label = from->has_label ? from->label : -1;
    if (!boxed) return PM_OK;
    to->box_count = 1;
    to->boxes[0] = (pm_spec_box){from->xmin, from->ymin, from->xmax, from->ymax};
    return box_is_sound(&to->boxes[0])
               ? PM_OK
               : pm_fail(PM_E_PROTOCOL, "item list: item %zu has a box that is no number", ordinal);
}

static pm_status take_more_boxes(const Pm__Wire__ItemBoxes *from, pm_item *to) {
    for (size_t c = 0; c < from->n_corners; c += 4) {
        const double *corner = from->corners + c;
        pm_spec_box box = {corner[0], corner[1], corner[2], corner[3]};
        if (!box_is_sound(&box))
            return pm_fail(PM_E_PROTOCOL, "item list: item %llu has a box that is no number",
                           (unsigned long long)from->ordinal);
        to->boxes[to->box_count++] = box;
    }
    return PM_OK;
}

static pm_status take_list(const Pm__Wire__ItemList *list, pm_data_set *out) {
    size_t b = 0;
    pm_status status = PM_OK;
    out->items = calloc(list->n_items ? list->n_items : 1, sizeof *out->items);
    if (!out->items) return pm_fail(PM_E_MEMORY, "item list: no memory");
    for (size_t i = 0; i < list->n_items && !status; i++) {
        const Pm__Wire__ItemBoxes *more =
            b < list->n_boxes && list->boxes[b]->ordinal == i ? list->boxes[b] : NULL;
        if (more && more->n_corners % 4 != 0)
            return pm_fail(PM_E_PROTOCOL, "item list: item %zu has a broken box", i);
        out->count = i + 1;
        status = take_item(list->items[i], i, more ? more->n_corners / 4 : 0, &out->items[i]);
        if (more && !status) status = take_more_boxes(more, &out->items[i]);
        if (more) b++;
    }
    if (!status && b != list->n_boxes)
        status = pm_fail(PM_E_PROTOCOL, "item list: boxes without an item, or out of order");
    return status;
}

static void drop_items(pm_data_set *data_set) {
    for (size_t i = 0; i < data_set->count; i++) {
        free(data_set->items[i].path);
        free(data_set->items[i].boxes);
    }
    free(data_set->items);
}

pm_status pm_wire_items_unpack(const void *bytes, size_t size, pm_data_set *out) {
    if (size > PM_ITEM_LIST_BYTES_MAX)
        return pm_fail(PM_E_LIMIT, "item list: %zu bytes, the limit is %d", size,
                       PM_ITEM_LIST_BYTES_MAX);
    pm_budget budget = pm_budget_for(size);
    pm_data_set data_set = {0};
    Pm__Wire__ItemList *list = (Pm__Wire__ItemList *)pm_budget_unpack(
        &pm__wire__item_list__descriptor, bytes, size, &budget);
    if (!list && budget.no_memory)
        return pm_fail(PM_E_MEMORY, "item list: no memory to read %zu bytes", size);
    if (!list) return pm_fail(PM_E_PROTOCOL, "item list: cannot be read");
    pm_status status = take_list(list, &data_set);
    pm__wire__item_list__free_unpacked(list, NULL);
    if (status) {
        drop_items(&data_set);
        return status;
    }
    *out = data_set;
    return PM_OK;
}
