/* SPDX-License-Identifier: MIT */
/* Records of the metadata: some are changed, removed or made through LMDB, to which all is well. */
#include "fuzz.h"

#include <lmdb.h>
#include <stdlib.h>

#define RECORDS_MAX 1024u
#define KEY_MAX 300u
#define VALUE_MAX 300u

static struct record {
    unsigned char *key, *value;
    size_t key_len, len;
} records[RECORDS_MAX];
static unsigned record_count;

static MDB_env *open_meta(MDB_txn **txn, MDB_dbi *dbi)
{
    MDB_env *env;

    EXPECT_EQ(mdb_env_create(&env), 0);
    EXPECT_EQ(
        mdb_env_open(env, test_path("pool/meta"), MDB_NOSYNC | MDB_WRITEMAP | MDB_NOLOCK, 0600), 0);
    EXPECT_EQ(mdb_txn_begin(env, NULL, 0, txn), 0);
    EXPECT_EQ(mdb_dbi_open(*txn, NULL, 0, dbi), 0);
    return env;
}

static unsigned char *copy(const void *bytes, size_t len)
{
    unsigned char *to = malloc(len + 1);

    EXPECT(to != NULL);
    memcpy(to, bytes, len);
    return to;
}

static void begin(void)
{
    MDB_cursor *cursor;
    MDB_val key, value;
    MDB_txn *txn;
    MDB_dbi dbi;
    MDB_env *env;

    fuzz_image_make();
    fuzz_image_restore();
    env = open_meta(&txn, &dbi);
    EXPECT_EQ(mdb_cursor_open(txn, dbi, &cursor), 0);
    while (mdb_cursor_get(cursor, &key, &value, MDB_NEXT) == 0) {
        EXPECT(record_count < RECORDS_MAX);
        records[record_count++] =
            (struct record){copy(key.mv_data, key.mv_size), copy(value.mv_data, value.mv_size),
                            key.mv_size, value.mv_size};
    }
    mdb_cursor_close(cursor);
    mdb_txn_abort(txn);
    mdb_env_close(env);
}

/* Bytes of `at` become the input's. */
static size_t change(unsigned char *at, size_t len, size_t room, struct fuzz_input *input)
{
    unsigned count = (unsigned)fuzz_take(input, 1);
    size_t from = fuzz_take(input, 1), n = count % 16;

    if (count / 16 % 4 == 3 && from <= room) /* another length */
        len = from, from = 0;
    for (; n > 0 && from < len; n--)
        at[from++] = (unsigned char)fuzz_take(input, 1);
    return len;
}

static void hurt(MDB_txn *txn, MDB_dbi dbi, struct fuzz_input *input)
{
    const struct record *record = &records[fuzz_take(input, 2) % record_count];
    const struct record *other = record;
    unsigned char key[512] = {0}, value[70000] = {0};
    unsigned how = (unsigned)fuzz_take(input, 1);
    MDB_val to = {record->key_len, key}, what = {record->len, value};
    int rc;

    memcpy(key, record->key, record->key_len);
    if (how & 1) {
        rc = mdb_del(txn, dbi, &to, NULL);
        EXPECT(rc == 0 || rc == MDB_NOTFOUND);
    }
    if (!(how & 6))
        return;
    if (how & 8) /* another one's value */
        other = &records[fuzz_take(input, 2) % record_count];
    what.mv_size = other->len;
    memcpy(value, other->value, other->len);
    if (how & 2)
        to.mv_size = change(key, to.mv_size, KEY_MAX, input);
    if (how & 4)
        what.mv_size = change(value, what.mv_size, VALUE_MAX, input);
    if (to.mv_size)
        EXPECT_EQ(mdb_put(txn, dbi, &to, &what, 0), 0);
}

static void run(const uint8_t *bytes, size_t len)
{
    struct fuzz_input input = {bytes, len};
    bool first = fuzz_take(&input, 1) % 2;
    MDB_txn *txn;
    MDB_dbi dbi;
    MDB_env *env;

    fuzz_image_restore();
    env = open_meta(&txn, &dbi);
    while (input.left)
        hurt(txn, dbi, &input);
    EXPECT_EQ(mdb_txn_commit(txn), 0);
    mdb_env_close(env);
    if (first)
        fuzz_image_use();
    fuzz_image_expect(true);
}

const struct fuzz_target fuzz_target = {begin, run};
