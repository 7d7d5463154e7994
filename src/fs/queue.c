/* SPDX-License-Identifier: MIT */
/*
 * Owns the queue of this process's threads that wait for space_mutex, and may get a turn in
 * another's transaction instead (join.c). A thread leaves it by itself, or is taken out. Its mutex
 * decides which of the two, so no thread gives up that has been promised a turn. Calls shm.
 */
#include "fs/queue.h"

void fs_joint_init(struct fs *fs)
{
    pthread_mutex_init(&fs->joint.mutex, NULL);
    fs->joint.first = NULL;
    fs->joint.last = &fs->joint.first;
    fs->joint.count = 0;
}

void fs_queue_enter(struct fs_joint *joint, struct fs_txn *txn)
{
    txn->away = (struct shm_call_away){0, 0};
    txn->next = NULL;
    pthread_mutex_lock(&joint->mutex);
    *joint->last = txn;
    joint->last = &txn->next;
    (void)hf_add_acq_rel(&joint->count, 1u);
    pthread_mutex_unlock(&joint->mutex);
}

static void take_from_queue(struct fs_joint *joint, struct fs_txn **link)
{
    struct fs_txn *txn = *link;

    *link = txn->next;
    if (!txn->next)
        joint->last = link;
    txn->next = NULL;
    (void)hf_sub_acq_rel(&joint->count, 1u);
}

bool fs_queue_leave(struct fs_joint *joint, struct fs_txn *txn)
{
    struct fs_txn **link = &joint->first;
    bool found;

    pthread_mutex_lock(&joint->mutex);
    while (*link && *link != txn)
        link = &(*link)->next;
    found = *link != NULL;
    if (found)
        take_from_queue(joint, link);
    pthread_mutex_unlock(&joint->mutex);
    return found;
}

struct fs_txn *fs_queue_take(struct fs_joint *joint, struct fs_txn *host, unsigned most,
                             unsigned *count)
{
    struct fs_txn *first = NULL, **end = &first;

    pthread_mutex_lock(&joint->mutex);
    for (; joint->first && *count < most; ++*count) {
        struct fs_txn *guest = joint->first;

        take_from_queue(joint, &joint->first);
        guest->host = host;
        *end = guest;
        end = &guest->next;
        shm_call_away(&host->fs->dax.shm->run->space_mutex, &guest->away);
    }
    pthread_mutex_unlock(&joint->mutex);
    return first;
}

/* Threads that sleep on words of their own do not hear of an unlock. The first one that gets the
 * mutex lets the others in. */
void fs_queue_unlocked(struct fs_joint *joint)
{
    pthread_mutex_lock(&joint->mutex);
    if (joint->first)
        shm_call_to_look(&joint->first->away);
    pthread_mutex_unlock(&joint->mutex);
}
