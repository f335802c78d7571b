/* Owns the picture of a sweep: a row an image, photograph first. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/experiment/sweep.h"

enum { HEAD = 22, FOOT = 14, LETTER = 6 };

pm_status pm_picture_new(size_t width, size_t height, pm_image *out) {
    uint8_t *rgb = malloc(width * height * 3);
    if (!rgb) return pm_fail(PM_E_MEMORY, "no memory for a picture of %zu x %zu", width, height);
    memset(rgb, 255, width * height * 3);
    *out = (pm_image){width, height, rgb};
    return PM_OK;
}

void pm_picture_paste(pm_image *to, size_t x, size_t y, const pm_image *from) {
    if (x >= to->width || !from->rgb) return;
    const size_t width = from->width < to->width - x ? from->width : to->width - x;
    for (size_t row = 0; row < from->height && y + row < to->height; row++)
        memcpy(to->rgb + ((y + row) * to->width + x) * 3, from->rgb + row * from->width * 3,
               width * 3);
}

/* Its end, where the whole does not fit: that is what tells files apart. */
static const char *fitting(const char *text, size_t width) {
    const size_t length = strlen(text), room = width / LETTER;
    return length > room ? text + (length - room) : text;
}

pm_status pm_panels_draw(void *user, const pm_sweep_image *image) {
    pm_panels *panels = user;
    const size_t side = image->photograph.width, step = side + PM_SWEEP_GAP;
    pm_image *rows = realloc(panels->rows, (panels->count + 1) * sizeof *rows);
    if (!rows) return pm_fail(PM_E_MEMORY, "no memory for a picture");
    panels->rows = rows;
    pm_image *row = &rows[panels->count];
    pm_status status =
        pm_picture_new(step * (image->count + 1) - PM_SWEEP_GAP, HEAD + side + FOOT, row);
    if (status) return status;
    panels->count++;
    pm_image_write_text(row, 0, 4, 2, "photograph");
    pm_picture_paste(row, 0, HEAD, &image->photograph);
    for (size_t i = 0; i < image->count; i++) {
        pm_image_write_text(row, (i + 1) * step, 4, 2, image->labels[i]);
        pm_picture_paste(row, (i + 1) * step, HEAD, &image->panels[i]);
    }
    pm_image_write_text(row, 0, HEAD + side + 4, 1, fitting(image->path, row->width));
    return PM_OK;
}

/* The heads stand once, above the first row. */
pm_status pm_panels_write(const pm_panels *panels, const pm_study *study, const char *name) {
    pm_image all = {0};
    size_t width = 0, height = HEAD;
    if (!panels->count) return pm_fail(PM_E_NOT_FOUND, "no image of the run has a heat map");
    for (size_t i = 0; i < panels->count; i++) {
        if (panels->rows[i].width > width) width = panels->rows[i].width;
        height += panels->rows[i].height - HEAD;
    }
    pm_status status = pm_picture_new(width, height, &all);
    if (status) return status;
    pm_picture_paste(&all, 0, 0, &panels->rows[0]);
    for (size_t i = 1, y = panels->rows[0].height; i < panels->count; i++) {
        const pm_image *row = &panels->rows[i];
        const pm_image bare = {row->width, row->height - HEAD, row->rgb + HEAD * row->width * 3};
        pm_picture_paste(&all, 0, y, &bare);
        y += bare.height;
    }
    status = pm_study_picture(study, name, &all);
    pm_image_fini(&all);
    return status;
}

void pm_panels_fini(pm_panels *panels) {
    for (size_t i = 0; i < panels->count; i++) pm_image_fini(&panels->rows[i]);
    free(panels->rows);
    *panels = (pm_panels){0};
}
