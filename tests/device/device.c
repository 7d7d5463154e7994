/* SPDX-License-Identifier: MIT */
/*
 * device-io [--kills N] [--seconds N] [--unleased | --broken]
 *
 * Starts holders, changers and processes that feed the pipes. Now and then it kills a holder in the
 * middle of its I/O, or a changer, and stops one for a while. It goes on until it has killed so
 * many, and so long, and twice as many reads have ended. A byte of a device in a file of a changer
 * fails the test. With --unleased, and in a lab build with --broken, the test fails if none is
 * found.
 */
#include "device.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <linux/magic.h>

#ifdef HF_LAB
#include "base/lab.h"
#endif

/* Longer than a read from the disk takes, as a rule: see wait_for_disk(). */
#define QUARANTINE_NS UINT64_C(300000000)
#define PROCESSES (2 * DEVICE_HOLDERS + DEVICE_CHANGERS)

struct start {
    struct device *device;
    unsigned number;
};

void device_file_path(unsigned holder, unsigned slot, char path[64])
{
    snprintf(path, 64, "/leased-%u-%u", holder, slot);
}

static void trickle(void *arg)
{
    struct start *start = arg;

    device_trickle(start->device->pipes[start->number][1],
                   (unsigned char)DEVICE_PIPE_BYTE(start->number));
}

static void hold(void *arg)
{
    struct start *start = arg;

    device_hold(start->device, start->number);
}

static void change(void *arg)
{
    struct start *start = arg;

    device_change(start->device, start->number);
}

static pid_t start(struct device *device, void (*body)(void *arg), unsigned number)
{
    struct start start = {.device = device, .number = number};

    return test_fork(body, &start);
}

/* A file without a name on a disk's file system that does O_DIRECT, full of the device's byte;
 * -1. */
static int open_disk(void)
{
    static const char *const folders[] = {"/var/tmp", "."};
    struct statfs fs;
    void *bytes;

    EXPECT_EQ(posix_memalign(&bytes, TEST_PAGE, DEVICE_DISK_BYTES), 0);
    memset(bytes, DEVICE_DISK_BYTE, DEVICE_DISK_BYTES);
    for (unsigned i = 0; i < sizeof(folders) / sizeof(folders[0]); i++) {
        int fd = open(folders[i], O_TMPFILE | O_RDWR | O_DIRECT | O_CLOEXEC, 0600);

        if (fd >= 0 && fstatfs(fd, &fs) == 0 && fs.f_type != TMPFS_MAGIC &&
            write(fd, bytes, DEVICE_DISK_BYTES) == (ssize_t)DEVICE_DISK_BYTES && fsync(fd) == 0) {
            free(bytes);
            return fd;
        }
        if (fd >= 0)
            close(fd);
    }
    free(bytes);
    return -1;
}

/* None may end before it is told to. */
static void expect_running(const pid_t *pids)
{
    for (unsigned i = 0; i < PROCESSES; i++) {
        int status;

        if (waitpid(pids[i], &status, WNOHANG) == 0)
            continue;
        if (WIFEXITED(status) && WEXITSTATUS(status) == TEST_SKIP)
            exit(TEST_SKIP);
        FAIL("process %u ended by itself with status %#x", i, (unsigned)status);
    }
}

/* All that is left are the holders' files: without them the pool is as at first. */
static void expect_whole(struct hf_pool *pool, uint64_t free_before)
{
    uint64_t limit = test_now_ns() + TEST_PATIENCE_NS;
    char path[64];

    for (unsigned holder = 0; holder < DEVICE_HOLDERS; holder++)
        for (unsigned slot = 0; slot < DEVICE_SLOTS; slot++) {
            int rc;

            device_file_path(holder, slot, path);
            rc = device_unlink(pool, path);
            EXPECT(rc == 0 || rc == -ENOENT);
        }
    while (test_free_bytes(pool) != free_before) {
        if (test_now_ns() > limit)
            FAIL("%" PRIu64 " bytes are free, at first it was %" PRIu64, test_free_bytes(pool),
                 free_before);
        test_sleep_ms(1);
    }
    test_pool_close(pool);
    test_pool_check(DEVICE_POOL);
}

static void report(const struct device *device)
{
    static const char *const policies[] = {"default",  "wait",   "nowait",
                                           "deadline", "detach", "deadline-detach"};

    printf("%" PRIu64 " %s, %" PRIu64 " reads from pipes and %" PRIu64 " from disk, %" PRIu64
           " KiB, %" PRIu64 " cancelled; recalls: %" PRIu64 " by callback, %" PRIu64
           " by eventfd, %" PRIu64 " of them of detached\n%" PRIu64 " holders and %" PRIu64
           " changers killed, %" PRIu64 " stopped; %" PRIu64 " pages looked at in place\n",
           device->leases, device->leased ? "leases" : "raw ranges", device->pipe_reads,
           device->disk_reads, device->bytes / 1024, device->cancelled, device->called,
           device->polled, device->told_detached, device->killed, device->changers_killed,
           device->stopped, device->landed);
    for (unsigned i = 1; i < DEVICE_POLICIES; i++)
        printf("%s: %" PRIu64 " changes, %" PRIu64 " refused\n", policies[i], device->changed[i],
               device->refused[i]);
    printf("the pool was full %" PRIu64 " times; %" PRIu64 " pages compared, %" PRIu64
           " with wrong bytes\n%" PRIu64 " pages of holders shared with a copy, %" PRIu64
           " held by them\n",
           device->full, device->checked, device->corrupt, device->shared, device->left_alone);
    if (device->outlived)
        printf("the disk was slower than the quarantine for %" PRIu64 " of the killed: %" PRIu64
               " pages cannot be told\n",
               device->outlived, device->late);
}

/* A device has read, the pool was full, and a change has waited. */
static bool all_was_met(const struct device *device)
{
    return test_peek64(&device->pipe_reads) > 0 && test_peek64(&device->full) > 0 &&
           test_peek64(&device->changed[HF_POLICY_WAIT]) > 0 && test_peek64(&device->shared) > 0 &&
           test_peek64(&device->left_alone) > 0;
}

struct length {
    unsigned kills;
    uint64_t until_ns;
};

static bool goes_on(const struct device *device, const struct length *length)
{
    if (!device->leased || device->broken)
        return test_peek64(&device->corrupt) == 0;
    return test_peek64(&device->killed) < length->kills || test_now_ns() < length->until_ns ||
           test_peek64(&device->pipe_reads) + test_peek64(&device->disk_reads) <
               2 * (uint64_t)length->kills ||
           !all_was_met(device);
}

/* Anywhere, also in a transaction. Others go on meanwhile, and longer than 100 ms without it. */
static void stop_one(struct device *device, struct test_rng *rng, pid_t pid)
{
    EXPECT_EQ(kill(pid, SIGSTOP), 0);
    test_sleep_ms((unsigned)test_below(rng, test_chance(rng, 10) ? 300 : 10));
    EXPECT_EQ(kill(pid, SIGCONT), 0);
    test_count64(&device->stopped, 1);
}

/* All reads from the disk that had begun have ended: the kernel waits for them before it changes
 * which blocks a file has. */
static void wait_for_disk(const struct device *device)
{
    if (device->disk >= 0)
        EXPECT_EQ(fallocate(device->disk, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                            DEVICE_DISK_BYTES - TEST_PAGE, TEST_PAGE),
                  0);
}

/* As a rule a holder, whose device goes on. */
static void kill_one(struct device *device, struct test_rng *rng, pid_t *pids)
{
    bool holds = test_chance(rng, 80);
    unsigned victim = (unsigned)test_below(rng, holds ? DEVICE_HOLDERS : DEVICE_CHANGERS);
    pid_t *pid = &pids[holds ? victim : DEVICE_HOLDERS + victim];
    uint64_t since;

    test_raise(&device->killing, 1);
    since = test_now_ns();
    test_kill(*pid);
    wait_for_disk(device);
    if (test_now_ns() - since >= QUARANTINE_NS)
        test_count64(&device->outlived, 1);
    test_raise(&device->killing, 0);
    test_count64(holds ? &device->killed : &device->changers_killed, 1);
    *pid = start(device, holds ? hold : change, victim);
}

static void run(struct device *device, const struct length *length)
{
    struct hf_pool *pool = device_pool_new(QUARANTINE_NS);
    uint64_t free_before = test_free_bytes(pool);
    struct test_rng rng = {.state = device->seed};
    pid_t pids[PROCESSES];
    unsigned at = 0;

    for (unsigned i = 0; i < DEVICE_HOLDERS; i++)
        pids[at++] = start(device, hold, i);
    for (unsigned i = 0; i < DEVICE_CHANGERS; i++)
        pids[at++] = start(device, change, i);
    for (unsigned i = 0; i < DEVICE_HOLDERS; i++)
        pids[at++] = start(device, trickle, i);
    while (goes_on(device, length)) {
        test_sleep_ms(20 + (unsigned)test_below(&rng, 180));
        expect_running(pids);
        if (!device->leased || device->broken)
            continue;
        if (test_chance(&rng, 40))
            stop_one(device, &rng, pids[test_below(&rng, DEVICE_HOLDERS + DEVICE_CHANGERS)]);
        kill_one(device, &rng, pids);
    }
    test_raise(&device->stop, 1);
    for (unsigned i = 0; i < DEVICE_HOLDERS + DEVICE_CHANGERS; i++)
        test_join(pids[i]);
    for (unsigned i = DEVICE_HOLDERS + DEVICE_CHANGERS; i < PROCESSES; i++)
        test_kill(pids[i]);
    report(device);
    expect_whole(pool, free_before);
}

static int body(int argc, char **argv)
{
    static const struct option names[] = {{"kills", required_argument, NULL, 'k'},
                                          {"seconds", required_argument, NULL, 's'},
                                          {"unleased", no_argument, NULL, 'u'},
                                          {"broken", no_argument, NULL, 'b'},
                                          {NULL, 0, NULL, 0}};
    struct device *device = test_shared(sizeof(*device));
    struct length length = {.kills = 80};
    int option;

    device->leased = true;
    while ((option = getopt_long(argc, argv, "", names, NULL)) != -1) {
        if (option == 'k')
            length.kills = (unsigned)atoi(optarg);
        else if (option == 's')
            length.until_ns = test_now_ns() + (uint64_t)atoi(optarg) * 1000000000;
        else if (option == 'u')
            device->leased = false;
#ifdef HF_LAB
        else if (option == 'b') {
            device->broken = true;
            hf_lab_break = HF_LAB_SHARED_WRITABLE;
        }
#endif
        else
            return 2;
    }
    device->seed = test_seed();
    device->disk = open_disk();
    if (device->disk < 0)
        printf("no disk with O_DIRECT here: that half is skipped\n");
    for (unsigned i = 0; i < DEVICE_HOLDERS; i++)
        EXPECT_EQ(i == DEVICE_SOCKET
                      ? socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, device->pipes[i])
                      : pipe2(device->pipes[i], O_CLOEXEC),
                  0);
    run(device, &length);
    EXPECT((device->leased && !device->broken) == (device->corrupt == 0));
    return 0;
}

int main(int argc, char **argv)
{
    return test_main(argc, argv, body);
}
