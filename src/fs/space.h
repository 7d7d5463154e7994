/* SPDX-License-Identifier: MIT */
/*
 * Free space: a bit a block in the run segment, 1 when some extent, detached run or reservation has
 * it. It is not on the medium. The process that builds the segment makes it from the extents, and a
 * process that takes space_mutex from a dead owner makes it again. So it cannot disagree with them.
 *
 * A reservation takes blocks out of the bitmap before a transaction gives them to a file. So they
 * can be filled with no lock held. Its runs also stand in the thread's lane, where they are found
 * when the process dies. A thread has one reservation at a time.
 */
#ifndef HF_FS_SPACE_H
#define HF_FS_SPACE_H

#include "fs/fs.h"

#define SPACE_NO_GOAL UINT64_MAX

struct fs_reserved_run {
    uint64_t block, count;
    uint64_t used_before; /* so many at its front may hold old bytes; the rest are known zeros */
};

struct fs_reservation {
    struct shm_lane *lane; /* null: holds nothing */
    uint64_t blocks;       /* of all runs */
    unsigned count;
    const uint32_t *holds; /* null: its runs stand in the lane; else in these holds (put.c) */
    unsigned next_run;     /* where fs_reservation_take() goes on, */
    uint64_t next_at;      /* blocks into that run */
    struct fs_reserved_run runs[SHM_RESERVED];
};

/* Makes it empty. Its runs stay as they are, since without a count nobody looks at them. */
static inline void fs_reservation_init(struct fs_reservation *reservation)
{
    reservation->lane = NULL;
    reservation->blocks = 0;
    reservation->count = 0;
    reservation->holds = NULL;
    reservation->next_run = 0;
    reservation->next_at = 0;
}

/* Takes space_mutex, and builds the bitmap again when its owner died in it. An error: it is not
 * held. */
int fs_space_lock(struct fs *fs);
void fs_space_unlock(struct fs *fs);
/* False: another thread has it. True: *rc is as of fs_space_lock(). */
bool fs_space_lock_now(struct fs *fs, int *rc);
/* As fs_space_lock(), or SHM_CALLED: as shm_lock_or(). */
int fs_space_lock_or(struct fs *fs, struct shm_call_away *away);

/* No thread waits for it yet (queue.c). */
void fs_joint_init(struct fs *fs);

/* Makes bitmap and counts from what `txn` sees. Under space_mutex, or alone with the segment. */
int fs_space_build(struct fs *fs, struct meta_txn *txn);
bool bitmap_in_pool(const struct shm *shm, uint64_t block, uint64_t count);
/* Sets or clears the bits of a run, and returns how many changed. As fs_space_build(). */
uint64_t bitmap_mark(struct shm *shm, uint64_t block, uint64_t count, bool taken);
/* As it is now: each word is read once. */
struct shm_run_of_blocks bitmap_reserved(const struct shm_lane *lane, unsigned r);

/* Adds up to `count` blocks for file pages from `page` on, from `goal` on if those are free. A
 * large request is laid so that page and block agree modulo 512. Takes space_mutex itself. 0: at
 * least one block was added (ask reservation->blocks); -ENOSPC: none is free, or its runs are all
 * in use; -ENOLCK, -EROFS. */
int fs_reserve(struct fs *fs, uint64_t page, uint64_t goal, uint64_t count,
               struct fs_reservation *reservation);

/* Adds all of a free group of MM_HUGE_PAGES blocks, for pages that one huge entry can map. Takes
 * space_mutex itself. -ENOSPC, without a sentence: no group is free as a whole, or can have memory.
 * -ENOLCK, -EROFS. */
int fs_reserve_group(struct fs *fs, struct fs_reservation *reservation);

/* The same of this group, which fs_gather() has emptied; other requests take it from now on. */
int fs_reserve_gathered(struct fs *fs, uint64_t group, struct fs_reservation *reservation);

/* Empties a group that is free in part, and reserves it. What files have there moves to other
 * blocks; what is held, or may be shared, stays. `gathering` begins as zeros and remembers the
 * groups that could not be emptied. Takes locks of its own. *moved: the blocks that moved.
 * -ENOSPC, without a sentence: no group could be emptied. */
#define FS_GATHER_TRIES 4u
struct fs_gathering {
    unsigned tries; /* in vain */
    uint64_t tried[FS_GATHER_TRIES];
};
int fs_gather(struct fs *fs, struct fs_gathering *gathering, struct fs_reservation *reservation,
              uint64_t *moved);

/* The next run of at most `max` blocks, for a transaction that uses them up; false: all are
 * taken. */
bool fs_reservation_take(struct fs_reservation *reservation, uint64_t max,
                         struct fs_reserved_run *out);
/* The last `count` blocks of the run that was taken last are not taken. */
static inline void fs_reservation_put_back(struct fs_reservation *reservation, uint64_t count)
{
    reservation->next_at -= count;
}
/* All of it is to be taken again. */
void fs_reservation_rewind(struct fs_reservation *reservation);
/* Frees the blocks that were not taken; the taken ones are not reserved any more. Under
 * space_mutex. */
void fs_reservation_settle(struct fs *fs, struct fs_reservation *reservation);
/* Its runs stand in the holds from now on, one each, which say so already. Under space_mutex. */
void fs_reservation_hold(struct fs *fs, struct fs_reservation *reservation, const uint32_t *holds);
/* Frees all of it, which stands in the lane. Takes space_mutex. */
void fs_reservation_drop(struct fs *fs, struct fs_reservation *reservation);

/* Under space_mutex. */
void fs_space_free(struct fs *fs, uint64_t block, uint64_t count);
void fs_space_grow(struct fs *fs, uint64_t pool_blocks);
/* Nobody is given blocks from `block` on, which begins a group, until fs_space_unbar(), or until
 * this process has died. -EBUSY: a process shrinks the pool already; -ENOSPC: what is in use there
 * has no room before it. */
int fs_space_bar(struct fs *fs, uint64_t block);
/* -EBUSY, with a sentence that names the process: one shrinks the pool. */
int fs_space_barred(const struct fs *fs);
void fs_space_unbar(struct fs *fs); /* with or without the mutex */
/* Cuts off what the data file has past `bytes`, the size of the pool. Under space_mutex. */
int fs_space_cut(struct fs *fs, uint64_t bytes);
/* Free blocks that may be given out: not those that a shrink is about to cut. A look. */
uint64_t fs_space_to_give(const struct fs *fs);
/* Blocks in use from there on. */
uint64_t fs_space_used_from(const struct fs *fs, uint64_t block);
/* The pool ends there from now on; nothing is in use after it. 0: as it is. */
void fs_space_shrink(struct fs *fs, uint64_t pool_blocks);
/* Frees what dead threads had reserved. */
void fs_space_sweep(struct fs *fs);

/* The memory of blocks, mapped. -EUCLEAN: they are not in the pool. */
int fs_memory(struct fs *fs, uint64_t block, uint64_t count, char **out);
/* Called before `bytes` are stored there. A load makes the system map the pages around it too; a
 * store maps its own page only. A disk's file system has to learn of each page all the same; for a
 * durable pool nothing is done. */
void fs_map_around(const struct fs *fs, const char *at, uint64_t bytes);

/* In a durable pool: returns when the memory is on the medium. */
static inline int fs_persist(struct fs *fs, const void *at, uint64_t bytes)
{
    return fs->durable ? media_persist(&fs->dax.media, at, bytes) : 0;
}

/* ---- which blocks have memory (back.c) ---- */

/* A block may have no memory, and the system may have none for it. */
bool fs_may_lack_memory(const struct fs *fs);
/* Gives memory to free blocks before they are given out: to the first *count of them that can have
 * it. *zeros: those from this block on hold zeros. -ENOSPC, with a sentence: to none. Under
 * space_mutex. */
int fs_back(struct fs *fs, uint64_t block, uint64_t *count, uint64_t *zeros);
/* Before their memory is given back. Under space_mutex. */
void fs_unback(struct fs *fs, uint64_t block, uint64_t count);
/* The first block from there on that may have memory; `end`: there is none before it. */
uint64_t fs_next_backed(const struct fs *fs, uint64_t block, uint64_t end);
/* Free blocks that have memory; of a memfd, at least so many. A guess without space_mutex. */
int fs_backed_free(const struct fs *fs, uint64_t *blocks);
/* First attacher, after fs_space_build(): blocks in use that have no memory get it. -ENOSPC. */
int fs_back_used(struct fs *fs);
/* At the end of a call that frees blocks or gives them memory, with no lock held. If more free ones
 * have memory than the pool's watermark, some of it goes back (trim.c). */
void fs_trim_down(struct fs *fs);
static inline void fs_trim_follow(struct fs *fs)
{
    const struct shm_run *run = fs->dax.shm->run;

    if (__builtin_expect(run->trim_above_blocks != 0, 0) && hf_load_acquire(&run->trim_look))
        fs_trim_down(fs);
}
/* The first block of [from, end) that is taken, or free; `end` if there is none. */
uint64_t fs_space_next(const struct shm *shm, uint64_t from, uint64_t end, bool taken);

/* -ENOSPC, with a sentence. */
int fs_no_space(struct fs *fs, uint64_t blocks);

/* ---- making room (room.c): with no lock held ---- */

/* fs_reserve(), and once more after fs_make_room() when nothing was free. */
int fs_reserve_hard(struct fs *fs, uint64_t page, uint64_t goal, uint64_t count,
                    struct fs_reservation *reservation);
/* 0: so many blocks were free a moment ago, perhaps after fs_make_room(). -ENOSPC. */
int fs_room_for(struct fs *fs, uint64_t blocks);

#endif
