/* parchmill experiment on data, end to end on the demo's pictures: what the files say equals what
 * the database and the statistics say, counted anew here. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/base/file.h"
#include "lib/image/image.h"
#include "lib/store/query.h"
#include "parchgrad.h"
#include "tests/integration/command.h"
#include "tests/integration/fixture.h"
#include "tools/demo/data.h"

enum { IMAGES = 24, LINE_BYTES = 2048, VALUES_MAX = 512 };

static pm_fixture fixture; /* only its folder: the pictures are the demo's */
static char images[PM_FIXTURE_PATH], weights[PM_FIXTURE_PATH], stats[PM_FIXTURE_PATH];

static int setup(void **state) {
    (void)state;
    if (pm_image_setup("experiment_test")) return -1;
    pm_fixture_make(&fixture, 1);
    pm_fixture_path(&fixture, "pictures", images);
    pm_fixture_path(&fixture, "demo.safetensors", weights);
    pm_fixture_path(&fixture, "demo_statistics.safetensors", stats);
    if (pm_demo_write_images(images, 2, IMAGES) || pm_demo_write_weights(weights)) return -1;
    return pm_demo_write_statistics(stats) ? -1 : 0;
}

static int teardown(void **state) {
    (void)state;
    pm_fixture_remove(&fixture);
    return 0;
}

/* Exit code of `experiment NAME` into the folder `out` of the fixture. */
static int experiment(const char *name, const char *out, const char *more, pm_program *program) {
    char line[LINE_BYTES], dir[PM_FIXTURE_PATH];
    pm_fixture_path(&fixture, out, dir);
    int n = snprintf(line, sizeof line,
                     "experiment %s --model cifar_resnet20 --weights %s --images %s --crop 64 "
                     "--threads 1 --out %s %s",
                     name, weights, images, dir, more);
    assert_true(n > 0 && n < LINE_BYTES);
    return pm_program_run(program, line);
}

/* cmocka's is of floats. */
static void assert_near(double value, double expected, double within) {
    if (!(fabs(value - expected) <= within)) fail_msg("%.12g is not %.12g", value, expected);
}

static char *read_text(const char *out, const char *name) {
    char path[2 * PM_FIXTURE_PATH], dir[PM_FIXTURE_PATH];
    uint8_t *bytes = NULL;
    size_t size = 0;
    pm_fixture_path(&fixture, out, dir);
    snprintf(path, sizeof path, "%s/%s", dir, name);
    if (pm_file_read(path, 1 << 24, &bytes, &size)) fail_msg("%s", pm_error_text());
    char *text = realloc(bytes, size + 1);
    assert_non_null(text);
    text[size] = '\0';
    return text;
}

static size_t rows_of(const char *csv) {
    size_t rows = 0;
    for (const char *p = csv; *p; p++) rows += *p == '\n';
    return rows - 1; /* the head */
}

/* The number in column `column` of the first row that begins with `start`. */
static double field(const char *csv, const char *start, size_t column) {
    const char *row = csv;
    while (strncmp(row, start, strlen(start)) != 0) {
        row = strchr(row, '\n');
        if (!row || !*++row) fail_msg("no row '%s' in:\n%s", start, csv);
    }
    for (; column; column--) row = strchr(row, ',') + 1;
    return strtod(row, NULL);
}

/* ---- naive numbers from the database ---- */

typedef struct values {
    double x[VALUES_MAX];
    size_t count;
} values;

static pm_status take(void *user, size_t count, const pm_value *v) {
    values *all = user;
    (void)count;
    assert_true(all->count < VALUES_MAX);
    all->x[all->count++] = v[0].real;
    return PM_OK;
}

static values ask(const char *out, const char *sql) {
    char dir[PM_FIXTURE_PATH], path[PM_FIXTURE_PATH + 32];
    values all = {.count = 0};
    pm_query *query = NULL;
    const pm_query_sink sink = {.user = &all, .row = take};
    pm_fixture_path(&fixture, out, dir);
    snprintf(path, sizeof path, "%s/experiment.db", dir);
    assert_int_equal(pm_query_open(path, &pm_query_default_limits, &query), PM_OK);
    if (pm_query_run(query, sql, NULL, 0, &sink, NULL)) fail_msg("%s", pm_error_text());
    pm_query_close(&query);
    return all;
}

static double mean(const values *v) {
    double sum = 0;
    for (size_t i = 0; i < v->count; i++) sum += v->x[i];
    return sum / (double)v->count;
}

static double std_error(const values *v) {
    double squares = 0, m = mean(v);
    for (size_t i = 0; i < v->count; i++) squares += (v->x[i] - m) * (v->x[i] - m);
    return sqrt(squares / (double)(v->count - 1) / (double)v->count);
}

#define CLS_05(on)                                                                                 \
    "SELECT image, mu_in_w FROM result_wide WHERE mask = 'cls' AND layers = 'default' AND "        \
    "quantile = 0.05 AND variance_conservation = " #on " AND mu_in_w IS NOT NULL"

/* t of 23 degrees of freedom at 0.975: Student's table. */
static const double t_23 = 2.0687;

/* ---- variance-conservation ---- */

static void means_and_paired_differences_are_those_of_the_database(void **state) {
    (void)state;
    pm_program program;
    if (experiment("variance-conservation", "vc", "--layers default,ratio:0.5", &program))
        fail_msg("%s", program.err);
    char *means = read_text("vc", "means.csv"), *pairs = read_text("vc", "pairs.csv");
    assert_int_equal(rows_of(means), 1 + 2 * 2 * 2);
    assert_int_equal(rows_of(pairs), 2 * 2 * 3);
    values plain = ask("vc", "SELECT mu_in_w FROM result_wide WHERE mask = 'off' AND layers IS "
                             "(SELECT max(layers) FROM configuration WHERE mask = 'off')");
    values on = ask("vc", "SELECT mu_in_w FROM (" CLS_05(1) ")");
    values difference = ask("vc", "SELECT a.mu_in_w - b.mu_in_w FROM (" CLS_05(
                                      1) ") AS a JOIN (" CLS_05(0) ") AS b USING (image)");
    assert_int_equal(plain.count, IMAGES);
    assert_int_equal(on.count, IMAGES);
    assert_near(field(means, ",off,", 6), mean(&plain), 1e-9);
    assert_near(field(means, "default,cls,q 0.05,on,", 5), IMAGES, 0);
    assert_near(field(means, "default,cls,q 0.05,on,", 6), mean(&on), 1e-9);
    assert_near(field(means, "default,cls,q 0.05,on,", 7), t_23 * std_error(&on), 1e-4);
    const char *row = "default,cls,q 0.05,conserved - not,";
    assert_near(field(pairs, row, 5), mean(&difference), 1e-9);
    assert_near(field(pairs, row, 6), t_23 * std_error(&difference), 1e-4);
    assert_near(field(pairs, row, 7), mean(&difference) / std_error(&difference), 1e-6);
    free(means);
    free(pairs);
}

static void the_same_command_again_computes_nothing_and_writes_the_same(void **state) {
    (void)state;
    pm_program program;
    char *before = read_text("vc", "means.csv");
    char *reading = read_text("vc", "variance-conservation.md");
    const values results = ask("vc", "SELECT CAST(max(recorded_ms) AS REAL) FROM result");
    if (experiment("variance-conservation", "vc", "--layers default,ratio:0.5", &program))
        fail_msg("%s", program.err);
    const values again = ask("vc", "SELECT CAST(max(recorded_ms) AS REAL) FROM result");
    char *after = read_text("vc", "means.csv"), *read = read_text("vc", "variance-conservation.md");
    assert_string_equal(before, after);
    assert_string_equal(reading, read);
    assert_true(results.x[0] == again.x[0]);
    assert_non_null(strstr(read, "bars-cls.svg"));
    char *bars = read_text("vc", "bars-cls.svg"), *ratios = read_text("vc", "ratios-cls.svg");
    assert_non_null(strstr(bars, "</svg>"));
    assert_non_null(strstr(ratios, "</svg>"));
    free(before);
    free(after);
    free(reading);
    free(read);
    free(bars);
    free(ratios);
}

static size_t count_of(const char *text, const char *word) {
    size_t count = 0;
    for (const char *at = text; (at = strstr(at, word)); at += strlen(word)) count++;
    return count;
}

static void what_a_figure_has_no_room_for_is_said(void **state) {
    (void)state;
    char more[PM_FIXTURE_PATH + 128];
    pm_program program;
    snprintf(more, sizeof more,
             "--stats %s --limit 4 --layers ratio:0.1,ratio:0.5 --quantile 0.1,0.2,0.3,0.4,0.5",
             stats);
    if (experiment("variance-conservation", "wide", more, &program)) fail_msg("%s", program.err);
    char *ratios = read_text("wide", "ratios-cls.svg");
    char *reading = read_text("wide", "variance-conservation.md");
    assert_int_equal(count_of(ratios, "class=\"mark"), 4 * 2 * 2);
    assert_non_null(strstr(reading, "Not drawn in ratios, for want of room: q 0.5.\n"));
    free(ratios);
    free(reading);
}

/* The first nine pictures have nine of the ten classes. */
static void a_class_without_statistics_is_null_with_its_reason(void **state) {
    (void)state;
    char line[LINE_BYTES], dir[PM_FIXTURE_PATH];
    pm_program program;
    pm_fixture_path(&fixture, "nine", dir);
    assert_int_equal(mkdir(dir, 0755), 0);
    snprintf(line, sizeof line,
             "stats --model cifar_resnet20 --weights %s --images %s --crop 64 --limit 9 --name "
             "nine --db %s/experiment.db --quiet",
             weights, images, dir);
    if (pm_program_run(&program, line)) fail_msg("%s", program.err);
    if (experiment("variance-conservation", "nine", "--layers default --limit 20 --stats nine",
                   &program))
        fail_msg("%s", program.err);
    char *means = read_text("nine", "means.csv");
    assert_near(field(means, ",off,", 5), 20, 0);
    assert_near(field(means, "default,cls,q 0.1,off,", 5), 18, 0);
    assert_near(field(means, "default,cls,q 0.1,off,", 11), 2, 0);
    assert_non_null(strstr(means, "compute/no-statistics 2"));
    free(means);
}

/* ---- statistics ---- */

static double share_below(const pm_weights *tensors, const char *name) {
    const pm_tensor_info *info = pm_weights_find(tensors, name);
    size_t below = 0;
    assert_non_null(info);
    float *p = malloc(info->count * sizeof *p);
    assert_non_null(p);
    assert_int_equal(pm_weights_read(tensors, info, p), PM_OK);
    for (size_t i = 0; i < info->count; i++) below += p[i] < 0.05F;
    free(p);
    return (double)below / (double)info->count;
}

static void shares_of_p_values_are_those_of_the_statistics(void **state) {
    (void)state;
    char more[PM_FIXTURE_PATH + 16];
    pm_program program;
    pm_weights *tensors = NULL;
    double sum = 0;
    snprintf(more, sizeof more, "--stats %s", stats);
    if (experiment("statistics", "st", more, &program)) fail_msg("%s", program.err);
    assert_int_equal(pm_weights_open(stats, &tensors), PM_OK);
    char *layers = read_text("st", "layers.csv"), *bins = read_text("st", "histograms.csv");
    assert_int_equal(rows_of(layers), 19);
    assert_int_equal(rows_of(bins), 19 * 20);
    assert_near(field(layers, "layer3.1.conv2,", 4), share_below(tensors, "shapiro/layer3.1.conv2"),
                1e-12);
    assert_near(field(layers, "layer3.1.conv2,", 7), share_below(tensors, "welch/layer3.1.conv2"),
                1e-12);
    const char *row = bins;
    for (size_t i = 0; i < 20; i++) {
        row = strstr(row, "\nlayer2.0.conv1,") + 1;
        sum += field(row, "layer2.0.conv1,", 4);
    }
    assert_near(sum, 1, 1e-9);
    pm_weights_free(&tensors);
    free(layers);
    free(bins);
}

/* ---- sweeps ---- */

static pm_image picture(const char *out, const char *name) {
    char dir[PM_FIXTURE_PATH], path[2 * PM_FIXTURE_PATH];
    uint8_t *bytes = NULL;
    size_t size = 0;
    pm_image image = {0};
    pm_fixture_path(&fixture, out, dir);
    snprintf(path, sizeof path, "%s/%s", dir, name);
    assert_int_equal(pm_file_read(path, 1 << 26, &bytes, &size), PM_OK);
    if (pm_image_decode(path, bytes, size, &pm_image_default_limits, &image))
        fail_msg("%s", pm_error_text());
    free(bytes);
    return image;
}

static void a_sweep_is_a_row_an_image_and_a_panel_a_value(void **state) {
    (void)state;
    char more[PM_FIXTURE_PATH + 64];
    pm_program program;
    snprintf(more, sizeof more, "--stats %s --image '0000[0-2].png'", stats);
    if (experiment("quantile-sweep", "qs", more, &program)) fail_msg("%s", program.err);
    if (experiment("alpha-sweep", "qs", more, &program)) fail_msg("%s", program.err);
    char *by_quantile = read_text("qs", "quantile-sweep.csv");
    char *by_alpha = read_text("qs", "alpha-sweep.csv");
    assert_int_equal(rows_of(by_quantile), 3 * 3);
    assert_int_equal(rows_of(by_alpha), 3 * 3);
    values mu = ask("qs", "SELECT mu_in_w FROM result_wide WHERE image = '00001.png' AND "
                          "quantile = 0.8");
    assert_int_equal(mu.count, 1);
    assert_near(field(by_quantile, "00001.png,q 0.8,", 3), mu.x[0], 1e-12);
    mu = ask("qs", "SELECT mu_in_w FROM result_wide WHERE image = '00002.png' AND alpha = 1e-7");
    assert_near(field(by_alpha, "00002.png,alpha 1e-07,", 3), mu.x[0], 1e-12);
    /* 64 pixels are drawn threefold; 6 between panels, 22 above, 14 below each row. */
    pm_image panels = picture("qs", "quantile-sweep.png");
    assert_int_equal(panels.width, 4 * 192 + 3 * 6);
    assert_int_equal(panels.height, 22 + 3 * (192 + 14));
    pm_image_fini(&panels);
    free(by_quantile);
    free(by_alpha);
    assert_int_equal(experiment("quantile-sweep", "qs", "--alpha 0.1", &program), 2);
    assert_int_equal(experiment("quantile-sweep", "qs", "--mask off --image 'z*'", &program), 1);
    assert_non_null(strstr(program.err, "no photograph's path matches"));
}

static void an_animation_is_a_gif_and_a_webp_of_each_image(void **state) {
    (void)state;
    char more[PM_FIXTURE_PATH + 64];
    pm_program program;
    snprintf(more, sizeof more, "--stats %s --limit 1", stats);
    if (experiment("sweep-animation", "an", more, &program)) fail_msg("%s", program.err);
    char *gif = read_text("an", "00000-00000.gif"), *webp = read_text("an", "00000-00000.webp");
    assert_memory_equal(gif, "GIF89a", 6);
    assert_memory_equal(webp + 8, "WEBPVP8X", 8);
    char *csv = read_text("an", "sweep-animation.csv");
    assert_int_equal(rows_of(csv), 6);
    free(gif);
    free(webp);
    free(csv);
}

static void link_picture(const char *folder, const char *name, size_t index) {
    char from[PM_FIXTURE_PATH + 16], to[2 * PM_FIXTURE_PATH];
    snprintf(from, sizeof from, "%s/%05zu.png", images, index);
    snprintf(to, sizeof to, "%s/%s", folder, name);
    assert_int_equal(link(from, to), 0);
}

/* Also of paths that differ only in what a file's name cannot have; and from where they are now,
 * not where the data set was when the database first heard of it. */
static void an_animation_is_of_its_own_image_where_that_is_now(void **state) {
    (void)state;
    char folder[PM_FIXTURE_PATH], moved[PM_FIXTURE_PATH], line[LINE_BYTES], out[PM_FIXTURE_PATH];
    pm_program program;
    pm_fixture_path(&fixture, "first", folder);
    pm_fixture_path(&fixture, "moved", moved);
    pm_fixture_path(&fixture, "an2", out);
    assert_int_equal(pm_dir_make(folder), PM_OK);
    link_picture(folder, "a b.png", 0);
    link_picture(folder, "a_b.png", 1);
    for (int i = 0; i < 2; i++) {
        snprintf(
            line, sizeof line,
            "experiment sweep-animation --model cifar_resnet20 --weights %s --images %s --crop "
            "64 --threads 1 --stats %s --target top --quantile %s --out %s",
            weights, i ? moved : folder, stats, i ? "0.5" : "0.8", out);
        if (pm_program_run(&program, line)) fail_msg("%s", program.err);
        free(read_text("an2", "00000-a_b.gif"));
        free(read_text("an2", "00001-a_b.gif"));
        if (!i) assert_int_equal(rename(folder, moved), 0);
    }
}

/* ---- photographs, where env PARCHMILL_DATA points at them ---- */

/* Every 13th row of tiny_imagenet's table, as the reference took them. */
static void choose_photographs(const char *data, const char *folder) {
    char path[1024], link[1024], line[256], last[64] = "";
    snprintf(path, sizeof path, "%s/tiny_imagenet/labels.csv", data);
    FILE *in = fopen(path, "r");
    snprintf(path, sizeof path, "%s/labels.csv", folder);
    FILE *out = fopen(path, "w");
    assert_non_null(in);
    assert_non_null(out);
    for (long row = -1; fgets(line, sizeof line, in); row++) {
        if (row >= 0 && row % 13 != 0) continue;
        fputs(line, out);
        const size_t length = strcspn(line, "/");
        if (row < 0 || (strlen(last) == length && strncmp(last, line, length) == 0)) continue;
        snprintf(last, sizeof last, "%.*s", (int)length, line);
        snprintf(path, sizeof path, "%s/tiny_imagenet/%s", data, last);
        snprintf(link, sizeof link, "%s/%s", folder, last);
        assert_int_equal(symlink(path, link), 0);
    }
    fclose(in);
    assert_int_equal(fclose(out), 0);
}

/* Means of the implementation in PyTorch, ResNet18, over the 126 of them whose box is neither
 * empty nor full, to three decimals. */
static void photographs_have_the_means_of_the_reference(void **state) {
    (void)state;
    static const struct {
        const char *row;
        double mean, ci95;
    } reference[] = {{",off,", 1.213, 0.061},
                     {"default,cls,q 0.05,on,", 1.312, 0.099},
                     {"default,cls,q 0.05,off,", 1.240, 0.072},
                     {"default,cls,q 0.1,on,", 1.336, 0.096},
                     {"default,cls,q 0.1,off,", 1.277, 0.077}};
    const char *data = getenv("PARCHMILL_DATA");
    char folder[PM_FIXTURE_PATH], out[PM_FIXTURE_PATH], line[LINE_BYTES];
    pm_program program;
    if (!data) skip();
    pm_fixture_path(&fixture, "photographs", folder);
    pm_fixture_path(&fixture, "ph", out);
    assert_int_equal(mkdir(folder, 0755), 0);
    choose_photographs(data, folder);
    snprintf(line, sizeof line,
             "experiment variance-conservation --model resnet18 --weights %s/weights/resnet18.pth "
             "--images %s --classes %s/imagenet_classes.csv --layers default --workers 2 --stats "
             "%s/expected/resnet18_tiny_stats.safetensors --out %s --quiet",
             data, folder, data, data, out);
    if (pm_program_run(&program, line)) fail_msg("%s", program.err);
    char *means = read_text("ph", "means.csv");
    for (size_t i = 0; i < sizeof reference / sizeof *reference; i++) {
        assert_near(field(means, reference[i].row, 5), 126, 0);
        assert_near(field(means, reference[i].row, 6), reference[i].mean, 2e-3);
        /* The reference's interval is 1.96 standard errors. */
        assert_near(field(means, reference[i].row, 7), reference[i].ci95, 2e-3);
    }
    free(means);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(means_and_paired_differences_are_those_of_the_database),
        cmocka_unit_test(the_same_command_again_computes_nothing_and_writes_the_same),
        cmocka_unit_test(what_a_figure_has_no_room_for_is_said),
        cmocka_unit_test(a_class_without_statistics_is_null_with_its_reason),
        cmocka_unit_test(shares_of_p_values_are_those_of_the_statistics),
        cmocka_unit_test(a_sweep_is_a_row_an_image_and_a_panel_a_value),
        cmocka_unit_test(an_animation_is_a_gif_and_a_webp_of_each_image),
        cmocka_unit_test(an_animation_is_of_its_own_image_where_that_is_now),
        cmocka_unit_test(photographs_have_the_means_of_the_reference),
    };
    return cmocka_run_group_tests_name("experiment", tests, setup, teardown);
}
