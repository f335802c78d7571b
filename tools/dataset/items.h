/* Inside tools/dataset: the list while it grows, and the three that fill it. */
#ifndef PM_DATASET_ITEMS_H
#define PM_DATASET_ITEMS_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/spec/spec.h"
#include "tools/dataset/class_names.h"
#include "tools/dataset/data_set.h"

typedef struct pm_item_list {
    size_t count, capacity;
    pm_item *items;
} pm_item_list;

/* Append an item with a copy of `path` (relative to the root) and label. PM_E_FORMAT where the
 * path could not stand in a database or a line of text: control characters, not UTF-8. */
pm_status pm_item_list_add(pm_item_list *list, const char *path, int label);
void pm_item_list_fini(pm_item_list *list);
pm_status pm_item_add_box(pm_item *item, const pm_spec_box *box);

/* .jpg .jpeg .png .webp, in any case. */
bool pm_is_image_name(const char *name);

/* What the three below share. class_names may be empty. */
typedef struct pm_dataset_source {
    const pm_data_set_options *options;
    const char *root; /* absolute */
    const pm_class_names *class_names;
} pm_dataset_source;

/* labels.csv: items sorted by path. text[size] must be writable. Every image must exist below
 * `root`, unless that is NULL. What stands in `out` on failure is the caller's to release. */
pm_status pm_labels_parse(const char *name, const char *root, char *text, size_t size,
                          size_t class_count, pm_item_list *out);
pm_status pm_labels_read(const pm_dataset_source *source, pm_item_list *out);

/* A flat folder or class folders: items sorted by path. folder_names: of class folders in order of
 * their labels, where labels are positions; count 0 otherwise. */
typedef struct pm_name_list {
    size_t count, capacity;
    char **names;
} pm_name_list;
void pm_name_list_fini(pm_name_list *list);
pm_status pm_folders_read(const pm_dataset_source *source, pm_item_list *out,
                          pm_name_list *folder_names);

/* Pascal VOC: the boxes of one file's objects, appended to the item. text need not end in NUL. */
pm_status pm_voc_parse(const char *name, const char *text, size_t size, pm_item *item);
/* Every NAME.xml of the folder belongs to the image NAME.*; replaces the boxes of all items. */
pm_status pm_voc_join(const pm_dataset_source *source, pm_item_list *list);

#endif
