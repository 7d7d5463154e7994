/* SPDX-License-Identifier: MIT */
/*
 * Asynchronous writes with O_DIRECT beside buffered reads of the same file, all of them through one
 * mount. When the write is done every read shows it, whatever was read meanwhile.
 *
 * The read in the middle is not left to chance. The write waits at the gate of a layout change.
 * That waits for a pin of this process, and is cancelled when the reader has read. The change has
 * done nothing then, so no watcher is told anything.
 *
 *     mount-direct POOL DIR
 */
#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PAGES 64u
#define BYTES (PAGES * TEST_PAGE)
#define ROUNDS 20u
#define MEANWHILE_MS 100u /* for the write to come to the gate */

static struct hf_pool *pool;
static struct hf_file *file;

/* ---- the layout change that is given up ---- */

static uint32_t changer_tid;

static void *punch(void *arg)
{
    (void)arg;
    test_raise(&changer_tid, (uint32_t)gettid());
    EXPECT_EQ(hf_fallocate(file, HF_FALLOC_PUNCH_HOLE | HF_FALLOC_KEEP_SIZE, 0, BYTES, NULL),
              -EINTR);
    return NULL;
}

static pthread_t close_gate(void)
{
    pthread_t thread;

    EXPECT_EQ(pthread_create(&thread, NULL, punch, NULL), 0);
    test_await_waiting(pool, 1);
    return thread;
}

static void open_gate(pthread_t thread)
{
    EXPECT_EQ(hf_cancel(pool, (pid_t)test_peek(&changer_tid)), 0);
    pthread_join(thread, NULL);
}

/* ---- the write ---- */

struct asynchronous {
    aio_context_t context;
    struct iocb what;
    uint32_t submitted;
};

/* The call itself may take as long as the write. */
static void *submit(void *arg)
{
    struct asynchronous *write = arg;
    struct iocb *list[] = {&write->what};

    EXPECT_EQ(syscall(SYS_io_submit, write->context, 1, list), 1);
    test_raise(&write->submitted, 1);
    return NULL;
}

static void finish(struct asynchronous *write, pthread_t thread)
{
    struct io_event event;

    pthread_join(thread, NULL);
    EXPECT_EQ(syscall(SYS_io_getevents, write->context, 1, 1, &event, NULL), 1);
    EXPECT_EQ(event.res, BYTES);
    EXPECT_EQ(syscall(SYS_io_destroy, write->context), 0);
}

static pthread_t begin(struct asynchronous *write, int fd, const void *bytes)
{
    pthread_t thread;

    *write = (struct asynchronous){.what = {.aio_lio_opcode = IOCB_CMD_PWRITE,
                                            .aio_fildes = (uint32_t)fd,
                                            .aio_buf = (uintptr_t)bytes,
                                            .aio_nbytes = BYTES}};
    EXPECT_EQ(syscall(SYS_io_setup, 1, &write->context), 0);
    EXPECT_EQ(pthread_create(&thread, NULL, submit, write), 0);
    return thread;
}

/* ---- all together ---- */

static unsigned pages_of(int fd, unsigned char byte)
{
    static unsigned char bytes[BYTES];
    unsigned found = 0;

    EXPECT_EQ(pread(fd, bytes, BYTES, 0), BYTES);
    for (unsigned page = 0; page < PAGES; page++)
        found += bytes[page * TEST_PAGE] == byte;
    return found;
}

static void write_beside_reads(const char *path, unsigned char before, unsigned char after)
{
    int direct = open(path, O_WRONLY | O_DIRECT), buffered = open(path, O_RDONLY);
    struct asynchronous write;
    pthread_t changer = close_gate(), writer;
    void *bytes;

    EXPECT(direct >= 0 && buffered >= 0);
    EXPECT_EQ(posix_memalign(&bytes, TEST_PAGE, BYTES), 0);
    memset(bytes, after, BYTES);
    writer = begin(&write, direct, bytes);
    test_sleep_ms(MEANWHILE_MS);
    EXPECT_EQ(pages_of(buffered, before), PAGES);
    open_gate(changer);
    finish(&write, writer);
    EXPECT_EQ(pages_of(buffered, after), PAGES);
    free(bytes);
    close(direct);
    close(buffered);
}

static int run(int argc, char **argv)
{
    char path[4096];
    struct iovec iov;
    struct hf_pin pin;

    if (argc < 3)
        return 2;
    snprintf(path, sizeof(path), "%s/direct", argv[2]);
    EXPECT_EQ(hf_pool_open(argv[1], 0, &pool), 0);
    file = test_file_filled(pool, "/direct", 1, PAGES);
    pin = test_pin(file, 0, TEST_PAGE, HF_PIN_READ, &iov, 1);
    for (unsigned i = 0; i < PAGES; i++)
        EXPECT_EQ(hf_write(file, "\0", 1, i * TEST_PAGE), 1);
    for (unsigned char i = 0; i < ROUNDS; i++)
        write_beside_reads(path, i, i + 1);
    EXPECT_EQ(hf_unpin(&pin), 0);
    EXPECT_EQ(hf_close(file), 0);
    test_pool_close(pool);
    return 0;
}

int main(int argc, char **argv)
{
    return test_main(argc, argv, run);
}
