/* Across machines, as far as one machine can show it: keys made by the command, a broker on tcp://,
 * two workers and a client through relays that keep what goes by. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "tests/integration/command.h"
#include "tests/integration/fixture.h"
#include "tests/net/keyed.h"

enum { LINE_BYTES = 2048, IMAGES = 24 };

static const char run_name[] = "a-name-that-is-known";

static pm_fixture fixture;
static char *whole; /* the dump of the same run over ipc:// */
static char list[300], broker_public[64];

static void path_of(const char *name, char out[PM_FIXTURE_PATH]) {
    pm_fixture_path(&fixture, name, out);
}

static void expect_code(const pm_program *program, int code) {
    if (program->code != code)
        print_error("exit %d\n%s%s\n", program->code, program->out, program->err);
    assert_int_equal(program->code, code);
}

/* Run a command that must end so; its stdout without the newline. */
static void command(pm_program *program, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static void command(pm_program *program, int code, const char *format, ...) {
    char line[LINE_BYTES];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    pm_program_run(program, line);
    expect_code(program, code);
    program->out[strcspn(program->out, "\n")] = '\0';
}

static void allow_line(const char *line) {
    char text[4096] = "";
    FILE *file = fopen(list, "r");
    if (file) {
        text[fread(text, 1, sizeof text - 1, file)] = '\0';
        fclose(file);
    }
    snprintf(text + strlen(text), sizeof text - strlen(text), "%s\n", line);
    put_file(list, text);
}

/* The keys of a broker, a worker and a client where programs look for them first. */
static int make_all(void **state) {
    (void)state;
    pm_program program;
    char db[PM_FIXTURE_PATH];
    pm_fixture_make(&fixture, IMAGES);
    setenv("XDG_CONFIG_HOME", fixture.folder, 1);
    unsetenv("PARCHMILL_KEY");
    unsetenv("PARCHMILL_BROKER_KEY");
    path_of("allow", list);
    command(&program, 0, "keygen --role broker");
    snprintf(broker_public, sizeof broker_public, "%s", program.out);
    assert_true(pm_key_is_valid(broker_public));
    command(&program, 0, "keygen --role worker --name gpu7");
    assert_non_null(strstr(program.out, "worker "));
    assert_null(strstr(program.out, "secret"));
    allow_line(program.out);
    command(&program, 0, "keygen --name ann");
    assert_int_equal(strncmp(program.out, "client ", 7), 0);
    allow_line(program.out);
    path_of("here.db", db);
    command(&program, 0,
            "run --model cifar_resnet20 --weights %s --images %s --mask off,cls --stats %s --name "
            "%s --db %s --quiet",
            fixture.weights, fixture.images, fixture.stats, run_name, db);
    whole = pm_dump(db);
    return 0;
}

static int remove_all(void **state) {
    (void)state;
    free(whole);
    pm_fixture_remove(&fixture);
    return 0;
}

/* ---- keygen and what is wrong with keys ---- */

static void keygen_overwrites_nothing(void **state) {
    (void)state;
    pm_program program;
    char path[PM_FIXTURE_PATH], file[PM_FIXTURE_PATH + 8];
    struct stat info;
    command(&program, 2, "keygen");
    assert_non_null(strstr(program.err, "--force"));
    path_of("twice", path);
    command(&program, 0, "keygen --role admin --out %s", path);
    snprintf(file, sizeof file, "%s.key", path);
    assert_int_equal(stat(file, &info), 0);
    assert_int_equal(info.st_mode & 07777, 0600);
    command(&program, 0, "keygen --role admin --out %s --force", path);
    command(&program, 2, "keygen --role king --out %s2", path);
    command(&program, 2, "keygen --name 'two words' --out %s2", path);
    command(&program, 2, "keygen --out %s/", fixture.folder);
    command(&program, 1, "keygen --out /nowhere/at/all");
}

static void expect_line(const pm_program *program, const char *word) {
    if (!strstr(program->err, word)) print_error("%s\n", program->err);
    assert_non_null(strstr(program->err, word));
    assert_ptr_equal(strchr(program->err, '\n'), program->err + strlen(program->err) - 1);
}

static void wrong_keys_are_one_line_and_no_start(void **state) {
    (void)state;
    pm_program program;
    char path[PM_FIXTURE_PATH], db[PM_FIXTURE_PATH];
    path_of("open", path);
    path_of("none.db", db);
    command(&program, 0, "keygen --out %s", path);
    strcat(path, ".key");
    assert_int_equal(chmod(path, 0644), 0);
    command(&program, 1, "status --broker tcp://127.0.0.1:5 --key %s", path);
    expect_line(&program, "chmod 600");
    command(&program, 2, "status --broker tcp://127.0.0.1:5 --broker-key %s/parchmill/broker.key",
            fixture.folder);
    expect_line(&program, ".pub");
    command(&program, 1, "status --broker tcp://127.0.0.1:5 --key /nowhere.key");
    expect_line(&program, "/nowhere.key");
    command(&program, 1, "status --broker tcp://192.0.2.1:5 --insecure");
    expect_line(&program, "loopback");
    const struct {
        const char *options, *word;
        int code;
    } brokers[] = {{"--key %s/open.key --allow %s/allow", "chmod 600", 2},
                   {"--key %s/parchmill/broker.key", "--allow", 2},
                   {"--allow %s/allow", "--key", 2},
                   {"", "parchmill keygen", 2},
                   {"--insecure", "loopback", 2},
                   {"--key %s/parchmill/broker.key --allow %s/parchmill/broker.pub", "expected", 1},
                   {"--key %s/parchmill/broker.pub --allow %s/allow", ".key", 1}};
    for (size_t i = 0; i < sizeof brokers / sizeof *brokers; i++) {
        char line[LINE_BYTES], *to = line + sprintf(line, "--db %s --listen tcp://0.0.0.0:5 ", db);
        for (const char *from = brokers[i].options; *from; from++) {
            if (from[0] == '%' && from[1] == 's')
                to = stpcpy(to, fixture.folder), from++;
            else
                *to++ = *from;
        }
        *to = '\0';
        pm_program_start_named(&program, "parchmill-broker", line);
        pm_program_wait(&program);
        expect_code(&program, brokers[i].code);
        expect_line(&program, brokers[i].word);
    }
    assert_int_equal(access(db, F_OK), -1); /* nothing was made */
    pm_program_start_named(&program, "parchmill-worker",
                           "--broker tcp://127.0.0.1:5 --key /nowhere.key");
    pm_program_wait(&program);
    expect_code(&program, 1);
    expect_line(&program, "/nowhere.key");
}

/* ---- a run ---- */

typedef struct mill {
    pm_program broker, workers[2];
    relay *client_side, *worker_side;
    char db[PM_FIXTURE_PATH], client_url[64];
} mill;

static void start_mill(mill *m, const char *db, const char *broker_options,
                       const char *peer_options) {
    char line[LINE_BYTES], url[64];
    unsigned port = free_ports();
    path_of(db, m->db);
    m->client_side = relay_start(port);
    m->worker_side = relay_start(port + 1);
    snprintf(line, sizeof line, "--db %s --listen tcp://127.0.0.1:%u --task-items 4 %s", m->db,
             port, broker_options);
    pm_program_start_named(&m->broker, "parchmill-broker", line);
    snprintf(m->client_url, sizeof m->client_url, "tcp://127.0.0.1:%u", relay_port(m->client_side));
    snprintf(url, sizeof url, "tcp://127.0.0.1:%u", relay_port(m->worker_side) - 1);
    snprintf(line, sizeof line, "--broker %s --threads 1 %s", url, peer_options);
    for (size_t i = 0; i < 2; i++) pm_program_start_named(&m->workers[i], "parchmill-worker", line);
}

static void stop_mill(mill *m) {
    pm_program *all[] = {&m->workers[0], &m->workers[1], &m->broker};
    for (size_t i = 0; i < 3; i++) {
        kill(all[i]->pid, SIGTERM);
        pm_program_wait(all[i]);
        expect_code(all[i], 0);
    }
    relay_stop(&m->client_side);
    relay_stop(&m->worker_side);
}

static void submit_and_wait(mill *m, const char *peer_options) {
    pm_program program;
    command(&program, 0,
            "submit --model cifar_resnet20 --weights %s --images %s --mask off,cls --stats %s "
            "--name %s --broker %s %s",
            fixture.weights, fixture.images, fixture.stats, run_name, m->client_url, peer_options);
    assert_string_equal(program.out, "1");
    command(&program, 0, "status 1 --watch --broker %s %s", m->client_url, peer_options);
    assert_non_null(strstr(program.out, "RUN"));
}

static bool wire_shows(mill *m, const char *text) {
    return relay_saw(m->client_side, text, strlen(text)) ||
           relay_saw(m->worker_side, text, strlen(text));
}

static void expect_same_results(const mill *m) {
    char *dump = pm_dump(m->db);
    assert_string_equal(dump, whole);
    free(dump);
    assert_int_equal(pm_ask_number(m->db, "SELECT count(*) FROM result WHERE error IS NULL"),
                     2 * IMAGES);
}

static void run_over_keyed_tcp_is_the_same_and_shows_nothing(void **state) {
    (void)state;
    static mill m;
    char options[LINE_BYTES];
    pm_program program;
    snprintf(options, sizeof options, "--key %s/parchmill/broker.key --allow %s", fixture.folder,
             list);
    start_mill(&m, "far.db", options, "");
    submit_and_wait(&m, "");
    command(&program, 0, "sql 'SELECT count(*) AS n FROM result' --format csv --broker %s",
            m.client_url);
    assert_non_null(strstr(program.out, "n"));
    command(&program, 1, "drain all --broker %s", m.client_url); /* ann is no admin */
    expect_line(&program, "admin");
    assert_true(relay_bytes(m.client_side) > 1000 && relay_bytes(m.worker_side) > 10000);
    assert_false(wire_shows(&m, run_name));
    assert_false(wire_shows(&m, "p0001.png"));
    assert_false(wire_shows(&m, "layer3"));
    stop_mill(&m);
    expect_same_results(&m);
}

/* The control: the same relays see everything when nothing is encrypted. */
static void run_over_insecure_tcp_is_the_same_and_shows_all(void **state) {
    (void)state;
    static mill m;
    start_mill(&m, "plain.db", "--insecure", "--insecure");
    submit_and_wait(&m, "--insecure");
    assert_true(wire_shows(&m, run_name));
    assert_true(relay_saw(m.worker_side, "p0001.png", 9));
    assert_true(wire_shows(&m, "layer3"));
    stop_mill(&m);
    expect_same_results(&m);
}

/* ---- keys that are not in the list, or leave it ---- */

static void await_text(int fd, const char *text) {
    static char room[1 << 16];
    int64_t until_ms = pm_clock_ms() + PM_PATIENCE_MS;
    for (bool there = false; !there;) {
        assert_true(pm_clock_ms() < until_ms);
        ssize_t n = pread(fd, room, sizeof room - 1, 0);
        room[n > 0 ? n : 0] = '\0';
        there = strstr(room, text) != NULL;
        if (!there) usleep(10000);
    }
}

static void worker_waits_for_its_key_and_leaves_with_it(void **state) {
    (void)state;
    pm_program broker, worker, made;
    char line[LINE_BYTES], path[PM_FIXTURE_PATH], own_list[300];
    unsigned port = free_ports();
    path_of("late", path);
    path_of("own-allow", own_list);
    command(&made, 0, "keygen --role worker --name late --out %s", path);
    put_file(own_list, "# nobody\n");
    snprintf(line, sizeof line,
             "--db %s/late.db --listen tcp://127.0.0.1:%u --key %s/parchmill/broker.key --allow %s",
             fixture.folder, port, fixture.folder, own_list);
    pm_program_start_named(&broker, "parchmill-broker", line);
    await_text(broker.err_fd, "broker.ready");
    snprintf(line, sizeof line,
             "--broker tcp://127.0.0.1:%u --threads 1 --key %s.key --broker-key %s", port, path,
             broker_public);
    pm_program_start_named(&worker, "parchmill-worker", line);
    await_text(worker.err_fd, "does not know this key");
    await_text(broker.err_fd, "peer.refused");
    snprintf(line, sizeof line, "%s\n", made.out);
    put_file(own_list, line);
    await_text(worker.err_fd, "worker.link.up");
    put_file(own_list, "# nobody\n");
    pm_program_wait(&worker);
    expect_code(&worker, 1);
    assert_non_null(strstr(worker.err, "the broker refuses this worker"));
    kill(broker.pid, SIGTERM);
    pm_program_wait(&broker);
    expect_code(&broker, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keygen_overwrites_nothing),
        cmocka_unit_test(wrong_keys_are_one_line_and_no_start),
        cmocka_unit_test(run_over_keyed_tcp_is_the_same_and_shows_nothing),
        cmocka_unit_test(run_over_insecure_tcp_is_the_same_and_shows_all),
        cmocka_unit_test(worker_waits_for_its_key_and_leaves_with_it),
    };
    return cmocka_run_group_tests(tests, make_all, remove_all);
}
