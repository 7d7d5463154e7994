/* SPDX-License-Identifier: MIT */
/*
 * meta_check(): each kind of damage is found, named, left alone without repair, and gone after it.
 * Whatever is done to the records at random, one repair makes a pool without problems.
 *
 *     meta_check_test [ROUNDS [SEED]]
 */
#include "meta_checked.h"

#include <errno.h>
#include <fcntl.h>
#include <lmdb.h>
#include <time.h>

static unsigned rounds = 300;
static unsigned seed;

/* --- a pool to damage --- */

enum { DIR_A = 2, DIR_B = 3, FILE_C = 4, FILE_D = 5, LINK_E = 6, ORPHAN_F = 7, NEXT_INO = 8 };

static void add_dir(struct meta_txn *txn, uint64_t ino, uint64_t parent, const char *name,
                    uint32_t nlink)
{
    struct meta_inode dir = {.mode = S_IFDIR | 0755, .nlink = nlink, .parent = parent};

    must(meta_inode_put(txn, ino, &dir));
    must(meta_dirent_put(txn, parent, name, ino, S_IFDIR));
}

/* /a, /a/b, /c (blocks 0-9 and 100-104), /a/b/c (the same), /d (20-24), /e -> c, an open file,
 * a detached run. */
static void fill(struct meta_txn *txn)
{
    struct meta_super super = small_super;
    struct meta_inode inode;

    add_dir(txn, DIR_A, META_ROOT_INO, "a", 3);
    add_dir(txn, DIR_B, DIR_A, "b", 2);
    add_file(txn, FILE_C, "c", 0, 10);
    must(meta_extent_insert(txn, FILE_C, &(struct meta_extent){50, 100, 5, false}));
    must(meta_dirent_put(txn, DIR_B, "c", FILE_C, S_IFREG));
    must(meta_inode_get(txn, FILE_C, &inode));
    inode.nlink = 2;
    inode.blocks = 15;
    must(meta_inode_put(txn, FILE_C, &inode));
    add_file(txn, FILE_D, "d", 20, 5);
    must(meta_xattr_put(txn, FILE_D, "user.x", "1", 1));
    inode = (struct meta_inode){.mode = S_IFLNK | 0777, .nlink = 1, .size = 1};
    must(meta_inode_put(txn, LINK_E, &inode));
    must(meta_dirent_put(txn, META_ROOT_INO, "e", LINK_E, S_IFLNK));
    must(meta_symlink_put(txn, LINK_E, "c", 1));
    inode = (struct meta_inode){.mode = S_IFREG | 0600, .blocks = 1, .size = 99};
    must(meta_inode_put(txn, ORPHAN_F, &inode));
    must(meta_extent_insert(txn, ORPHAN_F, &(struct meta_extent){0, 200, 1, false}));
    must(meta_orphan_put(txn, ORPHAN_F));
    must(meta_detached_put(txn, &(struct meta_detached){300, 4, FILE_D, 90, false}));
    must(meta_inode_get(txn, META_ROOT_INO, &inode));
    inode.nlink = 3;
    must(meta_inode_put(txn, META_ROOT_INO, &inode));
    super.inodes = 7;
    super.next_ino = NEXT_INO;
    super.fresh_block = 304;
    must(meta_super_put(txn, &super));
}

static void new_full_pool(char dir[64])
{
    new_pool(dir);
    with_txn(dir, fill);
}

/* --- one damage after the other --- */

struct damage {
    const char *name;
    const char *sentence; /* what a report must hold */
    void (*apply)(struct meta_txn *txn);
    void (*expect)(struct meta_txn *txn); /* after the repair; may be null */
};

static struct meta_inode get(struct meta_txn *txn, uint64_t ino)
{
    struct meta_inode inode;

    must(meta_inode_get(txn, ino, &inode));
    return inode;
}

static void dangle(struct meta_txn *txn)
{
    must(meta_dirent_put(txn, DIR_A, "nowhere", 99, S_IFREG));
}

static void expect_no_dangling(struct meta_txn *txn)
{
    assert_int_equal(meta_dirent_get(txn, DIR_A, "nowhere", &(struct meta_dirent){0}), -ENOENT);
}

static void lose_file(struct meta_txn *txn)
{
    must(meta_dirent_del(txn, META_ROOT_INO, "d"));
}

static uint64_t lost_found(struct meta_txn *txn)
{
    struct meta_dirent entry;

    must(meta_dirent_get(txn, META_ROOT_INO, "lost+found", &entry));
    assert_int_equal(entry.ino, NEXT_INO);
    return entry.ino;
}

static void expect_found_file(struct meta_txn *txn)
{
    struct meta_dirent entry;

    must(meta_dirent_get(txn, lost_found(txn), "#5", &entry));
    assert_int_equal(entry.ino, FILE_D);
    assert_int_equal(get(txn, META_ROOT_INO).nlink, 4);
}

static void lose_dir(struct meta_txn *txn)
{
    must(meta_dirent_del(txn, META_ROOT_INO, "a"));
}

static void expect_found_dir(struct meta_txn *txn)
{
    struct meta_dirent entry;

    must(meta_dirent_get(txn, lost_found(txn), "#2", &entry));
    must(meta_dirent_get(txn, DIR_A, "b", &entry)); /* stayed with it */
    assert_int_equal(get(txn, DIR_A).parent, NEXT_INO);
    assert_int_equal(get(txn, NEXT_INO).nlink, 3);
}

static void make_cycle(struct meta_txn *txn)
{
    struct meta_inode inode = get(txn, DIR_A);

    must(meta_dirent_del(txn, META_ROOT_INO, "a"));
    must(meta_dirent_put(txn, DIR_B, "up", DIR_A, S_IFDIR));
    inode.parent = DIR_B;
    must(meta_inode_put(txn, DIR_A, &inode));
}

static void second_name(struct meta_txn *txn)
{
    must(meta_dirent_put(txn, META_ROOT_INO, "0", DIR_B, S_IFDIR)); /* comes before the right one */
}

static void expect_one_name(struct meta_txn *txn)
{
    assert_int_equal(meta_dirent_get(txn, META_ROOT_INO, "0", &(struct meta_dirent){0}), -ENOENT);
    must(meta_dirent_get(txn, DIR_A, "b", &(struct meta_dirent){0}));
}

static void wrong_type(struct meta_txn *txn)
{
    must(meta_dirent_put(txn, META_ROOT_INO, "d", FILE_D, S_IFDIR));
}

static void slash(struct meta_txn *txn)
{
    must(meta_dirent_put(txn, META_ROOT_INO, "x/y", FILE_D, S_IFREG));
}

static void dots(struct meta_txn *txn)
{
    must(meta_dirent_put(txn, DIR_A, "..", META_ROOT_INO, S_IFDIR));
}

static void wrong_nlink(struct meta_txn *txn)
{
    struct meta_inode inode = get(txn, FILE_C);

    inode.nlink = 9;
    must(meta_inode_put(txn, FILE_C, &inode));
}

static void expect_nlink(struct meta_txn *txn)
{
    assert_int_equal(get(txn, FILE_C).nlink, 2);
}

static void wrong_dir_nlink(struct meta_txn *txn)
{
    struct meta_inode inode = get(txn, DIR_A);

    inode.nlink = 2;
    must(meta_inode_put(txn, DIR_A, &inode));
}

static void wrong_parent(struct meta_txn *txn)
{
    struct meta_inode inode = get(txn, DIR_B);

    inode.parent = META_ROOT_INO;
    must(meta_inode_put(txn, DIR_B, &inode));
}

static void wrong_blocks(struct meta_txn *txn)
{
    struct meta_inode inode = get(txn, FILE_D);

    inode.blocks = 6;
    must(meta_inode_put(txn, FILE_D, &inode));
}

static void same_blocks(struct meta_txn *txn)
{
    must(meta_extent_insert(txn, FILE_D, &(struct meta_extent){10, 98, 10, false}));
}

/* Blocks 98, 99 and 105 to 107 were free; the middle is file c's. */
static void expect_hole(struct meta_txn *txn)
{
    struct meta_extent extent;

    must(meta_extent_find(txn, FILE_D, 10, &extent));
    assert_int_equal(extent.count, 2);
    must(meta_extent_find(txn, FILE_D, 12, &extent));
    assert_int_equal(extent.page, 17);
    assert_int_equal(extent.block, 105);
    assert_int_equal(get(txn, FILE_D).blocks, 10);
    must(meta_extent_find(txn, FILE_C, 50, &extent));
    assert_int_equal(extent.count, 5);
}

static void beyond_pool(struct meta_txn *txn)
{
    must(meta_extent_insert(txn, FILE_D, &(struct meta_extent){10, POOL_BLOCKS - 2, 4, false}));
}

static void blocks_under_dir(struct meta_txn *txn)
{
    must(meta_extent_insert(txn, DIR_B, &(struct meta_extent){0, 40, 1, false}));
}

static void expect_blocks_found(struct meta_txn *txn)
{
    struct meta_dirent entry;
    struct meta_extent extent;

    must(meta_dirent_get(txn, META_ROOT_INO, "lost+found", &entry));
    must(meta_dirent_get(txn, entry.ino, "#8", &entry));
    must(meta_extent_find(txn, 8, 0, &extent));
    assert_int_equal(extent.block, 40);
    assert_true(S_ISDIR(get(txn, DIR_B).mode));
}

static void fresh_blocks_under_dir(struct meta_txn *txn)
{
    must(meta_extent_insert(txn, DIR_B, &(struct meta_extent){0, 400, 1, false}));
}

static void expect_no_blocks_found(struct meta_txn *txn)
{
    assert_int_equal(meta_dirent_get(txn, META_ROOT_INO, "lost+found", &(struct meta_dirent){0}),
                     -ENOENT);
}

static void detached_in_use(struct meta_txn *txn)
{
    must(meta_detached_put(txn, &(struct meta_detached){2, 4, 0, 0, false}));
}

static void detached_twice(struct meta_txn *txn)
{
    must(meta_detached_put(txn, &(struct meta_detached){302, 1, 0, 0, false}));
}

static void no_orphan_record(struct meta_txn *txn)
{
    must(meta_orphan_del(txn, ORPHAN_F));
}

static void no_orphan_record_or_data(struct meta_txn *txn)
{
    struct meta_inode inode = get(txn, ORPHAN_F);

    inode.blocks = inode.size = 0;
    must(meta_inode_put(txn, ORPHAN_F, &inode));
    must(meta_extent_remove(txn, ORPHAN_F, 0, 1, nothing, NULL));
    must(meta_orphan_del(txn, ORPHAN_F));
}

static void expect_orphan(struct meta_txn *txn)
{
    uint64_t ino = 0;

    must(meta_orphan_next(txn, &ino));
    assert_int_equal(ino, ORPHAN_F);
}

static void named_orphan(struct meta_txn *txn)
{
    must(meta_orphan_put(txn, FILE_D));
}

static void linked_orphan(struct meta_txn *txn)
{
    struct meta_inode inode = get(txn, ORPHAN_F);

    inode.nlink = 1;
    must(meta_inode_put(txn, ORPHAN_F, &inode));
}

static void expect_rescued(struct meta_txn *txn)
{
    uint64_t ino = 0;

    must(meta_dirent_get(txn, lost_found(txn), "#7", &(struct meta_dirent){0}));
    assert_int_equal(meta_orphan_next(txn, &ino), -ENOENT);
}

static void orphan_of_nothing(struct meta_txn *txn)
{
    must(meta_orphan_put(txn, 77));
}

static void wrong_target_len(struct meta_txn *txn)
{
    must(meta_symlink_put(txn, LINK_E, "elsewhere", 9));
}

static void target_of_file(struct meta_txn *txn)
{
    must(meta_symlink_put(txn, FILE_D, "c", 1));
}

static void bad_xattr(struct meta_txn *txn)
{
    must(meta_xattr_put(txn, FILE_D, "nospace", "1", 1));
}

static void wrong_super(struct meta_txn *txn)
{
    struct meta_super super;

    must(meta_super_get(txn, &super));
    super.inodes = 3;
    super.next_ino = ORPHAN_F;
    super.fresh_block = 7;
    super.policy_kind = 44;
    super.quarantine_ns = UINT64_MAX;
    super.trim_above_bytes = 4097;
    must(meta_super_put(txn, &super));
}

static void expect_super(struct meta_txn *txn)
{
    struct meta_super super;

    must(meta_super_get(txn, &super));
    assert_int_equal(super.inodes, 7);
    assert_int_equal(super.next_ino, NEXT_INO);
    assert_int_equal(super.fresh_block, POOL_BLOCKS);
    assert_int_equal(super.policy_kind, 1);
    assert_int_equal(super.quarantine_ns, 0);
    assert_int_equal(super.trim_above_bytes, 0);
}

static void no_root(struct meta_txn *txn)
{
    must(meta_inode_del(txn, META_ROOT_INO));
}

static void expect_root(struct meta_txn *txn)
{
    assert_true(S_ISDIR(get(txn, META_ROOT_INO).mode));
    must(meta_dirent_get(txn, lost_found(txn), "#2", &(struct meta_dirent){0}));
}

static void root_a_file(struct meta_txn *txn)
{
    struct meta_inode inode = get(txn, META_ROOT_INO);

    inode.mode = S_IFREG | 0600;
    must(meta_inode_put(txn, META_ROOT_INO, &inode));
}

static void bad_acl(struct meta_txn *txn)
{
    must(meta_xattr_put(txn, FILE_D, META_ACL_ACCESS, "\2\0\0\0\1\0\7\0", 8));
}

static void expect_no_acl(struct meta_txn *txn)
{
    const void *value;
    size_t len;

    assert_int_equal(meta_xattr_get(txn, FILE_D, META_ACL_ACCESS, &value, &len), -ENOENT);
}

static void xattr_of_nothing(struct meta_txn *txn)
{
    must(meta_xattr_put(txn, 66, "user.x", "1", 1));
}

static void expect_attribute(struct meta_txn *txn)
{
    struct meta_dirent entry;
    const void *value;
    size_t len;

    must(meta_dirent_get(txn, META_ROOT_INO, "lost+found", &entry));
    must(meta_dirent_get(txn, entry.ino, "#66", &entry));
    must(meta_xattr_get(txn, 66, "user.x", &value, &len));
}

static void blocks_of_nothing(struct meta_txn *txn)
{
    must(meta_extent_insert(txn, 66, &(struct meta_extent){3, 500, 2, false}));
}

static void expect_new_file(struct meta_txn *txn)
{
    struct meta_dirent entry;

    must(meta_dirent_get(txn, META_ROOT_INO, "lost+found", &entry));
    must(meta_dirent_get(txn, entry.ino, "#66", &entry));
    assert_int_equal(get(txn, 66).size, 5 * 4096);
    assert_int_equal(get(txn, 66).blocks, 2);
}

static void taken_lost_found(struct meta_txn *txn)
{
    struct meta_inode inode = get(txn, FILE_C);

    lose_file(txn);
    must(meta_dirent_put(txn, META_ROOT_INO, "lost+found", FILE_C, S_IFREG));
    inode.nlink++;
    must(meta_inode_put(txn, FILE_C, &inode));
}

static const struct damage damages[] = {
    {"an entry to nowhere", "is not there", dangle, expect_no_dangling},
    {"a file without name", "inode 5 (a file, 20480 bytes) has no name", lose_file,
     expect_found_file},
    {"a directory without name", "inode 2 (a directory", lose_dir, expect_found_dir},
    {"directories in a cycle", "inside itself", make_cycle, NULL},
    {"a directory with two names", "is a directory with another name", second_name,
     expect_one_name},
    {"an entry of the wrong type", "repair sets the entry's", wrong_type, NULL},
    {"a name with a slash", "\"x/y\"", slash, NULL},
    {"an entry ..", "\"..\"", dots, NULL},
    {"a wrong link count", "its number of links is 9, and should be 2", wrong_nlink, expect_nlink},
    {"a wrong link count of a directory", "its number of links is 2, and should be 3",
     wrong_dir_nlink, NULL},
    {"a wrong parent", "its parent directory", wrong_parent, NULL},
    {"a wrong number of blocks", "its number of blocks is 6, and should be 5", wrong_blocks, NULL},
    {"blocks of two files", "inode 5: pages 12 to 16 are on blocks from 100 on", same_blocks,
     expect_hole},
    {"blocks beyond the pool", "inode 5: pages 12 to 13", beyond_pool, NULL},
    {"blocks under a directory", "are under what is not a regular file", blocks_under_dir,
     expect_blocks_found},
    {"blocks that were never used under a directory", "is not one of a file's extents",
     fresh_blocks_under_dir, expect_no_blocks_found},
    {"a detached run of a file's", "the detached run of 4 blocks at 2", detached_in_use, NULL},
    {"overlapping detached runs", "the detached run of 1 blocks at 302", detached_twice, NULL},
    {"no orphan record", "inode 7 (a file, 99 bytes) has no name", no_orphan_record,
     expect_rescued},
    {"no orphan record, and no data", "has no name and no orphan record", no_orphan_record_or_data,
     expect_orphan},
    {"an orphan with a name", "a name and an orphan record", named_orphan, NULL},
    {"an orphan with links", "inode 7 (a file, 99 bytes) has no name", linked_orphan,
     expect_rescued},
    {"an orphan of nothing", "the orphan record of inode 77", orphan_of_nothing, NULL},
    {"a wrong target length", "the length of its target", wrong_target_len, NULL},
    {"a target of a file", "symbolic link; repair removes the target", target_of_file, NULL},
    {"a nameless attribute", "impossible name", bad_xattr, NULL},
    {"a wrong super record", "counts 3 inodes", wrong_super, expect_super},
    {"no root", "inode 1 has no attributes", no_root, expect_root},
    {"a root that is a file", "the root is not a directory", root_a_file, NULL},
    {"a senseless ACL", "an ACL cannot have 8 bytes", bad_acl, expect_no_acl},
    {"an attribute of nothing", "inode 66 has no attributes", xattr_of_nothing, expect_attribute},
    {"blocks of nothing", "inode 66 has no attributes", blocks_of_nothing, expect_new_file},
    {"a file called lost+found", "has no name", taken_lost_found, NULL},
};

static void test_each_damage(void **state)
{
    struct meta_check looked, again, repaired;
    char dir[64];

    (void)state;
    for (size_t i = 0; i < sizeof damages / sizeof damages[0]; i++) {
        const struct damage *damage = &damages[i];
        new_full_pool(dir);
        expect_sound(dir);
        with_txn(dir, damage->apply);
        must(check(dir, false, &looked));
        if (looked.problems == 0 || !strstr(said, damage->sentence))
            fail_msg("%s: %" PRIu64 " problems:\n%s", damage->name, looked.problems, said);
        assert_int_equal(looked.repaired, 0);
        must(check(dir, false, &again));
        assert_int_equal(again.problems, looked.problems);
        must(check(dir, true, &repaired));
        assert_int_equal(repaired.repaired, repaired.problems);
        expect_sound(dir);
        if (damage->expect)
            with_txn(dir, damage->expect);
        remove_pool(dir);
    }
}

static void count_progress(void *arg, uint64_t done, uint64_t total)
{
    uint64_t *last = arg;

    assert_true(done >= *last && done <= total);
    *last = done;
}

static void test_counts(void **state)
{
    struct meta_check result;
    uint64_t last = 0;
    char dir[64];

    (void)state;
    new_full_pool(dir);
    result = (struct meta_check){.progress = count_progress, .arg = &last};
    must(meta_check(dir, &result));
    assert_true(last != 0);
    assert_int_equal(result.problems, 0);
    assert_int_equal(result.inodes, 7);
    assert_int_equal(result.extents, 4);
    assert_int_equal(result.dirents, 6);
    assert_int_equal(result.blocks_used, 10 + 5 + 5 + 1 + 4);
    result = (struct meta_check){.memory = META_MEMORY_THERE, .data_bytes = POOL_BYTES - 4096};
    must(meta_check(dir, &result));
    assert_int_equal(result.problems, 1);
    remove_pool(dir);
}

/* --- a file LMDB may not see --- */

static int open_file(const char *dir)
{
    char path[96];
    int fd;

    snprintf(path, sizeof path, "%s/meta/data.mdb", dir);
    fd = open(path, O_RDWR);
    assert_true(fd >= 0);
    return fd;
}

static void add_g(struct meta_txn *txn)
{
    must(meta_xattr_put(txn, FILE_D, "user.g", "2", 1));
}

/* The root page of the newest transaction is destroyed: repair goes back by one. */
static void test_roll_back(void **state)
{
    struct meta_check result;
    uint64_t txns[2], root;
    char dir[64];
    int fd;

    (void)state;
    new_full_pool(dir);
    with_txn(dir, add_g);
    fd = open_file(dir);
    for (int i = 0; i < 2; i++)
        assert_int_equal(pread(fd, &txns[i], 8, i * 4096 + 16 + 128), 8);
    int newest = txns[0] < txns[1];
    assert_int_equal(pread(fd, &root, 8, newest * 4096 + 16 + 24 + 48 + 40), 8);
    assert_int_equal(pwrite(fd, "damage!!damage!!", 16, (off_t)root * 4096), 16);
    close(fd);
    assert_int_equal(meta_verify(dir, NULL, NULL), -EUCLEAN);
    assert_int_equal(check(dir, false, &result), -EUCLEAN);
    assert_int_equal(result.repaired, 0);
    must(check(dir, true, &result));
    assert_int_equal(result.problems, 1);
    assert_int_equal(result.repaired, 1);
    must(meta_verify(dir, NULL, NULL));
    expect_sound(dir);
    with_txn(dir, add_g);
    expect_sound(dir);
    remove_pool(dir);
}

static void test_beyond_repair(void **state)
{
    static const char zero[65536];
    struct meta_check result;
    char dir[64];
    int fd;

    (void)state;
    new_full_pool(dir);
    fd = open_file(dir);
    assert_int_equal(pwrite(fd, zero, sizeof zero, 8192), sizeof zero);
    assert_int_equal(check(dir, true, &result), -EUCLEAN);
    assert_true(result.problems != 0);
    assert_int_equal(pwrite(fd, zero, 4096, 0), 4096);
    assert_int_equal(check(dir, true, &result), -EUCLEAN);
    close(fd);
    remove_pool(dir);
}

/* --- anything --- */

static MDB_dbi open_lmdb(const char *dir, MDB_env **env, MDB_txn **txn)
{
    char path[96];
    MDB_dbi dbi;

    snprintf(path, sizeof path, "%s/meta/lock.mdb", dir);
    (void)unlink(path); /* it would not know of this transaction: that would be taken back */
    snprintf(path, sizeof path, "%s/meta", dir);
    must(mdb_env_create(env));
    must(mdb_env_open(*env, path, MDB_NOSYNC | MDB_WRITEMAP | MDB_NOLOCK, 0600));
    must(mdb_txn_begin(*env, NULL, 0, txn));
    must(mdb_dbi_open(*txn, NULL, 0, &dbi));
    return dbi;
}

/* Puts the cursor on any record but the super record. */
static int any_record(MDB_cursor *cursor, MDB_stat stat, MDB_val *key, MDB_val *value)
{
    long n = 1 + random() % (long)(stat.ms_entries ? stat.ms_entries : 1);
    int rc = mdb_cursor_get(cursor, key, value, MDB_FIRST);

    while (rc == 0 && n-- > 0)
        rc = mdb_cursor_get(cursor, key, value, MDB_NEXT);
    if (rc == 0 && key->mv_size == 1) /* a changed key may lie before the super record's */
        rc = MDB_NOTFOUND;
    return rc;
}

static void scribble(unsigned char *bytes, size_t len, size_t from)
{
    if (len <= from)
        return;
    for (long n = 1 + random() % 2; n > 0; n--)
        bytes[from + (size_t)random() % (len - from)] =
            (unsigned char)(random() % 2 ? random() % 10 : random());
}

/* A record is deleted, changed, copied to another key, cut or made longer. */
static void change_record(MDB_txn *txn, MDB_dbi dbi)
{
    unsigned char key_bytes[511], bytes[8192] = {0};
    MDB_val key, value, new_key, new_value;
    MDB_cursor *cursor;
    MDB_stat stat;

    must(mdb_stat(txn, dbi, &stat));
    must(mdb_cursor_open(txn, dbi, &cursor));
    if (any_record(cursor, stat, &key, &value)) {
        mdb_cursor_close(cursor);
        return;
    }
    memcpy(key_bytes, key.mv_data, key.mv_size);
    memcpy(bytes, value.mv_data, value.mv_size);
    new_key = (MDB_val){key.mv_size, key_bytes};
    new_value = (MDB_val){value.mv_size, bytes};
    switch (random() % 6) {
    case 0:
        must(mdb_cursor_del(cursor, 0));
        mdb_cursor_close(cursor);
        return;
    case 1:
        scribble(key_bytes, key.mv_size, 1);
        break;
    case 2:
        scribble(key_bytes, key.mv_size, 0);
        if (key_bytes[0] == 1)
            key_bytes[0] = 2;
        break;
    case 3:
        new_key.mv_size = 2 + (size_t)random() % 30;
        break;
    case 4:
        new_value.mv_size = (size_t)random() % 100;
        break;
    default:
        scribble(bytes, value.mv_size, 0);
    }
    must(mdb_cursor_put(cursor, &new_key, &new_value, 0));
    mdb_cursor_close(cursor);
}

static void test_anything(void **state)
{
    struct meta_check result;
    char dir[64];

    (void)state;
    for (unsigned i = 0; i < rounds; i++) {
        MDB_env *env;
        MDB_txn *txn;
        srandom(seed + i);
        new_full_pool(dir);
        MDB_dbi dbi = open_lmdb(dir, &env, &txn);
        for (long n = 1 + random() % 12; n > 0; n--)
            change_record(txn, dbi);
        must(mdb_txn_commit(txn));
        mdb_env_close(env);
        must(check(dir, false, &result));
        must(check(dir, true, &result));
        if (result.repaired != result.problems)
            fail_msg("seed %u: not all was repaired:\n%s", seed + i, said);
        must(check(dir, false, &result));
        if (result.problems != 0)
            fail_msg("seed %u: left after repair:\n%s", seed + i, said);
        remove_pool(dir);
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_damage), cmocka_unit_test(test_counts),
        cmocka_unit_test(test_roll_back),   cmocka_unit_test(test_beyond_repair),
        cmocka_unit_test(test_anything),
    };

    seed = test_seed();
    if (argc > 1)
        rounds = (unsigned)strtoul(argv[1], NULL, 0);
    if (argc > 2)
        seed = (unsigned)strtoul(argv[2], NULL, 0);
    print_message("%u rounds, seed %u\n", rounds, seed);
    return cmocka_run_group_tests_name("meta_check", tests, NULL, NULL);
}
