/* What schema/sql says of its tables, views and columns, in comments. */
#ifndef PM_TESTS_SCHEMA_COMMENTS_H
#define PM_TESTS_SCHEMA_COMMENTS_H

#include <stdbool.h>
#include <stddef.h>

/* Text of all migrations of the tree at `root`, in order, from malloc; NULL: not to be read. */
char *schema_text(const char *root);

/* The comment lines in front of the last CREATE TABLE or VIEW (`kind`) of that name, without "-- ",
 * joined by blanks. False: there are none. */
bool schema_comment(const char *text, const char *kind, const char *name, char *out, size_t size);

/* The comment behind `--` on the line that begins with the column's name, inside the last table of
 * that name, or on the line that adds it to the table. */
bool schema_column_comment(const char *text, const char *table, const char *column, char *out,
                           size_t size);

#endif
