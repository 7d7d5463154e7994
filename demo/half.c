/* SPDX-License-Identifier: MIT */
/*
 * One half of the demonstration: a pool, the workers, and a look at every byte of every file at the
 * end. The tree just fits in the pool, so that a freed block is the next one to be taken. The
 * caller's process stays attached all the time, so the pool's statistics are of the whole half.
 */
#include "demo.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define SPARE_PAGES UINT64_C(2048)
#define LINE_NS (LAB_SEC / 10)
#define MORE_PATIENCE 20         /* times the seconds, for the bug to show */
#define STUCK_NS (120 * LAB_SEC) /* after the end was told; a right worker needs a moment */

const char *const demo_kind_names[DEMO_KINDS] = {"truncate", "punch", "move", "delete", "reload"};

/* ------------------------------------------------------------------------- the pool ------ */

static void make_pool(struct demo_half *half)
{
    uint64_t pages = half->tree->pages + half->tree->pages / 64 + SPARE_PAGES;
    struct hf_pool_options options = {.size = sizeof options, .engine = half->engine};

    options.pool_bytes = (pages * LAB_PAGE + HF_HUGE_BYTES - 1) / HF_HUGE_BYTES * HF_HUGE_BYTES;
    half->pool_bytes = options.pool_bytes;
    demo_must(hf_pool_create(half->pool_path, &options), "making the pool", half->pool_path);
}

static struct hf_pool *open_half_pool(const struct demo_half *half)
{
    struct hf_pool *pool;

    demo_must(hf_pool_open(half->pool_path, 0, &pool), "opening the pool", half->pool_path);
    return pool;
}

/* The folders above `path`, except those it has in common with the path before. */
static void make_folders(struct hf_pool *pool, const char *path, const char *before)
{
    for (const char *slash = strchr(path, '/'); slash; slash = strchr(slash + 1, '/')) {
        size_t len = (size_t)(slash - path);
        char *folder;
        int rc;

        if (strncmp(path, before, len + 1) == 0)
            continue;
        folder = strndup(path, len);
        rc = hf_mkdir(pool, folder, 0755);
        if (rc != -EEXIST)
            demo_must(rc, "making the folder", folder);
        free(folder);
    }
}

static void load_file(struct hf_pool *pool, const struct demo_tree *tree,
                      const struct demo_file *original)
{
    const char *bytes = demo_original(tree, original->first_page);
    struct hf_file *file;
    uint64_t done = 0;

    demo_must(hf_open(pool, original->path, O_WRONLY | O_CREAT | O_EXCL, 0644, &file), "making",
              original->path);
    while (done < original->bytes)
        done += (uint64_t)demo_must(hf_write(file, bytes + done, original->bytes - done, done),
                                    "writing", original->path);
    demo_must(hf_close(file), "closing", original->path);
}

static void load_tree(struct demo_half *half, struct hf_pool *pool)
{
    const struct demo_tree *tree = half->tree;

    for (uint64_t i = 0; i < tree->file_count; i++) {
        make_folders(pool, tree->files[i].path, i ? tree->files[i - 1].path : "");
        load_file(pool, tree, &tree->files[i]);
        half->states[i] = (struct demo_state){tree->files[i].bytes, 0};
        if (i % 64 == 0)
            demo_progress("loading: %" PRIu64 " of %" PRIu64 " files", i, tree->file_count);
    }
    demo_progress_wipe();
}

/* ---------------------------------------------------------------------- the workers ------ */

static const char *worker_name(unsigned i)
{
    return i < DEMO_READERS ? "reader" : "writer";
}

static void start_workers(struct demo_half *half, struct demo_worker *workers, pid_t *pids)
{
    for (unsigned i = 0; i < DEMO_WORKERS; i++) {
        bool reads = i < DEMO_READERS;

        workers[i] = (struct demo_worker){half, reads ? i : i - DEMO_READERS};
        pids[i] = lab_fork(reads ? demo_reader : demo_writer, &workers[i]);
    }
}

/* Takes note of workers that have ended; how many still run. */
static unsigned look_after(struct demo_half *half, pid_t *pids)
{
    unsigned running = 0;
    int status;

    for (unsigned i = 0; i < DEMO_WORKERS; i++) {
        if (pids[i] && waitpid(pids[i], &status, WNOHANG) == pids[i]) {
            pids[i] = 0;
            if (status == 0 && lab_peek(&half->stop))
                continue;
            half->dead++;
            demo_progress_wipe();
            lab_say("a %s process %s (engine %s)", worker_name(i), lab_how_it_ended(status),
                    half->engine);
        }
        running += pids[i] != 0;
    }
    return running;
}

static void end_stuck(struct demo_half *half, const pid_t *pids)
{
    for (unsigned i = 0; i < DEMO_WORKERS; i++)
        if (pids[i]) {
            lab_say("a %s process did not come to an end (engine %s); it is killed", worker_name(i),
                    half->engine);
            kill(pids[i], SIGKILL);
        }
}

static void live_line(const struct demo_half *half, struct hf_pool *pool, double seconds)
{
    struct hf_stats stats = {.size = sizeof stats};
    char pins[LAB_TEXT], changes[LAB_TEXT], bytes[LAB_TEXT], waited[LAB_TEXT], reused[LAB_TEXT];

    hf_stats(pool, &stats);
    demo_progress("%s %4.1f s: pins %s, in place %s, layout changes %s, waited %s, "
                  "over a reused block %s",
                  half->engine, seconds, lab_count_text(pins, demo_pins(half)),
                  lab_bytes_text(bytes, (double)demo_in_place(half)),
                  lab_count_text(changes, demo_changes(half)),
                  lab_count_text(waited, stats.drains_waited),
                  lab_count_text(reused, demo_reused(half)));
}

/* On a busy machine it may take longer until the bug shows; not for ever. */
static bool half_is_over(const struct demo_half *half, double past, double seconds)
{
    if (half->dead || past < seconds)
        return half->dead;
    return !half->has_bug || demo_reused(half) || past >= MORE_PATIENCE * seconds;
}

static void run_workers(struct demo_half *half, struct hf_pool *pool, double seconds)
{
    struct demo_worker workers[DEMO_WORKERS];
    pid_t pids[DEMO_WORKERS];
    uint64_t start, told = 0;
    unsigned running = DEMO_WORKERS;

    start_workers(half, workers, pids);
    while (lab_peek(&half->ready) < DEMO_WORKERS && look_after(half, pids) == DEMO_WORKERS)
        usleep(1000);
    start = lab_now_ns();
    while (running) {
        uint64_t now = lab_now_ns();

        if (!told && half_is_over(half, (double)(now - start) / 1e9, seconds)) {
            lab_put(&half->stop, 1);
            half->seconds = (double)(now - start) / 1e9;
            told = now;
        }
        if (told && now - told > STUCK_NS)
            end_stuck(half, pids);
        live_line(half, pool, (double)(now - start) / 1e9);
        usleep(told ? 1000 : LINE_NS / 1000);
        running = look_after(half, pids);
    }
    demo_progress_wipe();
}

/* --------------------------------------------------------------------------- the end ----- */

/* Pages of the file that are not what they should be. */
static uint64_t damaged_pages(const struct demo_half *half, struct hf_file *file,
                              const struct demo_file *original, uint64_t bytes)
{
    char page_bytes[LAB_PAGE];
    uint64_t damaged = 0;

    for (uint64_t page = 0; page * LAB_PAGE < bytes; page++) {
        uint64_t left = bytes - page * LAB_PAGE;
        ssize_t got = hf_read(file, page_bytes, left < LAB_PAGE ? left : LAB_PAGE, page * LAB_PAGE);

        demo_must(got, "reading", original->path);
        damaged += demo_judge(half->tree, original->first_page + page, page_bytes, (uint64_t)got) ==
                   DEMO_FOREIGN;
    }
    return damaged;
}

static void verify_file(struct demo_half *half, struct hf_pool *pool, uint64_t number)
{
    const struct demo_file *original = &half->tree->files[number];
    const struct demo_state *state = &half->states[number];
    struct hf_file *file;
    struct stat info;
    uint64_t damaged;
    int rc = hf_open(pool, original->path, O_RDONLY, 0, &file);

    if (rc == -ENOENT && state->deleted)
        return;
    demo_must(rc, "opening", original->path);
    demo_must(hf_fstat(file, &info), "looking at", original->path);
    half->wrong_sizes += state->deleted || (uint64_t)info.st_size != state->bytes;
    damaged = damaged_pages(half, file, original, (uint64_t)info.st_size);
    half->damaged_pages += damaged;
    half->damaged_files += damaged != 0;
    demo_must(hf_close(file), "closing", original->path);
}

static void verify_all(struct demo_half *half, struct hf_pool *pool)
{
    for (uint64_t i = 0; i < half->tree->file_count; i++) {
        verify_file(half, pool, i);
        if (i % 64 == 0)
            demo_progress("looking at every byte: %" PRIu64 " of %" PRIu64 " files", i,
                          half->tree->file_count);
    }
    demo_progress_wipe();
}

/* A follower has no engine that does not look for pins. */
static void run_beside_follower(struct demo_half *half, struct hf_pool *pool, double seconds)
{
    struct demo_follower follower;

    if (half->has_bug) {
        run_workers(half, pool, seconds);
        return;
    }
    follower = demo_follower_start(half->pool_path);
    run_workers(half, pool, seconds);
    half->dead += !demo_follower_end(&follower, &half->merged);
}

void demo_half_run(struct demo_half *half, double seconds)
{
    struct hf_pool_info info = {.size = sizeof info};
    struct hf_pool *pool;

    half->states = lab_shared(half->tree->file_count * sizeof *half->states);
    half->stats.size = sizeof half->stats;
    make_pool(half);
    pool = open_half_pool(half);
    demo_must(hf_pool_info(pool, &info), "looking at", half->pool_path);
    lab_also_remove(info.uuid);
    load_tree(half, pool);
    run_beside_follower(half, pool, seconds);
    demo_must(hf_stats(pool, &half->stats), "looking at", half->pool_path);
    verify_all(half, pool);
    demo_must(hf_pool_close(pool), "closing", half->pool_path);
}
