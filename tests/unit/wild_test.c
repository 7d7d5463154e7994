/* SPDX-License-Identifier: MIT */
/*
 * Words in shared memory that another process of the pool has made wrong. An entry of a page table
 * may lead anywhere. Still no call of this process touches memory outside the pool, or goes on for
 * ever. tests/fuzz/live.c makes any word wrong; here is each kind once, with what comes of it.
 */
#include "pool/pool.h"
#include "mm/mm.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "anonymous_pool.h"

#define PAGES 4u
#define FILE_BYTES (PAGES * HF_BLOCK_BYTES)

static int open_small(void **state)
{
    return open_pool_of(state, 8 << 20);
}

/* A pool that something is held in for good. */
static int leave_pool(void **state)
{
    (void)state;
    return 0;
}

/* Writes `entry` to every page of the file, as found: each a page further where it is a block. */
static void make_wild(struct hf_file *file, uint64_t entry)
{
    struct shm *shm = file->fs->dax.shm;
    uint64_t *node = mm_node(shm, file->vnode->root);

    for (unsigned i = 0; i < PAGES; i++)
        hf_store_release(&node[i], entry + (uint64_t)i * HF_BLOCK_BYTES);
}

static void expect_inside(const struct hf_file *file, const struct iovec *iov, int count)
{
    const struct media *media = &file->fs->dax.media;

    for (int i = 0; i < count; i++) {
        assert_true((char *)iov[i].iov_base >= media->base);
        assert_true((char *)iov[i].iov_base + iov[i].iov_len <= media->base + media->mapped_bytes);
    }
}

static void try_everything(struct hf_file *file, uint64_t entry, const char *content)
{
    char buf[FILE_BYTES];
    struct iovec iov[PAGES];
    struct hf_pin pin;

    for (uint64_t pages = 1; pages <= PAGES; pages++) {
        int count;

        make_wild(file, entry);
        count = hf_pin(file, 0, pages * HF_BLOCK_BYTES, HF_PIN_WRITE, iov, PAGES, &pin);
        assert_true(count > 0);
        expect_inside(file, iov, count);
        assert_int_equal(hf_unpin(&pin), 0);
    }
    make_wild(file, entry);
    assert_int_equal(hf_read(file, buf, sizeof buf, 0), sizeof buf);
    make_wild(file, entry);
    assert_int_equal(hf_write(file, content, sizeof buf, 0), sizeof buf);
    assert_int_equal(hf_truncate(file, 0, NULL), 0);
    assert_int_equal(hf_write(file, content, sizeof buf, 0), sizeof buf);
    assert_int_equal(hf_pin(file, 0, sizeof buf, HF_PIN_READ, iov, PAGES, &pin) > 0, 1);
    assert_int_equal(hf_unpin(&pin), 0);
}

static void entries_that_lead_outside(void **state)
{
    struct hf_pool *pool = *state;
    const struct media *media = &pool->fs.dax.media;
    char content[FILE_BYTES], *victim;
    struct hf_file *file;

    memset(content, 'c', sizeof content);
    victim = mmap(NULL, FILE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(victim, MAP_FAILED);
    memset(victim, 'v', FILE_BYTES);
    assert_int_equal(hf_open(pool, "/file", O_RDWR | O_CREAT, 0600, &file), 0);
    assert_int_equal(hf_write(file, content, sizeof content, 0), sizeof content);
    assert_int_equal(hf_read(file, content, sizeof content, 0), sizeof content);

    /* the victim, below or above the pool, wherever it lies; the pool's end; the end of all
     * addresses */
    const uint64_t to[] = {(uintptr_t)victim - (uintptr_t)media->base, media->mapped_bytes,
                           media->mapped_bytes - HF_BLOCK_BYTES, -(uint64_t)HF_BLOCK_BYTES,
                           UINT64_C(1) << 63};

    for (unsigned i = 0; i < sizeof to / sizeof *to; i++)
        try_everything(file, to[i] | MM_PRESENT, content);
    for (unsigned i = 0; i < FILE_BYTES; i++)
        assert_int_equal(victim[i], 'v');
    assert_int_equal(munmap(victim, FILE_BYTES), 0);
    assert_int_equal(hf_close(file), 0);
}

static int count_pin(void *arg, const struct hf_pin_info *info)
{
    (void)info;
    ++*(unsigned *)arg;
    return 0;
}

static void look_at_pins(struct hf_pool *pool)
{
    struct hf_pool_info info = {.size = sizeof info};
    unsigned count = 0;

    assert_int_equal(hf_pins(pool, count_pin, &count), 0);
    assert_int_equal(hf_pool_info(pool, &info), 0);
}

/* How far the tables are used: no call goes past their ends, and their limits are those that were
 * found when the pool was opened. */
static void marks_past_the_tables(void **state)
{
    struct hf_pool *pool = *state;
    struct shm_run *run = pool->fs.dax.shm->run;
    const struct hf_policy detach = {.kind = HF_POLICY_DETACH};
    char content[FILE_BYTES] = "";
    struct iovec iov[PAGES];
    struct hf_file *file;
    struct hf_pin pin;

    assert_int_equal(hf_open(pool, "/file", O_RDWR | O_CREAT, 0600, &file), 0);
    assert_int_equal(hf_write(file, content, sizeof content, 0), sizeof content);
    run->limits = (struct shm_limits){.processes = UINT32_MAX,
                                      .lanes = UINT32_MAX,
                                      .vnodes = UINT32_MAX,
                                      .holds = UINT32_MAX,
                                      .nodes = UINT32_MAX,
                                      .limit_blocks = UINT64_MAX};
    run->bytes = run->hash_mask = UINT32_MAX;
    run->lanes_used = run->vnodes_high = run->holds_high = run->nodes_high = UINT32_MAX;
    assert_true(hf_pin(file, 0, sizeof content, HF_PIN_READ, iov, PAGES, &pin) > 0);
    assert_int_equal(hf_truncate(file, 0, &detach), 0);
    look_at_pins(pool);
    assert_int_equal(hf_unpin(&pin), 0);
    assert_int_equal(hf_write(file, content, sizeof content, 0), sizeof content);
    assert_int_equal(hf_truncate(file, 0, NULL), 0);
    look_at_pins(pool);
    assert_int_equal(hf_close(file), 0);
    assert_int_equal(hf_unlink(pool, "/file", NULL), 0);
}

/* ---- links and indices ---- */

static struct hf_file *make_file(struct hf_pool *pool, const char *path)
{
    static const char content[FILE_BYTES] = "content";
    struct hf_file *file;

    assert_int_equal(hf_open(pool, path, O_RDWR | O_CREAT, 0600, &file), 0);
    assert_int_equal(hf_write(file, content, sizeof content, 0), sizeof content);
    return file;
}

static void expect_content(struct hf_file *file)
{
    char content[FILE_BYTES];

    assert_int_equal(hf_read(file, content, sizeof content, 0), sizeof content);
    assert_string_equal(content, "content");
}

static void expect_works(struct hf_file *file)
{
    struct iovec iov[PAGES];
    struct hf_pin pin;
    int count;

    for (uint64_t pages = 1; pages <= PAGES; pages += PAGES - 1) {
        count = hf_pin(file, 0, pages * HF_BLOCK_BYTES, HF_PIN_WRITE, iov, PAGES, &pin);
        assert_true(count > 0);
        expect_inside(file, iov, count);
        assert_int_equal(hf_unpin(&pin), 0);
    }
    expect_content(file);
}

/* A node of a table that leads to itself at each page, under roots of all heights. */
static void tables_that_lead_round(void **state)
{
    struct hf_file *file = make_file(*state, "/file");
    struct shm *shm = file->fs->dax.shm;

    for (uint64_t bits = 0; bits <= MM_FLAGS; bits++) {
        uint64_t root = file->vnode->root & ~MM_FLAGS, *node;
        struct iovec iov[PAGES];
        struct hf_pin pin;
        int count;

        expect_content(file);
        root = file->vnode->root & ~MM_FLAGS;
        node = mm_node(shm, root);
        for (unsigned i = 0; i < SHM_NODE_ENTRIES; i++)
            node[i] = root | MM_NODE;
        file->vnode->root = root | bits;
        count = hf_pin(file, 0, bits % 2 ? FILE_BYTES : 10, HF_PIN_READ, iov, PAGES, &pin);
        assert_true(count > 0 || count == -ENOMEM);
        expect_inside(file, iov, count);
        if (count > 0)
            assert_int_equal(hf_unpin(&pin), 0);
        assert_int_equal(hf_fallocate(file, HF_FALLOC_PUNCH_HOLE | HF_FALLOC_KEEP_SIZE,
                                      2 * HF_BLOCK_BYTES, HF_BLOCK_BYTES, NULL),
                         0);
        if (bits > 64)
            bits += 61;
    }
    assert_int_equal(hf_truncate(file, 0, NULL), 0);
    assert_int_equal(hf_close(file), 0);
}

/* Of the slot, the vnode and the lane: the memory before and after what is this process's own is
 * looked at by a sanitizer. */
static void numbers_past_the_tables(void **state)
{
    struct hf_file *file = make_file(*state, "/file"), *again;
    struct shm *shm = file->fs->dax.shm;
    struct shm_lane *lane = shm_lane(shm);
    struct iovec iov[PAGES];
    struct hf_pin pins[3];

    for (unsigned hint = 0; hint < 256; hint++) {
        lane->hint = (uint8_t)hint;
        expect_works(file);
    }
    lane->hint = 0;
    file->vnode->index = UINT64_MAX - 5;
    lane->generation = UINT64_MAX / 7;
    for (unsigned i = 0; i < 3; i++)
        assert_true(hf_pin(file, 0, 10, HF_PIN_WRITE, iov, PAGES, &pins[i]) > 0);
    file->vnode->waiters = UINT32_MAX;
    assert_int_equal(hf_watch(file, 1), 0);
    look_at_pins(*state);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(hf_unpin(&pins[i]), 0);
    assert_int_equal(hf_open(*state, "/file", O_RDWR, 0, &again), 0);
    expect_content(again);
    assert_int_equal(hf_watch(again, 1), 0);
    assert_int_equal(hf_close(again), 0);
    assert_int_equal(hf_fsync(file), 0);
    assert_int_equal(hf_close(file), 0);
    assert_int_equal(hf_unlink(*state, "/file", NULL), 0);
}

static void chains_that_do_not_end(void **state)
{
    struct hf_file *file = make_file(*state, "/file"), *again;
    struct shm *shm = file->fs->dax.shm;
    uint32_t mine = (uint32_t)file->vnode->index + 1;
    const uint32_t heads[] = {mine, UINT32_MAX, shm->limits.vnodes + 1, 0};

    for (unsigned i = 0; i < sizeof heads / sizeof *heads; i++) {
        for (uint32_t at = 0; at <= shm->hash_mask; at++)
            shm->hash[at] = heads[i];
        file->vnode->hash_next = mine;
        assert_int_equal(hf_close(make_file(*state, "/other")), 0);
        assert_int_equal(hf_unlink(*state, "/other", NULL), 0);
        if (heads[i]) { /* else nothing shows that the chains are wrong */
            assert_int_equal(hf_open(*state, "/file", O_RDWR, 0, &again), 0);
            assert_ptr_equal(again->vnode, file->vnode);
            assert_int_equal(hf_close(again), 0);
        }
    }
    shm->hash[0] = UINT32_MAX;
    assert_int_equal(hf_close(file), 0);
}

#define LEASES 8u

static void take_leases(struct hf_file *file, struct hf_lease leases[LEASES])
{
    struct iovec iov[PAGES];

    for (unsigned i = 0; i < LEASES; i++)
        assert_int_equal(hf_lease(file, i % PAGES * HF_BLOCK_BYTES, HF_BLOCK_BYTES, NULL, iov,
                                  PAGES, &leases[i]),
                         1);
}

static void spoil_links(struct shm *shm, struct shm_vnode *vnode, uint32_t to)
{
    for (uint32_t i = 0; i < shm_holds_high(shm); i++)
        shm->holds[i].left = shm->holds[i].right = to;
    vnode->released = to;
}

static int punch_page(struct hf_file *file, unsigned page)
{
    const struct hf_policy nowait = {.kind = HF_POLICY_NOWAIT};

    return hf_fallocate(file, HF_FALLOC_PUNCH_HOLE | HF_FALLOC_KEEP_SIZE, page * HF_BLOCK_BYTES,
                        HF_BLOCK_BYTES, &nowait);
}

static void expect_all_held(struct hf_file *file)
{
    for (unsigned page = 0; page < PAGES; page++)
        assert_int_equal(punch_page(file, page), -EBUSY);
}

/* Each link of the tree and of the stack leads up, to itself, or outside. */
static void trees_of_wrong_links(void **state)
{
    const struct hf_policy nowait = {.kind = HF_POLICY_NOWAIT};
    struct hf_file *file = make_file(*state, "/file");
    struct shm *shm = file->fs->dax.shm;
    struct hf_lease leases[LEASES];
    const uint32_t to[] = {0, 1, LEASES - 1, shm->limits.holds, SHM_NONE - 1, SHM_NONE};

    for (unsigned i = 0; i < sizeof to / sizeof *to; i++) {
        take_leases(file, leases);
        for (unsigned page = 0; page < PAGES; page++) {
            spoil_links(shm, file->vnode, to[i]);
            file->vnode->hold_root = to[i];
            assert_int_equal(punch_page(file, page), -EBUSY);
        }
        assert_int_equal(hf_lease_release(&leases[0]), 0);
        for (unsigned k = 1; k < LEASES; k++) {
            assert_int_equal(hf_truncate(file, 0, &nowait), -EBUSY);
            assert_int_equal(hf_lease_release(&leases[k]), 0);
        }
        assert_int_equal(hf_truncate(file, 0, &nowait), 0);
        assert_int_equal(hf_close(file), 0);
        file = make_file(*state, "/file");
    }
    assert_int_equal(hf_close(file), 0);
}

static void spoil_word(struct shm_hold *hold, unsigned word, uint32_t to)
{
    if (word == 0)
        hold->left = to;
    else if (word == 1)
        hold->right = to;
    else if (word == 2)
        hold->max_last = to;
    else
        hold->sum = to;
}

/* One word is wrong, and may lead where it could lead. The tree is changed before it is looked
 * at, or not. */
static void trees_of_one_wrong_word(void **state)
{
    struct hf_file *file = make_file(*state, "/file");
    struct shm *shm = file->fs->dax.shm;
    struct hf_lease leases[LEASES], more;
    struct iovec iov[PAGES];

    take_leases(file, leases);
    for (unsigned way = 0; way < LEASES * (LEASES + 1) * 4 * 3; way++) {
        uint32_t value = way / LEASES % (LEASES + 1), to = value == LEASES ? SHM_NONE : value;
        unsigned then = way / LEASES / (LEASES + 1) / 4;

        spoil_word(&shm->holds[way % LEASES], way / LEASES / (LEASES + 1) % 4, to);
        if (then) {
            assert_int_equal(hf_lease(file, (then == 1 ? 0 : PAGES - 1) * HF_BLOCK_BYTES,
                                      HF_BLOCK_BYTES, NULL, iov, PAGES, &more),
                             1);
            assert_int_equal(hf_lease_release(&more), 0);
        }
        expect_all_held(file);
    }
    for (uint32_t to = 0; to <= LEASES; to++) {
        file->vnode->hold_root = to == LEASES ? SHM_NONE : to;
        expect_all_held(file);
    }
    for (unsigned i = 0; i < LEASES; i++)
        assert_int_equal(hf_lease_release(&leases[i]), 0);
    for (unsigned page = 0; page < PAGES; page++)
        assert_int_equal(punch_page(file, page), 0);
    assert_int_equal(hf_close(file), 0);
}

/* The stack leads to a hold of another file, which stays on its own. */
static void stack_of_another_file(void **state)
{
    const struct hf_policy nowait = {.kind = HF_POLICY_NOWAIT};
    struct hf_file *file = make_file(*state, "/file"), *other = make_file(*state, "/other");
    struct shm *shm = file->fs->dax.shm;
    struct hf_lease leases[LEASES], others[LEASES];
    uint64_t before = shm->run->holds_used;

    take_leases(file, leases);
    take_leases(other, others);
    for (unsigned i = 0; i < LEASES; i++)
        assert_int_equal(hf_lease_release(&others[i]), 0);
    assert_int_not_equal(other->vnode->released, SHM_NONE);
    file->vnode->released = other->vnode->released;
    assert_int_equal(hf_truncate(file, 0, &nowait), -EBUSY);
    assert_int_equal(shm->run->holds_used, before + 2 * LEASES);
    for (unsigned i = 0; i < LEASES; i++)
        assert_int_equal(hf_lease_release(&leases[i]), 0);
    assert_int_equal(hf_truncate(other, 0, &nowait), 0);
    assert_int_equal(hf_truncate(file, 0, &nowait), 0);
    assert_int_equal(shm->run->holds_used, before);
    assert_int_equal(hf_close(other), 0);
    assert_int_equal(hf_close(file), 0);
}

static uint32_t count_holds(const struct shm *shm)
{
    uint32_t count = 0;

    for (uint32_t i = 0; i < shm_holds_high(shm); i++)
        count += SHM_HOLD_KIND(shm->holds[i].state) != SHM_HOLD_FREE;
    return count;
}

/* The link at each place of the stack leads to each hold, outside and nowhere. What was below it is
 * free all the same, and what is held stays. */
static void stack_that_is_cut(void **state)
{
    struct hf_file *file = make_file(*state, "/file");
    struct shm *shm = file->fs->dax.shm;
    uint32_t before = count_holds(shm);

    for (unsigned way = 0; way < (LEASES + 3) * LEASES; way++) {
        const uint32_t to[] = {way % (LEASES + 3), shm->limits.holds, SHM_NONE - 1, SHM_NONE};
        unsigned place = way / (LEASES + 3), kind = way % (LEASES + 3);
        struct hf_lease leases[LEASES];
        uint32_t *link = &file->vnode->released;

        take_leases(file, leases);
        for (unsigned i = 1; i < LEASES; i++)
            assert_int_equal(hf_lease_release(&leases[i]), 0);
        for (unsigned i = 0; i < place; i++)
            link = &shm->holds[*link].link;
        *link = kind < LEASES ? kind : to[kind - LEASES + 1];
        assert_int_equal(punch_page(file, 0), -EBUSY);
        assert_int_equal(count_holds(shm), before + 1);
        assert_int_equal(hf_lease_release(&leases[0]), 0);
        assert_int_equal(punch_page(file, 0), 0);
        assert_int_equal(count_holds(shm), before);
        assert_int_equal(hf_write(file, "content", sizeof "content", 0), sizeof "content");
        expect_content(file);
    }
    assert_int_equal(hf_close(file), 0);
}

/* What counts them is wrong: nothing that is held is released, and the next looks find all. */
static void counts_of_the_stack(void **state)
{
    struct hf_file *file = make_file(*state, "/file");
    struct shm *shm = file->fs->dax.shm;
    uint32_t before = count_holds(shm);
    struct shm_let_go *counts = &file->vnode->let_go;
    uint32_t *words[] = {&counts->begun, &counts->ended, &counts->taken};

    for (unsigned way = 0; way < 3 * 4; way++) {
        const uint32_t by[] = {1, UINT32_MAX, UINT32_MAX / 2, UINT32_MAX / 2 + 1};
        uint32_t *word = words[way / 4], was = *word;
        struct hf_lease leases[LEASES];

        take_leases(file, leases);
        *word += by[way % 4];
        expect_all_held(file);
        if (way / 4 < 2)
            *word = was;
        for (unsigned i = 0; i < LEASES; i++)
            assert_int_equal(hf_lease_release(&leases[i]), 0);
        for (unsigned page = 0; page < PAGES; page++)
            assert_int_equal(punch_page(file, page), 0);
        assert_int_equal(count_holds(shm), before);
        assert_int_equal(hf_write(file, "content", sizeof "content", 0), sizeof "content");
    }
    assert_int_equal(hf_close(file), 0);
}

static void holds_of_nobody(void **state)
{
    const struct hf_policy detach = {.kind = HF_POLICY_DETACH};
    struct hf_file *file = make_file(*state, "/file");
    struct shm *shm = file->fs->dax.shm;
    struct hf_lease_token token;
    struct hf_lease leases[LEASES];
    struct iovec iov[PAGES];

    take_leases(file, leases);
    for (uint32_t i = 0; i < LEASES; i++) {
        shm->holds[i].lane = UINT32_MAX - i;
        shm->holds[i].vnode += i % 2 ? UINT32_MAX / 2 : 0;
        shm->holds[i].recall.served = i % 3;
    }
    shm->processes[shm->self].calls_back = UINT32_MAX;
    assert_int_equal(hf_truncate(file, HF_BLOCK_BYTES, &detach), 0);
    look_at_pins(*state);
    for (unsigned i = 0; i < LEASES - 1; i++)
        assert_int_equal(hf_lease_release(&leases[i]), 0);
    shm->holds[LEASES - 1].off = 3 * HF_BLOCK_BYTES + 4000;
    shm->holds[LEASES - 1].len = 4000;
    assert_int_equal(hf_lease_give(&leases[LEASES - 1], &token), 0);
    assert_true(hf_lease_take(*state, &token, NULL, iov, PAGES, &leases[0]) < 0);
    look_at_pins(*state);
    assert_int_equal(hf_close(file), 0);
}

/* Records of detached blocks in a ring, of holders that are nowhere and of pages that are none. */
static void records_in_a_ring(void **state)
{
    const struct hf_policy detach = {.kind = HF_POLICY_DETACH};

    for (unsigned kind = 0; kind < 5; kind++) {
        struct hf_file *file = make_file(*state, "/file");
        struct shm *shm = file->fs->dax.shm;
        struct hf_lease leases[LEASES];

        take_leases(file, leases);
        assert_int_equal(hf_truncate(file, 0, &detach), 0);
        for (uint32_t i = 0; i < shm_holds_high(shm); i++) {
            struct shm_hold *record = &shm->holds[i];

            if (SHM_HOLD_KIND(record->state) != SHM_HOLD_DETACHED)
                continue;
            record->link = kind == 0 ? i : kind == 1 ? UINT32_MAX - 3 : record->link;
            record->holder = kind == 2 ? UINT64_MAX - 7 * i : record->holder;
            record->range.last = kind == 3 ? UINT64_MAX : record->range.last;
            record->block = kind == 4 ? UINT64_MAX - i : record->block;
        }
        look_at_pins(*state);
        for (unsigned i = 0; i < LEASES; i++)
            assert_int_equal(hf_lease_release(&leases[i]), 0);
        assert_int_equal(hf_write(file, "x", 1, 0), 1);
        shm->run->reclaim = 1;
        look_at_pins(*state);
        assert_int_equal(hf_truncate(file, 0, &detach), 0);
        assert_int_equal(hf_close(file), 0);
    }
}

/* Runs of blocks that wrap, in a lane; a group that counts more free blocks than it has; a pool of
 * any size. */
static void space_that_there_is_not(void **state)
{
    struct hf_file *file = make_file(*state, "/file");
    struct shm *shm = file->fs->dax.shm;
    struct shm_lane *lane = shm_lane(shm);
    static char big[300 * HF_BLOCK_BYTES];
    uint64_t blocks = shm->run->pool_blocks;

    lane->reserved[0] = (struct shm_run_of_blocks){UINT64_MAX - 1000, 1005};
    lane->reserved[1] = (struct shm_run_of_blocks){5, UINT64_MAX};
    shm->run->space_stale = 1;
    assert_int_equal(hf_write(file, big, sizeof big, 0), sizeof big);
    lane->reserved[0] = (struct shm_run_of_blocks){UINT64_MAX - 1000, 1005};
    for (unsigned i = 0; i < 4; i++)
        shm->group_free[i] = SHM_GROUP_BLOCKS;
    (void)hf_write(file, big, sizeof big, sizeof big);
    for (unsigned i = 0; i < 3; i++) {
        const uint64_t sizes[] = {UINT64_MAX, UINT64_MAX / HF_BLOCK_BYTES + 2, 0};

        shm->run->pool_blocks = sizes[i];
        shm->run->first_free_group = sizes[i];
        (void)hf_write(file, big, sizeof big, (4 + i) * sizeof big);
        shm->run->space_stale = 1;
        (void)hf_truncate(file, i * HF_BLOCK_BYTES, NULL);
    }
    assert_int_equal(hf_truncate(file, 0, NULL), 0);
    assert_int_equal(shm->run->pool_blocks, blocks);
    assert_int_equal(hf_close(file), 0);
}

/* Two truths about which file it is: no call goes on for ever. */
static void another_file(void **state)
{
    struct hf_file *file = make_file(*state, "/file"), *to = make_file(*state, "/to");
    uint64_t ino = file->vnode->ino;

    file->vnode->ino = 12345;
    file->vnode->root = 0;
    assert_int_equal(hf_copy_range(file, 0, to, 10, HF_BLOCK_BYTES), -EUCLEAN);
    file->vnode->ino = ino;
    expect_content(file);
    assert_int_equal(hf_close(file), 0);
    assert_int_equal(hf_close(to), 0);
}

/* ---- the list of the mutexes that a thread has ---- */

/* A wrong kind and wrong links are set right. tests/unit/robust_test.c has the rest. */
static void mutexes_that_lead_outside(void **state)
{
    struct hf_file *file = make_file(*state, "/file");
    struct shm_mutex *mutex = &file->vnode->mutex;
    __pthread_list_t *links = &mutex->robust.__data.__list;
    void *victim[2] = {NULL, NULL};
    bool died;

    assert_true(shm_lock_now(mutex, &died));
    assert_false(died);
    mutex->robust.__data.__kind = PTHREAD_MUTEX_ERRORCHECK;
    links->__prev = links->__next = (__pthread_list_t *)&victim[1];
    shm_unlock(mutex);
    assert_null(victim[0]);
    assert_null(victim[1]);
    expect_works(file);
    mutex->robust.__data.__owner = INT_MAX - 1; /* it was given up for good */
    expect_works(file);
    assert_int_equal(hf_truncate(file, 0, NULL), 0);
    assert_int_equal(hf_close(file), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(entries_that_lead_outside, open_small, close_pool),
        cmocka_unit_test_setup_teardown(marks_past_the_tables, open_small, close_pool),
        cmocka_unit_test_setup_teardown(tables_that_lead_round, open_small, close_pool),
        cmocka_unit_test_setup_teardown(numbers_past_the_tables, open_small, close_pool),
        cmocka_unit_test_setup_teardown(chains_that_do_not_end, open_small, close_pool),
        cmocka_unit_test_setup_teardown(trees_of_wrong_links, open_small, close_pool),
        cmocka_unit_test_setup_teardown(trees_of_one_wrong_word, open_small, close_pool),
        cmocka_unit_test_setup_teardown(stack_of_another_file, open_small, close_pool),
        cmocka_unit_test_setup_teardown(stack_that_is_cut, open_small, close_pool),
        cmocka_unit_test_setup_teardown(counts_of_the_stack, open_small, close_pool),
        cmocka_unit_test_setup_teardown(holds_of_nobody, open_small, leave_pool),
        cmocka_unit_test_setup_teardown(records_in_a_ring, open_small, close_pool),
        cmocka_unit_test_setup_teardown(space_that_there_is_not, open_small, close_pool),
        cmocka_unit_test_setup_teardown(another_file, open_small, close_pool),
        cmocka_unit_test_setup_teardown(mutexes_that_lead_outside, open_small, close_pool),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
