/* SPDX-License-Identifier: MIT */
/*
 * src/meta/commit.c: a meta page of which only some words have been stored. Each set of words comes
 * once, which covers every order that a compiler may choose. The next process finds the transaction
 * before, or after when lock.mdb says so. Also a process that takes it back and is killed. And
 * src/meta/guard.c: an assertion of LMDB is an error, here and in other processes.
 */
#include "meta_pool.h"

#include "meta/env.h"
#include "meta/lmdb_file.h"
#include "shm/shm.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define FILES 400u /* enough for a tree of two levels */
#define WORDS (sizeof(struct lmdb_meta) / 8)
#define FIRST_WORD 2u /* what is before is never stored */
#define PAGE 4096u

static char dir[64];

/* What a meta page and the number in lock.mdb were before the last commit, and what they are after
 * it. */
static struct lmdb_meta_page before[2], after[2];

static void io(const char *name, void *bytes, size_t len, off_t at, bool put)
{
    char path[96];
    int fd;

    snprintf(path, sizeof path, "%s/meta/%s", dir, name);
    fd = open(path, O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(put ? pwrite(fd, bytes, len, at) : pread(fd, bytes, len, at), len);
    close(fd);
}

static void get_pages(struct lmdb_meta_page pages[2])
{
    for (unsigned i = 0; i < 2; i++)
        io("data.mdb", &pages[i], sizeof pages[i], i * PAGE, false);
}

static void put_pages(struct lmdb_meta_page pages[2])
{
    for (unsigned i = 0; i < 2; i++)
        io("data.mdb", &pages[i], sizeof pages[i], i * PAGE, true);
}

/* io() would drop LMDB's locks on it, which are the process's; nobody relies on them here. */
static void put_counted(uint64_t number)
{
    io("lock.mdb", &number, sizeof number, offsetof(struct lmdb_lock, txn), true);
}

static uint64_t counted(void)
{
    uint64_t number;

    io("lock.mdb", &number, sizeof number, offsetof(struct lmdb_lock, txn), false);
    return number;
}

/* One more file, with attributes that take pages of their own; the super record says so too. */
static void commit_file(struct meta *meta, uint64_t ino)
{
    static const char value[9000];
    struct meta_super super;
    struct meta_txn *txn;
    char name[24];

    snprintf(name, sizeof name, "file %" PRIu64, ino);
    must(meta_begin_write(meta, &txn));
    must(meta_super_get(txn, &super));
    super.inodes = ino;
    super.next_ino = ino + 1;
    must(meta_super_put(txn, &super));
    add_file(txn, ino, name, ino, 1);
    for (unsigned i = 0; i < 40; i++) {
        snprintf(name, sizeof name, "user.%u", i);
        must(meta_xattr_put(txn, ino, name, value, i == 0 ? sizeof value : 400));
    }
    must(meta_commit(txn));
}

static void expect(struct meta_txn *txn, uint64_t last_ino)
{
    struct meta_super super;
    struct meta_inode inode;

    must(meta_super_get(txn, &super));
    assert_int_equal(super.inodes, last_ino);
    must(meta_inode_get(txn, last_ino, &inode));
    assert_int_equal(meta_inode_get(txn, last_ino + 1, &inode), -ENOENT);
}

static void expect_all(struct meta *meta, uint64_t last_ino)
{
    struct meta_txn *txn;

    must(meta_begin_read(meta, &txn));
    expect(txn, last_ino);
    meta_end_read(txn);
    must(meta_begin_look(meta, &txn));
    expect(txn, last_ino);
    meta_end_look(txn);
    must(meta_begin_write(meta, &txn));
    expect(txn, last_ino);
    meta_abort(txn);
}

static void make(bool durable)
{
    struct meta_super super = small_super;
    struct meta_txn *txn;
    struct meta *meta;
    char name[16];

    super.flags = durable;
    new_pool_of(&super, dir);
    must(meta_open(dir, false, &meta));
    must(meta_begin_write(meta, &txn));
    for (uint64_t ino = 2; ino <= FILES; ino++) {
        snprintf(name, sizeof name, "%" PRIu64, ino);
        add_file(txn, ino, name, ino, 1);
    }
    must(meta_commit(txn));
    for (uint64_t ino = FILES + 1; ino <= FILES + 4; ino++)
        commit_file(meta, ino);
    get_pages(before);
    commit_file(meta, FILES + 5);
    get_pages(after);
    meta_close(meta);
}

static struct meta *open_shared(struct shm_records *records)
{
    struct meta *meta;

    must(meta_open(dir, false, &meta));
    meta_share(meta, records, NULL);
    return meta;
}

/* A process that has the write lock dies; it has committed nothing. */
static void die_with_the_lock(void)
{
    pid_t pid = fork();
    struct meta *meta;
    struct meta_txn *txn;
    int status;

    if (pid == 0) {
        _exit(meta_join(dir, false, false, NULL, &meta) || meta_begin_write(meta, &txn) ? 1 : 0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

/* The place of the last commit's page. */
static unsigned place(void)
{
    return before[0].meta.txn < after[0].meta.txn ? 0 : 1;
}

/* The meta page after the stores of a set of the words in which it differs; bit i: the i-th of
 * them. False: there are not so many sets. */
static bool tear(unsigned set, struct lmdb_meta_page pages[2])
{
    uint64_t *words = (void *)&pages[place()].meta;
    const uint64_t *stored = (const void *)&after[place()].meta;
    unsigned bit = 0;

    memcpy(pages, before, sizeof before);
    for (unsigned i = FIRST_WORD; i < WORDS; i++)
        if (words[i] != stored[i] && (set >> bit++ & 1))
            words[i] = stored[i];
    return set >> bit == 0;
}

#define NUMBER_IS_OLD 1 /* the process that took it back was killed after the number */

static void one_survives(bool durable, unsigned every)
{
    struct shm_records records = {0};
    struct lmdb_meta_page torn[2];
    struct meta *meta;
    unsigned set = 0, tried = 0;

    make(durable);
    meta = open_shared(&records);
    for (; tear(set, torn); set += every)
        for (int how = 0; how <= NUMBER_IS_OLD; how++) {
            die_with_the_lock();
            if (how == NUMBER_IS_OLD)
                torn[place()].meta.txn = before[place()].meta.txn;
            put_pages(torn);
            put_counted(before[place() ^ 1].meta.txn);
            records.under_way = after[place()].meta.txn;
            expect_all(meta, FILES + 4);
            assert_int_equal(counted(), before[place() ^ 1].meta.txn);
            tried++;
        }
    assert_true(tried > 100 / every);
    commit_file(meta, FILES + 5);
    expect_all(meta, FILES + 5);
    meta_close(meta);
    must(meta_verify(dir, NULL, NULL));
    remove_pool(dir);
}

static void test_survivor(void **state)
{
    (void)state;
    one_survives(false, 1);
}

static void test_survivor_durable(void **state)
{
    (void)state;
    one_survives(true, 7); /* the page is written by one call: any state is as good as all */
}

static uint64_t says(void *arg, const uint8_t uuid[16])
{
    assert_memory_equal(uuid, small_super.uuid, 16);
    return *(uint64_t *)arg;
}

/* Opens the pool as the first, with what it must find. */
static void first_finds(uint64_t under_way, uint64_t last_ino)
{
    struct meta *meta;

    must(meta_settle(dir, says, &under_way));
    must(meta_verify(dir, NULL, NULL));
    must(meta_reset_lock(dir));
    must(meta_open(dir, false, &meta));
    expect_all(meta, last_ino);
    meta_close(meta);
}

static void test_first(void **state)
{
    struct lmdb_meta_page torn[2];

    (void)state;
    make(false);
    for (unsigned set = 0; tear(set, torn); set++) {
        put_pages(torn);
        put_counted(before[place() ^ 1].meta.txn);
        first_finds(0, FILES + 4);
    }
    put_pages(after);
    put_counted(after[place()].meta.txn);
    first_finds(0, FILES + 5);
    remove_pool(dir);
}

/* There it is whole, and only a run segment of this boot can say that it does not count. */
static void test_first_durable(void **state)
{
    uint64_t number;

    (void)state;
    make(true);
    number = after[place()].meta.txn;
    put_counted(number - 1);
    first_finds(0, FILES + 5);
    put_counted(number - 1);
    first_finds(number - 1, FILES + 5);
    put_counted(number);
    first_finds(number, FILES + 5);
    put_counted(number - 1);
    first_finds(number, FILES + 4);
    remove_pool(dir);
}

/* A number in lock.mdb that no commit can have left: the file is as it is. */
static void test_first_in_doubt(void **state)
{
    uint64_t number;

    (void)state;
    make(false);
    number = after[place()].meta.txn;
    for (uint64_t off = 2; off < 5; off++) {
        put_counted(number - off);
        first_finds(number, FILES + 5);
        put_counted(number + off - 1);
        first_finds(number, FILES + 5);
    }
    remove_pool(dir);
}

static uint32_t first_word(const pthread_mutex_t *mutex)
{
    return hf_load_acquire((const uint32_t *)(const void *)mutex);
}

/* The last one that has it open goes while another comes: LMDB must not set lock.mdb up again. */
static void test_join(void **state)
{
    struct shm_records records = {0};
    struct meta *meta;
    int fd;

    (void)state;
    make(false);
    must(meta_open(dir, false, &meta));
    die_with_the_lock();
    put_counted(before[place() ^ 1].meta.txn);
    must(meta_hold_lock_file(dir, &fd));
    assert_true(fd >= 0);
    meta_close(meta);
    records.under_way = after[place()].meta.txn;
    meta = open_shared(&records);
    assert_int_equal(counted(), before[place() ^ 1].meta.txn);
    expect_all(meta, FILES + 4);
    meta_close(meta);
    close(fd);
    must(meta_open(dir, false, &meta)); /* nobody has it: LMDB may */
    expect_all(meta, FILES + 4);
    meta_close(meta);
    remove_pool(dir);
}

/* Where meta/readers.c looks for LMDB's mutexes. */
static void test_mutexes_of_lmdb(void **state)
{
    struct meta_txn *txn;
    struct meta *meta;

    (void)state;
    make(false);
    must(meta_open(dir, false, &meta));
    assert_non_null(meta->lock_file);
    assert_int_equal(meta->lock_file->format, LMDB_LOCK_FORMAT);
    must(meta_begin_write(meta, &txn));
    assert_int_equal(first_word(&meta->lock_file->writer_mutex) & FUTEX_TID_MASK, gettid());
    assert_int_equal(first_word(&meta->lock_file->readers_mutex), 0);
    meta_abort(txn);
    assert_int_equal(first_word(&meta->lock_file->writer_mutex), 0);
    assert_false(meta_writer_died(meta));
    die_with_the_lock();
    assert_true(meta_writer_died(meta));
    must(meta_begin_write(meta, &txn));
    assert_false(meta_writer_died(meta));
    meta_abort(txn);
    meta_close(meta);
    remove_pool(dir);
}

/* --- assertions --- */

/* The root says that it has one entry, which LMDB asserts that it has not. */
static void hurt_root(uint16_t *lower, bool mend)
{
    struct lmdb_meta_page pages[2];
    off_t at;
    uint16_t one = sizeof(struct lmdb_page) + 2;

    get_pages(pages);
    at = (off_t)(pages[lmdb_newest_meta(pages)].meta.main_tree.root * PAGE +
                 offsetof(struct lmdb_page, lower));
    if (!mend)
        io("data.mdb", lower, sizeof *lower, at, false);
    io("data.mdb", mend ? lower : &one, sizeof one, at, true);
}

static void expect_refused(struct meta *meta)
{
    struct meta_txn *txn;

    assert_int_equal(meta_begin_read(meta, &txn), -EUCLEAN);
    assert_non_null(strstr(hf_error_sentence(), "fsck"));
    assert_int_equal(meta_begin_look(meta, &txn), -EUCLEAN);
    assert_int_equal(meta_begin_write(meta, &txn), -EUCLEAN);
}

/* The other process: meets no assertion, and is refused as soon as this one has. */
static pid_t other_process(struct shm_records *records, int to[2], int from[2])
{
    pid_t pid;
    char byte;

    assert_int_equal(pipe(to) | pipe(from), 0);
    pid = fork();
    if (pid)
        return pid;
    struct meta *meta = open_shared(records);
    expect_all(meta, FILES + 5);
    assert_int_equal(write(from[1], "", 1), 1);
    assert_int_equal(read(to[0], &byte, 1), 1);
    expect_refused(meta);
    meta_close(meta);
    _exit(0);
}

static void asserts(int (*call)(struct meta_txn *txn), bool write_txn)
{
    struct shm_records *records =
        mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    int to[2], from[2], status;
    struct meta *meta;
    struct meta_txn *txn;
    uint16_t lower;
    pid_t other;
    char byte;

    make(false);
    other = other_process(records, to, from);
    assert_int_equal(read(from[0], &byte, 1), 1);
    meta = open_shared(records);
    must(write_txn ? meta_begin_write(meta, &txn) : meta_begin_read(meta, &txn));
    hurt_root(&lower, false);
    assert_int_equal(call(txn), -EUCLEAN);
    assert_non_null(strstr(hf_error_sentence(), "Assertion"));
    assert_int_equal(call(txn), -EUCLEAN);
    if (write_txn)
        meta_abort(txn);
    else
        meta_end_read(txn);
    expect_refused(meta);
    assert_int_equal(write(to[1], "", 1), 1);
    assert_int_equal(waitpid(other, &status, 0), other);
    assert_int_equal(status, 0);
    meta_close(meta);
    hurt_root(&lower, true);
    first_finds(0, FILES + 5);
    remove_pool(dir);
    munmap(records, PAGE);
}

static int read_one(struct meta_txn *txn)
{
    struct meta_inode inode;

    return meta_inode_get(txn, 7, &inode);
}

static int write_one(struct meta_txn *txn)
{
    return meta_inode_put(txn, 7, &small_root);
}

static void test_assertion_reading(void **state)
{
    (void)state;
    asserts(read_one, false);
}

/* LMDB's own lock stays taken: robust mutexes work on, also after the environment is closed. */
static void test_assertion_writing(void **state)
{
    struct shm_mutex mutex;
    bool died;

    (void)state;
    asserts(write_one, true);
    assert_int_equal(shm_mutex_init(&mutex), 0);
    for (int i = 0; i < 3; i++) {
        assert_true(shm_lock_now(&mutex, &died));
        assert_false(died);
        shm_unlock(&mutex);
    }
    pthread_mutex_destroy(&mutex.robust);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_survivor),
        cmocka_unit_test(test_survivor_durable),
        cmocka_unit_test(test_first),
        cmocka_unit_test(test_first_durable),
        cmocka_unit_test(test_first_in_doubt),
        cmocka_unit_test(test_join),
        cmocka_unit_test(test_mutexes_of_lmdb),
        cmocka_unit_test(test_assertion_reading),
        cmocka_unit_test(test_assertion_writing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
