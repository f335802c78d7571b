/* What is text never becomes markup, and numbers look as a reader expects. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "tools/report/html.h"

static void gives(const char *text, const char *expected) {
    pm_buffer out = {0};
    pm_html html = {.out = &out};
    pm_html_put(&html, "%s", text);
    assert_int_equal(html.status, PM_OK);
    assert_string_equal(out.size ? (char *)out.bytes : "", expected);
    pm_buffer_fini(&out);
}

static void markup_in_text_is_escaped(void **state) {
    (void)state;
    gives("<script>alert(\"1\" & '2')</script>",
          "&lt;script&gt;alert(&quot;1&quot; &amp; &#39;2&#39;)&lt;/script&gt;");
    gives("", "");
    gives("größe ✓", "größe ✓");
}

static void what_is_no_character_of_xml_is_replaced(void **state) {
    (void)state;
    gives("a\x01z", "a\xEF\xBF\xBDz");
    gives("a\x7Fz", "a\xEF\xBF\xBDz");
    gives("\xC2\x85", "\xEF\xBF\xBD\xEF\xBF\xBD");                 /* a control of C1 */
    gives("\xFFq\xC3", "\xEF\xBF\xBDq\xEF\xBF\xBD");               /* no UTF-8, cut UTF-8 */
    gives("\xED\xA0\x80", "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD"); /* a surrogate */
    gives("\xEF\xBF\xBF", "\xEF\xBF\xBD");                         /* U+FFFF */
    gives("a\nb\tc", "a b c");
}

static void numbers_have_sensible_digits(void **state) {
    static const struct {
        double value;
        int digits;
        const char *text;
    } cases[] = {{0, 3, "0"},           {1234567, 1, "1,234,567"}, {999, 1, "999"},
                 {-1234, 1, "−1,234"},  {0.012345, 3, "0.0123"},   {2.5, 3, "2.50"},
                 {123.456, 3, "123"},   {-0.5, 2, "−0.50"},        {0.0000123, 2, "1.2e-05"},
                 {1e15, 3, "1.00e+15"}, {99.96, 3, "100"},         {1000, 3, "1,000"}};
    char out[PM_NUMBER_BYTES];
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_string_equal(pm_number(cases[i].value, cases[i].digits, out), cases[i].text);
    assert_string_equal(pm_number((double)NAN, 3, out), "–");
    assert_string_equal(pm_p_value(0.00003, out), "< 0.0001");
    assert_string_equal(pm_p_value(0.0312, out), "0.031");
    assert_string_equal(pm_p_value(1, out), "1.00");
    assert_string_equal(pm_duration(250, out), "250 ms");
    assert_string_equal(pm_duration(61000, out), "1 min 1 s");
    assert_string_equal(pm_duration(90061000, out), "1 d 1 h");
    assert_string_equal(pm_wall_time(0, out), "1970-01-01 00:00 UTC");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(markup_in_text_is_escaped),
        cmocka_unit_test(what_is_no_character_of_xml_is_replaced),
        cmocka_unit_test(numbers_have_sensible_digits),
    };
    return cmocka_run_group_tests_name("report_html", tests, NULL, NULL);
}
