/* SPDX-License-Identifier: MIT */
/*
 * A signal handler pins, looks and lets go while it interrupts pins, unpins, faults and layout
 * changes of the same thread at any instruction.
 */
#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/time.h>

#define PAGES 8
#define STAMP 5
#define ROUNDS 400u /* and until the handler has made so many pins: */
#define PINNED 5000u
#define PINNED_SLOW 100u /* a sanitizer puts signals off */

static struct hf_file *still; /* no layout change touches it */
static volatile uint64_t handled, pinned, refused, wrong;

static void on_timer(int signal)
{
    struct iovec iov[PAGES];
    struct hf_pin pins[3];
    int count = 0;

    (void)signal;
    for (uint64_t page = 0; page < 3; page++) {
        int rc = hf_pin(still, page * TEST_PAGE, TEST_PAGE, HF_PIN_READ | HF_PIN_NOWAIT, iov, 1,
                        &pins[count]);

        if (rc == 1 && test_page_is(iov[0].iov_base, STAMP, page))
            count++, pinned++;
        else if (rc == -EAGAIN)
            refused++;
        else
            wrong++;
    }
    while (count > 0)
        if (hf_unpin(&pins[--count]) != 0)
            wrong++;
    handled++;
}

static void start_timer(void)
{
    struct itimerval often = {.it_interval = {.tv_usec = 60}, .it_value = {.tv_usec = 60}};
    struct sigaction action;

    memset(&action, 0, sizeof(action));
    action.sa_handler = on_timer;
    EXPECT_EQ(sigaction(SIGALRM, &action, NULL), 0);
    EXPECT_EQ(setitimer(ITIMER_REAL, &often, NULL), 0);
}

static void stop_timer(void)
{
    struct itimerval never = {.it_value = {.tv_usec = 0}};

    EXPECT_EQ(setitimer(ITIMER_REAL, &never, NULL), 0);
    signal(SIGALRM, SIG_IGN);
}

static void pin_unpin(struct hf_file *file)
{
    struct iovec iov[PAGES];
    struct hf_pin pins[PAGES];

    for (uint64_t page = 0; page < PAGES; page++)
        pins[page] = test_pin(file, page * TEST_PAGE, TEST_PAGE, HF_PIN_WRITE, &iov[page], 1);
    for (uint64_t page = 0; page < PAGES; page++) {
        EXPECT(test_page_is(iov[page].iov_base, STAMP, page));
        EXPECT_EQ(hf_unpin(&pins[page]), 0);
    }
}

static void change_layout(struct hf_file *file)
{
    EXPECT_EQ(hf_move(file, 0, PAGES * TEST_PAGE, NULL), 0);
    EXPECT_EQ(hf_truncate(file, TEST_PAGE, NULL), 0);
    test_write_pages(file, STAMP, 1, PAGES - 1);
}

static void pin_in_signal(void)
{
    struct hf_pool *pool = test_pool_new("signal", TEST_MIB(16));
    struct hf_file *file = test_file_filled(pool, "/file", STAMP, PAGES);
    uint64_t rounds = 0, enough = test_is_slow() ? PINNED_SLOW : PINNED;

    still = test_file_filled(pool, "/still", STAMP, PAGES);
    pin_unpin(still);
    start_timer();
    while (rounds++ < (test_is_slow() ? ROUNDS / 20 : ROUNDS) || pinned < enough) {
        for (int i = 0; i < 200; i++)
            pin_unpin(i % 2 ? file : still);
        change_layout(file);
    }
    stop_timer();
    printf("%" PRIu64 " rounds, %" PRIu64 " signals: %" PRIu64 " pins, %" PRIu64
           " refused, %" PRIu64 " wrong\n",
           rounds, handled, pinned, refused, wrong);
    EXPECT_EQ(wrong, 0);
    EXPECT_EQ(test_pins_in_state(pool, HF_PIN_HELD), 0);
    EXPECT_EQ(hf_close(file), 0);
    EXPECT_EQ(hf_close(still), 0);
    test_pool_close(pool);
    test_pool_check("signal");
}

TEST_SCENARIO(pin_in_signal)
