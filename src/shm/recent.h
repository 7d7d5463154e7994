/* SPDX-License-Identifier: MIT */
/* POOL/recent: sizes and times that LMDB does not know yet (recent.c). */
#ifndef HF_SHM_RECENT_H
#define HF_SHM_RECENT_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct shm;
struct shm_vnode;

struct shm_recent_header {
    uint64_t magic;
    uint32_t entry_bytes, count;
    uint8_t uuid[16];
    /* The boot id of the last first attacher; when its machine was started, by the wall clock; and
     * how long before it attached. */
    uint8_t boot[16];
    int64_t started_ns;
    int64_t up_ns;
    /* 1: not closed in good order. */
    uint32_t in_use;
    /* Entries below this index may say something. */
    uint32_t high;
    /* Of POOL/data, when its blocks that are in use were known to have memory; 0: never. */
    uint64_t data_dev, data_ino;
    int64_t data_ctime_ns;
};

/* While LMDB's record of `ino` has `version`, the file has this size and these times. ino 0: the
 * entry says nothing. */
struct shm_recent {
    uint64_t ino, version, size;
    int64_t atime_ns, mtime_ns, ctime_ns;
    uint64_t zero[2];
};

struct shm_recent_map {
    /* Null: not mapped. */
    struct shm_recent_header *header;
    struct shm_recent *entries;
    uint64_t bytes;
    /* Of entries, as it was checked. */
    uint32_t count;
    uint64_t dev, ino;
    /* On a tmpfs, so it has not seen another start of the machine. */
    bool in_memory;
};

/* -ENOENT: there is none; -EUCLEAN: it is another pool's, or damaged. Others: it cannot be
 * opened. */
int shm_recent_map(const char *dir, const uint8_t uuid[16], uint32_t count,
                   struct shm_recent_map *out);
void shm_recent_unmap(struct shm_recent_map *map);
/* Makes it, or makes it again, alone with the pool. */
int shm_recent_make(const char *dir, const uint8_t uuid[16], uint32_t count, mode_t mode);
/* A copy may have holes. Where they cannot be filled, the file is removed. */
int shm_recent_allocate(const char *dir, uint32_t count);
/* True: the machine has not been started again since the last first attacher; false: it cannot be
 * known. */
bool shm_recent_same_start(const struct shm_recent_map *map);
/* Calls each() until it returns another value than 0, which is returned. */
int shm_recent_each(const struct shm_recent_map *map,
                    int (*each)(void *arg, const struct shm_recent *entry), void *arg);
void shm_recent_clear(const struct shm_recent_map *map);
/* First attacher: takes the map over for the new segment, emptied. */
void shm_recent_begin(struct shm *shm, const struct shm_recent_map *map);
int shm_recent_join(struct shm *shm, const char *dir);
/* Whether it was noted that all blocks in use have memory, of POOL/data with that descriptor. A
 * note holds from then on, for that file. A copy may have holes; it is another file, or was written
 * at another time. */
bool shm_recent_has_memory(const struct shm *shm, int data_fd);
void shm_recent_note_memory(const struct shm *shm, int data_fd);
/* Last to detach, when LMDB knows everything. */
void shm_recent_end(struct shm *shm);

/* Under the layout mutex of the vnode, but for touch. A size: before the vnode's own. */
void shm_recent_size(const struct shm *shm, const struct shm_vnode *vnode, uint64_t size);
void shm_recent_touch(const struct shm *shm, const struct shm_vnode *vnode, int64_t now_ns);
/* LMDB has that version of the inode, with this size and the vnode's times. */
void shm_recent_put(const struct shm *shm, const struct shm_vnode *vnode, uint64_t size,
                    uint64_t version);
void shm_recent_drop(const struct shm *shm, const struct shm_vnode *vnode);

#endif
