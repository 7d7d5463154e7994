/* SPDX-License-Identifier: MIT */
/*
 * hfc_check() on a cache that was damaged: what it says, that a repair leaves nothing to say, and
 * that what remains is whole. Places in the index are spelled out here as in docs/FORMAT.md, so
 * that this is a second reading of it. Then come many damages at random, each from a seed.
 */
#include "objects.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define OBJECTS 60u
#define ROUNDS 60u
#define TIER_ROUNDS 30u

enum { CELLS = 64, NEXT_STAMP = 88, CELL = 64, MORE = 12, KEY_LEN = 36, KEY = 40 };

static struct hf_pool *pool;
static struct hf_file *cache_index;
static uint64_t index_bytes;
static uint8_t *copy; /* of the index */
static char sentences[65536];
static struct hfc_check_result seen;

/* ---- a cache with all kinds of objects ---- */

static uint64_t len_of(uint64_t number)
{
    return number % 3 == 0 ? 8 + number * 7 : 3000 + number * 111;
}

static void read_copy(void)
{
    struct stat st;

    EXPECT_EQ(hf_open(pool, "/cache/index", O_RDWR, 0, &cache_index), 0);
    EXPECT_EQ(hf_fstat(cache_index, &st), 0);
    index_bytes = (uint64_t)st.st_size;
    copy = malloc(index_bytes);
    EXPECT(copy != NULL);
    EXPECT_EQ(hf_read(cache_index, copy, index_bytes, 0), (ssize_t)index_bytes);
}

static void fresh(void)
{
    struct hfc *cache;

    pool = test_pool_new("check", TEST_MIB(64));
    cache = object_cache(pool, TEST_MIB(4), HFC_S3FIFO, 200);
    for (uint64_t i = 0; i < OBJECTS; i++)
        object_put(cache, i, 0, i + 5, len_of(i));
    EXPECT_EQ(hfc_close(cache), 0);
    read_copy();
}

static void done(void)
{
    free(copy);
    EXPECT_EQ(hf_close(cache_index), 0);
    test_pool_close(pool);
    test_pool_check("check");
    test_remove_tree(test_path("check"));
}

/* ---- checking ---- */

static void on_problem(void *arg, const char *sentence)
{
    (void)arg;
    if (strlen(sentences) + strlen(sentence) + 2 < sizeof sentences)
        strcat(strcat(sentences, sentence), "\n");
}

static int check(uint32_t flags)
{
    sentences[0] = '\0';
    seen = (struct hfc_check_result){.size = sizeof seen};
    return hfc_check(pool, "/cache", flags, on_problem, NULL, &seen);
}

static void expect_said(const char *text)
{
    if (!strstr(sentences, text))
        FAIL("'%s' is not in: %s", text, sentences);
}

/* How many of the objects that were put are there. All of them are whole. */
static uint64_t there(void)
{
    uint64_t count = 0;
    struct hfc *cache;

    EXPECT_EQ(hfc_open(pool, "/cache", NULL, &cache), 0);
    EXPECT_EQ(object_stats(cache).dropped, 0);
    for (uint64_t i = 0; i < OBJECTS; i++) {
        int64_t version = object_get(cache, i, 0, len_of(i));

        EXPECT(version == (int64_t)i + 5 || version == -ENOENT);
        count += version >= 0;
    }
    EXPECT_EQ(object_check_all(cache, true), count);
    EXPECT_EQ(hfc_close(cache), 0);
    return count;
}

/* Finds `problems` and says so, changes nothing; then mends them all, and finds nothing. */
static void mends(const char *text, uint64_t problems, uint64_t left)
{
    EXPECT_EQ(check(0), 0);
    expect_said(text);
    if (seen.problems != problems || seen.repaired)
        FAIL("%" PRIu64 " problems, not %" PRIu64 ": %s", seen.problems, problems, sentences);
    EXPECT_EQ(check(HF_CHECK_REPAIR), 0);
    expect_said(text);
    expect_said("(repaired)");
    EXPECT_EQ(seen.problems, problems);
    EXPECT_EQ(seen.repaired, problems);
    EXPECT_EQ(check(0), 0);
    EXPECT_EQ(seen.problems, 0);
    EXPECT_EQ(seen.objects, left);
    EXPECT_EQ(there(), left);
}

/* ---- places ---- */

static uint64_t get64(uint64_t at)
{
    uint64_t value;

    memcpy(&value, copy + at, 8);
    return value;
}

static uint32_t get32(uint64_t at)
{
    uint32_t value;

    memcpy(&value, copy + at, 4);
    return value;
}

static void set(uint64_t at, const void *bytes, size_t len)
{
    EXPECT_EQ(hf_write(cache_index, bytes, len, at), (ssize_t)len);
}

static void set64(uint64_t at, uint64_t value)
{
    set(at, &value, 8);
}

static uint64_t lines_end(void)
{
    return TEST_PAGE + (uint64_t)get32(CELLS + 4) * 64;
}

/* The n-th word that leads to an object, packed or not. */
static uint64_t word_of(bool packed, unsigned n)
{
    for (uint64_t at = TEST_PAGE; at < lines_end(); at += 8) {
        uint64_t cell = (lines_end() + TEST_PAGE - 1) / TEST_PAGE * TEST_PAGE +
                        ((uint32_t)get64(at) - 1) * (uint64_t)CELL;

        if (get64(at) && ((get32(cell + 8) & 0x100) != 0) == packed && n-- == 0)
            return at;
    }
    FAIL("there are not so many objects");
}

static uint64_t cell_of(uint64_t word)
{
    return (lines_end() + TEST_PAGE - 1) / TEST_PAGE * TEST_PAGE +
           ((uint32_t)get64(word) - 1) * (uint64_t)CELL;
}

static uint64_t free_word(void)
{
    for (uint64_t at = TEST_PAGE; at < lines_end(); at += 8)
        if (!get64(at))
            return at;
    FAIL("all words are in use");
}

/* ---- damages ---- */

static void damage_words(void)
{
    fresh();
    set64(free_word(), UINT64_MAX);
    mends("it leads to no object", 1, OBJECTS);
    set64(free_word(), get64(word_of(false, 0)) & UINT32_MAX); /* with another hash */
    mends("another word", 1, OBJECTS);
    done();
    fresh();
    set64(word_of(true, 0), get64(word_of(true, 0)) ^ UINT64_C(1) << 63);
    mends("does not lead to it", 1, OBJECTS - 1);
    done();
}

static void damage_cells(void)
{
    static const uint16_t nothing;
    uint64_t first, second;

    fresh();
    first = cell_of(word_of(false, 0));
    second = cell_of(word_of(false, 1));
    set64(first + 16, UINT64_C(1) << 40); /* where it lies */
    mends("its place is not in the data", 1, OBJECTS - 1);
    set64(second + 16, get64(cell_of(word_of(false, 2)) + 16));
    set64(second + 24, TEST_PAGE);
    mends("another object has a part of its place", 2, OBJECTS - 3); /* whose is it? */
    set(cell_of(word_of(false, 3)) + 36, &nothing, 2);               /* how long its key is */
    mends("has no key", 1, OBJECTS - 4);
    set64(cell_of(word_of(false, 4)) + 8, 0); /* its state */
    mends("it leads to no object", 1, OBJECTS - 5);
    done();
}

/* A key that needs no more cells names the first one of a long key. That harms nobody, also when
 * the object leaves, and other keys take cells. */
static void damage_short_key(void)
{
    uint64_t short_one = 0, long_one = 0;
    struct hfc *cache;

    fresh();
    for (unsigned i = 0; !short_one || !long_one; i++) {
        uint64_t cell = cell_of(word_of(false, i));

        *(copy[cell + KEY_LEN] + copy[cell + KEY_LEN + 1] * 256 > 24 ? &long_one : &short_one) =
            cell;
    }
    set(short_one + MORE, copy + long_one + MORE, 4);
    EXPECT_EQ(hfc_open(pool, "/cache", NULL, &cache), 0);
    EXPECT_EQ(object_stats(cache).dropped, 0);
    EXPECT_EQ(
        hfc_remove(cache, &(struct hfc_key){copy + short_one + KEY, copy[short_one + KEY_LEN], 0}),
        0);
    for (uint64_t i = 0; i < 40; i++)
        object_put(cache, 1000 + i, 0, i, len_of(i));
    EXPECT_EQ(hfc_close(cache), 0);
    EXPECT_EQ(check(0), 0);
    if (seen.problems)
        FAIL("after use: %s", sentences);
    done();
}

/* Of those that have pages of another one, a process that opens the cache keeps none either. */
static void damage_opened(void)
{
    uint64_t place[5];
    struct hfc *cache;
    uint64_t count = 0;

    fresh();
    for (unsigned i = 0; i < 5; i++)
        place[i] = cell_of(word_of(false, i)) + 16;
    set64(place[0], get64(place[1])); /* two that have one place */
    set64(place[0] + 8, TEST_PAGE);
    set64(place[2], get64(place[3])); /* two more, in the other order */
    set64(place[2] + 8, get64(place[3] + 8));
    set64(place[3] + 8, TEST_PAGE);
    EXPECT_EQ(hfc_open(pool, "/cache", NULL, &cache), 0);
    for (uint64_t i = 0; i < OBJECTS; i++) {
        int64_t version = object_get(cache, i, 0, len_of(i));

        EXPECT(version == (int64_t)i + 5 || version == -ENOENT);
        count += version >= 0;
    }
    EXPECT_EQ(count, OBJECTS - 4);
    EXPECT_EQ(object_stats(cache).dropped, 4);
    for (uint64_t i = 0; i < 300; i++) /* all of the memory is used again */
        object_put(cache, 1000 + i, 0, 1, 60000);
    EXPECT_EQ(object_check_all(cache, true), object_stats(cache).objects);
    EXPECT_EQ(hfc_evict(cache, UINT64_MAX, NULL), 0);
    EXPECT_EQ(object_stats(cache).used_bytes, 0);
    EXPECT_EQ(hfc_close(cache), 0);
    EXPECT_EQ(check(0), 0);
    EXPECT_EQ(seen.problems, 0);
    done();
}

static void damage_packed(void)
{
    struct hf_file *data;
    uint64_t off;

    fresh();
    off = get64(cell_of(word_of(true, 0)) + 16);
    EXPECT_EQ(hf_open(pool, "/cache/data", O_RDWR, 0, &data), 0);
    EXPECT_EQ(hf_write(data, "another", 7, off - 16), 7);
    EXPECT_EQ(hf_close(data), 0);
    mends("its place in the data has another object", 1, OBJECTS - 1);
    done();
}

static void damage_header(void)
{
    const uint32_t bad = 17;

    fresh();
    set64(0, 0x1234);
    mends("does not begin as one", 1, OBJECTS);
    set64(40, 0);
    mends("watermarks", 1, OBJECTS);
    set(72, &bad, 4);
    mends("policy", 1, OBJECTS);
    set64(NEXT_STAMP, 1);
    mends("stamp", 1, OBJECTS);
    set64(16, get64(16) ^ 1); /* the seed of all hashes */
    mends("it counts for nothing", OBJECTS, 0);
    done();
}

/* It can be found, but nothing in it: the next one is made again. */
static void damage_sizes(void)
{
    const uint32_t bad = 17;
    struct hfc *cache;

    fresh();
    set(CELLS, &bad, 4);
    EXPECT_EQ(check(0), 0);
    EXPECT_EQ(seen.problems, 1);
    expect_said("makes no sense");
    EXPECT_EQ(check(HF_CHECK_REPAIR), 0);
    EXPECT_EQ(seen.repaired, 1);
    EXPECT_EQ(check(0), -ENOENT);
    cache = object_cache(pool, TEST_MIB(4), HFC_S3FIFO, 200);
    object_put(cache, 1, 0, 9, 5000);
    EXPECT_EQ(object_get(cache, 1, 0, 5000), 9);
    EXPECT_EQ(hfc_close(cache), 0);
    done();
}

static void newer_versions(void)
{
    const uint32_t two = 2, feature = UINT32_C(1) << 31, one = 1;

    fresh();
    set(8, &two, 4);
    EXPECT_EQ(check(HF_CHECK_REPAIR), 0);
    expect_said("format 2");
    EXPECT(seen.problems == 1 && seen.repaired == 0);
    set(8, &one, 4);
    set(12, &feature, 4);
    EXPECT_EQ(check(HF_CHECK_REPAIR), 0);
    expect_said("newer version");
    EXPECT(seen.problems == 1 && seen.repaired == 0);
    set(12, copy + 12, 4); /* nothing else was changed */
    EXPECT_EQ(there(), OBJECTS);
    done();
}

static void damage_data(void)
{
    struct hf_file *data;

    fresh();
    EXPECT_EQ(hf_unlink(pool, "/cache/data", NULL), 0);
    mends("the file data is missing", OBJECTS + 1, 0);
    done();
    fresh();
    EXPECT_EQ(hf_open(pool, "/cache/data", O_RDWR, 0, &data), 0);
    EXPECT_EQ(hf_truncate(data, 0, NULL), 0);
    EXPECT_EQ(hf_close(data), 0);
    mends("the file data has 0 bytes", OBJECTS + 1, 0);
    done();
}

static void damage_anything(struct test_rng *rng)
{
    struct hfc *cache;

    fresh();
    for (uint64_t i = 1 + test_below(rng, 30); i; i--) {
        uint64_t word = test_random(rng) >> test_below(rng, 64);

        set64(TEST_PAGE + test_below(rng, index_bytes - TEST_PAGE - 8), word);
    }
    EXPECT_EQ(check(0), 0);
    EXPECT_EQ(check(HF_CHECK_REPAIR), 0);
    EXPECT_EQ(seen.problems, seen.repaired);
    EXPECT_EQ(check(0), 0);
    if (seen.problems)
        FAIL("after a repair: %s", sentences);
    EXPECT_EQ(hfc_open(pool, "/cache", NULL, &cache), 0);
    EXPECT_EQ(object_stats(cache).dropped, 0);
    EXPECT_EQ(object_stats(cache).objects, seen.objects);
    for (uint64_t i = 0; i < 200; i++)
        object_put(cache, 1000 + i, 0, i, len_of(i));
    EXPECT_EQ(hfc_close(cache), 0);
    EXPECT_EQ(check(0), 0);
    if (seen.problems)
        FAIL("after use: %s", sentences);
    done();
}

static void not_a_cache(void)
{
    struct hf_file *file;

    pool = test_pool_new("check", TEST_MIB(16));
    EXPECT_EQ(hf_mkdir(pool, "/cache", 0700), 0);
    EXPECT_EQ(check(0), -ENOENT);
    EXPECT_EQ(hf_open(pool, "/cache/index", O_RDWR | O_CREAT, 0600, &file), 0);
    EXPECT_EQ(check(0), -ENOENT);
    EXPECT_EQ(hf_truncate(file, TEST_MIB(1), NULL), 0);
    EXPECT_EQ(check(0), -ENOENT);
    EXPECT_EQ(hf_close(file), 0);
    EXPECT_EQ(hfc_check(pool, "/cache", 2, NULL, NULL, &seen), -EINVAL);
    EXPECT_EQ(hfc_check(pool, "/cache", 0, NULL, NULL, NULL), -EINVAL);
    test_pool_close(pool);
    test_remove_tree(test_path("check"));
}

/* ---- the second tier ---- */

enum { TIER_HEAD = 16, TIER_PATH = 112, ENTRY = 32, TIER_OBJECTS = 40 };

static uint64_t tier_len_of(uint64_t number)
{
    return number % 2 ? 9000 + number * 100 : 700 + number * 60;
}

static uint64_t tier_page(void)
{
    return index_bytes - TEST_PAGE -
           ((uint64_t)get32(CELLS + 12) * 8 * ENTRY + TEST_PAGE - 1) / TEST_PAGE * TEST_PAGE;
}

/* The n-th entry that has an object, small or not. */
static uint64_t tier_entry(bool small, unsigned n)
{
    for (uint64_t at = tier_page() + TEST_PAGE; at < index_bytes; at += ENTRY)
        if (get64(at + 8) && (get64(at + 16) <= 3520) == small && n-- == 0)
            return at;
    FAIL("there are not so many objects");
}

/* False: this build has no second tier. */
static bool fresh_tier(void)
{
    const struct hfc_options options = {.size = sizeof options,
                                        .capacity_bytes = TEST_MIB(4),
                                        .objects = 200,
                                        .tier = test_path("check-disk"),
                                        .tier_bytes = TEST_MIB(4)};
    struct hfc *cache;
    int rc;

    EXPECT_EQ(mkdir(options.tier, 0700), 0);
    pool = test_pool_new("check", TEST_MIB(64));
    rc = hfc_open(pool, "/cache", &options, &cache);
    if (rc == -EOPNOTSUPP) {
        test_pool_close(pool);
        test_remove_tree(test_path("check"));
        test_remove_tree(test_path("check-disk"));
        return false;
    }
    EXPECT_EQ(rc, 0);
    for (uint64_t i = 0; i < TIER_OBJECTS; i++)
        object_put(cache, i, 0, i + 5, tier_len_of(i));
    EXPECT_EQ(hfc_evict(cache, UINT64_MAX, NULL), 0);
    EXPECT_EQ(hfc_close(cache), 0);
    read_copy();
    return true;
}

static void done_tier(void)
{
    done();
    test_remove_tree(test_path("check-disk"));
}

/* Objects that come back from the disk. All of them are whole. */
static uint64_t on_disk(void)
{
    struct iovec iov[OBJECT_PIECES];
    struct object_key key;
    struct hfc_ref ref;
    uint64_t count = 0;
    struct hfc *cache;
    int pieces;

    EXPECT_EQ(hfc_open(pool, "/cache", NULL, &cache), 0);
    for (uint64_t i = 0; i < TIER_OBJECTS; i++) {
        object_key(&key, i, 0);
        pieces = hfc_fetch(cache, &key.key, iov, OBJECT_PIECES, &ref);
        if (pieces == -ENOENT)
            continue;
        EXPECT_EQ(object_check(iov, pieces, i, tier_len_of(i)), i + 5);
        EXPECT_EQ(hfc_release(&ref), 0);
        count++;
    }
    EXPECT_EQ(hfc_close(cache), 0);
    return count;
}

/* Says so and changes nothing, mends it, finds nothing, and all but `lost` come back. */
static void mends_tier(const char *text, uint64_t problems, uint64_t lost)
{
    EXPECT_EQ(check(0), 0);
    expect_said(text);
    if (seen.problems != problems || seen.repaired)
        FAIL("%" PRIu64 " problems, not %" PRIu64 ": %s", seen.problems, problems, sentences);
    EXPECT_EQ(check(HF_CHECK_REPAIR), 0);
    EXPECT_EQ(seen.repaired, problems);
    EXPECT_EQ(check(0), 0);
    EXPECT_EQ(seen.problems, 0);
    EXPECT_EQ(on_disk(), TIER_OBJECTS - lost);
    done_tier();
}

/* Of the object that the entry says: bytes from `at` of its label on. */
static void damage_disk(uint64_t entry, uint64_t at)
{
    uint64_t blocks = get64(tier_page() + 8), pos = get64(entry + 8) / 4;
    int fd = open(test_path("check-disk/objects"), O_RDWR | O_CLOEXEC);
    const uint64_t wrong = UINT64_C(0x123456789abcdef0);

    EXPECT(fd >= 0);
    EXPECT_EQ(pwrite(fd, &wrong, 8, (off_t)((1 + pos % blocks) * TEST_PAGE + at)), 8);
    close(fd);
}

static void damage_tier_entries(void)
{
    uint64_t entry;

    fresh_tier();
    set64(tier_entry(false, 0) + 8, get64(tier_entry(false, 0) + 8) | 3);
    mends_tier("its state makes no sense", 1, 1);
    fresh_tier();
    set64(tier_entry(false, 1) + 16, 0);
    mends_tier("its length makes no sense", 1, 1);
    fresh_tier();
    set64(tier_entry(false, 2) + 8, UINT64_C(1) << 40 | 2);
    mends_tier("its place makes no sense", 1, 1);
    fresh_tier();
    set64(tier_entry(true, 3), ~get64(tier_entry(true, 3)));
    mends_tier("its key does not lead to it", 1, 1);
    fresh_tier();
    entry = tier_entry(true, 0);
    set64(entry + 16, get64(entry + 16) + 1);
    mends_tier("its label on the disk is another's", 1, 1);
}

static void damage_tier_disk(void)
{
    fresh_tier();
    EXPECT_EQ(check(0), 0);
    EXPECT_EQ(seen.problems, 0);
    damage_disk(tier_entry(false, 0), TEST_PAGE + 4000);
    mends_tier("have another sum", 1, 1);
    fresh_tier();
    damage_disk(tier_entry(true, 0), 576);
    damage_disk(tier_entry(false, 3), 64);
    mends_tier("label on the disk is another's", 2, 2);
    fresh_tier();
    EXPECT_EQ(unlink(test_path("check-disk/objects")), 0);
    EXPECT_EQ(check(HF_CHECK_REPAIR), 0);
    expect_said("were not looked at");
    EXPECT(seen.problems == 0 && seen.repaired == 0);
    done_tier();
}

static void damage_tier_page(void)
{
    const uint64_t nothing = 0, far = UINT64_MAX;

    fresh_tier();
    set64(tier_page(), nothing);
    mends_tier("does not begin as one", 1, 0);
    fresh_tier();
    set64(tier_page() + TIER_HEAD, far);
    mends_tier("the next position", 1, 0);
    fresh_tier();
    set64(tier_page() + 8, 17);
    mends_tier("switched off", 1, TIER_OBJECTS);
    fresh_tier();
    set64(tier_page() + TIER_PATH, nothing);
    mends_tier("switched off", 1, TIER_OBJECTS);
}

static void damage_tier_anything(struct test_rng *rng)
{
    fresh_tier();
    for (uint64_t i = 1 + test_below(rng, 10); i; i--) {
        uint64_t at = test_below(rng, index_bytes - tier_page() - 8);

        if (at + 8 <= TIER_PATH ||
            at >= TEST_PAGE) /* the path stays: files would be made elsewhere */
            set64(tier_page() + at, test_random(rng) >> test_below(rng, 64));
    }
    EXPECT_EQ(check(HF_CHECK_REPAIR), 0);
    EXPECT_EQ(seen.problems, seen.repaired);
    EXPECT_EQ(check(0), 0);
    if (seen.problems)
        FAIL("after a repair: %s", sentences);
    on_disk();
    done_tier();
}

static void check_tier(struct test_rng *rng)
{
    if (!fresh_tier())
        return;
    EXPECT_EQ(on_disk(), TIER_OBJECTS);
    done_tier();
    damage_tier_entries();
    damage_tier_disk();
    damage_tier_page();
    for (unsigned i = 0; i < TIER_ROUNDS; i++)
        damage_tier_anything(rng);
}

static void check_cache(void)
{
    struct test_rng rng = {test_seed()};

    fresh();
    EXPECT_EQ(check(0), 0);
    EXPECT_EQ(seen.problems, 0);
    EXPECT_EQ(seen.objects, OBJECTS);
    done();
    damage_words();
    damage_cells();
    damage_short_key();
    damage_opened();
    damage_packed();
    damage_header();
    damage_sizes();
    newer_versions();
    damage_data();
    not_a_cache();
    for (unsigned i = 0; i < ROUNDS; i++)
        damage_anything(&rng);
    check_tier(&rng);
}

TEST_SCENARIO(check_cache)
