/* SPDX-License-Identifier: MIT */
/*
 * Pages that the kernel is to drop after a reply are dropped by another thread. Without memory or a
 * thread, the worker drops them before it goes on. The kernel and the mount's other parts are
 * played here.
 */
#include "private.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <semaphore.h>
#include <stdlib.h>

#define INO 7u
#define OFF 8192u
#define LEN 4096u

static bool no_memory, no_thread;
static sem_t dropped;
static pthread_t dropped_by;

void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);
int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*run)(void *),
                          void *arg);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*run)(void *),
                          void *arg);

void *__wrap_malloc(size_t size)
{
    return no_memory ? NULL : __real_malloc(size);
}

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*run)(void *),
                          void *arg)
{
    return no_thread ? EAGAIN : __real_pthread_create(thread, attr, run, arg);
}

int fuse_lowlevel_notify_inval_inode(struct fuse_session *session, fuse_ino_t ino, off_t off,
                                     off_t len)
{
    assert_null(session);
    assert_int_equal(ino, INO);
    assert_int_equal(off, OFF);
    assert_int_equal(len, LEN);
    dropped_by = pthread_self();
    sem_post(&dropped);
    return 0;
}

uint64_t *mount_inodes_open(struct mount_inodes *inodes, size_t *count)
{
    (void)inodes;
    *count = 0;
    fail_msg("one file was to be dropped, not all");
    return NULL;
}

void mount_files_evict(struct mount *mount, uint64_t ino)
{
    (void)mount;
    fail_msg("inode %lu was to stay open", (unsigned long)ino);
}

void mount_files_evict_all(struct mount *mount)
{
    (void)mount;
    fail_msg("no file was to be closed");
}

static void by_another_thread(void **state)
{
    struct mount mount = {0};

    (void)state;
    mount_drop_soon(&mount, INO, OFF, LEN);
    assert_int_equal(sem_wait(&dropped), 0);
    assert_false(pthread_equal(dropped_by, pthread_self()));
}

static void expect_by_caller(void)
{
    struct mount mount = {0};

    mount_drop_soon(&mount, INO, OFF, LEN);
    no_memory = no_thread = false;
    assert_int_equal(sem_trywait(&dropped), 0);
    assert_true(pthread_equal(dropped_by, pthread_self()));
}

static void without_memory(void **state)
{
    (void)state;
    no_memory = true;
    expect_by_caller();
}

static void without_a_thread(void **state)
{
    (void)state;
    no_thread = true;
    expect_by_caller();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(by_another_thread),
        cmocka_unit_test(without_memory),
        cmocka_unit_test(without_a_thread),
    };

    sem_init(&dropped, 0, 0);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
