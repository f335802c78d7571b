/* Reads an SVG back by expat: its elements in order, each with its attributes and its text. */
#ifndef PM_TESTS_SVG_READER_H
#define PM_TESTS_SVG_READER_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/base/text.h"

typedef struct element {
    char name[32], class[64], text[256]; /* text: of its own <title> where it has one */
    char path[4096];                     /* d */
    double x, y, width, height;          /* NAN: not there; cx, cy of circles are x, y */
    size_t depth;
} element;

typedef struct svg_tree {
    element *elements;
    size_t count;
    char ids[16][64];
    size_t id_count;
    char labelled_by[128];
} svg_tree;

/* Fails the test where it is not well-formed XML. */
void svg_read(const pm_buffer *svg, svg_tree *out);
void svg_free(svg_tree *tree);
/* The index-th element whose class begins with `class`; fails the test if there is none. */
const element *svg_find(const svg_tree *tree, const char *class, size_t index);
size_t svg_count(const svg_tree *tree, const char *class);
/* Whether some element's text is this. */
bool svg_says(const svg_tree *tree, const char *text);

#endif
