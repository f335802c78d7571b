/* Owns the table of verbs and roles. Knows nothing of what verbs do. */
#include "broker/roles.h"

#include <stddef.h>

enum {
    WORKER = 1 << PM_ROLE_WORKER,
    ADMIN = 1 << PM_ROLE_ADMIN,
    CLIENT = 1 << PM_ROLE_CLIENT | ADMIN, /* an admin may all that a client may */
    ANY = CLIENT | WORKER
};

/* Clients share the queue: each may cancel or retry any run, as each may see it. What acts on
 * others' machines or on the order between runs is an admin's. Verbs that are not here (the
 * broker's own, unknown ones) are nobody's. */
static const struct {
    Pm__Wire__Message__BodyCase verb;
    int roles;
} table[] = {
    {PM__WIRE__MESSAGE__BODY_HELLO, ANY},
    {PM__WIRE__MESSAGE__BODY_HEARTBEAT, ANY},
    {PM__WIRE__MESSAGE__BODY_GOODBYE, ANY},
    {PM__WIRE__MESSAGE__BODY_CREDIT, WORKER},
    {PM__WIRE__MESSAGE__BODY_ITEM_STARTED, WORKER},
    {PM__WIRE__MESSAGE__BODY_ITEM_RESULT, WORKER},
    {PM__WIRE__MESSAGE__BODY_TASK_RETURNED, WORKER},
    {PM__WIRE__MESSAGE__BODY_FETCH, WORKER},
    {PM__WIRE__MESSAGE__BODY_SUBMIT, CLIENT},
    {PM__WIRE__MESSAGE__BODY_STATUS_REQUEST, CLIENT},
    {PM__WIRE__MESSAGE__BODY_CANCEL, CLIENT},
    {PM__WIRE__MESSAGE__BODY_RETRY, CLIENT},
    {PM__WIRE__MESSAGE__BODY_QUERY, CLIENT},
    {PM__WIRE__MESSAGE__BODY_QUERY_MORE, CLIENT},
    {PM__WIRE__MESSAGE__BODY_PAUSE, CLIENT},
    {PM__WIRE__MESSAGE__BODY_PRIORITIZE, ADMIN},
    {PM__WIRE__MESSAGE__BODY_LIMIT, CLIENT},
    {PM__WIRE__MESSAGE__BODY_DRAIN_WORKERS, ADMIN},
    {PM__WIRE__MESSAGE__BODY_REFRESH, CLIENT},
};

bool pm_role_may(pm_role role, Pm__Wire__Message__BodyCase verb) {
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (table[i].verb == verb) return (table[i].roles & (1 << role)) != 0;
    return false;
}
