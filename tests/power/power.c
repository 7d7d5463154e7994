/* SPDX-License-Identifier: MIT */
/*
 * power [--kind memory|durable] [--cuts N] [--at RECORD --choice N] [--steps] [--break-growth]
 *       [--ext4]
 *
 * Runs the workload once on a disk, recorded. Then cuts the power at each record, or after so many
 * stretches of it as --cuts says. Each cut is made in several ways. Of what was not synced, nothing
 * is there, or all, or all but one, or one alone, or some by chance; or one is torn. The pool is
 * put together in memory and opened.
 *
 * A durable pool is as before or as after the step of the workload in which the power went. What
 * fsync has acknowledged is there, fsck finds nothing, and the pool works. A memory pool is opened
 * or refused with a sentence, and no process dies of it; nothing more is promised.
 *
 * --steps: layout changes of more than two extents go in steps. Power that fails between two steps
 * leaves the file as after the change. Needs a lab build. --break-growth: and a growth does not see
 * what others have done to the memory that it has added, which must be found.
 *
 * --ext4: the medium is not a model but a file system on a loop device. Whenever a call has synced
 * something, the device is copied, mounted and looked at, as if the power had gone then. For root.
 *
 * HOLDFAST_TEST_DIR: a directory on a disk (default: /var/tmp).
 */
#include "medium.h"
#include "power.h"
#include "short_steps.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sched.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <linux/magic.h>
#include <unistd.h>

#define CHANCES 4u    /* cuts at one record by chance, and torn ones */
#define ALONE_MOST 6u /* of what is pending, tried alone at one record */
#define SEEN (1u << 20)

struct shared {
    struct power_state states[POWER_STEPS_MAX + 1]; /* after each step; [0]: no pool yet */
    struct power_state found;
    uint32_t opened;
};

static struct shared *shared;
static struct power_log *log_of_all;
static struct medium medium;
static struct medium_cut cut;
static uint64_t seen[SEEN]; /* hashes, open addressing; 0: free */
static unsigned cuts, failures, opened, refused;
static const char *kind = "durable";
static bool steps;
static char cut_pool[512];

/* Where in the workload the power goes. */
static struct {
    unsigned step; /* the last that has begun, + 1 */
    bool returned;
    uint32_t record;
    unsigned choice;
} now;

/* --- the workload --- */

static void *lazy_shared(size_t bytes)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    EXPECT(memory != MAP_FAILED);
    return memory;
}

static void promise(struct power_state *state, const struct power_state *before, const char *dirty)
{
    for (unsigned i = 0; i < state->count; i++) {
        struct power_name *name = &state->names[i];

        name->synced = name->latest;
        for (unsigned j = 0; j < before->count && dirty && strcmp(name->path, dirty) == 0; j++)
            if (strcmp(before->names[j].path, dirty) == 0)
                name->synced = before->names[j].synced;
    }
}

static void work(void *arg)
{
    struct hf_pool *pool = NULL;

    (void)arg;
    power_record(log_of_all, power_pool);
    for (unsigned i = 0; i < power_step_count; i++) {
        const struct power_step *step = &power_steps[i];
        struct power_state *state = &shared->states[i + 1];

        power_step(2 * i);
        step->run(&pool);
        power_step(2 * i + 1);
        if (pool)
            power_look(pool, state);
        else
            *state = shared->states[i];
        if (i == 0)
            state->pool_bytes = POWER_POOL_BYTES;
        promise(state, &shared->states[i], step->dirty);
    }
    power_stop();
}

/* --- one cut --- */

static bool as_allowed(const struct power_state *found)
{
    const struct power_state *after = &shared->states[now.step], *before = after - 1;

    if (now.returned)
        return power_matches(found, after, after);
    return power_matches(found, before, before) || power_matches(found, after, after) ||
           (power_steps[now.step - 1].writes && power_matches(found, before, after));
}

static int add_extent(void *arg, const struct hf_extent_info *info)
{
    *(uint64_t *)arg += info->len;
    return 0;
}

static void use(struct hf_pool *pool)
{
    struct hf_pool_info info = {.size = sizeof(info)};
    uint64_t in_files = 0;

    EXPECT_EQ(hf_pool_info(pool, &info), 0);
    EXPECT_EQ(hf_extents(pool, 0, add_extent, &in_files), 0);
    EXPECT_EQ(info.pool_bytes - info.free_bytes, in_files);
    if (info.free_bytes < 4 * TEST_PAGE)
        return;
    EXPECT_EQ(hf_close(test_file_filled(pool, "/after", 8, 2)), 0);
    EXPECT_EQ(hf_unlink(pool, "/after", NULL), 0);
}

static void look_at_durable(struct hf_pool *pool)
{
    power_look(pool, &shared->found);
    if (!as_allowed(&shared->found)) {
        power_show("found", &shared->found);
        power_show("before", &shared->states[now.step - 1]);
        power_show("after", &shared->states[now.step]);
        FAIL("neither before nor after");
    }
    use(pool);
}

/* Whatever calls say of a damaged pool, they return. */
static void touch(struct hf_pool *pool)
{
    static char bytes[1 << 16];
    static const char *const paths[] = {"/a", "/b", "/c", "/d", "/e", "/dir/c", "/big", "/new"};

    for (unsigned i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
        struct hf_file *file;

        if (hf_open(pool, paths[i], O_RDWR | (i == 7 ? O_CREAT : 0), 0600, &file))
            continue;
        for (uint64_t off = 0; off < 2 * sizeof(bytes); off += sizeof(bytes))
            if (hf_read(file, bytes, sizeof(bytes), off) < 0)
                break;
        if (hf_append(file, "more", 4, NULL) < 0)
            EXPECT(*hf_strerror_detail());
        hf_close(file);
    }
    hf_unlink(pool, "/b", NULL);
}

static void show(void *arg, const char *sentence)
{
    if (arg)
        fprintf(stderr, "fsck: %s\n", sentence);
}

/* Nothing is wrong with a durable pool. */
static void check_records(bool must_be_clean)
{
    struct hf_check_result result = {.size = sizeof(result)};
    int rc = hf_pool_check(cut_pool, 0, show, NULL, must_be_clean ? &result : NULL, &result);

    if (rc)
        EXPECT(*hf_strerror_detail());
    if (must_be_clean) {
        EXPECT_EQ(rc, 0);
        EXPECT_EQ(result.problems, 0);
    }
}

static void check(void *arg)
{
    bool promised = power_flags & HF_POOL_DURABLE && (now.step > 1 || now.returned);
    struct hf_pool *pool;
    int rc;

    (void)arg;
    alarm(TEST_PATIENCE_SECONDS);
    check_records(promised);
    rc = hf_pool_open(cut_pool, 0, &pool);
    if (rc) {
        EXPECT(*hf_strerror_detail());
        if (promised)
            FAIL("opening gave %d; %s", rc, hf_strerror_detail());
        return;
    }
    test_raise(&shared->opened, 1);
    if (promised)
        look_at_durable(pool);
    else
        touch(pool);
    EXPECT_EQ(hf_pool_close(pool), 0);
    if (promised)
        check_records(true);
}

static void report(int status)
{
    failures++;
    if (WIFSIGNALED(status))
        fprintf(stderr, "ended by signal %d (%s)\n", WTERMSIG(status),
                WTERMSIG(status) == SIGALRM ? "it hangs" : strsignal(WTERMSIG(status)));
    fprintf(stderr,
            "power cut %s \"%s\", kind %s\nagain: --kind %s%s --at %" PRIu32 " --choice %u\n",
            now.returned ? "after" : "in", now.step ? power_steps[now.step - 1].name : "the start",
            kind, kind, steps ? " --steps" : "", now.record, now.choice);
}

static bool is_new(void)
{
    uint64_t hash = test_mix(medium_hash(&medium, &cut), 2 * now.step + now.returned) | 1;
    unsigned at = (unsigned)(hash >> 20) % SEEN;

    while (seen[at] && seen[at] != hash)
        at = (at + 1) % SEEN;
    if (seen[at])
        return false;
    seen[at] = hash;
    return true;
}

/* This machine was not started again, so it would take for newer what no power cut leaves valid. */
static void forget_recent(void)
{
    char path[600];

    snprintf(path, sizeof(path), "%s/recent", cut_pool);
    if (power_flags & HF_POOL_DURABLE)
        unlink(path);
}

static void look_at_cut(void (*how)(void *arg))
{
    int status;

    forget_recent();
    test_raise(&shared->opened, 0);
    status = test_wait_status(test_fork(how, NULL));
    cuts++;
    if (test_peek(&shared->opened))
        opened++;
    else
        refused++;
    if (status)
        report(status);
}

static void try_cut(void)
{
    if (now.step == 0 || !is_new())
        return;
    test_remove_tree(cut_pool);
    medium_place(&medium, &cut, cut_pool);
    look_at_cut(check);
}

/* --- the ways at one record --- */

struct options {
    unsigned cuts; /* in all, about; 0: no bound */
    uint32_t at;
    int choice;
    bool one;
    uint64_t seed;
};

static void all_or_none(bool all)
{
    memset(cut.taken, all ? 0xff : 0, sizeof(cut.taken));
    cut.torn = MEDIUM_PENDING;
}

/* Which of the pending: all of them where they are few, else some by chance. */
static unsigned one_of(struct test_rng *rng, unsigned n)
{
    return medium.pending_count <= ALONE_MOST ? n : (unsigned)test_below(rng, medium.pending_count);
}

static void choose(struct test_rng *rng, unsigned choice)
{
    unsigned alone = medium.pending_count < ALONE_MOST ? medium.pending_count : ALONE_MOST;

    all_or_none(choice == 1);
    if (choice < 2)
        return;
    choice -= 2;
    if (choice < alone) {
        all_or_none(true);
        medium_take(&cut, one_of(rng, choice), false);
    } else if (choice < 2 * alone) {
        medium_take(&cut, one_of(rng, choice - alone), true);
    } else if (choice < 2 * alone + CHANCES) {
        for (unsigned i = 0; i < medium.pending_count; i++)
            medium_take(&cut, i, test_chance(rng, 50));
    } else {
        all_or_none(test_chance(rng, 50));
        cut.torn = (uint32_t)test_below(rng, medium.pending_count);
        cut.sectors = 1 + (uint32_t)test_below(rng, 7);
    }
}

static unsigned ways(void)
{
    unsigned alone = medium.pending_count < ALONE_MOST ? medium.pending_count : ALONE_MOST;

    return medium.pending_count ? 2 + 2 * alone + 2 * CHANCES : 1;
}

/* The same number chooses the same, whatever was tried before. */
static void try_way(const struct options *options, unsigned choice)
{
    struct test_rng rng = {.state = test_mix(options->seed, test_mix(now.record, choice))};

    now.choice = choice;
    choose(&rng, choice);
    try_cut();
}

static void try_record(const struct options *options, struct test_rng *rng, unsigned left)
{
    unsigned share = 0;

    if (options->one) {
        if (now.record == options->at)
            try_way(options, (unsigned)options->choice);
        return;
    }
    if (options->cuts && options->cuts > cuts) /* what is left, spread over the records that are */
        share = (options->cuts - cuts) * 100 / (left * ways());
    for (unsigned choice = 0; choice < ways() && failures < 5; choice++)
        if (!options->cuts || test_chance(rng, share < 100 ? share : 100))
            try_way(options, choice);
}

static void explore(const struct options *options)
{
    struct test_rng rng = {.state = options->seed};

    medium.log = log_of_all;
    for (now.record = 0; now.record < log_of_all->count; now.record++) {
        const struct power_record *record = &log_of_all->records[now.record];

        medium_go(&medium, now.record);
        if (record->what == POWER_STEP) {
            now.step = (unsigned)(record->at / 2) + 1;
            now.returned = record->at % 2;
        }
        try_record(options, &rng, log_of_all->count - now.record);
    }
    printf("%s: %u records, %u cuts, %u opened, %u refused, %u not as they should be\n", kind,
           log_of_all->count, cuts, opened, refused, failures);
}

/* --- */

static char disk[256];

static void remove_disk(void)
{
    static const char *const names[] = {"image", "copy", "disk", "after", ""};
    char path[512];

    if (!*disk)
        return;
    snprintf(path, sizeof(path), "%s/pool", disk);
    test_remove_tree(path);
    for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        snprintf(path, sizeof(path), "%s/%s", disk, names[i]);
        umount2(path, MNT_DETACH);
        remove(path);
    }
}

static void find_disk(void)
{
    static char path[512];
    struct statfs fs;

    if (!*disk || statfs(disk, &fs) || fs.f_type == TMPFS_MAGIC)
        test_skip("no directory on a disk: HOLDFAST_TEST_DIR");
    snprintf(path, sizeof(path), "%s/pool", disk);
    power_pool = path;
}

/* --- a file system --- */

static int told[2], answered[2]; /* pipes */

/* In the workload: waits until the device has been copied and looked at. */
static void tell(uint64_t step)
{
    EXPECT_EQ(write(told[1], &step, sizeof(step)), sizeof(step));
    EXPECT_EQ(read(answered[0], &step, sizeof(step)), sizeof(step));
}

static void work_and_tell(void *arg)
{
    close(told[0]);
    close(answered[1]);
    power_on_sync = tell;
    work(arg);
}

/* The workload is attached to a pool of the same name: what it has in memory is not there after a
 * power cut. */
static void check_alone(void *arg)
{
    EXPECT_EQ(unshare(CLONE_NEWNS), 0);
    EXPECT_EQ(mount("none", "/dev/shm", "tmpfs", 0, NULL), 0);
    check(arg);
}

static bool shell(const char *format)
{
    char command[2048];

    snprintf(command, sizeof(command), format, disk, disk, disk, disk);
    return system(command) == 0;
}

static void cut_device(uint64_t step)
{
    now.step = (unsigned)(step / 2) + 1;
    now.returned = step % 2;
    EXPECT(shell("cp --sparse=always %s/image %s/copy && mount -o loop %s/copy %s/after"));
    look_at_cut(check_alone);
    EXPECT(shell("umount %s/after && rm %s/copy"));
}

/* Mounts are for this process and its children only, and go with them. */
static void mount_device(void)
{
    if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL))
        test_skip("no right to mount");
    if (!shell("truncate -s 64M %s/image && mkfs.ext4 -q -F %s/image && mkdir %s/disk %s/after") ||
        !shell("mount -o loop,commit=300 %s/image %s/disk"))
        test_skip("no ext4 on a loop device here");
}

/* The states are known from the run before. */
static void explore_device(void)
{
    static char path[512];
    uint64_t step;
    pid_t pid;

    mount_device();
    snprintf(path, sizeof(path), "%s/disk/pool", disk);
    power_pool = path;
    snprintf(cut_pool, sizeof(cut_pool), "%s/after/pool", disk);
    memset(log_of_all, 0, offsetof(struct power_log, arena));
    EXPECT_EQ(pipe2(told, O_CLOEXEC), 0);
    EXPECT_EQ(pipe2(answered, O_CLOEXEC), 0);
    pid = test_fork(work_and_tell, NULL);
    close(told[1]);
    while (read(told[0], &step, sizeof(step)) == sizeof(step) && failures < 5) {
        cut_device(step);
        EXPECT_EQ(write(answered[1], &step, sizeof(step)), sizeof(step));
    }
    if (failures)
        test_kill(pid);
    else
        test_join(pid);
    printf("%s on ext4: %u cuts, %u opened, %u refused, %u not as they should be\n", kind, cuts,
           opened, refused, failures);
}

static int body(int argc, char **argv)
{
    static const struct option names[] = {
        {"kind", required_argument, NULL, 'k'},   {"cuts", required_argument, NULL, 'c'},
        {"at", required_argument, NULL, 'a'},     {"choice", required_argument, NULL, 'o'},
        {"ext4", no_argument, NULL, 'e'},         {"steps", no_argument, NULL, 's'},
        {"break-growth", no_argument, NULL, 'b'}, {NULL, 0, NULL, 0}};
    struct options options = {0};
    bool ext4 = false;
    int option;

    while ((option = getopt_long(argc, argv, "", names, NULL)) != -1)
        if (option == 'k')
            kind = optarg;
        else if (option == 'c')
            options.cuts = (unsigned)strtoul(optarg, NULL, 0);
        else if (option == 'a')
            options.at = (uint32_t)strtoul(optarg, NULL, 0), options.one = true;
        else if (option == 'o')
            options.choice = (int)strtol(optarg, NULL, 0);
        else if (option == 'e')
            ext4 = true;
        else if (option == 's')
            steps = test_shorten_steps();
        else if (option == 'b')
            power_growth_is_broken = true;
        else
            return 2;
    power_flags = strcmp(kind, "durable") == 0 ? HF_POOL_DURABLE : HF_POOL_MEMORY;
    options.seed = test_seed();
    find_disk();
    snprintf(cut_pool, sizeof(cut_pool), "%s", test_path("cut"));
    shared = lazy_shared(sizeof(*shared));
    log_of_all = lazy_shared(sizeof(*log_of_all));
    test_join(test_fork(work, NULL));
    if (ext4)
        explore_device();
    else
        explore(&options);
    return failures != 0;
}

/* The folder on the disk is gone afterwards however the test has ended. */
int main(int argc, char **argv)
{
    const char *dir = getenv("HOLDFAST_TEST_DIR");
    int status;

    snprintf(disk, sizeof(disk), "%s/holdfast-power-XXXXXX", dir ? dir : "/var/tmp");
    if (!mkdtemp(disk))
        *disk = '\0';
    status = test_main(argc, argv, body);
    remove_disk();
    return status;
}
