/* Owns folders as data sets: flat ones without labels, and class folders. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/base/file.h"
#include "tools/dataset/items.h"

enum { DEPTH_LIMIT = 16, PATH_BYTES = 4096 };

typedef struct walk {
    const char *root;
    pm_item_list *items;
    size_t ignored;
} walk;

void pm_name_list_fini(pm_name_list *list) {
    for (size_t i = 0; i < list->count; i++) free(list->names[i]);
    free(list->names);
    *list = (pm_name_list){0};
}

static pm_status add_name(pm_name_list *list, const char *name) {
    if (list->count == list->capacity) {
        size_t capacity = list->capacity ? list->capacity * 2 : 16;
        char **names = realloc(list->names, capacity * sizeof *names);
        if (!names) return pm_fail(PM_E_MEMORY, "no memory for a list of folders");
        list->names = names;
        list->capacity = capacity;
    }
    char *copy = strdup(name);
    if (!copy) return pm_fail(PM_E_MEMORY, "no memory for a folder's name");
    list->names[list->count++] = copy;
    return PM_OK;
}

static int compare_names(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static int compare_items(const void *a, const void *b) {
    return strcmp(((const pm_item *)a)->path, ((const pm_item *)b)->path);
}

static pm_status join(char out[PATH_BYTES], const char *folder, const char *name) {
    int length = snprintf(out, PATH_BYTES, "%s%s%s", folder, folder[0] ? "/" : "", name);
    if (length < 0 || length >= PATH_BYTES)
        return pm_fail(PM_E_LIMIT, "%.200s...: a path of more than %d bytes", folder, PATH_BYTES);
    return PM_OK;
}

/* One folder, `inside` the root: images become items, folders' names go to `folders`. */
static pm_status read_folder(walk *w, const char *inside, int label, pm_name_list *folders) {
    char path[PATH_BYTES];
    pm_status status = join(path, w->root, inside);
    if (status) return status;
    DIR *dir = opendir(path);
    if (!dir) return pm_file_fail_missing(path, errno);
    for (struct dirent *entry; !status && (entry = readdir(dir));) {
        const char *name = entry->d_name;
        struct stat info;
        if (name[0] == '.') continue;
        if (fstatat(dirfd(dir), name, &info, 0) != 0) {
            status = pm_fail(PM_E_IO, "%s/%s: %s", path, name, strerror(errno));
        } else if (S_ISDIR(info.st_mode)) {
            status = add_name(folders, name);
        } else if (pm_is_image_name(name)) {
            char relative[PATH_BYTES];
            status = join(relative, inside, name);
            if (!status) status = pm_item_list_add(w->items, relative, label);
            if (status == PM_E_FORMAT) status = pm_fail_in(status, "%s", path);
        } else {
            w->ignored++;
        }
    }
    closedir(dir);
    if (folders->count > 1)
        qsort(folders->names, folders->count, sizeof *folders->names, compare_names);
    return status;
}

/* A class folder and all below it, with one label. */
static pm_status read_tree(walk *w, const char *inside, int label, int depth) {
    pm_name_list folders = {0};
    if (depth > DEPTH_LIMIT)
        return pm_fail(PM_E_LIMIT, "%s/%s: folders nested deeper than %d", w->root, inside,
                       DEPTH_LIMIT);
    pm_status status = read_folder(w, inside, label, &folders);
    for (size_t i = 0; i < folders.count && !status; i++) {
        char below[PATH_BYTES];
        status = join(below, inside, folders.names[i]);
        if (!status) status = read_tree(w, below, label, depth + 1);
    }
    pm_name_list_fini(&folders);
    return status;
}

/* n and eight digits: a WordNet id, which is no position in a sorted list of folders. */
static bool is_wnid(const char *name) {
    return name[0] == 'n' && strlen(name) == 9 && strspn(name + 1, "0123456789") == 8;
}

static pm_status find_label(const pm_dataset_source *source, const char *folder, size_t position,
                            int *out) {
    const pm_class_names *known = source->class_names;
    size_t class_count = source->options->class_count, label = position;
    if (known->count) {
        for (label = 0; label < known->count; label++) {
            const char *wnid = known->wnids[label], *name = known->names[label];
            if ((wnid && strcmp(wnid, folder) == 0) || (name && strcmp(name, folder) == 0)) break;
        }
        if (label == known->count)
            return pm_fail(PM_E_MISMATCH, "%s/%s: no such wnid or name in %s", source->root, folder,
                           source->options->classes);
    } else if (is_wnid(folder)) {
        return pm_fail(PM_E_USAGE,
                       "%s/%s: folders named by wnid need --classes FILE.csv (index,wnid,names): "
                       "their order is not the model's",
                       source->root, folder);
    }
    if (class_count && label >= class_count)
        return pm_fail(PM_E_MISMATCH,
                       "%s/%s: label %zu is out of range: the model has %zu classes, 0 to %zu",
                       source->root, folder, label, class_count, class_count - 1);
    *out = (int)label;
    return PM_OK;
}

static pm_status read_classes(const pm_dataset_source *source, walk *w,
                              const pm_name_list *folders) {
    for (size_t i = 0; i < folders->count; i++) {
        size_t before = w->items->count;
        int label = -1;
        pm_status status = find_label(source, folders->names[i], i, &label);
        if (!status) status = read_tree(w, folders->names[i], label, 1);
        if (status) return status;
        if (w->items->count == before)
            return pm_fail(PM_E_FORMAT,
                           "%s/%s: a class folder without photographs; remove it, or list the "
                           "photographs in labels.csv",
                           source->root, folders->names[i]);
    }
    return PM_OK;
}

static void report(const pm_dataset_source *source, size_t ignored) {
    char line[512];
    if (!ignored || !source->options->notice) return;
    snprintf(line, sizeof line, "%s: %zu files are not .jpg, .jpeg, .png or .webp and are left out",
             source->root, ignored);
    source->options->notice(source->options->context, line);
}

pm_status pm_folders_read(const pm_dataset_source *source, pm_item_list *out,
                          pm_name_list *folder_names) {
    pm_name_list folders = {0};
    walk w = {.root = source->root, .items = out};
    pm_status status = read_folder(&w, "", -1, &folders);
    if (status) goto fail;
    if (out->count && folders.count) {
        status = pm_fail(PM_E_FORMAT,
                         "%s: photographs beside folders (%s); keep one kind, or list the "
                         "photographs in labels.csv",
                         source->root, folders.names[0]);
        goto fail;
    }
    status = read_classes(source, &w, &folders);
    if (status) goto fail;
    if (out->count == 0) {
        status = pm_fail(PM_E_FORMAT, "%s: no photographs here (.jpg, .jpeg, .png, .webp)",
                         source->root);
        goto fail;
    }
    qsort(out->items, out->count, sizeof *out->items, compare_items);
    report(source, w.ignored);
    if (!source->class_names->count) {
        *folder_names = folders;
        return PM_OK;
    }
fail:
    pm_name_list_fini(&folders);
    return status;
}
