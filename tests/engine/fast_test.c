/* The fast engine over the cases, once an instruction set of this CPU: as close to double
 * precision as fp32 can be held to. */
// clang-format off
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
// clang-format on

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/engine/cases.h"
#include "worker/engine/kernels/kernels.h"

static int by_value(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values, size_t count) {
    qsort(values, count, sizeof *values, by_value);
    return count % 2 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
}

static void run_case(pm_case_set *set, size_t index, pm_case_distance *distance) {
    pm_case c;
    if (pm_case_load(set, index, &c) || pm_case_run(&c, distance))
        fail_msg("%s: %s", pm_case_name(index), pm_error_text());
}

static void run_cases(const char *isa) {
    const pm_kernels *kernels = pm_kernels_named(isa);
    if (!kernels->usable()) skip();
    setenv("PARCHMILL_ISA", isa, 1);
    const size_t count = pm_case_count();
    double *ours = calloc(count, sizeof *ours), *torch = calloc(count, sizeof *torch);
    assert_true(ours && torch);
    pm_case_set set = {0};
    bool bad = false;
    size_t ran = 0;
    for (size_t i = 0; i < count; i++) {
        pm_case_distance d = {0};
        if (!pm_case_wanted(i)) continue;
        run_case(&set, i, &d);
        assert_string_equal(pm_model_isa(set.model), isa);
        /* Sums over channels cancel, on 1x1 maps by two digits; in PyTorch's fp32 as well. */
        const double heat = d.heat_map > 4e-6 ? d.heat_map : 4e-6;
        const double sums = fmax(20 * heat, 3 * d.torch_scales);
        bool wrong = !(d.heat_map <= 5e-2) || !(d.logits <= 1e-5) || !d.h_equal ||
                     !(d.scales <= sums) || !(d.spread <= sums) || !(d.channels <= 20 * heat) ||
                     !(d.ig <= 20 * heat);
        print_message(
            "%s%s %s: heat map %.1e (torch %.1e) logits %.1e scales %.1e (torch %.1e) spread %.1e "
            "channels %.1e ig %.1e H %s\n",
            wrong ? "WRONG " : "", isa, pm_case_name(i), d.heat_map, d.torch, d.logits, d.scales,
            d.torch_scales, d.spread, d.channels, d.ig, d.h_equal ? "equal" : "DIFFERS");
        bad |= wrong;
        ours[ran] = d.heat_map;
        torch[ran++] = d.torch;
    }
    pm_case_set_fini(&set);
    double mine = median(ours, ran), theirs = median(torch, ran);
    print_message("%s: median %.2e, PyTorch %.2e\n", isa, mine, theirs);
    assert_false(bad);
    assert_true(mine <= 3 * theirs);
    free(ours);
    free(torch);
    unsetenv("PARCHMILL_ISA");
}

static void avx512_is_as_close_as_fp32_gets(void **state) {
    (void)state;
    run_cases("avx512");
}

static void avx2_is_as_close_as_fp32_gets(void **state) {
    (void)state;
    run_cases("avx2");
}

static void baseline_is_as_close_as_fp32_gets(void **state) {
    (void)state;
    run_cases("baseline");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(avx512_is_as_close_as_fp32_gets),
        cmocka_unit_test(avx2_is_as_close_as_fp32_gets),
        cmocka_unit_test(baseline_is_as_close_as_fp32_gets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
