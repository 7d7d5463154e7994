/* SPDX-License-Identifier: MIT */
/* Page tables against a plain array: random installs and zaps, every walk compared. */
#include "mm/mm.h"
#include "run_segment.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define PAGES 4096u
#define NO_BLOCK UINT64_MAX

static char *const base = (char *)UINT64_C(0x100000000);

static uint64_t block_at(struct shm *shm, const struct shm_vnode *vnode, uint64_t page)
{
    struct iovec iov;
    struct mm_pieces pieces = {&iov, 1, 0};

    if (mm_walk(shm, base, vnode->root, page, page, 0, &pieces) != 1)
        return NO_BLOCK;
    assert_int_equal(iov.iov_len, HF_BLOCK_BYTES);
    return (uint64_t)((char *)iov.iov_base - base) / HF_BLOCK_BYTES;
}

/* With its mutex held, as every change of a page table wants it. */
static struct shm_vnode *new_vnode(struct shm *shm)
{
    static uint64_t ino = 100;
    struct shm_vnode *vnode;

    assert_int_equal(shm_vnode_get(shm, ino++, &vnode), 0);
    take_mutex(&vnode->mutex);
    return vnode;
}

/* A file with page p on block shift + p, so that installs of one page agree. */
static void random_table(void **state)
{
    struct shm *shm = *state;
    struct shm_vnode *vnode = new_vnode(shm);
    const char *given = getenv("HF_SEED");
    unsigned seed = given ? (unsigned)atoi(given) : (unsigned)time(NULL);
    uint64_t shift = 512 * (1 + seed % 3) + (seed % 2 ? 7 : 0);
    static bool present[PAGES];

    print_message("HF_SEED=%u\n", seed);
    memset(present, 0, sizeof present);
    for (int round = 0; round < 400; round++) {
        uint64_t first = (unsigned)rand_r(&seed) % PAGES,
                 count = 1 + (unsigned)rand_r(&seed) % 1500;

        if (first + count > PAGES)
            count = PAGES - first;
        if (rand_r(&seed) % 2) {
            assert_int_equal(mm_install(shm, vnode, first, shift + first, count, 0), 0);
            memset(present + first, true, count);
        } else {
            bool any = memchr(present + first, true, count) != NULL;

            assert_int_equal(mm_zap(shm, vnode, first, first + count - 1) || !any, true);
            memset(present + first, false, count);
        }
        for (uint64_t page = 0; page < PAGES; page++) {
            uint64_t block = block_at(shm, vnode, page);

            assert_true(block == NO_BLOCK || block == shift + page);
            if (page >= first && page < first + count)
                assert_int_equal(block != NO_BLOCK, present[page]);
            present[page] = block != NO_BLOCK;
        }
    }
    mm_free_tree(shm, vnode, mm_take_root(vnode));
    assert_int_equal(shm->run->nodes_used, 0);
    shm_unlock(&vnode->mutex);
}

static void huge_entries(void **state)
{
    struct shm *shm = *state;
    struct shm_vnode *vnode = new_vnode(shm);
    struct iovec iov[2];
    struct mm_pieces pieces = {iov, 2, 0};

    assert_int_equal(mm_install(shm, vnode, 0, 1024, 512 * 512, 0), 0);
    assert_int_equal(shm->run->nodes_used, 2); /* 1 GiB: a root and one node of 512 huge entries */
    assert_int_equal(mm_walk(shm, base, vnode->root, 0, 512 * 512 - 1, 0, &pieces), 1);
    assert_ptr_equal(iov[0].iov_base, base + 1024 * HF_BLOCK_BYTES);
    assert_int_equal(iov[0].iov_len, UINT64_C(1) << 30);
    assert_int_equal(block_at(shm, vnode, 77777), 1024 + 77777);
    assert_true(mm_zap(shm, vnode, 600, 600));
    assert_int_equal(block_at(shm, vnode, 600), NO_BLOCK);
    assert_int_equal(block_at(shm, vnode, 599), 1024 + 599); /* the rest of the 2 MiB stays */
    assert_int_equal(block_at(shm, vnode, 512), 1024 + 512);
    assert_int_equal(block_at(shm, vnode, 511), 1024 + 511);
    mm_free_tree(shm, vnode, mm_take_root(vnode));
    shm_unlock(&vnode->mutex);
}

static void pieces_merge_and_run_out(void **state)
{
    struct shm *shm = *state;
    struct shm_vnode *vnode = new_vnode(shm);
    struct iovec iov[2];
    struct mm_pieces pieces = {iov, 2, 0}, one = {iov, 1, 0};

    assert_int_equal(mm_install(shm, vnode, 510, 100, 4, 0), 0);
    assert_int_equal(mm_install(shm, vnode, 514, 900, 1, 0), 0);
    assert_int_equal(mm_walk(shm, base, vnode->root, 510, 514, 0, &pieces), 2);
    assert_int_equal(iov[0].iov_len, 4 * HF_BLOCK_BYTES);
    assert_int_equal(mm_walk(shm, base, vnode->root, 510, 514, 0, &one), -E2BIG);
    pieces.count = 0;
    assert_int_equal(mm_walk(shm, base, vnode->root, 510, 515, 0, &pieces), MM_MISS);
    mm_free_tree(shm, vnode, mm_take_root(vnode));
    shm_unlock(&vnode->mutex);
}

static void far_pages(void **state)
{
    struct shm *shm = *state;
    struct shm_vnode *vnode = new_vnode(shm);

    assert_int_equal(mm_install(shm, vnode, 3, 30, 1, 0), 0);
    assert_int_equal(mm_install(shm, vnode, MM_LAST_PAGE, 40, 1, 0), 0);
    assert_int_equal(block_at(shm, vnode, 3), 30);
    assert_int_equal(block_at(shm, vnode, MM_LAST_PAGE), 40);
    assert_int_equal(block_at(shm, vnode, MM_LAST_PAGE - 1), NO_BLOCK);
    assert_true(mm_zap(shm, vnode, 4, UINT64_MAX));
    assert_int_equal(block_at(shm, vnode, MM_LAST_PAGE), NO_BLOCK);
    assert_int_equal(block_at(shm, vnode, 3), 30);
    mm_free_all(shm, vnode);
    assert_int_equal(shm->run->nodes_used, 0);
    shm_unlock(&vnode->mutex);
}

static void out_of_nodes(void **state)
{
    struct shm *shm = *state;
    struct shm_vnode *vnode = new_vnode(shm);
    uint64_t page = 0;

    while (mm_install(shm, vnode, page, 1 + page, 1, 0) == 0)
        page += SHM_NODE_ENTRIES;
    assert_int_equal(shm->run->nodes_used, shm->run->limits.nodes);
    assert_int_equal(block_at(shm, vnode, 0), 1);
    mm_free_all(shm, vnode);
    assert_int_equal(mm_install(shm, vnode, 0, 1, 1, 0), 0);
    mm_free_all(shm, vnode);
    shm_unlock(&vnode->mutex);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_table), cmocka_unit_test(huge_entries),
        cmocka_unit_test(far_pages),    cmocka_unit_test(pieces_merge_and_run_out),
        cmocka_unit_test(out_of_nodes),
    };

    return cmocka_run_group_tests_name("mm", tests, open_segment, close_segment);
}
