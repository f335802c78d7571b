/* Fuzzes Pascal VOC annotations. */
#include <math.h>
#include <stdlib.h>

#include "tests/fuzz/fuzz.h"
#include "tools/dataset/items.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    char path[] = "a.jpg";
    pm_item item = {.path = path, .label = -1};
    if (pm_voc_parse("a.xml", (const char *)bytes, size, &item) == PM_OK) {
        for (size_t i = 0; i < item.box_count; i++) {
            const pm_spec_box *b = &item.boxes[i];
            if (!isfinite(b->xmin) || !(b->xmin <= b->xmax) || !(b->ymin <= b->ymax)) abort();
        }
    } else if (!pm_error_text()[0]) {
        abort();
    }
    free(item.boxes);
    return 0;
}
