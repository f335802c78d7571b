/* Owns the file of lines typed. */
#include "tools/sql/history.h"

#include <histedit.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/file.h"
#include "lib/base/text.h"

enum { FILE_BYTES_MAX = 4 << 20 };

struct pm_history {
    History *lines;
};

pm_status pm_history_new(pm_history **out) {
    HistEvent event;
    pm_history *made = calloc(1, sizeof *made);
    if (made) made->lines = history_init();
    if (!made || !made->lines) {
        free(made);
        return pm_fail(PM_E_MEMORY, "no memory for the history");
    }
    history(made->lines, &event, H_SETSIZE, PM_HISTORY_LINES);
    history(made->lines, &event, H_SETUNIQUE, 1);
    *out = made;
    return PM_OK;
}

void pm_history_free(pm_history **history) {
    if (!*history) return;
    history_end((*history)->lines);
    free(*history);
    *history = NULL;
}

void *pm_history_of(const pm_history *history) { return history->lines; }

void pm_history_add(pm_history *kept, const char *line) {
    HistEvent event;
    char *text = strndup(line, strcspn(line, "\n"));
    if (text && text[strspn(text, " \t")]) history(kept->lines, &event, H_ENTER, text);
    free(text);
}

/* The folder, and the file in it. */
static pm_status place(char *folder, char *file, size_t size) {
    const char *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
    int n = state && state[0] == '/' ? snprintf(folder, size, "%s/parchmill", state)
            : home && home[0] == '/' ? snprintf(folder, size, "%s/.local/state/parchmill", home)
                                     : -1;
    if (n < 0 || (size_t)n + sizeof "/history" > size)
        return pm_fail(PM_E_NOT_FOUND, "there is no place for the history: $HOME is not set");
    snprintf(file, size, "%.*s/history", n, folder);
    return PM_OK;
}

pm_status pm_history_load(pm_history *history) {
    char folder[1024], path[1024];
    uint8_t *bytes = NULL;
    size_t size = 0;
    pm_status status = place(folder, path, sizeof path);
    if (!status) status = pm_file_read(path, FILE_BYTES_MAX, &bytes, &size);
    if (status) return status == PM_E_NOT_FOUND ? PM_OK : status;
    for (size_t at = 0, end; at < size; at = end + 1) {
        const uint8_t *stop = memchr(bytes + at, '\n', size - at);
        end = stop ? (size_t)(stop - bytes) : size;
        char *line = strndup((const char *)bytes + at, end - at);
        if (line) pm_history_add(history, line);
        free(line);
    }
    free(bytes);
    return PM_OK;
}

pm_status pm_history_save(const pm_history *kept) {
    char folder[1024], path[1024];
    pm_buffer text = {0};
    HistEvent event;
    pm_status status = place(folder, path, sizeof path);
    if (!status) status = pm_dir_make_as(folder, 0700);
    for (int more = history(kept->lines, &event, H_LAST); !status && more != -1;
         more = history(kept->lines, &event, H_PREV))
        status = pm_buffer_printf(&text, "%s\n", event.str);
    if (!status && text.size) status = pm_file_write_as(path, text.bytes, text.size, 0600, true);
    pm_buffer_fini(&text);
    return status;
}
