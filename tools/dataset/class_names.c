/* Owns the reading of class names. */
#include "tools/dataset/class_names.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/file.h"
#include "lib/base/text.h"
#include "tools/dataset/csv.h"

enum { FILE_LIMIT_BYTES = 64 << 20, INDEX_LIMIT = 1000000 };
enum { COLUMN_INDEX, COLUMN_WNID, COLUMN_NAMES, COLUMN_COUNT };
static const char *const columns[COLUMN_COUNT] = {"index", "wnid", "names"};

void pm_class_names_fini(pm_class_names *names) {
    for (size_t i = 0; i < names->count; i++) {
        if (names->names) free(names->names[i]);
        if (names->wnids) free(names->wnids[i]);
    }
    free(names->names);
    free(names->wnids);
    *names = (pm_class_names){0};
}

static pm_status grow(pm_class_names *names, size_t count) {
    if (count <= names->count) return PM_OK;
    size_t room = count * 2;
    char **more = realloc(names->names, room * sizeof *more);
    if (more) names->names = more;
    char **wnids = realloc(names->wnids, room * sizeof *wnids);
    if (wnids) names->wnids = wnids;
    if (!more || !wnids) return pm_fail(PM_E_MEMORY, "no memory for %zu class names", count);
    for (size_t i = names->count; i < count; i++) names->names[i] = names->wnids[i] = NULL;
    names->count = count;
    return PM_OK;
}

static pm_status keep(char **slot, const char *text) {
    if (!text[0]) return PM_OK;
    *slot = strdup(text);
    return *slot ? PM_OK : pm_fail(PM_E_MEMORY, "no memory for a class name");
}

static pm_status read_row(const pm_csv *csv, const int *where, size_t width,
                          pm_class_names *names) {
    size_t index = 0;
    if (csv->count != width)
        return pm_fail(PM_E_FORMAT, "%s:%zu: %zu fields, the header has %zu", csv->name, csv->line,
                       csv->count, width);
    if (pm_parse_size("index", csv->fields[where[COLUMN_INDEX]], &index) || index >= INDEX_LIMIT)
        return pm_fail(PM_E_FORMAT, "%s:%zu: index '%.40s' is not a class index below %d",
                       csv->name, csv->line, csv->fields[where[COLUMN_INDEX]], INDEX_LIMIT);
    if (index < names->count && (names->names[index] || names->wnids[index]))
        return pm_fail(PM_E_FORMAT, "%s:%zu: class %zu comes twice", csv->name, csv->line, index);
    pm_status status = grow(names, index + 1);
    if (!status && where[COLUMN_NAMES] >= 0)
        status = keep(&names->names[index], csv->fields[where[COLUMN_NAMES]]);
    if (!status && where[COLUMN_WNID] >= 0)
        status = keep(&names->wnids[index], csv->fields[where[COLUMN_WNID]]);
    return status;
}

pm_status pm_class_names_read(const char *path, pm_class_names *out) {
    pm_class_names names = {0};
    uint8_t *text = NULL;
    size_t size = 0, width = 0;
    int where[COLUMN_COUNT];
    pm_csv csv;
    pm_status status = pm_file_read(path, FILE_LIMIT_BYTES, &text, &size);
    if (status) return status;
    pm_csv_init(&csv, path, (char *)text, size);
    status = pm_csv_header(&csv, columns, COLUMN_COUNT, where, &width);
    if (status) goto fail;
    if (where[COLUMN_INDEX] < 0 || (where[COLUMN_NAMES] < 0 && where[COLUMN_WNID] < 0)) {
        status = pm_fail(PM_E_FORMAT, "%s: the header must be index,wnid,names", path);
        goto fail;
    }
    while ((status = pm_csv_next(&csv)) == PM_OK && csv.count > 0) {
        status = read_row(&csv, where, width, &names);
        if (status) goto fail;
    }
    if (status) goto fail;
    if (names.count == 0) {
        status = pm_fail(PM_E_FORMAT, "%s: no class in it", path);
        goto fail;
    }
    free(text);
    *out = names;
    return PM_OK;
fail:
    free(text);
    pm_class_names_fini(&names);
    return status;
}
