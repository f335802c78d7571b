/* Fuzzes key files: a secret that is taken belongs to its public key, and is in no error line. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zmq.h>

#include "lib/net/credentials.h"
#include "tests/fuzz/fuzz.h"

static char path[] = "/tmp/parchmill-fuzz-key-XXXXXX";

static void remove_file(void) { unlink(path); }

/* A file that is its owner's alone, the same one each time. */
static const char *key_file(const uint8_t *bytes, size_t size) {
    static int fd = -1;
    if (fd < 0 && (fd = mkstemp(path)) >= 0) atexit(remove_file);
    if (fd < 0 || ftruncate(fd, 0) != 0 || pwrite(fd, bytes, size, 0) != (ssize_t)size) abort();
    return path;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    pm_credentials pair = {.insecure = false};
    char public_key[PM_KEY_BYTES] = "", derived[PM_KEY_BYTES];
    const char *file = key_file(bytes, size);
    if (pm_keys_read_secret(file, &pair) == PM_OK) {
        if (zmq_curve_public(derived, pair.secret_key) != 0 ||
            strcmp(derived, pair.public_key) != 0)
            abort();
    } else {
        static const char word[] = "\nsecret ";
        const uint8_t *secret = memmem(bytes, size, word, sizeof word - 1);
        const size_t left = secret ? size - (size_t)(secret - bytes) - (sizeof word - 1) : 0;
        char text[PM_KEY_BYTES] = "";
        if (left >= PM_KEY_BYTES - 1) memcpy(text, secret + sizeof word - 1, PM_KEY_BYTES - 1);
        if (!*pm_error_text() || (pm_key_is_valid(text) && strstr(pm_error_text(), text))) abort();
    }
    if (pm_keys_read_public(file, public_key) == PM_OK) {
        if (!pm_key_is_valid(public_key)) abort();
    } else if (!*pm_error_text()) {
        abort();
    }
    pm_credentials_wipe(&pair);
    return 0;
}
