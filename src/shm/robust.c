/* SPDX-License-Identifier: MIT */
/*
 * Owns the steps of the C library's robust mutexes that follow words of shared memory. Any process
 * of the pool may have made such a word wrong.
 *
 * The C library keeps a list of the robust mutexes that a thread has, for the kernel, which marks
 * them when the thread dies. Its links lie in the mutexes. To let go of one, the library stores to
 * both of its neighbours, wherever the links lead. So before that the links are compared with what
 * they can be: the head of the list, which is the thread's own memory; another mutex that the
 * thread has from here; or what the head led to when one of these was taken, which may be a mutex
 * of the program or of LMDB. When they lead elsewhere the process ends, and leaves the mutex as the
 * kernel would. `kind` says which steps the library takes, and is set right each time.
 *
 * What is left are the few instructions between this look and the library's own. The kernel follows
 * the links too, when the thread dies, but stores only to words that have the thread's number. If a
 * wrong link hides a mutex from it, nobody learns that its owner has died: a wait for it ends as
 * one for a process that is stopped.
 */
#include "base/error.h"
#include "shm/private.h"

#include <errno.h>
#include <linux/futex.h>
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

#if defined(__GLIBC__) && __WORDSIZE == 64

static _Thread_local struct {
    /* Of the list, in the thread's own memory; null: not known. */
    const struct robust_list_head *head;
    unsigned count;
    struct {
        struct shm_mutex *mutex;
        const void *below; /* what the head led to before */
    } held[SHM_HELD_MAX];
} mine;

static pthread_once_t once = PTHREAD_ONCE_INIT;
static int kind;

static void learn_mutex_kind(void)
{
    struct shm_mutex mutex;

    if (shm_robust_init(&mutex) == 0)
        kind = mutex.robust.__data.__kind;
}

static void find_head(void)
{
    struct robust_list_head *head = NULL;
    size_t len;

    if (syscall(SYS_get_robust_list, 0, &head, &len) == 0)
        mine.head = head;
}

/* The lowest bit of a link says that the mutex inherits priorities. */
static const void *link_of(const void *link)
{
    return (const void *)((uintptr_t)link & ~(uintptr_t)1);
}

static void set_kind(struct shm_mutex *mutex)
{
    pthread_once(&once, learn_mutex_kind);
    if (mutex->robust.__data.__kind != kind)
        mutex->robust.__data.__kind = kind;
}

int shm_robust_trylock(struct shm_mutex *mutex)
{
    const void *below;
    int rc;

    if (!mine.head)
        find_head();
    below = mine.head ? link_of(mine.head->list.next) : NULL;
    set_kind(mutex);
    rc = pthread_mutex_trylock(&mutex->robust);
    if (rc && rc != EOWNERDEAD)
        return rc;
    HF_BUG_ON(mine.count == SHM_HELD_MAX);
    mine.held[mine.count].mutex = mutex;
    mine.held[mine.count++].below = below;
    return rc;
}

static bool may_lead_to(const void *link)
{
    if (link == mine.head)
        return true;
    for (unsigned i = mine.count; i-- > 0;) /* the last to be taken is mostly let go of first */
        if (link == mine.held[i].below || link == &mine.held[i].mutex->robust.__data.__list.__next)
            return true;
    return false;
}

static void check_links(struct shm_mutex *mutex)
{
    const struct __pthread_internal_list *links = &mutex->robust.__data.__list;

    if (!mine.head || (may_lead_to(link_of(links->__next)) && may_lead_to(link_of(links->__prev))))
        return;
    hf_store_release((uint32_t *)&mutex->robust.__data.__lock, (uint32_t)FUTEX_OWNER_DIED);
    hf_bug(__FILE__, __LINE__, "the links of a held mutex were overwritten");
}

int shm_robust_unlock(struct shm_mutex *mutex)
{
    unsigned i = mine.count;

    while (i && mine.held[i - 1].mutex != mutex)
        i--;
    HF_BUG_ON(i == 0);
    set_kind(mutex);
    check_links(mutex);
    for (; i < mine.count; i++)
        mine.held[i - 1] = mine.held[i];
    mine.count--;
    return pthread_mutex_unlock(&mutex->robust);
}

#else

int shm_robust_trylock(struct shm_mutex *mutex)
{
    return pthread_mutex_trylock(&mutex->robust);
}

int shm_robust_unlock(struct shm_mutex *mutex)
{
    return pthread_mutex_unlock(&mutex->robust);
}

#endif
