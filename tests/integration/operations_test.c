/* What people do while runs are there, by the command line: dead letters and retries, pause and
 * terms, workers that are drained, and the doctor, on files and machines that are ill. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <fcntl.h>
#include <signal.h>
#include <sqlite3.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "lib/base/file.h"
#include "lib/net/credentials.h"
#include "tests/integration/command.h"
#include "tests/integration/fixture.h"

enum { IMAGES = 4, LINE_BYTES = 2048 };

static pm_fixture fixture;
static char mixed[PM_FIXTURE_PATH],
    db[PM_FIXTURE_PATH]; /* photographs, two of them bad; their run */
static char submission[LINE_BYTES];

static void put_file(const char *name, const void *bytes, size_t size) {
    char path[PM_FIXTURE_PATH];
    pm_fixture_path(&fixture, name, path);
    assert_int_equal(pm_file_write(path, bytes, size), PM_OK);
}

static int make_all(void **state) {
    (void)state;
    pm_fixture_make(&fixture, IMAGES);
    pm_fixture_path(&fixture, "mixed", mixed);
    pm_fixture_path(&fixture, "mixed.db", db);
    assert_int_equal(pm_dir_make(mixed), PM_OK);
    for (int i = 0; i < IMAGES; i++) {
        char from[PM_FIXTURE_PATH + 16], name[64];
        uint8_t *bytes = NULL;
        size_t size;
        snprintf(from, sizeof from, "%s/p%04d.png", fixture.images, i);
        assert_int_equal(pm_file_read(from, 1 << 20, &bytes, &size), PM_OK);
        snprintf(name, sizeof name, "mixed/p%d.png", i);
        put_file(name, bytes, i == 2 ? size / 2 : size);
        free(bytes);
    }
    put_file("mixed/text.jpg", "this is no photograph\n", 22);
    snprintf(submission, sizeof submission,
             "--model cifar_resnet20 --weights %s --images %s --db %s", fixture.weights, mixed, db);
    return 0;
}

static int remove_all(void **state) {
    (void)state;
    pm_fixture_remove(&fixture);
    return 0;
}

/* Run a command (%s: the database), want this code and these words on stdout or stderr. */
static void expect(int code, const char *words, const char *format) {
    char line[LINE_BYTES];
    pm_program p;
    snprintf(line, sizeof line, "%s", format);
    const char *at = strstr(format, "DB");
    if (at) snprintf(line, sizeof line, "%.*s%s%s", (int)(at - format), format, db, at + 2);
    pm_program_run(&p, line);
    if (p.code != code || (words && !strstr(p.out, words) && !strstr(p.err, words)))
        fail_msg("parchmill %s\nwanted exit %d and '%s', got exit %d and:\n%s%s", line, code,
                 words ? words : "", p.code, p.out, p.err);
}

static void expect_run(int code, const char *words, const char *more) {
    char line[2 * LINE_BYTES];
    snprintf(line, sizeof line, "run %s --threads 1 %s", submission, more);
    expect(code, words, line);
}

static void failures_are_listed_and_tried_again_by_what_failed(void **state) {
    (void)state;
    expect_run(0, "2 images failed", "--priority 3");
    expect(0, "text.jpg: decode/", "failures 1 --db DB");
    expect(0, "configurations all", "failures --db DB");
    expect(0, "no failures", "failures 1 --stage fetch --db DB");
    expect(0, "\"image\": \"p2.png\"", "failures 1 --image p* --json --db DB");
    expect(0, "nothing that failed matches", "retry 1 --stage fetch --db DB");
    expect(0, "\"count\": 0", "retry 1 --stage decode --image nowhere/* --json --db DB");
    expect(0, "run 1: 1 failed result is to be computed again",
           "retry 1 --stage decode --image text.* --db DB");
    assert_int_equal(pm_ask_number(db, "SELECT count(*) FROM dead_letter"), 1);
    expect_run(0, "2 images failed", "");
    expect(0, "run 1: 2 failed results are", "retry 1 --db DB");
}

/* On the run that the test in front left open. */
static void terms_change_while_a_run_is_open(void **state) {
    (void)state;
    expect(0, "run 1 is paused", "pause 1 --db DB");
    expect(0, "was already paused", "pause 1 --db DB");
    expect(0, "paused ", "status --db DB");
    expect_run(1, "run 1 is paused; `parchmill resume 1 --db ", "");
    expect(0, "run 1 has priority -5", "priority 1 -5 --db DB");
    expect(0, "may have 2 workers at a time", "max-workers 1 2 --db DB");
    expect(0, "\"priority\": -5", "status --json --db DB");
    expect(0, "run 1 is going on", "resume 1 --db DB");
    expect_run(0, "it keeps its priority -5", "--priority 7");
    assert_int_equal(pm_ask_number(db, "SELECT count(*) FROM run"), 1);
    expect(2, "done already", "pause 1 --db DB");
    expect(2, "within -100 and 100", "priority 1 101 --db DB");
    expect(2, "not a whole number", "priority 1 high --db DB");
    expect(2, "--broker URL is missing", "workers");
    expect(1, "there is no run 9", "resume 9 --db DB");
}

/* ---- a broker and a worker ---- */

static pid_t spawn(const char *program, const char *a, const char *b, const char *c,
                   const char *d) {
    char path[PM_FIXTURE_PATH + 64], log[PM_FIXTURE_PATH];
    const char *folder = getenv("PARCHMILL_BIN_DIR");
    snprintf(path, sizeof path, "%s/%s", folder ? folder : "build/dev/bin", program);
    pm_fixture_path(&fixture, "log", log);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid) return pid;
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* a test that fails leaves nobody behind */
    int fd = open(log, O_WRONLY | O_CREAT | O_APPEND, 0600);
    if (fd >= 0) dup2(fd, STDERR_FILENO);
    execl(path, program, a, b, c, d, (char *)NULL);
    _exit(127);
}

static int await(pid_t pid) {
    int how = 0;
    assert_int_equal(waitpid(pid, &how, 0), pid);
    return WIFEXITED(how) ? WEXITSTATUS(how) : -1;
}

/* Until the command says these words. */
static void until(const char *line, const char *words) {
    pm_program p;
    time_t start = time(NULL);
    do {
        pm_program_run(&p, line);
        assert_true(time(NULL) - start < PM_PATIENCE_MS / 1000);
    } while (!strstr(p.out, words));
}

static void broker_and_worker_are_looked_at_and_drained(void **state) {
    (void)state;
    char socket_path[PM_FIXTURE_PATH], url[PM_FIXTURE_PATH + 8], line[LINE_BYTES];
    pm_fixture_path(&fixture, "b", socket_path);
    snprintf(url, sizeof url, "ipc://%s", socket_path);
    pid_t broker = spawn("parchmill-broker", "--db", db, "--listen", url);
    snprintf(line, sizeof line, "doctor --broker %s", url);
    until(line, "answers at");
    expect(0, "none are here", line);
    snprintf(line, sizeof line, "doctor --db %s --broker %s", db, url);
    expect(0, "a broker serves it (pid", line);
    expect(0, "this clock and the broker's agree", line);
    pid_t worker = spawn("parchmill-worker", "--broker", url, "--threads", "1");
    snprintf(line, sizeof line, "workers --json --broker %s", url);
    until(line, "\"state\": \"idle\"");
    expect(0, "\"threads\": 1", line);
    snprintf(line, sizeof line, "drain nobody --broker %s", url);
    expect(1, "no worker 'nobody' is here", line);
    snprintf(line, sizeof line, "drain all --broker %s", url);
    expect(0, "1 worker finishes what is in hand and goes", line);
    assert_int_equal(await(worker), 0);
    snprintf(line, sizeof line, "workers --broker %s", url);
    until(line, "no workers");
    snprintf(line, sizeof line, "drain all --broker %s", url);
    expect(0, "no workers are here", line);
    kill(broker, SIGKILL);
    assert_int_equal(await(broker), -1);
    snprintf(line, sizeof line, "doctor --db %s --broker %s", db, url);
    pm_program p;
    assert_int_equal(pm_program_run(&p, line), 1);
    assert_non_null(strstr(p.out, "is left from a broker that died"));
    assert_non_null(strstr(p.out, "nobody holds it, and it was not closed"));
    assert_non_null(strstr(p.out, "no broker answers"));
    broker = spawn("parchmill-broker", "--db", db, "--listen", url);
    snprintf(line, sizeof line, "doctor --broker %s", url);
    until(line, "answers at");
    kill(broker, SIGTERM);
    assert_int_equal(await(broker), 0);
}

/* ---- the doctor ---- */

static void doctor_finds_a_sound_database_well(void **state) {
    (void)state;
    expect(0, "integrity_check ok", "doctor --db DB");
    expect(0, "foreign_key_check ok", "doctor --db DB");
    expect(0, "closed cleanly; nobody holds it", "doctor --db DB");
    expect(0, "\"ok\": true", "doctor --json --db DB");
    expect(0, " 0 FAIL", "doctor --db DB");
    char line[LINE_BYTES];
    snprintf(line, sizeof line, "doctor --db %s --images %s", db, mixed);
    expect(0, "is a folder with 5 entries", line);
    snprintf(line, sizeof line, "doctor --db %s --images %s/nowhere", db, mixed);
    expect(1, "FAIL  images", line);
    snprintf(line, sizeof line, "doctor --db %s.d/none.db", db);
    expect(1, "FAIL  disk", line);
}

/* A copy of the database, spoilt by some SQL. */
static void spoil(const char *sql, char copy[PM_FIXTURE_PATH]) {
    uint8_t *bytes = NULL;
    size_t size;
    sqlite3 *handle = NULL;
    pm_fixture_path(&fixture, "spoilt.db", copy);
    assert_int_equal(pm_file_read(db, 1 << 26, &bytes, &size), PM_OK);
    put_file("spoilt.db", bytes, size);
    free(bytes);
    assert_int_equal(sqlite3_open(copy, &handle), SQLITE_OK);
    assert_int_equal(sqlite3_exec(handle, sql, NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_close(handle), SQLITE_OK);
}

static void doctor_sees_what_is_wrong_with_a_file(void **state) {
    (void)state;
    static const struct {
        const char *sql;
        int code;
        const char *says;
    } ills[] = {
        {"PRAGMA application_id = 7", 1, "is no database of parchmill"},
        {"PRAGMA user_version = 999", 1, "the file has schema 999"},
        {"PRAGMA user_version = 1", 0, "the next broker brings it up to date"},
        {"PRAGMA foreign_keys = OFF; INSERT INTO box VALUES (999, 0, 0, 0, 1, 1)", 1,
         "1 rows refer to rows that are not there"},
        {"UPDATE run SET submitted_ms = submitted_ms + 86400000", 0, "s ahead of this clock"},
        /* An index of other rows, pages of nobody. */
        {"CREATE TABLE one (x); INSERT INTO one VALUES (1); CREATE TABLE two (x);"
         "CREATE INDEX two_x ON two (x); INSERT INTO two VALUES (2); PRAGMA writable_schema = ON;"
         "UPDATE sqlite_schema SET rootpage = (SELECT rootpage FROM sqlite_schema"
         " WHERE name = 'one') WHERE name = 'two'",
         1, "FAIL  integrity"},
    };
    char copy[PM_FIXTURE_PATH], line[LINE_BYTES];
    for (size_t i = 0; i < sizeof ills / sizeof *ills; i++) {
        spoil(ills[i].sql, copy);
        snprintf(line, sizeof line, "doctor --db %s", copy);
        expect(ills[i].code, ills[i].says, line);
    }
    put_file("spoilt.db", "this is a text and no database, however long it may be\n", 55);
    expect(1, "is no database of parchmill", line);
}

static void doctor_sees_who_is_in_the_way_and_open_keys(void **state) {
    (void)state;
    char path[PM_FIXTURE_PATH], line[LINE_BYTES];
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    pm_fixture_path(&fixture, "t", path);
    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(fd, 1), 0);
    /* It accepts nobody, and its queue is full: whoever waited for it would wait for ever. */
    int waiting[8];
    size_t count = 0;
    bool full = false;
    while (!full) {
        assert_true(count < sizeof waiting / sizeof *waiting);
        waiting[count] = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
        full = connect(waiting[count++], (struct sockaddr *)&address, sizeof address) != 0;
    }
    snprintf(line, sizeof line, "doctor --broker ipc://%s", path);
    expect(1, "something listens at", line);
    while (count) close(waiting[--count]);
    close(fd);
    pm_credentials pair;
    char folder[PM_FIXTURE_PATH], name[PM_FIXTURE_PATH];
    pm_fixture_path(&fixture, "config", folder);
    assert_int_equal(setenv("XDG_CONFIG_HOME", folder, 1), 0);
    assert_int_equal(pm_dir_make(folder), PM_OK);
    pm_fixture_path(&fixture, "config/parchmill", name);
    assert_int_equal(pm_dir_make(name), PM_OK);
    pm_fixture_path(&fixture, "config/parchmill/worker", name);
    assert_int_equal(pm_keys_new(&pair), PM_OK);
    assert_int_equal(pm_keys_write(name, "me", &pair, false), PM_OK);
    pm_credentials_wipe(&pair);
    expect(0, "is a key that only you can read", "doctor --db DB");
    pm_fixture_path(&fixture, "config/parchmill/worker.key", name);
    assert_int_equal(chmod(name, 0644), 0);
    expect(1, "FAIL  keys", "doctor --db DB");
    unsetenv("XDG_CONFIG_HOME");
}

/* The kernels' choice is the one choice: what the doctor says and what a worker's row says. */
static void instruction_set_is_the_one_that_the_kernels_take(void **state) {
    (void)state;
    char line[LINE_BYTES], path[PM_FIXTURE_PATH];
    pm_fixture_path(&fixture, "forced.db", path);
    setenv("PARCHMILL_ISA", "sse9", 1);
    expect(1, "PARCHMILL_ISA=sse9: no such instruction set", "doctor --db DB");
    setenv("PARCHMILL_ISA", "baseline", 1);
    expect(0, "the baseline kernels are slow", "doctor --db DB");
    snprintf(line, sizeof line,
             "run --model cifar_resnet20 --weights %s --images %s --db %s --limit 1 --quiet",
             fixture.weights, fixture.images, path);
    expect(0, NULL, line);
    unsetenv("PARCHMILL_ISA");
    assert_int_equal(pm_ask_number(path, "SELECT count(*) FROM worker"), 1);
    assert_int_equal(pm_ask_number(path, "SELECT count(*) FROM worker WHERE isa = 'baseline'"), 1);
}

int main(void) {
    /* No keys of whoever runs the tests. */
    setenv("XDG_CONFIG_HOME", "/nonexistent", 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(failures_are_listed_and_tried_again_by_what_failed),
        cmocka_unit_test(terms_change_while_a_run_is_open),
        cmocka_unit_test(broker_and_worker_are_looked_at_and_drained),
        cmocka_unit_test(doctor_finds_a_sound_database_well),
        cmocka_unit_test(doctor_sees_what_is_wrong_with_a_file),
        cmocka_unit_test(doctor_sees_who_is_in_the_way_and_open_keys),
        cmocka_unit_test(instruction_set_is_the_one_that_the_kernels_take),
    };
    return cmocka_run_group_tests(tests, make_all, remove_all);
}
