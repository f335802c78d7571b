/* Questions in SQL through a broker: the same rows and errors as from the file, and whatever is
 * asked, by whom and how slowly read, the queue goes on. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "broker/queries.h"
#include "lib/base/clock.h"
#include "lib/net/rows.h"
#include "lib/store/query.h"
#include "tests/broker/fixture.h"

static const char endless[] =
    "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT count(*) FROM c";
static const char wide[] = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c)"
                           " SELECT x, zeroblob(10000) FROM c";

/* Everything that a sink is told, as text. */
typedef struct told {
    pm_buffer text;
    size_t rows;
} told;

static pm_status tell_columns(void *user, size_t count, const char *const *names,
                              const char *const *types) {
    told *t = user;
    for (size_t i = 0; i < count; i++)
        assert_int_equal(pm_buffer_printf(&t->text, "%s %s|", names[i], types[i]), PM_OK);
    return PM_OK;
}

static pm_status tell_row(void *user, size_t count, const pm_value *values) {
    told *t = user;
    t->rows++;
    return pm_rows_add(&t->text, count, values);
}

static pm_status ask_broker(scene *s, const pm_client_question *question, told *out, bool *cut) {
    const pm_query_sink sink = {.user = out, .columns = tell_columns, .row = tell_row};
    *out = (told){.rows = 0};
    return pm_client_query(s->client, question, &sink, cut);
}

static pm_status ask_file(scene *s, const pm_client_question *question, told *out, bool *cut) {
    pm_query *query = NULL;
    pm_query_limits limits = pm_query_default_limits;
    const pm_query_sink sink = {.user = out, .columns = tell_columns, .row = tell_row};
    limits.rows_max = question->rows_max;
    *out = (told){.rows = 0};
    pm_status status = pm_query_open(s->db, &limits, &query);
    if (!status)
        status = pm_query_run(query, question->sql, question->parameters, question->parameter_count,
                              &sink, cut);
    pm_query_close(&query);
    return status;
}

/* Ask, take the columns, and leave it at that. */
static void ask_and_wait(pm_client *client, const char *sql, uint32_t credit, uint32_t time_ms) {
    Pm__Wire__Query query = PM__WIRE__QUERY__INIT;
    pm_message answer;
    query.sql = (char *)sql;
    query.credit_bytes = credit;
    query.has_time_ms = time_ms != 0;
    query.time_ms = time_ms;
    Pm__Wire__Message m = pm_wire_query(&query);
    assert_int_equal(pm_client_call(client, &m, NULL, 0, WAIT_MS, &answer), PM_OK);
    assert_int_equal(answer.body->body_case, PM__WIRE__MESSAGE__BODY_QUERY_COLUMNS);
    pm_message_fini(&answer);
}

static pm_client *connect_client(scene *s) {
    pm_client *client = NULL;
    assert_int_equal(pm_client_open(s->url, NULL, WAIT_MS, &client), PM_OK);
    return client;
}

/* Processes that answer. */
static size_t answering(const scene *s) {
    char path[64], text[512] = "";
    size_t count = 0;
    snprintf(path, sizeof path, "/proc/%d/task/%d/children", s->broker, s->broker);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    if (!fgets(text, sizeof text, file)) text[0] = 0;
    fclose(file);
    for (const char *c = text; *c; c++) count += *c == ' ';
    return count;
}

static void await_answering(scene *s, size_t count) {
    const int64_t deadline_ms = pm_clock_ms() + WAIT_MS;
    while (answering(s) != count) {
        assert_true(pm_clock_ms() < deadline_ms);
        usleep(2000);
    }
}

static void do_run(scene *s, const char *name) {
    worker w = {0};
    pm_accepted accepted = submit(s, 4, name);
    worker_join(s, &w, NULL);
    worker_credit(&w, 1);
    worker_take(&w);
    for (uint64_t i = 0; i < 4; i++) worker_result(&w, i, w.token);
    await_state(s, accepted.run, "done");
    worker_leave(&w);
}

static void broker_and_file_give_the_same_rows(void **state) {
    scene *s = *state;
    const pm_value parameters[] = {{.kind = PM_VALUE_INTEGER, .integer = INT64_MIN},
                                   {.kind = PM_VALUE_REAL, .real = 0.1},
                                   {.kind = PM_VALUE_TEXT, .text = "it's", .size = 4},
                                   {.kind = PM_VALUE_BLOB, .text = "\0\x01", .size = 2},
                                   {.kind = PM_VALUE_NULL}};
    const pm_client_question questions[] = {
        {.sql = "SELECT * FROM run"},
        {.sql = "SELECT * FROM result_wide"},
        {.sql = "SELECT * FROM run WHERE 0"},
        {.sql = "SELECT ?1, ?2, ?3, ?4, ?5, -0.0, 9e999, 5e-324, x''",
         .parameters = parameters,
         .parameter_count = 5},
        {.sql = "SELECT * FROM result", .rows_max = 3},
        {.sql = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c LIMIT 50000)"
                " SELECT x, x * 0.1, 'text ' || x, x'01' FROM c"},
        {.sql = "SELECT zeroblob(3000000), zeroblob(3000000) UNION ALL SELECT 1, 2"},
    };
    do_run(s, "rows");
    for (size_t i = 0; i < sizeof questions / sizeof *questions; i++) {
        told here, there;
        bool cut_here = false, cut_there = false;
        assert_int_equal(ask_file(s, &questions[i], &here, &cut_here), PM_OK);
        assert_int_equal(ask_broker(s, &questions[i], &there, &cut_there), PM_OK);
        assert_int_equal(here.rows, there.rows);
        assert_int_equal(here.text.size, there.text.size);
        assert_memory_equal(here.text.bytes, there.text.bytes, here.text.size);
        assert_int_equal(cut_here, cut_there);
        assert_true(questions[i].rows_max == 0 || (cut_here && here.rows == questions[i].rows_max));
        pm_buffer_fini(&here.text);
        pm_buffer_fini(&there.text);
    }
}

/* What the command writes, and its exit code behind it. */
static void say(const scene *s, const char *words, const char *where, char out[8192]) {
    char command[2048];
    snprintf(command, sizeof command, "%s/parchmill %s %s 2>&1; echo =$?",
             getenv("PARCHMILL_BIN_DIR"), words, where);
    FILE *pipe = popen(command, "r");
    assert_non_null(pipe);
    out[fread(out, 1, 8191, pipe)] = 0;
    assert_int_equal(pclose(pipe), 0);
    (void)s;
}

static void commands_say_the_same_of_a_broker_and_of_its_file(void **state) {
    scene *s = *state;
    static const char *const commands[] = {
        "sql 'SELECT * FROM run_progress'",
        "sql --format csv 'SELECT *, 0.1, 1e300, NULL FROM result_wide'",
        "sql --format json 'SELECT * FROM result'",
        "sql 'SELECT * FROM nothing'",
        "sql 'SELECT median(p_target), ci95(p_target) FROM result' --format markdown",
        "sql 'SELECT i, value FROM values_bits(zeroblob(1))' --format jsonl --max-rows 3",
        "sql --timeout 0.3 'WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)"
        " SELECT sum(i) FROM n'",
        "sql --timeout 0.3 'WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)"
        " SELECT i FROM n ORDER BY randomblob(1000)'",
        "sql 'DELETE FROM run'",
        "stats list",
        "stats list --json",
    };
    char broker[128], file[128], there[8192], here[8192];
    snprintf(broker, sizeof broker, "--broker %s", s->url);
    snprintf(file, sizeof file, "--db %s", s->db);
    do_run(s, "commands");
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        say(s, commands[i], broker, there);
        say(s, commands[i], file, here);
        assert_string_equal(there, here);
    }
}

static void broker_and_file_refuse_alike(void **state) {
    scene *s = *state;
    static const char *const bad[] = {
        "SELEC 1",
        "",
        "SELECT 1; SELECT 2",
        "SELECT * FROM nothing",
        "INSERT INTO run (name) VALUES ('x')",
        "DELETE FROM result",
        "DROP TABLE result",
        "CREATE TEMP TABLE t (x)",
        "ATTACH '/tmp/parchmill-never' AS other",
        "PRAGMA writable_schema = 1",
        "PRAGMA journal_mode = DELETE",
        "PRAGMA wal_checkpoint(TRUNCATE)",
        "VACUUM INTO '/tmp/parchmill-never'",
        "BEGIN IMMEDIATE",
        "SELECT load_extension('x')",
        "SELECT zeroblob(70000000)",
        "UPDATE sqlite_master SET sql = ''",
        "SELECT writefile('/tmp/parchmill-never', 'x')",
        "SELECT ?1 FROM run WHERE",
        "CREATE VIRTUAL TABLE t USING values_f32(1)",
        "SELECT fts3_tokenizer('simple', x'4141414141414141')",
        "SELECT readfile('/etc/passwd')",
        "SELECT edit('x')",
        "SELECT hex(zeroblob(1 << 30))",
        "SELECT replace(hex(zeroblob(10000000)), '0', 'parchmill')",
        "SELECT i FROM values_f32(x'010203')",
        "SELECT i FROM values_f32",
        "SELECT heat_png(zeroblob(60000000))",
        "SELECT count_bits(zeroblob(60000000))",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char text[512];
        told out;
        const pm_client_question question = {.sql = bad[i]};
        assert_int_not_equal(ask_file(s, &question, &out, NULL), PM_OK);
        snprintf(text, sizeof text, "%s", pm_error_text());
        pm_buffer_fini(&out.text);
        assert_int_not_equal(ask_broker(s, &question, &out, NULL), PM_OK);
        assert_string_equal(pm_error_text(), text);
        assert_null(strchr(text, '\n'));
        pm_buffer_fini(&out.text);
    }
    assert_int_equal(access("/tmp/parchmill-never", F_OK), -1);
    submit(s, 1, "alive");
}

static void work_goes_on_while_an_endless_question_runs_and_is_ended(void **state) {
    scene *s = *state;
    pm_client *client = connect_client(s);
    pm_message answer;
    ask_and_wait(client, endless, 1000, 0);
    do_run(s, "beside");
    assert_int_equal(answering(s), 1); /* all that was recorded beside it */
    pm_client_free(&client);
    await_answering(s, 0);
    client = connect_client(s);
    ask_and_wait(client, endless, 1000, 300);
    assert_int_equal(pm_client_next(client, WAIT_MS, &answer), PM_E_LIMIT);
    assert_string_equal(pm_error_text(), "SQL: stopped after 300 ms");
    await_answering(s, 0);
    pm_client_free(&client);
}

static void memory_that_a_question_takes_has_an_end(void **state) {
    scene *s = *state;
    told out;
    /* Each value is allowed, all of them together are not. */
    pm_buffer sql = {0};
    for (int i = 0; i < 40; i++)
        assert_int_equal(
            pm_buffer_printf(&sql, "%s zeroblob(6%d) || ''", i ? "," : "SELECT", 7000000 + i),
            PM_OK);
    const pm_client_question question = {.sql = (char *)sql.bytes};
    pm_status status = ask_broker(s, &question, &out, NULL);
    assert_int_equal(status, PM_E_LIMIT);
    assert_non_null(strstr(pm_error_text(), "needs more than"));
    pm_buffer_fini(&out.text);
    pm_buffer_fini(&sql);
    const pm_client_question row = {.sql = "SELECT zeroblob(60000000), zeroblob(60000000)"};
    assert_int_equal(ask_broker(s, &row, &out, NULL), PM_E_LIMIT);
    assert_non_null(strstr(pm_error_text(), "a row of more than"));
    pm_buffer_fini(&out.text);
    submit(s, 1, "alive");
}

static size_t resident_kib(pid_t pid) {
    char path[64], line[256];
    size_t kib = 0;
    snprintf(path, sizeof path, "/proc/%d/status", pid);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    while (fgets(line, sizeof line, file)) sscanf(line, "VmRSS: %zu", &kib);
    fclose(file);
    return kib;
}

/* As /proc says: S asleep, Z ended; 0: not there any more. */
static char state_of(pid_t pid) {
    char path[64], state = 0;
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    FILE *file = fopen(path, "r");
    if (!file) return 0;
    if (fscanf(file, "%*d (%*[^)]) %c", &state) != 1) state = 0;
    fclose(file);
    return state;
}

static void await_asleep(pid_t pid) {
    const int64_t deadline_ms = pm_clock_ms() + WAIT_MS;
    while (state_of(pid) != 'S') assert_true(pm_clock_ms() < deadline_ms);
}

/* It computes: what it has to say first is out. */
static void await_computing(pid_t pid) {
    const int64_t deadline_ms = pm_clock_ms() + WAIT_MS;
    for (unsigned long ticks = 0; ticks < 10;) {
        char path[64];
        snprintf(path, sizeof path, "/proc/%d/stat", pid);
        FILE *file = fopen(path, "r");
        assert_non_null(file);
        assert_int_equal(
            fscanf(file, "%*d (%*[^)]) %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu", &ticks),
            1);
        fclose(file);
        assert_true(pm_clock_ms() < deadline_ms);
    }
}

static pid_t only_child(const scene *s) {
    char path[64];
    int pid = 0;
    snprintf(path, sizeof path, "/proc/%d/task/%d/children", s->broker, s->broker);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    assert_int_equal(fscanf(file, "%d", &pid), 1);
    fclose(file);
    return pid;
}

static void reader_that_does_not_read_costs_a_bounded_buffer_and_is_ended(void **state) {
    scene *s = *state;
    pm_client *client = connect_client(s);
    pm_message answer;
    size_t before_kib = resident_kib(s->broker), frames = 0;
    ask_and_wait(client, wide, 1, 1000);
    for (int i = 0; i < 20; i++) await_asleep(only_child(s)); /* the pipe is full */
    do_run(s, "meanwhile");
    assert_true(resident_kib(s->broker) < before_kib + 8192);
    pm_status status;
    while ((status = pm_client_next(client, WAIT_MS, &answer)) == PM_OK) {
        frames++;
        pm_message_fini(&answer);
    }
    assert_int_equal(frames, 1); /* what the credit was for */
    assert_int_equal(status, PM_E_LIMIT);
    assert_string_equal(pm_error_text(), "SQL: stopped after 1000 ms");
    await_answering(s, 0);
    pm_client_free(&client);
}

static void question_of_a_killed_client_ends(void **state) {
    scene *s = *state;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        char program[512];
        snprintf(program, sizeof program, "%s/parchmill", getenv("PARCHMILL_BIN_DIR"));
        execl(program, program, "sql", endless, "--broker", s->url, (char *)NULL);
        _exit(127);
    }
    await_answering(s, 1);
    await_computing(only_child(s));
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    await_answering(s, 0);
}

static void so_many_questions_at_once_and_the_next_is_told_so(void **state) {
    scene *s = *state;
    pm_client *clients[PM_QUERIES_MAX + 1];
    Pm__Wire__Query query = PM__WIRE__QUERY__INIT;
    pm_message answer;
    for (int i = 0; i <= PM_QUERIES_MAX; i++) {
        clients[i] = connect_client(s);
        if (i < PM_QUERIES_MAX) ask_and_wait(clients[i], wide, 1, 0);
    }
    query.sql = (char *)"SELECT 1";
    query.credit_bytes = 1;
    Pm__Wire__Message m = pm_wire_query(&query);
    assert_int_equal(pm_client_call(clients[PM_QUERIES_MAX], &m, NULL, 0, WAIT_MS, &answer),
                     PM_E_BUSY);
    Pm__Wire__QueryMore more = PM__WIRE__QUERY_MORE__INIT;
    more.has_stop = more.stop = true;
    Pm__Wire__Message enough = pm_wire_query_more(&more);
    assert_int_equal(pm_client_tell(clients[0], &enough), PM_OK);
    await_answering(s, PM_QUERIES_MAX - 1);
    told out;
    const pm_client_question question = {.sql = "SELECT 1"};
    assert_int_equal(ask_broker(s, &question, &out, NULL), PM_OK);
    assert_int_equal(out.rows, 1);
    pm_buffer_fini(&out.text);
    for (int i = 0; i <= PM_QUERIES_MAX; i++) pm_client_free(&clients[i]);
    await_answering(s, 0);
}

static off_t wal_bytes(const scene *s) {
    char path[128];
    struct stat info;
    snprintf(path, sizeof path, "%s-wal", s->db);
    return stat(path, &info) == 0 ? info.st_size : 0;
}

/* Some megabytes. */
static void submit_much(scene *s, int number) {
    enum { COUNT = 400, PATH = 3000 };
    pm_config config = {.arch = "resnet18", .resize = 256, .crop = 224};
    pm_run_spec spec = {.classes = 1000, .config_count = 1, .configs = &config};
    static pm_item items[COUNT];
    static char paths[COUNT][PATH + 1];
    pm_data_set set = {.root = s->folder, .name = (char *)"much", .count = COUNT, .items = items};
    pm_accepted accepted;
    snprintf(spec.name, sizeof spec.name, "much %d", number);
    spec.weights_size = 10;
    config.std[0] = config.std[1] = config.std[2] = 1;
    config.target_rule = PM_TARGET_RULE_TOP;
    pm_attribution_defaults(&config.attribution);
    for (size_t i = 0; i < COUNT; i++) {
        memset(paths[i], 'p', PATH);
        snprintf(paths[i], 32, "%d-%zu", number, i);
        paths[i][strlen(paths[i])] = '-';
        items[i] = (pm_item){.path = paths[i], .size_bytes = 5, .label = -1};
        items[i].sha256 = pm_sha256_of(paths[i], PATH);
    }
    assert_int_equal(pm_client_submit(s->client, &spec, &set, NULL, false, WAIT_MS, &accepted),
                     PM_OK);
}

static void wal_grows_under_a_long_question_and_shrinks_behind_it(void **state) {
    enum { KEPT = 8 << 20, GROWN = 12 << 20, RUNS_MOST = 100 };
    scene *s = *state;
    pm_client *client = connect_client(s);
    int number = 0;
    submit(s, 16, "rows to be read");
    ask_and_wait(client, "SELECT zeroblob(1000000) FROM image a, image b, image c", 1, 0);
    while (wal_bytes(s) < GROWN && number < RUNS_MOST) submit_much(s, number++);
    assert_true(wal_bytes(s) >= GROWN);
    assert_int_equal(answering(s), 1);
    pm_client_free(&client);
    await_answering(s, 0);
    for (int i = 0; wal_bytes(s) > KEPT && i < 10; i++) submit_much(s, number++);
    assert_true(wal_bytes(s) <= KEPT);
}

static void broker_stops_cleanly_beside_a_question(void **state) {
    scene *s = *state;
    pm_client *client = connect_client(s);
    submit(s, 16, "rows to be read");
    ask_and_wait(client, "SELECT zeroblob(1000000) FROM image a, image b, image c", 1, 0);
    pid_t child = only_child(s);
    kill(s->broker, SIGTERM);
    assert_int_equal(await_broker(s), 0);
    assert_int_equal(kill(child, 0), -1);
    assert_int_equal(wal_bytes(s), 0);
    assert_int_equal(ask(s, "SELECT count(*) FROM run"), 1);
    pm_client_free(&client);
}

static void question_does_not_outlive_a_killed_broker(void **state) {
    scene *s = *state;
    pm_client *client = connect_client(s);
    ask_and_wait(client, endless, 1, 0);
    pid_t child = only_child(s);
    kill_broker(s);
    const int64_t deadline_ms = pm_clock_ms() + WAIT_MS;
    for (char is = 'R'; is && is != 'Z'; is = state_of(child))
        assert_true(pm_clock_ms() < deadline_ms);
    pm_client_free(&client);
}

static void versions_that_differ_are_refused_with_both(void **state) {
    scene *s = *state;
    char wants[96];
    told out;
    pm_client_question question = {.sql = "SELECT 1", .schema_version = PM_SCHEMA_VERSION};
    assert_int_equal(pm_client_schema_version(s->client), PM_SCHEMA_VERSION);
    assert_int_equal(ask(s, "SELECT user_version FROM pragma_user_version"), PM_SCHEMA_VERSION);
    assert_int_equal(ask_broker(s, &question, &out, NULL), PM_OK);
    pm_buffer_fini(&out.text);
    for (uint32_t other = PM_SCHEMA_VERSION - 1; other <= PM_SCHEMA_VERSION + 1; other += 2) {
        question.schema_version = other;
        assert_int_equal(ask_broker(s, &question, &out, NULL), PM_E_MISMATCH);
        snprintf(wants, sizeof wants, "has schema %d, the command was written for %u",
                 PM_SCHEMA_VERSION, other);
        assert_non_null(strstr(pm_error_text(), wants));
        pm_buffer_fini(&out.text);
    }
}

int main(void) {
#define SCENE(test) cmocka_unit_test_setup_teardown(test, scene_set_up, scene_tear_down)
    const struct CMUnitTest tests[] = {
        SCENE(broker_and_file_give_the_same_rows),
        SCENE(commands_say_the_same_of_a_broker_and_of_its_file),
        SCENE(broker_and_file_refuse_alike),
        SCENE(work_goes_on_while_an_endless_question_runs_and_is_ended),
        SCENE(memory_that_a_question_takes_has_an_end),
        SCENE(reader_that_does_not_read_costs_a_bounded_buffer_and_is_ended),
        SCENE(question_of_a_killed_client_ends),
        SCENE(so_many_questions_at_once_and_the_next_is_told_so),
        SCENE(wal_grows_under_a_long_question_and_shrinks_behind_it),
        SCENE(broker_stops_cleanly_beside_a_question),
        SCENE(question_does_not_outlive_a_killed_broker),
        SCENE(versions_that_differ_are_refused_with_both),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
