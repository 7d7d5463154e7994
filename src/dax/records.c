/* SPDX-License-Identifier: MIT */
/*
 * Tells which holders hold nothing of a file any more. For that, it has the records of the file's
 * detached blocks, sorted by holder. To ask the list itself for each of n holders takes n * n steps
 * under the layout mutex. So a look at all of them copies the list once and sorts the copy. Where
 * there is no memory for that, it walks the list.
 */
#include "dax/private.h"

#include "base/lab.h"

#include <stdlib.h>

static int by_holder(const void *left, const void *right)
{
    const struct record_range *a = left, *b = right;

    HF_LAB_AT(HF_LAB_COMPARES);
    if (a->holder != b->holder)
        return a->holder < b->holder ? -1 : 1;
    if (a->key != b->key)
        return a->key < b->key ? -1 : 1;
    return a->first < b->first ? -1 : a->first > b->first;
}

static size_t list_length(const struct shm *shm, const struct shm_vnode *vnode)
{
    size_t count = 0;

    for (uint32_t at = detach_record_at(shm, vnode, &vnode->detached);
         at != SHM_NONE && count < shm->limits.holds;
         at = detach_record_at(shm, vnode, &shm->holds[at].link))
        count++;
    return count;
}

bool records_read(const struct shm *shm, const struct shm_vnode *vnode, struct records *records)
{
    size_t count = list_length(shm, vnode);

    shm_assert_held(&vnode->mutex);
    records->ranges = calloc(count + 1, sizeof *records->ranges);
    if (!records->ranges)
        return false;
    for (uint32_t at = detach_record_at(shm, vnode, &vnode->detached);
         at != SHM_NONE && records->count < count;
         at = detach_record_at(shm, vnode, &shm->holds[at].link)) {
        const struct shm_hold *record = &shm->holds[at];

        records->ranges[records->count++] = (struct record_range){
            record->holder, record->holder_key, record->range.first, record->range.last};
    }
    qsort(records->ranges, records->count, sizeof *records->ranges, by_holder);
    return true;
}

/* The place of the first that is not before `wanted`. */
static size_t find_range(const struct records *records, const struct record_range *wanted)
{
    size_t low = 0, high = records->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (by_holder(&records->ranges[middle], wanted) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

bool records_leave(const struct records *records, uint64_t holder, uint64_t key, uint64_t first,
                   uint64_t last)
{
    const struct record_range wanted = {holder, key, 0, 0};

    for (size_t i = find_range(records, &wanted); i < records->count && first <= last; i++) {
        const struct record_range *range = &records->ranges[i];

        HF_LAB_AT(HF_LAB_COMPARES);
        if (range->holder != holder || range->key != key || range->first > first)
            break;
        if (range->last >= first)
            first = range->last + 1;
    }
    return first <= last;
}

static bool list_leaves(const struct shm *shm, const struct shm_vnode *vnode, uint64_t holder,
                        uint64_t key, uint64_t first, uint64_t last)
{
    uint32_t at = detach_record_at(shm, vnode, &vnode->detached);
    uint64_t steps = 0;

    while (at != SHM_NONE && first <= last && steps++ < shm->limits.holds) {
        const struct shm_hold *record = &shm->holds[at];
        uint64_t end = record->range.last;

        if (record->holder != holder || record->holder_key != key || record->range.first > first ||
            end < first || end == UINT64_MAX) {
            at = detach_record_at(shm, vnode, &record->link);
            continue;
        }
        first = end + 1;
        at = detach_record_at(shm, vnode, &vnode->detached);
        steps = 0;
    }
    return first <= last;
}

bool records_still_hold(const struct shm *shm, const struct shm_vnode *vnode,
                        struct records *records, uint64_t holder, uint64_t key, uint64_t first,
                        uint64_t last)
{
    shm_assert_held(&vnode->mutex);
    if (vnode->detached == SHM_NONE)
        return true;
    if (!records->ranges && !records_read(shm, vnode, records))
        return list_leaves(shm, vnode, holder, key, first, last);
    return records_leave(records, holder, key, first, last);
}

void records_drop(struct records *records)
{
    free(records->ranges);
    *records = (struct records){0};
}
