/* SPDX-License-Identifier: MIT */
/*
 * Owns the steps of the C library's robust mutexes that follow words of shared memory. Any process
 * of the pool may have made such a word wrong.
 *
 * The C library keeps a list of the robust mutexes that a thread has. The kernel reads it when the
 * thread dies, and marks them. A mutex that is taken comes in at the head of the list. The links
 * lie in the mutexes. To unlock one, the library stores to both of its neighbours, wherever the
 * links lead. So before that they are set right by what the thread remembers. It remembers the
 * mutexes that it has taken here (`taken`), in the order of the list. It also remembers what the
 * head led to when each was taken.
 *
 * Mutexes of LMDB and of the program are in the same list, and this file does not see them
 * unlocked. Those between two of ours were taken before the later of the two, so their number can
 * only fall. Where there was none, the links are known. Where there was one, it may have gone; then
 * both of the links across that gap say so. When neither leads to a place where it can lead, the
 * process ends, and the mutexes are left as the kernel would leave them. Where there were several,
 * nothing is known, and the links stay as they are. With another C library, all links stay as they
 * are.
 *
 * `kind` says which steps the library takes, and is set right each time. The library's word for the
 * owner may say that the mutex was given up for good. No process of a pool does that, so such a
 * word is wrong. It is cleared before the mutex is tried, and before it is unlocked.
 *
 * At the unlock, the first word may say that another thread has the mutex, or that no thread has
 * it. `term` tells whether another one has taken it since. If so, both have had the mutex at once.
 * Then it is left to the other thread, so that the next one has it alone, and goes out of this
 * thread's list here. Else the word is made the thread's own again.
 *
 * One gap is left: the few instructions between these looks and the library's own. The kernel
 * follows the links too, when the thread dies, but stores only to words that have the thread's
 * number. If a wrong link hides a mutex from it, no process learns that the owner has died. A wait
 * for that mutex then ends as a wait for a stopped process does.
 */
#include "base/error.h"
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

/* What the library says in place of an owner that died; and of one whose damage was not mended. */
#define OWNER_DEAD INT_MAX
#define NOT_RECOVERABLE (INT_MAX - 1)

static _Thread_local struct {
    /* Of the list, in the thread's own memory; null: not known. */
    struct robust_list_head *head;
    /* The thread's number: the child of a fork has another one, and an empty list. */
    uint32_t tid;
    unsigned count;
    unsigned room; /* 0: `few` has them */
    struct taken *many;
    struct taken few[FEW];
} mine;

/* 0: not known yet. Threads that learn it at once learn the same. */
static int kind;

static __attribute__((noinline)) int learn_mutex_kind(void)
{
    struct shm_mutex mutex;

    if (shm_robust_init(&mutex) == 0)
        hf_store_relaxed(&kind, mutex.robust.__data.__kind); /* relaxed: a value of its own */
    return hf_load_relaxed(&kind);
}

static inline void set_kind(struct shm_mutex *mutex)
{
    int right = hf_load_relaxed(&kind); /* relaxed: a value of its own */

    if (__builtin_expect(!right, 0))
        right = learn_mutex_kind();
    if (__builtin_expect(mutex->robust.__data.__kind != right, 0))
        mutex->robust.__data.__kind = right;
}

static void find_list_head(void)
{
    struct robust_list_head *head = NULL;
    size_t len;

    if (syscall(SYS_get_robust_list, 0, &head, &len) == 0)
        mine.head = head;
}

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

static uint32_t owner_of(const struct shm_mutex *mutex)
{
    return (uint32_t)mutex->robust.__data.__lock & FUTEX_TID_MASK;
}

/* Without memory for it, the mutex counts as one of the program's. */
static __attribute__((noinline)) void remember_slowly(struct shm_mutex *mutex, void *before,
                                                      bool died)
{
    struct taken *new;
    void *below;

    if (!mine.head || without_bit(mine.head->list.next) != link_to(mutex))
        return;
    if (owner_of(mutex) != mine.tid)
        forget_taken();
    mine.tid = owner_of(mutex);
    if (mine.count == (mine.room ? mine.room : FEW) && !grow_room())
        return;
    below = link_below(mine.count);
    new = taken_at(mine.count++);
    *new = (struct taken){mutex, mutex->term, died, NULL};
    if (without_bit(before) != below)
        new->between = without_bit(entry_at(before)->next) == below ? before : &more;
}

/* Remembers a mutex that was just taken. Nearly always the thread has few, and took the last of
 * them just before. */
static inline void remember_taken(struct shm_mutex *mutex, void *before, bool died)
{
    if (__builtin_expect(!mine.room && mine.count < FEW && owner_of(mutex) == mine.tid &&
                             mine.head && mine.head->list.next == link_to(mutex) &&
                             before == link_below(mine.count),
                         1))
        mine.few[mine.count++] = (struct taken){mutex, mutex->term, died, NULL};
    else
        remember_slowly(mutex, before, died);
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

static void set_links_right(unsigned i)
{
    struct entry *entry = entry_at(link_to(taken_at(i)->mutex)), right = right_links(i);

    if (entry->next != right.next)
        entry->next = right.next;
    if (entry->prev != right.prev)
        entry->prev = right.prev;
}

/* Its own links are another thread's by now. */
static void take_out_of_list(unsigned i)
{
    const struct entry right = right_links(i);

    entry_at(right.next)->prev = right.prev;
    entry_at(right.prev)->next = right.next;
}

/* ---- the words that say whose it is ---- */

/* Of a mutex that this thread may not have: a swap, for its owner stores there too. */
static void make_recoverable(struct shm_mutex *mutex)
{
    int *owner = &mutex->robust.__data.__owner;

    if (__builtin_expect(hf_load_acquire(owner) == NOT_RECOVERABLE, 0))
        (void)hf_cas_acq_rel(owner, NOT_RECOVERABLE, 0);
}

/* The word became wrong after the look, and the library has left the mutex locked, in no list. */
static void leave_unrecoverable(struct shm_mutex *mutex)
{
    int *word = &mutex->robust.__data.__lock, was = hf_load_acquire(word);

    if ((was & FUTEX_TID_MASK) == gettid())
        (void)hf_cas_acq_rel(word, was, 0);
}

static bool is_of_another(const struct taken *taken)
{
    return owner_of(taken->mutex) != mine.tid && taken->mutex->term != taken->term;
}

static void make_own(struct shm_mutex *mutex, uint32_t tid)
{
    int *word = &mutex->robust.__data.__lock, was = hf_load_acquire(word);
    int *owner = &mutex->robust.__data.__owner;

    if ((was & FUTEX_TID_MASK) != tid)
        (void)hf_cas_acq_rel(word, was, (int)(tid | (was & FUTEX_WAITERS)));
    if (hf_load_acquire(owner) == OWNER_DEAD)
        (void)hf_cas_acq_rel(owner, OWNER_DEAD, (int)tid);
}

/* ---- the steps ---- */

static __attribute__((noinline)) int not_plainly_taken(struct shm_mutex *mutex, int rc)
{
    if (rc == ENOTRECOVERABLE)
        leave_unrecoverable(mutex);
    return rc == EOWNERDEAD ? EOWNERDEAD : EBUSY;
}

int shm_robust_trylock(struct shm_mutex *mutex)
{
    void *before;
    int rc;

    if (__builtin_expect(!mine.head, 0))
        find_list_head();
    before = mine.head ? mine.head->list.next : NULL;
    set_kind(mutex);
    make_recoverable(mutex);
    rc = pthread_mutex_trylock(&mutex->robust);
    if (__builtin_expect(rc, 0)) {
        rc = not_plainly_taken(mutex, rc);
        if (rc == EBUSY)
            return rc;
    }
    count_term(mutex);
    remember_taken(mutex, before, rc == EOWNERDEAD);
    return rc;
}

/* The library's call would fail where its word is wrong by now. Its step is made up for when the
 * mutex is unlocked. */
void shm_robust_mended(struct shm_mutex *mutex)
{
    for (unsigned i = mine.count; i--;)
        if (taken_at(i)->mutex == mutex)
            taken_at(i)->died = false;
    (void)pthread_mutex_consistent(&mutex->robust);
}

/* Nearly always it was taken last, and is whole and this thread's. Nothing in the list is above
 * it, nor between it and the one below, and the links say so. */
static bool is_plain_top(const struct shm_mutex *mutex)
{
    const struct taken *top;
    const struct entry *entry;

    if (mine.room || !mine.count)
        return false;
    top = &mine.few[mine.count - 1];
    entry = entry_at(link_to(top->mutex));
    return top->mutex == mutex && !top->between && !top->died && owner_of(mutex) == mine.tid &&
           mutex->robust.__data.__owner != OWNER_DEAD &&
           entry->next == link_below(mine.count - 1) && entry->prev == mine.head &&
           mine.head->list.next == (void *)&entry->next;
}

/* False: another thread has it by now. */
static __attribute__((noinline)) bool set_all_right(struct shm_mutex *mutex)
{
    unsigned i = mine.count;
    bool other = false;

    while (i && taken_at(i - 1)->mutex != mutex)
        i--;
    if (i) {
        HF_BUG_ON(taken_at(i - 1)->died);
        other = is_of_another(taken_at(i - 1));
        other ? take_out_of_list(i - 1) : set_links_right(i - 1);
        forget_one(i - 1);
    }
    if (!other)
        make_own(mutex, i ? mine.tid : (uint32_t)gettid());
    return !other;
}

void shm_robust_unlock(struct shm_mutex *mutex)
{
    set_kind(mutex);
    if (__builtin_expect(is_plain_top(mutex), 1))
        mine.count--;
    else if (!set_all_right(mutex))
        return;
    HF_BUG_ON(pthread_mutex_unlock(&mutex->robust) != 0);
}

#else

int shm_robust_trylock(struct shm_mutex *mutex)
{
    int rc = pthread_mutex_trylock(&mutex->robust);

    if (rc != 0 && rc != EOWNERDEAD)
        return EBUSY;
    count_term(mutex);
    return rc;
}

void shm_robust_mended(struct shm_mutex *mutex)
{
    (void)pthread_mutex_consistent(&mutex->robust);
}

void shm_robust_unlock(struct shm_mutex *mutex)
{
    HF_BUG_ON(pthread_mutex_unlock(&mutex->robust) != 0);
}

#endif
