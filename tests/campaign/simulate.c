/* Any number of histories of the scheduler's simulator: `simulate --seeds N`, or one of them with
 * every step: `simulate --seed S --trace`. A failing seed prints the end of its history. */
#include <argp.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/sim.h"

enum { TAIL_BYTES = 12000 };

extern int pm_scheduler_plant;
int pm_scheduler_plant;

typedef struct options {
    uint64_t seed, seeds;
    bool trace;
} options;

static error_t parse(int key, char *text, struct argp_state *state) {
    options *out = state->input;
    switch (key) {
    case 's': out->seed = strtoull(text, NULL, 10); return 0;
    case 'n': out->seeds = strtoull(text, NULL, 10); return 0;
    case 't': out->trace = true; return 0;
    case 'p': pm_scheduler_plant = atoi(text); return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static void print_tail(uint64_t seed) {
    char failure[SIM_FAILURE_BYTES], *text;
    size_t size;
    FILE *trace = open_memstream(&text, &size);
    if (!trace) return;
    sim_history(seed, trace, failure, NULL);
    fclose(trace);
    fputs(size > TAIL_BYTES ? text + size - TAIL_BYTES : text, stdout);
    free(text);
}

int main(int argc, char **argv) {
    const struct argp_option table[] = {
        {"seed", 's', "S", 0, "First seed (1)", 0},
        {"seeds", 'n', "N", 0, "How many (1)", 0},
        {"trace", 't', NULL, 0, "Print every step", 0},
        {"plant", 'p', "N", 0, "With a mistake of the scheduler, by its number", 0},
        {0}};
    const struct argp argp = {.options = table, .parser = parse};
    options wanted = {.seed = 1, .seeds = 1};
    if (argp_parse(&argp, argc, argv, 0, NULL, &wanted) != 0) return 2;
    uint64_t all = 0, failed = 0, end = wanted.seed + wanted.seeds;
    for (uint64_t seed = wanted.seed; seed < end && failed < 10; seed++) {
        char failure[SIM_FAILURE_BYTES];
        uint64_t steps = 0;
        bool held = sim_history(seed, wanted.trace ? stdout : NULL, failure, &steps);
        all += steps;
        if (held) continue;
        if (!wanted.trace && !failed) print_tail(seed);
        printf("seed %llu: %s\nreplay: simulate --seed %llu --trace\n", (unsigned long long)seed,
               failure, (unsigned long long)seed);
        failed++;
    }
    printf("%llu histories, %llu steps, %llu failed\n", (unsigned long long)wanted.seeds,
           (unsigned long long)all, (unsigned long long)failed);
    return failed ? 1 : 0;
}
