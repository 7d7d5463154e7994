/* SPDX-License-Identifier: MIT */
/*
 * Each way in which a request can end (holdfast/uring.h lists them). Until then its range is held:
 * a punch of it is refused. From then on it is not, and nobody has to wait.
 */
#include "rig.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define PAGES 8u
#define STAMP 3u
#define LONG_LINE 100u

static struct hf_pool *pool;
static struct hf_file *file; /* in pieces of a page */
static int pipes[2];

static void punch_is(int result)
{
    EXPECT_EQ(hf_fallocate(file, HF_FALLOC_PUNCH_HOLE, 0, PAGES * TEST_PAGE, &test_nowait), result);
}

static void expect_held(unsigned count)
{
    EXPECT_EQ(rig_held(pool), count);
    if (count)
        punch_is(-EBUSY);
}

/* Afterwards the range is free, and holds what it held at first. */
static void expect_free(void)
{
    EXPECT_EQ(rig_held(pool), 0);
    punch_is(0);
    test_write_pages(file, STAMP, 0, PAGES);
}

static void begin(struct rig *rig)
{
    EXPECT_EQ(pipe2(pipes, O_CLOEXEC), 0);
    rig_open(rig, pool, 8, 0, NULL);
}

static void end(struct rig *rig)
{
    rig_close(rig);
    close(pipes[0]);
    close(pipes[1]);
    expect_free();
}

/* A read of the pipe, which is empty. */
static struct hf_uring_io a_read(uint64_t user_data)
{
    return rig_io(HF_URING_READ, file, 0, 2, pipes[0], user_data);
}

static void read_begins(struct rig *rig, uint64_t user_data)
{
    const struct hf_uring_io io = a_read(user_data);

    rig_prep(rig, &io);
    rig_submit(rig);
}

/* --- with a completion --- */

static void ends_short(void)
{
    unsigned char bytes[100], page[TEST_PAGE];
    struct rig rig;

    begin(&rig);
    memset(bytes, 0xAB, sizeof(bytes));
    read_begins(&rig, 1);
    expect_held(1);
    EXPECT_EQ(write(pipes[1], bytes, sizeof(bytes)), sizeof(bytes));
    rig_expect(&rig, 1, sizeof(bytes));
    EXPECT_EQ(hf_read(file, page, sizeof(page), 0), sizeof(page));
    EXPECT_EQ(memcmp(page, bytes, sizeof(bytes)), 0);
    EXPECT_EQ(hf_read(file, page, sizeof(page), TEST_PAGE), sizeof(page));
    EXPECT(test_page_is(page, STAMP, 1)); /* the second piece has nothing */
    end(&rig);
}

static void ends_at_end_of_file(void)
{
    struct rig rig;

    begin(&rig);
    read_begins(&rig, 1);
    expect_held(1);
    close(pipes[1]);
    rig_expect(&rig, 1, 0);
    pipes[1] = -1;
    end(&rig);
}

static void ends_with_an_error(void)
{
    struct hf_uring_io io;
    struct rig rig;

    begin(&rig);
    io = a_read(1);
    io.fd = -1;
    rig_prep(&rig, &io);
    expect_held(1);
    rig_submit(&rig);
    rig_expect(&rig, 1, -EBADF);
    io = rig_io(HF_URING_SEND, file, 0, 2, pipes[1], 2);
    rig_prep(&rig, &io);
    rig_submit(&rig);
    rig_expect(&rig, 2, -ENOTSOCK);
    end(&rig);
}

static void ends_cancelled(void)
{
    struct hf_uring_io io;
    struct rig rig;

    begin(&rig);
    io = a_read(1);
    rig_prep(&rig, &io); /* submitted with its cancel */
    EXPECT_EQ(hf_uring_cancel(rig.uring, 2), -ENOENT);
    EXPECT_EQ(hf_uring_cancel(rig.uring, 1), 0);
    expect_held(1);
    EXPECT_EQ(hf_uring_close(rig.uring), -EBUSY);
    rig_submit(&rig);
    rig_expect(&rig, 1, -ECANCELED);
    while (hf_uring_close(rig.uring) == -EBUSY) { /* the cancel's own completion */
        struct io_uring_cqe *cqe;
        struct hf_uring_done done;

        EXPECT_EQ(io_uring_wait_cqe(&rig.ring, &cqe), 0);
        EXPECT_EQ(hf_uring_complete(rig.uring, cqe, &done), 0);
        io_uring_cqe_seen(&rig.ring, cqe);
    }
    io_uring_queue_exit(&rig.ring);
    close(pipes[0]);
    close(pipes[1]);
    expect_free();
}

/* Where an entry behind it would wait for it for ever: the next one is to be linked, or drained. */
static void ends_cancelled_at_once(unsigned behind)
{
    struct hf_uring_io io;
    struct rig rig;

    begin(&rig);
    io = a_read(1);
    io.sqe_flags = behind & IOSQE_IO_LINK;
    rig_prep(&rig, &io);
    io = a_read(2);
    io.sqe_flags = behind & IOSQE_IO_DRAIN;
    rig_prep(&rig, &io);
    rig_submit(&rig);
    expect_held(2);
    EXPECT_EQ(hf_uring_cancel(rig.uring, 1), 0);
    rig_expect(&rig, 1, -ECANCELED);
    if (behind & IOSQE_IO_DRAIN) {
        EXPECT_EQ(write(pipes[1], "x", 1), 1);
        rig_expect(&rig, 2, 1);
    } else {
        rig_expect(&rig, 2, -ECANCELED);
    }
    end(&rig);
}

/* The entry of a cancel would be a part of the program's chain. */
static void is_not_cancelled_inside_a_chain(void)
{
    struct hf_uring_io io;
    struct rig rig;

    begin(&rig);
    io = a_read(1);
    io.sqe_flags = IOSQE_IO_LINK;
    rig_prep(&rig, &io);
    EXPECT_EQ(hf_uring_cancel(rig.uring, 1), -EBUSY);
    io = a_read(2);
    rig_prep(&rig, &io);
    EXPECT_EQ(hf_uring_cancel(rig.uring, 1), 0);
    rig_submit(&rig);
    rig_expect(&rig, 1, -ECANCELED);
    rig_expect(&rig, 2, -ECANCELED);
    end(&rig);
}

/* A request of the program that fails, to link others behind. */
static void prep_failing_link(struct rig *rig)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&rig->ring);

    io_uring_prep_read(sqe, -1, NULL, 1, 0);
    io_uring_sqe_set_data64(sqe, 77);
    sqe->flags = IOSQE_IO_LINK;
}

static void take_failed_link(struct rig *rig)
{
    struct hf_uring_done done;
    struct io_uring_cqe *cqe;

    EXPECT_EQ(io_uring_wait_cqe(&rig->ring, &cqe), 0);
    EXPECT_EQ(hf_uring_complete(rig->uring, cqe, &done), -ENOENT);
    EXPECT_EQ(cqe->user_data, 77);
    io_uring_cqe_seen(&rig->ring, cqe);
}

/* Behind a request of the program that fails, and behind one of the library. */
static void ends_without_having_run(void)
{
    struct hf_uring_io io;
    struct rig rig;

    begin(&rig);
    prep_failing_link(&rig);
    io = a_read(1);
    io.sqe_flags = IOSQE_IO_LINK;
    rig_prep(&rig, &io);
    io = a_read(2);
    rig_prep(&rig, &io);
    expect_held(2);
    rig_submit(&rig);
    take_failed_link(&rig);
    rig_expect(&rig, 1, -ECANCELED);
    rig_expect(&rig, 2, -ECANCELED);
    test_expect_pages(file, STAMP, 0, PAGES);
    end(&rig);
}

/* The result first, then the notification: held until that. */
static void ends_with_a_notification(void)
{
    struct hf_uring_done done;
    struct hf_uring_io io;
    struct rig rig;
    int tcp[2];

    begin(&rig);
    rig_tcp(tcp);
    for (unsigned pages = 1; pages <= 2; pages++) { /* a piece, and a vector */
        io = rig_io(HF_URING_SEND, file, 0, pages, tcp[0], pages);
        io.flags = HF_URING_ZERO_COPY;
        rig_prep(&rig, &io);
        rig_submit(&rig);
        done = rig_take(&rig, pages);
        EXPECT_EQ(done.result, pages * TEST_PAGE);
        if (!(done.flags & HF_URING_MORE)) {
            printf("this kernel sends with a copy\n");
            continue;
        }
        expect_held(1);
        rig_expect(&rig, pages, (int)(pages * TEST_PAGE));
    }
    close(tcp[0]);
    close(tcp[1]);
    end(&rig);
}

/* A zero-copy send that never ran is notified of after its end: when another has its slot. */
static void is_notified_after_its_end(void)
{
    struct hf_uring_done done;
    struct io_uring_cqe *cqe;
    struct hf_uring_io io;
    struct rig rig;
    int tcp[2];

    begin(&rig);
    rig_tcp(tcp);
    prep_failing_link(&rig);
    io = rig_io(HF_URING_SEND, file, 0, 1, tcp[0], 1);
    io.flags = HF_URING_ZERO_COPY;
    rig_prep(&rig, &io);
    rig_submit(&rig);
    take_failed_link(&rig);
    rig_expect(&rig, 1, -ECANCELED);
    read_begins(&rig, 2);
    while (io_uring_peek_cqe(&rig.ring, &cqe) == 0) {
        EXPECT_EQ(hf_uring_complete(rig.uring, cqe, &done), 0);
        io_uring_cqe_seen(&rig.ring, cqe);
    }
    expect_held(1);
    EXPECT_EQ(write(pipes[1], "x", 1), 1);
    rig_expect(&rig, 2, 1);
    close(tcp[0]);
    close(tcp[1]);
    end(&rig);
}

/* More completions than the queue has room for, and more pins than a thread has slots. */
static void ends_while_the_queue_overflows(void)
{
    const struct hf_uring_options options = {.size = sizeof(options), .requests = LONG_LINE};
    bool seen[LONG_LINE] = {false};
    unsigned char page[TEST_PAGE] = {0};
    struct rig rig;

    EXPECT_EQ(pipe2(pipes, O_CLOEXEC), 0);
    rig_open(&rig, pool, 4, 0, &options);
    for (unsigned i = 0; i < LONG_LINE; i++) {
        struct hf_uring_io io = a_read(i);

        io.len = 1;
        EXPECT_EQ(write(pipes[1], page, 1), 1);
        rig_prep(&rig, &io);
        rig_submit(&rig);
    }
    EXPECT_EQ(hf_uring_prep(rig.uring, &(struct hf_uring_io){0}), -EINVAL);
    {
        struct hf_uring_io io = a_read(0);

        EXPECT_EQ(hf_uring_prep(rig.uring, &io), -EBUSY);
    }
    EXPECT(*rig.ring.sq.kflags & IORING_SQ_CQ_OVERFLOW);
    expect_held(LONG_LINE);
    for (unsigned i = 0; i < LONG_LINE; i++) {
        struct hf_uring_done done;
        struct io_uring_cqe *cqe;

        EXPECT_EQ(io_uring_wait_cqe(&rig.ring, &cqe), 0);
        EXPECT_EQ(hf_uring_complete(rig.uring, cqe, &done), 1);
        io_uring_cqe_seen(&rig.ring, cqe);
        EXPECT(done.user_data < LONG_LINE && !seen[done.user_data]);
        EXPECT_EQ(done.result, 1);
        seen[done.user_data] = true;
        EXPECT_EQ(rig_held(pool), LONG_LINE - 1 - i);
    }
    end(&rig);
}

/* --- with the ring --- */

enum { LIBRARY_ENDS, PROGRAM_ENDS_FIRST };

static void finish_exit(struct rig *rig, unsigned held, int order)
{
    if (order == PROGRAM_ENDS_FIRST) {
        io_uring_queue_exit(&rig->ring);
        expect_held(held);
    }
    EXPECT_EQ(hf_uring_exit(rig->uring), 0);
    expect_free();
    /* Nobody reads from the pipe any more, also while the program has the ring. */
    EXPECT_EQ(write(pipes[1], "late", 4), 4);
    test_expect_pages(file, STAMP, 0, PAGES);
    if (order == LIBRARY_ENDS)
        io_uring_queue_exit(&rig->ring);
    close(pipes[0]);
    close(pipes[1]);
}

/* One that runs, one that waits behind it, one that is prepared only. */
static void ends_with_the_ring(unsigned ring_flags, int order)
{
    struct hf_uring_io io;
    struct rig rig;

    EXPECT_EQ(pipe2(pipes, O_CLOEXEC), 0);
    rig_open(&rig, pool, 8, ring_flags, NULL);
    io = a_read(1);
    io.sqe_flags = IOSQE_IO_LINK;
    rig_prep(&rig, &io);
    io = a_read(2);
    rig_prep(&rig, &io);
    rig_submit(&rig);
    io = a_read(3);
    rig_prep(&rig, &io);
    expect_held(3);
    finish_exit(&rig, 3, order);
}

/* An open that fails leaves the ring without a table. */
static void fails_to_open(void)
{
    const struct hf_uring_options options = {.size = sizeof(options), .first_buffer = 16384};
    struct rig rig;

    rig_ring(&rig.ring, 8, 0);
    EXPECT_EQ(hf_uring_open(pool, &rig.ring, &options, &rig.uring), -E2BIG);
    EXPECT_EQ(hf_uring_open(pool, &rig.ring, NULL, &rig.uring), 0);
    EXPECT_EQ(hf_uring_close(rig.uring), 0);
    io_uring_queue_exit(&rig.ring);
}

/* Behind a request of the program's own, which nobody would end else. */
static void ends_behind_another_of_the_ring(void)
{
    struct io_uring_sqe *sqe;
    struct hf_uring_io io;
    struct rig rig;

    begin(&rig);
    sqe = io_uring_get_sqe(&rig.ring);
    io_uring_prep_poll_add(sqe, pipes[0], POLLIN);
    io_uring_sqe_set_data64(sqe, 5);
    sqe->flags = IOSQE_IO_LINK;
    io = a_read(1);
    rig_prep(&rig, &io);
    rig_submit(&rig);
    finish_exit(&rig, 1, LIBRARY_ENDS);
}

/* It has ended, and the program has not looked. */
static void ends_unseen(int order)
{
    struct rig rig;

    begin(&rig);
    read_begins(&rig, 1);
    EXPECT_EQ(write(pipes[1], "x", 1), 1);
    EXPECT_EQ(io_uring_wait_cqe(&rig.ring, &(struct io_uring_cqe *){NULL}), 0);
    expect_held(1);
    if (order == PROGRAM_ENDS_FIRST)
        io_uring_queue_exit(&rig.ring);
    EXPECT_EQ(hf_uring_exit(rig.uring), 0);
    if (order == LIBRARY_ENDS)
        io_uring_queue_exit(&rig.ring);
    close(pipes[0]);
    close(pipes[1]);
    expect_free();
}

/* A transfer by a disk is not cancelled. The ring's end waits for it, so what is written after that
 * stays. */
static void ends_under_a_disk(void)
{
    enum { REQUESTS = 4, MIB_PAGES = 256 };
    struct hf_file *large = test_file_filled(pool, "/large", 1, REQUESTS * MIB_PAGES);
    unsigned char *bytes;
    int disk = rig_disk();
    struct rig rig;

    if (disk < 0) {
        printf("no disk with O_DIRECT here: that part is skipped\n");
        return;
    }
    EXPECT_EQ(posix_memalign((void **)&bytes, TEST_PAGE, TEST_MIB(REQUESTS)), 0);
    memset(bytes, 0xD0, TEST_MIB(REQUESTS));
    EXPECT_EQ(write(disk, bytes, TEST_MIB(REQUESTS)), TEST_MIB(REQUESTS));
    EXPECT_EQ(fsync(disk), 0);
    free(bytes);
    rig_open(&rig, pool, 8, 0, NULL);
    for (unsigned i = 0; i < REQUESTS; i++) {
        struct hf_uring_io io = rig_io(HF_URING_READ, large, i * MIB_PAGES, MIB_PAGES, disk, i);

        io.fd_off = TEST_MIB(i);
        rig_prep(&rig, &io);
    }
    rig_submit(&rig);
    io_uring_queue_exit(&rig.ring);
    EXPECT_EQ(hf_uring_exit(rig.uring), 0);
    EXPECT_EQ(rig_held(pool), 0);
    test_write_pages(large, 2, 0, REQUESTS * MIB_PAGES);
    test_sleep_ms(100);
    test_expect_pages(large, 2, 0, REQUESTS * MIB_PAGES);
    EXPECT_EQ(hf_close(large), 0);
    EXPECT_EQ(hf_unlink(pool, "/large", NULL), 0);
    close(disk);
}

/* The kernel says that it has lost a completion. Then nobody knows, and the range stays. */
static void lose_a_completion(void *arg)
{
    struct rig rig;

    (void)arg;
    pool = test_pool_open("pool");
    file = test_file(pool, "/file");
    begin(&rig);
    read_begins(&rig, 1);
    EXPECT_EQ(write(pipes[1], "x", 1), 1);
    EXPECT_EQ(io_uring_wait_cqe(&rig.ring, &(struct io_uring_cqe *){NULL}), 0);
    io_uring_cq_advance(&rig.ring, 1); /* as the kernel does for lack of memory */
    ++*rig.ring.cq.koverflow;
    EXPECT_EQ(hf_uring_exit(rig.uring), -EIO);
    expect_held(1);
    EXPECT_EQ(hf_close(file), 0);
    EXPECT_EQ(hf_pool_close(pool), -EBUSY);
}

static void stays_when_a_completion_is_lost(void)
{
    test_join(test_fork(lose_a_completion, NULL));
    EXPECT_EQ(rig_held(pool), 1); /* of a dead process: in quarantine */
    EXPECT_EQ(test_pins_in_state(pool, HF_PIN_QUARANTINED), 1);
    while (rig_held(pool))
        test_sleep_ms(1);
    expect_free();
}

/* --- with processes --- */

static void be_child(void *arg)
{
    struct rig *rig = arg;
    struct hf_uring_io io = a_read(1);
    struct io_uring_cqe cqe = {.user_data = 1};
    struct hf_recall recall = {.arg = NULL};
    struct hf_uring_done done;
    uint64_t user_data;

    EXPECT_EQ(hf_uring_prep(rig->uring, &io), -ECHILD);
    EXPECT_EQ(hf_uring_complete(rig->uring, &cqe, &done), -ECHILD);
    EXPECT_EQ(hf_uring_cancel(rig->uring, 1), -ECHILD);
    EXPECT_EQ(hf_uring_recalled(rig->uring, &recall, &user_data), -ECHILD);
    EXPECT_EQ(hf_uring_close(rig->uring), -ECHILD);
    EXPECT_EQ(hf_uring_exit(rig->uring), -ECHILD);
    EXPECT(strstr(hf_uring_detail(), "fork") != NULL);
}

static void goes_on_beside_a_child(void)
{
    struct rig rig;

    begin(&rig);
    read_begins(&rig, 1);
    test_join(test_fork(be_child, &rig));
    expect_held(1);
    EXPECT_EQ(write(pipes[1], "abc", 3), 3);
    rig_expect(&rig, 1, 3);
    end(&rig);
}

struct ending {
    unsigned ring_flags;
    bool exits;
    uint32_t reads, goes;
};

/* A worker of the kernel's waits there for one that writes, and nobody does. */
static void block_a_worker(struct rig *rig)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&rig->ring);

    EXPECT_EQ(mkfifo(test_path("fifo"), 0600), 0);
    io_uring_prep_openat(sqe, AT_FDCWD, test_path("fifo"), O_RDONLY, 0);
    io_uring_sqe_set_data64(sqe, 77);
    sqe->flags = IOSQE_ASYNC;
    rig_submit(rig);
}

static void read_and_end(void *arg)
{
    struct ending *ending = arg;
    struct rig rig;

    pool = test_pool_open("pool");
    file = test_file(pool, "/file");
    rig_open(&rig, pool, 8, ending->ring_flags, NULL);
    block_a_worker(&rig);
    read_begins(&rig, 1);
    test_raise(&ending->reads, 1);
    test_await(&ending->goes, 1);
    if (ending->exits)
        _exit(0);
    for (;;)
        pause();
}

static bool is_sleeping_worker(const char *pid, const char *task)
{
    char path[96], name[32], state;
    bool found;
    FILE *file;

    snprintf(path, sizeof(path), "%s/%.20s/stat", pid, task);
    file = fopen(path, "re");
    if (!file)
        return false;
    found = fscanf(file, "%*d (%31[^)]) %c", name, &state) == 2;
    fclose(file);
    return found && state == 'S' && strncmp(name, "iou-wrk", 7) == 0;
}

static void await_worker(pid_t pid)
{
    bool sleeps = false;
    char path[64];

    snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
    while (!sleeps) {
        DIR *tasks = opendir(path);
        struct dirent *task;

        EXPECT(tasks != NULL);
        while (!sleeps && (task = readdir(tasks)))
            sleeps = is_sleeping_worker(path, task->d_name);
        closedir(tasks);
        sched_yield();
    }
}

/* Its range is kept as long as a device may still write there, and nobody waits for it. Nor does a
 * worker that blocks keep the process. */
static void ends_with_its_process(unsigned ring_flags, bool exits)
{
    struct ending *ending = test_shared(sizeof(*ending));
    uint64_t free_bytes = test_free_bytes(pool);
    pid_t pid;

    ending->ring_flags = ring_flags;
    ending->exits = exits;
    EXPECT_EQ(pipe2(pipes, O_CLOEXEC), 0);
    pid = test_fork(read_and_end, ending);
    test_await(&ending->reads, 1);
    await_worker(pid);
    expect_held(1);
    test_raise(&ending->goes, 1);
    if (exits)
        test_join(pid);
    else
        test_kill(pid);
    EXPECT_EQ(unlink(test_path("fifo")), 0);
    punch_is(0);
    EXPECT_EQ(test_pins_in_state(pool, HF_PIN_QUARANTINED), 1);
    test_write_pages(file, STAMP, 0, PAGES);
    EXPECT(test_free_bytes(pool) < free_bytes); /* two pages that no file has */
    while (test_free_bytes(pool) != free_bytes)
        test_sleep_ms(1);
    close(pipes[0]);
    close(pipes[1]);
    test_expect_pages(file, STAMP, 0, PAGES);
}

static void two_rings_keep_apart(void)
{
    struct hf_uring_done done;
    struct io_uring_cqe *cqe;
    struct rig one, two;
    int other[2];

    EXPECT_EQ(pipe2(other, O_CLOEXEC), 0);
    begin(&one);
    rig_open(&two, pool, 8, 0, NULL);
    read_begins(&one, 1);
    {
        struct hf_uring_io io = rig_io(HF_URING_READ, file, 0, 2, other[0], 2);

        rig_prep(&two, &io);
        rig_submit(&two);
    }
    expect_held(2);
    EXPECT_EQ(write(other[1], "ab", 2), 2);
    EXPECT_EQ(io_uring_wait_cqe(&two.ring, &cqe), 0);
    EXPECT_EQ(hf_uring_complete(one.uring, cqe, &done), -ENOENT);
    rig_expect(&two, 2, 2);
    expect_held(1);
    EXPECT_EQ(hf_uring_exit(two.uring), 0);
    io_uring_queue_exit(&two.ring);
    expect_held(1);
    EXPECT_EQ(write(pipes[1], "abcd", 4), 4);
    rig_expect(&one, 1, 4);
    close(other[0]);
    close(other[1]);
    end(&one);
}

/* In another thread: it ends, and the pin was the first one's. */
static void *finish_elsewhere(void *arg)
{
    rig_expect(arg, 1, 2);
    return NULL;
}

static void ends_in_another_thread(void)
{
    struct rig rig;
    pthread_t thread;

    begin(&rig);
    read_begins(&rig, 1);
    EXPECT_EQ(write(pipes[1], "ab", 2), 2);
    EXPECT_EQ(pthread_create(&thread, NULL, finish_elsewhere, &rig), 0);
    pthread_join(thread, NULL);
    end(&rig);
}

static void scenario(void)
{
    const struct hf_pool_options options = {
        .size = sizeof(options), .pool_bytes = TEST_MIB(8), .quarantine_ns = 200000000};

    EXPECT_EQ(hf_pool_create(test_path("pool"), &options), 0);
    pool = test_pool_open("pool");
    file = rig_scattered(pool, "/file", STAMP, PAGES);
    ends_short();
    ends_at_end_of_file();
    ends_with_an_error();
    ends_cancelled();
    ends_cancelled_at_once(IOSQE_IO_LINK);
    ends_cancelled_at_once(IOSQE_IO_DRAIN);
    is_not_cancelled_inside_a_chain();
    fails_to_open();
    ends_without_having_run();
    ends_with_a_notification();
    is_notified_after_its_end();
    ends_while_the_queue_overflows();
    for (int order = LIBRARY_ENDS; order <= PROGRAM_ENDS_FIRST; order++) {
        ends_with_the_ring(0, order);
        ends_with_the_ring(IORING_SETUP_SQPOLL, order);
        ends_with_the_ring(IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN, order);
        ends_unseen(order);
    }
    ends_behind_another_of_the_ring();
    ends_under_a_disk();
    goes_on_beside_a_child();
    two_rings_keep_apart();
    ends_in_another_thread();
    for (int exits = 0; exits <= 1; exits++) {
        ends_with_its_process(0, exits);
        ends_with_its_process(IORING_SETUP_SQPOLL, exits);
    }
    stays_when_a_completion_is_lost();
    EXPECT_EQ(hf_close(file), 0);
    test_pool_close(pool);
    test_pool_check("pool");
}

TEST_SCENARIO(scenario)
