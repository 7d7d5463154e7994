/* SPDX-License-Identifier: MIT */
/*
 * A device reads and writes every byte of a pool's files through its registration. Another process
 * gives free memory back all the time, and the pool does so by itself. A registration that comes
 * between two punches finds the new pages; what it has found is replaced by no others. The device
 * would see old pages otherwise, and its bytes would go where nobody reads them.
 */
#include "rig.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define POOL_BYTES TEST_MIB(16)
#define ROUNDS 40u
#define FILES 8u
#define PAGES 256u /* of a file; half of the pool in all, and as much comes and goes */

static void path_of(char path[16], unsigned file)
{
    snprintf(path, 16, "/%u", file);
}

static uint64_t stamp_of(unsigned round, unsigned file)
{
    return (uint64_t)round * FILES + file + 1;
}

static void make_files(struct hf_pool *pool, unsigned round)
{
    char path[16];

    for (unsigned i = 0; i < FILES; i++) {
        path_of(path, i);
        EXPECT_EQ(hf_close(test_file_filled(pool, path, stamp_of(round, i), PAGES)), 0);
    }
}

static void delete_files(struct hf_pool *pool)
{
    char path[16];

    for (unsigned i = 0; i < FILES; i++) {
        path_of(path, i);
        EXPECT_EQ(hf_unlink(pool, path, NULL), 0);
    }
}

static void transfer(struct rig *rig, uint32_t op, struct hf_file *file, int fd)
{
    struct hf_uring_io io = rig_io(op, file, 0, PAGES, fd, op);

    io.fd_off = 0;
    rig_prep(rig, &io);
    rig_submit(rig);
    rig_expect(rig, op, PAGES * TEST_PAGE);
}

/* What the device has read is what the program wrote, and the other way round. */
static void by_device(struct rig *rig, unsigned round, int fd, unsigned char *bytes)
{
    char path[16];

    for (unsigned i = 0; i < FILES; i++) {
        struct hf_file *file;

        path_of(path, i);
        file = test_file(rig->pool, path);
        transfer(rig, HF_URING_WRITE, file, fd);
        for (uint64_t page = 0; page < PAGES; page++) {
            if (!test_page_is(bytes + page * TEST_PAGE, stamp_of(round, i), page))
                FAIL("round %u: page %" PRIu64 " of file %u is not what the device read", round,
                     page, i);
            test_page_fill(bytes + page * TEST_PAGE, ~stamp_of(round, i), page);
        }
        transfer(rig, HF_URING_READ, file, fd);
        test_expect_pages(file, ~stamp_of(round, i), 0, PAGES);
        EXPECT_EQ(hf_close(file), 0);
    }
}

/* Half of what has been free so far is used for the first time since the registration. */
static void use_new_blocks(struct rig *rig, unsigned round, int fd, unsigned char *bytes)
{
    delete_files(rig->pool);
    make_files(rig->pool, round);
    by_device(rig, round, fd, bytes);
}

static void trim(void)
{
    const struct hf_pool_options options = {
        .size = sizeof(options), .pool_bytes = POOL_BYTES, .trim_above_bytes = HF_HUGE_BYTES};
    int fd = memfd_create("device", MFD_CLOEXEC);
    unsigned char *bytes;
    struct hf_pool *pool;
    struct rig rig;
    pid_t trimmer;

    EXPECT_OK(fd);
    EXPECT_EQ(ftruncate(fd, PAGES * TEST_PAGE), 0);
    bytes = mmap(NULL, PAGES * TEST_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    EXPECT(bytes != MAP_FAILED);
    EXPECT_EQ(hf_pool_create(test_path("pool"), &options), 0);
    pool = test_pool_open("pool");
    trimmer = test_trimmer("pool");
    for (unsigned round = 0; round < ROUNDS; round++) {
        make_files(pool, 2 * round);
        rig_open(&rig, pool, 8, 0, NULL); /* while a trim may be under way */
        by_device(&rig, 2 * round, fd, bytes);
        use_new_blocks(&rig, 2 * round + 1, fd, bytes);
        if (round % 2)
            delete_files(pool); /* stays, and is punched when the registration has gone */
        rig_close(&rig);
        if (round % 2 == 0)
            delete_files(pool);
    }
    printf("%" PRIu64 " bytes were given back\n", test_trimmer_ends(trimmer));
    test_expect_trimmed(pool);
    test_pool_close(pool);
    test_pool_check("pool");
}

TEST_SCENARIO(trim)
