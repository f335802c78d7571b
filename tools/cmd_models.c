/* parchmill models: the architectures that the engine knows. */
#include <jansson.h>
#include <stdio.h>

#include "parchgrad.h"
#include "tools/command.h"

static void print_json(void) {
    json_t *list = json_array();
    for (size_t i = 0; i < pm_arch_count(); i++) {
        const pm_arch_info *a = pm_arch_at(i);
        json_array_append_new(
            list, json_pack("{s:s, s:s, s:I, s:I, s:s, s:[f,f,f], s:[f,f,f]}", "model", a->name,
                            "family", a->family, "resize", (json_int_t)a->resize, "crop",
                            (json_int_t)a->crop, "filter", pm_filter_name(a->filter), "mean",
                            (double)a->mean[0], (double)a->mean[1], (double)a->mean[2], "std",
                            (double)a->std[0], (double)a->std[1], (double)a->std[2]));
    }
    json_dumpf(list, stdout, JSON_INDENT(1) | JSON_REAL_PRECISION(7));
    fputc('\n', stdout);
    json_decref(list);
}

int pm_cmd_models(const pm_options *options) {
    pm_status status = pm_options_operands(options, "", 0, 0);
    if (status) return pm_command_failed("models", status);
    if (pm_options_flag(options, PM_OPT_JSON)) {
        print_json();
        return PM_EXIT_OK;
    }
    printf("%-16s %6s %5s  %-9s %-23s %s\n", "MODEL", "RESIZE", "CROP", "FILTER", "MEAN", "STD");
    for (size_t i = 0; i < pm_arch_count(); i++) {
        const pm_arch_info *a = pm_arch_at(i);
        char resize[24] = "-";
        if (a->resize) snprintf(resize, sizeof resize, "%zu", a->resize);
        printf("%-16s %6s %5zu  %-9s %.4f, %.4f, %.4f  %.4f, %.4f, %.4f\n", a->name, resize,
               a->crop, pm_filter_name(a->filter), (double)a->mean[0], (double)a->mean[1],
               (double)a->mean[2], (double)a->std[0], (double)a->std[1], (double)a->std[2]);
    }
    return PM_EXIT_OK;
}
