/* Owns the prompt: lines into statements, words that begin with a dot, what Ctrl-C means. */
#include "tools/sql/shell.h"

#include <errno.h>
#include <histedit.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>
#include <wchar.h>

#include "lib/sql/sql.h"
#include "tools/sql/history.h"
#include "tools/sql/words.h"

typedef struct shell {
    pm_source *source;
    pm_table_format format;
    size_t rows_max;
    EditLine *line;
    pm_history *history;
    pm_words words;
    pm_buffer statement; /* lines so far; NUL behind */
    bool without_history, leave;
} shell;

/* What Ctrl-C ends: a question, or the line that is being typed. */
static pm_source *volatile asked;
static volatile sig_atomic_t interrupted;

static void on_interrupt(int signal_number) {
    (void)signal_number;
    interrupted = 1;
    if (asked) pm_source_interrupt(asked);
}

/* It is heard where a question runs and where a key is waited for, and kept in between: a signal
 * just before a read would be lost on it. */
static void hear_interrupt(bool hear) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigprocmask(hear ? SIG_UNBLOCK : SIG_BLOCK, &set, NULL);
}

/* The terminal before the prompt had it. */
static struct termios terminal_before;

/* libedit would leave it without echo. Only what is safe in a handler. */
static void on_end(int signal_number) {
    if (tcgetpgrp(STDIN_FILENO) == getpgrp()) tcsetattr(STDIN_FILENO, TCSANOW, &terminal_before);
    signal(signal_number, SIG_DFL);
    raise(signal_number); /* heard behind this handler */
}

static void keep_terminal(void) {
    static const int ends[] = {SIGTERM, SIGHUP, SIGQUIT};
    struct sigaction before, action = {0};
    action.sa_handler = on_end;
    sigemptyset(&action.sa_mask);
    if (tcgetattr(STDIN_FILENO, &terminal_before)) return;
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
        if (sigaction(ends[i], NULL, &before) == 0 && before.sa_handler == SIG_DFL)
            sigaction(ends[i], &action, NULL);
}

pm_status pm_shell_answer(pm_source *source, const char *sql, pm_table_format format,
                          size_t rows_max) {
    pm_table *table = NULL;
    bool cut = false;
    pm_status status = pm_table_new(format, stdout, &table);
    if (status) return status;
    const pm_query_sink sink = pm_table_sink(table);
    status = pm_source_ask_typed(source, sql, &sink, &cut);
    if (!status) status = pm_table_end(table);
    if (!status && cut) {
        fflush(stdout);
        fprintf(stderr,
                "parchmill sql: there are more than %zu rows; --max-rows N shows more, "
                "0 all\n",
                rows_max);
    }
    pm_table_free(&table);
    return status;
}

static void complain(void) {
    fflush(stdout);
    fprintf(stderr, "%s\n", pm_error_text());
}

static void answer(shell *s, const char *sql) {
    asked = s->source;
    hear_interrupt(true);
    pm_status status = pm_shell_answer(s->source, sql, s->format, s->rows_max);
    hear_interrupt(false);
    asked = NULL;
    if (status) complain();
}

/* ---- words that begin with a dot ---- */

static pm_status print_text(void *user, size_t count, const pm_value *values) {
    (void)user;
    (void)count;
    printf("%.*s%s\n", (int)values[0].size, values[0].text, count > 1 ? ";" : "");
    return PM_OK;
}

static void tables(shell *s, const char *argument) {
    const pm_query_sink sink = {.row = print_text};
    (void)argument;
    if (pm_source_ask(s->source,
                      "SELECT name FROM sqlite_schema WHERE type IN ('table', 'view')"
                      " AND name NOT LIKE 'sqlite%' ORDER BY name",
                      NULL, 0, &sink, NULL))
        complain();
}

static void schema(shell *s, const char *argument) {
    const pm_query_sink sink = {.row = print_text};
    const pm_value name = {.kind = argument[0] ? PM_VALUE_TEXT : PM_VALUE_NULL,
                           .text = argument,
                           .size = strlen(argument)};
    if (pm_source_ask(s->source,
                      "SELECT sql, 1 FROM sqlite_schema WHERE sql IS NOT NULL"
                      " AND (?1 IS NULL OR name = ?1 OR tbl_name = ?1) ORDER BY rowid",
                      &name, 1, &sink, NULL))
        complain();
}

static void functions(shell *s, const char *argument) {
    size_t count = 0;
    const pm_sql_function *at = pm_sql_functions(&count);
    (void)s;
    (void)argument;
    for (size_t i = 0; i < count; i++) printf("%-24s  %s\n", at[i].use, at[i].meaning);
}

static void set_format(shell *s, const char *argument) {
    if (pm_table_format_parse(argument, &s->format)) complain();
}

static void quit(shell *s, const char *argument) {
    (void)argument;
    s->leave = true;
}

static void help(shell *s, const char *argument);

static const struct {
    const char *name, *argument, *meaning;
    void (*act)(shell *s, const char *argument);
} commands[] = {
    {".tables", "", "tables and views", tables},
    {".schema", "[NAME]", "their SQL, with what each column means", schema},
    {".functions", "", "functions beyond SQLite's own", functions},
    {".format", "NAME", "table, csv, json, jsonl, markdown", set_format},
    {".help", "", "this", help},
    {".quit", "", "leave (Ctrl-D, too)", quit},
};
enum { COMMANDS = sizeof commands / sizeof *commands };

static void help(shell *s, const char *argument) {
    (void)s;
    (void)argument;
    puts(
        "A question ends with a semicolon and may take several lines. TAB completes names, Ctrl-C\n"
        "stops a question or drops the line.");
    for (size_t i = 0; i < COMMANDS; i++)
        printf("%-10s %-7s %s\n", commands[i].name, commands[i].argument, commands[i].meaning);
}

static void obey(shell *s, const char *line) {
    char word[128];
    snprintf(word, sizeof word, "%.*s", (int)strcspn(line, "\n"), line);
    size_t end = strlen(word);
    while (end && (word[end - 1] == ' ' || word[end - 1] == ';')) word[--end] = '\0';
    char *argument = word + strcspn(word, " ");
    if (*argument) *argument++ = '\0';
    argument += strspn(argument, " ");
    for (size_t i = 0; i < COMMANDS; i++)
        if (strcmp(commands[i].name, word) == 0) {
            commands[i].act(s, argument);
            return;
        }
    pm_fail(PM_E_USAGE, "no command '%.80s'; .help lists them", word);
    complain();
}

/* ---- completion ---- */

static bool is_word(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

static size_t terminal_width(void) {
    struct winsize size;
    return ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col ? size.ws_col : 80;
}

static pm_words dot_words(char *names[COMMANDS]) {
    for (size_t i = 0; i < COMMANDS; i++) names[i] = (char *)commands[i].name;
    return (pm_words){.at = names, .count = COMMANDS};
}

static unsigned char complete(EditLine *line, int key) {
    shell *s = NULL;
    char more[128], *names[COMMANDS];
    const LineInfo *info = el_line(line);
    const char *start = info->cursor;
    (void)key;
    el_get(line, EL_CLIENTDATA, &s);
    while (start > info->buffer && is_word(start[-1])) start--;
    const bool dot = start == info->buffer + 1 && *info->buffer == '.' && !s->statement.size;
    if (dot) start--;
    const size_t length = (size_t)(info->cursor - start);
    const pm_words words = dot ? dot_words(names) : s->words;
    const size_t count = pm_words_complete(&words, start, length, more, sizeof more);
    if (count == 0) return CC_ERROR;
    if (more[0]) return el_insertstr(line, more) == 0 ? CC_REFRESH : CC_ERROR;
    fputc('\n', stdout);
    pm_words_show(&words, start, length, terminal_width(), stdout);
    fflush(stdout);
    return CC_REDISPLAY;
}

/* ---- lines ---- */

static char *prompt(EditLine *line) {
    static char first[] = "sql> ", next[] = "...> ";
    shell *s = NULL;
    el_get(line, EL_CLIENTDATA, &s);
    return s->statement.size ? next : first;
}

/* One character for libedit; -1 with EINTR for Ctrl-C. */
static int read_key(EditLine *line, wchar_t *out) {
    mbstate_t state = {0};
    sigset_t open;
    (void)line;
    sigprocmask(SIG_SETMASK, NULL, &open);
    sigdelset(&open, SIGINT);
    for (;;) {
        struct pollfd one = {.fd = STDIN_FILENO, .events = POLLIN};
        char byte = 0;
        if (ppoll(&one, 1, NULL, &open) < 0) {
            if (errno == EINTR && !interrupted) continue;
            return -1;
        }
        const ssize_t n = read(STDIN_FILENO, &byte, 1);
        if (n <= 0) return (int)n;
        const size_t used = mbrtowc(out, &byte, 1, &state);
        if (used <= 1) return 1;
        if (used == (size_t)-1) state = (mbstate_t){0}; /* not of this language: dropped */
    }
}

static pm_status set_up(shell *s) {
    pm_status status = pm_history_new(&s->history);
    if (status) return status;
    s->line = el_init("parchmill", stdin, stdout, stderr);
    if (!s->line) return pm_fail(PM_E_MEMORY, "no memory for the prompt");
    el_set(s->line, EL_CLIENTDATA, s);
    el_set(s->line, EL_PROMPT, prompt);
    el_set(s->line, EL_GETCFN, read_key);
    el_set(s->line, EL_EDITOR, "emacs");
    el_set(s->line, EL_HIST, history, pm_history_of(s->history));
    el_set(s->line, EL_ADDFN, "complete", "complete a name", complete);
    el_set(s->line, EL_BIND, "^I", "complete", NULL);
    el_set(s->line, EL_BIND, "^R", "em-inc-search-prev", NULL);
    const pm_asker asker = pm_source_asker(s->source);
    if (pm_history_load(s->history)) {
        fprintf(stderr, "parchmill sql: the history is left alone: %s\n", pm_error_text());
        s->without_history = true; /* what was not read must not be written over */
    }
    return pm_words_load(&s->words, &asker);
}

static pm_status take_line(shell *s, const char *text) {
    pm_history_add(s->history, text);
    if (!s->statement.size && text[0] == '.') {
        obey(s, text);
        return PM_OK;
    }
    if (!s->statement.size && !text[strspn(text, " \t\n")]) return PM_OK;
    pm_status status = pm_buffer_printf(&s->statement, "%s", text);
    if (status || !pm_query_is_whole((const char *)s->statement.bytes)) return status;
    answer(s, (const char *)s->statement.bytes);
    s->statement.size = 0;
    return PM_OK;
}

static pm_status converse(shell *s) {
    pm_status status = PM_OK;
    while (!s->leave && !status) {
        int count = 0;
        interrupted = 0;
        fflush(stdout);
        const char *text = el_gets(s->line, &count);
        if (text && count > 0) {
            status = take_line(s, text);
        } else if (interrupted) {
            s->statement.size = 0;
            fputc('\n', stdout);
        } else {
            fputc('\n', stdout);
            s->leave = true;
        }
    }
    return status;
}

pm_status pm_shell_run(pm_source *source, pm_table_format format, size_t rows_max) {
    shell s = {.source = source, .format = format, .rows_max = rows_max};
    struct sigaction before, action = {.sa_flags = SA_RESTART};
    action.sa_handler = on_interrupt;
    keep_terminal();
    pm_status status = set_up(&s);
    if (!status) {
        sigemptyset(&action.sa_mask);
        hear_interrupt(false);
        sigaction(SIGINT, &action, &before);
        printf("%s, read-only. .help tells what there is.\n", pm_source_name(source));
        status = converse(&s);
        sigaction(SIGINT, &before, NULL);
        hear_interrupt(true);
        /* A home that cannot be written is no reason to fail at the end. */
        if (!s.without_history && pm_history_save(s.history)) complain();
    }
    if (s.line) el_end(s.line);
    pm_history_free(&s.history);
    pm_words_fini(&s.words);
    pm_buffer_fini(&s.statement);
    return status;
}
