/* Comma-separated values, RFC 4180: quoted fields, doubled quotes, LF or CRLF, UTF-8 mark skipped.
 * Fields are cut out of the caller's buffer in place. */
#ifndef PM_CSV_H
#define PM_CSV_H

#include <stddef.h>

#include "lib/base/status.h"

enum { PM_CSV_FIELDS = 16 };

typedef struct pm_csv {
    const char *name; /* for error lines; not owned */
    char *at, *end;   /* not owned; *end is writable */
    size_t next_line;
    /* The record that was read last. */
    size_t line, count;
    char *fields[PM_CSV_FIELDS];
} pm_csv;

/* text[size] must be writable, as in what pm_file_read gives. */
void pm_csv_init(pm_csv *csv, const char *name, char *text, size_t size);

/* The next record that is not a blank line; count 0 at the end. PM_E_FORMAT with name and line. */
pm_status pm_csv_next(pm_csv *csv);

/* Read the header and find columns: where[i] is the field of names[i], or -1. A name that is not
 * among names[0 .. count) or comes twice is PM_E_FORMAT; every later record must be as wide. */
pm_status pm_csv_header(pm_csv *csv, const char *const *names, size_t count, int *where,
                        size_t *width);

#endif
