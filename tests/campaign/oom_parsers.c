/* Owns the cases that read: messages, specifications, labels, boxes, weights, options. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/file.h"
#include "lib/net/wire.h"
#include "tests/campaign/oom.h"
#include "tools/dataset/items.h"
#include "tools/options.h"
#include "worker/engine/weights/weights.h"

static void mix(uint64_t *digest, const void *bytes, size_t size) {
    const uint8_t *at = bytes;
    for (size_t i = 0; i < size; i++) *digest = (*digest ^ at[i]) * 1099511628211u;
}

/* ---- the wire ---- */

static pm_status pack(pm_buffer *out) {
    static uint8_t hash[PM_SHA256_BYTES] = {7};
    Pm__Wire__HeldLease leases[3], *lease_of[3];
    Pm__Wire__Hello hello = PM__WIRE__HELLO__INIT;
    for (size_t i = 0; i < 3; i++) {
        pm__wire__held_lease__init(&leases[i]);
        leases[i].task = i;
        leases[i].token = (ProtobufCBinaryData){PM_TOKEN_BYTES, hash};
        lease_of[i] = &leases[i];
    }
    hello.engine_version = (char *)"0.1.0";
    hello.role = (char *)"worker";
    hello.host = (char *)"here";
    hello.instance = (ProtobufCBinaryData){PM_INSTANCE_BYTES, hash};
    hello.leases = lease_of;
    hello.n_leases = 3;
    Pm__Wire__Message message = pm_wire_hello(&hello);
    return pm_wire_pack(&message, out);
}

static pm_status wire(uint64_t *digest) {
    pm_buffer bytes = {0}, again = {0};
    Pm__Wire__Message *message = NULL;
    pm_status status = pack(&bytes);
    if (!status) status = pm_wire_unpack(bytes.bytes, bytes.size, &message);
    if (!status) status = pm_wire_pack(message, &again);
    if (!status) mix(digest, again.bytes, again.size);
    pm_wire_free(&message);
    pm_buffer_fini(&bytes);
    pm_buffer_fini(&again);
    return status;
}

static pm_status wire_items(uint64_t *digest) {
    char paths[9][16];
    pm_item items[9] = {0};
    pm_spec_box box = {1, 2, 3, 4};
    pm_data_set set = {.count = 9, .items = items}, back = {0};
    pm_buffer bytes = {0};
    for (size_t i = 0; i < set.count; i++) {
        snprintf(paths[i], sizeof paths[i], "%zu.png", i);
        items[i] = (pm_item){.path = paths[i], .size_bytes = 5, .label = (int)i};
        items[i].box_count = i % 2;
        items[i].boxes = &box;
    }
    pm_status status = pm_wire_items_pack(&set, &bytes);
    if (!status) status = pm_wire_items_unpack(bytes.bytes, bytes.size, &back);
    for (size_t i = 0; i < back.count; i++) mix(digest, back.items[i].path, 5);
    pm_data_set_fini(&back);
    pm_buffer_fini(&bytes);
    return status;
}

/* ---- specifications and options ---- */

static pm_status config(uint64_t *digest) {
    pm_config c = {.arch = "resnet18", .resize = 256, .crop = 224, .std = {1, 1, 1}}, back;
    char *text = NULL;
    pm_sha256 hash;
    pm_attribution_defaults(&c.attribution);
    c.attribution.mask =
        PM_MASK_CLS; /* then there is a hash: jansson's strings grow in doublings */
    c.has_statistics = true;
    pm_status status = pm_config_format(&c, &text, &hash);
    if (!status) status = pm_config_parse(text, &back);
    if (!status) mix(digest, hash.bytes, sizeof hash.bytes);
    free(text);
    return status;
}

static pm_status options(uint64_t *digest) {
    static char *const words[] = {(char *)"--model",    (char *)"resnet18",
                                  (char *)"--quantile", (char *)"0.1,0.2,0.3",
                                  (char *)"--gamma",    (char *)"inf,2",
                                  (char *)"--input",    (char *)"none,jigsaw:grid=4,swaps=8"};
    pm_options *out = NULL;
    pm_status status =
        pm_options_parse(PM_CMD_RUN, "run", (int)(sizeof words / sizeof *words), words, &out);
    for (size_t i = 0; !status && i < pm_options_count(out, PM_OPT_INPUT); i++) {
        const char *value = pm_options_value(out, PM_OPT_INPUT, i);
        mix(digest, value, strlen(value));
    }
    pm_options_free(&out);
    return status;
}

static pm_status options_json(uint64_t *digest) {
    char path[64];
    static const char json[] = "{\"model\": \"resnet18\", \"quantile\": [0.1, 0.2], \"seed\": 7,"
                               " \"weights\": \"a path of more than thirty-two letters.pth\"}";
    snprintf(path, sizeof path, "/dev/shm/pm_oom_%ld.json", (long)getpid());
    FILE *file = fopen(path, "wb");
    if (!file) return pm_fail(PM_E_MEMORY, "fopen");
    bool good = fwrite(json, sizeof json - 1, 1, file) == 1;
    if (fclose(file) != 0 || !good) return pm_fail(PM_E_MEMORY, "fwrite");
    char *const words[] = {(char *)"--spec", path};
    pm_options *out = NULL;
    pm_status status = pm_options_parse(PM_CMD_RUN, "run", 2, words, &out);
    if (!status) mix(digest, pm_options_text(out, PM_OPT_SEED), 1);
    const char *weights = status ? "" : pm_options_text(out, PM_OPT_WEIGHTS);
    mix(digest, weights, strlen(weights));
    pm_options_free(&out);
    unlink(path);
    return status;
}

/* ---- data sets ---- */

static pm_status labels(uint64_t *digest) {
    char text[] = "path,label,xmin,ymin,xmax,ymax\nb.png,1,1,2,3,4\na.png,0,,,,\n"
                  "\"c,d.png\",2,5,6,7,8\nb2.png,1,1,2,3,4\n";
    pm_item_list list = {0};
    pm_status status = pm_labels_parse("labels.csv", NULL, text, sizeof text - 1, 10, &list);
    for (size_t i = 0; !status && i < list.count; i++)
        mix(digest, list.items[i].path, strlen(list.items[i].path));
    pm_item_list_fini(&list);
    return status;
}

static pm_status voc(uint64_t *digest) {
    static const char text[] =
        "<annotation><object><name>dog</name><bndbox><xmin>1</xmin><ymin>2</ymin><xmax>30</xmax>"
        "<ymax>40</ymax></bndbox></object><object><bndbox><xmin>5</xmin><ymin>6</ymin>"
        "<xmax>7</xmax><ymax>8</ymax></bndbox></object></annotation>";
    char path[] = "a.jpg";
    pm_item item = {.path = path, .label = -1};
    pm_status status = pm_voc_parse("a.xml", text, sizeof text - 1, &item);
    if (!status) mix(digest, item.boxes, item.box_count * sizeof *item.boxes);
    free(item.boxes);
    return status;
}

/* ---- weights ---- */

static pm_status read_tensors(const pm_weights *weights, uint64_t *digest) {
    pm_status status = PM_OK;
    for (size_t i = 0; i < pm_weights_count(weights) && !status; i++) {
        const pm_tensor_info *info = pm_weights_at(weights, i);
        float *values = malloc((info->count + 1) * sizeof *values);
        if (!values) return pm_fail(PM_E_MEMORY, "no memory for a tensor");
        status = pm_weights_read(weights, info, values);
        if (!status) mix(digest, values, info->count * sizeof *values);
        free(values);
    }
    return status;
}

static pm_status weights(const char *name, uint64_t *digest) {
    const char *root = getenv("PARCHMILL_SOURCE_DIR");
    char path[512];
    pm_weights *file = NULL;
    snprintf(path, sizeof path, "%s/tests/data/weights/%s", root ? root : ".", name);
    pm_status status = pm_weights_open(path, &file);
    if (!status) status = read_tensors(file, digest);
    pm_weights_free(&file);
    return status;
}

static pm_status safetensors(uint64_t *digest) { return weights("plain.safetensors", digest); }
static pm_status zip(uint64_t *digest) { return weights("plain_zip.pth", digest); }
static pm_status training(uint64_t *digest) { return weights("training_zip.pth", digest); }
static pm_status stream(uint64_t *digest) { return weights("strided_stream.pth", digest); }

static pm_status whole_file(uint64_t *digest) {
    const char *root = getenv("PARCHMILL_SOURCE_DIR");
    char path[512];
    uint8_t *bytes = NULL;
    size_t size = 0;
    snprintf(path, sizeof path, "%s/tests/data/weights/plain.safetensors", root ? root : ".");
    pm_status status = pm_file_read(path, 1 << 24, &bytes, &size);
    if (!status) mix(digest, bytes, size);
    free(bytes);
    return status;
}

const oom_case oom_parsers[] = {
    {"wire", wire, false},
    {"wire-items", wire_items, false},
    {"config", config, false},
    {"options", options, false},
    {"options-json", options_json, false},
    {"labels", labels, false},
    {"voc", voc, false},
    {"file", whole_file, false},
    {"safetensors", safetensors, false},
    {"pth-zip", zip, true},
    {"pth-training", training, true},
    {"pth-stream", stream, false},
};
const size_t oom_parser_count = sizeof oom_parsers / sizeof *oom_parsers;
