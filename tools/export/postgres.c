/* Owns the translation of our tables into PostgreSQL's. Keys and indexes come from the schema as it
 * is in the file; CHECK constraints stay behind, they were checked here. */
#include "tools/export/postgres.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "lib/store/describe.h"
#include "tools/cells.h"
#include "tools/export/out.h"

#define ALL_OF(name)                                                                               \
    { name, "SELECT * FROM " name }
/* Every table but broker, whose rows are of leases. */
static const struct table {
    const char *name, *sql;
} tables[] = {
    ALL_OF("model"),
    ALL_OF("layer"),
    ALL_OF("data_set"),
    ALL_OF("class_name"),
    ALL_OF("image"),
    ALL_OF("box"),
    ALL_OF("data_set_item"),
    ALL_OF("statistics"),
    ALL_OF("layer_statistics"),
    ALL_OF("channel_statistics"),
    ALL_OF("class_statistics"),
    ALL_OF("configuration"),
    ALL_OF("run"),
    ALL_OF("run_configuration"),
    ALL_OF("task"),
    ALL_OF("worker"),
    ALL_OF("result"),
    ALL_OF("perturbation"),
    ALL_OF("layer_gradient"),
    ALL_OF("channel_gradient"),
    ALL_OF("channel_accumulator"),
    ALL_OF("channel_gradient_item"),
    ALL_OF("heat_map"),
    ALL_OF("activation"),
    ALL_OF("failure"),
    ALL_OF("score_summary"),
    ALL_OF("curve_summary"),
    ALL_OF("layer_summary"),
    ALL_OF("timing_summary"),
};
enum { TABLES = sizeof tables / sizeof *tables };

typedef struct script {
    pm_query *query;
    FILE *out;
    const char *table;
    size_t rows; /* of the question in hand */
} script;

/* What a row makes of the script begins ... */
static script *begin(void *user) {
    errno = 0;
    return user;
}

/* ... and ends: whether it could be written, while errno still says why not. */
static pm_status end(const script *s) { return ferror(s->out) ? pm_fail_errno(errno) : PM_OK; }

static void identifier(FILE *out, const char *name) {
    fputc('"', out);
    for (; *name; name++) {
        if (*name == '"') fputc('"', out);
        fputc(*name, out);
    }
    fputc('"', out);
}

/* PostgreSQL has columns xmin and xmax of its own in every table. */
static void column_identifier(FILE *out, const char *name) {
    static const char *const names[][2] = {
        {"xmin", "x_min"}, {"xmax", "x_max"}, {"ymin", "y_min"}, {"ymax", "y_max"}};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(names[i][0], name) == 0) name = names[i][1];
    identifier(out, name);
}

static void literal(FILE *out, const char *text) {
    fputc('\'', out);
    for (; *text; text++) {
        if (*text == '\'') fputc('\'', out);
        fputc(*text, out);
    }
    fputc('\'', out);
}

static pm_value text_value(const char *text) {
    return (pm_value){.kind = PM_VALUE_TEXT, .text = text, .size = strlen(text)};
}

/* One question with the table's name (or another text) as ?1. */
static pm_status ask(script *s, const char *sql, const char *text,
                     pm_status (*row)(void *, size_t, const pm_value *)) {
    const pm_value value = text_value(text);
    const pm_query_sink sink = {.user = s, .row = row};
    s->rows = 0;
    return pm_query_run(s->query, sql, &value, 1, &sink, NULL);
}

/* ---- tables ---- */

static const char *type_of(const char *type) {
    static const char *const pairs[][2] = {
        {"INTEGER", "bigint"}, {"REAL", "double precision"}, {"TEXT", "text"}, {"BLOB", "bytea"}};
    for (size_t i = 0; i < 4; i++)
        if (strcmp(pairs[i][0], type) == 0) return pairs[i][1];
    return "text";
}

/* name, type, notnull, pk */
static pm_status take_column(void *user, size_t count, const pm_value *v) {
    script *s = begin(user);
    (void)count;
    fputs(s->rows++ ? ",\n    " : "\n    ", s->out);
    column_identifier(s->out, v[0].text);
    fprintf(s->out, " %s%s", type_of(v[1].text), v[2].integer || v[3].integer ? " NOT NULL" : "");
    return end(s);
}

static pm_status take_key(void *user, size_t count, const pm_value *v) {
    script *s = begin(user);
    (void)count;
    fputs(s->rows++ ? ", " : ",\n    PRIMARY KEY (", s->out);
    identifier(s->out, v[0].text);
    return end(s);
}

static pm_status take_comment(void *user, size_t count, const pm_value *v) {
    script *s = begin(user);
    char comment[512];
    (void)count;
    pm_schema_comment(s->table, v[0].text, comment, sizeof comment);
    if (!comment[0]) return PM_OK;
    fputs("COMMENT ON COLUMN ", s->out);
    identifier(s->out, s->table);
    fputc('.', s->out);
    column_identifier(s->out, v[0].text);
    fputs(" IS ", s->out);
    literal(s->out, comment);
    fputs(";\n", s->out);
    return end(s);
}

static pm_status make_table(script *s, const char *table) {
    char comment[512];
    s->table = table;
    fputs("\nCREATE TABLE ", s->out);
    identifier(s->out, table);
    fputs(" (", s->out);
    pm_status status =
        ask(s, "SELECT name, type, \"notnull\", pk FROM pragma_table_info(?1) ORDER BY cid", table,
            take_column);
    if (!status && !s->rows)
        status = pm_fail(PM_E_INTERNAL, "there is no table %s to export", table);
    if (!status)
        status = ask(s, "SELECT name FROM pragma_table_info(?1) WHERE pk > 0 ORDER BY pk", table,
                     take_key);
    fputs(s->rows ? ")\n);\n" : "\n);\n", s->out);
    pm_schema_comment(table, NULL, comment, sizeof comment);
    if (comment[0]) {
        fputs("COMMENT ON TABLE ", s->out);
        identifier(s->out, table);
        fputs(" IS ", s->out);
        literal(s->out, comment);
        fputs(";\n", s->out);
    }
    if (!status)
        status = ask(s, "SELECT name FROM pragma_table_info(?1) ORDER BY cid", table, take_comment);
    return status;
}

/* ---- rows ---- */

/* PostgreSQL's text has no NUL and is UTF-8: what is neither becomes U+FFFD. */
static void copy_text(FILE *out, const char *text, size_t size) {
    for (size_t i = 0, n; i < size; i += n) {
        n = pm_utf8_any(text + i, size - i);
        if (n == 0 || text[i] == 0) {
            fputs("\xef\xbf\xbd", out);
            n = 1;
            continue;
        }
        switch (text[i]) {
        case '\\': fputs("\\\\", out); break;
        case '\n': fputs("\\n", out); break;
        case '\r': fputs("\\r", out); break;
        case '\t': fputs("\\t", out); break;
        default: fwrite(text + i, 1, n, out);
        }
    }
}

static void copy_value(FILE *out, const pm_value *value) {
    char number[PM_REAL_TEXT_BYTES];
    switch (value->kind) {
    case PM_VALUE_NULL: fputs("\\N", out); return;
    case PM_VALUE_INTEGER: fprintf(out, "%" PRId64, value->integer); return;
    case PM_VALUE_REAL:
        pm_real_text(value->real, number);
        if (isinf(value->real))
            fputs(value->real > 0 ? "Infinity" : "-Infinity", out);
        else
            fputs(number, out);
        return;
    case PM_VALUE_TEXT: copy_text(out, value->text, value->size); return;
    case PM_VALUE_BLOB:
        fputs("\\\\x", out);
        pm_cells_hex(out, value);
        return;
    }
}

static pm_status take_names(void *user, size_t count, const char *const *names,
                            const char *const *types) {
    script *s = begin(user);
    (void)types;
    fputs("\nCOPY ", s->out);
    identifier(s->out, s->table);
    for (size_t c = 0; c < count; c++) {
        fputs(c ? ", " : " (", s->out);
        column_identifier(s->out, names[c]);
    }
    fputs(") FROM STDIN;\n", s->out);
    return end(s);
}

static pm_status take_row(void *user, size_t count, const pm_value *values) {
    script *s = begin(user);
    for (size_t c = 0; c < count; c++) {
        if (c) fputc('\t', s->out);
        copy_value(s->out, &values[c]);
    }
    fputc('\n', s->out);
    return end(s);
}

static pm_status copy_rows(script *s, const struct table *table) {
    const pm_query_sink sink = {.user = s, .columns = take_names, .row = take_row};
    s->table = table->name;
    pm_status status = pm_query_run(s->query, table->sql, NULL, 0, &sink, NULL);
    fputs("\\.\n", s->out);
    return status;
}

/* ---- keys and indexes ---- */

/* id, table, from, to: rows of one key follow each other. */
static pm_status take_reference(void *user, size_t count, const pm_value *v) {
    script *s = begin(user);
    (void)count;
    fputs("ALTER TABLE ", s->out);
    identifier(s->out, s->table);
    fprintf(s->out, " ADD FOREIGN KEY (%s) REFERENCES ", v[0].text);
    identifier(s->out, v[1].text);
    fputs(";\n", s->out);
    return end(s);
}

static pm_status take_unique(void *user, size_t count, const pm_value *v) {
    script *s = begin(user);
    (void)count;
    fputs("ALTER TABLE ", s->out);
    identifier(s->out, s->table);
    fprintf(s->out, " ADD UNIQUE (%s);\n", v[0].text);
    return end(s);
}

/* The schema's own words; ifnull is coalesce in standard SQL. */
static pm_status take_statement(void *user, size_t count, const pm_value *v) {
    script *s = begin(user);
    static const char ours[] = "ifnull(";
    (void)count;
    for (const char *p = v[0].text; *p;) {
        if (strncmp(p, ours, sizeof ours - 1) == 0) {
            fputs("coalesce(", s->out);
            p += sizeof ours - 1;
        } else {
            fputc(*p++, s->out);
        }
    }
    fputs(";\n", s->out);
    return end(s);
}

static pm_status add_keys(script *s, const char *table) {
    s->table = table;
    pm_status status = ask(
        s,
        "SELECT group_concat('\"' || \"from\" || '\"', ', '), \"table\" FROM"
        " (SELECT id, seq, \"table\", \"from\" FROM pragma_foreign_key_list(?1) ORDER BY id, seq)"
        " GROUP BY id",
        table, take_reference);
    if (!status)
        status = ask(s,
                     "SELECT (SELECT group_concat('\"' || name || '\"', ', ') FROM"
                     " (SELECT name FROM pragma_index_info(l.name) ORDER BY seqno))"
                     " FROM pragma_index_list(?1) AS l WHERE l.origin = 'u' ORDER BY l.name",
                     table, take_unique);
    if (!status)
        status = ask(s,
                     "SELECT sql FROM sqlite_schema WHERE type = 'index' AND tbl_name = ?1"
                     " AND sql IS NOT NULL ORDER BY name",
                     table, take_statement);
    return status;
}

/* The views that say nothing that only SQLite understands. */
static pm_status add_views(script *s) {
    static const char *const names[] = {"result_wide", "result_named", "layer_gradient_wide"};
    pm_status status = PM_OK;
    for (size_t i = 0; i < sizeof names / sizeof *names && !status; i++) {
        fputc('\n', s->out);
        /* CROSS JOIN ... ON tells SQLite an order; PostgreSQL finds its own. */
        status = ask(s,
                     "SELECT replace(sql, 'CROSS JOIN', 'JOIN') FROM sqlite_schema"
                     " WHERE type = 'view' AND name = ?1",
                     names[i], take_statement);
    }
    return status;
}

pm_status pm_export_postgres(pm_query *query, int64_t run, FILE *out) {
    script s = {.query = query, .out = out};
    pm_status status = PM_OK;
    fprintf(out,
            PM_OUT_MARK_LINE " of run %" PRId64 ", for PostgreSQL: psql -1 -f FILE\n"
                             "-- All or nothing; with psql -1 the transaction is psql's.\n"
                             "SET client_min_messages = error;\n"
                             "BEGIN;\n"
                             "SET client_encoding = 'UTF8';\n"
                             "SET standard_conforming_strings = on;\n"
                             "CREATE SCHEMA parchmill_run_%" PRId64 ";\n"
                             "SET search_path TO parchmill_run_%" PRId64 ";\n",
            run, run, run);
    for (size_t i = 0; i < TABLES && !status; i++) status = make_table(&s, tables[i].name);
    for (size_t i = 0; i < TABLES && !status; i++) status = copy_rows(&s, &tables[i]);
    fputc('\n', out);
    for (size_t i = 0; i < TABLES && !status; i++) status = add_keys(&s, tables[i].name);
    if (!status) status = add_views(&s);
    /* Half a script must not leave half a run, wherever it was sent. */
    fputs(status ? "\nROLLBACK;\n" : "\nCOMMIT;\n", out);
    return status;
}
