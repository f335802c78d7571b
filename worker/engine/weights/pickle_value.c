/* Owns small questions about values that a pickle gave, and the list of names it may hold. */
#include <string.h>

#include "worker/engine/weights/pickle.h"

const char *pm_pickle_global_name(pm_pickle_global global) {
    switch (global) {
    case PM_GLOBAL_ORDERED_DICT: return "collections.OrderedDict";
    case PM_GLOBAL_REBUILD_TENSOR: return "torch._utils._rebuild_tensor";
    case PM_GLOBAL_REBUILD_TENSOR_V2: return "torch._utils._rebuild_tensor_v2";
    case PM_GLOBAL_REBUILD_PARAMETER: return "torch._utils._rebuild_parameter";
    case PM_GLOBAL_LOAD_FROM_BYTES: return "torch.storage._load_from_bytes";
    case PM_GLOBAL_ENCODE: return "_codecs.encode";
    case PM_GLOBAL_FLOAT_STORAGE: return "torch.FloatStorage";
    case PM_GLOBAL_HALF_STORAGE: return "torch.HalfStorage";
    case PM_GLOBAL_BFLOAT16_STORAGE: return "torch.BFloat16Storage";
    case PM_GLOBAL_LONG_STORAGE: return "torch.LongStorage";
    case PM_GLOBAL_DOUBLE_STORAGE: return "torch.DoubleStorage";
    case PM_GLOBAL_INT_STORAGE: return "torch.IntStorage";
    case PM_GLOBAL_SHORT_STORAGE: return "torch.ShortStorage";
    case PM_GLOBAL_CHAR_STORAGE: return "torch.CharStorage";
    case PM_GLOBAL_BYTE_STORAGE: return "torch.ByteStorage";
    case PM_GLOBAL_BOOL_STORAGE: return "torch.BoolStorage";
    case PM_GLOBAL_COUNT: break;
    }
    return "?";
}

bool pm_pickle_text_is(const pm_pickle_value *value, const char *text) {
    size_t size = strlen(text);
    return value->kind == PM_PICKLE_STRING && value->as.text.size == size &&
           !memcmp(value->as.text.bytes, text, size);
}

pm_pickle_value *pm_pickle_get(const pm_pickle_value *dict, const char *key) {
    if (dict->kind != PM_PICKLE_DICT) return NULL;
    for (size_t i = 0; i + 1 < dict->as.list.count; i += 2)
        if (pm_pickle_text_is(dict->as.list.items[i], key)) return dict->as.list.items[i + 1];
    return NULL;
}
