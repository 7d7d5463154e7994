/* SPDX-License-Identifier: MIT */
/*
 * Thousands of damages to the records of a small but rich pool, each from a seed. After each, a
 * repair must do what the top of src/meta/check.c says:
 *
 *   - fsck ends, with or without repair, and after one repair it finds nothing;
 *   - what it calls clean opens, and all of it reads. Names can be made, renamed and removed. Free
 *     and named blocks are all blocks, before and after everything is removed;
 *   - an inode with records that were not touched has its content, attributes and target. It has
 *     its path too where no directory on it and no entry was touched;
 *   - if a single record was hurt, every page of content is still in some file. An exception are
 *     pages without a block number of their own.
 *
 * fsck-damages [ROUNDS]; HF_SEED replays. The keys and values are those of docs/FORMAT.md, spelled
 * out here, so that this is a second reading of it.
 */
#include "fsck_pool.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <lmdb.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define RECORDS_MAX 1024
#define INODES 256

enum { SUPER = 0x01, INODE = 0x10, DETACHED = 0x20, ORPHAN = 0x30, OWNERS = 0x40 };
enum { ATTRIBUTES = 1, EXTENT = 2, ENTRY = 3, XATTR = 4, TARGET = 5 };

struct record {
    unsigned char key[511];
    size_t key_len, len;
    unsigned char *value;
};

static struct record records[RECORDS_MAX];
static unsigned record_count;
static unsigned char *meta_image, *data_image;
static size_t meta_bytes;
static struct seen good, seen;

/* What this round has done. */
static bool touched[INODES], renamed[INODES], may_lose[INODES];
static bool pages_hurt; /* LMDB's own: all may be lost, as long as it is said */
static char what[65536];
static uint64_t round_number;

static void say_what(void)
{
    printf("round %" PRIu64 ":\n%s", round_number, what);
}

static void on_signal(int number)
{
    dprintf(2, "signal %d in round %" PRIu64 ":\n%s", number, round_number, what);
    signal(number, SIG_DFL);
    raise(number);
}

static void note(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void note(const char *format, ...)
{
    size_t len = strlen(what);
    va_list args;

    va_start(args, format);
    vsnprintf(what + len, sizeof(what) - len, format, args);
    va_end(args);
}

/* ------------------------------------------------------------------------------ images --- */

static const char *path_of(const char *name)
{
    char path[64];

    snprintf(path, sizeof(path), FSCK_POOL "/%s", name);
    return test_path(path);
}

static MDB_env *open_meta(MDB_txn **txn, MDB_dbi *dbi)
{
    MDB_env *env;

    EXPECT_EQ(mdb_env_create(&env), 0);
    EXPECT_EQ(mdb_env_open(env, path_of("meta"), MDB_NOSYNC | MDB_WRITEMAP | MDB_NOLOCK, 0600), 0);
    EXPECT_EQ(mdb_txn_begin(env, NULL, 0, txn), 0);
    EXPECT_EQ(mdb_dbi_open(*txn, NULL, 0, dbi), 0);
    return env;
}

static void read_records(void)
{
    MDB_cursor *cursor;
    MDB_envinfo info;
    MDB_val key, value;
    MDB_txn *txn;
    MDB_dbi dbi;
    MDB_env *env = open_meta(&txn, &dbi);

    EXPECT_EQ(mdb_cursor_open(txn, dbi, &cursor), 0);
    while (mdb_cursor_get(cursor, &key, &value, MDB_NEXT) == 0) {
        struct record *record = &records[record_count++];

        EXPECT(record_count < RECORDS_MAX);
        record->key_len = key.mv_size;
        memcpy(record->key, key.mv_data, key.mv_size);
        record->len = value.mv_size;
        record->value = malloc(value.mv_size + 1);
        EXPECT(record->value != NULL);
        memcpy(record->value, value.mv_data, value.mv_size);
    }
    mdb_cursor_close(cursor);
    EXPECT_EQ(mdb_env_info(env, &info), 0);
    meta_bytes = (info.me_last_pgno + 1) * TEST_PAGE;
    mdb_txn_abort(txn);
    mdb_env_close(env);
}

static unsigned char *read_image(const char *name, size_t bytes)
{
    unsigned char *image = malloc(bytes);
    int fd = open(path_of(name), O_RDONLY);

    EXPECT(image != NULL);
    EXPECT_OK(fd);
    EXPECT_EQ(pread(fd, image, bytes, 0), bytes);
    close(fd);
    return image;
}

static void write_image(const char *name, const unsigned char *image, size_t bytes)
{
    int fd = open(path_of(name), O_RDWR);

    EXPECT_OK(fd);
    EXPECT_EQ(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 1 << 30), 0);
    EXPECT_EQ(pwrite(fd, image, bytes, 0), bytes);
    close(fd);
}

static void restore(void)
{
    unlink(path_of("run"));
    write_image("meta/data.mdb", meta_image, meta_bytes);
    write_image("data", data_image, TEST_MIB(1));             /* all that was written: see make() */
    EXPECT_EQ(truncate(path_of("data"), FSCK_POOL_BYTES), 0); /* a round may have made it grow */
    memset(touched, 0, sizeof(touched));
    memset(renamed, 0, sizeof(renamed));
    memset(may_lose, 0, sizeof(may_lose));
    pages_hurt = false;
    what[0] = '\0';
}

/* ----------------------------------------------------------------------------- damages --- */

static uint64_t be64(const unsigned char *bytes)
{
    uint64_t value;

    memcpy(&value, bytes, sizeof(value));
    return __builtin_bswap64(value);
}

static bool is_part(const struct record *record, unsigned part)
{
    return record->key[0] == INODE && record->key_len >= 10 && record->key[9] == part;
}

/* An inode with records that are not what they were. An entry is the business of where it leads. */
static void touch(const struct record *record)
{
    uint64_t ino = record->key_len >= 9 && record->key[0] == INODE ? be64(record->key + 1) : 0;

    if (is_part(record, ENTRY) && record->len >= 8) {
        uint64_t target;

        memcpy(&target, record->value, sizeof(target));
        if (target < INODES)
            renamed[target] = true;
    } else if (ino && ino < INODES) {
        touched[ino] = true;
    }
}

/* Pages past a size that is too small are there, but what a call sees of them is zeros. */
static void lose(const struct record *record)
{
    if ((is_part(record, EXTENT) || is_part(record, ATTRIBUTES)) && be64(record->key + 1) < INODES)
        may_lose[be64(record->key + 1)] = true;
}

static void describe(const char *verb, const struct record *record)
{
    note("  %s ", verb);
    for (size_t i = 0; i < record->key_len && i < 40; i++)
        note("%02x", record->key[i]);
    note(" = ");
    for (size_t i = 0; i < record->len && i < 260; i++)
        note("%02x", record->value[i]);
    note("\n");
}

static void put(MDB_txn *txn, MDB_dbi dbi, const struct record *record)
{
    MDB_val key = {record->key_len, (void *)record->key}, value = {record->len, record->value};

    describe("put", record);
    EXPECT_EQ(mdb_put(txn, dbi, &key, &value, 0), 0);
}

static void erase(MDB_txn *txn, MDB_dbi dbi, const struct record *record)
{
    MDB_val key = {record->key_len, (void *)record->key};
    int rc = mdb_del(txn, dbi, &key, NULL);

    describe("erase", record);
    EXPECT(rc == 0 || rc == MDB_NOTFOUND);
}

static bool is_there(MDB_txn *txn, MDB_dbi dbi, const struct record *record)
{
    MDB_val key = {record->key_len, (void *)record->key}, value;

    return mdb_get(txn, dbi, &key, &value) == 0;
}

static const struct field {
    unsigned char table, part, at, len;
} fields[] = {
    {SUPER, 0, 0, 8},           {SUPER, 0, 56, 8},          {SUPER, 0, 64, 8},
    {SUPER, 0, 72, 4},          {SUPER, 0, 76, 4},          {SUPER, 0, 80, 8},
    {SUPER, 0, 88, 4},          {SUPER, 0, 92, 4},          {SUPER, 0, 96, 4},
    {SUPER, 0, 100, 4},         {SUPER, 0, 104, 8},         {SUPER, 0, 112, 8},
    {SUPER, 0, 120, 8},         {SUPER, 0, 128, 8},         {SUPER, 0, 152, 8},
    {INODE, ATTRIBUTES, 0, 4},  {INODE, ATTRIBUTES, 4, 4},  {INODE, ATTRIBUTES, 12, 4},
    {INODE, ATTRIBUTES, 16, 8}, {INODE, ATTRIBUTES, 24, 8}, {INODE, ATTRIBUTES, 32, 8},
    {INODE, ATTRIBUTES, 40, 8}, {INODE, EXTENT, 0, 8},      {INODE, EXTENT, 8, 8},
    {INODE, ENTRY, 0, 8},       {INODE, ENTRY, 8, 4},       {INODE, ENTRY, 12, 4},
    {INODE, EXTENT, 15, 1},     {DETACHED, 0, 0, 8},        {OWNERS, 0, 0, 8},
    {OWNERS, 0, 8, 4},          {OWNERS, 0, 12, 4},         {SUPER, 0, 16, 1},
};

static bool has_field(const struct record *record, const struct field *field)
{
    return record->key[0] == field->table &&
           (field->table != INODE || is_part(record, field->part)) &&
           record->len >= (size_t)field->at + field->len;
}

static uint64_t new_value(struct test_rng *rng, uint64_t old)
{
    static const uint64_t bounds[] = {0,
                                      1,
                                      UINT64_MAX,
                                      UINT64_C(1) << 62,
                                      (UINT64_C(1) << 62) - 1,
                                      (UINT64_C(1) << 32) - 1,
                                      UINT64_C(1) << 32,
                                      UINT64_C(1) << 44,
                                      2048,
                                      2047};

    switch (test_below(rng, 5)) {
    case 0:
        return bounds[test_below(rng, sizeof(bounds) / sizeof(bounds[0]))];
    case 1:
        return old + 1 + test_below(rng, 3);
    case 2:
        return old - 1 - test_below(rng, 3);
    case 3:
        return test_random(rng);
    default:
        return test_below(rng, 2048);
    }
}

static struct record copy_of(const struct record *record, unsigned char value[70000])
{
    struct record copy = *record;

    memcpy(value, record->value, record->len);
    copy.value = value;
    return copy;
}

/* The bits that make it another program's are not damage that can be told from a newer Holdfast. */
static bool of_a_newer(const struct record *record)
{
    static const unsigned char zero[15];

    return record->key[0] == SUPER && record->len >= 32 &&
           (record->value[16] > 1 || memcmp(record->value + 17, zero, 15) != 0 ||
            record->value[9] || record->value[10] || record->value[11] || record->value[8] > 1);
}

static void change_value(MDB_txn *txn, MDB_dbi dbi, struct test_rng *rng,
                         const struct record *victim)
{
    static unsigned char value[70000];
    struct record changed = copy_of(victim, value);
    const struct field *field = &fields[test_below(rng, sizeof(fields) / sizeof(fields[0]))];
    bool block = false;

    if (test_chance(rng, 70) && has_field(victim, field)) {
        uint64_t old = 0, now;

        memcpy(&old, value + field->at, field->len);
        now = new_value(rng, old);
        memcpy(value + field->at, &now, field->len);
        block = is_part(victim, ATTRIBUTES) ? field->at == 16 : field->at == 0;
    } else if (victim->len != 0 && test_chance(rng, 80)) {
        size_t at = test_below(rng, victim->len < 300 ? victim->len : 300);

        value[at] = (unsigned char)(test_chance(rng, 50) ? test_random(rng)
                                                         : value[at] ^ 1u << test_below(rng, 8));
        block = is_part(victim, ATTRIBUTES) ? at / 8 == 2 : at < 8;
    } else {
        changed.len = test_chance(rng, 50) ? test_below(rng, victim->len + 1)
                                           : victim->len + 1 + test_below(rng, 20);
        memset(value + victim->len, 0, changed.len > victim->len ? changed.len - victim->len : 0);
        block = changed.len < (is_part(victim, ATTRIBUTES) ? 24 : 8);
    }
    if (of_a_newer(&changed))
        return;
    touch(victim);
    touch(&changed);
    if (block)
        lose(victim);
    put(txn, dbi, &changed);
}

static bool is_of_orphan(const struct record *record)
{
    for (unsigned i = 0; i < record_count; i++)
        if (records[i].key[0] == ORPHAN && record->key_len > 9 &&
            memcmp(records[i].key + 1, record->key + 1, 8) == 0)
            return true;
    return false;
}

/* Under another key: one byte of it, a byte less or more, or an inode number near the end of
 * all. */
static void change_key(MDB_txn *txn, MDB_dbi dbi, struct test_rng *rng, const struct record *victim,
                       bool move)
{
    struct record changed = *victim;
    size_t at = test_below(rng, victim->key_len);

    if (test_chance(rng, 15) && victim->key_len >= 9) {
        uint64_t ino = __builtin_bswap64((UINT64_C(1) << 62) - test_below(rng, 4) + 1);

        memcpy(changed.key + 1, &ino, sizeof(ino));
    } else if (test_chance(rng, 10)) {
        changed.key_len += test_chance(rng, 50) && changed.key_len > 1 ? -1 : 1;
        changed.key[changed.key_len - 1] = (unsigned char)test_random(rng);
    } else {
        changed.key[at] =
            (unsigned char)(test_chance(rng, 50)   ? test_random(rng)
                            : test_chance(rng, 50) ? changed.key[at] ^ 1u << test_below(rng, 8)
                                                   : test_below(rng, 40));
    }
    if (is_there(txn, dbi, &changed))
        return;
    touch(victim);
    touch(&changed);
    if (is_of_orphan(&changed)) /* what is moved there goes with it */
        lose(victim);
    if (move)
        erase(txn, dbi, victim);
    put(txn, dbi, &changed);
}

static void swap_values(MDB_txn *txn, MDB_dbi dbi, struct test_rng *rng,
                        const struct record *victim)
{
    const struct record *other = &records[test_below(rng, record_count)];
    struct record one = *victim, two = *other;

    if (one.key[0] != two.key[0] || one.key_len < 10 || two.key_len < 10 ||
        one.key[9] != two.key[9])
        return;
    touch(victim);
    touch(other);
    lose(victim); /* two records are hurt */
    lose(other);
    one.value = other->value;
    one.len = other->len;
    two.value = victim->value;
    two.len = victim->len;
    put(txn, dbi, &one);
    put(txn, dbi, &two);
}

static void add_bogus(MDB_txn *txn, MDB_dbi dbi, struct test_rng *rng)
{
    static const uint64_t numbers[] = {
        (UINT64_C(1) << 62) - 1, (UINT64_C(1) << 62) - 2, UINT64_C(1) << 62, UINT64_MAX, 0, 200};
    unsigned char value[88] = {0};
    struct record bogus = {.value = value};
    const struct record *like = &records[test_below(rng, record_count)];
    uint64_t number = numbers[test_below(rng, sizeof(numbers) / sizeof(numbers[0]))];

    if (test_chance(rng, 25))
        number = 1 + test_below(rng, 40); /* perhaps one in use */
    bogus.key[0] = (unsigned char)(test_chance(rng, 60)   ? INODE
                                   : test_chance(rng, 40) ? ORPHAN
                                   : test_chance(rng, 50) ? OWNERS
                                                          : DETACHED);
    number = __builtin_bswap64(number);
    memcpy(bogus.key + 1, &number, sizeof(number));
    bogus.key_len = 9;
    if (bogus.key[0] == DETACHED) {
        bogus.len = 24;
        value[0] = (unsigned char)test_below(rng, 100);
    } else if (bogus.key[0] == OWNERS) {
        bogus.len = 16;
        value[0] = (unsigned char)test_below(rng, 100);
        value[8] = (unsigned char)test_below(rng, 4);
        value[12] = (unsigned char)test_below(rng, 3);
    } else if (bogus.key[0] == INODE) {
        while (like->key[0] != INODE || like->len > sizeof(value) || like->key_len > 100)
            like = &records[test_below(rng, record_count)];
        memcpy(bogus.key + 9, like->key + 9, like->key_len - 9);
        bogus.key_len = like->key_len;
        bogus.len = like->len;
        memcpy(value, like->value, like->len);
    }
    if (is_there(txn, dbi, &bogus))
        return;
    touch(&bogus);
    put(txn, dbi, &bogus);
}

static void hurt_record(MDB_txn *txn, MDB_dbi dbi, struct test_rng *rng)
{
    const struct record *victim = &records[test_below(rng, record_count)];

    if (test_chance(rng, 8))
        victim = &records[0]; /* the super record */
    if (!is_there(txn, dbi, victim))
        return;
    switch (test_below(rng, 8)) {
    case 0:
        touch(victim);
        lose(victim);
        erase(txn, dbi, victim);
        return;
    case 1:
        change_key(txn, dbi, rng, victim, true);
        return;
    case 2:
        change_key(txn, dbi, rng, victim, false);
        return;
    case 3:
        swap_values(txn, dbi, rng, victim);
        return;
    case 4:
        add_bogus(txn, dbi, rng);
        return;
    default:
        change_value(txn, dbi, rng, victim);
    }
}

static void hurt_pages(struct test_rng *rng)
{
    int fd = open(path_of("meta/data.mdb"), O_RDWR);

    EXPECT_OK(fd);
    pages_hurt = true;
    for (uint64_t n = 1 + test_below(rng, 8); n > 0; n--) {
        uint64_t at = test_below(rng, meta_bytes);
        unsigned char byte = (unsigned char)test_random(rng);

        note("  byte %" PRIu64 " of the file becomes %02x\n", at, byte);
        EXPECT_EQ(pwrite(fd, &byte, 1, (off_t)at), 1);
    }
    close(fd);
}

/* Returns how many records were meant to be hurt. */
static uint64_t hurt(struct test_rng *rng)
{
    uint64_t count = test_chance(rng, 75) ? 1 : 2 + test_below(rng, 10);
    MDB_txn *txn;
    MDB_dbi dbi;
    MDB_env *env;

    if (test_chance(rng, 5)) {
        hurt_pages(rng);
        return 1;
    }
    env = open_meta(&txn, &dbi);
    for (uint64_t n = 0; n < count; n++)
        hurt_record(txn, dbi, rng);
    EXPECT_EQ(mdb_txn_commit(txn), 0);
    mdb_env_close(env);
    return count;
}

/* ------------------------------------------------------------------------ what must be --- */

static void on_problem(void *arg, const char *sentence)
{
    (void)arg;
    note("    %s\n", sentence);
}

static int check(uint32_t flags, struct hf_check_result *result)
{
    *result = (struct hf_check_result){.size = sizeof(*result)};
    note("  fsck %s\n", flags ? "-r" : "");
    return hf_pool_check(test_path(FSCK_POOL), flags, on_problem, NULL, NULL, result);
}

static const struct seen_entry *entry_of(const struct seen *in, uint64_t ino, const char *path)
{
    for (unsigned i = 0; i < in->count; i++)
        if (in->entries[i].ino == ino && (!path || strcmp(in->entries[i].path, path) == 0))
            return &in->entries[i];
    return NULL;
}

static bool path_is_safe(const struct seen_entry *entry)
{
    const struct seen_entry *dir;

    if (renamed[entry->ino])
        return false;
    for (uint64_t ino = entry->dir; ino != HF_ROOT_INO; ino = dir->dir) {
        dir = entry_of(&good, ino, NULL);
        if (touched[ino] || renamed[ino])
            return false;
    }
    return !touched[HF_ROOT_INO];
}

static void compare_entry(const struct seen_entry *was)
{
    const struct seen_entry *is;

    if (touched[was->ino])
        return;
    is = entry_of(&seen, was->ino, path_is_safe(was) ? was->path : NULL);
    if (!is)
        FAIL("%s (inode %" PRIu64 ") is gone", was->path, was->ino);
    if (is->mode != was->mode || is->size != was->size || is->words != was->words ||
        is->pages != was->pages ||
        memcmp(&seen.page[is->first_page], &good.page[was->first_page],
               was->pages * sizeof(struct seen_page)) != 0)
        FAIL("%s, which nothing had touched, has changed: mode %o, %" PRIu64 " bytes, %u pages",
             was->path, is->mode, is->size, is->pages);
}

static bool page_is_somewhere(uint64_t hash)
{
    for (unsigned i = 0; i < seen.pages; i++)
        if (seen.page[i].hash == hash)
            return true;
    return false;
}

static void expect_all_pages(void)
{
    for (unsigned e = 0; e < good.count; e++) {
        const struct seen_entry *entry = &good.entries[e];

        for (unsigned i = 0; i < entry->pages && !may_lose[entry->ino]; i++) {
            const struct seen_page *page = &good.page[entry->first_page + i];

            if (page->hash && !page_is_somewhere(page->hash))
                FAIL("page %" PRIu64 " of %s is in no file any more", page->at, entry->path);
        }
    }
}

static void expect_works(uint64_t hurts)
{
    struct hf_check_result result;
    struct hf_pool *pool;

    EXPECT_EQ(hf_pool_open(test_path(FSCK_POOL), 0, &pool), 0);
    fsck_pool_look(pool, &seen);
    if (!pages_hurt) {
        for (unsigned i = 0; i < good.count; i++)
            compare_entry(&good.entries[i]);
        if (hurts == 1)
            expect_all_pages();
    }
    fsck_pool_use(pool);
    EXPECT_EQ(hf_pool_close(pool), 0);
    EXPECT_EQ(check(0, &result), 0);
    EXPECT_EQ(result.problems, 0);
    EXPECT_EQ(result.inodes, 1);
}

static void one_round(struct test_rng *rng)
{
    struct hf_check_result result;
    uint64_t hurts;
    int rc;

    restore();
    hurts = hurt(rng);
    alarm(TEST_PATIENCE_SECONDS);
    rc = check(0, &result);
    EXPECT_EQ(result.repaired, 0);
    if (rc || result.problems) {
        rc = check(HF_CHECK_REPAIR, &result);
        if (rc) { /* only what LMDB may not see is beyond repair */
            EXPECT(pages_hurt);
            return;
        }
        EXPECT_EQ(result.repaired + (pages_hurt && result.repaired != result.problems),
                  result.problems);
        EXPECT_EQ(check(0, &result), 0);
        EXPECT_EQ(result.problems, 0);
    }
    expect_works(hurts);
}

/* Of each kind of record of shared blocks there is one to damage. */
static void expect_sharing(void)
{
    bool owners = false, mark = false, detached = false;

    for (unsigned i = 0; i < record_count; i++) {
        owners |= records[i].key[0] == OWNERS;
        mark |= is_part(&records[i], EXTENT) && records[i].value[15] & 0x80;
        detached |= records[i].key[0] == DETACHED && records[i].key_len == 25;
    }
    EXPECT(owners && mark && detached);
}

static void make(void)
{
    struct hf_check_result result;
    struct hf_pool *pool;

    fsck_pool_make();
    unlink(path_of("run"));
    EXPECT_EQ(check(0, &result), 0);
    EXPECT_EQ(result.problems, 0);
    EXPECT(result.blocks_used * TEST_PAGE < TEST_MIB(1));
    read_records();
    expect_sharing();
    meta_image = read_image("meta/data.mdb", meta_bytes);
    data_image = read_image("data", TEST_MIB(1));
    EXPECT_EQ(hf_pool_open(test_path(FSCK_POOL), 0, &pool), 0);
    fsck_pool_look(pool, &good);
    EXPECT_EQ(hf_pool_close(pool), 0);
}

static int body(int argc, char **argv)
{
    uint64_t rounds = argc > 1 ? strtoull(argv[1], NULL, 0) : 3000, seed = test_seed();
    const char *first = getenv("FIRST_ROUND");

    test_on_failure = say_what;
    signal(SIGSEGV, on_signal);
    signal(SIGBUS, on_signal);
    signal(SIGABRT, on_signal);
    signal(SIGALRM, on_signal);
    make();
    if (test_is_slow())
        rounds /= 4;
    for (round_number = first ? strtoull(first, NULL, 0) : 0; round_number < rounds;
         round_number++) {
        struct test_rng rng = {.state = test_mix(seed, round_number)};

        one_round(&rng);
    }
    printf("%" PRIu64 " damages of %u records\n", rounds, record_count);
    return 0;
}

int main(int argc, char **argv)
{
    return test_main(argc, argv, body);
}
