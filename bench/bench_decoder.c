/* What it costs to decode in a process of its own. Each photograph in turn here and there, the two
 * in alternating order, several rounds; the figures are medians over all pairs.
 *
 *   bench_decoder ROUNDS FILE... */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/clock.h"
#include "lib/base/file.h"
#include "lib/image/decoder.h"

enum { FILES_MAX = 4096 };

typedef struct file {
    uint8_t *bytes;
    size_t size;
} file;

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values, size_t count) {
    qsort(values, count, sizeof *values, by_value);
    return count % 2 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
}

static volatile uint8_t seen;

/* Of this thread and the decoder, for one photograph: what a busy machine has less of. */
typedef struct cost {
    double wall_us, cpu_us;
} cost;

/* With one look at each page, as whoever resizes it would have. */
static bool time_here(const file *f, const char *name, cost *out) {
    pm_image image = {0};
    const int64_t start_us = pm_clock_us(), cpu_us = pm_clock_thread_us();
    if (pm_image_decode(name, f->bytes, f->size, NULL, &image)) return false;
    for (size_t i = 0; i < image.width * image.height * 3; i += 64) seen ^= image.rgb[i];
    pm_image_fini(&image);
    out->wall_us = (double)(pm_clock_us() - start_us);
    out->cpu_us = (double)(pm_clock_thread_us() - cpu_us);
    return true;
}

static bool time_there(pm_decoder *decoder, const file *f, const char *name, cost *out) {
    pm_image image = {0};
    const int64_t start_us = pm_clock_us(), cpu_us = pm_clock_thread_us();
    if (pm_decoder_decode(decoder, name, f->bytes, f->size, NULL, &image)) return false;
    for (size_t i = 0; i < image.width * image.height * 3; i += 64) seen ^= image.rgb[i];
    pm_decoder_forget(decoder);
    out->wall_us = (double)(pm_clock_us() - start_us);
    out->cpu_us = (double)(pm_clock_thread_us() - cpu_us + pm_decoder_spent_us(decoder));
    return true;
}

int main(int argc, char **argv) {
    static file files[FILES_MAX];
    pm_decoder *decoder = NULL;
    pm_decoder_main(argc, argv);
    const int rounds = argc > 2 ? atoi(argv[1]) : 0;
    const size_t count = argc > 2 ? (size_t)argc - 2 : 0;
    if (rounds < 1 || count > FILES_MAX) {
        fprintf(stderr, "usage: bench_decoder ROUNDS FILE...\n");
        return 2;
    }
    pm_status status = pm_image_setup("bench_decoder");
    if (!status) status = pm_decoder_new(NULL, &decoder);
    if (!status) status = pm_decoder_ready(decoder);
    for (size_t i = 0; i < count && !status; i++)
        status =
            pm_file_read(argv[i + 2], PM_DECODER_FILE_BYTES_MAX, &files[i].bytes, &files[i].size);
    enum { HERE, MORE, RATIO, CPU_MORE, CPU_RATIO, COLUMNS };
    static const char *const names[COLUMNS] = {"here_ms", "more_ms", "ratio", "cpu_more_ms",
                                               "cpu_ratio"};
    double *column[COLUMNS];
    for (size_t c = 0; c < COLUMNS; c++) {
        column[c] = calloc(count * (size_t)rounds + 1, sizeof *column[c]);
        if (!column[c]) status = PM_E_MEMORY;
    }
    if (status) {
        fprintf(stderr, "bench_decoder: %s\n", pm_error_text());
        return 1;
    }
    size_t n = 0;
    for (int round = 0; round < rounds; round++)
        for (size_t i = 0; i < count; i++) {
            cost here, there;
            const bool first = (round + (int)i) % 2;
            if (first && !time_here(&files[i], argv[i + 2], &here)) continue;
            if (!time_there(decoder, &files[i], argv[i + 2], &there)) continue;
            if (!first && !time_here(&files[i], argv[i + 2], &here)) continue;
            column[HERE][n] = here.wall_us / 1e3;
            column[MORE][n] = (there.wall_us - here.wall_us) / 1e3;
            column[RATIO][n] = there.wall_us / here.wall_us;
            column[CPU_MORE][n] = (there.cpu_us - here.cpu_us) / 1e3;
            column[CPU_RATIO][n++] = there.cpu_us / here.cpu_us;
        }
    if (!n) {
        fprintf(stderr, "bench_decoder: none of the files decodes\n");
        return 1;
    }
    printf("pairs %zu\n", n);
    for (size_t c = 0; c < COLUMNS; c++) {
        printf("%s %.4f\n", names[c], median(column[c], n));
        free(column[c]);
    }
    pm_decoder_free(&decoder);
    return 0;
}
