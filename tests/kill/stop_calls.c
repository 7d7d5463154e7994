/* SPDX-License-Identifier: MIT */
/*
 * The calls of stop.h. Each gives what its call gives; what may be so meanwhile is 0.
 */
#include "stop.h"

#include <errno.h>
#include <fcntl.h>
#include <holdfast/compact.h>
#include <holdfast/put.h>
#include <holdfast/serve.h>
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

static long clone_it(struct call *call)
{
    return hf_clone_range(call->file, 0, call->file, 4 * TEST_PAGE, TEST_PAGE, &call->policy);
}

/* Its own file is too short for a huge entry, but not /a, in some rows. A call that detaches is
 * refused. */
static long compact_a(struct call *call)
{
    struct hf_compact_result result = {.size = sizeof(result)};
    struct hf_file *file;
    long rc = hf_open(stop_pool, "/a", O_RDWR, 0, &file);

    if (rc)
        return rc == -ENOENT ? 0 : rc;
    rc = hf_compact(file, 0, 0, 0, &call->policy, &result);
    snprintf(call->sentence, sizeof(call->sentence), "%s", hf_strerror_detail());
    EXPECT_EQ(hf_close(file), 0);
    return rc == -EINVAL ? 0 : rc;
}

const struct stop_row stop_with_policy[] = {
    {"truncate", truncate_it}, {"punch", punch_it},     {"zero", zero_it},
    {"collapse", collapse_it}, {"insert", insert_it},   {"allocate", allocate_it},
    {"move", move_it},         {"unlink", stop_unlink}, {"move /a", move_a},
    {"shrink", shrink_it},     {"clone", clone_it},     {"compact /a", compact_a},
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

/* ---- the pool ---- */

static long trim_it(struct call *call)
{
    struct hf_trim_result result = {.size = sizeof(result)};

    (void)call;
    return hf_pool_trim(stop_pool, 0, &result);
}

static long memory_it(struct call *call)
{
    struct hf_pool_memory memory = {.size = sizeof(memory)};

    (void)call;
    return hf_pool_memory(stop_pool, &memory);
}

static long memory_fd_it(struct call *call)
{
    (void)call;
    return hf_pool_memory_fd(stop_pool);
}

/* What cannot be given up at once is given up when the other process goes on. */
unsigned stop_registrations;

static long register_it(struct call *call)
{
    struct hf_pool_memory memory = {.size = sizeof(memory)};
    long rc = hf_pool_register(stop_pool, HF_PIN_RDMA, &memory);

    (void)call;
    if (rc)
        return rc;
    rc = hf_pool_unregister(stop_pool, HF_PIN_RDMA);
    stop_registrations += rc != 0;
    return rc;
}

static long statvfs_it(struct call *call)
{
    struct statvfs space;

    (void)call;
    return hf_statvfs(stop_pool, &space);
}

static long recall_fd_it(struct call *call)
{
    (void)call;
    return hf_recall_fd(stop_pool);
}

/* ---- content ---- */

static long merge_it(struct call *call)
{
    struct hf_dedup_result result = {.size = sizeof(result)};

    return hf_dedup_range(call->file, 0, call->file, TEST_PAGE, TEST_PAGE, &result);
}

static long held_it(struct call *call)
{
    return hf_held(call->file, 0, TEST_PAGE);
}

static long begin_put(const struct call *call, uint32_t flags, struct hf_put *put)
{
    struct iovec iov;

    return hf_put_begin(call->file, 8 * TEST_PAGE, TEST_PAGE, flags, &iov, 1, put);
}

/* The abort cannot fail but for a put that has ended. */
static long commit_put(struct call *call, uint32_t flags)
{
    struct hf_put put;
    long rc = begin_put(call, flags, &put);

    if (rc < 0)
        return rc;
    rc = hf_put_commit(call->file, &put, TEST_PAGE);
    snprintf(call->sentence, sizeof(call->sentence), "%s", hf_strerror_detail());
    if (rc)
        EXPECT_EQ(hf_put_abort(stop_pool, &put), 0);
    return rc;
}

static long put_it(struct call *call)
{
    return commit_put(call, HF_PIN_CPU);
}

static long put_by_device(struct call *call)
{
    return commit_put(call, HF_PIN_RDMA);
}

static long put_named(struct call *call)
{
    struct hf_file *file;
    struct hf_put put;
    struct iovec iov;
    long rc = hf_open(stop_pool, "/t", O_RDWR | O_TMPFILE, 0600, &file);

    if (rc)
        return rc;
    rc = hf_put_begin(file, 0, TEST_PAGE, HF_PIN_CPU, &iov, 1, &put);
    if (rc > 0) {
        rc = hf_put_commit_as(file, &put, TEST_PAGE, "/t/put", 0);
        snprintf(call->sentence, sizeof(call->sentence), "%s", hf_strerror_detail());
        if (rc)
            EXPECT_EQ(hf_put_abort(stop_pool, &put), 0);
    } else {
        snprintf(call->sentence, sizeof(call->sentence), "%s", hf_strerror_detail());
    }
    EXPECT_EQ(hf_close(file), 0);
    return rc;
}

static long abort_put(struct call *call)
{
    struct hf_put put;
    long rc = begin_put(call, HF_PIN_CPU, &put);

    return rc < 0 ? rc : hf_put_abort(stop_pool, &put);
}

static long watch_it(struct call *call)
{
    long rc = hf_watch(call->file, 1);

    return rc ? rc : hf_watch(call->file, 0);
}

static long watch_next_it(struct call *call)
{
    struct hf_watch_report report;

    (void)call;
    return hf_watch_next(stop_pool, 0, &report);
}

/* ---- names ---- */

static long clone_files_it(struct call *call)
{
    struct hf_clone_entry entry = {.name = "cloned"};
    struct stat file, dir;
    long rc = hf_fstat(call->file, &file);

    rc = rc ? rc : hf_stat(stop_pool, "/t", 0, &dir);
    if (rc)
        return rc;
    entry.from = file.st_ino;
    entry.dir = dir.st_ino;
    rc = hf_clone_files(stop_pool, &entry, 1);
    return rc ? rc : entry.result;
}

static long readlink_it(struct call *call)
{
    char target[16];
    long rc = hf_readlink(stop_pool, call->path, target, sizeof(target));

    return rc == -EINVAL ? 0 : rc; /* it is none */
}

static long statx_it(struct call *call)
{
    struct statx st;

    return hf_statx(stop_pool, call->path, 0, &st);
}

static long listxattr_it(struct call *call)
{
    return hf_listxattr(stop_pool, call->path, NULL, 0);
}

static long removexattr_it(struct call *call)
{
    long rc = hf_removexattr(stop_pool, call->path, "user.z");

    return rc == -ENODATA ? 0 : rc;
}

static long seekdir_it(struct call *call)
{
    struct hf_dir *dir;
    long rc = hf_opendir(stop_pool, "/t", &dir);

    (void)call;
    if (rc)
        return rc;
    rc = hf_seekdir(dir, "0");
    snprintf(call->sentence, sizeof(call->sentence), "%s", hf_strerror_detail());
    EXPECT_EQ(hf_closedir(dir), 0);
    return rc;
}

/* They wait for a stopped process a moment at most, and then fail with -EBUSY. So no row has a
 * signal or a cancellation. A signal ends no wait before that moment, and a cancellation could not
 * be told from it. In tests/waits each wait of such calls ends with -EINTR, as by both of them. */
const struct stop_row stop_without_policy[] = {
    {"mkdir", mkdir_it},
    {"rmdir", rmdir_it},
    {"mknod", mknod_it},
    {"link", link_it},
    {"symlink", symlink_it},
    {"rename", rename_it},
    {"chmod", chmod_it},
    {"chown", chown_it},
    {"utimens", utimens_it},
    {"setxattr", setxattr_it},
    {"getxattr", getxattr_it},
    {"stat", stat_it},
    {"fstat", fstat_it},
    {"open", open_it},
    {"create", create_it},
    {"close", close_it},
    {"write", write_it},
    {"write-hole", write_hole},
    {"append", append_it},
    {"read", read_it},
    {"read /a", read_a},
    {"copy", copy_it},
    {"fsync", fsync_it},
    {"seek", seek_it},
    {"pin", stop_pin_present},
    {"pin-hole", pin_hole},
    {"lease", lease_it},
    {"recall", recall_it},
    {"pins", pins_it},
    {"extents", extents_it},
    {"path", path_it},
    {"info", info_it},
    {"readdir", readdir_it},
    {"grow", grow_it},
    {"trim", trim_it},
    {"memory", memory_it},
    {"memory-fd", memory_fd_it},
    {"register", register_it},
    {"statvfs", statvfs_it},
    {"recall-fd", recall_fd_it},
    {"merge", merge_it},
    {"held", held_it},
    {"put", put_it},
    {"put-device", put_by_device},
    {"put-named", put_named},
    {"put-abort", abort_put},
    {"watch", watch_it},
    {"watch-next", watch_next_it},
    {"clone-files", clone_files_it},
    {"readlink", readlink_it},
    {"statx", statx_it},
    {"listxattr", listxattr_it},
    {"removexattr", removexattr_it},
    {"seekdir", seekdir_it},
};
const unsigned stop_without_policy_count =
    sizeof(stop_without_policy) / sizeof(stop_without_policy[0]);
