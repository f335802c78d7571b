/* The database that the broker owns: queue and results in one SQLite file.
 *
 * Use (broker): pm_store_open -> pm_store_epoch -> pm_store_load_queue -> pm_writer_new (writer.h),
 * which then owns the store; pm_writer_stop gives it back -> pm_store_close.
 * Everyone else reads, through query.h or with any SQLite program.
 *
 * A store has one user at a time. Every change is a pm_op; pm_store_apply commits a group of them
 * as one transaction. What an op says is done is on disk (WAL, synchronous=FULL). */
#ifndef PM_STORE_H
#define PM_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/hash.h"
#include "lib/base/status.h"
#include "lib/base/terms.h"
#include "lib/spec/spec.h"
#include "lib/stats/perturbation.h"

typedef struct pm_store pm_store;

/* Open `path` as its only writer, make it or bring it up to date. PM_E_BUSY: another broker holds
 * it (the text names pid and host). PM_E_MISMATCH: another program's database, or a newer
 * parchmill's. PM_E_FORMAT: not a database. PM_E_DENIED: read-only. PM_E_IO, PM_E_FULL,
 * PM_E_MEMORY. */
pm_status pm_store_open(const char *path, pm_store **out);

/* Checkpoint, turn back to journal_mode=DELETE so that the database is one file, let go of the
 * lock. *store is NULL afterwards whatever comes back. PM_E_BUSY: a reader still has it open, so
 * the -wal file stays; nothing is lost. */
pm_status pm_store_close(pm_store **store);

/* pm_store_close behind work that came to `status`, which comes back with the text it had, whatever
 * the closing says. A reader that keeps the -wal file is no failure: everything is committed. */
pm_status pm_store_end(pm_store **store, pm_status status);

/* Begin another broker life: 8 random bytes, written down in table broker before they come back. */
pm_status pm_store_epoch(pm_store *store, uint8_t epoch[8]);

typedef enum pm_run_state {
    PM_RUN_QUEUED, /* has tasks, none has been recorded on yet */
    PM_RUN_RUNNING,
    PM_RUN_DONE,
    PM_RUN_CANCELLED
} pm_run_state;
const char *pm_run_state_name(pm_run_state state); /* as in the database and on the wire */

/* A task as it stands: items [next_item, end_item) are open. */
typedef struct pm_task_row {
    uint64_t task_id, run_id;
    uint64_t next_item, end_item; /* ordinals in the run's data set */
    bool alone;                   /* one item that was in hand when a worker crashed */
    uint32_t crashes;             /* how often it was, the first time included */
    size_t config_count;
    uint32_t *configs; /* [config_count] ascending ordinals in the run's spec */
} pm_task_row;

typedef struct pm_task_list {
    size_t count, capacity;
    pm_task_row *rows;
} pm_task_list;
void pm_task_list_fini(pm_task_list *list);

/* A run with all that a scheduler and a task message need. */
typedef struct pm_run_row {
    uint64_t run_id;
    pm_run_state state;
    pm_run_terms terms;
    bool foreground;
    pm_run_spec spec;
    pm_data_set data_set;                     /* root as submitted */
    uint64_t items, items_open, items_failed; /* open: in a task; failed: done with an error */
    int64_t submitted_ms;                     /* wall */
    pm_task_list tasks;                       /* ordered by task_id */
} pm_run_row;
void pm_run_row_fini(pm_run_row *row);

/* Runs that are neither done nor cancelled, oldest first. One without tasks wants PM_OP_FINISH.
 * *rows from malloc: pm_run_row_fini each, then free. */
pm_status pm_store_load_queue(pm_store *store, pm_run_row **rows, size_t *count);

/* Runs that are done and whose summary is not, for PM_OP_SUMMARISE: one was cut short, or the file
 * comes from an older parchmill. *runs from malloc. */
pm_status pm_store_summaries_due(pm_store *store, uint64_t **runs, size_t *count);

/* One run, whatever its state. PM_E_NOT_FOUND. */
pm_status pm_store_load_run(pm_store *store, uint64_t run_id, pm_run_row *out);

/* ---- operations ---- */

typedef enum pm_op_kind {
    PM_OP_SUBMIT,
    PM_OP_RECORD,
    PM_OP_SET_ASIDE,
    PM_OP_CRASHED,
    PM_OP_POISON,
    PM_OP_CANCEL,
    PM_OP_FINISH,
    PM_OP_RETRY,
    PM_OP_TERMS,
    PM_OP_REFRESH,
    PM_OP_SUMMARISE,
    PM_OP_WORKER_SEEN,
    PM_OP_STATISTICS
} pm_op_kind;

/* Make a run, or find the one with this request id. A queued or running one goes on as it is; of
 * any other, tasks are made for what has no result. New runs also take up results that are
 * errors. The request keeps spec and data_set, so the caller can take them out afterwards. */
typedef struct pm_op_submit {
    pm_sha256 request_id;
    pm_run_spec *spec;     /* heap, owned by the op */
    pm_data_set *data_set; /* heap, owned by the op */
    char engine_version[32];
    bool foreground;
    size_t task_items;  /* items a task; 0: 64 / configurations, within 1 .. 16 */
    pm_run_terms terms; /* of a new run; answer: what the run has, new or not */
    /* New items that one transaction may take; 0: any number. A large data set then comes in
     * several, so that the results of others are not held up for as long as all of it takes. */
    size_t slice_items;
    int64_t data_set_id; /* private: of the slices that are in; 0: none yet */
    /* answer */
    bool unfinished; /* apply it again for the next slice; nothing below holds yet */
    uint64_t run_id;
    bool existed;
    pm_run_state state;
    uint64_t items, items_open, results_reused;
    pm_task_list made;
} pm_op_submit;

/* What one hooked layer's gradient was. */
typedef struct pm_record_layer {
    uint32_t conv; /* index in registration order */
    char name[96];
    uint32_t channels, selected;
    bool partitioned; /* m, n and beta hold; else they are NULL in the database */
    double m, n, beta, scale_h, scale_l, variance_before, variance_after;
} pm_record_layer;

typedef struct pm_record_result {
    uint32_t configuration; /* ordinal in the run */
    /* an error: stage is set ("fetch", "decode", "preprocess", "compute", "crash") and nothing
     * below `text` is read */
    char *stage, *reason, *text;
    int32_t target, predicted;
    double p_target, p_predicted;
    char box_reason[16]; /* "" and the four hold; else why not */
    double mu_in, mu_in_w, mu_out, mu_out_w;
    bool has_pointing, pointing;
    bool has_gap;
    double completeness_gap; /* of ig; NULL in the database where it is not finite */
    double compute_ms;
    size_t layer_count;
    pm_record_layer *layers; /* [layer_count] ascending conv */
    size_t channel_count;    /* sum of layers' channels, or 0: not sent */
    float *channel_variance; /* [channel_count] */
    uint8_t *in_h;           /* [channel_count] 1 where in H */
    uint32_t heat_map_side;  /* pixels; 0: not sent */
    size_t heat_map_size;
    double heat_map_scale; /* of what is stored, above 0: lib/spec/heat_map.h */
    uint8_t *heat_map; /* zstd of float16 or float32 LE [side][side], as the run's heat_maps says */
    /* exactly the run's evaluation: morf by ratio, then lerf; none where it is off */
    size_t perturbation_count;
    pm_perturbation *perturbations; /* [perturbation_count] */
    bool has_auc;                   /* the ratios have a range */
    double deletion_auc, insertion_auc;
    /* method gather, and only that: */
    size_t activation_count; /* channels of all convolutions */
    float *activations;      /* [activation_count] */
    size_t density_count;    /* convolutions */
    float *density;          /* [density_count] share of raw outputs above 0 */
} pm_record_result;

/* One item's results: for exactly the task's configurations, the task's next item. PM_E_STALE: the
 * task has gone on or is no more; nothing is written. PM_E_PROTOCOL: not the task's
 * configurations, or arrays that do not fit. Numbers that are not finite become an error row. */
typedef struct pm_op_record {
    uint64_t task_id, item;
    uint64_t worker_id;     /* from PM_OP_WORKER_SEEN; 0: not known */
    uint32_t width, height; /* of the photograph, pixels; 0: not known */
    size_t result_count;
    pm_record_result *results;
    /* answer */
    bool task_done; /* that was its last item; the row is gone */
} pm_op_record;

/* SET_ASIDE: take `item` out of a task into one of its own (alone, crashes + 1); the rest of the
 * range stays, cut in two if need be. On a task that is alone already it only counts, which is
 * what CRASHED does to any task's next item. PM_E_STALE: the item is not open in that task.
 * POISON: error rows ("crash", reason) for the task's next item, which must be `item`. */
typedef struct pm_op_crash {
    uint64_t task_id, item;
    uint64_t worker_id;
    char reason[64]; /* "SIGSEGV" */
    /* answer */
    pm_task_list changed; /* the task itself, if it is still there, first; new ones after */
    bool task_done;       /* POISON: the row is gone */
} pm_op_crash;

/* CANCEL drops the run's tasks and keeps its results. FINISH marks it done and writes the plain
 * channel_gradient rows; PM_E_STALE while it has tasks. REFRESH only writes those rows, and has
 * the summaries made anew. SUMMARISE writes what is kept of a run that is done, for the views; a
 * large one takes several. FINISH begins with that. RETRY
 * deletes the run's error results, or those that match, and makes tasks of them: count says how
 * many results, made the tasks, run the whole run (NULL if count is 0). PM_E_NOT_FOUND for all. */
typedef struct pm_op_run {
    uint64_t run_id;
    char *stage, *reason, *image; /* RETRY: only errors with these, image a GLOB; NULL: any */
    /* answer */
    bool unfinished; /* FINISH, REFRESH, SUMMARISE: (more of) SUMMARISE is due */
    pm_run_state state;
    uint64_t count; /* CANCEL: tasks dropped; RETRY: error results deleted */
    pm_task_list made;
    pm_run_row *run;
} pm_op_run;

/* Other terms for a run that has not ended. PM_E_NOT_FOUND; PM_E_USAGE: it has ended, or values out
 * of range. */
typedef struct pm_op_terms {
    uint64_t run_id;
    bool set_priority, set_paused, set_max_workers; /* which of `terms` */
    pm_run_terms terms;                             /* answer: all that it has now */
    bool changed;                                   /* answer: it was otherwise before */
} pm_op_terms;

/* A worker process, known by its 16 random bytes; last_seen is written each time. */
typedef struct pm_op_worker {
    uint8_t instance[16];
    char host[64], isa[16], engine_version[32];
    uint32_t pid, threads;
    /* answer */
    uint64_t worker_id;
} pm_op_worker;

/* ---- statistics ---- */

enum { PM_STATISTICS_NAME_BYTES = 128, PM_NOTE_BYTES = 512 };

/* One convolution of statistics. NULL pointers and NAN: not known. */
typedef struct pm_statistics_layer {
    const char *name;
    size_t channels;
    double density;         /* mean share of raw outputs above 0 */
    const double *mean;     /* [channels] */
    const double *std;      /* [channels] */
    const double *w;        /* [channels] Shapiro-Wilk */
    const double *p;        /* [channels]; must be there */
    const float *welch_p;   /* [class_count][channels] */
    const float *student_p; /* [class_count][channels] */
} pm_statistics_layer;

/* Keep statistics under a name. The rows come layer by layer, so that no more than one is in
 * memory. PM_E_MISMATCH without `force`: the name stands for other numbers, or the numbers have
 * another name. With it the name goes over; what had it goes, unless a configuration needs it.
 * The pointers are the caller's. */
typedef struct pm_op_statistics {
    char name[PM_STATISTICS_NAME_BYTES];
    bool force;
    char note[PM_NOTE_BYTES];
    pm_sha256 sha256;        /* of their .safetensors form */
    uint64_t size_bytes;     /* of that form */
    const pm_run_spec *spec; /* the model: weights and the first configuration are read */
    uint64_t run_id;         /* the gather run; 0: imported */
    uint64_t images;         /* that went in; 0: not known */
    size_t class_count;
    const uint32_t *classes;      /* [class_count] ascending class indices */
    const uint64_t *class_images; /* [class_count], or NULL: not known */
    size_t layer_count;
    /* Convolution `conv`, 0 .. layer_count - 1 in registration order; what it points at is valid
     * until the next call. */
    pm_status (*layer)(void *user, size_t conv, pm_statistics_layer *out);
    void *user;
    /* answer */
    uint64_t statistics_id;
    bool existed; /* the same numbers were there under that name */
} pm_op_statistics;

typedef struct pm_op {
    pm_op_kind kind;
    void *cookie; /* the caller's; not read here */
    /* answer */
    pm_status status;
    char text[256]; /* one line where status is not PM_OK */
    union {
        pm_op_submit submit;
        pm_op_record record;
        pm_op_crash crash; /* SET_ASIDE, CRASHED, POISON */
        pm_op_run run;     /* CANCEL, FINISH, RETRY, REFRESH, SUMMARISE */
        pm_op_terms terms;
        pm_op_worker worker;
        pm_op_statistics statistics;
    };
} pm_op;

/* A zeroed op; NULL without memory. Members that are pointers are from malloc (strdup) and go with
 * the op. */
pm_op *pm_op_new(pm_op_kind kind);
void pm_op_free(pm_op **op);

/* Apply `ops` in order as one transaction and commit. An op that is refused is undone alone and
 * says so in its status; the others stand. Returns PM_OK when the transaction is committed, else
 * nothing of the group is: PM_E_FULL (try again when there is room), anything else is fatal. */
pm_status pm_store_apply(pm_store *store, pm_op *const *ops, size_t count);

#endif
