/* SPDX-License-Identifier: MIT */
/*
 * A worker. It makes random operations on files of its own, each in the ledger first. It also pins
 * and leases the files of all workers and moves their blocks, which changes no content.
 *
 * Workers wait without limit while they hold pins and leases. So they come to wait for each other
 * in cycles, and one of them gets -EDEADLK. Now and then a second thread cancels the wait of the
 * first one, but rarely enough for cycles to come about.
 */
#include "storm.h"

#include <errno.h>
#include <fcntl.h>
#include <holdfast/serve.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct work {
    struct storm *storm;
    struct storm_worker *ledger;
    unsigned number;
    struct hf_pool *pool;
    struct test_rng rng;
    struct hf_pin pins[STORM_PINS];
    const void *pinned[STORM_PINS];
    struct hf_file *kept[STORM_FILES];
    struct hf_file *watched; /* somebody's */
    /* Of the operation at hand. */
    unsigned file_number;
    struct storm_file *file;
    struct hf_policy policy;
};

static void doing(struct work *work, const char *what)
{
    snprintf(work->ledger->doing, sizeof(work->ledger->doing), "%s of file %u", what,
             work->file_number);
}

static bool may(struct work *work, unsigned percent)
{
    return test_chance(&work->rng, percent);
}

static void release(struct work *work, unsigned i)
{
    struct storm_pin *pin = &work->ledger->pins[i];

    if (!pin->held)
        return;
    if (!storm_belongs(work->pinned[i], pin->worker, pin->file))
        FAIL("the page under a pin of file %u of worker %u went to another file", pin->file,
             pin->worker);
    EXPECT_EQ(hf_unpin(&work->pins[i]), 0);
    test_raise(&pin->held, 0);
}

static void release_all(struct work *work)
{
    for (unsigned i = 0; i < STORM_PINS; i++)
        release(work, i);
}

static void choose_policy(struct work *work)
{
    work->policy = (struct hf_policy){.kind = (uint32_t)test_below(&work->rng, 6)};
    if (!work->storm->knows_holders) /* a dead process's pin never ends there */
        work->policy.kind = may(work, 50) ? HF_POLICY_NOWAIT : HF_POLICY_DEADLINE;
    if (work->policy.kind == HF_POLICY_DEADLINE || work->policy.kind == HF_POLICY_DEADLINE_DETACH)
        work->policy.deadline_ns = test_below(&work->rng, 3000000);
    if (work->policy.kind <= HF_POLICY_WAIT && may(work, 5)) {
        release_all(work);
        storm_leases_release_all();
    }
}

static struct hf_file *own_file(struct work *work)
{
    struct hf_file **kept = &work->kept[work->file_number];
    char path[64];

    if (!*kept) {
        storm_file_path(work->number, work->file_number, storm_now(work->file)->name, path);
        EXPECT_EQ(UNTIL_DONE(hf_open(work->pool, path, O_RDWR, 0, kept)), 0);
    }
    return *kept;
}

static void forget_file(struct work *work)
{
    struct hf_file **kept = &work->kept[work->file_number];

    if (*kept)
        EXPECT_EQ(hf_close(*kept), 0);
    *kept = NULL;
}

/* Why a layout change may give up. */
static bool refused(struct work *work, int rc)
{
    test_count64(&work->storm->deadlocks, rc == -EDEADLK);
    test_count64(&work->storm->circles,
                 rc == -EDEADLK && strstr(hf_strerror_detail(), "circle") != NULL);
    test_count64(&work->storm->cancelled, rc == -EINTR);
    test_count64(&work->storm->no_room, rc == -ENOSPC);
    return storm_goes_again(rc) || rc == -ETIMEDOUT || rc == -EDEADLK;
}

/* The end of an operation that either happened or did not. */
static void conclude(struct work *work, int rc)
{
    if (rc == 0) {
        storm_acknowledge(work->file);
        test_count64(&work->storm->changes, 1);
        return;
    }
    storm_withdraw(work->file);
    test_count64(&work->storm->busy, 1);
    if (!refused(work, rc))
        FAIL("%s gave %d; %s", work->ledger->doing, rc, hf_strerror_detail());
}

static void run_create(struct work *work)
{
    struct storm_version *next = storm_prepare(work->file);
    struct hf_file *file = NULL;
    char path[64];
    int rc;

    doing(work, "create");
    *next = (struct storm_version){.exists = 1, .name = (uint32_t)test_below(&work->rng, 2)};
    storm_file_path(work->number, work->file_number, next->name, path);
    storm_begin(work->file, STORM_ATOMIC);
    rc = hf_open(work->pool, path, O_RDWR | O_CREAT | O_EXCL, 0600, &file);
    conclude(work, rc);
    work->kept[work->file_number] = file;
}

static void run_unlink(struct work *work)
{
    struct storm_version *next = storm_prepare(work->file);
    char path[64];

    doing(work, "unlink");
    storm_file_path(work->number, work->file_number, next->name, path);
    *next = (struct storm_version){.exists = 0};
    if (may(work, 50))
        forget_file(work);
    storm_begin(work->file, STORM_ATOMIC);
    conclude(work, hf_unlink(work->pool, path, &work->policy));
    if (!storm_now(work->file)->exists)
        forget_file(work);
}

static void run_rename(struct work *work)
{
    struct storm_version *next = storm_prepare(work->file);
    char from[64], to[64];

    doing(work, "rename");
    storm_file_path(work->number, work->file_number, next->name, from);
    next->name = 1 - next->name;
    storm_file_path(work->number, work->file_number, next->name, to);
    storm_begin(work->file, STORM_ATOMIC);
    conclude(work, hf_rename(work->pool, from, to, may(work, 50) ? HF_RENAME_NOREPLACE : 0));
}

/* Gives pages [first, first+count) of the next version tags of their own, and fills `buffer`. */
static void plan_write(struct work *work, struct storm_version *next, unsigned first,
                       unsigned count, unsigned char *buffer)
{
    for (unsigned i = 0; i < count; i++) {
        uint64_t tag = storm_tag(work->number, work->file_number, ++work->ledger->next_tag);

        next->pages[first + i] = (struct storm_page){.tag = tag, .cut = HF_BLOCK_BYTES};
        storm_fill(buffer + i * TEST_PAGE, tag);
    }
    if ((first + count) * TEST_PAGE > next->size)
        next->size = (first + count) * TEST_PAGE;
}

/* A write that was cancelled has done a part of it, or nothing. */
static void write_all(struct work *work, const unsigned char *bytes, size_t len, uint64_t off,
                      bool append)
{
    for (size_t done = 0; done < len;) {
        struct hf_file *file = own_file(work);
        ssize_t n = append ? hf_append(file, bytes + done, len - done, NULL)
                           : hf_write(file, bytes + done, len - done, off + done);

        if (storm_goes_again(n))
            continue;
        EXPECT_OK(n);
        EXPECT(n > 0);
        done += (size_t)n;
    }
}

static void run_write(struct work *work)
{
    static unsigned char buffer[STORM_PAGES * HF_BLOCK_BYTES];
    struct storm_version *next = storm_prepare(work->file);
    unsigned first = (unsigned)test_below(&work->rng, STORM_PAGES);
    unsigned count = 1 + (unsigned)test_below(&work->rng, STORM_PAGES - first);
    bool append = next->size == first * TEST_PAGE;

    doing(work, append ? "append" : "write");
    plan_write(work, next, first, count, buffer);
    storm_begin(work->file, STORM_WRITE);
    write_all(work, buffer, count * TEST_PAGE, first * TEST_PAGE, append);
    conclude(work, 0);
}

/* The same through the addresses of a write pin. */
static void run_write_in_place(struct work *work)
{
    static unsigned char buffer[STORM_PAGES * HF_BLOCK_BYTES];
    struct storm_version *next = storm_prepare(work->file);
    unsigned whole = (unsigned)(next->size / TEST_PAGE), first, count;
    struct iovec iov[STORM_PAGES];
    struct hf_pin pin;
    size_t at = 0;
    int pieces;

    if (whole == 0)
        return;
    first = (unsigned)test_below(&work->rng, whole);
    count = 1 + (unsigned)test_below(&work->rng, whole - first);
    doing(work, "write in place");
    plan_write(work, next, first, count, buffer);
    storm_begin(work->file, STORM_WRITE);
    pieces = (int)UNTIL_DONE(hf_pin(own_file(work), first * TEST_PAGE, count * TEST_PAGE,
                                    HF_PIN_WRITE, iov, STORM_PAGES, &pin));
    EXPECT_OK(pieces);
    for (int i = 0; i < pieces; i++) {
        memcpy(iov[i].iov_base, buffer + at, iov[i].iov_len);
        at += iov[i].iov_len;
    }
    EXPECT_EQ(hf_unpin(&pin), 0);
    conclude(work, 0);
}

/* Pages of the file come to lie on the blocks of other pages of it, or hold the same, which a dedup
 * may find. */
static void run_clone(struct work *work)
{
    static unsigned char page[HF_BLOCK_BYTES];
    struct storm_version *next = storm_prepare(work->file);
    unsigned whole = (unsigned)(next->size / TEST_PAGE), from, to, count;

    if (whole < 2 || !work->storm->shares)
        return;
    from = (unsigned)test_below(&work->rng, whole - 1);
    to = from + 1 + (unsigned)test_below(&work->rng, whole - from - 1);
    count = 1 + (unsigned)test_below(&work->rng, to - from);
    count = count < whole - to ? count : whole - to;
    if (may(work, 50)) {
        doing(work, "clone");
        memcpy(&next->pages[to], &next->pages[from], count * sizeof(next->pages[0]));
        storm_begin(work->file, STORM_ATOMIC);
        conclude(work, hf_clone_range(own_file(work), from * TEST_PAGE, own_file(work),
                                      to * TEST_PAGE, count * TEST_PAGE, &work->policy));
    } else if (next->pages[from].cut == TEST_PAGE) {
        doing(work, "write of the same");
        next->pages[to] = next->pages[from];
        storm_fill(page, next->pages[from].tag);
        storm_begin(work->file, STORM_WRITE);
        write_all(work, page, sizeof(page), to * TEST_PAGE, false);
        conclude(work, 0);
    }
}

static void run_truncate(struct work *work)
{
    struct storm_version *next = storm_prepare(work->file);
    uint64_t size = test_below(&work->rng, STORM_PAGES * TEST_PAGE + 1);

    size -= size % (may(work, 50) ? TEST_PAGE : sizeof(uint64_t)); /* no word is ever cut in two */
    doing(work, "truncate");
    for (unsigned i = 0; i < STORM_PAGES; i++) {
        struct storm_page *page = &next->pages[i];
        uint64_t start = i * TEST_PAGE;

        if (size <= start)
            *page = (struct storm_page){.tag = 0};
        else if (size - start < page->cut)
            page->cut = (uint32_t)(size - start);
    }
    next->size = size;
    storm_begin(work->file, STORM_ATOMIC);
    conclude(work, hf_truncate(own_file(work), size, &work->policy));
}

static void run_punch_or_zero(struct work *work)
{
    struct storm_version *next = storm_prepare(work->file);
    unsigned first = (unsigned)test_below(&work->rng, STORM_PAGES);
    unsigned count = 1 + (unsigned)test_below(&work->rng, STORM_PAGES - first);
    bool punch = may(work, 60);
    uint32_t mode = punch ? HF_FALLOC_PUNCH_HOLE : HF_FALLOC_ZERO_RANGE | HF_FALLOC_KEEP_SIZE;

    doing(work, punch ? "punch" : "zero");
    memset(&next->pages[first], 0, count * sizeof(next->pages[0]));
    storm_begin(work->file, STORM_ATOMIC);
    conclude(work, hf_fallocate(own_file(work), mode, first * TEST_PAGE, count * TEST_PAGE,
                                &work->policy));
}

static void run_collapse(struct work *work)
{
    struct storm_version *next = storm_prepare(work->file);
    unsigned pages = (unsigned)((next->size + TEST_PAGE - 1) / TEST_PAGE), first, count;

    if (pages < 2)
        return;
    first = (unsigned)test_below(&work->rng, pages - 1);
    count = 1 + (unsigned)test_below(&work->rng, pages - 1 - first);
    doing(work, "collapse");
    memmove(&next->pages[first], &next->pages[first + count],
            (STORM_PAGES - first - count) * sizeof(next->pages[0]));
    memset(&next->pages[STORM_PAGES - count], 0, count * sizeof(next->pages[0]));
    next->size -= count * TEST_PAGE;
    storm_begin(work->file, STORM_ATOMIC);
    conclude(work, hf_fallocate(own_file(work), HF_FALLOC_COLLAPSE_RANGE, first * TEST_PAGE,
                                count * TEST_PAGE, &work->policy));
}

static void run_insert(struct work *work)
{
    struct storm_version *next = storm_prepare(work->file);
    unsigned pages = (unsigned)((next->size + TEST_PAGE - 1) / TEST_PAGE), first, count;

    if (pages < 2 || pages == STORM_PAGES)
        return;
    first = (unsigned)test_below(&work->rng, pages - 1);
    count = 1 + (unsigned)test_below(&work->rng, STORM_PAGES - pages);
    doing(work, "insert");
    memmove(&next->pages[first + count], &next->pages[first],
            (STORM_PAGES - first - count) * sizeof(next->pages[0]));
    memset(&next->pages[first], 0, count * sizeof(next->pages[0]));
    next->size += count * TEST_PAGE;
    storm_begin(work->file, STORM_ATOMIC);
    conclude(work, hf_fallocate(own_file(work), HF_FALLOC_INSERT_RANGE, first * TEST_PAGE,
                                count * TEST_PAGE, &work->policy));
}

static void run_log(struct work *work)
{
    struct storm_worker *ledger = work->ledger;
    unsigned char bytes[STORM_RECORD_MAX];
    struct storm_record *record = &ledger->records[ledger->record_count];
    struct hf_file *log;
    long done;

    if (ledger->record_count == STORM_RECORDS)
        return;
    doing(work, "log");
    *record = (struct storm_record){.number = ++ledger->next_record};
    record->len = (uint32_t)storm_record_fill(bytes, work->number, record->number);
    EXPECT_EQ(UNTIL_DONE(hf_open(work->pool, STORM_LOG, O_WRONLY, 0, &log)), 0);
    do /* one that was cut short is not acknowledged: the whole of it goes after it */
        done = UNTIL_DONE(hf_append(log, bytes, record->len, &record->off));
    while (done > 0 && done < record->len);
    EXPECT_EQ(done, record->len);
    test_raise(&ledger->record_count, ledger->record_count + 1);
    EXPECT_EQ(hf_close(log), 0);
}

/* Somebody's file, which may have just gone or got its other name. */
static struct hf_file *anybodys_file(struct work *work, unsigned *worker, unsigned *number)
{
    struct hf_file *file = NULL;
    char path[64];

    *worker = (unsigned)test_below(&work->rng, work->storm->worker_count);
    *number = (unsigned)test_below(&work->rng, STORM_FILES);
    storm_file_path(*worker, *number, (unsigned)test_below(&work->rng, 2), path);
    if (hf_open(work->pool, path, O_RDONLY + (may(work, 50) ? O_RDWR : 0), 0, &file) != 0)
        return NULL;
    return file;
}

/* A range of the file; false: it is empty. */
static bool choose_range(struct work *work, struct hf_file *file, struct storm_pin *pin)
{
    uint64_t size = storm_size(file);

    if (size == 0)
        return false;
    pin->off = test_below(&work->rng, size) / TEST_PAGE * TEST_PAGE;
    pin->len = 1 + test_below(&work->rng, size - pin->off);
    return true;
}

static void run_pin(struct work *work)
{
    static const uint32_t purposes[] = {HF_PIN_CPU, HF_PIN_CPU, HF_PIN_NOWAIT};
    unsigned i = (unsigned)test_below(&work->rng, STORM_PINS);
    struct storm_pin *pin = &work->ledger->pins[i];
    struct iovec iov[STORM_PAGES];
    struct hf_file *file;
    int rc = -EFAULT;

    doing(work, "pin");
    release(work, i);
    file = anybodys_file(work, &pin->worker, &pin->file);
    if (!file)
        return;
    if (choose_range(work, file, pin)) {
        test_raise(&pin->held, 1);
        rc = hf_pin(file, pin->off, pin->len, purposes[test_below(&work->rng, 3)], iov, STORM_PAGES,
                    &work->pins[i]);
    }
    if (rc > 0) {
        work->pinned[i] = iov[0].iov_base;
        test_count64(&work->storm->pins, 1);
    } else {
        test_raise(&pin->held, 0);
        EXPECT(rc == -EFAULT || rc == -EAGAIN || storm_goes_again(rc));
    }
    EXPECT_EQ(hf_close(file), 0);
}

static void run_lease(struct work *work)
{
    struct storm_pin pin = {.held = 0};
    struct hf_file *file;

    doing(work, "lease");
    if (may(work, 40)) {
        storm_leases_act(&work->rng);
        return;
    }
    file = anybodys_file(work, &pin.worker, &pin.file);
    if (!file)
        return;
    if (choose_range(work, file, &pin))
        storm_lease_new(&work->rng, file, &pin);
    EXPECT_EQ(hf_close(file), 0);
}

/* A policy that detaches is for the worker's own files. In another's file, what its owner writes in
 * place meanwhile would go into blocks that have left the file, as it should. */
static void run_move(struct work *work)
{
    unsigned worker, number;
    struct hf_file *file = anybodys_file(work, &worker, &number);
    uint64_t size;
    int rc = 0;

    doing(work, "move of another file instead");
    if (!file)
        return;
    if (worker != work->number && work->policy.kind >= HF_POLICY_DETACH)
        work->policy = test_nowait;
    size = storm_size(file);
    if (size > 0)
        rc = hf_move(file, 0, size, &work->policy);
    /* It may be open for reading only, or have shrunk since. */
    if (rc != 0 && rc != -EBADF && rc != -EINVAL && !refused(work, rc))
        FAIL("move gave %d; %s", rc, hf_strerror_detail());
    EXPECT_EQ(hf_close(file), 0);
}

static void run_watch(struct work *work)
{
    unsigned worker, number;

    doing(work, "watching another file instead");
    if (work->watched)
        EXPECT_EQ(hf_close(work->watched), 0);
    work->watched = anybodys_file(work, &worker, &number);
    if (work->watched)
        EXPECT_EQ(UNTIL_DONE(hf_watch(work->watched, 1)), 0);
}

/* The child uses nothing of the pool. */
static void run_fork(struct work *work)
{
    pid_t pid;

    doing(work, "fork instead");
    pid = fork();
    if (pid == 0) {
        usleep((useconds_t)test_below(&work->rng, 20000));
        _exit(0);
    }
    test_count64(&work->storm->forks, pid > 0);
}

/* Nobody is in the middle of anything when all have come here. */
static void pause_if_asked(struct work *work)
{
    if (!test_peek(&work->storm->pause))
        return;
    test_raise(&work->ledger->paused, 1);
    while (test_peek(&work->storm->pause))
        usleep(100);
    test_raise(&work->ledger->paused, 0);
}

static void run_one(struct work *work)
{
    static void (*const with_file[])(struct work * work) = {
        run_write,         run_write,         run_write,  run_write_in_place, run_truncate,
        run_truncate,      run_collapse,      run_insert, run_rename,         run_unlink,
        run_punch_or_zero, run_punch_or_zero, run_write,  run_clone,          run_clone,
    };
    uint64_t kind = test_below(&work->rng, 100);

    storm_leases_hear();
    if (work->storm->actors & STORM_FORKS && may(work, 1))
        run_fork(work);
    if (may(work, 3)) /* nobody else changes what is in its files */
        storm_settle(work->storm, work->pool, work->number);
    work->file_number = (unsigned)test_below(&work->rng, STORM_FILES);
    work->file = &work->ledger->files[work->file_number];
    choose_policy(work);
    if (kind < 22)
        run_pin(work);
    else if (kind < 36)
        run_lease(work);
    else if (kind < 40)
        run_log(work);
    else if (kind < 44)
        run_move(work);
    else if (kind < 48)
        run_watch(work);
    else if (!storm_now(work->file)->exists)
        run_create(work);
    else
        with_file[test_below(&work->rng, sizeof(with_file) / sizeof(with_file[0]))](work);
    if (may(work, 10))
        release(work, (unsigned)test_below(&work->rng, STORM_PINS));
    if (may(work, 10))
        forget_file(work);
}

struct canceller {
    struct storm *storm;
    struct storm_worker *ledger;
    struct hf_pool *pool;
    pid_t tid;
    struct test_rng rng;
};

/* Some time, or that all are to come to the end of what they are at. */
static void await_reason(struct canceller *canceller)
{
    uint64_t until = test_now_ns() + test_below(&canceller->rng, 150000000);

    do
        usleep(1000);
    while (test_now_ns() < until &&
           (!test_peek(&canceller->storm->pause) || test_peek(&canceller->ledger->paused)));
}

static void *keep_cancelling(void *arg)
{
    struct canceller *canceller = arg;

    for (;;) {
        int rc;

        await_reason(canceller);
        rc = hf_cancel(canceller->pool, canceller->tid);
        EXPECT(rc == 0 || rc == -ESRCH);
    }
    return NULL;
}

struct listener {
    struct hf_pool *pool;
    struct storm *storm;
};

static void *keep_listening(void *arg)
{
    struct hf_watch_report report;
    struct listener *listener = arg;

    for (;;) {
        EXPECT_EQ(hf_watch_next(listener->pool, UINT64_MAX, &report), 1);
        EXPECT(report.off <= UINT64_MAX - report.len && report.len > 0);
        test_count64(&listener->storm->reports, 1);
    }
    return NULL;
}

void storm_work(struct storm *storm, unsigned worker)
{
    struct work *work = calloc(1, sizeof(*work));
    struct canceller canceller;
    struct listener listener;
    pthread_t thread;

    work->storm = storm;
    work->number = worker;
    work->ledger = &storm->workers[worker];
    work->rng.state = test_mix(storm->seed, test_mix(worker, work->ledger->progress));
    snprintf(work->ledger->doing, sizeof(work->ledger->doing), "open of the pool");
    work->pool = test_pool_open(STORM_POOL);
    storm_leases_begin(storm, worker, work->pool);
    canceller =
        (struct canceller){storm, work->ledger, work->pool, gettid(), {test_random(&work->rng)}};
    EXPECT_EQ(pthread_create(&thread, NULL, keep_cancelling, &canceller), 0);
    listener = (struct listener){work->pool, storm};
    EXPECT_EQ(pthread_create(&thread, NULL, keep_listening, &listener), 0);
    signal(SIGCHLD, SIG_IGN);
    for (;;) {
        pause_if_asked(work);
        run_one(work);
        test_count64(&work->ledger->progress, 1);
        test_count64(&storm->operations, 1);
    }
}
