/* The rules, proven in double: the oracle against PyTorch's double precision in every case. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/engine/cases.h"

static pm_case_set set;

/* Vectors hold fp32, so 1e-6 is a dozen roundings. */
static void oracle_in_double_meets_pytorch_in_double(void **state) {
    (void)state;
    size_t failed = 0;
    for (size_t i = 0; i < pm_case_count(); i++) {
        if (!pm_case_wanted(i)) continue;
        pm_case c;
        pm_oracle_result *result;
        pm_case_distance d;
        pm_status status = pm_case_load(&set, i, &c);
        if (status) fail_msg("%s: %s", pm_case_name(i), pm_error_text());
        status = pm_case_oracle(&c, &result);
        if (status) fail_msg("%s: %s", c.name, pm_error_text());
        status = pm_case_compare(&c, result, &d);
        pm_oracle_result_free(&result);
        if (status) fail_msg("%s", pm_error_text());
        bool good = d.heat_map <= 1e-6 && d.logits <= 1e-6 && d.scales <= 1e-6 &&
                    d.spread <= 1e-6 && d.channels <= 1e-6 && d.ig <= 1e-6 && d.h_equal;
        printf("%-32s heat %.1e logits %.1e scales %.1e spread %.1e channels %.1e ig %.1e H %s%s\n",
               c.name, d.heat_map, d.logits, d.scales, d.spread, d.channels, d.ig,
               d.h_equal ? "equal" : "DIFFERS", good ? "" : "  <- FAILED");
        failed += !good;
    }
    assert_int_equal(failed, 0);
}

static int drop_set(void **state) {
    (void)state;
    pm_case_set_fini(&set);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(oracle_in_double_meets_pytorch_in_double),
    };
    return cmocka_run_group_tests_name("engine_oracle", tests, NULL, drop_set);
}
