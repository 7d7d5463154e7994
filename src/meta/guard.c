/* SPDX-License-Identifier: MIT */
/*
 * Owns the ways into LMDB that may meet one of its assertions, which would end the process. Calls
 * LMDB and base.
 *
 * LMDB trusts its file. meta_verify() looks at all of it before the first process uses it. It can
 * become wrong later, by a write to data.mdb or by memory that fails. LMDB finds that by an
 * assertion, calls asserted(), and would then abort. There asserted() leaves by a long jump to the
 * guard of the call that it is in.
 *
 * Why may one jump out of LMDB there? Structures that LMDB was changing are never looked at again:
 *   - a snapshot changes nothing. Its slot is given back by mdb_txn_reset(), which touches the slot
 *     only.
 *   - a write transaction is left as it is, neither committed nor aborted: LMDB's lists lead to
 *     cursors on the stack that has gone. So LMDB's own write lock stays taken, by this thread. No
 *     process ever waits for it. A word that all processes share says that the environment is
 *     refused. It is stored before the caller drops its own lock, without which no write
 *     transaction begins.
 *   - the pages that it has changed are of no transaction that counts (commit.c).
 *   - the lock that is still taken is in LMDB's map of lock.mdb, and in the list of robust locks of
 *     its thread. So this environment is never unmapped: closing it puts it aside (env.c).
 * LMDB calls nothing of ours, so guards are not nested, and malloc() is never left in its middle:
 * no assertion is inside it. The first process that attaches after all have left verifies the file
 * again.
 */
#include "meta/env.h"

#include "base/atomic.h"
#include "base/error.h"

#include <errno.h>

/* For the compiler's own setjmp, which saves no more than it must. That of the C library would cost
 * a read as much as the lookup of its key. */
static _Thread_local void **guard;

static void asserted(MDB_env *env, const char *message)
{
    struct meta *meta = mdb_env_get_userctx(env);

    if (!guard)
        return;
    hf_fail(EUCLEAN,
            "LMDB has found the pool's metadata damaged (%s): end all processes that have the "
            "pool open, then run `holdfast fsck`",
            message);
    hf_store_release(&meta->shared->refused, 1u);
    __builtin_longjmp(guard, 1);
}

void meta_guard_env(struct meta *meta)
{
    mdb_env_set_userctx(meta->env, meta);
    mdb_env_set_assert(meta->env, asserted);
}

int meta_refused(const struct meta *meta)
{
    if (__builtin_expect(!hf_load_acquire(&meta->shared->refused), 1))
        return 0;
    return hf_fail(EUCLEAN,
                   "LMDB has found the pool's metadata damaged while they were in use: end "
                   "all processes that have the pool open, then run `holdfast fsck`");
}

static int caught(struct meta_txn *txn)
{
    guard = NULL;
    txn->asserted = true;
    return -EUCLEAN; /* asserted() has said why */
}

/* Each is a function of its own, so that no variable of a caller is in a register that the jump
 * does not restore. */
#define GUARDED(txn, doing, call)                                                                  \
    do {                                                                                           \
        void *here[5];                                                                             \
        int rc;                                                                                    \
        if (__builtin_expect((txn)->asserted, 0))                                                  \
            return meta_refused((txn)->meta);                                                      \
        if (__builtin_setjmp(here))                                                                \
            return caught(txn);                                                                    \
        guard = here;                                                                              \
        rc = (call);                                                                               \
        guard = NULL;                                                                              \
        return __builtin_expect(rc, 0) ? meta_result(rc, doing) : 0;                               \
    } while (0)

int lmdb_open_cursor(struct meta_txn *txn)
{
    GUARDED(txn, "cursor", mdb_cursor_open(txn->lmdb, txn->meta->dbi, &txn->cursor));
}

int lmdb_renew_cursor(struct meta_txn *txn)
{
    GUARDED(txn, "cursor", mdb_cursor_renew(txn->lmdb, txn->cursor));
}

/* The first use in a write transaction opens its cursor. */
static inline int need_cursor(struct meta_txn *txn)
{
    if (__builtin_expect(txn->cursor != NULL, 1))
        return 0;
    return mdb_cursor_open(txn->lmdb, txn->meta->dbi, &txn->cursor);
}

static inline int with_cursor_get(struct meta_txn *txn, MDB_val *key, MDB_val *value,
                                  MDB_cursor_op op)
{
    int rc = need_cursor(txn);

    return rc ? rc : mdb_cursor_get(txn->cursor, key, value, op);
}

static inline int with_cursor_put(struct meta_txn *txn, MDB_val *key, MDB_val *value,
                                  unsigned flags)
{
    int rc = need_cursor(txn);

    return rc ? rc : mdb_cursor_put(txn->cursor, key, value, flags);
}

int lmdb_get(struct meta_txn *txn, MDB_val *key, MDB_val *value, MDB_cursor_op op)
{
    GUARDED(txn, "read", with_cursor_get(txn, key, value, op));
}

int lmdb_put(struct meta_txn *txn, MDB_val *key, MDB_val *value, unsigned flags)
{
    GUARDED(txn, "write", with_cursor_put(txn, key, value, flags));
}

int lmdb_del(struct meta_txn *txn)
{
    GUARDED(txn, "delete", mdb_cursor_del(txn->cursor, 0));
}

int lmdb_commit(struct meta_txn *txn)
{
    GUARDED(txn, "commit", mdb_txn_commit(txn->lmdb));
}
