/* SPDX-License-Identifier: MIT */
#include "../system/fsck_pool.h"
#include "fuzz.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* The record of POOL/segment that says which file POOL/run is (docs/FORMAT.md). */
#define SEGMENT_AT_INO 32u

static struct image {
    const char *name;
    unsigned char *bytes;
    size_t len, file_bytes;
} images[] = {{.name = "meta/data.mdb"}, {.name = "meta/lock.mdb"}, {.name = "data"},
              {.name = "run"},           {.name = "recent"},        {.name = "segment"}};
#define IMAGES (sizeof(images) / sizeof(images[0]))

static const char *path_of(const char *name)
{
    char path[64];

    snprintf(path, sizeof(path), FSCK_POOL "/%s", name);
    return test_path(path);
}

static void save(struct image *image)
{
    int fd = open(path_of(image->name), O_RDONLY | O_CLOEXEC);
    off_t data;

    EXPECT_OK(fd);
    image->file_bytes = (size_t)lseek(fd, 0, SEEK_END);
    image->len = 0;
    while ((data = lseek(fd, (off_t)image->len, SEEK_DATA)) >= 0)
        image->len = (size_t)lseek(fd, data, SEEK_HOLE);
    image->bytes = malloc(image->len + 8);
    EXPECT(image->bytes != NULL);
    EXPECT_EQ(pread(fd, image->bytes, image->len, 0), image->len);
    close(fd);
}

/* Without its zeros: most of a segment is none of the file's memory. */
static void write_file(const struct image *image, const unsigned char *bytes, size_t len,
                       size_t file_bytes)
{
    int fd = open(path_of(image->name), O_RDWR | O_CREAT | O_CLOEXEC, 0600);

    EXPECT_OK(fd);
    EXPECT_EQ(ftruncate(fd, 0), 0);
    EXPECT_EQ(ftruncate(fd, (off_t)file_bytes), 0);
    for (size_t at = 0; at < len; at += TEST_PAGE) {
        size_t n = len - at < TEST_PAGE ? len - at : TEST_PAGE;

        if (!test_is_zero(bytes + at, n))
            EXPECT_EQ(pwrite(fd, bytes + at, n, (off_t)at), n);
    }
    close(fd);
}

static struct image *find(const char *name)
{
    for (size_t i = 0; i < IMAGES; i++)
        if (strcmp(images[i].name, name) == 0)
            return &images[i];
    FAIL("there is no image of %s", name);
}

const unsigned char *fuzz_image_of(const char *name, size_t *bytes)
{
    *bytes = find(name)->len;
    return find(name)->bytes;
}

void fuzz_image_make(void)
{
    fsck_pool_make();
    for (size_t i = 0; i < IMAGES; i++)
        save(&images[i]);
}

/* The segment's file is another one now, and the record has to name it. */
static void name_segment(void)
{
    struct image *record = find("segment");
    uint64_t ino;
    struct stat st;

    EXPECT_EQ(stat(path_of("run"), &st), 0);
    ino = st.st_ino;
    memcpy(record->bytes + SEGMENT_AT_INO, &ino, sizeof(ino));
}

void fuzz_image_restore(void)
{
    for (size_t i = 0; i < IMAGES; i++) {
        if (strcmp(images[i].name, "segment") == 0)
            name_segment();
        write_file(&images[i], images[i].bytes, images[i].len, images[i].file_bytes);
    }
}

/* ---- damage ---- */

static unsigned char *damaged;

/* An edit: where, in pages and in a page; what of; a value. */
static void edit(unsigned char *bytes, size_t len, struct fuzz_input *input)
{
    size_t pages = (len + TEST_PAGE - 1) / TEST_PAGE;
    size_t at = fuzz_take(input, 2) % pages * TEST_PAGE + fuzz_take(input, 2) % TEST_PAGE;
    unsigned how = (unsigned)fuzz_take(input, 1);
    size_t width = (size_t)1 << how % 4;
    uint64_t value = 0, given = fuzz_take(input, 3);

    given = given & 0x800000 ? given | ~UINT64_C(0xffffff) : given;
    if (at + sizeof(value) > len)
        at = len > sizeof(value) ? len - sizeof(value) : 0;
    memcpy(&value, bytes + at, sizeof(value));
    switch (how / 4 % 5) {
    case 0:
        value = given;
        break;
    case 1:
        value += given;
        break;
    case 2:
        value ^= UINT64_C(1) << given % 64;
        break;
    case 3:
        value = given << 40;
        break;
    default: /* a page in another's place */
        memmove(bytes + at / TEST_PAGE * TEST_PAGE,
                bytes + given % (len / TEST_PAGE + 1) % pages * TEST_PAGE,
                len >= pages * TEST_PAGE ? TEST_PAGE : 0);
        return;
    }
    memcpy(bytes + at, &value, width);
}

void fuzz_image_damage(const char *name, struct fuzz_input *input)
{
    const struct image *image = find(name);
    size_t len = image->len, file_bytes = image->file_bytes;

    damaged = realloc(damaged, len + 8);
    EXPECT(damaged != NULL);
    memcpy(damaged, image->bytes, len);
    if (fuzz_take(input, 1) == 0xff) /* it is cut short */
        file_bytes = len = fuzz_take(input, 3) % (len + 1);
    while (input->left && len)
        edit(damaged, len, input);
    write_file(image, damaged, len, file_bytes);
}

/* ---- what must be true ---- */

static struct seen seen;

static void read_dir(struct hf_pool *pool, uint64_t dir, int depth)
{
    static char bytes[65536];
    struct hf_dirent entry;
    struct hf_dir *handle;
    struct hf_file *file;
    struct stat st;

    if (depth > 8 || hf_opendirat(pool, dir, "", &handle))
        return;
    while (hf_readdir(handle, &entry) == 1) {
        if (entry.name[0] == '.' || hf_statat(pool, dir, entry.name, HF_AT_NOFOLLOW, &st))
            continue;
        (void)hf_listxattrat(pool, st.st_ino, "", bytes, sizeof(bytes));
        (void)hf_readlinkat(pool, st.st_ino, "", bytes, sizeof(bytes));
        if (S_ISDIR(st.st_mode))
            read_dir(pool, st.st_ino, depth + 1);
        if (!S_ISREG(st.st_mode) || hf_openat(pool, st.st_ino, "", O_RDWR, 0, &file))
            continue;
        (void)hf_read(file, bytes, sizeof(bytes), 0);
        (void)hf_write(file, "x", 1, (uint64_t)st.st_size);
        EXPECT_EQ(hf_close(file), 0);
    }
    EXPECT_EQ(hf_closedir(handle), 0);
}

/* Anything may be refused, and nothing may crash or hang. */
void fuzz_image_use(void)
{
    struct hf_pool *pool;

    if (hf_pool_open(test_path(FSCK_POOL), 0, &pool))
        return;
    read_dir(pool, HF_ROOT_INO, 0);
    EXPECT_EQ(hf_pool_close(pool), 0);
}

static int check(uint32_t flags, struct hf_check_result *result)
{
    *result = (struct hf_check_result){.size = sizeof(*result)};
    return hf_pool_check(test_path(FSCK_POOL), flags, NULL, NULL, NULL, result);
}

static void expect_works(void)
{
    struct hf_check_result result;
    struct hf_pool *pool;

    EXPECT_EQ(hf_pool_open(test_path(FSCK_POOL), 0, &pool), 0);
    fsck_pool_look(pool, &seen);
    fsck_pool_use(pool);
    EXPECT_EQ(hf_pool_close(pool), 0);
    EXPECT_EQ(check(0, &result), 0);
    EXPECT_EQ(result.problems, 0);
    EXPECT_EQ(result.inodes, 1);
}

void fuzz_image_expect(bool records_only)
{
    struct hf_check_result result;
    int rc = check(0, &result);

    EXPECT_EQ(result.repaired, 0);
    if (rc || result.problems) {
        rc = check(HF_CHECK_REPAIR, &result);
        if (rc) { /* only what LMDB may not see is beyond repair, and a newer format */
            EXPECT(!records_only || rc == -EOPNOTSUPP);
            fuzz_image_use();
            return;
        }
        EXPECT_EQ(check(0, &result), 0);
        EXPECT_EQ(result.problems, 0);
    }
    expect_works();
}
