/* SPDX-License-Identifier: MIT */
/*
 * Pins under the engines that count: while it walks, a pin adds 1 to the count of each block. A
 * handle says which run of blocks it counted; a pin in several runs is a hold, which the layout
 * change finds in its tree.
 *
 * A count does not say through which file a block is pinned. So pins are only of blocks that one
 * file has alone: the rule that the kernel has for pages of KSM.
 */
#include "dax/pin_fast.h"
#include "dax/private.h"

#include "base/fork.h"
#include "base/lab.h"
#include "base/may_sleep.h"
#include "sync/counts.h"
#include "sync/sections.h"

#include <errno.h>

#define INLINE inline __attribute__((always_inline))

/* hf_opaque[0]: vnode + 1 (of a pin for writing, else 0) << VNODE_SHIFT | lane << LANE_SHIFT |
 * tags; [1]: pages << PAGES_SHIFT | first block. */
#define VNODE_SHIFT 34
#define LANE_SHIFT 2
#define PAGES_SHIFT 40
#define PAGES_MAX ((UINT64_C(1) << (64 - PAGES_SHIFT)) - 1)
#define BLOCK_MASK ((UINT64_C(1) << PAGES_SHIFT) - 1)

static struct shm_lane *lane_of_pin(const struct shm *shm, const struct hf_pin *pin)
{
    return &shm->lanes[(uint32_t)(pin->hf_opaque[0] >> LANE_SHIFT)];
}

/* As mm_lookup(). The nodes may be another file's by now, and then lie at another level. */
static uint64_t walk_down(const struct shm *shm, uint64_t root, uint64_t page)
{
    uint64_t shift = mm_bits(root), entry = root;

    if (!shift || page >> shift)
        return 0;
    do {
        shift -= MM_BITS;
        /* ENTRY.PUB/p */
        entry = hf_load_acquire(mm_node(shm, entry) + (page >> shift & (SHM_NODE_ENTRIES - 1)));
    } while (entry & MM_NODE && shift);
    return entry & MM_PRESENT ? entry : 0;
}

/* The table of a small file is one node. */
static INLINE uint64_t look_up(const struct shm *shm, const struct shm_vnode *vnode, uint64_t page)
{
    uint64_t root = hf_load_acquire(&vnode->root), entry; /* ENTRY.PUB/p */

    if (__builtin_expect((root - MM_BITS) % (MM_FLAGS + 1) != 0 || page >= SHM_NODE_ENTRIES, 0))
        return walk_down(shm, root, page);
    entry = hf_load_acquire(mm_node(shm, root) + page); /* ENTRY.PUB/p */
    return entry & MM_PRESENT ? entry : 0;
}

static uint64_t block_at(const struct dax *dax, const void *at)
{
    return (uint64_t)((const char *)at - dax->media.base) / HF_BLOCK_BYTES;
}

static void uncount_blocks(struct shm *shm, uint64_t block, uint64_t pages)
{
    for (uint64_t i = 0; i < pages; i++)
        counts_down(shm, block + i);
}

/* Counts the page's block, which lies below `mapped_bytes`. False: it is not there. */
static INLINE bool count_page(struct shm *shm, const struct shm_vnode *vnode, uint64_t page,
                              uint64_t mapped_bytes, bool looks_again, uint64_t *block)
{
    uint64_t entry = look_up(shm, vnode, page);

    HF_LAB_AT(HF_LAB_WALKED);
    *block = entry >> MM_SHIFT;
    if (!entry || (entry & ~MM_FLAGS) >= mapped_bytes)
        return false;
    if (!looks_again) {
        counts_up(shm, *block);
        return true;
    }
    if (!counts_up_unless_frozen(shm, *block))
        return false;
    if (HF_LAB_BROKEN(HF_LAB_NO_SECOND_LOOK) || look_up(shm, vnode, page) == entry)
        return true;
    counts_down(shm, *block);
    return false;
}

/* P3. The number of pieces; or MM_MISS or -E2BIG, and then nothing stays counted. */
static int walk_and_count(struct dax *dax, const struct shm_vnode *vnode, uint64_t first,
                          uint64_t last, struct mm_pieces *pieces)
{
    uint64_t mapped = hf_load_relaxed(&dax->media.mapped_bytes); /* relaxed: only grows */
    bool again = dax->engine->looks_again;
    int rc = MM_MISS;
    uint64_t block;

    for (uint64_t page = first; count_page(dax->shm, vnode, page, mapped, again, &block); page++) {
        if (!mm_piece(pieces, dax->media.base + block * HF_BLOCK_BYTES, 1)) {
            counts_down(dax->shm, block);
            rc = -E2BIG;
            break;
        }
        if (page == last)
            return pieces->count;
    }
    for (int i = 0; i < pieces->count; i++)
        uncount_blocks(dax->shm, block_at(dax, pieces->iov[i].iov_base),
                       pieces->iov[i].iov_len / HF_BLOCK_BYTES);
    return rc;
}

static INLINE void fill_pin(const struct shm *shm, const struct shm_vnode *vnode,
                            struct shm_lane *lane, uint32_t flags, uint64_t block, uint64_t pages,
                            struct hf_pin *pin)
{
    uint64_t at = (uint64_t)shm_lane_index(shm, lane) << LANE_SHIFT;

    if ((flags & (HF_PIN_WRITE | DAX_PIN_COPY)) == HF_PIN_WRITE)
        at |= ((uint64_t)shm_vnode_number(shm, vnode) + 1) << VNODE_SHIFT;
    hf_inc_own(&lane->counted);
    pin->hf_opaque[0] = at | DAX_PIN_HOLD | DAX_PIN_COUNTED;
    pin->hf_opaque[1] = pages << PAGES_SHIFT | block;
    pin->hf_opaque[2] = (uint64_t)(uintptr_t)shm;
}

/* ---- one page: a straight line for each engine ---- */

/* A walk: -1: it cannot begin now, else what its end needs. */
typedef int enter_walk(struct shm *shm, struct shm_lane *lane);
typedef void leave_walk(struct shm *shm, struct shm_lane *lane, int section);

/* `looks_again` and the two functions are constants of the engine. Its walk does not sleep: where
 * it would have to, the longer way goes on. */
static INLINE char *pin_page(const struct dax_line *line, uint64_t off, uint64_t len,
                             uint32_t flags, struct hf_pin *pin, enter_walk *enter,
                             leave_walk *leave, bool looks_again)
{
    const struct shm_lane_of_thread *mine = shm_last_lane;
    const struct shm_vnode *vnode = line->vnode;
    struct shm *shm = mine->shm;
    uint64_t block;
    bool there;
    int section;

    if (__builtin_expect(shm != line->counts, 0)) /* nor is it in a forked child */
        return NULL;
    section = enter(shm, mine->lane);
    if (__builtin_expect(section < 0, 0))
        return NULL;
    there = count_page(shm, vnode, off / HF_BLOCK_BYTES, dax_line_bytes(line), looks_again, &block);
    leave(shm, mine->lane, section);
    if (__builtin_expect(!there, 0))
        return NULL;
    if (__builtin_expect(off + len > hf_load_acquire(&vnode->size), 0)) { /* SIZE.PUB/p */
        counts_down(shm, block);
        return NULL;
    }
    fill_pin(shm, vnode, mine->lane, flags, block, 1, pin);
    return line->base + MM_PRESENT + block * HF_BLOCK_BYTES + off % HF_BLOCK_BYTES;
}

static INLINE int enter_nothing(struct shm *shm, struct shm_lane *lane)
{
    (void)shm, (void)lane;
    return 0;
}

static INLINE void leave_nothing(struct shm *shm, struct shm_lane *lane, int section)
{
    (void)shm, (void)lane, (void)section;
}

static INLINE int enter_rwsem(struct shm *shm, struct shm_lane *lane)
{
    return rwsem_try_enter(shm, lane) ? 0 : -1;
}

static INLINE void leave_section(struct shm *shm, struct shm_lane *lane, int section)
{
    (void)shm;
    section_leave(lane, section);
}

#ifdef HF_HAVE_RCU
static INLINE int begin_rcu(struct shm *shm, struct shm_lane *lane)
{
    return sync_rcu.enter(shm, lane, true);
}

static INLINE void end_rcu(struct shm *shm, struct shm_lane *lane, int section)
{
    sync_rcu.leave(shm, lane, section);
}
#endif

#define LINE_OF(engine, enter, leave, looks_again)                                                 \
    static char *engine(const struct dax_line *line, uint64_t off, uint64_t len, uint32_t flags,   \
                        struct hf_pin *pin)                                                        \
    {                                                                                              \
        return pin_page(line, off, len, flags, pin, enter, leave, looks_again);                    \
    }
LINE_OF(one_by_refcount, enter_nothing, leave_nothing, true)
LINE_OF(one_by_srcu, srcu_enter, leave_section, false)
#ifdef HF_HAVE_RCU
LINE_OF(one_by_rcu, begin_rcu, end_rcu, false)
#endif
#ifdef HF_LAB
LINE_OF(one_by_unpatched, enter_nothing, leave_nothing, false)
#endif

/* The longer way may sleep. */
static char *one_by_rwsem(const struct dax_line *line, uint64_t off, uint64_t len, uint32_t flags,
                          struct hf_pin *pin)
{
    if (!(flags & HF_PIN_NOWAIT))
        hf_may_sleep("hf_pin");
    return pin_page(line, off, len, flags, pin, enter_rwsem, leave_section, false);
}

static dax_pin_one *counted_line(const struct sync_engine *engine)
{
    static const struct {
        const struct sync_engine *engine;
        dax_pin_one *one;
    } lines[] = {
        {&sync_refcount, one_by_refcount},
        {&sync_srcu, one_by_srcu},
        {&sync_percpu_rwsem, one_by_rwsem},
#ifdef HF_HAVE_RCU
        {&sync_rcu, one_by_rcu},
#endif
#ifdef HF_LAB
        {&sync_unpatched, one_by_unpatched},
#endif
    };

    for (unsigned i = 0; i < sizeof lines / sizeof *lines; i++)
        if (lines[i].engine == engine)
            return lines[i].one;
    return NULL;
}

/* ---- any range ---- */

static int pin_counting(struct dax *dax, struct shm_vnode *vnode, const struct dax_request *request,
                        struct hf_pin *pin)
{
    uint64_t first = request_first(request), last = request_last(request);
    uint64_t end = request->off + request->len;
    uint32_t flags = request->flags;
    struct iovec *iov = request->iov;
    const struct sync_engine *engine = dax->engine;
    struct shm *shm = dax->shm;
    struct shm_lane *lane = shm_lane_fast(shm);
    struct mm_pieces pieces = {iov, request->iovcnt, 0};
    int section = 0, count;

    if (!lane && !(flags & HF_PIN_NOWAIT)) {
        hf_may_sleep("hf_pin");
        lane = shm_lane(shm); /* so that this pin can enter(), and others of the thread at once */
    }
    if (!lane || last - first >= PAGES_MAX)
        return MM_MISS;
    if (!dax->stacks) /* else each pin comes here, not only the first */
        shm_lane_use(shm);
    if (engine->enter)
        section = engine->enter(shm, lane, flags & HF_PIN_NOWAIT);
    if (section < 0)
        return MM_MISS;
    count = walk_and_count(dax, vnode, first, last, &pieces);
    if (engine->leave)
        engine->leave(shm, lane, section);
    if (count <= MM_MISS)
        return count;
    /* SIZE.PUB/p. Beyond it, or in several runs: as if it were not there. */
    if (count > 1 || end > hf_load_acquire(&vnode->size)) {
        for (int i = 0; i < count; i++)
            uncount_blocks(shm, block_at(dax, iov[i].iov_base), iov[i].iov_len / HF_BLOCK_BYTES);
        return MM_MISS;
    }
    fill_pin(shm, vnode, lane, flags, block_at(dax, iov->iov_base), last - first + 1, pin);
    mm_trim(&pieces, request->off, request->len);
    return 1;
}

static int publish_counted(struct dax *dax, struct shm_lane *lane, struct shm_vnode *vnode,
                           const struct shm_range *range, const struct mm_pieces *pieces,
                           struct hf_pin *pin)
{
    const struct iovec *piece = pieces->iov;
    uint64_t pages = piece->iov_len / HF_BLOCK_BYTES;

    shm_assert_held(&vnode->mutex);
    if (pieces->count > 1 || pages > PAGES_MAX)
        return holds_publish(dax->shm, lane, vnode, range, NULL, pin);
    for (uint64_t i = 0; i < pages; i++)
        counts_up_locked(dax->shm, block_at(dax, piece->iov_base) + i);
    fill_pin(dax->shm, vnode, lane, SHM_WHO_FLAGS(range->who), block_at(dax, piece->iov_base),
             pages, pin);
    return 0;
}

static __attribute__((noinline)) int unpin_any(struct hf_pin *pin)
{
    struct shm *shm = dax_handle_shm(pin);
    struct shm_lane *lane;
    uint64_t vnode = pin->hf_opaque[0] >> VNODE_SHIFT;
    uint64_t block = pin->hf_opaque[1] & BLOCK_MASK;

    if (!shm)
        return -EINVAL;
    if (shm->fork_count != hf_fork_count)
        return -ECHILD;
    lane = lane_of_pin(shm, pin);
    pin->hf_opaque[2] = 0;
    uncount_blocks(shm, block, pin->hf_opaque[1] >> PAGES_SHIFT);
    hf_fence_light();
    if (vnode) /* of its blocks the pages are not known */
        watch_let_go(shm, shm_key(0, HF_PIN_WRITE, (uint32_t)vnode - 1), 0, DAX_LAST);
    if (lane == shm_lane_fast(shm))
        hf_dec_own(&lane->counted);
    else
        hf_sub_acq_rel(&lane->slow_pins, 1);
    return 0;
}

/* First that of one page, not for writing, by the thread that took it. A second release of a handle
 * is noticed only if it is made with the same variable. */
int pin_counted_unpin(struct hf_pin *pin)
{
    const struct shm_lane_of_thread *mine = shm_last_lane;
    struct shm *shm = mine->shm;

    if (__builtin_expect(!shm || pin->hf_opaque[2] != (uint64_t)(uintptr_t)shm ||
                             pin->hf_opaque[1] >> PAGES_SHIFT != 1 ||
                             pin->hf_opaque[0] >> VNODE_SHIFT ||
                             lane_of_pin(shm, pin) != mine->lane,
                         0))
        return unpin_any(pin);
    pin->hf_opaque[2] = 0;
    counts_down(shm, pin->hf_opaque[1] & BLOCK_MASK);
    hf_fence_light();
    hf_dec_own(&mine->lane->counted);
    return 0;
}

/* Freezes those blocks of the run that are not pinned. */
static int freeze_run(struct dax *dax, const struct meta_extent *run, dax_found_count *found,
                      void *arg)
{
    uint64_t done = 0;
    int rc = 0;

    while (rc == 0 && done < run->count) {
        uint32_t *busy = dax->engine->freeze(dax->shm, run->block + done, run->count - done);

        if (!busy)
            break;
        done = (uint64_t)(busy - dax->shm->counts) - run->block;
        rc = found(arg, run->page + done, busy);
        done++;
    }
    return rc;
}

/* Shared blocks are frozen, and stay so: dax_fault() gives nobody a pin of one. */
static int find_counted(struct dax *dax, const struct shm_vnode *vnode, uint64_t first,
                        uint64_t last, dax_found_count *found, void *arg)
{
    struct meta_extent extent;
    struct meta_txn *txn;
    uint64_t page = first;
    int rc = meta_begin_read(dax->meta, &txn);

    shm_assert_held(&vnode->mutex);
    if (rc)
        return rc;
    while (page <= last && (rc = meta_extent_find(txn, vnode->ino, page, &extent)) == 0) {
        uint64_t end = extent.page + extent.count, skip;

        page = extent.page > page ? extent.page : page;
        if (page > last)
            break;
        skip = page - extent.page;
        end = end - 1 > last ? last + 1 : end;
        extent = (struct meta_extent){page, extent.block + skip, end - page, extent.shared};
        rc = extent.shared ? 0 : freeze_run(dax, &extent, found, arg);
        if (rc)
            break;
        page = end;
    }
    meta_end_read(txn);
    return rc == -ENOENT ? 0 : rc;
}

const struct dax_pinning pinning_counted = {
    .pin = pin_counting,
    .one = counted_line,
    .publish = publish_counted,
    .find = find_counted,
};
