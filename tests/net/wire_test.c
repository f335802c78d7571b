/* Control frames and item lists: what goes in comes out, and garbage is refused. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/base/random.h"
#include "lib/net/endpoint.h"
#include "lib/net/wire.h"

static Pm__Wire__Message *there_and_back(const Pm__Wire__Message *message) {
    pm_buffer bytes = {0};
    Pm__Wire__Message *back = NULL;
    assert_int_equal(pm_wire_pack(message, &bytes), PM_OK);
    assert_int_equal(pm_wire_unpack(bytes.bytes, bytes.size, &back), PM_OK);
    pm_buffer_fini(&bytes);
    return back;
}

static void message_survives_packing(void **state) {
    (void)state;
    uint8_t instance[PM_INSTANCE_BYTES], token[PM_TOKEN_BYTES];
    pm_random_bytes(instance, sizeof instance);
    pm_random_bytes(token, sizeof token);
    Pm__Wire__HeldLease held = PM__WIRE__HELD_LEASE__INIT, *leases[] = {&held};
    held.task = UINT64_MAX;
    held.token = (ProtobufCBinaryData){sizeof token, token};
    held.next = 7;
    Pm__Wire__Hello hello = PM__WIRE__HELLO__INIT;
    hello.protocol = PM_PROTOCOL_VERSION;
    hello.engine_version = (char *)"1.2.3";
    hello.role = (char *)"worker";
    hello.instance = (ProtobufCBinaryData){sizeof instance, instance};
    hello.n_leases = 1;
    hello.leases = leases;
    Pm__Wire__Message message = pm_wire_hello(&hello), *back = there_and_back(&message);
    assert_int_equal(back->body_case, PM__WIRE__MESSAGE__BODY_HELLO);
    assert_string_equal(back->hello->engine_version, "1.2.3");
    assert_memory_equal(back->hello->instance.data, instance, sizeof instance);
    assert_true(back->hello->leases[0]->task == UINT64_MAX);
    assert_memory_equal(back->hello->leases[0]->token.data, token, sizeof token);
    assert_false(back->hello->has_crashed_instance);
    pm_wire_free(&back);
    assert_null(back);
}

static void message_names_are_the_schemas(void **state) {
    (void)state;
    assert_string_equal(pm_wire_name(PM__WIRE__MESSAGE__BODY_ITEM_RESULT), "item_result");
    assert_string_equal(pm_wire_name(PM__WIRE__MESSAGE__BODY__NOT_SET), "nothing");
}

static void message_without_known_body_is_refused(void **state) {
    (void)state;
    Pm__Wire__Message *out = NULL;
    /* Field 99, length-delimited, empty: 99 << 3 | 2 = 0x31a as a varint. */
    static const uint8_t unknown[] = {0x9a, 0x06, 0x00};
    assert_int_equal(pm_wire_unpack("", 0, &out), PM_E_PROTOCOL);
    assert_int_equal(pm_wire_unpack(unknown, sizeof unknown, &out), PM_E_PROTOCOL);
    assert_non_null(strstr(pm_error_text(), "does not know"));
    assert_null(out);
}

static void message_without_required_field_is_refused(void **state) {
    (void)state;
    Pm__Wire__Message *out = NULL;
    static const uint8_t empty_hello[] = {0x0a, 0x00}; /* field 1, length 0 */
    assert_int_equal(pm_wire_unpack(empty_hello, sizeof empty_hello, &out), PM_E_PROTOCOL);
    assert_null(out);
}

static void garbage_never_gets_through_unharmed(void **state) {
    (void)state;
    uint8_t bytes[512];
    for (uint64_t round = 0; round < 20000; round++) {
        size_t size = pm_splitmix64(round) % sizeof bytes;
        for (size_t i = 0; i < size; i++)
            bytes[i] = (uint8_t)pm_splitmix64(round * sizeof bytes + i + 1000000);
        Pm__Wire__Message *out = NULL;
        pm_data_set items = {0};
        if (pm_wire_unpack(bytes, size, &out) == PM_OK) pm_wire_free(&out);
        if (pm_wire_items_unpack(bytes, size, &items) == PM_OK) pm_data_set_fini(&items);
    }
}

static void flipped_bits_never_crash(void **state) {
    (void)state;
    Pm__Wire__Beat beat = PM__WIRE__BEAT__INIT, *beats[] = {&beat, &beat, &beat};
    beat.token = (ProtobufCBinaryData){4, (uint8_t *)"abcd"};
    Pm__Wire__Heartbeat heartbeat = PM__WIRE__HEARTBEAT__INIT;
    heartbeat.n_beats = 3;
    heartbeat.beats = beats;
    Pm__Wire__Message message = pm_wire_heartbeat(&heartbeat), *out = NULL;
    pm_buffer bytes = {0};
    assert_int_equal(pm_wire_pack(&message, &bytes), PM_OK);
    for (size_t bit = 0; bit < 8 * bytes.size; bit++) {
        bytes.bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
        if (pm_wire_unpack(bytes.bytes, bytes.size, &out) == PM_OK) pm_wire_free(&out);
        bytes.bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    for (size_t size = 0; size < bytes.size; size++)
        if (pm_wire_unpack(bytes.bytes, size, &out) == PM_OK) pm_wire_free(&out);
    pm_buffer_fini(&bytes);
}

/* Two bytes each on the wire, some eighty in memory: an amplification a peer could use. */
static void bytes_that_unpack_to_too_much_are_refused(void **state) {
    (void)state;
    size_t count = (size_t)1 << 20, size = 2 * count;
    uint8_t *bytes = malloc(size);
    assert_non_null(bytes);
    for (size_t i = 0; i < count; i++) {
        bytes[2 * i] = 0x12; /* ItemBoxes, but with no ordinal: fails late, after allocation */
        bytes[2 * i + 1] = 0x00;
    }
    pm_data_set out = {0};
    assert_int_not_equal(pm_wire_items_unpack(bytes, size, &out), PM_OK);
    assert_null(out.items);
    free(bytes);
}

static pm_data_set three_items(pm_item items[3], pm_spec_box boxes[4]) {
    memset(items, 0, 3 * sizeof items[0]);
    boxes[0] = (pm_spec_box){1, 2, 3, 4};
    boxes[1] = (pm_spec_box){5.5, 6, 7, 8};
    boxes[2] = (pm_spec_box){9, 10, 11, 12};
    boxes[3] = (pm_spec_box){13, 14, 15, 16};
    items[0] = (pm_item){.path = (char *)"a/b.jpg", .size_bytes = 10, .label = 3};
    items[1] = (pm_item){
        .path = (char *)"c.png", .size_bytes = 1, .label = -1, .box_count = 1, .boxes = boxes};
    items[2] = (pm_item){.path = (char *)"d.png",
                         .size_bytes = UINT64_C(1) << 40,
                         .label = 0,
                         .box_count = 3,
                         .boxes = boxes + 1};
    for (size_t i = 0; i < 3; i++) items[i].sha256 = pm_sha256_of(&i, sizeof i);
    return (pm_data_set){.count = 3, .items = items};
}

static void item_list_survives_packing(void **state) {
    (void)state;
    pm_item items[3];
    pm_spec_box boxes[4];
    pm_data_set in = three_items(items, boxes), out = {0};
    pm_buffer bytes = {0};
    assert_int_equal(pm_wire_items_pack(&in, &bytes), PM_OK);
    assert_int_equal(pm_wire_items_unpack(bytes.bytes, bytes.size, &out), PM_OK);
    assert_int_equal(out.count, 3);
    for (size_t i = 0; i < 3; i++) {
        assert_string_equal(out.items[i].path, items[i].path);
        assert_memory_equal(&out.items[i].sha256, &items[i].sha256, sizeof items[i].sha256);
        assert_true(out.items[i].size_bytes == items[i].size_bytes);
        assert_int_equal(out.items[i].label, items[i].label);
        assert_int_equal(out.items[i].box_count, items[i].box_count);
        for (size_t b = 0; b < items[i].box_count; b++)
            assert_memory_equal(&out.items[i].boxes[b], &items[i].boxes[b], sizeof boxes[0]);
    }
    pm_data_set_fini(&out);
    pm_buffer_fini(&bytes);
}

/* Pack a list whose i-th item is spoiled and expect it to be refused. */
static void expect_refused(void (*spoil)(Pm__Wire__Item *item)) {
    uint8_t hash[PM_SHA256_BYTES] = {0};
    Pm__Wire__Item item = PM__WIRE__ITEM__INIT, *items[] = {&item};
    item.path = (char *)"a.jpg";
    item.sha256 = (ProtobufCBinaryData){sizeof hash, hash};
    spoil(&item);
    Pm__Wire__ItemList list = PM__WIRE__ITEM_LIST__INIT;
    list.n_items = 1;
    list.items = items;
    uint8_t bytes[256];
    size_t size = pm__wire__item_list__pack(&list, bytes);
    pm_data_set out = {0};
    assert_int_equal(pm_wire_items_unpack(bytes, size, &out), PM_E_PROTOCOL);
    assert_null(out.items);
}

static void spoil_hash(Pm__Wire__Item *item) { item->sha256.len = 31; }
static void spoil_ordinal(Pm__Wire__Item *item) { item->ordinal = 1; }
static void spoil_path(Pm__Wire__Item *item) { item->path = (char *)""; }
static void spoil_label(Pm__Wire__Item *item) {
    item->has_label = true;
    item->label = -2;
}
static void spoil_box(Pm__Wire__Item *item) {
    item->has_xmin = item->has_ymin = item->has_xmax = item->has_ymax = true;
    item->xmin = (double)NAN;
}

static void malformed_items_are_refused(void **state) {
    (void)state;
    expect_refused(spoil_hash);
    expect_refused(spoil_ordinal);
    expect_refused(spoil_path);
    expect_refused(spoil_label);
    expect_refused(spoil_box);
}

/* ---- endpoints ---- */

static pm_status resolve(const char *url, pm_port port, const char *with, char *out) {
    pm_credentials credentials = {.insecure = strcmp(with, "insecure") == 0};
    pm_endpoint endpoint = {.keyed = false};
    if (strcmp(with, "key") == 0) strcpy(credentials.secret_key, "any");
    pm_status status = pm_endpoint_resolve(url, port, *with ? &credentials : NULL, &endpoint);
    if (!status) {
        strcpy(out, endpoint.address);
        assert_int_equal(endpoint.keyed, strcmp(with, "key") == 0 && *url == 't');
        assert_int_equal(endpoint.ipv6, strchr(url, '[') != NULL);
    }
    return status;
}

static void endpoints_follow_the_rule(void **state) {
    (void)state;
    char out[PM_ENDPOINT_BYTES], url[300];
    static const char *const with[] = {"", "insecure", "key"};
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(resolve("ipc:///run/x", PM_PORT_CLIENT, with[i], out), PM_OK);
        assert_string_equal(out, "ipc:///run/x");
        assert_int_equal(resolve("ipc:///run/x", PM_PORT_WORKER, with[i], out), PM_OK);
        assert_string_equal(out, "ipc:///run/x.w");
    }
    static const char *const bad[] = {"",
                                      "ipc://",
                                      "tcp://127.0.0.1",
                                      "tcp://:5",
                                      "tcp://localhost:0",
                                      "tcp://localhost:65535",
                                      "http://a:1",
                                      "tcp://localhost:x",
                                      "tcp://a;b:5",
                                      "tcp://::1:5",
                                      "tcp://[::1:5",
                                      "tcp://[a]:5",
                                      "tcp://a/b:5",
                                      "ipc://@abstract"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(resolve(bad[i], PM_PORT_CLIENT, "insecure", out), PM_E_USAGE);
        assert_int_equal(resolve(bad[i], PM_PORT_CLIENT, "key", out), PM_E_USAGE);
    }
    memset(url, 'a', sizeof url);
    memcpy(url, "ipc://", 6);
    url[6 + 105] = 0;
    assert_int_equal(resolve(url, PM_PORT_WORKER, "", out), PM_OK);
    url[6 + 105] = 'a';
    url[6 + 106] = 0;
    assert_int_equal(resolve(url, PM_PORT_CLIENT, "", out), PM_E_USAGE);
}

static void tcp_goes_with_keys_or_insecure_on_loopback(void **state) {
    (void)state;
    char out[PM_ENDPOINT_BYTES];
    static const char *const loopback[] = {"tcp://127.0.0.1:99", "tcp://localhost:99",
                                           "tcp://127.3.2.1:99", "tcp://[::1]:99"};
    static const char *const far[] = {"tcp://10.0.0.1:99",  "tcp://127.0.0.1.evil.org:99",
                                      "tcp://0.0.0.0:99",   "tcp://*:99",
                                      "tcp://[::]:99",      "tcp://eth0:99",
                                      "tcp://[fe80::1]:99", "tcp://host.example:99"};
    for (size_t i = 0; i < sizeof loopback / sizeof *loopback; i++) {
        assert_int_equal(resolve(loopback[i], PM_PORT_CLIENT, "insecure", out), PM_OK);
        assert_int_equal(resolve(loopback[i], PM_PORT_WORKER, "key", out), PM_OK);
        assert_string_equal(strrchr(out, ':'), ":100");
        assert_int_equal(resolve(loopback[i], PM_PORT_CLIENT, "", out), PM_E_DENIED);
    }
    for (size_t i = 0; i < sizeof far / sizeof *far; i++) {
        assert_int_equal(resolve(far[i], PM_PORT_CLIENT, "insecure", out), PM_E_DENIED);
        assert_int_equal(resolve(far[i], PM_PORT_CLIENT, "", out), PM_E_DENIED);
        assert_int_equal(resolve(far[i], PM_PORT_CLIENT, "key", out), PM_OK);
        assert_string_equal(out, far[i]);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(message_survives_packing),
        cmocka_unit_test(message_names_are_the_schemas),
        cmocka_unit_test(message_without_known_body_is_refused),
        cmocka_unit_test(message_without_required_field_is_refused),
        cmocka_unit_test(garbage_never_gets_through_unharmed),
        cmocka_unit_test(flipped_bits_never_crash),
        cmocka_unit_test(bytes_that_unpack_to_too_much_are_refused),
        cmocka_unit_test(item_list_survives_packing),
        cmocka_unit_test(malformed_items_are_refused),
        cmocka_unit_test(endpoints_follow_the_rule),
        cmocka_unit_test(tcp_goes_with_keys_or_insecure_on_loopback),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
