/* Starting the programs as a person would, and looking at what they say and write. */
#ifndef PM_TESTS_INTEGRATION_COMMAND_H
#define PM_TESTS_INTEGRATION_COMMAND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum { PM_OUTPUT_BYTES = 16384, PM_PATIENCE_MS = 120000 };

typedef struct pm_program {
    pid_t pid; /* 0: ended */
    int out_fd, err_fd;
    int code;                  /* exit code, or 128 + signal */
    char out[PM_OUTPUT_BYTES]; /* stdout, once it has ended */
    char err[PM_OUTPUT_BYTES]; /* stderr */
} pm_program;

/* `line`: arguments of parchmill, parted by blanks; 'quoted words' may hold blanks. */
void pm_program_start(pm_program *program, const char *line);
/* The same of another program of ours. */
void pm_program_start_named(pm_program *program, const char *name, const char *line);
/* Asserts that it ends within PM_PATIENCE_MS. */
void pm_program_wait(pm_program *program);
/* Start and wait; the exit code. */
int pm_program_run(pm_program *program, const char *line);

/* Processes whose parent is `parent` and whose name begins with `name`; returns how many. */
size_t pm_children(pid_t parent, const char *name, pid_t *out, size_t most);

/* The number that a query gives; -1 where there is no database, table or row yet. */
int64_t pm_ask_number(const char *db, const char *sql);
/* pm_store_dump as text from malloc. Asserts on failure. */
char *pm_dump(const char *db);

#endif
