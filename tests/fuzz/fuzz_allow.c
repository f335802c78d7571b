/* Fuzzes the list of keys: what is taken can be found again by its key, with a role and a name. */
#include <stdlib.h>
#include <string.h>

#include "lib/net/allow.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    pm_allow *allow = NULL;
    char *text = malloc(size + 1);
    if (!text) abort();
    if (size) memcpy(text, bytes, size);
    text[size] = 0;
    if (pm_allow_parse("allow", text, &allow) == PM_OK) {
        if (!allow) abort();
        (void)pm_allow_count(allow);
        (void)pm_allow_find(allow, "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7");
        (void)pm_allow_find_identity(allow, 1);
    } else if (allow || !*pm_error_text()) {
        abort();
    }
    pm_allow_free(&allow);
    free(text);
    return 0;
}
