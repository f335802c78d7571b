/* Owns the words of an evaluation and its canonical text. */
#include "lib/spec/evaluation.h"

#include <inttypes.h>
#include <locale.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/text.h"

enum { NUMBER_BYTES = 40 };

void pm_evaluation_defaults(pm_evaluation *out) {
    *out = (pm_evaluation){.on = true, .ratio_count = 6, .ratios = {0, 0.1, 0.2, 0.3, 0.4, 0.5}};
}

/* Appends one ratio; the text is for the error line. */
static pm_status add_ratio(const char *text, double ratio, pm_evaluation *e) {
    if (!(ratio >= 0 && ratio <= 1))
        return pm_fail(PM_E_USAGE, "ratio %.40s is not within 0 to 1", text);
    if (e->ratio_count && !(ratio > e->ratios[e->ratio_count - 1]))
        return pm_fail(PM_E_USAGE, "ratio %.40s: ratios must ascend", text);
    if (e->ratio_count == PM_RATIOS_MAX)
        return pm_fail(PM_E_USAGE, "more than %d ratios", PM_RATIOS_MAX);
    e->ratios[e->ratio_count++] = ratio + 0.0; /* -0 is 0 */
    return PM_OK;
}

pm_status pm_evaluation_set_ratios(const char *text, pm_evaluation *evaluation) {
    pm_evaluation e = *evaluation;
    const char *at = text;
    e.ratio_count = 0;
    for (;;) {
        char number[NUMBER_BYTES];
        double ratio;
        size_t length = strcspn(at, ",");
        if (length >= sizeof number)
            return pm_fail(PM_E_USAGE, "ratio '%.80s' is not a number", at);
        memcpy(number, at, length);
        number[length] = 0;
        pm_status status = pm_parse_double("ratio", number, &ratio);
        if (!status && !e.ratio_count && ratio > 0) status = add_ratio("0", 0, &e);
        if (!status) status = add_ratio(number, ratio, &e);
        if (status) return status;
        if (!at[length]) break;
        at += length + 1;
    }
    *evaluation = e;
    return PM_OK;
}

static void format_ratio(double ratio, char out[NUMBER_BYTES]) {
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(out, NUMBER_BYTES, "%.*g", digits, ratio);
        if (strtod(out, NULL) == ratio) break;
    }
    char *point = strchr(out, localeconv()->decimal_point[0]);
    if (point) *point = '.';
}

__attribute__((format(printf, 3, 4))) static void put(char *out, size_t *used, const char *format,
                                                      ...) {
    va_list args;
    va_start(args, format);
    int n = vsnprintf(out + *used, PM_EVALUATION_BYTES - *used, format, args);
    va_end(args);
    /* PM_EVALUATION_BYTES covers PM_RATIOS_MAX ratios of 17 digits with sign, point, exponent. */
    if (n > 0) *used += (size_t)n;
}

void pm_evaluation_format(const pm_evaluation *e, char out[PM_EVALUATION_BYTES]) {
    size_t used = 0;
    out[0] = 0;
    if (!e->on) return;
    put(out, &used, "%s", pm_replacement_name(e->replacement));
    if (e->replacement == PM_REPLACEMENT_NOISE) put(out, &used, "@%" PRIu64, e->seed);
    for (size_t i = 0; i < e->ratio_count; i++) {
        char number[NUMBER_BYTES];
        format_ratio(e->ratios[i], number);
        put(out, &used, "%c%s", i ? ',' : ':', number);
    }
}

/* "zero" or "noise@7" */
static pm_status parse_replacement(char *word, pm_evaluation *e) {
    char *at = strchr(word, '@'), *end = NULL;
    if (at) {
        *at = 0;
        e->seed = strtoull(at + 1, &end, 10);
    }
    return pm_replacement_parse(word, &e->replacement);
}

pm_status pm_evaluation_parse(const char *text, pm_evaluation *out) {
    pm_evaluation e = {.on = text[0] != 0};
    char word[64], canonical[PM_EVALUATION_BYTES];
    size_t length = strcspn(text, ":");
    pm_status status = PM_OK;
    if (e.on && (!text[length] || length >= sizeof word))
        status = pm_fail(PM_E_FORMAT, "it has no ratios");
    if (e.on && !status) {
        memcpy(word, text, length);
        word[length] = 0;
        status = parse_replacement(word, &e);
        if (!status) status = pm_evaluation_set_ratios(text + length + 1, &e);
    }
    if (status) {
        char why[256];
        snprintf(why, sizeof why, "%s", pm_error_text());
        return pm_fail(PM_E_FORMAT, "evaluation '%.80s': %s", text, why);
    }
    /* One text for one meaning: what differs in spelling would be computed again. */
    pm_evaluation_format(&e, canonical);
    if (strcmp(canonical, text) != 0)
        return pm_fail(PM_E_FORMAT, "evaluation '%.80s' is not in canonical form", text);
    *out = e;
    return PM_OK;
}
