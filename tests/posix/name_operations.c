/* SPDX-License-Identifier: MIT */
/*
 * Operations on names. Where POSIX leaves open which of several errors comes first, any of them
 * is accepted; success and failure are never confused.
 */
#include "exercise.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>

#define DEPTH_MAX 8

struct errors {
    int list[8]; /* ends with 0 */
    size_t count;
};

static void may_give(struct errors *errors, int error)
{
    if (error != 0 && errors->count < 7)
        errors->list[errors->count++] = error;
}

static unsigned depth(const struct model_node *dir)
{
    unsigned levels = 0;

    for (; dir != dir->parent; dir = dir->parent)
        levels++;
    return levels;
}

/* Levels of directories below and with this one. */
static unsigned height(const struct model_node *dir)
{
    unsigned most = 0;

    for (size_t i = 0; i < dir->entry_count; i++)
        if (S_ISDIR(dir->entries[i].node->mode)) {
            unsigned below = height(dir->entries[i].node);

            most = below > most ? below : most;
        }
    return most + 1;
}

/* Resolves a path that is to be made; errors it must fail with are added. */
static void resolve_new(struct exercise *x, const char *path, struct model_place *place,
                        struct errors *errors)
{
    int rc = model_resolve(&x->model, path, false, place);

    may_give(errors, -rc);
    if (rc == 0 && place->node)
        may_give(errors, EEXIST);
}

static void resolve_old(struct exercise *x, const char *path, struct model_place *place,
                        struct errors *errors)
{
    int rc = model_resolve(&x->model, path, false, place);

    may_give(errors, -rc);
    if (rc == 0 && !place->node)
        may_give(errors, ENOENT);
}

static void made(struct exercise *x, struct model_place *place, struct model_node *node,
                 struct moment moment)
{
    model_enter(place->dir, place->name, node);
    node_modified(x, place->dir, moment);
    node_compare(x, node);
}

static void run_mkdir(struct exercise *x)
{
    struct errors errors = {.count = 0};
    struct moment moment = moment_now();
    struct model_place place;
    char path[HF_SYMLINK_MAX + 1];
    mode_t mode = (mode_t)test_below(&x->rng, 010000);

    choose_path(x, path, sizeof(path));
    resolve_new(x, path, &place, &errors);
    if (errors.count == 0 && depth(place.dir) >= DEPTH_MAX - 1)
        return;
    note(x, "mkdir %s mode %#o", path, (unsigned)mode);
    expect_one_of(x, hf_mkdir(x->pool, path, mode), errors.list);
    if (errors.count == 0)
        made(x, &place, model_node_new(&x->model, place.dir, S_IFDIR | mode), moment);
}

static void run_mknod(struct exercise *x)
{
    static const mode_t types[] = {S_IFREG, S_IFIFO, S_IFSOCK, S_IFCHR, S_IFBLK};
    struct errors errors = {.count = 0};
    struct moment moment = moment_now();
    struct model_place place;
    struct model_node *node;
    char path[HF_SYMLINK_MAX + 1];
    mode_t mode = types[test_below(&x->rng, 5)] | (mode_t)test_below(&x->rng, 01000);
    dev_t rdev = S_ISCHR(mode) || S_ISBLK(mode) ? makedev(test_below(&x->rng, 300), 7) : 0;

    choose_path(x, path, sizeof(path));
    resolve_new(x, path, &place, &errors);
    note(x, "mknod %s mode %#o", path, (unsigned)mode);
    expect_one_of(x, hf_mknod(x->pool, path, mode, rdev), errors.list);
    if (errors.count > 0)
        return;
    node = model_node_new(&x->model, place.dir, mode);
    node->rdev = rdev;
    made(x, &place, node, moment);
}

static void run_symlink(struct exercise *x)
{
    struct errors errors = {.count = 0};
    struct moment moment = moment_now();
    struct model_place place;
    struct model_node *node;
    char path[HF_SYMLINK_MAX + 1], target[HF_SYMLINK_MAX + 1];

    choose_path(x, path, sizeof(path));
    choose_path(x, target, sizeof(target));
    if (target[0] == '/' && test_chance(&x->rng, 50)) /* relative: the last component only */
        memmove(target, strrchr(target, '/') + 1, strlen(strrchr(target, '/')));
    else if (target[0] != '/')
        return;
    resolve_new(x, path, &place, &errors);
    note(x, "symlink %s -> %s", path, target);
    expect_one_of(x, hf_symlink(x->pool, target, path), errors.list);
    if (errors.count > 0)
        return;
    node = model_node_new(&x->model, place.dir, S_IFLNK | 0777);
    node->target = strdup(target);
    made(x, &place, node, moment);
}

static void run_link(struct exercise *x)
{
    struct errors errors = {.count = 0};
    struct moment moment = moment_now();
    struct model_place from, to;
    char from_path[HF_SYMLINK_MAX + 1], to_path[HF_SYMLINK_MAX + 1];

    choose_path(x, from_path, sizeof(from_path));
    choose_path(x, to_path, sizeof(to_path));
    resolve_old(x, from_path, &from, &errors);
    resolve_new(x, to_path, &to, &errors);
    if (from.node && S_ISDIR(from.node->mode))
        may_give(&errors, EPERM);
    note(x, "link %s as %s", from_path, to_path);
    expect_one_of(x, hf_link(x->pool, from_path, to_path), errors.list);
    if (errors.count > 0)
        return;
    from.node->nlink++;
    made(x, &to, from.node, moment);
}

static void run_rmdir(struct exercise *x)
{
    struct errors errors = {.count = 0};
    struct moment moment = moment_now();
    struct model_place place;
    char path[HF_SYMLINK_MAX + 1];

    choose_path(x, path, sizeof(path));
    resolve_old(x, path, &place, &errors);
    if (errors.count == 0 && !S_ISDIR(place.node->mode))
        may_give(&errors, ENOTDIR);
    else if (errors.count == 0 && place.node->entry_count > 0)
        may_give(&errors, ENOTEMPTY);
    note(x, "rmdir %s", path);
    expect_one_of(x, hf_rmdir(x->pool, path), errors.list);
    if (errors.count > 0)
        return;
    model_remove(place.dir, place.name);
    place.node->nlink = 0;
    node_modified(x, place.dir, moment);
}

/* One name of the node went; with the last one goes what nobody has open. */
static void name_gone(struct exercise *x, struct model_node *node)
{
    if (S_ISDIR(node->mode)) {
        node->nlink = 0;
        return;
    }
    node->nlink--;
    if (node->nlink == 0 && node->opens == 0) {
        pins_detach(x, node, 0, UINT64_MAX);
        content_free(&node->content);
    }
    pins_compare(x, node);
    if (node->opens > 0)
        node_compare(x, node);
}

static void run_unlink(struct exercise *x)
{
    struct errors errors = {.count = 0};
    struct moment moment = moment_now();
    struct model_place place;
    struct hf_policy storage;
    const struct hf_policy *policy = choose_policy(x, &storage);
    char path[HF_SYMLINK_MAX + 1];

    choose_path(x, path, sizeof(path));
    resolve_old(x, path, &place, &errors);
    if (errors.count == 0 && S_ISDIR(place.node->mode))
        may_give(&errors, EISDIR);
    else if (errors.count == 0 && place.node->nlink == 1 && place.node->opens == 0)
        may_give(&errors, foreseen(x, place.node, policy, 0, UINT64_MAX));
    note(x, "unlink %s policy %u", path, policy ? policy->kind : 0);
    expect_one_of(x, hf_unlink(x->pool, path, policy), errors.list);
    if (errors.count > 0)
        return;
    model_remove(place.dir, place.name);
    name_gone(x, place.node);
    node_modified(x, place.dir, moment);
}

/* What may be wrong with renaming two places that resolve. */
static void rename_errors(const struct model_place *from, const struct model_place *to,
                          uint32_t flags, struct errors *errors)
{
    bool exchange = flags & HF_RENAME_EXCHANGE;

    if (to->node && (flags & HF_RENAME_NOREPLACE))
        may_give(errors, EEXIST);
    if (!to->node && exchange)
        may_give(errors, ENOENT);
    if (S_ISDIR(from->node->mode) && model_is_ancestor(from->node, to->dir))
        may_give(errors, EINVAL);
    if (!to->node || to->node == from->node)
        return;
    if (exchange && S_ISDIR(to->node->mode) && model_is_ancestor(to->node, from->dir))
        may_give(errors, EINVAL);
    if (exchange)
        return;
    if (S_ISDIR(from->node->mode) && !S_ISDIR(to->node->mode))
        may_give(errors, ENOTDIR);
    if (!S_ISDIR(from->node->mode) && S_ISDIR(to->node->mode))
        may_give(errors, EISDIR);
    if (S_ISDIR(to->node->mode) && to->node->entry_count > 0)
        may_give(errors, ENOTEMPTY);
}

static void renamed(struct exercise *x, struct model_place *from, struct model_place *to,
                    uint32_t flags, struct moment moment)
{
    if (to->node == from->node)
        return;
    if (flags & HF_RENAME_EXCHANGE) {
        model_replace(from->dir, from->name, to->node);
        model_replace(to->dir, to->name, from->node);
    } else {
        model_remove(from->dir, from->name);
        if (to->node) {
            model_replace(to->dir, to->name, from->node);
            name_gone(x, to->node);
        } else {
            model_enter(to->dir, to->name, from->node);
        }
    }
    node_modified(x, from->dir, moment);
    node_modified(x, to->dir, moment);
    node_compare(x, from->node);
}

static void run_rename(struct exercise *x)
{
    static const uint32_t kinds[] = {0,
                                     0,
                                     0,
                                     HF_RENAME_NOREPLACE,
                                     HF_RENAME_EXCHANGE,
                                     HF_RENAME_EXCHANGE,
                                     HF_RENAME_EXCHANGE | HF_RENAME_NOREPLACE,
                                     0x80};
    uint32_t flags = kinds[test_below(&x->rng, 8)];
    struct errors errors = {.count = 0};
    struct moment moment = moment_now();
    struct model_place from, to;
    char from_path[HF_SYMLINK_MAX + 1], to_path[HF_SYMLINK_MAX + 1];

    choose_path(x, from_path, sizeof(from_path));
    choose_path(x, to_path, sizeof(to_path));
    if (flags == 0x80 || flags == (HF_RENAME_EXCHANGE | HF_RENAME_NOREPLACE))
        may_give(&errors, EINVAL);
    resolve_old(x, from_path, &from, &errors);
    may_give(&errors, -model_resolve(&x->model, to_path, false, &to));
    if (errors.count == 0)
        rename_errors(&from, &to, flags, &errors);
    if (errors.count == 0 && S_ISDIR(from.node->mode) &&
        depth(to.dir) + height(from.node) > DEPTH_MAX)
        return;
    if (errors.count == 0 && (flags & HF_RENAME_EXCHANGE) && S_ISDIR(to.node->mode) &&
        depth(from.dir) + height(to.node) > DEPTH_MAX)
        return;
    note(x, "rename %s to %s flags %#x", from_path, to_path, flags);
    expect_one_of(x, hf_rename(x->pool, from_path, to_path, flags), errors.list);
    if (errors.count == 0)
        renamed(x, &from, &to, flags, moment);
}

/* hf_path() gives one of the names of the inode. */
static void run_path(struct exercise *x)
{
    struct model_node *dir = choose_dir(x), *node;
    char path[HF_SYMLINK_MAX + 1];
    struct model_place place;

    if (dir->entry_count == 0)
        return;
    node = dir->entries[test_below(&x->rng, dir->entry_count)].node;
    if (!node->ino)
        node_compare(x, node);
    note(x, "path of inode %" PRIu64, node->ino);
    EXPECT_EQ(hf_path(x->pool, node->ino, path, sizeof(path)), 0);
    EXPECT_EQ(model_resolve(&x->model, path, false, &place), 0);
    if (place.node != node)
        FAIL("the path of inode %" PRIu64 " is not \"%s\"", node->ino, path);
    EXPECT_EQ(hf_path(x->pool, node->ino, path, strlen(path)), -ERANGE);
}

static void run_lookup(struct exercise *x)
{
    bool follow = test_chance(&x->rng, 60);
    struct model_place place;
    struct errors errors = {.count = 0};
    struct stat st;
    char path[HF_SYMLINK_MAX + 1];
    int rc;

    choose_path(x, path, sizeof(path));
    rc = model_resolve(&x->model, path, follow, &place);
    may_give(&errors, -rc);
    if (rc == 0 && !place.node)
        may_give(&errors, ENOENT);
    note(x, "stat %s%s", path, follow ? "" : " itself");
    expect_one_of(x, hf_stat(x->pool, path, follow ? 0 : HF_AT_NOFOLLOW, &st), errors.list);
    if (errors.count == 0 && place.node->ino)
        EXPECT_EQ(st.st_ino, place.node->ino);
}

static void run_misuse(struct exercise *x)
{
    char long_path[HF_SYMLINK_MAX + 8], byte;
    struct hf_dir *dir = NULL;
    struct stat st;

    note(x, "misuse names");
    memset(long_path, '/', sizeof(long_path));
    long_path[sizeof(long_path) - 1] = '\0';
    EXPECT_EQ(hf_stat(x->pool, long_path, 0, &st), -ENAMETOOLONG);
    memset(long_path, 'x', sizeof(long_path) - 1);
    EXPECT_EQ(hf_symlink(x->pool, long_path, "/too-long"), -ENAMETOOLONG);
    EXPECT_EQ(hf_symlink(x->pool, "", "/empty"), -ENOENT);
    EXPECT_EQ(hf_stat(x->pool, "/", 0x100, &st), -EINVAL);
    EXPECT_EQ(hf_readlink(x->pool, "/", &byte, 1), -EINVAL);
    EXPECT_EQ(hf_opendir(x->pool, "/not-there", &dir), -ENOENT);
    EXPECT(hf_rmdir(x->pool, "/") < 0);
    EXPECT(hf_unlink(x->pool, "/", NULL) < 0);
    EXPECT(hf_rename(x->pool, "/", "/other", 0) < 0);
    EXPECT_EQ(hf_mkdir(x->pool, "/", 0700), -EEXIST);
}

const struct operation name_operations[] = {
    {"mkdir", 16, run_mkdir},     {"rmdir", 10, run_rmdir}, {"mknod", 5, run_mknod},
    {"symlink", 12, run_symlink}, {"link", 16, run_link},   {"unlink", 30, run_unlink},
    {"rename", 40, run_rename},   {"path", 6, run_path},    {"lookup", 20, run_lookup},
    {"misuse", 2, run_misuse},    {NULL, 0, NULL},
};
