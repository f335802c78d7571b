/* parchmill sql: one read-only question to a database, live or closed, here or behind a broker. */
#include <stdlib.h>

#include "tools/command.h"
#include "tools/source.h"
#include "tools/table.h"

static pm_status answer(const pm_options *options, pm_table *table) {
    pm_source *source = NULL;
    const pm_query_sink sink = pm_table_sink(table);
    pm_status status = pm_source_open(options, &source);
    if (!status) status = pm_source_ask_typed(source, pm_options_operand(options, 0), &sink, NULL);
    if (!status) status = pm_table_end(table);
    pm_source_close(&source);
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
