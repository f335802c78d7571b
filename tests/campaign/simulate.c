/* Any number of histories of the scheduler's simulator: `simulate --seeds N`, or one of them with
 * every step: `simulate --seed S --trace`. A failing seed prints the end of its history. */
#include <argp.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/sim.h"

enum { TAIL_BYTES = 12000 };

extern int pm_scheduler_plant, pm_work_plant;
int pm_scheduler_plant, pm_work_plant;

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
    case 'w': pm_work_plant = atoi(text); return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static void print_tail(uint64_t seed) {
    sim_outcome outcome;
    char *text;
    size_t size;
    FILE *trace = open_memstream(&text, &size);
    if (!trace) return;
    sim_history(seed, trace, &outcome);
    fclose(trace);
    fputs(size > TAIL_BYTES ? text + size - TAIL_BYTES : text, stdout);
    free(text);
}

static void print_tallies(const uint64_t tallies[SIM_TALLY_COUNT]) {
    for (size_t i = 0; i < SIM_TALLY_COUNT; i++)
        printf("%12llu  %s\n", (unsigned long long)tallies[i], sim_tally_texts[i]);
}

int main(int argc, char **argv) {
    const struct argp_option table[] = {
        {"seed", 's', "S", 0, "First seed (1)", 0},
        {"seeds", 'n', "N", 0, "How many (1)", 0},
        {"trace", 't', NULL, 0, "Print every step", 0},
        {"plant", 'p', "N", 0, "With a mistake of the scheduler, by its number", 0},
        {"work-plant", 'w', "N", 0, "With a mistake of the worker's session, by its number", 0},
        {0}};
    const struct argp argp = {.options = table, .parser = parse};
    options wanted = {.seed = 1, .seeds = 1};
    if (argp_parse(&argp, argc, argv, 0, NULL, &wanted) != 0) return 2;
    uint64_t all = 0, failed = 0, done = 0, tallies[SIM_TALLY_COUNT] = {0};
    for (uint64_t seed = wanted.seed; done < wanted.seeds && failed < 10; seed++, done++) {
        sim_outcome outcome;
        sim_history(seed, wanted.trace ? stdout : NULL, &outcome);
        all += outcome.steps;
        for (size_t i = 0; i < SIM_TALLY_COUNT; i++) tallies[i] += outcome.tally[i];
        if (outcome.held) continue;
        if (!wanted.trace && !failed) print_tail(seed);
        printf("seed %llu: %s\nreplay: simulate --seed %llu --trace\n", (unsigned long long)seed,
               outcome.failure, (unsigned long long)seed);
        fflush(stdout);
        failed++;
    }
    if (!wanted.trace) print_tallies(tallies);
    printf("%llu histories, %llu steps, %llu failed\n", (unsigned long long)done,
           (unsigned long long)all, (unsigned long long)failed);
    return failed ? 1 : 0;
}
