/* A blob in chunks: credit, order, hash; what is changed or truncated never reaches its name. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/base/file.h"
#include "lib/net/fetch.h"

enum { CHUNKS = PM_FETCH_WINDOW + 2, TAIL = 1234, SIZE = (CHUNKS - 1) * PM_CHUNK_BYTES + TAIL };

typedef struct fixture {
    char folder[64], path[PM_CACHE_PATH_BYTES];
    uint8_t *blob;
    pm_sha256 hash;
} fixture;

static int set_up(void **state) {
    fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    strcpy(f->folder, "/tmp/parchmill-fetch-XXXXXX");
    assert_non_null(mkdtemp(f->folder));
    f->blob = malloc(SIZE);
    assert_non_null(f->blob);
    for (size_t i = 0; i < SIZE; i++) f->blob[i] = (uint8_t)(i * 2654435761u >> 13);
    f->hash = pm_sha256_of(f->blob, SIZE);
    assert_int_equal(pm_cache_path(f->folder, &f->hash, f->path), PM_OK);
    *state = f;
    return 0;
}

static int tear_down(void **state) {
    fixture *f = *state;
    unlink(f->path);
    /* Fails where a temporary file was left behind. */
    assert_int_equal(rmdir(f->folder), 0);
    free(f->blob);
    free(f);
    return 0;
}

static Pm__Wire__Chunk chunk_of(fixture *f, uint64_t offset) {
    Pm__Wire__Chunk chunk = PM__WIRE__CHUNK__INIT;
    chunk.sha256 = (ProtobufCBinaryData){PM_SHA256_BYTES, f->hash.bytes};
    chunk.offset = offset;
    return chunk;
}

static pm_status answer(fixture *f, pm_fetch *fetch, const Pm__Wire__Fetch *request, bool *done) {
    Pm__Wire__Chunk chunk = chunk_of(f, request->offset);
    pm_bytes bytes = {f->blob + request->offset, request->size_bytes};
    return pm_fetch_take(fetch, &chunk, &bytes, done);
}

/* Serve it to the end. */
static pm_status serve(fixture *f, pm_fetch *fetch) {
    Pm__Wire__Fetch request;
    bool done = false;
    while (pm_fetch_next(fetch, &request)) {
        pm_status status = answer(f, fetch, &request, &done);
        if (status) return status;
    }
    return done ? PM_OK : PM_E_INTERNAL;
}

static void blob_arrives_under_its_hash(void **state) {
    fixture *f = *state;
    pm_fetch *fetch = NULL;
    uint8_t *bytes = NULL;
    size_t size = 0;
    assert_int_equal(pm_fetch_new(f->folder, &f->hash, SIZE, &fetch), PM_OK);
    assert_int_equal(serve(f, fetch), PM_OK);
    assert_int_not_equal(access(f->path, F_OK), 0);
    assert_int_equal(pm_fetch_commit(fetch), PM_OK);
    pm_fetch_free(&fetch);
    assert_int_equal(pm_file_read(f->path, SIZE, &bytes, &size), PM_OK);
    assert_int_equal(size, SIZE);
    assert_memory_equal(bytes, f->blob, SIZE);
    free(bytes);
}

static void blob_arrives_in_memory(void **state) {
    fixture *f = *state;
    pm_fetch *fetch = NULL;
    uint8_t *bytes = NULL;
    size_t size = 0;
    assert_int_equal(pm_fetch_new(NULL, &f->hash, SIZE, &fetch), PM_OK);
    assert_int_equal(pm_fetch_bytes(fetch, &bytes, &size), PM_E_INTERNAL);
    assert_int_equal(serve(f, fetch), PM_OK);
    assert_int_equal(pm_fetch_bytes(fetch, &bytes, &size), PM_OK);
    pm_fetch_free(&fetch);
    assert_int_equal(size, SIZE);
    assert_memory_equal(bytes, f->blob, SIZE);
    free(bytes);
}

static void window_bounds_what_is_unanswered(void **state) {
    fixture *f = *state;
    pm_fetch *fetch = NULL;
    Pm__Wire__Fetch requests[CHUNKS], extra;
    bool done;
    assert_int_equal(pm_fetch_new(NULL, &f->hash, SIZE, &fetch), PM_OK);
    for (size_t i = 0; i < PM_FETCH_WINDOW; i++) {
        assert_true(pm_fetch_next(fetch, &requests[i]));
        assert_int_equal(requests[i].offset, i * PM_CHUNK_BYTES);
        assert_int_equal(requests[i].size_bytes, PM_CHUNK_BYTES);
    }
    assert_false(pm_fetch_next(fetch, &extra));
    assert_int_equal(answer(f, fetch, &requests[0], &done), PM_OK);
    assert_true(pm_fetch_next(fetch, &extra));
    assert_false(pm_fetch_next(fetch, &extra));
    pm_fetch_free(&fetch);
}

static void restart_asks_again_for_what_was_lost(void **state) {
    fixture *f = *state;
    pm_fetch *fetch = NULL;
    Pm__Wire__Fetch first, second;
    bool done = true;
    assert_int_equal(pm_fetch_new(f->folder, &f->hash, SIZE, &fetch), PM_OK);
    assert_true(pm_fetch_next(fetch, &first));
    assert_true(pm_fetch_next(fetch, &second));
    assert_int_equal(answer(f, fetch, &first, &done), PM_OK);
    assert_false(done);
    pm_fetch_restart(fetch);
    Pm__Wire__Fetch again;
    assert_true(pm_fetch_next(fetch, &again));
    assert_int_equal(again.offset, second.offset);
    assert_int_equal(answer(f, fetch, &again, &done), PM_OK);
    /* The answer to the request before the restart comes after all. */
    assert_int_equal(answer(f, fetch, &second, &done), PM_OK);
    assert_int_equal(serve(f, fetch), PM_OK);
    assert_int_equal(pm_fetch_commit(fetch), PM_OK);
    pm_fetch_free(&fetch);
}

static void changed_blob_is_refused(void **state) {
    fixture *f = *state;
    pm_fetch *fetch = NULL;
    assert_int_equal(pm_fetch_new(f->folder, &f->hash, SIZE, &fetch), PM_OK);
    f->blob[SIZE - 1] ^= 1;
    assert_int_equal(serve(f, fetch), PM_E_MISMATCH);
    pm_fetch_free(&fetch);
    assert_int_not_equal(access(f->path, F_OK), 0);
}

static void truncated_blob_is_refused(void **state) {
    fixture *f = *state;
    pm_fetch *fetch = NULL;
    Pm__Wire__Fetch request;
    bool done = false;
    assert_int_equal(pm_fetch_new(f->folder, &f->hash, SIZE, &fetch), PM_OK);
    assert_true(pm_fetch_next(fetch, &request));
    request.size_bytes--;
    assert_int_equal(answer(f, fetch, &request, &done), PM_E_PROTOCOL);
    assert_int_equal(pm_fetch_commit(fetch), PM_E_INTERNAL);
    pm_fetch_free(&fetch);
    assert_int_not_equal(access(f->path, F_OK), 0);
}

static void chunks_not_asked_for_are_refused(void **state) {
    fixture *f = *state;
    pm_fetch *fetch = NULL;
    Pm__Wire__Fetch request;
    bool done = false;
    pm_bytes bytes = {f->blob, PM_CHUNK_BYTES};
    Pm__Wire__Chunk ahead = chunk_of(f, PM_CHUNK_BYTES), bare = chunk_of(f, 0),
                    missing = chunk_of(f, 0), foreign = chunk_of(f, 0);
    uint8_t other[PM_SHA256_BYTES] = {0};
    missing.missing = (char *)"no such file";
    foreign.sha256.data = other;
    assert_int_equal(pm_fetch_new(f->folder, &f->hash, SIZE, &fetch), PM_OK);
    assert_int_equal(pm_fetch_take(fetch, &bare, &bytes, &done), PM_E_PROTOCOL);
    assert_true(pm_fetch_next(fetch, &request));
    assert_int_equal(pm_fetch_take(fetch, &ahead, &bytes, &done), PM_E_PROTOCOL);
    assert_int_equal(pm_fetch_take(fetch, &bare, NULL, &done), PM_E_PROTOCOL);
    assert_int_equal(pm_fetch_take(fetch, &foreign, &bytes, &done), PM_E_PROTOCOL);
    assert_int_equal(pm_fetch_take(fetch, &missing, NULL, &done), PM_E_NOT_FOUND);
    pm_fetch_free(&fetch);
}

/* The first answer was dropped on the way: the second waits to be asked for again. */
static void a_chunk_behind_a_lost_one_is_no_failure(void **state) {
    fixture *f = *state;
    pm_fetch *fetch = NULL;
    Pm__Wire__Fetch request;
    bool done = true;
    pm_bytes bytes = {f->blob, PM_CHUNK_BYTES};
    Pm__Wire__Chunk second = chunk_of(f, PM_CHUNK_BYTES);
    assert_int_equal(pm_fetch_new(f->folder, &f->hash, SIZE, &fetch), PM_OK);
    assert_true(pm_fetch_next(fetch, &request));
    assert_true(pm_fetch_next(fetch, &request));
    assert_int_equal(pm_fetch_take(fetch, &second, &bytes, &done), PM_OK);
    assert_false(done);
    pm_fetch_free(&fetch);
}

static void sizes_out_of_bounds_are_refused(void **state) {
    fixture *f = *state;
    pm_fetch *fetch = NULL;
    assert_int_equal(pm_fetch_new(NULL, &f->hash, 0, &fetch), PM_E_FORMAT);
    assert_int_equal(pm_fetch_new(NULL, &f->hash, PM_IMAGE_BYTES_MAX + 1, &fetch), PM_E_LIMIT);
    assert_int_equal(pm_fetch_new(f->folder, &f->hash, UINT64_MAX, &fetch), PM_E_LIMIT);
    assert_null(fetch);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(blob_arrives_under_its_hash, set_up, tear_down),
        cmocka_unit_test_setup_teardown(blob_arrives_in_memory, set_up, tear_down),
        cmocka_unit_test_setup_teardown(window_bounds_what_is_unanswered, set_up, tear_down),
        cmocka_unit_test_setup_teardown(restart_asks_again_for_what_was_lost, set_up, tear_down),
        cmocka_unit_test_setup_teardown(changed_blob_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(truncated_blob_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(chunks_not_asked_for_are_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_chunk_behind_a_lost_one_is_no_failure, set_up, tear_down),
        cmocka_unit_test_setup_teardown(sizes_out_of_bounds_are_refused, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
