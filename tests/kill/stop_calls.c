/* SPDX-License-Identifier: MIT */
/*
 * The calls of stop.h. Each gives what its call gives; what may be so meanwhile is 0.
 */
#include "stop.h"

#include <errno.h>
#include <fcntl.h>
#include <holdfast/compact.h>
#include <stdio.h>
#include <unistd.h>

#define PAGE 4096u

struct hf_pool *stop_pool;

static long truncate_it(struct call *call)
{
    return hf_truncate(call->file, TEST_PAGE, &call->policy);
}

static long punch_it(struct call *call)
{
    return hf_fallocate(call->file, HF_FALLOC_PUNCH_HOLE, 0, TEST_PAGE, &call->policy);
}

static long zero_it(struct call *call)
{
    return hf_fallocate(call->file, HF_FALLOC_ZERO_RANGE, 0, TEST_PAGE, &call->policy);
}

static long collapse_it(struct call *call)
{
    return hf_fallocate(call->file, HF_FALLOC_COLLAPSE_RANGE, 0, TEST_PAGE, &call->policy);
}

static long insert_it(struct call *call)
{
    return hf_fallocate(call->file, HF_FALLOC_INSERT_RANGE, 0, TEST_PAGE, &call->policy);
}

static long allocate_it(struct call *call)
{
    return hf_fallocate(call->file, HF_FALLOC_KEEP_SIZE, 8 * TEST_PAGE, TEST_PAGE, &call->policy);
}

static long move_it(struct call *call)
{
    return hf_move(call->file, 0, 2 * TEST_PAGE, &call->policy);
}

long stop_unlink(struct call *call)
{
    return hf_unlink(stop_pool, call->path, &call->policy);
}

/* The file of the process that is stopped; a move leaves what it holds. */
static long move_a(struct call *call)
{
    struct hf_file *file;
    long rc = hf_open(stop_pool, "/a", O_RDWR, 0, &file);

    if (rc)
        return rc == -ENOENT ? 0 : rc;
    rc = hf_move(file, 0, TEST_PAGE, &call->policy);
    snprintf(call->sentence, sizeof(call->sentence), "%s", hf_strerror_detail());
    EXPECT_EQ(hf_close(file), 0);
    return rc == -EINVAL ? 0 : rc; /* it has become shorter */
}

/* To the size that most rows leave the pool at. */
static long shrink_it(struct call *call)
{
    return hf_pool_shrink(stop_pool, KILL_POOL_BYTES, &call->policy);
}

const struct stop_row stop_with_policy[] = {
    {"truncate", truncate_it}, {"punch", punch_it},     {"zero", zero_it},
    {"collapse", collapse_it}, {"insert", insert_it},   {"allocate", allocate_it},
    {"move", move_it},         {"unlink", stop_unlink}, {"move /a", move_a},
    {"shrink", shrink_it},
};
const unsigned stop_with_policy_count = sizeof(stop_with_policy) / sizeof(stop_with_policy[0]);

static long mkdir_it(struct call *call)
{
    (void)call;
    return hf_mkdir(stop_pool, "/t/dir", 0700);
}

static long rmdir_it(struct call *call)
{
    (void)call;
    return hf_rmdir(stop_pool, "/t/empty");
}

static long mknod_it(struct call *call)
{
    (void)call;
    return hf_mknod(stop_pool, "/t/fifo", S_IFIFO | 0600, 0);
}

static long link_it(struct call *call)
{
    return hf_link(stop_pool, call->path, "/t/linked");
}

static long symlink_it(struct call *call)
{
    (void)call;
    return hf_symlink(stop_pool, "x", "/t/symbolic");
}

static long rename_it(struct call *call)
{
    return hf_rename(stop_pool, call->path, "/t/renamed", 0);
}

static long chmod_it(struct call *call)
{
    return hf_chmod(stop_pool, call->path, 0640);
}

static long chown_it(struct call *call)
{
    return hf_chown(stop_pool, call->path, getuid(), (gid_t)-1, 0);
}

static long utimens_it(struct call *call)
{
    return hf_utimens(stop_pool, call->path, NULL, 0);
}

static long setxattr_it(struct call *call)
{
    return hf_setxattr(stop_pool, call->path, "user.x", "y", 1, 0);
}

static long getxattr_it(struct call *call)
{
    long rc = hf_getxattr(stop_pool, call->path, "user.x", NULL, 0);

    return rc == -ENODATA ? 0 : rc;
}

static long stat_it(struct call *call)
{
    struct stat st;

    return hf_stat(stop_pool, call->path, 0, &st);
}

static long fstat_it(struct call *call)
{
    struct stat st;

    return hf_fstat(call->file, &st);
}

static long open_it(struct call *call)
{
    struct hf_file *file;
    long rc = hf_open(stop_pool, call->path, O_RDWR, 0, &file);

    return rc ? rc : hf_close(file);
}

static long create_it(struct call *call)
{
    struct hf_file *file;
    long rc = hf_open(stop_pool, "/t/new", O_RDWR | O_CREAT, 0600, &file);

    (void)call;
    return rc ? rc : hf_close(file);
}

static long close_it(struct call *call)
{
    long rc = hf_close(call->file);

    call->file = NULL;
    EXPECT_EQ(rc, 0);
    return rc;
}

static long write_it(struct call *call)
{
    return hf_write(call->file, "inside", 6, 0);
}

static long write_hole(struct call *call)
{
    return hf_write(call->file, "in a hole", 9, 3 * TEST_PAGE);
}

static long append_it(struct call *call)
{
    char page[PAGE] = "at the end";

    return hf_append(call->file, page, sizeof(page), NULL);
}

static long read_it(struct call *call)
{
    char page[PAGE];

    return hf_read(call->file, page, sizeof(page), 0);
}

static long read_a(struct call *call)
{
    struct hf_file *file;
    long rc = hf_open(stop_pool, "/a", O_RDONLY, 0, &file);
    char page[PAGE];

    (void)call;
    if (rc)
        return rc == -ENOENT ? 0 : rc;
    rc = hf_read(file, page, sizeof(page), 0);
    snprintf(call->sentence, sizeof(call->sentence), "%s", hf_strerror_detail());
    EXPECT_EQ(hf_close(file), 0);
    return rc;
}

static long copy_it(struct call *call)
{
    return hf_copy_range(call->file, 0, call->file, 5 * TEST_PAGE, TEST_PAGE);
}

static long fsync_it(struct call *call)
{
    return hf_fsync(call->file);
}

static long seek_it(struct call *call)
{
    uint64_t off;

    return hf_seek(call->file, 0, HF_SEEK_HOLE, &off);
}

long stop_pin_present(struct call *call)
{
    struct iovec iov[4];
    struct hf_pin pin;
    long rc = hf_pin(call->file, 0, TEST_PAGE, HF_PIN_READ, iov, 4, &pin);

    return rc > 0 ? hf_unpin(&pin) : rc;
}

static long pin_hole(struct call *call)
{
    struct iovec iov[4];
    struct hf_pin pin;
    long rc = hf_pin(call->file, 3 * TEST_PAGE, TEST_PAGE, HF_PIN_WRITE, iov, 4, &pin);

    return rc > 0 ? hf_unpin(&pin) : rc;
}

static struct hf_lease_token offered;
bool stop_lease_is_offered;

long stop_take_lease(struct call *call)
{
    struct hf_lease lease;
    struct iovec iov[4];
    long rc = hf_lease_take(stop_pool, &offered, NULL, iov, 4, &lease);

    (void)call;
    stop_lease_is_offered = rc < 0;
    if (rc > 0)
        EXPECT_EQ(hf_lease_release(&lease), 0);
    return rc;
}

/* What cannot be taken stays offered. */
static long lease_it(struct call *call)
{
    struct hf_lease lease;
    struct iovec iov[4];
    long rc = hf_lease(call->file, 0, TEST_PAGE, NULL, iov, 4, &lease);

    if (rc <= 0)
        return rc;
    EXPECT_EQ(hf_lease_give(&lease, &offered), 0);
    return stop_take_lease(call);
}

static long recall_it(struct call *call)
{
    struct hf_recall recall;

    (void)call;
    return hf_recall_next(stop_pool, &recall);
}

static int look_on(void *arg, const struct hf_pin_info *info)
{
    (void)arg, (void)info;
    return 0;
}

static long pins_it(struct call *call)
{
    (void)call;
    return hf_pins(stop_pool, look_on, NULL);
}

static int pass_on(void *arg, const struct hf_extent_info *info)
{
    (void)arg, (void)info;
    return 0;
}

static long extents_it(struct call *call)
{
    (void)call;
    return hf_extents(stop_pool, 0, pass_on, NULL);
}

static long path_it(struct call *call)
{
    char path[256];
    struct stat st;
    long rc = hf_fstat(call->file, &st);

    return rc ? rc : hf_path(stop_pool, st.st_ino, path, sizeof(path));
}

static long info_it(struct call *call)
{
    struct hf_pool_info info = {.size = sizeof(info)};

    (void)call;
    return hf_pool_info(stop_pool, &info);
}

static long readdir_it(struct call *call)
{
    struct hf_dirent entry;
    struct hf_dir *dir;
    long rc = hf_opendir(stop_pool, "/t", &dir);

    (void)call;
    while (rc == 0 && (rc = hf_readdir(dir, &entry)) == 1)
        rc = 0;
    if (rc == 0)
        EXPECT_EQ(hf_closedir(dir), 0);
    return rc;
}

static long grow_it(struct call *call)
{
    (void)call;
    return hf_pool_grow(stop_pool, 2 * KILL_POOL_BYTES);
}

/* They wait for a stopped process a moment at most, and then fail with -EBUSY. So no row has a
 * signal or a cancellation. A signal ends no wait before that moment, and a cancellation could not
 * be told from it. In tests/waits each wait of such calls ends with -EINTR, as by both of them. */
const struct stop_row stop_without_policy[] = {
    {"mkdir", mkdir_it},       {"rmdir", rmdir_it},       {"mknod", mknod_it},
    {"link", link_it},         {"symlink", symlink_it},   {"rename", rename_it},
    {"chmod", chmod_it},       {"chown", chown_it},       {"utimens", utimens_it},
    {"setxattr", setxattr_it}, {"getxattr", getxattr_it}, {"stat", stat_it},
    {"fstat", fstat_it},       {"open", open_it},         {"create", create_it},
    {"close", close_it},       {"write", write_it},       {"write-hole", write_hole},
    {"append", append_it},     {"read", read_it},         {"read /a", read_a},
    {"copy", copy_it},         {"fsync", fsync_it},       {"seek", seek_it},
    {"pin", stop_pin_present}, {"pin-hole", pin_hole},    {"lease", lease_it},
    {"recall", recall_it},     {"pins", pins_it},         {"extents", extents_it},
    {"path", path_it},         {"info", info_it},         {"readdir", readdir_it},
    {"grow", grow_it},
};
const unsigned stop_without_policy_count =
    sizeof(stop_without_policy) / sizeof(stop_without_policy[0]);
