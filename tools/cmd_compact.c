/* parchmill compact: the database written anew, without the pages that went free. */
#include <inttypes.h>
#include <stdio.h>

#include "lib/store/keep.h"
#include "tools/command.h"

int pm_cmd_compact(const pm_options *options) {
    uint64_t before = 0, after = 0;
    const char *db = pm_options_text(options, PM_OPT_DB);
    pm_status status = pm_options_operands(options, "", 0, 0);
    if (!status) status = pm_store_compact(db, &before, &after);
    if (status) return pm_command_failed("compact", status);
    if (pm_options_flag(options, PM_OPT_JSON))
        printf("{\"before_bytes\": %" PRIu64 ", \"after_bytes\": %" PRIu64 "}\n", before, after);
    else
        printf("%s: %.2f MB before, %.2f MB after\n", db, (double)before / 1e6,
               (double)after / 1e6);
    return PM_EXIT_OK;
}
