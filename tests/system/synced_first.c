/* SPDX-License-Identifier: MIT */
/*
 * On a disk: what is relied upon is synced first. When hf_pool_create() returns, it has synced
 * every file of the pool and every directory that has one of their names. hf_pool_grow() of a
 * durable pool has synced POOL/data at its new length before it writes the super record that says
 * so.
 *
 * The calls are looked at where the library and LMDB make them. HOLDFAST_TEST_DIR: a directory on a
 * disk (default: /var/tmp).
 */
#include "interpose.h"
#include "support.h"

#include <errno.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/vfs.h>
#include <unistd.h>

#define OLD TEST_MIB(8)
#define NEW TEST_MIB(16)
#define MOST 256u

struct synced {
    ino_t ino;
    off_t bytes; /* its length then */
};
static struct synced synced[MOST];
static unsigned synced_count;
static ino_t data_ino, meta_ino; /* to be looked at */
static bool written_too_early;

static ino_t ino_of(int fd, off_t *bytes)
{
    struct stat st;

    EXPECT_EQ(fstat(fd, &st), 0);
    if (bytes)
        *bytes = st.st_size;
    return st.st_ino;
}

static bool was_synced(ino_t ino, off_t bytes)
{
    for (unsigned i = 0; i < synced_count; i++)
        if (synced[i].ino == ino && synced[i].bytes >= bytes)
            return true;
    return false;
}

static void before_call(struct interposed *call)
{
    if (call->what == INTERPOSED_SYNC) {
        struct synced *one = &synced[synced_count++ % MOST];

        one->ino = ino_of(call->fd, &one->bytes);
    } else if (call->what == INTERPOSED_PWRITE && ino_of(call->fd, NULL) == meta_ino &&
               !was_synced(data_ino, (off_t)NEW)) {
        written_too_early = true; /* LMDB's writing of metadata */
    }
}

static char folder[256];

static const char *in_folder(const char *name)
{
    static char paths[4][512];
    static unsigned next;
    char *path = paths[next++ % 4];

    snprintf(path, sizeof(paths[0]), "%s/%s", folder, name);
    return path;
}

static ino_t ino_at(const char *name)
{
    struct stat st;

    EXPECT_EQ(stat(in_folder(name), &st), 0);
    return st.st_ino;
}

static void expect_synced(const char *const *names)
{
    for (; *names; names++)
        if (!was_synced(ino_at(*names), 0))
            FAIL("%s was not synced", *names);
}

static void made(uint32_t flags)
{
    struct hf_pool_options options = {.size = sizeof(options), .pool_bytes = OLD, .flags = flags};

    synced_count = 0;
    EXPECT_EQ(hf_pool_create(in_folder("pool"), &options), 0);
    expect_synced((const char *const[]){".", "pool", "pool/data", "pool/meta", "pool/meta/data.mdb",
                                        "pool/lock", NULL});
}

static void made_elsewhere(void)
{
    struct hf_pool_options options = {.size = sizeof(options), .pool_bytes = OLD};

    EXPECT_EQ(mkdir(in_folder("elsewhere"), 0700), 0);
    options.data_path = in_folder("elsewhere/memory");
    synced_count = 0;
    EXPECT_EQ(hf_pool_create(in_folder("linked"), &options), 0);
    expect_synced((const char *const[]){"linked", "elsewhere", "elsewhere/memory", NULL});
}

static void grown(void)
{
    struct hf_pool *pool;

    EXPECT_EQ(hf_pool_open(in_folder("pool"), 0, &pool), 0);
    data_ino = ino_at("pool/data");
    meta_ino = ino_at("pool/meta/data.mdb");
    written_too_early = false;
    synced_count = 0;
    EXPECT_EQ(hf_pool_grow(pool, NEW), 0);
    EXPECT(was_synced(data_ino, (off_t)NEW));
    EXPECT(!written_too_early);
    meta_ino = 0;
    EXPECT_EQ(hf_pool_close(pool), 0);
}

static void synced_first(void)
{
    struct statfs fs;

    if (!*folder || statfs(folder, &fs) || fs.f_type == TMPFS_MAGIC)
        test_skip("no directory on a disk: HOLDFAST_TEST_DIR");
    interpose_before = before_call;
    made(HF_POOL_DURABLE);
    grown();
    made_elsewhere();
}

/* The folder is gone afterwards however the test has ended. */
int main(int argc, char **argv)
{
    const char *dir = getenv("HOLDFAST_TEST_DIR");
    int status;

    snprintf(folder, sizeof(folder), "%s/holdfast-synced-XXXXXX", dir ? dir : "/var/tmp");
    if (!mkdtemp(folder))
        *folder = '\0';
    status = test_scenario(argc, argv, synced_first);
    if (*folder)
        test_remove_tree(folder);
    return status;
}
