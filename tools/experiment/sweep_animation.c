/* Owns a sweep as an animation: photograph, heat map, and below them which value it is. */
#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/experiment/sweep.h"

enum { FOOT = 24, DELAY_MS = 900, MARK = 8 };

void pm_sweep_file_name(uint64_t item, const char *path, char out[PM_SWEEP_NAME]) {
    snprintf(out, PM_SWEEP_NAME, "%05" PRIu64 "-%s", item, path);
    char *dot = strrchr(out, '.');
    if (dot) *dot = '\0';
    for (char *p = out; *p; p++)
        if (!isalnum((unsigned char)*p) && *p != '-' && *p != '_' && *p != '.') *p = '_';
}

/* How far the sweep is: a bar a value, the present one at full height. */
static void mark(pm_image *frame, size_t top, size_t at, size_t count) {
    const size_t left = frame->width - count * (MARK + 2);
    for (size_t i = 0; i < count; i++) {
        const size_t height = i == at ? 14 : 4;
        for (size_t y = top + 18 - height; y < top + 18; y++)
            memset(frame->rgb + (y * frame->width + left + i * (MARK + 2)) * 3, i == at ? 0 : 160,
                   MARK * 3);
    }
}

static pm_status make_frame(const pm_sweep_image *image, size_t at, pm_image *out) {
    const size_t side = image->photograph.width;
    pm_status status = pm_picture_new(2 * side + PM_SWEEP_GAP, side + FOOT, out);
    if (status) return status;
    pm_picture_paste(out, 0, 0, &image->photograph);
    pm_picture_paste(out, side + PM_SWEEP_GAP, 0, &image->panels[at]);
    pm_image_write_text(out, side + PM_SWEEP_GAP, side + 6, 2, image->labels[at]);
    if (image->count * (MARK + 2) < side / 2) mark(out, side, at, image->count);
    return PM_OK;
}

static pm_status write_as(const pm_study *study, const pm_image *frames, size_t count,
                          const char *stem, pm_animation format) {
    char name[PM_STUDY_PATH];
    uint8_t *bytes = NULL;
    size_t size = 0;
    snprintf(name, sizeof name, "%s.%s", stem, format == PM_ANIMATION_GIF ? "gif" : "webp");
    pm_status status = pm_image_encode_animation(format, frames, count, DELAY_MS, &bytes, &size);
    if (!status) status = pm_study_write(study, name, bytes, size);
    free(bytes);
    return status ? pm_fail_in(status, "%s", name) : PM_OK;
}

pm_status pm_sweep_animate(void *user, const pm_sweep_image *image) {
    const pm_study *study = user;
    pm_image frames[PM_SWEEP_VALUES] = {0};
    char stem[PM_SWEEP_NAME];
    size_t count = 0;
    pm_status status = PM_OK;
    pm_sweep_file_name(image->item, image->path, stem);
    for (size_t i = 0; i < image->count && !status; i++) {
        if (!image->panels[i].rgb) continue;
        status = make_frame(image, i, &frames[count]);
        if (!status) count++;
    }
    if (!status && count) status = write_as(study, frames, count, stem, PM_ANIMATION_GIF);
    if (!status && count) status = write_as(study, frames, count, stem, PM_ANIMATION_WEBP);
    for (size_t i = 0; i < count; i++) pm_image_fini(&frames[i]);
    return status;
}
