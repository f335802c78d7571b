/* parchmill sql: one read-only question to a database, live or closed. */
#include <stdlib.h>

#include "tools/command.h"
#include "tools/table.h"

static pm_status answer(const pm_options *options, pm_table *table) {
    pm_query *query = NULL;
    pm_query_sink sink = pm_table_sink(table);
    pm_status status =
        pm_query_open(pm_options_text(options, PM_OPT_DB), &pm_query_default_limits, &query);
    if (!status) status = pm_query_run(query, pm_options_operand(options, 0), NULL, 0, &sink, NULL);
    if (!status) status = pm_table_end(table);
    pm_query_close(&query);
    return status;
}

int pm_cmd_sql(const pm_options *options) {
    pm_table_format format;
    pm_table *table = NULL;
    pm_status status = pm_options_operands(options, "'SELECT ...'", 1, 1);
    if (!status) status = pm_table_format_parse(pm_options_text(options, PM_OPT_FORMAT), &format);
    if (!status) status = pm_table_new(format, stdout, &table);
    if (!status) status = answer(options, table);
    pm_table_free(&table);
    return status ? pm_command_failed("sql", status) : PM_EXIT_OK;
}
