/* Owns the growing list of items. */
#include "tools/dataset/items.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "lib/base/text.h"

enum { BOX_LIMIT = 10000 };

bool pm_is_image_name(const char *name) {
    static const char *const endings[] = {".jpg", ".jpeg", ".png", ".webp"};
    const char *dot = strrchr(name, '.');
    if (!dot || dot == name) return false;
    for (size_t i = 0; i < sizeof endings / sizeof endings[0]; i++)
        if (strcasecmp(dot, endings[i]) == 0) return true;
    return false;
}

pm_status pm_item_list_add(pm_item_list *list, const char *path, int label) {
    if (!pm_text_is_plain(path))
        return pm_fail(PM_E_FORMAT, "an image's name has control characters or is not UTF-8; "
                                    "rename it");
    if (list->count == list->capacity) {
        size_t capacity = list->capacity ? list->capacity * 2 : 64;
        pm_item *items = realloc(list->items, capacity * sizeof *items);
        if (!items) return pm_fail(PM_E_MEMORY, "no memory for %zu images", capacity);
        list->items = items;
        list->capacity = capacity;
    }
    pm_item item = {.path = strdup(path), .label = label};
    if (!item.path) return pm_fail(PM_E_MEMORY, "no memory for a path");
    list->items[list->count++] = item;
    return PM_OK;
}

void pm_item_list_fini(pm_item_list *list) {
    for (size_t i = 0; i < list->count; i++) {
        free(list->items[i].path);
        free(list->items[i].boxes);
    }
    free(list->items);
    *list = (pm_item_list){0};
}

pm_status pm_item_add_box(pm_item *item, const pm_spec_box *box) {
    size_t count = item->box_count;
    if (count >= BOX_LIMIT)
        return pm_fail(PM_E_LIMIT, "%s: more than %d boxes", item->path, BOX_LIMIT);
    /* Grow at powers of two; most images have one. */
    if ((count & (count - 1)) == 0) {
        pm_spec_box *boxes = realloc(item->boxes, (count ? count * 2 : 1) * sizeof *boxes);
        if (!boxes) return pm_fail(PM_E_MEMORY, "no memory for the boxes of %s", item->path);
        item->boxes = boxes;
    }
    item->boxes[item->box_count++] = *box;
    return PM_OK;
}
