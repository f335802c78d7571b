/* Shared by the data set tests: small trees of files in a temporary folder. Include after cmocka.h.
 */
#ifndef PM_TESTS_DATASET_TREE_H
#define PM_TESTS_DATASET_TREE_H

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/file.h"

typedef struct tree {
    char root[64];
} tree;

static inline void tree_path(const tree *t, const char *inside, char out[512]) {
    snprintf(out, 512, "%s/%s", t->root, inside);
}

static inline tree tree_new(void) {
    tree t = {.root = "/tmp/parchmill-tree-XXXXXX"};
    assert_non_null(mkdtemp(t.root));
    return t;
}

/* Makes the folders in between; a name that ends in '/' is a folder. */
static inline void tree_add(const tree *t, const char *inside, const char *text) {
    char path[512], folder[512];
    tree_path(t, inside, path);
    snprintf(folder, sizeof folder, "%s", path);
    *strrchr(folder, '/') = '\0';
    assert_int_equal(pm_dir_make(folder), PM_OK);
    if (inside[strlen(inside) - 1] == '/') return;
    FILE *out = fopen(path, "w");
    assert_non_null(out);
    fputs(text, out);
    assert_int_equal(fclose(out), 0);
}

static inline int tree_remove(const char *path, const struct stat *info, int kind, struct FTW *at) {
    (void)info;
    (void)kind;
    (void)at;
    return remove(path);
}

static inline void tree_free(tree *t) { nftw(t->root, tree_remove, 16, FTW_DEPTH | FTW_PHYS); }

#endif
