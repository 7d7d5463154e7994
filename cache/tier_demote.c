/* SPDX-License-Identifier: MIT */
/*
 * From memory to the disk. The process that evicts an object writes it:
 *
 *   D1  under the cache's lock: the range is pinned, blocks of the disk and an entry are taken, and
 *       the word says TIER_WRITING. The object leaves the cache (E1), and E2 finds the pin
 *   D2  a thread of the process checks the bytes and writes them from where they lie
 *   D3  the word becomes TIER_READY, if nobody has cleared it since. Else the key was put or
 *       removed meanwhile, or the entry was given to another
 *   D4  unpin: E3 finds that nobody holds the range
 *
 * A process that is killed leaves a word that says TIER_WRITING, which is a miss, until the blocks
 * are needed. Its pin goes with it. A write of its ring may end later. Then the blocks may get
 * bytes of the range's next object, but no word leads there. If the ring of blocks comes round
 * while a write is on its way, it may destroy a later object. That one's checksum tells it.
 *
 * Nobody waits for the disk to put. What is on its way is bounded for each process, by number and
 * by memory. An eviction that finds no room there goes without a copy, and counts as skipped. So
 * that this is rare, a put evicts a little more than it needs (evict_ahead()).
 */
#include "tier.h"

#include <errno.h>
#include <liburing.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#define HELD_PART 4u /* of the capacity: held by readers, puts, and on its way, of all */
#define SETTLE_HELD 64u

struct slot {
    struct slot *next;
    struct tier_block *block;
    struct tier_found entry;
    struct hf_pin pin;
    bool pinned;
    int pieces;
    struct iovec iov[1 + TIER_PIECES]; /* the block, the object */
    uint64_t pages, disk_bytes;
};

struct tier_io {
    int fd, event;
    const struct hfc *cache;
    struct tier *tier;
    struct io_uring ring; /* the thread's */
    uint64_t woken;       /* what it reads of `event` */
    bool listening;
    pthread_t thread;
    bool started; /* under the cache's lock */
    pthread_mutex_t mutex;
    pthread_cond_t less; /* a slot is free again */
    /* Under the mutex: */
    struct slot *free, *first, *last;
    uint64_t pages;
    unsigned busy; /* slots that are not free */
    bool stop;
    struct slot slots[TIER_SLOTS];
};

/* ---- checksums ---- */

uint64_t tier_check_bytes(const struct iovec *iov, int pieces, uint64_t len)
{
#ifdef HF_CACHE_AVX2
    if (__builtin_cpu_supports("avx2"))
        return tier_sum_avx2(iov, pieces, len);
#endif
    return tier_sum_plain(iov, pieces, len);
}

uint64_t tier_check_block(const struct tier_block *block)
{
    struct tier_block copy;

    memcpy(&copy, block, offsetof(struct tier_block, bytes));
    copy.self = 0;
    return XXH3_64bits(&copy, offsetof(struct tier_block, bytes));
}

/* ---- the thread ---- */

static void give_slot(struct tier_io *io, struct slot *slot)
{
    if (slot->pinned)
        hf_unpin(&slot->pin); /* D4 */
    pthread_mutex_lock(&io->mutex);
    io->pages -= slot->pages;
    io->busy--;
    slot->next = io->free;
    io->free = slot;
    pthread_cond_broadcast(&io->less);
    pthread_mutex_unlock(&io->mutex);
}

static void finish(struct tier_io *io, struct slot *slot, long result)
{
    struct tier *tier = io->tier;

    result = CACHE_IO(false, result);
    CACHE_AT(CACHE_LAB_TIER_WRITTEN);
    if (result == (long)slot->disk_bytes) {
        /* D3. TIER.READY/m: a put that has cleared the word meanwhile wins. Pairs with TIER.READY/p
         * in tier_forget(). Without it: the value of before comes back. */
        if (tier_settle(&slot->entry, TIER_WORD(TIER_POS(slot->entry.word), TIER_READY))) {
            tier_count(&tier->demoted, 1);
            tier_count(&tier->demoted_bytes, slot->entry.len);
        }
    } else {
        tier_settle(&slot->entry, 0);
        tier_failed(tier, result < 0 ? (int)-result : ENOSPC, false);
    }
    give_slot(io, slot);
}

static struct io_uring_sqe *next_sqe(struct tier_io *io)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&io->ring);

    if (!sqe) {
        io_uring_submit(&io->ring);
        sqe = io_uring_get_sqe(&io->ring);
    }
    return sqe;
}

static void write_slot(struct tier_io *io, struct slot *slot)
{
    struct tier_block *block = slot->block;
    const struct iovec here = {block->bytes, block->len};
    struct io_uring_sqe *sqe;

    if (!tier_lasts(io->cache, slot->entry.word)) { /* the ring has come round meanwhile */
        tier_settle(&slot->entry, 0);
        tier_count(&io->tier->skipped, 1);
        give_slot(io, slot);
        return;
    }
    sqe = next_sqe(io);
    if (!sqe) {
        finish(io, slot, -EAGAIN);
        return;
    }
    block->check = slot->pinned ? tier_check_bytes(slot->iov + 1, slot->pieces - 1, block->len)
                                : tier_check_bytes(&here, 1, block->len);
    block->self = tier_check_block(block);
    io_uring_prep_writev(sqe, io->fd, slot->iov, (unsigned)slot->pieces,
                         tier_offset(io->tier, block->pos));
    io_uring_sqe_set_data(sqe, slot);
}

static void listen_again(struct tier_io *io)
{
    struct io_uring_sqe *sqe = io->listening ? NULL : next_sqe(io);

    if (!sqe)
        return;
    io_uring_prep_read(sqe, io->event, &io->woken, sizeof io->woken, 0);
    io_uring_sqe_set_data(sqe, NULL);
    io->listening = true;
}

static void reap(struct tier_io *io)
{
    struct io_uring_cqe *cqe;

    while (io_uring_peek_cqe(&io->ring, &cqe) == 0) {
        struct slot *slot = io_uring_cqe_get_data(cqe);
        int result = cqe->res;

        io_uring_cqe_seen(&io->ring, cqe);
        if (slot)
            finish(io, slot, result);
        else
            io->listening = false;
    }
}

/* False: it is to end, and nothing is left. */
static bool take_queue(struct tier_io *io, struct slot **out)
{
    bool more;

    pthread_mutex_lock(&io->mutex);
    *out = io->first;
    io->first = io->last = NULL;
    more = io->busy || !io->stop;
    pthread_mutex_unlock(&io->mutex);
    return more;
}

static void *write_queue(void *arg)
{
    struct tier_io *io = arg;
    struct slot *slot, *next;

    listen_again(io); /* before the queue is looked at: what comes later wakes it */
    while (take_queue(io, &slot)) {
        for (; slot; slot = next) {
            next = slot->next;
            write_slot(io, slot);
        }
        if (io_uring_submit_and_wait(&io->ring, 1) < 0)
            usleep(1000); /* for lack of memory, perhaps */
        reap(io);
        listen_again(io);
    }
    return NULL;
}

static void wake_writer(struct tier_io *io)
{
    uint64_t one = 1;

    while (write(io->event, &one, sizeof one) < 0 && errno == EINTR)
        ;
}

/* All signals are blocked in it, SIGXFSZ of a write beyond `ulimit -f` too. */
static bool start_writer(struct tier_io *io)
{
    sigset_t all, before;

    if (io->started)
        return true;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    io->started = pthread_create(&io->thread, NULL, write_queue, io) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return io->started;
}

/* ---- its begin and end ---- */

static void free_io(struct tier_io *io)
{
    for (unsigned i = 0; i < TIER_SLOTS; i++)
        free(io->slots[i].block);
    if (io->event >= 0)
        close(io->event);
    free(io);
}

static int make_slots(struct tier_io *io)
{
    for (unsigned i = 0; i < TIER_SLOTS; i++) {
        void *block = NULL;

        if (posix_memalign(&block, CACHE_PAGE, CACHE_PAGE))
            return -ENOMEM;
        memset(block, 0, CACHE_PAGE);
        io->slots[i].block = block;
        io->slots[i].next = io->free;
        io->free = &io->slots[i];
    }
    return 0;
}

int tier_io_make(struct hfc *cache, int fd, struct tier_io **out)
{
    struct tier_io *io = calloc(1, sizeof *io);
    int rc;

    if (!io)
        return cache_fail(-ENOMEM, "second tier: no memory");
    *io = (struct tier_io){.fd = fd,
                           .cache = cache,
                           .tier = cache_tier(cache),
                           .event = eventfd(0, EFD_CLOEXEC),
                           .mutex = PTHREAD_MUTEX_INITIALIZER,
                           .less = PTHREAD_COND_INITIALIZER};
    rc = io->event < 0 ? -errno : make_slots(io);
    rc = rc ? rc : io_uring_queue_init(2 * TIER_SLOTS, &io->ring, 0);
    if (rc) {
        free_io(io);
        return cache_fail(rc, "second tier: no io_uring: %s", strerror(-rc));
    }
    *out = io;
    return 0;
}

int tier_io_fd(const struct tier_io *io)
{
    return io->fd;
}

void tier_close(struct hfc *cache)
{
    struct tier_io *io = cache->tier_io;

    if (!io)
        return;
    if (io->started) {
        pthread_mutex_lock(&io->mutex);
        io->stop = true;
        pthread_mutex_unlock(&io->mutex);
        wake_writer(io);
        pthread_join(io->thread, NULL);
    }
    io_uring_queue_exit(&io->ring);
    close(io->fd);
    free_io(io);
    cache->tier_io = NULL;
}

/* ---- what is evicted: under the cache's lock ---- */

static bool slot_is_free(const struct hfc *cache, const struct tier_io *io)
{
    return io->free && io->pages < cache->capacity_pages / TIER_AHEAD_PART;
}

bool tier_room(const struct hfc *cache)
{
    struct tier_io *io = cache->tier_io;
    bool room;

    if (!io)
        return false;
    pthread_mutex_lock(&io->mutex);
    room = slot_is_free(cache, io);
    pthread_mutex_unlock(&io->mutex);
    return room;
}

/* What waits for its last holder may be free by now, and nobody has looked. */
static bool much_is_held(struct hfc *cache)
{
    const struct run *run = cache_run(cache);
    uint64_t most = cache->capacity_pages / HELD_PART;

    return run->leaving_pages > most &&
           (!settle_leaving(cache, SETTLE_HELD) || run->leaving_pages > most);
}

static struct slot *take_slot(struct hfc *cache)
{
    struct tier_io *io = cache->tier_io;
    struct slot *slot = NULL;

    if (!io || cache->unknown || much_is_held(cache) || !start_writer(io))
        return NULL;
    pthread_mutex_lock(&io->mutex);
    if (slot_is_free(cache, io)) {
        slot = io->free;
        io->free = slot->next;
        io->busy++;
    }
    pthread_mutex_unlock(&io->mutex);
    return slot;
}

/* A small object is copied into the block. A larger one stays pinned where it is. */
static bool hold_object(struct hfc *cache, const struct cell *cell, struct slot *slot)
{
    uint64_t len = cell_len(cell->state, cell->len), at = 0;
    int pieces = hf_pin(cache->data, cell->off, len, HF_PIN_READ | HF_PIN_NOFILL, slot->iov + 1,
                        TIER_PIECES, &slot->pin);

    if (pieces < 0)
        return false;
    slot->iov[0] = (struct iovec){slot->block, CACHE_PAGE};
    slot->pinned = len > TIER_HERE;
    slot->pieces = slot->pinned ? 1 + pieces : 1;
    slot->pages = slot->pinned ? cache_pages(len) : 0;
    slot->disk_bytes = tier_blocks(len) * CACHE_PAGE;
    if (slot->pinned) { /* its last page whole, as a direct write wants it */
        slot->iov[pieces].iov_len = cache_pages(slot->iov[pieces].iov_len) * CACHE_PAGE;
        return true;
    }
    for (int i = 1; i <= pieces; at += slot->iov[i++].iov_len)
        memcpy(slot->block->bytes + at, slot->iov[i].iov_base, slot->iov[i].iov_len);
    hf_unpin(&slot->pin);
    return true;
}

static void queue_slot(struct tier_io *io, struct slot *slot)
{
    pthread_mutex_lock(&io->mutex);
    slot->next = NULL;
    io->pages += slot->pages;
    if (io->first)
        io->last->next = slot;
    else
        io->first = slot;
    io->last = slot;
    pthread_mutex_unlock(&io->mutex);
    wake_writer(io);
}

static void label_block(const struct hfc *cache, const struct hfc_key *key, const struct cell *cell,
                        struct slot *slot)
{
    struct tier_block *block = slot->block;

    block->magic = TIER_BLOCK_MAGIC;
    block->id = cache->seed;
    block->pos = TIER_POS(slot->entry.word);
    block->len = slot->entry.len;
    block->born = cell->born;
    block->space = key->space;
    block->key_len = key->len;
    memset(block->key, 0, sizeof block->key);
    memcpy(block->key, key->bytes, key->len);
}

/* D1 */
static bool begin_writing(struct hfc *cache, const struct hfc_key *key, uint64_t hash,
                          const struct cell *cell)
{
    struct slot *slot = take_slot(cache);
    uint64_t len = cell_len(cell->state, cell->len);

    if (!slot)
        return false;
    slot->pinned = false;
    slot->pages = 0;
    if (!hold_object(cache, cell, slot) || !tier_insert(cache, hash, len, &slot->entry)) {
        give_slot(cache->tier_io, slot);
        return false;
    }
    label_block(cache, key, cell, slot);
    queue_slot(cache->tier_io, slot);
    CACHE_AT(CACHE_LAB_TIER_QUEUED);
    return true;
}

/* Ready, and not among the next to be overwritten. */
static bool is_kept(const struct hfc *cache, uint64_t hash)
{
    const struct tier *tier = cache_tier(cache);
    struct tier_found found;

    return tier_find(cache, hash, &found) && TIER_STATE(found.word) == TIER_READY &&
           tier->head - TIER_POS(found.word) <= tier->blocks / 2;
}

void tier_demote(struct hfc *cache, uint32_t index)
{
    struct tier *tier = cache_tier(cache);
    const struct cell *cell = cache_cell(cache, index);
    uint8_t bytes[HFC_KEY_MAX];
    struct hfc_key key = {.bytes = bytes, .space = cell->space};
    uint64_t hash;

    if (!tier || !key_copy(cache, cell, bytes, &key.len))
        return;
    hash = key_hash(cache, &key);
    if (is_kept(cache, hash))
        tier_count(&tier->kept, 1);
    else if (!begin_writing(cache, &key, hash, cell))
        tier_count(&tier->skipped, 1);
}

bool tier_wait(struct hfc *cache, bool all)
{
    struct tier_io *io = cache->tier_io;
    bool waited = false;

    if (!io)
        return false;
    pthread_mutex_lock(&io->mutex);
    while (io->busy && (all || !slot_is_free(cache, io))) {
        waited = true;
        pthread_cond_wait(&io->less, &io->mutex);
    }
    pthread_mutex_unlock(&io->mutex);
    return waited;
}
