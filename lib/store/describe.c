/* Owns the reading of the schema's comments. A later migration may make a table anew, so the last
 * place counts. The text is ours: a form that is not known here has no comment. */
#include "lib/store/describe.h"

#include <stdio.h>
#include <string.h>

#include "lib/store/db.h"

/* The last place in one migration. */
static const char *last_of(const char *text, const char *words) {
    const char *found = NULL;
    for (const char *at = text; (at = strstr(at, words)); at++) found = at;
    return found;
}

/* What follows "-- " on the line at `line`, appended behind a blank. */
static void add_comment(const char *line, const char *from, char *out, size_t size) {
    size_t length = strcspn(line, "\n"), used = strlen(out);
    const char *comment = strstr(from, "-- ");
    if (!comment || comment >= line + length) return;
    comment += 3;
    snprintf(out + used, size - used, "%s%.*s", used ? " " : "", (int)(line + length - comment),
             comment);
}

/* The lines of comment right above `at`, the beginning of a line. */
static void comment_above(const char *text, const char *at, char *out, size_t size) {
    const char *first = at;
    while (first > text) {
        const char *line = first - 1;
        while (line > text && line[-1] != '\n') line--;
        if (strncmp(line, "-- ", 3) != 0) break;
        first = line;
    }
    for (const char *line = first; line < at; line += strcspn(line, "\n") + 1)
        add_comment(line, line, out, size);
}

/* A table's comment in this migration, if the table or view is made in it. */
static bool of_table(const char *text, const char *table, char *out, size_t size) {
    static const char *const kinds[] = {"TABLE", "VIEW"};
    for (size_t i = 0; i < 2; i++) {
        char head[160];
        snprintf(head, sizeof head, "\nCREATE %s %s ", kinds[i], table);
        const char *at = last_of(text, head);
        if (!at) continue;
        out[0] = 0;
        comment_above(text, at + 1, out, size);
        return true;
    }
    return false;
}

static bool of_column(const char *text, const char *table, const char *column, char *out,
                      size_t size) {
    char head[256];
    snprintf(head, sizeof head, "\nALTER TABLE %s ADD COLUMN %s ", table, column);
    const char *at = last_of(text, head);
    if (at) {
        out[0] = 0;
        add_comment(at + 1, at + 1, out, size);
        return true;
    }
    snprintf(head, sizeof head, "\nCREATE TABLE %s (\n", table);
    if (!(at = last_of(text, head))) return false;
    const char *end = strstr(at + strlen(head), "\n)");
    for (const char *line = at + strlen(head); end && line < end; line += strcspn(line, "\n") + 1) {
        const char *word = line + strspn(line, " ");
        if (strncmp(word, column, strlen(column)) != 0 || word[strlen(column)] != ' ') continue;
        out[0] = 0;
        add_comment(line, word, out, size);
        return true;
    }
    return false;
}

void pm_schema_comment(const char *table, const char *column, char *out, size_t size) {
    out[0] = 0;
    for (int i = pm_migration_count; i-- > 0;)
        if (column ? of_column(pm_migrations[i].sql, table, column, out, size)
                   : of_table(pm_migrations[i].sql, table, out, size))
            return;
}
