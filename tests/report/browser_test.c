/* The report as a browser shows it: quiet, as wide as the window, and in the order asked for. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/report/browser.h"
#include "tests/report/run.h"

static pm_run run;
static pm_browser browser;
static char page[PM_FIXTURE_PATH];
static bool there;

static void open_at(const char *fragment, int width, bool dark) {
    char url[PM_FIXTURE_PATH + 256];
    snprintf(url, sizeof url, "file://%s/index.html%s", page, fragment);
    pm_browser_open(&browser, url, width, 900, dark);
}

static void is(const char *expression, const char *expected) {
    char *text = pm_browser_ask(&browser, expression);
    if (strcmp(text, expected) != 0) fail_msg("%s\n is '%s', not '%s'", expression, text, expected);
    free(text);
}

/* All pictures are fetched, which are lazy else. */
static const char all_pictures[] =
    "Promise.all([...document.images].map(function (i) { i.loading = 'eager'; return i.decode(); "
    "}))"
    ".then(function () { return [...document.images].every(function (i) {"
    " return i.naturalWidth > 0; }); })";

static void it_is_quiet_and_as_wide_as_the_window(void **state) {
    static const int widths[] = {1280, 390};
    (void)state;
    if (!there) skip();
    for (size_t i = 0; i < 4; i++) {
        open_at("", widths[i % 2], i >= 2);
        is(all_pictures, "true");
        /* innerWidth would grow with a page that is too wide. */
        is("document.querySelectorAll('details').forEach(function (d) { d.open = true; });"
           "[390, 1280].find(function (w) { return document.documentElement.scrollWidth <= w; })",
           widths[i % 2] == 390 ? "390" : "1280");
        is("getComputedStyle(document.body).backgroundColor",
           i >= 2 ? "rgb(20, 20, 22)" : "rgb(251, 251, 250)");
        if (browser.complaints) fail_msg("%zu: %s", browser.complaints, browser.complaint);
    }
}

/* Keys of the cards as they stand, from the page's own data. */
#define SHOWN "[...document.querySelectorAll('.card')].filter(function (c) { return !c.hidden; })"
#define VALUE                                                                                      \
    "function (c) { return c.getAttribute('data-v').split(';').map(function (r) { return "         \
    "r.split(','); }); }"

static void it_sorts_by_what_the_address_says(void **state) {
    (void)state;
    if (!there) skip();
    open_at("#sort=deletion_auc&of=B&minus=A&order=worst", 1280, false);
    /* Less is better, so the worst has the greatest difference. */
    is("(function () { var v = " SHOWN ".map(" VALUE
       ").map(function (r) { return r[1][3] - r[0][3]; });"
       "return v.length === 14 && v.every(function (x, i) { return i === 0 || v[i - 1] >= x; }); "
       "})()",
       "true");
    is("document.getElementById('by-minus').value", "A");
    open_at("#sort=item", 1280, false);
    is(SHOWN ".map(function (c) { return c.getAttribute('data-item'); }).join()",
       "0,1,2,3,4,5,6,7,8,9,10,11,12,13");
    /* Images without a box have no mu_in_w and come last, best first or worst first. */
    open_at("#sort=mu_in_w&order=worst", 1280, false);
    is("(function () { var v = " SHOWN ".map(" VALUE ").map(function (r) { return r[0][0]; });"
       "var n = v.filter(function (x) { return x !== ''; }).length;"
       "return n < 14 && v.slice(n).join('') === '' && v.slice(0, n).every(function (x, i) {"
       " return i === 0 || v[i - 1] - x <= 0; }); })()",
       "true");
}

static void controls_change_order_address_and_colours(void **state) {
    (void)state;
    if (!there) skip();
    open_at("", 1280, false);
    is("(function () { var box = document.getElementById('by-label'); box.value = '3';"
       "box.dispatchEvent(new Event('change', {bubbles: true}));"
       "return " SHOWN ".map(function (c) { return c.getAttribute('data-label'); }).join(); })()",
       "3,3");
    is("location.hash", "#label=3");
    is("document.getElementById('shown').textContent", "2 of 14 shown");
    is("getComputedStyle(document.querySelector('.heat')).filter", "url(\"#uniform\")");
    is("(function () { var box = document.getElementById('by-colours'); box.value = 'seismic';"
       "box.dispatchEvent(new Event('change', {bubbles: true}));"
       "return getComputedStyle(document.querySelector('.heat')).filter; })()",
       "url(\"#seismic\")");
    is("document.getElementById('theme').click(); getComputedStyle(document.body).backgroundColor",
       "rgb(20, 20, 22)");
    is("location.hash", "#label=3&colours=seismic&theme=dark");
    if (browser.complaints) fail_msg("%s", browser.complaint);
}

static void it_connects_nowhere(void **state) {
    (void)state;
    if (!there) skip();
    open_at("", 1280, false);
    is("fetch('http://127.0.0.1:9/').then(function () { return 'went'; },"
       " function () { return 'refused'; })",
       "refused");
    if (!strstr(browser.complaint, "Content Security Policy")) fail_msg("%s", browser.complaint);
}

static int start(void **state) {
    (void)state;
    there = pm_browser_start(&browser);
    if (!there) {
        puts("no chromium here (Debian: chromium): skipped");
        return 0;
    }
    pm_run_make(&run);
    pm_run_report(&run, run.db, "page", "", page);
    return 0;
}

static int stop(void **state) {
    (void)state;
    if (!there) return 0;
    pm_browser_stop(&browser);
    pm_run_remove(&run);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_is_quiet_and_as_wide_as_the_window),
        cmocka_unit_test(it_sorts_by_what_the_address_says),
        cmocka_unit_test(controls_change_order_address_and_colours),
        cmocka_unit_test(it_connects_nowhere),
    };
    return cmocka_run_group_tests_name("report_browser", tests, start, stop);
}
