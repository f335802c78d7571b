/* parchmill cancel, retry, pause, resume, priority, max-workers: one request about one run. */
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>

#include "lib/base/text.h"
#include "tools/command.h"
#include "tools/place.h"

enum { CALL_MS = 30000 };

/* One request; `value` as the command has it. */
typedef struct request {
    const char *name;
    uint64_t run;
    int64_t value;
    pm_retry_filter filter;
    pm_status (*call)(pm_client *client, const struct request *r, uint64_t *count);
    void (*say)(const struct request *r, uint64_t count);
} request;

static pm_status read_run(const pm_options *options, const char *operands, size_t count,
                          request *r) {
    pm_status status = pm_options_operands(options, operands, count, count);
    return status ? status : pm_options_run(options, 0, &r->run);
}

/* `status`: of reading the command line. */
static int ask(const pm_options *options, const request *r, pm_status status) {
    uint64_t count = 0;
    pm_place place = {0};
    pm_stop_catch();
    if (!status) status = pm_place_open(options, 0, 1, &pm_stop_asked, &place);
    if (!status) status = r->call(place.client, r, &count);
    int code = status ? pm_command_failed(r->name, status) : PM_EXIT_OK;
    pm_place_close(&place, &pm_stop_hurry);
    if (status) return code;
    if (pm_options_flag(options, PM_OPT_JSON))
        printf("{\"run\": %" PRIu64 ", \"count\": %" PRIu64 "}\n", r->run, count);
    else
        r->say(r, count);
    return code;
}

/* ---- cancel ---- */

static pm_status call_cancel(pm_client *client, const request *r, uint64_t *count) {
    return pm_client_cancel(client, r->run, CALL_MS, count);
}

static void say_cancel(const request *r, uint64_t count) {
    printf("run %" PRIu64 ": %" PRIu64
           " open tasks dropped; its results stay, and submitting it again goes on\n",
           r->run, count);
}

int pm_cmd_cancel(const pm_options *options) {
    request r = {.name = "cancel", .call = call_cancel, .say = say_cancel};
    return ask(options, &r, read_run(options, "RUN", 1, &r));
}

/* ---- retry ---- */

static pm_status call_retry(pm_client *client, const request *r, uint64_t *count) {
    return pm_client_retry(client, r->run, &r->filter, CALL_MS, count);
}

static void say_retry(const request *r, uint64_t count) {
    bool any = !r->filter.stage && !r->filter.reason && !r->filter.image;
    if (count)
        printf("run %" PRIu64 ": %" PRIu64 " failed result%s %s to be computed again\n", r->run,
               count, count == 1 ? "" : "s", count == 1 ? "is" : "are");
    else
        printf("run %" PRIu64 ": %s\n", r->run,
               any ? "nothing has failed"
                   : "nothing that failed matches; `parchmill failures` lists it");
}

int pm_cmd_retry(const pm_options *options) {
    request r = {.name = "retry", .call = call_retry, .say = say_retry};
    r.filter = (pm_retry_filter){.stage = pm_options_text(options, PM_OPT_STAGE),
                                 .reason = pm_options_text(options, PM_OPT_REASON),
                                 .image = pm_options_text(options, PM_OPT_IMAGE)};
    return ask(options, &r, read_run(options, "RUN", 1, &r));
}

/* ---- pause, resume ---- */

static pm_status call_pause(pm_client *client, const request *r, uint64_t *count) {
    return pm_client_pause(client, r->run, r->value != 0, CALL_MS, count);
}

static void say_pause(const request *r, uint64_t count) {
    const char *paused = "paused; what is in work is finished, nothing more goes out";
    printf("run %" PRIu64 " %s %s\n", r->run, count ? "is" : "was already",
           r->value ? paused
           : count  ? "going on"
                    : "not paused");
}

int pm_cmd_pause(const pm_options *options) {
    request r = {.name = "pause", .value = 1, .call = call_pause, .say = say_pause};
    return ask(options, &r, read_run(options, "RUN", 1, &r));
}

int pm_cmd_resume(const pm_options *options) {
    request r = {.name = "resume", .value = 0, .call = call_pause, .say = say_pause};
    return ask(options, &r, read_run(options, "RUN", 1, &r));
}

/* ---- priority ---- */

static pm_status call_priority(pm_client *client, const request *r, uint64_t *count) {
    return pm_client_prioritize(client, r->run, (int)r->value, CALL_MS, count);
}

static void say_priority(const request *r, uint64_t count) {
    printf("run %" PRIu64 " %s priority %" PRId64 "\n", r->run, count ? "has" : "had already",
           r->value);
}

int pm_cmd_priority(const pm_options *options) {
    request r = {.name = "priority", .call = call_priority, .say = say_priority};
    int value = 0;
    pm_status status = read_run(options, "RUN N", 2, &r);
    if (!status)
        status = pm_parse_int("N", pm_options_operand(options, 1), -PM_PRIORITY_MOST,
                              PM_PRIORITY_MOST, &value);
    r.value = value;
    return ask(options, &r, status);
}

/* ---- max-workers ---- */

static pm_status call_limit(pm_client *client, const request *r, uint64_t *count) {
    return pm_client_limit(client, r->run, (uint32_t)r->value, CALL_MS, count);
}

static void say_limit(const request *r, uint64_t count) {
    printf("run %" PRIu64 " %s", r->run, count ? "may have" : "might have already");
    if (r->value)
        printf(" %" PRId64 " worker%s at a time\n", r->value, r->value == 1 ? "" : "s");
    else
        puts(" any number of workers");
}

int pm_cmd_max_workers(const pm_options *options) {
    request r = {.name = "max-workers", .call = call_limit, .say = say_limit};
    int value = 0;
    pm_status status = read_run(options, "RUN N", 2, &r);
    if (!status) status = pm_parse_int("N", pm_options_operand(options, 1), 0, INT32_MAX, &value);
    r.value = value;
    return ask(options, &r, status);
}
