/* The prompt of `parchmill sql`, through a pseudo-terminal. */
#include <errno.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/file.h"
#include "tests/store/fixture.h"

enum { WAIT_MS = 20000 };

typedef struct terminal {
    int fd;
    pid_t pid;
    char seen[1 << 16]; /* since the last expect */
    size_t size;
} terminal;

static void start(const scratch *s, terminal *t) {
    const struct winsize size = {.ws_row = 40, .ws_col = 120};
    char program[1024], home[128];
    *t = (terminal){.fd = -1};
    snprintf(program, sizeof program, "%s/parchmill", getenv("PARCHMILL_BIN_DIR"));
    snprintf(home, sizeof home, "XDG_STATE_HOME=%s/.state", s->folder);
    t->pid = forkpty(&t->fd, NULL, NULL, &size);
    assert_true(t->pid >= 0);
    if (t->pid == 0) {
        putenv(home);
        setenv("TERM", "vt100", 1);
        execl(program, "parchmill", "sql", "--db", s->path, (char *)NULL);
        _exit(127);
    }
}

/* What has been read behind the rest, without the NULs that give old terminals time. */
static void keep(terminal *t, size_t more) {
    const size_t end = t->size + more;
    for (size_t i = t->size; i < end; i++)
        if (t->seen[i]) t->seen[t->size++] = t->seen[i];
    t->seen[t->size] = '\0';
}

/* Reads until `text` has come; what is behind it stays. */
static void expect(terminal *t, const char *text) {
    const int64_t deadline_ms = pm_clock_ms() + WAIT_MS;
    for (;;) {
        const char *at = strstr(t->seen, text);
        if (at) {
            const size_t used = (size_t)(at - t->seen) + strlen(text);
            memmove(t->seen, t->seen + used, t->size - used + 1);
            t->size -= used;
            return;
        }
        struct pollfd one = {.fd = t->fd, .events = POLLIN};
        ssize_t n = 0;
        if (poll(&one, 1, 100) > 0)
            n = read(t->fd, t->seen + t->size, sizeof t->seen - 1 - t->size);
        if (n > 0) keep(t, (size_t)n);
        if (n < 0 || pm_clock_ms() > deadline_ms)
            fail_msg("'%s' has not come, but: %s", text, t->seen);
    }
}

static void type(const terminal *t, const char *text) {
    assert_int_equal(write(t->fd, text, strlen(text)), (ssize_t)strlen(text));
}

/* Ctrl-D until it is heard, on an empty line: the prompt is there before the terminal gives single
 * keys, and one in between becomes a letter. */
static void await_end(terminal *t) {
    int status = 0;
    const int64_t deadline_ms = pm_clock_ms() + WAIT_MS;
    for (ssize_t n = 1; n > 0;) {
        struct pollfd one = {.fd = t->fd, .events = POLLIN};
        if (pm_clock_ms() > deadline_ms) fail_msg("it has not ended, but: %s", t->seen);
        if (poll(&one, 1, 300) <= 0) {
            type(t, "\x15\x04");
            continue;
        }
        n = read(t->fd, t->seen + t->size, sizeof t->seen - 1 - t->size);
        if (n > 0) keep(t, (size_t)n);
    }
    assert_int_equal(waitpid(t->pid, &status, 0), t->pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    close(t->fd);
}

static void prepare(scratch *s) {
    static const plan small = {.items = 4, .configs = 2, .channels = PM_CHANNELS_SUMMARY};
    pm_store *store = open_store(s);
    whole_run(store, &small);
    close_store(&store);
}

static void names_are_completed(void **state) {
    scratch *s = *state;
    terminal t;
    prepare(s);
    start(s, &t);
    expect(&t, "sql> ");
    /* A view, a column, a function of ours, a keyword in the letters of whoever types. */
    type(&t, "SELECT 'n' || count(*) || 'rows' FROM run_prog\t;\n");
    expect(&t, "n1rows");
    expect(&t, "sql> ");
    type(&t, "SELECT 'n' || count(r.p_predi\t) || 'rows' FROM result r;\n");
    expect(&t, "n8rows");
    expect(&t, "sql> ");
    type(&t, "SELECT 'm' || ttest_paired_p\t(1, 2) IS NU\t AS \"it was null\";\n");
    expect(&t, "it was null\r\n");
    expect(&t, "sql> ");
    type(&t, "sel\t'k' || 'w';\n");
    expect(&t, "kw\r\n");
    expect(&t, "sql> ");
    /* Several: a list, and what is typed stays. */
    type(&t, "SELECT 'w' || count(*) || 'ide' FROM result_\t");
    expect(&t, "result_named");
    expect(&t, "result_wide");
    type(&t, "wide;\n");
    expect(&t, "w8ide");
    expect(&t, "sql> ");
    type(&t, ".tab\t\n");
    expect(&t, "layer_gradient_wide");
    expect(&t, "sql> ");
    type(&t, "\x04");
    await_end(&t);
}

static void dots_tell_and_statements_take_several_lines(void **state) {
    scratch *s = *state;
    terminal t;
    prepare(s);
    start(s, &t);
    expect(&t, "sql> ");
    type(&t, "SELECT 'a' ||\n");
    expect(&t, "...> ");
    type(&t, "'b' ||\n");
    expect(&t, "...> ");
    type(&t, "'c';\n");
    expect(&t, "abc\r\n");
    expect(&t, "sql> ");
    type(&t, ".schema task\n");
    expect(&t, "CREATE TABLE task (");
    expect(&t, "-- row id, never used twice"); /* the columns' comments */
    expect(&t, "sql> ");
    type(&t, ".functions\n");
    expect(&t, "percentile(x, p)");
    expect(&t, "heat_png(zstd");
    expect(&t, "sql> ");
    type(&t, ".format csv\n");
    expect(&t, "sql> ");
    type(&t, "SELECT 1 AS x, 'y' AS z;\n");
    expect(&t, "x,z\r\n1,y\r\n");
    expect(&t, "sql> ");
    type(&t, ".nothing\n");
    expect(&t, "no command '.nothing'; .help lists them");
    expect(&t, "sql> ");
    type(&t, "DELETE FROM result;\n");
    expect(&t, "this connection only reads");
    expect(&t, "sql> ");
    type(&t, ".help\n");
    expect(&t, ".quit");
    expect(&t, "sql> ");
    type(&t, ".quit\n");
    await_end(&t);
}

static void interrupt_stops_the_question_and_drops_the_line(void **state) {
    scratch *s = *state;
    terminal t;
    prepare(s);
    start(s, &t);
    expect(&t, "sql> ");
    type(&t, "WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n)\n");
    expect(&t, "...> ");
    type(&t, "SELECT i FROM n LIMIT 900;\n"); /* it comes to an end */
    expect(&t, "900\r\n");
    expect(&t, "sql> ");
    type(&t, "WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n)\n");
    expect(&t, "...> ");
    type(&t, "SELECT sum(i) FROM n;\n");
    expect(&t, "sum(i) FROM n;\r\n");
    /* Whether it computes yet cannot be seen from here: after each silence once more. A terminal
     * drops what is on its way out at each. */
    const int64_t deadline_ms = pm_clock_ms() + WAIT_MS;
    while (!strstr(t.seen, "SQL: stopped\r\n") && pm_clock_ms() < deadline_ms) {
        struct pollfd one = {.fd = t.fd, .events = POLLIN};
        if (poll(&one, 1, 300) <= 0) {
            type(&t, "\x03");
            continue;
        }
        ssize_t n = read(t.fd, t.seen + t.size, sizeof t.seen - 1 - t.size);
        if (n <= 0) fail_msg("the terminal is gone: %s", t.seen);
        keep(&t, (size_t)n);
    }
    expect(&t, "SQL: stopped\r\n");
    expect(&t, "sql> ");
    type(&t, "SELECT 'dropped' ||\n");
    expect(&t, "...> ");
    type(&t, "'x'\x03");
    expect(&t, "sql> ");
    type(&t, "SELECT 'st' || 'ays';\n");
    expect(&t, "stays\r\n");
    expect(&t, "sql> ");
    type(&t, "\x04");
    await_end(&t);
}

static void history_is_kept_for_its_owner_alone(void **state) {
    scratch *s = *state;
    char path[160];
    uint8_t *bytes = NULL;
    size_t size = 0;
    struct stat info;
    terminal t;
    prepare(s);
    start(s, &t);
    expect(&t, "sql> ");
    type(&t, "SELECT 'fir' || 'st';\n");
    expect(&t, "first\r\n");
    expect(&t, "sql> ");
    type(&t, ".quit\n");
    await_end(&t);
    snprintf(path, sizeof path, "%s/.state/parchmill/history", s->folder);
    assert_int_equal(pm_file_read(path, 1000, &bytes, &size), PM_OK);
    assert_memory_equal(bytes, "SELECT 'fir' || 'st';\n.quit\n", size);
    free(bytes);
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0600);
    start(s, &t);
    expect(&t, "sql> ");
    type(&t, "\x10\x10\n"); /* the line before the last */
    expect(&t, "first\r\n");
    expect(&t, "sql> ");
    type(&t, "\x04");
    await_end(&t);
}

/* The line that is being typed has the terminal: neither echo nor whole lines. */
static void await_keys(const terminal *t) {
    struct termios now;
    const int64_t deadline_ms = pm_clock_ms() + WAIT_MS;
    do {
        assert_true(pm_clock_ms() < deadline_ms);
        assert_int_equal(poll(NULL, 0, 10), 0);
        assert_int_equal(tcgetattr(t->fd, &now), 0);
    } while (now.c_lflag & (ECHO | ICANON));
}

static void a_signal_leaves_the_terminal_as_it_was(void **state) {
    static const int signals[] = {SIGTERM, SIGHUP};
    scratch *s = *state;
    prepare(s);
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++) {
        terminal t;
        struct termios after;
        int status = 0;
        start(s, &t);
        expect(&t, "sql> ");
        await_keys(&t);
        assert_int_equal(kill(t.pid, signals[i]), 0);
        assert_int_equal(waitpid(t.pid, &status, 0), t.pid);
        assert_true(WIFSIGNALED(status) && WTERMSIG(status) == signals[i]);
        assert_int_equal(tcgetattr(t.fd, &after), 0);
        assert_int_equal(after.c_lflag & (ECHO | ICANON), ECHO | ICANON);
        close(t.fd);
    }
}

static void a_history_that_cannot_be_read_is_told_and_left_alone(void **state) {
    enum { TOO_MANY_BYTES = 5 << 20 };
    scratch *s = *state;
    char folder[160], path[200];
    struct stat info;
    prepare(s);
    snprintf(folder, sizeof folder, "%s/.state/parchmill", s->folder);
    snprintf(path, sizeof path, "%s/history", folder);
    assert_int_equal(pm_dir_make_as(folder, 0700), PM_OK);
    for (int is_folder = 0; is_folder < 2; is_folder++) {
        terminal t;
        if (is_folder) {
            assert_int_equal(unlink(path), 0);
            assert_int_equal(mkdir(path, 0700), 0);
        } else {
            FILE *file = fopen(path, "w");
            assert_non_null(file);
            assert_int_equal(ftruncate(fileno(file), TOO_MANY_BYTES), 0);
            fclose(file);
        }
        start(s, &t);
        expect(&t, "the history is left alone");
        expect(&t, "sql> ");
        type(&t, "SELECT 'go' || 'es';\n");
        expect(&t, "goes\r\n");
        expect(&t, "sql> ");
        type(&t, ".quit\n");
        await_end(&t);
        assert_int_equal(stat(path, &info), 0);
        assert_true(S_ISDIR(info.st_mode) || info.st_size == TOO_MANY_BYTES);
    }
}

static int tear_down(void **state) {
    char command[256];
    snprintf(command, sizeof command, "rm -rf %s/.state", ((scratch *)*state)->folder);
    return system(command) != 0 || scratch_tear_down(state);
}

#define PROMPT_TEST(f) cmocka_unit_test_setup_teardown(f, scratch_set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        PROMPT_TEST(names_are_completed),
        PROMPT_TEST(dots_tell_and_statements_take_several_lines),
        PROMPT_TEST(interrupt_stops_the_question_and_drops_the_line),
        PROMPT_TEST(history_is_kept_for_its_owner_alone),
        PROMPT_TEST(a_signal_leaves_the_terminal_as_it_was),
        PROMPT_TEST(a_history_that_cannot_be_read_is_told_and_left_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
