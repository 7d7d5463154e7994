/* SPDX-License-Identifier: MIT */
/*
 * meta_verify() keeps its promise: after it says yes, LMDB may be let loose on the file. Thousands
 * of copies of a metadata file are damaged, each in a few bytes or by cutting. A child process then
 * verifies each, and on a yes reads and rewrites everything through LMDB. It may find records that
 * make no sense; it may not crash, hang or abort.
 *
 *     meta_damage_test [COPIES [SEED]]
 */
#include "meta_pool.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>

#define INODES 600u
#define PAGE 4096u

static unsigned copies = 300;
static unsigned seed;

/* --- a file worth damaging: three levels, overflow pages, free lists of many transactions --- */

static void add_inode(struct meta_txn *txn, uint64_t ino)
{
    static const char value[9000];
    char name[32];

    snprintf(name, sizeof name, "file%" PRIu64, ino);
    add_file(txn, ino, name, ino * 50, 40);
    for (uint64_t page = 2; page < 40; page += 2)
        must(meta_extent_remove(txn, ino, page, 1, nothing, NULL));
    if (ino % 10 == 0)
        must(meta_xattr_put(txn, ino, "user.long", value, sizeof value));
}

static void fill_pool(const char *dir)
{
    struct meta_txn *txn;
    struct meta *meta;

    must(meta_open(dir, false, &meta));
    for (uint64_t ino = 2; ino < 2 + INODES; ino++) {
        must(meta_begin_write(meta, &txn));
        add_inode(txn, ino);
        must(meta_commit(txn));
    }
    /* A snapshot keeps the pages that go now from being used again at once. */
    must(meta_begin_read(meta, &txn));
    for (uint64_t ino = 2; ino < 2 + INODES; ino += 3) {
        struct meta_txn *writer;
        must(meta_begin_write(meta, &writer));
        must(meta_inode_del(writer, ino));
        must(meta_commit(writer));
    }
    meta_end_read(txn);
    meta_close(meta);
}

/* --- damage --- */

struct image {
    unsigned char *sound; /* what the file was */
    unsigned char *file;  /* the file, mapped */
    size_t bytes;         /* up to the last used page */
    int fd;
};

static void load_image(const char *dir, struct image *image)
{
    char path[96];
    off_t data;

    snprintf(path, sizeof path, "%s/meta/data.mdb", dir);
    image->fd = open(path, O_RDWR);
    assert_true(image->fd >= 0);
    image->bytes = 0;
    while ((data = lseek(image->fd, (off_t)image->bytes, SEEK_DATA)) >= 0)
        image->bytes = (size_t)lseek(image->fd, data, SEEK_HOLE);
    assert_int_equal(ftruncate(image->fd, (off_t)image->bytes), 0);
    image->file = mmap(NULL, image->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, image->fd, 0);
    assert_ptr_not_equal(image->file, MAP_FAILED);
    image->sound = malloc(image->bytes);
    assert_non_null(image->sound);
    memcpy(image->sound, image->file, image->bytes);
}

static void restore(struct image *image)
{
    assert_int_equal(ftruncate(image->fd, (off_t)image->bytes), 0);
    memcpy(image->file, image->sound, image->bytes);
}

static const uint64_t telling[] = {0,    1,    2,     3,     15,         16,         17,       255,
                                   4095, 4096, 32767, 65535, UINT32_MAX, UINT64_MAX, INT64_MAX};

/* Mostly where the numbers are that LMDB believes: meta pages, page headers, offsets, nodes. */
static size_t place_in(const struct image *image)
{
    size_t page = (size_t)random() % (image->bytes / PAGE) * PAGE;
    uint16_t lower, offset;

    switch (random() % 8) {
    case 0:
        return (size_t)random() % 2 * PAGE + (size_t)random() % 160;
    case 1:
    case 2:
        return page + (size_t)random() % 16;
    case 3:
        return page + 16 + (size_t)random() % 64;
    case 4:
    case 5:
    case 6:
        memcpy(&lower, image->sound + page + 12, sizeof lower);
        if (lower <= 16 || lower > PAGE)
            return page;
        memcpy(&offset, image->sound + page + 16 + (size_t)random() % (lower - 16) / 2 * 2,
               sizeof offset);
        return page + (offset % PAGE + (size_t)random() % 26) % PAGE;
    default:
        return (size_t)random() % image->bytes;
    }
}

static void damage(struct image *image)
{
    size_t at = place_in(image), width = (size_t)1 << random() % 4;
    uint64_t value;

    if (at + sizeof value > image->bytes)
        at = image->bytes - sizeof value;
    memcpy(&value, image->file + at, sizeof value);
    switch (random() % 4) {
    case 0:
        value ^= UINT64_C(1) << random() % 64;
        break;
    case 1:
        value = telling[(size_t)random() % (sizeof telling / sizeof telling[0])];
        break;
    case 2:
        value += (uint64_t)(random() % 5 - 2);
        break;
    default:
        value = (uint64_t)random() << 32 ^ (uint64_t)random();
    }
    memcpy(image->file + at, &value, width);
}

/* --- what a process does with it --- */

static void read_parts(struct meta_txn *txn, uint64_t ino)
{
    struct meta_extent extent = {0};
    struct meta_dirent entry = {.name = ""};
    char name[256] = "";
    const void *value;
    const char *target;
    size_t len;

    for (uint64_t page = 0; meta_extent_find(txn, ino, page, &extent) == 0;)
        page = extent.page + extent.count;
    while (meta_dirent_next(txn, ino, entry.name, &entry) == 0)
        ;
    while (meta_xattr_next(txn, ino, name, name) == 0)
        if (meta_xattr_get(txn, ino, name, &value, &len) == 0)
            for (size_t i = 0; i < len; i++)
                (void)((const volatile char *)value)[i];
    (void)meta_symlink_get(txn, ino, &target, &len);
}

static void read_all(struct meta *meta)
{
    struct meta_inode inode;
    struct meta_detached run;
    struct meta_txn *txn;
    uint64_t ino = 0, orphan = 0;

    if (meta_begin_read(meta, &txn))
        return;
    for (; ino < 2 * INODES; ino++) {
        (void)meta_inode_get(txn, ino, &inode);
        read_parts(txn, ino);
    }
    (void)meta_detached_from(txn, 0, &run);
    (void)meta_orphan_next(txn, &orphan);
    meta_end_read(txn);
}

/* Enough to use up every free list, to split and to merge pages everywhere. */
static void rewrite(struct meta *meta)
{
    struct meta_inode file = {.mode = S_IFREG | 0600, .nlink = 1};
    struct meta_txn *txn;
    int rc = 0;

    for (uint64_t ino = 2; ino < 2 + INODES; ino++) {
        if (meta_begin_write(meta, &txn))
            return;
        rc = ino % 2 ? meta_inode_del(txn, ino) : meta_inode_put(txn, ino + INODES, &file);
        if (rc == 0 && ino % 2 == 0)
            rc = meta_extent_remove(txn, ino, 5, 9, nothing, NULL);
        if (rc)
            meta_abort(txn);
        else
            (void)meta_commit(txn);
    }
    if (meta_begin_write(meta, &txn))
        return;
    for (uint64_t ino = 0; rc == 0 && ino < 2 * INODES; ino++)
        rc = meta_inode_del(txn, ino);
    if (rc)
        meta_abort(txn);
    else
        (void)meta_commit(txn);
}

enum verdict { REFUSED = 0, ACCEPTED = 1, ODD = 2 };

static _Noreturn void child(const char *dir)
{
    struct meta *meta;
    int rc = meta_verify(dir, NULL, NULL);

    alarm(600);
    if (rc != 0)
        _exit(rc == -EUCLEAN ? REFUSED : ODD);
    if (meta_reset_lock(dir) == 0 && meta_open(dir, false, &meta) == 0) {
        read_all(meta);
        rewrite(meta);
        read_all(meta);
        meta_close(meta);
        rc = meta_verify(dir, NULL, NULL); /* what was sound stays sound */
    }
    _exit(rc == 0 ? ACCEPTED : ODD);
}

static int try_it(const char *dir)
{
    int status;
    pid_t pid = fork();

    if (pid == 0)
        child(dir);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (!WIFEXITED(status) || WEXITSTATUS(status) > ACCEPTED)
        fail_msg("a child ended with status 0x%x (seed %u)", status, seed);
    return WEXITSTATUS(status);
}

static void damage_copies(const struct meta_super *super, unsigned count)
{
    unsigned verdicts[2] = {0};
    struct image image;
    char dir[64];

    new_pool_of(super, dir);
    fill_pool(dir);
    load_image(dir, &image);
    assert_int_equal(try_it(dir), ACCEPTED);
    for (unsigned i = 0; i < count; i++) {
        restore(&image);
        srandom(seed + i);
        for (long n = 1 + random() % 3; n > 0; n--)
            damage(&image);
        if (random() % 50 == 0)
            assert_int_equal(ftruncate(image.fd, random() % (long)image.bytes), 0);
        verdicts[try_it(dir)]++;
    }
    print_message("%u refused, %u accepted and used\n", verdicts[REFUSED], verdicts[ACCEPTED]);
    assert_true(verdicts[REFUSED] > count / 10);
    assert_true(verdicts[ACCEPTED] > count / 100);
    munmap(image.file, image.bytes);
    close(image.fd);
    free(image.sound);
    remove_pool(dir);
}

static void test_memory_pool(void **state)
{
    (void)state;
    damage_copies(&small_super, copies);
}

/* There LMDB keeps changed pages in its own memory and writes them at the commit. */
static void test_durable_pool(void **state)
{
    struct meta_super super = small_super;

    (void)state;
    super.flags = 1;
    damage_copies(&super, copies / 2);
}

/* The lock file of an earlier life is never believed. */
static void test_damaged_lock(void **state)
{
    char dir[64], path[96];
    unsigned char noise[65536];

    (void)state;
    new_pool(dir);
    snprintf(path, sizeof path, "%s/meta/lock.mdb", dir);
    srandom(seed);
    for (int i = 0; i < 30; i++) {
        int fd = open(path, O_RDWR | O_TRUNC);
        for (size_t at = 0; at < sizeof noise; at++)
            noise[at] = (unsigned char)random();
        assert_int_equal(write(fd, noise, (size_t)random() % sizeof noise) >= 0, 1);
        close(fd);
        assert_int_equal(try_it(dir), ACCEPTED);
    }
    remove_pool(dir);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_memory_pool),
        cmocka_unit_test(test_durable_pool),
        cmocka_unit_test(test_damaged_lock),
    };

    seed = test_seed();
    if (argc > 1)
        copies = (unsigned)strtoul(argv[1], NULL, 0);
    if (argc > 2)
        seed = (unsigned)strtoul(argv[2], NULL, 0);
    print_message("%u copies, seed %u\n", copies, seed);
    return cmocka_run_group_tests_name("meta_damage", tests, NULL, NULL);
}
