/* Owns the lines about a broker (who answers, else who is in the way) and about key files. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/net/client.h"
#include "lib/net/probe.h"
#include "lib/net/wire.h"
#include "tools/doctor.h"
#include "tools/place.h"

enum { OPEN_MS = 2000, CALL_MS = 5000, APART_MS = 5000, SILENT_MS = 3000 };

/* ---- somebody answers ---- */

static void say_schema(pm_doctor *d, const pm_client *client) {
    const uint32_t schema = pm_client_schema_version(client);
    if (schema == PM_SCHEMA_VERSION)
        pm_doctor_say(d, PM_DOCTOR_OK, "versions", NULL, "protocol %d, schema %d, as here",
                      PM_PROTOCOL_VERSION, PM_SCHEMA_VERSION);
    else
        pm_doctor_say(d, PM_DOCTOR_WARN, "versions",
                      "use the same parchmill here and there: status works, questions in SQL may "
                      "not",
                      "protocol %d as here; the broker's schema is %u, this program's %d",
                      PM_PROTOCOL_VERSION, schema, PM_SCHEMA_VERSION);
}

static void say_workers(pm_doctor *d, const Pm__Wire__Status *all) {
    size_t silent = 0, other = 0;
    for (size_t i = 0; i < all->n_workers; i++) {
        const Pm__Wire__WorkerStatus *w = all->workers[i];
        silent += w->has_silent_ms && w->silent_ms > SILENT_MS;
        other += w->engine_version && strcmp(w->engine_version, PM_ENGINE_VERSION) != 0;
    }
    if (all->paused)
        pm_doctor_say(d, PM_DOCTOR_FAIL, "broker", "make room on the broker's disk",
                      "it takes no work: %s", all->paused);
    if (!all->n_workers)
        pm_doctor_say(d, PM_DOCTOR_WARN, "workers", "start parchmill-worker with this --broker",
                      "none are here");
    else if (silent || other)
        pm_doctor_say(d, PM_DOCTOR_WARN, "workers",
                      "`parchmill workers` lists them; use the same parchmill everywhere",
                      "%zu here, %zu silent, %zu with another engine than %s", all->n_workers,
                      silent, other, PM_ENGINE_VERSION);
    else
        pm_doctor_say(d, PM_DOCTOR_OK, "workers", NULL, "%zu here, engine %s", all->n_workers,
                      PM_ENGINE_VERSION);
}

static pm_status take_number(void *user, size_t count, const pm_value *values) {
    (void)count;
    *(int64_t *)user = values[0].integer;
    return PM_OK;
}

static void say_clocks(pm_doctor *d, pm_client *client) {
    const pm_client_question question = {
        .sql = "SELECT CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)"};
    int64_t theirs = 0, before = pm_clock_wall_ms();
    const pm_query_sink sink = {.user = &theirs, .row = take_number};
    if (pm_client_query(client, &question, &sink, NULL)) {
        pm_doctor_say(d, PM_DOCTOR_WARN, "clock", "look at the broker's log",
                      "the broker does not say what time it is: %s", pm_error_text());
        return;
    }
    int64_t after = pm_clock_wall_ms();
    int64_t apart = theirs > after ? theirs - after : theirs < before ? before - theirs : 0;
    if (apart > APART_MS)
        pm_doctor_say(d, PM_DOCTOR_WARN, "clock",
                      "set both clocks (NTP): results are right, the times beside them are not",
                      "this clock and the broker's are %.1f s apart", (double)apart / 1e3);
    else
        pm_doctor_say(d, PM_DOCTOR_OK, "clock", NULL, "this clock and the broker's agree");
}

static void say_answer(pm_doctor *d, pm_client *client, const char *url) {
    pm_message answer;
    pm_doctor_say(d, PM_DOCTOR_OK, "broker", NULL, "answers at %s", url);
    say_schema(d, client);
    if (pm_client_status(client, 0, CALL_MS, &answer)) {
        pm_doctor_say(d, PM_DOCTOR_FAIL, "broker", "look at its log", "no status: %s",
                      pm_error_text());
        return;
    }
    say_workers(d, answer.body->status);
    pm_message_fini(&answer);
    say_clocks(d, client);
}

/* ---- nobody does ---- */

static void say_port(pm_doctor *d, const pm_endpoint *endpoint) {
    switch (pm_endpoint_probe(endpoint)) {
    case PM_PLACE_FREE:
        pm_doctor_say(d, PM_DOCTOR_OK, "port", NULL, "%s is free for a broker", endpoint->address);
        return;
    case PM_PLACE_TAKEN:
        pm_doctor_say(d, PM_DOCTOR_WARN, "port",
                      "if that is no broker, stop it or choose another address",
                      "something listens at %s", endpoint->address);
        return;
    case PM_PLACE_STALE:
        pm_doctor_say(d, PM_DOCTOR_OK, "port", NULL,
                      "%s is left from a broker that died; the next one takes it over",
                      endpoint->address);
        return;
    case PM_PLACE_ELSEWHERE:
        pm_doctor_say(d, PM_DOCTOR_WARN, "port", "look whether it runs there, and at firewalls",
                      "%s is not on this machine", endpoint->address);
        return;
    case PM_PLACE_REFUSED:
        pm_doctor_say(d, PM_DOCTOR_WARN, "port", "choose another address, or another user",
                      "this user cannot listen at %s", endpoint->address);
        return;
    }
}

static void say_silence(pm_doctor *d, const char *url, const pm_credentials *credentials) {
    pm_doctor_say(d, PM_DOCTOR_FAIL, "broker", "start parchmill-broker, or give the right --broker",
                  "%s", pm_error_text());
    for (pm_port port = 0; port < PM_PORT_COUNT; port++) {
        pm_endpoint endpoint;
        if (!pm_endpoint_resolve(url, port, credentials, &endpoint)) say_port(d, &endpoint);
    }
}

void pm_doctor_broker(pm_doctor *d) {
    const char *url = pm_options_text(d->options, PM_OPT_BROKER);
    pm_credentials credentials;
    pm_client *client = NULL;
    if (!url) return;
    pm_status status = pm_place_credentials(d->options, url, &credentials);
    if (status) {
        pm_doctor_say(d, PM_DOCTOR_FAIL, "broker", "`parchmill keygen --help` says how to get in",
                      "%s", pm_error_text());
        return;
    }
    status = pm_client_open(url, &credentials, OPEN_MS, &client);
    if (!status)
        say_answer(d, client, url);
    else if (status == PM_E_TIMEOUT || status == PM_E_IO)
        say_silence(d, url, &credentials);
    else
        pm_doctor_say(d, PM_DOCTOR_FAIL, "broker",
                      status == PM_E_MISMATCH ? "use the same parchmill here and there"
                                              : "look at keys, roles and the broker's log",
                      "%s", pm_error_text());
    pm_client_free(&client);
    pm_credentials_wipe(&credentials);
}

/* ---- keys ---- */

static void say_key(pm_doctor *d, const char *path, bool must) {
    pm_credentials pair;
    struct stat file;
    if (stat(path, &file) != 0 && errno == ENOENT && !must) return;
    pm_status status = pm_keys_read_secret(path, &pair);
    if (status)
        pm_doctor_say(d, PM_DOCTOR_FAIL, "keys",
                      status == PM_E_DENIED ? "chmod 600 it; if others may have read it, make "
                                              "another with `parchmill keygen --force`"
                                            : "`parchmill keygen` makes one",
                      "%s", pm_error_text());
    else
        pm_doctor_say(d, PM_DOCTOR_OK, "keys", NULL, "%s is a key that only you can read", path);
    pm_credentials_wipe(&pair);
}

void pm_doctor_keys(pm_doctor *d) {
    static const char *const names[] = {"client", "worker", "broker"};
    const char *given = pm_options_text(d->options, PM_OPT_KEY);
    char folder[PM_KEY_PATH_BYTES], path[PM_KEY_PATH_BYTES + 16];
    if (given) say_key(d, given, true);
    if (pm_keys_folder(folder)) return;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        snprintf(path, sizeof path, "%s/%s.key", folder, names[i]);
        say_key(d, path, false);
    }
}
