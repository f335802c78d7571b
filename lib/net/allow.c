/* Owns the allow-list's format and its look-up. Knows no socket and no time. */
#include "lib/net/allow.h"

#include <stdlib.h>
#include <string.h>

#include "lib/net/guarded_file.h"

struct pm_allow {
    size_t count, capacity;
    pm_allowed *keys; /* [count], by identity */
};

static int by_identity(const void *a, const void *b) {
    uint64_t left = ((const pm_allowed *)a)->identity, right = ((const pm_allowed *)b)->identity;
    return left < right ? -1 : left > right;
}

static int by_name(const void *a, const void *b) {
    return strcmp((*(const pm_allowed *const *)a)->name, (*(const pm_allowed *const *)b)->name);
}

static pm_status add(const char *path, size_t number, char *line, pm_allow *allow) {
    static const char blank[] = " \t\r";
    char *rest = NULL, *words[4];
    size_t count = 0;
    for (char *word = strtok_r(line, blank, &rest); word && count < 4;
         word = strtok_r(NULL, blank, &rest))
        words[count++] = word;
    if (count == 0 || words[0][0] == '#') return PM_OK;
    if (count != 3)
        return pm_fail(PM_E_FORMAT, "%s:%zu: expected 'ROLE KEY NAME', three words", path, number);
    pm_allowed made = {.role = pm_role_parse(words[0])};
    if (made.role == PM_ROLE_NONE)
        return pm_fail(PM_E_FORMAT, "%s:%zu: role '%.40s' is none of client, worker, admin", path,
                       number, words[0]);
    if (!pm_key_is_valid(words[1]))
        return pm_fail(PM_E_FORMAT, "%s:%zu: '%.60s' is not the %d characters of a public key",
                       path, number, words[1], PM_KEY_BYTES - 1);
    if (!pm_key_name_is_valid(words[2]))
        return pm_fail(PM_E_FORMAT,
                       "%s:%zu: a name has 1 to %d letters, digits and . _ @ - +, not '%.70s'",
                       path, number, PM_KEY_NAME_BYTES - 1, words[2]);
    if (allow->count == PM_ALLOW_KEYS_MAX)
        return pm_fail(PM_E_LIMIT, "%s:%zu: more than %d keys", path, number, PM_ALLOW_KEYS_MAX);
    if (allow->count == allow->capacity) {
        size_t capacity = allow->capacity ? 2 * allow->capacity : 16;
        pm_allowed *keys = realloc(allow->keys, capacity * sizeof *keys);
        if (!keys) return pm_fail(PM_E_MEMORY, "%s: no memory", path);
        allow->keys = keys;
        allow->capacity = capacity;
    }
    memcpy(made.key, words[1], sizeof made.key);
    memcpy(made.name, words[2], strlen(words[2]) + 1);
    made.identity = pm_key_identity(made.key);
    allow->keys[allow->count++] = made;
    return PM_OK;
}

/* With a key or a name twice, the line that counts would be anybody's guess. */
static pm_status check_unique(const char *path, pm_allow *allow) {
    pm_status status = PM_OK;
    const pm_allowed **names = malloc((allow->count + 1) * sizeof *names);
    if (!names) return pm_fail(PM_E_MEMORY, "%s: no memory", path);
    if (allow->count) qsort(allow->keys, allow->count, sizeof *allow->keys, by_identity);
    for (size_t i = 0; i < allow->count; i++) names[i] = &allow->keys[i];
    for (size_t i = 1; i < allow->count && !status; i++)
        if (allow->keys[i].identity == allow->keys[i - 1].identity)
            status = pm_fail(PM_E_FORMAT, "%s: one key stands twice, as '%s' and '%s'", path,
                             allow->keys[i - 1].name, allow->keys[i].name);
    if (allow->count) qsort(names, allow->count, sizeof *names, by_name);
    for (size_t i = 1; i < allow->count && !status; i++)
        if (strcmp(names[i]->name, names[i - 1]->name) == 0)
            status = pm_fail(PM_E_FORMAT, "%s: two keys have the name '%s'", path, names[i]->name);
    free(names);
    return status;
}

pm_status pm_allow_parse(const char *path, char *text, pm_allow **out) {
    pm_status status = PM_OK;
    size_t number = 1;
    pm_allow *allow = calloc(1, sizeof *allow);
    if (!allow) return pm_fail(PM_E_MEMORY, "%s: no memory", path);
    for (char *line = text, *next; line && !status; line = next) {
        next = strchr(line, '\n');
        if (next) *next++ = '\0';
        status = add(path, number++, line, allow);
    }
    if (!status) status = check_unique(path, allow);
    if (status)
        pm_allow_free(&allow);
    else
        *out = allow;
    return status;
}

pm_status pm_allow_read(const char *path, pm_allow **out, struct stat *info) {
    char *text = NULL;
    pm_status status = pm_guarded_read(path, PM_GUARDED_LIST, PM_ALLOW_BYTES_MAX, &text, info);
    if (status) return status;
    status = pm_allow_parse(path, text, out);
    free(text);
    return status;
}

void pm_allow_free(pm_allow **allow) {
    if (!*allow) return;
    free((*allow)->keys);
    free(*allow);
    *allow = NULL;
}

size_t pm_allow_count(const pm_allow *allow) { return allow->count; }

const pm_allowed *pm_allow_find_identity(const pm_allow *allow, uint64_t identity) {
    pm_allowed wanted = {.identity = identity};
    if (!allow->count) return NULL;
    return bsearch(&wanted, allow->keys, allow->count, sizeof wanted, by_identity);
}

const pm_allowed *pm_allow_find(const pm_allow *allow, const char *key) {
    const pm_allowed *found = pm_allow_find_identity(allow, pm_key_identity(key));
    return found && strcmp(found->key, key) == 0 ? found : NULL;
}
