/* Chromium without a window, told what to do over two pipes (the DevTools protocol). */
#ifndef PM_TESTS_REPORT_BROWSER_H
#define PM_TESTS_REPORT_BROWSER_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

typedef struct pm_browser {
    pid_t pid;
    int to, from;
    int last;      /* number of the last command */
    char *session; /* of the one page */
    char *bytes;   /* read and not yet taken */
    size_t size, room;
    size_t complaints;   /* console messages, exceptions, refused requests since the last page */
    char complaint[512]; /* the first of them */
    bool loaded;
    char profile[64];
} pm_browser;

/* False where there is no chromium. Else asserts on failure. */
bool pm_browser_start(pm_browser *browser);
void pm_browser_stop(pm_browser *browser);
/* Opens an address, in a window of that size, and waits until it is loaded. */
void pm_browser_open(pm_browser *browser, const char *url, int width, int height, bool dark);
/* What an expression gives (promises are waited for), as text to be freed: strings as they are,
 * other values as JSON. */
char *pm_browser_ask(pm_browser *browser, const char *expression);

#endif
