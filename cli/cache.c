/* SPDX-License-Identifier: MIT */
/*
 * The verb cache: a cache of objects in a directory of a pool (holdfast/cache.h). Each thing that
 * can be done with one is a verb of its own below it: `holdfast cache get POOL CACHE KEY`. What is
 * got goes to standard output from where it lies, held until all of it is written.
 */
#include "cache.h"

#include "transfer.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SIZE_MAX_GIVEN (UINT64_C(1) << 52)
#define NS_PER_S UINT64_C(1000000000)
#define TTL_SECONDS_MAX UINT32_MAX

static struct hfc_options made = {.size = sizeof(made)};
static const char *policy_word = "s3fifo";
static const char *tier_word;
static uint64_t ttl_ns, evicted_bytes, watch_ns = NS_PER_S;
static uint32_t key_space, watch_lines;
static bool as_json, key_is_hex;

#define JSON_OPTION                                                                                \
    {                                                                                              \
        .name = "json", .letter = 'j', .kind = CLI_FLAG, .value = &as_json, .help = "for programs" \
    }
#define HEX_OPTION(text)                                                                           \
    {                                                                                              \
        .name = "hex", .letter = 'x', .kind = CLI_FLAG, .value = &key_is_hex, .help = (text)       \
    }
#define SPACE_OPTION                                                                               \
    {                                                                                              \
        .name = "space", .letter = 's', .kind = CLI_COUNT, .value = &key_space, .value_name = "N", \
        .help = "the namespace of the key (0)", .min = 0, .max = HFC_SPACES - 1                    \
    }

/* ---- a cache that is open ---- */

struct opened {
    struct hf_pool *pool;
    struct hfc *cache;
    char **operands;
    int status;
};

/* hfc_detail() has no sentence for a key that is not there. */
static int fail_cache(const char *what, int rc)
{
    const char *why = hfc_detail();

    return cli_fail_why(what, rc != -ENOENT && why[0] != '\0' ? why : strerror(-rc), rc);
}

/* Operands 0 and 1. False: it is closed, and the failure printed. */
static bool attach_cache(struct opened *it, char **operands)
{
    int rc;

    *it = (struct opened){.operands = operands};
    it->status = cli_pool_open(operands[0], 0, &it->pool);
    if (it->status != EX_OK)
        return false;
    rc = hfc_open(it->pool, operands[1], NULL, &it->cache);
    if (rc == 0)
        return true;
    it->status = rc == -ENOENT
                     ? cli_fail_why(operands[1], "there is no cache (`holdfast cache make`)", rc)
                     : fail_cache(operands[1], rc);
    it->status = cli_pool_close(it->pool, operands[0], it->status);
    return false;
}

static int close_cache(struct opened *it)
{
    int rc = hfc_close(it->cache);

    if (rc != 0 && it->status == EX_OK)
        it->status = fail_cache(it->operands[1], rc);
    return cli_pool_close(it->pool, it->operands[0], it->status);
}

static void fail_opened(struct opened *it, const char *what, int rc)
{
    it->status = rc == -ENOENT ? cli_fail_why(what, "there is no such key in the cache", rc)
                               : fail_cache(what, rc);
}

/* ---- keys ---- */

static int hex_digit(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

struct named_key {
    struct hfc_key key;
    uint8_t bytes[HFC_KEY_MAX];
};

/* The exit code, or EX_OK. */
static int read_key(struct named_key *out, const char *text)
{
    size_t len = strlen(text), bytes = key_is_hex ? len / 2 : len;

    if (key_is_hex && (len % 2 != 0 || strspn(text, "0123456789abcdefABCDEF") != len))
        return cli_usage("%s: with --hex a key is pairs of hexadecimal digits (like 00ff)", text);
    if (bytes > HFC_KEY_MAX)
        return cli_usage("a key of %zu bytes: at most %u", bytes, HFC_KEY_MAX);
    for (size_t i = 0; i < bytes; i++)
        out->bytes[i] = key_is_hex
                            ? (uint8_t)(hex_digit(text[2 * i]) << 4 | hex_digit(text[2 * i + 1]))
                            : (uint8_t)text[i];
    out->key = (struct hfc_key){out->bytes, (uint32_t)bytes, key_space};
    return EX_OK;
}

/* ---- make ---- */

static struct cli_option make_options[] = {
    {.name = "capacity",
     .letter = 'c',
     .kind = CLI_BYTES,
     .value = &made.capacity_bytes,
     .value_name = "SIZE",
     .help = "memory for objects, 1M to 8T",
     .min = UINT64_C(1) << 20,
     .max = UINT64_C(1) << 43,
     .required = true},
    {.name = "objects",
     .letter = 'n',
     .kind = CLI_COUNT,
     .value = &made.objects,
     .value_name = "N",
     .help = "at most so many (one for each 16K of capacity)",
     .min = 1,
     .max = UINT32_MAX},
    {.name = "policy",
     .letter = 'p',
     .kind = CLI_TEXT,
     .value = &policy_word,
     .value_name = "POLICY",
     .words = "s3fifo lru fifo",
     .help = "what leaves first: s3fifo (what is used once), lru, fifo"},
    {.name = "high",
     .kind = CLI_BYTES,
     .value = &made.high_bytes,
     .value_name = "SIZE",
     .help = "evict when objects would take more (the capacity)",
     .min = HF_BLOCK_BYTES,
     .max = SIZE_MAX_GIVEN},
    {.name = "low",
     .kind = CLI_BYTES,
     .value = &made.low_bytes,
     .value_name = "SIZE",
     .help = "and until they take no more than this (high)",
     .min = HF_BLOCK_BYTES,
     .max = SIZE_MAX_GIVEN},
    {.name = "tier",
     .kind = CLI_TEXT,
     .value = &tier_word,
     .value_name = "DIR",
     .help = "what is evicted goes to a file in this directory of a disk (nowhere)"},
    {.name = "tier-size",
     .kind = CLI_BYTES,
     .value = &made.tier_bytes,
     .value_name = "SIZE",
     .help = "of that file at most, 1M to 32T",
     .min = UINT64_C(1) << 20,
     .max = UINT64_C(1) << 45},
    {.name = "ttl",
     .letter = 't',
     .kind = CLI_TIME,
     .value = &ttl_ns,
     .value_name = "TIME",
     .help = "older objects are not found (any age is right)",
     .min = NS_PER_S,
     .max = TTL_SECONDS_MAX * NS_PER_S},
    {0},
};

static bool read_evicting(uint32_t *out)
{
    static const char *const words[] = {"s3fifo", "lru", "fifo"};

    for (uint32_t i = 0; i < 3; i++) {
        if (strcmp(policy_word, words[i]) == 0) {
            *out = i;
            return true;
        }
    }
    return false;
}

static int make_in(struct hf_pool *pool, const char *path)
{
    struct hfc *cache;
    int rc = hfc_open(pool, path, NULL, &cache);

    if (rc == 0) {
        hfc_close(cache);
        return cli_fail_why(path, "there is a cache already", -EEXIST);
    }
    if (rc == -ENOENT)
        rc = hfc_open(pool, path, &made, &cache);
    if (rc != 0)
        return cli_fail_why(path, hfc_detail()[0] != '\0' ? hfc_detail() : strerror(-rc), rc);
    hfc_close(cache);
    return EX_OK;
}

static int run_cache_make(int count, char **operands)
{
    struct hf_pool *pool;
    int status;

    (void)count;
    if (!read_evicting(&made.policy))
        return cli_usage("--policy %s: must be s3fifo, lru or fifo", policy_word);
    if (!tier_word != !made.tier_bytes)
        return cli_usage("--tier and --tier-size: give both, or neither");
    if (tier_word) {
        made.tier = realpath(tier_word, NULL);
        if (!made.tier)
            return cli_fail_host(tier_word, errno);
    }
    made.ttl_seconds = (ttl_ns + NS_PER_S - 1) / NS_PER_S;
    status = cli_pool_open(operands[0], 0, &pool);
    if (status != EX_OK)
        return status;
    return cli_pool_close(pool, operands[0], make_in(pool, operands[1]));
}

static const struct cli_verb cache_make = {
    .name = "cache make",
    .operands = "POOL CACHE",
    .summary = "make a cache in a directory of the pool",
    .details = "CACHE is the directory, which is made if it is not there.",
    .options = make_options,
    .operands_min = 2,
    .operands_max = 2,
    .run = run_cache_make,
};

/* ---- get ---- */

static struct cli_option get_options[] = {
    HEX_OPTION("the key is in hexadecimal digits"), SPACE_OPTION, {0}};

static void print_pieces(struct opened *it, const struct iovec *iov, int pieces)
{
    int error = 0;

    for (int i = 0; i < pieces && error == 0; i++)
        error = transfer_write_all(STDOUT_FILENO, iov[i].iov_base, iov[i].iov_len);
    if (error != 0 && error != EPIPE && error != EINTR)
        it->status = cli_fail_host("standard output", error);
}

static void print_object(struct opened *it, const struct hfc_key *key, const char *name)
{
    struct iovec *iov = NULL;
    size_t room = 0;
    struct hfc_ref ref;
    int pieces;

    do {
        iov = cli_grow(iov, room, &room, sizeof(*iov));
        pieces = hfc_fetch(it->cache, key, iov, (int)room, &ref);
    } while (pieces == -E2BIG && room < INT32_MAX / 2);
    if (pieces > 0) {
        print_pieces(it, iov, pieces);
        hfc_release(&ref);
    } else {
        fail_opened(it, name, pieces);
    }
    free(iov);
}

static int run_cache_get(int count, char **operands)
{
    struct named_key named;
    struct opened it;
    int status = read_key(&named, operands[2]);

    (void)count;
    if (status != EX_OK)
        return status;
    if (!attach_cache(&it, operands))
        return it.status;
    print_object(&it, &named.key, operands[2]);
    return close_cache(&it);
}

static const struct cli_verb cache_get = {
    .name = "cache get",
    .operands = "POOL CACHE KEY",
    .summary = "write an object to standard output",
    .options = get_options,
    .operands_min = 3,
    .operands_max = 3,
    .run = run_cache_get,
};

/* ---- put ---- */

struct content {
    char *bytes;
    size_t len, room;
    uint64_t most; /* no object has more */
};

/* All of it, or as much as tells that it is too much. 0, or the errno. */
static int read_all(struct content *content, int fd)
{
    while (!cli_interrupted() && content->len <= content->most) {
        ssize_t got;

        content->bytes = cli_grow(content->bytes, content->len, &content->room, 1);
        got = read(fd, content->bytes + content->len, content->room - content->len);
        if (got == 0)
            return 0;
        if (got < 0 && errno != EINTR)
            return errno;
        content->len += got > 0 ? (size_t)got : 0;
    }
    return cli_interrupted() ? EINTR : 0;
}

/* 0, or the errno. */
static int read_source(struct content *content, const char *source)
{
    int fd, error;

    if (strcmp(source, "-") == 0)
        return read_all(content, STDIN_FILENO);
    fd = open(source, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return errno;
    error = read_all(content, fd);
    close(fd);
    return error;
}

static int put_source(struct opened *it, const struct hfc_key *key, const char *source)
{
    struct hfc_stats stats = {.size = sizeof(stats)};
    struct content content = {0};
    int rc = hfc_stats(it->cache, &stats), error;

    if (rc != 0)
        return fail_cache(it->operands[1], rc);
    content.most = stats.capacity_bytes;
    error = read_source(&content, source);
    if (error != 0)
        it->status = cli_fail_host(source, error);
    else if (content.len == 0)
        it->status = cli_fail_why(source, "it is empty: an object has at least one byte", -EINVAL);
    else if (content.len > content.most)
        it->status = cli_fail_why(source, "it is larger than the cache", -EFBIG);
    else if ((rc = hfc_put(it->cache, key, content.bytes, content.len)) != 0)
        it->status = fail_cache(source, rc);
    free(content.bytes);
    return it->status;
}

static int run_cache_put(int count, char **operands)
{
    struct named_key named;
    struct opened it;
    int status = read_key(&named, operands[3]);

    (void)count;
    if (status != EX_OK)
        return status;
    if (!attach_cache(&it, operands))
        return it.status;
    it.status = put_source(&it, &named.key, operands[2]);
    return close_cache(&it);
}

static const struct cli_verb cache_put = {
    .name = "cache put",
    .operands = "POOL CACHE SOURCE KEY",
    .summary = "copy a file of the host, or standard input (-), in under a key",
    .details =
        "An object that has the key is replaced in one step. When the cache is full, others\n"
        "are evicted.",
    .options = get_options,
    .operands_min = 4,
    .operands_max = 4,
    .run = run_cache_put,
};

/* ---- rm ---- */

static int run_cache_rm(int count, char **operands)
{
    struct named_key named;
    struct opened it;

    for (int i = 2; i < count; i++) {
        int status = read_key(&named, operands[i]);

        if (status != EX_OK)
            return status;
    }
    if (!attach_cache(&it, operands))
        return it.status;
    for (int i = 2; i < count && !cli_interrupted(); i++) {
        int rc;

        read_key(&named, operands[i]);
        rc = hfc_remove(it.cache, &named.key);
        if (rc != 0)
            fail_opened(&it, operands[i], rc);
    }
    return close_cache(&it);
}

static const struct cli_verb cache_rm = {
    .name = "cache rm",
    .operands = "POOL CACHE KEY...",
    .summary = "take objects out of a cache",
    .options = get_options,
    .operands_min = 3,
    .operands_max = 1 << 20,
    .run = run_cache_rm,
};

/* ---- evict, drain ---- */

static int evict_so_many(char **operands, uint64_t bytes)
{
    char text[CLI_SIZE_TEXT];
    uint64_t gone = 0;
    struct opened it;
    int rc;

    if (!attach_cache(&it, operands))
        return it.status;
    rc = hfc_evict(it.cache, bytes, &gone);
    if (rc != 0)
        it.status = fail_cache(operands[1], rc);
    cli_put_name(stdout, operands[1]);
    printf(": %s evicted (%" PRIu64 " bytes)\n", cli_size(text, gone), gone);
    return close_cache(&it);
}

static int run_cache_evict(int count, char **operands)
{
    (void)count;
    return evict_so_many(operands, evicted_bytes);
}

static int run_cache_drain(int count, char **operands)
{
    (void)count;
    return evict_so_many(operands, UINT64_MAX);
}

static struct cli_option evict_options[] = {
    {.name = "bytes",
     .letter = 'b',
     .kind = CLI_BYTES,
     .value = &evicted_bytes,
     .value_name = "SIZE",
     .help = "evict objects that have so much memory in all",
     .min = 1,
     .max = SIZE_MAX_GIVEN,
     .required = true},
    {0},
};

static const struct cli_verb cache_evict = {
    .name = "cache evict",
    .operands = "POOL CACHE",
    .summary = "evict objects by the policy",
    .details = "The memory stays with the cache. What readers hold stays valid for them.",
    .options = evict_options,
    .operands_min = 2,
    .operands_max = 2,
    .run = run_cache_evict,
};

static const struct cli_verb cache_drain = {
    .name = "cache drain",
    .operands = "POOL CACHE",
    .summary = "evict all objects",
    .details = "The cache stays, and its memory goes back to the pool, but for what readers hold.\n"
               "What others put meanwhile may stay too.",
    .operands_min = 2,
    .operands_max = 2,
    .run = run_cache_drain,
};

/* ---- ls, stat: cache_look.c has how they are printed ---- */

static struct cli_option ls_options[] = {
    HEX_OPTION("keys in hexadecimal digits"), JSON_OPTION, {0}};
static struct cli_option stat_options[] = {JSON_OPTION, {0}};

static int run_cache_ls(int count, char **operands)
{
    struct opened it;
    int rc;

    (void)count;
    if (!attach_cache(&it, operands))
        return it.status;
    rc = cache_print_keys(it.cache, as_json, key_is_hex);
    if (rc != 0)
        it.status = fail_cache(operands[1], rc);
    return close_cache(&it);
}

static int run_cache_stat(int count, char **operands)
{
    struct hfc_stats stats = {.size = sizeof(stats)};
    struct opened it;
    int rc;

    (void)count;
    if (!attach_cache(&it, operands))
        return it.status;
    rc = hfc_stats(it.cache, &stats);
    if (rc == 0)
        cache_print_stats(it.cache, operands[1], &stats, as_json);
    else
        it.status = fail_cache(operands[1], rc);
    return close_cache(&it);
}

static const struct cli_verb cache_ls = {
    .name = "cache ls",
    .operands = "POOL CACHE",
    .summary = "list the keys of a cache, with namespace and bytes",
    .options = ls_options,
    .operands_min = 2,
    .operands_max = 2,
    .run = run_cache_ls,
};

static const struct cli_verb cache_stat = {
    .name = "cache stat",
    .operands = "POOL CACHE",
    .summary = "show what a cache has, and how often it had what was asked for",
    .details = "The counts begin when a first process opens the cache, and end with the last one.",
    .options = stat_options,
    .operands_min = 2,
    .operands_max = 2,
    .run = run_cache_stat,
};

/* ---- top ---- */

static struct cli_option top_options[] = {
    {.name = "interval",
     .letter = 'i',
     .kind = CLI_TIME,
     .value = &watch_ns,
     .value_name = "TIME",
     .help = "what a line is about (1s)",
     .min = NS_PER_S / 10,
     .max = 3600 * NS_PER_S},
    {.name = "batch",
     .letter = 'b',
     .kind = CLI_COUNT,
     .value = &watch_lines,
     .value_name = "N",
     .help = "end after N lines",
     .min = 1,
     .max = UINT32_MAX},
    {0},
};

static int run_cache_top(int count, char **operands)
{
    struct opened it;
    int rc;

    (void)count;
    if (!attach_cache(&it, operands))
        return it.status;
    rc = cache_watch(it.cache, watch_ns, watch_lines);
    if (rc != 0)
        it.status = fail_cache(operands[1], rc);
    return close_cache(&it);
}

static const struct cli_verb cache_top = {
    .name = "cache top",
    .operands = "POOL CACHE",
    .summary = "watch a cache: a line each second, with hits, evictions and bytes",
    .options = top_options,
    .operands_min = 2,
    .operands_max = 2,
    .run = run_cache_top,
};

static const struct cli_verb *const cache_verbs[] = {
    &cache_make, &cache_put, &cache_get,   &cache_rm,    &cache_ls,
    &cache_stat, &cache_top, &cache_evict, &cache_drain, NULL,
};

const struct cli_verb cli_verb_cache = {
    .name = "cache",
    .operands = "VERB POOL CACHE [ARGUMENT] ...",
    .summary = "make, fill, look into and empty a cache of objects in a pool",
    .details = "CACHE is a directory of the pool. `holdfast cache VERB --help` says more.",
    .verbs = cache_verbs,
};
