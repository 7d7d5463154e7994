/* SPDX-License-Identifier: MIT */
/* The pool of these tests: small, so that it is soon full, and with a quarantine of choice. */
#include "device.h"

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
