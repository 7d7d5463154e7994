/* SPDX-License-Identifier: MIT */
/*
 * Owns what all stages of a check have in common: the table of inodes, the report and count of
 * problems, and the progress. Calls nothing of the folder.
 */
#include "meta/check.h"

#include "base/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define PROGRESS_STEP 4096u

/* --- reporting --- */

bool check_problem(struct checker *check, bool can_repair, const char *format, ...)
{
    bool repair = can_repair && check->request->repair;
    char sentence[512];
    va_list args;
    int len;

    va_start(args, format);
    len = vsnprintf(sentence, sizeof sentence, format, args);
    va_end(args);
    if (repair && len >= 0 && (size_t)len < sizeof sentence)
        snprintf(sentence + len, sizeof sentence - (size_t)len, " (repaired)");
    check->request->problems++;
    check->request->repaired += repair;
    if (check->repeated)
        check->repeated--;
    else if (check->request->report)
        check->request->report(check->request->arg, sentence);
    return repair;
}

void check_count_record(struct checker *check)
{
    struct meta_check *request = check->request;

    check->records_done++;
    if (request->progress && check->records_done % PROGRESS_STEP == 0 && check->records != 0)
        request->progress(request->arg,
                          CHECK_PROGRESS_PAGES + (CHECK_PROGRESS_TOTAL - CHECK_PROGRESS_PAGES) *
                                                     (check->records_done < 2 * check->records
                                                          ? check->records_done
                                                          : 2 * check->records) /
                                                     (2 * check->records),
                          CHECK_PROGRESS_TOTAL);
}

/* --- lists --- */

void *check_grow(void *list, size_t count, size_t *room, size_t size, const char *what)
{
    size_t more = *room ? 2 * *room : 256;
    void *grown;

    if (count < *room)
        return list;
    grown = realloc(list, more * size);
    if (grown)
        *room = more;
    else
        hf_fail(ENOMEM, "out of memory for %zu %s", more, what);
    return grown;
}

/* --- the table of inodes --- */

struct check_inode *check_find(struct checker *check, uint64_t ino)
{
    size_t low = 0, high = check->inode_count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (check->inodes[middle].ino < ino)
            low = middle + 1;
        else
            high = middle;
    }
    return low < check->inode_count && check->inodes[low].ino == ino ? &check->inodes[low] : NULL;
}

/* Records come in the order of their inodes, so most go to the end. */
int check_add(struct checker *check, uint64_t ino, struct check_inode **out)
{
    struct check_inode *there = NULL, *inodes;
    size_t at = check->inode_count;

    if (at != 0 && check->inodes[at - 1].ino >= ino)
        there = check_find(check, ino);
    if (there) {
        *out = there;
        return 0;
    }
    inodes =
        check_grow(check->inodes, check->inode_count, &check->inode_room, sizeof *inodes, "inodes");
    if (!inodes)
        return -ENOMEM;
    check->inodes = inodes;
    while (at > 0 && check->inodes[at - 1].ino > ino)
        at--;
    memmove(&check->inodes[at + 1], &check->inodes[at],
            (check->inode_count - at) * sizeof *check->inodes);
    check->inode_count++;
    check->inodes[at] = (struct check_inode){.ino = ino};
    *out = &check->inodes[at];
    return 0;
}
