/* Private to lib/net: who may connect to the broker's keyed sockets. Answers libzmq's questions
 * (ZAP, RFC 27) by the allow-list, and reads the list again when the file changes. One a process:
 * the place where libzmq asks has a fixed name. One thread uses it, the router's. */
#ifndef PM_NET_GUARD_H
#define PM_NET_GUARD_H

#include <czmq.h>

#include "lib/net/allow.h"

typedef struct pm_guard pm_guard;

/* Of the sockets whose connections are asked about. */
#define PM_GUARD_DOMAIN "parchmill"

/* PM_E_BUSY: there is one in this process; else as pm_allow_read. */
pm_status pm_guard_new(const char *allow_path, pm_guard **out);
void pm_guard_free(pm_guard **guard);

/* To be polled for input; then pm_guard_serve. */
zsock_t *pm_guard_socket(const pm_guard *guard);
/* Answer what has been asked; a bounded number. */
void pm_guard_serve(pm_guard *guard);

/* Cheap; looks at the file every half second. True: the list in force is another now. A file that
 * cannot be read or is wrong leaves the old one in force, with one line in the log. */
bool pm_guard_refresh(pm_guard *guard, int64_t now_ms);

const pm_allow *pm_guard_allow(const pm_guard *guard);

#endif
