/* SPDX-License-Identifier: MIT */
/* Looks that read marked lanes only, and leave out those that they know (src/sync/look.c). */
#include "steps.h"

#include "fs/fs.h"
#include "sync/look.h"

#include <fcntl.h>
#include <holdfast/put.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>

static uint32_t let_go;

static void warm_victim(void)
{
    struct iovec iov;
    struct hf_pin pin = test_pin(victim, 0, TEST_PAGE, HF_PIN_READ, &iov, 1); /* fills the entry */

    EXPECT_EQ(hf_unpin(&pin), 0);
}

/* The next look that finds no pin is the one that clears the marks. */
static void age_marks(void)
{
    uint8_t *marks = (uint8_t *)victim->vnode->marks;

    for (unsigned i = 0; i < sizeof(victim->vnode->marks); i++)
        if (marks[i])
            hf_store_release(&marks[i], (uint8_t)LOOK_AGE);
}

static void look(void)
{
    EXPECT_EQ(hf_held(victim, 0, TEST_PAGE), 0);
}

static void *look_stepped(void *unused)
{
    hf_lab_stepped = true;
    look();
    hf_lab_stepped = false;
    return unused;
}

/* The page is pinned by now. */
static void look_for_harm(void)
{
    harmed = hf_fallocate(victim, HF_FALLOC_PUNCH_HOLE, 0, TEST_PAGE, &test_nowait) == 0;
}

/* A pin is made when a look has read its lane, and before that look goes on. */
static void pin_when_looked(bool clears)
{
    struct iovec iov;
    struct hf_pin pin;
    pthread_t looker;

    warm_victim();
    if (clears)
        age_marks();
    stand_at(HF_LAB_LOOKED);
    EXPECT_EQ(pthread_create(&looker, NULL, look_stepped, NULL), 0);
    test_await(&walked, 1);
    pin = test_pin(victim, 0, TEST_PAGE, HF_PIN_NOFILL, &iov, 1);
    test_raise(&go, 1);
    pthread_join(looker, NULL);
    look_for_harm();
    EXPECT_EQ(hf_unpin(&pin), 0);
}

void pin_beside_clearing(bool unused)
{
    (void)unused;
    pin_when_looked(true);
}

void pin_beside_look(bool unused)
{
    (void)unused;
    pin_when_looked(false);
}

/* It has raised its lane's generation, and stored no key. */
static void *pin_stepped(void *unused)
{
    struct iovec iov;
    struct hf_pin pin;

    warm_victim();
    hf_lab_stepped = true;
    pin = test_pin(victim, 0, TEST_PAGE, HF_PIN_NOFILL, &iov, 1);
    hf_lab_stepped = false;
    test_raise(&tried, 1);
    test_await(&let_go, 1);
    EXPECT_EQ(hf_unpin(&pin), 0);
    return unused;
}

void look_beside_pin(bool unused)
{
    pthread_t pinner;

    (void)unused;
    stand_at(HF_LAB_TAKES);
    EXPECT_EQ(pthread_create(&pinner, NULL, pin_stepped, NULL), 0);
    test_await(&walked, 1);
    look();
    test_raise(&go, 1);
    test_await(&tried, 1);
    look_for_harm();
    test_raise(&let_go, 1);
    pthread_join(pinner, NULL);
}

static void stop_and_die(enum hf_lab_point point)
{
    if (point == HF_LAB_LOOKED)
        raise(SIGSTOP);
    if (point == HF_LAB_UNMARKS)
        raise(SIGKILL);
}

static void look_and_die(void *unused)
{
    pool = test_pool_open("pool");
    victim = test_file(pool, "/victim");
    hf_lab_at = stop_and_die;
    look_stepped(unused);
}

/* A process is killed when it has cleared the mark of a lane with a pin. */
void die_clearing(bool unused)
{
    struct iovec iov;
    struct hf_pin pin;
    int status;
    pid_t child;

    (void)unused;
    test_remove_tree(test_path("pool")); /* of the turn before */
    pool = test_engine_pool(engine, "pool", TEST_MIB(8));
    victim = test_file_filled(pool, "/victim", OURS, 1);
    warm_victim();
    age_marks();
    child = test_fork(look_and_die, NULL);
    EXPECT_EQ(waitpid(child, &status, WUNTRACED), child);
    EXPECT(WIFSTOPPED(status));
    pin = test_pin(victim, 0, TEST_PAGE, HF_PIN_NOFILL, &iov, 1);
    EXPECT_EQ(kill(child, SIGCONT), 0);
    EXPECT_EQ(waitpid(child, &status, 0), child);
    EXPECT(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    look_for_harm();
    EXPECT_EQ(hf_unpin(&pin), 0);
}
