/* Owns the reading of comments in schema/sql. */
#include "tests/schema/comments.h"

#include <glob.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/file.h"
#include "lib/base/text.h"

char *schema_text(const char *root) {
    char pattern[4200];
    glob_t files;
    pm_buffer all = {0};
    snprintf(pattern, sizeof pattern, "%s/schema/sql/[0-9]*.sql", root);
    if (glob(pattern, 0, NULL, &files)) return NULL;
    pm_status status = PM_OK;
    for (size_t i = 0; i < files.gl_pathc && !status; i++) {
        uint8_t *bytes = NULL;
        size_t size = 0;
        status = pm_file_read(files.gl_pathv[i], (size_t)1 << 20, &bytes, &size);
        if (!status) status = pm_buffer_append(&all, bytes, size);
        free(bytes);
    }
    globfree(&files);
    if (!status) status = pm_buffer_append(&all, "", 1);
    return status ? NULL : (char *)all.bytes;
}

/* The last place: a later migration may make a table anew. */
static const char *last_of(const char *text, const char *words) {
    const char *found = NULL;
    for (const char *at = text; (at = strstr(at, words)); at++) found = at;
    return found;
}

bool schema_comment(const char *text, const char *kind, const char *name, char *out, size_t size) {
    char head[128];
    snprintf(head, sizeof head, "\nCREATE %s %s ", kind, name);
    const char *at = last_of(text, head), *first = at;
    if (!at) return false;
    for (;;) { /* back over lines that begin with "-- " */
        const char *line = first;
        while (line > text && line[-1] != '\n') line--;
        if (strncmp(line, "-- ", 3) != 0) break;
        at = line;
        if (line == text) break;
        first = line - 1;
    }
    size_t used = 0;
    while (strncmp(at, "-- ", 3) == 0) {
        const size_t length = strcspn(at + 3, "\n");
        const int n =
            snprintf(out + used, size - used, "%s%.*s", used ? " " : "", (int)length, at + 3);
        if (n < 0 || (size_t)n >= size - used) return false;
        used += (size_t)n;
        at += 3 + length + 1;
    }
    return used > 0;
}

static bool comment_of_line(const char *line, char *out, size_t size) {
    const char *line_end = strchr(line, '\n'), *comment = strstr(line, "-- ");
    if (!line_end || !comment || comment > line_end || line_end - comment <= 8) return false;
    const int n = snprintf(out, size, "%.*s", (int)(line_end - comment - 3), comment + 3);
    return n > 0 && (size_t)n < size;
}

bool schema_column_comment(const char *text, const char *table, const char *column, char *out,
                           size_t size) {
    char head[128];
    snprintf(head, sizeof head, "ALTER TABLE %s ADD COLUMN %s ", table, column);
    const char *at = last_of(text, head);
    if (at) return comment_of_line(at, out, size);
    snprintf(head, sizeof head, "CREATE TABLE %s (\n", table);
    if (!(at = last_of(text, head))) return false;
    const char *end = strstr(at, "\n)");
    const size_t length = strlen(column);
    for (at = strchr(at, '\n'); at && at < end; at = strchr(at, '\n')) {
        at++;
        const char *word = at + strspn(at, " ");
        if (strncmp(word, column, length) == 0 && word[length] == ' ')
            return comment_of_line(word, out, size);
    }
    return false;
}
