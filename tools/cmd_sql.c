/* parchmill sql: read-only questions to a database, live or closed, here or behind a broker. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/text.h"
#include "tools/command.h"
#include "tools/sql/shell.h"

enum { TEXT_BYTES_MAX = 1 << 20, PROMPT_ROWS = 1000, SECONDS_MAX = 1000000 };
/* As much as the disk of a small machine can spare. */
#define TEMPORARY_BYTES ((size_t)4 << 30)

static pm_status limits_of(const pm_options *options, bool prompt, pm_query_limits *out) {
    pm_query_limits limits = pm_query_default_limits;
    size_t mib = 0;
    double seconds = 0;
    pm_status status = pm_options_size(options, PM_OPT_MAX_ROWS, 0, SIZE_MAX, &limits.rows_max);
    if (!status) status = pm_options_size(options, PM_OPT_MAX_MEMORY, 0, 1 << 24, &mib);
    if (!status)
        status = pm_parse_double("--timeout", pm_options_text(options, PM_OPT_TIMEOUT), &seconds);
    if (!status && !(seconds >= 0 && seconds <= SECONDS_MAX))
        status = pm_fail(PM_E_USAGE, "--timeout %g is out of range; it takes 0 to %d seconds",
                         seconds, SECONDS_MAX);
    if (!status && pm_options_given(options, PM_OPT_BROKER) &&
        pm_options_given(options, PM_OPT_MAX_MEMORY))
        status = pm_fail(PM_E_USAGE, "--max-memory is for --db; a broker has a limit of its own");
    if (status) return status;
    if (prompt && !pm_options_given(options, PM_OPT_MAX_ROWS)) limits.rows_max = PROMPT_ROWS;
    limits.memory_bytes = mib << 20;
    limits.temporary_bytes = TEMPORARY_BYTES;
    limits.time_ms = (int64_t)(seconds * 1000);
    if (seconds > 0 && limits.time_ms == 0) limits.time_ms = 1;
    *out = limits;
    return PM_OK;
}

/* Of a file or a pipe; `name` is for texts. */
static pm_status read_question(FILE *file, const char *name, char **out) {
    char *text = calloc(1, TEXT_BYTES_MAX + 2);
    pm_status status = PM_OK;
    if (!text) return pm_fail(PM_E_MEMORY, "no memory for the question");
    const size_t size = fread(text, 1, TEXT_BYTES_MAX + 1, file);
    if (ferror(file))
        status = pm_fail(PM_E_IO, "%s: %s", name, strerror(errno));
    else if (size > TEXT_BYTES_MAX)
        status = pm_fail(PM_E_USAGE, "%s: a question of more than %d bytes", name, TEXT_BYTES_MAX);
    else if (strlen(text) != size)
        status = pm_fail(PM_E_USAGE, "%s: there is a NUL byte in it; it is no SQL", name);
    else if (!text[strspn(text, " \t\r\n")])
        status = pm_fail(PM_E_USAGE,
                         "%s is empty; usage: parchmill sql 'SELECT ...', or --file FILE, or at a "
                         "terminal with neither",
                         name);
    if (status)
        free(text);
    else
        *out = text;
    return status;
}

/* *out from malloc; NULL: there is none, so it is asked at the prompt. */
static pm_status question_of(const pm_options *options, char **out) {
    const char *operand = pm_options_operand(options, 0);
    const char *path = pm_options_text(options, PM_OPT_QUERY_FILE);
    if (operand && path)
        return pm_fail(PM_E_USAGE, "a question on the command line and --file: which of the two?");
    if (operand) {
        *out = strdup(operand);
        return *out ? PM_OK : pm_fail(PM_E_MEMORY, "no memory for the question");
    }
    if (path ? strcmp(path, "-") == 0 : !isatty(STDIN_FILENO))
        return read_question(stdin, "standard input", out);
    if (!path) return PM_OK;
    FILE *file = fopen(path, "rb");
    if (!file) return pm_fail(PM_E_NOT_FOUND, "--file %s: %s", path, strerror(errno));
    pm_status status = read_question(file, path, out);
    fclose(file);
    return status;
}

int pm_cmd_sql(const pm_options *options) {
    pm_table_format format;
    pm_query_limits limits;
    pm_source *source = NULL;
    char *sql = NULL;
    pm_status status = pm_options_operands(options, "'SELECT ...'", 0, 1);
    if (!status) status = pm_table_format_parse(pm_options_text(options, PM_OPT_FORMAT), &format);
    if (!status) status = question_of(options, &sql);
    if (!status) status = limits_of(options, !sql, &limits);
    if (!status && !sql && pm_options_given(options, PM_OPT_BROKER))
        status = pm_fail(PM_E_USAGE, "the prompt needs a file (--db FILE); --broker takes a "
                                     "question: 'SELECT ...' or --file");
    if (!status) status = pm_source_open_within(options, &limits, &source);
    if (!status)
        status = sql ? pm_shell_answer(source, sql, format, limits.rows_max)
                     : pm_shell_run(source, format, limits.rows_max);
    pm_source_close(&source);
    free(sql);
    return status ? pm_command_failed("sql", status) : PM_EXIT_OK;
}
