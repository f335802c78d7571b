/* Which verbs a role may say. One table; the role comes from the transport, never from a
 * message. */
#ifndef PM_BROKER_ROLES_H
#define PM_BROKER_ROLES_H

#include <stdbool.h>

#include "lib/net/endpoint.h"
#include "lib/net/wire.h"

/* False: refuse the message with reason "role". PM_ROLE_NONE may say nothing. */
bool pm_role_may(pm_role role, Pm__Wire__Message__BodyCase verb);

#endif
