/* SPDX-License-Identifier: MIT */
/*
 * Owns the little that the mount knows of inodes:
 * - the last attributes of those that have lost their last name while the kernel still has them;
 * - with cache=auto, how often programs have them open;
 * - with cache=auto, the handles that are kept when no program has the inode open any more. So
 *   content that the kernel keeps is watched until the next open.
 *
 * It is a chained table under one mutex, which is held for a look only.
 */
#include "private.h"

#include <stdlib.h>
#include <sys/queue.h>

#define BUCKETS 4096u

struct inode {
    struct inode *next;
    uint64_t ino;
    uint64_t opens;
    /* A program has opened and closed it since it is watched: the kernel has nothing older. */
    bool settled;
    bool gone;
    struct stat last;
    struct hf_file *kept;
    TAILQ_ENTRY(inode) by_use; /* while it is kept */
};

struct mount_inodes {
    pthread_mutex_t mutex;
    struct inode *buckets[BUCKETS];
    TAILQ_HEAD(, inode) kept; /* the one used last comes last */
    uint32_t kept_count, kept_max;
    /* Raised when a kept handle is evicted, also where there is none yet. */
    uint64_t generation;
};

struct mount_inodes *mount_inodes_new(uint32_t kept_max)
{
    struct mount_inodes *inodes = calloc(1, sizeof *inodes);

    if (!inodes)
        return NULL;
    pthread_mutex_init(&inodes->mutex, NULL);
    TAILQ_INIT(&inodes->kept);
    inodes->kept_max = kept_max;
    return inodes;
}

static struct inode **find_inode(struct mount_inodes *inodes, uint64_t ino)
{
    struct inode **link = &inodes->buckets[ino % BUCKETS];

    while (*link && (*link)->ino != ino)
        link = &(*link)->next;
    return link;
}

/* Null: out of memory. */
static struct inode *get_inode(struct mount_inodes *inodes, uint64_t ino)
{
    struct inode **link = find_inode(inodes, ino);

    if (!*link) {
        *link = calloc(1, sizeof **link);
        if (*link)
            (*link)->ino = ino;
    }
    return *link;
}

static void free_unused(struct inode **link)
{
    struct inode *inode = *link;

    if (inode->gone || inode->opens || inode->kept)
        return;
    *link = inode->next;
    free(inode);
}

/* Null: it keeps no handle. */
static struct hf_file *take_kept(struct mount_inodes *inodes, struct inode *inode)
{
    struct hf_file *file = inode->kept;

    if (file) {
        TAILQ_REMOVE(&inodes->kept, inode, by_use);
        inodes->kept_count--;
        inode->kept = NULL;
        inode->settled &= inode->opens > 0;
    }
    return file;
}

static struct hf_file *take_oldest(struct mount_inodes *inodes)
{
    struct inode *oldest = TAILQ_FIRST(&inodes->kept);
    struct hf_file *file = oldest ? take_kept(inodes, oldest) : NULL;

    if (oldest)
        free_unused(find_inode(inodes, oldest->ino));
    return file;
}

void mount_inode_gone(struct mount_inodes *inodes, const struct stat *last)
{
    struct inode *inode;

    pthread_mutex_lock(&inodes->mutex);
    inode = get_inode(inodes, last->st_ino);
    if (inode) {
        inode->gone = true;
        inode->last = *last;
        inode->last.st_nlink = 0;
    }
    pthread_mutex_unlock(&inodes->mutex);
}

bool mount_inode_last(struct mount_inodes *inodes, uint64_t ino, struct stat *out)
{
    struct inode *inode;
    bool gone;

    pthread_mutex_lock(&inodes->mutex);
    inode = *find_inode(inodes, ino);
    gone = inode && inode->gone;
    if (gone)
        *out = inode->last;
    pthread_mutex_unlock(&inodes->mutex);
    return gone;
}

void mount_inode_forget(struct mount_inodes *inodes, uint64_t ino)
{
    struct inode **link;

    pthread_mutex_lock(&inodes->mutex);
    link = find_inode(inodes, ino);
    if (*link) {
        (*link)->gone = false;
        free_unused(link);
    }
    pthread_mutex_unlock(&inodes->mutex);
}

bool mount_inode_opened(struct mount_inodes *inodes, uint64_t ino)
{
    struct inode *inode;
    bool before;

    pthread_mutex_lock(&inodes->mutex);
    inode = get_inode(inodes, ino);
    before = inode && inode->settled;
    if (inode)
        inode->opens++;
    if (inode && inode->kept) {
        TAILQ_REMOVE(&inodes->kept, inode, by_use);
        TAILQ_INSERT_TAIL(&inodes->kept, inode, by_use);
    }
    pthread_mutex_unlock(&inodes->mutex);
    return before;
}

/* Without opens and without a kept handle the inode is not watched. */
static void close_one(struct inode *inode)
{
    if (inode->opens)
        inode->opens--;
    if (!inode->opens && !inode->kept)
        inode->settled = false;
}

void mount_inode_abandoned(struct mount_inodes *inodes, uint64_t ino)
{
    struct inode **link;

    pthread_mutex_lock(&inodes->mutex);
    link = find_inode(inodes, ino);
    if (*link) {
        close_one(*link);
        free_unused(link);
    }
    pthread_mutex_unlock(&inodes->mutex);
}

uint64_t mount_inodes_generation(struct mount_inodes *inodes)
{
    uint64_t generation;

    pthread_mutex_lock(&inodes->mutex);
    generation = inodes->generation;
    pthread_mutex_unlock(&inodes->mutex);
    return generation;
}

struct hf_file *mount_inode_closed(struct mount_inodes *inodes, uint64_t ino, struct hf_file *file,
                                   bool keep, uint64_t generation)
{
    struct inode *inode;

    pthread_mutex_lock(&inodes->mutex);
    inode = *find_inode(inodes, ino);
    if (inode && inode->opens == 1 && !inode->kept && !inode->gone && keep &&
        generation == inodes->generation) {
        inode->kept = file;
        TAILQ_INSERT_TAIL(&inodes->kept, inode, by_use);
        file = ++inodes->kept_count > inodes->kept_max ? take_oldest(inodes) : NULL;
    }
    if (inode) {
        inode->settled = true;
        close_one(inode);
        /* Found only now, since the oldest may have gone from the same chain. */
        free_unused(find_inode(inodes, ino));
    }
    pthread_mutex_unlock(&inodes->mutex);
    return file;
}

struct hf_file *mount_inode_evict(struct mount_inodes *inodes, uint64_t ino)
{
    struct hf_file *file = NULL;
    struct inode **link;

    pthread_mutex_lock(&inodes->mutex);
    inodes->generation++;
    link = find_inode(inodes, ino);
    if (*link) {
        file = take_kept(inodes, *link);
        free_unused(link);
    }
    pthread_mutex_unlock(&inodes->mutex);
    return file;
}

struct hf_file *mount_inodes_evict_oldest(struct mount_inodes *inodes)
{
    struct hf_file *file;

    pthread_mutex_lock(&inodes->mutex);
    inodes->generation++;
    file = take_oldest(inodes);
    pthread_mutex_unlock(&inodes->mutex);
    return file;
}

uint64_t *mount_inodes_open(struct mount_inodes *inodes, size_t *count)
{
    size_t room = 0;
    uint64_t *list;

    *count = 0;
    pthread_mutex_lock(&inodes->mutex);
    for (unsigned i = 0; i < BUCKETS; i++)
        for (const struct inode *inode = inodes->buckets[i]; inode; inode = inode->next)
            room++;
    list = malloc((room ? room : 1) * sizeof *list);
    for (unsigned i = 0; list && i < BUCKETS; i++)
        for (const struct inode *inode = inodes->buckets[i]; inode; inode = inode->next)
            if (inode->opens || inode->kept)
                list[(*count)++] = inode->ino;
    pthread_mutex_unlock(&inodes->mutex);
    return list;
}
