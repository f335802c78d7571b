/* Owns how a value is written and read. Knows no message and no database. */
#include "lib/net/rows.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { NUMBER_BYTES = 8 };

static void put_number(uint8_t out[NUMBER_BYTES], uint64_t number) {
    for (size_t i = 0; i < NUMBER_BYTES; i++) out[i] = (uint8_t)(number >> (8 * i));
}

static uint64_t get_number(const uint8_t *from) {
    uint64_t number = 0;
    for (size_t i = 0; i < NUMBER_BYTES; i++) number |= (uint64_t)from[i] << (8 * i);
    return number;
}

static pm_status add(pm_buffer *rows, const pm_value *value) {
    uint8_t head[1 + NUMBER_BYTES] = {(uint8_t)value->kind};
    uint64_t number = 0;
    switch (value->kind) {
    case PM_VALUE_NULL: return pm_buffer_append(rows, head, 1);
    case PM_VALUE_INTEGER: number = (uint64_t)value->integer; break;
    case PM_VALUE_REAL: memcpy(&number, &value->real, sizeof number); break;
    case PM_VALUE_TEXT:
    case PM_VALUE_BLOB: number = value->size; break;
    }
    put_number(head + 1, number);
    pm_status status = pm_buffer_append(rows, head, sizeof head);
    if (value->kind != PM_VALUE_TEXT && value->kind != PM_VALUE_BLOB) return status;
    if (!status) status = pm_buffer_append(rows, value->text, value->size);
    return status ? status : pm_buffer_append(rows, "", 1);
}

pm_status pm_rows_add(pm_buffer *rows, size_t count, const pm_value *values) {
    size_t size = 0;
    for (size_t i = 0; i < count; i++) {
        bool sized = values[i].kind == PM_VALUE_TEXT || values[i].kind == PM_VALUE_BLOB;
        size += 2 + NUMBER_BYTES + (sized ? values[i].size : 0);
        if (size > PM_ROWS_ROW_BYTES_MAX)
            return pm_fail(PM_E_LIMIT, "SQL: a row of more than %d MiB; ask for less of it",
                           PM_ROWS_ROW_BYTES_MAX >> 20);
    }
    pm_status status = PM_OK;
    for (size_t i = 0; i < count && !status; i++) status = add(rows, &values[i]);
    return status;
}

static pm_status broken(void) { return pm_fail(PM_E_PROTOCOL, "rows: a frame that does not hold"); }

static pm_status read_value(const uint8_t **at, const uint8_t *end, pm_value *out) {
    if (*at == end) return broken();
    const uint8_t kind = *(*at)++;
    *out = (pm_value){.kind = (pm_value_kind)kind};
    if (kind == PM_VALUE_NULL) return PM_OK;
    if (kind > PM_VALUE_BLOB || end - *at < NUMBER_BYTES) return broken();
    const uint64_t number = get_number(*at);
    *at += NUMBER_BYTES;
    if (kind == PM_VALUE_INTEGER) {
        out->integer = (int64_t)number;
    } else if (kind == PM_VALUE_REAL) {
        memcpy(&out->real, &number, sizeof out->real);
    } else {
        if (number >= (uint64_t)(end - *at) || (*at)[number] != 0) return broken();
        out->text = (const char *)*at;
        out->size = (size_t)number;
        *at += number + 1;
    }
    return PM_OK;
}

pm_status pm_rows_read(const void *bytes, size_t size, size_t rows, size_t columns,
                       const pm_query_sink *sink) {
    const uint8_t *at = size ? bytes : (const void *)"", *end = at + size;
    if (columns > PM_ROWS_COLUMNS_MAX || (rows > 0 && columns == 0)) return broken();
    pm_value *values = calloc(columns + 1, sizeof *values);
    if (!values) return pm_fail(PM_E_MEMORY, "rows: no memory");
    pm_status status = PM_OK;
    for (size_t r = 0; r < rows && !status; r++) {
        for (size_t c = 0; c < columns && !status; c++) status = read_value(&at, end, &values[c]);
        if (!status) status = sink->row(sink->user, columns, values);
    }
    free(values);
    return status || at == end ? status : broken();
}

pm_status pm_rows_read_one(const void *bytes, size_t size, pm_value *values, size_t *count) {
    const uint8_t *at = size ? bytes : (const void *)"", *end = at + size;
    size_t read = 0;
    pm_status status = PM_OK;
    while (at < end && !status)
        status = read == PM_ROWS_COLUMNS_MAX ? broken() : read_value(&at, end, &values[read++]);
    if (!status) *count = read;
    return status;
}
