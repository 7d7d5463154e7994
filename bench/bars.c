/* SPDX-License-Identifier: MIT */
/* What the project promises itself, and what became of it. A bar without measured rows says so. */
#include "bench.h"

#include <string.h>

/* `row` is compared with the row `beside`. When `beside` ends with a dot, the best of the rows that
 * begin so is taken. Without `beside`, `limit` is in the row's own unit. */
struct bar {
    const char *text, *row, *beside;
    bool at_least;
    double limit;
};

/* The row of a mounted pool and that of bindfs. */
#define FASTER(times, text, row)                                                                   \
    {                                                                                              \
        text, "mount." row ".bindfs", "mount." row ".holdfast", true, times                        \
    }

/* A small file, by one process: the rate beside that of tmpfs, in one folder and in a tree. */
#define FILES_ALONE(text, act, times)                                                              \
    {text, "files.flat." act ".1.holdfast", "files.flat." act ".1.tmpfs", true, times},            \
    {                                                                                              \
        "... in 64 folders", "files.tree." act ".1.holdfast", "files.tree." act ".1.tmpfs", true,  \
            times                                                                                  \
    }
/* By two and four: how the rate grows, beside how that of tmpfs does. */
#define FILES_GROW(text, act)                                                                      \
    {text, "files.flat." act ".2.grows.holdfast", "files.flat." act ".2.grows.tmpfs", true, 1},    \
    {                                                                                              \
        "... by four", "files.flat." act ".4.grows.holdfast", "files.flat." act ".4.grows.tmpfs",  \
            true, 1                                                                                \
    }
/* Whether the rate of all together is less than that of one. */
#define FILES_KEEP(text, act)                                                                      \
    {text, "files.flat." act ".2.grows.holdfast", NULL, true, 1},                                  \
    {                                                                                              \
        "... by four", "files.flat." act ".4.grows.holdfast", NULL, true, 1                        \
    }

/* 4 KiB without cache on two CPUs have no bar: most of that time the CPUs wake each other. */
static const struct bar bars[] = {
    {"pin+unpin of a present page, biased: at most 1.3 times the least, by hand", "pin.hot.1.slots",
     "pin.hot.1.limit", false, 1.3},
    {"... by hf_pin_at(), which has no pieces to give", "pin.hot.1.at", "pin.hot.1.limit", false,
     1.3},
    {"... at most an uncontended pthread_rwlock", "pin.hot.1.slots", "pin.hot.1.rwlock", false, 1},
    {"the same, unbiased: at most an uncontended pthread_rwlock", "pin.hot.1.slots-fenced",
     "pin.hot.1.rwlock", false, 1},
    {"two threads on one page, biased: at most 1.1 times one", "pin.hot.2.slots", "pin.hot.1.slots",
     false, 1.1},
    {"the same, unbiased: at most 1.1 times one", "pin.hot.2.slots-fenced",
     "pin.hot.1.slots-fenced", false, 1.1},
    {"two threads on one page, biased: at least 5 times faster than refcount", "pin.hot.2.refcount",
     "pin.hot.2.slots", true, 5},
    {"... at least 8 times faster than srcu", "pin.hot.2.srcu", "pin.hot.2.slots", true, 8},
    {"... at least 10 times faster than an LMDB read transaction", "pin.hot.2.lmdb",
     "pin.hot.2.slots", true, 10},
    {"a pin of 1 GiB on huge entries: at most 5000 ns", "pin.1GiB", NULL, false, 5000},
    {"truncates beside an idle thread: at most 1.1 times unpatched", "truncate.idle.slots",
     "truncate.idle.unpatched", false, 1.1},
    {"... at most 1.1 times those that look for nobody", "truncate.idle.slots",
     "truncate.idle.blind", false, 1.1},
    {"... at least 4 times faster than tmpfs", "truncate.idle.tmpfs", "truncate.idle.slots", true,
     4},
    {"truncates beside a pinning thread: at most 1.3 times unpatched", "truncate.busy.slots",
     "truncate.busy.unpatched", false, 1.3},
    {"... at most 1.3 times those that look for nobody", "truncate.busy.slots",
     "truncate.busy.blind", false, 1.3},
    {"... at least 10 times faster than tmpfs", "truncate.busy.tmpfs", "truncate.busy.slots", true,
     10},
    {"pins beside a change each 10 us: at least 0.9 of the best engine", "mixed.pins.10us.slots",
     "mixed.pins.10us.", true, 0.9},
    {"... each 100 us", "mixed.pins.100us.slots", "mixed.pins.100us.", true, 0.9},
    {"... each 1 ms", "mixed.pins.1ms.slots", "mixed.pins.1ms.", true, 0.9},
    {"... each 10 ms", "mixed.pins.10ms.slots", "mixed.pins.10ms.", true, 0.9},
    {"such a change, each 10 us: at most 1.1 times the best engine's", "mixed.change.10us.slots",
     "mixed.change.10us.", false, 1.1},
    {"... each 100 us", "mixed.change.100us.slots", "mixed.change.100us.", false, 1.1},
    {"... each 1 ms", "mixed.change.1ms.slots", "mixed.change.1ms.", false, 1.1},
    {"... each 10 ms", "mixed.change.10ms.slots", "mixed.change.10ms.", false, 1.1},
    {"10,000 unrelated pins, same file: a truncate takes at most twice as long",
     "unrelated.truncate.same.slots", "unrelated.truncate.none.slots", false, 2},
    {"... by 8 threads", "unrelated.truncate.spread.slots", "unrelated.truncate.none.slots", false,
     2},
    {"... on other files", "unrelated.truncate.others.slots",
     "unrelated.truncate.none-others.slots", false, 2},
    {"... by 8 threads on other files", "unrelated.truncate.spread-others.slots",
     "unrelated.truncate.none-others.slots", false, 2},
    {"10,000 pins of 400 threads on other pages of the file: at most 4 times",
     "unrelated.truncate.many.slots", "unrelated.truncate.none.slots", false, 4},
    {"... on other files: at most twice", "unrelated.truncate.many-others.slots",
     "unrelated.truncate.none-others.slots", false, 2},
    {"durable truncates of 16 files by 16 threads: at least 4 times one thread's rate",
     "commits.durable.1", "commits.durable.16", true, 4},
    {"truncates in memory, of two files by two threads: at least one thread's rate",
     "commits.memory.1", "commits.memory.2", true, 1},
    {"... writes into holes", "commits.memory.writes.1", "commits.memory.writes.2", true, 1},
    {"4 KiB random reads in 16 MiB, pinned: at least 3 times faster than pread",
     "read.cached.tmpfs", "read.cached.holdfast", true, 3},
    {"... in 256 MiB, more than the processor's cache", "read.random.tmpfs", "read.random.holdfast",
     true, 3},
    FASTER(1.3, "mount, one CPU: 1 MiB read at least 1.3 times faster than bindfs",
           "read.none.one-cpu"),
    FASTER(1.3, "... with the page cache", "read.auto.one-cpu"),
    FASTER(1.3, "... written", "write.none.one-cpu"),
    FASTER(1.3, "... with the page cache", "write.auto.one-cpu"),
    FASTER(1.1, "mount, one CPU: 4 KiB read at least 1.1 times faster than bindfs",
           "random-read.none.one-cpu"),
    FASTER(1.1, "... with the page cache", "random-read.auto.one-cpu"),
    FASTER(1.1, "... written", "random-write.none.one-cpu"),
    FASTER(1.1, "... with the page cache", "random-write.auto.one-cpu"),
    FASTER(1.2, "mount, one CPU: a file made at least 1.2 times faster than bindfs",
           "create.none.one-cpu"),
    FASTER(1.2, "... with the page cache", "create.auto.one-cpu"),
    FASTER(1.2, "... with fsync", "create-sync.none.one-cpu"),
    FASTER(1.2, "... with the page cache", "create-sync.auto.one-cpu"),
    FASTER(1.2, "... looked at", "stat.none.one-cpu"),
    FASTER(1.2, "... with the page cache", "stat.auto.one-cpu"),
    FASTER(1.2, "... taken away", "unlink.none.one-cpu"),
    FASTER(1.2, "... with the page cache", "unlink.auto.one-cpu"),
    FASTER(1.3, "mount, two CPUs: 1 MiB read at least 1.3 times faster than bindfs",
           "read.none.two-cpus"),
    FASTER(1.3, "... with the page cache", "read.auto.two-cpus"),
    FASTER(1.3, "... written", "write.none.two-cpus"),
    FASTER(1.3, "... with the page cache", "write.auto.two-cpus"),
    FASTER(1.1, "mount, two CPUs, page cache: 4 KiB read at least 1.1 times faster",
           "random-read.auto.two-cpus"),
    FASTER(1.1, "... written", "random-write.auto.two-cpus"),
    FASTER(1.2, "mount, two CPUs: a file made at least 1.2 times faster than bindfs",
           "create.none.two-cpus"),
    FASTER(1.2, "... with the page cache", "create.auto.two-cpus"),
    FASTER(1.2, "... with fsync", "create-sync.none.two-cpus"),
    FASTER(1.2, "... with the page cache", "create-sync.auto.two-cpus"),
    FASTER(1.2, "... looked at", "stat.none.two-cpus"),
    FASTER(1.2, "... with the page cache", "stat.auto.two-cpus"),
    FASTER(1.2, "... taken away", "unlink.none.two-cpus"),
    FASTER(1.2, "... with the page cache", "unlink.auto.two-cpus"),
    {"dbench through the mount: at least 1.2 times the throughput on bindfs",
     "mount.dbench.none.holdfast", "mount.dbench.none.bindfs", true, 1.2},
    {"... with the page cache", "mount.dbench.auto.holdfast", "mount.dbench.auto.bindfs", true,
     1.2},
    {"256 KiB put in place by memcpy: at most hf_write", "put.memory.place", "put.memory.write",
     false, 1},
    {"... read from a disk with O_DIRECT: at most 0.7 times by a buffer and hf_write",
     "put.disk.place", "put.disk.write", false, 0.7},
    {"pages merged: at least 3 times as fast as KSM", "shared.merge.ksm", "shared.merge.holdfast",
     true, 3},
    {"a scan: at most twice the time of XXH3 alone", "shared.scan.holdfast", "shared.scan.xxh3",
     false, 2},
    {"the first write to a shared page: at most KSM's fault", "shared.write.holdfast",
     "shared.write.ksm", false, 1},
    {"... at most twice a write into a fresh page", "shared.write.holdfast", "shared.write.fresh",
     false, 2},
    {"a clone of 128 MiB: at most FICLONE on xfs", "shared.clone.holdfast", "shared.clone.xfs",
     false, 1},
    {"... on btrfs", "shared.clone.holdfast", "shared.clone.btrfs", false, 1},
    {"a tree of 8,000 files: at least 5 times faster than cp on xfs", "shared.tree.xfs",
     "shared.tree.holdfast", true, 5},
    {"... on btrfs", "shared.tree.btrfs", "shared.tree.holdfast", true, 5},
    {"1 GiB given back: at most 2 times fallocate(PUNCH_HOLE) on the bare file", "space.trim",
     "space.punch.written", false, 2},
    {"filled and emptied ten times: at most live data and 16 MiB, the watermark",
     "space.kept.above", NULL, false, 16},
    {"whole 2 MiB under huge entries after a compaction: at least 95 %", "space.laid.one-piece",
     NULL, true, 95},
    {"... where free blocks are scattered", "space.laid.scattered", NULL, true, 95},
    {"a pin of 1 GiB, written at random and compacted: at most 2 times one written in order",
     "space.pin.compacted", "space.pin.ordered", false, 2},
    {"a peer's 64 KiB of a leased file by tcp: at most 1.1 times those of plain memory",
     "fabric.read.tcp.leased", "fabric.read.tcp.plain", false, 1.1},
    {"... by shm", "fabric.read.shm.leased", "fabric.read.shm.plain", false, 1.1},
    {"4 KiB by io_uring from a disk: at most 1.05 times fio's", "io.disk.1.holdfast",
     "io.disk.1.fio", false, 1.05},
    {"... at depth 32", "io.disk.32.holdfast", "io.disk.32.fio", false, 1.05},
    {"... from tmpfs", "io.tmpfs.1.holdfast", "io.tmpfs.1.fio", false, 1.05},
    {"... from tmpfs, at depth 32", "io.tmpfs.32.holdfast", "io.tmpfs.32.fio", false, 1.05},
    {"... from a pipe: at most 1.05 times plain registered memory", "io.pipe.1.holdfast",
     "io.pipe.1.plain", false, 1.05},
    {"... from a pipe, at depth 32", "io.pipe.32.holdfast", "io.pipe.32.plain", false, 1.05},
    {"... from tmpfs: at least 2 times faster than ranges registered one by one",
     "io.tmpfs.1.registered", "io.tmpfs.1.holdfast", true, 2},
    {"... at depth 32", "io.tmpfs.32.registered", "io.tmpfs.32.holdfast", true, 2},
    {"... from a pipe", "io.pipe.1.registered", "io.pipe.1.holdfast", true, 2},
    {"... from a pipe, at depth 32", "io.pipe.32.registered", "io.pipe.32.holdfast", true, 2},
    {"in Python, a pin and its view: at most 3 times a view of a bytearray", "python.hold.pin",
     "python.hold.bytearray", false, 3},
    {"cache: a get of 256 KiB at most 10 times a pin and unpin of it", "cache.get.1.cache",
     "cache.get.1.pin", false, 10},
    {"... in a million objects, more than the processor's cache: at most 20 times",
     "cache.many.get", "cache.many.pin", false, 20},
    {"... at least 20 times faster than tmpfs open and mmap", "cache.get.1.tmpfs",
     "cache.get.1.cache", true, 20},
    {"... by 2 processes", "cache.get.2.tmpfs", "cache.get.2.cache", true, 20},
    {"... by 4 processes", "cache.get.4.tmpfs", "cache.get.4.cache", true, 20},
    {"... at least 10 times faster than redis behind its socket", "cache.get.1.redis",
     "cache.get.1.cache", true, 10},
    {"... by 2 processes", "cache.get.2.redis", "cache.get.2.cache", true, 10},
    {"... by 4 processes", "cache.get.4.redis", "cache.get.4.cache", true, 10},
    {"... at least 10 times faster than memcached", "cache.get.1.memcached", "cache.get.1.cache",
     true, 10},
    {"... by 2 processes", "cache.get.2.memcached", "cache.get.2.cache", true, 10},
    {"... by 4 processes", "cache.get.4.memcached", "cache.get.4.cache", true, 10},
    {"... 2 processes: at most 1.11 times one's CPU time, 1.8 times the rate", "cache.get.2.cache",
     "cache.get.1.cache", false, 1.11},
    {"cache: a put in place at least 3 times the rate of tmpfs write and rename",
     "cache.put.1.tmpfs", "cache.put.1.cache", true, 3},
    {"... by 2 processes", "cache.put.2.tmpfs", "cache.put.2.cache", true, 3},
    {"... by 4 processes", "cache.put.4.tmpfs", "cache.put.4.cache", true, 3},
    {"... and of redis SET", "cache.put.1.redis", "cache.put.1.cache", true, 3},
    {"... by 2 processes", "cache.put.2.redis", "cache.put.2.cache", true, 3},
    {"... by 4 processes", "cache.put.4.redis", "cache.put.4.cache", true, 3},
    {"cache: s3fifo hits at least as often as lru, requests to a model", "cache.hits.trace.s3fifo",
     "cache.hits.trace.lru", true, 1},
    {"... as LRU exactly", "cache.hits.trace.s3fifo", "cache.hits.trace.lru-exact", true, 1},
    {"... as lru, Zipf 0.8", "cache.hits.zipf.s3fifo", "cache.hits.zipf.lru", true, 1},
    {"... as LRU exactly", "cache.hits.zipf.s3fifo", "cache.hits.zipf.lru-exact", true, 1},
    {"... as lru, Zipf 0.8 with scans", "cache.hits.scan.s3fifo", "cache.hits.scan.lru", true, 1},
    {"... as LRU exactly", "cache.hits.scan.s3fifo", "cache.hits.scan.lru-exact", true, 1},
    {"cache and offline: at most a point apart, requests to a model", "cache.hits.trace.apart",
     NULL, false, 1},
    {"... Zipf 0.8", "cache.hits.zipf.apart", NULL, false, 1},
    {"... Zipf 0.8 with scans", "cache.hits.scan.apart", NULL, false, 1},
    {"cache: from the second tier at least 0.8 times fio's O_DIRECT read", "cache.tier.many.fetch",
     "cache.tier.many.fio", true, 0.8},
    {"... one by one", "cache.tier.one.fetch", "cache.tier.one.fio", true, 0.8},
    {"cache of a million: at most 100 bytes an object beyond the data", "cache.many.bytes", NULL,
     false, 100},
    {"... attached in at most 1000 ms", "cache.many.attach", NULL, false, 1000},
    {"cluster: a get of 64 KiB at most 1.2 times a bare message with an RMA write",
     "cluster.get.holdfast", "cluster.get.bare", false, 1.2},
    {"... faster than redis GET through the same network", "cluster.get.redis",
     "cluster.get.holdfast", true, 1},
    {"cluster: gets of 4 KiB a second, 32 at once: at least twice redis", "cluster.many.holdfast",
     "cluster.many.redis", true, 2},
    FILES_ALONE("a file of 4 KiB opened: at least as often as on tmpfs", "open", 1),
    FILES_ALONE("... opened and read", "read", 1),
    FILES_ALONE("... looked at", "stat", 1),
    FILES_ALONE("... deleted", "delete", 1),
    FILES_ALONE("... made: at least 0.9 times", "create", 0.9),
    FILES_GROW("opened by two processes: grows at least as on tmpfs", "open"),
    FILES_GROW("... opened and read, by two", "read"),
    FILES_GROW("... looked at, by two", "stat"),
    FILES_KEEP("made by two processes: together at least as often as by one", "create"),
    FILES_KEEP("... deleted, by two", "delete"),
    {"a pool with a million files: attached in at most 1000 ms", "files.attach.first", NULL, false,
     1000},
    {"... by a second process in at most 1 ms", "files.attach.second", NULL, false, 1},
    {"library reads beside a busy mount: at most 1.1 times those beside an idle one",
     "mount.beside.mount", "mount.beside.idle", false, 1.1},
};
#define BARS (sizeof bars / sizeof bars[0])

/* Rows that do only what no way can do without. The bar of `row` tells them too, since it may ask
 * for more than there is. */
static const struct bare {
    const char *row, *bare;
    bool shares; /* the other way takes much longer than the bare row: tell the shares */
} bares[] = {
    {"put.disk.place", "put.disk.alone", true},
    {"io.disk.1.holdfast", "io.disk.1.plain", false},
    {"io.disk.32.holdfast", "io.disk.32.plain", false},
    {"io.tmpfs.1.holdfast", "io.tmpfs.1.plain", false},
    {"io.tmpfs.32.holdfast", "io.tmpfs.32.plain", false},
    {"io.tmpfs.1.registered", "io.tmpfs.1.plain", false},
    {"io.tmpfs.32.registered", "io.tmpfs.32.plain", false},
    {"io.pipe.1.registered", "io.pipe.1.plain", false},
    {"io.pipe.32.registered", "io.pipe.32.plain", false},
};

static bool only_in_lab(const char *engine)
{
    for (unsigned i = 0; i < BENCH_ENGINES; i++)
        if (strcmp(bench_engines[i].name, engine) == 0)
            return bench_engines[i].lab;
    return false;
}

/* Of the engines that a pool can have. */
static const struct bench_row *best_of(const char *start)
{
    const struct bench_row *best = NULL;

    for (unsigned i = 0; i < bench.row_count; i++) {
        const struct bench_row *row = &bench.rows[i];

        if (strncmp(row->key, start, strlen(start)) != 0 || only_in_lab(row->key + strlen(start)))
            continue;
        if (!best || (row->more_is_better ? bench_median(row) > bench_median(best)
                                          : bench_median(row) < bench_median(best)))
            best = row;
    }
    return best;
}

static const struct bench_row *find_beside(const struct bar *bar)
{
    return bar->beside[strlen(bar->beside) - 1] == '.' ? best_of(bar->beside)
                                                       : bench_find(bar->beside);
}

/* False: its rows were not measured. */
static bool bar_value(const struct bar *bar, double *value)
{
    const struct bench_row *row = bench_find(bar->row);
    const struct bench_row *beside = bar->beside ? find_beside(bar) : NULL;

    if (!row || (bar->beside && !beside))
        return false;
    *value = beside ? bench_ratio(row, beside) : bench_median(row);
    return true;
}

static bool bar_holds(const struct bar *bar, double value)
{
    return bar->at_least ? value >= bar->limit : value <= bar->limit;
}

static const struct bare *bare_of(const struct bar *bar)
{
    for (size_t i = 0; i < sizeof bares / sizeof bares[0]; i++)
        if (strcmp(bares[i].row, bar->row) == 0)
            return &bares[i];
    return NULL;
}

/* What the bar's value would be if Holdfast did nothing. And what Holdfast adds to that, as a share
 * of what the other way adds. */
static void print_bare(const struct bar *bar)
{
    const struct bare *found = bare_of(bar);
    const struct bench_row *bare = found ? bench_find(found->bare) : NULL;
    const struct bench_row *row = bench_find(bar->row);
    const struct bench_row *beside = bare ? find_beside(bar) : NULL;
    double added[BENCH_RUNS_MAX];
    char text[LAB_TEXT];

    if (!bare || !row || !beside)
        return;
    if (bar->at_least) {
        printf("; %s is the most", bench_number_text(text, bench_ratio(row, bare)));
        return;
    }
    printf("; %s is the least", bench_number_text(text, bench_ratio(bare, beside)));
    if (!found->shares)
        return;
    for (unsigned i = 0; i < bench.runs; i++)
        added[i] = (row->samples[i] - bare->samples[i]) / (beside->samples[i] - bare->samples[i]);
    printf(", %s beyond it", bench_number_text(text, bench_quantile(added, bench.runs, 0.5)));
}

static bool group_was_measured(const char *key)
{
    size_t len = strcspn(key, ".");

    for (unsigned i = 0; i < bench.row_count; i++)
        if (strlen(bench.rows[i].group) == len && strncmp(bench.rows[i].group, key, len) == 0)
            return true;
    return false;
}

void bench_print_bars(void)
{
    char text[LAB_TEXT];
    double value;

    puts("bars:");
    for (size_t i = 0; i < BARS; i++) {
        if (bar_value(&bars[i], &value)) {
            printf("  %-74s %9s  %s", bars[i].text, bench_number_text(text, value),
                   bar_holds(&bars[i], value) ? "holds" : "MISSED");
            print_bare(&bars[i]);
            putchar('\n');
        } else if (group_was_measured(bars[i].row))
            printf("  %-74s %9s  not measured\n", bars[i].text, "");
    }
}

void bench_print_json_bars(void)
{
    double value;

    printf("  \"bars\": [\n");
    for (size_t i = 0; i < BARS; i++) {
        printf("    {\"row\": \"%s\", \"text\": ", bars[i].row);
        lab_json_string(stdout, bars[i].text);
        printf(", \"limit\": %g, \"measured\": ", bars[i].limit);
        if (bar_value(&bars[i], &value))
            printf("%.6g, \"holds\": %s}", value, bar_holds(&bars[i], value) ? "true" : "false");
        else
            printf("null, \"holds\": null}");
        puts(i + 1 < BARS ? "," : "");
    }
    puts("  ]");
}
