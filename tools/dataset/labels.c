/* Owns labels.csv: path,label,xmin,ymin,xmax,ymax; one line a box, so an image may have several. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/base/file.h"
#include "lib/base/text.h"
#include "tools/dataset/csv.h"
#include "tools/dataset/items.h"

#define FILE_LIMIT_BYTES ((size_t)1 << 30)

enum {
    COLUMN_PATH,
    COLUMN_LABEL,
    COLUMN_XMIN,
    COLUMN_YMIN,
    COLUMN_XMAX,
    COLUMN_YMAX,
    COLUMN_COUNT
};
static const char *const columns[COLUMN_COUNT] = {"path", "label", "xmin", "ymin", "xmax", "ymax"};

typedef struct label_row {
    const char *path; /* in the file's text */
    size_t line;
    int label;
    bool has_box;
    pm_spec_box box;
} label_row;

typedef struct label_table {
    size_t count, capacity;
    label_row *rows;
} label_table;

/* Inside the root, whoever wrote the table: relative, without "..". "./" in front is dropped. */
static pm_status check_path(const pm_csv *csv, char *path, const char **out) {
    while (path[0] == '.' && path[1] == '/') path += 2;
    bool bad = !path[0] || path[0] == '/';
    for (const char *part = path; part && !bad; part = strchr(part, '/')) {
        if (*part == '/') part++;
        size_t length = strcspn(part, "/");
        bad = length == 0 || (length == 1 && part[0] == '.') ||
              (length == 2 && part[0] == '.' && part[1] == '.');
    }
    if (bad)
        return pm_fail(PM_E_FORMAT, "%s:%zu: '%.120s' is not a path inside the folder", csv->name,
                       csv->line, path);
    *out = path;
    return PM_OK;
}

static pm_status parse_label(const pm_csv *csv, const char *text, size_t class_count, int *out) {
    size_t label = 0;
    if (!text[0]) {
        *out = -1;
        return PM_OK;
    }
    if (pm_parse_size("label", text, &label) || label > INT32_MAX)
        return pm_fail(PM_E_FORMAT, "%s:%zu: label '%.40s' is not a class index", csv->name,
                       csv->line, text);
    if (class_count && label >= class_count)
        return pm_fail(PM_E_MISMATCH,
                       "%s:%zu: label %zu is out of range: the model has %zu classes, 0 to %zu",
                       csv->name, csv->line, label, class_count, class_count - 1);
    *out = (int)label;
    return PM_OK;
}

static pm_status parse_box(const pm_csv *csv, const int *where, label_row *row) {
    double edges[4];
    size_t given = 0;
    for (size_t i = 0; i < 4; i++) given += csv->fields[where[COLUMN_XMIN + i]][0] != '\0';
    if (given == 0) return PM_OK;
    for (size_t i = 0; i < 4; i++) {
        const char *text = csv->fields[where[COLUMN_XMIN + i]];
        if (given != 4 || pm_parse_double(columns[COLUMN_XMIN + i], text, &edges[i]))
            return pm_fail(PM_E_FORMAT, "%s:%zu: %s '%.40s' is not a number; a box has four",
                           csv->name, csv->line, columns[COLUMN_XMIN + i], text);
    }
    row->box = (pm_spec_box){edges[0], edges[1], edges[2], edges[3]};
    row->has_box = true;
    if (edges[2] < edges[0] || edges[3] < edges[1])
        return pm_fail(PM_E_FORMAT, "%s:%zu: the box ends before it begins", csv->name, csv->line);
    return PM_OK;
}

static pm_status parse_row(const pm_csv *csv, const int *where, size_t width, size_t class_count,
                           label_row *out) {
    label_row row = {.line = csv->line, .label = -1};
    if (csv->count != width)
        return pm_fail(PM_E_FORMAT, "%s:%zu: %zu fields, the header has %zu", csv->name, csv->line,
                       csv->count, width);
    pm_status status = check_path(csv, csv->fields[where[COLUMN_PATH]], &row.path);
    if (!status && where[COLUMN_LABEL] >= 0)
        status = parse_label(csv, csv->fields[where[COLUMN_LABEL]], class_count, &row.label);
    if (!status && where[COLUMN_XMIN] >= 0) status = parse_box(csv, where, &row);
    if (!status) *out = row;
    return status;
}

static pm_status add_row(label_table *table, const label_row *row) {
    if (table->count == table->capacity) {
        size_t capacity = table->capacity ? table->capacity * 2 : 256;
        label_row *rows = realloc(table->rows, capacity * sizeof *rows);
        if (!rows) return pm_fail(PM_E_MEMORY, "no memory for %zu labels", capacity);
        table->rows = rows;
        table->capacity = capacity;
    }
    table->rows[table->count++] = *row;
    return PM_OK;
}

static pm_status parse_table(const char *name, char *text, size_t size, size_t class_count,
                             label_table *table) {
    pm_csv csv;
    int where[COLUMN_COUNT];
    size_t width = 0;
    pm_csv_init(&csv, name, text, size);
    pm_status status = pm_csv_header(&csv, columns, COLUMN_COUNT, where, &width);
    if (status) return status;
    int boxes = (where[COLUMN_XMIN] >= 0) + (where[COLUMN_YMIN] >= 0) + (where[COLUMN_XMAX] >= 0) +
                (where[COLUMN_YMAX] >= 0);
    if (where[COLUMN_PATH] < 0 || (boxes != 0 && boxes != 4))
        return pm_fail(PM_E_FORMAT,
                       "%s: the header must be path,label,xmin,ymin,xmax,ymax (label "
                       "and the four of the box may be missing)",
                       name);
    while ((status = pm_csv_next(&csv)) == PM_OK && csv.count > 0) {
        label_row row;
        status = parse_row(&csv, where, width, class_count, &row);
        if (!status) status = add_row(table, &row);
        if (status) return status;
    }
    return status;
}

static int compare_rows(const void *a, const void *b) {
    const label_row *x = a, *y = b;
    int order = strcmp(x->path, y->path);
    return order ? order : (x->line > y->line) - (x->line < y->line);
}

static pm_status check_file(const char *name, const char *root, const label_row *row) {
    struct stat info;
    char path[4096];
    int length = snprintf(path, sizeof path, "%s/%s", root, row->path);
    if (length >= 0 && (size_t)length < sizeof path && stat(path, &info) == 0) return PM_OK;
    return pm_fail(PM_E_NOT_FOUND, "%s:%zu: there is no image %s", name, row->line, row->path);
}

/* Rows of one path become one item; their labels must agree. */
static pm_status gather(const char *name, const char *root, const label_table *table,
                        pm_item_list *list) {
    const label_row *first = NULL;
    for (size_t i = 0; i < table->count; i++) {
        const label_row *row = &table->rows[i];
        pm_status status = PM_OK;
        if (!first || strcmp(first->path, row->path) != 0) {
            if (root) status = check_file(name, root, row);
            if (status) return status;
            status = pm_item_list_add(list, row->path, row->label);
            if (status) return pm_fail_in(status, "%s:%zu", name, row->line);
            first = row;
        } else if (row->label != first->label) {
            return pm_fail(PM_E_FORMAT, "%s:%zu: %s has another label in line %zu", name, row->line,
                           row->path, first->line);
        } else if (!row->has_box || !first->has_box) {
            return pm_fail(PM_E_FORMAT, "%s:%zu: %s stands in line %zu already", name, row->line,
                           row->path, first->line);
        }
        if (row->has_box) status = pm_item_add_box(&list->items[list->count - 1], &row->box);
        if (status) return status;
    }
    return PM_OK;
}

pm_status pm_labels_parse(const char *name, const char *root, char *text, size_t size,
                          size_t class_count, pm_item_list *out) {
    label_table table = {0};
    pm_status status = parse_table(name, text, size, class_count, &table);
    if (!status && table.count == 0) status = pm_fail(PM_E_FORMAT, "%s: no image in it", name);
    if (!status) {
        qsort(table.rows, table.count, sizeof *table.rows, compare_rows);
        status = gather(name, root, &table, out);
    }
    free(table.rows);
    return status;
}

pm_status pm_labels_read(const pm_dataset_source *source, pm_item_list *out) {
    char name[4096];
    uint8_t *text = NULL;
    size_t size = 0;
    snprintf(name, sizeof name, "%s/labels.csv", source->root);
    pm_status status = pm_file_read(name, FILE_LIMIT_BYTES, &text, &size);
    if (status) return status;
    status =
        pm_labels_parse(name, source->root, (char *)text, size, source->options->class_count, out);
    free(text);
    return status;
}
