/* SPDX-License-Identifier: MIT */
/*
 * One pool seen from three sides: the library, and two mounts of it. What one changes the others
 * see with their next call: bytes, sizes, names, attributes.
 *
 * But a change waits for a mount that caches no longer than HF_WATCH_WAIT_NS. It leaves behind a
 * mount that is slower, as one is now and then on a busy machine. So from the first change on that
 * took so long, others may see what is new a while later.
 *
 *     mount-coherence POOL DIR DIR CACHE [ROUNDS]    CACHE is what the mounts keep: none or auto
 */
#include "coherence.h"

#include <holdfast/serve.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

const char *const side_names[SIDES] = {"library", "first mount", "second mount"};

struct hf_pool *pool;
struct test_rng rng;
static const char *folders[SIDES]; /* of the mounts */
static bool caches;
static unsigned rounds = 20000;

const char *at(enum side side, const char *name)
{
    static _Thread_local char paths[4][256];
    static _Thread_local unsigned next;
    char *path = paths[next++ % 4];

    if (side == LIBRARY)
        snprintf(path, sizeof(paths[0]), "/%s", name);
    else
        snprintf(path, sizeof(paths[0]), "%s/%s", folders[side], name);
    return path;
}

int64_t told(int64_t rc)
{
    return rc < 0 ? -errno : rc;
}

/* ------------------------------------------------------------------------------ left behind --- */

static bool left_behind; /* a mount may have been, and nothing tells when it has caught up */

static void change_took(uint64_t began_ns)
{
    if (caches && test_now_ns() - began_ns >= HF_WATCH_WAIT_NS && !left_behind) {
        printf("a change has waited its time for a mount: from now on what is old may be seen\n");
        left_behind = true;
    }
}

/* Whether to look once more at what was old. */
static bool may_catch_up(uint64_t since_ns)
{
    if (!left_behind || test_now_ns() - since_ns > TEST_PATIENCE_NS)
        return false;
    test_sleep_ms(1);
    return true;
}

/* -------------------------------------------------------------------------------- content --- */

#define FILE_BYTES 65536u
#define STEPS 2000u

/* The same file, open on all sides all the time. */
struct view {
    enum side side;
    struct hf_file *file;
    int fd, append_fd;
};
static struct view views[SIDES];

static unsigned char content[FILE_BYTES]; /* what it must be */
static uint64_t size;

static void open_views(const char *name)
{
    views[LIBRARY] = (struct view){.side = LIBRARY, .file = test_file(pool, name)};
    for (enum side side = FIRST; side < SIDES; side++) {
        views[side] = (struct view){.side = side,
                                    .fd = open(at(side, name), O_RDWR),
                                    .append_fd = open(at(side, name), O_WRONLY | O_APPEND)};
        EXPECT(views[side].fd >= 0 && views[side].append_fd >= 0);
    }
}

static void close_views(void)
{
    EXPECT_EQ(hf_close(views[LIBRARY].file), 0);
    for (enum side side = FIRST; side < SIDES; side++) {
        close(views[side].fd);
        close(views[side].append_fd);
    }
}

static int64_t write_at(const struct view *view, const void *bytes, size_t len, uint64_t off)
{
    uint64_t began_ns = test_now_ns();
    int64_t rc = view->file ? hf_write(view->file, bytes, len, off)
                            : told(pwrite(view->fd, bytes, len, (off_t)off));

    change_took(began_ns);
    return rc;
}

static int64_t read_at(const struct view *view, void *bytes, size_t len, uint64_t off)
{
    return view->file ? hf_read(view->file, bytes, len, off)
                      : told(pread(view->fd, bytes, len, (off_t)off));
}

static int64_t append(const struct view *view, const void *bytes, size_t len)
{
    uint64_t began_ns = test_now_ns();
    int64_t rc = view->file ? hf_append(view->file, bytes, len, NULL)
                            : told(write(view->append_fd, bytes, len));

    change_took(began_ns);
    return rc;
}

static int64_t set_size(const struct view *view, uint64_t bytes)
{
    uint64_t began_ns = test_now_ns();
    int64_t rc =
        view->file ? hf_truncate(view->file, bytes, NULL) : told(ftruncate(view->fd, (off_t)bytes));

    change_took(began_ns);
    return rc;
}

static int64_t punch(const struct view *view, uint64_t off, uint64_t len)
{
    uint64_t began_ns = test_now_ns();
    int64_t rc = view->file ? hf_fallocate(view->file, HF_FALLOC_PUNCH_HOLE | HF_FALLOC_KEEP_SIZE,
                                           off, len, NULL)
                            : told(fallocate(view->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                                             (off_t)off, (off_t)len));

    change_took(began_ns);
    return rc;
}

static void open_and_cut(enum side side, const char *name)
{
    uint64_t began_ns = test_now_ns();

    close(open(at(side, name), O_WRONLY | O_TRUNC));
    change_took(began_ns);
}

static uint64_t size_of(const struct view *view)
{
    struct stat st;

    if (view->file)
        EXPECT_EQ(hf_fstat(view->file, &st), 0);
    else
        EXPECT_EQ(fstat(view->fd, &st), 0);
    return (uint64_t)st.st_size;
}

static void fill(unsigned char *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++)
        bytes[i] = (unsigned char)test_random(&rng);
}

/* The size is new; what is beyond it is zero if the file grows again. */
static void expect_size(uint64_t bytes)
{
    if (bytes < size)
        memset(content + bytes, 0, size - bytes);
    size = bytes;
}

static const char *change_content(const struct view *view)
{
    unsigned char bytes[12000];
    uint64_t off = test_below(&rng, FILE_BYTES), len = 1 + test_below(&rng, sizeof(bytes));

    if (len > FILE_BYTES - off)
        len = FILE_BYTES - off;
    fill(bytes, len);
    switch (test_below(&rng, 6)) {
    case 0:
    case 1:
        EXPECT_EQ(write_at(view, bytes, len, off), len);
        memcpy(content + off, bytes, len);
        if (off + len > size)
            size = off + len;
        return "write";
    case 2:
        if (size + len > FILE_BYTES)
            return "nothing";
        EXPECT_EQ(append(view, bytes, len), len);
        memcpy(content + size, bytes, len);
        size += len;
        return "append";
    case 3:
        EXPECT_EQ(set_size(view, off), 0);
        expect_size(off);
        return "truncate";
    case 4:
        EXPECT_EQ(punch(view, off, len), 0);
        memset(content + off, 0, len);
        return "punch";
    default:
        if (view->file)
            return "nothing";
        open_and_cut(view->side, "content");
        expect_size(0);
        return "open with O_TRUNC";
    }
}

/* False: not what it must be, from *wrong on. */
static bool sees_content(const struct view *view, uint64_t off, uint64_t *wrong)
{
    unsigned char bytes[FILE_BYTES + 1];
    uint64_t want = off < size ? size - off : 0;

    *wrong = size_of(view);
    if (*wrong != size)
        return false;
    *wrong = off;
    if (read_at(view, bytes, sizeof(bytes) - off, off) != (int64_t)want)
        return false;
    while (*wrong < off + want && bytes[*wrong - off] == content[*wrong])
        ++*wrong;
    return *wrong == off + want;
}

static void expect_content(const struct view *view, const char *what, enum side by)
{
    uint64_t off = test_chance(&rng, 50) ? 0 : test_below(&rng, FILE_BYTES), wrong;
    uint64_t since_ns = test_now_ns();

    while (!sees_content(view, off, &wrong))
        if (!may_catch_up(since_ns))
            FAIL("the %s sees %" PRIu64 " of %" PRIu64 " bytes, read from %" PRIu64
                 " on, and it is wrong at %" PRIu64 ", after %s by the %s",
                 side_names[view->side], size_of(view), size, off, wrong, what, side_names[by]);
}

static void contents_agree(void)
{
    open_views("content");
    for (unsigned step = 0; step < STEPS; step++) {
        enum side by = (enum side)test_below(&rng, SIDES);
        const char *what = change_content(&views[by]);

        for (enum side side = 0; side < SIDES; side++)
            expect_content(&views[side], what, by);
    }
    close_views();
}

/* ------------------------------------------------------------------------------- mappings --- */

static char *map(int fd, int flags)
{
    return mmap(NULL, 4 * TEST_PAGE, PROT_READ | PROT_WRITE, flags, fd, 0);
}

static void mappings_agree(void)
{
    struct hf_file *file = test_file_filled(pool, "mapped", 1, 4);
    int fd = open(at(FIRST, "mapped"), O_RDWR);
    char byte, *private = map(fd, MAP_PRIVATE), *shared = map(fd, MAP_SHARED);
    uint64_t began_ns;

    EXPECT(private != MAP_FAILED);
    EXPECT(test_page_is(private + TEST_PAGE, 1, 1));
    private[0] = 'p';
    EXPECT_EQ(hf_read(file, &byte, 1, 0), 1);
    EXPECT(byte != 'p');
    if (shared == MAP_FAILED) {
        printf("no shared mappings here: %s\n", strerror(errno));
    } else {
        EXPECT(test_page_is(shared + 2 * TEST_PAGE, 1, 2));
        memcpy(shared + 2 * TEST_PAGE, "written", 7);
        EXPECT_EQ(msync(shared, 4 * TEST_PAGE, MS_SYNC), 0);
        for (enum side side = 0; side < SIDES; side++) {
            char word[8] = "";

            open_views("mapped");
            EXPECT_EQ(read_at(&views[side], word, 7, 2 * TEST_PAGE), 7);
            EXPECT(strcmp(word, "written") == 0);
            close_views();
        }
        began_ns = test_now_ns();
        EXPECT_EQ(hf_write(file, "library", 7, 3 * TEST_PAGE), 7);
        change_took(began_ns);
        if (!caches) { /* a mapping that is there keeps what it has; a new one does not */
            munmap(shared, 4 * TEST_PAGE);
            shared = map(fd, MAP_SHARED);
            EXPECT(shared != MAP_FAILED);
        }
        while (memcmp(shared + 3 * TEST_PAGE, "library", 7) != 0)
            EXPECT(may_catch_up(began_ns));
        munmap(shared, 4 * TEST_PAGE);
    }
    munmap(private, 4 * TEST_PAGE);
    close(fd);
    EXPECT_EQ(hf_close(file), 0);
}

/* What was stored in a mapping, also beyond the end, before the file was cut to `bytes` by that
 * side. */
static void cut_below_mapping(enum side by, uint64_t bytes)
{
    char *shared, kept;

    EXPECT_EQ(hf_close(test_file_filled(pool, "cut", 1, 4)), 0);
    open_views("cut");
    shared = map(views[FIRST].fd, MAP_SHARED);
    if (shared == MAP_FAILED) { /* mappings_agree() has said so */
        close_views();
        return;
    }
    for (unsigned page = 0; page < 4; page++)
        memset(shared + page * TEST_PAGE, 's', TEST_PAGE);
    EXPECT_EQ(set_size(&views[by], bytes), 0);
    EXPECT_EQ(size_of(&views[LIBRARY]), bytes);
    EXPECT_EQ(msync(shared, 4 * TEST_PAGE, MS_SYNC), 0);
    EXPECT_EQ(size_of(&views[LIBRARY]), bytes);
    munmap(shared, 4 * TEST_PAGE);
    close_views();
    open_views("cut");
    for (enum side side = 0; side < SIDES; side++) {
        EXPECT_EQ(size_of(&views[side]), bytes);
        if (bytes > 0) {
            EXPECT_EQ(read_at(&views[side], &kept, 1, bytes - 1), 1);
            EXPECT_EQ(kept, 's');
        }
    }
    EXPECT_EQ(set_size(&views[LIBRARY], 4 * TEST_PAGE), 0);
    for (enum side side = 0; side < SIDES; side++) {
        EXPECT_EQ(read_at(&views[side], &kept, 1, bytes), 1);
        EXPECT_EQ(kept, 0);
    }
    close_views();
    EXPECT_EQ(unlink(at(FIRST, "cut")), 0);
}

static void mappings_extend_nothing(void)
{
    cut_below_mapping(LIBRARY, 0);
    cut_below_mapping(LIBRARY, TEST_PAGE + 100);
    cut_below_mapping(SECOND, 0);
    cut_below_mapping(SECOND, TEST_PAGE + 100);
}

/* ---------------------------------------------------------------------------- hand to hand --- */

#define STRESS_PAGES 16u

enum { WRITTEN, READ };
/* A byte through the first says that a round is written, through the second that it is read. It is
 * what `left_behind` is. */
static int turns[2][2];

static void pass_turn(int which)
{
    EXPECT_EQ(write(turns[which][1], &left_behind, 1), 1);
}

/* Fails when the other side has died. */
static void await_turn(int which)
{
    char byte;

    EXPECT_EQ(read(turns[which][0], &byte, 1), 1);
    left_behind |= byte != 0;
}

static uint64_t place(uint32_t turn)
{
    return (uint64_t)turn * 7919 % (STRESS_PAGES * TEST_PAGE - 8);
}

static uint64_t stress_size(uint32_t turn)
{
    return STRESS_PAGES * TEST_PAGE + turn / 50 % 3 * 1000;
}

static void write_turns(const struct view *view)
{
    for (uint32_t turn = 1; turn <= rounds; turn++) {
        uint64_t word = test_mix(turn, 0);

        if (turn % 50 == 0)
            EXPECT_EQ(set_size(view, stress_size(turn)), 0);
        EXPECT_EQ(write_at(view, &word, sizeof(word), place(turn)), sizeof(word));
        pass_turn(WRITTEN);
        await_turn(READ);
    }
}

static bool sees_turn(const struct view *view, uint32_t turn)
{
    uint64_t word = 0;

    EXPECT_EQ(read_at(view, &word, sizeof(word), place(turn)), sizeof(word));
    return word == test_mix(turn, 0);
}

static void read_turns(void *arg)
{
    const struct view *view = arg;

    EXPECT_EQ(hf_pool_open(folders[LIBRARY], 0, &pool), 0); /* the parent's is dead here */
    close(turns[WRITTEN][1]);
    close(turns[READ][0]);
    open_views("stress");
    for (uint32_t turn = 1; turn <= rounds; turn++) {
        uint64_t since_ns;

        await_turn(WRITTEN);
        since_ns = test_now_ns();
        while (!sees_turn(view, turn))
            if (!may_catch_up(since_ns))
                FAIL("the %s reads an old byte in round %u", side_names[view->side], turn);
        while (size_of(view) != stress_size(turn))
            if (!may_catch_up(since_ns))
                FAIL("the %s sees an old size in round %u", side_names[view->side], turn);
        pass_turn(READ);
    }
}

static void alternate(enum side writer, enum side reader)
{
    struct hf_file *file = test_file_filled(pool, "stress", 1, STRESS_PAGES);
    pid_t pid;

    EXPECT_EQ(hf_close(file), 0);
    for (int which = 0; which < 2; which++)
        EXPECT_EQ(pipe2(turns[which], O_CLOEXEC), 0);
    pid = test_fork(read_turns, &views[reader]);
    close(turns[WRITTEN][0]);
    close(turns[READ][1]);
    open_views("stress");
    write_turns(&views[writer]);
    test_join(pid);
    close(turns[WRITTEN][1]);
    close(turns[READ][0]);
    close_views();
    EXPECT_EQ(unlink(at(FIRST, "stress")), 0);
}

/* --------------------------------------------------------------------- after the last close --- */

#define KEPT_BYTES (256 * TEST_PAGE)
#define KEPT_ROUNDS 300u
#define MANY_FILES 3000u
#define MANY_KEPT 1100u /* what a mount may have open for its cache alone, and some */

static char kept[KEPT_BYTES];

static void write_file(enum side side, const char *name, char byte, size_t len)
{
    int fd = open(at(side, name), O_WRONLY | O_CREAT, 0600);
    uint64_t began_ns = test_now_ns();

    memset(kept, byte, len);
    EXPECT_EQ(write(fd, kept, len), (ssize_t)len);
    change_took(began_ns);
    close(fd);
}

static bool sees_file(enum side side, const char *name, char byte, size_t len)
{
    int fd = open(at(side, name), O_RDONLY);
    ssize_t got = read(fd, kept, sizeof(kept));

    close(fd);
    for (size_t i = 0; got == (ssize_t)len && i < len; i++)
        if (kept[i] != byte)
            return false;
    return got == (ssize_t)len;
}

static void expect_file(enum side side, const char *name, char byte, size_t len)
{
    uint64_t since_ns = test_now_ns();

    while (!sees_file(side, name, byte, len))
        if (!may_catch_up(since_ns))
            FAIL("the %s sees something else in %s than %zu bytes %c", side_names[side], name, len,
                 byte);
}

/* Pages of a file, opened once more, that the kernel has. */
static unsigned pages_there(enum side side, const char *name)
{
    unsigned char there[KEPT_BYTES / TEST_PAGE];
    int fd = open(at(side, name), O_RDONLY);
    void *memory = mmap(NULL, KEPT_BYTES, PROT_READ, MAP_PRIVATE, fd, 0);
    unsigned count = 0;

    EXPECT(memory != MAP_FAILED);
    EXPECT_EQ(mincore(memory, KEPT_BYTES, there), 0);
    for (size_t i = 0; i < sizeof(there); i++)
        count += there[i] & 1;
    munmap(memory, KEPT_BYTES);
    close(fd);
    return count;
}

static struct hf_pool_info info(void)
{
    struct hf_pool_info info = {.size = sizeof(info)};

    EXPECT_EQ(hf_pool_info(pool, &info), 0);
    return info;
}

/* The mount has not closed it for us when our close returns. */
static void await_free(uint64_t bytes)
{
    while (info().free_bytes < bytes)
        test_sleep_ms(1);
}

static void fill_with(const struct view *view, char byte, size_t len)
{
    memset(kept, byte, len);
    EXPECT_EQ(write_at(view, kept, len, 0), (int64_t)len);
    EXPECT_EQ(set_size(view, len), 0);
}

static void changes_after_close(void)
{
    struct view library = {.side = LIBRARY};
    uint64_t began_ns;

    write_file(FIRST, "kept", 'a', KEPT_BYTES);
    library.file = test_file(pool, "kept");
    for (unsigned i = 0; i < KEPT_ROUNDS; i++) {
        char byte = (char)('a' + i % 26);
        size_t len = TEST_PAGE * (1 + test_below(&rng, KEPT_BYTES / TEST_PAGE));

        if (i % 3 == 0) {
            fill_with(&library, byte, len);
        } else {
            began_ns = test_now_ns();
            EXPECT_EQ(truncate(at(i % 3, "kept"), 0), 0);
            change_took(began_ns);
            write_file(i % 3, "kept", byte, len);
        }
        expect_file(FIRST, "kept", byte, len);
        expect_file(SECOND, "kept", byte, len);
    }
    EXPECT_EQ(hf_close(library.file), 0);
}

static void blocks_after_close(void)
{
    const struct hf_policy wait = {.kind = HF_POLICY_WAIT};
    uint64_t free_bytes = info().free_bytes;

    for (unsigned way = 0; way < 6; way++) {
        write_file(FIRST, "lost", 'l', KEPT_BYTES);
        write_file(SECOND, "over", 'o', 0);
        expect_file(FIRST, "lost", 'l', KEPT_BYTES);
        expect_file(SECOND, "lost", 'l', KEPT_BYTES);
        if (way == LIBRARY)
            EXPECT_EQ(hf_unlink(pool, "lost", &wait), 0);
        else if (way < SIDES)
            EXPECT_EQ(unlink(at(way, "lost")), 0);
        else if (way == SIDES)
            EXPECT_EQ(hf_rename(pool, "over", "lost", 0), 0);
        else
            EXPECT_EQ(rename(at(way - SIDES, "over"), at(way - SIDES, "lost")), 0);
        await_free(free_bytes);
        hf_unlink(pool, "lost", &wait);
        hf_unlink(pool, "over", &wait);
    }
}

static void closed_files_are_kept(void)
{
    char name[32];

    write_file(FIRST, "again", 'x', KEPT_BYTES);
    expect_file(FIRST, "again", 'x', KEPT_BYTES);
    while (pages_there(FIRST, "again") !=
           KEPT_BYTES / TEST_PAGE) /* the kernel may drop what it likes */
        expect_file(FIRST, "again", 'x', KEPT_BYTES);
    for (unsigned i = 0; i < MANY_FILES; i++) {
        snprintf(name, sizeof(name), "many-%u", i);
        write_file(FIRST, name, 'm', 1);
    }
    while (info().files > MANY_KEPT)
        test_sleep_ms(1);
    for (unsigned i = 0; i < MANY_FILES; i++) {
        snprintf(name, sizeof(name), "many-%u", i);
        EXPECT_EQ(hf_unlink(pool, name, NULL), 0);
    }
}

static int run(int argc, char **argv)
{
    if (argc < 5)
        return 2;
    for (enum side side = 0; side < SIDES; side++)
        folders[side] = argv[1 + side];
    caches = strcmp(argv[4], "auto") == 0;
    if (argc > 5)
        rounds = (unsigned)strtoul(argv[5], NULL, 0);
    rng.state = test_seed();
    EXPECT_EQ(hf_pool_open(folders[LIBRARY], 0, &pool), 0);
    contents_agree();
    names_agree();
    mappings_agree();
    mappings_extend_nothing();
    alternate(LIBRARY, FIRST);
    alternate(FIRST, LIBRARY);
    alternate(FIRST, SECOND);
    changes_after_close();
    blocks_after_close();
    if (caches)
        closed_files_are_kept();
    test_pool_close(pool);
    return 0;
}

int main(int argc, char **argv)
{
    return test_main(argc, argv, run);
}
