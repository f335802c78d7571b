/* What the demo works on: its pictures as a data set on disk, and the network and statistics that
 * the program carries. */
#ifndef PM_DEMO_DATA_H
#define PM_DEMO_DATA_H

#include <stddef.h>
#include <stdint.h>

#include "lib/base/status.h"

/* DIR/NNNNN.png for pictures 0 .. count - 1 of the stream `seed`, and DIR/labels.csv with the
 * boxes. */
pm_status pm_demo_write_images(const char *dir, uint64_t seed, size_t count);

/* index,wnid,names of the ten classes. */
pm_status pm_demo_write_classes(const char *path);

/* The network trained by tools/demo/train.py and its class statistics, both .safetensors. */
pm_status pm_demo_write_weights(const char *path);
pm_status pm_demo_write_statistics(const char *path);

#endif
