/* Owns the connection to a broker, wherever it is. */
#include "tools/place.h"

#include <time.h>

enum { OPEN_TRY_MS = 250, STANDING_MS = 5000 };

volatile sig_atomic_t pm_stop_asked, pm_stop_hurry;

static void count_stop(int number) {
    (void)number;
    if (pm_stop_asked) pm_stop_hurry = 1;
    pm_stop_asked = 1;
}

void pm_stop_catch(void) {
    struct sigaction action = {.sa_handler = count_stop};
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGHUP, &action, NULL);
}

pm_status pm_place_rest(pm_place *place, int ms) {
    pm_status status = place->supervisor ? pm_supervisor_tend(place->supervisor) : PM_OK;
    if (!status && ms > 0)
        nanosleep(&(struct timespec){.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L}, NULL);
    return status;
}

static pm_status open_private(pm_place *place, const volatile sig_atomic_t *stop) {
    const char *url = pm_supervisor_url(place->supervisor);
    for (;;) {
        pm_status status = pm_client_open(url, NULL, OPEN_TRY_MS, &place->client);
        if (status != PM_E_TIMEOUT && status != PM_E_IO) {
            if (!status) pm_supervisor_broker_ready(place->supervisor);
            return status;
        }
        status = pm_place_rest(place, 0);
        if (status) return status;
        if (stop && *stop) return pm_fail(PM_E_CANCELLED, "stopped");
    }
}

pm_status pm_place_credentials(const pm_options *options, const char *url, pm_credentials *out) {
    return pm_credentials_for_peer(url, "client", pm_options_text(options, PM_OPT_KEY),
                                   pm_options_text(options, PM_OPT_BROKER_KEY),
                                   pm_options_flag(options, PM_OPT_INSECURE), out);
}

static pm_status open_standing(const pm_options *options, const char *url, pm_client **out) {
    pm_credentials credentials;
    pm_status status = pm_place_credentials(options, url, &credentials);
    if (status) return status;
    status = pm_client_open(url, &credentials, STANDING_MS, out);
    pm_credentials_wipe(&credentials);
    return status;
}

pm_status pm_place_open(const pm_options *options, size_t workers, size_t threads,
                        const volatile sig_atomic_t *stop, pm_place *out) {
    const char *url = pm_options_text(options, PM_OPT_BROKER);
    *out = (pm_place){0};
    if (url && pm_options_given(options, PM_OPT_DB))
        return pm_fail(PM_E_USAGE, "--broker and --db are both given; the broker has the database");
    if (url) return open_standing(options, url, &out->client);
    pm_status status =
        pm_supervisor_new(pm_options_text(options, PM_OPT_DB), workers, threads, &out->supervisor);
    return status ? status : open_private(out, stop);
}

void pm_place_close(pm_place *place, const volatile sig_atomic_t *hurry) {
    pm_client_free(&place->client);
    if (place->supervisor) pm_supervisor_stop(place->supervisor, hurry);
    pm_supervisor_free(&place->supervisor);
}
