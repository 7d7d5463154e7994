/* SPDX-License-Identifier: MIT */
/*
 * src/meta: records come back as they were put. Extents behave as an array of pages does (random
 * operations against a model, seed printed). Then snapshots, threads, several pools, fork, and no
 * memory.
 */
#include "meta_pool.h"

#include <errno.h>
#include <pthread.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <time.h>

/* --- records --- */

static void test_create_open(void **state)
{
    char dir[64], path[96];
    struct meta_super super;
    struct meta_inode root;
    struct meta_txn *txn;
    struct meta *meta;
    struct stat st;

    (void)state;
    new_pool(dir);
    assert_int_equal(meta_create(dir, &small_super, &small_root), -EEXIST);
    snprintf(path, sizeof path, "%s/meta", dir);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0750);
    snprintf(path, sizeof path, "%s/meta/data.mdb", dir);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0640);
    must(meta_verify(dir, NULL, NULL));
    must(meta_reset_lock(dir));
    must(meta_open(dir, true, &meta));
    assert_int_equal(meta_begin_write(meta, &txn), -EROFS);
    must(meta_begin_read(meta, &txn));
    must(meta_super_get(txn, &super));
    assert_memory_equal(&super, &small_super, sizeof super);
    must(meta_inode_get(txn, META_ROOT_INO, &root));
    assert_memory_equal(&root, &small_root, sizeof root);
    meta_end_read(txn);
    meta_close(meta);
    remove_pool(dir);
    assert_int_equal(meta_open(dir, false, &meta), -ENOENT);
    assert_int_equal(meta_verify(dir, NULL, NULL), -ENOENT);
}

static void test_features(void **state)
{
    struct meta_super super = small_super;
    struct meta *meta;
    char dir[64];

    (void)state;
    super.ro_compat = 0x10;
    new_pool_of(&super, dir);
    assert_int_equal(meta_open(dir, false, &meta), -EOPNOTSUPP);
    must(meta_open(dir, true, &meta));
    meta_close(meta);
    remove_pool(dir);
    super.incompat = UINT64_C(1) << 40;
    new_pool_of(&super, dir);
    assert_int_equal(meta_open(dir, true, &meta), -EOPNOTSUPP);
    remove_pool(dir);
}

static void put_names(struct meta_txn *txn, char longest[256])
{
    memset(longest, 'x', 255);
    longest[255] = '\0';
    add_file(txn, 2, "b", 0, 3);
    add_file(txn, 3, longest, 10, 1);
    add_file(txn, 4, "a", 20, 0);
    longest[255] = 'x';
    assert_int_equal(meta_dirent_put(txn, 1, longest, 9, S_IFREG), -ENAMETOOLONG);
    longest[255] = '\0';
}

static void test_names(void **state)
{
    char dir[64], longest[257] = "";
    struct meta_dirent entry;
    struct meta_txn *txn;
    struct meta *meta;

    (void)state;
    new_pool(dir);
    must(meta_open(dir, false, &meta));
    must(meta_begin_write(meta, &txn));
    put_names(txn, longest);
    must(meta_dirent_get(txn, 1, "b", &entry));
    assert_int_equal(entry.ino, 2);
    assert_int_equal(entry.type, S_IFREG);
    assert_int_equal(meta_dirent_get(txn, 1, "c", &entry), -ENOENT);
    must(meta_dirent_next(txn, 1, "", &entry));
    assert_string_equal(entry.name, "a");
    must(meta_dirent_next(txn, 1, "a", &entry));
    assert_string_equal(entry.name, "b");
    must(meta_dirent_next(txn, 1, "b", &entry));
    assert_string_equal(entry.name, longest);
    assert_int_equal(meta_dirent_next(txn, 1, longest, &entry), -ENOENT);
    must(meta_dirent_del(txn, 1, "b"));
    assert_int_equal(meta_dirent_del(txn, 1, "b"), -ENOENT);
    must(meta_dirent_next(txn, 1, "a", &entry));
    assert_string_equal(entry.name, longest);
    meta_abort(txn);
    meta_close(meta);
    remove_pool(dir);
}

static void test_attributes(void **state)
{
    char dir[64], name[256], big[65537];
    const void *value;
    const char *target;
    struct meta_txn *txn;
    struct meta *meta;
    size_t len;

    (void)state;
    new_pool(dir);
    memset(big, 'v', sizeof big);
    must(meta_open(dir, false, &meta));
    must(meta_begin_write(meta, &txn));
    must(meta_xattr_put(txn, 1, "user.empty", "", 0));
    must(meta_xattr_put(txn, 1, "user.big", big, 65536));
    assert_int_equal(meta_xattr_put(txn, 1, "user.too", big, 65537), -E2BIG);
    must(meta_xattr_get(txn, 1, "user.big", &value, &len));
    assert_int_equal(len, 65536);
    assert_memory_equal(value, big, len);
    must(meta_xattr_get(txn, 1, "user.empty", &value, &len));
    assert_int_equal(len, 0);
    must(meta_xattr_next(txn, 1, "", name));
    assert_string_equal(name, "user.big");
    must(meta_xattr_next(txn, 1, name, name));
    assert_string_equal(name, "user.empty");
    assert_int_equal(meta_xattr_next(txn, 1, name, name), -ENOENT);
    must(meta_xattr_del(txn, 1, "user.big"));
    assert_int_equal(meta_xattr_get(txn, 1, "user.big", &value, &len), -ENOENT);
    must(meta_symlink_put(txn, 7, big, 4095));
    assert_int_equal(meta_symlink_put(txn, 7, big, 4096), -ENAMETOOLONG);
    must(meta_commit(txn));
    must(meta_begin_read(meta, &txn));
    must(meta_symlink_get(txn, 7, &target, &len));
    assert_int_equal(len, 4095);
    meta_end_read(txn);
    meta_close(meta);
    must(meta_verify(dir, NULL, NULL));
    remove_pool(dir);
}

static void test_inodes(void **state)
{
    char dir[64];
    struct meta_inode inode;
    struct meta_txn *txn;
    struct meta *meta;
    uint64_t ino = 2;

    (void)state;
    new_pool(dir);
    must(meta_open(dir, false, &meta));
    must(meta_begin_write(meta, &txn));
    add_file(txn, 5, "five", 100, 9);
    add_file(txn, UINT64_C(1) << 40, "large", 200, 9);
    must(meta_xattr_put(txn, 5, "user.x", "1", 1));
    must(meta_inode_next(txn, &ino, &inode));
    assert_int_equal(ino, 5);
    ino++;
    must(meta_inode_next(txn, &ino, &inode));
    assert_int_equal(ino, UINT64_C(1) << 40);
    must(meta_inode_del(txn, 5));
    ino = 2;
    must(meta_inode_next(txn, &ino, &inode));
    assert_int_equal(ino, UINT64_C(1) << 40);
    ino++;
    assert_int_equal(meta_inode_next(txn, &ino, &inode), -ENOENT);
    assert_int_equal(meta_inode_get(txn, 5, &inode), -ENOENT);
    must(meta_commit(txn));
    meta_close(meta);
    remove_pool(dir);
}

static void test_set_aside(void **state)
{
    struct meta_detached run = {70, 3, 9, 12, false}, found;
    char dir[64];
    struct meta_txn *txn;
    struct meta *meta;
    uint64_t ino = 0;

    (void)state;
    new_pool(dir);
    must(meta_open(dir, false, &meta));
    must(meta_begin_write(meta, &txn));
    must(meta_detached_put(txn, &run));
    must(meta_orphan_put(txn, 9));
    must(meta_detached_from(txn, 0, &found));
    assert_true(found.block == 70 && found.count == 3 && found.ino == 9 && found.page == 12 &&
                !found.shared);
    assert_int_equal(meta_detached_from(txn, 71, &found), -ENOENT);
    must(meta_orphan_next(txn, &ino));
    assert_int_equal(ino, 9);
    must(meta_detached_del(txn, &run));
    must(meta_orphan_del(txn, 9));
    assert_int_equal(meta_orphan_del(txn, 9), -ENOENT);
    assert_int_equal(meta_detached_from(txn, 0, &found), -ENOENT);
    assert_int_equal(meta_orphan_next(txn, &ino), -ENOENT);
    meta_abort(txn);
    meta_close(meta);
    remove_pool(dir);
}

/* --- extents against an array --- */

#define MODEL_PAGES 300u

struct model {
    uint64_t block[MODEL_PAGES]; /* + 1; 0: a hole */
    bool shared[MODEL_PAGES];    /* of a hole: false */
    struct meta_txn *txn;
    uint64_t page; /* what `removed` expects next */
};

static uint64_t model_run(const struct model *model, uint64_t page)
{
    uint64_t count = 1;

    while (page + count < MODEL_PAGES && model->block[page + count] == model->block[page] + count &&
           model->shared[page + count] == model->shared[page])
        count++;
    return count;
}

static void compare_all(struct model *model)
{
    struct meta_extent extent;
    uint64_t page = 0, next;

    for (;;) {
        for (next = page; next < MODEL_PAGES && model->block[next] == 0; next++)
            ;
        int rc = meta_extent_find(model->txn, 3, page, &extent);
        if (next == MODEL_PAGES) {
            assert_int_equal(rc, -ENOENT);
            return;
        }
        must(rc);
        assert_int_equal(extent.page, next);
        assert_int_equal(extent.block + 1, model->block[next]);
        assert_int_equal(extent.count, model_run(model, next));
        assert_int_equal(extent.shared, model->shared[next]);
        page = extent.page + extent.count;
    }
}

/* Uses the transaction itself, as the detaching of blocks does. */
static int expect_removed(void *arg, const struct meta_extent *run)
{
    struct model *model = arg;

    assert_true(run->page >= model->page);
    for (uint64_t i = 0; i < run->count; i++) {
        assert_int_equal(model->block[run->page + i], run->block + i + 1);
        assert_int_equal(model->shared[run->page + i], run->shared);
        model->block[run->page + i] = 0;
        model->shared[run->page + i] = false;
    }
    model->page = run->page + run->count;
    must(meta_detached_put(model->txn,
                           &(struct meta_detached){run->block, run->count, 3, 0, false}));
    must(meta_detached_del(model->txn, &(struct meta_detached){.block = run->block}));
    return 0;
}

/* Often one that continues what is before the page. */
static uint64_t any_block(const struct model *model, uint64_t page)
{
    return random() % 2 && page > 0 && model->block[page - 1]
               ? model->block[page - 1]
               : (uint64_t)random() % (POOL_BLOCKS - MODEL_PAGES);
}

static void model_insert(struct model *model, uint64_t page, uint64_t count)
{
    uint64_t block = any_block(model, page), free_pages = 0;

    while (free_pages < count && model->block[page + free_pages] == 0)
        free_pages++;
    int rc = meta_extent_insert(model->txn, 3, &(struct meta_extent){page, block, count, false});
    if (free_pages < count) {
        assert_int_equal(rc, -EUCLEAN);
        return;
    }
    must(rc);
    for (uint64_t i = 0; i < count; i++)
        model->block[page + i] = block + i + 1;
}

static void model_remove(struct model *model, uint64_t page, uint64_t count)
{
    model->page = 0;
    must(meta_extent_remove(model->txn, 3, page, count, expect_removed, model));
    for (uint64_t i = page; i < MODEL_PAGES && i - page < count; i++)
        assert_int_equal(model->block[i], 0);
}

static void model_mark(struct model *model, uint64_t page, uint64_t count, bool shared)
{
    must(meta_extent_mark(model->txn, 3, page, count, shared));
    for (uint64_t i = page; i < page + count; i++)
        model->shared[i] = model->block[i] && shared;
}

static void model_swap(struct model *model, uint64_t page, uint64_t count)
{
    struct meta_extent pages = {page, any_block(model, page), count, false}, gone;
    uint64_t block = pages.block, run = model_run(model, page), more;

    must(meta_extent_swap(model->txn, 3, &pages, &gone, &more));
    assert_int_equal(pages.count, !model->shared[page] ? 0 : run < count ? run : count);
    if (!pages.count)
        return;
    assert_int_equal(more, run - pages.count);
    assert_int_equal(gone.page, page);
    assert_int_equal(gone.block + 1, model->block[page]);
    assert_int_equal(gone.count, pages.count);
    assert_true(gone.shared);
    for (uint64_t i = 0; i < pages.count; i++) {
        model->block[page + i] = block + i + 1;
        model->shared[page + i] = false;
    }
}

/* Collapse and insert, as src/fs does them. */
static void model_shift(struct model *model, uint64_t page, uint64_t count, bool up)
{
    if (up) {
        model_remove(model, MODEL_PAGES - count, UINT64_MAX);
        must(meta_extent_split(model->txn, 3, page));
        must(meta_extent_shift(model->txn, 3, page, (int64_t)count));
        memmove(model->block + page + count, model->block + page,
                (MODEL_PAGES - count - page) * sizeof model->block[0]);
        memset(model->block + page, 0, count * sizeof model->block[0]);
        memmove(model->shared + page + count, model->shared + page, MODEL_PAGES - count - page);
        memset(model->shared + page, 0, count);
    } else {
        model_remove(model, page, count);
        must(meta_extent_shift(model->txn, 3, page + count, -(int64_t)count));
        memmove(model->block + page, model->block + page + count,
                (MODEL_PAGES - count - page) * sizeof model->block[0]);
        memset(model->block + MODEL_PAGES - count, 0, count * sizeof model->block[0]);
        memmove(model->shared + page, model->shared + page + count, MODEL_PAGES - count - page);
        memset(model->shared + MODEL_PAGES - count, 0, count);
    }
}

static void one_step(struct model *model)
{
    uint64_t page = (uint64_t)random() % MODEL_PAGES;
    uint64_t count = 1 + (uint64_t)random() % 12;

    if (page + count > MODEL_PAGES)
        count = MODEL_PAGES - page;
    switch (random() % 13) {
    case 8:
        model_mark(model, page, count, false);
        break;
    case 9:
        model_mark(model, page, count, true);
        break;
    case 10:
    case 11:
    case 12:
        model_swap(model, page, count);
        break;
    case 0:
        model_shift(model, page, count, false);
        break;
    case 1:
        model_shift(model, page, count, true);
        break;
    case 2:
    case 3:
        model_remove(model, page, count);
        break;
    case 4:
        if (random() % 10 == 0)
            model_remove(model, page, UINT64_MAX);
        break;
    default:
        model_insert(model, page, count);
    }
}

static void test_extents(void **state)
{
    unsigned seed = test_seed();
    struct model model = {0};
    struct meta *meta;
    char dir[64];

    (void)state;
    print_message("seed %u\n", seed);
    srandom(seed);
    new_pool(dir);
    must(meta_open(dir, false, &meta));
    must(meta_begin_write(meta, &model.txn));
    add_file(model.txn, 2, "before", 9, 9);
    add_file(model.txn, 3, "it", 0, 0);
    if (seed % 2) /* both with and without records behind the extents */
        add_file(model.txn, 4, "behind", 9, 9);
    for (int i = 0; i < 20000; i++) {
        one_step(&model);
        if (i % 4 == 0)
            compare_all(&model);
        if (i % 50 == 0) {
            must(meta_commit(model.txn));
            must(meta_begin_write(meta, &model.txn));
        }
    }
    must(meta_commit(model.txn));
    meta_close(meta);
    must(meta_verify(dir, NULL, NULL));
    remove_pool(dir);
}

static void test_extent_bounds(void **state)
{
    struct meta_extent extent;
    struct meta_txn *txn;
    struct meta *meta;
    char dir[64];

    (void)state;
    new_pool(dir);
    must(meta_open(dir, false, &meta));
    must(meta_begin_write(meta, &txn));
    add_file(txn, 2, "it", 0, 0);
    extent = (struct meta_extent){(UINT64_C(1) << 32) - 2, 5, 2, false};
    must(meta_extent_insert(txn, 2, &extent));
    assert_int_equal(meta_extent_shift(txn, 2, 7, 1), -EFBIG);
    extent.count = 3;
    assert_int_equal(meta_extent_insert(txn, 2, &extent), -EFBIG);
    must(meta_extent_before(txn, 2, UINT64_MAX, &extent));
    assert_int_equal(extent.block, 5);
    assert_int_equal(meta_extent_before(txn, 2, extent.page, &extent), -ENOENT);
    meta_abort(txn);
    meta_close(meta);
    remove_pool(dir);
}

/* --- transactions --- */

static uint64_t next_ino(struct meta_txn *txn)
{
    struct meta_super super;

    must(meta_super_get(txn, &super));
    return super.next_ino;
}

static void raise_next_ino(struct meta *meta)
{
    struct meta_super super;
    struct meta_txn *txn;

    must(meta_begin_write(meta, &txn));
    must(meta_super_get(txn, &super));
    super.next_ino++;
    must(meta_super_put(txn, &super));
    must(meta_commit(txn));
}

static void test_snapshot(void **state)
{
    struct meta_txn *reader, *writer;
    struct meta *meta;
    char dir[64];

    (void)state;
    new_pool(dir);
    must(meta_open(dir, false, &meta));
    must(meta_begin_read(meta, &reader));
    assert_int_equal(next_ino(reader), 2);
    raise_next_ino(meta);
    assert_int_equal(next_ino(reader), 2);
    assert_int_equal(meta_inode_put(reader, 1, &small_root), -EROFS);
    meta_end_read(reader);
    must(meta_begin_read(meta, &reader));
    assert_int_equal(next_ino(reader), 3);
    must(meta_begin_write(meta, &writer));
    must(meta_inode_del(writer, 1));
    meta_abort(writer);
    meta_end_read(reader);
    must(meta_begin_read(meta, &reader));
    must(meta_inode_get(reader, 1, &(struct meta_inode){0}));
    meta_end_read(reader);
    meta_close(meta);
    remove_pool(dir);
}

#define THREADS 4
#define ROUNDS 1000

/* As space_mutex does in a pool: when a write transaction begins, no other is under way. */
static pthread_mutex_t writers_mutex = PTHREAD_MUTEX_INITIALIZER;

static void *count_up(void *arg)
{
    struct meta_txn *txn;

    for (int i = 0; i < ROUNDS; i++) {
        pthread_mutex_lock(&writers_mutex);
        raise_next_ino(arg);
        pthread_mutex_unlock(&writers_mutex);
        must(meta_begin_read(arg, &txn));
        assert_true(next_ino(txn) > 2);
        meta_end_read(txn);
        if (i % 500 == 0)
            meta_thread_end(arg);
    }
    return NULL;
}

static void test_threads(void **state)
{
    pthread_t threads[THREADS];
    struct meta_txn *txn;
    struct meta *meta;
    char dir[64];

    (void)state;
    new_pool(dir);
    must(meta_open(dir, false, &meta));
    for (int round = 0; round < 20; round++) { /* more threads than slots, four at a time */
        for (int i = 0; i < THREADS; i++)
            assert_int_equal(pthread_create(&threads[i], NULL, count_up, meta), 0);
        for (int i = 0; i < THREADS; i++)
            pthread_join(threads[i], NULL);
    }
    must(meta_begin_read(meta, &txn));
    assert_int_equal(next_ino(txn), 2 + 20 * THREADS * ROUNDS);
    meta_end_read(txn);
    meta_reap_readers(meta);
    must(meta_sync(meta));
    meta_close(meta);
    remove_pool(dir);
}

#define POOLS 9

struct meeting {
    struct meta *metas[POOLS];
    pthread_barrier_t read, closed;
};

static void *outlive(void *arg)
{
    struct meeting *meeting = arg;
    struct meta_txn *txns[POOLS];

    for (int i = 0; i < POOLS; i++)
        must(meta_begin_read(meeting->metas[i], &txns[i]));
    for (int i = 0; i < POOLS; i++)
        meta_end_read(txns[i]);
    pthread_barrier_wait(&meeting->read);
    pthread_barrier_wait(&meeting->closed);
    return NULL;
}

/* A thread that used several pools ends after some of them are closed and others are not. */
static void test_thread_outlives_pools(void **state)
{
    struct meeting meeting;
    char dirs[POOLS][64];
    pthread_t thread;

    (void)state;
    pthread_barrier_init(&meeting.read, NULL, 2);
    pthread_barrier_init(&meeting.closed, NULL, 2);
    for (int i = 0; i < POOLS; i++) {
        new_pool(dirs[i]);
        must(meta_open(dirs[i], false, &meeting.metas[i]));
    }
    assert_int_equal(pthread_create(&thread, NULL, outlive, &meeting), 0);
    pthread_barrier_wait(&meeting.read);
    for (int i = 0; i < POOLS; i += 2)
        meta_close(meeting.metas[i]);
    pthread_barrier_wait(&meeting.closed);
    pthread_join(thread, NULL);
    for (int i = 1; i < POOLS; i += 2)
        meta_close(meeting.metas[i]);
    for (int i = 0; i < POOLS; i++)
        remove_pool(dirs[i]);
}

/* The child opens the pool itself; what it inherited is left alone, also when its thread ends. */
static void *child_work(void *arg)
{
    struct meta *meta;

    if (meta_open(arg, false, &meta))
        _exit(1);
    raise_next_ino(meta);
    meta_close(meta);
    return NULL;
}

static void test_fork(void **state)
{
    struct meta_txn *txn;
    struct meta *meta;
    char dir[64];
    int status;

    (void)state;
    new_pool(dir);
    must(meta_open(dir, false, &meta));
    must(meta_begin_read(meta, &txn));
    meta_end_read(txn);
    pid_t child = fork();
    if (child == 0) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, child_work, dir) || pthread_join(thread, NULL))
            _exit(2);
        child_work(dir);
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    must(meta_begin_read(meta, &txn));
    assert_int_equal(next_ino(txn), 4);
    meta_end_read(txn);
    meta_close(meta);
    remove_pool(dir);
}

/* A process killed inside its transaction leaves no trace of it, and nobody waits. */
static void test_killed_writer(void **state)
{
    struct meta_txn *txn;
    struct meta *meta;
    char dir[64];
    int status;

    (void)state;
    new_pool(dir);
    for (int i = 0; i < 20; i++) {
        pid_t child = fork();
        if (child == 0) {
            if (meta_open(dir, false, &meta) || meta_begin_write(meta, &txn))
                _exit(1);
            for (uint64_t ino = 10; ino < 200; ino++)
                if (meta_inode_put(txn, ino, &small_root))
                    _exit(1);
            _exit(0);
        }
        must(meta_open(dir, false, &meta));
        raise_next_ino(meta);
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_int_equal(status, 0);
        must(meta_begin_write(meta, &txn));
        assert_int_equal(next_ino(txn), 3 + i);
        assert_int_equal(meta_inode_get(txn, 10, &(struct meta_inode){0}), -ENOENT);
        must(meta_commit(txn));
        meta_close(meta);
        must(meta_verify(dir, NULL, NULL));
    }
    remove_pool(dir);
}

/* A full file system is -ENOSPC, not SIGBUS, though LMDB writes through a map of a sparse file. */
static void test_no_memory(void **state)
{
    char dir[64] = "/dev/shm/holdfast-meta-XXXXXX";
    struct meta_txn *txn;
    struct meta *meta;
    int rc = 0;

    (void)state;
    assert_non_null(mkdtemp(dir));
    if (mount("none", dir, "tmpfs", 0, "size=8m")) {
        rmdir(dir);
        print_message("may not mount here\n");
        skip();
    }
    must(meta_create(dir, &small_super, &small_root));
    must(meta_open(dir, false, &meta));
    for (uint64_t ino = 2; rc == 0; ino += 100) {
        must(meta_begin_write(meta, &txn));
        for (uint64_t i = 0; rc == 0 && i < 100; i++)
            rc = meta_inode_put(txn, ino + i * 7919, &small_root);
        if (rc)
            meta_abort(txn);
        else
            rc = meta_commit(txn);
        if (rc == 0)
            rc = meta_begin_write(meta, &txn) ? -ENOSPC : meta_commit(txn);
    }
    assert_int_equal(rc, -ENOSPC);
    meta_close(meta);
    must(meta_verify(dir, NULL, NULL));
    assert_int_equal(umount(dir), 0);
    assert_int_equal(rmdir(dir), 0);
}

/* Written with pwrite and synced instead of through the map. */
static void test_durable(void **state)
{
    struct meta_super super = small_super;
    struct meta *meta;
    char dir[64];

    (void)state;
    super.flags = 1;
    new_pool_of(&super, dir);
    must(meta_open(dir, false, &meta));
    for (int i = 0; i < 50; i++)
        raise_next_ino(meta);
    meta_close(meta);
    must(meta_verify(dir, NULL, NULL));
    remove_pool(dir);
}

/* ---- files in one go ---- */

static void test_files(void **state)
{
    struct meta_file made = {.inode = {.mode = S_IFREG | 0600, .nlink = 1, .size = 7},
                             .count = 4,
                             .runs = {{0, 100, 2, true},
                                      {2, 102, 1, true}, /* goes on */
                                      {3, 103, 1, false},
                                      {9, 50, 3, false}}};
    struct meta_extent extent = {20, 60, 1, false};
    struct meta_file found;
    struct meta_txn *txn;
    struct meta *meta;
    char dir[64];

    (void)state;
    new_pool(dir);
    must(meta_open(dir, false, &meta));
    must(meta_begin_write(meta, &txn));
    assert_int_equal(meta_file_get(txn, 5, &found), -ENOENT);
    must(meta_file_put(txn, 5, &made));
    must(meta_inode_put(txn, 6, &small_root));
    must(meta_file_get(txn, 5, &found));
    assert_int_equal(found.inode.size, 7);
    assert_int_equal(found.count, 3);
    assert_false(found.more);
    assert_int_equal(found.runs[0].count, 3);
    assert_true(found.runs[0].shared && !found.runs[1].shared);
    assert_int_equal(found.runs[2].block, 50);
    must(meta_xattr_put(txn, 5, "user.a", "b", 1));
    must(meta_file_get(txn, 5, &found));
    assert_true(found.more && found.count == 3);
    must(meta_xattr_del(txn, 5, "user.a"));
    for (; extent.page < 20 + 2 * META_FILE_RUNS; extent.page += 2)
        must(meta_extent_insert(txn, 5, &extent));
    must(meta_file_get(txn, 5, &found));
    assert_true(found.more && found.count == META_FILE_RUNS);
    must(meta_file_get(txn, 6, &found)); /* the last of all records */
    assert_true(!found.more && found.count == 0);
    must(meta_dirent_add(txn, 6, "a", 5, S_IFREG));
    assert_int_equal(meta_dirent_add(txn, 6, "a", 7, S_IFREG), -EEXIST);
    must(meta_file_get(txn, 6, &found));
    assert_true(found.more);
    must(meta_commit(txn));
    meta_close(meta);
    remove_pool(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_files),         cmocka_unit_test(test_create_open),
        cmocka_unit_test(test_features),      cmocka_unit_test(test_names),
        cmocka_unit_test(test_attributes),    cmocka_unit_test(test_inodes),
        cmocka_unit_test(test_set_aside),     cmocka_unit_test(test_extents),
        cmocka_unit_test(test_extent_bounds), cmocka_unit_test(test_snapshot),
        cmocka_unit_test(test_threads),       cmocka_unit_test(test_thread_outlives_pools),
        cmocka_unit_test(test_fork),          cmocka_unit_test(test_killed_writer),
        cmocka_unit_test(test_no_memory),     cmocka_unit_test(test_durable),
    };

    return cmocka_run_group_tests_name("meta", tests, NULL, NULL);
}
