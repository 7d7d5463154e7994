/* SPDX-License-Identifier: MIT */
/*
 * The pool of these tests: small, so that it is soon full, and with a quarantine of choice. A
 * process that is stopped in a call may have a lock, or keep an old state of the metadata. Calls
 * that meet it are tried again.
 */
#include "device.h"

#include <errno.h>
#include <string.h>
#include <sys/vfs.h>

#include <linux/magic.h>

struct hf_pool *device_pool_new(uint64_t quarantine_ns)
{
    struct hf_pool_options options = {.size = sizeof(options),
                                      .pool_bytes = TEST_MIB(DEVICE_MIB),
                                      .quarantine_ns = quarantine_ns};
    struct statfs fs;

    EXPECT_EQ(statfs(test_folder(), &fs), 0);
    if (fs.f_type != TMPFS_MAGIC)
        test_skip("the kernel registers no buffers in files of a disk: TMPDIR has to be a tmpfs");
    EXPECT_EQ(hf_pool_create(test_path(DEVICE_POOL), &options), 0);
    return test_pool_open(DEVICE_POOL);
}

struct hf_pool *device_pool_open(void)
{
    struct hf_pool *pool;
    int rc;

    while ((rc = hf_pool_open(test_path(DEVICE_POOL), 0, &pool)) == -EBUSY)
        test_sleep_ms(1);
    EXPECT_EQ(rc, 0);
    if (strncmp(test_folder(), "/dev/shm/", 9) != 0)
        test_note_segment(pool);
    return pool;
}

int device_open(struct hf_pool *pool, const char *path, int flags, struct hf_file **out)
{
    int rc;

    while ((rc = hf_open(pool, path, flags, 0600, out)) == -EBUSY)
        test_sleep_ms(1);
    return rc;
}

int device_truncate(struct hf_file *file, uint64_t size)
{
    int rc;

    while ((rc = hf_truncate(file, size, NULL)) == -EBUSY)
        test_sleep_ms(1);
    return rc;
}

int device_unlink(struct hf_pool *pool, const char *path)
{
    int rc;

    while ((rc = hf_unlink(pool, path, NULL)) == -EBUSY)
        test_sleep_ms(1);
    return rc;
}

bool device_came_late(struct device *device, const void *bytes, size_t len)
{
    while (test_peek(&device->killing))
        test_sleep_ms(1);
    if (!test_peek64(&device->outlived) || !memchr(bytes, DEVICE_DISK_BYTE, len))
        return false;
    test_count64(&device->late, 1);
    return true;
}
