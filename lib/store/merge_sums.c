/* Owns the sums of channel gradients in a merge. Each image counts once. Let A be the images in our
 * sums of a configuration, B those in the other's:
 *
 *     no image in both       the moments are merged
 *     B within A             ours stay
 *     A within B             theirs take the place of ours
 *     else, where what only one side has was kept image by image (--channels full), the other
 *     side's sums and those images
 *
 * and where none of that holds there is no way back to each image: an error, or with
 * drop_channel_sums sums of those images alone that were kept one by one. */
#include <stdlib.h>

#include "lib/store/merge.h"

typedef struct pair {
    int64_t src, dst;
    /* images in the other's sums, in both, only in theirs or ours without their own channels */
    int64_t theirs, both, theirs_bare, ours, ours_bare;
    bool written; /* one of them has plain rows */
} pair;

#define THEIR_ITEMS                                                                                \
    "SELECT l.dst, k.channels, g.variances, g.in_h FROM src.channel_gradient_item AS g"            \
    " JOIN temp.map_layer AS l ON l.src = g.layer_id JOIN src.layer AS k"                          \
    " ON k.layer_id = g.layer_id JOIN temp.map_image AS i ON i.src = g.image_id"                   \
    " WHERE g.configuration_id = ?1 AND NOT EXISTS (SELECT 1 FROM main.result AS d"                \
    "  WHERE d.configuration_id = ?2 AND d.image_id = i.dst AND d.channels_kept > 0)"              \
    " ORDER BY g.image_id"
#define OUR_ITEMS                                                                                  \
    "SELECT g.layer_id, k.channels, g.variances, g.in_h FROM main.channel_gradient_item AS g"      \
    " JOIN main.layer AS k USING (layer_id) WHERE g.configuration_id = ?2"                         \
    " AND NOT EXISTS (SELECT 1 FROM temp.map_image AS i JOIN src.result AS s"                      \
    "  ON s.configuration_id = ?1 AND s.image_id = i.src AND s.channels_kept > 0"                  \
    "  WHERE i.dst = g.image_id) ORDER BY g.image_id"

static pm_status list_pairs(pm_store *store, pair **out, size_t *count) {
    sqlite3_stmt *statement = NULL;
    pair *pairs = NULL;
    size_t used = 0;
    bool row = false;
    pm_status status = pm_db_begin(store,
                                   "SELECT m.src, m.dst, EXISTS (SELECT 1"
                                   " FROM src.channel_gradient AS g"
                                   " WHERE g.configuration_id = m.src) OR EXISTS (SELECT 1"
                                   " FROM main.channel_gradient AS g"
                                   " WHERE g.configuration_id = m.dst)"
                                   " FROM temp.map_configuration AS m WHERE m.src IN"
                                   " (SELECT configuration_id FROM src.channel_accumulator)",
                                   NULL, 0, &statement);
    if (status) return status;
    while (!(status = pm_db_step(store, statement, &row)) && row) {
        pair *more = realloc(pairs, (used + 1) * sizeof *more);
        if (!more) {
            status = pm_fail(PM_E_MEMORY, "no memory for %zu configurations", used + 1);
            break;
        }
        pairs = more;
        pairs[used++] = (pair){.src = sqlite3_column_int64(statement, 0),
                               .dst = sqlite3_column_int64(statement, 1),
                               .written = sqlite3_column_int(statement, 2) != 0};
    }
    pm_db_end(statement);
    if (status) {
        free(pairs);
        return status;
    }
    *out = pairs;
    *count = used;
    return PM_OK;
}

static pm_status count_images(pm_store *store, pair *p) {
    static const char *const sql[] = {
        "SELECT count(*), count(d.image_id), ifnull(sum(d.image_id IS NULL"
        " AND s.channels_kept < 2), 0) FROM src.result AS s"
        " JOIN temp.map_image AS i ON i.src = s.image_id LEFT JOIN main.result AS d"
        " ON d.configuration_id = ?2 AND d.image_id = i.dst AND d.channels_kept > 0"
        " WHERE s.configuration_id = ?1 AND s.channels_kept > 0",
        "SELECT count(*), 0, ifnull(sum(d.channels_kept < 2 AND NOT EXISTS (SELECT 1"
        "  FROM temp.map_image AS i JOIN src.result AS s ON s.configuration_id = ?1"
        "  AND s.image_id = i.src AND s.channels_kept > 0 WHERE i.dst = d.image_id)), 0)"
        " FROM main.result AS d WHERE d.configuration_id = ?2 AND d.channels_kept > 0"};
    int64_t values[2][3] = {{0}};
    pm_status status = PM_OK;
    for (size_t i = 0; i < 2 && !status; i++) {
        sqlite3_stmt *statement = NULL;
        bool row = false;
        status = pm_db_begin(store, sql[i], PM_BINDS(pm_int(p->src), pm_int(p->dst)), &statement);
        if (!status) status = pm_db_step(store, statement, &row);
        for (int c = 0; c < 3 && row; c++) values[i][c] = sqlite3_column_int64(statement, c);
        pm_db_end(statement);
    }
    p->theirs = values[0][0];
    p->both = values[0][1];
    p->theirs_bare = values[0][2];
    p->ours = values[1][0];
    p->ours_bare = values[1][2];
    return status;
}

static pm_status add_their_sums(pm_store *store, const pair *p) {
    sqlite3_stmt *statement = NULL;
    bool row = false;
    pm_status status = pm_db_begin(store,
                                   "SELECT m.dst, a.moments FROM src.channel_accumulator AS a"
                                   " JOIN temp.map_layer AS m ON m.src = a.layer_id"
                                   " WHERE a.configuration_id = ?1 AND a.class = -1",
                                   PM_BINDS(pm_int(p->src)), &statement);
    if (status) return status;
    while (!(status = pm_db_step(store, statement, &row)) && row)
        if ((status = pm_accumulator_merge(store, p->dst, sqlite3_column_int64(statement, 0),
                                           sqlite3_column_blob(statement, 1),
                                           (size_t)sqlite3_column_bytes(statement, 1))))
            break;
    pm_db_end(statement);
    return status;
}

static pm_status give_up(pm_merge *merge, const pair *p) {
    sqlite3_stmt *statement = NULL;
    bool row = false;
    if (merge->plan->drop_channel_sums) {
        merge->counts->sums_dropped++;
        return pm_db_run_once(merge->store, "INSERT INTO temp.dropped VALUES (?1)",
                              PM_BINDS(pm_int(p->dst)), NULL);
    }
    pm_status status = pm_db_begin(
        merge->store, "SELECT sha256, label FROM configuration WHERE configuration_id = ?1",
        PM_BINDS(pm_int(p->dst)), &statement);
    if (!status) status = pm_db_step(merge->store, statement, &row);
    if (!status)
        status = pm_fail(
            PM_E_MISMATCH,
            "the channel sums of configuration %.12s (%s) cannot be put together: %lld images are "
            "in both, and of those that only one side has some were not kept one by one "
            "(--channels full); --drop-channel-sums leaves these sums out",
            (const char *)sqlite3_column_text(statement, 0),
            (const char *)sqlite3_column_text(statement, 1), (long long)p->both);
    pm_db_end(statement);
    return status;
}

static pm_status put_together(pm_merge *merge, const pair *p) {
    pm_store *store = merge->store;
    const pm_bind ids[] = {pm_int(p->src), pm_int(p->dst)};
    pm_status status = PM_OK;
    if (p->theirs == p->both) return PM_OK;
    if (p->both == 0) return add_their_sums(store, p);
    if (p->ours == p->both) {
        status = pm_sums_clear(store, p->dst);
        return status ? status : add_their_sums(store, p);
    }
    if (p->theirs_bare == 0) return pm_sums_add_items(store, p->dst, THEIR_ITEMS, ids, 2);
    if (p->ours_bare > 0) return give_up(merge, p);
    status = pm_sums_clear(store, p->dst);
    if (!status) status = add_their_sums(store, p);
    return status ? status : pm_sums_add_items(store, p->dst, OUR_ITEMS, ids, 2);
}

pm_status pm_merge_sums(pm_merge *merge) {
    pair *pairs = NULL;
    size_t count = 0;
    pm_status status = list_pairs(merge->store, &pairs, &count);
    for (size_t i = 0; i < count && !status; i++) {
        status = count_images(merge->store, &pairs[i]);
        if (!status) status = put_together(merge, &pairs[i]);
        if (!status)
            status = pairs[i].written ? pm_channels_write(merge->store, pairs[i].dst)
                                      : pm_accumulators_flush(merge->store);
        pm_accumulators_drop(merge->store, status != PM_OK);
    }
    free(pairs);
    return status;
}

pm_status pm_merge_sums_drop(pm_merge *merge) {
    for (;;) {
        int64_t id = 0;
        bool found = false;
        pm_status status = pm_db_get(merge->store, "SELECT min(configuration_id) FROM temp.dropped",
                                     NULL, 0, &id, &found);
        if (status || !found) return status;
        status = pm_sums_from_items(merge->store, id);
        if (!status)
            status =
                pm_db_run_once(merge->store, "DELETE FROM temp.dropped WHERE configuration_id = ?1",
                               PM_BINDS(pm_int(id)), NULL);
        if (status) return status;
    }
}
