/* ARCH WEIGHTS: where the network looks in a grey square on black, as one number a row.
 * cc attribute.c $(pkg-config --cflags --libs parchgrad) && ./a.out resnet18 resnet18.pth */
#include <parchgrad.h>
#include <stdio.h>
#include <stdlib.h>

static pm_status print(void *user, const pm_attribution_result *r) {
    (void)user;
    printf("class %d, p = %.4f\n", r->predicted, (double)r->p_predicted);
    for (size_t y = 0; y < r->height; y += 16) printf("%g ", (double)r->heat_map[y * r->width]);
    return puts("") < 0 ? pm_fail(PM_E_IO, "cannot write") : PM_OK;
}

int main(int argc, char **argv) {
    if (argc != 3) return fprintf(stderr, "usage: %s ARCH WEIGHTS\n", argv[0]), 2;
    pm_weights *weights = NULL;
    pm_model *model = NULL;
    pm_configuration *plain = NULL;
    pm_context *context = NULL;
    static float image[3 * 224 * 224]; /* normalised: 0 is the mean colour */
    for (size_t i = 0; i < 3 * 224 * 224; i++)
        image[i] = i / 224 % 224 / 56 % 3 && i % 224 / 56 % 3 ? 0 : -2;
    pm_attribution how;
    pm_attribution_defaults(&how);
    pm_status status = pm_weights_open(argv[2], &weights);
    if (!status) status = pm_model_new(argv[1], weights, &model);
    if (!status) status = pm_configuration_new(model, &how, NULL, &plain);
    if (!status) status = pm_context_new(model, 224, 224, 1, &context);
    pm_request request = {.configuration = plain, .target = PM_TARGET_TOP};
    if (!status) status = pm_context_attribute(context, image, &request, 1, print, NULL);
    if (status) fprintf(stderr, "%s\n", pm_error_text());
    pm_context_free(&context);
    pm_configuration_free(&plain);
    pm_model_free(&model);
    pm_weights_free(&weights);
    return status ? 1 : 0;
}
