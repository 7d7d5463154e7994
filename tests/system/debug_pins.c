/* SPDX-License-Identifier: MIT */
/*
 * HOLDFAST_DEBUG=pins: a close that is refused names each pin that is left, on stderr, with the
 * function that made it. A process that ends with pins names them too. Without the variable nothing
 * is said.
 */
#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MANY 40 /* more than a thread has slots */

static const char *const engines[] = {"slots", "slots-fenced", "refcount"};
static char said[1 << 20];

/* Functions with exported names (see meson.build), with code after the call, so that they are
 * in the stack. */
void debug_pins_first(struct hf_file *file, struct hf_pin *pin);
void debug_pins_second(struct hf_file *file, struct hf_pin *pin);
void debug_pins_lease(struct hf_file *file, struct hf_lease *lease);
void debug_pins_many(struct hf_file *file, struct hf_pin *pins);

__attribute__((noinline)) void debug_pins_first(struct hf_file *file, struct hf_pin *pin)
{
    struct iovec iov;

    *pin = test_pin(file, 0, 100, 0, &iov, 1);
    EXPECT_EQ(iov.iov_len, 100);
}

__attribute__((noinline)) void debug_pins_second(struct hf_file *file, struct hf_pin *pin)
{
    struct iovec iov[2];

    *pin = test_pin(file, TEST_PAGE, 2 * TEST_PAGE, HF_PIN_WRITE, iov, 2);
    EXPECT(iov[0].iov_len >= TEST_PAGE);
}

__attribute__((noinline)) void debug_pins_lease(struct hf_file *file, struct hf_lease *lease)
{
    struct iovec iov;

    EXPECT_EQ(hf_lease(file, 3 * TEST_PAGE, 1, NULL, &iov, 1, lease), 1);
}

__attribute__((noinline)) void debug_pins_many(struct hf_file *file, struct hf_pin *pins)
{
    struct iovec iov;

    for (unsigned i = 0; i < MANY; i++)
        pins[i] = test_pin(file, i * TEST_PAGE, 1, 0, &iov, 1);
    EXPECT_EQ(iov.iov_len, 1);
}

/* Pins that have gone leave nothing to be said, and the slots to those that follow. */
static void come_and_go(struct hf_file *file, struct hf_pin *pins)
{
    for (unsigned round = 0; round < 3; round++) {
        debug_pins_many(file, pins);
        for (unsigned i = 0; i < MANY; i++)
            EXPECT_EQ(hf_unpin(&pins[i]), 0);
    }
}

static void two_pins_and_a_lease(const char *name)
{
    struct hf_pool *pool = test_pool_open(name);
    struct hf_file *file = test_file_filled(pool, "/file", 1, MANY);
    struct hf_pin pins[MANY];
    struct hf_lease lease;

    come_and_go(file, pins);
    debug_pins_first(file, &pins[0]);
    debug_pins_second(file, &pins[1]);
    debug_pins_lease(file, &lease);
    EXPECT_EQ(hf_close(file), 0);
    EXPECT_EQ(hf_pool_close(pool), -EBUSY);
    fprintf(stderr, "refused\n");
    EXPECT_EQ(hf_unpin(&pins[0]), 0);
    EXPECT_EQ(hf_unpin(&pins[1]), 0);
    EXPECT_EQ(hf_lease_release(&lease), 0);
    test_pool_close(pool);
}

static void held_at_exit(const char *name)
{
    struct hf_pool *pool = test_pool_open(name);
    struct hf_file *file = test_file_filled(pool, "/file", 1, MANY);
    struct hf_pin pins[MANY], nowait;
    struct iovec iov;

    debug_pins_many(file, pins);
    EXPECT_EQ(hf_unpin(&pins[0]), 0);
    EXPECT_EQ(hf_pin(file, 0, 1, HF_PIN_NOWAIT, &iov, 1, &nowait), 1);
    exit(0);
}

/* What this thread knows of an earlier opening does not lead pins past the records. */
static void pin_without(const char *name)
{
    struct hf_pool *pool;
    struct hf_file *file;
    struct hf_pin pins[MANY];

    unsetenv("HOLDFAST_DEBUG");
    pool = test_pool_open(name);
    file = test_file_filled(pool, "/file", 1, MANY);
    come_and_go(file, pins);
    EXPECT_EQ(hf_close(file), 0);
    test_pool_close(pool);
}

struct run {
    const char *debug; /* HOLDFAST_DEBUG; null: without */
    void (*body)(const char *pool);
    const char *pool;
};

static void in_child(void *arg)
{
    const struct run *run = arg;
    int fd = open(test_path("stderr"), O_CREAT | O_TRUNC | O_WRONLY, 0600);

    pin_without(run->pool);
    if (run->debug)
        setenv("HOLDFAST_DEBUG", run->debug, 1);
    EXPECT(fd >= 0 && dup2(fd, STDERR_FILENO) == STDERR_FILENO);
    close(fd);
    run->body(run->pool);
}

/* Takes what the child writes to stderr. */
static void run(const char *debug, void (*body)(const char *pool), const char *pool)
{
    struct run run = {debug, body, pool};
    int status = test_wait_status(test_fork(in_child, &run));
    FILE *text = fopen(test_path("stderr"), "r");
    size_t bytes;

    EXPECT(text != NULL);
    bytes = fread(said, 1, sizeof said - 1, text);
    said[bytes] = 0;
    fclose(text);
    if (status)
        FAIL("the child ended with status 0x%x:\n%s", (unsigned)status, said);
}

static unsigned times(const char *what)
{
    unsigned count = 0;

    for (const char *at = said; (at = strstr(at, what)); at += strlen(what))
        count++;
    return count;
}

static void expect_said(const char *what, unsigned count)
{
    if (times(what) != count)
        FAIL("'%s' is said %u times instead of %u:\n%s", what, times(what), count, said);
}

static void scenario(void)
{
    for (unsigned i = 0; i < sizeof engines / sizeof *engines; i++) {
        const struct test_engine *engine = test_engine(engines[i]);
        struct hf_pool *pool = test_engine_pool(engine, engine->name, TEST_MIB(16));

        test_pool_close(pool);
        run(NULL, two_pins_and_a_lease, engine->name);
        EXPECT(strcmp(said, "refused\n") == 0);
        run("pins", two_pins_and_a_lease, engine->name);
        expect_said("holdfast: lease on inode", 1);
        expect_said("bytes 12288 to 16383, for reading, of thread", 1);
        expect_said("(debug_pins_lease+", 1);
        if (!engine->knows_holders) {
            expect_said("knows only that they are there", 1);
            continue;
        }
        expect_said("holdfast: pin on inode", 2);
        expect_said("bytes 0 to 4095, for reading, of thread", 1);
        expect_said("bytes 4096 to 12287, for writing, of thread", 1);
        expect_said("(debug_pins_first+", 1);
        expect_said("(debug_pins_second+", 1);
        expect_said("(debug_pins_many+", 0);
        EXPECT(strcmp(strstr(said, "refused"), "refused\n") == 0);

        run("pins", held_at_exit, engine->name);
        expect_said("holdfast: pin on inode", MANY);
        expect_said("(debug_pins_many+", MANY - 1);
        expect_said("made where no stack is kept", 1);
        test_pool_check(engine->name);
    }
}

TEST_SCENARIO(scenario)
