/* Owns the same work on two queues that people use: beanstalkd with a binlog that is synced at
 * every write (-b, -f0), and gearmand with its jobs in SQLite. Both do what a queue must: put,
 * reserve, delete, durably. */
#include <arpa/inet.h>
#include <libgearman/gearman.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bench/queue.h"

enum { BEANSTALKD_PORT = 21300, GEARMAND_PORT = 21301, THREADS_MAX = 64, JOB_BYTES = 100 };

typedef struct share {
    size_t jobs;
    bool put;
} share;

static void in_parallel(void *(*step)(void *), size_t jobs, size_t connections, bool put) {
    pthread_t threads[THREADS_MAX];
    share shares[THREADS_MAX];
    if (connections > THREADS_MAX) connections = THREADS_MAX;
    for (size_t i = 0; i < connections; i++) {
        shares[i] = (share){jobs / connections + (i < jobs % connections), put};
        if (pthread_create(&threads[i], NULL, step, &shares[i])) die("no thread");
    }
    for (size_t i = 0; i < connections; i++) pthread_join(threads[i], NULL);
}

static int dial(int port) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const double until = seconds() + 10;
    const int one = 1;
    for (;;) {
        int fd = socket(AF_INET, SOCK_STREAM, 0);
        if (fd < 0) die("no socket");
        if (connect(fd, (struct sockaddr *)&to, sizeof to) == 0) {
            setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
            return fd;
        }
        close(fd);
        if (seconds() > until) die("nobody answers at port %d", port);
        usleep(10000);
    }
}

static double timed(void *(*step)(void *), size_t jobs, size_t connections, bool put) {
    const double begin = seconds();
    in_parallel(step, jobs, connections, put);
    return seconds() - begin;
}

/* ---- beanstalkd: a text protocol ---- */

static void ask(FILE *to, FILE *from, const char *want, char *line, size_t size) {
    if (fflush(to) || !fgets(line, (int)size, from) || strncmp(line, want, strlen(want)) != 0)
        die("beanstalkd: wanted %s", want);
}

static void *beanstalkd_step(void *user) {
    const share *s = user;
    char line[256], body[JOB_BYTES + 2];
    int fd = dial(BEANSTALKD_PORT);
    FILE *to = fdopen(fd, "w"), *from = fdopen(dup(fd), "r");
    if (!to || !from) die("no stream");
    memset(body, 'x', sizeof body);
    for (size_t i = 0; i < s->jobs; i++) {
        if (s->put) {
            fprintf(to, "put 0 0 60 %d\r\n%.*s\r\n", JOB_BYTES, JOB_BYTES, body);
            ask(to, from, "INSERTED", line, sizeof line);
            continue;
        }
        unsigned long long id = 0;
        fputs("reserve\r\n", to);
        ask(to, from, "RESERVED", line, sizeof line);
        if (sscanf(line, "RESERVED %llu", &id) != 1 ||
            fread(body, 1, sizeof body, from) != sizeof body)
            die("beanstalkd: a cut answer");
        fprintf(to, "delete %llu\r\n", id);
        ask(to, from, "DELETED", line, sizeof line);
    }
    fclose(to);
    fclose(from);
    return NULL;
}

void beanstalkd_run(const char *where, size_t jobs, size_t connections, other_figures *out) {
    char folder[512], port[16], log[600];
    snprintf(folder, sizeof folder, "%s/pm_beanstalkd_XXXXXX", where);
    if (!mkdtemp(folder)) die("%s: no folder", where);
    snprintf(log, sizeof log, "%s/log", folder);
    snprintf(port, sizeof port, "%d", BEANSTALKD_PORT);
    char *argv[] = {"beanstalkd", "-l", "127.0.0.1", "-p", port, "-b", folder, "-f0", NULL};
    pid_t pid = process_start(argv, log);
    close(dial(BEANSTALKD_PORT));
    out->put_s = timed(beanstalkd_step, jobs, connections, true);
    out->done_s = timed(beanstalkd_step, jobs, connections, false);
    process_end(pid, SIGTERM);
    char command[640];
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    if (system(command) != 0) die("cannot remove %s", folder);
}

/* ---- gearmand ---- */

static void gearman_put(size_t jobs) {
    gearman_client_st *client = gearman_client_create(NULL);
    char body[JOB_BYTES], handle[GEARMAN_JOB_HANDLE_SIZE];
    memset(body, 'x', sizeof body);
    if (!client || gearman_client_add_server(client, "127.0.0.1", GEARMAND_PORT))
        die("gearman: no client");
    for (size_t i = 0; i < jobs; i++)
        if (gearman_client_do_background(client, "job", NULL, body, sizeof body, handle))
            die("gearman, job %zu: %s", i, gearman_client_error(client));
    gearman_client_free(client);
}

static void gearman_done(size_t jobs) {
    gearman_worker_st *worker = gearman_worker_create(NULL);
    gearman_return_t status;
    if (!worker || gearman_worker_add_server(worker, "127.0.0.1", GEARMAND_PORT) ||
        gearman_worker_register(worker, "job", 0))
        die("gearman: no worker");
    gearman_worker_set_timeout(worker, 120000);
    for (size_t i = 0; i < jobs; i++) {
        gearman_job_st *job = gearman_worker_grab_job(worker, NULL, &status);
        if (!job || status || gearman_job_send_complete(job, NULL, 0))
            die("gearman, job %zu: %s", i, gearman_worker_error(worker));
        gearman_job_free(job);
    }
    gearman_worker_free(worker);
}

static void *gearmand_step(void *user) {
    const share *s = user;
    if (s->put)
        gearman_put(s->jobs);
    else
        gearman_done(s->jobs);
    return NULL;
}

void gearmand_run(const char *where, size_t jobs, size_t connections, other_figures *out) {
    char folder[512], port[32], db[640], log[600];
    snprintf(folder, sizeof folder, "%s/pm_gearmand_XXXXXX", where);
    if (!mkdtemp(folder)) die("%s: no folder", where);
    snprintf(log, sizeof log, "%s/log", folder);
    snprintf(db, sizeof db, "--libsqlite3-db=%s/q.db", folder);
    snprintf(port, sizeof port, "--port=%d", GEARMAND_PORT);
    char *argv[] = {"gearmand", "--listen=127.0.0.1", port, "--queue-type=libsqlite3",
                    db,         "--log-file=stderr",  NULL};
    pid_t pid = process_start(argv, log);
    close(dial(GEARMAND_PORT));
    out->put_s = timed(gearmand_step, jobs, connections, true);
    out->done_s = timed(gearmand_step, jobs, connections, false);
    process_end(pid, SIGTERM);
    char command[640];
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    if (system(command) != 0) die("cannot remove %s", folder);
}
