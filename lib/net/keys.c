/* Owns key pairs and the two files they are kept in. Knows no socket and no environment.
 *
 *     parchmill secret key 1              parchmill public key 1
 *     # comments                          # comments
 *     public 40 characters                public 40 characters
 *     secret 40 characters
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <zmq.h>

#include "lib/base/file.h"
#include "lib/base/hash.h"
#include "lib/net/credentials.h"
#include "lib/net/guarded_file.h"

enum { KEY_FILE_BYTES_MAX = 4096, CURVE_BYTES = 32 };

static const char secret_head[] = "parchmill secret key 1",
                  public_head[] = "parchmill public key 1";

bool pm_key_is_valid(const char *text) {
    uint8_t bytes[CURVE_BYTES];
    return strlen(text) == PM_KEY_BYTES - 1 && zmq_z85_decode(bytes, text) != NULL;
}

bool pm_key_name_is_valid(const char *name) {
    static const char allowed[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._@-+";
    size_t length = strlen(name);
    return length > 0 && length < PM_KEY_NAME_BYTES && strspn(name, allowed) == length;
}

uint64_t pm_key_identity(const char *key) {
    uint64_t identity = 0;
    pm_sha256 hash = pm_sha256_of(key, strlen(key));
    for (size_t i = 0; i < 8; i++) identity = identity << 8 | hash.bytes[i];
    return identity ? identity : 1;
}

pm_status pm_keys_new(pm_credentials *out) {
    pm_credentials made = {.insecure = false};
    if (zmq_curve_keypair(made.public_key, made.secret_key) != 0)
        return pm_fail(PM_E_UNSUPPORTED,
                       "cannot make keys: libzmq says '%s'; it must be one with CURVE",
                       zmq_strerror(errno));
    *out = made;
    pm_credentials_wipe(&made);
    return PM_OK;
}

/* ---- writing ---- */

static pm_status is_there(const char *path) {
    return pm_fail(PM_E_USAGE, "%s: is there already; --force replaces it", path);
}

/* Whole or not at all; only with `force` in place of a file that is there. */
static pm_status write_file(const char *path, const char *text, mode_t mode, bool force) {
    pm_status status = pm_file_write_as(path, text, strlen(text), mode, force);
    return status == PM_E_USAGE ? is_there(path) : status;
}

/* The secret last, so that the old one is gone only when all else is done; where it cannot be
 * written, the old public key is put back. */
static pm_status write_pair(const char *public_path, const char *public_text,
                            const char *secret_path, const char *secret_text, bool force) {
    uint8_t *old = NULL;
    size_t old_size = 0;
    if (!force && access(secret_path, F_OK) == 0) return is_there(secret_path);
    if (force && access(public_path, F_OK) == 0) {
        pm_status status = pm_file_read(public_path, KEY_FILE_BYTES_MAX, &old, &old_size);
        if (status) return status;
    }
    pm_status status = write_file(public_path, public_text, 0644, force);
    if (!status) {
        status = write_file(secret_path, secret_text, 0600, force);
        if (status && old)
            (void)pm_file_write_as(public_path, old, old_size, 0644, true);
        else if (status)
            unlink(public_path);
    }
    free(old);
    return status;
}

pm_status pm_keys_write(const char *path, const char *name, const pm_credentials *pair,
                        bool force) {
    char secret_path[PM_KEY_PATH_BYTES], public_path[PM_KEY_PATH_BYTES];
    char secret_text[512], public_text[512], date[32] = "";
    time_t now = time(NULL);
    struct tm utc;
    if (snprintf(secret_path, sizeof secret_path, "%s.key", path) >= (int)sizeof secret_path)
        return pm_fail(PM_E_USAGE, "%.80s...: the path is too long", path);
    snprintf(public_path, sizeof public_path, "%s.pub", path);
    if (gmtime_r(&now, &utc)) strftime(date, sizeof date, "%Y-%m-%d", &utc);
    snprintf(secret_text, sizeof secret_text,
             "%s\n# %s, made %s. Whoever has this file is %s: keep it to yourself.\npublic %s\n"
             "secret %s\n",
             secret_head, name, date, name, pair->public_key, pair->secret_key);
    snprintf(public_text, sizeof public_text, "%s\n# %s, made %s\npublic %s\n", public_head, name,
             date, pair->public_key);
    pm_status status = write_pair(public_path, public_text, secret_path, secret_text, force);
    explicit_bzero(secret_text, sizeof secret_text);
    return status;
}

/* ---- reading ---- */

typedef struct parsed {
    bool is_secret;
    char public_key[PM_KEY_BYTES], secret_key[PM_KEY_BYTES];
} parsed;

static pm_status take_line(const char *path, size_t number, const char *line, parsed *out) {
    static const char word_public[] = "public ", word_secret[] = "secret ";
    bool is_public = strncmp(line, word_public, sizeof word_public - 1) == 0;
    bool is_secret = strncmp(line, word_secret, sizeof word_secret - 1) == 0;
    if (!line[0] || line[0] == '#') return PM_OK;
    /* A line of a secret file is never shown. */
    if (!is_public && !(is_secret && out->is_secret))
        return pm_fail(PM_E_FORMAT, "%s:%zu: expected 'public KEY'%s or a comment", path, number,
                       out->is_secret ? ", 'secret KEY'" : "");
    char *to = is_public ? out->public_key : out->secret_key;
    if (to[0]) return pm_fail(PM_E_FORMAT, "%s:%zu: a second key of that kind", path, number);
    const char *key = line + sizeof word_public - 1;
    if (!pm_key_is_valid(key))
        return pm_fail(PM_E_FORMAT, "%s:%zu: not the %d characters of a key", path, number,
                       PM_KEY_BYTES - 1);
    memcpy(to, key, PM_KEY_BYTES);
    return PM_OK;
}

/* `text` is cut into lines where it stands. */
static pm_status parse(const char *path, char *text, parsed *out) {
    pm_status status = PM_OK;
    size_t number = 0;
    for (char *line = text, *next; line && !status; line = next) {
        next = strchr(line, '\n');
        if (next) *next++ = '\0';
        if (number++ > 0) {
            status = take_line(path, number, line, out);
            continue;
        }
        out->is_secret = strcmp(line, secret_head) == 0;
        if (!out->is_secret && strcmp(line, public_head) != 0)
            status = pm_fail(PM_E_FORMAT,
                             "%s: not a key file (line 1 is not '%s' or '... public key 1'); "
                             "`parchmill keygen` makes them",
                             path, secret_head);
    }
    if (!status && (!out->public_key[0] || (out->is_secret && !out->secret_key[0])))
        status = pm_fail(PM_E_FORMAT, "%s: no '%s KEY' line", path,
                         out->public_key[0] ? "secret" : "public");
    return status;
}

/* Who may touch a file is asked once it is known what it is: a .pub that everybody may read is no
 * secret given away. */
static pm_status read_file(const char *path, parsed *out) {
    char *text = NULL;
    struct stat info;
    pm_status status = pm_guarded_read(path, PM_GUARDED_OPEN, KEY_FILE_BYTES_MAX, &text, &info);
    if (status) return status;
    status = parse(path, text, out);
    if (!status)
        status =
            pm_guarded_check(path, out->is_secret ? PM_GUARDED_SECRET : PM_GUARDED_LIST, &info);
    explicit_bzero(text, KEY_FILE_BYTES_MAX);
    free(text);
    return status;
}

pm_status pm_keys_read_secret(const char *path, pm_credentials *out) {
    parsed found = {.is_secret = false};
    char derived[PM_KEY_BYTES] = "";
    pm_status status = read_file(path, &found);
    if (!status && !found.is_secret)
        status = pm_fail(PM_E_FORMAT, "%s: has the public half only; give the .key file", path);
    if (!status && zmq_curve_public(derived, found.secret_key) != 0)
        status =
            pm_fail(PM_E_UNSUPPORTED, "%s: libzmq has no CURVE: %s", path, zmq_strerror(errno));
    if (!status && strcmp(derived, found.public_key) != 0)
        status =
            pm_fail(PM_E_FORMAT, "%s: the secret and the public key do not belong together", path);
    if (!status) {
        memcpy(out->public_key, found.public_key, PM_KEY_BYTES);
        memcpy(out->secret_key, found.secret_key, PM_KEY_BYTES);
    }
    explicit_bzero(&found, sizeof found);
    return status;
}

pm_status pm_keys_read_public(const char *where, char out[PM_KEY_BYTES]) {
    parsed found = {.is_secret = false};
    if (access(where, F_OK) != 0 && pm_key_is_valid(where)) {
        memcpy(out, where, PM_KEY_BYTES);
        return PM_OK;
    }
    pm_status status = read_file(where, &found);
    if (!status && found.is_secret)
        status = pm_fail(PM_E_USAGE,
                         "%s: is a secret key, which belongs to the broker alone; give its .pub "
                         "file, and make the broker a new key",
                         where);
    if (!status) memcpy(out, found.public_key, PM_KEY_BYTES);
    explicit_bzero(&found, sizeof found);
    return status;
}
