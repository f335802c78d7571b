/* Keys over real sockets: who gets in, who is told what, and what goes over the wire. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "tests/net/keyed.h"

enum { PATIENCE_MS = 10000 };

typedef struct fixture {
    char folder[64], list[96], url[64], plain_url[64];
    unsigned port, plain_port;
    pm_credentials broker, client, worker, admin, stranger;
    pm_router *router;
} fixture;

static void put_usual_list(const fixture *f) {
    const listed keys[] = {{"client", "ann", &f->client},
                           {"worker", "gpu7", &f->worker},
                           {"admin", "root@here", &f->admin}};
    put_list(f->list, keys, 3);
}

static int set_up(void **state) {
    fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    strcpy(f->folder, "/tmp/parchmill-curve-XXXXXX");
    assert_non_null(mkdtemp(f->folder));
    snprintf(f->list, sizeof f->list, "%s/allow", f->folder);
    assert_int_equal(pm_keys_new(&f->broker), PM_OK);
    f->client = peer_key(&f->broker);
    f->worker = peer_key(&f->broker);
    f->admin = peer_key(&f->broker);
    f->stranger = peer_key(&f->broker);
    put_usual_list(f);
    f->port = free_ports();
    f->plain_port = free_ports();
    snprintf(f->url, sizeof f->url, "tcp://127.0.0.1:%u", f->port);
    snprintf(f->plain_url, sizeof f->plain_url, "tcp://127.0.0.1:%u", f->plain_port);
    assert_int_equal(pm_router_new(&f->router), PM_OK);
    assert_int_equal(pm_router_allow(f->router, f->list), PM_OK);
    assert_int_equal(pm_router_bind(f->router, f->url, &f->broker), PM_OK);
    const pm_credentials insecure = {.insecure = true};
    assert_int_equal(pm_router_bind(f->router, f->plain_url, &insecure), PM_OK);
    *state = f;
    return 0;
}

static int tear_down(void **state) {
    fixture *f = *state;
    char command[128];
    pm_router_free(&f->router);
    snprintf(command, sizeof command, "rm -rf %s", f->folder);
    assert_int_equal(system(command), 0);
    free(f);
    return 0;
}

static pm_link *link_to(const char *url, pm_role role, const pm_credentials *with) {
    pm_link *link = NULL;
    assert_int_equal(pm_link_new(url, role, with, &link), PM_OK);
    assert_int_equal(pm_link_connect(link), PM_OK);
    return link;
}

static void say(pm_link *link, const pm_bytes *frames, size_t count) {
    Pm__Wire__Heartbeat beat = PM__WIRE__HEARTBEAT__INIT;
    Pm__Wire__Message message = pm_wire_heartbeat(&beat);
    assert_int_equal(pm_link_send(link, &message, frames, count), PM_OK);
}

/* The next message that reaches the router; PM_E_TIMEOUT once the link has given up, or when
 * `within_ms` have passed. */
static pm_status hear(fixture *f, pm_link *link, int within_ms, pm_peer *peer, size_t *frames) {
    int64_t until_ms = pm_clock_ms() + within_ms;
    while (pm_clock_ms() < until_ms) {
        bool any;
        pm_message message;
        assert_int_equal(pm_router_wait(f->router, NULL, 0, 20, &any), PM_OK);
        pm_status status = pm_router_receive(f->router, peer, &message);
        if (!status) {
            if (frames) *frames = message.frame_count;
            pm_message_fini(&message);
            return PM_OK;
        }
        assert_int_equal(status, PM_E_TIMEOUT);
        if (link && pm_link_lost(link)) return PM_E_TIMEOUT;
    }
    return PM_E_TIMEOUT;
}

static pm_peer heard(fixture *f, pm_link *link) {
    pm_peer peer;
    say(link, NULL, 0);
    assert_int_equal(hear(f, link, PATIENCE_MS, &peer, NULL), PM_OK);
    return peer;
}

/* ---- who gets in ---- */

static void listed_key_has_its_role_and_identity(void **state) {
    fixture *f = *state;
    const struct {
        pm_credentials *key;
        pm_role at, role;
        const char *name;
    } cases[] = {{&f->client, PM_ROLE_CLIENT, PM_ROLE_CLIENT, "ann"},
                 {&f->worker, PM_ROLE_WORKER, PM_ROLE_WORKER, "gpu7"},
                 {&f->admin, PM_ROLE_CLIENT, PM_ROLE_ADMIN, "root@here"},
                 /* the right key at the wrong socket */
                 {&f->client, PM_ROLE_WORKER, PM_ROLE_NONE, "ann"},
                 {&f->admin, PM_ROLE_WORKER, PM_ROLE_NONE, "root@here"},
                 {&f->worker, PM_ROLE_CLIENT, PM_ROLE_NONE, "gpu7"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        pm_link *link = link_to(f->url, cases[i].at, cases[i].key);
        pm_peer peer = heard(f, link);
        assert_int_equal(peer.role, cases[i].role);
        assert_int_equal(peer.port, pm_role_port(cases[i].at));
        assert_true(peer.identity == pm_key_identity(cases[i].key->public_key));
        assert_string_equal(pm_router_name(f->router, peer.identity), cases[i].name);
        /* And the way back. */
        Pm__Wire__Heartbeat beat = PM__WIRE__HEARTBEAT__INIT;
        Pm__Wire__Message message = pm_wire_heartbeat(&beat);
        pm_message answer;
        assert_int_equal(pm_router_send(f->router, &peer, &message, NULL, 0), PM_OK);
        assert_int_equal(pm_link_receive(link, PATIENCE_MS, &answer), PM_OK);
        pm_message_fini(&answer);
        assert_int_equal(pm_link_handshake(link), PM_OK);
        pm_link_free(&link);
    }
}

/* Nothing arrives, and the peer is told why. */
static void expect_shut_out(fixture *f, const char *url, const pm_credentials *with,
                            pm_status expected, const char *word) {
    pm_link *link = link_to(url, PM_ROLE_CLIENT, with);
    pm_peer peer;
    say(link, NULL, 0);
    assert_int_equal(hear(f, link, PATIENCE_MS, &peer, NULL), PM_E_TIMEOUT);
    assert_true(pm_link_lost(link));
    pm_status status = pm_link_handshake(link);
    /* Where only one side has keys, the broker may hang up before we have read its greeting. */
    if (expected != PM_E_PROTOCOL || status != PM_E_MISMATCH) assert_int_equal(status, expected);
    assert_non_null(strstr(pm_error_text(), word));
    pm_link_free(&link);
}

static void unlisted_key_is_shut_out_and_told(void **state) {
    fixture *f = *state;
    expect_shut_out(f, f->url, &f->stranger, PM_E_DENIED, "does not know this key");
    assert_non_null(strstr(pm_error_text(), f->stranger.public_key));
    assert_null(strstr(pm_error_text(), f->stranger.secret_key));
}

static void wrong_broker_key_is_told_from_an_unlisted_one(void **state) {
    fixture *f = *state;
    pm_credentials other = f->client;
    memcpy(other.broker_key, f->stranger.public_key, sizeof other.broker_key);
    expect_shut_out(f, f->url, &other, PM_E_MISMATCH, "--broker-key");
}

static void key_and_no_key_do_not_meet(void **state) {
    fixture *f = *state;
    const pm_credentials insecure = {.insecure = true};
    expect_shut_out(f, f->url, &insecure, PM_E_PROTOCOL, "asks for a key");
    expect_shut_out(f, f->plain_url, &f->client, PM_E_PROTOCOL, "none");
}

static void nobody_there_is_no_failed_handshake(void **state) {
    fixture *f = *state;
    char url[64];
    pm_peer peer;
    snprintf(url, sizeof url, "tcp://127.0.0.1:%u", free_ports());
    pm_link *link = link_to(url, PM_ROLE_CLIENT, &f->client);
    say(link, NULL, 0);
    assert_int_equal(hear(f, link, 300, &peer, NULL), PM_E_TIMEOUT);
    assert_false(pm_link_lost(link));
    assert_int_equal(pm_link_handshake(link), PM_OK);
    pm_link_free(&link);
}

static void ipv6_loopback_works(void **state) {
    fixture *f = *state;
    char url[64];
    struct sockaddr_in6 at = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    int probe = socket(AF_INET6, SOCK_STREAM, 0);
    bool there = probe >= 0 && bind(probe, (struct sockaddr *)&at, sizeof at) == 0;
    if (probe >= 0) close(probe);
    if (!there) {
        print_message("no IPv6 on this machine\n");
        skip();
    }
    snprintf(url, sizeof url, "tcp://[::1]:%u", free_ports());
    assert_int_equal(pm_router_bind(f->router, url, &f->broker), PM_OK);
    pm_link *link = link_to(url, PM_ROLE_WORKER, &f->worker);
    assert_int_equal(heard(f, link).role, PM_ROLE_WORKER);
    pm_link_free(&link);
    /* What was bound before still is. */
    link = link_to(f->url, PM_ROLE_WORKER, &f->worker);
    assert_int_equal(heard(f, link).role, PM_ROLE_WORKER);
    pm_link_free(&link);
}

static void keys_need_a_list(void **state) {
    fixture *f = *state;
    char url[64];
    pm_router *bare = NULL;
    snprintf(url, sizeof url, "tcp://127.0.0.1:%u", free_ports());
    assert_int_equal(pm_router_new(&bare), PM_OK);
    assert_int_equal(pm_router_bind(bare, url, &f->broker), PM_E_USAGE);
    assert_non_null(strstr(pm_error_text(), "--allow"));
    assert_int_equal(pm_router_allow(bare, f->list), PM_E_BUSY); /* one a process */
    pm_router_free(&bare);
}

static void socket_files_are_the_users_alone(void **state) {
    fixture *f = *state;
    char url[128], path[128];
    struct stat info;
    mode_t mask = umask(0);
    snprintf(url, sizeof url, "ipc://%s/s", f->folder);
    assert_int_equal(pm_router_bind(f->router, url, NULL), PM_OK);
    umask(mask);
    for (int i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "%s/s%s", f->folder, i ? ".w" : "");
        assert_int_equal(stat(path, &info), 0);
        assert_int_equal(info.st_mode & 0777, 0600);
    }
}

/* ---- the list changes ---- */

/* Until the router has seen it. */
static void await_version(fixture *f, uint64_t version) {
    int64_t until_ms = pm_clock_ms() + PATIENCE_MS;
    bool any;
    while (pm_router_allow_version(f->router) < version) {
        assert_true(pm_clock_ms() < until_ms);
        assert_int_equal(pm_router_wait(f->router, NULL, 0, 20, &any), PM_OK);
    }
}

static void changed_list_counts_from_the_next_message(void **state) {
    fixture *f = *state;
    pm_link *link = link_to(f->url, PM_ROLE_WORKER, &f->worker);
    pm_peer peer = heard(f, link);
    assert_int_equal(peer.role, PM_ROLE_WORKER);
    listed keys[] = {{"client", "ann", &f->client}, {"client", "gpu7", &f->worker}};
    put_list(f->list, keys, 2); /* demoted */
    await_version(f, 1);
    assert_int_equal(pm_router_role(f->router, &peer), PM_ROLE_NONE);
    peer = heard(f, link);
    assert_int_equal(peer.role, PM_ROLE_NONE);
    put_list(f->list, keys, 1); /* removed */
    await_version(f, 2);
    peer = heard(f, link);
    assert_int_equal(peer.role, PM_ROLE_NONE);
    assert_true(peer.identity == pm_key_identity(f->worker.public_key));
    assert_string_equal(pm_router_name(f->router, peer.identity), "");
    expect_shut_out(f, f->url, &f->worker, PM_E_DENIED, "does not know");
    put_usual_list(f); /* and back, on the same connection */
    await_version(f, 3);
    assert_int_equal(heard(f, link).role, PM_ROLE_WORKER);
    pm_link_free(&link);
}

/* What goes to stderr meanwhile. */
typedef struct log_catch {
    int before, file;
} log_catch;

static log_catch log_begin(void) {
    char path[] = "/tmp/parchmill-log-XXXXXX";
    log_catch log = {.before = dup(STDERR_FILENO), .file = mkstemp(path)};
    assert_true(log.before >= 0 && log.file >= 0);
    unlink(path);
    dup2(log.file, STDERR_FILENO);
    return log;
}

static void log_restore(log_catch *log) {
    dup2(log->before, STDERR_FILENO);
    close(log->before);
    close(log->file);
}

static void await_log(fixture *f, const log_catch *log, const char *word) {
    char text[8192];
    int64_t until_ms = pm_clock_ms() + PATIENCE_MS;
    for (bool any, there = false; !there;) {
        assert_true(pm_clock_ms() < until_ms);
        assert_int_equal(pm_router_wait(f->router, NULL, 0, 20, &any), PM_OK);
        ssize_t n = pread(log->file, text, sizeof text - 1, 0);
        text[n > 0 ? n : 0] = '\0';
        there = strstr(text, word) != NULL;
    }
}

static void broken_list_leaves_the_old_one_in_force(void **state) {
    fixture *f = *state;
    char text[256];
    log_catch log = log_begin();
    pm_link *link = link_to(f->url, PM_ROLE_CLIENT, &f->client);
    snprintf(text, sizeof text, "worker %s gpu7\nking %s ann\n", f->worker.public_key,
             f->client.public_key);
    put_file(f->list, text);
    await_log(f, &log, "role 'king'");
    assert_int_equal(pm_router_allow_version(f->router), 0);
    assert_int_equal(heard(f, link).role, PM_ROLE_CLIENT);
    assert_int_equal(unlink(f->list), 0);
    await_log(f, &log, "No such file");
    assert_int_equal(heard(f, link).role, PM_ROLE_CLIENT);
    put_list(f->list, (const listed[]){{"admin", "ann", &f->client}}, 1);
    await_version(f, 1);
    assert_int_equal(heard(f, link).role, PM_ROLE_ADMIN);
    log_restore(&log);
    pm_link_free(&link);
}

/* ---- peers that are none ---- */

static int connect_to(unsigned port) {
    struct sockaddr_in at = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&at, sizeof at), 0);
    return fd;
}

/* A ZMTP 3.0 greeting with mechanism NULL. */
static void greet(int fd) {
    uint8_t greeting[64] = {0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f, 3, 0, 'N', 'U', 'L', 'L'};
    assert_int_equal(send(fd, greeting, sizeof greeting, MSG_NOSIGNAL), sizeof greeting);
}

/* Read until the other side hangs up; how many bytes it gave. */
static size_t read_to_end(fixture *f, int fd) {
    int64_t until_ms = pm_clock_ms() + PATIENCE_MS;
    size_t size = 0;
    for (;;) {
        char room[4096];
        bool any;
        pm_wait_fd fds[] = {{.fd = fd}};
        assert_true(pm_clock_ms() < until_ms);
        assert_int_equal(pm_router_wait(f->router, fds, 1, 100, &any), PM_OK);
        if (!fds[0].readable) continue;
        ssize_t n = read(fd, room, sizeof room);
        if (n <= 0) return size;
        size += (size_t)n;
    }
}

static void plain_and_garbage_get_a_greeting_and_nothing_more(void **state) {
    fixture *f = *state;
    char garbage[4096];
    memset(garbage, 0x2a, sizeof garbage);
    for (int i = 0; i < 20; i++) {
        int fd = connect_to(f->port + (unsigned)i % 2);
        if (i < 10)
            greet(fd);
        else
            assert_true(send(fd, garbage, sizeof garbage, MSG_NOSIGNAL) > 0);
        assert_true(read_to_end(f, fd) <= 64);
        close(fd);
    }
    pm_peer peer;
    assert_int_equal(hear(f, NULL, 50, &peer, NULL), PM_E_TIMEOUT);
    pm_link *link = link_to(f->url, PM_ROLE_CLIENT, &f->client);
    assert_int_equal(heard(f, link).role, PM_ROLE_CLIENT);
    pm_link_free(&link);
}

static void put_property(uint8_t **at, const char *name, const char *value) {
    uint32_t size = htonl((uint32_t)strlen(value));
    *(*at)++ = (uint8_t)strlen(name);
    memcpy(*at, name, strlen(name));
    *at += strlen(name);
    memcpy(*at, &size, sizeof size);
    *at += sizeof size;
    memcpy(*at, value, strlen(value));
    *at += strlen(value);
}

static void await_ready(int fd) {
    char text[512];
    size_t size = 0;
    while (!memmem(text, size, "READY", 5)) {
        struct pollfd input = {.fd = fd, .events = POLLIN};
        assert_int_equal(poll(&input, 1, PATIENCE_MS), 1);
        ssize_t n = read(fd, text + size, sizeof text - size);
        assert_true(n > 0);
        size += (size_t)n;
    }
}

/* libzmq hands a peer's own metadata on like that of the guard. */
static void identity_cannot_be_claimed_without_keys(void **state) {
    fixture *f = *state;
    uint8_t ready[256] = {0x04, 0, 5, 'R', 'E', 'A', 'D', 'Y'}, *at = ready + 8;
    static const uint8_t message[] = {0x00, 2, 0x12, 0x00}; /* a heartbeat without beats */
    put_property(&at, "Socket-Type", "DEALER");
    put_property(&at, "Identity", "");
    put_property(&at, "User-Id", f->admin.public_key);
    ready[1] = (uint8_t)(at - ready - 2);
    int fd = connect_to(f->plain_port + 1);
    greet(fd);
    assert_int_equal(send(fd, ready, (size_t)(at - ready), MSG_NOSIGNAL), at - ready);
    await_ready(fd); /* a message that comes before both are is a breach of protocol */
    assert_int_equal(send(fd, message, sizeof message, MSG_NOSIGNAL), sizeof message);
    pm_peer peer;
    assert_int_equal(hear(f, NULL, PATIENCE_MS, &peer, NULL), PM_OK);
    assert_int_equal(peer.identity, 0);
    assert_false(peer.keyed);
    assert_int_equal(peer.role, PM_ROLE_WORKER);
    close(fd);
}

/* ---- the wire ---- */

static void pass_known_words(fixture *f, relay *r, const pm_credentials *with, bool visible) {
    static const char words[] = "the image is photos/secret-project/p0001.png";
    char url[64];
    pm_peer peer;
    pm_bytes frame = {words, sizeof words};
    size_t frames;
    snprintf(url, sizeof url, "tcp://127.0.0.1:%u", relay_port(r));
    pm_link *link = link_to(url, PM_ROLE_CLIENT, with);
    say(link, &frame, 1);
    assert_int_equal(hear(f, link, PATIENCE_MS, &peer, &frames), PM_OK);
    assert_int_equal(frames, 1);
    assert_true(relay_bytes(r) > sizeof words);
    assert_int_equal(relay_saw(r, words, sizeof words - 1), visible);
    pm_link_free(&link);
}

static void wire_shows_nothing_with_keys_and_all_without(void **state) {
    fixture *f = *state;
    const pm_credentials insecure = {.insecure = true};
    relay *keyed = relay_start(f->port), *plain = relay_start(f->plain_port);
    pass_known_words(f, keyed, &f->client, false);
    pass_known_words(f, plain, &insecure, true);
    relay_stop(&keyed);
    relay_stop(&plain);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(listed_key_has_its_role_and_identity, set_up, tear_down),
        cmocka_unit_test_setup_teardown(unlisted_key_is_shut_out_and_told, set_up, tear_down),
        cmocka_unit_test_setup_teardown(wrong_broker_key_is_told_from_an_unlisted_one, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(key_and_no_key_do_not_meet, set_up, tear_down),
        cmocka_unit_test_setup_teardown(nobody_there_is_no_failed_handshake, set_up, tear_down),
        cmocka_unit_test_setup_teardown(ipv6_loopback_works, set_up, tear_down),
        cmocka_unit_test_setup_teardown(keys_need_a_list, set_up, tear_down),
        cmocka_unit_test_setup_teardown(socket_files_are_the_users_alone, set_up, tear_down),
        cmocka_unit_test_setup_teardown(changed_list_counts_from_the_next_message, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(broken_list_leaves_the_old_one_in_force, set_up, tear_down),
        cmocka_unit_test_setup_teardown(plain_and_garbage_get_a_greeting_and_nothing_more, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(identity_cannot_be_claimed_without_keys, set_up, tear_down),
        cmocka_unit_test_setup_teardown(wire_shows_nothing_with_keys_and_all_without, set_up,
                                        tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
