/* SPDX-License-Identifier: MIT */
/* The verb stat: all that a pool knows about one name, extended attributes included. */
#include "cli.h"

#include <holdfast/serve.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>

static bool as_json, follow;

static struct cli_option stat_options[] = {
    {.name = "follow",
     .letter = 'L',
     .kind = CLI_FLAG,
     .value = &follow,
     .help = "the file that a symbolic link leads to, not the link"},
    {.name = "json", .letter = 'j', .kind = CLI_FLAG, .value = &as_json, .help = "for programs"},
    {0},
};

static bool read_target(struct hf_pool *pool, const char *path, char target[HF_SYMLINK_MAX + 1])
{
    ssize_t len = hf_readlink(pool, path, target, HF_SYMLINK_MAX);

    if (len < 0)
        return false;
    target[len] = '\0';
    return true;
}

static void print_time(const char *label, const struct timespec *time)
{
    char stamp[CLI_STAMP_TEXT];

    printf("%-10s %s\n", label, cli_stamp(stamp, time));
}

static void print_stat(const char *path, const char *target, const struct stat *st)
{
    char mode[CLI_MODE_TEXT];

    printf("%-10s ", "path");
    cli_put_name(stdout, path);
    if (target != NULL) {
        printf(" -> ");
        cli_put_name(stdout, target);
    }
    printf("\n%-10s %s, inode %" PRIuMAX ", %" PRIuMAX " link%s\n", "type",
           cli_type_text(st->st_mode), (uintmax_t)st->st_ino, (uintmax_t)st->st_nlink,
           st->st_nlink == 1 ? "" : "s");
    printf("%-10s %" PRIdMAX " bytes, %" PRIuMAX " allocated\n", "size", (intmax_t)st->st_size,
           (uintmax_t)st->st_blocks * 512);
    if (S_ISCHR(st->st_mode) || S_ISBLK(st->st_mode))
        printf("%-10s %u, %u\n", "device", major(st->st_rdev), minor(st->st_rdev));
    printf("%-10s %04o %s, uid %ju, gid %ju\n", "mode", st->st_mode & 07777u,
           cli_mode_text(mode, st->st_mode), (uintmax_t)st->st_uid, (uintmax_t)st->st_gid);
    print_time("accessed", &st->st_atim);
    print_time("modified", &st->st_mtim);
    print_time("changed", &st->st_ctim);
}

static void print_xattrs(struct hf_pool *pool, const char *path, const char *list, ssize_t len)
{
    for (const char *name = list; name < list + len; name += strlen(name) + 1) {
        ssize_t value_len = hf_getxattr(pool, path, name, NULL, 0);

        if (value_len < 0)
            continue;
        printf("%-10s ", "xattr");
        cli_put_name(stdout, name);
        printf(", %zd bytes\n", value_len);
    }
}

static void put_stat(struct cli_json *json, const char *path, const char *target,
                     const struct stat *st)
{
    char mode[CLI_MODE_TEXT];

    cli_json_text(json, "path", path);
    cli_json_number(json, "ino", st->st_ino);
    cli_json_text(json, "type", cli_type_text(st->st_mode));
    if (target != NULL)
        cli_json_text(json, "target", target);
    cli_json_text(json, "mode", cli_mode_text(mode, st->st_mode));
    cli_json_number(json, "permissions", st->st_mode & 07777u);
    cli_json_number(json, "nlink", st->st_nlink);
    cli_json_number(json, "uid", st->st_uid);
    cli_json_number(json, "gid", st->st_gid);
    cli_json_number(json, "rdev_major", major(st->st_rdev));
    cli_json_number(json, "rdev_minor", minor(st->st_rdev));
    cli_json_number(json, "size", (uint64_t)st->st_size);
    cli_json_number(json, "allocated_bytes", (uint64_t)st->st_blocks * 512);
    cli_json_time(json, "atime", &st->st_atim);
    cli_json_time(json, "mtime", &st->st_mtim);
    cli_json_time(json, "ctime", &st->st_ctim);
}

static void put_xattrs(struct cli_json *json, struct hf_pool *pool, const char *path,
                       const char *list, ssize_t len)
{
    cli_json_open(json, "xattrs", '[');
    for (const char *name = list; name < list + len; name += strlen(name) + 1) {
        ssize_t value_len = hf_getxattr(pool, path, name, NULL, 0);

        if (value_len < 0)
            continue;
        cli_json_open(json, NULL, '{');
        cli_json_text(json, "name", name);
        cli_json_number(json, "bytes", (uint64_t)value_len);
        cli_json_close(json, '}');
    }
    cli_json_close(json, ']');
}

static int stat_path(struct hf_pool *pool, const char *path, struct cli_json *json)
{
    char target_text[HF_SYMLINK_MAX + 1];
    const char *target = NULL;
    char *list = NULL;
    ssize_t len = 0;
    struct stat st;
    int rc = hf_stat(pool, path, follow ? 0 : HF_AT_NOFOLLOW, &st);

    if (rc != 0)
        return cli_fail(path, rc);
    if (S_ISLNK(st.st_mode)) {
        target = read_target(pool, path, target_text) ? target_text : NULL;
    } else {
        list = cli_xattr_list(pool, HF_ROOT_INO, path, &len);
        if (len < 0)
            return cli_fail(path, (int)len);
    }
    if (as_json) {
        cli_json_open(json, NULL, '{');
        put_stat(json, path, target, &st);
        put_xattrs(json, pool, path, list, len);
        cli_json_close(json, '}');
    } else {
        print_stat(path, target, &st);
        print_xattrs(pool, path, list, len);
    }
    free(list);
    return EX_OK;
}

static int stat_run(int count, char **operands)
{
    struct cli_json json;
    struct hf_pool *pool;
    int worst = cli_pool_open(operands[0], HF_OPEN_RDONLY, &pool);

    if (worst != EX_OK)
        return worst;
    cli_json_begin(&json, stdout);
    if (as_json)
        cli_json_open(&json, NULL, '[');
    for (int i = 1; i < count; i++) {
        int status;

        if (i > 1 && !as_json)
            putchar('\n');
        status = stat_path(pool, operands[i], &json);
        if (status != EX_OK)
            worst = status;
    }
    if (as_json) {
        cli_json_close(&json, ']');
        cli_json_end(&json);
    }
    return cli_pool_close(pool, operands[0], worst);
}

const struct cli_verb cli_verb_stat = {
    .name = "stat",
    .operands = "POOL PATH...",
    .summary = "show all attributes of names in the pool",
    .options = stat_options,
    .operands_min = 2,
    .operands_max = 1 << 20,
    .run = stat_run,
};
