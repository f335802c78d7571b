/* What the sweep has a broker do, over its sockets: three runs with a worker's crashes, a cancel
 * and a retry; and a line for each thing that was answered. */
#ifndef TESTS_CAMPAIGN_SWEEP_SCRIPT_H
#define TESTS_CAMPAIGN_SWEEP_SCRIPT_H

#include "tests/broker/fixture.h"

/* Lines to `out`: "+NAME SQL": from here on SQL gives 1; "-NAME": that may change now. Ends the
 * process by an assert where the broker does not answer. */
void sweep_script(scene *s, int out);

/* From wherever the broker's database stands to the same end. */
void sweep_finish(scene *s);

#endif
