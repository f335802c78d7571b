/* Inside lib/spec: the canonical text without memory from the heap, so that hashing cannot fail. */
#ifndef PM_SPEC_CANONICAL_H
#define PM_SPEC_CANONICAL_H

#include "lib/spec/spec.h"

enum { PM_CANONICAL_BYTES = 6 * (PM_LAYERS_BYTES + PM_CAM_LAYER_BYTES + 64) + 2048 };

/* "label", "top", "class", by pm_target_rule. */
extern const char *const pm_target_rule_names[3];

/* The same configuration with every meaningless field at its default. */
pm_config pm_config_canonical(const pm_config *config);

void pm_config_write(const pm_config *config, char text[PM_CANONICAL_BYTES], pm_sha256 *hash);

#endif
