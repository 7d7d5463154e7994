/* SPDX-License-Identifier: MIT */
/*
 * The actor crowd. More processes attach than the pool has entries for, with more threads than it
 * has lanes for, and take all of its leases. Then all are killed, and the tables are full of the
 * dead. The next processes find room for as many again.
 */
#include "storm.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#define MEMBERS (STORM_PROCESSES + 4)
#define THREADS_OF_EACH 3
#define FILE_OF_ALL "/crowd"

static struct crowd {
    uint32_t there, came; /* members; those that have attached */
    uint32_t all_threads; /* members of which each thread has had its turn */
    uint32_t no_room;     /* members that a full file system has kept out */
    uint64_t leases, no_lane, no_lease;
} * crowd;

/* False: all are taken. */
static bool take_lease(struct hf_file *file)
{
    struct hf_lease lease;
    struct iovec iov;
    int rc = (int)UNTIL_DONE(hf_lease(file, 0, TEST_PAGE, NULL, &iov, 1, &lease));
    const char *sentence = rc == 1 ? "" : hf_strerror_detail();

    if (rc != 1 && rc != -ENOLCK)
        FAIL("a lease gave %d; %s", rc, sentence);
    test_count64(rc == 1                           ? &crowd->leases
                 : strstr(sentence, "max-threads") ? &crowd->no_lane
                                                   : &crowd->no_lease,
                 1);
    return rc == 1;
}

struct thread {
    struct hf_file *file;
    uint32_t done;
};

/* It stays, and so does its lane. */
static void *crowd_thread(void *arg)
{
    struct thread *thread = arg;

    take_lease(thread->file);
    test_raise(&thread->done, 1);
    pause();
    return NULL;
}

static void start_threads(struct hf_file *file)
{
    static struct thread threads[THREADS_OF_EACH];
    pthread_t id;

    for (unsigned i = 0; i < THREADS_OF_EACH; i++) {
        threads[i].file = file;
        EXPECT_EQ(pthread_create(&id, NULL, crowd_thread, &threads[i]), 0);
        test_await(&threads[i].done, 1);
    }
}

/* Lanes first, since those that have one take all the leases. A thread that has none looks for
 * entries of the dead. It ends that before the others take what is left: an entry that it is about
 * to free would be missed. */
static void take_all(struct hf_file *file)
{
    bool more;

    if (file)
        start_threads(file);
    more = file && take_lease(file);
    test_count(&crowd->all_threads);
    test_await(&crowd->all_threads, MEMBERS);
    while (more)
        more = take_lease(file);
}

static void join_crowd(void *arg)
{
    struct hf_pool *pool;
    struct hf_file *file = NULL;
    int rc = hf_pool_open(test_path(STORM_POOL), 0, &pool);

    (void)arg;
    test_on_failure = NULL;
    if (rc == 0) {
        test_count(&crowd->came);
        rc = (int)UNTIL_DONE(hf_open(pool, FILE_OF_ALL, O_RDWR, 0, &file));
        EXPECT(rc == 0 || rc == -ENOLCK);
    } else if (rc == -ENOSPC && storm_is_filled) {
        test_count(&crowd->no_room);
    } else {
        EXPECT_EQ(rc, -EBUSY); /* no entry for the process */
    }
    take_all(rc ? NULL : file);
    test_count(&crowd->there);
    for (;;)
        pause();
}

static void gather_and_kill(void)
{
    pid_t pids[MEMBERS];

    *crowd = (struct crowd){0};
    for (unsigned i = 0; i < MEMBERS; i++)
        pids[i] = test_fork(join_crowd, NULL);
    test_await(&crowd->there, MEMBERS);
    for (unsigned i = 0; i < MEMBERS; i++)
        test_kill(pids[i]);
    if (crowd->no_room)
        return;
    EXPECT_EQ(crowd->came, STORM_PROCESSES - 1); /* and this one */
    EXPECT_EQ(crowd->leases, STORM_LEASES_MAX);
    EXPECT(crowd->no_lane > 0 && crowd->no_lease > 0);
}

/* False: the file system is full, and nobody is there who would make room. */
static bool make_file_of_all(struct hf_pool *pool)
{
    unsigned char page[TEST_PAGE] = {1};
    struct hf_file *file;
    int rc = hf_open(pool, FILE_OF_ALL, O_RDWR | O_CREAT, 0644, &file);

    if (rc == 0) {
        rc = hf_write(file, page, sizeof(page), 0) == sizeof(page) ? 0 : -ENOSPC;
        EXPECT_EQ(hf_close(file), 0);
    }
    EXPECT(rc == 0 || (rc == -ENOSPC && storm_is_filled));
    return rc == 0;
}

void storm_crowd(struct storm *storm, struct hf_pool *pool)
{
    int rc;

    if (!crowd)
        crowd = test_shared(sizeof(*crowd));
    for (unsigned i = 0; i < 2 && make_file_of_all(pool); i++) {
        gather_and_kill();
        storm->crowds++;
        storm->crowded += crowd->leases;
    }
    rc = hf_unlink(pool, FILE_OF_ALL, &test_wait);
    EXPECT(rc == 0 || (rc == -ENOENT && storm_is_filled));
}
