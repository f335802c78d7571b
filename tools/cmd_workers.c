/* parchmill workers, drain: who is at a broker, and who is to go. */
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "tools/command.h"
#include "tools/place.h"

enum { CALL_MS = 30000, NAME_LEAST = 6, NAME_MOST = 40 };

/* Only a standing broker has workers that outlive the command. */
static pm_status open_broker(const pm_options *options, pm_place *place) {
    pm_status status = pm_options_need(options, PM_OPT_BROKER);
    return status ? status : pm_place_open(options, 0, 1, NULL, place);
}

static void print_json(const Pm__Wire__Status *all) {
    json_t *workers = json_array();
    for (size_t i = 0; i < all->n_workers; i++) {
        const Pm__Wire__WorkerStatus *w = all->workers[i];
        const char *colon = strrchr(w->name, ':');
        int host = colon ? (int)(colon - w->name) : (int)strlen(w->name);
        json_array_append_new(
            workers, json_pack("{s:s, s:s%, s:I, s:s, s:s, s:I, s:I, s:s, s:f, s:f}", "name",
                               w->name, "host", w->name, host, "threads", (json_int_t)w->threads,
                               "isa", w->isa ? w->isa : "", "engine_version",
                               w->engine_version ? w->engine_version : "", "images_done",
                               (json_int_t)w->items_done, "leases", (json_int_t)w->leases, "state",
                               w->state ? w->state : "", "silent_s", (double)w->silent_ms / 1e3,
                               "images_per_s", w->rate));
    }
    json_t *root = json_pack("{s:o}", "workers", workers);
    json_dumpf(root, stdout, JSON_INDENT(1));
    fputc('\n', stdout);
    json_decref(root);
}

static void print_table(const Pm__Wire__Status *all) {
    size_t wide = NAME_LEAST;
    if (!all->n_workers) puts("no workers");
    for (size_t i = 0; i < all->n_workers; i++) {
        size_t length = strlen(all->workers[i]->name);
        if (length > wide) wide = length < NAME_MOST ? length : NAME_MOST;
    }
    if (all->n_workers)
        printf("%-*s  %-8s %7s %6s %9s %9s %7s  %-8s %s\n", (int)wide, "WORKER", "STATE", "THREADS",
               "LEASES", "IMAGES", "IMAGES/S", "SILENT", "ISA", "ENGINE");
    for (size_t i = 0; i < all->n_workers; i++) {
        const Pm__Wire__WorkerStatus *w = all->workers[i];
        printf("%-*s  %-8s %7u %6u %9" PRIu64 " %9.3g %5.1f s  %-8s %s\n", (int)wide, w->name,
               w->state ? w->state : "", w->threads, w->leases, w->items_done, w->rate,
               (double)w->silent_ms / 1e3, w->isa ? w->isa : "",
               w->engine_version ? w->engine_version : "");
    }
}

int pm_cmd_workers(const pm_options *options) {
    pm_place place = {0};
    pm_message answer = {0};
    pm_status status = pm_options_operands(options, "", 0, 0);
    if (!status) status = open_broker(options, &place);
    if (!status) status = pm_client_status(place.client, 0, CALL_MS, &answer);
    int code = status ? pm_command_failed("workers", status) : PM_EXIT_OK;
    if (!status && pm_options_flag(options, PM_OPT_JSON))
        print_json(answer.body->status);
    else if (!status)
        print_table(answer.body->status);
    if (!status) pm_message_fini(&answer);
    pm_place_close(&place, NULL);
    return code;
}

int pm_cmd_drain(const pm_options *options) {
    pm_place place = {0};
    uint64_t count = 0;
    pm_status status = pm_options_operands(options, "WORKER|HOST|all", 1, 1);
    if (!status) status = open_broker(options, &place);
    if (!status)
        status = pm_client_drain(place.client, pm_options_operand(options, 0), CALL_MS, &count);
    int code = status ? pm_command_failed("drain", status) : PM_EXIT_OK;
    if (!status && pm_options_flag(options, PM_OPT_JSON))
        printf("{\"count\": %" PRIu64 "}\n", count);
    else if (!status && count)
        printf("%" PRIu64 " worker%s finish%s what is in hand and go%s\n", count,
               count == 1 ? "" : "s", count == 1 ? "es" : "", count == 1 ? "es" : "");
    else if (!status)
        puts("no workers are here");
    pm_place_close(&place, NULL);
    return code;
}
