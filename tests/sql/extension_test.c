/* The loadable extension, in programs that are not ours: the plain sqlite3 shell, and Python. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* All that a shell command writes. */
static void run(const char *command, char *out, size_t size) {
    FILE *pipe = popen(command, "r");
    assert_non_null(pipe);
    out[fread(out, 1, size - 1, pipe)] = '\0';
    pclose(pipe);
}

static void sqlite3_shell_loads_it(void **state) {
    char command[2048], out[2048], path[1024];
    (void)state;
    /* By the name that people type, without .so. */
    snprintf(path, sizeof path, "%s", getenv("PARCHMILL_EXTENSION"));
    path[strlen(path) - 3] = '\0';
    snprintf(command, sizeof command,
             "sqlite3 :memory: '.load %s' \"SELECT i, value FROM values_f32(x'0000803f000000c0')\" "
             "'SELECT median(column1), percentile(column1, 25) FROM (VALUES (1), (2), (4))' "
             "\"SELECT bit(x'04', 2)\" 2>&1",
             path);
    run(command, out, sizeof out);
    assert_string_equal(out, "0|1.0\n1|-2.0\n2.0|1.5\n1\n");
}

static void python_loads_it(void **state) {
    char command[2048], out[2048];
    (void)state;
    snprintf(command, sizeof command,
             "/usr/bin/python3 -c 'import sqlite3, sys\n"
             "db = sqlite3.connect(\":memory:\")\n"
             "db.enable_load_extension(True)\n"
             "db.load_extension(sys.argv[1])\n"
             "print(db.execute(\"SELECT stddev(value) FROM values_bits(?)\", (b\"\\x03\",))"
             ".fetchone()[0] ** 2 * 7)\n"
             "try: db.execute(\"SELECT f32(1, 2)\").fetchone()\n"
             "except sqlite3.OperationalError as e: print(e)' %s 2>&1",
             getenv("PARCHMILL_EXTENSION"));
    run(command, out, sizeof out);
    char *end = NULL;
    const double squares = strtod(out, &end); /* of 2 ones and 6 zeros: 2 - 4 / 8 */
    assert_true(squares > 1.499999 && squares < 1.500001);
    assert_string_equal(end, "\nf32: takes a blob, not a number\n");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sqlite3_shell_loads_it),
        cmocka_unit_test(python_loads_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
