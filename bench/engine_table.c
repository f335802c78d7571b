/* The table of docs/ENGINE.md: how far the fast engine is from PyTorch over the cases of
 * tests/engine/cases.c, a line for each network and method.
 *
 *     engine_table > TABLE.md        run at the top of the tree; PARCHMILL_ISA chooses the kernels
 *
 * Relative L2 of heat maps, the largest over the cases of a line: the engine and PyTorch's fp32
 * against PyTorch in double precision, and the engine against PyTorch's fp32. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/engine/cases.h"

enum { LINES_MAX = 1024 };

typedef struct line {
    const char *arch;
    pm_method method;
    size_t cases;
    pm_case_distance worst;
} line;

static line *line_of(line *lines, size_t *count, const char *arch, pm_method method) {
    for (size_t i = 0; i < *count; i++)
        if (strcmp(lines[i].arch, arch) == 0 && lines[i].method == method) return &lines[i];
    if (*count == LINES_MAX) abort();
    lines[*count] = (line){.arch = arch, .method = method};
    return &lines[(*count)++];
}

/* As pm_arch_at lists the networks, then by method. */
static size_t place(const char *arch) {
    size_t i = 0;
    while (i < pm_arch_count() && strcmp(pm_arch_at(i)->name, arch) != 0) i++;
    return i;
}

static int in_order(const void *a, const void *b) {
    const line *x = a, *y = b;
    size_t px = place(x->arch), py = place(y->arch);
    if (px != py) return px < py ? -1 : 1;
    return (x->method > y->method) - (x->method < y->method);
}

static double larger(double a, double b) { return a > b ? a : b; }

static pm_status measure(pm_case_set *set, size_t index, line *lines, size_t *count) {
    pm_case c;
    pm_case_distance d;
    pm_status status = pm_case_load(set, index, &c);
    if (status == PM_OK) status = pm_case_run(&c, &d);
    if (status != PM_OK) return status;
    line *l = line_of(lines, count, c.arch, c.method);
    l->cases++;
    l->worst.heat_map = larger(l->worst.heat_map, d.heat_map);
    l->worst.torch = larger(l->worst.torch, d.torch);
    l->worst.from_torch = larger(l->worst.from_torch, d.from_torch);
    return PM_OK;
}

int main(void) {
    static line lines[LINES_MAX];
    pm_case_set set = {0};
    size_t count = 0;
    pm_status status = PM_OK;
    for (size_t i = 0; i < pm_case_count() && status == PM_OK; i++)
        status = measure(&set, i, lines, &count);
    if (status != PM_OK) fprintf(stderr, "engine_table: %s\n", pm_error_text());
    qsort(lines, count, sizeof *lines, in_order);
    if (status == PM_OK)
        printf("| network | method | cases | engine to double | PyTorch fp32 to double | engine to "
               "PyTorch fp32 |\n|---|---|---|---|---|---|\n");
    for (size_t i = 0; i < count && status == PM_OK; i++)
        printf("| %s | %s | %zu | %.1e | %.1e | %.1e |\n", lines[i].arch,
               pm_method_name(lines[i].method), lines[i].cases, lines[i].worst.heat_map,
               lines[i].worst.torch, lines[i].worst.from_torch);
    pm_case_set_fini(&set);
    return status == PM_OK ? 0 : 1;
}
