/* Owns text conversion and the growing buffer. */
#include "lib/base/text.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

pm_status pm_parse_size(const char *what, const char *text, size_t *out) {
    char *end;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (!isdigit((unsigned char)text[0]) || *end || errno || value > SIZE_MAX / 2)
        return pm_fail(PM_E_USAGE, "%s: '%.80s' is not a whole number", what, text);
    *out = (size_t)value;
    return PM_OK;
}

pm_status pm_parse_int(const char *what, const char *text, int least, int most, int *out) {
    const char *digits = text + (*text == '-' || *text == '+');
    char *end = NULL;
    errno = 0;
    long value = strtol(digits, &end, 10);
    if (*digits < '0' || *digits > '9' || *end || errno)
        return pm_fail(PM_E_USAGE, "%s: '%.80s' is not a whole number", what, text);
    if (*text == '-') value = -value;
    if (value < least || value > most)
        return pm_fail(PM_E_USAGE, "%s: %ld is not within %d and %d", what, value, least, most);
    *out = (int)value;
    return PM_OK;
}

pm_status pm_parse_double(const char *what, const char *text, double *out) {
    char *end;
    errno = 0;
    double value = strtod(text, &end);
    if (end == text || *end || isspace((unsigned char)text[0]) || !isfinite(value) ||
        strpbrk(text, "xX"))
        return pm_fail(PM_E_USAGE, "%s: '%.80s' is not a number", what, text);
    *out = value;
    return PM_OK;
}

size_t pm_utf8_size(const char *at, size_t left) {
    const uint8_t *s = (const uint8_t *)at;
    if (left == 0) return 0;
    if (s[0] < 0x80) return s[0] >= 0x20 && s[0] != 0x7f ? 1 : 0;
    size_t n = s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : 2;
    if (s[0] < 0xc2 || s[0] > 0xf4 || n > left) return 0;
    for (size_t i = 1; i < n; i++)
        if ((s[i] & 0xc0) != 0x80) return 0;
    if (s[0] == 0xc2 && s[1] < 0xa0) return 0; /* C1 controls */
    if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) ||
        (s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f))
        return 0;
    return n;
}

bool pm_text_is_plain(const char *text) {
    size_t left = strlen(text);
    while (left > 0) {
        size_t n = pm_utf8_size(text, left);
        if (n == 0) return false;
        text += n;
        left -= n;
    }
    return true;
}

void pm_text_clean(const char *text, char *out, size_t size) {
    size_t used = 0;
    for (size_t left = strlen(text); left > 0;) {
        size_t n = pm_utf8_size(text, left), taken = n ? n : 1;
        if (used + taken >= size) break;
        if (n)
            memcpy(out + used, text, n);
        else
            out[used] = '?';
        used += taken;
        text += taken;
        left -= taken;
    }
    if (size > 0) out[used] = 0;
}

static pm_status reserve(pm_buffer *buffer, size_t more) {
    if (more > SIZE_MAX / 4 || buffer->size > SIZE_MAX / 4)
        return pm_fail(PM_E_LIMIT, "a buffer would pass %zu bytes", SIZE_MAX / 4);
    size_t need = buffer->size + more + 1;
    if (need <= buffer->capacity) return PM_OK;
    size_t capacity = buffer->capacity ? buffer->capacity : 256;
    while (capacity < need) capacity *= 2;
    uint8_t *bytes = realloc(buffer->bytes, capacity);
    if (!bytes) return pm_fail(PM_E_MEMORY, "no memory for a buffer of %zu bytes", capacity);
    buffer->bytes = bytes;
    buffer->capacity = capacity;
    return PM_OK;
}

pm_status pm_buffer_append(pm_buffer *buffer, const void *bytes, size_t size) {
    pm_status status = reserve(buffer, size);
    if (status) return status;
    if (size) memcpy(buffer->bytes + buffer->size, bytes, size);
    buffer->size += size;
    buffer->bytes[buffer->size] = 0;
    return PM_OK;
}

pm_status pm_buffer_printf(pm_buffer *buffer, const char *format, ...) {
    va_list args;
    va_start(args, format);
    int n = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (n < 0) return pm_fail(PM_E_INTERNAL, "cannot format '%s'", format);
    pm_status status = reserve(buffer, (size_t)n);
    if (status) return status;
    va_start(args, format);
    vsnprintf((char *)buffer->bytes + buffer->size, (size_t)n + 1, format, args);
    va_end(args);
    buffer->size += (size_t)n;
    return PM_OK;
}

/* What stands for one character of text, NULL: itself; *size is how many bytes of text that was. */
static const char *xml_for(const char *at, size_t left, size_t *size) {
    static const char none[] = "\xef\xbf\xbd"; /* U+FFFD */
    *size = 1;
    switch (*at) {
    case '&': return "&amp;";
    case '<': return "&lt;";
    case '>': return "&gt;";
    case '"': return "&quot;";
    case '\'': return "&#39;";
    case '\n':
    case '\r':
    case '\t': return " ";
    default: break;
    }
    const size_t length = pm_utf8_size(at, left);
    if (length == 0) return none;
    *size = length;
    /* U+FFFE and U+FFFF are UTF-8, but no characters of XML. */
    const bool never = length == 3 && memcmp(at, "\xef\xbf", 2) == 0 && (uint8_t)at[2] >= 0xbe;
    return never ? none : NULL;
}

pm_status pm_buffer_xml(pm_buffer *buffer, const char *text) {
    const char *plain = text; /* of what stays as it is, the first that is not appended yet */
    size_t left = strlen(text), size;
    pm_status status = PM_OK;
    for (const char *at = text; left && !status; at += size, left -= size) {
        const char *instead = xml_for(at, left, &size);
        if (!instead) continue;
        status = pm_buffer_append(buffer, plain, (size_t)(at - plain));
        if (!status) status = pm_buffer_append(buffer, instead, strlen(instead));
        plain = at + size;
    }
    return status ? status : pm_buffer_append(buffer, plain, strlen(plain));
}

void pm_buffer_fini(pm_buffer *buffer) {
    free(buffer->bytes);
    *buffer = (pm_buffer){0};
}
