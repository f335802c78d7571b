#include "tests/worker/tasks.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

pm_message tasks_message(const Pm__Wire__Message *from) {
    size_t size = pm__wire__message__get_packed_size(from);
    uint8_t *bytes = malloc(size + 1);
    assert_non_null(bytes);
    pm__wire__message__pack(from, bytes);
    pm_message out = {.body = pm__wire__message__unpack(NULL, size, bytes)};
    assert_non_null(out.body);
    free(bytes);
    return out;
}

void tasks_announce(pm_work *work, const char *data_root) {
    uint8_t hash[PM_SHA256_BYTES] = {0};
    char *configuration = "{}";
    Pm__Wire__Blob weights = PM__WIRE__BLOB__INIT;
    weights.sha256 = (ProtobufCBinaryData){sizeof hash, hash};
    Pm__Wire__RunInfo info = PM__WIRE__RUN_INFO__INIT;
    info.run = 1;
    info.arch = info.channels = info.heat_maps = "";
    info.data_root = (char *)data_root;
    info.weights = &weights;
    info.n_configurations = 1;
    info.configurations = &configuration;
    Pm__Wire__Message body = pm_wire_run_info(&info);
    pm_message message = tasks_message(&body);
    assert_int_equal(pm_work_add_run(work, &message), PM_OK);
}

void tasks_give(pm_work *work, uint64_t task, size_t count) {
    uint8_t token[PM_TOKEN_BYTES] = {(uint8_t)task};
    uint32_t configuration = 0;
    pm_sha256 hashes[TASKS_ITEMS_MAX];
    char names[TASKS_ITEMS_MAX][16], letters[TASKS_ITEMS_MAX];
    Pm__Wire__Item items[TASKS_ITEMS_MAX], *pointers[TASKS_ITEMS_MAX];
    memset(letters, 'x', sizeof letters);
    for (size_t i = 0; i < count; i++) {
        snprintf(names[i], sizeof names[i], "i%zu.png", i);
        hashes[i] = pm_sha256_of(letters, i + 1);
        pm__wire__item__init(&items[i]);
        items[i].ordinal = i;
        items[i].path = names[i];
        items[i].size_bytes = i + 1;
        items[i].sha256 = (ProtobufCBinaryData){sizeof hashes[i].bytes, hashes[i].bytes};
        pointers[i] = &items[i];
    }
    Pm__Wire__Task out = PM__WIRE__TASK__INIT;
    out.task = task;
    out.run = 1;
    out.token = (ProtobufCBinaryData){sizeof token, token};
    out.n_configurations = 1;
    out.n_items = count;
    out.configurations = &configuration;
    out.items = pointers;
    Pm__Wire__Message body = pm_wire_task(&out);
    pm_message message = tasks_message(&body);
    assert_int_equal(pm_work_add_task(work, &message), PM_OK);
}
