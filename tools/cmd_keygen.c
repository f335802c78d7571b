/* parchmill keygen: a key pair, and the line that lets it in. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/file.h"
#include "lib/net/credentials.h"
#include "lib/net/endpoint.h"
#include "tools/command.h"

static const char broker_role[] = "broker";

/* USER@HOST of somebody's key, ROLE@HOST of a machine's, so that the keys of one host differ in
 * name; what a name may not have in it is left out. */
static void default_name(const char *role, char out[PM_KEY_NAME_BYTES]) {
    const bool a_person = strcmp(role, pm_role_name(PM_ROLE_CLIENT)) == 0;
    char host[256] = "", text[600];
    const char *user = a_person ? getlogin() : NULL;
    gethostname(host, sizeof host - 1);
    snprintf(text, sizeof text, "%s@%s", user ? user : role, host);
    size_t used = 0;
    for (const char *c = text; *c && used < PM_KEY_NAME_BYTES - 1; c++) {
        const char one[2] = {*c, '\0'};
        if (pm_key_name_is_valid(one)) out[used++] = *c;
    }
    out[used] = '\0';
}

static pm_status choose_name(const pm_options *options, const char *role,
                             char out[PM_KEY_NAME_BYTES]) {
    const char *given = pm_options_text(options, PM_OPT_KEY_NAME);
    if (!given) {
        default_name(role, out);
        return PM_OK;
    }
    if (!pm_key_name_is_valid(given))
        return pm_fail(PM_E_USAGE, "--name: 1 to %d letters, digits and . _ @ - +",
                       PM_KEY_NAME_BYTES - 1);
    memcpy(out, given, strlen(given) + 1);
    return PM_OK;
}

static pm_status choose_path(const pm_options *options, const char *role,
                             char out[PM_KEY_PATH_BYTES]) {
    char folder[PM_KEY_PATH_BYTES];
    const char *given = pm_options_text(options, PM_OPT_KEY_OUT);
    /* Where worker, client and broker look first; an admin is a client. */
    const char *name =
        strcmp(role, pm_role_name(PM_ROLE_ADMIN)) == 0 ? pm_role_name(PM_ROLE_CLIENT) : role;
    if (given) {
        size_t length = strlen(given);
        if (length == 0 || given[length - 1] == '/' || length >= PM_KEY_PATH_BYTES - 32)
            return pm_fail(PM_E_USAGE, "--out: a path without the .key or .pub, such as my/key");
        memcpy(out, given, length + 1);
        return PM_OK;
    }
    pm_status status = pm_keys_folder(folder);
    if (!status && strlen(folder) + strlen(name) + 32 >= PM_KEY_PATH_BYTES)
        status = pm_fail(PM_E_USAGE, "%.80s...: the path is too long; give --out", folder);
    if (!status) status = pm_dir_make(folder);
    if (!status) snprintf(out, PM_KEY_PATH_BYTES, "%s/%s", folder, name);
    return status;
}

/* The line alone on stdout, so that it can be appended to a list. */
static void print_made(const char *role, const char *name, const char *path, bool for_broker,
                       const char *public_key) {
    fprintf(stderr, "wrote %s.key (secret: stays here) and %s.pub\n", path, path);
    if (for_broker) {
        printf("%s\n", public_key);
        fprintf(stderr,
                "the broker takes --key %s.key; workers and clients --broker-key with the "
                ".pub file or the key above in quotes\n",
                path);
        return;
    }
    printf("%s %s %s\n", role, public_key, name);
    fputs("the line above goes into the file that the broker was given as --allow\n", stderr);
}

int pm_cmd_keygen(const pm_options *options) {
    pm_credentials pair = {.insecure = false};
    char name[PM_KEY_NAME_BYTES], path[PM_KEY_PATH_BYTES];
    const char *role = pm_options_text(options, PM_OPT_ROLE);
    bool for_broker = strcmp(role, broker_role) == 0;
    pm_status status = pm_options_operands(options, "", 0, 0);
    if (!status && !for_broker && pm_role_parse(role) == PM_ROLE_NONE)
        status =
            pm_fail(PM_E_USAGE, "--role: '%.40s' is none of client, worker, admin, broker", role);
    if (!status) status = choose_name(options, role, name);
    if (!status) status = choose_path(options, role, path);
    if (!status) status = pm_keys_new(&pair);
    if (!status)
        status = pm_keys_write(path, name, &pair, pm_options_flag(options, PM_OPT_KEY_FORCE));
    if (!status) print_made(role, name, path, for_broker, pair.public_key);
    pm_credentials_wipe(&pair);
    return status ? pm_command_failed("keygen", status) : PM_EXIT_OK;
}
