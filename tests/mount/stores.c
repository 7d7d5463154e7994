/* SPDX-License-Identifier: MIT */
/*
 * Stores into shared mappings of a mount with cache=auto, while the library and another mount
 * change the same pages. Both changes stay, whatever is written back when. Nobody waits for ever
 * when all do it at once.
 *
 *     mount-stores POOL DIR DIR [ROUNDS]
 */
#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <holdfast/serve.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define STORED 2000  /* where in the page a program stores, */
#define CHANGED 1000 /* and others change bytes */
#define SIZE 3000    /* of the file before */
#define PAGES 4u
#define WRITERS 3u /* of each kind, when all do it at once */

static struct hf_pool *pool;
static const char *folders[2];
static unsigned rounds = 40;

static struct hf_file *file, *other;
static int mapped_fd, second_fd, append_fd; /* of the first mount, and of the second */

static int open_at(const char *folder, const char *name, int flags)
{
    char path[4096];
    int fd;

    snprintf(path, sizeof(path), "%s/%s", folder, name);
    fd = open(path, flags);
    EXPECT(fd >= 0);
    return fd;
}

static char *map(int fd)
{
    char *shared = mmap(NULL, PAGES * TEST_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

    EXPECT(shared != MAP_FAILED);
    return shared;
}

/* ---- one change at a time ---- */

static void library_writes(void)
{
    EXPECT_EQ(hf_write(file, "changed", 7, CHANGED), 7);
}

static void library_copies(void)
{
    EXPECT_EQ(hf_copy_range(other, 0, file, CHANGED, 7), 7);
}

static void library_appends(void)
{
    EXPECT_EQ(hf_append(file, "changed", 7, NULL), 7);
}

static void library_punches(void)
{
    EXPECT_EQ(hf_fallocate(file, HF_FALLOC_PUNCH_HOLE | HF_FALLOC_KEEP_SIZE, CHANGED, 7, NULL), 0);
}

static void library_zeroes(void)
{
    EXPECT_EQ(hf_fallocate(file, HF_FALLOC_ZERO_RANGE | HF_FALLOC_KEEP_SIZE, CHANGED, 7, NULL), 0);
}

static void second_writes(void)
{
    EXPECT_EQ(pwrite(second_fd, "changed", 7, CHANGED), 7);
}

static void second_appends(void)
{
    EXPECT_EQ(write(append_fd, "changed", 7), 7);
}

static void second_punches(void)
{
    EXPECT_EQ(fallocate(second_fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, CHANGED, 7), 0);
}

static const struct {
    const char *name;
    void (*change)(void);
    unsigned at;
    const char *bytes; /* that are there then */
} changes[] = {
    {"a write of the library", library_writes, CHANGED, "changed"},
    {"a copy of the library", library_copies, CHANGED, "changed"},
    {"an append of the library", library_appends, SIZE, "changed"},
    {"a punch of the library", library_punches, CHANGED, "\0\0\0\0\0\0\0"},
    {"zeroing by the library", library_zeroes, CHANGED, "\0\0\0\0\0\0\0"},
    {"a write of the second mount", second_writes, CHANGED, "changed"},
    {"an append of the second mount", second_appends, SIZE, "changed"},
    {"a punch of the second mount", second_punches, CHANGED, "\0\0\0\0\0\0\0"},
};
#define CHANGES (sizeof(changes) / sizeof(changes[0]))

/* False: the change has not waited for the mount, and so it may be undone. */
static bool store_and_change(unsigned kind)
{
    char *shared, page[TEST_PAGE];
    uint64_t began, took;
    struct stat st;

    memset(page, 'x', sizeof(page));
    EXPECT_EQ(hf_truncate(file, 0, NULL), 0);
    EXPECT_EQ(hf_write(file, page, SIZE, 0), SIZE);
    shared = map(mapped_fd);
    shared[STORED] = 's';
    began = test_now_ns();
    changes[kind].change();
    took = test_now_ns() - began;
    EXPECT_EQ(fstat(mapped_fd, &st), 0); /* tells the kernel of another size */
    EXPECT_EQ(msync(shared, TEST_PAGE, MS_SYNC), 0);
    EXPECT_EQ(munmap(shared, PAGES * TEST_PAGE), 0);
    if (took >= HF_WATCH_WAIT_NS)
        return false;
    EXPECT_EQ(hf_read(file, page, sizeof(page), 0), st.st_size);
    if (page[STORED] != 's')
        FAIL("after %s what was stored is not there", changes[kind].name);
    if (memcmp(page + changes[kind].at, changes[kind].bytes, 7) != 0)
        FAIL("%s was undone", changes[kind].name);
    return true;
}

static void both_stay(void)
{
    unsigned checked = 0;

    for (unsigned round = 0; round < rounds; round++)
        for (unsigned kind = 0; kind < CHANGES; kind++)
            checked += store_and_change(kind);
    printf("%u of %zu changes were in time\n", checked, rounds * CHANGES);
    EXPECT(checked > 0);
}

/* ---- all at once, in a file that keeps its size: a page past the one that the kernel knows is
 * SIGBUS ---- */

static void store_and_sync(void *arg)
{
    int fd = open_at(arg, "all", O_RDWR);
    char *shared = map(fd);

    for (unsigned i = 0; i < rounds * 5; i++) {
        shared[i * 769 % (PAGES * TEST_PAGE)]++;
        EXPECT_EQ(msync(shared, PAGES * TEST_PAGE, MS_SYNC), 0);
    }
    EXPECT_EQ(munmap(shared, PAGES * TEST_PAGE), 0);
    close(fd);
}

static void write_often(void *arg)
{
    int fd = open_at(arg, "all", O_RDWR);

    for (unsigned i = 0; i < rounds * 5; i++)
        EXPECT_EQ(pwrite(fd, "w", 1, (off_t)(i * 769 % (PAGES * TEST_PAGE))), 1);
    close(fd);
}

static void all_end(void)
{
    struct hf_file *all = test_file_filled(pool, "/all", 1, PAGES);
    pid_t pids[4 * WRITERS];
    unsigned count = 0;

    for (unsigned i = 0; i < WRITERS; i++)
        for (unsigned side = 0; side < 2; side++) {
            pids[count++] = test_fork(store_and_sync, (void *)folders[side]);
            pids[count++] = test_fork(write_often, (void *)folders[side]);
        }
    for (unsigned i = 0; i < rounds * 5; i++)
        EXPECT_EQ(hf_write(all, "l", 1, i * 769 % (PAGES * TEST_PAGE)), 1);
    while (count > 0)
        test_join(pids[--count]);
    EXPECT_EQ(hf_close(all), 0);
}

static int run(int argc, char **argv)
{
    if (argc < 4)
        return 2;
    folders[0] = argv[2];
    folders[1] = argv[3];
    if (argc > 4)
        rounds = (unsigned)strtoul(argv[4], NULL, 0);
    EXPECT_EQ(hf_pool_open(argv[1], 0, &pool), 0);
    file = test_file_filled(pool, "/stores", 1, 1);
    other = test_file(pool, "/other");
    EXPECT_EQ(hf_write(other, "changed", 7, 0), 7);
    mapped_fd = open_at(folders[0], "stores", O_RDWR);
    second_fd = open_at(folders[1], "stores", O_RDWR);
    append_fd = open_at(folders[1], "stores", O_WRONLY | O_APPEND);
    both_stay();
    all_end();
    close(mapped_fd);
    close(second_fd);
    close(append_fd);
    EXPECT_EQ(hf_close(other), 0);
    EXPECT_EQ(hf_close(file), 0);
    test_pool_close(pool);
    return 0;
}

int main(int argc, char **argv)
{
    return test_main(argc, argv, run);
}
