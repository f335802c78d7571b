/* parchmill: the command people type. Owns the table of subcommands and nothing of their work. */
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "lib/base/log.h"
#include "lib/image/decoder.h"
#include "tools/command.h"

/* Ends with an empty row. */
static const pm_command commands[] = {
    {"models", PM_CMD_MODELS, "", "list the architectures and the input each wants", pm_cmd_models,
     ""},
    {"inspect", PM_CMD_INSPECT, "FILE", "what a weights file holds, and which models it fits",
     pm_cmd_inspect, "  parchmill inspect resnet18.pth\n"},
    {"attribute", PM_CMD_ATTRIBUTE, "PHOTO", "attribute one photograph, in this process",
     pm_cmd_attribute,
     "  parchmill attribute --model resnet18 --weights resnet18.pth photo.jpg --out heat.png\n"},
    {"run", PM_CMD_RUN, "", "attribute a data set: private broker and workers, until it is done",
     pm_cmd_run,
     "  parchmill run --model resnet18 --weights resnet18.pth --images photos --db results.db\n"
     "  parchmill run ... --mask off,cls --stats stats.safetensors --quantile 0.05,0.1,0.2\n"},
    {"submit", PM_CMD_SUBMIT, "", "queue a run at a broker; prints its number", pm_cmd_submit,
     "  parchmill submit ... --broker ipc:///run/parchmill/broker\n"},
    {"stats", PM_CMD_STATS, "[list | export NAME | import DIR]",
     "statistics that masks need: made, listed, written, imported", pm_cmd_stats,
     "  parchmill stats --model resnet18 --weights resnet18.pth --images train --name train\n"
     "  parchmill run ... --mask off,cls --stats train\n"
     "  parchmill stats list\n  parchmill stats export train --out train.safetensors\n"
     "  parchmill stats import outputs/resnet18/pickles --model resnet18 --weights resnet18.pth "
     "--name research\n"},
    {"status", PM_CMD_STATUS, "[RUN]", "how far the runs are", pm_cmd_status,
     "  parchmill status --db results.db\n  parchmill status 3 --broker URL --watch\n"},
    {"cancel", PM_CMD_CANCEL, "RUN", "drop what a run has not computed yet", pm_cmd_cancel, ""},
    {"pause", PM_CMD_PAUSE, "RUN", "give out nothing more of a run; what is in work is finished",
     pm_cmd_pause, "  parchmill pause 3 --broker ipc:///run/parchmill/broker\n"},
    {"resume", PM_CMD_RESUME, "RUN", "let a paused run go on", pm_cmd_resume, ""},
    {"priority", PM_CMD_PRIORITY, "RUN N", "whose turn comes first: -100 .. 100, 0 unless changed",
     pm_cmd_priority, "  parchmill priority 3 10 --broker ipc:///run/parchmill/broker\n"},
    {"max-workers", PM_CMD_MAX_WORKERS, "RUN N", "how many workers a run may have; 0: any number",
     pm_cmd_max_workers, "  parchmill max-workers 3 4 --broker ipc:///run/parchmill/broker\n"},
    {"failures", PM_CMD_FAILURES, "[RUN]", "what failed, and why", pm_cmd_failures,
     "  parchmill failures 3 --stage decode --db results.db\n"},
    {"retry", PM_CMD_RETRY, "RUN", "compute a run's failed results again", pm_cmd_retry,
     "  parchmill retry 3 --stage fetch --image 'n01440764/*' --db results.db\n"},
    {"workers", PM_CMD_WORKERS, "", "who works at a broker", pm_cmd_workers,
     "  parchmill workers --broker ipc:///run/parchmill/broker\n"},
    {"drain", PM_CMD_DRAIN, "WORKER|HOST|all", "let workers finish what they have in hand and go",
     pm_cmd_drain, "  parchmill drain node7 --broker ipc:///run/parchmill/broker\n"},
    {"doctor", PM_CMD_DOCTOR, "", "is everything in order here, at the broker, in the database?",
     pm_cmd_doctor,
     "  parchmill doctor --db results.db\n  parchmill doctor --broker tcp://node1:4400\n"},
    {"sql", PM_CMD_SQL, "['SELECT ...']", "ask the database, read-only; alone: at a prompt",
     pm_cmd_sql,
     "  parchmill sql 'SELECT * FROM run_progress' --db results.db\n"
     "  parchmill sql 'SELECT image, mu_in_w FROM result_wide' --format csv > scores.csv\n"
     "  parchmill sql 'SELECT * FROM run_progress' --broker URL\n"
     "  parchmill sql --file question.sql --format markdown\n"
     "  parchmill sql --db results.db\n"},
    {"queries", PM_CMD_QUERIES, "[NAME [VALUE...]]", "ready-made questions: listed, shown, asked",
     pm_cmd_queries,
     "  parchmill queries\n  parchmill queries scores --db results.db\n"
     "  parchmill queries differences 3 7 8 --db results.db\n"
     "  parchmill queries curves --show\n"},
    {"report", PM_CMD_REPORT, "[RUN]", "one page about a run: scores, curves, pictures",
     pm_cmd_report, "  parchmill report 3 --db results.db --out report\n"},
    {"export", PM_CMD_EXPORT, "[RUN]",
     "a run as CSV, JSON Lines, NumPy arrays, a database or a script for PostgreSQL", pm_cmd_export,
     "  parchmill export 1 --db results.db --format csv --out run1\n"
     "  parchmill export 1 --db results.db --format csv --table results --out - > results.csv\n"
     "  parchmill export 1 --db results.db --format sqlite --without heat_map --out run1.db\n"
     "  parchmill export 1 --db results.db --format postgres --out - | psql -1 research\n"},
    {"refresh", PM_CMD_REFRESH, "[RUN]",
     "write what is kept of runs for the views: channels, summaries", pm_cmd_refresh,
     "  parchmill refresh --db results.db\n"
     "  parchmill refresh 3 --broker ipc:///run/parchmill/broker\n"},
    {"merge", PM_CMD_MERGE, "DB...", "put databases together, each result once", pm_cmd_merge,
     "  parchmill merge shard1.db shard2.db shard3.db --out study.db\n"
     "  parchmill merge colleague.db --into study.db\n"},
    {"prune", PM_CMD_PRUNE, "[RUN]", "let go of what is no longer wanted; alone: what could go",
     pm_cmd_prune,
     "  parchmill prune --db results.db\n"
     "  parchmill prune 3 --heat-maps --channel-items --db results.db\n"
     "  parchmill prune --run 3 --orphans --db results.db\n"},
    {"compact", PM_CMD_COMPACT, "", "write the database anew, without the room that went free",
     pm_cmd_compact, "  parchmill compact --db results.db\n"},
    {"experiment", PM_CMD_EXPERIMENT, "[NAME | list]",
     "an experiment of the research: data, figures and a reading", pm_cmd_experiment,
     "  parchmill experiment list\n"
     "  parchmill experiment gradient-sum --out gradient-sum\n"
     "  parchmill experiment variance-conservation --model resnet18 --weights resnet18.pth "
     "--images tiny_imagenet\n"},
    {"keygen", PM_CMD_KEYGEN, "", "make a key, for brokers, workers and clients across machines",
     pm_cmd_keygen,
     "  parchmill keygen --role broker\n  parchmill keygen --role worker --name gpu7 >> allow\n"},
    {"demo", PM_CMD_DEMO, "", "the whole path on pictures and a network of its own", pm_cmd_demo,
     "  parchmill demo --out parchmill-demo\n"},
    {0},
};
enum { COMMANDS_MAX = sizeof commands / sizeof commands[0] };

static size_t terminal_width(void) {
    struct winsize size;
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col >= 40)
        return size.ws_col < 100 ? size.ws_col : 100;
    return 80;
}

static const pm_command *find(const char *name) {
    for (const pm_command *c = commands; c->name; c++)
        if (strcmp(c->name, name) == 0) return c;
    return NULL;
}

static int unknown(const char *word) {
    const char *names[COMMANDS_MAX] = {NULL};
    size_t count = 0;
    for (const pm_command *c = commands; c->name; c++) names[count++] = c->name;
    const char *near = pm_near_name(word, names, count);
    if (near)
        fprintf(stderr, "parchmill: no command '%.80s'; did you mean '%s'?\n", word, near);
    else
        fprintf(stderr, "parchmill: no command '%.80s'; `parchmill help` lists them\n", word);
    return PM_EXIT_USAGE;
}

static void print_overview(FILE *out) {
    fputs("parchmill: attribution for whole data sets, with the answers in SQL.\n\n"
          "usage: parchmill COMMAND [OPTION...]\n\n",
          out);
    for (const pm_command *c = commands; c->name; c++)
        fprintf(out, "  %-11s %s\n", c->name, c->summary);
    fputs("\n`parchmill help COMMAND` or `parchmill COMMAND --help` explains one;\n"
          "`parchmill --version` tells the version.\n",
          out);
}

static void print_command(const pm_command *command, FILE *out) {
    fprintf(out, "usage: parchmill %s [OPTION...]%s%s\n\n%s\n", command->name,
            command->operands[0] ? " " : "", command->operands, command->summary);
    pm_options_print_help(command->bit, out, terminal_width());
    if (command->example[0]) fprintf(out, "\nExamples\n%s", command->example);
}

static int help(int argc, char *const *argv) {
    if (argc == 0) {
        print_overview(stdout);
        return PM_EXIT_OK;
    }
    const pm_command *command = find(argv[0]);
    if (!command) return unknown(argv[0]);
    print_command(command, stdout);
    return PM_EXIT_OK;
}

int pm_command_failed(const char *name, pm_status status) {
    fprintf(stderr, "parchmill %s: %s\n", name, pm_error_text());
    return status == PM_E_USAGE ? PM_EXIT_USAGE : PM_EXIT_FAILED;
}

static int run(const pm_command *command, int argc, char *const *argv) {
    pm_options *options = NULL;
    pm_status status = pm_options_parse(command->bit, command->name, argc, argv, &options);
    if (status) return pm_command_failed(command->name, status);
    int code = PM_EXIT_OK;
    if (pm_options_flag(options, PM_OPT_HELP))
        print_command(command, stdout);
    else
        code = command->run(options);
    pm_options_free(&options);
    return code;
}

/* Output that could not be written is a failure, not silence. */
static int finish(int code) {
    if (fflush(stdout) != 0 || ferror(stdout)) {
        fputs("parchmill: cannot write to standard output\n", stderr);
        return code ? code : PM_EXIT_FAILED;
    }
    return code;
}

int main(int argc, char **argv) {
    pm_decoder_main(argc, argv);
    /* Numbers stay in the C locale; only characters follow the user's. */
    setlocale(LC_CTYPE, "");
    signal(SIGPIPE, SIG_IGN);
    pm_log_setup(PM_LOG_WARN, PM_LOG_TEXT);
    if (argc < 2) {
        print_overview(stderr);
        return PM_EXIT_USAGE;
    }
    const char *word = argv[1];
    if (strcmp(word, "--version") == 0) {
        puts("parchmill " PM_VERSION);
        return finish(PM_EXIT_OK);
    }
    if (strcmp(word, "help") == 0 || strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0)
        return finish(help(argc - 2, argv + 2));
    const pm_command *command = find(word);
    if (!command) return unknown(word);
    return finish(run(command, argc - 2, argv + 2));
}
