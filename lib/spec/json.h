/* Reading JSON, so that want of memory is called that. */
#ifndef PM_SPEC_JSON_H
#define PM_SPEC_JSON_H

#include <jansson.h>
#include <stddef.h>

#include "lib/base/status.h"

/* json_loadb() with its flags; *out is the caller's. PM_E_FORMAT, with what jansson says in *error,
 * and PM_E_MEMORY; neither with a text of its own. Without memory jansson finds fault with the
 * text, or drops a byte of a string and goes on: nothing of that comes out here. */
pm_status pm_json_load(const char *text, size_t size, size_t flags, json_t **out,
                       json_error_t *error);

#endif
