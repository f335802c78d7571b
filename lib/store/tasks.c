/* Owns the rows of table task: made from what is missing, cut up around an item that crashes. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/clock.h"
#include "lib/base/text.h"
#include "lib/store/db.h"

/* configurations is a JSON array that only this file writes: "[0,1,2]". */
static pm_status parse_configs(const char *text, pm_task_row *row) {
    size_t commas = 0;
    for (const char *p = text; *p; p++) commas += *p == ',';
    row->configs = calloc(commas + 1, sizeof *row->configs);
    if (!row->configs) return pm_fail(PM_E_MEMORY, "no memory for a task");
    const char *at = text;
    for (size_t i = 0; i <= commas; i++) {
        char *end;
        if (*at != (i ? ',' : '[')) break;
        unsigned long value = strtoul(at + 1, &end, 10);
        if (end == at + 1 || value > UINT32_MAX) break;
        row->configs[row->config_count++] = (uint32_t)value;
        at = end;
    }
    if (row->config_count == commas + 1 && strcmp(at, "]") == 0) return PM_OK;
    pm_task_row_fini(row);
    return pm_fail(PM_E_FORMAT, "database: a task's configurations are '%.60s'", text);
}

pm_status pm_task_from_row(sqlite3_stmt *statement, pm_task_row *out) {
    pm_task_row row = {
        .task_id = pm_db_column_id(statement, 0),
        .run_id = pm_db_column_id(statement, 1),
        .next_item = pm_db_column_id(statement, 2),
        .end_item = pm_db_column_id(statement, 3),
        .alone = sqlite3_column_int(statement, 4) != 0,
        .crashes = (uint32_t)sqlite3_column_int(statement, 5),
    };
    const char *text = (const char *)sqlite3_column_text(statement, 6);
    pm_status status = parse_configs(text ? text : "", &row);
    if (!status) *out = row;
    return status;
}

pm_status pm_task_read(pm_store *store, uint64_t task_id, pm_task_row *out, bool *found) {
    sqlite3_stmt *statement = NULL;
    pm_status status = pm_db_begin(store,
                                   "SELECT task_id, run_id, next_item, end_item, alone, crashes,"
                                   " configurations FROM task WHERE task_id = ?1",
                                   PM_BINDS(pm_id(task_id)), &statement);
    if (status) return status;
    bool row = false;
    status = pm_db_step(store, statement, &row);
    if (!status && row) status = pm_task_from_row(statement, out);
    pm_db_end(statement);
    if (!status) *found = row;
    return status;
}

pm_status pm_task_insert(pm_store *store, pm_task_row *row) {
    pm_buffer text = {0};
    pm_status status = PM_OK;
    for (size_t i = 0; i < row->config_count && !status; i++)
        status = pm_buffer_printf(&text, "%c%u", i ? ',' : '[', row->configs[i]);
    if (!status) status = pm_buffer_printf(&text, "]");
    if (!status)
        status = pm_db_run(store,
                           "INSERT INTO task (run_id, next_item, end_item, configurations, alone,"
                           " crashes) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                           PM_BINDS(pm_id(row->run_id), pm_id(row->next_item), pm_id(row->end_item),
                                    pm_text((const char *)text.bytes), pm_int(row->alone),
                                    pm_int(row->crashes)));
    if (!status) row->task_id = (uint64_t)sqlite3_last_insert_rowid(store->db);
    pm_buffer_fini(&text);
    return status;
}

/* ---- making ---- */

typedef struct item_range {
    uint64_t first, end;
} item_range;

/* Items that an open task of the run already holds, ascending. */
static pm_status open_ranges(pm_store *store, uint64_t run_id, bool lone_too, item_range **out,
                             size_t *count) {
    sqlite3_stmt *statement = NULL;
    pm_status status = pm_db_begin(store,
                                   "SELECT next_item, end_item FROM task WHERE run_id = ?1"
                                   " AND (?2 OR NOT alone) ORDER BY next_item",
                                   PM_BINDS(pm_id(run_id), pm_int(lone_too)), &statement);
    if (status) return status;
    item_range *ranges = NULL;
    size_t used = 0, capacity = 0;
    bool row = false;
    while (!(status = pm_db_step(store, statement, &row)) && row) {
        if (used == capacity) {
            capacity = capacity ? 2 * capacity : 64;
            item_range *more = realloc(ranges, capacity * sizeof *more);
            if (!more) {
                status = pm_fail(PM_E_MEMORY, "no memory for %zu tasks", capacity);
                break;
            }
            ranges = more;
        }
        ranges[used++] = (item_range){pm_db_column_id(statement, 0), pm_db_column_id(statement, 1)};
    }
    pm_db_end(statement);
    if (status) {
        free(ranges);
        return status;
    }
    *out = ranges;
    *count = used;
    return PM_OK;
}

/* Collects (item, configuration) pairs that come in order into tasks. */
typedef struct gatherer {
    pm_task_list *made;
    pm_task_row
        group; /* neighbours with the same configurations; configs borrowed: group_configs */
    uint64_t task_items, item;
    size_t item_count; /* configurations of `item` so far */
    uint32_t *group_configs, *item_configs;
    uint64_t items, results;
} gatherer;

static pm_status close_group(gatherer *g) {
    pm_status status = PM_OK;
    if (g->group.next_item < g->group.end_item) status = pm_task_list_add(g->made, &g->group);
    g->group.next_item = g->group.end_item = 0;
    return status;
}

static pm_status close_item(gatherer *g) {
    if (g->item_count == 0) return PM_OK;
    bool joins =
        g->group.next_item < g->group.end_item && g->group.end_item == g->item &&
        g->group.end_item - g->group.next_item < g->task_items &&
        g->group.config_count == g->item_count &&
        memcmp(g->group_configs, g->item_configs, g->item_count * sizeof *g->item_configs) == 0;
    if (!joins) {
        pm_status status = close_group(g);
        if (status) return status;
        memcpy(g->group_configs, g->item_configs, g->item_count * sizeof *g->item_configs);
        g->group.config_count = g->item_count;
        g->group.next_item = g->item;
    }
    g->group.end_item = g->item + 1;
    g->items++;
    g->results += g->item_count;
    g->item_count = 0;
    return PM_OK;
}

typedef struct run_facts {
    int64_t data_set_id, configs, channels, heat_maps, task_items;
    bool gathers;
} run_facts;

/* Photographs that stand twice in a data set are one result: the first item has it. */
static pm_status gather(pm_store *store, uint64_t run_id, const run_facts *facts, bool redo_errors,
                        const item_range *open, size_t count, gatherer *g) {
    sqlite3_stmt *statement = NULL;
    pm_status status = pm_db_begin(
        store,
        "SELECT i.item, rc.ordinal FROM data_set_item AS i CROSS JOIN run_configuration AS rc"
        " WHERE i.data_set_id = ?1 AND rc.run_id = ?2"
        " AND NOT EXISTS (SELECT 1 FROM data_set_item AS e WHERE e.image_id = i.image_id"
        "  AND e.data_set_id = i.data_set_id AND e.item < i.item)"
        " AND NOT EXISTS (SELECT 1 FROM result AS r JOIN run ON run.run_id = ?2"
        "  WHERE r.configuration_id = rc.configuration_id AND r.image_id = i.image_id"
        "  AND CASE WHEN r.error IS NULL THEN r.channels_kept >= ?3 AND r.heat_map_kept >= ?4"
        "    AND run.evaluation IN ('', r.evaluation)"
        "    AND (NOT ?6 OR EXISTS (SELECT 1 FROM activation AS a" /* pruned since */
        "     WHERE a.configuration_id = r.configuration_id AND a.image_id = r.image_id))"
        "   ELSE NOT ?5 END)"
        " ORDER BY i.item, rc.ordinal",
        PM_BINDS(pm_int(facts->data_set_id), pm_id(run_id), pm_int(facts->channels),
                 pm_int(facts->heat_maps), pm_int(redo_errors), pm_int(facts->gathers)),
        &statement);
    if (status) return status;
    size_t range = 0;
    bool row = false;
    while (!(status = pm_db_step(store, statement, &row)) && row) {
        uint64_t item = pm_db_column_id(statement, 0);
        while (range < count && open[range].end <= item) range++;
        if (range < count && open[range].first <= item) continue;
        if (item != g->item && (status = close_item(g))) break;
        g->item = item;
        g->item_configs[g->item_count++] = (uint32_t)sqlite3_column_int64(statement, 1);
    }
    pm_db_end(statement);
    if (!status) status = close_item(g);
    return status ? status : close_group(g);
}

static pm_status read_facts(pm_store *store, uint64_t run_id, run_facts *out) {
    sqlite3_stmt *statement = NULL;
    bool row = false;
    pm_status status =
        pm_db_begin(store,
                    "SELECT data_set_id, channels, heat_maps, task_items,"
                    " (SELECT count(*) FROM run_configuration AS rc WHERE rc.run_id = run.run_id),"
                    " EXISTS (SELECT 1 FROM run_configuration AS rc JOIN configuration AS c"
                    "  USING (configuration_id) WHERE rc.run_id = run.run_id"
                    "  AND c.method = 'gather')"
                    " FROM run WHERE run_id = ?1",
                    PM_BINDS(pm_id(run_id)), &statement);
    if (status) return status;
    status = pm_db_step(store, statement, &row);
    if (!status && !row)
        status = pm_fail(PM_E_NOT_FOUND, "there is no run %llu", (unsigned long long)run_id);
    pm_channels channels = PM_CHANNELS_NONE;
    pm_heat_maps heat_maps = PM_HEAT_MAPS_NONE;
    if (!status)
        status = pm_channels_parse((const char *)sqlite3_column_text(statement, 1), &channels);
    if (!status)
        status = pm_heat_maps_parse((const char *)sqlite3_column_text(statement, 2), &heat_maps);
    if (!status)
        *out = (run_facts){.data_set_id = sqlite3_column_int64(statement, 0),
                           .channels = channels,
                           .heat_maps = heat_maps,
                           .task_items = sqlite3_column_int64(statement, 3),
                           .configs = sqlite3_column_int64(statement, 4),
                           .gathers = sqlite3_column_int(statement, 5) != 0};
    pm_db_end(statement);
    return status;
}

/* Of the items that are in none of the ranges. */
static pm_status make(pm_store *store, uint64_t run_id, bool redo_errors, const item_range *closed,
                      size_t count, gatherer *g) {
    run_facts facts;
    pm_status status = read_facts(store, run_id, &facts);
    if (status) return status;
    size_t configs = (size_t)facts.configs;
    g->task_items = (uint64_t)facts.task_items;
    g->group_configs = calloc(configs + 1, sizeof *g->group_configs);
    g->item_configs = calloc(configs + 1, sizeof *g->item_configs);
    g->group = (pm_task_row){.run_id = run_id, .configs = g->group_configs};
    if (!g->group_configs || !g->item_configs)
        status = pm_fail(PM_E_MEMORY, "no memory for %zu configurations", configs);
    if (!status) status = gather(store, run_id, &facts, redo_errors, closed, count, g);
    for (size_t i = 0; i < g->made->count && !status; i++)
        status = pm_task_insert(store, &g->made->rows[i]);
    free(g->group_configs);
    free(g->item_configs);
    return status;
}

pm_status pm_tasks_make(pm_store *store, uint64_t run_id, bool redo_errors, pm_task_list *made,
                        uint64_t *items_open, uint64_t *results_open) {
    item_range *open = NULL;
    size_t open_count = 0;
    gatherer g = {.made = made};
    pm_status status = open_ranges(store, run_id, true, &open, &open_count);
    if (!status) status = make(store, run_id, redo_errors, open, open_count, &g);
    free(open);
    if (status) return status;
    *items_open = g.items;
    *results_open = g.results;
    return PM_OK;
}

/* What lies before, between and behind the ranges. */
static pm_status complement(const item_range *ranges, size_t count, item_range **out) {
    item_range *between = calloc(count + 1, sizeof *between);
    uint64_t from = 0;
    if (!between) return pm_fail(PM_E_MEMORY, "no memory for %zu tasks", count);
    for (size_t i = 0; i < count; i++) {
        between[i] = (item_range){from, ranges[i].first};
        from = ranges[i].end;
    }
    between[count] = (item_range){from, UINT64_MAX};
    *out = between;
    return PM_OK;
}

pm_status pm_tasks_remake(pm_store *store, uint64_t run_id) {
    item_range *open = NULL, *closed = NULL;
    size_t count = 0;
    pm_task_list made = {0};
    gatherer g = {.made = &made};
    pm_status status = open_ranges(store, run_id, false, &open, &count);
    if (!status) status = complement(open, count, &closed);
    if (!status)
        status = pm_db_run(store, "DELETE FROM task WHERE run_id = ?1 AND NOT alone",
                           PM_BINDS(pm_id(run_id)));
    if (!status) status = make(store, run_id, true, closed, count + 1, &g);
    pm_task_list_fini(&made);
    free(open);
    free(closed);
    return status;
}

/* ---- around a crash ---- */

static pm_status read_open(pm_store *store, const pm_op_crash *op, bool next_only,
                           pm_task_row *out) {
    bool found = false;
    pm_status status = pm_task_read(store, op->task_id, out, &found);
    if (status) return status;
    if (found && op->item >= out->next_item && op->item < out->end_item &&
        !(next_only && op->item != out->next_item))
        return PM_OK;
    if (found) pm_task_row_fini(out);
    return pm_fail(PM_E_STALE, "item %llu is not open in task %llu", (unsigned long long)op->item,
                   (unsigned long long)op->task_id);
}

static pm_status write_down(pm_store *store, const pm_task_row *task, const pm_op_crash *op) {
    char text[160];
    snprintf(text, sizeof text, "a worker crashed with this image in hand (%s)", op->reason);
    return pm_failure_insert(store, task->run_id, op->item, pm_null(), op->worker_id, "crash",
                             op->reason, text);
}

static pm_status update(pm_store *store, const pm_task_row *task) {
    return pm_db_run(store,
                     "UPDATE task SET next_item = ?2, end_item = ?3, alone = ?4, crashes = ?5"
                     " WHERE task_id = ?1",
                     PM_BINDS(pm_id(task->task_id), pm_id(task->next_item), pm_id(task->end_item),
                              pm_int(task->alone), pm_int(task->crashes)));
}

pm_status pm_apply_crashed(pm_store *store, pm_op_crash *op) {
    pm_task_row task;
    pm_status status = read_open(store, op, true, &task);
    if (status) return status;
    task.crashes++;
    status = update(store, &task);
    if (!status) status = write_down(store, &task, op);
    if (!status) status = pm_task_list_add(&op->changed, &task);
    pm_task_row_fini(&task);
    return status;
}

pm_status pm_apply_set_aside(pm_store *store, pm_op_crash *op) {
    pm_task_row task;
    pm_status status = read_open(store, op, false, &task);
    if (status) return status;
    /* Rows share the configurations of `task`; the list copies them. */
    pm_task_row lone = task, rest = task;
    uint32_t crashes = (op->item == task.next_item ? task.crashes : 0) + 1;
    bool in_place = task.end_item - task.next_item == 1, has_rest = false;
    if (in_place) {
        task.alone = true;
        task.crashes = crashes;
    } else {
        lone.next_item = op->item;
        lone.end_item = op->item + 1;
        lone.alone = true;
        lone.crashes = crashes;
        rest.next_item = op->item + 1;
        rest.crashes = 0;
        if (op->item == task.next_item) {
            task.next_item = op->item + 1;
            task.crashes = 0;
        } else {
            task.end_item = op->item;
            has_rest = rest.next_item < rest.end_item;
        }
    }
    status = update(store, &task);
    if (!status) status = pm_task_list_add(&op->changed, &task);
    if (!status && !in_place) status = pm_task_insert(store, &lone);
    if (!status && !in_place) status = pm_task_list_add(&op->changed, &lone);
    if (!status && has_rest) status = pm_task_insert(store, &rest);
    if (!status && has_rest) status = pm_task_list_add(&op->changed, &rest);
    if (!status) status = write_down(store, &task, op);
    pm_task_row_fini(&task);
    return status;
}
