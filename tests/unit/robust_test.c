/* SPDX-License-Identifier: MIT */
/*
 * The list of the robust mutexes that a thread has. Mutexes of the library and of the program are
 * in it, taken and released in every order. The list stays right, and a wrong link in one of ours
 * is mended. So are the words that say which thread has a mutex.
 */
#include "shm/private.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#if defined(__GLIBC__) && __WORDSIZE == 64

#define OURS 3u
#define THEIRS 2u
#define ALL (OURS + THEIRS)
#define MANY 140u

static struct shm_mutex ours[MANY];
static pthread_mutex_t theirs[THEIRS];
static uint64_t victim[2];

/* What the list is to be, from the mutex that was taken first. */
static unsigned order[ALL];
static unsigned held;

static pthread_mutex_t *mutex_of(unsigned which)
{
    return which < OURS ? &ours[which].robust : &theirs[which - OURS];
}

static void *link_to(unsigned which)
{
    return &mutex_of(which)->__data.__list.__next;
}

static struct robust_list_head *head(void)
{
    static struct robust_list_head *found;
    size_t len;

    if (!found)
        assert_int_equal(syscall(SYS_get_robust_list, 0, &found, &len), 0);
    return found;
}

static void *no_bit(const void *link)
{
    return (void *)((uintptr_t)link & ~(uintptr_t)1);
}

static void expect_list(void)
{
    void *prev = head(), *link = no_bit(head()->list.next);

    for (unsigned i = held; i; i--) {
        pthread_mutex_t *mutex = mutex_of(order[i - 1]);

        assert_ptr_equal(link, link_to(order[i - 1]));
        assert_ptr_equal(mutex->__data.__list.__prev, prev);
        prev = link;
        link = no_bit(mutex->__data.__list.__next);
    }
    assert_ptr_equal(link, head());
}

/* The second of theirs inherits priorities, which its links say. */
static void make_mutexes(void)
{
    for (unsigned i = 0; i < MANY; i++)
        assert_int_equal(shm_mutex_init(&ours[i]), 0);
    for (unsigned i = 0; i < THEIRS; i++) {
        pthread_mutexattr_t attributes;

        pthread_mutexattr_init(&attributes);
        pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
        if (i == 1)
            pthread_mutexattr_setprotocol(&attributes, PTHREAD_PRIO_INHERIT);
        assert_int_equal(pthread_mutex_init(&theirs[i], &attributes), 0);
        pthread_mutexattr_destroy(&attributes);
    }
}

static void take(unsigned which)
{
    if (which < OURS)
        assert_int_equal(shm_robust_trylock(&ours[which]), 0);
    else
        assert_int_equal(pthread_mutex_lock(&theirs[which - OURS]), 0);
    order[held++] = which;
}

static void let_go(unsigned which)
{
    unsigned at = 0;

    while (order[at] != which)
        at++;
    memmove(&order[at], &order[at + 1], (--held - at) * sizeof *order);
    if (which < OURS)
        shm_robust_unlock(&ours[which]);
    else
        assert_int_equal(pthread_mutex_unlock(&theirs[which - OURS]), 0);
}

static bool is_held(unsigned which)
{
    for (unsigned i = 0; i < held; i++)
        if (order[i] == which)
            return true;
    return false;
}

static void let_all_go(void)
{
    while (held)
        let_go(order[held - 1]);
}

/* Every way to take that many steps, each of which takes or releases one of five. */
static void every_order(void **state)
{
    enum { STEPS = 8 };
    uint64_t ways = 1;

    (void)state;
    for (unsigned i = 0; i < STEPS; i++)
        ways *= ALL;
    for (uint64_t way = 0; way < ways; way++) {
        uint64_t rest = way;

        for (unsigned i = 0; i < STEPS; i++, rest /= ALL) {
            unsigned which = (unsigned)(rest % ALL);

            is_held(which) ? let_go(which) : take(which);
            expect_list();
        }
        let_all_go();
        expect_list();
    }
}

/* Not more than one of theirs was between two of ours: known. */
static bool links_are_known(const unsigned was[ALL], unsigned count)
{
    for (unsigned i = 0; i + 1 < count; i++)
        if (was[i] >= OURS && was[i + 1] >= OURS)
            return false;
    return true;
}

static void spoil(unsigned which, unsigned link)
{
    __pthread_list_t *links = &mutex_of(which)->__data.__list;

    *(link ? (void **)&links->__next : (void **)&links->__prev) = &victim[1];
}

/* Takes them as `was` says and releases each in turn, the one that `first` says first, and that one
 * with a wrong link. */
static void let_go_of_wrong(const unsigned was[ALL], unsigned count, unsigned first, unsigned link)
{
    for (unsigned i = 0; i < count; i++)
        take(was[i]);
    spoil(first, link);
    let_go(first);
    expect_list();
    let_all_go();
    expect_list();
    assert_int_equal(victim[0] | victim[1], 0);
}

static void let_go_of_each_wrong(const unsigned was[ALL], unsigned count)
{
    if (!links_are_known(was, count))
        return;
    for (unsigned i = 0; i < count; i++)
        for (unsigned link = 0; link < 2 && was[i] < OURS; link++)
            let_go_of_wrong(was, count, was[i], link);
}

static void one_wrong_link(void **state)
{
    (void)state;
    for (unsigned way = 0; way < ALL * ALL * ALL * ALL; way++) {
        unsigned was[ALL] = {way % ALL, way / ALL % ALL, way / ALL / ALL % ALL,
                             way / ALL / ALL / ALL};
        bool twice = false;

        for (unsigned i = 0; i < 4; i++)
            for (unsigned k = 0; k < i; k++)
                twice = twice || was[i] == was[k];
        for (unsigned count = 1; !twice && count <= 4; count++)
            let_go_of_each_wrong(was, count);
    }
}

/* The one between two of ours has gone, without a word to anybody. */
static void one_that_has_gone(void **state)
{
    (void)state;
    for (unsigned way = 0; way < 4; way++) {
        take(0);
        take(OURS);
        take(1);
        take(2);
        let_go(OURS);
        spoil(way / 2, way % 2);
        let_go(way / 2);
        expect_list();
        let_all_go();
        expect_list();
    }
    assert_int_equal(victim[0] | victim[1], 0);
}

/* hf_clone_files() has as many. */
static void very_many(void **state)
{
    unsigned held_before = held;

    (void)state;
    for (unsigned turn = 0; turn < 3; turn++) {
        for (unsigned i = 0; i < MANY; i++)
            assert_int_equal(shm_robust_trylock(&ours[i]), 0);
        for (unsigned i = 0; i < MANY; i++) {
            unsigned which = turn == 0 ? i : turn == 1 ? MANY - 1 - i : i * 37 % MANY;
            __pthread_list_t *links = &ours[which].robust.__data.__list;

            links->__prev = links->__next = (void *)&victim[1];
            shm_robust_unlock(&ours[which]);
        }
        expect_list();
    }
    assert_int_equal(held, held_before);
    assert_int_equal(victim[0] | victim[1], 0);
}

static int wait_for(pid_t child)
{
    int status;

    assert_true(child >= 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    return status;
}

/* Both links across a gap are wrong: nobody can know. */
static void both_wrong(void **state)
{
    pid_t child = fork();
    int status;

    (void)state;
    if (child == 0) {
        const struct rlimit none = {0, 0};

        setrlimit(RLIMIT_CORE, &none);
        close(STDERR_FILENO);
        take(0);
        take(OURS);
        take(1);
        spoil(0, 0);
        spoil(1, 1);
        let_go(1);
        _exit(0);
    }
    status = wait_for(child);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGABRT);
}

/* The child of a fork has none of them, and another number. */
static void child_of_fork(void **state)
{
    pid_t child;

    (void)state;
    take(0);
    take(OURS);
    take(1);
    child = fork();
    if (child == 0) {
        held = 0;
        take(OURS + 1);
        take(2);
        assert_int_equal(mutex_of(2)->__data.__lock, gettid());
        expect_list();
        spoil(2, 0);
        let_go(OURS + 1);
        let_go(2);
        expect_list();
        _exit(0);
    }
    assert_int_equal(wait_for(child), 0);
    let_all_go();
    expect_list();
}

static void *die_with(void *arg)
{
    assert_int_equal(shm_robust_trylock(arg), 0);
    return NULL;
}

static void owner_that_died(void **state)
{
    pthread_t thread;

    (void)state;
    assert_int_equal(pthread_create(&thread, NULL, die_with, &ours[0]), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    take(1);
    assert_int_equal(shm_robust_trylock(&ours[0]), EOWNERDEAD);
    order[held++] = 0;
    expect_list();
    shm_robust_mended(&ours[0]);
    spoil(0, 1);
    let_go(0);
    expect_list();
    let_all_go();
    expect_list();
}

/* The list is another's: the C library's calls are used. */
static void *by_library(void *arg)
{
    struct robust_list_head other = {.list.next = &other.list, .futex_offset = 8};

    assert_int_equal(syscall(SYS_set_robust_list, &other, sizeof other), 0);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(shm_robust_trylock(arg), 0);
        assert_int_equal(shm_robust_trylock(arg), EBUSY);
        assert_ptr_equal(other.list.next, &other.list);
        shm_robust_unlock(arg);
    }
    assert_int_equal(shm_robust_trylock(&ours[1]), EOWNERDEAD);
    shm_robust_mended(&ours[1]);
    shm_robust_unlock(&ours[1]);
    assert_int_equal(shm_robust_trylock(&ours[2]), EBUSY);
    return NULL;
}

static void another_list(void **state)
{
    pthread_t thread;

    (void)state;
    take(2);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(pthread_create(&thread, NULL, die_with, &ours[1]), 0);
        assert_int_equal(pthread_join(thread, NULL), 0);
        assert_int_equal(pthread_create(&thread, NULL, by_library, &ours[0]), 0);
        assert_int_equal(pthread_join(thread, NULL), 0);
        take(0);
        take(1);
        expect_list();
        let_go(0);
        let_go(1);
        expect_list();
    }
    let_all_go();
}

/* ---- the words that say which thread has it ---- */

static const int wrong_words[] = {0,
                                  1,
                                  INT_MAX,     /* the library's: its owner died */
                                  INT_MAX - 1, /* and it was not mended */
                                  INT_MIN,
                                  (int)FUTEX_OWNER_DIED,
                                  (int)FUTEX_WAITERS,
                                  -1};
#define WRONG_WORDS (sizeof wrong_words / sizeof *wrong_words)

static void *take_and_let_go(void *arg)
{
    assert_int_equal(shm_robust_trylock(arg), 0);
    shm_robust_unlock(arg);
    return NULL;
}

/* For each thread, as if nothing had been wrong. */
static void expect_free(struct shm_mutex *mutex)
{
    pthread_t thread;

    take_and_let_go(mutex);
    assert_int_equal(pthread_create(&thread, NULL, take_and_let_go, mutex), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
}

static void wrong_owner(void **state)
{
    (void)state;
    for (unsigned i = 0; i < WRONG_WORDS; i++) {
        ours[0].robust.__data.__owner = wrong_words[i];
        expect_free(&ours[0]);
        take(1);
        take(0);
        ours[0].robust.__data.__owner = wrong_words[i];
        let_go(i % 2);
        let_all_go();
        expect_list();
        expect_free(&ours[0]);
    }
}

static void wrong_owner_of_dead(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 2 * WRONG_WORDS; i++) {
        pthread_t thread;

        assert_int_equal(pthread_create(&thread, NULL, die_with, &ours[0]), 0);
        assert_int_equal(pthread_join(thread, NULL), 0);
        if (i % 2)
            ours[0].robust.__data.__owner = wrong_words[i / 2];
        assert_int_equal(shm_robust_trylock(&ours[0]), EOWNERDEAD);
        if (i % 2 == 0)
            ours[0].robust.__data.__owner = wrong_words[i / 2];
        shm_robust_mended(&ours[0]);
        shm_robust_unlock(&ours[0]);
        expect_list();
        expect_free(&ours[0]);
    }
}

/* No thread has taken it meanwhile. */
static void wrong_first_word(void **state)
{
    (void)state;
    for (unsigned i = 0; i < WRONG_WORDS; i++) {
        take(1);
        take(0);
        take(2);
        ours[0].robust.__data.__lock = wrong_words[i];
        let_go(0);
        expect_list();
        let_all_go();
        expect_list();
        expect_free(&ours[0]);
    }
}

static void *spoil_word_between(void *arg)
{
    int *word = arg;

    for (unsigned i = 0; i < 1u << 20; i++) {
        hf_store_release(word, INT_MAX - 1);
        hf_cas_acq_rel(word, INT_MAX - 1, 0);
    }
    return NULL;
}

/* The library's own look comes after ours. The mutex stays one that can be taken. */
static void wrong_owner_at_any_time(void **state)
{
    pthread_t thread;

    (void)state;
    assert_int_equal(
        pthread_create(&thread, NULL, spoil_word_between, &ours[0].robust.__data.__owner), 0);
    for (unsigned taken = 0; taken < 1000;)
        if (shm_robust_trylock(&ours[0]) == 0) {
            taken++;
            shm_robust_unlock(&ours[0]);
        }
    assert_int_equal(pthread_join(thread, NULL), 0);
    expect_free(&ours[0]);
    expect_list();
}

struct other {
    pthread_barrier_t barrier;
    bool takes_more;
};

static void *take_it_too(void *arg)
{
    struct other *other = arg;

    assert_int_equal(shm_robust_trylock(&ours[0]), 0);
    if (other->takes_more)
        assert_int_equal(shm_robust_trylock(&ours[3]), 0);
    pthread_barrier_wait(&other->barrier);
    pthread_barrier_wait(&other->barrier); /* the first one has let go */
    shm_robust_unlock(&ours[0]);
    if (other->takes_more)
        shm_robust_unlock(&ours[3]);
    return NULL;
}

/* The first word was cleared, and another thread has taken the mutex: it keeps it. */
static void taken_by_another(void **state)
{
    (void)state;
    for (unsigned way = 0; way < 6; way++) {
        struct other other = {.takes_more = way % 2};
        pthread_t thread;

        assert_int_equal(pthread_barrier_init(&other.barrier, NULL, 2), 0);
        for (unsigned i = 0; i < OURS; i++)
            take((i + way / 2) % OURS);
        ours[0].robust.__data.__lock = 0;
        assert_int_equal(pthread_create(&thread, NULL, take_it_too, &other), 0);
        pthread_barrier_wait(&other.barrier);
        let_go(0);
        expect_list();
        assert_int_equal(shm_robust_trylock(&ours[0]), EBUSY);
        let_all_go();
        pthread_barrier_wait(&other.barrier);
        assert_int_equal(pthread_join(thread, NULL), 0);
        expect_list();
        expect_free(&ours[0]);
        pthread_barrier_destroy(&other.barrier);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_order),      cmocka_unit_test(one_wrong_link),
        cmocka_unit_test(very_many),        cmocka_unit_test(one_that_has_gone),
        cmocka_unit_test(both_wrong),       cmocka_unit_test(child_of_fork),
        cmocka_unit_test(owner_that_died),  cmocka_unit_test(another_list),
        cmocka_unit_test(wrong_owner),      cmocka_unit_test(wrong_owner_of_dead),
        cmocka_unit_test(wrong_first_word), cmocka_unit_test(wrong_owner_at_any_time),
        cmocka_unit_test(taken_by_another),
    };

    make_mutexes();
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#else

int main(void)
{
    return 77; /* another C library, whose list is not looked at */
}

#endif
