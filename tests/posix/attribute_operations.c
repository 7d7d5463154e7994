/* SPDX-License-Identifier: MIT */
/*
 * Mode, owner, times and extended attributes.
 */
#include "exercise.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* A path and what it leads to; -errno where that fails. */
static int choose_node(struct exercise *x, char *path, bool follow, struct model_node **node)
{
    struct model_place place;
    int rc;

    choose_path(x, path, HF_SYMLINK_MAX + 1);
    rc = model_resolve(&x->model, path, follow, &place);
    if (rc == 0 && !place.node)
        rc = -ENOENT;
    *node = rc == 0 ? place.node : NULL;
    return rc;
}

/* ctime moved, mtime did not. */
static void attributes_changed(struct exercise *x, struct model_node *node, struct moment moment)
{
    struct stat st;

    node_compare(x, node);
    if (node_stat(x, node, &st) && st.st_ctim.tv_sec < moment.before.tv_sec - 1)
        FAIL("ctime did not follow the change");
}

static void run_chmod(struct exercise *x)
{
    struct moment moment = moment_now();
    struct model_node *node;
    char path[HF_SYMLINK_MAX + 1];
    mode_t mode = (mode_t)test_below(&x->rng, 010000);
    int want = choose_node(x, path, true, &node);

    if (want == 0 && node == x->model.root) /* others' too */
        return;
    note(x, "chmod %s %#o", path, (unsigned)mode);
    expect_one_of(x, hf_chmod(x->pool, path, mode), (int[]){-want, 0});
    if (want != 0)
        return;
    node->mode = (node->mode & S_IFMT) | mode;
    attributes_changed(x, node, moment);
}

static void run_chown(struct exercise *x)
{
    bool follow = test_chance(&x->rng, 50);
    struct moment moment = moment_now();
    struct model_node *node;
    char path[HF_SYMLINK_MAX + 1];
    uid_t uid = test_chance(&x->rng, 30) ? (uid_t)-1 : (uid_t)test_below(&x->rng, 5000);
    gid_t gid =
        test_chance(&x->rng, 30) && uid != (uid_t)-1 ? (gid_t)-1 : (gid_t)test_below(&x->rng, 5000);
    int want = choose_node(x, path, follow, &node);

    note(x, "chown %s%s %d:%d", path, follow ? "" : " itself", (int)uid, (int)gid);
    expect_one_of(x, hf_chown(x->pool, path, uid, gid, follow ? 0 : HF_AT_NOFOLLOW),
                  (int[]){-want, 0});
    if (want != 0)
        return;
    node->uid = uid == (uid_t)-1 ? node->uid : uid;
    node->gid = gid == (gid_t)-1 ? node->gid : gid;
    if (!S_ISDIR(node->mode))
        node->mode &= ~(mode_t)(node->mode & S_IXGRP ? S_ISUID | S_ISGID : S_ISUID);
    attributes_changed(x, node, moment);
}

static struct timespec choose_time(struct exercise *x)
{
    struct timespec t = {.tv_sec = (time_t)test_below(&x->rng, 2000000000),
                         .tv_nsec = (long)test_below(&x->rng, 1000000000)};

    if (test_chance(&x->rng, 20))
        t.tv_nsec = UTIME_OMIT;
    else if (test_chance(&x->rng, 20))
        t.tv_nsec = UTIME_NOW;
    return t;
}

static void run_utimens(struct exercise *x)
{
    struct timespec times[2] = {choose_time(x), choose_time(x)};
    bool follow = test_chance(&x->rng, 50), null = test_chance(&x->rng, 10);
    struct moment moment = moment_now();
    struct model_node *node;
    char path[HF_SYMLINK_MAX + 1];
    int want = choose_node(x, path, follow, &node);

    note(x, "utimens %s%s", path, follow ? "" : " itself");
    expect_one_of(x, hf_utimens(x->pool, path, null ? NULL : times, follow ? 0 : HF_AT_NOFOLLOW),
                  (int[]){-want, 0});
    if (want != 0)
        return;
    if (null || times[1].tv_nsec == UTIME_NOW)
        node->mtime_known = false;
    else if (times[1].tv_nsec != UTIME_OMIT)
        node->mtime = times[1], node->mtime_known = true;
    if (!null && times[0].tv_nsec != UTIME_NOW && times[0].tv_nsec != UTIME_OMIT)
        node->atime = times[0], node->atime_known = true;
    if (null || times[0].tv_nsec != UTIME_OMIT || times[1].tv_nsec != UTIME_OMIT)
        attributes_changed(x, node, moment);
    else
        node_compare(x, node);
    node->atime_known = false; /* the next read may move it */
}

static void choose_xattr_name(struct exercise *x, char *name, size_t len)
{
    snprintf(name, len, "user.%c", 'a' + (int)test_below(&x->rng, 6));
    if (test_chance(&x->rng, 5)) {
        memset(name, 'n', 255);
        memcpy(name, "trusted.", 8);
        name[255] = '\0';
    }
}

static void run_setxattr(struct exercise *x)
{
    static const uint32_t kinds[] = {0, 0, 0, HF_XATTR_CREATE, HF_XATTR_REPLACE};
    static unsigned char value[HF_XATTR_VALUE_MAX + 1];
    uint32_t flags = kinds[test_below(&x->rng, 5)];
    struct model_node *node;
    char path[HF_SYMLINK_MAX + 1], name[300];
    size_t len = test_below(&x->rng, 300);
    int want = choose_node(x, path, true, &node);

    choose_xattr_name(x, name, sizeof(name));
    if (test_chance(&x->rng, 4))
        len = HF_XATTR_VALUE_MAX;
    if (test_chance(&x->rng, 2))
        len = HF_XATTR_VALUE_MAX + 1;
    for (size_t i = 0; i < 300; i++)
        value[i] = (unsigned char)test_random(&x->rng);
    if (want == 0 && (flags & HF_XATTR_CREATE) && model_xattr_find(node, name))
        want = -EEXIST;
    if (want == 0 && (flags & HF_XATTR_REPLACE) && !model_xattr_find(node, name))
        want = -ENODATA;
    note(x, "setxattr %s %s %zu bytes flags %#x", path, name, len, flags);
    if (len > HF_XATTR_VALUE_MAX) {
        expect_one_of(x, hf_setxattr(x->pool, path, name, value, len, flags),
                      (int[]){E2BIG, -want, 0});
        return;
    }
    expect_one_of(x, hf_setxattr(x->pool, path, name, value, len, flags), (int[]){-want, 0});
    if (want != 0)
        return;
    model_xattr_put(node, name, value, len);
    node_compare(x, node);
}

static void run_getxattr(struct exercise *x)
{
    static unsigned char value[HF_XATTR_VALUE_MAX];
    struct model_xattr *xattr = NULL;
    struct model_node *node;
    char path[HF_SYMLINK_MAX + 1], name[300];
    int want = choose_node(x, path, true, &node);

    choose_xattr_name(x, name, sizeof(name));
    if (want == 0) {
        xattr = model_xattr_find(node, name);
        want = xattr ? (int)xattr->len : -ENODATA;
    }
    note(x, "getxattr %s %s", path, name);
    EXPECT_EQ(hf_getxattr(x->pool, path, name, value, sizeof(value)), want);
    if (xattr)
        EXPECT(memcmp(value, xattr->value, xattr->len) == 0);
    if (xattr && xattr->len > 1)
        EXPECT_EQ(hf_getxattr(x->pool, path, name, value, 1), -ERANGE);
}

static void run_removexattr(struct exercise *x)
{
    struct model_node *node;
    char path[HF_SYMLINK_MAX + 1], name[300];
    int want = choose_node(x, path, true, &node);

    choose_xattr_name(x, name, sizeof(name));
    if (want == 0 && !model_xattr_find(node, name))
        want = -ENODATA;
    note(x, "removexattr %s %s", path, name);
    expect_one_of(x, hf_removexattr(x->pool, path, name), (int[]){-want, 0});
    if (want != 0)
        return;
    model_xattr_remove(node, name);
    node_compare(x, node);
}

const struct operation attribute_operations[] = {
    {"chmod", 10, run_chmod},
    {"chown", 8, run_chown},
    {"utimens", 12, run_utimens},
    {"setxattr", 14, run_setxattr},
    {"getxattr", 8, run_getxattr},
    {"removexattr", 6, run_removexattr},
    {NULL, 0, NULL},
};
