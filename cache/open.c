/* SPDX-License-Identifier: MIT */
/*
 * Opening. The index is made without a name, and gets it when it is whole, so of several processes
 * that make it one wins. The run state is a file without a name whose inode number the index has.
 * The pool deletes such a file with its last process, and gives its number to no other. So a number
 * that can be opened is of a run state that living processes use. Else this process makes one, and
 * puts its number there if nobody was faster.
 *
 * Index and run state are leased whole, so they stay where they are until hfc_close().
 */
#include "private.h"

#include <errno.h>
#include <fcntl.h>
#include <holdfast/serve.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define CAPACITY_MIN_PAGES 256u
#define OBJECT_BYTES (UINT64_C(16) << 10) /* of capacity for each object, unless options say */
#define CELLS_MIN 64u
#define CELLS_MAX (UINT32_C(1) << 31)
#define RANGE_FACTOR 4u
#define RANGE_PAGES_MAX (UINT64_C(1) << 32)
#define PATH_BYTES (HF_SYMLINK_MAX + 16)

/* ---- a file that is leased whole ---- */

static void region_close(struct region *region)
{
    if (region->pages)
        hf_lease_release(&region->lease);
    if (region->file)
        hf_close(region->file);
    free(region->pages);
    *region = (struct region){0};
}

static void note_pages(struct region *region, const struct iovec *pieces, int count)
{
    uint64_t page = 0;

    for (int i = 0; i < count; i++)
        for (uint64_t at = 0; at < pieces[i].iov_len; at += CACHE_PAGE)
            region->pages[page++] = (char *)pieces[i].iov_base + at;
}

/* `file` is the region's from now on, also on failure. */
static int region_open(struct region *region, struct hf_file *file)
{
    const struct hf_lease_options options = {
        .size = sizeof options, .flags = HF_PIN_WRITE, .label = "cache"};
    struct iovec *pieces = NULL;
    struct stat st;
    int rc = hf_fstat(file, &st), room = 16;

    *region = (struct region){.file = file};
    if (rc)
        return cache_fail_pool(rc);
    region->bytes = (uint64_t)st.st_size;
    region->ino = st.st_ino;
    if (!region->bytes || region->bytes % CACHE_PAGE)
        return cache_fail(-EUCLEAN, "a file of the cache has %" PRIu64 " bytes", region->bytes);
    do {
        free(pieces);
        room *= 4;
        pieces = malloc((size_t)room * sizeof *pieces);
        rc = pieces ? hf_lease(file, 0, region->bytes, &options, pieces, room, &region->lease)
                    : -ENOMEM;
    } while (rc == -E2BIG && room < 1 << 26);
    region->pages = rc > 0 ? calloc(region->bytes / CACHE_PAGE, sizeof *region->pages) : NULL;
    if (region->pages) {
        note_pages(region, pieces, rc);
        rc = 0;
    } else if (rc > 0) {
        hf_lease_release(&region->lease);
        rc = -ENOMEM;
    }
    free(pieces);
    return rc == -ENOMEM ? cache_fail(rc, "no memory for the addresses of the index")
           : rc          ? cache_fail_pool(rc)
                         : 0;
}

/* A file without a name. All of its bytes have blocks. */
static int make_whole_file(struct hf_pool *pool, const char *dir, uint64_t bytes,
                           struct hf_file **out)
{
    int rc = hf_open(pool, dir, O_RDWR | O_TMPFILE, 0600, out);

    if (rc)
        return cache_fail_pool(rc);
    rc = hf_fallocate(*out, 0, 0, bytes, NULL);
    if (rc) {
        rc = cache_fail_pool(rc);
        hf_close(*out);
    }
    return rc;
}

/* ---- the index ---- */

uint64_t tier_page_at(const struct header *header)
{
    return CACHE_PAGE + (cache_pages((uint64_t)header->lines * 64) +
                         cache_pages((uint64_t)header->cells * sizeof(struct cell))) *
                            CACHE_PAGE;
}

uint64_t index_bytes(const struct header *header)
{
    return tier_page_at(header) + tier_index_pages(header) * CACHE_PAGE;
}

bool index_is_known(const struct header *header)
{
    return header->format == CACHE_FORMAT && !(header->incompat & ~CACHE_INCOMPAT_TIER);
}

int index_check_format(const struct header *header)
{
    if (header->magic != CACHE_MAGIC)
        return cache_fail(-EUCLEAN, "the file index is not the index of a cache");
    if (!index_is_known(header))
        return cache_fail(-EOPNOTSUPP, "the cache has format %u and features %x of a newer version",
                          header->format, header->incompat);
    return 0;
}

static int plan_header(const struct hfc_options *options, struct header *header)
{
    uint64_t pages = options->capacity_bytes / CACHE_PAGE, cells = options->objects;

    if (options->size != sizeof *options || options->reserved[0] || options->reserved[1])
        return cache_fail(-EINVAL, "size is sizeof(struct hfc_options), and reserved is 0");
    if (options->policy > HFC_FIFO)
        return cache_fail(-EINVAL, "policy %u is not known", options->policy);
    if (pages < CAPACITY_MIN_PAGES || pages > RANGE_PAGES_MAX / 2)
        return cache_fail(-EINVAL, "a capacity of %" PRIu64 " bytes: from %u KiB to 8 TiB",
                          options->capacity_bytes, CAPACITY_MIN_PAGES * 4);
    cells = cells ? cells : pages * CACHE_PAGE / OBJECT_BYTES;
    cells = cells < CELLS_MIN ? CELLS_MIN : (cells + 15) / 16 * 16;
    if (cells > CELLS_MAX)
        return cache_fail(-EINVAL, "%" PRIu64 " objects: at most %u", cells, CELLS_MAX);
    *header = (struct header){.magic = CACHE_MAGIC,
                              .format = CACHE_FORMAT,
                              .capacity_pages = pages,
                              .ttl_seconds = options->ttl_seconds,
                              .cells = (uint32_t)cells,
                              .lines = (uint32_t)(cells / 6 + CACHE_WINDOW),
                              .policy = options->policy,
                              .next_stamp = 1};
    header->range_pages =
        pages * RANGE_FACTOR < RANGE_PAGES_MAX ? pages * RANGE_FACTOR : RANGE_PAGES_MAX;
    header->range_pages = header->range_pages / CACHE_GROUP * CACHE_GROUP;
    header->high_pages = options->high_bytes ? options->high_bytes / CACHE_PAGE : pages;
    header->low_pages = options->low_bytes ? options->low_bytes / CACHE_PAGE : header->high_pages;
    if (!header->low_pages || header->low_pages > header->high_pages || header->high_pages > pages)
        return cache_fail(-EINVAL, "low_bytes is from a page to high_bytes, and high_bytes at "
                                   "most the capacity");
    if (getrandom(&header->seed, sizeof header->seed, 0) != sizeof header->seed)
        return cache_fail(-EIO, "no random number: %s", strerror(errno));
    return tier_plan(options, header);
}

/* After the header, all is zeros but for the page of the second tier. */
static int fill_index(struct hf_file *file, const struct hfc_options *options,
                      const struct header *header)
{
    char page[HF_BLOCK_BYTES] = {0};
    int rc = hf_write(file, header, sizeof *header, 0) == (ssize_t)sizeof *header ? 0 : -ENOSPC;

    if (rc || !header->tier_sets)
        return rc;
    tier_fill_page(options, page);
    return hf_write(file, page, sizeof page, tier_page_at(header)) == (ssize_t)sizeof page
               ? 0
               : -ENOSPC;
}

/* 0 too when another process was faster. */
static int make_index(struct hf_pool *pool, const char *dir, const char *path,
                      const struct hfc_options *options)
{
    struct header header;
    struct hf_file *file;
    struct stat st;
    int rc = plan_header(options, &header);

    rc = rc ? rc : tier_look(options, header.seed);
    if (rc)
        return rc;
    rc = hf_mkdir(pool, dir, 0700);
    if (rc && rc != -EEXIST)
        return cache_fail_pool(rc);
    rc = make_whole_file(pool, dir, index_bytes(&header), &file);
    if (rc)
        return rc;
    rc = fill_index(file, options, &header);
    rc = rc ? rc : hf_fsync(file);
    rc = rc ? rc : hf_fstat(file, &st);
    rc = rc ? rc : hf_linkat(pool, st.st_ino, "", HF_ROOT_INO, path);
    if (rc && rc != -EEXIST)
        rc = cache_fail_pool(rc);
    else
        rc = 0;
    hf_close(file);
    return rc;
}

static int check_index(struct hfc *cache)
{
    const struct header *header = cache_header(cache);
    uint64_t pages = header->capacity_pages, range = header->range_pages;
    int rc = index_check_format(header);

    if (rc)
        return rc;
    if (!header->cells || header->cells > CELLS_MAX || header->cells % 16 ||
        header->lines < CACHE_WINDOW || index_bytes(header) != cache->index.bytes || !pages ||
        pages > range || range % CACHE_GROUP || range > RANGE_PAGES_MAX ||
        header->high_pages > pages || !header->low_pages ||
        header->low_pages > header->high_pages || header->policy > HFC_FIFO ||
        (header->incompat & CACHE_INCOMPAT_TIER) != (header->tier_sets ? CACHE_INCOMPAT_TIER : 0))
        return cache_fail(-EUCLEAN, "the header of the cache's index makes no sense");
    cache->seed = header->seed;
    cache->capacity_pages = pages;
    cache->range_pages = range;
    cache->high_pages = header->high_pages;
    cache->low_pages = header->low_pages;
    cache->ttl_seconds = header->ttl_seconds;
    cache->cells = header->cells;
    cache->lines = header->lines;
    cache->policy = header->policy;
    cache->groups = (uint32_t)(range / CACHE_GROUP);
    for (cache->leaves = 2; cache->leaves < cache->groups;)
        cache->leaves *= 2;
    cache->lines_at = CACHE_PAGE;
    cache->cells_at = CACHE_PAGE + cache_pages((uint64_t)header->lines * 64) * CACHE_PAGE;
    cache->tier_sets = header->tier_sets;
    cache->tier_at = header->tier_sets ? tier_page_at(header) : 0;
    return tier_check_index(cache);
}

/* -ENOENT: there is none. */
static int open_index(struct hfc *cache, const char *path)
{
    struct hf_file *file;
    int rc = hf_open(cache->pool, path, O_RDWR, 0, &file);

    if (rc)
        return cache_fail_pool(rc);
    rc = region_open(&cache->index, file);
    return rc ? rc : check_index(cache);
}

/* ---- the data ---- */

static int open_objects(struct hfc *cache, const char *path)
{
    struct stat st;
    int rc = hf_open(cache->pool, path, O_RDWR | O_CREAT, 0600, &cache->data);

    rc = rc ? rc : hf_fstat(cache->data, &st);
    if (rc == 0 && (uint64_t)st.st_size < cache->range_pages * CACHE_PAGE)
        rc = hf_truncate(cache->data, cache->range_pages * CACHE_PAGE, NULL);
    if (rc == 0 && (rc = hf_held(cache->data, 0, 1)) > 0)
        rc = 0;
    return rc ? cache_fail_pool(rc) : 0;
}

/* ---- the run state ---- */

static uint64_t plan_run(struct hfc *cache)
{
    uint64_t map_pages = cache_pages(cache->range_pages / 8);

    cache->links_at = 2 * CACHE_PAGE;
    cache->ghosts_at =
        cache->links_at + cache_pages((uint64_t)cache->cells * sizeof(struct link)) * CACHE_PAGE;
    cache->busy_at = cache->ghosts_at + cache_pages(ghosts_bytes(cache)) * CACHE_PAGE;
    cache->filled_at = cache->busy_at + map_pages * CACHE_PAGE;
    cache->spans_at = cache->filled_at + map_pages * CACHE_PAGE;
    return cache->spans_at +
           cache_pages(2 * (uint64_t)cache->leaves * sizeof(struct span)) * CACHE_PAGE;
}

static int make_run(struct hfc *cache, const char *dir, uint64_t bytes)
{
    struct hf_file *file;
    struct run *run;
    int rc = make_whole_file(cache->pool, dir, bytes, &file);

    rc = rc ? rc : region_open(&cache->state, file);
    if (rc)
        return rc;
    run = cache_run(cache);
    run->index_ino = cache->index.ino;
    rc = lock_make(run);
    run->magic = CACHE_RUN_MAGIC;
    return rc;
}

/* -ESTALE: no process has it any more. */
static int open_run(struct hfc *cache, uint64_t ino, uint64_t bytes)
{
    struct hf_file *file;
    int rc = ino ? hf_openat(cache->pool, ino, "", O_RDWR, 0, &file) : -ESTALE;

    if (rc == -ENOENT || rc == -ESTALE || rc == -EISDIR || rc == -ENXIO)
        return -ESTALE;
    if (rc)
        return cache_fail_pool(rc);
    rc = region_open(&cache->state, file);
    if (rc)
        return rc == -EUCLEAN ? -ESTALE : rc;
    if (cache_run(cache)->index_ino != cache->index.ino)
        return -ESTALE; /* another file's number, which only damage puts there */
    if (cache->state.bytes != bytes || cache_run(cache)->magic != CACHE_RUN_MAGIC)
        return cache_fail(-EOPNOTSUPP, "processes with another version of this library have the "
                                       "cache open: end them first");
    return 0;
}

static int join(struct hfc *cache, const char *dir)
{
    uint64_t *word = &cache_header(cache)->run_ino, bytes = plan_run(cache);

    for (;;) {
        uint64_t ino = load_acquire(word); /* RUN.PUB/p: pairs with RUN.PUB/m below */
        int rc = open_run(cache, ino, bytes);

        if (rc != -ESTALE)
            return rc;
        region_close(&cache->state);
        rc = make_run(cache, dir, bytes);
        if (rc)
            return rc;
        /* RUN.PUB/m: the run state is whole before its number is there. Pairs with RUN.PUB/p in
         * this function, of another process. Without it: a mutex that is not one yet. */
        if (__atomic_compare_exchange_n(word, &ino, cache->state.ino, false, __ATOMIC_ACQ_REL,
                                        __ATOMIC_ACQUIRE))
            return 0;
        region_close(&cache->state);
    }
}

/* ---- both ---- */

static void drop_cache(struct hfc *cache)
{
    fetches_drop(cache);
    tier_close(cache);
    region_close(&cache->state);
    if (cache->data)
        hf_close(cache->data);
    region_close(&cache->index);
    free(cache);
}

static int open_all(struct hfc *cache, const char *dir, const struct hfc_options *options)
{
    char path[PATH_BYTES];
    int rc;

    snprintf(path, sizeof path, "%s/index", dir);
    rc = open_index(cache, path);
    if (rc == -ENOENT && options) {
        rc = make_index(cache->pool, dir, path, options);
        rc = rc ? rc : open_index(cache, path);
    }
    if (rc == -ENOENT && !options)
        return cache_fail(rc, "there is no cache in %s: give a capacity to make one", dir);
    if (rc)
        return rc;
    snprintf(path, sizeof path, "%s/data", dir);
    rc = open_objects(cache, path);
    rc = rc ? rc : join(cache, dir);
    if (rc)
        return rc;
    rc = cache_lock(cache);
    if (rc)
        return rc;
    cache_unlock(cache);
    tier_open(cache);
    return 0;
}

int hfc_open(struct hf_pool *pool, const char *path, const struct hfc_options *options,
             struct hfc **out)
{
    struct hfc *cache;
    int rc;

    if (!pool || !path || !out)
        return cache_fail(-EINVAL, "pool, path or out is null");
    if (strlen(path) > HF_SYMLINK_MAX - 8)
        return cache_fail(-ENAMETOOLONG, "the path has more than %u bytes", HF_SYMLINK_MAX - 8);
    cache = calloc(1, sizeof *cache);
    if (!cache)
        return cache_fail(-ENOMEM, "no memory for a cache");
    cache->pool = pool;
    rc = cache_forks(&cache->forks);
    rc = rc ? rc : fetches_make(cache);
    rc = rc ? rc : open_all(cache, path, options);
    if (rc) {
        drop_cache(cache);
        return rc;
    }
    *out = cache;
    return 0;
}

int hfc_close(struct hfc *cache)
{
    uint32_t putting;
    int rc = cache_check(cache);

    if (rc)
        return rc;
    fetches_pause(cache); /* they put too */
    putting = __atomic_load_n(&cache->putting, __ATOMIC_ACQUIRE);
    if (putting) {
        fetches_resume(cache);
        return cache_fail(-EBUSY, "%u puts are under way: commit or abort them", putting);
    }
    drop_cache(cache);
    return 0;
}
