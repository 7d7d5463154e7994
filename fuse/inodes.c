/* SPDX-License-Identifier: MIT */
/*
 * Owns the little that the mount knows of inodes: the last attributes of those that have lost their last name while the kernel
 * still has them, and how often those are open whose content it keeps. A chained table under one mutex, which is held for a
 * look only.
 */
#include "mount.h"

#include <stdlib.h>

#define BUCKETS 4096u

struct inode {
    struct inode *next;
    uint64_t ino;
    uint64_t opens;
    bool gone;
    struct stat last;
};

struct mount_inodes {
    pthread_mutex_t mutex;
    struct inode *buckets[BUCKETS];
};

struct mount_inodes *mount_inodes_new(void)
{
    struct mount_inodes *inodes = calloc(1, sizeof *inodes);

    if (inodes)
        pthread_mutex_init(&inodes->mutex, NULL);
    return inodes;
}

static struct inode **find(struct mount_inodes *inodes, uint64_t ino)
{
    struct inode **link = &inodes->buckets[ino % BUCKETS];

    while (*link && (*link)->ino != ino)
        link = &(*link)->next;
    return link;
}

/* Null: out of memory. */
static struct inode *get(struct mount_inodes *inodes, uint64_t ino)
{
    struct inode **link = find(inodes, ino);

    if (!*link) {
        *link = calloc(1, sizeof **link);
        if (*link)
            (*link)->ino = ino;
    }
    return *link;
}

static void drop_unused(struct inode **link)
{
    struct inode *inode = *link;

    if (inode->gone || inode->opens)
        return;
    *link = inode->next;
    free(inode);
}

void mount_inode_gone(struct mount_inodes *inodes, const struct stat *last)
{
    struct inode *inode;

    pthread_mutex_lock(&inodes->mutex);
    inode = get(inodes, last->st_ino);
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
    inode = *find(inodes, ino);
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
    link = find(inodes, ino);
    if (*link) {
        (*link)->gone = false;
        drop_unused(link);
    }
    pthread_mutex_unlock(&inodes->mutex);
}

bool mount_inode_opened(struct mount_inodes *inodes, uint64_t ino)
{
    struct inode *inode;
    bool before;

    pthread_mutex_lock(&inodes->mutex);
    inode = get(inodes, ino);
    before = inode && inode->opens++;
    pthread_mutex_unlock(&inodes->mutex);
    return before;
}

void mount_inode_closed(struct mount_inodes *inodes, uint64_t ino)
{
    struct inode **link;

    pthread_mutex_lock(&inodes->mutex);
    link = find(inodes, ino);
    if (*link && (*link)->opens) {
        (*link)->opens--;
        drop_unused(link);
    }
    pthread_mutex_unlock(&inodes->mutex);
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
            if (inode->opens)
                list[(*count)++] = inode->ino;
    pthread_mutex_unlock(&inodes->mutex);
    return list;
}
