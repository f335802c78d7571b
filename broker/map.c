/* Owns the hash map of the scheduler. Knows nothing of what is stored. */
#include "broker/map.h"

#include <assert.h>
#include <stdlib.h>

#include "lib/base/random.h"

enum { FIRST_BUCKETS = 64 };

static size_t bucket_of(const pm_map *map, uint64_t key) {
    return (size_t)pm_splitmix64(key) & (map->bucket_count - 1);
}

pm_status pm_map_init(pm_map *map) {
    pm_map_node **buckets = calloc(FIRST_BUCKETS, sizeof *buckets);
    if (!buckets) return pm_fail(PM_E_MEMORY, "out of memory for a map");
    *map = (pm_map){.buckets = buckets, .bucket_count = FIRST_BUCKETS};
    return PM_OK;
}

void pm_map_fini(pm_map *map) {
    free(map->buckets);
    *map = (pm_map){0};
}

pm_map_node *pm_map_find(const pm_map *map, uint64_t key) {
    pm_map_node *node = map->buckets[bucket_of(map, key)];
    while (node && node->key != key) node = node->next;
    return node;
}

static void grow(pm_map *map) {
    pm_map bigger = {.bucket_count = map->bucket_count * 2, .count = map->count};
    bigger.buckets = calloc(bigger.bucket_count, sizeof *bigger.buckets);
    if (!bigger.buckets) return;
    for (size_t i = 0; i < map->bucket_count; i++) {
        while (map->buckets[i]) {
            pm_map_node *node = map->buckets[i];
            map->buckets[i] = node->next;
            size_t bucket = bucket_of(&bigger, node->key);
            node->next = bigger.buckets[bucket];
            bigger.buckets[bucket] = node;
        }
    }
    free(map->buckets);
    *map = bigger;
}

void pm_map_insert(pm_map *map, uint64_t key, pm_map_node *node) {
    assert(!pm_map_find(map, key));
    if (map->count >= map->bucket_count) grow(map);
    size_t bucket = bucket_of(map, key);
    node->key = key;
    node->next = map->buckets[bucket];
    map->buckets[bucket] = node;
    if (bucket < map->low) map->low = bucket;
    map->count++;
}

void pm_map_remove(pm_map *map, pm_map_node *node) {
    pm_map_node **link = &map->buckets[bucket_of(map, node->key)];
    while (*link && *link != node) link = &(*link)->next;
    assert(*link);
    *link = node->next;
    node->next = NULL;
    map->count--;
}

pm_map_node *pm_map_any(pm_map *map) {
    if (!map->count) return NULL;
    while (!map->buckets[map->low]) map->low++;
    return map->buckets[map->low];
}
