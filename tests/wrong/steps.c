/* SPDX-License-Identifier: MIT */
/*
 * One edge of the protocol is taken out, and two threads take their steps in the order in which it
 * is missed. The pinner stands between its walk and its return until the layout change has ended,
 * or waits for the pinner. With the edge in place the same order does no harm. So the test needs no
 * luck, no processor for each thread, and no time limit.
 *
 * usage: steps EDGE | ENGINE
 */
#include "fs/fs.h"
#include "pool/pool.h"
#include "steps.h"

#include <errno.h>
#include <holdfast/compact.h>
#include <holdfast/serve.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

const struct test_engine *engine;
struct hf_pool *pool;
struct hf_file *victim, *other;
uint32_t walked, go, tried, changed;
bool harmed;
static uint32_t warm, begin;

/* Whatever is left of the pool does no harm: all but one block is in use. */
static void prepare(const char *name)
{
    struct hf_file *ballast;

    engine = test_engine(name);
    pool = test_engine_pool(engine, NULL, TEST_MIB(8));
    victim = test_file_filled(pool, "/victim", OURS, 1);
    other = test_file(pool, "/other");
    ballast = test_file(pool, "/ballast");
    EXPECT_EQ(hf_fallocate(ballast, 0, 0, test_free_bytes(pool), NULL), 0);
    EXPECT_EQ(hf_close(ballast), 0);
}

void make_room(void)
{
    struct hf_file *ballast = test_file(pool, "/ballast");

    EXPECT_EQ(hf_truncate(ballast, 0, NULL), 0);
    EXPECT_EQ(hf_close(ballast), 0);
}

/* The block of the victim goes to the other file, at once. */
void *change(void *unused)
{
    EXPECT_EQ(hf_fallocate(victim, HF_FALLOC_PUNCH_HOLE, 0, TEST_PAGE, &test_wait), 0);
    test_write_pages(other, THEIRS, 0, 1);
    test_raise(&changed, 1);
    return unused;
}

bool change_waits(void)
{
    return engine->knows_holders && test_pins_in_state(pool, HF_PIN_WAITING) > 0;
}

/* ---- a walk that has read the entry, and a change that does not know of it ---- */

static enum hf_lab_point stands_at;

static void stand(enum hf_lab_point point)
{
    if (point != stands_at || test_peek(&walked))
        return;
    test_raise(&walked, 1);
    test_await(&go, 1);
}

void stand_at(enum hf_lab_point point)
{
    stands_at = point;
    hf_lab_at = stand;
}

static void *pin(void *unused)
{
    struct iovec iov;
    struct hf_pin pin = test_pin(victim, 0, TEST_PAGE, HF_PIN_READ, &iov, 1); /* fills the entry */

    EXPECT_EQ(hf_unpin(&pin), 0);
    test_raise(&warm, 1);
    test_await(&begin, 1);
    hf_lab_stepped = true;
    EXPECT_EQ(hf_pin(victim, 0, TEST_PAGE, HF_PIN_NOWAIT, &iov, 1, &pin), 1);
    hf_lab_stepped = false;
    harmed = !test_page_is(iov.iov_base, OURS, 0);
    EXPECT_EQ(hf_unpin(&pin), 0);
    return unused;
}

static bool unmarked;

static void pin_beside_change(bool biased)
{
    pthread_t pinner;

    stand_at(HF_LAB_WALKED);
    EXPECT_EQ(pthread_create(&pinner, NULL, pin, NULL), 0);
    test_await(&warm, 1);
    victim->vnode->bias = biased; /* as if it had been left in peace for long, or not */
    /* as looks leave it that find no pin */
    if (unmarked)
        memset(victim->vnode->marks, 0, sizeof(victim->vnode->marks));
    test_raise(&begin, 1);
    change_beside(pinner);
}

void pin_unmarked(bool biased)
{
    unmarked = true;
    pin_beside_change(biased);
}

/* ---- an entry that comes back in a closed gate ---- */

static void *fill(void *unused)
{
    struct iovec iov;
    struct hf_pin pin;

    if (hf_pin(victim, 0, TEST_PAGE, HF_PIN_NOFILL, &iov, 1, &pin) == 1)
        EXPECT_EQ(hf_unpin(&pin), 0);
    test_raise(&tried, 1);
    return unused;
}

static uint64_t gate_waits(void)
{
    struct hf_stats stats = {.size = sizeof(stats)};

    EXPECT_EQ(hf_stats(pool, &stats), 0);
    return stats.gate_waits;
}

static void pin_in_gate(bool unused)
{
    struct iovec iov;
    struct hf_pin held = test_pin(victim, 0, TEST_PAGE, HF_PIN_READ, &iov, 1), late;
    pthread_t changer, filler;

    (void)unused;
    EXPECT_EQ(pthread_create(&changer, NULL, change, NULL), 0);
    test_await_waiting(pool, 1);
    EXPECT_EQ(pthread_create(&filler, NULL, fill, NULL), 0);
    while (!test_peek(&tried) && gate_waits() == 0)
        sched_yield();
    EXPECT_EQ(hf_unpin(&held), 0);
    pthread_join(changer, NULL);
    pthread_join(filler, NULL);
    if (hf_pin(victim, 0, TEST_PAGE, HF_PIN_NOWAIT, &iov, 1, &late) == 1) {
        harmed = !test_is_zero(iov.iov_base, TEST_PAGE);
        EXPECT_EQ(hf_unpin(&late), 0);
    }
}

/* ---- bytes that are on their way, and a watcher that begins ---- */

/* It writes in place. What it has written is kept back while it looks whether somebody watches. */
static void *write_in_place(void *unused)
{
    struct iovec iov;
    struct hf_pin pin = test_pin(victim, 0, TEST_PAGE, HF_PIN_WRITE, &iov, 1);

    hf_lab_keep(iov.iov_base, THEIRS);
    EXPECT_EQ(hf_unpin(&pin), 0);
    test_raise(&changed, 1);
    test_await(&go, 1);
    hf_lab_drain();
    return unused;
}

static void begin_to_watch(bool unused)
{
    struct hf_watch_report report;
    pthread_t writer;
    uint64_t word;

    (void)unused;
    EXPECT_EQ(pthread_create(&writer, NULL, write_in_place, NULL), 0);
    test_await(&changed, 1);
    EXPECT_EQ(hf_watch(victim, 1), 0);
    EXPECT_EQ(hf_read(victim, &word, sizeof(word), 0), sizeof(word));
    test_raise(&go, 1);
    pthread_join(writer, NULL);
    harmed = word != THEIRS && hf_watch_next(pool, 0, &report) == 0;
}

/* ---- a write that copies, and a change that does not wait for it ---- */

static void *write_page(void *unused)
{
    char page[HF_BLOCK_BYTES];

    test_page_fill(page, THEIRS, 0);
    hf_lab_stepped = true;
    EXPECT_EQ(hf_write(victim, page, sizeof(page), 0), sizeof(page));
    hf_lab_stepped = false;
    return unused;
}

static void move_under_write(bool unused)
{
    char page[HF_BLOCK_BYTES];
    pthread_t writer;

    (void)unused;
    make_room();
    stand_at(HF_LAB_COPIES);
    EXPECT_EQ(pthread_create(&writer, NULL, write_page, NULL), 0);
    test_await(&walked, 1);
    EXPECT_EQ(hf_move(victim, 0, TEST_PAGE, &test_detach), 0);
    test_raise(&go, 1);
    pthread_join(writer, NULL);
    EXPECT_EQ(hf_read(victim, page, sizeof(page), 0), sizeof(page));
    harmed = !test_page_is(page, THEIRS, 0);
}

/* ---- blocks that two files share ---- */

static void clone_victim(void)
{
    make_room();
    EXPECT_EQ(hf_clone_range(victim, 0, other, 0, 0, &test_wait), 0);
}

/* In the directory of the victim, as "/copy". */
static void clone_as_one_of_many(void)
{
    struct hf_clone_entry entry = {.dir = HF_ROOT_INO, .name = "copy"};
    struct stat st;

    EXPECT_EQ(hf_stat(pool, "/victim", 0, &st), 0);
    entry.from = st.st_ino;
    hf_clone_files(pool, &entry, 1);
    EXPECT(entry.result == 0 || entry.result == -EBUSY);
}

static bool is_still_ours(struct hf_file *file)
{
    char page[HF_BLOCK_BYTES];

    return hf_read(file, page, sizeof(page), 0) == 0 || test_page_is(page, OURS, 0);
}

static void store_theirs(const struct iovec *iov)
{
    test_page_fill(iov->iov_base, THEIRS, 0);
}

static void merge_what_is_pinned(bool unused)
{
    struct hf_dedup_result result = {.size = sizeof(result)};
    struct iovec iov;
    struct hf_pin held;

    (void)unused;
    make_room();
    test_write_pages(other, OURS, 0, 1);
    held = test_pin(victim, 0, TEST_PAGE, HF_PIN_WRITE, &iov, 1);
    EXPECT_EQ(hf_dedup_range(victim, 0, other, 0, TEST_PAGE, &result), 0);
    store_theirs(&iov);
    EXPECT_EQ(hf_unpin(&held), 0);
    harmed = !is_still_ours(other);
}

static void clone_what_is_pinned(bool unused)
{
    struct iovec iov;
    struct hf_pin held = test_pin(victim, 0, TEST_PAGE, HF_PIN_WRITE, &iov, 1);

    (void)unused;
    clone_as_one_of_many();
    store_theirs(&iov);
    EXPECT_EQ(hf_unpin(&held), 0);
    harmed = !is_still_ours(test_file(pool, "/copy"));
}

static void pin_what_is_shared(bool unused)
{
    struct iovec iov;
    struct hf_pin held;

    (void)unused;
    clone_victim();
    held = test_pin(other, 0, TEST_PAGE, HF_PIN_WRITE, &iov, 1);
    store_theirs(&iov);
    EXPECT_EQ(hf_unpin(&held), 0);
    harmed = !is_still_ours(victim);
}

/* By a reader of one file, while each file is written. */
static void read_what_is_shared(bool unused)
{
    struct iovec iov;
    struct hf_pin held;

    (void)unused;
    clone_victim();
    held = test_pin(other, 0, TEST_PAGE, HF_PIN_READ, &iov, 1);
    test_write_pages(other, OURS, 0, 1);
    test_write_pages(victim, THEIRS, 0, 1);
    harmed = !test_page_is(iov.iov_base, OURS, 0);
    EXPECT_EQ(hf_unpin(&held), 0);
}

static void *walk_to_merged(void *unused)
{
    struct iovec iov;
    struct hf_pin pin = test_pin(victim, 0, TEST_PAGE, HF_PIN_READ, &iov, 1); /* fills the entry */
    int rc;

    EXPECT_EQ(hf_unpin(&pin), 0);
    test_raise(&warm, 1);
    test_await(&begin, 1);
    hf_lab_stepped = true;
    rc = hf_pin(victim, 0, TEST_PAGE, HF_PIN_NOWAIT, &iov, 1, &pin);
    hf_lab_stepped = false;
    if (rc == 1) {
        harmed = !test_page_is(iov.iov_base, OURS, 0);
        EXPECT_EQ(hf_unpin(&pin), 0);
    } else {
        EXPECT_EQ(rc, -EAGAIN);
    }
    return unused;
}

/* The victim's page is merged under a walk that has read its entry. Its block goes to a third file,
 * which has an entry for it, so that the walk can count it. */
static void merge_beside_walk(bool unused)
{
    struct hf_dedup_result result = {.size = sizeof(result)};
    struct hf_file *third = test_file(pool, "/third"), *ballast;
    struct iovec iov;
    struct hf_pin pin;
    pthread_t walker;

    (void)unused;
    make_room();
    test_write_pages(other, OURS, 0, 1);
    ballast = test_file(pool, "/ballast");
    EXPECT_EQ(hf_fallocate(ballast, 0, 0, test_free_bytes(pool), NULL), 0);
    stand_at(HF_LAB_WALKED);
    EXPECT_EQ(pthread_create(&walker, NULL, walk_to_merged, NULL), 0);
    test_await(&warm, 1);
    test_raise(&begin, 1);
    test_await(&walked, 1);
    EXPECT_EQ(hf_dedup_range(other, 0, victim, 0, TEST_PAGE, &result), 0);
    EXPECT_EQ(result.shared_bytes, TEST_PAGE);
    test_write_pages(third, THEIRS, 0, 1);
    pin = test_pin(third, 0, TEST_PAGE, HF_PIN_READ, &iov, 1);
    EXPECT_EQ(hf_unpin(&pin), 0);
    test_raise(&go, 1);
    pthread_join(walker, NULL);
}

static void lease_what_is_shared(bool unused)
{
    const struct hf_lease_options options = {.size = sizeof(options), .flags = HF_PIN_WRITE};
    struct hf_lease lease;
    struct iovec iov;

    (void)unused;
    clone_victim();
    EXPECT_EQ(hf_lease(other, 0, TEST_PAGE, &options, &iov, 1, &lease), 1);
    store_theirs(&iov);
    EXPECT_EQ(hf_lease_release(&lease), 0);
    harmed = !is_still_ours(victim);
}

/* A device may go on with what was given up: no other file gets it. */
static void give_up_and_cut(bool unused)
{
    const struct hf_lease_options options = {.size = sizeof(options),
                                             .flags = HF_PIN_WRITE | HF_PIN_RDMA};
    struct hf_lease lease;
    struct iovec iov;

    (void)unused;
    EXPECT_EQ(hf_lease(victim, 0, TEST_PAGE, &options, &iov, 1, &lease), 1);
    EXPECT_EQ(hf_lease_quarantine(&lease), 0);
    EXPECT_EQ(hf_truncate(victim, 0, &test_nowait), 0);
    test_fill_pool(other, THEIRS, 0);
    harmed = !test_page_is(iov.iov_base, OURS, 0);
}

static uint32_t pinner_tid;
static struct iovec pinned;
static struct hf_pin late;
static int late_rc;

static void *clone_stepped(void *unused)
{
    hf_lab_stepped = true;
    clone_as_one_of_many();
    hf_lab_stepped = false;
    return unused;
}

static void *pin_to_write(void *unused)
{
    test_raise(&pinner_tid, (uint32_t)gettid());
    late_rc = hf_pin(victim, 0, TEST_PAGE, HF_PIN_WRITE, &pinned, 1, &late);
    test_raise(&tried, 1);
    return unused;
}

/* The pin for writing comes through, or is cancelled where it waits. Then the stepped change goes
 * on. True: the pin came through, and something is stored by it. */
static bool store_by_late_pin(pthread_t pinner, pthread_t stepped)
{
    while (!test_peek(&tried)) {
        pid_t tid = (pid_t)test_peek(&pinner_tid);

        if (tid)
            hf_cancel(pool, tid);
        sched_yield();
    }
    test_raise(&go, 1);
    pthread_join(stepped, NULL);
    pthread_join(pinner, NULL);
    if (late_rc != 1) {
        EXPECT_EQ(late_rc, -EINTR);
        return false;
    }
    store_theirs(&pinned);
    EXPECT_EQ(hf_unpin(&late), 0);
    return true;
}

/* It waits for the file's mutex, or finds a block that nobody else has. */
static void pin_beside_clone(bool unused)
{
    pthread_t cloner, pinner;

    (void)unused;
    stand_at(HF_LAB_CLONES);
    EXPECT_EQ(pthread_create(&cloner, NULL, clone_stepped, NULL), 0);
    test_await(&walked, 1);
    EXPECT_EQ(pthread_create(&pinner, NULL, pin_to_write, NULL), 0);
    if (store_by_late_pin(pinner, cloner))
        harmed = !is_still_ours(test_file(pool, "/copy"));
}

/* ---- a trim, and what wants the blocks or their memory meanwhile ---- */

static uint64_t seen_resident;

static void *trim_stepped(void *unused)
{
    struct hf_trim_result result = {.size = sizeof(result)};

    hf_lab_stepped = true;
    EXPECT_EQ(hf_pool_trim(pool, 0, &result), 0);
    hf_lab_stepped = false;
    return unused;
}

static void *fill_all(void *unused)
{
    (void)test_fill_pool(other, THEIRS, 0);
    test_raise(&tried, 1);
    return unused;
}

static uint64_t resident_now(void)
{
    uint64_t bytes;

    EXPECT_EQ(media_resident(&victim->fs->dax.media, &bytes), 0);
    return bytes;
}

/* As in a process that may only read. Others lock the bitmap afterwards, and so wait for the trim
 * in any case. */
static void *tell_device(void *unused)
{
    struct hf_pool_memory memory = {.size = sizeof(memory)};
    struct fs reader = *victim->fs;

    reader.dax.readonly = true;
    EXPECT_EQ(pool_register(&reader, HF_PIN_GPU, &memory), 0);
    seen_resident = resident_now();
    test_raise(&tried, 1);
    return unused;
}

/* The trim stands before its punch until the other thread is done, or waits for the mutex. */
static void beside_trim(void *(*body)(void *), const struct shm_mutex *mutex)
{
    pthread_t trimmer, rival;

    stand_at(HF_LAB_TRIMS);
    make_room();
    EXPECT_EQ(pthread_create(&trimmer, NULL, trim_stepped, NULL), 0);
    test_await(&walked, 1);
    EXPECT_EQ(pthread_create(&rival, NULL, body, NULL), 0);
    while (!test_peek(&tried) && !shm_lock_is_wanted(mutex))
        sched_yield();
    test_raise(&go, 1);
    pthread_join(trimmer, NULL);
    pthread_join(rival, NULL);
}

static void write_beside_trim(bool unused)
{
    (void)unused;
    beside_trim(fill_all, &victim->fs->dax.shm->run->space_mutex);
    harmed = test_wrong_pages(other, THEIRS, test_size(other) / TEST_PAGE) != 0;
}

/* No page that a device was told of is replaced. */
static void register_beside_trim(bool unused)
{
    (void)unused;
    beside_trim(tell_device, &victim->fs->dax.shm->run->table_mutex);
    harmed = resident_now() < seen_resident;
}

/* ---- a run of pages that is laid for one huge entry, and walks in the node of its entries ---- */

#define RUN_PAGES ((uint64_t)HF_HUGE_BYTES / TEST_PAGE)

/* Pages in falling order on rising blocks, each with an entry of its own. */
static void scatter_victim(uint64_t end)
{
    struct iovec iov;

    make_room();
    EXPECT_EQ(hf_truncate(victim, 0, NULL), 0);
    for (uint64_t page = end; page-- > 0;)
        test_write_pages(victim, OURS, page, 1);
    for (uint64_t page = 0; page < end; page++) {
        struct hf_pin pin = test_pin(victim, page * TEST_PAGE, TEST_PAGE, HF_PIN_READ, &iov, 1);

        EXPECT_EQ(hf_unpin(&pin), 0);
    }
}

/* The first pin of a thread takes the slow path. This one is beside the run. */
static void warm_up(void)
{
    struct iovec iov;
    struct hf_pin pin = test_pin(victim, HF_HUGE_BYTES, TEST_PAGE, HF_PIN_READ, &iov, 1);

    EXPECT_EQ(hf_unpin(&pin), 0);
}

static void compact_victim(void)
{
    struct hf_compact_result result = {.size = sizeof(result)};

    EXPECT_EQ(hf_compact(victim, 0, HF_HUGE_BYTES, 0, NULL, &result), 0);
}

static void *compact_stepped(void *unused)
{
    hf_lab_stepped = true;
    compact_victim();
    hf_lab_stepped = false;
    return unused;
}

static void *warm_pin_to_write(void *unused)
{
    warm_up();
    test_raise(&warm, 1);
    test_await(&begin, 1);
    return pin_to_write(unused);
}

/* What is stored by an entry from before the copy is lost. */
static void pin_beside_compaction(bool unused)
{
    pthread_t compactor, pinner;
    char page[HF_BLOCK_BYTES];

    (void)unused;
    scatter_victim(RUN_PAGES + 1);
    stand_at(HF_LAB_COMPACTS);
    EXPECT_EQ(pthread_create(&pinner, NULL, warm_pin_to_write, NULL), 0);
    test_await(&warm, 1);
    EXPECT_EQ(pthread_create(&compactor, NULL, compact_stepped, NULL), 0);
    test_await(&walked, 1);
    test_raise(&begin, 1);
    if (!store_by_late_pin(pinner, compactor))
        return;
    EXPECT_EQ(hf_read(victim, page, sizeof(page), 0), sizeof(page));
    harmed = !test_page_is(page, THEIRS, 0);
}

static void stand_descending(enum hf_lab_point point)
{
    if (hf_lab_stepped)
        stand(point);
}

/* A walk that has found the node, and has read no entry of it. */
static void *descend(void *unused)
{
    struct iovec iov;
    struct hf_pin held;

    warm_up();
    hf_lab_stepped = true;
    EXPECT_EQ(hf_pin(victim, 5 * TEST_PAGE, TEST_PAGE, HF_PIN_READ, &iov, 1, &held), 1);
    hf_lab_stepped = false;
    harmed = !test_page_is(iov.iov_base, OURS, 5);
    EXPECT_EQ(hf_unpin(&held), 0);
    return unused;
}

/* Its node becomes another file's. */
static void compact_beside_walk(bool unused)
{
    struct iovec iov;
    pthread_t walker;

    (void)unused;
    scatter_victim(RUN_PAGES + 1);
    stand_at(HF_LAB_DESCENDS);
    hf_lab_at = stand_descending;
    EXPECT_EQ(pthread_create(&walker, NULL, descend, NULL), 0);
    test_await(&walked, 1);
    compact_victim();
    test_write_pages(other, THEIRS, 0, 8);
    for (uint64_t page = 0; page < 8; page++) {
        struct hf_pin pin = test_pin(other, page * TEST_PAGE, TEST_PAGE, HF_PIN_READ, &iov, 1);

        EXPECT_EQ(hf_unpin(&pin), 0);
    }
    test_raise(&go, 1);
    pthread_join(walker, NULL);
}

/* ---- */

static const struct order {
    const char *name, *engine;
    uint64_t broken;
    bool biased;
    void (*take)(bool biased);
} orders[] = {
    {"pin-fence", "slots", HF_LAB_NO_PIN_FENCE, false, pin_beside_change},
    {"heavy", "slots", HF_LAB_NO_HEAVY, true, pin_beside_change},
    {"late-publish", "slots", HF_LAB_LATE_PUBLISH, false, pin_beside_change},
    {"drain", "slots", HF_LAB_NO_DRAIN, false, pin_beside_change},
    {"far-mark", "slots", HF_LAB_UNMARKED, false, pin_far_beside_change},
    {"mark", "slots", HF_LAB_NO_MARK, false, pin_unmarked},
    {"mark-late", "slots", HF_LAB_MARK_LATE, false, pin_unmarked},
    {"mark-census", "slots", HF_LAB_NO_CENSUS, true, pin_unmarked},
    {"mark-second-read", "slots", HF_LAB_NO_SECOND_READ, false, pin_beside_clearing},
    {"mark-death", "slots-fenced", HF_LAB_MARKS_SURE, false, die_clearing},
    {"seen-early", "slots", HF_LAB_SEES_TOO_EARLY, false, look_beside_pin},
    {"seen-late", "slots", HF_LAB_SEES_TOO_LATE, false, pin_beside_look},
    {"blind", "blind", 0, false, pin_beside_change},
    {"unpatched", "unpatched", 0, false, pin_beside_change},
    {"gate", "slots", HF_LAB_NO_GATE, false, pin_in_gate},
    {"watch", "slots", HF_LAB_NO_WATCH_BARRIER, false, begin_to_watch},
    {"redo", "slots", HF_LAB_NO_REDO, false, move_under_write},
    {"detach-wake", "slots", HF_LAB_NO_WAKE_BARRIER, false, detach_beside_leave},
    {"mend-wake", "slots", HF_LAB_NO_WAKE_BARRIER, false, mend_beside_leave},
    {"merge-look", "slots", HF_LAB_SHARES_HELD, false, merge_what_is_pinned},
    {"clone-files-look", "slots", HF_LAB_SHARES_HELD, false, clone_what_is_pinned},
    {"clone-files-unlock", "slots", HF_LAB_EARLY_UNLOCK, false, pin_beside_clone},
    {"shared-pin", "slots", HF_LAB_SHARED_WRITABLE, false, pin_what_is_shared},
    {"counted-merge-look", "refcount", HF_LAB_SHARES_HELD, false, merge_what_is_pinned},
    {"counted-second-look", "refcount", HF_LAB_NO_SECOND_LOOK, false, merge_beside_walk},
    {"counted-pin", "refcount", HF_LAB_SHARED_WRITABLE, false, read_what_is_shared},
    {"given-up", "slots", HF_LAB_GIVEN_UP_FREE, false, give_up_and_cut},
    {"put-hold", "slots", HF_LAB_PUTS_FORGOTTEN, false, put_beside_death},
    {"put-sweep", "slots", HF_LAB_CLAIMS_EARLY, false, put_beside_sweep},
    {"compact-clear", "slots", HF_LAB_LEAF_STAYS, false, pin_beside_compaction},
    {"compact-look", "slots", HF_LAB_LEAF_UNSEEN, false, compact_beside_walk},
    {"shared-lease", "slots", HF_LAB_SHARED_WRITABLE, false, lease_what_is_shared},
    {"trim-unlocked", "slots", HF_LAB_TRIM_UNLOCKED, false, write_beside_trim},
    {"trim-registered", "slots", HF_LAB_TRIM_REGISTERED, false, register_beside_trim},
    {"shrink-tail", "slots", HF_LAB_TAIL_STAYS, false, grow_over_tail},
    {"grow-tail", "slots", HF_LAB_TAIL_STAYS, false, grow_beside_shrink},
    {"holds-lost", "slots", HF_LAB_HOLDS_LOST, false, end_lease_beside_shrink},
    {"readers", "slots", HF_LAB_READERS_UNLOCKED, false, look_beside_stop},
};

struct turn {
    const struct order *order;
    bool broken, harmed;
};

/* In a process of its own, which is left as it is: what was harmed cannot be closed. */
static void take_turn(void *arg)
{
    struct turn *turn = arg;

    hf_lab_break = HF_LAB_STEPS | (turn->broken ? turn->order->broken : 0);
    prepare(turn->broken || !test_engine(turn->order->engine)->racy ? turn->order->engine
                                                                    : "slots");
    turn->order->take(turn->order->biased);
    turn->harmed = harmed;
}

static int steps(int argc, char **argv)
{
    struct turn *turn = test_shared(sizeof(*turn));

    for (size_t i = 0; i < sizeof(orders) / sizeof(orders[0]) && argc > 1; i++)
        if (strcmp(orders[i].name, argv[1]) == 0)
            turn->order = &orders[i];
    if (!turn->order)
        return 2;
    for (int broken = 0; broken < 2; broken++) {
        turn->broken = broken;
        test_join(test_fork(take_turn, turn));
        printf("%s %s: %s\n", turn->order->name, broken ? "broken" : "in place",
               turn->harmed ? "harm is done" : "no harm");
        EXPECT_EQ(turn->harmed, broken);
    }
    return 0;
}

int main(int argc, char **argv)
{
    return test_main(argc, argv, steps);
}
