/* SPDX-License-Identifier: MIT */
/*
 * Fetches that are begun now and taken later. A thread of the process runs each as hfc_fetch() runs
 * it: by P1 to P4 in tier_fetch.c. So a process that dies in one, or is stopped, is the same to
 * others as one in hfc_fetch(). What has ended waits in a list, where it holds its object. The
 * descriptor is readable while that list has anything: both change under the mutex.
 *
 * A second fetch of a key that a thread brings already stays in the queue until that one has ended.
 * So one that waits for another takes no thread. FETCH_THREADS bounds how many reads are at the
 * disk together.
 *
 * Locks: the cache's lock is taken by the threads, which do not have the mutex then.
 */
#include "tier.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define FETCH_THREADS 8u
#define FIRST_PIECES 4

struct fetch {
    struct fetch *next;
    uint64_t tag, hash;
    int pieces; /* or -errno, as why says */
    struct iovec *iov;
    struct hfc_ref ref;
    char why[160];
    struct hfc_key key; /* its bytes follow */
    uint8_t bytes[HFC_KEY_MAX];
};

struct fetch_list {
    struct fetch *first, *last;
};

struct fetches {
    struct hfc *cache;
    pthread_mutex_t mutex;
    pthread_cond_t more;
    /* Under the mutex: */
    struct fetch_list queue, ended;
    struct fetch *running[FETCH_THREADS]; /* of each thread */
    pthread_t threads[FETCH_THREADS];
    unsigned started, idle, queued;
    unsigned count; /* begun and not taken */
    int event;      /* -1: nobody has asked for it */
    bool stop;
};

/* ---- lists, under the mutex ---- */

static void append_fetch(struct fetch_list *list, struct fetch *fetch)
{
    fetch->next = NULL;
    if (list->first)
        list->last->next = fetch;
    else
        list->first = fetch;
    list->last = fetch;
}

/* Out of the list; `before` is the one before it, or null. */
static void unlink_fetch(struct fetch_list *list, struct fetch *before, struct fetch *fetch)
{
    if (before)
        before->next = fetch->next;
    else
        list->first = fetch->next;
    if (list->last == fetch)
        list->last = before;
}

static bool is_running(const struct fetches *all, uint64_t hash)
{
    for (unsigned i = 0; i < FETCH_THREADS; i++)
        if (all->running[i] && all->running[i]->hash == hash)
            return true;
    return false;
}

/* The first one whose key no thread brings. */
static struct fetch *next_queued(struct fetches *all)
{
    struct fetch *before = NULL;

    for (struct fetch *fetch = all->queue.first; fetch; before = fetch, fetch = fetch->next) {
        if (is_running(all, fetch->hash))
            continue;
        unlink_fetch(&all->queue, before, fetch);
        all->queued--;
        return fetch;
    }
    return NULL;
}

static void add_ended(struct fetches *all, struct fetch *fetch)
{
    const uint64_t one = 1;

    if (!all->ended.first && all->event >= 0)
        while (write(all->event, &one, sizeof one) < 0 && errno == EINTR)
            ;
    append_fetch(&all->ended, fetch);
}

static void take_ended(struct fetches *all)
{
    uint64_t count;

    unlink_fetch(&all->ended, NULL, all->ended.first);
    all->count--;
    if (!all->ended.first && all->event >= 0)
        while (read(all->event, &count, sizeof count) < 0 && errno == EINTR)
            ;
}

static void free_fetch(struct fetch *fetch)
{
    free(fetch->iov);
    free(fetch);
}

/* ---- a thread ---- */

static void run_fetch(struct hfc *cache, struct fetch *fetch)
{
    int room = FIRST_PIECES, rc = -E2BIG;

    for (; rc == -E2BIG && room < INT_MAX / 2; room *= 2) {
        free(fetch->iov);
        fetch->iov = malloc((size_t)room * sizeof *fetch->iov);
        if (!fetch->iov)
            rc = cache_fail(-ENOMEM, "no memory for the pieces of an object");
        else if (room == FIRST_PIECES) /* the get of hfc_fetch_begin() has found nothing */
            rc = tier_get(cache, &fetch->key, fetch->iov, room, &fetch->ref);
        else
            rc = hfc_fetch(cache, &fetch->key, fetch->iov, room, &fetch->ref);
    }
    fetch->pieces = rc;
    if (rc < 0 && rc != -ENOENT)
        snprintf(fetch->why, sizeof fetch->why, "%s", hfc_detail());
}

static void *run_fetches(void *arg)
{
    struct fetches *all = arg;
    struct fetch *fetch;
    unsigned own = 0;

    pthread_mutex_lock(&all->mutex);
    while (!pthread_equal(all->threads[own], pthread_self()))
        own++;
    while (!all->stop) {
        fetch = next_queued(all);
        if (!fetch) {
            all->idle++;
            pthread_cond_wait(&all->more, &all->mutex);
            all->idle--;
            continue;
        }
        all->running[own] = fetch;
        pthread_mutex_unlock(&all->mutex);
        run_fetch(all->cache, fetch);
        pthread_mutex_lock(&all->mutex);
        all->running[own] = NULL;
        add_ended(all, fetch);
    }
    pthread_mutex_unlock(&all->mutex);
    return NULL;
}

/* Under the mutex: one more if all have work. False: there is none at all. */
static bool start_fetcher(struct fetches *all)
{
    sigset_t signals, before;

    pthread_cond_signal(&all->more);
    if (all->queued <= all->idle || all->started == FETCH_THREADS)
        return true;
    sigfillset(&signals); /* those of the program are its other threads' */
    pthread_sigmask(SIG_SETMASK, &signals, &before);
    if (pthread_create(&all->threads[all->started], NULL, run_fetches, all) == 0)
        all->started++;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return all->started > 0;
}

/* ---- begin and end of all ---- */

int fetches_make(struct hfc *cache)
{
    struct fetches *all = calloc(1, sizeof *all);

    if (!all)
        return cache_fail(-ENOMEM, "no memory for a cache");
    all->cache = cache;
    all->event = -1;
    pthread_mutex_init(&all->mutex, NULL);
    pthread_cond_init(&all->more, NULL);
    cache->fetches = all;
    return 0;
}

void fetches_pause(struct hfc *cache)
{
    struct fetches *all = cache->fetches;

    pthread_mutex_lock(&all->mutex);
    all->stop = true;
    pthread_cond_broadcast(&all->more);
    pthread_mutex_unlock(&all->mutex);
    for (unsigned i = 0; i < all->started; i++)
        pthread_join(all->threads[i], NULL);
    all->started = 0;
    all->stop = false;
}

void fetches_resume(struct hfc *cache)
{
    struct fetches *all = cache->fetches;

    pthread_mutex_lock(&all->mutex);
    if (all->queue.first)
        start_fetcher(all);
    pthread_mutex_unlock(&all->mutex);
}

static void free_fetches(struct fetch *fetch, bool held)
{
    struct fetch *next;

    for (; fetch; fetch = next) {
        next = fetch->next;
        if (held && fetch->pieces > 0)
            hfc_release(&fetch->ref);
        free_fetch(fetch);
    }
}

void fetches_drop(struct hfc *cache)
{
    struct fetches *all = cache->fetches;

    if (!all)
        return;
    free_fetches(all->queue.first, false);
    free_fetches(all->ended.first, true);
    if (all->event >= 0)
        close(all->event);
    pthread_cond_destroy(&all->more);
    pthread_mutex_destroy(&all->mutex);
    free(all);
    cache->fetches = NULL;
}

/* ---- the calls ---- */

static int begin_fetch(struct hfc *cache, const struct hfc_key *key, uint64_t tag)
{
    struct fetches *all = cache->fetches;
    struct fetch *fetch = calloc(1, sizeof *fetch);
    int rc = 0;

    if (!fetch)
        return cache_fail(-ENOMEM, "no memory for a fetch");
    fetch->tag = tag;
    fetch->hash = key_hash(cache, key);
    fetch->key = *key;
    fetch->key.bytes = memcpy(fetch->bytes, key->bytes, key->len);
    pthread_mutex_lock(&all->mutex);
    all->queued++;
    if (all->count == HFC_FETCHES)
        rc = cache_fail(-EAGAIN, "%u fetches are begun: take those that have ended", HFC_FETCHES);
    else if (!start_fetcher(all))
        rc = cache_fail(-ENOMEM, "no thread can be made for a fetch");
    if (rc) {
        all->queued--;
    } else {
        append_fetch(&all->queue, fetch); /* a thread that was woken waits for the mutex */
        all->count++;
    }
    pthread_mutex_unlock(&all->mutex);
    if (rc)
        free_fetch(fetch);
    return rc;
}

int hfc_fetch_begin(struct hfc *cache, const struct hfc_key *key, uint64_t tag, struct iovec *iov,
                    int iovcnt, struct hfc_ref *ref)
{
    int rc = hfc_get(cache, key, iov, iovcnt, ref);

    if (rc != -ENOENT || !tier_may_have(cache, key))
        return rc;
    return begin_fetch(cache, key, tag);
}

int hfc_fetch_next(struct hfc *cache, struct iovec *iov, int iovcnt, struct hfc_fetched *out)
{
    struct fetch *fetch;
    int rc = cache_check(cache);

    if (rc == 0 && (!out || iovcnt < 0 || (iovcnt && !iov)))
        rc = cache_fail(-EINVAL, "out or iov is null, or iovcnt is below 0");
    if (rc)
        return rc;
    pthread_mutex_lock(&cache->fetches->mutex);
    fetch = cache->fetches->ended.first;
    if (fetch && fetch->pieces > iovcnt)
        rc = cache_fail(-E2BIG, "it lies in %d pieces", fetch->pieces);
    else if (fetch)
        take_ended(cache->fetches);
    if (fetch)
        *out = (struct hfc_fetched){.tag = fetch->tag, .pieces = fetch->pieces};
    pthread_mutex_unlock(&cache->fetches->mutex);
    if (rc || !fetch)
        return rc;
    out->ref = fetch->ref;
    if (fetch->pieces > 0)
        memcpy(iov, fetch->iov, (size_t)fetch->pieces * sizeof *iov);
    else
        cache_fail(fetch->pieces, "%s", fetch->why);
    free_fetch(fetch);
    return 1;
}

int hfc_fetch_fd(struct hfc *cache)
{
    struct fetches *all;
    int rc = cache_check(cache);

    if (rc)
        return rc;
    all = cache->fetches;
    pthread_mutex_lock(&all->mutex);
    if (all->event < 0)
        all->event = eventfd(all->ended.first != NULL, EFD_CLOEXEC | EFD_NONBLOCK);
    rc = all->event < 0 ? -errno : all->event;
    pthread_mutex_unlock(&all->mutex);
    return rc < 0 ? cache_fail(rc, "no descriptor: %s", strerror(-rc)) : rc;
}
