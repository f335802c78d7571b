/* Owns Pascal VOC boxes: annotation/object/bndbox/{xmin,ymin,xmax,ymax}. The format has no use for
 * a document type, so one is refused: no entity is ever declared, let alone expanded. */
#include <dirent.h>
#include <errno.h>
#include <expat.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "lib/base/file.h"
#include "lib/base/text.h"
#include "tools/dataset/items.h"

enum { FILE_LIMIT_BYTES = 4 << 20, DEPTH_LIMIT = 32, NUMBER_BYTES = 48 };

static const char *const edge_names[4] = {"xmin", "ymin", "xmax", "ymax"};

typedef struct voc_state {
    XML_Parser parser;
    const char *name;
    pm_item *item;
    int depth;
    int matched; /* how many of the open elements, from the root, are annotation/object/bndbox */
    int edge;    /* which of the four is open, -1: none */
    bool known[4];
    double edges[4];
    char text[NUMBER_BYTES];
    size_t text_size;
    pm_status status;
} voc_state;

static void stop(voc_state *state, pm_status status) {
    if (!state->status) state->status = status;
    XML_StopParser(state->parser, XML_FALSE);
}

static unsigned long line_of(const voc_state *state) {
    return (unsigned long)XML_GetCurrentLineNumber(state->parser);
}

static void on_start(void *data, const char *element, const char **attributes) {
    static const char *const path[3] = {"annotation", "object", "bndbox"};
    voc_state *state = data;
    (void)attributes;
    if (state->status) return;
    if (state->depth == 0 && strcmp(element, path[0]) != 0) {
        stop(state, pm_fail(PM_E_FORMAT, "%s: not a Pascal VOC annotation but <%.60s>", state->name,
                            element));
        return;
    }
    if (state->depth >= DEPTH_LIMIT) {
        stop(state, pm_fail(PM_E_LIMIT, "%s:%lu: elements nested deeper than %d", state->name,
                            line_of(state), DEPTH_LIMIT));
        return;
    }
    if (state->depth == state->matched && state->depth < 3 &&
        strcmp(element, path[state->depth]) == 0) {
        state->matched++;
        if (state->matched == 3) memset(state->known, 0, sizeof state->known);
    } else if (state->depth == 3 && state->matched == 3) {
        for (int i = 0; i < 4; i++)
            if (strcmp(element, edge_names[i]) == 0) state->edge = i;
        state->text_size = 0;
    }
    state->depth++;
}

static void end_of_edge(voc_state *state) {
    char *text = state->text;
    text[state->text_size] = '\0';
    while (*text == ' ' || *text == '\t' || *text == '\n' || *text == '\r') text++;
    size_t length = strcspn(text, " \t\r\n");
    if (text[length + strspn(text + length, " \t\r\n")] == '\0') text[length] = '\0';
    if (pm_parse_double(edge_names[state->edge], text, &state->edges[state->edge]))
        stop(state, pm_fail(PM_E_FORMAT, "%s:%lu: %s '%.40s' is not a number", state->name,
                            line_of(state), edge_names[state->edge], text));
    state->known[state->edge] = true;
    state->edge = -1;
}

static void end_of_box(voc_state *state) {
    const double *e = state->edges;
    for (int i = 0; i < 4; i++) {
        if (state->known[i]) continue;
        stop(state, pm_fail(PM_E_FORMAT, "%s:%lu: a box without %s", state->name, line_of(state),
                            edge_names[i]));
        return;
    }
    if (e[2] < e[0] || e[3] < e[1]) {
        stop(state, pm_fail(PM_E_FORMAT, "%s:%lu: the box ends before it begins", state->name,
                            line_of(state)));
        return;
    }
    pm_spec_box box = {e[0], e[1], e[2], e[3]};
    pm_status status = pm_item_add_box(state->item, &box);
    if (status) stop(state, status);
}

static void on_end(void *data, const char *element) {
    voc_state *state = data;
    (void)element;
    if (state->status) return;
    state->depth--;
    if (state->edge >= 0 && state->depth == 3) end_of_edge(state);
    if (state->depth < state->matched) {
        if (state->matched == 3 && !state->status) end_of_box(state);
        state->matched = state->depth;
    }
}

static void on_text(void *data, const char *text, int length) {
    voc_state *state = data;
    if (state->status || state->edge < 0 || state->depth != 4) return;
    if ((size_t)length >= sizeof state->text - state->text_size) {
        stop(state, pm_fail(PM_E_FORMAT, "%s:%lu: %s is not a number", state->name, line_of(state),
                            edge_names[state->edge]));
        return;
    }
    memcpy(state->text + state->text_size, text, (size_t)length);
    state->text_size += (size_t)length;
}

static void on_doctype(void *data, const char *name, const char *system, const char *public,
                       int internal) {
    voc_state *state = data;
    (void)name;
    (void)system;
    (void)public;
    (void)internal;
    if (state->status) return;
    stop(state, pm_fail(PM_E_FORMAT, "%s:%lu: a document type declaration is refused", state->name,
                        line_of(state)));
}

pm_status pm_voc_parse(const char *name, const char *text, size_t size, pm_item *item) {
    voc_state state = {.name = name, .item = item, .edge = -1};
    if (size > FILE_LIMIT_BYTES)
        return pm_fail(PM_E_LIMIT, "%s: %zu bytes, the limit is %d", name, size, FILE_LIMIT_BYTES);
    state.parser = XML_ParserCreate(NULL);
    if (!state.parser) return pm_fail(PM_E_MEMORY, "%s: no memory for a parser", name);
    XML_SetUserData(state.parser, &state);
    XML_SetElementHandler(state.parser, on_start, on_end);
    XML_SetCharacterDataHandler(state.parser, on_text);
    XML_SetStartDoctypeDeclHandler(state.parser, on_doctype);
    if (XML_Parse(state.parser, text, (int)size, 1) != XML_STATUS_OK && !state.status)
        state.status = pm_fail(
            XML_GetErrorCode(state.parser) == XML_ERROR_NO_MEMORY ? PM_E_MEMORY : PM_E_FORMAT,
            "%s:%lu: %s", name, line_of(&state), XML_ErrorString(XML_GetErrorCode(state.parser)));
    XML_ParserFree(state.parser);
    return state.status;
}

/* An image's name without folders and ending. */
typedef struct stem {
    const char *text;
    size_t length;
    pm_item *item;
} stem;

static int compare_stems(const void *a, const void *b) {
    const stem *x = a, *y = b;
    size_t shorter = x->length < y->length ? x->length : y->length;
    int order = memcmp(x->text, y->text, shorter);
    return order ? order : (x->length > y->length) - (x->length < y->length);
}

static stem stem_of(const char *path, pm_item *item) {
    const char *slash = strrchr(path, '/');
    const char *name = slash ? slash + 1 : path;
    const char *dot = strrchr(name, '.');
    return (stem){name, dot && dot != name ? (size_t)(dot - name) : strlen(name), item};
}

static pm_status sort_stems(pm_item_list *list, stem **out) {
    stem *stems = malloc((list->count ? list->count : 1) * sizeof *stems);
    if (!stems) return pm_fail(PM_E_MEMORY, "no memory for %zu image names", list->count);
    for (size_t i = 0; i < list->count; i++)
        stems[i] = stem_of(list->items[i].path, &list->items[i]);
    qsort(stems, list->count, sizeof *stems, compare_stems);
    for (size_t i = 1; i < list->count; i++) {
        if (compare_stems(&stems[i - 1], &stems[i]) != 0) continue;
        pm_status status = pm_fail(
            PM_E_FORMAT, "two images have the name %.*s: %s and %s; boxes are joined by name",
            (int)stems[i].length, stems[i].text, stems[i - 1].item->path, stems[i].item->path);
        free(stems);
        return status;
    }
    *out = stems;
    return PM_OK;
}

static pm_status read_voc(const char *folder, const char *file, pm_item *item) {
    char path[4096];
    uint8_t *text = NULL;
    size_t size = 0;
    int length = snprintf(path, sizeof path, "%s/%s", folder, file);
    if (length < 0 || (size_t)length >= sizeof path)
        return pm_fail(PM_E_LIMIT, "%s: a path of more than %zu bytes", folder, sizeof path);
    if (item->box_count)
        return pm_fail(PM_E_FORMAT, "%s: a second file of boxes for %s", path, item->path);
    pm_status status = pm_file_read(path, FILE_LIMIT_BYTES, &text, &size);
    if (!status) status = pm_voc_parse(path, (const char *)text, size, item);
    free(text);
    return status;
}

pm_status pm_boxes_of(const char *folder, pm_item *item) {
    char file[512];
    stem name = stem_of(item->path, item);
    snprintf(file, sizeof file, "%.*s.xml", (int)name.length, name.text);
    pm_status status = read_voc(folder, file, item);
    if (!status && !item->box_count) return pm_fail(PM_E_FORMAT, "%s/%s has no box", folder, file);
    return status;
}

static void report(const pm_dataset_source *source, size_t joined, size_t strange, size_t images) {
    char line[512];
    const pm_data_set_options *options = source->options;
    if (!options->notice || (joined == images && strange == 0)) return;
    snprintf(line, sizeof line,
             "%s: boxes for %zu of %zu images; %zu files of boxes belong to none of them",
             options->boxes, joined, images, strange);
    options->notice(options->context, line);
}

pm_status pm_voc_join(const pm_dataset_source *source, pm_item_list *list) {
    const char *folder = source->options->boxes;
    stem *stems = NULL;
    size_t joined = 0, strange = 0;
    pm_status status = sort_stems(list, &stems);
    if (status) return status;
    DIR *dir = opendir(folder);
    if (!dir) {
        status = pm_file_fail_missing(folder, errno);
        goto fail;
    }
    for (size_t i = 0; i < list->count; i++) {
        free(list->items[i].boxes);
        list->items[i].boxes = NULL;
        list->items[i].box_count = 0;
    }
    for (struct dirent *entry; !status && (entry = readdir(dir));) {
        const char *dot = strrchr(entry->d_name, '.');
        if (!dot || dot == entry->d_name || strcasecmp(dot, ".xml") != 0) continue;
        stem wanted = stem_of(entry->d_name, NULL);
        stem *found = bsearch(&wanted, stems, list->count, sizeof *stems, compare_stems);
        if (found) status = read_voc(folder, entry->d_name, found->item);
        if (found) joined++;
        if (!found) strange++;
    }
    closedir(dir);
    if (!status && joined == 0)
        status = pm_fail(PM_E_FORMAT, "%s: no NAME.xml here has the name of an image in %s", folder,
                         source->root);
    if (!status) report(source, joined, strange, list->count);
fail:
    free(stems);
    return status;
}
