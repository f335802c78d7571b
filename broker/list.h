/* Intrusive doubly linked lists with a sentinel: every step O(1), nothing is allocated.
 * A zeroed or just removed link is in no list. */
#ifndef PM_BROKER_LIST_H
#define PM_BROKER_LIST_H

#include <stdbool.h>
#include <stddef.h>

typedef struct pm_link_node {
    struct pm_link_node *prev, *next;
} pm_link_node;

typedef pm_link_node pm_list;

/* The struct of `type` whose field `member` is *node. */
#define PM_OWNER(node, type, member) ((type *)(void *)((char *)(node)-offsetof(type, member)))

static inline void pm_list_init(pm_list *list) { list->prev = list->next = list; }
static inline bool pm_list_empty(const pm_list *list) { return list->next == list; }
static inline pm_link_node *pm_list_head(const pm_list *list) {
    return pm_list_empty(list) ? NULL : list->next;
}
static inline bool pm_node_linked(const pm_link_node *node) { return node->next != NULL; }

static inline void pm_node_unlink(pm_link_node *node) {
    if (!node->next) return;
    node->prev->next = node->next;
    node->next->prev = node->prev;
    node->prev = node->next = NULL;
}

static inline void pm_list_push_back(pm_list *list, pm_link_node *node) {
    pm_node_unlink(node);
    node->prev = list->prev;
    node->next = list;
    list->prev->next = node;
    list->prev = node;
}

static inline void pm_list_push_front(pm_list *list, pm_link_node *node) {
    pm_node_unlink(node);
    node->next = list->next;
    node->prev = list;
    list->next->prev = node;
    list->next = node;
}

#endif
