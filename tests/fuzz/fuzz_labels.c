/* Fuzzes labels.csv. What is accepted obeys the rules of docs/IMAGES.md. */
#include <stdlib.h>
#include <string.h>

#include "tests/fuzz/fuzz.h"
#include "tools/dataset/items.h"

enum { CLASSES = 1000 };

static void check_item(const pm_item_list *list, size_t i) {
    const pm_item *item = &list->items[i];
    if (i && strcmp(list->items[i - 1].path, item->path) >= 0) abort();
    if (item->label < -1 || item->label >= CLASSES) abort();
    if (item->path[0] == '/' || strstr(item->path, "/../") || !strncmp(item->path, "../", 3))
        abort();
    for (size_t b = 0; b < item->box_count; b++)
        if (!(item->boxes[b].xmin <= item->boxes[b].xmax)) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    pm_item_list list = {0};
    char *text = malloc(size + 1); /* the reader may write one byte behind the text */
    if (!text) abort();
    if (size) memcpy(text, bytes, size);
    if (pm_labels_parse("labels.csv", NULL, text, size, CLASSES, &list) == PM_OK) {
        if (list.count == 0) abort();
        for (size_t i = 0; i < list.count; i++) check_item(&list, i);
    } else if (!pm_error_text()[0]) {
        abort();
    }
    pm_item_list_fini(&list);
    free(text);
    return 0;
}
