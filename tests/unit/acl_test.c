/* SPDX-License-Identifier: MIT */
/*
 * POSIX ACLs: what is one, and what setting, chmod and inheriting do to it and to the mode. Then
 * the same at random, against the file system of the test's folder: the kernel has its own reading
 * of the rules.
 */
#include "fs/txn.h"
#include "pool/pool.h"
#include "support.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <holdfast/serve.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cmocka.h>

#define NOBODY UINT32_MAX
#define ENTRIES_MAX 16
#define COUNT(array) (sizeof(array) / sizeof(*(array)))

enum { OWNER = 1, USER = 2, OWNING_GROUP = 4, GROUP = 8, MASK = 16, OTHERS = 32 };

struct entry {
    uint16_t tag, permissions;
    uint32_t id;
};

struct acl {
    uint32_t version;
    struct entry entries[ENTRIES_MAX];
};

static size_t acl_bytes(unsigned entries)
{
    return offsetof(struct acl, entries) + entries * sizeof(struct entry);
}

/* Ends at the first entry without a tag. */
static size_t encode(const struct entry *entries, struct acl *out)
{
    unsigned count = 0;

    out->version = htole32(2);
    for (; count < ENTRIES_MAX && entries[count].tag; count++)
        out->entries[count] =
            (struct entry){htole16(entries[count].tag), htole16(entries[count].permissions),
                           htole32(entries[count].id)};
    return acl_bytes(count);
}

static const struct entry plain[] = {
    {OWNER, 7, NOBODY}, {OWNING_GROUP, 5, NOBODY}, {OTHERS, 1, NOBODY}, {0}};
static const struct entry masked[] = {
    {OWNER, 6, NOBODY}, {OWNING_GROUP, 5, NOBODY}, {MASK, 4, NOBODY}, {OTHERS, 1, NOBODY}, {0}};
static const struct entry named[] = {
    {OWNER, 7, NOBODY}, {USER, 7, 9},      {USER, 3, 1},        {OWNING_GROUP, 5, NOBODY},
    {GROUP, 2, 1},      {MASK, 6, NOBODY}, {OTHERS, 3, NOBODY}, {0}};

/* ---- what is one ---- */

static void senseless_ones_are_refused(void **state)
{
    static const struct entry wrong[][ENTRIES_MAX] = {
        {{OWNER, 7, NOBODY}, {OWNING_GROUP, 5, NOBODY}},
        {{OWNER, 7, NOBODY}, {OTHERS, 5, NOBODY}},
        {{OWNING_GROUP, 7, NOBODY}, {OTHERS, 5, NOBODY}},
        {{OWNING_GROUP, 5, NOBODY}, {OWNER, 7, NOBODY}, {OTHERS, 1, NOBODY}},
        {{OWNER, 7, NOBODY}, {OWNER, 7, NOBODY}, {OWNING_GROUP, 5, NOBODY}, {OTHERS, 1, NOBODY}},
        {{OWNER, 8, NOBODY}, {OWNING_GROUP, 5, NOBODY}, {OTHERS, 1, NOBODY}},
        {{OWNER, 7, NOBODY}, {3, 5, NOBODY}, {OWNING_GROUP, 5, NOBODY}, {OTHERS, 1, NOBODY}},
        {{OWNER, 7, NOBODY}, {OWNING_GROUP, 5, NOBODY}, {OTHERS, 1, NOBODY}, {64, 1, NOBODY}},
        {{OWNER, 7, NOBODY}, {USER, 5, 1}, {OWNING_GROUP, 5, NOBODY}, {OTHERS, 1, NOBODY}},
        {{OWNER, 7, NOBODY},
         {USER, 5, NOBODY},
         {OWNING_GROUP, 5, NOBODY},
         {MASK, 5, NOBODY},
         {OTHERS, 1, NOBODY}},
    };
    struct acl acl;
    size_t len;

    (void)state;
    for (unsigned i = 0; i < COUNT(wrong); i++) {
        len = encode(wrong[i], &acl);
        assert_int_equal(meta_acl_check(&acl, len), -EINVAL);
    }
    len = encode(plain, &acl);
    assert_int_equal(meta_acl_check(&acl, len), 0);
    assert_int_equal(meta_acl_check(&acl, len - 1), -EINVAL);
    assert_int_equal(meta_acl_check(&acl, 3), -EINVAL);
    assert_int_equal(meta_acl_check(&acl, 4), -EINVAL);
    acl.version = htole32(1);
    assert_int_equal(meta_acl_check(&acl, len), -EOPNOTSUPP);
}

static void names_are_unique(void **state)
{
    struct acl acl;
    size_t len = encode(named, &acl);

    (void)state;
    assert_int_equal(meta_acl_check(&acl, len), 0);
    assert_int_equal(meta_acl_check_unique(&acl, len), 0);
    acl.entries[1].id = acl.entries[2].id;
    assert_int_equal(meta_acl_check(&acl, len), 0);
    assert_int_equal(meta_acl_check_unique(&acl, len), -EINVAL);
}

static void modes_and_acls_say_the_same(void **state)
{
    uint32_t mode;
    struct acl acl;
    size_t len = encode(plain, &acl);

    (void)state;
    assert_false(meta_acl_get_mode(&acl, len, &mode));
    assert_int_equal(mode, 0751);
    meta_acl_set_mode(&acl, len, 0124);
    assert_false(meta_acl_get_mode(&acl, len, &mode));
    assert_int_equal(mode, 0124);
    len = encode(masked, &acl);
    assert_true(meta_acl_get_mode(&acl, len, &mode));
    assert_int_equal(mode, 0641);
    meta_acl_set_mode(&acl, len, 0124);
    assert_int_equal(acl.entries[1].permissions, htole16(5));
    assert_int_equal(acl.entries[2].permissions, htole16(2));
    len = encode(named, &acl);
    assert_true(meta_acl_get_mode(&acl, len, &mode));
    assert_int_equal(mode, 0763);
}

/* ---- in a pool ---- */

static struct hf_pool *pool;

static int open_pool(void **state)
{
    struct hf_pool_options options = {.size = sizeof options, .pool_bytes = TEST_MIB(8)};

    (void)state;
    return hf_pool_open_anonymous(&options, &pool);
}

static int close_pool(void **state)
{
    (void)state;
    return hf_pool_close(pool);
}

static int set(const char *path, const char *name, const struct entry *entries)
{
    struct acl acl;
    size_t len = encode(entries, &acl);

    return hf_setxattr(pool, path, name, &acl, len, 0);
}

static void assert_acl(const char *path, const char *name, const struct entry *want)
{
    struct acl acl, got;
    size_t len = encode(want, &acl);

    assert_int_equal(hf_getxattr(pool, path, name, &got, sizeof got), len);
    assert_memory_equal(&got, &acl, len);
}

static void assert_no_acl(const char *path, const char *name)
{
    assert_int_equal(hf_getxattr(pool, path, name, NULL, 0), -ENODATA);
}

static mode_t mode_of(const char *path)
{
    struct stat st;

    assert_int_equal(hf_stat(pool, path, HF_AT_NOFOLLOW, &st), 0);
    return st.st_mode & 07777;
}

static void touch(const char *path, mode_t mode)
{
    struct hf_file *file;

    assert_int_equal(hf_open(pool, path, O_RDWR | O_CREAT | O_EXCL, mode, &file), 0);
    assert_int_equal(hf_close(file), 0);
}

static void an_access_acl_sets_the_mode(void **state)
{
    (void)state;
    touch("/f", 04600);
    assert_int_equal(set("/f", META_ACL_ACCESS, masked), 0);
    assert_int_equal(mode_of("/f"), 04641);
    assert_acl("/f", META_ACL_ACCESS, masked);
    assert_int_equal(hf_setxattr(pool, "/f", META_ACL_ACCESS, "\2\0\0", 3, 0), -EINVAL);
    assert_int_equal(hf_setxattr(pool, "/f", META_ACL_ACCESS, "\2\0\0\0\1\0\1\0\0\0\0\0", 12, 0),
                     -EINVAL);
    assert_acl("/f", META_ACL_ACCESS, masked);
    assert_int_equal(set("/f", META_ACL_ACCESS, plain), 0); /* says no more than the mode */
    assert_int_equal(mode_of("/f"), 04751);
    assert_no_acl("/f", META_ACL_ACCESS);
    assert_int_equal(hf_unlink(pool, "/f", NULL), 0);
}

static void removing_one_leaves_the_mode(void **state)
{
    (void)state;
    touch("/f", 0600);
    assert_int_equal(hf_removexattr(pool, "/f", META_ACL_ACCESS), 0);
    assert_int_equal(set("/f", META_ACL_ACCESS, named), 0);
    assert_int_equal(hf_removexattr(pool, "/f", META_ACL_ACCESS), 0);
    assert_no_acl("/f", META_ACL_ACCESS);
    assert_int_equal(mode_of("/f"), 0763);
    assert_int_equal(set("/f", META_ACL_ACCESS, named), 0);
    assert_int_equal(hf_setxattr(pool, "/f", META_ACL_ACCESS, "\2\0\0\0", 4, 0), 0);
    assert_no_acl("/f", META_ACL_ACCESS);
    assert_int_equal(hf_unlink(pool, "/f", NULL), 0);
}

static void chmod_reaches_the_mask(void **state)
{
    (void)state;
    touch("/f", 0600);
    assert_int_equal(set("/f", META_ACL_ACCESS, masked), 0);
    assert_int_equal(hf_chmod(pool, "/f", 02710), 0);
    assert_int_equal(mode_of("/f"), 02710);
    assert_acl("/f", META_ACL_ACCESS,
               (const struct entry[]){{OWNER, 7, NOBODY},
                                      {OWNING_GROUP, 5, NOBODY},
                                      {MASK, 1, NOBODY},
                                      {OTHERS, 0, NOBODY},
                                      {0}});
    assert_int_equal(hf_chown(pool, "/f", 5, 5, 0), 0);
    assert_int_equal(mode_of("/f"), 0710);
    assert_int_equal(hf_unlink(pool, "/f", NULL), 0);
}

static void only_directories_have_a_default(void **state)
{
    struct stat st;
    struct acl acl;
    size_t len = encode(named, &acl);

    (void)state;
    touch("/f", 0600);
    assert_int_equal(hf_mkdir(pool, "/d", 0755), 0);
    assert_int_equal(hf_symlink(pool, "f", "/l"), 0);
    assert_int_equal(set("/f", META_ACL_DEFAULT, named), -EACCES);
    assert_int_equal(hf_removexattr(pool, "/f", META_ACL_DEFAULT), 0);
    assert_int_equal(set("/d", META_ACL_DEFAULT, named), 0);
    assert_acl("/d", META_ACL_DEFAULT, named);
    assert_int_equal(mode_of("/d"), 0755);
    assert_int_equal(hf_stat(pool, "/l", HF_AT_NOFOLLOW, &st), 0);
    assert_int_equal(hf_setxattrat(pool, st.st_ino, "", META_ACL_ACCESS, &acl, len, 0),
                     -EOPNOTSUPP);
    assert_int_equal(hf_setxattrat(pool, st.st_ino, "", META_ACL_DEFAULT, &acl, len, 0),
                     -EOPNOTSUPP);
    assert_int_equal(hf_removexattrat(pool, st.st_ino, "", META_ACL_DEFAULT), -EOPNOTSUPP);
    assert_int_equal(hf_unlink(pool, "/l", NULL), 0);
    assert_int_equal(hf_unlink(pool, "/f", NULL), 0);
    assert_int_equal(hf_rmdir(pool, "/d"), 0);
}

static void what_is_made_inherits(void **state)
{
    const struct hf_client client = {.size = sizeof client, .umask = 077};
    static const struct entry limited[] = {
        {OWNER, 6, NOBODY}, {USER, 7, 9},      {USER, 3, 1},        {OWNING_GROUP, 5, NOBODY},
        {GROUP, 2, 1},      {MASK, 4, NOBODY}, {OTHERS, 0, NOBODY}, {0}};

    (void)state;
    assert_int_equal(hf_act_for(&client), 0);
    assert_int_equal(hf_mkdir(pool, "/d", 0777), 0);
    assert_int_equal(mode_of("/d"), 0700);
    assert_int_equal(set("/d", META_ACL_DEFAULT, named), 0);
    touch("/d/f", 0640);
    assert_int_equal(mode_of("/d/f"), 0640);
    assert_acl("/d/f", META_ACL_ACCESS, limited);
    assert_no_acl("/d/f", META_ACL_DEFAULT);
    assert_int_equal(hf_mkdir(pool, "/d/d", 0777), 0);
    assert_int_equal(mode_of("/d/d"), 0763);
    assert_acl("/d/d", META_ACL_ACCESS, named);
    assert_acl("/d/d", META_ACL_DEFAULT, named);
    assert_int_equal(hf_symlink(pool, "x", "/d/l"), 0);
    assert_int_equal(mode_of("/d/l"), 0777);
    assert_int_equal(hf_mknod(pool, "/d/p", S_IFIFO | 0777, 0), 0);
    assert_int_equal(mode_of("/d/p"), 0763);
    assert_int_equal(set("/d/d", META_ACL_DEFAULT, plain),
                     0); /* stands for a mode, and for no umask */
    touch("/d/d/f", 0666);
    assert_int_equal(mode_of("/d/d/f"), 0640);
    assert_no_acl("/d/d/f", META_ACL_ACCESS);
    assert_int_equal(hf_act_for(NULL), 0);
    assert_int_equal(hf_unlink(pool, "/d/d/f", NULL), 0);
    assert_int_equal(hf_rmdir(pool, "/d/d"), 0);
    assert_int_equal(hf_unlink(pool, "/d/f", NULL), 0);
    assert_int_equal(hf_unlink(pool, "/d/l", NULL), 0);
    assert_int_equal(hf_unlink(pool, "/d/p", NULL), 0);
    assert_int_equal(hf_rmdir(pool, "/d"), 0);
}

/* ---- damage ---- */

static void spoil(const char *path, const char *name)
{
    struct fs_txn txn;
    struct stat st;

    assert_int_equal(hf_stat(pool, path, 0, &st), 0);
    assert_int_equal(fs_begin(&pool->fs, &txn), 0);
    assert_int_equal(meta_xattr_put(txn.meta, st.st_ino, name, "\2\0\0\0\1\0\7", 7), 0);
    assert_int_equal(fs_commit(&txn), 0);
}

static void senseless_ones_are_not_used(void **state)
{
    struct hf_file *file;

    (void)state;
    assert_int_equal(hf_mkdir(pool, "/d", 0750), 0);
    touch("/d/f", 0640);
    spoil("/d", META_ACL_DEFAULT);
    spoil("/d/f", META_ACL_ACCESS);
    assert_int_equal(hf_open(pool, "/d/g", O_RDWR | O_CREAT, 0600, &file), -EUCLEAN);
    assert_int_equal(hf_mkdir(pool, "/d/g", 0700), -EUCLEAN);
    assert_int_equal(hf_symlink(pool, "x", "/d/g"), 0);
    assert_int_equal(hf_chmod(pool, "/d/f", 0600), -EUCLEAN);
    assert_int_equal(mode_of("/d/f"), 0640);
    assert_int_equal(set("/d/f", META_ACL_ACCESS, masked), 0);
    assert_int_equal(hf_chmod(pool, "/d/f", 0600), 0);
    assert_int_equal(hf_removexattr(pool, "/d", META_ACL_DEFAULT), 0);
    touch("/d/h", 0640);
    assert_int_equal(hf_unlink(pool, "/d/f", NULL), 0);
    assert_int_equal(hf_unlink(pool, "/d/g", NULL), 0);
    assert_int_equal(hf_unlink(pool, "/d/h", NULL), 0);
    assert_int_equal(hf_rmdir(pool, "/d"), 0);
}

/* ---- against the kernel ---- */

/* Mostly right, here and there wrong, as long as no name is there twice. */
static size_t random_acl(struct test_rng *rng, struct acl *acl)
{
    struct entry entries[ENTRIES_MAX] = {{0}};
    unsigned count = 0;

    for (uint16_t tag = OWNER; tag <= OTHERS; tag = (uint16_t)(tag * 2)) {
        unsigned times = tag & (USER | GROUP) ? (unsigned)test_below(rng, 3) : 1;

        if (test_chance(rng, 5) || (tag == MASK && test_chance(rng, 30)))
            times = 0;
        for (unsigned i = 0; i < times; i++) {
            uint16_t permissions = (uint16_t)test_below(rng, test_chance(rng, 2) ? 9 : 8);

            entries[count++] =
                (struct entry){tag, permissions, tag & (USER | GROUP) ? 7 - i : NOBODY};
        }
    }
    return encode(entries, acl);
}

static int negated(int rc)
{
    return rc < 0 ? -errno : rc;
}

static void assert_same(const char *there, const char *here)
{
    static const char *const names[] = {META_ACL_ACCESS, META_ACL_DEFAULT};
    struct stat want, got;

    assert_int_equal(stat(there, &want), 0);
    assert_int_equal(hf_stat(pool, here, 0, &got), 0);
    assert_int_equal(got.st_mode, want.st_mode);
    for (unsigned i = 0; i < COUNT(names); i++) {
        struct acl acl, acl_there;
        int len = negated((int)getxattr(there, names[i], &acl_there, sizeof acl_there));

        assert_int_equal(hf_getxattr(pool, here, names[i], &acl, sizeof acl), len);
        if (len > 0)
            assert_memory_equal(&acl, &acl_there, (size_t)len);
    }
}

static void make_both(struct test_rng *rng, const char *there, const char *here)
{
    mode_t mode = (mode_t)test_below(rng, 01000);

    if (test_chance(rng, 50)) {
        int fd = open(there, O_RDWR | O_CREAT | O_EXCL, mode);

        assert_true(fd >= 0);
        close(fd);
        touch(here, mode);
    } else {
        assert_int_equal(mkdir(there, mode), 0);
        assert_int_equal(hf_mkdir(pool, here, mode), 0);
    }
}

static void change_both(struct test_rng *rng, const char *there, const char *here)
{
    const char *name = test_chance(rng, 50) ? META_ACL_ACCESS : META_ACL_DEFAULT;
    mode_t mode = (mode_t)test_below(rng, 010000);
    struct acl acl;
    size_t len;
    int rc;

    switch (test_below(rng, 4)) {
    case 0:
        assert_int_equal(chmod(there, mode), 0);
        assert_int_equal(hf_chmod(pool, here, mode), 0);
        break;
    case 1:
        assert_int_equal(hf_removexattr(pool, here, name), negated(removexattr(there, name)));
        break;
    default:
        len = test_chance(rng, 5) ? acl_bytes(0) : random_acl(rng, &acl);
        acl.version = htole32(2);
        rc = negated(setxattr(there, name, &acl, len, 0));
        if (rc != -EACCES) /* else it may be wrong twice, which the kernel finds in another order */
            assert_int_equal(hf_setxattr(pool, here, name, &acl, len, 0), rc);
        else
            assert_true(hf_setxattr(pool, here, name, &acl, len, 0) < 0);
    }
}

static void remove_both(const char *there, const char *here)
{
    struct stat st;

    assert_int_equal(lstat(there, &st), 0);
    if (S_ISDIR(st.st_mode)) {
        assert_int_equal(rmdir(there), 0);
        assert_int_equal(hf_rmdir(pool, here), 0);
    } else {
        assert_int_equal(unlink(there), 0);
        assert_int_equal(hf_unlink(pool, here, NULL), 0);
    }
}

static void as_the_kernel_does(void **state)
{
    struct hf_client client = {
        .size = sizeof client, .umask = 026, .uid = geteuid(), .gid = getegid()};
    char dir[4096], name[4096];
    struct test_rng rng = {test_seed()};
    mode_t umask_before = umask(client.umask);
    struct acl acl;

    (void)state;
    snprintf(dir, sizeof dir, "%s", test_path("d"));
    snprintf(name, sizeof name, "%s", test_path("d/x"));
    assert_int_equal(mkdir(dir, 0700), 0);
    if (geteuid() || setxattr(dir, META_ACL_ACCESS, &acl, encode(named, &acl), 0)) {
        print_message("not root, or no ACLs in %s: nothing to compare with\n", dir);
        skip();
    }
    assert_int_equal(hf_act_for(&client), 0);
    assert_int_equal(hf_mkdir(pool, "/d", 0700), 0);
    assert_int_equal(set("/d", META_ACL_ACCESS, named), 0);
    for (unsigned i = 0; i < 2000; i++) {
        change_both(&rng, dir, "/d");
        assert_same(dir, "/d");
        make_both(&rng, name, "/d/x");
        assert_same(name, "/d/x");
        change_both(&rng, name, "/d/x");
        assert_same(name, "/d/x");
        remove_both(name, "/d/x");
    }
    umask(umask_before);
    assert_int_equal(hf_act_for(NULL), 0);
    remove_both(dir, "/d");
}

static int body(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(senseless_ones_are_refused),
        cmocka_unit_test(names_are_unique),
        cmocka_unit_test(modes_and_acls_say_the_same),
        cmocka_unit_test_setup_teardown(an_access_acl_sets_the_mode, open_pool, close_pool),
        cmocka_unit_test_setup_teardown(removing_one_leaves_the_mode, open_pool, close_pool),
        cmocka_unit_test_setup_teardown(chmod_reaches_the_mask, open_pool, close_pool),
        cmocka_unit_test_setup_teardown(only_directories_have_a_default, open_pool, close_pool),
        cmocka_unit_test_setup_teardown(what_is_made_inherits, open_pool, close_pool),
        cmocka_unit_test_setup_teardown(senseless_ones_are_not_used, open_pool, close_pool),
        cmocka_unit_test_setup_teardown(as_the_kernel_does, open_pool, close_pool),
    };

    (void)argc, (void)argv;
    return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(int argc, char **argv)
{
    return test_main(argc, argv, body);
}
