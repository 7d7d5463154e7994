/* SPDX-License-Identifier: MIT */
/*
 * Watching: a process that keeps copies of a file's content is told what others change
 * (hf_watch()).
 *
 * A writer changes bytes, then reads SHM_WATCHED. A watcher sets SHM_WATCHED, makes a heavy
 * barrier, then reads bytes. So either the writer sees that it has to tell, or the watcher reads
 * what is new. The argument is that for a pin (src/sync/slots.c): the bytes are in the place of the
 * slot, the flag in that of the entries.
 *
 * A report is made first, and then waited for, with nothing held. Only the first writer waits for a
 * watcher that does not come back in time. Nobody knows what a process had changed when it was
 * killed, so the reaper reports all that it had open or pinned.
 *
 * HF_WATCH_STORES: programs store into the copies of such a process, a page at a time (as into
 * shared mappings of the mount). The process writes back whole pages, and with them old bytes over
 * what others have changed meanwhile. So a writer asks such watchers before it changes a page, and
 * waits for them. They write back what was stored, and drop the copy. One gap is left: a copy may
 * be made and stored into between the answer and the change; hf_watch(3) says so. The writer waits
 * with nothing held, so the write-back finds its locks free. A write-back asks no watcher
 * (HF_CLIENT_WRITE_BACK), and waits for none while its own process is at a report. So a writer
 * waits for watchers, watchers wait for write-backs, and write-backs wait for locks alone.
 */
#include "dax/client.h"
#include "dax/pin_fast.h"
#include "dax/private.h"

#include "base/error.h"

#include <errno.h>
#include <time.h>

/* How often a waiting writer looks whether the watcher has died, and a watcher whether a writer
 * has. */
#define LOOK_WRITER_NS (10 * HF_NS_PER_MS)
#define LOOK_WATCHER_NS HF_NS_PER_SEC
/* How long a watcher waits for a report that has its ticket but is not written yet. */
#define LATE_NS HF_NS_PER_MS

/* --- watching --- */

int dax_watch(struct dax *dax, struct shm_vnode *vnode, int *watches, int on)
{
    const struct timespec moment = {.tv_nsec = DAX_TICK_FENCES_NS};
    bool fences_only = hf_load_acquire(&dax->shm->run->fences_only);
    int rc;

    shm_assert_none_held();
    rc = dax_lock_any(dax, vnode);
    if (rc && on)
        return rc;
    if (rc) {
        shm_watch_leave(dax->shm, vnode, *watches == HF_WATCH_STORES);
        *watches = 0;
        return 0;
    }
    if ((*watches == HF_WATCH_STORES) != (on == HF_WATCH_STORES))
        shm_ask(dax->shm, vnode, on == HF_WATCH_STORES ? 1 : -1);
    if (!*watches != !on) {
        /* WATCH.SB/m: the flag is set; after the barrier a writer sees it, or the watcher sees what
         * the writer has changed. Pairs with WATCH.SB/p in dax_changed(). Without it: the watcher
         * reads old bytes, and is not told of new ones. Under the mutex, so that the next handle's
         * watching finds it done. */
        if (shm_watch(dax->shm, vnode, on ? 1 : -1) && !fences_only &&
            !HF_LAB_BROKEN(HF_LAB_NO_WATCH_BARRIER))
            sync_heavy_barrier(dax->shm);
    }
    *watches = on;
    dax_unlock(dax, vnode);
    if (on && fences_only)
        nanosleep(&moment, NULL); /* no barrier to be had: but no store takes so long to be seen */
    return 0;
}

/* --- telling --- */

static bool is_late(const struct shm_watcher *watcher, uint32_t came_back)
{
    return hf_load_acquire(&watcher->late) == came_back + 1;
}

/* A write-back waits for no watcher while another thread of its process is at a report: two such
 * processes would wait for each other. */
static bool gives_back(const struct shm *shm)
{
    const struct shm_watcher *watcher = &shm->watchers[shm->self];

    return dax_client.flags & HF_CLIENT_WRITE_BACK &&
           hf_load_acquire(&watcher->dealt_with) != hf_load_acquire(&watcher->taken);
}

/* Waits until the watcher has dealt with the reports from before the call, has stopped watching, or
 * is late. It stops watching before it closes the file, and comes back when it has closed it. */
static void await(struct dax *dax, const struct shm_vnode *vnode, uint32_t process, bool to_close,
                  uint64_t until_ns)
{
    struct shm *shm = dax->shm;
    struct shm_watcher *watcher = &shm->watchers[process];
    uint64_t ticket = hf_load_acquire(&watcher->reported), now;

    for (;;) {
        uint32_t came_back = hf_load_acquire(&watcher->came_back);

        /* WATCH.DONE/p: what the watcher did with the report happens before the change returns.
         * Pairs with WATCH.DONE/m in come_back(). Without it: the caller tells another that it has
         * changed the file, and that one still finds the watcher's old copy. */
        if (hf_load_acquire(&watcher->dealt_with) >= ticket || is_late(watcher, came_back))
            return;
        /* WATCH.CLOSE/p: it stops watching before it closes. Pairs with WATCH.CLOSE/m in
         * shm_vnode_put(). Without it: the file is deleted by its last close, after the call that
         * took its last name has returned. */
        if (!shm_is_watched_by(shm, vnode, process) &&
            !(to_close && !HF_LAB_BROKEN(HF_LAB_NO_CLOSE_WAIT) &&
              shm_vnode_is_open_by(shm, vnode, process)))
            return;
        if (gives_back(shm)) /* it may have begun since the last look */
            return;
        now = hf_now_ns();
        if (now >= until_ns) {
            hf_store_release(&watcher->late, came_back + 1);
            hf_futex_wake_all(&watcher->came_back); /* the others that wait for it */
            return;
        }
        HF_LAB_AT(HF_LAB_AWAITS);
        now += LOOK_WRITER_NS;
        if (hf_futex_wait(&watcher->came_back, came_back, now < until_ns ? now : until_ns) ==
                -ETIMEDOUT &&
            !shm_process_alive(shm, process))
            shm_reap(shm);
    }
}

static void settle_watchers(struct dax *dax, struct shm_vnode *vnode)
{
    if (!dax_lock_moment(dax, vnode))
        return;
    shm_watch_settle(dax->shm, vnode);
    dax_unlock(dax, vnode);
}

void dax_report(struct dax *dax, struct shm_vnode *vnode, uint64_t first, uint64_t last)
{
    struct shm *shm = dax->shm;
    uint32_t process = shm_watcher_from(shm, vnode, 0);
    uint64_t until_ns = hf_now_ns() + HF_WATCH_WAIT_NS;

    if (process == SHM_NONE) { /* they have died */
        settle_watchers(dax, vnode);
        return;
    }
    shm_report(shm, vnode, first, last, shm->self);
    for (; process != SHM_NONE; process = shm_watcher_from(shm, vnode, process + 1))
        if (process != shm->self)
            await(dax, vnode, process, false, until_ns);
}

/* All are asked first, then waited for. */
void dax_ask(struct dax *dax, struct shm_vnode *vnode, uint64_t first, uint64_t last)
{
    struct shm *shm = dax->shm;
    uint64_t until_ns = hf_now_ns() + HF_WATCH_WAIT_NS;
    uint32_t process, asked = shm_asker_from(shm, vnode, 0);

    if (dax_client.flags & HF_CLIENT_WRITE_BACK)
        return;
    if (asked == SHM_NONE)
        settle_watchers(dax, vnode);
    for (process = asked; process != SHM_NONE; process = shm_asker_from(shm, vnode, process + 1))
        if (process != shm->self)
            shm_report_to(shm, process, vnode, first, last);
    for (process = asked; process != SHM_NONE; process = shm_asker_from(shm, vnode, process + 1))
        if (process != shm->self)
            await(dax, vnode, process, false, until_ns);
}

/* One after the other: a process that has closed the file is in no list any more. */
void dax_gone(struct dax *dax, struct shm_vnode *vnode)
{
    struct shm *shm = dax->shm;
    uint64_t until_ns = hf_now_ns() + HF_WATCH_WAIT_NS;
    uint32_t process = 0;

    shm_assert_none_held();
    while ((process = shm_watcher_from(shm, vnode, process)) != SHM_NONE) {
        if (process != shm->self) {
            shm_report_to(shm, process, vnode, 0, DAX_LAST);
            if (hf_now_ns() < until_ns) /* earlier ones took the time: this one is not late */
                await(dax, vnode, process, true, until_ns);
        }
        process++;
    }
}

/* The pin of hf_write() is part of the write's own report. */
void watch_let_go(struct shm *shm, uint64_t key, uint64_t first, uint64_t last)
{
    struct shm_vnode *vnode = shm_vnode_of_key(shm, key);

    if ((SHM_KEY_FLAGS(key) & (HF_PIN_WRITE | DAX_PIN_COPY)) == HF_PIN_WRITE &&
        hf_load_acquire(&vnode->waiters) & SHM_WATCHED) /* WATCH.SB/p, by the fence of U2 */
        shm_report(shm, vnode, first, last, shm->self);
}

void watch_let_go_slot(struct shm *shm, uint64_t key, const uint64_t *word)
{
    uint64_t first, last;

    slots_pages_left(shm, word, key, &first, &last);
    watch_let_go(shm, key, first, last);
}

/* --- being told --- */

static void come_back(struct shm_watcher *watcher)
{
    /* WATCH.DONE/m: what was reported has been dealt with. Pairs with WATCH.DONE/p in await(). */
    hf_store_release(&watcher->dealt_with, watcher->taken);
    hf_add_acq_rel(&watcher->came_back, 1);
    hf_futex_wake_all(&watcher->came_back);
}

static int fill_report(const struct shm *shm, uint32_t index, uint64_t first, uint64_t last,
                       struct hf_watch_report *out)
{
    uint64_t ino = index < shm->limits.vnodes ? hf_load_acquire(&shm->vnodes[index].ino) : 0;

    if (!ino) /* closed meanwhile */
        return 0;
    out->ino = ino;
    out->off = first * HF_BLOCK_BYTES;
    out->len = last == DAX_LAST ? UINT64_MAX - out->off : (last - first + 1) * HF_BLOCK_BYTES;
    return 1;
}

/* 1: *out is the next report. 0: there is none, or one is being written (*late_ns: since when). */
static int next_report(struct shm *shm, uint64_t *late_ns, struct hf_watch_report *out)
{
    uint64_t first, last;
    uint32_t index;

    for (;;) {
        switch (shm_report_take(shm, *late_ns && hf_now_ns() - *late_ns >= LATE_NS, &index, &first,
                                &last)) {
        case SHM_REPORT_ONE:
            if (fill_report(shm, index, first, last, out))
                return 1;
            continue;
        case SHM_REPORT_LOST:
            *out = (struct hf_watch_report){.len = UINT64_MAX};
            return 1;
        case SHM_REPORT_LATE:
            *late_ns = *late_ns ? *late_ns : hf_now_ns();
            return 0;
        default:
            *late_ns = 0;
            return 0;
        }
    }
}

int dax_watch_next(struct dax *dax, uint64_t timeout_ns, struct hf_watch_report *out)
{
    struct shm_watcher *watcher = &dax->shm->watchers[dax->shm->self];
    uint64_t now = hf_now_ns(), late_ns = 0;
    uint64_t until_ns = timeout_ns < HF_NEVER - now ? now + timeout_ns : HF_NEVER;

    come_back(watcher);
    for (;;) {
        /* REPORT.WAKE/p: read before it looks; what is reported later finds another number to sleep
         * on. Pairs with REPORT.WAKE/m in add_range(). */
        uint32_t seq = hf_load_acquire(&watcher->report_seq);
        uint64_t sleep_ns;

        if (next_report(dax->shm, &late_ns, out))
            return 1;
        now = hf_now_ns();
        if (now - watcher->looked_ns >= LOOK_WATCHER_NS) {
            watcher->looked_ns = now;
            shm_reap(dax->shm);
            continue;
        }
        if (now >= until_ns && !late_ns)
            return 0;
        sleep_ns = watcher->looked_ns + LOOK_WATCHER_NS;
        sleep_ns = late_ns ? late_ns + LATE_NS : sleep_ns < until_ns ? sleep_ns : until_ns;
        if (hf_futex_wait(&watcher->report_seq, seq, sleep_ns) == -EINTR)
            return hf_fail(EINTR, "interrupted by a signal while nothing was reported");
    }
}
