/* SPDX-License-Identifier: MIT */
/*
 * Owns reading and writing by copy. Both go through pins, like any user of the library, so the
 * blocks under a copy cannot be given to another file while it runs. A read waits for no gate. A
 * hole is read as zeros without being filled; a write fills it (fill.c). A write past end of file
 * grows the file (append.c).
 *
 * The caller's memory is never touched under the layout mutex: append.c says why.
 */
#include "base/error.h"
#include "base/fence.h"
#include "base/lab.h"
#include "dax/client.h"
#include "fs/append.h"
#include "fs/end.h"
#include "fs/fill.h"
#include "fs/io.h"
#include "fs/unshare.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

/* A range of so many pages lies in at most IO_PIECES pieces however it begins. */
#define SAFE_BYTES ((IO_PIECES - 1) * (uint64_t)HF_BLOCK_BYTES)
#define CHUNK_BYTES (FILL_CHUNK_PAGES * (uint64_t)HF_BLOCK_BYTES)

/* The caller's memory may be a pin of the same bytes. */
static void copy_out(char *buf, const struct iovec *iov, int count)
{
    for (int i = 0; i < count; i++) {
        memmove(buf, iov[i].iov_base, iov[i].iov_len);
        buf += iov[i].iov_len;
    }
}

static void copy_in(const struct iovec *iov, int count, const char *buf)
{
    for (int i = 0; i < count; i++) {
        memmove(iov[i].iov_base, buf, iov[i].iov_len);
        buf += iov[i].iov_len;
    }
}

int fs_pin_some(struct hf_file *file, uint64_t off, uint64_t *len, uint32_t flags,
                struct iovec *iov, struct hf_pin *pin, struct meta_extent *hole)
{
    struct dax_request request = {
        .off = off, .len = *len, .flags = flags, .iov = iov, .iovcnt = IO_PIECES};
    int count = dax_pin(&file->fs->dax, file->vnode, &request, pin, hole);

    if (count == -E2BIG && *len > SAFE_BYTES) {
        *len = request.len = SAFE_BYTES;
        count = dax_pin(&file->fs->dax, file->vnode, &request, pin, hole);
    }
    if ((count == -ENODATA || count == -EMLINK) && hole->page * HF_BLOCK_BYTES > off) {
        *len = hole->page * HF_BLOCK_BYTES - off;
        return fs_pin_some(file, off, len, flags, iov, pin, hole);
    }
    return count == -EFAULT ? 0 : count;
}

/* ---- reading ---- */

/* fs_pin_some() for reading, but where it would wait at a gate: -EAGAIN. */
static int pin_now(struct hf_file *file, uint64_t off, uint64_t *len, struct iovec *iov,
                   struct hf_pin *pin, struct meta_extent *hole)
{
    uint32_t flags = dax_client.flags;
    int count;

    dax_client.flags = flags | HF_CLIENT_NOWAIT;
    count = fs_pin_some(file, off, len, HF_PIN_READ, iov, pin, hole);
    dax_client.flags = flags;
    return count;
}

/* For when a layout change has its gate over the range, or a shared block gets no pins. The present
 * content is read without a pin and without entries, since blocks leave the file under the mutex
 * only. While they are in it, no other file writes to those that it shares. 0: end of file. */
static ssize_t read_locked(struct hf_file *file, char *buf, uint64_t len, uint64_t off)
{
    struct fs *fs = file->fs;
    char copy[FS_COPIED_BYTES];
    uint64_t page = off / HF_BLOCK_BYTES, size, room = 0;
    struct meta_extent extent = {0};
    char *from = NULL;
    int rc = dax_lock_any(&fs->dax, file->vnode);

    if (rc)
        return rc;
    size = file->vnode->size;
    if (off < size) {
        room = size - off < sizeof copy ? size - off : sizeof copy;
        rc = fs_extent_at(fs, file->ino, page, &extent);
    }
    if (rc == 1 && (extent.page + extent.count) * HF_BLOCK_BYTES - off < room)
        room = (extent.page + extent.count) * HF_BLOCK_BYTES - off;
    else if (rc == 0 && extent.count && extent.page * HF_BLOCK_BYTES - off < room)
        room = extent.page * HF_BLOCK_BYTES - off;
    len = len < room ? len : room;
    if (rc == 1)
        rc = fs_memory(fs, extent.block + (page - extent.page), extent.page + extent.count - page,
                       &from);
    if (from)
        memcpy(copy, from + off % HF_BLOCK_BYTES, len);
    dax_unlock(&fs->dax, file->vnode);
    if (from)
        memcpy(buf, copy, len);
    else if (rc == 0)
        memset(buf, 0, len);
    return rc < 0 ? rc : (ssize_t)len;
}

/* 0: end of file. */
static ssize_t read_some(struct hf_file *file, char *buf, uint64_t len, uint64_t off)
{
    struct iovec iov[IO_PIECES];
    struct meta_extent hole;
    unsigned looks = 0;
    struct hf_pin pin;

    for (;;) {
        uint64_t size = dax_size(&file->fs->dax, file->vnode), n, zeros;
        int count;

        if (off >= size)
            return 0;
        n = size - off < len ? size - off : len;
        n = n < CHUNK_BYTES ? n : CHUNK_BYTES;
        count = pin_now(file, off, &n, iov, &pin, &hole);
        if (count == -EAGAIN || count == -EMLINK)
            return read_locked(file, buf, len, off);
        if (count > 0) {
            copy_out(buf, iov, count);
            dax_unpin(&pin);
            return (ssize_t)n;
        }
        if (count == -ENODATA) {
            zeros = (hole.page + hole.count) * HF_BLOCK_BYTES - off;
            n = n < zeros ? n : zeros;
            memset(buf, 0, n);
            return (ssize_t)n;
        }
        if (count == 0)
            count = fs_look_again(&looks);
        if (count < 0)
            return count;
    }
}

ssize_t fs_read(struct hf_file *file, void *buf, size_t len, uint64_t off)
{
    size_t done = 0;
    ssize_t n = 0;

    while (done < len) {
        n = read_some(file, (char *)buf + done, len - done, off + done);
        if (n <= 0)
            break;
        done += (size_t)n;
    }
    return done ? (ssize_t)done : n;
}

/* ---- writing ---- */

/* A write into the hole at `off`. 0: look again. */
static ssize_t write_hole(struct hf_file *file, const char *buf, uint64_t len, uint64_t off,
                          const struct meta_extent *hole, enum fs_fill_kind kind)
{
    struct fs_content content = {buf, off, len};
    uint64_t page = off / HF_BLOCK_BYTES, hole_end = hole->page + hole->count;
    uint64_t end = (off + len - 1) / HF_BLOCK_BYTES + 1, filled = 0, room;
    int rc;

    end = end < hole_end ? end : hole_end;
    if (off + len > end * HF_BLOCK_BYTES)
        content.len = end * HF_BLOCK_BYTES - off;
    rc = fs_fill_hole(file->fs, file->vnode, page, end - page, kind, &content, &filled);
    if (rc || !filled)
        return rc;
    room = (page + filled) * HF_BLOCK_BYTES - off;
    return (ssize_t)(content.len < room ? content.len : room);
}

/* Pages that lay on shared blocks when this thread wrote to those before them. A write there is
 * spared the pin that would find it out. If that is wrong by now, fs_write_shared() says so, and
 * the write begins again. */
static _Thread_local struct {
    const struct hf_file *file; /* may be gone: it is only compared */
    uint64_t page, end;
} likely_shared;

static bool is_likely_shared(const struct hf_file *file, uint64_t len, uint64_t off)
{
    uint64_t page = off / HF_BLOCK_BYTES;

    return likely_shared.file == file && page >= likely_shared.page && page < likely_shared.end &&
           off % HF_BLOCK_BYTES == 0 && len >= HF_BLOCK_BYTES;
}

/* A write to pages that lie on shared blocks. Whole pages get new blocks that hold what is written.
 * A page that is written in part only gets a block of its own. 0: look again. */
static ssize_t write_over_shared(struct hf_file *file, const char *buf, uint64_t len, uint64_t off,
                                 const struct meta_extent *run)
{
    uint64_t pages = off % HF_BLOCK_BYTES ? 0 : fs_min(len / HF_BLOCK_BYTES, run->count);
    uint64_t done, more;
    int rc;

    if (!pages)
        return fs_unshare(file->fs, file->vnode, run->page, run->count);
    rc = fs_write_shared(file->fs, file->vnode, run->page, pages, buf, &done, &more);
    likely_shared.file = rc || !done ? NULL : file;
    likely_shared.page = run->page + done;
    likely_shared.end = likely_shared.page + more;
    if (rc == -ENOSPC || rc == -ENOLCK) /* this makes room */
        return fs_unshare(file->fs, file->vnode, run->page, pages);
    return rc ? rc : (ssize_t)(done * HF_BLOCK_BYTES);
}

static ssize_t write_likely_shared(struct hf_file *file, const char *buf, uint64_t len,
                                   uint64_t off)
{
    uint64_t page = off / HF_BLOCK_BYTES;
    struct meta_extent run = {page, 0, likely_shared.end - page, true};

    return write_over_shared(file, buf, len, off, &run);
}

/* 0: a layout change did not wait for it, and has taken the blocks away: look again. */
static ssize_t write_inside(struct hf_file *file, const char *buf, uint64_t len, uint64_t off)
{
    uint64_t redo = hf_load_acquire(&file->vnode->redo);
    struct iovec iov[IO_PIECES];
    struct meta_extent hole;
    struct hf_pin pin;
    ssize_t done = is_likely_shared(file, len, off) ? write_likely_shared(file, buf, len, off) : 0;
    int count;

    if (done)
        return done;
    count = fs_pin_some(file, off, &len, HF_PIN_WRITE | DAX_PIN_COPY, iov, &pin, &hole);
    if (count == -ENODATA)
        return write_hole(file, buf, len, off, &hole, FILL_WRITE);
    if (count == -EMLINK)
        return write_over_shared(file, buf, len, off, &hole);
    if (count <= 0)
        return count;
    HF_LAB_AT(HF_LAB_COPIES);
    copy_in(iov, count, buf);
    fs_vnode_touch(file->fs, file->vnode);
    dax_unpin(&pin);
    if (HF_LAB_BROKEN(HF_LAB_NO_REDO))
        return (ssize_t)len;
    /* COPY.SB/p: the pin is gone before the word is read again. Pairs with COPY.SB/m in
     * detach_writes(). Without it: a change has found the pin and detached its blocks, and this
     * write is acknowledged, in blocks that have left the file. */
    hf_fence_full();
    return hf_load_acquire(&file->vnode->redo) == redo ? (ssize_t)len : 0;
}

/* Writes past end of file: a little, or where there are blocks already, those of the last page or
 * allocated ahead. */
static ssize_t write_ahead(struct hf_file *file, const char *buf, uint64_t len, uint64_t off)
{
    struct shm_vnode *vnode = file->vnode;
    char copy[FS_COPIED_BYTES];
    ssize_t n = 0;
    int passed, rc;

    len = len < sizeof copy ? len : sizeof copy;
    memcpy(copy, buf, len);
    rc = fs_end_lock(file->fs, vnode, off, &passed);
    if (rc)
        return rc;
    if (off >= vnode->size) {
        n = fs_append_at(file->fs, vnode, copy, len, off);
        vnode->passed += passed ? 1 : 0;
    }
    dax_unlock(&file->fs->dax, vnode);
    if (n > 0)
        fs_trim_follow(file->fs);
    return n;
}

static ssize_t write_past_end(struct hf_file *file, const char *buf, uint64_t len, uint64_t off)
{
    struct meta_extent next, hole = {.page = off / HF_BLOCK_BYTES};
    int rc;

    if (len <= FS_COPIED_BYTES)
        return write_ahead(file, buf, len, off);
    rc = fs_extent_at(file->fs, file->ino, hole.page, &next);
    if (rc < 0)
        return rc;
    if (rc)
        return write_ahead(file, buf, len, off);
    hole.count = next.count ? next.page - hole.page : FILL_CHUNK_PAGES + 1;
    return write_hole(file, buf, len, off, &hole, FILL_EXTEND);
}

/* At least one byte, or an error. 0: past end of file, for a client that writes back. */
static ssize_t write_some(struct hf_file *file, const char *buf, uint64_t len, uint64_t off)
{
    bool tried_hard = false;
    unsigned looks = 0;

    for (;;) {
        uint64_t size = hf_load_acquire(&file->vnode->size),
                 n = len < CHUNK_BYTES ? len : CHUNK_BYTES;
        ssize_t done;

        if (off < size)
            done = write_inside(file, buf, n < size - off ? n : size - off, off);
        else if (dax_client.flags & HF_CLIENT_WRITE_BACK)
            return 0;
        else
            done = write_past_end(file, buf, n, off);
        if (done == -ENOSPC && off >= size) {
            if (tried_hard)
                return fs_no_space(file->fs, 1);
            tried_hard = true;
            fs_make_room(file->fs);
        } else {
            done = done ? done : fs_look_again(&looks);
            if (done)
                return done;
        }
    }
}

ssize_t fs_write_untold(struct hf_file *file, const void *buf, size_t len, uint64_t off)
{
    struct fs *fs = file->fs;
    size_t done = 0;
    ssize_t n = 0;

    if (len == 0)
        return 0;
    if (off >= HF_FILE_BYTES_MAX)
        return hf_fail(EFBIG, "a file ends at %" PRIu64 " bytes", HF_FILE_BYTES_MAX);
    if (len > HF_FILE_BYTES_MAX - off)
        len = (size_t)(HF_FILE_BYTES_MAX - off);
    if (hf_load_acquire(&fs->dax.shm->run->reclaim))
        fs_reclaim(fs);
    while (done < len) {
        n = write_some(file, (const char *)buf + done, len - done, off + done);
        if (n <= 0)
            break;
        done += (size_t)n;
    }
    return done ? (ssize_t)done : n;
}

void fs_written(struct hf_file *file, uint64_t size, uint64_t off, uint64_t len)
{
    uint64_t from = size < off ? size : off;

    fs_changed(file->fs, file->vnode, from / HF_BLOCK_BYTES, (off + len - 1) / HF_BLOCK_BYTES);
}

ssize_t fs_write(struct hf_file *file, const void *buf, size_t len, uint64_t off)
{
    uint64_t size = hf_load_acquire(&file->vnode->size);
    ssize_t done;
    int rc;

    if (file->append)
        return fs_append(file, buf, len, NULL);
    rc = fs_uncapable(file->fs, file->vnode);
    if (rc)
        return rc;
    fs_will_change(file->fs, file->vnode, off, len);
    done = fs_write_untold(file, buf, len, off);
    if (done <= 0)
        return done;
    rc = fs_uncapable(file->fs, file->vnode);
    fs_written(file, size, off, (uint64_t)done);
    return rc ? rc : done;
}

/* ---- fsync, seek ---- */

/* Reads up to `room` extents from `page` on. */
static int some_extents(struct fs *fs, uint64_t ino, uint64_t page, struct meta_extent *out,
                        unsigned room, unsigned *count)
{
    struct meta_txn *txn;
    int rc = meta_begin_read(fs->dax.meta, &txn);

    *count = 0;
    if (rc)
        return rc;
    while (*count < room && (rc = meta_extent_find(txn, ino, page, &out[*count])) == 0) {
        page = out[*count].page + out[*count].count;
        (*count)++;
    }
    meta_end_read(txn);
    return rc == -ENOENT ? 0 : rc;
}

/* Syncing a block that has left the file meanwhile does no harm. If the pool has been shrunk
 * meanwhile, blocks that have left the file for that are not in the pool: a new look is made. */
static int persist_content(struct fs *fs, uint64_t ino)
{
    struct meta_extent extents[IO_PIECES];
    uint64_t page = 0, blocks;
    unsigned count;
    bool shrunk;
    int rc;

    do {
        blocks = shm_pool_blocks(fs->dax.shm);
        rc = some_extents(fs, ino, page, extents, IO_PIECES, &count);
        for (unsigned i = 0; rc == 0 && i < count; i++) {
            char *at;

            rc = fs_memory(fs, extents[i].block, extents[i].count, &at);
            rc = rc ? rc : fs_persist(fs, at, extents[i].count * HF_BLOCK_BYTES);
            page = rc ? page : extents[i].page + extents[i].count;
        }
        shrunk = rc == -EUCLEAN && shm_pool_blocks(fs->dax.shm) < blocks;
    } while (shrunk || (rc == 0 && count == IO_PIECES));
    return rc;
}

int fs_fsync(struct hf_file *file)
{
    struct fs *fs = file->fs;
    int rc = 0;

    if (fs->dax.readonly)
        return 0;
    if (fs->durable)
        rc = persist_content(fs, file->ino);
    return rc ? rc : fs_vnode_sync(fs, file->vnode);
}

static int seek_data(struct fs *fs, uint64_t ino, uint64_t off, uint64_t size, uint64_t *out)
{
    struct meta_extent extent;
    int rc = fs_extent_at(fs, ino, off / HF_BLOCK_BYTES, &extent);

    if (rc < 0)
        return rc;
    if (extent.count == 0 || extent.page * HF_BLOCK_BYTES >= size)
        return hf_fail(ENXIO, "there is no data at or after %" PRIu64, off);
    *out = rc ? off : extent.page * HF_BLOCK_BYTES;
    return 0;
}

static int seek_hole(struct fs *fs, uint64_t ino, uint64_t off, uint64_t size, uint64_t *out)
{
    struct meta_extent extent;
    uint64_t page = off / HF_BLOCK_BYTES;
    struct meta_txn *txn;
    int rc = meta_begin_read(fs->dax.meta, &txn);

    if (rc)
        return rc;
    while ((rc = meta_extent_find(txn, ino, page, &extent)) == 0 && extent.page <= page)
        page = extent.page + extent.count;
    meta_end_read(txn);
    if (rc && rc != -ENOENT)
        return rc;
    if (page > off / HF_BLOCK_BYTES)
        off = page * HF_BLOCK_BYTES;
    *out = off < size ? off : size;
    return 0;
}

int fs_seek(struct hf_file *file, uint64_t off, int whence, uint64_t *out)
{
    uint64_t size = dax_size(&file->fs->dax, file->vnode);

    if (off >= size)
        return hf_fail(ENXIO, "%" PRIu64 " is at or past end of file (%" PRIu64 ")", off, size);
    if (whence == HF_SEEK_DATA)
        return seek_data(file->fs, file->ino, off, size, out);
    return seek_hole(file->fs, file->ino, off, size, out);
}
