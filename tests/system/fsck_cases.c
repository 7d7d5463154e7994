/* SPDX-License-Identifier: MIT */
/*
 * Damages that need more than a record: memory that is gone, records at which calls would turn for
 * ever, directories and files without names. Keys and values as docs/FORMAT.md has them.
 */
#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <lmdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define POOL "pool"
#define LAST_INO ((UINT64_C(1) << 62) - 1)

static char said[65536];

static void on_problem(void *arg, const char *sentence)
{
    size_t len = strlen(said);

    (void)arg;
    snprintf(said + len, sizeof(said) - len, "%s\n", sentence);
}

static int check(uint32_t flags, struct hf_check_result *result)
{
    *result = (struct hf_check_result){.size = sizeof(*result)};
    said[0] = '\0';
    return hf_pool_check(test_path(POOL), flags, on_problem, NULL, NULL, result);
}

/* One run mends everything. */
static void expect_mended(void)
{
    struct hf_check_result result;

    EXPECT_EQ(check(0, &result), 0);
    EXPECT(result.problems != 0);
    EXPECT_EQ(check(HF_CHECK_REPAIR, &result), 0);
    EXPECT_EQ(result.repaired, result.problems);
    EXPECT_EQ(check(0, &result), 0);
    if (result.problems)
        FAIL("after the repair:\n%s", said);
}

static void fresh(void)
{
    char command[600];
    struct hf_pool *pool;

    snprintf(command, sizeof(command), "rm -rf '%s'", test_path(POOL));
    EXPECT_EQ(system(command), 0);
    pool = test_pool_new(POOL, TEST_MIB(8));
    EXPECT_EQ(hf_close(test_file_filled(pool, "/file", 1, 4)), 0); /* inode 2 */
    EXPECT_EQ(hf_mkdir(pool, "/dir", 0700), 0);                    /* 3 */
    EXPECT_EQ(hf_close(test_file_filled(pool, "/dir/below", 2, 3)), 0);
    test_pool_close(pool);
}

static void expect_file(struct hf_pool *pool, const char *path, uint64_t stamp, uint64_t pages)
{
    struct hf_file *file = test_file(pool, path);

    EXPECT_EQ(test_size(file), pages * TEST_PAGE);
    test_expect_pages(file, stamp, 0, pages);
    EXPECT_EQ(hf_close(file), 0);
}

/* ----------------------------------------------------------------------------- records --- */

struct key {
    size_t len;
    unsigned char bytes[300];
};

static struct key key_of(unsigned table, uint64_t number, unsigned part, const void *rest,
                         size_t rest_len)
{
    struct key key = {.len = part ? 10 + rest_len : 9};

    number = __builtin_bswap64(number);
    key.bytes[0] = (unsigned char)table;
    memcpy(key.bytes + 1, &number, sizeof(number));
    key.bytes[9] = (unsigned char)part;
    if (rest_len)
        memcpy(key.bytes + 10, rest, rest_len);
    return key;
}

static struct key attributes_of(uint64_t ino)
{
    return key_of(0x10, ino, 1, NULL, 0);
}

static struct key entry_of(uint64_t dir, const char *name)
{
    return key_of(0x10, dir, 3, name, strlen(name));
}

struct edit {
    MDB_env *env;
    MDB_txn *txn;
    MDB_dbi dbi;
};

static struct edit edit_begin(void)
{
    struct edit edit;

    EXPECT_EQ(mdb_env_create(&edit.env), 0);
    EXPECT_EQ(mdb_env_open(edit.env, test_path(POOL "/meta"),
                           MDB_NOSYNC | MDB_WRITEMAP | MDB_NOLOCK, 0600),
              0);
    EXPECT_EQ(mdb_txn_begin(edit.env, NULL, 0, &edit.txn), 0);
    EXPECT_EQ(mdb_dbi_open(edit.txn, NULL, 0, &edit.dbi), 0);
    return edit;
}

static void edit_end(struct edit *edit)
{
    EXPECT_EQ(mdb_txn_commit(edit->txn), 0);
    mdb_env_close(edit->env);
}

static void get(struct edit *edit, struct key key, void *out, size_t len)
{
    MDB_val at = {key.len, key.bytes}, value;

    EXPECT_EQ(mdb_get(edit->txn, edit->dbi, &at, &value), 0);
    EXPECT_EQ(value.mv_size, len);
    memcpy(out, value.mv_data, len);
}

static void put(struct edit *edit, struct key key, const void *bytes, size_t len)
{
    MDB_val at = {key.len, key.bytes}, value = {len, (void *)bytes};

    EXPECT_EQ(mdb_put(edit->txn, edit->dbi, &at, &value, 0), 0);
}

static void erase(struct edit *edit, struct key key)
{
    MDB_val at = {key.len, key.bytes};

    EXPECT_EQ(mdb_del(edit->txn, edit->dbi, &at, NULL), 0);
}

static void set32(void *record, size_t at, uint32_t value)
{
    memcpy((char *)record + at, &value, sizeof(value));
}

static void set64(void *record, size_t at, uint64_t value)
{
    memcpy((char *)record + at, &value, sizeof(value));
}

/* A field of an inode's attributes. */
static void set_attribute(uint64_t ino, size_t at, uint32_t value)
{
    struct edit edit = edit_begin();
    unsigned char record[88];

    get(&edit, attributes_of(ino), record, sizeof(record));
    set32(record, at, value);
    put(&edit, attributes_of(ino), record, sizeof(record));
    edit_end(&edit);
}

static void put_entry(uint64_t dir, const char *name, uint64_t ino, uint32_t type)
{
    struct edit edit = edit_begin();
    unsigned char record[16] = {0};

    set64(record, 0, ino);
    set32(record, 8, type);
    put(&edit, entry_of(dir, name), record, sizeof(record));
    edit_end(&edit);
}

static struct key extent_of(uint64_t ino, uint64_t page)
{
    page = __builtin_bswap64(page);
    return key_of(0x10, ino, 2, &page, sizeof(page));
}

static void move_record(struct edit *edit, struct key from, struct key to, size_t len)
{
    unsigned char record[256];

    get(edit, from, record, len);
    erase(edit, from);
    put(edit, to, record, len);
}

/* -------------------------------------------------------------------- memory that is gone --- */

static void expect_gone(const char *sentence)
{
    struct hf_check_result result;

    for (uint32_t flags = 0; flags < 2; flags++) {
        EXPECT_EQ(check(flags ? HF_CHECK_REPAIR : 0, &result), 0);
        EXPECT_EQ(result.problems, 1);
        EXPECT_EQ(result.repaired, 0);
        EXPECT_EQ(result.inodes, 4);
        if (!strstr(said, sentence) || !strstr(said, "2 files with 28672 bytes"))
            FAIL("said: %s", said);
    }
}

static void memory_that_is_gone(void)
{
    char kept[600], data[600];
    struct hf_pool *pool;
    struct hf_file *file;
    int fd;

    fresh();
    snprintf(data, sizeof(data), "%s", test_path(POOL "/data"));
    snprintf(kept, sizeof(kept), "%s", test_path("kept"));
    EXPECT_EQ(rename(data, kept), 0);
    expect_gone("is not there");
    fd = open(data, O_RDWR | O_CREAT, 0600);
    EXPECT_OK(fd);
    expect_gone("has 0 bytes");
    EXPECT_EQ(ftruncate(fd, (off_t)TEST_MIB(8)), 0);
    close(fd);
    expect_gone("is empty");
    EXPECT_EQ(rename(kept, data), 0); /* nothing was taken away for it */
    test_pool_check(POOL);
    pool = test_pool_open(POOL);
    expect_file(pool, "/file", 1, 4);
    expect_file(pool, "/dir/below", 2, 3);
    test_pool_close(pool);
    EXPECT_EQ(truncate(data, (off_t)TEST_MIB(6)), 0); /* nothing was in that: the size is smaller */
    expect_mended();
    pool = test_pool_open(POOL);
    expect_file(pool, "/file", 1, 4);
    test_pool_close(pool);

    pool = test_pool_new("zeros", TEST_MIB(8)); /* memory that only looks unused */
    file = test_file(pool, "/allocated");
    EXPECT_EQ(hf_fallocate(file, 0, 0, 8 * TEST_PAGE, NULL), 0);
    EXPECT_EQ(hf_close(file), 0);
    test_pool_close(pool);
    test_pool_check("zeros");
}

/* -------------------------------------------------- calls that would look again for ever --- */

static void expect_damage(struct hf_pool *pool, int unlinked)
{
    struct hf_file *file;

    EXPECT_EQ(hf_unlink(pool, "/file", NULL), unlinked);
    EXPECT_EQ(hf_rename(pool, "/file", "/other", 0), -EUCLEAN);
    EXPECT_EQ(hf_rename(pool, "/dir/below", "/file", 0), -EUCLEAN);
    EXPECT(hf_open(pool, "/file", O_RDWR, 0, &file) < 0);
}

static void names_that_contradict(void)
{
    static const uint32_t types[] = {S_IFIFO, S_IFCHR, S_IFDIR};
    struct hf_pool *pool;

    fresh();
    set_attribute(2, 12, 0); /* no links */
    pool = test_pool_open(POOL);
    expect_damage(pool, -EUCLEAN);
    test_pool_close(pool);
    expect_mended();
    for (unsigned i = 0; i < 3; i++) {
        fresh();
        put_entry(1, "file", 2, types[i]);
        pool = test_pool_open(POOL);
        expect_damage(pool, types[i] == S_IFDIR ? -EISDIR : -EUCLEAN);
        test_pool_close(pool);
        expect_mended();
        pool = test_pool_open(POOL);
        expect_file(pool, "/file", 1, 4);
        EXPECT_EQ(hf_unlink(pool, "/file", NULL), 0);
        test_pool_close(pool);
    }
}

/* An extent of 2^32-1 pages in each of many files: no page of them is looked at alone. */
static void extents_without_end(void)
{
    struct edit edit;
    unsigned char extent[16] = {0};
    uint64_t page = 0;

    fresh();
    edit = edit_begin();
    set64(extent, 0, UINT64_C(1) << 40);
    set64(extent, 8, UINT32_MAX);
    for (uint64_t ino = 100; ino < 1100; ino++) {
        set64(extent, 0, ino % 2 ? UINT64_C(1) << 40 : 5);
        put(&edit, key_of(0x10, ino, 2, &page, sizeof(page)), extent, sizeof(extent));
    }
    edit_end(&edit);
    expect_mended();
}

/* --------------------------------------------------------------------------- far numbers --- */

static void rename_inode(uint64_t from, uint64_t to)
{
    uint64_t page = 0;
    struct edit edit = edit_begin();
    unsigned char attributes[88], extent[16], entry[16];

    get(&edit, attributes_of(from), attributes, sizeof(attributes));
    get(&edit, key_of(0x10, from, 2, &page, 8), extent, sizeof(extent));
    get(&edit, entry_of(1, "file"), entry, sizeof(entry));
    erase(&edit, attributes_of(from));
    erase(&edit, key_of(0x10, from, 2, &page, 8));
    set64(entry, 0, to);
    put(&edit, attributes_of(to), attributes, sizeof(attributes));
    put(&edit, key_of(0x10, to, 2, &page, 8), extent, sizeof(extent));
    put(&edit, entry_of(1, "file"), entry, sizeof(entry));
    edit_end(&edit);
}

/* The last number there is is a legal one, and does not use up those before it. */
static void expect_last_number(uint64_t next_ino)
{
    struct hf_check_result result;
    unsigned char super[256];
    struct hf_pool *pool;
    struct edit edit;
    struct stat st;

    fresh();
    rename_inode(2, LAST_INO);
    edit = edit_begin();
    get(&edit, (struct key){1, {1}}, super, sizeof(super));
    if (next_ino)
        set64(super, 104, next_ino);
    put(&edit, (struct key){1, {1}}, super, sizeof(super));
    edit_end(&edit);
    for (unsigned run = 0; run < 3; run++)
        EXPECT_EQ(check(HF_CHECK_REPAIR, &result), 0);
    EXPECT_EQ(result.problems, 0);
    pool = test_pool_open(POOL);
    expect_file(pool, "/file", 1, 4);
    EXPECT_EQ(hf_stat(pool, "/file", 0, &st), 0);
    EXPECT_EQ(st.st_ino, LAST_INO);
    for (unsigned i = 0; i < 3; i++) {
        char path[16];

        snprintf(path, sizeof(path), "/new%u", i);
        EXPECT_EQ(hf_mkdir(pool, path, 0700), 0);
    }
    test_pool_close(pool);
    test_pool_check(POOL);
}

static void lone_record(uint64_t ino)
{
    unsigned char attributes[88];
    struct hf_check_result result;
    struct hf_pool *pool;
    struct edit edit;

    fresh();
    edit = edit_begin();
    get(&edit, attributes_of(2), attributes, sizeof(attributes));
    put(&edit, attributes_of(ino), attributes, sizeof(attributes));
    edit_end(&edit);
    if (ino > LAST_INO)
        EXPECT_EQ(hf_pool_open(test_path(POOL), 0, &pool), -EUCLEAN);
    expect_mended();
    for (unsigned run = 0; run < 3; run++) {
        EXPECT_EQ(check(HF_CHECK_REPAIR, &result), 0);
        EXPECT_EQ(result.problems, 0);
        pool = test_pool_open(POOL);
        expect_file(pool, "/file", 1, 4);
        EXPECT_EQ(hf_close(test_file_filled(pool, "/more", 3, 1)), 0);
        test_pool_close(pool);
    }
}

static void far_numbers(void)
{
    expect_last_number(0);
    expect_last_number(LAST_INO + 1); /* as a pool has it that has used them up */
    lone_record(LAST_INO);
    lone_record(LAST_INO - 1);
    lone_record(LAST_INO - 2);
    lone_record(LAST_INO + 1);
    lone_record(UINT64_MAX);
    lone_record(0);
}

/* ------------------------------------------------------------ under another inode's number --- */

#define NOBODY 77u

static void expect_nothing_lost(struct hf_pool *pool)
{
    struct stat st;

    EXPECT_EQ(hf_stat(pool, "/lost+found", 0, &st), -ENOENT);
    expect_file(pool, "/file", 1, 4);
    expect_file(pool, "/dir/below", 2, 3);
}

/* Inode 5 has lacked its second extent since that was moved. */
static void extent_elsewhere(uint64_t to)
{
    struct hf_pool *pool;
    struct hf_file *file;
    struct edit edit;

    fresh();
    pool = test_pool_open(POOL);
    file = test_file(pool, "/sparse");
    test_write_pages(file, 3, 0, 1);
    test_write_pages(file, 3, 10, 2);
    EXPECT_EQ(hf_close(file), 0);
    test_pool_close(pool);
    edit = edit_begin();
    move_record(&edit, extent_of(5, 10), extent_of(to, 10), 16);
    edit_end(&edit);
    expect_mended();
    pool = test_pool_open(POOL);
    expect_nothing_lost(pool);
    file = test_file(pool, "/sparse");
    test_expect_pages(file, 3, 0, 1);
    test_expect_pages(file, 3, 10, 2);
    EXPECT_EQ(hf_close(file), 0);
    test_pool_close(pool);
}

static void attributes_elsewhere(uint64_t ino, const char *path)
{
    struct stat was, is;
    struct hf_pool *pool;
    struct edit edit;

    fresh();
    pool = test_pool_open(POOL);
    EXPECT_EQ(hf_mkdir(pool, "/dir/deeper", 0700), 0);
    EXPECT_EQ(hf_mkdir(pool, "/empty", 0700), 0);
    EXPECT_EQ(hf_symlink(pool, "where it leads", "/link"), 0); /* 7 */
    EXPECT_EQ(hf_stat(pool, "/link", HF_AT_NOFOLLOW, &was), 0);
    EXPECT_EQ(was.st_ino, 7);
    if (ino != 7)
        EXPECT_EQ(hf_chmod(pool, path, 0614), 0);
    EXPECT_EQ(hf_stat(pool, path, HF_AT_NOFOLLOW, &was), 0);
    test_pool_close(pool);
    edit = edit_begin();
    move_record(&edit, attributes_of(ino), attributes_of(NOBODY), 88);
    edit_end(&edit);
    expect_mended();
    pool = test_pool_open(POOL);
    EXPECT_EQ(hf_stat(pool, path, HF_AT_NOFOLLOW, &is), 0);
    EXPECT_EQ(is.st_ino, ino);
    EXPECT_EQ(is.st_mode, was.st_mode);
    EXPECT_EQ(is.st_mtim.tv_nsec, was.st_mtim.tv_nsec);
    expect_nothing_lost(pool);
    test_pool_close(pool);
}

static void moved_records(void)
{
    extent_elsewhere(2);
    extent_elsewhere(NOBODY);
    attributes_elsewhere(2, "/file");
    attributes_elsewhere(3, "/dir");
    attributes_elsewhere(7, "/link");
}

/* ------------------------------------------------------------------------- no room left --- */

/* An extent that has all free blocks, and one block of which a detached run, or another extent of
 * the file, has too. What two files have needs a copy. There is room for it only once the extent is
 * as long as its inode says, or as its file is. */
static void extent_of_all(bool other_extent)
{
    unsigned char all[16], third[16], run[24] = {0};
    uint64_t first;
    struct hf_pool *pool;
    struct edit edit;

    fresh();
    pool = test_pool_open(POOL);
    EXPECT_EQ(hf_close(test_file_filled(pool, "/third", 3, 3)), 0); /* 5 */
    test_pool_close(pool);
    edit = edit_begin();
    get(&edit, extent_of(2, 0), all, sizeof(all));
    memcpy(&first, all, sizeof(first));
    set64(all, 8, UINT64_C(1) << 50);
    put(&edit, extent_of(2, 0), all, sizeof(all));
    get(&edit, extent_of(4, 0), third, sizeof(third));
    put(&edit, extent_of(5, 0), third, sizeof(third));
    set64(all, 0, first + 1);
    set64(all, 8, 5); /* more than the inode has */
    set64(run, 0, 1);
    if (other_extent)
        put(&edit, extent_of(2, 1000), all, sizeof(all));
    else
        put(&edit, key_of(0x20, first, 0, NULL, 0), run, sizeof(run));
    edit_end(&edit);
    expect_mended();
    pool = test_pool_open(POOL);
    expect_nothing_lost(pool);
    expect_file(pool, "/third", 2, 3);
    test_pool_close(pool);
}

enum endless_run { NO_RUN, RUN_AT_UNUSED, RUN_OF_ALL };

/* Two files have a block, and nothing tells which is right. No block is free that was ever used, so
 * the copy goes into blocks that were not. Those are not taken by a detached run without end. Where
 * all blocks were used, such a run gives some back. */
static void no_used_block_is_free(enum endless_run endless_run)
{
    const struct key super_key = {.len = 1, .bytes = {1}};
    unsigned char below[16], super[256], run[24] = {0};
    struct hf_pool *pool;
    struct edit edit;
    uint64_t block;

    fresh();
    pool = test_pool_open(POOL);
    EXPECT_EQ(hf_close(test_file_filled(pool, "/third", 3, 3)), 0); /* 5 */
    test_pool_close(pool);
    edit = edit_begin();
    get(&edit, extent_of(4, 0), below, sizeof(below));
    put(&edit, extent_of(5, 0), below, sizeof(below));
    memcpy(&block, below, sizeof(block));
    get(&edit, super_key, super, sizeof(super));
    set64(super, 120, /* fresh_block */
          endless_run == RUN_OF_ALL ? TEST_MIB(8) / TEST_PAGE
                                    : block + 3 + (endless_run == RUN_AT_UNUSED));
    put(&edit, super_key, super, sizeof(super));
    set64(run, 0, UINT64_C(1) << 50);
    if (endless_run)
        put(&edit, key_of(0x20, block + 3, 0, NULL, 0), run, sizeof(run));
    edit_end(&edit);
    expect_mended();
    pool = test_pool_open(POOL);
    expect_file(pool, "/dir/below", 2, 3);
    expect_file(pool, "/third", 2, 3);
    test_pool_close(pool);
}

/* ---------------------------------------------------------------------- without a name --- */

/* What opening would have taken away with it. */
static void orphan_directory(void)
{
    struct hf_pool *pool;
    struct edit edit;

    fresh();
    set_attribute(3, 12, 0);
    edit = edit_begin();
    erase(&edit, entry_of(1, "dir"));
    put(&edit, key_of(0x30, 3, 0, NULL, 0), "", 0);
    edit_end(&edit);
    for (unsigned i = 0; i < 2; i++)
        test_pool_close(test_pool_open(POOL));
    expect_mended();
    pool = test_pool_open(POOL);
    expect_file(pool, "/lost+found/#3/below", 2, 3);
    test_pool_close(pool);
    test_pool_check(POOL);
}

static void die_with_device_pin(void *arg)
{
    struct hf_pool *pool = test_pool_open("small");
    struct hf_file *file = test_file_filled(pool, "/pinned", 5, 8);
    struct iovec iov[8];

    (void)arg;
    test_pin(file, 0, 2 * TEST_PAGE, HF_PIN_READ | HF_PIN_RDMA, iov, 8);
    EXPECT_EQ(hf_truncate(file, TEST_PAGE, &test_detach), 0);
    _exit(0);
}

/* More files than there are entries lose their names while a dead process's device may still write.
 * Each deletion wants an entry, and making room must not begin the next one. */
static void orphans_without_room(void)
{
    struct hf_pool_options options = {.size = sizeof(options),
                                      .pool_bytes = TEST_MIB(8),
                                      .max_processes = 3,
                                      .max_threads = 8,
                                      .max_files = 24,
                                      .max_leases = 16};
    struct hf_pool *pool;
    struct hf_file *file;
    char path[24];
    int rc;

    EXPECT_EQ(hf_pool_create(test_path("small"), &options), 0);
    test_join(test_fork(die_with_device_pin, NULL));
    pool = test_pool_open("small");
    for (unsigned i = 0; i < 200; i++) {
        snprintf(path, sizeof(path), "/many%u", i);
        rc = hf_open(pool, path, O_RDWR | O_CREAT, 0600, &file);
        EXPECT(rc == 0 || rc == -ENFILE);
        if (rc)
            continue;
        test_write_pages(file, i, 0, 1);
        EXPECT_EQ(hf_unlink(pool, path, &test_detach), 0);
        EXPECT_EQ(hf_close(file), 0);
    }
    test_pool_close(pool);
}

static void fsck_cases(void)
{
    memory_that_is_gone();
    names_that_contradict();
    extents_without_end();
    far_numbers();
    moved_records();
    extent_of_all(false);
    extent_of_all(true);
    no_used_block_is_free(NO_RUN);
    no_used_block_is_free(RUN_AT_UNUSED);
    no_used_block_is_free(RUN_OF_ALL);
    orphan_directory();
    orphans_without_room();
}

TEST_SCENARIO(fsck_cases)
