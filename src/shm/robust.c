/* SPDX-License-Identifier: MIT */
/*
 * Owns the steps of the robust mutexes that processes share, up to where a thread would wait. They
 * follow words of shared memory, and any process of the pool may have made such a word wrong.
 *
 * The kernel has a list of the robust mutexes of each thread. When the thread dies, the kernel
 * reads the list and marks them. The C library has made the list, and its own mutexes are in it:
 * those of LMDB and of the program. Ours are put in and taken out here, by the steps that the
 * kernel asks for (robust-futex-ABI):
 *
 *     to take one     announce it; swap the first word from 0 to the thread's number; put it in at
 *                     the head of the list; announce nothing
 *     to release it   announce it; take it out of the list; clear the first word; announce nothing
 *
 * The kernel also marks what is announced, if the word has the thread's number. So a death at any
 * step leaves the mutex free or marked.
 *
 * The links lie in the mutexes. To take one out, its neighbours are stored to, wherever the links
 * lead. So the links are not believed: the thread remembers the mutexes that it has taken here
 * (`taken`), in the order of the list. It also remembers what the head led to when each was taken.
 * The library unlocks its own mutexes unseen by this file. Those between two of ours were taken
 * before the later of the two, so their number can only fall. Where there was none, the links are
 * known. Where there was one, it may have gone; then both of the links across that gap say so. When
 * neither leads to a place where it can lead, the process ends, and the mutexes are left as the
 * kernel would leave them. Where there were several, nothing is known, and the links stay as they
 * are.
 *
 * The first word may be wrong at the release: another thread's number, or none. `term` tells
 * whether another one has taken the mutex since. If so, both have had it at once. Then it is left
 * to the other thread, so that the next one has it alone, and only goes out of this thread's list.
 *
 * One gap is left. The kernel follows the links too, when the thread dies, but stores only to words
 * that have the thread's number. If a wrong link hides a mutex from it, no process learns that the
 * owner has died. A wait for that mutex then ends as a wait for a stopped process does.
 *
 * Where the list is not the C library's, or is not to be had, that library's own calls are used.
 * They believe all words.
 */
#include "base/error.h"
#include "base/fence.h"
#include "base/fork.h"
#include "base/lab.h"
#include "shm/private.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

int shm_robust_init(struct shm_mutex *mutex)
{
    pthread_mutexattr_t attributes;
    int rc = pthread_mutexattr_init(&attributes);

    if (rc)
        return -rc;
    pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
    rc = pthread_mutex_init(&mutex->robust, &attributes);
    pthread_mutexattr_destroy(&attributes);
    return -rc;
}

static void count_term(struct shm_mutex *mutex)
{
    /* relaxed: for those that ask whether it is still the same */
    hf_store_relaxed(&mutex->term, mutex->term + 1);
}

/* ---- by the C library's calls ---- */

static __attribute__((noinline)) int library_trylock(struct shm_mutex *mutex)
{
    int rc = pthread_mutex_trylock(&mutex->robust);

    if (rc != 0 && rc != EOWNERDEAD)
        return EBUSY;
    count_term(mutex);
    return rc;
}

static __attribute__((noinline)) void library_unlock(struct shm_mutex *mutex)
{
    HF_BUG_ON(pthread_mutex_unlock(&mutex->robust) != 0);
}

#if defined(__GLIBC__) && __WORDSIZE == 64

/* A rename has two layout mutexes, and the four others of the segment: shm.h has the order. Only
 * hf_clone_files() has more. They are not all in thread-local memory, of which a library that is
 * loaded late has little. */
#define FEW 8u

/* As the library lays it out, around what the list leads to; the lowest bit of a link says that the
 * mutex inherits priorities. */
struct entry {
    void *prev;
    void *next;
};

struct taken {
    struct shm_mutex *mutex;
    uint64_t term;
    bool died; /* in it, its last owner; it is not mended yet */
    /* What was between it and the one below it: nothing, one mutex, or more (&more). */
    void *between;
};

static char more;

static _Thread_local struct {
    /* Of the list, in the thread's own memory. Null: not known. */
    struct robust_list_head *head;
    uint32_t tid;
    /* hf_fork_count + 1 when the two were looked up. The child of a fork has another number, and an
     * empty list. */
    uint32_t forks;
    unsigned count;
    unsigned room; /* 0: `few` has them */
    struct taken *many;
    struct taken few[FEW];
} mine;

/* ---- links ---- */

static void *link_to(struct shm_mutex *mutex)
{
    return &mutex->robust.__data.__list.__next;
}

static void *without_bit(void *link)
{
    return (void *)((uintptr_t)link & ~(uintptr_t)1);
}

static struct entry *entry_at(void *link)
{
    return (struct entry *)((char *)without_bit(link) - offsetof(struct entry, next));
}

static int *word_of(struct shm_mutex *mutex)
{
    return &mutex->robust.__data.__lock;
}

/* ---- what the thread has ---- */

static struct taken *taken_at(unsigned i)
{
    return mine.room ? &mine.many[i] : &mine.few[i];
}

/* What comes below entry i of those taken. */
static inline void *link_below(unsigned i)
{
    return i ? link_to(taken_at(i - 1)->mutex) : mine.head;
}

static __attribute__((noinline)) bool grow_room(void)
{
    unsigned room = mine.room ? mine.room * 2 : FEW * 4;
    struct taken *many = realloc(mine.many, room * sizeof *many);

    if (!many)
        return false;
    if (!mine.room)
        memcpy(many, mine.few, sizeof mine.few);
    mine.many = many;
    mine.room = room;
    return true;
}

static __attribute__((noinline)) void forget_taken(void)
{
    free(mine.many);
    mine.many = NULL;
    mine.room = mine.count = 0;
}

static uint32_t owner_of(struct shm_mutex *mutex)
{
    return (uint32_t)hf_load_relaxed(word_of(mutex)) & FUTEX_TID_MASK; /* relaxed: mostly our own */
}

static __attribute__((noinline)) void look_up_thread(void)
{
    const long to_word = (long)offsetof(pthread_mutex_t, __data.__lock) -
                         (long)offsetof(pthread_mutex_t, __data.__list.__next);
    struct robust_list_head *head = NULL;
    size_t len;

    forget_taken();
    hf_fork_counts();
    if (syscall(SYS_get_robust_list, 0, &head, &len) || head->futex_offset != to_word)
        head = NULL;
    mine.head = head;
    mine.tid = (uint32_t)gettid();
    mine.forks = hf_fork_count + 1;
}

static inline bool has_list(void)
{
    if (__builtin_expect(mine.forks != hf_fork_count + 1, 0))
        look_up_thread();
    return __builtin_expect(mine.head != NULL, 1);
}

/* Without memory for it, the mutex counts as one of the program's. */
static __attribute__((noinline)) void remember_slowly(struct shm_mutex *mutex, void *before,
                                                      bool died)
{
    struct taken *new;
    void *below;

    if (mine.count == (mine.room ? mine.room : FEW) && !grow_room())
        return;
    below = link_below(mine.count);
    new = taken_at(mine.count++);
    *new = (struct taken){mutex, mutex->term, died, NULL};
    if (without_bit(before) != below)
        new->between = without_bit(entry_at(before)->next) == below ? before : &more;
}

/* Whether the thread has few, and took the last of them just before. Nearly always. */
static inline bool is_plain_next(void *before)
{
    return !mine.room && mine.count < FEW && before == link_below(mine.count);
}

/* Entry i goes: what was below it is now below the one above. */
static void forget_one(unsigned i)
{
    void *between = taken_at(i)->between;

    if (--mine.count == 0) {
        forget_taken();
        return;
    }
    if (i == mine.count)
        return;
    if (!taken_at(i + 1)->between)
        taken_at(i + 1)->between = between;
    else if (between)
        taken_at(i + 1)->between = &more;
    memmove(taken_at(i), taken_at(i + 1), (mine.count - i) * sizeof *taken_at(i));
}

/* ---- before an unlock ---- */

static _Noreturn void end_with_owners_dead(void)
{
    for (unsigned i = 0; i < mine.count; i++)
        hf_store_release((uint32_t *)&taken_at(i)->mutex->robust.__data.__lock,
                         (uint32_t)FUTEX_OWNER_DIED);
    hf_bug(__FILE__, __LINE__, "the links of held mutexes were overwritten");
}

/* `link` leads across a gap to the entry on its far side, or to `one`, where that is still there.
 * `back` is the link from the far side. */
static void *link_across(void *link, void *back, void *one, void *far, void *near)
{
    if (one == &more || without_bit(link) == far || (one && link == one))
        return link;
    if (!one || back == near)
        return far;
    if (without_bit(back) == without_bit(one))
        return one;
    end_with_owners_dead();
}

/* The one above it, where that is not of ours. The head is the thread's own, so what it leads to is
 * in the list. */
static void *right_prev_of_top(struct entry *entry, void *self)
{
    void *top = mine.head->list.next;

    if (without_bit(top) == self)
        return mine.head;
    return without_bit(entry_at(top)->next) == self ? without_bit(top) : entry->prev;
}

/* The links that entry i is to have. */
static struct entry right_links(unsigned i)
{
    struct taken *taken = taken_at(i);
    void *self = link_to(taken->mutex), *below = link_below(i);
    struct entry *entry = entry_at(self), right;

    right.next = link_across(entry->next, entry_at(below)->prev, taken->between, below, self);
    if (i + 1 == mine.count) {
        right.prev = right_prev_of_top(entry, self);
    } else {
        void *above = link_to(taken_at(i + 1)->mutex), *one = taken_at(i + 1)->between;

        right.prev = link_across(entry->prev, entry_at(above)->next,
                                 one == &more ? one : without_bit(one), above, self);
    }
    return right;
}

static void take_out(const struct entry links)
{
    entry_at(links.next)->prev = links.prev;
    entry_at(links.prev)->next = links.next;
}

/* ---- the steps ---- */

/* For the kernel, which reads it when this very thread has died: so the order of the program is
 * enough. No signal handler takes a mutex of ours. */
static inline void say_pending(void *link)
{
    hf_fence_light();
    mine.head->list_op_pending = HF_LAB_BROKEN(HF_LAB_UNANNOUNCED) ? NULL : link;
    hf_fence_light();
}

/* Puts it in at the head of the list; what the head led to. */
static inline void *link_in(struct shm_mutex *mutex)
{
    void *link = link_to(mutex), *before = mine.head->list.next;

    HF_LAB_AT(HF_LAB_LOCKS);
    *entry_at(link) = (struct entry){mine.head, before};
    entry_at(before)->prev = link;
    hf_fence_light();
    mine.head->list.next = link;
    say_pending(NULL);
    count_term(mutex);
    return before;
}

/* The first word was not 0. */
static __attribute__((noinline)) int trylock_slowly(struct shm_mutex *mutex)
{
    int was = hf_load_acquire(word_of(mutex));
    bool died = was & FUTEX_OWNER_DIED;

    if (was & FUTEX_TID_MASK ||
        !hf_cas_acq_rel(word_of(mutex), was, (int)(mine.tid | (was & FUTEX_WAITERS)))) {
        say_pending(NULL);
        return EBUSY;
    }
    remember_slowly(mutex, link_in(mutex), died);
    return died ? EOWNERDEAD : 0;
}

int shm_robust_trylock(struct shm_mutex *mutex)
{
    void *before;

    if (!has_list())
        return library_trylock(mutex);
    say_pending(link_to(mutex));
    if (__builtin_expect(!hf_cas_acq_rel(word_of(mutex), 0, (int)mine.tid), 0))
        return trylock_slowly(mutex);
    before = link_in(mutex);
    if (__builtin_expect(is_plain_next(before), 1))
        mine.few[mine.count++] = (struct taken){mutex, mutex->term, false, NULL};
    else
        remember_slowly(mutex, before, false);
    return 0;
}

void shm_robust_mended(struct shm_mutex *mutex)
{
    if (!mine.head)
        (void)pthread_mutex_consistent(&mutex->robust);
    for (unsigned i = mine.count; i--;)
        if (taken_at(i)->mutex == mutex)
            taken_at(i)->died = false;
}

/* Nearly always it was taken last, and is whole and this thread's. Nothing in the list is above
 * it, nor between it and the one below. */
static inline bool is_plain_top(struct shm_mutex *mutex)
{
    const struct taken *top;

    if (mine.room || !mine.count)
        return false;
    top = &mine.few[mine.count - 1];
    return top->mutex == mutex && !top->between && !top->died &&
           mine.head->list.next == link_to(mutex) && owner_of(mutex) == mine.tid;
}

static bool is_of_another(const struct taken *taken)
{
    return owner_of(taken->mutex) != mine.tid && taken->mutex->term != taken->term;
}

/* False: another thread has it by now. One that could not be remembered has only its own links. */
static bool take_out_slowly(struct shm_mutex *mutex)
{
    unsigned i = mine.count;
    bool other;

    while (i && taken_at(i - 1)->mutex != mutex)
        i--;
    if (i == 0) {
        take_out(*entry_at(link_to(mutex)));
        return true;
    }
    HF_BUG_ON(taken_at(i - 1)->died);
    other = is_of_another(taken_at(i - 1));
    take_out(right_links(i - 1));
    forget_one(i - 1);
    return !other;
}

/* Out of the list already. */
static inline void clear_word(struct shm_mutex *mutex)
{
    HF_LAB_AT(HF_LAB_UNLOCKS);
    hf_fence_light();
    (void)hf_xchg_acq_rel(word_of(mutex), 0);
}

static __attribute__((noinline)) void unlock_slowly(struct shm_mutex *mutex)
{
    if (take_out_slowly(mutex))
        clear_word(mutex);
    say_pending(NULL);
}

void shm_robust_unlock(struct shm_mutex *mutex)
{
    if (__builtin_expect(!mine.head, 0)) {
        library_unlock(mutex);
        return;
    }
    say_pending(link_to(mutex));
    if (__builtin_expect(!is_plain_top(mutex), 0)) {
        unlock_slowly(mutex);
        return;
    }
    take_out((struct entry){mine.head, link_below(--mine.count)});
    clear_word(mutex);
    say_pending(NULL);
}

#else

int shm_robust_trylock(struct shm_mutex *mutex)
{
    return library_trylock(mutex);
}

void shm_robust_mended(struct shm_mutex *mutex)
{
    (void)pthread_mutex_consistent(&mutex->robust);
}

void shm_robust_unlock(struct shm_mutex *mutex)
{
    library_unlock(mutex);
}

#endif
