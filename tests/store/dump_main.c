/* store_dump DATABASE: the comparable text of a database, for scripts. */
#include <stdio.h>

#include "lib/store/query.h"

int main(int argc, char **argv) {
    if (argc != 2) {
        fprintf(stderr, "usage: store_dump DATABASE\n");
        return 2;
    }
    if (pm_store_dump(argv[1], stdout)) {
        fprintf(stderr, "store_dump: %s\n", pm_error_text());
        return 1;
    }
    return 0;
}
