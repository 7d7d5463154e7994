/* SPDX-License-Identifier: MIT */
/*
 * A signal handler pins and unpins between any two instructions of a call of its own thread. A
 * layout change that waits is woken all the same. The call is taken in single steps, and the
 * handler does its work after each.
 */
#include "pool/pool.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <ucontext.h>

#include "anonymous_pool.h"

#define PAGES 4u
#define WAITED 1u    /* a page: a change waits for its pins */
#define ELSEWHERE 3u /* a page: that of the handler */
#define TRAP_FLAG 0x100

static struct hf_file *file, *other;
static struct hf_pin pin;
static struct iovec iov;

#if defined(__x86_64__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)

static struct {
    volatile bool on;
    volatile unsigned long steps;
    void (*handler)(void);
} step;

static void on_step(int signal, siginfo_t *info, void *context)
{
    greg_t *flags = &((ucontext_t *)context)->uc_mcontext.gregs[REG_EFL];

    (void)signal, (void)info;
    *flags = step.on ? *flags | TRAP_FLAG : *flags & ~(greg_t)TRAP_FLAG;
    if (!step.on)
        return;
    step.steps++;
    step.handler();
}

static void in_steps(void (*call)(void), void (*handler)(void))
{
    step.steps = 0;
    step.handler = handler;
    step.on = true;
    raise(SIGTRAP); /* the handler sets the flag, from its return on */
    call();
    step.on = false;
    assert_true(step.steps > 20);
}

static int open_files(void **state)
{
    struct sigaction action = {.sa_sigaction = on_step, .sa_flags = SA_SIGINFO};
    char content[PAGES * HF_BLOCK_BYTES] = "content";
    struct hf_pool *pool;

    if (open_pool_of(state, 8 << 20) || sigaction(SIGTRAP, &action, NULL))
        return -1;
    pool = *state;
    if (hf_open(pool, "/file", O_RDWR | O_CREAT, 0600, &file) ||
        hf_open(pool, "/other", O_RDWR | O_CREAT, 0600, &other) ||
        hf_write(file, content, sizeof content, 0) != sizeof content ||
        hf_write(other, content, sizeof content, 0) != sizeof content)
        return -1;
    return 0;
}

static int close_files(void **state)
{
    signal(SIGTRAP, SIG_DFL);
    return hf_close(file) || hf_close(other) || close_pool(state) ? -1 : 0;
}

static void touch(uint64_t page)
{
    assert_int_equal(hf_pin(file, page * HF_BLOCK_BYTES, 1, HF_PIN_READ, &iov, 1, &pin), 1);
}

/* As a change does that waits for pins of these pages. */
static void wait_for(struct hf_file *of, uint64_t first, uint64_t last)
{
    of->vnode->wait_first = first;
    of->vnode->wait_last = last;
    hf_store_release(&of->vnode->waiters, SHM_WAITS);
}

static uint32_t wakes(const struct hf_file *of)
{
    return hf_load_acquire(&of->vnode->drain_seq);
}

/* ---- between an unpin and its wake ---- */

/* Not hf_unpin(): that of a debug build ends the process where a pin is released twice. */
static void let_go(void)
{
    dax_unpin(&pin);
}

/* The slot that it tries first is that of the pin, whatever handlers did before. */
static void pin_elsewhere(void)
{
    struct shm_lane *lane = shm_lane(file->fs->dax.shm);
    struct iovec piece;
    struct hf_pin own;

    lane->hint = 0;
    if (hf_pin(file, ELSEWHERE * HF_BLOCK_BYTES, 1, HF_PIN_NOWAIT, &piece, 1, &own) == 1)
        hf_unpin(&own);
}

static void unpin_is_interrupted(void **state)
{
    uint32_t before;

    (void)state;
    touch(ELSEWHERE);
    let_go();
    touch(WAITED);
    assert_int_not_equal(shm_lane(file->fs->dax.shm)->keys[0], 0);
    wait_for(file, WAITED, WAITED);
    before = wakes(file);
    in_steps(let_go, pin_elsewhere);
    assert_int_not_equal(wakes(file), before);
    hf_store_release(&file->vnode->waiters, 0u);
}

/* ---- between a pin that misses and its wake ---- */

static int missed;

static void miss(void)
{
    missed = hf_pin(file, 0, 1, HF_PIN_NOWAIT, &iov, 1, &pin);
}

/* From the step on after which the slot is free again, the page is there: the pin is not released
 * once more. */
static void miss_other(void)
{
    static uint64_t key;
    struct iovec piece;
    struct hf_pin own;
    uint64_t now = shm_lane(file->fs->dax.shm)->keys[0];

    if (key && !now)
        hf_store_release(&file->vnode->size, HF_BLOCK_BYTES);
    key = now;
    (void)hf_pin(other, 0, 1, HF_PIN_NOWAIT, &piece, 1, &own);
}

static void miss_is_interrupted(void **state)
{
    uint32_t before;

    (void)state;
    touch(0); /* the thread's lane is of this pool */
    let_go();
    hf_store_release(&file->vnode->size, UINT64_C(0));
    wait_for(file, 0, 0);
    wait_for(other, 0, 0);
    before = wakes(file);
    in_steps(miss, miss_other);
    assert_int_not_equal(wakes(file), before);
    assert_int_equal(missed, 1);
    let_go();
    hf_store_release(&file->vnode->waiters, 0u);
    hf_store_release(&other->vnode->waiters, 0u);
}

/* ---- between a second unpin, of another thread, and a newer pin ---- */

#define PIN 1u /* the owner's turns */
#define NEXT 2u
#define END 3u

static uint32_t turn, taken;
static unsigned long at_step;
static struct hf_pin first, second;

/* It has the pin that the other thread releases as well, and then another one in that slot. */
static void *own_pins(void *unused)
{
    struct iovec piece;

    for (uint32_t turns = 1;; turns++) {
        while (hf_load_acquire(&taken) < turns)
            sched_yield();
        if (hf_load_acquire(&turn) == END)
            return unused;
        if (hf_load_acquire(&turn) == NEXT)
            dax_unpin(&first); /* -EINVAL: the other thread was first */
        assert_int_equal(hf_pin(file, 0, 1, HF_PIN_READ, &piece, 1,
                                hf_load_acquire(&turn) == PIN ? &first : &second),
                         1);
        hf_store_release(&turn, 0u);
    }
}

static void let_owner(uint32_t what)
{
    hf_store_release(&turn, what);
    hf_add_acq_rel(&taken, 1);
    while (what != END && hf_load_acquire(&turn))
        sched_yield();
}

static void owner_goes_on(void)
{
    if (step.steps == at_step)
        let_owner(NEXT);
}

static void second_unpin(void **state)
{
    pthread_t owner;

    (void)state;
    touch(0);
    let_go();
    assert_int_equal(pthread_create(&owner, NULL, own_pins, NULL), 0);
    for (at_step = 1; at_step == 1 || step.steps >= at_step - 1; at_step++) {
        let_owner(PIN);
        pin = first;
        in_steps(let_go, owner_goes_on);
        if (step.steps >= at_step) {
            assert_int_equal(first.hf_opaque[0], second.hf_opaque[0]);
            assert_int_equal(hf_unpin(&second), 0); /* it was there still */
        }
    }
    let_owner(END);
    pthread_join(owner, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(second_unpin, open_files, close_files),
        cmocka_unit_test_setup_teardown(unpin_is_interrupted, open_files, close_files),
        cmocka_unit_test_setup_teardown(miss_is_interrupted, open_files, close_files),
    };

    return cmocka_run_group_tests_name("handler", tests, NULL, NULL);
}

#else

int main(void)
{
    return 77; /* skipped: single steps are x86-64's, and not a sanitizer's */
}

#endif
