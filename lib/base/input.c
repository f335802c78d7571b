/* Owns the text of inputs. Must not know what they do to a picture. */
#include "lib/base/input.h"

#include <locale.h>
#include <stdio.h>
#include <string.h>

#include "lib/base/text.h"

enum { KEYS_MAX = 2, GRID_MAX = 64, SWAPS_MAX = 10000 };
static const double radius_max = 100, sigma_max = 1;

typedef struct kind_words {
    const char *name;
    const char *keys[KEYS_MAX]; /* sorted; NULL where there is none */
    pm_input plain;
} kind_words;

static const kind_words kinds[PM_INPUT_COUNT] = {
    {"none", {NULL}, {.kind = PM_INPUT_NONE}},
    {"jigsaw", {"grid", "swaps"}, {.kind = PM_INPUT_JIGSAW, .grid = 4, .swaps = 8}},
    {"blur", {"radius"}, {.kind = PM_INPUT_BLUR, .radius = 3}},
    {"noise", {"sigma"}, {.kind = PM_INPUT_NOISE, .sigma = 0.1}},
};

bool pm_input_is_random(const pm_input *input) {
    return input->kind == PM_INPUT_JIGSAW || input->kind == PM_INPUT_NOISE;
}

bool pm_input_equal(const pm_input *a, const pm_input *b) {
    return a->kind == b->kind && a->grid == b->grid && a->swaps == b->swaps &&
           a->radius == b->radius && a->sigma == b->sigma;
}

static pm_status set_size(const char *what, const char *text, size_t least, size_t most,
                          size_t *out) {
    size_t value;
    pm_status status = pm_parse_size(what, text, &value);
    if (status) return status;
    if (value < least || value > most)
        return pm_fail(PM_E_USAGE, "%s %zu is out of range; it takes %zu to %zu", what, value,
                       least, most);
    *out = value;
    return PM_OK;
}

static pm_status set_real(const char *what, const char *text, double most, double *out) {
    double value;
    pm_status status = pm_parse_double(what, text, &value);
    if (status) return status;
    if (!(value > 0 && value <= most))
        return pm_fail(PM_E_USAGE, "%s %g is out of range; it takes more than 0, at most %g", what,
                       value, most);
    *out = value;
    return PM_OK;
}

static pm_status set_key(pm_input *input, const char *key, const char *value) {
    char what[48];
    snprintf(what, sizeof what, "input %s: %s", kinds[input->kind].name, key);
    switch (input->kind) {
    case PM_INPUT_JIGSAW:
        if (strcmp(key, "grid") == 0) return set_size(what, value, 2, GRID_MAX, &input->grid);
        return set_size(what, value, 0, SWAPS_MAX, &input->swaps);
    case PM_INPUT_BLUR: return set_real(what, value, radius_max, &input->radius);
    case PM_INPUT_NOISE: return set_real(what, value, sigma_max, &input->sigma);
    case PM_INPUT_NONE:
    case PM_INPUT_COUNT: break;
    }
    return pm_fail(PM_E_INTERNAL, "input of kind %d has no keys", (int)input->kind);
}

/* "key=value" of the kind, which is not in *seen yet. */
static pm_status parse_pair(pm_input *input, char *pair, unsigned *seen) {
    const kind_words *kind = &kinds[input->kind];
    char *equals = strchr(pair, '=');
    if (!equals) return pm_fail(PM_E_USAGE, "input %s: '%s' is not KEY=VALUE", kind->name, pair);
    *equals = 0;
    for (size_t i = 0; i < KEYS_MAX && kind->keys[i]; i++) {
        if (strcmp(kind->keys[i], pair) != 0) continue;
        if (*seen & 1u << i)
            return pm_fail(PM_E_USAGE, "input %s: %s is given twice", kind->name, pair);
        *seen |= 1u << i;
        return set_key(input, kind->keys[i], equals + 1);
    }
    return pm_fail(PM_E_USAGE, "input %s: no key '%s'; there %s %s%s%s", kind->name, pair,
                   kind->keys[1] ? "are" : "is", kind->keys[0] ? kind->keys[0] : "none",
                   kind->keys[1] ? ", " : "", kind->keys[1] ? kind->keys[1] : "");
}

pm_status pm_input_parse(const char *text, pm_input *out) {
    char copy[PM_INPUT_BYTES];
    size_t length = strcspn(text, ":"), i = 0;
    if (strlen(text) >= sizeof copy)
        return pm_fail(PM_E_USAGE, "input '%.60s...' is longer than any there is", text);
    while (i < PM_INPUT_COUNT &&
           (strlen(kinds[i].name) != length || strncmp(kinds[i].name, text, length) != 0))
        i++;
    if (i == PM_INPUT_COUNT)
        return pm_fail(PM_E_USAGE,
                       "input '%s' is not known; there are: none, jigsaw:grid=4,swaps=8, "
                       "blur:radius=3, noise:sigma=0.1",
                       text);
    pm_input input = kinds[i].plain;
    unsigned seen = 0;
    if (text[length]) {
        memcpy(copy, text + length + 1, strlen(text + length));
        for (char *pair = copy; pair;) {
            char *comma = strchr(pair, ',');
            if (comma) *comma = 0;
            pm_status status = parse_pair(&input, pair, &seen);
            if (status) return status;
            pair = comma ? comma + 1 : NULL;
        }
    }
    *out = input;
    return PM_OK;
}

static void write_real(const char *name, const char *key, double value, char *out, size_t size) {
    char digits[40];
    snprintf(digits, sizeof digits, "%.17g", value);
    char *point = strchr(digits, localeconv()->decimal_point[0]);
    if (point) *point = '.';
    snprintf(out, size, "%s:%s=%s", name, key, digits);
}

void pm_input_format(const pm_input *input, char *out, size_t size) {
    switch (input->kind) {
    case PM_INPUT_JIGSAW:
        snprintf(out, size, "jigsaw:grid=%zu,swaps=%zu", input->grid, input->swaps);
        return;
    case PM_INPUT_BLUR: write_real("blur", "radius", input->radius, out, size); return;
    case PM_INPUT_NOISE: write_real("noise", "sigma", input->sigma, out, size); return;
    case PM_INPUT_NONE:
    case PM_INPUT_COUNT: break;
    }
    snprintf(out, size, "none");
}
