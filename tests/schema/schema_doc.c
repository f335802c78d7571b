/* schema_doc --compare A B: do two answers say the same?
 * schema_doc ROOT DB [--check]: docs/SCHEMA.md from ROOT/schema: SCHEMA.md.in is the text, with
 * @diagram@, @tables@ and @views@ made from the migrations and the ready-made queries, whose
 * answers come from DB, the demo's database. Prints it; with --check compares it with
 * ROOT/docs/SCHEMA.md and says where they differ. An answer that varies is compared by its columns'
 * names alone. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sqlite3.h>

#include "lib/base/file.h"
#include "lib/base/text.h"
#include "lib/store/describe.h"
#include "lib/store/query.h"
#include "tools/queries/catalogue.h"
#include "tools/table.h"

static pm_buffer page;
static const char *db_path;

static void die(const char *what) {
    fprintf(stderr, "schema_doc: %s\n", what);
    exit(1);
}

static void must(pm_status status) {
    if (status) die(pm_error_text());
}

#define put(...) must(pm_buffer_printf(&page, __VA_ARGS__))

typedef void (*row_fn)(sqlite3_stmt *row, const char *name);

static const char *text_at(sqlite3_stmt *row, int column) {
    const char *text = (const char *)sqlite3_column_text(row, column);
    return text ? text : "";
}

static void each(const char *sql, const char *value, row_fn f) {
    sqlite3 *db;
    sqlite3_stmt *row;
    if (sqlite3_open_v2(db_path, &db, SQLITE_OPEN_READONLY, NULL)) die(sqlite3_errmsg(db));
    if (sqlite3_prepare_v2(db, sql, -1, &row, NULL)) die(sqlite3_errmsg(db));
    if (value) sqlite3_bind_text(row, 1, value, -1, SQLITE_STATIC);
    while (sqlite3_step(row) == SQLITE_ROW) f(row, value);
    sqlite3_finalize(row);
    sqlite3_close(db);
}

/* ---- questions ---- */

static pm_status ask_query(void *user, const char *sql, const pm_value *parameters, size_t count,
                           const pm_query_sink *sink) {
    return pm_query_run(user, sql, parameters, count, sink, NULL);
}

static void put_answer(const pm_ready *ready) {
    pm_query *query = NULL;
    pm_table *table = NULL;
    pm_value values[PM_READY_PARAMETERS];
    char name[PM_READY_LINE], *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    if (!out) die("no memory");
    must(pm_query_open(db_path, &pm_query_default_limits, &query));
    const pm_asker asker = {.user = query, .ask = ask_query};
    must(pm_ready_values(ready, &asker, NULL, 0, name, values));
    must(pm_table_new(PM_TABLE_TEXT, out, &table));
    const pm_query_sink sink = pm_table_sink(table);
    must(pm_query_run(query, ready->sql, values, ready->parameter_count, &sink, NULL));
    must(pm_table_end(table));
    fclose(out);
    put("```%s\n%s```\n", ready->varies ? "text varies" : "text", text);
    free(text);
    pm_table_free(&table);
    pm_query_close(&query);
}

static size_t put_queries(const char *view) {
    size_t count = 0;
    for (size_t i = 0; i < pm_ready_count; i++) {
        pm_ready ready;
        must(pm_ready_at(i, &ready));
        if (strcmp(ready.view, view) != 0) continue;
        count++;
        put("\n%s — `parchmill queries %s", ready.question, ready.name);
        for (size_t p = 0; p < ready.parameter_count; p++) put(" [%s]", ready.parameters[p]);
        put("`\n\n```sql\n%s```\n", ready.sql);
        put_answer(&ready);
    }
    return count;
}

/* ---- tables ---- */

static void put_link(sqlite3_stmt *row, const char *name) {
    (void)name;
    put("    %s ||--o{ %s : \"%s\"\n", text_at(row, 0), text_at(row, 1), text_at(row, 2));
}

static void put_diagram(void) {
    put("```mermaid\nerDiagram\n");
    each("SELECT f.\"table\", l.name, group_concat(f.\"from\", ', ') FROM pragma_table_list AS l"
         " JOIN pragma_foreign_key_list(l.name) AS f WHERE l.schema = 'main' AND l.type = 'table'"
         " GROUP BY l.name, f.id ORDER BY 1, 2, 3",
         NULL, put_link);
    put("```\n");
}

static void put_column(sqlite3_stmt *row, const char *table) {
    char comment[512];
    const char *name = text_at(row, 0), *parent = text_at(row, 4);
    pm_schema_comment(table, name, comment, sizeof comment);
    if (!comment[0]) die(name);
    put("| `%s` | %s%s%s%s%s | ", name, text_at(row, 1), sqlite3_column_int(row, 2) ? "" : ", NULL",
        sqlite3_column_int(row, 3) ? ", key" : "", parent[0] ? ", → " : "", parent);
    for (const char *c = comment; *c; c++) put(*c == '|' ? "\\|" : "%c", *c);
    put(" |\n");
}

static void put_table(sqlite3_stmt *row, const char *none) {
    char comment[1024];
    const char *name = text_at(row, 0);
    (void)none;
    pm_schema_comment(name, NULL, comment, sizeof comment);
    if (!comment[0]) die(name);
    put("\n### %s\n\n%s\n\n| column | | |\n|---|---|---|\n", name, comment);
    each("SELECT c.name, c.type, c.\"notnull\" OR c.pk, c.pk, (SELECT f.\"table\" FROM"
         " pragma_foreign_key_list(?1) AS f WHERE f.\"from\" = c.name) FROM pragma_table_info(?1)"
         " AS c",
         name, put_column);
    put_queries(name);
}

/* ---- views ---- */

static void put_word(sqlite3_stmt *row, const char *view) {
    (void)view;
    put("%s`%s`", sqlite3_column_int(row, 1) ? ", " : "", text_at(row, 0));
}

static void put_view(sqlite3_stmt *row, const char *none) {
    char comment[1024];
    const char *name = text_at(row, 0);
    (void)none;
    if (strlen(name) > 5 && strcmp(name + strlen(name) - 5, "_live") == 0) return;
    pm_schema_comment(name, NULL, comment, sizeof comment);
    if (!comment[0]) die(name);
    put("\n### %s\n\n%s\n\nColumns: ", name, comment);
    each("SELECT name, cid FROM pragma_table_info(?1)", name, put_word);
    put(".\n");
    if (!put_queries(name)) {
        fprintf(stderr, "view %s has no query in schema/queries\n", name);
        exit(1);
    }
}

static void put_page(const char *root) {
    char path[4200];
    uint8_t *bytes = NULL;
    size_t size = 0;
    snprintf(path, sizeof path, "%s/schema/SCHEMA.md.in", root);
    must(pm_file_read(path, (size_t)1 << 20, &bytes, &size));
    for (const char *at = (const char *)bytes, *end = at + size; at < end;) {
        const char *line_end = memchr(at, '\n', (size_t)(end - at));
        const size_t length = line_end ? (size_t)(line_end - at) + 1 : (size_t)(end - at);
        if (strncmp(at, "@diagram@", 9) == 0)
            put_diagram();
        else if (strncmp(at, "@tables@", 8) == 0)
            each("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
                 " ORDER BY name",
                 NULL, put_table);
        else if (strncmp(at, "@views@", 7) == 0)
            each("SELECT name FROM sqlite_schema WHERE type = 'view' ORDER BY name", NULL,
                 put_view);
        else
            must(pm_buffer_append(&page, at, length));
        at += length;
    }
    must(pm_buffer_append(&page, "", 1));
    free(bytes);
}

/* ---- comparing ---- */

/* A line of two texts, with where it ends. */
typedef struct place {
    const char *at, *end;
    size_t length, line;
} place;

static bool next_line(place *p) {
    if (p->at >= p->end) return false;
    const char *stop = memchr(p->at, '\n', (size_t)(p->end - p->at));
    p->length = (size_t)((stop ? stop : p->end) - p->at);
    p->line++;
    return true;
}

static void step(place *p) { p->at += p->length + 1; }

static bool is_line(const place *p, const char *text) {
    return p->length == strlen(text) && memcmp(p->at, text, p->length) == 0;
}

static bool next_word(const place *p, size_t *at, char word[64]) {
    while (*at < p->length && p->at[*at] == ' ') ++*at;
    size_t n = 0;
    while (*at < p->length && p->at[*at] != ' ' && n < 63) word[n++] = p->at[(*at)++];
    word[n] = 0;
    return n > 0;
}

static bool is_rule(const char *word) { return strncmp(word, "\u2500", 3) == 0; }

/* A number with a fraction may be off a little, anything else may not. */
static bool same_word(const char *a, const char *b) {
    char *end_a, *end_b;
    if (strcmp(a, b) == 0 || (is_rule(a) && is_rule(b))) return true;
    const double x = strtod(a, &end_a), y = strtod(b, &end_b);
    if (*end_a || *end_b || (!strpbrk(a, ".e") && !strpbrk(b, ".e"))) return false;
    return fabs(x - y) <= fmax(2e-3, 5e-3 * fabs(x));
}

/* The same words, however far apart. */
static bool same_words(const place *a, const place *b) {
    size_t i = 0, j = 0;
    char one[64], other[64];
    for (;;) {
        const bool more = next_word(a, &i, one);
        if (next_word(b, &j, other) != more) return false;
        if (!more) return true;
        if (!same_word(one, other)) return false;
    }
}

static int differ(const place *is, const place *should) {
    printf("docs/SCHEMA.md:%zu is\n  %.*s\nand should be\n  %.*s\nmake it anew: "
           "tests/schema/schema_doc_test.sh --write\n",
           is->line, (int)is->length, is->at, (int)should->length, should->at);
    return 1;
}

static void to_fence(place *p) {
    while (next_line(p) && !is_line(p, "```")) step(p);
}

static int check(const char *root) {
    char path[4200];
    uint8_t *bytes = NULL;
    size_t size = 0;
    snprintf(path, sizeof path, "%s/docs/SCHEMA.md", root);
    must(pm_file_read(path, (size_t)4 << 20, &bytes, &size));
    place is = {(const char *)bytes, (const char *)bytes + size, 0, 0};
    place should = {(const char *)page.bytes, (const char *)page.bytes + page.size - 1, 0, 0};
    int bad = 0;
    bool answer = false;
    while (!bad && next_line(&is) && next_line(&should)) {
        const bool same = is.length == should.length && !memcmp(is.at, should.at, is.length);
        if (is_line(&is, "```text"))
            answer = true;
        else if (is_line(&is, "```"))
            answer = false;
        if (!same && !(answer && same_words(&is, &should))) bad = differ(&is, &should);
        const bool varies = is_line(&is, "```text varies");
        step(&is);
        step(&should);
        if (!varies || bad) continue;
        if (!next_line(&is) || !next_line(&should) || !same_words(&is, &should))
            bad = differ(&is, &should);
        to_fence(&is);
        to_fence(&should);
    }
    if (!bad && (is.at < is.end || should.at < should.end)) {
        puts("docs/SCHEMA.md has more or fewer lines than it should");
        bad = 1;
    }
    free(bytes);
    return bad;
}

/* Line by line. */
static int compare(const char *a, const char *b) {
    uint8_t *bytes[2];
    size_t sizes[2];
    must(pm_file_read(a, (size_t)1 << 20, &bytes[0], &sizes[0]));
    must(pm_file_read(b, (size_t)1 << 20, &bytes[1], &sizes[1]));
    place is = {(const char *)bytes[0], (const char *)bytes[0] + sizes[0], 0, 0};
    place should = {(const char *)bytes[1], (const char *)bytes[1] + sizes[1], 0, 0};
    bool same = true, more = true;
    while (same && more) {
        more = next_line(&is);
        same = next_line(&should) == more && (!more || same_words(&is, &should));
        step(&is);
        step(&should);
    }
    free(bytes[0]);
    free(bytes[1]);
    return !same;
}

int main(int argc, char **argv) {
    if (argc < 3) die("usage: schema_doc ROOT DB [--check] | --compare A B");
    if (argc > 3 && strcmp(argv[1], "--compare") == 0) return compare(argv[2], argv[3]);
    db_path = argv[2];
    put_page(argv[1]);
    if (argc > 3) return check(argv[1]);
    fputs((const char *)page.bytes, stdout);
    return 0;
}
