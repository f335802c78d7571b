/* Owns the browser's process and the talk with it. */
#include "tests/report/browser.h"

#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { PATIENCE_MS = 90000, TO_FD = 3, FROM_FD = 4 };

static bool is_installed(void) {
    const char *path = getenv("PATH");
    char copy[4096], file[4200], *rest = NULL;
    snprintf(copy, sizeof copy, "%s", path ? path : "");
    for (char *dir = strtok_r(copy, ":", &rest); dir; dir = strtok_r(NULL, ":", &rest)) {
        snprintf(file, sizeof file, "%s/chromium", dir);
        if (access(file, X_OK) == 0) return true;
    }
    return false;
}

static json_t *receive(pm_browser *b) {
    char *end;
    while (!(end = memchr(b->bytes, 0, b->size))) {
        struct pollfd ready = {.fd = b->from, .events = POLLIN};
        if (b->size == b->room) {
            b->room = b->room * 2;
            b->bytes = realloc(b->bytes, b->room);
            assert_non_null(b->bytes);
        }
        assert_int_equal(poll(&ready, 1, PATIENCE_MS), 1);
        ssize_t n = read(b->from, b->bytes + b->size, b->room - b->size);
        assert_true(n > 0);
        b->size += (size_t)n;
    }
    size_t taken = (size_t)(end - b->bytes) + 1;
    json_t *message = json_loadb(b->bytes, taken - 1, 0, NULL);
    memmove(b->bytes, b->bytes + taken, b->size -= taken);
    assert_non_null(message);
    return message;
}

static void note(pm_browser *b, const json_t *event) {
    const char *method = json_string_value(json_object_get(event, "method"));
    if (!method) return;
    if (strcmp(method, "Page.loadEventFired") == 0) b->loaded = true;
    if (strcmp(method, "Log.entryAdded") != 0 && strcmp(method, "Runtime.exceptionThrown") != 0 &&
        strcmp(method, "Runtime.consoleAPICalled") != 0)
        return;
    char *text = json_dumps(json_object_get(event, "params"), JSON_COMPACT);
    if (b->complaints++ == 0) snprintf(b->complaint, sizeof b->complaint, "%s", text);
    free(text);
}

/* Takes `parameters`; the result, a reference of the caller's. */
static json_t *command(pm_browser *b, const char *method, json_t *parameters) {
    json_t *message = json_pack("{s:i, s:s, s:o}", "id", ++b->last, "method", method, "params",
                                parameters ? parameters : json_object());
    if (b->session) json_object_set_new(message, "sessionId", json_string(b->session));
    char *text = json_dumps(message, JSON_COMPACT);
    json_decref(message);
    size_t size = strlen(text) + 1;
    assert_int_equal(write(b->to, text, size), (ssize_t)size);
    free(text);
    for (;;) {
        message = receive(b);
        if (json_integer_value(json_object_get(message, "id")) == b->last) break;
        note(b, message);
        json_decref(message);
    }
    json_t *result = json_incref(json_object_get(message, "result"));
    if (!result) fail_msg("%s was refused", method);
    json_decref(message);
    return result;
}

static void do_command(pm_browser *b, const char *method, json_t *parameters) {
    json_decref(command(b, method, parameters));
}

/* In the child. The two ends may lie on each other's places. */
static void be_chromium(int in, int out, const char *profile) {
    char folder[96];
    snprintf(folder, sizeof folder, "--user-data-dir=%s", profile);
    int a = fcntl(in, F_DUPFD, 10), b = fcntl(out, F_DUPFD, 10);
    int quiet = open("/dev/null", O_RDWR);
    dup2(a, TO_FD);
    dup2(b, FROM_FD);
    dup2(quiet, STDOUT_FILENO);
    dup2(quiet, STDERR_FILENO);
    execlp("chromium", "chromium", "--headless=new", "--no-sandbox", "--disable-gpu",
           "--disable-dev-shm-usage", "--no-first-run", folder, "--remote-debugging-pipe",
           (char *)NULL);
    _exit(127);
}

static void attach(pm_browser *b) {
    json_t *target = command(b, "Target.createTarget", json_pack("{s:s}", "url", "about:blank"));
    json_t *session = command(
        b, "Target.attachToTarget",
        json_pack("{s:O, s:b}", "targetId", json_object_get(target, "targetId"), "flatten", 1));
    b->session = strdup(json_string_value(json_object_get(session, "sessionId")));
    json_decref(target);
    json_decref(session);
    do_command(b, "Page.enable", NULL);
    do_command(b, "Runtime.enable", NULL);
    do_command(b, "Log.enable", NULL);
}

bool pm_browser_start(pm_browser *b) {
    int to[2], from[2];
    if (!is_installed()) return false;
    *b = (pm_browser){.room = 1 << 16, .profile = "/tmp/parchmill-browser-XXXXXX"};
    b->bytes = malloc(b->room);
    assert_true(b->bytes && mkdtemp(b->profile));
    assert_int_equal(pipe2(to, O_CLOEXEC), 0);
    assert_int_equal(pipe2(from, O_CLOEXEC), 0);
    b->pid = fork();
    assert_true(b->pid >= 0);
    if (b->pid == 0) be_chromium(to[0], from[1], b->profile);
    close(to[0]);
    close(from[1]);
    b->to = to[1];
    b->from = from[0];
    attach(b);
    return true;
}

static int remove_entry(const char *path, const struct stat *info, int kind, struct FTW *where) {
    (void)info;
    (void)kind;
    (void)where;
    (void)remove(path); /* a helper of the browser may still be about to go */
    return 0;
}

void pm_browser_stop(pm_browser *b) {
    if (b->pid <= 0) return;
    close(b->to); /* it ends when nobody can tell it anything any more */
    for (char rest[4096]; read(b->from, rest, sizeof rest) > 0;) {}
    waitpid(b->pid, NULL, 0);
    close(b->from);
    nftw(b->profile, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    free(b->session);
    free(b->bytes);
    b->pid = 0;
}

static void navigate(pm_browser *b, const char *url) {
    b->loaded = false;
    do_command(b, "Page.navigate", json_pack("{s:s}", "url", url));
    while (!b->loaded) {
        json_t *event = receive(b);
        note(b, event);
        json_decref(event);
    }
}

void pm_browser_open(pm_browser *b, const char *url, int width, int height, bool dark) {
    do_command(b, "Emulation.setDeviceMetricsOverride",
               json_pack("{s:i, s:i, s:i, s:b}", "width", width, "height", height,
                         "deviceScaleFactor", 1, "mobile", width < 600));
    do_command(b, "Emulation.setEmulatedMedia",
               json_pack("{s:[{s:s, s:s}]}", "features", "name", "prefers-color-scheme", "value",
                         dark ? "dark" : "light"));
    navigate(b, "about:blank");
    b->complaints = 0;
    navigate(b, url);
}

char *pm_browser_ask(pm_browser *b, const char *expression) {
    json_t *answer = command(b, "Runtime.evaluate",
                             json_pack("{s:s, s:b, s:b}", "expression", expression, "awaitPromise",
                                       1, "returnByValue", 1));
    const json_t *value = json_object_get(json_object_get(answer, "result"), "value");
    char *text = json_is_string(value) ? strdup(json_string_value(value))
                                       : json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
    if (!text) text = strdup("");
    json_decref(answer);
    return text;
}
