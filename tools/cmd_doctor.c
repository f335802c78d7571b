/* parchmill doctor: is everything in order here? */
#include "tools/doctor.h"

#include <stdarg.h>
#include <stdio.h>

#include "tools/command.h"

static const char *const level_names[] = {"ok", "warn", "FAIL"};

void pm_doctor_say(pm_doctor *d, pm_doctor_level level, const char *check, const char *advice,
                   const char *format, ...) {
    char text[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    d->count[level]++;
    if (d->lines) {
        json_t *line = json_pack("{s:s, s:s, s:s, s:o}", "check", check, "level",
                                 level == PM_DOCTOR_FAIL ? "fail" : level_names[level], "text",
                                 text, "advice", advice ? json_string(advice) : json_null());
        if (line) json_array_append_new(d->lines, line);
        return;
    }
    printf("%-4s  %-10s %s\n", level_names[level], check, text);
    if (advice) printf("      %-10s -> %s\n", "", advice);
    fflush(stdout);
}

static void look(pm_doctor *d) {
    pm_doctor_database(d);
    pm_doctor_broker(d);
    pm_doctor_keys(d);
    pm_doctor_images(d);
    pm_doctor_host(d);
}

int pm_cmd_doctor(const pm_options *options) {
    pm_doctor d = {.options = options};
    bool json = pm_options_flag(options, PM_OPT_JSON);
    pm_status status = pm_options_operands(options, "", 0, 0);
    if (!status && json && !(d.lines = json_array()))
        status = pm_fail(PM_E_MEMORY, "no memory for a list");
    if (status) return pm_command_failed("doctor", status);
    look(&d);
    const bool well = d.count[PM_DOCTOR_FAIL] == 0;
    if (json) {
        json_t *root = json_pack("{s:b, s:O}", "ok", (int)well, "checks", d.lines);
        json_dumpf(root, stdout, JSON_INDENT(1));
        fputc('\n', stdout);
        json_decref(root);
        json_decref(d.lines);
    } else {
        printf("%zu ok, %zu warn, %zu FAIL\n", d.count[PM_DOCTOR_OK], d.count[PM_DOCTOR_WARN],
               d.count[PM_DOCTOR_FAIL]);
    }
    return well ? PM_EXIT_OK : PM_EXIT_FAILED;
}
