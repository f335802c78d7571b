/* A hash map from 64-bit keys to intrusive nodes. Nodes belong to the caller; a growth that finds
 * no memory is put off (chains get longer), so that insertion never fails. */
#ifndef PM_BROKER_MAP_H
#define PM_BROKER_MAP_H

#include <stddef.h>
#include <stdint.h>

#include "lib/base/status.h"

typedef struct pm_map_node {
    uint64_t key;
    struct pm_map_node *next;
} pm_map_node;

typedef struct pm_map {
    pm_map_node **buckets; /* [bucket_count], a power of two */
    size_t bucket_count, count;
    size_t low; /* the buckets below are empty */
} pm_map;

pm_status pm_map_init(pm_map *map);
/* Releases the buckets; the nodes are the caller's. */
void pm_map_fini(pm_map *map);
pm_map_node *pm_map_find(const pm_map *map, uint64_t key);
/* The key must not be there yet. */
void pm_map_insert(pm_map *map, uint64_t key, pm_map_node *node);
/* The node must be there. */
void pm_map_remove(pm_map *map, pm_map_node *node);
/* Any one node, or NULL; for taking a map apart. */
pm_map_node *pm_map_any(pm_map *map);

#endif
