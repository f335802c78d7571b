/* Owns how the tests of charts read SVG. */
#include "svg_reader.h"

#include <expat.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

typedef struct reader {
    svg_tree *tree;
    size_t open[64], depth;
    bool in_title;
} reader;

static void copy(char *to, size_t size, const char *from) { snprintf(to, size, "%s", from); }

static void XMLCALL on_start(void *user, const char *name, const char **attributes) {
    reader *r = user;
    svg_tree *t = r->tree;
    if ((t->count & (t->count - 1)) == 0) /* room for twice as many */
        t->elements = realloc(t->elements, (2 * t->count + 1) * sizeof *t->elements);
    assert_non_null(t->elements);
    element *e = &t->elements[t->count];
    *e = (element){.x = NAN, .y = NAN, .width = NAN, .height = NAN, .depth = r->depth};
    copy(e->name, sizeof e->name, name);
    for (size_t i = 0; attributes[i]; i += 2) {
        const char *key = attributes[i], *value = attributes[i + 1];
        if (strcmp(key, "class") == 0) copy(e->class, sizeof e->class, value);
        if (strcmp(key, "d") == 0) copy(e->path, sizeof e->path, value);
        if (strcmp(key, "x") == 0 || strcmp(key, "cx") == 0) e->x = atof(value);
        if (strcmp(key, "y") == 0 || strcmp(key, "cy") == 0) e->y = atof(value);
        if (strcmp(key, "width") == 0) e->width = atof(value);
        if (strcmp(key, "height") == 0) e->height = atof(value);
        if (strcmp(key, "id") == 0 && t->id_count < 16)
            copy(t->ids[t->id_count++], sizeof t->ids[0], value);
        if (strcmp(key, "aria-labelledby") == 0) copy(t->labelled_by, sizeof t->labelled_by, value);
    }
    assert_true(r->depth < 64);
    r->open[r->depth++] = t->count++;
}

static void XMLCALL on_end(void *user, const char *name) {
    reader *r = user;
    (void)name;
    r->depth--;
}

static void XMLCALL on_text(void *user, const char *text, int size) {
    reader *r = user;
    svg_tree *t = r->tree;
    size_t at = r->open[r->depth - 1];
    if (strcmp(t->elements[at].name, "title") == 0 && r->depth > 1) at = r->open[r->depth - 2];
    element *e = &t->elements[at];
    size_t used = strlen(e->text);
    snprintf(e->text + used, sizeof e->text - used, "%.*s", size, text);
}

void svg_read(const pm_buffer *svg, svg_tree *out) {
    *out = (svg_tree){0};
    reader r = {.tree = out};
    XML_Parser parser = XML_ParserCreate(NULL);
    assert_non_null(parser);
    XML_SetUserData(parser, &r);
    XML_SetElementHandler(parser, on_start, on_end);
    XML_SetCharacterDataHandler(parser, on_text);
    if (XML_Parse(parser, (const char *)svg->bytes, (int)svg->size, 1) != XML_STATUS_OK)
        fail_msg("byte %ld: %s", (long)XML_GetCurrentByteIndex(parser),
                 XML_ErrorString(XML_GetErrorCode(parser)));
    XML_ParserFree(parser);
}

void svg_free(svg_tree *tree) {
    free(tree->elements);
    *tree = (svg_tree){0};
}

static bool has_class(const element *e, const char *class) {
    return strncmp(e->class, class, strlen(class)) == 0;
}

const element *svg_find(const svg_tree *tree, const char *class, size_t index) {
    for (size_t i = 0; i < tree->count; i++)
        if (has_class(&tree->elements[i], class) && index-- == 0) return &tree->elements[i];
    fail_msg("no element of class %s", class);
    return NULL;
}

size_t svg_count(const svg_tree *tree, const char *class) {
    size_t n = 0;
    for (size_t i = 0; i < tree->count; i++) n += has_class(&tree->elements[i], class);
    return n;
}

bool svg_says(const svg_tree *tree, const char *text) {
    for (size_t i = 0; i < tree->count; i++)
        if (strcmp(tree->elements[i].text, text) == 0) return true;
    return false;
}
