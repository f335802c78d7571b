/* Owns the control frame: packing, and unpacking that trusts nothing. Knows no socket. */
#include "lib/net/wire.h"

#include <stdlib.h>

#include "lib/net/budget.h"

pm_status pm_wire_pack(const Pm__Wire__Message *body, pm_buffer *bytes) {
    size_t size = pm__wire__message__get_packed_size(body);
    if (size > PM_CONTROL_BYTES_MAX)
        return pm_fail(PM_E_LIMIT, "message %s: %zu bytes, the limit is %d",
                       pm_wire_name(body->body_case), size, PM_CONTROL_BYTES_MAX);
    uint8_t *room = malloc(size ? size : 1);
    if (!room) return pm_fail(PM_E_MEMORY, "message: no memory for %zu bytes", size);
    pm__wire__message__pack(body, room);
    *bytes = (pm_buffer){.bytes = room, .size = size, .capacity = size ? size : 1};
    return PM_OK;
}

static void *budget_alloc(void *data, size_t size) {
    pm_budget *budget = data;
    size_t charged = size + PM_BUDGET_BLOCK_BYTES;
    if (charged < size || charged > budget->left_bytes) {
        budget->exceeded = true;
        return NULL;
    }
    budget->left_bytes -= charged;
    void *block = malloc(size ? size : 1);
    budget->no_memory |= !block;
    return block;
}

static void budget_free(void *data, void *block) {
    (void)data;
    free(block);
}

ProtobufCMessage *pm_budget_unpack(const ProtobufCMessageDescriptor *what, const void *bytes,
                                   size_t size, pm_budget *budget) {
    ProtobufCAllocator allocator = {budget_alloc, budget_free, budget};
    return protobuf_c_message_unpack(what, &allocator, size, bytes);
}

pm_status pm_wire_unpack(const void *bytes, size_t size, Pm__Wire__Message **out) {
    if (size > PM_CONTROL_BYTES_MAX)
        return pm_fail(PM_E_LIMIT, "message: control frame of %zu bytes, the limit is %d", size,
                       PM_CONTROL_BYTES_MAX);
    pm_budget budget = pm_budget_for(size);
    Pm__Wire__Message *body =
        (Pm__Wire__Message *)pm_budget_unpack(&pm__wire__message__descriptor, bytes, size, &budget);
    if (!body && budget.no_memory)
        return pm_fail(PM_E_MEMORY, "message: no memory to read %zu bytes", size);
    if (!body)
        return budget.exceeded
                   ? pm_fail(PM_E_LIMIT, "message: %zu bytes unpack to more than is allowed", size)
                   : pm_fail(PM_E_PROTOCOL, "message: control frame cannot be read");
    if (body->body_case == PM__WIRE__MESSAGE__BODY__NOT_SET) {
        bool unknown = body->base.n_unknown_fields > 0;
        pm_wire_free(&body);
        return pm_fail(PM_E_PROTOCOL, "message: %s",
                       unknown ? "of a kind that this version does not know" : "without a body");
    }
    *out = body;
    return PM_OK;
}

void pm_wire_free(Pm__Wire__Message **body) {
    if (!*body) return;
    pm__wire__message__free_unpacked(*body, NULL);
    *body = NULL;
}

const char *pm_wire_name(Pm__Wire__Message__BodyCase body_case) {
    /* The field's name in the schema is the stable name. */
    const ProtobufCFieldDescriptor *field = protobuf_c_message_descriptor_get_field(
        &pm__wire__message__descriptor, (unsigned)body_case);
    return field ? field->name : "nothing";
}
