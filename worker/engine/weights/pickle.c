/* Owns the pickle machine: stack, marks, memo, and the one table of opcodes that it knows.
 * Must not know tensors, files or archives. Opcodes as in CPython's Lib/pickletools.py. */
#include "worker/engine/weights/pickle.h"

#include <stdlib.h>
#include <string.h>

enum { VALUES_PER_BLOCK = 256, LINE_MAX = 256 };

typedef struct value_block {
    struct value_block *next;
    pm_pickle_value values[VALUES_PER_BLOCK];
} value_block;

typedef struct value_array {
    pm_pickle_value **items;
    size_t count, capacity;
} value_array;

struct pm_pickle {
    value_block *blocks; /* newest first; only the newest is partly used */
    size_t value_count, item_count, size;
    value_array persistent;
    pm_pickle_value *root;
};

typedef struct machine {
    const char *where;
    const uint8_t *bytes;
    size_t size, at;
    size_t opcode_at; /* of the opcode in hand */
    pm_pickle *pickle;
    value_array stack, memo;
    size_t memo_next; /* MEMOIZE stores here: number of entries so far */
    size_t marks[PM_PICKLE_DEPTH_MAX];
    size_t mark_count;
    bool stopped;
} machine;

typedef pm_status (*opcode_fn)(machine *m, uint8_t opcode);

/* ---- failures ---- */

static pm_status malformed(const machine *m, const char *what) {
    return pm_fail(PM_E_FORMAT, "%s: pickle byte %zu: %s", m->where, m->opcode_at, what);
}

static pm_status over_limit(const machine *m, const char *what, size_t limit) {
    return pm_fail(PM_E_LIMIT, "%s: pickle byte %zu: more than %zu %s", m->where, m->opcode_at,
                   limit, what);
}

static pm_status no_memory(const machine *m) {
    return pm_fail(PM_E_MEMORY, "%s: no memory to read the pickle", m->where);
}

/* ---- values and stack ---- */

static pm_status array_push(const machine *m, value_array *array, pm_pickle_value *value) {
    if (array->count == array->capacity) {
        size_t capacity = array->capacity ? 2 * array->capacity : 32;
        pm_pickle_value **larger = realloc(array->items, capacity * sizeof *larger);
        if (!larger) return no_memory(m);
        array->items = larger;
        array->capacity = capacity;
    }
    array->items[array->count++] = value;
    return PM_OK;
}

static pm_status push(machine *m, pm_pickle_value *value) {
    if (m->stack.count >= PM_PICKLE_STACK_MAX)
        return over_limit(m, "values on the stack", PM_PICKLE_STACK_MAX);
    return array_push(m, &m->stack, value);
}

static pm_status new_value(machine *m, pm_pickle_kind kind, pm_pickle_value **out) {
    pm_pickle *pickle = m->pickle;
    if (pickle->value_count >= PM_PICKLE_VALUES_MAX)
        return over_limit(m, "values", PM_PICKLE_VALUES_MAX);
    size_t slot = pickle->value_count % VALUES_PER_BLOCK;
    if (slot == 0) {
        value_block *block = calloc(1, sizeof *block);
        if (!block) return no_memory(m);
        block->next = pickle->blocks;
        pickle->blocks = block;
    }
    pickle->value_count++;
    *out = &pickle->blocks->values[slot];
    (*out)->kind = kind;
    (*out)->note = SIZE_MAX;
    return PM_OK;
}

static pm_status push_new(machine *m, pm_pickle_kind kind, pm_pickle_value **out) {
    pm_pickle_value *value = NULL;
    pm_status status = new_value(m, kind, &value);
    if (!status) status = push(m, value);
    if (!status) *out = value;
    return status;
}

static size_t stack_floor(const machine *m) {
    return m->mark_count ? m->marks[m->mark_count - 1] : 0;
}

static pm_status pop(machine *m, pm_pickle_value **out) {
    if (m->stack.count <= stack_floor(m)) return malformed(m, "nothing on the stack");
    *out = m->stack.items[--m->stack.count];
    return PM_OK;
}

static pm_status top(machine *m, pm_pickle_value **out) {
    if (m->stack.count <= stack_floor(m)) return malformed(m, "nothing on the stack");
    *out = m->stack.items[m->stack.count - 1];
    return PM_OK;
}

/* Everything above the last mark: it stays valid until the next push. */
static pm_status pop_mark(machine *m, pm_pickle_value ***out, size_t *out_count) {
    if (!m->mark_count) return malformed(m, "no mark on the stack");
    size_t from = m->marks[--m->mark_count];
    *out = m->stack.items ? m->stack.items + from : NULL;
    *out_count = m->stack.count - from;
    m->stack.count = from;
    return PM_OK;
}

static pm_status append(machine *m, pm_pickle_value *container, pm_pickle_value *const *items,
                        size_t count) {
    pm_pickle *pickle = m->pickle;
    if (count > PM_PICKLE_ITEMS_MAX - pickle->item_count)
        return over_limit(m, "items", PM_PICKLE_ITEMS_MAX);
    pickle->item_count += count;
    size_t used = container->as.list.count, wanted = used + count;
    if (wanted > container->as.list.capacity) {
        size_t capacity = 2 * container->as.list.capacity;
        if (capacity < wanted) capacity = wanted;
        pm_pickle_value **larger = realloc(container->as.list.items, capacity * sizeof *larger);
        if (!larger) return no_memory(m);
        container->as.list.items = larger;
        container->as.list.capacity = capacity;
    }
    if (count) memcpy(container->as.list.items + used, items, count * sizeof *items);
    container->as.list.count = wanted;
    return PM_OK;
}

/* ---- operands ---- */

static pm_status take(machine *m, size_t size, const uint8_t **out) {
    if (size > m->size - m->at) return malformed(m, "cut short");
    *out = m->bytes + m->at;
    m->at += size;
    return PM_OK;
}

static pm_status take_le(machine *m, size_t size, uint64_t *out) {
    const uint8_t *bytes = NULL;
    uint64_t value = 0;
    pm_status status = take(m, size, &bytes);
    if (status) return status;
    for (size_t i = 0; i < size; i++) value |= (uint64_t)bytes[i] << (8 * i);
    *out = value;
    return PM_OK;
}

/* A count of `width` bytes, then that many bytes. */
static pm_status take_counted(machine *m, size_t width, const uint8_t **out, size_t *out_size) {
    uint64_t size = 0;
    pm_status status = take_le(m, width, &size);
    if (status) return status;
    if (size > m->size - m->at) return malformed(m, "cut short, or a length beyond the end");
    *out_size = (size_t)size;
    return take(m, (size_t)size, out);
}

static pm_status take_line(machine *m, const char **out, size_t *out_size) {
    const uint8_t *from = m->bytes + m->at;
    size_t left = m->size - m->at;
    const uint8_t *end = memchr(from, '\n', left < LINE_MAX ? left : LINE_MAX);
    if (!end) return malformed(m, "a name without end");
    *out = (const char *)from;
    *out_size = (size_t)(end - from);
    m->at += *out_size + 1;
    return PM_OK;
}

/* ---- opcodes: scalars ---- */

static pm_status op_constant(machine *m, uint8_t opcode) {
    pm_pickle_value *value = NULL;
    pm_status status = push_new(m, opcode == 'N' ? PM_PICKLE_NONE : PM_PICKLE_BOOL, &value);
    if (!status && opcode != 'N') value->as.boolean = opcode == 0x88;
    return status;
}

static pm_status op_int(machine *m, uint8_t opcode) {
    pm_pickle_value *value = NULL;
    uint64_t raw = 0;
    pm_status status = take_le(m, opcode == 'J' ? 4 : opcode == 'M' ? 2 : 1, &raw);
    if (!status) status = push_new(m, PM_PICKLE_INT, &value);
    if (status) return status;
    /* BININT alone is signed. */
    value->as.integer =
        opcode == 'J' && raw > INT32_MAX ? (int64_t)raw - ((int64_t)1 << 32) : (int64_t)raw;
    return PM_OK;
}

static pm_status op_long1(machine *m, uint8_t opcode) {
    (void)opcode;
    pm_pickle_value *value = NULL;
    const uint8_t *bytes = NULL;
    size_t size = 0;
    pm_status status = take_counted(m, 1, &bytes, &size);
    if (!status) status = push_new(m, size > 8 ? PM_PICKLE_BIG : PM_PICKLE_INT, &value);
    if (status) return status;
    if (size > 8) {
        value->as.text.bytes = bytes;
        value->as.text.size = size;
        return PM_OK;
    }
    uint64_t raw = size && (bytes[size - 1] & 0x80) ? UINT64_MAX : 0;
    for (size_t i = size; i-- > 0;) raw = raw << 8 | bytes[i];
    memcpy(&value->as.integer, &raw, sizeof raw);
    return PM_OK;
}

static pm_status op_float(machine *m, uint8_t opcode) {
    (void)opcode;
    pm_pickle_value *value = NULL;
    const uint8_t *bytes = NULL;
    uint64_t raw = 0;
    pm_status status = take(m, 8, &bytes);
    if (!status) status = push_new(m, PM_PICKLE_FLOAT, &value);
    if (status) return status;
    for (size_t i = 0; i < 8; i++) raw = raw << 8 | bytes[i]; /* big-endian */
    memcpy(&value->as.real, &raw, sizeof raw);
    return PM_OK;
}

static pm_status op_text(machine *m, uint8_t opcode) {
    pm_pickle_value *value = NULL;
    const uint8_t *bytes = NULL;
    size_t size = 0, width = 1;
    bool is_bytes = opcode == 'B' || opcode == 'C' || opcode == 0x8e;
    if (opcode == 'X' || opcode == 'B' || opcode == 'T') width = 4;
    if (opcode == 0x8d || opcode == 0x8e) width = 8;
    pm_status status = take_counted(m, width, &bytes, &size);
    if (!status) status = push_new(m, is_bytes ? PM_PICKLE_BYTES : PM_PICKLE_STRING, &value);
    if (status) return status;
    value->as.text.bytes = bytes;
    value->as.text.size = size;
    return PM_OK;
}

/* ---- opcodes: containers ---- */

static pm_status op_mark(machine *m, uint8_t opcode) {
    (void)opcode;
    if (m->mark_count >= PM_PICKLE_DEPTH_MAX)
        return over_limit(m, "levels of nesting", PM_PICKLE_DEPTH_MAX);
    m->marks[m->mark_count++] = m->stack.count;
    return PM_OK;
}

static pm_status op_empty(machine *m, uint8_t opcode) {
    pm_pickle_value *value = NULL;
    return push_new(m,
                    opcode == ']'   ? PM_PICKLE_LIST
                    : opcode == '}' ? PM_PICKLE_DICT
                                    : PM_PICKLE_TUPLE,
                    &value);
}

static pm_status op_tuple(machine *m, uint8_t opcode) {
    pm_pickle_value *value = NULL, **items = NULL;
    size_t count = 0;
    pm_status status;
    if (opcode == 't') {
        status = pop_mark(m, &items, &count);
        if (status) return status;
    } else {
        count = (size_t)(opcode - 0x84); /* TUPLE1 is 0x85 */
        if (m->stack.count - stack_floor(m) < count) return malformed(m, "nothing on the stack");
        m->stack.count -= count;
        items = m->stack.items + m->stack.count;
    }
    status = new_value(m, PM_PICKLE_TUPLE, &value);
    if (!status) status = append(m, value, items, count);
    return status ? status : push(m, value);
}

/* APPEND, APPENDS to a list; SETITEM, SETITEMS to a dictionary. */
static pm_status op_add(machine *m, uint8_t opcode) {
    pm_pickle_value **items = NULL, *container = NULL;
    bool to_dict = opcode == 's' || opcode == 'u';
    size_t count = opcode == 'a' ? 1 : 2;
    pm_status status;
    if (opcode == 'e' || opcode == 'u') {
        status = pop_mark(m, &items, &count);
        if (status) return status;
    } else {
        if (m->stack.count - stack_floor(m) < count) return malformed(m, "nothing on the stack");
        m->stack.count -= count;
        items = m->stack.items + m->stack.count;
    }
    status = top(m, &container);
    if (status) return status;
    if (container->kind != (to_dict ? PM_PICKLE_DICT : PM_PICKLE_LIST))
        return malformed(m, to_dict ? "items set on something other than a dictionary"
                                    : "items appended to something other than a list");
    if (to_dict && count % 2) return malformed(m, "a key without a value");
    return append(m, container, items, count);
}

static pm_status op_pop(machine *m, uint8_t opcode) {
    pm_pickle_value *value = NULL, **items = NULL;
    size_t count = 0;
    return opcode == '0' ? pop(m, &value) : pop_mark(m, &items, &count);
}

/* ---- opcodes: memo ---- */

static pm_status memo_put(machine *m, uint64_t index) {
    pm_pickle_value *value = NULL;
    pm_status status = top(m, &value);
    if (status) return status;
    if (index >= PM_PICKLE_MEMO_MAX) return over_limit(m, "memo entries", PM_PICKLE_MEMO_MAX);
    /* Picklers count: an entry takes bytes, so that a few of them cannot ask for a large table. */
    if (index > m->opcode_at) return malformed(m, "a memo entry beyond any that could be");
    while (m->memo.count <= index) {
        status = array_push(m, &m->memo, NULL);
        if (status) return status;
    }
    if (!m->memo.items[index]) m->memo_next++;
    m->memo.items[index] = value;
    return PM_OK;
}

static pm_status op_put(machine *m, uint8_t opcode) {
    uint64_t index = m->memo_next;
    if (opcode != 0x94) {
        pm_status status = take_le(m, opcode == 'q' ? 1 : 4, &index);
        if (status) return status;
    }
    return memo_put(m, index);
}

static pm_status op_get(machine *m, uint8_t opcode) {
    uint64_t index = 0;
    pm_status status = take_le(m, opcode == 'h' ? 1 : 4, &index);
    if (status) return status;
    if (index >= m->memo.count || !m->memo.items[index])
        return malformed(m, "a memo entry that was never stored");
    return push(m, m->memo.items[index]);
}

/* ---- opcodes: names and objects ---- */

static void clean(const void *text, size_t size, char *out, size_t capacity) {
    const uint8_t *from = text;
    size_t n = size < capacity - 1 ? size : capacity - 1;
    for (size_t i = 0; i < n; i++) out[i] = from[i] > 0x20 && from[i] < 0x7f ? (char)from[i] : '?';
    out[n] = 0;
}

/* True where `name` is "MODULE.REST". */
static bool name_matches(const char *name, const char *module, size_t module_size, const char *rest,
                         size_t rest_size) {
    return strlen(name) == module_size + 1 + rest_size && !memcmp(name, module, module_size) &&
           name[module_size] == '.' && !memcmp(name + module_size + 1, rest, rest_size);
}

static pm_status push_global(machine *m, const char *module, size_t module_size, const char *name,
                             size_t name_size) {
    pm_pickle_value *value = NULL;
    char clean_module[64], clean_name[64];
    for (int i = 0; i < PM_GLOBAL_COUNT; i++) {
        pm_pickle_global global = (pm_pickle_global)i;
        if (!name_matches(pm_pickle_global_name(global), module, module_size, name, name_size))
            continue;
        pm_status status = push_new(m, PM_PICKLE_GLOBAL, &value);
        if (!status) value->as.global = global;
        return status;
    }
    clean(module, module_size, clean_module, sizeof clean_module);
    clean(name, name_size, clean_name, sizeof clean_name);
    return pm_fail(PM_E_UNSUPPORTED,
                   "%s: pickle names %s.%s, which is not part of a weights file; refused", m->where,
                   clean_module, clean_name);
}

static pm_status op_global(machine *m, uint8_t opcode) {
    (void)opcode;
    const char *module = NULL, *name = NULL;
    size_t module_size = 0, name_size = 0;
    pm_status status = take_line(m, &module, &module_size);
    if (!status) status = take_line(m, &name, &name_size);
    return status ? status : push_global(m, module, module_size, name, name_size);
}

static pm_status op_stack_global(machine *m, uint8_t opcode) {
    (void)opcode;
    pm_pickle_value *module = NULL, *name = NULL;
    pm_status status = pop(m, &name);
    if (!status) status = pop(m, &module);
    if (status) return status;
    if (module->kind != PM_PICKLE_STRING || name->kind != PM_PICKLE_STRING)
        return malformed(m, "a name that is not text");
    return push_global(m, (const char *)module->as.text.bytes, module->as.text.size,
                       (const char *)name->as.text.bytes, name->as.text.size);
}

/* OrderedDict() or, from Python 2, OrderedDict([[key, value], ...]): a dictionary at once. */
static pm_status make_dict(machine *m, const pm_pickle_value *arguments) {
    pm_pickle_value *dict = NULL;
    pm_status status = push_new(m, PM_PICKLE_DICT, &dict);
    if (status || !arguments->as.list.count) return status;
    const pm_pickle_value *pairs = arguments->as.list.items[0];
    if (arguments->as.list.count != 1 || pairs->kind != PM_PICKLE_LIST)
        return malformed(m, "OrderedDict of something other than a list of pairs");
    for (size_t i = 0; i < pairs->as.list.count; i++) {
        const pm_pickle_value *pair = pairs->as.list.items[i];
        if ((pair->kind != PM_PICKLE_LIST && pair->kind != PM_PICKLE_TUPLE) ||
            pair->as.list.count != 2)
            return malformed(m, "OrderedDict of something other than a list of pairs");
        status = append(m, dict, pair->as.list.items, 2);
        if (status) return status;
    }
    return PM_OK;
}

/* Nothing is called: the name and its arguments become a value. */
static pm_status op_reduce(machine *m, uint8_t opcode) {
    (void)opcode;
    pm_pickle_value *arguments = NULL, *callee = NULL, *value = NULL;
    pm_status status = pop(m, &arguments);
    if (!status) status = pop(m, &callee);
    if (status) return status;
    if (callee->kind != PM_PICKLE_GLOBAL || arguments->kind != PM_PICKLE_TUPLE ||
        callee->as.global >= PM_GLOBAL_FLOAT_STORAGE)
        return malformed(m, "a call of something that cannot be called");
    if (callee->as.global == PM_GLOBAL_ORDERED_DICT) return make_dict(m, arguments);
    status = push_new(m, PM_PICKLE_CALL, &value);
    if (status) return status;
    value->as.call.global = callee->as.global;
    value->as.call.arguments = arguments;
    return PM_OK;
}

/* State set on a dictionary is the `_metadata` of a state dict: of no use here. */
static pm_status op_build(machine *m, uint8_t opcode) {
    (void)opcode;
    pm_pickle_value *state = NULL, *object = NULL;
    pm_status status = pop(m, &state);
    if (!status) status = top(m, &object);
    if (status) return status;
    return object->kind == PM_PICKLE_DICT ? PM_OK
                                          : malformed(m, "state set on something other than a "
                                                         "dictionary");
}

static pm_status op_persistent(machine *m, uint8_t opcode) {
    (void)opcode;
    pm_pickle_value *id = NULL, *value = NULL;
    pm_status status = pop(m, &id);
    if (!status) status = push_new(m, PM_PICKLE_PERSISTENT, &value);
    if (status) return status;
    value->as.id = id;
    return array_push(m, &m->pickle->persistent, value);
}

static pm_status op_frame(machine *m, uint8_t opcode) {
    (void)opcode;
    uint64_t size = 0;
    pm_status status = take_le(m, 8, &size);
    if (status) return status;
    return size > m->size - m->at ? malformed(m, "a frame beyond the end") : PM_OK;
}

static pm_status op_stop(machine *m, uint8_t opcode) {
    (void)opcode;
    if (m->mark_count || m->stack.count != 1)
        return malformed(m, "the pickle ends with other than one value");
    m->pickle->root = m->stack.items[0];
    m->stopped = true;
    return PM_OK;
}

/* All that is understood. PROTO is read before the loop. */
static const opcode_fn opcodes[256] = {
    ['.'] = op_stop,      [0x95] = op_frame,     ['N'] = op_constant,      [0x88] = op_constant,
    [0x89] = op_constant, ['J'] = op_int,        ['K'] = op_int,           ['M'] = op_int,
    [0x8a] = op_long1,    ['G'] = op_float,      ['X'] = op_text,          [0x8c] = op_text,
    [0x8d] = op_text,     ['T'] = op_text,       ['U'] = op_text,          ['B'] = op_text,
    ['C'] = op_text,      [0x8e] = op_text,      ['('] = op_mark,          ['0'] = op_pop,
    ['1'] = op_pop,       [']'] = op_empty,      ['}'] = op_empty,         [')'] = op_empty,
    ['t'] = op_tuple,     [0x85] = op_tuple,     [0x86] = op_tuple,        [0x87] = op_tuple,
    ['a'] = op_add,       ['e'] = op_add,        ['s'] = op_add,           ['u'] = op_add,
    ['q'] = op_put,       ['r'] = op_put,        [0x94] = op_put,          ['h'] = op_get,
    ['j'] = op_get,       ['c'] = op_global,     [0x93] = op_stack_global, ['R'] = op_reduce,
    ['b'] = op_build,     ['Q'] = op_persistent,
};

/* ---- the machine ---- */

static pm_status run(machine *m) {
    if (m->size < 2 || m->bytes[0] != 0x80 || m->bytes[1] < 2 || m->bytes[1] > 5)
        return malformed(m, "no pickle of protocol 2 to 5");
    m->at = 2;
    while (!m->stopped) {
        m->opcode_at = m->at;
        if (m->at >= m->size) return malformed(m, "cut short");
        uint8_t opcode = m->bytes[m->at++];
        if (!opcodes[opcode])
            return pm_fail(PM_E_UNSUPPORTED,
                           "%s: pickle opcode 0x%02x at byte %zu is not part of a weights file; "
                           "refused",
                           m->where, opcode, m->opcode_at);
        pm_status status = opcodes[opcode](m, opcode);
        if (status) return status;
    }
    m->pickle->size = m->at;
    return PM_OK;
}

pm_status pm_pickle_read(const char *where, const uint8_t *bytes, size_t size, pm_pickle **out) {
    machine m = {.where = where, .bytes = bytes, .size = size};
    m.pickle = calloc(1, sizeof *m.pickle);
    if (!m.pickle) return no_memory(&m);
    pm_status status = run(&m);
    free(m.stack.items);
    free(m.memo.items);
    if (status)
        pm_pickle_free(&m.pickle);
    else
        *out = m.pickle;
    return status;
}

void pm_pickle_free(pm_pickle **pickle) {
    if (!pickle || !*pickle) return;
    pm_pickle *p = *pickle;
    while (p->blocks) {
        value_block *block = p->blocks;
        p->blocks = block->next;
        for (size_t i = 0; i < VALUES_PER_BLOCK; i++) {
            pm_pickle_kind kind = block->values[i].kind;
            if (kind == PM_PICKLE_TUPLE || kind == PM_PICKLE_LIST || kind == PM_PICKLE_DICT)
                free(block->values[i].as.list.items);
        }
        free(block);
    }
    free(p->persistent.items);
    free(p);
    *pickle = NULL;
}

pm_pickle_value *pm_pickle_root(const pm_pickle *pickle) { return pickle->root; }
size_t pm_pickle_size(const pm_pickle *pickle) { return pickle->size; }
size_t pm_pickle_persistent_count(const pm_pickle *pickle) { return pickle->persistent.count; }

pm_pickle_value *pm_pickle_persistent(const pm_pickle *pickle, size_t index) {
    return pickle->persistent.items[index];
}
