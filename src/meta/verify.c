/* SPDX-License-Identifier: MIT */
/*
 * Owns the question whether LMDB may be used on POOL/meta/data.mdb. Calls verify_tree.c and base,
 * and never LMDB, which trusts every number in its file.
 *
 * When is the file valid? Both meta pages are of this format and page size, and the newer one
 * stands where its transaction number says. Every page that its two roots lead to is reached once
 * and lies inside the file. The page is what its parent says, by kind, level and number. Its keys
 * are in order and within the parent's bounds. Its nodes do not overlap, and fill what the header
 * calls used. A page that is listed as free is listed once and used by no tree. Then every page and
 * node that LMDB can reach has been looked at, and no page that it can allocate is in use.
 *
 * What may recovery assume? A commit writes pages that the two newest transactions do not use, and
 * then one meta page. So when the newest transaction does not verify, the one before it may. Going
 * back to that loses one transaction and nothing else (meta_roll_back()).
 *
 * Reads with pread(2): an I/O error or a file cut short is an error here, not a signal.
 */
#include "meta/env.h"
#include "meta/lmdb_file.h"

#include "base/descriptor.h"
#include "base/error.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAP_BYTES_MAX (UINT64_C(1) << 41)
#define DATA "/data.mdb"
#define LOCK "/lock.mdb"

int lmdb_read(const struct lmdb_walk *walk, uint64_t offset, void *buf, size_t len)
{
    char *to = buf;

    while (len != 0) {
        ssize_t got = pread(walk->fd, to, len, (off_t)offset);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return hf_fail_errno(errno, "metadata file at byte %" PRIu64, offset);
        if (got == 0)
            return hf_fail(EUCLEAN, "metadata: the file ends before byte %" PRIu64, offset);
        to += got;
        offset += (uint64_t)got;
        len -= (size_t)got;
    }
    return 0;
}

/* --- meta pages --- */

static int check_meta_page(const struct lmdb_meta_page *page, unsigned number)
{
    const struct lmdb_meta *meta = &page->meta;

    if (page->page.number != number || page->page.flags != LMDB_META || meta->magic != LMDB_MAGIC)
        return hf_fail(EUCLEAN, "metadata: page %u is not a meta page of LMDB", number);
    if (meta->version != LMDB_VERSION)
        return hf_fail(EUCLEAN, "metadata: LMDB format %u, not %u", meta->version, LMDB_VERSION);
    if (meta->free_tree.pad < LMDB_PAGE_MIN || meta->free_tree.pad > LMDB_PAGE_MAX ||
        (meta->free_tree.pad & (meta->free_tree.pad - 1)) != 0)
        return hf_fail(EUCLEAN, "metadata: pages of %u bytes", meta->free_tree.pad);
    return 0;
}

static int read_meta_pages(struct lmdb_walk *walk, struct lmdb_meta_page pages[2])
{
    int rc = lmdb_read(walk, 0, &pages[0], sizeof pages[0]);

    if (rc == 0)
        rc = check_meta_page(&pages[0], 0);
    if (rc)
        return rc;
    walk->page_bytes = pages[0].meta.free_tree.pad;
    rc = lmdb_read(walk, walk->page_bytes, &pages[1], sizeof pages[1]);
    if (rc == 0)
        rc = check_meta_page(&pages[1], 1);
    if (rc == 0 && pages[1].meta.free_tree.pad != walk->page_bytes)
        rc = hf_fail(EUCLEAN, "metadata: two page sizes, %u and %u", walk->page_bytes,
                     pages[1].meta.free_tree.pad);
    return rc;
}

int lmdb_newest_meta(const struct lmdb_meta_page pages[2])
{
    return pages[0].meta.txn < pages[1].meta.txn;
}

static int check_meta(const struct lmdb_walk *walk, int place)
{
    const struct lmdb_meta *meta = &walk->meta;

    if ((meta->txn & 1) != (unsigned)place || meta->txn >= UINT64_C(1) << 62)
        return hf_fail(EUCLEAN, "metadata: transaction %" PRIu64 " in meta page %d", meta->txn,
                       place);
    if (meta->map_bytes > MAP_BYTES_MAX || meta->last_page < LMDB_FIRST_PAGE - 1 ||
        meta->last_page >= meta->map_bytes / walk->page_bytes)
        return hf_fail(EUCLEAN, "metadata: last page %" PRIu64 " in a map of %" PRIu64 " bytes",
                       meta->last_page, meta->map_bytes);
    if (meta->free_tree.flags != LMDB_INTEGER_KEYS || meta->main_tree.flags != 0 ||
        meta->main_tree.pad != 0)
        return hf_fail(EUCLEAN, "metadata: flags %x and %x of the trees", meta->free_tree.flags,
                       meta->main_tree.flags);
    return 0;
}

static int open_file(const char *pool_dir, const char *name, int flags, struct lmdb_walk *walk)
{
    char path[META_PATH_MAX];
    struct stat st;
    int rc = meta_path(path, pool_dir, name);

    if (rc)
        return rc;
    walk->fd = hf_fd_open(path, flags | O_NONBLOCK, 0);
    if (walk->fd < 0)
        return hf_fail_errno(errno, "%s", path);
    if (fstat(walk->fd, &st))
        rc = hf_fail_errno(errno, "%s", path);
    else if (!S_ISREG(st.st_mode))
        rc = hf_fail(EUCLEAN, "%s is not a file", path);
    else
        walk->file_bytes = (uint64_t)st.st_size;
    if (rc)
        close(walk->fd);
    return rc;
}

static int read_lock(const char *pool_dir, struct lmdb_lock *lock)
{
    struct lmdb_walk walk = {0};
    int rc = open_file(pool_dir, LOCK, O_RDONLY, &walk);

    if (rc)
        return rc;
    rc = lmdb_read(&walk, 0, lock, sizeof *lock);
    close(walk.fd);
    return rc;
}

int lmdb_numbers(const char *pool_dir, uint64_t *newest, uint64_t *counted)
{
    struct lmdb_walk walk = {0};
    struct lmdb_meta_page pages[2];
    struct lmdb_lock lock;
    int rc = open_file(pool_dir, DATA, O_RDONLY, &walk);

    if (rc)
        return rc;
    rc = read_meta_pages(&walk, pages);
    close(walk.fd);
    if (rc)
        return rc;
    if (read_lock(pool_dir, &lock) || lock.magic != LMDB_MAGIC || lock.format != LMDB_LOCK_FORMAT)
        return -ENOENT;
    *newest = pages[lmdb_newest_meta(pages)].meta.txn;
    *counted = lock.txn;
    return 0;
}

/* --- the whole --- */

static int check_trees(struct lmdb_walk *walk)
{
    uint64_t levels = LMDB_DEPTH_MAX;
    int rc;

    walk->seen = calloc(1, walk->meta.last_page / 8 + 1);
    walk->pages = malloc(levels * walk->page_bytes);
    if (!walk->seen || !walk->pages)
        rc = hf_fail(ENOMEM, "out of memory for checking %" PRIu64 " metadata pages",
                     walk->meta.last_page);
    else
        rc = lmdb_check_tree(walk, &walk->meta.main_tree, false);
    if (rc == 0)
        rc = lmdb_check_tree(walk, &walk->meta.free_tree, true);
    free(walk->seen);
    free(walk->pages);
    free(walk->list);
    return rc;
}

int meta_verify_txn(const char *pool_dir, bool previous,
                    void (*progress)(void *arg, uint64_t done, uint64_t total), void *arg)
{
    struct lmdb_walk walk = {.progress = progress, .arg = arg};
    struct lmdb_meta_page pages[2];
    int place, rc = open_file(pool_dir, DATA, O_RDONLY, &walk);

    if (rc)
        return rc;
    rc = read_meta_pages(&walk, pages);
    if (rc == 0) {
        place = lmdb_newest_meta(pages) ^ (previous ? 1 : 0);
        walk.meta = pages[place].meta;
        rc = check_meta(&walk, place);
    }
    if (rc == 0)
        rc = check_trees(&walk);
    close(walk.fd);
    return rc;
}

int meta_verify(const char *pool_dir, void (*progress)(void *arg, uint64_t done, uint64_t total),
                void *arg)
{
    return meta_verify_txn(pool_dir, false, progress, arg);
}

/* --- going back --- */

static int write_page(int fd, const void *bytes, size_t len, uint64_t offset)
{
    const char *from = bytes;

    while (len != 0) {
        ssize_t done = pwrite(fd, from, len, (off_t)offset);

        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return hf_fail_errno(done < 0 ? errno : ENOSPC, "metadata: write a meta page");
        from += done;
        offset += (uint64_t)done;
        len -= (size_t)done;
    }
    return 0;
}

/* The newest meta page becomes a copy of the other one with the number of an older transaction. The
 * number comes first: from that one store on the other page is the newest, and a process killed
 * here has gone back. */
int lmdb_roll_back(int fd, bool sync)
{
    struct lmdb_walk walk = {.fd = fd};
    struct lmdb_meta_page pages[2], copy;
    uint64_t at;
    int place, rc = read_meta_pages(&walk, pages);

    if (rc)
        return rc;
    place = lmdb_newest_meta(pages);
    copy = pages[place ^ 1];
    if (copy.meta.txn == 0)
        return hf_fail(EUCLEAN, "metadata: there is no transaction before the newest");
    copy.page.number = (uint64_t)place;
    copy.meta.txn--;
    at = (uint64_t)place * walk.page_bytes;
    rc = write_page(fd, &copy.meta.txn, sizeof copy.meta.txn,
                    at + offsetof(struct lmdb_meta_page, meta.txn));
    rc = rc ? rc : write_page(fd, &copy, sizeof copy, at);
    if (rc == 0 && sync && fdatasync(fd))
        rc = hf_fail_errno(errno, "metadata: sync a meta page");
    return rc;
}

int meta_roll_back(const char *pool_dir)
{
    struct lmdb_walk walk = {0};
    int rc = open_file(pool_dir, DATA, O_RDWR, &walk);

    if (rc)
        return rc;
    rc = lmdb_roll_back(walk.fd, true);
    close(walk.fd);
    return rc;
}
