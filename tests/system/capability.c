/* SPDX-License-Identifier: MIT */
/*
 * File capabilities go with the content that they were given to. Every call that changes it drops
 * them, also in a pool that had them before a process attached. Calls that leave the content alone
 * do not, and the other attributes stay.
 */
#include "support.h"

#include <errno.h>

#define NAME "security.capability"

static struct hf_pool *pool;
static struct hf_file *file;

static int write_inside(void)
{
    return hf_write(file, "x", 1, 5) == 1 ? 0 : -EIO;
}

static int append(void)
{
    return hf_append(file, "x", 1, NULL) == 1 ? 0 : -EIO;
}

static int cut(void)
{
    return hf_truncate(file, 100, NULL);
}

static int grow(void)
{
    return hf_truncate(file, 100000, NULL);
}

static int punch(void)
{
    return hf_fallocate(file, HF_FALLOC_PUNCH_HOLE, 0, TEST_PAGE, NULL);
}

static int copy(void)
{
    return hf_copy_range(file, 0, file, TEST_PAGE, 10) == 10 ? 0 : -EIO;
}

static int move(void)
{
    return hf_move(file, 0, TEST_PAGE, NULL);
}

static bool has_it(void)
{
    return hf_getxattr(pool, "/program", NAME, NULL, 0) == 3;
}

static void give(void)
{
    EXPECT_EQ(hf_setxattr(pool, "/program", NAME, "cap", 3, 0), 0);
    EXPECT(has_it());
}

static void scenario(void)
{
    int (*const changes[])(void) = {write_inside, append, cut, grow, punch, copy};

    pool = test_pool_new("pool", TEST_MIB(16));
    file = test_file_filled(pool, "/program", 1, 4);
    EXPECT_EQ(hf_setxattr(pool, "/program", "user.kept", "yes", 3, 0), 0);
    for (unsigned i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
        give();
        EXPECT_EQ(changes[i](), 0);
        EXPECT(!has_it());
    }
    give();
    EXPECT_EQ(move(), 0);
    EXPECT_EQ(hf_chmod(pool, "/program", 0755), 0);
    EXPECT(has_it());
    EXPECT_EQ(hf_close(file), 0);
    test_pool_close(pool);

    pool = test_pool_open("pool");
    file = test_file(pool, "/program");
    EXPECT(has_it());
    EXPECT_EQ(write_inside(), 0);
    EXPECT(!has_it());
    EXPECT_EQ(hf_getxattr(pool, "/program", "user.kept", NULL, 0), 3);
    EXPECT_EQ(hf_close(file), 0);
    test_pool_close(pool);
}

TEST_SCENARIO(scenario)
