/* ResNet18 with real weights over 2,000 real photographs of 40 classes, by `parchmill stats` with
 * two workers: mean, standard deviation, Shapiro-Wilk p and both class p-values are those of
 * PyTorch and SciPy (the data's expected/resnet18_tiny_stats.safetensors). Needs PARCHMILL_DATA. */
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

static void statistics_are_those_of_pytorch_and_scipy(void **state) {
    (void)state;
    const char *data = getenv("PARCHMILL_DATA");
    if (!data) skip();
    pm_fixture place;
    pm_fixture_make(&place, 1);
    char db[PM_FIXTURE_PATH], out[PM_FIXTURE_PATH], line[2048], path[PATH];
    pm_program program;
    pm_weights *ours = NULL, *theirs = NULL;
    pm_fixture_path(&place, "r.db", db);
    pm_fixture_path(&place, "out.safetensors", out);
    snprintf(line, sizeof line,
             "stats --model resnet18 --weights %s/weights/resnet18.pth --images %s/tiny_imagenet"
             " --name tiny --db %s --workers 2",
             data, data, db);
    if (pm_program_run(&program, line) != 0) fail_msg("%s", program.err);
    snprintf(line, sizeof line, "stats export tiny --db %s --out %s", db, out);
    if (pm_program_run(&program, line) != 0) fail_msg("%s", program.err);
    snprintf(path, sizeof path, "%s/expected/resnet18_tiny_stats.safetensors", data);
    if (pm_weights_open(out, &ours) || pm_weights_open(path, &theirs))
        fail_msg("%s", pm_error_text());
    assert_int_equal(pm_weights_count(ours), pm_weights_count(theirs));
    for (size_t i = 0; i < pm_weights_count(theirs); i++)
        compare(ours, theirs, pm_weights_at(theirs, i));
    pm_weights_free(&ours);
    pm_weights_free(&theirs);
    pm_fixture_remove(&place);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(statistics_are_those_of_pytorch_and_scipy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
