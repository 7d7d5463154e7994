/* SPDX-License-Identifier: MIT */
/*
 * Words in shared memory that another process of the pool has made wrong: an entry of a page table
 * may lead anywhere, and still no call of this process touches memory outside the pool.
 */
#include "pool/pool.h"
#include "mm/mm.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>

#include "anonymous_pool.h"

#define PAGES 4u
#define FILE_BYTES (PAGES * HF_BLOCK_BYTES)

static int open_small(void **state)
{
    return open_pool_of(state, 8 << 20);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(entries_that_lead_outside, open_small, close_pool),
        cmocka_unit_test_setup_teardown(marks_past_the_tables, open_small, close_pool),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
