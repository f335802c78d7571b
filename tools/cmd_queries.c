/* parchmill queries: the ready-made questions, listed, shown or asked. */
#include <stdio.h>

#include "tools/command.h"
#include "tools/queries/catalogue.h"
#include "tools/source.h"
#include "tools/table.h"

static pm_status list(void) {
    pm_status status = PM_OK;
    for (size_t i = 0; i < pm_ready_count && !status; i++) {
        pm_ready ready;
        if ((status = pm_ready_at(i, &ready))) return status;
        printf("%-14s %s", ready.name, ready.question);
        for (size_t p = 0; p < ready.parameter_count; p++)
            printf("%s%s%s", p ? " " : "  [", ready.parameters[p],
                   p + 1 == ready.parameter_count ? "]" : "");
        putchar('\n');
    }
    return status;
}

static pm_status ask(const pm_options *options, const pm_ready *ready, pm_table *table) {
    pm_source *source = NULL;
    const char *words[PM_READY_PARAMETERS + 1];
    pm_value values[PM_READY_PARAMETERS];
    char name[PM_READY_LINE];
    const size_t count = pm_options_operand_count(options) - 1;
    const pm_query_sink sink = pm_table_sink(table);
    for (size_t i = 0; i < count; i++) words[i] = pm_options_operand(options, i + 1);
    pm_status status = pm_source_open(options, &source);
    if (!status) status = pm_source_current(source);
    if (!status) {
        const pm_asker asker = pm_source_asker(source);
        status = pm_ready_values(ready, &asker, words, count, name, values);
    }
    if (!status)
        status = pm_source_ask(source, ready->sql, values, ready->parameter_count, &sink, NULL);
    if (!status) status = pm_table_end(table);
    pm_source_close(&source);
    return status;
}

int pm_cmd_queries(const pm_options *options) {
    pm_table_format format;
    pm_table *table = NULL;
    pm_ready ready;
    pm_status status =
        pm_options_operands(options, "[NAME [VALUE...]]", 0, PM_READY_PARAMETERS + 1);
    if (!status) status = pm_table_format_parse(pm_options_text(options, PM_OPT_FORMAT), &format);
    if (status) return pm_command_failed("queries", status);
    if (!pm_options_operand_count(options)) {
        status = list();
    } else if (!(status = pm_ready_find(pm_options_operand(options, 0), &ready))) {
        if (pm_options_flag(options, PM_OPT_SHOW))
            fputs(ready.sql, stdout);
        else if (!(status = pm_table_new(format, stdout, &table)))
            status = ask(options, &ready, table);
    }
    pm_table_free(&table);
    return status ? pm_command_failed("queries", status) : PM_EXIT_OK;
}
