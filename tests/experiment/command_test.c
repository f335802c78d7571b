/* `parchmill experiment` as it is typed: what it writes, prints and refuses. */
#include <expat.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "lib/base/file.h"

/* Exit status; what it printed (both streams) in `out`. */
static int run(const char *arguments, char *out, size_t size) {
    char line[8192];
    snprintf(line, sizeof line, "'%s/parchmill' experiment %s 2>&1", getenv("PARCHMILL_BIN_DIR"),
             arguments);
    FILE *in = popen(line, "r");
    assert_non_null(in);
    size_t n = fread(out, 1, size - 1, in);
    out[n] = 0;
    int status = pclose(in);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void check_file(const char *dir, const char *name, const char *says) {
    char path[4096];
    uint8_t *bytes = NULL;
    size_t size = 0;
    snprintf(path, sizeof path, "%s/%s", dir, name);
    if (pm_file_read(path, 1 << 20, &bytes, &size)) fail_msg("no %s", path);
    if (strstr(name, ".svg")) {
        XML_Parser parser = XML_ParserCreate(NULL);
        if (XML_Parse(parser, (const char *)bytes, (int)size, 1) != XML_STATUS_OK)
            fail_msg("%s is no XML", path);
        XML_ParserFree(parser);
    }
    if (!memmem(bytes, size, says, strlen(says))) fail_msg("%s does not say %s", path, says);
    free(bytes);
}

static void each_writes_its_data_figures_and_reading(void **state) {
    (void)state;
    char dir[] = "/tmp/pm_experiment_XXXXXX", line[256], out[16384];
    assert_non_null(mkdtemp(dir));
    snprintf(line, sizeof line, "gradient-sum --out %s/sum", dir);
    assert_int_equal(run(line, out, sizeof out), 0);
    assert_non_null(strstr(out, "uniform, seed 21: sums H (-0.1805, 0.4810), L (0.4055, -0.2554), "
                                "all (0.2250, 0.2256)"));
    check_file(dir, "sum/gradient-sum-uniform-vectors.csv", "group,u,v\nH,");
    check_file(dir, "sum/gradient-sum-normal-vectors.svg", "sum of H");
    check_file(dir, "sum/gradient-sum-uniform-angle.csv", "from_degrees,to_degrees,draws\n0,5,");
    check_file(dir, "sum/gradient-sum-uniform-angle.svg", "angle in degrees");
    check_file(dir, "sum/gradient-sum-uniform-angle-by-count.svg", "median");
    check_file(dir, "sum/gradient-sum.md", "(0.2250, 0.2256)");
    snprintf(line, sizeof line, "checkerboard --seed 3 --out %s/board", dir);
    assert_int_equal(run(line, out, sizeof out), 0);
    check_file(dir, "board/checkerboard.csv", "stride,scale,row,column,abs_gradient\n");
    check_file(dir, "board/checkerboard.svg", "stride 3, gradient");
    check_file(dir, "board/checkerboard-mean.svg", "stride 3");
    check_file(dir, "board/checkerboard.md", "seed 3");
    snprintf(line, sizeof line, "gradient-sum --quiet --out %s/quiet", dir);
    assert_int_equal(run(line, out, sizeof out), 0);
    assert_string_equal(out, "");
    check_file(dir, "quiet/gradient-sum.md", "(0.2250, 0.2256)");
    /* What fails before it has written anything leaves no folder. */
    snprintf(line, sizeof line, "statistics --out %s/nothing", dir);
    assert_int_equal(run(line, out, sizeof out), 2);
    snprintf(line, sizeof line, "%s/nothing", dir);
    assert_int_equal(access(line, F_OK), -1);
    snprintf(line, sizeof line, "rm -rf '%s'", dir);
    assert_int_equal(system(line), 0);
}

static void without_a_name_it_lists_them(void **state) {
    (void)state;
    char out[16384], listed[16384];
    assert_int_equal(run("", out, sizeof out), 0);
    assert_non_null(strstr(out, "gradient-sum "));
    assert_non_null(strstr(out, "checkerboard "));
    assert_int_equal(run("list", listed, sizeof listed), 0);
    assert_string_equal(out, listed);
}

static void what_does_not_exist_is_a_usage_error(void **state) {
    (void)state;
    char out[16384];
    assert_int_equal(run("gradient-sun", out, sizeof out), 2);
    assert_non_null(strstr(out, "did you mean 'gradient-sum'?"));
    assert_int_equal(run("gradient-sum --distribution cauchy --out /tmp", out, sizeof out), 2);
    assert_non_null(strstr(out, "neither normal nor uniform"));
    assert_int_equal(run("checkerboard --distribution normal --out /tmp", out, sizeof out), 2);
    assert_non_null(strstr(out, "--distribution does not go with checkerboard"));
    assert_int_equal(run("gradient-sum --workers 2 --out /tmp", out, sizeof out), 2);
    assert_non_null(strstr(out, "--workers does not go with gradient-sum"));
    assert_int_equal(run("statistics --distribution normal --out /tmp", out, sizeof out), 2);
    assert_int_equal(run("gradient-sum --seed 4294967296 --out /tmp", out, sizeof out), 2);
    assert_int_equal(run("checkerboard --out /proc/none", out, sizeof out), 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_writes_its_data_figures_and_reading),
        cmocka_unit_test(without_a_name_it_lists_them),
        cmocka_unit_test(what_does_not_exist_is_a_usage_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
