/* SPDX-License-Identifier: MIT */
/* Sentences, futexes and the fork count. */
#include "base/error.h"
#include "base/fork.h"
#include "base/futex.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static void *other_sentence(void *arg)
{
    assert_string_equal(hf_error_sentence(), "");
    hf_fail(EIO, "another thread's");
    return arg;
}

static void sentences(void **state)
{
    pthread_t thread;
    char before[512];

    (void)state;
    errno = 7;
    assert_int_equal(hf_fail(EINVAL, "%s is %d", "x", 3), -EINVAL);
    assert_string_equal(hf_error_sentence(), "x is 3");
    assert_int_equal(hf_fail_errno(ENOENT, "%s", "/p"), -ENOENT);
    assert_string_equal(hf_error_sentence(), "/p: No such file or directory");
    assert_int_equal(errno, 7);
    strcpy(before, hf_error_sentence());
    assert_int_equal(pthread_create(&thread, NULL, other_sentence, NULL), 0);
    pthread_join(thread, NULL);
    assert_string_equal(hf_error_sentence(), before);
}

static void long_sentences_are_cut(void **state)
{
    char text[2000];

    (void)state;
    memset(text, 'a', sizeof text - 1);
    text[sizeof text - 1] = 0;
    assert_int_equal(hf_fail_errno(EIO, "%s", text), -EIO);
    assert_true(strlen(hf_error_sentence()) < 512);
}

static uint32_t word;

static void *waker(void *arg)
{
    __atomic_store_n(&word, 1, __ATOMIC_RELEASE);
    hf_futex_wake_all(&word);
    return arg;
}

static void futexes(void **state)
{
    pthread_t thread;

    (void)state;
    word = 0;
    assert_int_equal(hf_futex_wait(&word, 1, HF_NEVER), 0); /* another value: at once */
    assert_int_equal(hf_futex_wait(&word, 0, hf_now_ns() + HF_NS_PER_MS), -ETIMEDOUT);
    assert_int_equal(hf_futex_wait(&word, 0, 0), -ETIMEDOUT);
    assert_int_equal(pthread_create(&thread, NULL, waker, NULL), 0);
    while (__atomic_load_n(&word, __ATOMIC_ACQUIRE) == 0)
        hf_futex_wait(&word, 0, HF_NEVER);
    pthread_join(thread, NULL);
}

static void in_child(void)
{
}

static void forks_are_counted(void **state)
{
    uint32_t before;
    int status;
    pid_t pid;

    (void)state;
    hf_fork_watch(in_child);
    before = hf_fork_count;
    pid = fork();
    if (pid == 0)
        _exit(hf_fork_count == before + 1 ? 0 : 1);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    assert_int_equal(hf_fork_count, before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sentences),
        cmocka_unit_test(long_sentences_are_cut),
        cmocka_unit_test(futexes),
        cmocka_unit_test(forks_are_counted),
    };

    return cmocka_run_group_tests_name("base", tests, NULL, NULL);
}
