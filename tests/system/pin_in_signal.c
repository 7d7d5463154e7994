/* SPDX-License-Identifier: MIT */
/*
 * A signal handler pins, looks and lets go while it interrupts pins, unpins, faults and layout
 * changes of the same thread at any instruction.
 *
 * The handler itself orders the next signal, and only so many in each part of a round. Signals that
 * come by the clock could come faster than a slow handler ends. ThreadSanitizer puts them off until
 * the thread's next atomic access, and then one would wait at every such access.
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
#define ROUNDS 400u /* and until the handler has made so many pins in each part: */
#define PINNED 2500u
#define PINNED_SLOW 100u /* a sanitizer puts signals off */
#define SIGNALS 12u      /* in a part of a round */
#define EVERY_US 60

static struct hf_file *still; /* no layout change touches it */
static volatile uint64_t handled, refused, wrong;
static volatile uint64_t pinned_in[2];
static volatile int part; /* of a round: */
enum { PINS, CHANGES };
static volatile unsigned signals_left;

static void order_signal(void)
{
    const struct itimerval soon = {.it_value = {.tv_usec = EVERY_US}};

    setitimer(ITIMER_REAL, &soon, NULL);
}

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
            count++, pinned_in[part]++;
        else if (rc == -EAGAIN)
            refused++;
        else
            wrong++;
    }
    while (count > 0)
        if (hf_unpin(&pins[--count]) != 0)
            wrong++;
    handled++;
    if (signals_left != 0 && --signals_left != 0)
        order_signal();
}

/* One of the part before may still be on its way: then it is one of these. */
static void start_signals(int next_part)
{
    struct sigaction action;

    memset(&action, 0, sizeof(action));
    action.sa_handler = SIG_IGN;
    EXPECT_EQ(sigaction(SIGALRM, &action, NULL), 0);
    part = next_part;
    signals_left = SIGNALS;
    action.sa_handler = on_timer;
    EXPECT_EQ(sigaction(SIGALRM, &action, NULL), 0);
    order_signal();
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
    while (rounds++ < (test_is_slow() ? ROUNDS / 20 : ROUNDS) || pinned_in[PINS] < enough ||
           pinned_in[CHANGES] < enough) {
        start_signals(PINS);
        for (int i = 0; i < 200; i++)
            pin_unpin(i % 2 ? file : still);
        start_signals(CHANGES);
        for (int i = 0; i < 4; i++)
            change_layout(file);
    }
    signal(SIGALRM, SIG_IGN);
    printf("%" PRIu64 " rounds, %" PRIu64 " signals: %" PRIu64 " pins between pins, %" PRIu64
           " in changes, %" PRIu64 " refused, %" PRIu64 " wrong\n",
           rounds, handled, pinned_in[PINS], pinned_in[CHANGES], refused, wrong);
    EXPECT_EQ(wrong, 0);
    EXPECT_EQ(test_pins_in_state(pool, HF_PIN_HELD), 0);
    EXPECT_EQ(hf_close(file), 0);
    EXPECT_EQ(hf_close(still), 0);
    test_pool_close(pool);
    test_pool_check("signal");
}

TEST_SCENARIO(pin_in_signal)
