/* `parchmill stats` with two workers against PyTorch and SciPy: mean, standard deviation,
 * Shapiro-Wilk p and both class p-values of every channel. The demo's network over 2,000 of its own
 * pictures (expected: tools/demo/train.py), and, where env PARCHMILL_DATA points at them, ResNet18
 * with real weights over 2,000 photographs of 40 classes (expected: the data's own). */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "parchgrad.h"
#include "tests/integration/command.h"
#include "tests/integration/fixture.h"

enum { PATH = 512 };

typedef struct tolerance {
    const char *kind;
    double absolute, relative; /* either is enough */
} tolerance;

/* SciPy 1.10 computes Shapiro-Wilk in single precision: lib/stats/shapiro.h. */
static const tolerance tolerances[] = {{"mean/", 1e-5, 0},       {"std/", 1e-5, 0},
                                       {"shapiro/", 1e-6, 0.02}, {"student/", 1e-6, 1e-4},
                                       {"welch/", 1e-6, 1e-4},   {"classes", 0, 0}};

static float *read_tensor(const pm_weights *weights, const pm_tensor_info *info) {
    float *values = malloc((info->count + 1) * sizeof *values);
    assert_non_null(values);
    if (pm_weights_read(weights, info, values)) fail_msg("%s", pm_error_text());
    return values;
}

static void compare(const pm_weights *ours, const pm_weights *theirs, const pm_tensor_info *want) {
    const tolerance *t = tolerances;
    while (strncmp(want->name, t->kind, strlen(t->kind)) != 0) t++;
    const pm_tensor_info *got = pm_weights_find(ours, want->name);
    if (!got || got->rank != want->rank || got->count != want->count)
        fail_msg("%s is missing or of another shape", want->name);
    float *a = read_tensor(ours, got), *b = read_tensor(theirs, want);
    for (size_t i = 0; i < want->count; i++) {
        double off = fabs((double)a[i] - (double)b[i]), size = fabs((double)b[i]);
        if (!(off <= t->absolute) && !(off <= t->relative * size))
            fail_msg("%s[%zu] is %.9g, not %.9g", want->name, i, (double)a[i], (double)b[i]);
    }
    free(a);
    free(b);
}

/* What `options` make in `place`, beside the expected file. */
static void compare_statistics(const pm_fixture *place, const char *options, const char *expected) {
    char db[PM_FIXTURE_PATH], out[PM_FIXTURE_PATH], line[2048];
    pm_program program;
    pm_weights *ours = NULL, *theirs = NULL;
    pm_fixture_path(place, "r.db", db);
    pm_fixture_path(place, "out.safetensors", out);
    snprintf(line, sizeof line, "stats %s --name s --db %s --workers 2", options, db);
    if (pm_program_run(&program, line) != 0) fail_msg("%s", program.err);
    snprintf(line, sizeof line, "stats export s --db %s --out %s", db, out);
    if (pm_program_run(&program, line) != 0) fail_msg("%s", program.err);
    if (pm_weights_open(out, &ours) || pm_weights_open(expected, &theirs))
        fail_msg("%s", pm_error_text());
    assert_int_equal(pm_weights_count(ours), pm_weights_count(theirs));
    for (size_t i = 0; i < pm_weights_count(theirs); i++)
        compare(ours, theirs, pm_weights_at(theirs, i));
    pm_weights_free(&ours);
    pm_weights_free(&theirs);
}

static int make_place(void **state) {
    pm_fixture *place = calloc(1, sizeof *place);
    if (!place) return -1;
    pm_fixture_make(place, 1);
    *state = place;
    return 0;
}

static int remove_place(void **state) {
    pm_fixture_remove(*state);
    free(*state);
    return 0;
}

static void the_demos_statistics_are_those_of_pytorch_and_scipy(void **state) {
    const pm_fixture *place = *state;
    const char *set = getenv("PARCHMILL_SOURCE_DIR"), *root = set ? set : ".";
    char pictures[PM_FIXTURE_PATH], options[1500], expected[PATH];
    pm_program program;
    pm_fixture_path(place, "train", pictures);
    snprintf(options, sizeof options, "demo --images-only --out %s --seed 1 --limit 2000",
             pictures);
    if (pm_program_run(&program, options) != 0) fail_msg("%s", program.err);
    snprintf(options, sizeof options,
             "--model cifar_resnet20 --weights %s/tools/demo/demo_resnet20.safetensors --images %s"
             " --crop 64",
             root, pictures);
    snprintf(expected, sizeof expected, "%s/tools/demo/demo_statistics.safetensors", root);
    compare_statistics(place, options, expected);
}

static void real_statistics_are_those_of_pytorch_and_scipy(void **state) {
    const char *data = getenv("PARCHMILL_DATA");
    char options[1500], expected[PATH];
    if (!data) skip();
    snprintf(options, sizeof options,
             "--model resnet18 --weights %s/weights/resnet18.pth --images %s/tiny_imagenet", data,
             data);
    snprintf(expected, sizeof expected, "%s/expected/resnet18_tiny_stats.safetensors", data);
    compare_statistics(*state, options, expected);
}

#define PLACE_TEST(f) cmocka_unit_test_setup_teardown(f, make_place, remove_place)

int main(void) {
    const struct CMUnitTest tests[] = {
        PLACE_TEST(the_demos_statistics_are_those_of_pytorch_and_scipy),
        PLACE_TEST(real_statistics_are_those_of_pytorch_and_scipy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
