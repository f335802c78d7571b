/* Strict numbers from text, text of others made harmless, and a growing byte buffer. */
#ifndef PM_BASE_TEXT_H
#define PM_BASE_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/status.h"

/* The whole text must be the number, in the C locale's form: no blanks, no sign on sizes, no
 * overflow, and finite for doubles. `what` names the value in the error line. PM_E_USAGE. */
pm_status pm_parse_size(const char *what, const char *text, size_t *out);
pm_status pm_parse_double(const char *what, const char *text, double *out);

/* With or without a sign, within least .. most. */
pm_status pm_parse_int(const char *what, const char *text, int least, int most, int *out);

/* Length of the UTF-8 sequence at `at` (RFC 3629), of which `left` bytes are there; 0 where it is
 * malformed or a control character (C0, DEL, C1): what a terminal or a log could trip over. */
size_t pm_utf8_size(const char *at, size_t left);
/* Whether all of a text is such sequences. */
bool pm_text_is_plain(const char *text);
/* A copy of at most `size` - 1 bytes, '?' for every byte that is not plain, no sequence cut. */
void pm_text_clean(const char *text, char *out, size_t size);

/* A byte buffer that grows; zero-initialise, pm_buffer_fini to release. */
typedef struct pm_buffer {
    uint8_t *bytes;
    size_t size, capacity;
} pm_buffer;

pm_status pm_buffer_append(pm_buffer *buffer, const void *bytes, size_t size);
/* Append text; the buffer stays NUL-terminated behind `size`. */
__attribute__((format(printf, 2, 3))) pm_status pm_buffer_printf(pm_buffer *buffer,
                                                                 const char *format, ...);
/* Append text of others so that it is nothing but text between tags or quotes of XML and HTML: & <
 * > and both quotes are escaped, a line's end and a tab are blanks, what is no character of XML
 * (controls, malformed UTF-8) becomes U+FFFD. PM_E_MEMORY. */
pm_status pm_buffer_xml(pm_buffer *buffer, const char *text);
void pm_buffer_fini(pm_buffer *buffer);

#endif
