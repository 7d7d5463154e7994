/* SPDX-License-Identifier: MIT */
/*
 * Owns the extents of a file: runs of pages on runs of blocks, sorted by page, never overlapping,
 * never continuing one another (they are merged). It sees them as they are stored, and changes them
 * only in files that have no intent (intent.c), or in a step of one. Calls record.c only.
 *
 * Every change keeps them apart: it looks at the records before and after the place that it
 * touches, and refuses what would overlap. Then it returns -EUCLEAN, and the transaction has to be
 * aborted.
 */
#include "meta/env.h"

#include "base/error.h"

#include <errno.h>
#include <inttypes.h>

static uint64_t extent_end(const struct meta_extent *extent)
{
    return extent->page + extent->count;
}

bool meta_extent_continues(const struct meta_extent *left, const struct meta_extent *right)
{
    return extent_end(left) == right->page && left->block + left->count == right->block &&
           left->shared == right->shared;
}

int meta_extent_decode(uint64_t limit_blocks, const MDB_val *key, const MDB_val *value,
                       struct meta_extent *out)
{
    const unsigned char *bytes = key->mv_data;
    struct meta_disk_extent disk;
    uint64_t page;
    bool shared;

    if (key->mv_size != META_KEY_PREFIX + 8 || value->mv_size != sizeof disk)
        return hf_fail(EUCLEAN,
                       "inode %" PRIu64 ": an extent record has a key of %zu and a value of %zu "
                       "bytes",
                       meta_get_be64(bytes + 1), key->mv_size, value->mv_size);
    page = meta_get_be64(bytes + META_KEY_PREFIX);
    memcpy(&disk, value->mv_data, sizeof disk);
    shared = disk.count & META_COUNT_SHARED;
    disk.count &= ~META_COUNT_SHARED;
    if (disk.count == 0 || page >= META_FILE_PAGES || disk.count > META_FILE_PAGES - page ||
        disk.block >= limit_blocks || disk.count > limit_blocks - disk.block)
        return hf_fail(EUCLEAN,
                       "inode %" PRIu64 ": extent of %" PRIu64 " pages at page %" PRIu64
                       " on block %" PRIu64 " is out "
                       "of bounds",
                       meta_get_be64(bytes + 1), disk.count, page, disk.block);
    *out = (struct meta_extent){page, disk.block, disk.count, shared};
    return 0;
}

static int decode_extent(struct meta_txn *txn, const MDB_val *key, const MDB_val *value,
                         struct meta_extent *out)
{
    return meta_extent_decode(txn->meta->limit_blocks, key, value, out);
}

static struct meta_disk_extent encode_extent(const struct meta_extent *extent)
{
    return (struct meta_disk_extent){extent->block,
                                     extent->count | (extent->shared ? META_COUNT_SHARED : 0)};
}

static int overwrite(struct meta_txn *txn, uint64_t ino, const struct meta_extent *extent)
{
    struct meta_disk_extent disk = encode_extent(extent);
    struct meta_key key;

    meta_key_extent(&key, ino, extent->page);
    return meta_overwrite(txn, &key, &disk, sizeof disk);
}

int meta_extent_store(struct meta_txn *txn, uint64_t ino, const struct meta_extent *extent)
{
    struct meta_disk_extent disk = encode_extent(extent);
    struct meta_key key;

    meta_key_extent(&key, ino, extent->page);
    return meta_store(txn, &key, &disk, sizeof disk);
}

static int erase_extent(struct meta_txn *txn, uint64_t ino, uint64_t page)
{
    struct meta_key key;

    meta_key_extent(&key, ino, page);
    return meta_erase_key(txn, &key);
}

/* The extents that begin before `page` and at or after it: counts of 0 where there is none. Leaves
 * the cursor on the record before the place. Page 0 has no extent before it: there the cursor stays
 * on the record after the place. */
static int extents_around(struct meta_txn *txn, uint64_t ino, uint64_t page,
                          struct meta_extent *before, struct meta_extent *after)
{
    struct meta_key key;
    MDB_val found, value;
    int rc;

    before->count = 0;
    after->count = 0;
    meta_key_extent(&key, ino, page);
    rc = meta_seek_from(txn, &key, &found, &value);
    if (rc == 0 && meta_key_is_part(&found, ino, META_EXTENT))
        rc = decode_extent(txn, &found, &value, after);
    if (rc && rc != -ENOENT)
        return rc;
    if (page == 0)
        return 0;
    rc = rc == -ENOENT ? meta_seek_last(txn, &found, &value)
                       : meta_step(txn, MDB_PREV, &found, &value);
    if (rc == -ENOENT)
        return 0;
    if (rc == 0 && meta_key_is_part(&found, ino, META_EXTENT))
        rc = decode_extent(txn, &found, &value, before);
    if (rc == 0 && before->count != 0 && after->count != 0 && extent_end(before) > after->page)
        return hf_fail(EUCLEAN,
                       "inode %" PRIu64 ": extents at pages %" PRIu64 " and %" PRIu64 " overlap",
                       ino, before->page, after->page);
    return rc;
}

int meta_stored_around(struct meta_txn *txn, uint64_t ino, uint64_t page,
                       struct meta_extent *before, struct meta_extent *out)
{
    int rc = extents_around(txn, ino, page, before, out);

    if (rc == 0 && before->count != 0 && extent_end(before) > page)
        *out = *before;
    return rc;
}

int meta_stored_find(struct meta_txn *txn, uint64_t ino, uint64_t page, struct meta_extent *out)
{
    struct meta_extent before, found;
    int rc = meta_stored_around(txn, ino, page, &before, &found);

    if (rc == 0 && found.count == 0)
        return -ENOENT;
    if (rc == 0)
        *out = found;
    return rc;
}

int meta_stored_before(struct meta_txn *txn, uint64_t ino, uint64_t page, struct meta_extent *out)
{
    struct meta_extent before, after;
    int rc = extents_around(txn, ino, page, &before, &after);

    if (rc)
        return rc;
    if (before.count == 0)
        return -ENOENT;
    *out = before;
    return 0;
}

int meta_extent_nth(struct meta_txn *txn, uint64_t ino, uint64_t page, unsigned nth, uint64_t *out)
{
    struct meta_extent extent;
    struct meta_key key;
    MDB_val found, value;
    int rc;

    meta_key_extent(&key, ino, page);
    rc = meta_seek_from(txn, &key, &found, &value);
    for (; rc == 0 && meta_key_is_part(&found, ino, META_EXTENT); nth--) {
        if (nth == 0) {
            rc = decode_extent(txn, &found, &value, &extent);
            *out = rc ? *out : extent.page;
            return rc;
        }
        rc = meta_step(txn, MDB_NEXT, &found, &value);
    }
    return rc ? rc : -ENOENT;
}

static int refuse_extent(const struct meta_txn *txn, uint64_t ino, const struct meta_extent *extent)
{
    if (extent->count == 0 || extent->page >= META_FILE_PAGES ||
        extent->count > META_FILE_PAGES - extent->page)
        return hf_fail(EFBIG,
                       "inode %" PRIu64 ": %" PRIu64 " pages at page %" PRIu64
                       " are beyond the largest file",
                       ino, extent->count, extent->page);
    HF_BUG_ON(extent->block >= txn->meta->limit_blocks ||
              extent->count > txn->meta->limit_blocks - extent->block);
    return 0;
}

int meta_extent_insert(struct meta_txn *txn, uint64_t ino, const struct meta_extent *extent)
{
    struct meta_extent before, after, merged = *extent;
    int rc = refuse_extent(txn, ino, extent);

    if (!rc)
        rc = extents_around(txn, ino, extent->page, &before, &after);
    if (rc)
        return rc;
    if ((before.count != 0 && extent_end(&before) > extent->page) ||
        (after.count != 0 && extent_end(extent) > after.page))
        return hf_fail(EUCLEAN,
                       "inode %" PRIu64 ": pages %" PRIu64 " to %" PRIu64 " have blocks already",
                       ino, extent->page, extent_end(extent) - 1);
    if (after.count != 0 && meta_extent_continues(extent, &after))
        merged.count += after.count;
    if (before.count != 0 && meta_extent_continues(&before, extent)) {
        merged.page = before.page;
        merged.block = before.block;
        merged.count += before.count;
        rc = overwrite(txn, ino, &merged);
    } else {
        rc = meta_extent_store(txn, ino, &merged);
    }
    if (rc == 0 && extent_end(&merged) != extent_end(extent))
        rc = erase_extent(txn, ino, after.page);
    return rc;
}

/* Takes [page, end) out of an extent that overlaps it and tells `gone` what went. */
static int cut_extent(struct meta_txn *txn, uint64_t ino, const struct meta_extent *extent,
                      uint64_t page, uint64_t end, struct meta_extent *gone)
{
    uint64_t first = extent->page > page ? extent->page : page;
    uint64_t last = extent_end(extent) < end ? extent_end(extent) : end;
    struct meta_extent head = {extent->page, extent->block, first - extent->page, extent->shared};
    struct meta_extent tail = {last, extent->block + (last - extent->page),
                               extent_end(extent) - last, extent->shared};
    int rc;

    *gone = (struct meta_extent){first, extent->block + head.count, last - first, extent->shared};
    rc = head.count != 0 ? overwrite(txn, ino, &head) : meta_erase(txn);
    if (rc == 0 && tail.count != 0)
        rc = meta_extent_store(txn, ino, &tail);
    return rc;
}

/* Takes [page, end) out of `extent`, on which the cursor is and which begins in it. The extent that
 * follows is looked up before `removed` is told, since that may use the cursor. */
static int remove_extent(struct meta_txn *txn, uint64_t ino, struct meta_extent *extent,
                         uint64_t page, uint64_t end, struct meta_extent *gone)
{
    bool more = extent_end(extent) < end;
    MDB_val found, value;
    int rc = cut_extent(txn, ino, extent, page, end, gone);

    extent->count = 0;
    if (rc || !more)
        return rc;
    rc = meta_step(txn, MDB_NEXT, &found, &value);
    if (rc == -ENOENT)
        return 0;
    return rc || !meta_key_is_part(&found, ino, META_EXTENT)
               ? rc
               : decode_extent(txn, &found, &value, extent);
}

static int seek_extent(struct meta_txn *txn, uint64_t ino, const struct meta_extent *extent)
{
    struct meta_key key;
    MDB_val value;

    meta_key_extent(&key, ino, extent->page);
    return meta_seek(txn, &key, &value);
}

int meta_extent_remove(struct meta_txn *txn, uint64_t ino, uint64_t page, uint64_t count,
                       int (*removed)(void *arg, const struct meta_extent *run), void *arg)
{
    uint64_t end = count > UINT64_MAX - page ? UINT64_MAX : page + count;
    struct meta_extent before, after, gone;
    int rc = extents_around(txn, ino, page, &before, &after);
    bool there = page == 0; /* the cursor is on `after` */

    if (rc == 0 && before.count != 0 && extent_end(&before) > page) {
        rc = cut_extent(txn, ino, &before, page, end, &gone);
        rc = rc ? rc : removed(arg, &gone);
    }
    for (; rc == 0 && after.count != 0 && after.page < end; there = false) {
        rc = there ? 0 : seek_extent(txn, ino, &after);
        rc = rc ? rc : remove_extent(txn, ino, &after, page, end, &gone);
        rc = rc ? rc : removed(arg, &gone);
    }
    return rc;
}

/* Pages in the middle of an extent, or at its start. `before` ends where they begin, and the cursor
 * is on it, or nothing is before them. What continues the pages is shared, as they were, so they
 * can only become one with what is before the extent. */
static int swap_before_tail(struct meta_txn *txn, uint64_t ino, const struct meta_extent *before,
                            const struct meta_extent *pages, const struct meta_extent *tail)
{
    struct meta_extent merged = *before;
    MDB_val found, value;
    int rc;

    if (before->count != 0 && meta_extent_continues(before, pages)) {
        merged.count += pages->count;
        rc = overwrite(txn, ino, &merged);
        rc = rc ? rc : meta_step(txn, MDB_NEXT, &found, &value);
        rc = rc ? rc : meta_erase(txn);
    } else {
        rc = meta_extent_store(txn, ino, pages);
    }
    return rc ? rc : meta_extent_store(txn, ino, tail);
}

static int swap_at_end(struct meta_txn *txn, uint64_t ino, const struct meta_extent *extent,
                       const struct meta_extent *pages)
{
    struct meta_extent gone;
    int rc = seek_extent(txn, ino, extent);

    rc = rc ? rc : cut_extent(txn, ino, extent, pages->page, extent_end(pages), &gone);
    return rc ? rc : meta_extent_insert(txn, ino, pages);
}

int meta_extent_swap(struct meta_txn *txn, uint64_t ino, struct meta_extent *pages,
                     struct meta_extent *gone, uint64_t *more)
{
    struct meta_extent before, extent, tail;
    int rc = refuse_extent(txn, ino, pages);

    rc = rc ? rc : extents_around(txn, ino, pages->page, &before, &extent);
    if (rc == 0 && before.count != 0 && extent_end(&before) > pages->page)
        extent = before;
    if (rc || !extent.count || extent.page > pages->page || !extent.shared) {
        pages->count = 0;
        return rc;
    }
    tail = extent;
    if (pages->count > extent_end(&extent) - pages->page)
        pages->count = extent_end(&extent) - pages->page;
    pages->shared = false;
    *gone = (struct meta_extent){pages->page, extent.block + (pages->page - extent.page),
                                 pages->count, true};
    tail.page = extent_end(pages);
    tail.block = gone->block + gone->count;
    *more = tail.count = extent_end(&extent) - tail.page;
    if (tail.count == 0)
        return swap_at_end(txn, ino, &extent, pages);
    if (extent.page < pages->page) {
        before.count = pages->page - before.page;
        rc = overwrite(txn, ino, &before);
    }
    return rc ? rc : swap_before_tail(txn, ino, &before, pages, &tail);
}

int meta_extent_split(struct meta_txn *txn, uint64_t ino, uint64_t page)
{
    struct meta_extent before, after, tail;
    int rc = extents_around(txn, ino, page, &before, &after);

    if (rc || before.count == 0 || extent_end(&before) <= page)
        return rc;
    tail = (struct meta_extent){page, before.block + (page - before.page),
                                extent_end(&before) - page, before.shared};
    before.count -= tail.count;
    rc = overwrite(txn, ino, &before);
    return rc ? rc : meta_extent_store(txn, ino, &tail);
}

/* Whether the file has an extent that continues this one. */
static int continued(struct meta_txn *txn, uint64_t ino, const struct meta_extent *extent,
                     bool *out)
{
    struct meta_extent next;
    struct meta_key key;
    MDB_val value;
    int rc;

    *out = false;
    meta_key_extent(&key, ino, extent_end(extent));
    rc = meta_seek(txn, &key, &value);
    if (rc == 0)
        rc = decode_extent(txn, &(MDB_val){key.len, key.bytes}, &value, &next);
    if (rc == 0)
        *out = meta_extent_continues(extent, &next);
    return rc == -ENOENT ? 0 : rc;
}

/* Marks what [page, end) has of an extent. As a whole extent stays one, only its mark is stored. */
static int mark_extent_part(struct meta_txn *txn, uint64_t ino, const struct meta_extent *extent,
                            const struct meta_extent *before, uint64_t page, uint64_t end)
{
    struct meta_extent part = *extent;
    bool merges = extent->page < page || extent_end(extent) > end;
    int rc = 0;

    part.shared = !extent->shared;
    merges = merges || (before->count && meta_extent_continues(before, &part));
    if (!merges)
        rc = continued(txn, ino, &part, &merges);
    rc = rc ? rc : seek_extent(txn, ino, extent);
    if (rc || !merges)
        return rc ? rc : overwrite(txn, ino, &part);
    rc = cut_extent(txn, ino, extent, page, end, &part);
    part.shared = !extent->shared;
    return rc ? rc : meta_extent_insert(txn, ino, &part);
}

int meta_extent_mark(struct meta_txn *txn, uint64_t ino, uint64_t page, uint64_t count, bool shared)
{
    uint64_t end = page + count;

    while (page < end) {
        struct meta_extent before, extent;
        int rc = meta_stored_around(txn, ino, page, &before, &extent);

        if (rc || !extent.count || extent.page >= end)
            return rc;
        if (extent.shared != shared)
            rc = mark_extent_part(txn, ino, &extent, &before, page, end);
        if (rc)
            return rc;
        page = extent_end(&extent);
    }
    return 0;
}

/* --- shifting --- */

static int move_one(struct meta_txn *txn, uint64_t ino, const struct meta_extent *extent,
                    int64_t delta)
{
    struct meta_extent moved = *extent;
    int rc = erase_extent(txn, ino, extent->page);

    moved.page += (uint64_t)delta;
    return rc ? rc : meta_extent_store(txn, ino, &moved);
}

/* From the last extent down, so that no key lands on one that has still to move. */
static int shift_up(struct meta_txn *txn, uint64_t ino, uint64_t page, int64_t delta)
{
    uint64_t below = UINT64_MAX;
    struct meta_extent extent, after;
    int rc = extents_around(txn, ino, below, &extent, &after);

    if (rc == 0 && extent.count != 0 && extent.page >= page &&
        (uint64_t)delta > META_FILE_PAGES - extent_end(&extent))
        return hf_fail(EFBIG, "inode %" PRIu64 ": the shift goes beyond the largest file", ino);
    while (rc == 0 && extent.count != 0 && extent.page >= page) {
        below = extent.page;
        rc = move_one(txn, ino, &extent, delta);
        if (rc == 0)
            rc = extents_around(txn, ino, below, &extent, &after);
    }
    return rc;
}

static int shift_down(struct meta_txn *txn, uint64_t ino, uint64_t page, int64_t delta)
{
    uint64_t from = page;
    struct meta_extent before, extent;
    int rc = extents_around(txn, ino, page, &before, &extent);

    if (rc == 0 && extent.count != 0 &&
        (extent.page < (uint64_t)-delta ||
         (before.count != 0 && extent_end(&before) > extent.page - (uint64_t)-delta)))
        return hf_fail(EUCLEAN, "inode %" PRIu64 ": pages to be shifted down would overlap others",
                       ino);
    while (rc == 0 && extent.count != 0) {
        from = extent_end(&extent);
        rc = move_one(txn, ino, &extent, delta);
        if (rc == 0)
            rc = extents_around(txn, ino, from, &before, &extent);
    }
    return rc;
}

/* Merges the extent that begins at `page` with the one before it where they continue each other. */
static int merge_at(struct meta_txn *txn, uint64_t ino, uint64_t page)
{
    struct meta_extent before, after;
    int rc = extents_around(txn, ino, page, &before, &after);

    if (rc || before.count == 0 || after.count == 0 || !meta_extent_continues(&before, &after))
        return rc;
    before.count += after.count;
    rc = overwrite(txn, ino, &before);
    return rc ? rc : erase_extent(txn, ino, after.page);
}

int meta_extent_shift(struct meta_txn *txn, uint64_t ino, uint64_t page, int64_t delta)
{
    struct meta_extent before, after;
    int rc = extents_around(txn, ino, page, &before, &after);

    if (rc || delta == 0 || after.count == 0)
        return rc;
    if (before.count != 0 && extent_end(&before) > page)
        return hf_fail(EUCLEAN,
                       "inode %" PRIu64 ": an extent straddles page %" PRIu64
                       ", which is to be shifted",
                       ino, page);
    if (delta > 0)
        return shift_up(txn, ino, page, delta);
    rc = shift_down(txn, ino, page, delta);
    return rc ? rc : merge_at(txn, ino, after.page - (uint64_t)-delta);
}
