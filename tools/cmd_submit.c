/* parchmill submit: a run for a broker's queue. */
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>

#include "lib/base/text.h"
#include "lib/image/image.h"
#include "tools/command.h"
#include "tools/job.h"
#include "tools/place.h"

enum { SUBMIT_MS = 120000 };

static void print_accepted(const pm_options *options, const pm_accepted *a) {
    if (pm_options_flag(options, PM_OPT_JSON)) {
        json_t *root =
            json_pack("{s:I, s:b, s:I, s:I, s:I, s:i, s:b, s:I}", "run", (json_int_t)a->run,
                      "existed", (int)a->existed, "images", (json_int_t)a->items, "images_open",
                      (json_int_t)a->items_open, "results_reused", (json_int_t)a->results_reused,
                      "priority", a->terms.priority, "paused", (int)a->terms.paused, "max_workers",
                      (json_int_t)a->terms.max_workers);
        json_dumpf(root, stdout, JSON_INDENT(1));
        fputc('\n', stdout);
        json_decref(root);
        return;
    }
    /* The number alone on stdout, for scripts; the words on stderr. */
    printf("%" PRIu64 "\n", a->run);
    fprintf(stderr, "run %" PRIu64 "%s: %" PRIu64 " images, %" PRIu64 " to compute\n", a->run,
            a->existed ? " was known" : "", a->items, a->items_open);
    pm_job_tell_terms(options, a);
}

int pm_cmd_submit(const pm_options *options) {
    pm_data_set data_set = {0};
    pm_order order = {0};
    pm_place place = {0};
    pm_accepted accepted;
    pm_run_terms terms;
    pm_status status = pm_options_operands(options, "", 0, 0);
    if (!status) status = pm_job_terms(options, &terms);
    if (!status) status = pm_image_setup("parchmill");
    if (!status) status = pm_job_open(options, &data_set, &order);
    pm_stop_catch();
    if (!status) status = pm_place_open(options, 0, 1, &pm_stop_asked, &place);
    if (!status)
        status = pm_client_submit(place.client, &order.spec, &data_set, &terms, false, SUBMIT_MS,
                                  &accepted);
    int code = status ? pm_command_failed("submit", status) : PM_EXIT_OK;
    pm_place_close(&place, &pm_stop_hurry);
    if (!status) print_accepted(options, &accepted);
    pm_order_fini(&order);
    pm_data_set_fini(&data_set);
    return code;
}
