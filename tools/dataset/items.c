/* Owns the growing list of items. */
#include "tools/dataset/items.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { BOX_LIMIT = 10000 };

bool pm_is_image_name(const char *name) {
    static const char *const endings[] = {".jpg", ".jpeg", ".png", ".webp"};
    const char *dot = strrchr(name, '.');
    if (!dot || dot == name) return false;
    for (size_t i = 0; i < sizeof endings / sizeof endings[0]; i++)
        if (strcasecmp(dot, endings[i]) == 0) return true;
    return false;
}

/* Length of the UTF-8 sequence at `at`, 0 where it is malformed (RFC 3629, table in section 4). */
static size_t sequence(const uint8_t *at) {
    if (at[0] < 0x80) return 1;
    size_t length = at[0] >= 0xf0 ? 4 : at[0] >= 0xe0 ? 3 : 2;
    if (at[0] < 0xc2 || at[0] > 0xf4) return 0;
    for (size_t i = 1; i < length; i++)
        if ((at[i] & 0xc0) != 0x80) return 0;
    bool too_long = (at[0] == 0xe0 && at[1] < 0xa0) || (at[0] == 0xf0 && at[1] < 0x90);
    bool no_character = (at[0] == 0xed && at[1] > 0x9f) || (at[0] == 0xf4 && at[1] > 0x8f);
    return too_long || no_character ? 0 : length;
}

static bool is_plain_text(const char *text) {
    const uint8_t *at = (const uint8_t *)text;
    while (*at) {
        size_t length = sequence(at);
        if (length == 0 || *at < 0x20 || *at == 0x7f) return false;
        at += length;
    }
    return true;
}

pm_status pm_item_list_add(pm_item_list *list, const char *path, int label) {
    if (!is_plain_text(path))
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
