/* Owns how rows look. Must not know where they come from. */
#include "tools/table.h"

#include <stdlib.h>
#include <string.h>
#include <wchar.h>

#include "lib/base/text.h"
#include "tools/cells.h"

enum { CELL_COLUMNS_MAX = 60 };

struct pm_table {
    pm_table_format format;
    FILE *out;
    size_t columns, rows;
    char **names;
    char **cells; /* [held rows][columns], text format only */
    bool *right;  /* [held rows][columns] numbers stand right */
    size_t held;
    size_t *widths; /* [columns] once known */
};

pm_status pm_table_format_parse(const char *name, pm_table_format *out) {
    static const char *const names[] = {"table", "csv", "json", "jsonl", "markdown"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(names[i], name) == 0) {
            *out = (pm_table_format)i;
            return PM_OK;
        }
    return pm_fail(PM_E_USAGE,
                   "--format '%.80s' is not known; there are: table, csv, json, jsonl, markdown",
                   name);
}

pm_status pm_table_new(pm_table_format format, FILE *out, pm_table **table) {
    pm_table *made = calloc(1, sizeof *made);
    if (!made) return pm_fail(PM_E_MEMORY, "no memory for a table");
    made->format = format;
    made->out = out;
    *table = made;
    return PM_OK;
}

static void drop_held(pm_table *table) {
    for (size_t i = 0; i < table->held * table->columns; i++) free(table->cells[i]);
    free(table->cells);
    free(table->right);
    table->cells = NULL;
    table->right = NULL;
    table->held = 0;
}

void pm_table_free(pm_table **table) {
    if (!*table) return;
    drop_held(*table);
    for (size_t i = 0; (*table)->names && i < (*table)->columns; i++) free((*table)->names[i]);
    free((*table)->names);
    free((*table)->widths);
    free(*table);
    *table = NULL;
}

/* ---- cells ---- */

/* Columns that a UTF-8 text takes on a terminal. */
static size_t columns_of(const char *text) {
    size_t columns = 0;
    mbstate_t state = {0};
    for (size_t left = strlen(text); left > 0;) {
        wchar_t wide;
        size_t n = mbrtowc(&wide, text, left, &state);
        if (n == 0 || n > left) {
            columns++;
            n = 1;
            memset(&state, 0, sizeof state);
        } else {
            int width = wcwidth(wide);
            columns += width > 0 ? (size_t)width : 0;
        }
        text += n;
        left -= n;
    }
    return columns;
}

static size_t utf8_step(const char *text) {
    size_t n = 1;
    while (((unsigned char)text[n] & 0xC0) == 0x80) n++;
    return n;
}

/* One line, no control characters, cut at CELL_COLUMNS_MAX. */
static pm_status printable(const char *text, size_t size, char **out) {
    char *copy = malloc(size + 4);
    if (!copy) return pm_fail(PM_E_MEMORY, "no memory for a cell");
    for (size_t i = 0, n; i < size; i += n) {
        n = pm_utf8_size(text + i, size - i);
        if (n)
            memcpy(copy + i, text + i, n);
        else
            copy[i] = (unsigned char)text[i] < 32 ? ' ' : '?', n = 1;
    }
    copy[size] = '\0';
    size_t at = 0, columns = 0;
    while (copy[at] && columns < CELL_COLUMNS_MAX - 1) {
        at += utf8_step(copy + at);
        columns++;
    }
    if (copy[at] && copy[at + utf8_step(copy + at)]) memcpy(copy + at, "…", 4);
    *out = copy;
    return PM_OK;
}

static pm_status cell_text(const pm_value *value, char **out) {
    char text[64];
    switch (value->kind) {
    case PM_VALUE_NULL: snprintf(text, sizeof text, "NULL"); break;
    case PM_VALUE_INTEGER: snprintf(text, sizeof text, "%lld", (long long)value->integer); break;
    case PM_VALUE_REAL: snprintf(text, sizeof text, "%.6g", value->real); break;
    case PM_VALUE_TEXT: return printable(value->text, value->size, out);
    case PM_VALUE_BLOB: snprintf(text, sizeof text, "blob(%zu bytes)", value->size); break;
    }
    *out = strdup(text);
    return *out ? PM_OK : pm_fail(PM_E_MEMORY, "no memory for a cell");
}

/* ---- the aligned table ---- */

static void pad(FILE *out, size_t columns) {
    for (size_t i = 0; i < columns; i++) fputc(' ', out);
}

static void print_cell(const pm_table *table, size_t column, const char *text, bool right) {
    size_t width = columns_of(text), room = table->widths[column];
    size_t gap = width < room ? room - width : 0;
    if (right) pad(table->out, gap);
    fputs(text, table->out);
    if (column + 1 == table->columns) {
        fputc('\n', table->out);
        return;
    }
    pad(table->out, (right ? 0 : gap) + 2);
}

static pm_status flush_held(pm_table *table) {
    size_t columns = table->columns;
    table->widths = calloc(columns ? columns : 1, sizeof *table->widths);
    if (!table->widths) return pm_fail(PM_E_MEMORY, "no memory for a table");
    for (size_t c = 0; c < columns; c++) {
        table->widths[c] = columns_of(table->names[c]);
        for (size_t r = 0; r < table->held; r++) {
            size_t width = columns_of(table->cells[r * columns + c]);
            if (width > table->widths[c]) table->widths[c] = width;
        }
    }
    for (size_t c = 0; c < columns; c++)
        print_cell(table, c, table->names[c], table->held && table->right[c]);
    for (size_t c = 0; c < columns; c++) {
        for (size_t i = 0; i < table->widths[c]; i++) fputs("─", table->out);
        fputs(c + 1 == columns ? "\n" : "  ", table->out);
    }
    for (size_t i = 0; i < table->held * columns; i++)
        print_cell(table, i % columns, table->cells[i], table->right[i]);
    drop_held(table);
    return PM_OK;
}

static bool is_number(const pm_value *value) {
    return value->kind == PM_VALUE_INTEGER || value->kind == PM_VALUE_REAL;
}

static pm_status text_row(pm_table *table, const pm_value *values) {
    size_t columns = table->columns;
    if (table->widths) {
        for (size_t c = 0; c < columns; c++) {
            char *text;
            pm_status status = cell_text(&values[c], &text);
            if (status) return status;
            print_cell(table, c, text, is_number(&values[c]));
            free(text);
        }
        return PM_OK;
    }
    if (!table->cells) {
        table->cells = calloc(columns * PM_TABLE_SAMPLE, sizeof *table->cells);
        table->right = calloc(columns * PM_TABLE_SAMPLE, sizeof *table->right);
        if (!table->cells || !table->right)
            return pm_fail(PM_E_MEMORY, "no memory for a table of %zu columns", columns);
    }
    size_t first = table->held * columns;
    table->held++; /* also where a cell fails: free takes NULL */
    for (size_t c = 0; c < columns; c++) {
        pm_status status = cell_text(&values[c], &table->cells[first + c]);
        if (status) return status;
        table->right[first + c] = is_number(&values[c]);
    }
    return table->held == PM_TABLE_SAMPLE ? flush_held(table) : PM_OK;
}

/* ---- Markdown ---- */

/* What would end a cell, or be taken for HTML, is escaped; a line's end becomes a blank. */
static void markdown_text(FILE *out, const char *text, size_t size) {
    for (size_t i = 0; i < size; i++) {
        const unsigned char c = (unsigned char)text[i];
        if (c == '|' || c == '\\' || c == '<')
            fprintf(out, "\\%c", c);
        else
            fputc(c < 32 || c == 127 ? ' ' : c, out);
    }
}

static void markdown_head(pm_table *table, const pm_value *first) {
    for (size_t c = 0; c < table->columns; c++) {
        fputs(c ? " | " : "| ", table->out);
        markdown_text(table->out, table->names[c], strlen(table->names[c]));
    }
    fputs(" |\n", table->out);
    for (size_t c = 0; c < table->columns; c++)
        fputs(first && is_number(&first[c]) ? "| ---: " : "| --- ", table->out);
    fputs("|\n", table->out);
}

static pm_status markdown_row(pm_table *table, const pm_value *values) {
    if (!table->rows) markdown_head(table, values);
    for (size_t c = 0; c < table->columns; c++) {
        fputs(c ? " | " : "| ", table->out);
        if (values[c].kind == PM_VALUE_TEXT) {
            markdown_text(table->out, values[c].text, values[c].size);
            continue;
        }
        char *text;
        pm_status status = cell_text(&values[c], &text);
        if (status) return status;
        fputs(text, table->out);
        free(text);
    }
    fputs(" |\n", table->out);
    return PM_OK;
}

/* ---- the sink ---- */

static pm_status take_columns(void *user, size_t count, const char *const *names,
                              const char *const *types) {
    pm_table *table = user;
    (void)types;
    table->names = calloc(count ? count : 1, sizeof *table->names);
    if (!table->names) return pm_fail(PM_E_MEMORY, "no memory for %zu columns", count);
    table->columns = count;
    for (size_t i = 0; i < count; i++) {
        table->names[i] = strdup(names[i]);
        if (!table->names[i]) return pm_fail(PM_E_MEMORY, "no memory for %zu columns", count);
    }
    if (table->format == PM_TABLE_CSV) pm_cells_csv_names(table->out, names, count, "\n");
    return PM_OK;
}

static pm_status take_row(void *user, size_t count, const pm_value *values) {
    pm_table *table = user;
    pm_status status = PM_OK;
    switch (table->format) {
    case PM_TABLE_TEXT: status = text_row(table, values); break;
    case PM_TABLE_CSV: pm_cells_csv(table->out, values, count, "\n"); break;
    case PM_TABLE_JSON:
        fputs(table->rows ? ",\n " : "[\n ", table->out);
        pm_cells_json(table->out, table->names, values, count);
        break;
    case PM_TABLE_JSONL:
        pm_cells_json(table->out, table->names, values, count);
        fputc('\n', table->out);
        break;
    case PM_TABLE_MARKDOWN: status = markdown_row(table, values); break;
    }
    table->rows++;
    if (!status && ferror(table->out)) status = pm_fail(PM_E_IO, "cannot write the rows");
    return status;
}

pm_query_sink pm_table_sink(pm_table *table) {
    return (pm_query_sink){.user = table, .columns = take_columns, .row = take_row};
}

pm_status pm_table_end(pm_table *table) {
    pm_status status = PM_OK;
    if (table->format == PM_TABLE_JSON) fputs(table->rows ? "\n]\n" : "[]\n", table->out);
    if (table->format == PM_TABLE_MARKDOWN && table->columns && !table->rows)
        markdown_head(table, NULL);
    if (table->format == PM_TABLE_TEXT && table->columns && !table->widths)
        status = flush_held(table);
    return status;
}

size_t pm_table_rows(const pm_table *table) { return table->rows; }
