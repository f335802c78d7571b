/* Owns the words of the SQL prompt. */
#include "tools/sql/words.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "lib/sql/sql.h"

static const char *const keywords[] = {
    "ALL",       "AND",          "AS",      "ASC",       "AVG",       "BETWEEN",  "BY",     "CASE",
    "CAST",      "COLLATE",      "COUNT",   "CROSS",     "DESC",      "DISTINCT", "ELSE",   "END",
    "ESCAPE",    "EXCEPT",       "EXISTS",  "EXPLAIN",   "FILTER",    "FROM",     "GLOB",   "GROUP",
    "HAVING",    "IN",           "INNER",   "INTERSECT", "IS",        "JOIN",     "LEFT",   "LIKE",
    "LIMIT",     "MATERIALIZED", "NATURAL", "NOT",       "NULL",      "NULLS",    "OFFSET", "ON",
    "OR",        "ORDER",        "OUTER",   "OVER",      "PARTITION", "PLAN",     "PRAGMA", "QUERY",
    "RECURSIVE", "ROWS",         "SELECT",  "THEN",      "UNION",     "USING",    "VALUES", "WHEN",
    "WHERE",     "WINDOW",       "WITH"};

static pm_status add(pm_words *words, const char *text, size_t size) {
    if (words->count == words->capacity) {
        const size_t capacity = words->capacity ? 2 * words->capacity : 256;
        char **more = realloc(words->at, capacity * sizeof *more);
        if (!more) return pm_fail(PM_E_MEMORY, "no memory for names");
        words->at = more;
        words->capacity = capacity;
    }
    char *word = strndup(text, size);
    if (!word) return pm_fail(PM_E_MEMORY, "no memory for names");
    words->at[words->count++] = word;
    return PM_OK;
}

static pm_status add_row(void *user, size_t count, const pm_value *values) {
    (void)count;
    return values[0].kind == PM_VALUE_TEXT ? add(user, values[0].text, values[0].size) : PM_OK;
}

/* Without regard to case; then capitals first, so that the order is one. */
static int by_name(const void *a, const void *b) {
    const char *x = *(char *const *)a, *y = *(char *const *)b;
    const int order = strcasecmp(x, y);
    return order ? order : strcmp(x, y);
}

/* Of `count` and COUNT the first stays, a keyword. */
static void sort(pm_words *words) {
    size_t kept = 0;
    if (words->count) qsort(words->at, words->count, sizeof *words->at, by_name);
    for (size_t i = 0; i < words->count; i++) {
        if (kept && strcasecmp(words->at[kept - 1], words->at[i]) == 0)
            free(words->at[i]);
        else
            words->at[kept++] = words->at[i];
    }
    words->count = kept;
}

pm_status pm_words_load(pm_words *words, const pm_asker *asker) {
    static const char names[] =
        "SELECT name FROM sqlite_schema WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite%'"
        " UNION SELECT c.name FROM sqlite_schema s, pragma_table_info(s.name) c"
        " WHERE s.type IN ('table', 'view')"
        " UNION SELECT name FROM pragma_function_list WHERE name GLOB '[a-z]*'";
    const pm_query_sink sink = {.user = words, .row = add_row};
    size_t count = 0;
    const pm_sql_function *functions = pm_sql_functions(&count);
    pm_status status = asker->ask(asker->user, names, NULL, 0, &sink);
    for (size_t i = 0; i < count && !status; i++)
        status = add(words, functions[i].name, strlen(functions[i].name));
    for (size_t i = 0; i < sizeof keywords / sizeof *keywords && !status; i++)
        status = add(words, keywords[i], strlen(keywords[i]));
    sort(words);
    return status;
}

void pm_words_fini(pm_words *words) {
    for (size_t i = 0; i < words->count; i++) free(words->at[i]);
    free(words->at);
    *words = (pm_words){0};
}

static bool begins(const char *word, const char *prefix, size_t length) {
    return length && strncasecmp(word, prefix, length) == 0;
}

static bool is_lower(const char *text, size_t length) {
    for (size_t i = 0; i < length; i++)
        if (isupper((unsigned char)text[i])) return false;
    return true;
}

size_t pm_words_complete(const pm_words *words, const char *prefix, size_t length, char *out,
                         size_t out_size) {
    const char *first = NULL;
    size_t count = 0, agreed = 0;
    out[0] = '\0';
    for (size_t i = 0; i < words->count; i++) {
        const char *word = words->at[i];
        if (!begins(word, prefix, length)) continue;
        if (!count++) {
            first = word;
            agreed = strlen(word);
            continue;
        }
        size_t k = length;
        while (k < agreed && tolower((unsigned char)word[k]) == tolower((unsigned char)first[k]))
            k++;
        agreed = k;
    }
    if (!first) return 0;
    snprintf(out, out_size, "%.*s%s", (int)(agreed - length), first + length,
             count == 1 ? " " : "");
    /* Whoever types small letters gets them; names are in small letters anyway. */
    for (char *c = out; *c && is_lower(prefix, length); c++) *c = (char)tolower((unsigned char)*c);
    return count;
}

void pm_words_show(const pm_words *words, const char *prefix, size_t length, size_t width,
                   FILE *out) {
    size_t widest = 0, at = 0;
    for (size_t i = 0; i < words->count; i++)
        if (begins(words->at[i], prefix, length) && strlen(words->at[i]) > widest)
            widest = strlen(words->at[i]);
    for (size_t i = 0; i < words->count; i++) {
        if (!begins(words->at[i], prefix, length)) continue;
        if (at && at + widest > width) {
            fputc('\n', out);
            at = 0;
        }
        fprintf(out, "%-*s  ", (int)widest, words->at[i]);
        at += widest + 2;
    }
    fputc('\n', out);
}
