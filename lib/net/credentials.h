/* Keys: what a process shows on tcp://, and the files that they are kept in.
 *
 * A key pair is CURVE's (Curve25519), written in Z85: 40 characters. `PATH.key` has both halves and
 * is nobody else's business: a file that group or others may read or write, or that somebody else
 * owns, is refused. `PATH.pub` has the public half and may go anywhere.
 *
 *     pm_credentials c;
 *     pm_credentials_for_peer(url, "client", key_option, broker_key_option, insecure, &c);
 *     pm_client_open(url, &c, timeout_ms, &client);
 *     pm_credentials_wipe(&c);
 *
 * Failures are one line for people: PM_E_USAGE, PM_E_NOT_FOUND, PM_E_FORMAT, PM_E_DENIED (the
 * file's permissions), PM_E_IO, PM_E_FULL, PM_E_UNSUPPORTED (a libzmq without CURVE). */
#ifndef PM_NET_CREDENTIALS_H
#define PM_NET_CREDENTIALS_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/status.h"

enum { PM_KEY_BYTES = 41, PM_KEY_NAME_BYTES = 65, PM_KEY_PATH_BYTES = 4096 };

/* All zero: none, which is enough for ipc://. */
typedef struct pm_credentials {
    bool insecure;                 /* tcp without keys was asked for by name */
    char public_key[PM_KEY_BYTES]; /* ours; "": none */
    char secret_key[PM_KEY_BYTES];
    char broker_key[PM_KEY_BYTES]; /* whom a worker or client expects; "" at the broker */
} pm_credentials;

/* A peer's, for this URL. Nothing is read for ipc:// or with `insecure`, and a key with either is
 * PM_E_USAGE. key: a file; else $PARCHMILL_KEY, else NAME.key in pm_keys_folder, where `name` is
 * "worker" or "client". broker_key: a file or a key; else $PARCHMILL_BROKER_KEY, else broker.pub
 * there. */
pm_status pm_credentials_for_peer(const char *url, const char *name, const char *key,
                                  const char *broker_key, bool insecure, pm_credentials *out);
/* A broker's; key NULL: none. */
pm_status pm_credentials_for_broker(const char *key, bool insecure, pm_credentials *out);
/* The secret leaves memory. */
void pm_credentials_wipe(pm_credentials *credentials);

/* $XDG_CONFIG_HOME/parchmill, else ~/.config/parchmill. PM_E_NOT_FOUND: neither is known. */
pm_status pm_keys_folder(char out[PM_KEY_PATH_BYTES]);

/* A new pair in public_key and secret_key. */
pm_status pm_keys_new(pm_credentials *out);
/* Write `path`.key (0600) and `path`.pub; `name` goes into the comments. Files that are there are
 * PM_E_USAGE, and stay, without `force`. */
pm_status pm_keys_write(const char *path, const char *name, const pm_credentials *pair, bool force);
/* The pair of a secret file; the two halves must belong together. */
pm_status pm_keys_read_secret(const char *path, pm_credentials *out);
/* `where`: a .pub file, or the 40 characters themselves. */
pm_status pm_keys_read_public(const char *where, char out[PM_KEY_BYTES]);

/* 40 characters that are a key. */
bool pm_key_is_valid(const char *text);
/* A name for a list or a file: one word of at most 64 letters, digits, and . _ @ - + */
bool pm_key_name_is_valid(const char *name);
/* Who has this key, as a number: the first 8 bytes of its SHA-256; never 0. */
uint64_t pm_key_identity(const char *key);

#endif
