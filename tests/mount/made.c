/* SPDX-License-Identifier: MIT */
/*
 * A program makes a file on a mount while another process keeps the table of open files locked. So
 * the file is made, and what to reply has to wait. When it can be told, the program hears that the
 * file was made.
 *
 *     mount-made POOL DIR
 */
#include "pool/pool.h"
#include "shm/shm.h"
#include "support.h"

#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>

#define LOCKED_MS 500 /* a request waits for a tenth of a second before it is put off */
#define FILES 3u

struct shared {
    uint32_t turn;
    int32_t error; /* of the file made last */
};

static const char *folder;
static struct shared *shared;

static void make_files(void *arg)
{
    (void)arg;
    for (unsigned i = 0; i < FILES; i++) {
        char path[256];

        snprintf(path, sizeof path, "%s/made-%u", folder, i);
        test_await(&shared->turn, 2 * i + 1);
        shared->error = mknod(path, S_IFREG | 0600, 0) ? errno : 0;
        test_raise(&shared->turn, 2 * i + 2);
    }
}

static int body(int argc, char **argv)
{
    struct hf_pool *pool;
    pid_t maker;

    EXPECT_EQ(argc, 3);
    folder = argv[2];
    shared = test_shared(sizeof *shared);
    maker = test_fork(make_files, NULL);
    EXPECT_EQ(hf_pool_open(argv[1], 0, &pool), 0);
    for (unsigned i = 0; i < FILES; i++) {
        EXPECT_EQ(shm_lock_table(pool->fs.dax.shm), 0);
        test_raise(&shared->turn, 2 * i + 1);
        test_sleep_ms(LOCKED_MS);
        shm_unlock_table(pool->fs.dax.shm);
        test_await(&shared->turn, 2 * i + 2);
        EXPECT_EQ(-shared->error, 0);
    }
    test_join(maker);
    test_pool_close(pool);
    return 0;
}

int main(int argc, char **argv)
{
    return test_main(argc, argv, body);
}
