/* SPDX-License-Identifier: MIT */
/* Lanes, vnodes, arenas and process entries of a run segment. */
#include "base/futex.h"
#include "holdfast/holdfast.h"
#include "run_segment.h"
#include "shm/private.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static void free_vnode(struct shm *shm, struct shm_vnode *vnode)
{
    take_mutex(&vnode->mutex);
    assert_int_equal(shm_lock_table(shm), 0);
    shm_vnode_free(shm, vnode);
    shm_unlock_table(shm);
    shm_unlock(&vnode->mutex);
}

static struct shm_vnode *found(struct shm *shm, uint64_t ino)
{
    struct shm_vnode *vnode;

    assert_int_equal(shm_vnode_find(shm, ino, &vnode), 0);
    return vnode;
}

static void vnodes_are_found_and_shared(void **state)
{
    struct shm *shm = *state;
    struct shm_vnode *a, *b;

    assert_null(found(shm, 5));
    assert_int_equal(shm_vnode_get(shm, 5, &a), 0);
    assert_int_equal(shm_vnode_get(shm, 5, &b), 0);
    assert_ptr_equal(a, b);
    assert_int_equal(a->state, SHM_VNODE_NEW);
    assert_false(shm_vnode_put(shm, a));
    assert_true(shm_vnode_is_open(shm, a));
    assert_true(shm_vnode_put(shm, a));
    assert_false(shm_vnode_is_open(shm, a));
    assert_ptr_equal(found(shm, 5), a); /* stays as a cache */
    free_vnode(shm, a);
    /* for a thread that had looked at it before, and comes to its mutex now */
    assert_int_equal(a->hold_root, SHM_NONE);
    assert_int_equal(a->released, SHM_NONE);
    assert_int_equal(a->detached, SHM_NONE);
    assert_null(found(shm, 5));
}

static void too_many_files(void **state)
{
    struct shm *shm = *state;
    struct shm_vnode *vnodes[64], *more;

    for (unsigned i = 0; i < 64; i++)
        assert_int_equal(shm_vnode_get(shm, 1000 + i, &vnodes[i]), 0);
    assert_int_equal(shm_vnode_get(shm, 2000, &more), -ENFILE);
    for (unsigned i = 0; i < 64; i++) {
        assert_true(shm_vnode_put(shm, vnodes[i]));
        free_vnode(shm, vnodes[i]);
    }
    assert_int_equal(shm->run->vnodes_used, 0);
}

static void *lane_of_thread(void *arg)
{
    return shm_lane(arg);
}

static void lanes_are_reused(void **state)
{
    struct shm *shm = *state;
    struct shm_lane *mine = shm_lane(shm), *first = NULL;

    assert_ptr_equal(shm_lane(shm), mine);
    assert_ptr_equal(shm_lane_fast(shm), mine);
    for (unsigned i = 0; i < 3 * shm->run->limits.lanes; i++) { /* one after another: one lane */
        pthread_t thread;
        void *lane;

        assert_int_equal(pthread_create(&thread, NULL, lane_of_thread, shm), 0);
        assert_int_equal(pthread_join(thread, &lane), 0);
        assert_non_null(lane);
        assert_ptr_not_equal(lane, mine);
        first = first ? first : lane;
        assert_ptr_equal(lane, first);
    }
}

static void an_ended_thread_leaves_its_pins(void **state)
{
    struct shm *shm = *state;
    pthread_t thread;
    void *lane;

    assert_int_equal(pthread_create(&thread, NULL, lane_of_thread, shm), 0);
    assert_int_equal(pthread_join(thread, &lane), 0);
    ((struct shm_lane *)lane)->keys[3] = 1 << SHM_KEY_VNODE_BITS | 1;
    assert_int_equal(shm_lane_pins(lane), 1);
    assert_int_equal(shm_process_pins(shm), 1);
    ((struct shm_lane *)lane)->keys[3] = 0;
    assert_int_equal(shm_process_pins(shm), 0);
}

/* One wait of a call, which looks `looks` times. Ends as the last look says. */
static int wait_in_call(struct shm *shm, struct shm_blocked *blocked, unsigned looks)
{
    struct shm_waiting waiting;
    int rc = 0;

    shm_waiting_begin(&waiting, true, blocked);
    for (unsigned i = 0; i < looks && rc == 0; i++)
        rc = shm_waiting_goes_on(shm, &waiting, 0, 0);
    shm_waiting_end(&waiting);
    return rc;
}

static void a_cancelled_call_waits_no_more(void **state)
{
    struct shm *shm = *state;
    struct shm_blocked *blocked = &shm_lane(shm)->blocked;
    struct shm_waiting waiting;

    shm_call_begins();
    assert_false(shm_call_cancel(blocked)); /* it does not wait */
    shm_waiting_begin(&waiting, true, blocked);
    assert_int_equal(shm_waiting_goes_on(shm, &waiting, 0, 0), 0);
    assert_int_equal(shm_waiting_goes_on(shm, &waiting, 0, 0), 0);
    assert_int_equal(wait_in_call(shm, blocked, 2), 0); /* a lock, inside the wait at a gate */
    assert_true(shm_call_cancel(blocked));
    shm_waiting_end(&waiting); /* the gate has just opened, before it looked */
    assert_false(shm_call_cancel(blocked));
    assert_int_equal(wait_in_call(shm, blocked, 1), -EINTR); /* the next one of that call */
    shm_call_begins();
    assert_int_equal(wait_in_call(shm, blocked, 2), 0); /* and the next call */
}

/* The second look of a wait that began `ns` ago, for thread `tid` of any process. */
static int look_again(bool for_long, uint32_t tid, uint64_t ns)
{
    struct shm_waiting waiting;
    int rc;

    shm_waiting_begin(&waiting, for_long, NULL);
    waiting.since_ns = hf_now_ns() - ns;
    rc = shm_waiting_goes_on(NULL, &waiting, tid, 0);
    rc = rc ? rc : shm_waiting_goes_on(NULL, &waiting, tid, 0);
    shm_waiting_end(&waiting);
    return rc;
}

/* A program on a mount whose timer goes off meanwhile gets no error for a lock that is released
 * soon. */
static void an_interrupted_client_waits_for_locks(void **state)
{
    uint32_t yes = 1;
    pid_t child = fork();

    (void)state;
    if (child == 0)
        for (;;)
            pause();
    shm_bound = (struct shm_bound){.patience = SHM_PATIENCE_LONG, .cancelled = &yes};
    assert_int_equal(look_again(false, (uint32_t)child, 0), 0);
    assert_int_equal(look_again(false, (uint32_t)child, HF_NS_PER_SEC / 2), 0);
    assert_int_equal(look_again(false, (uint32_t)child, HF_NS_PER_SEC), -EINTR);
    assert_int_equal(look_again(true, (uint32_t)child, 0), -EINTR);
    assert_int_equal(kill(child, SIGSTOP), 0);
    assert_int_equal(waitpid(child, NULL, WUNTRACED), child);
    assert_int_equal(look_again(false, (uint32_t)child, 0), -EINTR);
    shm_bound = (struct shm_bound){.patience = SHM_PATIENCE_CALL};
    assert_int_equal(kill(child, SIGKILL), 0);
    assert_int_equal(waitpid(child, NULL, 0), child);
}

/* A process counts its calls from one, as the lane's owner before it did. */
static void a_lane_is_not_cancelled_for_its_owner_before(void **state)
{
    struct shm *shm = *state;
    pthread_t thread;
    void *taken;
    struct shm_lane *lane = NULL;

    assert_non_null(shm_lane(shm)); /* this thread's has been taken */
    for (uint32_t i = 0; i < shm->limits.lanes && !lane; i++)
        lane = shm->lanes[i].owner ? NULL : &shm->lanes[i];
    assert_non_null(lane);
    lane->blocked = (struct shm_blocked){.call = 1000, .cancelled = 1000};
    assert_int_equal(pthread_create(&thread, NULL, lane_of_thread, shm), 0);
    assert_int_equal(pthread_join(thread, &taken), 0);
    assert_ptr_equal(taken, lane);
    assert_int_equal(lane->blocked.call, 0);
    assert_int_equal(lane->blocked.cancelled, 0);
}

static void nodes_are_clean(void **state)
{
    struct shm *shm = *state;
    uint32_t node = shm_node_alloc(shm, 9);
    static const uint64_t zero[SHM_NODE_ENTRIES];

    assert_int_equal(shm->owners[node], 10);
    memset(shm->nodes[node], 0xff, sizeof zero);
    shm_node_free(shm, node);
    assert_int_equal(shm_node_alloc(shm, 9), node);           /* what is warm comes first, */
    assert_memory_equal(shm->nodes[node], zero, sizeof zero); /* and clean */
    shm_node_free(shm, node);
}

static void hash_is_rebuilt(void **state)
{
    struct shm *shm = *state;
    struct shm_vnode *vnodes[20];

    for (unsigned i = 0; i < 20; i++)
        assert_int_equal(shm_vnode_get(shm, 1 + i * 64, &vnodes[i]), 0);
    memset(shm->hash, 0xa5, sizeof *shm->hash * (shm->run->hash_mask + 1));
    assert_int_equal(shm_lock_table(shm), 0);
    /* as after the death of its owner */
    shm_hash_rebuild(shm);
    shm_unlock_table(shm);
    for (unsigned i = 0; i < 20; i++)
        assert_ptr_equal(found(shm, 1 + i * 64), vnodes[i]);
    assert_int_equal(shm->run->vnodes_used, 20);
}

static void *take_and_let_go(void *mutex)
{
    static uint32_t tid;

    take_mutex(mutex);
    shm_unlock(mutex);
    tid = (uint32_t)gettid();
    return &tid;
}

/* A thread that has ended is found nowhere. The mutex says that it has it, as it does when a call
 * looks just before such a thread lets go. */
static void a_thread_that_has_ended_is_named_by_its_process(void **state)
{
    struct shm *shm = *state;
    struct shm_mutex *mutex = &shm->run->space_mutex;
    uint32_t *word = (uint32_t *)(void *)&mutex->robust;
    char named[64];
    pthread_t thread;
    bool died;
    void *tid;

    assert_int_equal(pthread_create(&thread, NULL, take_and_let_go, mutex), 0);
    assert_int_equal(pthread_join(thread, &tid), 0);
    hf_store_release(word, *(uint32_t *)tid);
    shm_bound.patience = SHM_PATIENCE_NONE;
    assert_int_equal(shm_lock(shm, mutex, "the thing", &died), -EBUSY);
    snprintf(named, sizeof named, "the thing is held by process %d (", (int)getpid());
    assert_ptr_equal(strstr(hf_strerror_detail(), named), hf_strerror_detail());
    shm_bound.patience = SHM_PATIENCE_CALL;
    hf_store_release(word, 0u);
}

static bool aborts(struct shm *shm, struct shm_vnode *vnode,
                   void (*call)(struct shm *shm, struct shm_vnode *vnode))
{
    pid_t child = fork();
    int status = 0;

    if (child == 0) {
        (void)!freopen("/dev/null", "w", stderr);
        call(shm, vnode);
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT)
        return true;
    assert_int_equal(status, 0);
    return false;
}

/* The child before may have died with it. */
static void take_from_dead(struct shm_mutex *mutex)
{
    bool died;

    assert_true(shm_lock_now(mutex, &died));
}

static void without_the_mutex(struct shm *shm, struct shm_vnode *vnode)
{
    shm_watch_settle(shm, vnode);
}

static void with_the_mutex(struct shm *shm, struct shm_vnode *vnode)
{
    take_from_dead(&vnode->mutex);
    shm_watch_settle(shm, vnode);
}

static void with_one_held(struct shm *shm, struct shm_vnode *vnode)
{
    (void)shm;
    take_from_dead(&vnode->mutex);
    shm_assert_none_held();
}

static void against_the_order(struct shm *shm, struct shm_vnode *vnode)
{
    (void)vnode;
    take_from_dead(&shm->run->grace_mutex);
    assert_int_equal(shm_lock_table(shm), 0);
}

static void a_missing_lock_is_told(void **state)
{
    struct shm *shm = *state;
    struct shm_vnode *vnode;

    assert_int_equal(shm_vnode_get(shm, 7, &vnode), 0);
    assert_true(aborts(shm, vnode, without_the_mutex));
    assert_true(aborts(shm, vnode, with_one_held));
    assert_true(aborts(shm, vnode, against_the_order));
    assert_false(aborts(shm, vnode, with_the_mutex));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(vnodes_are_found_and_shared),
        cmocka_unit_test(too_many_files),
        cmocka_unit_test(a_lane_is_not_cancelled_for_its_owner_before),
        cmocka_unit_test(lanes_are_reused),
        cmocka_unit_test(an_ended_thread_leaves_its_pins),
        cmocka_unit_test(a_cancelled_call_waits_no_more),
        cmocka_unit_test(an_interrupted_client_waits_for_locks),
        cmocka_unit_test(nodes_are_clean),
        cmocka_unit_test(hash_is_rebuilt),
        cmocka_unit_test(a_thread_that_has_ended_is_named_by_its_process),
        cmocka_unit_test(a_missing_lock_is_told),
    };

    return cmocka_run_group_tests_name("shm", tests, open_segment, close_segment);
}
