/* SPDX-License-Identifier: MIT */
/* Argument checks of the calls on a file's content and layout; pins are in pin.c. */
#include "api/api.h"

#include "holdfast/put.h"

#include <inttypes.h>
#include <limits.h>

static int check_buffer(const void *buf, size_t len)
{
    if (len && !buf)
        return api_null("buf");
    return len > SSIZE_MAX ? hf_fail(EINVAL, "a length of %zu bytes", len) : 0;
}

static int check_readable(const struct hf_file *file)
{
    int rc = api_check_file(file);

    if (rc || file->readable)
        return rc;
    return hf_fail(EBADF, "the file was not opened for reading");
}

ssize_t hf_read(struct hf_file *file, void *buf, size_t len, uint64_t off)
{
    api_begins(__func__);
    int rc = check_readable(file);

    rc = rc ? rc : check_buffer(buf, len);
    return rc ? rc : fs_read(file, buf, len, off);
}

ssize_t hf_write(struct hf_file *file, const void *buf, size_t len, uint64_t off)
{
    api_begins(__func__);
    int rc = api_check_writable(file);

    rc = rc ? rc : check_buffer(buf, len);
    return rc ? rc : fs_write(file, buf, len, off);
}

ssize_t hf_append(struct hf_file *file, const void *buf, size_t len, uint64_t *off)
{
    api_begins(__func__);
    int rc = api_check_writable(file);

    rc = rc ? rc : check_buffer(buf, len);
    return rc ? rc : fs_append(file, buf, len, off);
}

/* From a place of one file to a place of another. */
static int check_two(const struct hf_file *from, const struct hf_file *to)
{
    int rc = check_readable(from);

    rc = rc ? rc : api_check_placed(to);
    if (rc == 0 && from->fs != to->fs)
        rc = hf_fail(EXDEV, "the files are in two pools");
    return rc;
}

ssize_t hf_copy_range(struct hf_file *from, uint64_t from_off, struct hf_file *to, uint64_t to_off,
                      size_t len)
{
    api_begins(__func__);
    int rc = check_two(from, to);

    return rc ? rc : fs_copy_range(from, from_off, to, to_off, len);
}

int hf_clone_range(struct hf_file *from, uint64_t from_off, struct hf_file *to, uint64_t to_off,
                   uint64_t len, const struct hf_policy *policy)
{
    api_begins(__func__);
    struct hf_policy definite;
    struct shm_bound before;
    int rc = check_two(from, to);

    rc = rc ? rc : api_policy(to->fs, policy, &definite);
    if (rc)
        return rc;
    before = api_bound(&definite);
    rc = fs_clone_range(from, from_off, to, to_off, len, &definite);
    shm_bound = before;
    return rc;
}

int hf_dedup_range(struct hf_file *a, uint64_t a_off, struct hf_file *b, uint64_t b_off,
                   uint64_t len, struct hf_dedup_result *out)
{
    api_begins(__func__);
    int rc = a ? check_two(a, b) : api_check_placed(b);

    rc = rc ? rc : check_readable(b);
    if (rc == 0 && (!out || out->size != sizeof *out))
        rc = hf_fail(EINVAL, "out->size is not sizeof(struct hf_dedup_result), %zu", sizeof *out);
    return rc ? rc : fs_dedup_range(a, a_off, b, b_off, len, out);
}

int hf_fsync(struct hf_file *file)
{
    api_begins(__func__);
    int rc = api_check_file(file);

    return rc ? rc : fs_fsync(file);
}

int hf_seek(struct hf_file *file, uint64_t off, int whence, uint64_t *out)
{
    api_begins(__func__);
    int rc = api_check_file(file);

    if (rc == 0 && !out)
        rc = api_null("out");
    if (rc == 0 && whence != HF_SEEK_DATA && whence != HF_SEEK_HOLE)
        rc = hf_fail(EINVAL, "whence %d is neither HF_SEEK_DATA nor HF_SEEK_HOLE", whence);
    return rc ? rc : fs_seek(file, off, whence, out);
}

/* ---- layout changes ---- */

static int check_change(const struct hf_file *file, const struct hf_policy *given,
                        struct hf_policy *definite)
{
    int rc = api_check_writable(file);

    return rc ? rc : api_policy(file->fs, given, definite);
}

static int check_range(uint64_t off, uint64_t len, bool shifts)
{
    if (len == 0)
        return hf_fail(EINVAL, "a length of 0");
    if (shifts) /* where its range has to end is told by the file's end */
        return 0;
    if (off >= HF_FILE_BYTES_MAX || len > HF_FILE_BYTES_MAX - off)
        return hf_fail(EFBIG, "a file ends at %" PRIu64 " bytes", HF_FILE_BYTES_MAX);
    return 0;
}

int hf_truncate(struct hf_file *file, uint64_t size, const struct hf_policy *policy)
{
    api_begins(__func__);
    struct hf_policy definite;
    struct shm_bound before;
    int rc = check_change(file, policy, &definite);

    if (rc)
        return rc;
    before = api_bound(&definite);
    rc = fs_truncate(file->fs, file->vnode, size, &definite);
    shm_bound = before;
    return rc;
}

static int fallocate_by(struct hf_file *file, uint32_t mode, uint64_t off, uint64_t len,
                        const struct hf_policy *policy)
{
    switch (mode) {
    case 0:
    case HF_FALLOC_KEEP_SIZE:
        return fs_allocate(file->fs, file->vnode, off, len, mode & HF_FALLOC_KEEP_SIZE);
    case HF_FALLOC_PUNCH_HOLE:
    case HF_FALLOC_PUNCH_HOLE | HF_FALLOC_KEEP_SIZE:
        return fs_punch(file->fs, file->vnode, off, len, policy);
    case HF_FALLOC_ZERO_RANGE:
    case HF_FALLOC_ZERO_RANGE | HF_FALLOC_KEEP_SIZE:
        return fs_zero_range(file->fs, file->vnode, off, len, mode & HF_FALLOC_KEEP_SIZE, policy);
    case HF_FALLOC_COLLAPSE_RANGE:
        return fs_collapse(file->fs, file->vnode, off, len, policy);
    case HF_FALLOC_INSERT_RANGE:
        return fs_insert(file->fs, file->vnode, off, len, policy);
    default:
        return api_flags("hf_fallocate", mode);
    }
}

int hf_fallocate(struct hf_file *file, uint32_t mode, uint64_t off, uint64_t len,
                 const struct hf_policy *policy)
{
    api_begins(__func__);
    bool shifts = mode == HF_FALLOC_COLLAPSE_RANGE || mode == HF_FALLOC_INSERT_RANGE;
    struct hf_policy definite;
    struct shm_bound before;
    int rc = check_change(file, policy, &definite);

    rc = rc ? rc : check_range(off, len, shifts);
    if (rc)
        return rc;
    before = api_bound(&definite);
    rc = fallocate_by(file, mode, off, len, &definite);
    shm_bound = before;
    return rc;
}

static int check_compact(const struct hf_file *file, uint32_t flags, const struct hf_policy *policy,
                         struct hf_policy *definite, const struct hf_compact_result *out)
{
    int rc = flags & HF_COMPACT_LOOK ? check_readable(file) : api_check_writable(file);

    if (rc == 0 && flags & ~HF_COMPACT_LOOK)
        rc = api_flags("hf_compact", flags);
    if (rc == 0 && (!out || out->size != sizeof *out))
        rc = hf_fail(EINVAL, "out->size is not sizeof(struct hf_compact_result), %zu", sizeof *out);
    *definite = (struct hf_policy){.kind = HF_POLICY_NOWAIT};
    if (rc == 0 && policy)
        rc = api_policy(file->fs, policy, definite);
    if (rc == 0 && dax_policy_detaches(definite->kind))
        rc = hf_fail(EINVAL,
                     "a policy that detaches, and hf_compact() takes no blocks from holders: "
                     "give one that waits, or none");
    return rc;
}

int hf_compact(struct hf_file *file, uint64_t off, uint64_t len, uint32_t flags,
               const struct hf_policy *policy, struct hf_compact_result *out)
{
    api_begins(__func__);
    struct hf_policy definite;
    struct shm_bound before;
    int rc = check_compact(file, flags, policy, &definite, out);

    if (rc)
        return rc;
    before = shm_bound;
    if (policy)
        (void)api_bound(&definite);
    rc = fs_compact(file->fs, file->vnode, off, len, flags,
                    definite.kind == HF_POLICY_NOWAIT ? NULL : &definite, out);
    shm_bound = before;
    return rc;
}

int hf_held(struct hf_file *file, uint64_t off, uint64_t len)
{
    api_begins(__func__);
    int rc = api_check_file(file);

    rc = rc ? rc : check_range(off, len, false);
    if (rc)
        return rc;
    return dax_held(&file->fs->dax, file->vnode, off / HF_BLOCK_BYTES,
                    (off + len - 1) / HF_BLOCK_BYTES);
}

int hf_move(struct hf_file *file, uint64_t off, uint64_t len, const struct hf_policy *policy)
{
    api_begins(__func__);
    struct hf_policy definite;
    struct shm_bound before;
    int rc = check_change(file, policy, &definite);

    rc = rc ? rc : check_range(off, len, false);
    if (rc)
        return rc;
    before = api_bound(&definite);
    rc = fs_move(file->fs, file->vnode, off, len, &definite);
    shm_bound = before;
    return rc;
}
