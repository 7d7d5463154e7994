/* SPDX-License-Identifier: MIT */
/*
 * One get, and one put, of 256 KiB in each way. A get reads one word of the object. What copies, or
 * maps, does that for all of it. A put makes its bytes first: in place, or in a buffer that is then
 * written or sent.
 */
#include "cache.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#define PIECES 64
#define SPARE 16u /* objects that a cache has room for, beside all */

static unsigned object_count;

static void touch_object(struct cache_user *user, const void *bytes)
{
    user->sum += *(const volatile uint64_t *)bytes;
}

/* ------------------------------------------------------------------------------ gets ------ */

static void get_cache(struct cache_user *user, unsigned object)
{
    struct iovec iov[PIECES];
    char text[CACHE_KEY];
    struct hfc_key key = cache_key(text, object);
    struct hfc_ref ref;

    cache_must(hfc_get(user->gets, &key, iov, PIECES, &ref), "getting");
    touch_object(user, iov[0].iov_base);
    cache_must(hfc_release(&ref), "letting go");
}

/* The objects lie one after the other. */
static void get_pin(struct cache_user *user, unsigned object)
{
    struct iovec iov[PIECES];
    struct hf_pin pin;

    bench_must(&bench_real,
               hf_pin(user->data, object * CACHE_OBJECT, CACHE_OBJECT, HF_PIN_READ | HF_PIN_NOFILL,
                      iov, PIECES, &pin),
               "pinning");
    touch_object(user, iov[0].iov_base);
    hf_unpin(&pin);
}

static void get_tmpfs(struct cache_user *user, unsigned object)
{
    char text[CACHE_KEY];
    struct stat st;
    void *map;
    int fd;

    cache_key_text(text, object);
    fd = (int)bench_must_host(openat(user->folder, text, O_RDONLY | O_CLOEXEC), "opening a file");
    bench_must_host(fstat(fd, &st), "looking at a file");
    map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
    if (map == MAP_FAILED)
        lab_fail("mmap: %s", strerror(errno));
    touch_object(user, map);
    munmap(map, (size_t)st.st_size);
    close(fd);
}

static void get_store(struct cache_user *user, unsigned object, enum cache_store store)
{
    char text[CACHE_KEY];

    cache_key_text(text, object);
    cache_store_get(store, user->store[store], text, user->buffer);
    touch_object(user, user->buffer);
}

static void get_redis(struct cache_user *user, unsigned object)
{
    get_store(user, object, STORE_REDIS);
}

static void get_memcached(struct cache_user *user, unsigned object)
{
    get_store(user, object, STORE_MEMCACHED);
}

/* ------------------------------------------------------------------------------ puts ------ */

static void put_into(struct hfc *cache, unsigned object)
{
    struct iovec iov[PIECES];
    char text[CACHE_KEY];
    struct hfc_key key = cache_key(text, object);
    struct hfc_put *put;
    int count = (int)cache_must(
        hfc_put_begin(cache, &key, CACHE_OBJECT, HF_PIN_CPU, iov, PIECES, &put), "beginning");

    for (int i = 0; i < count; i++)
        memset(iov[i].iov_base, (int)object, iov[i].iov_len);
    cache_must(hfc_put_commit(put, CACHE_OBJECT), "committing");
}

static void put_cache(struct cache_user *user, unsigned object)
{
    put_into(user->puts, object);
}

static void write_object_file(int folder, const char *name, const char *bytes)
{
    int fd = openat(folder, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    bench_must_host(fd, "making a file");
    if (bench_must_host(write(fd, bytes, CACHE_OBJECT), "writing") != CACHE_OBJECT)
        lab_fail("a file takes less than %lu bytes", CACHE_OBJECT);
    close(fd);
}

static void put_tmpfs(struct cache_user *user, unsigned object)
{
    char name[CACHE_KEY], text[CACHE_KEY];

    memset(user->buffer, (int)object, CACHE_OBJECT);
    snprintf(name, sizeof name, "new-%u", user->number);
    write_object_file(user->folder, name, user->buffer);
    cache_key_text(text, object);
    text[0] = 'p'; /* other files than those that are got */
    bench_must_host(renameat(user->folder, name, user->folder, text), "renaming");
}

static void put_redis(struct cache_user *user, unsigned object)
{
    char text[CACHE_KEY];

    memset(user->buffer, (int)object, CACHE_OBJECT);
    cache_key_text(text, object);
    cache_store_put(STORE_REDIS, user->store[STORE_REDIS], text, user->buffer);
}

const struct cache_way cache_ways[CACHE_WAYS] = {
    [GET_CACHE] = {"cache", "hfc_get, hfc_release", get_cache, -1},
    [GET_PIN] = {"pin", "hf_pin, hf_unpin, by its place", get_pin, -1},
    [GET_TMPFS] = {"tmpfs", "tmpfs: open, mmap, munmap, close", get_tmpfs, -1},
    [GET_REDIS] = {"redis", "redis by its socket: GET", get_redis, STORE_REDIS},
    [GET_MEMCACHED] = {"memcached", "memcached by its socket: get", get_memcached, STORE_MEMCACHED},
    [PUT_CACHE] = {"cache", "hfc_put_begin, hfc_put_commit", put_cache, -1},
    [PUT_TMPFS] = {"tmpfs", "tmpfs: write, rename", put_tmpfs, -1},
    [PUT_REDIS] = {"redis", "redis by its socket: SET", put_redis, STORE_REDIS},
};

/* --------------------------------------------------------------------- what they need ----- */

static const char *pool_path(void)
{
    return bench_text("%s/cache-pool", bench.folder);
}

static const char *files_path(void)
{
    return bench_text("%s/cache-files", bench.folder);
}

static struct hfc *open_user_cache(struct hf_pool *pool, const char *path)
{
    /* Readers may hold some that were replaced. In a cache for just as many objects, one key in
     * some hundreds finds its four lines full, and a get would miss. */
    const struct hfc_options options = {.size = sizeof options,
                                        .capacity_bytes = (object_count + SPARE) * CACHE_OBJECT,
                                        .objects = 2 * object_count + 64};
    struct hfc *cache;

    cache_must(hfc_open(pool, path, &options, &cache), "opening a cache");
    return cache;
}

void cache_user_open(struct cache_user *user, unsigned number, const bool stores[STORES])
{
    *user = (struct cache_user){.number = number,
                                .buffer = lab_alloc(CACHE_OBJECT + CACHE_STORE_EXTRA)};
    bench_must(&bench_real, hf_pool_open(pool_path(), 0, &user->pool), "opening a pool");
    user->gets = open_user_cache(user->pool, "/gets");
    user->puts = open_user_cache(user->pool, "/puts");
    bench_must(&bench_real, hf_open(user->pool, "/gets/data", O_RDWR, 0, &user->data),
               "opening a cache's data");
    bench_must(&bench_real, hf_open(user->pool, "/puts/data", O_RDWR, 0, &user->put_data),
               "opening a cache's data");
    user->folder = open(files_path(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bench_must_host(user->folder, "opening a folder");
    for (unsigned i = 0; i < STORES; i++)
        user->store[i] = stores[i] ? cache_store_connect(i) : -1;
}

static void fill_ways(struct cache_user *user, const bool stores[STORES])
{
    char text[CACHE_KEY];

    for (unsigned i = 0; i < object_count; i++) {
        put_into(user->gets, i);
        put_into(user->puts, i);
        memset(user->buffer, (int)i, CACHE_OBJECT);
        cache_key_text(text, i);
        write_object_file(user->folder, text, user->buffer);
        for (unsigned j = 0; j < STORES; j++)
            if (stores[j])
                cache_store_put(j, user->store[j], text, user->buffer);
    }
}

/* What was never filled is a hole. */
void cache_user_see_puts(struct cache_user *user)
{
    for (unsigned i = 0; i < object_count + SPARE; i++) {
        struct iovec iov[PIECES];
        struct hf_pin pin;
        int count = hf_pin(user->put_data, i * CACHE_OBJECT, CACHE_OBJECT,
                           HF_PIN_READ | HF_PIN_NOFILL, iov, PIECES, &pin);

        for (int j = 0; j < count; j++)
            for (size_t at = 0; at < iov[j].iov_len; at += LAB_PAGE)
                touch_object(user, (char *)iov[j].iov_base + at);
        if (count > 0)
            hf_unpin(&pin);
    }
}

static int make_all(void *arg)
{
    struct cache_user user;

    cache_user_open(&user, 0, arg);
    fill_ways(&user, arg);
    return 0;
}

void cache_ways_begin(unsigned objects, const bool stores[STORES])
{
    const struct hf_pool_options options = {
        .size = sizeof options,
        .pool_bytes =
            (2 * (objects + SPARE) * CACHE_OBJECT + 64 * LAB_MIB) / HF_HUGE_BYTES * HF_HUGE_BYTES};

    object_count = objects;
    bench_must(&bench_real, hf_pool_create(pool_path(), &options), "making a pool");
    bench_must_host(mkdir(files_path(), 0700), "making a folder");
    cache_must_end(lab_fork(make_all, (void *)(uintptr_t)stores));
}
