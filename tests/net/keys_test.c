/* Key files and the allow-list: what is written is read back, and what is wrong is one clear line.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/net/keyed.h"

typedef struct fixture {
    char folder[64], path[96], key[104], pub[104];
    pm_credentials pair;
} fixture;

static int set_up(void **state) {
    fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    strcpy(f->folder, "/tmp/parchmill-keys-XXXXXX");
    assert_non_null(mkdtemp(f->folder));
    snprintf(f->path, sizeof f->path, "%s/mine", f->folder);
    snprintf(f->key, sizeof f->key, "%s.key", f->path);
    snprintf(f->pub, sizeof f->pub, "%s.pub", f->path);
    assert_int_equal(pm_keys_new(&f->pair), PM_OK);
    assert_int_equal(pm_keys_write(f->path, "ann@here", &f->pair, false), PM_OK);
    *state = f;
    return 0;
}

static int tear_down(void **state) {
    fixture *f = *state;
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", f->folder);
    assert_int_equal(system(command), 0);
    free(f);
    return 0;
}

static mode_t mode_of(const char *path) {
    struct stat info;
    assert_int_equal(stat(path, &info), 0);
    return info.st_mode & 07777;
}

static void pair_is_read_back(void **state) {
    fixture *f = *state;
    pm_credentials read = {.insecure = false};
    char public_key[PM_KEY_BYTES];
    assert_int_equal(mode_of(f->key), 0600);
    assert_int_equal(pm_keys_read_secret(f->key, &read), PM_OK);
    assert_string_equal(read.secret_key, f->pair.secret_key);
    assert_string_equal(read.public_key, f->pair.public_key);
    assert_int_equal(pm_keys_read_public(f->pub, public_key), PM_OK);
    assert_string_equal(public_key, f->pair.public_key);
    assert_int_equal(pm_keys_read_public(f->pair.public_key, public_key), PM_OK);
    assert_string_equal(public_key, f->pair.public_key);
}

static void secret_is_not_in_the_public_file(void **state) {
    fixture *f = *state;
    char text[1024];
    FILE *file = fopen(f->pub, "r");
    assert_non_null(file);
    text[fread(text, 1, sizeof text - 1, file)] = '\0';
    fclose(file);
    assert_non_null(strstr(text, f->pair.public_key));
    assert_null(strstr(text, f->pair.secret_key));
    pm_credentials none;
    assert_int_equal(pm_keys_read_secret(f->pub, &none), PM_E_FORMAT);
    assert_non_null(strstr(pm_error_text(), ".key"));
    char public_key[PM_KEY_BYTES]; /* the broker's secret, carried to a worker */
    assert_int_equal(pm_keys_read_public(f->key, public_key), PM_E_USAGE);
    assert_non_null(strstr(pm_error_text(), ".pub"));
}

static void files_are_replaced_only_by_force(void **state) {
    fixture *f = *state;
    pm_credentials other, read = {.insecure = false};
    assert_int_equal(pm_keys_new(&other), PM_OK);
    assert_int_equal(pm_keys_write(f->path, "x", &other, false), PM_E_USAGE);
    assert_non_null(strstr(pm_error_text(), "--force"));
    assert_int_equal(unlink(f->pub), 0);
    assert_int_equal(pm_keys_write(f->path, "x", &other, false), PM_E_USAGE);
    assert_int_equal(access(f->pub, F_OK), -1);
    assert_int_equal(pm_keys_read_secret(f->key, &read), PM_OK);
    assert_string_equal(read.secret_key, f->pair.secret_key);
    /* The other way round nothing new is left behind either. */
    assert_int_equal(rename(f->key, f->pub), 0);
    assert_int_equal(pm_keys_write(f->path, "x", &other, false), PM_E_USAGE);
    assert_int_equal(access(f->key, F_OK), -1);
    assert_int_equal(pm_keys_write(f->path, "x", &other, true), PM_OK);
    assert_int_equal(pm_keys_read_secret(f->key, &read), PM_OK);
    assert_string_equal(read.secret_key, other.secret_key);
    assert_int_equal(mode_of(f->key), 0600);
}

/* A folder in the place of one of the two cannot be replaced. */
static void pair_is_replaced_whole_or_not_at_all(void **state) {
    fixture *f = *state;
    pm_credentials other, read = {.insecure = false};
    char public_key[PM_KEY_BYTES], aside[sizeof f->key + 8];
    snprintf(aside, sizeof aside, "%s.aside", f->key);
    assert_int_equal(pm_keys_new(&other), PM_OK);
    assert_int_equal(rename(f->pub, aside), 0);
    assert_int_equal(mkdir(f->pub, 0700), 0);
    assert_int_not_equal(pm_keys_write(f->path, "x", &other, true), PM_OK);
    assert_int_equal(pm_keys_read_secret(f->key, &read), PM_OK);
    assert_string_equal(read.secret_key, f->pair.secret_key);
    assert_int_equal(rmdir(f->pub), 0);
    assert_int_equal(rename(aside, f->pub), 0);

    assert_int_equal(rename(f->key, aside), 0);
    assert_int_equal(mkdir(f->key, 0700), 0);
    assert_int_not_equal(pm_keys_write(f->path, "x", &other, true), PM_OK);
    assert_non_null(strstr(pm_error_text(), ".key"));
    assert_int_equal(pm_keys_read_public(f->pub, public_key), PM_OK);
    assert_string_equal(public_key, f->pair.public_key);
    assert_int_equal(unlink(f->pub), 0);
    assert_int_not_equal(pm_keys_write(f->path, "x", &other, true), PM_OK);
    assert_int_equal(access(f->pub, F_OK), -1);
    assert_int_equal(rmdir(f->key), 0);
    assert_int_equal(rename(aside, f->key), 0);
}

static void secret_that_others_may_touch_is_refused(void **state) {
    fixture *f = *state;
    static const mode_t bad[] = {0640, 0604, 0620, 0602, 0610, 0644, 0666, 0777};
    pm_credentials read = {.insecure = false};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(chmod(f->key, bad[i]), 0);
        assert_int_equal(pm_keys_read_secret(f->key, &read), PM_E_DENIED);
        assert_non_null(strstr(pm_error_text(), "chmod 600"));
        assert_non_null(strstr(pm_error_text(), f->key));
    }
    assert_int_equal(read.secret_key[0], 0);
    assert_int_equal(chmod(f->key, 0400), 0);
    assert_int_equal(pm_keys_read_secret(f->key, &read), PM_OK);
    if (geteuid() != 0) skip(); /* only root can give a file away */
    assert_int_equal(chmod(f->key, 0600), 0);
    assert_int_equal(chown(f->key, 12345, (gid_t)-1), 0);
    assert_int_equal(pm_keys_read_secret(f->key, &read), PM_E_DENIED);
    assert_non_null(strstr(pm_error_text(), "uid 12345"));
}

static void credential_of_the_service_manager_is_taken(void **state) {
    fixture *f = *state;
    pm_credentials read = {.insecure = false};
    if (geteuid() != 0) skip(); /* it must be root's */
    setenv("CREDENTIALS_DIRECTORY", f->folder, 1);
    assert_int_equal(chmod(f->key, 0440), 0);
    assert_int_equal(pm_keys_read_secret(f->key, &read), PM_OK);
    static const mode_t bad[] = {0444, 0460, 0640 | 0004};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(chmod(f->key, bad[i]), 0);
        assert_int_equal(pm_keys_read_secret(f->key, &read), PM_E_DENIED);
    }
    assert_int_equal(chmod(f->key, 0440), 0);
    setenv("CREDENTIALS_DIRECTORY", "/tmp/parchmill-key", 1); /* a prefix, and no folder of it */
    assert_int_equal(pm_keys_read_secret(f->key, &read), PM_E_DENIED);
    unsetenv("CREDENTIALS_DIRECTORY");
    assert_int_equal(pm_keys_read_secret(f->key, &read), PM_E_DENIED);
}

static void put_secret(const fixture *f, const char *text) {
    put_file(f->key, text);
    assert_int_equal(chmod(f->key, 0600), 0);
}

static void malformed_key_files_are_refused_and_not_shown(void **state) {
    fixture *f = *state;
    pm_credentials other, read;
    char text[512];
    assert_int_equal(pm_keys_new(&other), PM_OK);
    static const char *const bad[] = {"",
                                      "\n",
                                      "parchmill secret key 1\n",
                                      "parchmill secret key 2\npublic %p\nsecret %s\n",
                                      "parchmill secret key 1\npublic %p\n",
                                      "parchmill secret key 1\nsecret %s\n",
                                      "parchmill secret key 1\npublic %p\nsecret %s \n",
                                      "parchmill secret key 1\npublic %p\nsecret %s\nsecret %s\n",
                                      "parchmill secret key 1\npublic %p\nsecret %o\n",
                                      "parchmill secret key 1\npublic %p\nsecret short\n",
                                      "parchmill secret key 1\npublic %p\n%s\nsecret %s\n",
                                      "public %p\nsecret %s\n"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char *to = text;
        for (const char *from = bad[i]; *from; from++) {
            const char *put = from[0] != '%'   ? NULL
                              : from[1] == 'p' ? f->pair.public_key
                              : from[1] == 's' ? f->pair.secret_key
                                               : other.secret_key;
            if (!put) {
                *to++ = *from;
                continue;
            }
            to = stpcpy(to, put);
            from++;
        }
        *to = '\0';
        put_secret(f, text);
        assert_int_equal(pm_keys_read_secret(f->key, &read), PM_E_FORMAT);
        assert_non_null(strstr(pm_error_text(), f->key));
        assert_null(strstr(pm_error_text(), f->pair.secret_key));
    }
    memset(text, '#', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    FILE *file = fopen(f->key, "w");
    assert_non_null(file);
    for (int i = 0; i < 20; i++) fputs(text, file);
    fclose(file);
    assert_int_equal(pm_keys_read_secret(f->key, &read), PM_E_LIMIT);
    assert_int_equal(pm_keys_read_secret(f->folder, &read), PM_E_FORMAT);
    assert_int_equal(pm_keys_read_secret("/nowhere/at.key", &read), PM_E_NOT_FOUND);
}

/* ---- which keys a program takes ---- */

static void peers_keys_come_from_option_environment_or_folder(void **state) {
    fixture *f = *state;
    static const char url[] = "tcp://host:5555";
    char folder[128];
    pm_credentials c, broker, deflt;
    snprintf(folder, sizeof folder, "%s/parchmill", f->folder);
    setenv("XDG_CONFIG_HOME", f->folder, 1);
    unsetenv("PARCHMILL_KEY");
    unsetenv("PARCHMILL_BROKER_KEY");
    assert_int_equal(pm_credentials_for_peer(url, "worker", NULL, NULL, false, &c), PM_E_NOT_FOUND);
    assert_non_null(strstr(pm_error_text(), "parchmill keygen"));
    assert_int_equal(pm_keys_new(&broker), PM_OK);
    assert_int_equal(pm_keys_new(&deflt), PM_OK);
    assert_int_equal(mkdir(folder, 0700), 0);
    snprintf(folder, sizeof folder, "%s/parchmill/worker", f->folder);
    assert_int_equal(pm_keys_write(folder, "w", &deflt, false), PM_OK);
    assert_int_equal(pm_credentials_for_peer(url, "worker", NULL, NULL, false, &c), PM_E_NOT_FOUND);
    assert_non_null(strstr(pm_error_text(), "broker.pub"));
    snprintf(folder, sizeof folder, "%s/parchmill/broker", f->folder);
    assert_int_equal(pm_keys_write(folder, "b", &broker, false), PM_OK);
    assert_int_equal(pm_credentials_for_peer(url, "worker", NULL, NULL, false, &c), PM_OK);
    assert_string_equal(c.secret_key, deflt.secret_key);
    assert_string_equal(c.broker_key, broker.public_key);
    setenv("PARCHMILL_KEY", f->key, 1);
    setenv("PARCHMILL_BROKER_KEY", deflt.public_key, 1);
    assert_int_equal(pm_credentials_for_peer(url, "worker", NULL, NULL, false, &c), PM_OK);
    assert_string_equal(c.secret_key, f->pair.secret_key);
    assert_string_equal(c.broker_key, deflt.public_key);
    setenv("PARCHMILL_KEY", "/nowhere", 1);
    assert_int_equal(pm_credentials_for_peer(url, "worker", f->key, f->pub, false, &c), PM_OK);
    assert_string_equal(c.broker_key, f->pair.public_key);
    /* Where none is needed none is read. */
    assert_int_equal(pm_credentials_for_peer("ipc:///x", "worker", NULL, NULL, false, &c), PM_OK);
    assert_int_equal(pm_credentials_for_peer(url, "worker", NULL, NULL, true, &c), PM_OK);
    assert_true(c.insecure && !c.secret_key[0]);
    assert_int_equal(pm_credentials_for_peer(url, "worker", f->key, NULL, true, &c), PM_E_USAGE);
    assert_int_equal(pm_credentials_for_peer("ipc:///x", "worker", f->key, NULL, false, &c),
                     PM_E_USAGE);
    assert_int_equal(pm_credentials_for_broker(f->key, true, &c), PM_E_USAGE);
    assert_int_equal(pm_credentials_for_broker(f->key, false, &c), PM_OK);
    assert_string_equal(c.broker_key, "");
    pm_credentials_wipe(&c);
    assert_memory_equal(&c, &(pm_credentials){0}, sizeof c);
    unsetenv("PARCHMILL_KEY");
    unsetenv("PARCHMILL_BROKER_KEY");
}

/* ---- the list ---- */

static const char *const a_key = "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7";
static const char *const b_key = "Yne@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hID";

/* A and B in the text, each alone between blanks, stand for the keys. */
static pm_status parse(const char *text, pm_allow **out) {
    char full[1024], *to = full;
    for (const char *from = text; *from; from++) {
        bool alone = from > text && strchr(" \t", from[-1]) && from[1] && strchr(" \t\n", from[1]);
        if (alone && (*from == 'A' || *from == 'B'))
            to = stpcpy(to, *from == 'A' ? a_key : b_key);
        else
            *to++ = *from;
    }
    *to = '\0';
    return pm_allow_parse("list", full, out);
}

static void list_is_found_by_key_and_identity(void **state) {
    (void)state;
    pm_allow *allow = NULL;
    assert_int_equal(parse("# a list\n\n  worker A gpu7  \r\n\tadmin\tB ann@here\n# end", &allow),
                     PM_OK);
    assert_int_equal(pm_allow_count(allow), 2);
    const pm_allowed *found = pm_allow_find(allow, a_key);
    assert_non_null(found);
    assert_int_equal(found->role, PM_ROLE_WORKER);
    assert_string_equal(found->name, "gpu7");
    assert_ptr_equal(pm_allow_find_identity(allow, pm_key_identity(a_key)), found);
    assert_int_equal(pm_allow_find(allow, b_key)->role, PM_ROLE_ADMIN);
    assert_null(pm_allow_find(allow, "0000000000000000000000000000000000000000"));
    assert_null(pm_allow_find(allow, ""));
    pm_allow_free(&allow);
    assert_int_equal(parse("", &allow), PM_OK); /* nobody */
    assert_int_equal(pm_allow_count(allow), 0);
    assert_null(pm_allow_find(allow, a_key));
    pm_allow_free(&allow);
}

static void wrong_lists_are_refused_whole_with_their_line(void **state) {
    (void)state;
    static const struct {
        const char *text, *word;
    } bad[] = {{"worker A gpu7\nking B x\n", "list:2: role 'king'"},
               {"broker A x\n", "role 'broker'"},
               {"none A x\n", "role 'none'"},
               {"worker A\n", "list:1: expected"},
               {"worker A gpu7 more\n", "three words"},
               {"worker gpu7 A\n", "not the 40 characters"},
               {"worker A gpu7\nclient A gpu8\n", "stands twice"},
               {"worker A gpu7\nclient B gpu7\n", "the name 'gpu7'"},
               {"worker A gpu\"7\n", "a name has"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        pm_allow *allow = NULL;
        assert_int_equal(parse(bad[i].text, &allow), PM_E_FORMAT);
        assert_null(allow);
        if (!strstr(pm_error_text(), bad[i].word)) print_error("%s\n", pm_error_text());
        assert_non_null(strstr(pm_error_text(), bad[i].word));
    }
}

static void list_that_others_may_change_is_refused(void **state) {
    fixture *f = *state;
    pm_allow *allow = NULL;
    char path[128], text[256];
    snprintf(path, sizeof path, "%s/allow", f->folder);
    snprintf(text, sizeof text, "worker %s gpu7\n", a_key);
    put_file(path, text);
    assert_int_equal(pm_allow_read(path, &allow, NULL), PM_OK); /* others may read it */
    pm_allow_free(&allow);
    static const mode_t bad[] = {0664, 0646, 0666};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(chmod(path, bad[i]), 0);
        assert_int_equal(pm_allow_read(path, &allow, NULL), PM_E_DENIED);
        assert_non_null(strstr(pm_error_text(), "chmod go-w"));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(pair_is_read_back, set_up, tear_down),
        cmocka_unit_test_setup_teardown(secret_is_not_in_the_public_file, set_up, tear_down),
        cmocka_unit_test_setup_teardown(files_are_replaced_only_by_force, set_up, tear_down),
        cmocka_unit_test_setup_teardown(pair_is_replaced_whole_or_not_at_all, set_up, tear_down),
        cmocka_unit_test_setup_teardown(secret_that_others_may_touch_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(credential_of_the_service_manager_is_taken, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(malformed_key_files_are_refused_and_not_shown, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(peers_keys_come_from_option_environment_or_folder, set_up,
                                        tear_down),
        cmocka_unit_test(list_is_found_by_key_and_identity),
        cmocka_unit_test(wrong_lists_are_refused_whole_with_their_line),
        cmocka_unit_test_setup_teardown(list_that_others_may_change_is_refused, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
