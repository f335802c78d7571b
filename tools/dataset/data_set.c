/* Owns the choice of what a path means, and the reading of every image's bytes once for its hash.
 * Knows no pixel and no model but its class count. */
#include "tools/dataset/data_set.h"

#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/file.h"
#include "tools/dataset/items.h"

static pm_status hash_open_file(const char *path, int fd, pm_item *item) {
    struct stat info;
    if (fstat(fd, &info) != 0) return pm_file_fail_missing(path, errno);
    if (!S_ISREG(info.st_mode)) return pm_fail(PM_E_FORMAT, "%s: not a regular file", path);
    return pm_sha256_fd(fd, path, UINT64_MAX, &item->sha256, &item->size_bytes);
}

static pm_status hash_item(const char *root, pm_item *item) {
    char path[PATH_MAX + 1];
    int length = snprintf(path, sizeof path, "%s/%s", root, item->path);
    if (length < 0 || (size_t)length >= sizeof path)
        return pm_fail(PM_E_LIMIT, "%s: a path of more than %d bytes", item->path, PATH_MAX);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) return pm_file_fail_missing(path, errno);
    pm_status status = hash_open_file(path, fd, item);
    close(fd);
    return status;
}

static pm_status hash_items(const pm_data_set_options *options, const char *root,
                            pm_item_list *list) {
    for (size_t i = 0; i < list->count; i++) {
        pm_status status = hash_item(root, &list->items[i]);
        if (status) return status;
        if (options->progress) options->progress(options->context, i + 1, list->count);
    }
    return PM_OK;
}

static void drop(pm_item *item) {
    free(item->path);
    free(item->boxes);
}

static pm_status choose(const pm_data_set_options *options, pm_item_list *list) {
    size_t kept = 0;
    if (!options->glob) return PM_OK;
    for (size_t i = 0; i < list->count; i++) {
        if (fnmatch(options->glob, list->items[i].path, FNM_NOESCAPE) == 0)
            list->items[kept++] = list->items[i];
        else
            drop(&list->items[i]);
    }
    list->count = kept;
    if (kept) return PM_OK;
    return pm_fail(PM_E_NOT_FOUND, "%s: no photograph's path matches '%.200s'", options->images,
                   options->glob);
}

static void cut_list(pm_item_list *list, size_t limit) {
    if (limit == 0) return;
    while (list->count > limit) drop(&list->items[--list->count]);
}

/* The folder and, for a single file, its name in it. */
static pm_status find_root(const char *images, char **root, char **file) {
    struct stat info;
    *file = NULL;
    *root = realpath(images, NULL);
    if (!*root || stat(*root, &info) != 0) {
        pm_status status = pm_file_fail_missing(images, errno);
        free(*root);
        *root = NULL;
        return status;
    }
    if (S_ISDIR(info.st_mode)) return PM_OK;
    char *slash = strrchr(*root, '/');
    *file = strdup(slash + 1);
    if (!*file) {
        free(*root);
        *root = NULL;
        return pm_fail(PM_E_MEMORY, "%s: no memory", images);
    }
    slash[slash == *root ? 1 : 0] = '\0';
    return PM_OK;
}

static bool has_labels(const char *root) {
    char path[PATH_MAX + 16];
    snprintf(path, sizeof path, "%s/labels.csv", root);
    return access(path, F_OK) == 0;
}

static pm_status list_items(const pm_dataset_source *source, const char *file, pm_item_list *list,
                            pm_name_list *folder_names) {
    if (file) {
        pm_status status = pm_item_list_add(list, file, -1);
        return status == PM_E_FORMAT ? pm_fail_in(status, "%s", source->root) : status;
    }
    if (has_labels(source->root)) return pm_labels_read(source, list);
    return pm_folders_read(source, list, folder_names);
}

static pm_status name_set(const char *root, const char *file, char **out) {
    const char *slash = strrchr(root, '/');
    const char *name = file ? file : slash && slash[1] ? slash + 1 : root;
    *out = strdup(name);
    return *out ? PM_OK : pm_fail(PM_E_MEMORY, "no memory for a data set's name");
}

static void take_class_names(pm_class_names *classes, pm_name_list *folders, pm_data_set *out) {
    if (classes->count) {
        out->class_name_count = classes->count;
        out->class_names = classes->names;
        classes->names = NULL;
    } else {
        out->class_name_count = folders->count;
        out->class_names = folders->names;
        *folders = (pm_name_list){0};
    }
}

pm_status pm_data_set_open(const pm_data_set_options *options, pm_data_set *out) {
    pm_class_names classes = {0};
    pm_item_list list = {0};
    pm_name_list folder_names = {0};
    char *root = NULL, *file = NULL, *name = NULL;
    pm_status status = find_root(options->images, &root, &file);
    if (!status && options->classes) status = pm_class_names_read(options->classes, &classes);
    if (status) goto fail;
    pm_dataset_source source = {.options = options, .root = root, .class_names = &classes};
    status = list_items(&source, file, &list, &folder_names);
    if (!status && options->boxes) status = pm_voc_join(&source, &list);
    if (!status) status = choose(options, &list);
    if (status) goto fail;
    cut_list(&list, options->limit);
    status = hash_items(options, root, &list);
    if (!status) status = name_set(root, file, &name);
    if (status) goto fail;
    *out = (pm_data_set){.root = root, .name = name, .count = list.count, .items = list.items};
    take_class_names(&classes, &folder_names, out);
    free(file);
    pm_class_names_fini(&classes);
    pm_name_list_fini(&folder_names);
    return PM_OK;
fail:
    free(root);
    free(file);
    free(name);
    pm_item_list_fini(&list);
    pm_name_list_fini(&folder_names);
    pm_class_names_fini(&classes);
    return status;
}
