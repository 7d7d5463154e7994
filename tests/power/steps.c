/* SPDX-License-Identifier: MIT */
/* The workload: what each step does, what the pool then holds, and what of it is promised. */
#include "power.h"

#ifdef HF_LAB
#include "base/lab.h"
#include "fs/fs.h"
#include "pool/pool.h"
#endif

#include <errno.h>
#include <fcntl.h>
#include <holdfast/compact.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

const char *power_pool;
uint32_t power_flags;
bool power_growth_is_broken;

static struct hf_file *open_file(struct hf_pool *pool, const char *path)
{
    struct hf_file *file;

    EXPECT_EQ(hf_open(pool, path, O_RDWR | O_CREAT, 0600, &file), 0);
    return file;
}

static void write_and_sync(struct hf_pool *pool, const char *path, uint64_t stamp, uint64_t page,
                           uint64_t count)
{
    struct hf_file *file = open_file(pool, path);

    test_write_pages(file, stamp, page, count);
    EXPECT_EQ(hf_fsync(file), 0);
    EXPECT_EQ(hf_close(file), 0);
}

static void make(struct hf_pool **pool)
{
    struct hf_pool_options options = {.size = sizeof(options),
                                      .pool_bytes = POWER_POOL_BYTES,
                                      .flags = power_flags,
                                      .max_processes = 8,
                                      .max_threads = 16,
                                      .max_files = 32,
                                      .max_leases = 64};

    (void)pool;
    EXPECT_EQ(hf_pool_create(power_pool, &options), 0);
}

static void attach(struct hf_pool **pool)
{
    EXPECT_EQ(hf_pool_open(power_pool, 0, pool), 0);
    test_note_segment(*pool);
}

static void create_a(struct hf_pool **pool)
{
    EXPECT_EQ(hf_close(open_file(*pool, "/a")), 0);
}

static void write_a(struct hf_pool **pool)
{
    write_and_sync(*pool, "/a", 1, 0, 3);
}

static void create_b(struct hf_pool **pool)
{
    EXPECT_EQ(hf_close(open_file(*pool, "/b")), 0);
}

static void write_b(struct hf_pool **pool)
{
    write_and_sync(*pool, "/b", 2, 0, 6);
}

static void rename_a(struct hf_pool **pool)
{
    EXPECT_EQ(hf_rename(*pool, "/a", "/c", 0), 0);
}

static void overwrite_c(struct hf_pool **pool)
{
    write_and_sync(*pool, "/c", 3, 1, 1);
}

static void overwrite_b(struct hf_pool **pool)
{
    struct hf_file *file = open_file(*pool, "/b");

    test_write_pages(file, 4, 0, 1);
    EXPECT_EQ(hf_close(file), 0);
}

static void make_dir(struct hf_pool **pool)
{
    EXPECT_EQ(hf_mkdir(*pool, "/dir", 0700), 0);
}

static void rename_c(struct hf_pool **pool)
{
    EXPECT_EQ(hf_rename(*pool, "/c", "/dir/c", 0), 0);
}

static void sync_b(struct hf_pool **pool)
{
    struct hf_file *file = open_file(*pool, "/b");

    EXPECT_EQ(hf_fsync(file), 0);
    EXPECT_EQ(hf_close(file), 0);
}

static void punch_b(struct hf_pool **pool)
{
    struct hf_file *file = open_file(*pool, "/b");

    EXPECT_EQ(hf_fallocate(file, HF_FALLOC_PUNCH_HOLE, TEST_PAGE, 2 * TEST_PAGE, NULL), 0);
    EXPECT_EQ(hf_close(file), 0);
}

static void truncate_b(struct hf_pool **pool)
{
    struct hf_file *file = open_file(*pool, "/b");

    EXPECT_EQ(hf_truncate(file, 4 * TEST_PAGE + 1000, NULL), 0);
    EXPECT_EQ(hf_close(file), 0);
}

/* Inside the last block, and not synced: its size is recorded at the close. */
static void append_b(struct hf_pool **pool)
{
    struct hf_file *file = open_file(*pool, "/b");
    char bytes[1024];

    memset(bytes, 0x5b, sizeof(bytes));
    EXPECT_EQ(hf_append(file, bytes, sizeof(bytes), NULL), sizeof(bytes));
    EXPECT_EQ(hf_close(file), 0);
}

static void append_more(struct hf_pool **pool)
{
    write_and_sync(*pool, "/b", 5, 5, 2);
}

static void unlink_c(struct hf_pool **pool)
{
    EXPECT_EQ(hf_unlink(*pool, "/dir/c", NULL), 0);
}

/* On the blocks that /dir/c and /b had. */
static void write_d(struct hf_pool **pool)
{
    write_and_sync(*pool, "/d", 6, 1, 5);
}

static void create_d(struct hf_pool **pool)
{
    EXPECT_EQ(hf_close(open_file(*pool, "/d")), 0);
}

static void create_big(struct hf_pool **pool)
{
    EXPECT_EQ(hf_close(open_file(*pool, "/big")), 0);
}

/* So that what is written later lies in the memory that growing adds. */
static void fill_pool(struct hf_pool **pool)
{
    struct hf_file *file = open_file(*pool, "/big");
    uint64_t room = test_free_bytes(*pool) - 2 * TEST_PAGE;

    EXPECT_EQ(hf_fallocate(file, 0, 0, room, NULL), 0);
    EXPECT_EQ(hf_close(file), 0);
}

#ifdef HF_LAB
static struct hf_pool *trimmed;

/* A trim cuts off what the growth has just synced. Another growth makes the file as long again, and
 * its process dies before it syncs that. */
static void cut_and_lengthen(enum hf_lab_point point)
{
    struct hf_trim_result result = {.size = sizeof(result)};
    char path[512];
    int fd;

    if (point != HF_LAB_GROWS)
        return;
    hf_lab_stepped = false;
    EXPECT_EQ(hf_pool_trim(trimmed, 0, &result), 0);
    snprintf(path, sizeof(path), "%s/data", power_pool);
    fd = open(path, O_RDWR | O_CLOEXEC);
    EXPECT_OK(fd);
    EXPECT_EQ(posix_fallocate(fd, POWER_POOL_BYTES, POWER_GROWN_BYTES - POWER_POOL_BYTES), 0);
    EXPECT_EQ(close(fd), 0);
}

/* In lab builds the next growth meets both. */
static void disturb_growth(struct hf_pool *pool)
{
    trimmed = pool;
    hf_lab_at = cut_and_lengthen;
    hf_lab_break |= HF_LAB_STEPS | (power_growth_is_broken ? HF_LAB_TAIL_STAYS : 0);
    hf_lab_stepped = true;
}

static void leave_growth(void)
{
    hf_lab_break &= ~(HF_LAB_STEPS | HF_LAB_TAIL_STAYS);
}
#else
static void disturb_growth(struct hf_pool *pool)
{
    (void)pool;
}

static void leave_growth(void)
{
}
#endif

static void grow(struct hf_pool **pool)
{
    disturb_growth(*pool);
    EXPECT_EQ(hf_pool_grow(*pool, POWER_GROWN_BYTES), 0);
    leave_growth();
}

static void shrink(struct hf_pool **pool)
{
    EXPECT_EQ(hf_pool_shrink(*pool, POWER_POOL_BYTES, NULL), 0);
}

static void trim(struct hf_pool **pool)
{
    struct hf_trim_result result = {.size = sizeof(result)};

    EXPECT_EQ(hf_pool_trim(*pool, 0, &result), 0);
    EXPECT(result.given_bytes > 0);
}

static void create_e(struct hf_pool **pool)
{
    EXPECT_EQ(hf_close(open_file(*pool, "/e")), 0);
}

static void write_e(struct hf_pool **pool)
{
    write_and_sync(*pool, "/e", 7, 0, 8);
}

static void rename_over(struct hf_pool **pool)
{
    EXPECT_EQ(hf_rename(*pool, "/d", "/b", 0), 0);
}

static void collapse_e(struct hf_pool **pool)
{
    struct hf_file *file = open_file(*pool, "/e");

    EXPECT_EQ(hf_fallocate(file, HF_FALLOC_COLLAPSE_RANGE, TEST_PAGE, TEST_PAGE, NULL), 0);
    EXPECT_EQ(hf_close(file), 0);
}

static void move_e(struct hf_pool **pool)
{
    struct hf_file *file = open_file(*pool, "/e");

    EXPECT_EQ(hf_move(file, 0, 7 * TEST_PAGE, NULL), 0);
    EXPECT_EQ(hf_close(file), 0);
}

static void create_s(struct hf_pool **pool)
{
    EXPECT_EQ(hf_close(open_file(*pool, "/s")), 0);
}

/* Each page is an extent of its own. */
static void scatter_s(struct hf_pool **pool)
{
    struct hf_file *file = open_file(*pool, "/s");

    for (uint64_t page = 0; page < 14; page += 2)
        test_write_pages(file, 9, page, 1);
    EXPECT_EQ(hf_fsync(file), 0);
    EXPECT_EQ(hf_close(file), 0);
}

static void change_s(struct hf_pool *pool, uint32_t flags, uint64_t page, uint64_t count)
{
    struct hf_file *file = open_file(pool, "/s");

    EXPECT_EQ(hf_fallocate(file, flags, page * TEST_PAGE, count * TEST_PAGE, NULL), 0);
    EXPECT_EQ(hf_close(file), 0);
}

static void insert_s(struct hf_pool **pool)
{
    change_s(*pool, HF_FALLOC_INSERT_RANGE, 1, 2);
}

static void collapse_s(struct hf_pool **pool)
{
    change_s(*pool, HF_FALLOC_COLLAPSE_RANGE, 2, 3);
}

static void punch_s(struct hf_pool **pool)
{
    change_s(*pool, HF_FALLOC_PUNCH_HOLE, 1, 6);
}

static void truncate_s(struct hf_pool **pool)
{
    struct hf_file *file = open_file(*pool, "/s");

    EXPECT_EQ(hf_truncate(file, 0, NULL), 0);
    EXPECT_EQ(hf_close(file), 0);
}

static void unlink_s(struct hf_pool **pool)
{
    EXPECT_EQ(hf_unlink(*pool, "/s", NULL), 0);
}

static void truncate_up(struct hf_pool **pool)
{
    struct hf_file *file = open_file(*pool, "/e");

    EXPECT_EQ(hf_truncate(file, 9 * TEST_PAGE + 5, NULL), 0);
    EXPECT_EQ(hf_close(file), 0);
}

static struct hf_file *cut_first, *cut_second;

static void *cut_the_second(void *unused)
{
    EXPECT_EQ(hf_truncate(cut_second, TEST_PAGE, NULL), 0);
    return unused;
}

#ifdef HF_LAB
static struct hf_pool *joined;
static pthread_t second;

/* The first stands before its commit until the second waits behind it. */
static void begin_the_second(enum hf_lab_point point)
{
    if (point != HF_LAB_JOINS)
        return;
    hf_lab_stepped = false;
    EXPECT_EQ(pthread_create(&second, NULL, cut_the_second, NULL), 0);
    test_await(&joined->fs.joint.count, 1);
}

static void cut_both(struct hf_pool *pool)
{
    joined = pool;
    hf_lab_at = begin_the_second;
    hf_lab_break |= HF_LAB_STEPS;
    hf_lab_stepped = true;
    EXPECT_EQ(hf_truncate(cut_first, 2 * TEST_PAGE, NULL), 0);
    pthread_join(second, NULL);
    hf_lab_break &= ~HF_LAB_STEPS;
}
#else
static void cut_both(struct hf_pool *pool)
{
    (void)pool;
    cut_the_second(NULL);
}
#endif

/* In lab builds two threads share a commit: both files are as before, or both as after. */
static void truncate_two(struct hf_pool **pool)
{
    cut_first = open_file(*pool, "/s");
    cut_second = open_file(*pool, "/b");
    cut_both(*pool);
    EXPECT_EQ(hf_close(cut_first), 0);
    EXPECT_EQ(hf_close(cut_second), 0);
}

static void unlink_big(struct hf_pool **pool)
{
    EXPECT_EQ(hf_unlink(*pool, "/big", NULL), 0);
}

/* In the middle of a block, which goes on holding what was cut off. */
static void truncate_down(struct hf_pool **pool)
{
    struct hf_file *file = open_file(*pool, "/e");

    EXPECT_EQ(hf_truncate(file, 2 * TEST_PAGE + 1000, NULL), 0);
    EXPECT_EQ(hf_close(file), 0);
}

static void append_to_e(void *arg)
{
    struct hf_pool *pool;
    char bytes[1024];

    (void)arg;
    attach(&pool);
    memset(bytes, 0x5c, sizeof(bytes));
    EXPECT_EQ(hf_append(open_file(pool, "/e"), bytes, sizeof(bytes), NULL), sizeof(bytes));
    _exit(0);
}

/* Nothing is recorded of it, and nothing synced. */
static void append_and_die(struct hf_pool **pool)
{
    (void)pool;
    test_join(test_fork(append_to_e, NULL));
}

static void detach(struct hf_pool **pool)
{
    EXPECT_EQ(hf_pool_close(*pool), 0);
    *pool = NULL;
}

const struct power_step power_steps[] = {
    {.name = "create the pool", .run = make},
    {.name = "open it", .run = attach},
    {.name = "create /a", .run = create_a},
    {.name = "write and fsync /a", .run = write_a, .writes = true},
    {.name = "create /b", .run = create_b},
    {.name = "write and fsync /b", .run = write_b, .writes = true},
    {.name = "rename /a to /c", .run = rename_a},
    {.name = "overwrite and fsync /c", .run = overwrite_c, .writes = true},
    {.name = "overwrite /b", .run = overwrite_b, .writes = true, .dirty = "/b"},
    {.name = "mkdir /dir", .run = make_dir, .dirty = "/b"},
    {.name = "rename /c to /dir/c", .run = rename_c, .dirty = "/b"},
    {.name = "fsync /b", .run = sync_b, .writes = true},
    {.name = "punch /b", .run = punch_b},
    {.name = "truncate /b", .run = truncate_b},
    {.name = "append to /b", .run = append_b, .writes = true, .dirty = "/b"},
    {.name = "write past the end of /b and fsync", .run = append_more, .writes = true},
    {.name = "unlink /dir/c", .run = unlink_c},
    {.name = "create /d", .run = create_d},
    {.name = "write and fsync /d", .run = write_d, .writes = true},
    {.name = "create /big", .run = create_big},
    {.name = "allocate /big", .run = fill_pool, .writes = true},
    {.name = "grow the pool", .run = grow},
    {.name = "create /e", .run = create_e},
    {.name = "write and fsync /e", .run = write_e, .writes = true},
    {.name = "rename /d over /b", .run = rename_over},
    {.name = "collapse /e", .run = collapse_e},
    {.name = "move /e", .run = move_e},
    {.name = "create /s", .run = create_s},
    {.name = "write and fsync /s", .run = scatter_s, .writes = true},
    {.name = "insert into /s", .run = insert_s},
    {.name = "collapse /s", .run = collapse_s},
    {.name = "punch /s", .run = punch_s},
    {.name = "write and fsync /s again", .run = scatter_s, .writes = true},
    {.name = "truncate /s", .run = truncate_s},
    {.name = "write and fsync /s once more", .run = scatter_s, .writes = true},
    {.name = "truncate /s and /b at once", .run = truncate_two},
    {.name = "unlink /s", .run = unlink_s},
    {.name = "truncate /e up", .run = truncate_up},
    {.name = "unlink /big", .run = unlink_big},
    {.name = "truncate /e down", .run = truncate_down},
    {.name = "shrink the pool", .run = shrink},
    {.name = "trim it", .run = trim},
    {.name = "write and fsync /b", .run = write_b, .writes = true},
    {.name = "grow it again", .run = grow},
    {.name = "close the pool", .run = detach},
    {.name = "append to /e in a process that is killed", .run = append_and_die},
    {.name = "open it, which records the larger size", .run = attach},
    {.name = "close it", .run = detach},
};
const unsigned power_step_count = sizeof(power_steps) / sizeof(power_steps[0]);

/* --- looking --- */

static void read_content(struct hf_pool *pool, const char *path, struct power_content *content)
{
    static unsigned char rest[1 << 16];
    struct hf_file *file;
    uint64_t off;
    ssize_t n;

    EXPECT_EQ(hf_open(pool, path, O_RDONLY, 0, &file), 0);
    memset(content, 0, sizeof(*content));
    content->size = test_size(file);
    EXPECT_OK(hf_read(file, content->bytes, sizeof(content->bytes), 0));
    for (off = sizeof(content->bytes); off < content->size; off += (uint64_t)n) {
        n = hf_read(file, rest, sizeof(rest), off);
        EXPECT(n > 0);
        EXPECT(test_is_zero(rest, (size_t)n));
    }
    EXPECT_EQ(hf_close(file), 0);
}

static void look_in(struct hf_pool *pool, const char *dir_path, struct power_state *state)
{
    struct hf_dirent entry;
    struct hf_dir *dir;
    int rc;

    EXPECT_EQ(hf_opendir(pool, *dir_path ? dir_path : "/", &dir), 0);
    while ((rc = hf_readdir(dir, &entry)) > 0) {
        struct power_name *name = &state->names[state->count];

        if (entry.name[0] == '.')
            continue;
        EXPECT(state->count++ < POWER_NAMES);
        snprintf(name->path, sizeof(name->path), "%s/%.20s", dir_path, entry.name);
        name->dir = S_ISDIR(entry.type);
        memset(&name->latest, 0, sizeof(name->latest));
        if (name->dir)
            look_in(pool, name->path, state);
        else
            read_content(pool, name->path, &name->latest);
    }
    EXPECT_EQ(rc, 0);
    EXPECT_EQ(hf_closedir(dir), 0);
}

void power_look(struct hf_pool *pool, struct power_state *state)
{
    struct hf_pool_info info = {.size = sizeof(info)};

    EXPECT_EQ(hf_pool_info(pool, &info), 0);
    state->pool_bytes = info.pool_bytes;
    state->count = 0;
    look_in(pool, "", state);
}

/* --- comparing --- */

static bool mixed(const struct power_content *found, const struct power_content *old,
                  const struct power_content *new)
{
    uint64_t least = old->size < new->size ? old->size : new->size;
    uint64_t most = old->size < new->size ? new->size : old->size;

    if (found->size < least || found->size > most)
        return false;
    for (uint64_t i = 0; i < found->size && i < POWER_CONTENT; i++)
        if (found->bytes[i] != old->bytes[i] && found->bytes[i] != new->bytes[i])
            return false;
    return true;
}

static const struct power_name *named(const struct power_state *state, const char *path)
{
    for (unsigned i = 0; i < state->count; i++)
        if (strcmp(state->names[i].path, path) == 0)
            return &state->names[i];
    return NULL;
}

bool power_matches(const struct power_state *found, const struct power_state *names,
                   const struct power_state *latest)
{
    if (found->count != names->count || found->pool_bytes != names->pool_bytes)
        return false;
    for (unsigned i = 0; i < found->count; i++) {
        const struct power_name *is = &found->names[i], *was = named(names, is->path);
        const struct power_name *may_be = named(latest, is->path);

        if (!was || !may_be || was->dir != is->dir ||
            !mixed(&is->latest, &was->synced, &may_be->latest))
            return false;
    }
    return true;
}

static uint64_t sum_of(const struct power_content *content)
{
    uint64_t sum = 0;

    for (uint64_t i = 0; i < POWER_CONTENT; i++)
        sum = test_mix(sum, content->bytes[i]);
    return sum;
}

void power_show(const char *title, const struct power_state *state)
{
    fprintf(stderr, "%s: a pool of %" PRIu64 " bytes\n", title, state->pool_bytes);
    for (unsigned i = 0; i < state->count; i++) {
        const struct power_name *name = &state->names[i];

        fprintf(stderr,
                "    %s size %" PRIu64 " content %" PRIx64 "; synced: size %" PRIu64
                " content %" PRIx64 "\n",
                name->path, name->latest.size, sum_of(&name->latest), name->synced.size,
                sum_of(&name->synced));
    }
}
