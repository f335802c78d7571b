/* Owns the answer to "may this key connect" and the list in force. Knows no message of ours.
 *
 * Every key in the list may connect to either socket; what it may say there is judged message by
 * message (router.c), so that the peer can be told in words. The User-Id that libzmq puts on every
 * frame of the connection is the key itself. */
#include "lib/net/guard.h"

#include <stdlib.h>
#include <string.h>

#include "lib/base/log.h"

enum {
    REFRESH_MS = 500,
    REQUESTS_A_TURN = 64,
    CURVE_BYTES = 32,
    SHORT_KEY = 10 /* enough to tell keys apart */
};

struct pm_guard {
    zsock_t *socket; /* REP */
    char *path;
    pm_allow *allow;
    struct stat loaded, seen; /* the file in force, and as it was at the last look */
    bool gone;                /* the file is not there, and that is said */
    int64_t next_look_ms;
    pm_log_budget refusals;
};

static const char place[] = "inproc://zeromq.zap.01";

pm_status pm_guard_new(const char *allow_path, pm_guard **out) {
    pm_guard *guard = calloc(1, sizeof *guard);
    if (guard) guard->path = strdup(allow_path);
    if (!guard || !guard->path) {
        free(guard);
        return pm_fail(PM_E_MEMORY, "guard: no memory");
    }
    pm_status status = pm_allow_read(allow_path, &guard->allow, &guard->loaded);
    guard->seen = guard->loaded;
    if (!status) {
        guard->socket = zsock_new(ZMQ_REP);
        if (!guard->socket || zsock_bind(guard->socket, "%s", place) != 0)
            status = pm_fail(errno == EADDRINUSE ? PM_E_BUSY : PM_E_IO,
                             "guard: cannot judge connections: %s", zmq_strerror(errno));
    }
    if (status)
        pm_guard_free(&guard);
    else
        *out = guard;
    return status;
}

void pm_guard_free(pm_guard **guard) {
    if (!*guard) return;
    /* At once: closing goes on in the background, and the next guard wants the place. */
    if ((*guard)->socket) zsock_unbind((*guard)->socket, "%s", place);
    zsock_destroy(&(*guard)->socket);
    pm_allow_free(&(*guard)->allow);
    free((*guard)->path);
    free(*guard);
    *guard = NULL;
}

zsock_t *pm_guard_socket(const pm_guard *guard) { return guard->socket; }
const pm_allow *pm_guard_allow(const pm_guard *guard) { return guard->allow; }

/* ---- questions ---- */

static void log_refusal(pm_guard *guard, const char *key, const char *address) {
    pm_log_seldom(&guard->refusals, PM_LOG_WARN, "peer.refused",
                  "key=\"%.*s...\" address=" PM_QUOTED " reason=\"not in %s\"", SHORT_KEY, key,
                  address, guard->path);
}

/* Version, request id, domain, address, identity, mechanism, key: RFC 27. */
static bool well_formed(const zmsg_t *request, zframe_t *part[7]) {
    size_t count = 0;
    zmsg_t *mutable = (zmsg_t *)request; /* only its cursor moves */
    for (zframe_t *frame = zmsg_first(mutable); frame && count < 7; frame = zmsg_next(mutable))
        part[count++] = frame;
    return count == 7 && zmsg_size(mutable) == 7 && zframe_streq(part[0], "1.0") &&
           zframe_size(part[1]) < 256 && zframe_streq(part[2], PM_GUARD_DOMAIN) &&
           zframe_streq(part[5], "CURVE") && zframe_size(part[6]) == CURVE_BYTES;
}

static void copy_address(const zframe_t *frame, char *out, size_t size) {
    zframe_t *mutable = (zframe_t *)frame;
    size_t length = zframe_size(mutable);
    if (length >= size) length = size - 1;
    memcpy(out, zframe_data(mutable), length);
    out[length] = '\0';
    for (char *c = out; *c; c++)
        if ((unsigned char)*c < 0x21 || *c == '"' || *c == '\\' || (unsigned char)*c > 0x7e)
            *c = '?';
}

static void answer(pm_guard *guard, const zmsg_t *request) {
    zframe_t *part[7];
    char key[PM_KEY_BYTES] = "", address[64], id[256] = "1";
    const pm_allowed *allowed = NULL;
    bool formed = well_formed(request, part);
    if (formed) {
        zmq_z85_encode(key, zframe_data(part[6]), CURVE_BYTES);
        copy_address(part[3], address, sizeof address);
        memcpy(id, zframe_data(part[1]), zframe_size(part[1]));
        id[zframe_size(part[1])] = '\0';
        allowed = pm_allow_find(guard->allow, key);
        if (!allowed) log_refusal(guard, key, address);
    } else {
        pm_log(PM_LOG_ERROR, "guard.request", "reason=\"not as RFC 27 has it\"");
    }
    zmsg_t *reply = zmsg_new();
    if (reply) {
        zmsg_addstr(reply, "1.0");
        zmsg_addstr(reply, id);
        zmsg_addstr(reply, !formed ? "500" : allowed ? "200" : "400");
        zmsg_addstr(reply, allowed ? "OK" : "no");
        zmsg_addstr(reply, allowed ? key : "");
        zmsg_addmem(reply, "", 0);
    }
    if (!reply || zmsg_size(reply) != 6 || zmsg_send(&reply, guard->socket) != 0) {
        zmsg_destroy(&reply);
        pm_log(PM_LOG_ERROR, "guard.answer", "reason=" PM_QUOTED, zmq_strerror(errno));
        /* A REP that owes an answer takes no question: no word at all is a refusal. */
        (void)zmq_send(zsock_resolve(guard->socket), "", 0, ZMQ_DONTWAIT);
    }
}

void pm_guard_serve(pm_guard *guard) {
    for (int i = 0; i < REQUESTS_A_TURN; i++) {
        zmsg_t *request = zmsg_recv_nowait(guard->socket);
        if (!request) return;
        answer(guard, request);
        zmsg_destroy(&request);
    }
}

/* ---- the list ---- */

static bool same_file(const struct stat *a, const struct stat *b) {
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size &&
           a->st_mode == b->st_mode && a->st_uid == b->st_uid &&
           memcmp(&a->st_mtim, &b->st_mtim, sizeof a->st_mtim) == 0 &&
           memcmp(&a->st_ctim, &b->st_ctim, sizeof a->st_ctim) == 0;
}

static void say_refused(void) {
    pm_log(PM_LOG_ERROR, "allow.refused",
           "reason=" PM_QUOTED " text=\"the list from before stays in force\"", pm_error_text());
}

static bool load(pm_guard *guard) {
    pm_allow *fresh = NULL;
    struct stat info;
    guard->loaded = guard->seen; /* also where it is wrong: that is said once */
    guard->gone = false;
    if (pm_allow_read(guard->path, &fresh, &info)) {
        say_refused();
        return false;
    }
    guard->loaded = info;
    pm_log(PM_LOG_INFO, "allow.loaded", "file=" PM_QUOTED " keys=%zu", guard->path,
           pm_allow_count(fresh));
    pm_allow_free(&guard->allow);
    guard->allow = fresh;
    return true;
}

/* A changed file is read once it has stayed the same from one look to the next: half a list that
 * an editor is about to finish may well be a list without errors. */
bool pm_guard_refresh(pm_guard *guard, int64_t now_ms) {
    struct stat info;
    if (now_ms < guard->next_look_ms) return false;
    guard->next_look_ms = now_ms + REFRESH_MS;
    if (stat(guard->path, &info) != 0) {
        (void)pm_fail(PM_E_NOT_FOUND, "%s: %s", guard->path, strerror(errno));
        if (!guard->gone) say_refused();
        guard->gone = true;
        guard->loaded = guard->seen = (struct stat){0};
        return false;
    }
    bool settled = same_file(&info, &guard->seen);
    guard->seen = info;
    return settled && !same_file(&info, &guard->loaded) && load(guard);
}
