/* SPDX-License-Identifier: MIT */
/* Calls on names and attributes. */
#include "waits.h"

#include <errno.h>
#include <fcntl.h>
#include <holdfast/serve.h>
#include <sys/stat.h>
#include <unistd.h>

/* An ACL as Linux passes it: version 2, then tag, rights and id of each entry. */
static const uint32_t acl[] = {2,          0x70001, UINT32_MAX, 0x60002, 1000,      0x50004,
                               UINT32_MAX, 0x70010, UINT32_MAX, 0x00020, UINT32_MAX};

static long open_it(struct waits_call *call)
{
    return hf_open(call->pool, "/dir/d", O_RDWR, 0, &call->opened);
}

static long open_through_link(struct waits_call *call)
{
    return hf_open(call->pool, "/link", O_RDONLY, 0, &call->opened);
}

static long create(struct waits_call *call)
{
    return hf_open(call->pool, "/dir/new", O_RDWR | O_CREAT, 0600, &call->opened);
}

static long create_alone(struct waits_call *call)
{
    return hf_open(call->pool, "/new", O_RDWR | O_CREAT | O_EXCL, 0600, &call->opened);
}

static long open_unnamed(struct waits_call *call)
{
    return hf_open(call->pool, "/dir", O_RDWR | O_TMPFILE, 0600, &call->opened);
}

static uint64_t number_of(struct hf_file *file)
{
    struct stat st;

    EXPECT_EQ(hf_fstat(file, &st), 0);
    return st.st_ino;
}

static void make_unnamed(struct waits_call *call)
{
    EXPECT_EQ(hf_open(call->pool, "/dir", O_RDWR | O_TMPFILE, 0600, &call->other), 0);
    test_write_pages(call->other, 7, 0, 2);
    call->number = number_of(call->other);
}

static long link_unnamed(struct waits_call *call)
{
    return hf_linkat(call->pool, call->number, "", HF_ROOT_INO, "/new");
}

static long rename_unnamed(struct waits_call *call)
{
    return hf_renameat(call->pool, call->number, "", HF_ROOT_INO, "/a", 0);
}

static long open_itself(struct waits_call *call)
{
    return hf_openat(call->pool, call->number, "", O_RDONLY, 0, &call->opened);
}

static long chmod_itself(struct waits_call *call)
{
    return hf_chmodat(call->pool, call->number, "", 0640);
}

static long set_times_itself(struct waits_call *call)
{
    return hf_utimensat(call->pool, call->number, "", NULL, 0);
}

static long set_attribute_itself(struct waits_call *call)
{
    return hf_setxattrat(call->pool, call->number, "", "user.y", "another", 7, 0);
}

static long stat_itself(struct waits_call *call)
{
    struct stat st;

    return hf_statat(call->pool, call->number, "", 0, &st);
}

static long open_cutting(struct waits_call *call)
{
    return hf_open(call->pool, "/a", O_RDWR | O_TRUNC, 0, &call->opened);
}

static long make_dir(struct waits_call *call)
{
    return hf_mkdir(call->pool, "/dir/new", 0700);
}

static long remove_dir(struct waits_call *call)
{
    return hf_rmdir(call->pool, "/empty");
}

static long make_node(struct waits_call *call)
{
    return hf_mknod(call->pool, "/fifo", S_IFIFO | 0600, 0);
}

static long link_it(struct waits_call *call)
{
    return hf_link(call->pool, "/b", "/dir/b");
}

static long symlink_it(struct waits_call *call)
{
    return hf_symlink(call->pool, "a", "/dir/link");
}

static long read_link(struct waits_call *call)
{
    char target[16];

    return hf_readlink(call->pool, "/link", target, sizeof(target));
}

static long unlink_a(struct waits_call *call)
{
    return hf_unlink(call->pool, "/a", call->policy);
}

static long unlink_b(struct waits_call *call)
{
    return hf_unlink(call->pool, "/b", call->policy);
}

static long unlink_symlink(struct waits_call *call)
{
    return hf_unlink(call->pool, "/link", call->policy);
}

static void another_name(struct waits_call *call)
{
    EXPECT_EQ(hf_link(call->pool, "/b", "/dir/b"), 0);
}

static void share_b(struct waits_call *call)
{
    struct hf_file *from = test_file(call->pool, "/b"), *to = test_file(call->pool, "/shared");

    EXPECT_EQ(hf_clone_range(from, 0, to, 0, 0, &test_wait), 0);
    EXPECT_EQ(hf_close(from), 0);
    EXPECT_EQ(hf_close(to), 0);
}

static long rename_it(struct waits_call *call)
{
    return hf_rename(call->pool, "/b", "/dir/new", 0);
}

static long rename_alone(struct waits_call *call)
{
    return hf_rename(call->pool, "/b", "/dir/new", HF_RENAME_NOREPLACE);
}

static long rename_over(struct waits_call *call)
{
    return hf_rename(call->pool, "/b", "/a", 0);
}

static long rename_dir(struct waits_call *call)
{
    return hf_rename(call->pool, "/dir", "/empty", 0);
}

static long rename_exchange(struct waits_call *call)
{
    return hf_rename(call->pool, "/dir/d", "/b", HF_RENAME_EXCHANGE);
}

static long rename_whiteout(struct waits_call *call)
{
    return hf_rename(call->pool, "/dir/d", "/a", HF_RENAME_WHITEOUT);
}

/* --- copies of many files --- */

#define CLONES 5u /* more than go together in a durable pool */

static const char *const clone_paths[CLONES] = {"/a", "/b", "/c", "/dir/d", "/e"};
static const char *const clone_names[CLONES] = {"a", "b", "c", "d", "e"};
static uint64_t clone_inos[CLONES], clone_dir;

static uint64_t number_at(struct waits_call *call, const char *path)
{
    struct stat st;

    EXPECT_EQ(hf_stat(call->pool, path, 0, &st), 0);
    return st.st_ino;
}

static void find_numbers(struct waits_call *call)
{
    for (unsigned i = 0; i < CLONES; i++)
        clone_inos[i] = number_at(call, clone_paths[i]);
    clone_dir = number_at(call, "/empty");
}

static void share_b_and_find(struct waits_call *call)
{
    share_b(call);
    find_numbers(call);
}

/* A bit for each copy that was made; with call->len, of those alone that have a bit there. Each of
 * them may fail by itself. */
static long clone_files(struct waits_call *call)
{
    struct hf_clone_entry entries[CLONES];
    unsigned of[CLONES], count = 0;
    long mask = 0, made;

    for (unsigned i = 0; i < CLONES; i++) {
        if (call->len && !(call->len >> i & 1))
            continue;
        of[count] = i;
        entries[count++] = (struct hf_clone_entry){
            .from = clone_inos[i], .dir = clone_dir, .name = clone_names[i]};
    }
    made = hf_clone_files(call->pool, entries, count);
    for (unsigned i = 0; i < count; i++)
        mask |= (long)(entries[i].result == 0) << of[i];
    EXPECT_EQ(made < 0 ? 0 : made, __builtin_popcountl((unsigned long)mask));
    return made < 0 ? made : mask;
}

static long stat_it(struct waits_call *call)
{
    struct stat st;

    return hf_stat(call->pool, "/a", 0, &st);
}

static long statx_it(struct waits_call *call)
{
    struct statx st;

    return hf_statx(call->pool, "/a", 0, &st);
}

static long stat_file(struct waits_call *call)
{
    struct stat st;

    return hf_fstat(call->file, &st);
}

static long chmod_it(struct waits_call *call)
{
    return hf_chmod(call->pool, "/b", 0751);
}

static long chown_it(struct waits_call *call)
{
    return hf_chown(call->pool, "/b", getuid() + 1, getgid() + 1, 0);
}

static long set_times(struct waits_call *call)
{
    static const struct timespec times[2] = {{1, 2}, {3, 4}};

    return hf_utimens(call->pool, "/b", times, 0);
}

static long set_times_of_a(struct waits_call *call)
{
    static const struct timespec times[2] = {{1, 2}, {3, 4}};

    return hf_utimens(call->pool, "/a", times, 0);
}

static long set_times_of_dir(struct waits_call *call)
{
    static const struct timespec times[2] = {{1, 2}, {3, 4}};

    return hf_utimens(call->pool, "/dir", times, 0);
}

static long set_attribute(struct waits_call *call)
{
    return hf_setxattr(call->pool, "/b", "user.y", "another", 7, HF_XATTR_CREATE);
}

static long replace_attribute(struct waits_call *call)
{
    return hf_setxattr(call->pool, "/b", "user.x", "another", 7, HF_XATTR_REPLACE);
}

static long set_capability(struct waits_call *call)
{
    return hf_setxattr(call->pool, "/b", "security.capability", "what it may do", 14, 0);
}

static long get_attribute(struct waits_call *call)
{
    char value[16];

    return hf_getxattr(call->pool, "/b", "user.x", value, sizeof(value));
}

static long list_attributes(struct waits_call *call)
{
    char list[64];

    return hf_listxattr(call->pool, "/b", list, sizeof(list));
}

static long remove_attribute(struct waits_call *call)
{
    return hf_removexattr(call->pool, "/b", "user.x");
}

static long set_acl(struct waits_call *call)
{
    return hf_setxattr(call->pool, "/b", "system.posix_acl_access", acl, sizeof(acl), 0);
}

static long set_default_acl(struct waits_call *call)
{
    return hf_setxattr(call->pool, "/dir", "system.posix_acl_default", acl, sizeof(acl), 0);
}

static void give_default_acl(struct waits_call *call)
{
    EXPECT_EQ(set_default_acl(call), 0);
}

static void give_acl(struct waits_call *call)
{
    EXPECT_EQ(set_acl(call), 0);
}

static long remove_acl(struct waits_call *call)
{
    return hf_removexattr(call->pool, "/b", "system.posix_acl_access");
}

static long open_dir(struct waits_call *call)
{
    return hf_opendir(call->pool, "/dir", &call->dir);
}

/* All of it; what comes after an entry that could not be read is that entry. */
static long read_dir(struct waits_call *call)
{
    struct hf_dirent entry;
    long rc = call->dir ? 0 : hf_opendir(call->pool, "/", &call->dir), count = 0;

    while (rc == 0 && (rc = hf_readdir(call->dir, &entry)) == 1) {
        rc = 0;
        count++;
    }
    return rc ? rc : count;
}

static long look_up_path(struct waits_call *call)
{
    char path[64];
    struct stat st;
    long rc = hf_fstat(call->file, &st);

    return rc ? rc : hf_path(call->pool, st.st_ino, path, sizeof(path));
}

#define A .file = "/a"

const struct waits_row waits_names[] = {
    {"open", .act = open_it},
    {"open-link", .act = open_through_link},
    {"create", .act = create},
    {"create-alone", .act = create_alone},
    {"create-inheriting", .prepare = give_default_acl, .act = create},
    {"open-unnamed", .act = open_unnamed},
    {"link-unnamed", .prepare = make_unnamed, .act = link_unnamed},
    {"rename-unnamed", .prepare = make_unnamed, .act = rename_unnamed},
    {"open-itself", .prepare = make_unnamed, .act = open_itself},
    {"stat-itself", .prepare = make_unnamed, .act = stat_itself},
    {"chmod-itself", .prepare = make_unnamed, .act = chmod_itself},
    {"utimens-itself", .prepare = make_unnamed, .act = set_times_itself},
    {"setxattr-itself", .prepare = make_unnamed, .act = set_attribute_itself},
    {"open-cutting", .act = open_cutting},
    {"open-cutting-at-gate", A, .others = WAITS_PINS | WAITS_GATE, .act = open_cutting},
    {"mkdir", .act = make_dir},
    {"mkdir-inheriting", .prepare = give_default_acl, .act = make_dir},
    {"rmdir", .act = remove_dir},
    {"mknod", .act = make_node},
    {"link", .act = link_it},
    {"symlink", .act = symlink_it},
    {"readlink", .act = read_link},
    {"unlink", .policies = true, .act = unlink_a},
    {"unlink-open", A, .policies = true, .act = unlink_a},
    {"unlink-pinned", .others = WAITS_PINS, .policies = true, .act = unlink_a},
    {"unlink-at-gate", A, .others = WAITS_PINS | WAITS_GATE, .policies = true, .act = unlink_a},
    {"unlink-one-name", .policies = true, .prepare = another_name, .act = unlink_b},
    {"unlink-shared", .policies = true, .prepare = share_b, .act = unlink_b},
    {"unlink-symlink", .policies = true, .act = unlink_symlink},
    {"rename", .act = rename_it},
    {"rename-alone", .act = rename_alone},
    {"rename-over", .act = rename_over},
    {"rename-over-open", A, .act = rename_over},
    {"rename-over-pinned", .others = WAITS_PINS, .act = rename_over},
    {"rename-over-at-gate", A, .others = WAITS_PINS | WAITS_GATE, .act = rename_over},
    {"rename-dir", .act = rename_dir},
    {"rename-exchange", .act = rename_exchange},
    {"rename-whiteout", .act = rename_whiteout},
    {"clone-files", .leaves = WAITS_A_PART, .prepare = find_numbers, .act = clone_files},
    {"clone-files-open", A, .leaves = WAITS_A_PART, .prepare = find_numbers, .act = clone_files},
    {"clone-files-shared", .leaves = WAITS_A_PART, .prepare = share_b_and_find, .act = clone_files},
    {"clone-files-held", A, .others = WAITS_PINS, .leaves = WAITS_A_PART, .prepare = find_numbers,
     .act = clone_files},
    {"clone-files-at-gate", A, .others = WAITS_PINS | WAITS_GATE, .leaves = WAITS_A_PART,
     .prepare = find_numbers, .act = clone_files},
    {"stat", .act = stat_it},
    {"statx", .act = statx_it},
    {"fstat", A, .act = stat_file},
    {"chmod", .act = chmod_it},
    {"chmod-acl", .prepare = give_acl, .act = chmod_it},
    {"chown", .act = chown_it},
    {"utimens", .act = set_times},
    {"utimens-open", A, .act = set_times_of_a},
    {"utimens-at-gate", A, .others = WAITS_PINS | WAITS_GATE, .act = set_times_of_a},
    {"utimens-dir", .act = set_times_of_dir},
    {"setxattr", .act = set_attribute},
    {"setxattr-replace", .act = replace_attribute},
    {"setxattr-capability", .act = set_capability},
    {"setxattr-acl", .act = set_acl},
    {"setxattr-default-acl", .act = set_default_acl},
    {"getxattr", .act = get_attribute},
    {"listxattr", .act = list_attributes},
    {"removexattr", .act = remove_attribute},
    {"removexattr-acl", .prepare = give_acl, .act = remove_acl},
    {"opendir", .act = open_dir},
    {"readdir", .act = read_dir},
    {"path", A, .act = look_up_path},
};
const unsigned waits_name_count = sizeof(waits_names) / sizeof(waits_names[0]);
