/* SPDX-License-Identifier: MIT */
/*
 * steps [--points N]: in each row a process is killed after N instructions of the library, which
 * are chosen by chance (0: after each one). Rows are puts, removals, evictions, copies of small
 * objects, and what takes memory from the pool and gives it back. One is a fetch from the second
 * tier. The object is there as before or as after, whole. All others are there, a put that follows
 * succeeds, and no memory is lost.
 */
#include "objects.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#define KIB(n) ((uint64_t)(n) << 10)
#define OTHERS 40u

struct row {
    const char *name;
    void (*prepare)(struct hfc *cache);
    void (*act)(struct hfc *cache);
    void *entries[3];      /* where the library is entered */
    int64_t before, after; /* what object 1 gives */
    bool evicts;           /* others may have gone */
    bool tier;             /* what leaves goes to a disk */
};

static void nothing(struct hfc *cache)
{
    (void)cache;
}
static void one_large(struct hfc *cache)
{
    object_put(cache, 1, 0, 1, KIB(20));
}
static void one_small(struct hfc *cache)
{
    object_put(cache, 1, 0, 1, 200);
}
static void put_large(struct hfc *cache)
{
    object_try_put(cache, 1, 0, 2, KIB(16));
}
static void put_small(struct hfc *cache)
{
    object_try_put(cache, 1, 0, 2, 300);
}
static void put_in_place(struct hfc *cache)
{
    object_try_put_in_place(cache, 1, 0, 2, KIB(12));
}
static void take_out(struct hfc *cache)
{
    struct object_key key;

    object_key(&key, 1, 0);
    hfc_remove(cache, &key.key);
}
static void fill(struct hfc *cache)
{
    for (uint64_t i = 0; i < 20; i++)
        object_put(cache, 5000 + i, 0, 1, KIB(64));
}
static void empty(struct hfc *cache)
{
    EXPECT_EQ(hfc_evict(cache, UINT64_MAX, NULL), 0);
}
static void one_alone(struct hfc *cache)
{
    empty(cache);
    one_large(cache);
}
static void take_all_out(struct hfc *cache)
{
    hfc_evict(cache, UINT64_MAX, NULL);
}
static int64_t fetch_one(struct hfc *cache)
{
    struct iovec iov[OBJECT_PIECES];
    struct object_key key;
    struct hfc_ref ref;
    int64_t version;
    int pieces;

    object_key(&key, 1, 0);
    pieces = hfc_fetch(cache, &key.key, iov, OBJECT_PIECES, &ref);
    if (pieces < 0)
        return pieces;
    version = (int64_t)object_check(iov, pieces, 1, 5000);
    EXPECT_EQ(hfc_release(&ref), 0);
    return version;
}
/* It has come back once, so that the dynamic linker has found all that a fetch calls. */
static void one_on_disk(struct hfc *cache)
{
    object_put(cache, 1, 0, 1, 5000);
    empty(cache);
    EXPECT_EQ(fetch_one(cache), 1);
    empty(cache);
}
static void bring_back(struct hfc *cache)
{
    fetch_one(cache);
}
/* Page after page with one object that lives; the next put opens a page, and empties these. */
static void sparse(struct hfc *cache)
{
    for (uint64_t i = 0; i < 45; i++)
        object_put(cache, 6000 + i, 1, 1, 800);
    for (uint64_t i = 0; i < 45; i++) {
        struct object_key key;

        object_key(&key, 6000 + i, 1);
        if (i % 5)
            EXPECT_EQ(hfc_remove(cache, &key.key), 0);
    }
    for (uint64_t i = 0; i < 3; i++)
        object_put(cache, 6100 + i, 1, 1, 1000);
}
static void put_medium(struct hfc *cache)
{
    for (int i = 0; i < 2; i++)
        object_try_put(cache, 1, 0, 2, 1900);
}

#define PUT                                                                                        \
    {                                                                                              \
        (void *)hfc_put                                                                            \
    }
#define IN_PLACE                                                                                   \
    {                                                                                              \
        (void *)hfc_put_begin, (void *)hfc_put_commit                                              \
    }
#define EVICT                                                                                      \
    {                                                                                              \
        (void *)hfc_evict                                                                          \
    }
#define FETCH                                                                                      \
    {                                                                                              \
        (void *)hfc_fetch                                                                          \
    }
#define REMOVE                                                                                     \
    {                                                                                              \
        (void *)hfc_remove                                                                         \
    }

static const struct row rows[] = {
    {"put", nothing, put_large, PUT, -ENOENT, 2, false, false},
    {"replace", one_large, put_large, PUT, 1, 2, false, false},
    {"in-place", one_large, put_in_place, IN_PLACE, 1, 2, false, false},
    {"small", nothing, put_small, PUT, -ENOENT, 2, false, false},
    {"replace-small", one_small, put_small, PUT, 1, 2, false, false},
    {"grow", one_small, put_large, PUT, 1, 2, false, false},
    {"remove", one_large, take_out, REMOVE, 1, -ENOENT, false, false},
    {"remove-small", one_small, take_out, REMOVE, 1, -ENOENT, false, false},
    {"evict", fill, put_large, PUT, -ENOENT, 2, true, false},
    {"compact", sparse, put_medium, PUT, -ENOENT, 2, false, false},
    {"first", empty, put_large, PUT, -ENOENT, 2, true, false},
    {"empty", one_alone, take_all_out, EVICT, 1, -ENOENT, true, false},
    {"fetch", one_on_disk, bring_back, FETCH, -ENOENT, 1, true, true},
};

/* Where the library's code lies; it lies there in children too. */
static uint64_t code_begin, code_end;

static void find_code(void)
{
    FILE *maps = fopen("/proc/self/maps", "re");
    uint64_t begin, end, at = (uint64_t)(uintptr_t)hfc_touch;
    char line[512], how[8];

    EXPECT(maps);
    while (fgets(line, sizeof line, maps))
        if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %7s", &begin, &end, how) == 3 &&
            strchr(how, 'x') && strstr(line, "libholdfast-cache")) {
            code_begin = begin;
            code_end = end;
        }
    fclose(maps);
    if (at < code_begin || at >= code_end)
        EXPECT(code_begin < code_end);
}

static void act(void *arg)
{
    const struct row *row = arg;
    struct hf_pool *pool = test_pool_open("steps");
    struct hfc *cache;

    EXPECT_EQ(hfc_open(pool, "/cache", NULL, &cache), 0);
    if (ptrace(PTRACE_TRACEME, 0, NULL, NULL))
        _exit(3);
    raise(SIGSTOP);
    row->act(cache);
    _exit(0);
}

/* Lets the process run to one of these places, which get a breakpoint for as long. */
static int run_to(pid_t pid, uint64_t places[], unsigned count)
{
    struct user_regs_struct registers;
    long words[4];
    int status;

    for (unsigned i = 0; i < count; i++) {
        words[i] = ptrace(PTRACE_PEEKTEXT, pid, places[i], NULL);
        EXPECT_EQ(ptrace(PTRACE_POKETEXT, pid, places[i], (words[i] & ~255L) | 0xcc), 0);
    }
    EXPECT_EQ(ptrace(PTRACE_CONT, pid, NULL, NULL), 0);
    EXPECT_EQ(waitpid(pid, &status, 0), pid);
    if (!WIFSTOPPED(status))
        return status;
    EXPECT_EQ(WSTOPSIG(status), SIGTRAP);
    for (unsigned i = count; i-- > 0;)
        EXPECT_EQ(ptrace(PTRACE_POKETEXT, pid, places[i], words[i]), 0);
    EXPECT_EQ(ptrace(PTRACE_GETREGS, pid, NULL, &registers), 0);
    registers.rip--;
    EXPECT_EQ(ptrace(PTRACE_SETREGS, pid, NULL, &registers), 0);
    return status;
}

static bool in_code(uint64_t at)
{
    return at >= code_begin && at < code_end;
}

/* One step of the library; or what it calls, as a whole; or to where it is entered. */
static int step(pid_t pid, const struct row *row, uint64_t *steps)
{
    struct user_regs_struct registers;
    uint64_t places[4];
    unsigned count = 0;
    int status;

    EXPECT_EQ(ptrace(PTRACE_GETREGS, pid, NULL, &registers), 0);
    if (in_code(registers.rip)) {
        ++*steps;
        EXPECT_EQ(ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL), 0);
        EXPECT_EQ(waitpid(pid, &status, 0), pid);
        return status;
    }
    places[0] = (uint64_t)ptrace(PTRACE_PEEKDATA, pid, registers.rsp, NULL);
    if (in_code(places[0]))
        return run_to(pid, places, 1);
    while (count < 3 && row->entries[count]) {
        places[count] = (uint64_t)(uintptr_t)row->entries[count];
        count++;
    }
    return run_to(pid, places, count);
}

/* Runs the row until it has made `at` steps in the library, and kills it. How many it made. */
static uint64_t run_until(const struct row *row, uint64_t at)
{
    uint64_t steps = 0;
    int status;
    pid_t pid = test_fork(act, (void *)row);

    EXPECT_EQ(waitpid(pid, &status, 0), pid);
    if (WIFEXITED(status))
        test_skip("ptrace(2) is not allowed here");
    while (WIFSTOPPED(status) && steps < at)
        status = step(pid, row, &steps);
    if (WIFSTOPPED(status)) {
        kill(pid, SIGKILL);
        EXPECT_EQ(waitpid(pid, &status, 0), pid);
    } else {
        EXPECT(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
    return steps;
}

static void check_fetch(const struct row *row, struct hfc *cache, bool whole)
{
    int64_t got = fetch_one(cache);

    if (got != 1 && (whole || got != -ENOENT))
        FAIL("%s: object 1 comes back as %lld", row->name, (long long)got);
}

static void check(const struct row *row, struct hf_pool *pool, struct hfc *cache, bool whole)
{
    int64_t got = object_get(cache, 1, 0, 0);
    struct stat st;

    if (got != row->after && (whole || got != row->before))
        FAIL("%s: object 1 gives %lld", row->name, (long long)got);
    for (uint64_t i = 0; i < OTHERS && !row->evicts; i++)
        EXPECT_EQ(object_get(cache, 100 + i, 0, 0), 7);
    object_put(cache, 2, 0, 9, KIB(4)); /* mends */
    EXPECT_EQ(object_get(cache, 2, 0, KIB(4)), 9);
    got = object_get(cache, 1, 0, 0);
    if (got != row->after && (whole || got != row->before) && !row->evicts)
        FAIL("%s: object 1 gives %lld when it is mended", row->name, (long long)got);
    EXPECT_EQ(object_check_all(cache, true), object_stats(cache).objects);
    if (row->tier) /* a death in the last steps may cost the copy on the disk */
        check_fetch(row, cache, whole);
    for (uint64_t i = 0; i < 40; i++)
        object_put(cache, 9000 + i, 0, 1, KIB(60));
    if (row->tier)
        empty(cache); /* waits for the disk */
    EXPECT_EQ(object_stats(cache).held_bytes, 0);
    EXPECT(object_stats(cache).mended <= 1);
    EXPECT_EQ(object_check_all(cache, true), object_stats(cache).objects);
    EXPECT_EQ(hf_stat(pool, "/cache/data", 0, &st), 0);
    EXPECT_EQ(st.st_blocks * 512,
              row->tier ? 0 : TEST_MIB(1)); /* as much as it may have, and no more */
}

static struct hfc *open_cache(const struct row *row, struct hf_pool *pool)
{
    const struct hfc_options options = {.size = sizeof(options),
                                        .capacity_bytes = TEST_MIB(1),
                                        .objects = 800,
                                        .tier = row->tier ? test_path("disk") : NULL,
                                        .tier_bytes = row->tier ? TEST_MIB(4) : 0};
    struct hfc *cache;

    if (row->tier)
        EXPECT_EQ(mkdir(test_path("disk"), 0700), 0);
    if (hfc_open(pool, "/cache", &options, &cache))
        FAIL("open: %s", hfc_detail());
    return cache;
}

/* False: it was made to its end. */
static bool run_point(const struct row *row, uint64_t at, uint64_t *steps)
{
    struct hf_pool *pool = test_pool_new("steps", TEST_MIB(16));
    struct hfc *cache = open_cache(row, pool);

    for (uint64_t i = 0; i < OTHERS; i++)
        object_put(cache, 100 + i, 0, 7, i % 2 ? 100 : 3000);
    row->prepare(cache);
    *steps = run_until(row, at);
    check(row, pool, cache, *steps < at);
    EXPECT_EQ(hfc_close(cache), 0);
    test_pool_close(pool);
    test_remove_tree(test_path("steps"));
    if (row->tier)
        test_remove_tree(test_path("disk"));
    return *steps == at;
}

static int body(int argc, char **argv)
{
    struct test_rng rng = {test_seed()};
    uint64_t points = argc > 2 ? strtoull(argv[2], NULL, 0) : 12;

#if !defined(__x86_64__)
    test_skip("single steps are x86-64's here");
#endif
    if (test_is_slow())
        test_skip("single steps of a sanitizer's build take too long");
    find_code();
    for (size_t r = 0; r < sizeof rows / sizeof *rows; r++) {
        uint64_t total, steps;

#ifdef HOLDFAST_NO_TIER
        if (rows[r].tier)
            continue;
#endif
        run_point(&rows[r], UINT64_MAX, &total);
        for (uint64_t i = 0; i < (points ? points : total); i++) {
            uint64_t at =
                points ? 1 + total * i / points + test_below(&rng, total / points + 1) : 1 + i;

            run_point(&rows[r], at, &steps);
        }
        printf("%s: %" PRIu64 " steps\n", rows[r].name, total);
    }
    return 0;
}

int main(int argc, char **argv)
{
    return test_main(argc, argv, body);
}
