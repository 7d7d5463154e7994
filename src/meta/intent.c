/* SPDX-License-Identifier: MIT */
/*
 * Owns layout changes that have committed while their extents are still where they were. A change
 * of very many extents would hold up all other transactions. So its transaction stores an intent,
 * which says what the file is from then on. Later transactions, each of a batch, bring the extents
 * into line, and the last removes the intent.
 *
 * What a file is does not change in between. Every look at its extents goes through
 * meta_extent_find() or meta_extent_before(), and these apply the intent. So a snapshot shows the
 * file as it is after the change, however many steps were taken before it. There are two other ways
 * to look. The map of free blocks is built from the stored extents, and fsck checks them. There a
 * block is in use until a step has freed it. And meta_file_get() reads what is stored, for callers
 * that have made sure that there is no intent.
 *
 * With an intent, pages of the file lie in stretches, each moved by one distance, with holes in
 * between. Blocks that no stretch reaches have left the file, and steps free them. No pin holds
 * them: the change has dealt with those that did before it committed.
 *
 *     free       pages [page, page+count) are holes, and what lies there is to be freed
 *     collapse   pages below `cursor` are at their place. The others lie `count` pages further on,
 *                and what lies in [cursor, cursor+count) is to be freed
 *     insert     pages [page, page+count) are holes. Those up to `cursor` lie `count` pages before,
 *                and the others are at their place
 *
 * Calls extent.c and record.c only.
 */
#include "meta/env.h"

#include "base/atomic.h"
#include "base/error.h"
#include "base/fence.h"
#include "base/lab.h"

#include <errno.h>
#include <inttypes.h>

/* Pages [from, to) of the file lie `ahead` pages further on than they say. */
struct stretch {
    uint64_t from, to;
    int64_t ahead;
};

#define STRETCHES 3

/* --- the record --- */

static bool makes_sense(const struct meta_disk_intent *disk)
{
    if (disk->count == 0 || disk->count > META_FILE_PAGES || disk->page >= META_FILE_PAGES)
        return false;
    switch (disk->kind) {
    case META_INTENT_FREE:
        return disk->count <= META_FILE_PAGES - disk->page && disk->cursor == 0;
    case META_INTENT_COLLAPSE:
        return disk->cursor >= disk->page && disk->cursor <= META_FILE_PAGES - disk->count;
    case META_INTENT_INSERT:
        return disk->count <= META_FILE_PAGES - disk->page &&
               disk->cursor >= disk->page + disk->count && disk->cursor <= META_FILE_PAGES;
    default:
        return false;
    }
}

int meta_intent_decode(const MDB_val *key, const MDB_val *value, struct meta_intent *out)
{
    struct meta_disk_intent disk;
    uint64_t ino;

    if (key->mv_size != 9 || value->mv_size != sizeof disk)
        return hf_fail(EUCLEAN, "an intent has a key of %zu and a value of %zu bytes", key->mv_size,
                       value->mv_size);
    ino = meta_get_be64((const unsigned char *)key->mv_data + 1);
    memcpy(&disk, value->mv_data, sizeof disk);
    if (ino >= META_INO_END || !makes_sense(&disk))
        return hf_fail(EUCLEAN, "the intent of inode %" PRIu64 " makes no sense: run holdfast fsck",
                       ino);
    *out = (struct meta_intent){ino, (enum meta_intent_kind)disk.kind, disk.page, disk.count,
                                disk.cursor};
    return 0;
}

int meta_intent_next(struct meta_txn *txn, uint64_t ino, struct meta_intent *out)
{
    MDB_val found, value;
    int rc = meta_seek_table(txn, META_INTENT, ino, &found, &value);

    return rc ? rc : meta_intent_decode(&found, &value, out);
}

/* The last record of all says it, as no table follows that of the intents. To step down to it takes
 * half the instructions of a search. Newer versions may add a table. */
static int look_for_any(struct meta_txn *txn, bool *any)
{
    MDB_val found, value;
    int rc = meta_seek_last(txn, &found, &value);

    if (rc == 0 && *(const unsigned char *)found.mv_data > META_INTENT)
        rc = meta_seek_table(txn, META_INTENT, 0, &found, &value);
    if (rc && rc != -ENOENT)
        return rc;
    *any = rc == 0 && *(const unsigned char *)found.mv_data == META_INTENT;
    return 0;
}

/* Most pools have none, and a word of the segment says so: from which transaction on. It is cleared
 * before an intent is stored, and set again after a commit without any (meta_commit()). It is read
 * after the snapshot was begun. A snapshot that has the intent began after the commit, and so finds
 * the word cleared, or a later transaction in it. Before the word is set, and for a process without
 * a segment, one look a snapshot says whether there are intents. */
static int has_intents(struct meta_txn *txn, bool *any)
{
    uint64_t number = mdb_txn_id(txn->lmdb), from;
    int rc = 0;

    hf_fence_loads();
    from = hf_load_acquire(&txn->meta->shared->no_intents_from);
    *any = false;
    if (__builtin_expect(from && from <= number, 1))
        return 0;
    if (!txn->intents_known || txn->intents_of != number)
        rc = look_for_any(txn, &txn->intents);
    if (rc)
        return rc;
    txn->intents_of = number;
    txn->intents_known = true;
    *any = txn->intents;
    return 0;
}

static __attribute__((noinline)) int find_intent(struct meta_txn *txn, uint64_t ino,
                                                 struct meta_intent *out)
{
    struct meta_key key;
    MDB_val value;
    int rc;

    meta_key_number(&key, META_INTENT, ino);
    rc = meta_seek(txn, &key, &value);
    return rc ? rc : meta_intent_decode(&(MDB_val){key.len, key.bytes}, &value, out);
}

int meta_intent_get(struct meta_txn *txn, uint64_t ino, struct meta_intent *out)
{
    bool any;
    int rc = has_intents(txn, &any);

    if (rc || !any)
        return rc ? rc : -ENOENT;
    return find_intent(txn, ino, out);
}

/* Older versions do not know intents. The bit is there as long as one is. */
static int set_intent_bit(struct meta_txn *txn, bool on)
{
    struct meta_super super;
    int rc = meta_super_get(txn, &super);

    if (rc || !(super.incompat & META_INCOMPAT_INTENTS) == !on)
        return rc;
    super.incompat ^= META_INCOMPAT_INTENTS;
    return meta_super_put(txn, &super);
}

static int store_intent(struct meta_txn *txn, const struct meta_intent *intent)
{
    struct meta_disk_intent disk = {intent->kind, intent->page, intent->count, intent->cursor};
    struct meta_key key;

    meta_key_number(&key, META_INTENT, intent->ino);
    return meta_store(txn, &key, &disk, sizeof disk);
}

int meta_intent_put(struct meta_txn *txn, const struct meta_intent *intent)
{
    int rc = set_intent_bit(txn, true);

    txn->intents_known = false;
    if (!HF_LAB_BROKEN(HF_LAB_INTENT_UNTOLD))
        hf_store_release(&txn->meta->shared->no_intents_from, UINT64_C(0));
    return rc ? rc : store_intent(txn, intent);
}

static int remove_intent(struct meta_txn *txn, uint64_t ino)
{
    struct meta_key key;
    bool any;
    int rc;

    meta_key_number(&key, META_INTENT, ino);
    rc = meta_erase_key(txn, &key);
    txn->intents_known = false;
    rc = rc ? rc : has_intents(txn, &any);
    return rc || any ? rc : set_intent_bit(txn, false);
}

/* --- looking --- */

static unsigned stretches_of(const struct meta_intent *intent, struct stretch out[STRETCHES])
{
    int64_t count = (int64_t)intent->count;

    out[0] = (struct stretch){0, intent->page, 0};
    if (intent->kind == META_INTENT_COLLAPSE) {
        out[0].to = intent->cursor;
        out[1] = (struct stretch){intent->cursor, META_FILE_PAGES, count};
        return 2;
    }
    out[1] = (struct stretch){intent->page + intent->count, META_FILE_PAGES, 0};
    if (intent->kind == META_INTENT_FREE)
        return 2;
    out[1] = (struct stretch){intent->page + intent->count, intent->cursor, -count};
    out[2] = (struct stretch){intent->cursor, META_FILE_PAGES, 0};
    return 3;
}

/* Cuts a stored extent down to what the stretch has of it, at its pages of the file. False: that is
 * nothing. */
static bool cut_to_stretch(const struct stretch *stretch, struct meta_extent *extent)
{
    uint64_t from = stretch->from + (uint64_t)stretch->ahead;
    uint64_t to = stretch->to + (uint64_t)stretch->ahead, end = extent->page + extent->count;
    uint64_t skip = extent->page < from ? from - extent->page : 0;

    end = end < to ? end : to;
    if (extent->page + skip >= end)
        return false;
    extent->page += skip;
    extent->block += skip;
    extent->count = end - extent->page;
    extent->page -= (uint64_t)stretch->ahead;
    return true;
}

static int find_through(struct meta_txn *txn, const struct meta_intent *intent, uint64_t page,
                        struct meta_extent *out)
{
    struct stretch stretches[STRETCHES];
    unsigned count = stretches_of(intent, stretches);

    for (unsigned i = 0; i < count; i++) {
        const struct stretch *stretch = &stretches[i];
        uint64_t at = page > stretch->from ? page : stretch->from;
        int rc;

        if (at >= stretch->to)
            continue;
        rc = meta_stored_find(txn, intent->ino, at + (uint64_t)stretch->ahead, out);
        if (rc && rc != -ENOENT)
            return rc;
        if (rc == 0 && cut_to_stretch(stretch, out))
            return 0;
    }
    return -ENOENT;
}

static int before_through(struct meta_txn *txn, const struct meta_intent *intent, uint64_t page,
                          struct meta_extent *out)
{
    struct stretch stretches[STRETCHES];

    for (unsigned i = stretches_of(intent, stretches); i-- > 0;) {
        const struct stretch *stretch = &stretches[i];
        uint64_t end = page < stretch->to ? page : stretch->to;
        int rc;

        if (end <= stretch->from)
            continue;
        rc = meta_stored_before(txn, intent->ino, end + (uint64_t)stretch->ahead, out);
        if (rc && rc != -ENOENT)
            return rc;
        if (rc == 0 && cut_to_stretch(stretch, out))
            return 0;
    }
    return -ENOENT;
}

/* The intent of a file, as a look at its extents needs it. -ENOENT: the stored ones are the
 * truth. */
static int look_for_intent(struct meta_txn *txn, uint64_t ino, struct meta_intent *out)
{
    return HF_LAB_BROKEN(HF_LAB_INTENT_UNSEEN) ? -ENOENT : meta_intent_get(txn, ino, out);
}

int meta_extent_find(struct meta_txn *txn, uint64_t ino, uint64_t page, struct meta_extent *out)
{
    struct meta_intent intent;
    int rc = look_for_intent(txn, ino, &intent);

    if (rc == 0)
        return find_through(txn, &intent, page, out);
    return rc == -ENOENT ? meta_stored_find(txn, ino, page, out) : rc;
}

int meta_extent_before(struct meta_txn *txn, uint64_t ino, uint64_t page, struct meta_extent *out)
{
    struct meta_intent intent;
    int rc = look_for_intent(txn, ino, &intent);

    if (rc == 0)
        return before_through(txn, &intent, page, out);
    return rc == -ENOENT ? meta_stored_before(txn, ino, page, out) : rc;
}

int meta_extent_around(struct meta_txn *txn, uint64_t ino, uint64_t page,
                       struct meta_extent *before, struct meta_extent *out)
{
    struct meta_intent intent;
    int rc = look_for_intent(txn, ino, &intent);

    if (rc)
        return rc == -ENOENT ? meta_stored_around(txn, ino, page, before, out) : rc;
    rc = before_through(txn, &intent, page, before);
    if (rc == -ENOENT)
        before->count = 0;
    else if (rc)
        return rc;
    rc = find_through(txn, &intent, page, out);
    if (rc == -ENOENT)
        out->count = 0;
    return rc == -ENOENT ? 0 : rc;
}

/* --- steps --- */

struct step {
    struct meta_txn *txn;
    struct meta_intent intent;
    struct meta_inode *inode;
    unsigned left; /* extents that this step may still take */
    int (*freed)(void *arg, const struct meta_extent *run);
    void *arg;
};

static int step_frees(void *arg, const struct meta_extent *run)
{
    struct step *s = arg;

    s->inode->blocks = s->inode->blocks > run->count ? s->inode->blocks - run->count : 0;
    return s->freed(s->arg, run);
}

/* Frees extents in [page, end), as many as the step may take. */
static int free_some_extents(struct step *s, uint64_t page, uint64_t end)
{
    uint64_t to = page;
    struct meta_extent extent;
    int rc = 0;

    while (s->left && to < end) {
        rc = meta_stored_find(s->txn, s->intent.ino, to, &extent);
        if (rc && rc != -ENOENT)
            return rc;
        if (rc || extent.page >= end)
            break;
        to = extent.page + extent.count < end ? extent.page + extent.count : end;
        s->left--;
    }
    return to == page ? 0
                      : meta_extent_remove(s->txn, s->intent.ino, page, to - page, step_frees, s);
}

/* What follows the range first meets what lies before it, and may continue that. The others did not
 * continue each other before. */
static int move_down(struct step *s, struct meta_extent extent)
{
    struct meta_intent *intent = &s->intent;
    struct meta_key key;
    int rc;

    meta_key_extent(&key, intent->ino, extent.page);
    rc = meta_erase_key(s->txn, &key);
    extent.page -= intent->count;
    intent->cursor = extent.page + extent.count;
    if (rc)
        return rc;
    return extent.page == intent->page ? meta_extent_insert(s->txn, intent->ino, &extent)
                                       : meta_extent_store(s->txn, intent->ino, &extent);
}

static int collapse_some(struct step *s)
{
    struct meta_intent *intent = &s->intent;
    struct meta_extent extent;
    int rc = free_some_extents(s, intent->cursor, intent->cursor + intent->count);

    while (rc == 0 && s->left) {
        rc = meta_stored_find(s->txn, intent->ino, intent->cursor + intent->count, &extent);
        if (rc)
            return rc == -ENOENT ? 0 : rc;
        rc = move_down(s, extent);
        s->left--;
    }
    return rc;
}

static int move_up(struct step *s, struct meta_extent extent)
{
    struct meta_intent *intent = &s->intent;
    struct meta_key key;
    int rc;

    if (extent.page + extent.count + intent->count > intent->cursor)
        return hf_fail(EUCLEAN,
                       "inode %" PRIu64 ": an intent and the extent at page %" PRIu64
                       " do not agree: run holdfast fsck",
                       intent->ino, extent.page);
    meta_key_extent(&key, intent->ino, extent.page);
    rc = meta_erase_key(s->txn, &key);
    extent.page += intent->count;
    intent->cursor = extent.page;
    return rc ? rc : meta_extent_store(s->txn, intent->ino, &extent);
}

static int insert_some(struct step *s)
{
    struct meta_intent *intent = &s->intent;
    struct meta_extent extent;
    int rc = 0;

    while (rc == 0 && s->left) {
        rc = meta_stored_before(s->txn, intent->ino, intent->cursor - intent->count, &extent);
        if (rc || extent.page < intent->page)
            return rc == -ENOENT ? 0 : rc;
        rc = move_up(s, extent);
        s->left--;
    }
    return rc;
}

int meta_intent_step(struct meta_txn *txn, uint64_t ino, unsigned most, struct meta_inode *inode,
                     int (*freed)(void *arg, const struct meta_extent *run), void *arg)
{
    struct step s = {.txn = txn, .inode = inode, .left = most, .freed = freed, .arg = arg};
    int rc = meta_intent_get(txn, ino, &s.intent);

    if (rc)
        return rc;
    if (s.intent.kind == META_INTENT_COLLAPSE)
        rc = collapse_some(&s);
    else if (s.intent.kind == META_INTENT_INSERT)
        rc = insert_some(&s);
    else
        rc = free_some_extents(&s, s.intent.page, s.intent.page + s.intent.count);
    if (rc)
        return rc;
    if (s.left)
        return remove_intent(txn, ino);
    rc = store_intent(txn, &s.intent);
    return rc ? rc : 1;
}

int meta_intent_fits(struct meta_txn *txn, const struct meta_intent *intent, bool *fits)
{
    struct meta_extent extent;
    int rc;

    *fits = true;
    if (intent->kind != META_INTENT_INSERT)
        return 0;
    rc = meta_stored_before(txn, intent->ino, intent->page, &extent);
    if (rc == 0 && extent.page + extent.count > intent->page)
        *fits = false;
    if (rc && rc != -ENOENT)
        return rc;
    rc = meta_stored_before(txn, intent->ino, intent->cursor, &extent);
    if (rc == 0 && extent.page + extent.count > intent->cursor - intent->count)
        *fits = false;
    return rc == -ENOENT ? 0 : rc;
}
