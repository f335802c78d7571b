/* Owns which keys a process uses: what it was told, its environment, its user's folder. */
#include "lib/net/credentials.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zmq.h>

void pm_credentials_wipe(pm_credentials *credentials) {
    explicit_bzero(credentials, sizeof *credentials);
}

pm_status pm_keys_folder(char out[PM_KEY_PATH_BYTES]) {
    const char *config = getenv("XDG_CONFIG_HOME"), *home = getenv("HOME");
    int n = -1;
    if (config && config[0] == '/')
        n = snprintf(out, PM_KEY_PATH_BYTES, "%s/parchmill", config);
    else if (home && home[0] == '/')
        n = snprintf(out, PM_KEY_PATH_BYTES, "%s/.config/parchmill", home);
    return n > 0 && n < PM_KEY_PATH_BYTES
               ? PM_OK
               : pm_fail(PM_E_NOT_FOUND, "no folder for keys: neither XDG_CONFIG_HOME nor HOME is "
                                         "an absolute path");
}

/* What was said, what the environment says, or `name` in the user's folder, where it must be. */
static pm_status locate(const char *said, const char *variable, const char *name, const char *end,
                        const char *missing, char out[PM_KEY_PATH_BYTES]) {
    char folder[PM_KEY_PATH_BYTES];
    const char *from = said ? said : getenv(variable);
    if (from && from[0]) {
        if (snprintf(out, PM_KEY_PATH_BYTES, "%s", from) >= PM_KEY_PATH_BYTES)
            return pm_fail(PM_E_USAGE, "%.80s...: the path is too long", from);
        return PM_OK;
    }
    pm_status status = pm_keys_folder(folder);
    if (status) return status;
    if (snprintf(out, PM_KEY_PATH_BYTES, "%s/%s%s", folder, name, end) >= PM_KEY_PATH_BYTES)
        return pm_fail(PM_E_USAGE, "%.80s...: the path is too long", folder);
    if (access(out, F_OK) != 0)
        return pm_fail(PM_E_NOT_FOUND, "no key: neither $%s nor %s is there; %s", variable, out,
                       missing);
    return PM_OK;
}

static pm_status need_curve(void) {
    return zmq_has("curve") ? PM_OK
                            : pm_fail(PM_E_UNSUPPORTED,
                                      "this libzmq was built without CURVE; keys need one with it");
}

pm_status pm_credentials_for_peer(const char *url, const char *name, const char *key,
                                  const char *broker_key, bool insecure, pm_credentials *out) {
    pm_credentials made = {.insecure = insecure};
    char path[PM_KEY_PATH_BYTES];
    bool plain = strncmp(url, "tcp://", 6) != 0;
    if ((insecure || plain) && (key || broker_key))
        return pm_fail(PM_E_USAGE, "%s: keys are for tcp:// without --insecure", url);
    if (insecure || plain) {
        *out = made;
        return PM_OK;
    }
    pm_status status = need_curve();
    if (!status)
        status = locate(key, "PARCHMILL_KEY", name, ".key",
                        "make one with `parchmill keygen` and have the line it prints put into the "
                        "broker's list",
                        path);
    if (!status) status = pm_keys_read_secret(path, &made);
    if (!status)
        status = locate(broker_key, "PARCHMILL_BROKER_KEY", "broker", ".pub",
                        "copy the .pub file of the broker's key there, or give --broker-key", path);
    if (!status) status = pm_keys_read_public(path, made.broker_key);
    if (!status) *out = made;
    pm_credentials_wipe(&made);
    return status;
}

pm_status pm_credentials_for_broker(const char *key, bool insecure, pm_credentials *out) {
    pm_credentials made = {.insecure = insecure};
    pm_status status = PM_OK;
    if (key && insecure)
        return pm_fail(PM_E_USAGE, "--key and --insecure: one of them, for every tcp:// URL");
    if (key) status = need_curve();
    if (key && !status) status = pm_keys_read_secret(key, &made);
    if (!status) *out = made;
    pm_credentials_wipe(&made);
    return status;
}
