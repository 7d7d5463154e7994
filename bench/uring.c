/* SPDX-License-Identifier: MIT */
/*
 * 4 KiB reads by io_uring into a file of a pool: from a disk, from a tmpfs file (both with
 * O_DIRECT) and from a pipe. Through libholdfast-uring each read pins its page. Beside it stands
 * Debian's fio, which reads into registered memory of its own. So does a row with the same loop.
 * In the last row, ranges are leased and registered one by one. All rings are set up as fio's. All
 * submit each read by a call of its own, in which the kernel posts what has completed. All wait
 * when as many are under way as the depth says. fio runs on the same CPU. Reads from memory and
 * pipes wait for nothing, so what counts there is CPU time, also of fio.
 */
#include "bench.h"

#include <errno.h>
#include <fcntl.h>
#include <holdfast/uring.h>
#include <inttypes.h>
#include <liburing.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define READ_BYTES LAB_PAGE
#define SOURCE_BYTES (64 * LAB_MIB)
#define DEPTH_MOST 32u
#define POOL_BYTES (64 * LAB_MIB)

/* Where the bytes come from. */
struct source {
    const char *key, *text;
    unsigned reads; /* of a sample at the greatest depth */
    bool waits;     /* for a device: elapsed time counts, else CPU time */
    int fd, feed;   /* feed: the pipe's other end; -1: it is a file */
    int file;       /* fd without O_DIRECT; -1: it is a pipe */
    char *path;     /* for fio */
};
enum { DISK, MEMORY, PIPE, SOURCES };
static struct source sources[SOURCES] = {
    [DISK] = {"disk", "a disk", 8000, true, -1, -1, -1, NULL},
    [MEMORY] = {"tmpfs", "tmpfs", 100000, false, -1, -1, -1, NULL},
    [PIPE] = {"pipe", "a pipe", 50000, false, -1, -1, -1, NULL},
};

static struct bench_pool *pool;
static struct hf_file *file;
static struct io_uring pool_ring, plain_ring;
static struct hf_uring *uring;
static struct hf_lease leases[DEPTH_MOST];
static char *plain; /* registered memory that is nobody's but ours */
static char page[READ_BYTES];

struct case_ {
    const struct source *source;
    unsigned depth;
    const struct way *way;
};

/* How a read is begun and what is done after it. `slot` says which page it goes to. */
struct way {
    const char *key, *subject;
    struct io_uring *ring;
    void (*begin)(const struct source *source, unsigned slot, uint64_t off);
    unsigned (*end)(const struct io_uring_cqe *cqe); /* the slot */
};

static void must_read(int result)
{
    if (result != READ_BYTES)
        lab_fail("a read of %u bytes gave %d", (unsigned)READ_BYTES, result);
}

/* ----------------------------------------------------------------- the library's reads ---- */

static void begin_pinned(const struct source *source, unsigned slot, uint64_t off)
{
    const struct hf_uring_io io = {.size = sizeof io,
                                   .op = HF_URING_READ,
                                   .file = file,
                                   .off = slot * READ_BYTES,
                                   .len = READ_BYTES,
                                   .fd = source->fd,
                                   .fd_off = off,
                                   .user_data = slot};

    if (hf_uring_prep(uring, &io) != 0)
        lab_fail("a read: %s", hf_uring_detail());
}

static unsigned end_pinned(const struct io_uring_cqe *cqe)
{
    struct hf_uring_done done;

    if (hf_uring_complete(uring, cqe, &done) != 1)
        lab_fail("a completion of nobody");
    must_read(done.result);
    return (unsigned)done.user_data;
}

/* ---------------------------------------------------------------- one registration each --- */

static void register_slot(unsigned slot, const struct iovec *piece)
{
    if (io_uring_register_buffers_update_tag(&plain_ring, 1 + slot, piece, NULL, 1) != 1)
        lab_fail("registering a range");
}

static void begin_registered(const struct source *source, unsigned slot, uint64_t off)
{
    static const struct hf_lease_options options = {.size = sizeof options,
                                                    .flags = HF_PIN_WRITE | HF_PIN_IO_URING};
    struct io_uring_sqe *sqe = io_uring_get_sqe(&plain_ring);
    struct iovec piece;

    bench_must(&bench_real,
               hf_lease(file, slot * READ_BYTES, READ_BYTES, &options, &piece, 1, &leases[slot]),
               "leasing");
    register_slot(slot, &piece);
    io_uring_prep_read_fixed(sqe, source->fd, piece.iov_base, READ_BYTES, off, (int)(1 + slot));
    io_uring_sqe_set_data64(sqe, slot);
}

static unsigned end_registered(const struct io_uring_cqe *cqe)
{
    const struct iovec nothing = {NULL, 0};
    unsigned slot = (unsigned)cqe->user_data;

    must_read(cqe->res);
    register_slot(slot, &nothing);
    hf_lease_release(&leases[slot]);
    return slot;
}

/* ------------------------------------------------------------------------ plain memory ---- */

static void begin_plain(const struct source *source, unsigned slot, uint64_t off)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&plain_ring);

    io_uring_prep_read_fixed(sqe, source->fd, plain + slot * READ_BYTES, READ_BYTES, off, 0);
    io_uring_sqe_set_data64(sqe, slot);
}

static unsigned end_plain(const struct io_uring_cqe *cqe)
{
    must_read(cqe->res);
    return (unsigned)cqe->user_data;
}

static const struct way ways[] = {
    {"holdfast", "libholdfast-uring, a pin each", &pool_ring, begin_pinned, end_pinned},
    {"plain", "the same loop, plain registered memory", &plain_ring, begin_plain, end_plain},
    {"registered", "a lease and a registration each", &plain_ring, begin_registered,
     end_registered},
};

/* ------------------------------------------------------------------------------ a loop ---- */

static unsigned reads_of(const struct case_ *one)
{
    unsigned reads = one->source->reads;

    if (one->depth == 1 && one->source->feed < 0)
        reads /= 4;
    return !bench.quick ? reads : one->source->waits ? reads / 20 : reads / 4;
}

static void begin_one(const struct case_ *one, unsigned slot, uint64_t *chance)
{
    uint64_t off = lab_below(chance, SOURCE_BYTES / READ_BYTES) * READ_BYTES;

    if (one->source->feed >= 0) {
        off = UINT64_MAX;
        bench_must_host(write(one->source->feed, page, READ_BYTES), "writing to a pipe");
    }
    one->way->begin(one->source, slot, off);
    if (io_uring_submit_and_get_events(one->way->ring) < 0)
        lab_fail("submitting");
}

static unsigned reap_one(const struct case_ *one)
{
    struct io_uring_cqe *cqe;
    unsigned slot;

    while (io_uring_wait_cqe(one->way->ring, &cqe) != 0)
        ;
    slot = one->way->end(cqe);
    io_uring_cqe_seen(one->way->ring, cqe);
    return slot;
}

/* Reads that wait for a device one by one. Other programs make some of them take many times as
 * long; the median tells what a read takes. */
static bool by_median(const struct case_ *one)
{
    return one->source->waits && one->depth == 1;
}

static int by_ns(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

static double measure_single(const struct case_ *one)
{
    unsigned reads = reads_of(one);
    uint64_t *ns = lab_alloc(reads * sizeof *ns), chance = 1, median;

    for (unsigned i = 0; i < reads; i++) {
        uint64_t start = lab_now_ns();

        begin_one(one, 0, &chance);
        reap_one(one);
        ns[i] = lab_now_ns() - start;
    }
    qsort(ns, reads, sizeof *ns, by_ns);
    median = ns[reads / 2];
    free(ns);
    return (double)median / 1000;
}

static double measure_ring(void *state)
{
    const struct case_ *one = state;
    unsigned reads = reads_of(one);
    uint64_t (*clock)(void) = one->source->waits ? lab_now_ns : bench_own_cpu_ns;
    uint64_t chance = 1, start = clock();

    if (by_median(one))
        return measure_single(one);
    for (unsigned i = 0; i < one->depth; i++)
        begin_one(one, i, &chance);
    for (unsigned i = one->depth; i < reads; i++)
        begin_one(one, reap_one(one), &chance);
    for (unsigned i = 0; i < one->depth; i++)
        reap_one(one);
    return (double)(clock() - start) / reads / 1000;
}

/* --------------------------------------------------------------------------------- fio ---- */

/* The first number that the line gives for `name`, where there is none yet. */
static void take_number(const char *line, const char *name, double *value)
{
    const char *at = strstr(line, name);

    if (at && *value == 0 && (at = strchr(at, ':')))
        *value = strtod(at + 1, NULL);
}

static double measure_fio(void *state)
{
    const struct case_ *one = state;
    char *command = bench_text(
        "exec fio --name=x --filename='%s' --size=%" PRIu64 " --rw=randread --norandommap --bs=4k "
        "--direct=1 --ioengine=io_uring --fixedbufs=1 --iodepth=%u --number_ios=%u --thread "
        "%s --allow_file_create=0 --output-format=json 2>&1",
        one->source->path, SOURCE_BYTES, one->depth, reads_of(one),
        by_median(one) ? "--lat_percentiles=1 --clat_percentiles=0 --percentile_list=50"
                       : "--gtod_reduce=1");
    char line[512], last[512] = "";
    double rate = 0, reads = 0, user = 0, system = 0, ms = 0, median = 0;
    FILE *fio = popen(command, "re");

    while (fio && fgets(line, sizeof line, fio)) {
        memcpy(last, line, sizeof last);
        take_number(line, "\"iops\"", &rate);
        take_number(line, "\"total_ios\"", &reads);
        take_number(line, "\"job_runtime\"", &ms);
        take_number(line, "\"usr_cpu\"", &user);
        take_number(line, "\"sys_cpu\"", &system);
        take_number(line, "\"50.000000\"", &median); /* of lat_ns */
    }
    if (!fio || pclose(fio) != 0 || rate <= 0 || reads <= 0 || (by_median(one) && median <= 0))
        lab_fail("fio failed on %s: %s", one->source->path, last);
    free(command);
    if (by_median(one))
        return median / 1000;
    return one->source->waits ? 1e6 / rate : (user + system) / 100 * ms * 1000 / reads;
}

static bool has_fio(void)
{
    if (system("command -v fio >/dev/null") == 0)
        return true;
    bench_note("io: fio is not installed (Debian's package fio); its rows are left out.");
    return false;
}

/* ---------------------------------------------------------------------------- the rows ---- */

static void add_reads(struct bench_group *group, const struct source *source, unsigned depth,
                      const struct way *way)
{
    const char *first = bench_text("io.%s.%u.holdfast", source->key, depth);
    struct case_ *one = lab_alloc(sizeof *one);

    *one = (struct case_){source, depth, way};
    bench_add(group,
              (struct bench_row){
                  .key = bench_text("io.%s.%u.%s", source->key, depth, way ? way->key : "fio"),
                  .situation = bench_text("4 KiB from %s, depth %u%s", source->text, depth,
                                          by_median(one) ? ", the median read" : ""),
                  .subject = way ? way->subject : "fio, io_uring with fixedbufs",
                  .beside = way == &ways[0] ? NULL : first,
                  .measure = way ? measure_ring : measure_fio,
                  .state = one});
}

static void add_all_reads(struct bench_group *group, bool fio)
{
    static const unsigned depths[] = {1, DEPTH_MOST};

    for (unsigned s = 0; s < SOURCES; s++)
        for (unsigned d = 0; d < 2 && sources[s].fd >= 0; d++) {
            for (size_t w = 0; w < sizeof ways / sizeof ways[0]; w++)
                add_reads(group, &sources[s], depths[d], &ways[w]);
            if (fio && sources[s].path)
                add_reads(group, &sources[s], depths[d], NULL);
        }
}

/* ----------------------------------------------------------------- what they are done to -- */

/* A file without a name, so that nothing is left of it; fio opens it by its descriptor here. */
static void fill_source(struct source *source, const char *folder)
{
    char *bytes = lab_alloc(LAB_MIB);

    source->file = open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    bench_must_host(source->file, "making a file to read from");
    memset(bytes, 'h', LAB_MIB);
    for (uint64_t at = 0; at < SOURCE_BYTES; at += LAB_MIB)
        bench_must_host(pwrite(source->file, bytes, LAB_MIB, (off_t)at), "writing a file");
    bench_must_host(fsync(source->file), "fsync");
    free(bytes);
    source->path = bench_text("/proc/%d/fd/%d", (int)getpid(), source->file);
    source->fd = open(source->path, O_RDONLY | O_DIRECT | O_CLOEXEC);
    if (source->fd < 0)
        bench_note("io: %s does not do O_DIRECT; its rows are left out.", source->text);
}

static void open_sources(void)
{
    int pipes[2];

    if (bench.disk)
        fill_source(&sources[DISK], bench.disk);
    else
        bench_note("io: there is no disk's file system; its rows are left out.");
    fill_source(&sources[MEMORY], bench.folder);
    bench_must_host(pipe2(pipes, O_CLOEXEC), "a pipe");
    fcntl(pipes[1], F_SETPIPE_SZ, 2 * DEPTH_MOST * (int)READ_BYTES);
    sources[PIPE].fd = pipes[0];
    sources[PIPE].feed = pipes[1];
}

/* fio sets its ring up with these flags, where the kernel has them (Linux 6.1). */
static int open_ring(struct io_uring *ring)
{
    int rc = io_uring_queue_init(2 * DEPTH_MOST, ring,
                                 IORING_SETUP_COOP_TASKRUN | IORING_SETUP_SINGLE_ISSUER |
                                     IORING_SETUP_DEFER_TASKRUN);

    return rc == -EINVAL ? io_uring_queue_init(2 * DEPTH_MOST, ring, 0) : rc;
}

static bool open_rings(void)
{
    struct iovec memory = {NULL, DEPTH_MOST * READ_BYTES};
    int rc = open_ring(&pool_ring);

    if (rc == 0)
        rc = open_ring(&plain_ring);
    if (rc) {
        bench_note("io is left out: io_uring: %s", strerror(-rc));
        return false;
    }
    rc = hf_uring_open(pool->pool, &pool_ring, NULL, &uring);
    if (rc) {
        bench_note("io is left out: %s", hf_uring_detail());
        return false;
    }
    plain = memory.iov_base = mmap(NULL, memory.iov_len, PROT_READ | PROT_WRITE,
                                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (plain == MAP_FAILED || io_uring_register_buffers_sparse(&plain_ring, 1 + DEPTH_MOST) != 0 ||
        io_uring_register_buffers_update_tag(&plain_ring, 0, &memory, NULL, 1) != 1)
        lab_fail("registering plain memory");
    return true;
}

static void begin_io(struct bench_group *group)
{
    pool = bench_pool_new(POOL_BYTES);
    file = bench_file_new(pool);
    bench_file_fill(pool, file, DEPTH_MOST);
    bench_file_map(pool, file, 0, DEPTH_MOST);
    if (!open_rings())
        return;
    open_sources();
    add_all_reads(group, has_fio());
}

static void end_io(void)
{
    for (unsigned s = 0; s < SOURCES; s++) {
        if (sources[s].fd >= 0)
            close(sources[s].fd);
        if (sources[s].feed >= 0)
            close(sources[s].feed);
        if (sources[s].file >= 0)
            close(sources[s].file);
    }
    if (uring && hf_uring_close(uring) != 0)
        lab_fail("closing: %s", hf_uring_detail());
    bench_must(&bench_real, hf_close(file), "closing");
    bench_pool_end(pool);
}

struct bench_group bench_io_group = {
    .name = "io",
    .title = "reads by io_uring",
    .help = "4 KiB by io_uring into a pinned page, beside fio, and ranges registered one by one",
    .unit = "us",
    .ratio = "x Holdfast",
    .begin = begin_io,
    .end = end_io,
};
