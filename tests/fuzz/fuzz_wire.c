/* Fuzzes one message: the control frame, what the broker's pure readers make of it, and the item
 * list of a submission. Input: a byte with the number of bulk frames, the size of each (two bytes),
 * the frames, and the control frame. Sequences of messages are fuzz_peers' part. */
#include <stdlib.h>
#include <string.h>

#include "broker/records.h"
#include "lib/net/wire.h"
#include "tests/fuzz/fuzz.h"

enum { FRAMES_MAX = 7, CONFIGS = 2 };

typedef struct input {
    const uint8_t *at;
    size_t left;
} input;

static pm_bytes take(input *in, size_t size) {
    if (size > in->left) size = in->left;
    pm_bytes part = {in->at, size};
    in->at += size;
    in->left -= size;
    return part;
}

/* A copy of exactly that size: one byte too far is seen. */
static pm_bytes own(pm_bytes part) {
    void *copy = malloc(part.size ? part.size : 1);
    if (!copy) abort();
    if (part.size) memcpy(copy, part.bytes, part.size);
    return (pm_bytes){copy, part.size};
}

static void read_result(const Pm__Wire__ItemResult *result, const pm_bytes *frames, size_t count,
                        pm_method method) {
    pm_config configs[CONFIGS] = {{.arch = "resnet18"}, {.arch = "resnet18"}};
    pm_run_spec spec = {.configs = configs,
                        .config_count = CONFIGS,
                        .channels = PM_CHANNELS_FULL,
                        .heat_maps = PM_HEAT_MAPS_F16};
    pm_op *op = NULL;
    for (size_t i = 0; i < CONFIGS; i++) configs[i].attribution.method = method;
    pm_status status = pm_record_make(result, frames, count, &spec, &op);
    if ((op == NULL) != (status != PM_OK) || (status && !*pm_error_text())) abort();
    pm_op_free(&op);
}

/* What was read can be said again, and is then read alike. */
static void say_again(const Pm__Wire__Message *body) {
    pm_buffer bytes = {0}, again = {0};
    Pm__Wire__Message *back = NULL;
    if (pm_wire_pack(body, &bytes) != PM_OK) abort();
    if (pm_wire_unpack(bytes.bytes, bytes.size, &back) == PM_OK) {
        if (back->body_case != body->body_case || pm_wire_pack(back, &again) != PM_OK) abort();
        if (again.size != bytes.size || memcmp(again.bytes, bytes.bytes, bytes.size) != 0) abort();
    }
    pm_wire_free(&back);
    pm_buffer_fini(&bytes);
    pm_buffer_fini(&again);
}

static void read_items(pm_bytes frame) {
    pm_data_set set = {0};
    pm_buffer bytes = {0};
    if (pm_wire_items_unpack(frame.bytes, frame.size, &set) == PM_OK) {
        (void)pm_data_set_hash(&set);
        if (pm_wire_items_pack(&set, &bytes) != PM_OK) abort();
        pm_buffer_fini(&bytes);
    } else if (set.items || !*pm_error_text()) {
        abort();
    }
    pm_data_set_fini(&set);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    input in = {bytes, size};
    pm_bytes frames[FRAMES_MAX];
    size_t sizes[FRAMES_MAX], count = 0;
    Pm__Wire__Message *body = NULL;
    if (size < 1) return 0;
    count = *(const uint8_t *)take(&in, 1).bytes & FRAMES_MAX;
    for (size_t i = 0; i < count; i++) {
        pm_bytes two = take(&in, 2);
        const uint8_t *b = two.bytes;
        sizes[i] = two.size == 2 ? (size_t)b[0] | (size_t)b[1] << 8 : 0;
    }
    for (size_t i = 0; i < count; i++) frames[i] = own(take(&in, sizes[i]));
    pm_bytes control = own(take(&in, in.left));
    if (pm_wire_unpack(control.bytes, control.size, &body) == PM_OK) {
        (void)pm_wire_name(body->body_case);
        if (body->body_case == PM__WIRE__MESSAGE__BODY_ITEM_RESULT) {
            read_result(body->item_result, frames, count, PM_METHOD_GRAD);
            read_result(body->item_result, frames, count, PM_METHOD_GATHER);
        }
        say_again(body);
    } else if (body || !*pm_error_text()) {
        abort();
    }
    if (count > 0) read_items(frames[0]);
    pm_wire_free(&body);
    for (size_t i = 0; i < count; i++) free((void *)frames[i].bytes);
    free((void *)control.bytes);
    return 0;
}
