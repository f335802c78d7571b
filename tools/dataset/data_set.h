/* From what was typed behind --images to a list of photographs with labels and boxes.
 *
 * A file; a folder of photographs; a folder of class folders; or a folder with labels.csv, which
 * wins. Boxes come from labels.csv or, by image name, from Pascal VOC files. Nothing is ever joined
 * by position. docs/IMAGES.md has the rules. */
#ifndef PM_DATA_SET_H
#define PM_DATA_SET_H

#include <stddef.h>

#include "lib/base/status.h"
#include "lib/spec/spec.h"

typedef struct pm_data_set_options {
    const char *images;  /* a file or a folder */
    const char *classes; /* CSV index,wnid,names; NULL: none */
    const char *boxes;  /* folder of VOC .xml files; NULL: none. They replace boxes of labels.csv */
    const char *glob;   /* only those whose path matches, as SQLite's GLOB; NULL: all */
    size_t limit;       /* then only the first so many by path; 0: all */
    size_t class_count; /* of the model: labels must be below; 0: not known */
    /* Either may be NULL. Notices are lines for people: what was left out. */
    void (*progress)(void *context, size_t done, size_t total);
    void (*notice)(void *context, const char *line);
    void *context;
} pm_data_set_options;

/* Items sorted bytewise by path, each with SHA-256 and size. An image that does not decode is
 * listed all the same: that is one error row, later. Errors name the file, and the line in it:
 * PM_E_NOT_FOUND, PM_E_FORMAT (no photograph, a malformed table, one name twice), PM_E_MISMATCH
 * (a label that the model does not have), PM_E_USAGE (--classes is needed), PM_E_IO, PM_E_MEMORY.
 * Release with pm_data_set_fini. */
pm_status pm_data_set_open(const pm_data_set_options *options, pm_data_set *out);

/* Boxes of one photograph, item->path: those of NAME.xml in a folder of Pascal VOC files, appended
 * (item->boxes from malloc). PM_E_NOT_FOUND, PM_E_FORMAT: no box in it, or malformed. */
pm_status pm_boxes_of(const char *folder, pm_item *item);

#endif
