/* What the end-to-end tests work on: a folder with a small data set, a synthetic CIFAR ResNet and
 * statistics for it, all made from the counter hash. */
#ifndef PM_TESTS_INTEGRATION_FIXTURE_H
#define PM_TESTS_INTEGRATION_FIXTURE_H

#include <stddef.h>

enum { PM_FIXTURE_PATH = 256, PM_FIXTURE_CLASSES = 10 };

typedef struct pm_fixture {
    char folder[PM_FIXTURE_PATH];
    char images[PM_FIXTURE_PATH];  /* folder with labels.csv: labels, and a box for most */
    char weights[PM_FIXTURE_PATH]; /* cifar_resnet20, .safetensors */
    char stats[PM_FIXTURE_PATH];
    size_t count; /* images */
} pm_fixture;

/* Asserts on failure. */
void pm_fixture_make(pm_fixture *fixture, size_t images);
/* Weights of another architecture, beside it: FOLDER/other.safetensors. */
void pm_fixture_weights(const pm_fixture *fixture, const char *arch, char out[PM_FIXTURE_PATH]);
/* Removes the folder and all in it. */
void pm_fixture_remove(pm_fixture *fixture);
/* FOLDER/name. */
void pm_fixture_path(const pm_fixture *fixture, const char *name, char out[PM_FIXTURE_PATH]);

#endif
