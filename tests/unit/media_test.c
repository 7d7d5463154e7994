/* SPDX-License-Identifier: MIT */
/*
 * src/media: every kind of memory that can be had here is made, mapped, written, grown, mapped
 * again and read. Kinds that need something the machine lacks (free huge pages, a mount, a device)
 * are skipped, and say so. HOLDFAST_TEST_DIR: a directory on a disk (default: /var/tmp).
 */
#include "base/error.h"
#include "media/media.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define MIB (UINT64_C(1) << 20)
#define POOL_BYTES (8 * MIB)
#define LIMIT_BYTES (512 * MIB)

static void make_dir(char path[128], const char *below)
{
    snprintf(path, 128, "%s/holdfast-media-XXXXXX", below);
    assert_non_null(mkdtemp(path));
}

static const char *disk_dir(void)
{
    const char *dir = getenv("HOLDFAST_TEST_DIR");

    return dir ? dir : "/var/tmp";
}

static void remove_pool(const char *dir)
{
    char path[160];

    snprintf(path, sizeof path, "%s/data", dir);
    unlink(path);
    assert_int_equal(rmdir(dir), 0);
}

static void expect_zero(const char *from, uint64_t bytes)
{
    for (uint64_t at = 0; at < bytes; at += 4096)
        assert_int_equal(from[at], 0);
}

static void use(struct media *media, enum media_kind kind)
{
    assert_int_equal(media->kind, kind);
    assert_int_equal((uintptr_t)media->base % (2 * MIB), 0);
    assert_int_equal(media->mapped_bytes, POOL_BYTES);
    expect_zero(media->base, POOL_BYTES);
    memset(media->base, 0x5a, POOL_BYTES);
    assert_int_equal(media_persist(media, media->base + 5, 100), 0);
    assert_int_equal(media_persist(media, media->base, POOL_BYTES), 0);
}

static void grow(struct media *media)
{
    char *base = media->base;

    assert_int_equal(media_grow(media, POOL_BYTES, 2 * POOL_BYTES), 0);
    assert_ptr_equal(media->base, base);
    assert_int_equal(media->mapped_bytes, 2 * POOL_BYTES);
    assert_int_equal(base[POOL_BYTES - 1], 0x5a);
    expect_zero(base + POOL_BYTES, POOL_BYTES);
    memset(base + POOL_BYTES, 0x33, POOL_BYTES);
    assert_int_equal(media_persist(media, base + POOL_BYTES - 4096, 8192), 0);
    assert_int_equal(media_grow(media, 2 * POOL_BYTES, POOL_BYTES), -EINVAL);
    assert_int_equal(media_grow(media, 2 * POOL_BYTES, LIMIT_BYTES + 2 * MIB), -ENOSPC);
}

/* A second attachment sees the growth of the first only when it asks. */
static void life_of(const char *pool, const char *data_path, enum media_kind kind)
{
    struct media one, two;

    assert_int_equal(media_create(pool, data_path, POOL_BYTES, 0640), 0);
    assert_int_equal(media_open(pool, POOL_BYTES, LIMIT_BYTES, &one), 0);
    assert_int_equal(media_open(pool, POOL_BYTES, LIMIT_BYTES, &two), 0);
    use(&one, kind);
    assert_int_equal(two.base[4096], 0x5a);
    assert_int_equal(media_map(&two, 2 * POOL_BYTES), -EUCLEAN);
    grow(&one);
    assert_int_equal(two.mapped_bytes, POOL_BYTES);
    assert_int_equal(media_map(&two, 2 * POOL_BYTES), 0);
    assert_int_equal(two.base[2 * POOL_BYTES - 1], 0x33);
    media_close(&one);
    media_close(&two);
    assert_int_equal(media_open(pool, 2 * POOL_BYTES, LIMIT_BYTES, &one), 0);
    assert_int_equal(one.base[0], 0x5a);
    media_close(&one);
    assert_int_equal(media_open(pool, 4 * POOL_BYTES, LIMIT_BYTES, &one), -EUCLEAN);
}

static void test_tmpfs(void **state)
{
    char pool[128], data[160];
    struct stat st;

    (void)state;
    make_dir(pool, "/dev/shm");
    life_of(pool, NULL, MEDIA_TMPFS);
    snprintf(data, sizeof data, "%s/data", pool);
    assert_int_equal(stat(data, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0640);
    remove_pool(pool);
}

/* With PMEM2_FORCE_GRANULARITY=CACHE_LINE libpmem2 takes the disk for persistent memory, where it
 * can be loaded. */
static enum media_kind kind_of_disk(void)
{
    return getenv("PMEM2_FORCE_GRANULARITY") && !getenv("TEST_WITHOUT_PMEM2") ? MEDIA_PMEM
                                                                              : MEDIA_FILE;
}

static void test_disk_file(void **state)
{
    char pool[128], data[160];
    struct stat st;

    (void)state;
    make_dir(pool, disk_dir());
    life_of(pool, NULL, kind_of_disk());
    snprintf(data, sizeof data, "%s/data", pool);
    assert_int_equal(stat(data, &st), 0);
    assert_true((uint64_t)st.st_blocks * 512 >= 2 * POOL_BYTES); /* allocated, not sparse */
    remove_pool(pool);
}

static void test_linked_data(void **state)
{
    char pool[128], elsewhere[128], data[160], link[160], target[160];
    ssize_t len;

    (void)state;
    make_dir(pool, disk_dir());
    make_dir(elsewhere, "/dev/shm");
    snprintf(data, sizeof data, "%s/memory", elsewhere);
    snprintf(link, sizeof link, "%s/data", pool);
    life_of(pool, data, MEDIA_TMPFS);
    len = readlink(link, target, sizeof target);
    assert_int_equal(len, strlen(data));
    assert_memory_equal(target, data, strlen(data));
    remove_pool(pool);
    assert_int_equal(unlink(data), 0);
    rmdir(elsewhere);
}

static void test_memfd(void **state)
{
    struct media media;

    (void)state;
    assert_int_equal(media_open_memfd(POOL_BYTES, LIMIT_BYTES, &media), 0);
    use(&media, MEDIA_MEMFD);
    grow(&media);
    assert_int_equal(ftruncate(media.fd, 4096), -1);
    media_close(&media);
}

static int write_number(const char *path, int number)
{
    FILE *file = fopen(path, "w");
    int rc;

    if (!file)
        return -1;
    rc = fprintf(file, "%d\n", number);
    return fclose(file) || rc < 0 ? -1 : 0;
}

static int read_number(const char *path)
{
    FILE *file = fopen(path, "r");
    int number = -1;

    if (!file)
        return -1;
    if (fscanf(file, "%d", &number) != 1)
        number = -1;
    fclose(file);
    return number;
}

/* Needs the right to mount and to set the number of huge pages, which is put back. */
static void test_hugetlbfs(void **state)
{
    static const char pages[] = "/proc/sys/vm/nr_hugepages";
    int before = read_number(pages);
    char mount_dir[128], pool[128], data[160];

    (void)state;
    make_dir(mount_dir, "/tmp");
    if (before < 0 || write_number(pages, before + 16) || read_number(pages) < before + 16 ||
        mount("none", mount_dir, "hugetlbfs", 0, NULL)) {
        print_message("no huge pages to be had here\n");
        write_number(pages, before);
        rmdir(mount_dir);
        skip();
    }
    make_dir(pool, "/dev/shm");
    snprintf(data, sizeof data, "%s/memory", mount_dir);
    assert_int_equal(media_create(pool, data, 3 * MIB, 0600), -EINVAL);
    assert_int_equal(media_create(pool, data, 4096 * MIB, 0600), -ENOSPC);
    assert_int_equal(access(data, F_OK), -1);
    life_of(pool, data, MEDIA_HUGETLBFS);
    remove_pool(pool);
    unlink(data);
    assert_int_equal(umount(mount_dir), 0);
    rmdir(mount_dir);
    write_number(pages, before);
}

static void test_full_tmpfs(void **state)
{
    char mount_dir[128];

    (void)state;
    make_dir(mount_dir, "/tmp");
    if (mount("none", mount_dir, "tmpfs", 0, "size=16m")) {
        print_message("may not mount here\n");
        rmdir(mount_dir);
        skip();
    }
    assert_int_equal(media_create(mount_dir, NULL, 32 * MIB, 0600), -ENOSPC);
    assert_non_null(strstr(hf_error_sentence(), "32 MiB"));
    assert_int_equal(media_create(mount_dir, NULL, 16 * MIB, 0600), 0);
    assert_int_equal(umount(mount_dir), 0);
    rmdir(mount_dir);
}

static void test_refusals(void **state)
{
    char pool[128], file[160];
    struct media media;
    int fd;

    (void)state;
    make_dir(pool, "/dev/shm");
    snprintf(file, sizeof file, "%s/full", pool);
    assert_int_equal(media_open(pool, POOL_BYTES, LIMIT_BYTES, &media), -ENOENT);
    fd = open(file, O_RDWR | O_CREAT, 0600);
    assert_int_equal(write(fd, "x", 1), 1);
    close(fd);
    assert_int_equal(media_create(pool, file, POOL_BYTES, 0600), -EEXIST);
    assert_int_equal(access(file, F_OK), 0);
    unlink(file);
    assert_int_equal(media_create(pool, "/dev/null", POOL_BYTES, 0600), -EOPNOTSUPP);
    assert_int_equal(mkfifo(file, 0600), 0);
    assert_int_equal(media_create(pool, file, POOL_BYTES, 0600), -EOPNOTSUPP);
    assert_int_equal(media_create(pool, pool, POOL_BYTES, 0600), -EISDIR);
    unlink(file);
    assert_int_equal(media_create(pool, NULL, POOL_BYTES, 0600), 0);
    assert_int_equal(media_create(pool, NULL, POOL_BYTES, 0600), -EEXIST);
    remove_pool(pool);
}

static void *map_steps(void *arg)
{
    struct media *media = arg;

    for (uint64_t bytes = POOL_BYTES; bytes <= 64 * MIB; bytes += 2 * MIB)
        assert_int_equal(media_map(media, bytes), 0);
    return NULL;
}

static void test_racing_maps(void **state)
{
    char pool[128];
    struct media grower, media;
    pthread_t threads[4];

    (void)state;
    make_dir(pool, "/dev/shm");
    assert_int_equal(media_create(pool, NULL, POOL_BYTES, 0600), 0);
    assert_int_equal(media_open(pool, POOL_BYTES, LIMIT_BYTES, &media), 0);
    assert_int_equal(media_open(pool, POOL_BYTES, LIMIT_BYTES, &grower), 0);
    assert_int_equal(media_grow(&grower, POOL_BYTES, 64 * MIB), 0);
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, map_steps, &media), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(media.mapped_bytes, 64 * MIB);
    memset(media.base, 1, 64 * MIB);
    media_close(&media);
    media_close(&grower);
    remove_pool(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tmpfs),       cmocka_unit_test(test_disk_file),
        cmocka_unit_test(test_linked_data), cmocka_unit_test(test_memfd),
        cmocka_unit_test(test_hugetlbfs),   cmocka_unit_test(test_full_tmpfs),
        cmocka_unit_test(test_refusals),    cmocka_unit_test(test_racing_maps),
    };

    return cmocka_run_group_tests_name("media", tests, NULL, NULL);
}
