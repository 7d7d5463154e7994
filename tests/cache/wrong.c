/* SPDX-License-Identifier: MIT */
/*
 * wrong EDGE: one edge of the cache is taken out (cache/lab.h). Between two steps of a call, a
 * thread does what another process may do then. A holder must then see bytes of another object, or
 * memory must be lost. With the edge in place the same order does no harm. Needs no luck.
 */
#include "cache/lab.h"
#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <holdfast/cache.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define LENGTH (64u << 10)
#define NEXT_STAMP 88 /* where the index has the next object's number: docs/FORMAT.md */
#define TRIES 8u      /* two keys may share a line, since the hash has a seed of its own */

static struct hf_pool *pool;
static struct hfc *cache;
static struct hfc_ref got;
static struct iovec seen;
static int pieces;

static struct hfc_key key_of(uint8_t number)
{
    static uint8_t bytes[256][4];

    bytes[number][0] = number;
    return (struct hfc_key){bytes[number], 4, 0};
}

static void put(uint8_t number, uint8_t content)
{
    static uint8_t bytes[LENGTH];
    struct hfc_key key = key_of(number);

    memset(bytes, content, sizeof bytes);
    if (hfc_put(cache, &key, bytes, sizeof bytes))
        FAIL("put: %s", hfc_detail());
}

static void take_out(uint8_t number)
{
    struct hfc_key key = key_of(number);

    EXPECT_EQ(hfc_remove(cache, &key), 0);
}

static void get(uint8_t number)
{
    struct hfc_key key = key_of(number);

    pieces = hfc_get(cache, &key, &seen, 1, &got);
}

/* What is held of object 1 is not its bytes. */
static bool harmed(void)
{
    bool harm = false;

    if (pieces <= 0)
        return false;
    for (size_t i = 0; i < seen.iov_len; i++)
        harm |= ((uint8_t *)seen.iov_base)[i] != 1;
    EXPECT_EQ(hfc_release(&got), 0);
    return harm;
}

/* ---- what happens between two steps ---- */

/* Object 3 gets the memory of object 1, and the cell of object 2. */
static void swap(enum cache_lab_point point)
{
    if (point != CACHE_LAB_PINS)
        return;
    cache_lab_at = NULL;
    take_out(1);
    take_out(2);
    put(3, 3);
}

/* And object 1 is put again: its word comes back, with a stamp that is 65,536 more. */
static void swap_and_return(enum cache_lab_point point)
{
    const uint64_t stamp = 65537;
    struct hf_file *file;

    swap(point);
    EXPECT_EQ(hf_open(pool, "/cache/index", O_RDWR, 0, &file), 0);
    EXPECT_EQ(hf_write(file, &stamp, 8, NEXT_STAMP), 8);
    EXPECT_EQ(hf_close(file), 0);
    put(1, 1);
}

static void get_before_it_goes(enum cache_lab_point point)
{
    if (point != CACHE_LAB_LEAVES)
        return;
    cache_lab_at = NULL;
    get(1);
}

static void die(enum cache_lab_point point)
{
    if (point == CACHE_LAB_TAKES)
        kill(getpid(), SIGKILL);
}

/* ---- scenes ---- */

static bool reader_meets(void (*at)(enum cache_lab_point point))
{
    put(1, 1);
    put(2, 2);
    cache_lab_at = at;
    get(1);
    cache_lab_at = NULL;
    return harmed();
}

static bool swapped(void)
{
    return reader_meets(swap);
}

static bool swapped_and_returned(void)
{
    return reader_meets(swap_and_return);
}

static bool held(void)
{
    put(1, 1);
    get(1);
    take_out(1);
    put(3, 3);
    return harmed();
}

static bool got_while_it_goes(void)
{
    put(1, 1);
    cache_lab_at = get_before_it_goes;
    take_out(1);
    cache_lab_at = NULL;
    put(3, 3);
    return harmed();
}

static void put_and_die(void *unused)
{
    struct hf_pool *mine = test_pool_open("wrong");

    (void)unused;
    EXPECT_EQ(hfc_open(mine, "/cache", NULL, &cache), 0);
    cache_lab_at = die;
    put(1, 1);
}

/* The process had the lock, and memory that no list has. */
static bool owner_died(void)
{
    struct hfc_stats stats = {.size = sizeof(stats)};
    int status;
    pid_t pid = test_fork(put_and_die, NULL);

    EXPECT_EQ(waitpid(pid, &status, 0), pid);
    EXPECT(WIFSIGNALED(status));
    for (unsigned i = 0; i < 100; i++)
        put((uint8_t)(100 + i), 1); /* more than fits */
    EXPECT_EQ(hfc_stats(cache, &stats), 0);
    return stats.used_bytes != stats.objects * LENGTH;
}

/* ---- the second tier ---- */

/* All objects, to the disk. */
static void evict_all(void)
{
    if (hfc_evict(cache, UINT64_MAX, NULL))
        FAIL("evict: %s", hfc_detail());
}

static void fetch(uint8_t number)
{
    struct hfc_key key = key_of(number);

    pieces = hfc_fetch(cache, &key, &seen, 1, &got);
}

/* Object 1 was put a second time. What is fetched is of the first time. */
static bool is_old(void)
{
    fetch(1);
    return !harmed() && pieces > 0;
}

static void put_again(enum cache_lab_point point)
{
    if (point != CACHE_LAB_TIER_WRITTEN && point != CACHE_LAB_TIER_READ)
        return;
    cache_lab_at = NULL;
    put(1, 2);
}

static bool put_after(void)
{
    put(1, 1);
    evict_all();
    put(1, 2);
    evict_all();
    return is_old();
}

static bool put_while_written(void)
{
    put(1, 1);
    cache_lab_at = put_again;
    evict_all();
    evict_all();
    return is_old();
}

static bool put_while_read(void)
{
    put(1, 1);
    evict_all();
    cache_lab_at = put_again;
    return is_old();
}

static const struct edge {
    const char *name;
    unsigned bit;
    bool (*scene)(void);
} edges[] = {
    {"second-look", CACHE_LAB_NO_SECOND_LOOK, swapped},
    {"stamp-alone", CACHE_LAB_STAMP_ALONE, swapped},
    {"word-alone", CACHE_LAB_WORD_ALONE, swapped_and_returned},
    {"held", CACHE_LAB_NO_HELD, held},
    {"late-clear", CACHE_LAB_LATE_CLEAR, got_while_it_goes},
    {"mend", CACHE_LAB_NO_MEND, owner_died},
    {"tier-forget", CACHE_LAB_TIER_NO_FORGET, put_after},
    {"tier-look", CACHE_LAB_TIER_NO_LOOK, put_while_read},
    {"tier-store", CACHE_LAB_TIER_STORE, put_while_written},
};

static bool run(const struct edge *edge, unsigned broken)
{
    struct hfc_options options = {.size = sizeof(options),
                                  .capacity_bytes = TEST_MIB(4),
                                  .objects = 10000,
                                  .policy = HFC_FIFO};
    bool harm;

    if (strncmp(edge->name, "tier-", 5) == 0) {
        options.tier = test_path("disk");
        options.tier_bytes = TEST_MIB(16);
        EXPECT_EQ(mkdir(options.tier, 0700), 0);
    }
    pool = test_pool_new("wrong", TEST_MIB(16));
    EXPECT_EQ(hfc_open(pool, "/cache", &options, &cache), 0);
    cache_lab_break = broken;
    harm = edge->scene();
    cache_lab_break = 0;
    EXPECT_EQ(hfc_close(cache), 0);
    test_pool_close(pool);
    test_remove_tree(test_path("wrong"));
    test_remove_tree(test_path("disk"));
    return harm;
}

static int body(int argc, char **argv)
{
    for (size_t i = 0; i < sizeof edges / sizeof *edges; i++) {
        unsigned missed = 0;

        if (argc < 2 || strcmp(argv[1], edges[i].name) != 0)
            continue;
        EXPECT(!run(&edges[i], 0));
        while (missed < TRIES && !run(&edges[i], edges[i].bit))
            missed++;
        if (missed == TRIES)
            FAIL("%s: without it nothing was seen", argv[1]);
        printf("%s: seen without it, not with it\n", argv[1]);
        return 0;
    }
    FAIL("usage: wrong EDGE");
}

int main(int argc, char **argv)
{
    return test_main(argc, argv, body);
}
