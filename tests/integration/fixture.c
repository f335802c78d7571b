/* Owns the making of test data. */
#include "tests/integration/fixture.h"

#include <ftw.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/base/file.h"
#include "lib/base/random.h"
#include "lib/base/text.h"
#include "lib/image/image.h"
#include "worker/engine/graph.h"

void pm_fixture_path(const pm_fixture *fixture, const char *name, char out[PM_FIXTURE_PATH]) {
    int n = snprintf(out, PM_FIXTURE_PATH, "%s/%s", fixture->folder, name);
    assert_true(n > 0 && n < PM_FIXTURE_PATH);
}

/* ---- a .safetensors file: 8 bytes of header length, a JSON header, the data ---- */

typedef struct tensor_writer {
    pm_buffer header, data;
} tensor_writer;

static void add_tensor(tensor_writer *w, const char *name, const size_t *shape, size_t rank,
                       const float *values) {
    size_t count = 1, from = w->data.size;
    pm_buffer_printf(&w->header, "%s\"%s\":{\"dtype\":\"F32\",\"shape\":[", from ? "," : "", name);
    for (size_t i = 0; i < rank; i++) {
        pm_buffer_printf(&w->header, "%s%zu", i ? "," : "", shape[i]);
        count *= shape[i];
    }
    assert_int_equal(pm_buffer_append(&w->data, values, count * sizeof *values), 0);
    pm_buffer_printf(&w->header, "],\"data_offsets\":[%zu,%zu]}", from, w->data.size);
}

static void write_tensors(tensor_writer *w, const char *path) {
    pm_buffer file = {0};
    pm_buffer_printf(&w->header, "}");
    while (w->header.size % 8) pm_buffer_append(&w->header, " ", 1);
    uint64_t length = w->header.size;
    pm_buffer_append(&file, &length, sizeof length);
    pm_buffer_append(&file, w->header.bytes, w->header.size);
    pm_buffer_append(&file, w->data.bytes, w->data.size);
    assert_int_equal(pm_file_write(path, file.bytes, file.size), 0);
    pm_buffer_fini(&file);
    pm_buffer_fini(&w->header);
    pm_buffer_fini(&w->data);
}

static bool ends_with(const char *text, const char *end) {
    size_t a = strlen(text), b = strlen(end);
    return a >= b && strcmp(text + a - b, end) == 0;
}

/* Scales that keep activations and softmax in a healthy range; no value is expected anywhere. */
static pm_status fill(void *user, const char *name, const size_t *shape, size_t rank, float *out) {
    size_t count = 1;
    for (size_t i = 0; i < rank; i++) count *= shape[i];
    float fan = sqrtf(3.0f / ((float)count / (float)shape[0]));
    pm_synth(name, 0, out, count);
    for (size_t i = 0; i < count; i++) {
        if (rank > 1)
            out[i] *= fan * (rank == 4 ? 1.2f : 0.3f);
        else if (ends_with(name, ".bias") || ends_with(name, ".running_mean"))
            out[i] *= 0.1f;
        else
            out[i] = 1 + 0.3f * out[i];
    }
    add_tensor(user, name, shape, rank, out);
    return PM_OK;
}

static void add_statistics(tensor_writer *w, const pm_conv_info *conv) {
    char name[160];
    size_t shape[2] = {conv->channels, PM_FIXTURE_CLASSES};
    size_t count = shape[0] * shape[1];
    float *p = malloc(count * sizeof *p);
    assert_non_null(p);
    snprintf(name, sizeof name, "shapiro/%s", conv->name);
    pm_synth(name, 0, p, conv->channels);
    for (size_t i = 0; i < conv->channels; i++) p[i] = (p[i] + 1) * 0.04f;
    add_tensor(w, name, shape, 1, p);
    snprintf(name, sizeof name, "welch/%s", conv->name);
    pm_synth(name, 0, p, count);
    for (size_t i = 0; i < count; i++) p[i] = (p[i] + 1) / 2;
    add_tensor(w, name, shape, 2, p);
    free(p);
}

static void make_model(const pm_fixture *fixture) {
    const pm_arch_info *arch;
    pm_graph *graph = NULL;
    tensor_writer weights = {0}, stats = {0};
    pm_buffer_printf(&weights.header, "{");
    pm_buffer_printf(&stats.header, "{");
    assert_int_equal(pm_arch_find("cifar_resnet20", &arch), 0);
    assert_int_equal(pm_graph_new_from(arch, PM_FIXTURE_CLASSES, fill, &weights, &graph), 0);
    for (size_t i = 0; i < graph->conv_count; i++) add_statistics(&stats, &graph->convs[i]);
    pm_graph_free(&graph);
    write_tensors(&weights, fixture->weights);
    write_tensors(&stats, fixture->stats);
}

void pm_fixture_weights(const pm_fixture *fixture, const char *arch_name,
                        char out[PM_FIXTURE_PATH]) {
    const pm_arch_info *arch;
    pm_graph *graph = NULL;
    tensor_writer weights = {0};
    pm_buffer_printf(&weights.header, "{");
    assert_int_equal(pm_arch_find(arch_name, &arch), 0);
    assert_int_equal(pm_graph_new_from(arch, PM_FIXTURE_CLASSES, fill, &weights, &graph), 0);
    pm_graph_free(&graph);
    pm_fixture_path(fixture, "other.safetensors", out);
    write_tensors(&weights, out);
}

/* ---- photographs ---- */

static void make_image(const char *path, size_t index, size_t width, size_t height) {
    char name[32];
    size_t count = width * height * 3;
    float *values = malloc(count * sizeof *values);
    pm_image image = {.width = width, .height = height, .rgb = malloc(count)};
    assert_true(values && image.rgb);
    snprintf(name, sizeof name, "picture/%zu", index);
    pm_synth(name, 0, values, count);
    for (size_t i = 0; i < count; i++) {
        size_t x = i / 3 % width, y = i / 3 / width;
        float wave = sinf((float)(x * (index % 5 + 1) + y * (index % 3 + 1)) * 0.2f);
        image.rgb[i] = (uint8_t)(127.0f + 80.0f * wave + 40.0f * values[i]);
    }
    assert_int_equal(pm_image_write_png(path, &image), 0);
    pm_image_fini(&image);
    free(values);
}

static void make_images(const pm_fixture *fixture) {
    char path[PM_FIXTURE_PATH + 32];
    pm_buffer labels = {0};
    pm_buffer_printf(&labels, "path,label,xmin,ymin,xmax,ymax\n");
    assert_int_equal(pm_dir_make(fixture->images), 0);
    for (size_t i = 0; i < fixture->count; i++) {
        size_t width = 32 + i % 7, height = 32 + i % 4;
        snprintf(path, sizeof path, "%s/p%04zu.png", fixture->images, i);
        make_image(path, i, width, height);
        pm_buffer_printf(&labels, "p%04zu.png,%zu", i, i % PM_FIXTURE_CLASSES);
        if (i % 5)
            pm_buffer_printf(&labels, ",%zu,%zu,%zu,%zu\n", i % 9, i % 6, 14 + i % 9, 12 + i % 6);
        else
            pm_buffer_printf(&labels, ",,,,\n");
    }
    snprintf(path, sizeof path, "%s/labels.csv", fixture->images);
    assert_int_equal(pm_file_write(path, labels.bytes, labels.size), 0);
    pm_buffer_fini(&labels);
}

void pm_fixture_make(pm_fixture *fixture, size_t images) {
    *fixture = (pm_fixture){.count = images};
    strcpy(fixture->folder, "/tmp/parchmill-run-test-XXXXXX");
    assert_non_null(mkdtemp(fixture->folder));
    pm_fixture_path(fixture, "photos", fixture->images);
    pm_fixture_path(fixture, "weights.safetensors", fixture->weights);
    pm_fixture_path(fixture, "stats.safetensors", fixture->stats);
    assert_int_equal(pm_image_setup("fixture"), 0);
    make_model(fixture);
    make_images(fixture);
}

static int remove_entry(const char *path, const struct stat *info, int kind, struct FTW *where) {
    (void)info;
    (void)kind;
    (void)where;
    return remove(path);
}

void pm_fixture_remove(pm_fixture *fixture) {
    if (fixture->folder[0]) nftw(fixture->folder, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}
