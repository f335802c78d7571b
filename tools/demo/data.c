/* Owns the demo's files. */
#include "tools/demo/data.h"

#include <stdio.h>

#include "lib/base/file.h"
#include "lib/base/text.h"
#include "lib/image/image.h"
#include "tools/demo/shapes.h"

/* Files that are part of the program. */
#define EMBED(symbol, path)                                                                        \
    __asm__(".pushsection .rodata\n"                                                               \
            ".balign 16\n" #symbol "_begin:\n"                                                     \
            ".incbin \"" path "\"\n" #symbol "_end:\n"                                             \
            ".popsection\n");                                                                      \
    extern const uint8_t symbol##_begin[], symbol##_end[]

EMBED(pm_demo_weights, PM_DEMO_WEIGHTS);
EMBED(pm_demo_statistics, PM_DEMO_STATISTICS);

static pm_status write_picture(const char *dir, uint64_t seed, size_t index, pm_buffer *labels) {
    pm_demo_picture picture;
    char path[4096];
    pm_demo_draw(seed, index, &picture);
    int n = snprintf(path, sizeof path, "%s/%05zu.png", dir, index);
    if (n < 0 || (size_t)n >= sizeof path) return pm_fail(PM_E_LIMIT, "%s: path too long", dir);
    pm_image image = {PM_DEMO_SIDE, PM_DEMO_SIDE, picture.rgb};
    pm_status status = pm_image_write_png(path, &image);
    if (status) return status;
    return pm_buffer_printf(labels, "%05zu.png,%d,%zu,%zu,%zu,%zu\n", index, picture.label,
                            picture.xmin, picture.ymin, picture.xmax, picture.ymax);
}

pm_status pm_demo_write_images(const char *dir, uint64_t seed, size_t count) {
    char path[4096];
    pm_buffer labels = {0};
    pm_status status = pm_dir_make(dir);
    if (status) return status;
    status = pm_buffer_printf(&labels, "path,label,xmin,ymin,xmax,ymax\n");
    for (size_t i = 0; i < count && !status; i++) status = write_picture(dir, seed, i, &labels);
    snprintf(path, sizeof path, "%s/labels.csv", dir);
    if (!status) status = pm_file_write(path, labels.bytes, labels.size);
    pm_buffer_fini(&labels);
    return status;
}

pm_status pm_demo_write_classes(const char *path) {
    pm_buffer text = {0};
    pm_status status = pm_buffer_printf(&text, "index,wnid,names\n");
    for (int i = 0; i < PM_DEMO_CLASSES && !status; i++)
        status = pm_buffer_printf(&text, "%d,,%s\n", i, pm_demo_class_name(i));
    if (!status) status = pm_file_write(path, text.bytes, text.size);
    pm_buffer_fini(&text);
    return status;
}

pm_status pm_demo_write_weights(const char *path) {
    return pm_file_write(path, pm_demo_weights_begin,
                         (size_t)(pm_demo_weights_end - pm_demo_weights_begin));
}

pm_status pm_demo_write_statistics(const char *path) {
    return pm_file_write(path, pm_demo_statistics_begin,
                         (size_t)(pm_demo_statistics_end - pm_demo_statistics_begin));
}
