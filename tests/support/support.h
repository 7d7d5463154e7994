/* SPDX-License-Identifier: MIT */
/*
 * What every test program here needs and nothing more. It has a folder of its own for pools, which
 * is gone afterwards whatever happens. It has a seed that is printed and can be given again,
 * expectations that say what came instead, and processes.
 *
 * Uses only the public header, so a test that works with it works for any user of the library.
 */
#ifndef HF_TESTS_SUPPORT_H
#define HF_TESTS_SUPPORT_H

#include <holdfast/holdfast.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define TEST_MIB(n) ((uint64_t)(n) << 20)
#define TEST_PAGE ((uint64_t)HF_BLOCK_BYTES)
#define TEST_SKIP 77 /* exit status that Meson shows as skipped */

/* ------------------------------------------------------------------------- the program --- */

/* Runs `body` in a child that has a fresh folder (under TMPDIR, else /dev/shm) and a process group
 * of its own. Ends what is left of the group and removes the folder. Returns the exit status for
 * main(). A crash of the child is reported as failure. */
int test_main(int argc, char **argv, int (*body)(int argc, char **argv));

/* main() of a program that is one scenario: returns from it mean success. */
#define TEST_SCENARIO(function)                                                                    \
    int main(int argc, char **argv)                                                                \
    {                                                                                              \
        return test_scenario(argc, argv, function);                                                \
    }
int test_scenario(int argc, char **argv, void (*scenario)(void));

/* The folder of this run. */
const char *test_folder(void);

/* FOLDER/.segments lists patterns of files elsewhere that go with the folder; all of them begin
 * like this. */
#define TEST_SEGMENT_LIST ".segments"
#define TEST_SEGMENT_PREFIX "/dev/shm/holdfast-"

/* FOLDER/name, in one of a few buffers used in turn. */
const char *test_path(const char *name);

/* Removes all that is there, if anything is. */
void test_remove_tree(const char *path);

/* Prints the reason and ends this program as skipped. */
_Noreturn void test_skip(const char *reason);

/* ------------------------------------------------------------------------ expectations --- */

/* Called once before a failing process ends: prints what the reader needs, e.g. a log. */
extern void (*test_on_failure)(void);

_Noreturn void test_fail(const char *file, int line, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void test_expect_equal(const char *file, int line, const char *what, long long got, long long want);
void test_expect_ok(const char *file, int line, const char *what, long long rc);

#define FAIL(...) test_fail(__FILE__, __LINE__, __VA_ARGS__)
#define EXPECT(condition)                                                                          \
    do {                                                                                           \
        if (!(condition))                                                                          \
            FAIL("not so: %s", #condition);                                                        \
    } while (0)
/* Two integers, errno values included. */
#define EXPECT_EQ(expression, want)                                                                \
    test_expect_equal(__FILE__, __LINE__, #expression, (long long)(expression), (long long)(want))
/* Not negative. */
#define EXPECT_OK(expression) test_expect_ok(__FILE__, __LINE__, #expression, (expression))

/* ------------------------------------------------------------------------------ chance --- */

struct test_rng {
    uint64_t state;
};

/* The number in HF_SEED, else a fresh one; prints how to replay it. */
uint64_t test_seed(void);
uint64_t test_random(struct test_rng *rng);
/* In [0, bound), bound > 0. */
uint64_t test_below(struct test_rng *rng, uint64_t bound);
bool test_chance(struct test_rng *rng, unsigned percent);
/* A well mixed number of two others: contents, stamps, seeds of children. */
uint64_t test_mix(uint64_t a, uint64_t b);

/* ------------------------------------------------------------------------- pools, files --- */

/* Makes FOLDER/name, and opens it where that is said; any failure ends the test. */
void test_pool_create(const char *name, uint64_t pool_bytes);
struct hf_pool *test_pool_open(const char *name);
struct hf_pool *test_pool_new(const char *name, uint64_t pool_bytes);
void test_pool_close(struct hf_pool *pool);
/* Has the run segment of a pool on a disk removed at the end, also when its processes fail. */
void test_note_segment(struct hf_pool *pool);
/* fsck finds nothing; nobody may be attached. */
void test_pool_check(const char *name);

uint64_t test_free_bytes(struct hf_pool *pool);
uint64_t test_resident_bytes(struct hf_pool *pool);
/* Everything in the directory goes, and what is in that. */
void test_remove_below(struct hf_pool *pool, uint64_t dir);

/* Opens for reading and writing, made if missing. */
struct hf_file *test_file(struct hf_pool *pool, const char *path);
/* The same with `pages` pages that carry `stamp`. */
struct hf_file *test_file_filled(struct hf_pool *pool, const char *path, uint64_t stamp,
                                 uint64_t pages);
uint64_t test_size(struct hf_file *file);

/* A page's content: every 8-byte word depends on stamp, page and its place. */
void test_page_fill(void *page, uint64_t stamp, uint64_t index);
bool test_page_is(const void *page, uint64_t stamp, uint64_t index);
bool test_is_zero(const void *bytes, size_t len);
void test_write_pages(struct hf_file *file, uint64_t stamp, uint64_t first, uint64_t count);
/* The file's pages [first, first+count), read back, are what test_write_pages() wrote. */
void test_expect_pages(struct hf_file *file, uint64_t stamp, uint64_t first, uint64_t count);
/* How many of the first `pages` are not. */
unsigned test_wrong_pages(struct hf_file *file, uint64_t stamp, uint64_t pages);
/* Writes pages from page `pages` on until no block is free, and returns how many there are then. */
uint64_t test_fill_pool(struct hf_file *file, uint64_t stamp, uint64_t pages);
void test_expect_zeros(struct hf_file *file, uint64_t off, uint64_t len);

/* Pins and expects success; pieces of the range must add up to len. */
struct hf_pin test_pin(struct hf_file *file, uint64_t off, uint64_t len, uint32_t flags,
                       struct iovec *iov, int iovcnt);

/* The same with a lease. */
struct hf_lease test_lease(struct hf_file *file, uint64_t off, uint64_t len,
                           const struct hf_lease_options *options, struct iovec *iov, int iovcnt);

/* How many pins of the state (enum hf_pin_state) hf_pins() shows. */
unsigned test_pins_in_state(struct hf_pool *pool, uint32_t state);
/* Returns once `count` layout changes are waiting for pins. */
void test_await_waiting(struct hf_pool *pool, unsigned count);

extern const struct hf_policy test_wait, test_nowait, test_detach;
struct hf_policy test_deadline_ms(uint64_t ms);
struct hf_policy test_deadline_detach_ms(uint64_t ms);

/* ----------------------------------------------------------------------------- engines --- */

/* What a test may expect of an engine; nothing here is about how it works. */
struct test_engine {
    const char *name;
    bool one_process;   /* only in an anonymous pool */
    bool knows_holders; /* shows which process holds a pin, detaches, sees a thread's own pins */
    bool shares;        /* files may share blocks */
    bool racy;          /* reuses blocks under pins */
};
/* Ends a list of engines' names: with the one that a build may have been told to leave out. */
#ifdef HF_HAVE_RCU
#define TEST_RCU , "rcu"
#else
#define TEST_RCU
#endif
const struct test_engine *test_engine(const char *name);
/* A pool of its own for the engine: FOLDER/name, or an anonymous one when that is all it does or
 * name is null. */
struct hf_pool *test_engine_pool(const struct test_engine *engine, const char *name,
                                 uint64_t pool_bytes);

/* ---------------------------------------------------------------- processes, threads, time --- */

/* A child that runs body(arg) and ends with 0; it dies with its parent. */
pid_t test_fork(void (*body)(void *arg), void *arg);
int test_wait_status(pid_t pid);
/* The child ended with 0. */
void test_join(pid_t pid);
void test_stop(pid_t pid); /* SIGSTOP, and waits until all its threads are stopped */
void test_kill(pid_t pid); /* SIGKILL, and waits for it */

/* `holdfast dedup --follow` on FOLDER/pool, pass after pass without a pause. The environment says
 * in HOLDFAST where the program is; false: it does not. The end gives the bytes merged. */
bool test_can_follow(void);
pid_t test_follower(const char *pool);
uint64_t test_follower_ends(pid_t pid);
void test_follower_is_killed(pid_t pid);

/* A process that trims FOLDER/pool all the time. The end gives the bytes given back, which must not
 * be 0. It may be killed instead (test_kill()). */
pid_t test_trimmer(const char *pool);
uint64_t test_trimmer_ends(pid_t pid);
/* Likewise, one that compacts all files; has_run: and a run of its own, which it has written in
 * single pages. The end gives the runs that it laid. */
pid_t test_compactor(const char *pool, bool has_run);
uint64_t test_compactor_ends(pid_t pid);
/* Likewise, one that makes the pool 4 MiB larger than `bytes`, and shrinks it to that again. The
 * end gives how often it did; the pool may be larger then. */
pid_t test_resizer(const char *pool, uint64_t bytes);
uint64_t test_resizer_ends(pid_t pid);
/* After a trim, the system keeps of a pool on a tmpfs what is not free, and block 0. */
void test_expect_trimmed(struct hf_pool *pool);

/* Zeroed memory shared with children; never unmapped. */
void *test_shared(size_t bytes);

/* After so long what has not come will never come; nothing that only takes long runs into it. */
#define TEST_PATIENCE_NS UINT64_C(600000000000)
#define TEST_PATIENCE_MS (TEST_PATIENCE_NS / 1000000)
#define TEST_PATIENCE_SECONDS ((unsigned)(TEST_PATIENCE_NS / 1000000000))

/* Waits until *flag is at least `value`; fails after TEST_PATIENCE_NS. Both sides of every flag
 * here: acquire and release. */
void test_await(const uint32_t *flag, uint32_t value);
uint32_t test_peek(const uint32_t *flag);
void test_raise(uint32_t *flag, uint32_t value);
void test_count(uint32_t *flag);
void test_count64(uint64_t *counter, uint64_t by);
uint64_t test_peek64(const uint64_t *counter);
void test_put64(uint64_t *counter, uint64_t value);

uint64_t test_now_ns(void);
void test_sleep_ms(unsigned ms);

/* Built with a sanitizer, or HF_TEST_SLOW set (valgrind): everything takes longer. */
bool test_is_slow(void);

#endif
