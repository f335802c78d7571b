/* Owns the reading of options: argv and --spec files into values. Must not know what they mean. */
#include "tools/options.h"

#include <ctype.h>
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/text.h"
#include "lib/spec/json.h"

enum { SPEC_LIMIT_BYTES = 1 << 20, VALUES_MAX = 1000 };

typedef struct value_list {
    char **values;
    size_t count;
} value_list;

struct pm_options {
    unsigned command;
    char name[32];
    value_list lists[PM_OPT_COUNT];
    value_list operands;
};

static void list_fini(value_list *list) {
    for (size_t i = 0; i < list->count; i++) free(list->values[i]);
    free(list->values);
    *list = (value_list){0};
}

static pm_status list_add(value_list *list, const char *text, size_t length) {
    char **values = realloc(list->values, (list->count + 1) * sizeof *values);
    if (!values) return pm_fail(PM_E_MEMORY, "no memory for an option's value");
    list->values = values;
    values[list->count] = strndup(text, length);
    if (!values[list->count]) return pm_fail(PM_E_MEMORY, "no memory for an option's value");
    list->count++;
    return PM_OK;
}

void pm_options_free(pm_options **options) {
    if (!*options) return;
    for (size_t i = 0; i < PM_OPT_COUNT; i++) list_fini(&(*options)->lists[i]);
    list_fini(&(*options)->operands);
    free(*options);
    *options = NULL;
}

/* ---- names ---- */

/* Edit distance with swaps of neighbours (Damerau 1964, optimal string alignment). */
static size_t distance(const char *a, const char *b) {
    enum { LONGEST = 40 };
    size_t n = strlen(a), m = strlen(b);
    size_t d[LONGEST + 1][LONGEST + 1];
    if (n > LONGEST || m > LONGEST) return LONGEST;
    for (size_t i = 0; i <= n; i++) d[i][0] = i;
    for (size_t j = 0; j <= m; j++) d[0][j] = j;
    for (size_t i = 1; i <= n; i++)
        for (size_t j = 1; j <= m; j++) {
            size_t best = d[i - 1][j - 1] + (a[i - 1] != b[j - 1]);
            if (d[i - 1][j] + 1 < best) best = d[i - 1][j] + 1;
            if (d[i][j - 1] + 1 < best) best = d[i][j - 1] + 1;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
                d[i - 2][j - 2] + 1 < best)
                best = d[i - 2][j - 2] + 1;
            d[i][j] = best;
        }
    return d[n][m];
}

const char *pm_near_name(const char *word, const char *const *names, size_t count) {
    size_t length = strlen(word), nearest = length / 3 + 2;
    const char *found = NULL;
    for (size_t i = 0; i < count; i++) {
        size_t apart = distance(word, names[i]);
        /* The beginning of a name means the name. */
        if (length >= 2 && strncmp(word, names[i], length) == 0) apart = 1;
        if (apart < nearest && apart < strlen(names[i])) {
            nearest = apart;
            found = names[i];
        }
    }
    return found;
}

static pm_status find(const pm_options *options, const char *name, size_t length, const char *dash,
                      pm_option_id *out) {
    const char *names[PM_OPT_COUNT];
    char word[64];
    size_t count = 0, other = PM_OPT_COUNT;
    for (size_t i = 0; i < PM_OPT_COUNT; i++) {
        const pm_option *option = pm_option_at((pm_option_id)i);
        bool same = strlen(option->name) == length && strncmp(option->name, name, length) == 0;
        if (option->commands & options->command) {
            if (same) {
                *out = (pm_option_id)i;
                return PM_OK;
            }
            names[count++] = option->name;
        } else if (same) {
            other = i;
        }
    }
    if (other < PM_OPT_COUNT)
        return pm_fail(PM_E_USAGE,
                       "%s%.*s is not an option of %s; `parchmill %s --help` lists them", dash,
                       (int)length, name, options->name, options->name);
    snprintf(word, sizeof word, "%.*s", (int)(length < 60 ? length : 60), name);
    const char *near = pm_near_name(word, names, count);
    if (near)
        return pm_fail(PM_E_USAGE, "no option %s%s; did you mean %s%s?", dash, word, dash, near);
    return pm_fail(PM_E_USAGE, "no option %s%s; `parchmill %s --help` lists them", dash, word,
                   options->name);
}

/* ---- values ---- */

/* Of the first value in a list. */
static size_t value_length(const pm_option *option, const char *text) {
    size_t length = strcspn(text, ",");
    while (option->kind == PM_OPTION_KEYED && length > 0 && text[length]) {
        const char *next = text + length + 1;
        if (next[strcspn(next, ":=,")] != '=') break;
        length += 1 + strcspn(next, ",");
    }
    return length;
}

static pm_status add_value(pm_options *options, pm_option_id id, const char *text) {
    const pm_option *option = pm_option_at(id);
    value_list *list = &options->lists[id];
    if (option->kind == PM_OPTION_ONE || option->kind == PM_OPTION_FLAG) {
        if (list->count && option->kind == PM_OPTION_ONE)
            return pm_fail(PM_E_USAGE, "--%s is given twice; it takes one value", option->name);
        return list_add(list, text, strlen(text));
    }
    for (const char *p = text;;) {
        size_t length = value_length(option, p);
        if (length == 0)
            return pm_fail(PM_E_USAGE, "--%s '%.80s' has an empty value in its list", option->name,
                           text);
        if (list->count >= VALUES_MAX)
            return pm_fail(PM_E_USAGE, "--%s has more than %d values", option->name, VALUES_MAX);
        pm_status status = list_add(list, p, length);
        if (status) return status;
        if (option->kind == PM_OPTION_SWITCH && strcmp(list->values[list->count - 1], "on") != 0 &&
            strcmp(list->values[list->count - 1], "off") != 0)
            return pm_fail(PM_E_USAGE, "--%s '%.80s': it takes on or off", option->name, text);
        if (!p[length]) return PM_OK;
        p += length + 1;
    }
}

static bool is_switch_word(const char *text) {
    return strncmp(text, "on", 2) == 0 || strncmp(text, "off", 3) == 0;
}

/* argv[at] is "--name" or "--name=value"; *used says how many arguments were taken. */
static pm_status parse_option(pm_options *options, int argc, char *const *argv, int at, int *used) {
    const char *name = argv[at] + 2, *equals = strchr(name, '=');
    size_t length = equals ? (size_t)(equals - name) : strlen(name);
    pm_option_id id;
    pm_status status = find(options, name, length, "--", &id);
    if (status) return status;
    const pm_option *option = pm_option_at(id);
    *used = 1;
    if (option->kind == PM_OPTION_FLAG) {
        if (equals) return pm_fail(PM_E_USAGE, "--%s takes no value", option->name);
        return add_value(options, id, "on");
    }
    if (equals) return add_value(options, id, equals + 1);
    bool next = at + 1 < argc;
    if (option->kind == PM_OPTION_SWITCH && !(next && is_switch_word(argv[at + 1])))
        return add_value(options, id, "on");
    if (!next || strncmp(argv[at + 1], "--", 2) == 0)
        return pm_fail(PM_E_USAGE, "--%s needs a value: --%s %s", option->name, option->name,
                       option->argument);
    *used = 2;
    return add_value(options, id, argv[at + 1]);
}

static pm_status parse_arguments(pm_options *options, int argc, char *const *argv) {
    bool only_operands = false;
    for (int i = 0; i < argc;) {
        int used = 1;
        pm_status status;
        if (!only_operands && strcmp(argv[i], "--") == 0) {
            only_operands = true;
            status = PM_OK;
        } else if (!only_operands && strcmp(argv[i], "-h") == 0) {
            status = add_value(options, PM_OPT_HELP, "on");
        } else if (!only_operands && strncmp(argv[i], "--", 2) == 0) {
            status = parse_option(options, argc, argv, i, &used);
        } else if (!only_operands && argv[i][0] == '-' && argv[i][1] &&
                   !isdigit((unsigned char)argv[i][1])) {
            status = pm_fail(PM_E_USAGE, "no option %.80s; options are long: --name", argv[i]);
        } else {
            status = list_add(&options->operands, argv[i], strlen(argv[i]));
        }
        if (status) return status;
        i += used;
    }
    return PM_OK;
}

/* ---- --spec ---- */

static pm_status add_json(pm_options *options, pm_option_id id, const json_t *value,
                          const char *path) {
    const pm_option *option = pm_option_at(id);
    char number[40];
    switch (json_typeof(value)) {
    case JSON_STRING: return add_value(options, id, json_string_value(value));
    case JSON_INTEGER:
        snprintf(number, sizeof number, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
        return add_value(options, id, number);
    case JSON_REAL:
        snprintf(number, sizeof number, "%.15g", json_real_value(value));
        if (strtod(number, NULL) != json_real_value(value))
            snprintf(number, sizeof number, "%.17g", json_real_value(value));
        return add_value(options, id, number);
    case JSON_TRUE:
    case JSON_FALSE:
        if (option->kind == PM_OPTION_FLAG)
            return json_is_true(value) ? add_value(options, id, "on") : PM_OK;
        if (option->kind == PM_OPTION_SWITCH)
            return add_value(options, id, json_is_true(value) ? "on" : "off");
        break;
    case JSON_ARRAY:
    case JSON_OBJECT:
    case JSON_NULL: break;
    }
    return pm_fail(PM_E_USAGE, "%s: \"%s\" needs a string or a number%s", path, option->name,
                   option->kind == PM_OPTION_GRID || option->kind == PM_OPTION_KEYED
                       ? ", or a list of them"
                       : "");
}

/* A list of three numbers is one value for --mean and --std. */
static pm_status add_json_list(pm_options *options, pm_option_id id, const json_t *list,
                               const char *path) {
    const pm_option *option = pm_option_at(id);
    if (json_array_size(list) == 0)
        return pm_fail(PM_E_USAGE, "%s: \"%s\" is an empty list", path, option->name);
    if (id == PM_OPT_MEAN || id == PM_OPT_STD) {
        pm_buffer text = {0};
        pm_status status = PM_OK;
        for (size_t i = 0; i < json_array_size(list) && !status; i++)
            status = pm_buffer_printf(&text, "%s%.17g", i ? "," : "",
                                      json_number_value(json_array_get(list, i)));
        if (!status) status = add_value(options, id, (const char *)text.bytes);
        pm_buffer_fini(&text);
        return status;
    }
    if (option->kind == PM_OPTION_ONE || option->kind == PM_OPTION_FLAG)
        return pm_fail(PM_E_USAGE, "%s: \"%s\" takes one value, not a list", path, option->name);
    pm_status status = PM_OK;
    for (size_t i = 0; i < json_array_size(list) && !status; i++)
        status = add_json(options, id, json_array_get(list, i), path);
    return status;
}

static pm_status apply_spec(pm_options *options, json_t *root, const char *path) {
    const char *key;
    json_t *value;
    json_object_foreach(root, key, value) {
        pm_option_id id;
        pm_status status = find(options, key, strlen(key), "", &id);
        if (status) return pm_fail_in(status, "%s", path);
        if (id == PM_OPT_SPEC || id == PM_OPT_HELP)
            return pm_fail(PM_E_USAGE, "%s: \"%s\" cannot stand in a spec file", path, key);
        if (options->lists[id].count) continue; /* the command line wins */
        status = json_is_array(value) ? add_json_list(options, id, value, path)
                                      : add_json(options, id, value, path);
        if (status) return status;
    }
    return PM_OK;
}

/* Also of a pipe: --spec <(...). */
static pm_status read_text(const char *path, char **out, size_t *size) {
    FILE *file = fopen(path, "rb");
    char *text = file ? malloc(SPEC_LIMIT_BYTES + 1) : NULL;
    pm_status status = PM_OK;
    if (!file)
        return pm_fail(errno == ENOMEM ? PM_E_MEMORY : PM_E_USAGE, "--spec %s: %s", path,
                       strerror(errno));
    if (!text) status = pm_fail(PM_E_MEMORY, "--spec %s: no memory to read it", path);
    if (!status) *size = fread(text, 1, SPEC_LIMIT_BYTES + 1, file);
    if (!status && ferror(file))
        status = pm_fail(PM_E_USAGE, "--spec %s: %s", path, strerror(errno));
    else if (!status && *size > SPEC_LIMIT_BYTES)
        status = pm_fail(PM_E_USAGE, "--spec %s: over %d bytes", path, SPEC_LIMIT_BYTES);
    fclose(file);
    if (status)
        free(text);
    else
        *out = text;
    return status;
}

static pm_status read_spec(pm_options *options, const char *path) {
    json_error_t error = {.text = ""};
    json_t *root = NULL;
    char *text = NULL;
    size_t size = 0;
    pm_status status = read_text(path, &text, &size);
    if (status) return status;
    status = pm_json_load(text, size, JSON_REJECT_DUPLICATES, &root, &error);
    free(text);
    if (status == PM_E_MEMORY) return pm_fail(PM_E_MEMORY, "--spec %s: no memory to read it", path);
    if (status) return pm_fail(PM_E_USAGE, "--spec %s: line %d: %s", path, error.line, error.text);
    if (!json_is_object(root))
        status = pm_fail(PM_E_USAGE, "--spec %s: it must be one JSON object of options", path);
    else
        status = apply_spec(options, root, path);
    json_decref(root);
    return status;
}

pm_status pm_options_parse(unsigned command, const char *name, int argc, char *const *argv,
                           pm_options **out) {
    pm_options *options = calloc(1, sizeof *options);
    if (!options) return pm_fail(PM_E_MEMORY, "no memory for the options");
    options->command = command;
    snprintf(options->name, sizeof options->name, "%s", name);
    pm_status status = parse_arguments(options, argc, argv);
    const char *spec = pm_options_text(options, PM_OPT_SPEC);
    if (!status && spec) status = read_spec(options, spec);
    if (status) {
        pm_options_free(&options);
        return status;
    }
    *out = options;
    return PM_OK;
}

static pm_status copy_values(const pm_options *from, pm_option_id id, pm_options *to) {
    const value_list *list = &from->lists[id];
    pm_status status = PM_OK;
    for (size_t i = 0; i < list->count && !status; i++)
        status = list_add(&to->lists[id], list->values[i], strlen(list->values[i]));
    return status;
}

pm_status pm_options_derive(const pm_options *from, unsigned command, const char *name,
                            const char *const *argv, pm_options **out) {
    pm_options *options = NULL;
    int argc = 0;
    while (argv[argc]) argc++;
    pm_status status =
        pm_options_parse(command, name, argc, (char *const *)(uintptr_t)argv, &options);
    for (size_t i = 0; i < PM_OPT_COUNT && !status; i++) {
        const unsigned both = command | from->command;
        /* --spec was read when `from` was. */
        if (i == PM_OPT_SPEC || (pm_option_at((pm_option_id)i)->commands & both) != both) continue;
        if (!options->lists[i].count) status = copy_values(from, (pm_option_id)i, options);
    }
    if (status)
        pm_options_free(&options);
    else
        *out = options;
    return status;
}

/* ---- getters ---- */

bool pm_options_given(const pm_options *options, pm_option_id id) {
    return options->lists[id].count > 0;
}

size_t pm_options_count(const pm_options *options, pm_option_id id) {
    if (options->lists[id].count) return options->lists[id].count;
    return pm_option_at(id)->fallback ? 1 : 0;
}

const char *pm_options_value(const pm_options *options, pm_option_id id, size_t index) {
    const value_list *list = &options->lists[id];
    return index < list->count ? list->values[index] : pm_option_at(id)->fallback;
}

const char *pm_options_text(const pm_options *options, pm_option_id id) {
    return pm_options_value(options, id, 0);
}

bool pm_options_flag(const pm_options *options, pm_option_id id) {
    return options->lists[id].count > 0;
}

pm_status pm_options_int(const pm_options *options, pm_option_id id, int least, int most,
                         int *out) {
    const char *text = pm_options_text(options, id);
    char what[80];
    snprintf(what, sizeof what, "--%s", pm_option_at(id)->name);
    return pm_parse_int(what, text ? text : "", least, most, out);
}

pm_status pm_options_size(const pm_options *options, pm_option_id id, size_t least, size_t most,
                          size_t *out) {
    char what[64];
    size_t value;
    snprintf(what, sizeof what, "--%s", pm_option_at(id)->name);
    pm_status status = pm_parse_size(what, pm_options_text(options, id), &value);
    if (status) return status;
    if (value < least || value > most)
        return pm_fail(PM_E_USAGE, "%s %zu is out of range; it takes %zu to %zu", what, value,
                       least, most);
    *out = value;
    return PM_OK;
}

pm_status pm_options_need(const pm_options *options, pm_option_id id) {
    if (pm_options_count(options, id)) return PM_OK;
    const pm_option *option = pm_option_at(id);
    return pm_fail(PM_E_USAGE, "--%s %s is missing; `parchmill %s --help` explains", option->name,
                   option->argument ? option->argument : "", options->name);
}

size_t pm_options_operand_count(const pm_options *options) { return options->operands.count; }

const char *pm_options_operand(const pm_options *options, size_t index) {
    return index < options->operands.count ? options->operands.values[index] : NULL;
}

pm_status pm_options_operands(const pm_options *options, const char *what, size_t least,
                              size_t most) {
    size_t count = options->operands.count;
    if (count < least)
        return pm_fail(PM_E_USAGE, "%s is missing; usage: parchmill %s %s", what, options->name,
                       what);
    if (count > most)
        return pm_fail(PM_E_USAGE, "'%.80s' is one argument too many; `parchmill %s --help`",
                       options->operands.values[most], options->name);
    return PM_OK;
}

pm_status pm_run_parse(const char *what, const char *text, uint64_t *out) {
    size_t run = 0;
    pm_status status = pm_parse_size(what, text, &run);
    if (status) return status;
    if (run == 0) return pm_fail(PM_E_USAGE, "%s: runs are numbered from 1, not 0", what);
    if (run > INT64_MAX) return pm_fail(PM_E_USAGE, "%s: there is no run %zu", what, run);
    *out = run;
    return PM_OK;
}

pm_status pm_options_run(const pm_options *options, size_t index, uint64_t *out) {
    const char *text = pm_options_operand(options, index);
    if (text) return pm_run_parse("RUN", text, out);
    *out = 0;
    return PM_OK;
}

/* ---- help ---- */

static void print_wrapped(FILE *out, const char *text, size_t indent, size_t width) {
    size_t column = indent;
    while (*text) {
        size_t length = strcspn(text, " ");
        if (column > indent && column + 1 + length > width) {
            fprintf(out, "\n%*s", (int)indent, "");
            column = indent;
        }
        if (column > indent) column += (size_t)fprintf(out, " ");
        column += (size_t)fprintf(out, "%.*s", (int)length, text);
        text += length;
        while (*text == ' ') text++;
    }
    fputc('\n', out);
}

static void print_option(const pm_option *option, FILE *out, size_t width) {
    enum { COLUMN = 30 };
    char left[64], help[512];
    int n = snprintf(left, sizeof left, "  --%s", option->name);
    if (option->argument)
        snprintf(left + n, sizeof left - (size_t)n,
                 option->kind == PM_OPTION_SWITCH ? "[=%s]" : " %s", option->argument);
    if (option->fallback && option->fallback[0])
        snprintf(help, sizeof help, "%s (%s)", option->help, option->fallback);
    else
        snprintf(help, sizeof help, "%s", option->help);
    size_t indent = width >= 60 ? COLUMN : 6;
    if (strlen(left) + 2 > indent)
        fprintf(out, "%s\n%*s", left, (int)indent, "");
    else
        fprintf(out, "%-*s", (int)indent, left);
    print_wrapped(out, help, indent, width);
}

void pm_options_print_help(unsigned command, FILE *out, size_t width) {
    const char *done[PM_OPT_COUNT] = {0};
    size_t done_count = 0;
    for (size_t i = 0; i < PM_OPT_COUNT; i++) {
        const pm_option *first = pm_option_at((pm_option_id)i);
        bool seen = !(first->commands & command);
        for (size_t k = 0; k < done_count; k++) seen |= done[k] == first->group;
        if (seen) continue;
        done[done_count++] = first->group;
        fprintf(out, "\n%s\n", first->group);
        for (size_t k = i; k < PM_OPT_COUNT; k++) {
            const pm_option *option = pm_option_at((pm_option_id)k);
            if ((option->commands & command) && option->group == first->group)
                print_option(option, out, width);
        }
    }
}
