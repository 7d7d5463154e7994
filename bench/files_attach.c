/* SPDX-License-Identifier: MIT */
/*
 * How long hf_pool_open() takes in a pool with a million files of 4 KiB: when nobody has the pool
 * open, and when another process has. Both are processes of their own, since a process that had
 * the pool open before has seen its metadata. The time in which another program had the CPU does
 * not count.
 */
#include "files.h"

#include <errno.h>
#include <fcntl.h>
#include <holdfast/serve.h>
#include <sys/wait.h>
#include <unistd.h>

#define ATTACH_FILES (bench.quick ? 1000u : 1000000u)
#define ATTACH_FOLDERS 1000u
#define ATTACH_BYTES ((ATTACH_FILES * LAB_PAGE + 256 * LAB_MIB) / HF_HUGE_BYTES * HF_HUGE_BYTES)
#define METADATA_BYTES UINT64_C(600) /* of a file, at the most */

static struct attach_seen {
    uint64_t there, over; /* the first process has it open; it may close it */
    double first_ms, first_cpu_ms, second_ms;
} * seen;

static int64_t attach_must(int64_t rc, const char *what)
{
    return bench_must(&bench_real, rc, what);
}

static const char *attach_path(void)
{
    return bench_text("%s/files-million", bench.folder);
}

static void attach_must_end(pid_t process)
{
    int status;

    bench_must_host(waitpid(process, &status, 0), "waitpid");
    if (status)
        lab_fail("a process of the benchmark %s", lab_how_it_ended(status));
}

/* ------------------------------------------------------------------------- filling ------- */

static void make_small_file(struct hf_pool *pool, uint64_t folder, unsigned number)
{
    static const char bytes[FILES_BYTES] = "a small file";
    struct hf_file *file;
    char name[24];

    snprintf(name, sizeof name, "%07u", number);
    attach_must(hf_openat(pool, folder, name, O_WRONLY | O_CREAT | O_EXCL, 0600, &file), name);
    attach_must(hf_write(file, bytes, sizeof bytes, 0), name);
    attach_must(hf_close(file), name);
}

static int fill_attached(void *arg)
{
    struct hf_pool *pool;
    struct stat st;

    (void)arg;
    attach_must(hf_pool_open(attach_path(), 0, &pool), "opening a pool");
    for (unsigned i = 0; i < ATTACH_FILES; i++) {
        if (i % ATTACH_FOLDERS == 0) {
            char name[24];

            snprintf(name, sizeof name, "%u", i / ATTACH_FOLDERS);
            attach_must(hf_mkdir(pool, name, 0700), name);
            attach_must(hf_stat(pool, name, 0, &st), name);
        }
        make_small_file(pool, st.st_ino, i);
    }
    attach_must(hf_pool_close(pool), "closing a pool");
    return 0;
}

/* ----------------------------------------------------------------------- attaching ------- */

static int attach_first(void *arg)
{
    uint64_t start = lab_now_ns() - bench_passed_over_ns(), start_cpu = bench_own_cpu_ns();
    struct hf_pool *pool;

    (void)arg;
    attach_must(hf_pool_open(attach_path(), 0, &pool), "opening a pool");
    seen->first_ms = (double)(lab_now_ns() - bench_passed_over_ns() - start) / 1e6;
    seen->first_cpu_ms = (double)(bench_own_cpu_ns() - start_cpu) / 1e6;
    lab_put(&seen->there, 1);
    while (!lab_peek(&seen->over))
        usleep(1000);
    attach_must(hf_pool_close(pool), "closing a pool");
    return 0;
}

static int attach_second(void *arg)
{
    uint64_t start = lab_now_ns() - bench_passed_over_ns();
    struct hf_pool *pool;

    (void)arg;
    attach_must(hf_pool_open(attach_path(), 0, &pool), "opening a pool");
    seen->second_ms = (double)(lab_now_ns() - bench_passed_over_ns() - start) / 1e6;
    attach_must(hf_pool_close(pool), "closing a pool");
    return 0;
}

static double measure_first(void *state)
{
    pid_t first;

    (void)state;
    lab_put(&seen->there, 0);
    lab_put(&seen->over, 0);
    first = lab_fork(attach_first, NULL);
    while (!lab_peek(&seen->there)) {
        if (waitpid(first, NULL, WNOHANG) != 0)
            lab_fail("a process of the benchmark has ended");
        usleep(1000);
    }
    attach_must_end(lab_fork(attach_second, NULL));
    lab_put(&seen->over, 1);
    attach_must_end(first);
    return seen->first_ms;
}

static double give_seen(void *state)
{
    return *(double *)state;
}

static void add_attach(struct bench_group *group, const char *key, const char *subject,
                       double (*measure)(void *state), void *state)
{
    bench_add(group, (struct bench_row){.key = key,
                                        .situation = bench.quick ? "a pool with 1,000 files"
                                                                 : "a pool with 1,000,000 files",
                                        .subject = subject,
                                        .measure = measure,
                                        .state = state,
                                        .unit = "ms"});
}

void files_attach_begin(struct bench_group *group)
{
    const struct hf_pool_options options = {.size = sizeof options, .pool_bytes = ATTACH_BYTES};

    if (lab_room(bench.folder) < ATTACH_BYTES + ATTACH_FILES * METADATA_BYTES) {
        bench_note("files: a million files are left out, since %s has no room for them",
                   bench.folder);
        return;
    }
    seen = lab_shared(sizeof *seen);
    attach_must(hf_pool_create(attach_path(), &options), "making a pool");
    attach_must_end(lab_fork(fill_attached, NULL));
    add_attach(group, "files.attach.first", "hf_pool_open by the first process", measure_first,
               NULL);
    add_attach(group, "files.attach.first-cpu", "... CPU time", give_seen, &seen->first_cpu_ms);
    add_attach(group, "files.attach.second", "hf_pool_open by a second process", give_seen,
               &seen->second_ms);
}
