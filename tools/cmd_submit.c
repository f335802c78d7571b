/* parchmill submit, cancel, retry: one request each. */
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>

#include "lib/base/text.h"
#include "lib/image/image.h"
#include "tools/command.h"
#include "tools/job.h"
#include "tools/place.h"

enum { SUBMIT_MS = 120000, CALL_MS = 30000 };

static void print_accepted(const pm_options *options, const pm_accepted *a) {
    if (pm_options_flag(options, PM_OPT_JSON)) {
        json_t *root =
            json_pack("{s:I, s:b, s:I, s:I, s:I}", "run", (json_int_t)a->run, "existed",
                      (int)a->existed, "images", (json_int_t)a->items, "images_open",
                      (json_int_t)a->items_open, "results_reused", (json_int_t)a->results_reused);
        json_dumpf(root, stdout, JSON_INDENT(1));
        fputc('\n', stdout);
        json_decref(root);
        return;
    }
    /* The number alone on stdout, for scripts; the words on stderr. */
    printf("%" PRIu64 "\n", a->run);
    fprintf(stderr, "run %" PRIu64 "%s: %" PRIu64 " images, %" PRIu64 " to compute\n", a->run,
            a->existed ? " was known" : "", a->items, a->items_open);
}

int pm_cmd_submit(const pm_options *options) {
    pm_data_set data_set = {0};
    pm_order order = {0};
    pm_place place = {0};
    pm_accepted accepted;
    pm_status status = pm_options_operands(options, "", 0, 0);
    if (!status) status = pm_image_setup("parchmill");
    if (!status) status = pm_job_open(options, &data_set, &order);
    pm_stop_catch();
    if (!status) status = pm_place_open(options, 0, 1, &pm_stop_asked, &place);
    if (!status)
        status =
            pm_client_submit(place.client, &order.spec, &data_set, false, SUBMIT_MS, &accepted);
    int code = status ? pm_command_failed("submit", status) : PM_EXIT_OK;
    pm_place_close(&place, &pm_stop_hurry);
    if (!status) print_accepted(options, &accepted);
    pm_order_fini(&order);
    pm_data_set_fini(&data_set);
    return code;
}

typedef pm_status (*run_request)(pm_client *client, uint64_t run, int timeout_ms, uint64_t *count);

static int ask(const pm_options *options, const char *name, run_request request, const char *what) {
    size_t run = 0;
    uint64_t count = 0;
    pm_place place = {0};
    pm_status status = pm_options_operands(options, "RUN", 1, 1);
    if (!status) status = pm_parse_size("RUN", pm_options_operand(options, 0), &run);
    pm_stop_catch();
    if (!status) status = pm_place_open(options, 0, 1, &pm_stop_asked, &place);
    if (!status) status = request(place.client, run, CALL_MS, &count);
    int code = status ? pm_command_failed(name, status) : PM_EXIT_OK;
    pm_place_close(&place, &pm_stop_hurry);
    if (status) return code;
    if (pm_options_flag(options, PM_OPT_JSON))
        printf("{\"run\": %zu, \"count\": %" PRIu64 "}\n", run, count);
    else
        printf("run %zu: %" PRIu64 " %s\n", run, count, what);
    return code;
}

int pm_cmd_cancel(const pm_options *options) {
    return ask(options, "cancel", pm_client_cancel,
               "open tasks dropped; its results stay, and submitting it again goes on");
}

int pm_cmd_retry(const pm_options *options) {
    return ask(options, "retry", pm_client_retry, "failed results are to be computed again");
}
