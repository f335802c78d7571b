/* Owns child programs of the end-to-end tests. */
#include "tests/integration/command.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/base/clock.h"
#include "lib/store/query.h"

enum { WORDS_MAX = 64, LINE_BYTES = 4096 };

static int split(char *line, char *argv[WORDS_MAX]) {
    int argc = 0;
    for (char *p = line; *p;) {
        while (*p == ' ') p++;
        if (!*p) break;
        char end = *p == '\'' ? '\'' : ' ';
        if (end == '\'') p++;
        assert_true(argc < WORDS_MAX - 1);
        argv[argc++] = p;
        while (*p && *p != end) p++;
        if (*p) *p++ = '\0';
    }
    argv[argc] = NULL;
    return argc;
}

static int output_file(void) {
    char path[] = "/tmp/parchmill-output-XXXXXX";
    int fd = mkostemp(path, O_CLOEXEC);
    assert_true(fd >= 0);
    unlink(path);
    return fd;
}

void pm_program_start_named(pm_program *program, const char *name, const char *line) {
    char copy[LINE_BYTES], path[1024];
    char *argv[WORDS_MAX];
    const char *folder = getenv("PARCHMILL_BIN_DIR");
    assert_true(strlen(name) + strlen(line) + 2 < sizeof copy);
    snprintf(copy, sizeof copy, "%s %s", name, line);
    snprintf(path, sizeof path, "%s/%s", folder ? folder : "build/dev/bin", name);
    split(copy, argv);
    *program = (pm_program){.out_fd = output_file(), .err_fd = output_file()};
    program->pid = fork();
    assert_true(program->pid >= 0);
    if (program->pid == 0) {
        dup2(program->out_fd, STDOUT_FILENO);
        dup2(program->err_fd, STDERR_FILENO);
        execv(path, argv);
        _exit(127);
    }
}

void pm_program_start(pm_program *program, const char *line) {
    pm_program_start_named(program, "parchmill", line);
}

static void read_back(int fd, char out[PM_OUTPUT_BYTES]) {
    ssize_t n = pread(fd, out, PM_OUTPUT_BYTES - 1, 0);
    out[n > 0 ? n : 0] = '\0';
    close(fd);
}

void pm_program_wait(pm_program *program) {
    int status = 0;
    int64_t until_ms = pm_clock_ms() + PM_PATIENCE_MS;
    while (waitpid(program->pid, &status, WNOHANG) == 0) {
        if (pm_clock_ms() > until_ms) {
            kill(program->pid, SIGKILL);
            fail_msg("the program does not end");
        }
        nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
    }
    program->pid = 0;
    program->code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    read_back(program->out_fd, program->out);
    read_back(program->err_fd, program->err);
}

int pm_program_run(pm_program *program, const char *line) {
    pm_program_start(program, line);
    pm_program_wait(program);
    return program->code;
}

/* "PID (NAME) STATE PPID ..." */
static bool is_child(const char *pid, pid_t parent, const char *name) {
    char path[64], text[512];
    snprintf(path, sizeof path, "/proc/%.20s/stat", pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return false;
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    if (n <= 0) return false;
    text[n] = '\0';
    char *open_at = strchr(text, '('), *close_at = strrchr(text, ')');
    long ppid;
    char state;
    if (!open_at || !close_at || sscanf(close_at + 1, " %c %ld", &state, &ppid) != 2) return false;
    /* The kernel keeps 15 characters of a name. */
    return ppid == parent && state != 'Z' && strncmp(open_at + 1, name, strlen(name)) == 0;
}

size_t pm_children(pid_t parent, const char *name, pid_t *out, size_t most) {
    size_t count = 0;
    DIR *folder = opendir("/proc");
    assert_non_null(folder);
    for (struct dirent *entry; count < most && (entry = readdir(folder));)
        if (entry->d_name[0] >= '0' && entry->d_name[0] <= '9' &&
            is_child(entry->d_name, parent, name))
            out[count++] = (pid_t)strtol(entry->d_name, NULL, 10);
    closedir(folder);
    return count;
}

static pm_status take_number(void *user, size_t count, const pm_value *values) {
    if (count && values[0].kind == PM_VALUE_INTEGER) *(int64_t *)user = values[0].integer;
    return PM_OK;
}

int64_t pm_ask_number(const char *db, const char *sql) {
    int64_t number = -1;
    pm_query *query = NULL;
    pm_query_sink sink = {.user = &number, .row = take_number};
    if (access(db, F_OK) != 0) return -1;
    if (!pm_query_open(db, &pm_query_default_limits, &query))
        (void)pm_query_run(query, sql, NULL, 0, &sink, NULL);
    pm_query_close(&query);
    return number;
}

char *pm_dump(const char *db) {
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    assert_non_null(out);
    if (pm_store_dump(db, out)) fail_msg("dump: %s", pm_error_text());
    fclose(out);
    return text;
}
