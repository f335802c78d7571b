/* parchmill demo: the main job from end to end on pictures and a network of its own. Owns the
 * demo's story; the work is done by the same commands that a person types. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/file.h"
#include "lib/image/image.h"
#include "tools/command.h"
#include "tools/demo/data.h"
#include "tools/demo/gallery.h"

enum { SEED_HELD_OUT = 2, GALLERY_IMAGES = 10, PATH_BYTES = 4096 };

typedef struct places {
    char images[PATH_BYTES], weights[PATH_BYTES], statistics[PATH_BYTES], classes[PATH_BYTES],
        db[PATH_BYTES], overlays[PATH_BYTES], report[PATH_BYTES];
} places;

static pm_status place(char *out, const char *dir, const char *name) {
    int n = snprintf(out, PATH_BYTES, "%s/%s", dir, name);
    if (n < 0 || n >= PATH_BYTES) return pm_fail(PM_E_USAGE, "--out %s: path too long", dir);
    return PM_OK;
}

static pm_status find_places(const char *dir, places *out) {
    pm_status status = place(out->images, dir, "images");
    if (!status) status = place(out->weights, dir, "demo_resnet20.safetensors");
    if (!status) status = place(out->statistics, dir, "demo_statistics.safetensors");
    if (!status) status = place(out->classes, dir, "classes.csv");
    if (!status) status = place(out->db, dir, "demo.db");
    if (!status) status = place(out->overlays, dir, "overlays");
    if (!status) status = place(out->report, dir, "report");
    return status;
}

/* Say a command as it would be typed, then do it. */
static int command(unsigned bit, const char *name, pm_command_fn run, const char *const *argv) {
    char *words[64];
    int argc = 0;
    printf("\n$ parchmill %s", name);
    for (; argv[argc] && argc < 63; argc++) {
        words[argc] = (char *)(uintptr_t)argv[argc];
        printf(strpbrk(argv[argc], " *(") ? " \"%s\"" : " %s", argv[argc]);
    }
    words[argc] = NULL;
    printf("\n");
    fflush(stdout);
    pm_options *options = NULL;
    pm_status status = pm_options_parse(bit, name, argc, words, &options);
    if (status) return pm_command_failed(name, status);
    int code = run(options);
    pm_options_free(&options);
    return code;
}

static int run_grid(const places *p, const char *workers) {
    const char *const argv[] = {"--model",
                                "cifar_resnet20",
                                "--weights",
                                p->weights,
                                "--images",
                                p->images,
                                "--classes",
                                p->classes,
                                "--stats",
                                p->statistics,
                                "--crop",
                                "64",
                                "--mask",
                                "off,cls",
                                "--quantile",
                                "0.05,0.1",
                                "--variance-conservation",
                                "on,off",
                                "--channels",
                                "full",
                                "--heatmaps",
                                "f16",
                                "--db",
                                p->db,
                                "--evaluate",
                                "--ratios",
                                ".1,.2,.3,.5",
                                "--workers",
                                workers,
                                NULL};
    return command(PM_CMD_RUN, "run", pm_cmd_run, argv);
}

/* Statistics of these pictures, by name, for whoever goes on from here. */
static int make_statistics(const places *p, const char *workers) {
    const char *const argv[] = {
        "--model",   "cifar_resnet20", "--weights", p->weights, "--images", p->images, "--classes",
        p->classes,  "--crop",         "64",        "--name",   "pictures", "--db",    p->db,
        "--workers", workers,          NULL};
    return command(PM_CMD_STATS, "stats", pm_cmd_stats, argv);
}

static int ask(const places *p, const char *sql) {
    const char *const argv[] = {"--db", p->db, sql, NULL};
    return command(PM_CMD_SQL, "sql", pm_cmd_sql, argv);
}

static int ask_four(const places *p) {
    const char *const answered[][6] = {{"differences", "1", "3", "2", "--db", p->db},
                                       {"layers", "1", "2", "--db", p->db, NULL},
                                       {"channels", "1", "1", "--db", p->db, NULL}};
    int code =
        ask(p, "SELECT mask, quantile, variance_conservation AS conserved, count(*) AS n, "
               "round(avg(predicted = label), 3) AS accuracy, round(avg(mu_in_w), 3) AS mu_in_w "
               "FROM result_wide WHERE run = 1 GROUP BY mask, quantile, variance_conservation");
    for (size_t i = 0; i < sizeof answered / sizeof *answered && !code; i++) {
        const char *argv[7] = {NULL};
        memcpy(argv, answered[i], sizeof answered[i]);
        code = command(PM_CMD_QUERIES, "queries", pm_cmd_queries, argv);
    }
    return code;
}

static int report(const places *p) {
    const char *const argv[] = {"--db", p->db, "--out", p->report, NULL};
    return command(PM_CMD_REPORT, "report", pm_cmd_report, argv);
}

static pm_status prepare(const places *p, const char *dir, size_t count) {
    printf("drawing %zu pictures (ten shapes on clutter, exact boxes) in %s\n", count, p->images);
    pm_status status = pm_demo_write_images(p->images, SEED_HELD_OUT, count);
    if (!status) status = pm_demo_write_classes(p->classes);
    if (!status) status = pm_demo_write_weights(p->weights);
    if (!status) status = pm_demo_write_statistics(p->statistics);
    if (!status)
        printf("a ResNet20 trained on other such pictures, and its class statistics, in %s\n", dir);
    return status;
}

static int whole_demo(const char *dir, size_t count, const char *workers) {
    places p;
    pm_status status = find_places(dir, &p);
    if (!status) status = prepare(&p, dir, count);
    if (status) return pm_command_failed("demo", status);
    int code = run_grid(&p, workers);
    if (!code) code = make_statistics(&p, workers);
    if (code) return code;
    status = pm_demo_gallery(p.db, p.images, p.overlays, GALLERY_IMAGES);
    if (status) return pm_command_failed("demo", status);
    code = ask_four(&p);
    if (!code) code = report(&p);
    if (code) return code;
    printf("\nall of it on one page, for a browser: %s/index.html\n", p.report);
    printf("heat maps beside their photographs: %s/all.png\n", p.overlays);
    printf("the database, for any SQLite program: %s\n", p.db);
    return PM_EXIT_OK;
}

int pm_cmd_demo(const pm_options *options) {
    size_t count, seed;
    const char *dir = pm_options_text(options, PM_OPT_OUT);
    if (!dir) dir = "parchmill-demo";
    pm_status status = pm_options_operands(options, "", 0, 0);
    if (!status) status = pm_image_setup("parchmill");
    if (!status && pm_options_given(options, PM_OPT_LIMIT))
        status = pm_options_size(options, PM_OPT_LIMIT, 1, 100000, &count);
    else
        count = 300;
    if (status) return pm_command_failed("demo", status);
    if (!pm_options_flag(options, PM_OPT_IMAGES_ONLY))
        return whole_demo(dir, count, pm_options_text(options, PM_OPT_WORKERS));
    status = pm_options_size(options, PM_OPT_PICTURES_SEED, 0, SIZE_MAX / 4, &seed);
    if (!status) status = pm_demo_write_images(dir, seed, count);
    if (status) return pm_command_failed("demo", status);
    printf("%zu pictures and labels.csv in %s\n", count, dir);
    return PM_EXIT_OK;
}
