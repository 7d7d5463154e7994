/* SPDX-License-Identifier: MIT */
/*
 * Other ways to hold a page that another thread may take away. Each of them finds the page, makes
 * sure that it stays, puts its address into an iovec, and releases it. The page table is an array,
 * so the finding costs the peers next to nothing. Counts lie a cache line apart, as in the kernel's
 * struct page. The two references of lab/limit.h have a table, and are called as the library is.
 */
#include "bench.h"
#include "lab/limit.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <lmdb.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#ifdef HF_HAVE_RCU
#include <urcu/urcu-memb.h>
#endif

#define BETWEEN 64u /* looks at *stop */
/* Records of LMDB's table. A read goes down from the root of the whole table, so the table is as
 * large as the pools of the other rows. */
#define TABLE_PAGES UINT64_C(16384)

struct page {
    _Alignas(64) uint64_t count; /* 1: in the file, and nobody holds it; 0: gone */
    char *place;
};

static struct page *pages;
static uint64_t page_count;
static pthread_rwlock_t layout_lock;
static struct limit_file *limit_file;
static MDB_env *env;
static MDB_dbi table;
static int fd = -1;

static void must_lmdb(int rc, const char *what)
{
    if (rc)
        lab_fail("%s: %s", what, mdb_strerror(rc));
}

/* What a thread works with. */
struct peer_thread {
    uint64_t page;
    volatile struct iovec iov; /* written each time, as hf_pin() does */
    MDB_txn *txn;
    char buffer[LAB_PAGE];
};

static inline void held(struct peer_thread *self, void *place)
{
    self->iov.iov_base = place;
    self->iov.iov_len = LAB_PAGE;
}

/* ------------------------------------------------------------------- one go of each ------ */

static inline void once_rwlock(struct peer_thread *self)
{
    pthread_rwlock_rdlock(&layout_lock);
    held(self, pages[self->page].place);
    pthread_rwlock_unlock(&layout_lock);
}

#ifdef HF_HAVE_RCU
/* The section protects the way to the page, the count the page. */
static inline void once_rcu(struct peer_thread *self)
{
    struct page *page = &pages[self->page];

    urcu_memb_read_lock();
    held(self, __atomic_load_n(&page->place, __ATOMIC_ACQUIRE));
    __atomic_fetch_add(&page->count, 1, __ATOMIC_ACQ_REL);
    urcu_memb_read_unlock();
    __atomic_fetch_sub(&page->count, 1, __ATOMIC_RELEASE);
}
#endif

static inline void once_count(struct peer_thread *self)
{
    struct page *page = &pages[self->page];
    uint64_t count = __atomic_load_n(&page->count, __ATOMIC_RELAXED);

    do {
        if (count == 0)
            lab_fail("a page has gone");
    } while (!__atomic_compare_exchange_n(&page->count, &count, count + 1, true, __ATOMIC_ACQUIRE,
                                          __ATOMIC_RELAXED));
    held(self, page->place);
    __atomic_fetch_sub(&page->count, 1, __ATOMIC_RELEASE);
}

/* Through pointers that the compiler does not see through, as a call of the library goes. */
static char *(*volatile by_hand)(struct limit_file *, uint64_t, uint64_t,
                                 struct limit_pin *) = limit_pin;
static void (*volatile release_by_hand)(struct limit_pin *) = limit_unpin;
static char *(*volatile count_by_hand)(struct limit_file *, uint64_t, uint64_t,
                                       struct limit_pin *) = limit_count;
static void (*volatile uncount_by_hand)(struct limit_pin *) = limit_uncount;

static inline void once_limit(struct peer_thread *self)
{
    struct limit_pin pin;

    held(self, by_hand(limit_file, self->page * LAB_PAGE, LAB_PAGE, &pin));
    release_by_hand(&pin);
}

static inline void once_limit_count(struct peer_thread *self)
{
    struct limit_pin pin;

    held(self, count_by_hand(limit_file, self->page * LAB_PAGE, LAB_PAGE, &pin));
    uncount_by_hand(&pin);
}

static inline void once_lmdb(struct peer_thread *self)
{
    MDB_val key = {sizeof self->page, &self->page}, value;

    must_lmdb(mdb_txn_renew(self->txn), "mdb_txn_renew");
    must_lmdb(mdb_get(self->txn, table, &key, &value), "mdb_get");
    held(self, value.mv_data);
    mdb_txn_reset(self->txn);
}

static inline void once_pread(struct peer_thread *self)
{
    bench_must_host(pread(fd, self->buffer, LAB_PAGE, (off_t)(self->page * LAB_PAGE)), "pread");
    held(self, self->buffer);
}

/* ------------------------------------------------------------------------ the loops ------ */

#define LOOP(name, begin, end)                                                                     \
    static uint64_t loop_##name(void *own_pages, unsigned thread, const uint64_t *stop)            \
    {                                                                                              \
        struct peer_thread self = {.page = own_pages ? thread * BENCH_OWN_STRIDE : 0};             \
        uint64_t count = 0;                                                                        \
                                                                                                   \
        begin;                                                                                     \
        do {                                                                                       \
            for (unsigned i = 0; i < BETWEEN; i++)                                                 \
                once_##name(&self);                                                                \
            count += BETWEEN;                                                                      \
        } while (!lab_peek(stop));                                                                 \
        end;                                                                                       \
        return count;                                                                              \
    }

static void begin_txn(MDB_txn **txn)
{
    must_lmdb(mdb_txn_begin(env, NULL, MDB_RDONLY, txn), "mdb_txn_begin");
    mdb_txn_reset(*txn);
}

LOOP(limit, limit_thread_begin(), limit_thread_end())
LOOP(limit_count, (void)0, (void)0)
LOOP(rwlock, (void)0, (void)0)
#ifdef HF_HAVE_RCU
LOOP(rcu, urcu_memb_register_thread(), urcu_memb_unregister_thread())
#endif
LOOP(count, (void)0, (void)0)
LOOP(lmdb, begin_txn(&self.txn), mdb_txn_abort(self.txn))
LOOP(pread, (void)0, (void)0)

const struct bench_peer bench_peers[BENCH_PEERS] = {
    {"limit", "by hand: the least of slots", loop_limit},
    {"limit-count", "by hand: the least of refcount", loop_limit_count},
    {"rwlock", "pthread_rwlock, read lock", loop_rwlock},
#ifdef HF_HAVE_RCU
    {"urcu", "liburcu memb section, count", loop_rcu},
#endif
    {"count", "shared count, CAS unless zero", loop_count},
    {"lmdb", "LMDB read transaction", loop_lmdb},
    {"pread", "pread, tmpfs, into a buffer", loop_pread},
};

/* --------------------------------------------------------------------- what they need ---- */

static void make_peer_file(void)
{
    char *map;

    fd = open(bench.folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    bench_must_host(fd, "making a tmpfs file");
    bench_must_host(fallocate(fd, 0, 0, (off_t)(page_count * LAB_PAGE)), "fallocate");
    map = mmap(NULL, page_count * LAB_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (map == MAP_FAILED)
        lab_fail("mmap: %s", strerror(errno));
    pages = aligned_alloc(64, page_count * sizeof *pages);
    if (!pages)
        lab_fail("out of memory");
    for (uint64_t i = 0; i < page_count; i++)
        pages[i] = (struct page){.count = 1, .place = map + i * LAB_PAGE};
    limit_file = limit_file_new(map, page_count);
}

static void make_peer_table(void)
{
    static char content[LAB_PAGE];
    char path[PATH_MAX];
    MDB_txn *txn;

    snprintf(path, sizeof path, "%s/peer", bench.folder);
    bench_must_host(mkdir(path, 0700), path);
    must_lmdb(mdb_env_create(&env), "mdb_env_create");
    must_lmdb(mdb_env_set_mapsize(env, 4 * TABLE_PAGES * LAB_PAGE), "mdb_env_set_mapsize");
    must_lmdb(mdb_env_set_maxreaders(env, 1024), "mdb_env_set_maxreaders");
    must_lmdb(mdb_env_open(env, path, MDB_NOSYNC | MDB_WRITEMAP, 0600), "mdb_env_open");
    must_lmdb(mdb_txn_begin(env, NULL, 0, &txn), "mdb_txn_begin");
    must_lmdb(mdb_dbi_open(txn, NULL, MDB_INTEGERKEY, &table), "mdb_dbi_open");
    for (uint64_t i = 0; i < TABLE_PAGES; i++) {
        MDB_val key = {sizeof i, &i}, value = {sizeof content, content};

        must_lmdb(mdb_put(txn, table, &key, &value, MDB_APPEND), "mdb_put");
    }
    must_lmdb(mdb_txn_commit(txn), "mdb_txn_commit");
}

void bench_peers_begin(void)
{
    page_count = bench_pin_pages();
    pthread_rwlock_init(&layout_lock, NULL);
    make_peer_file();
    make_peer_table();
}

void bench_peers_end(void)
{
    mdb_env_close(env);
    limit_file_end(limit_file);
    munmap(pages[0].place, page_count * LAB_PAGE);
    free(pages);
    close(fd);
    pthread_rwlock_destroy(&layout_lock);
}
