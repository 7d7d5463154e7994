/* SPDX-License-Identifier: MIT */
/* The verb ls: one entry a line, in byte order, short or long, with what lies below if asked. */
#include "cli.h"

#include <errno.h>
#include <holdfast/serve.h>
#include <inttypes.h>
#include <string.h>
#include <sys/sysmacros.h>

static bool as_json, in_full, below, slash;

static struct cli_option ls_options[] = {
    {.name = "long",
     .letter = 'l',
     .kind = CLI_FLAG,
     .value = &in_full,
     .help = "mode, links, owner, group, size and time as well"},
    {.name = "recursive",
     .letter = 'R',
     .kind = CLI_FLAG,
     .value = &below,
     .help = "also everything below, as paths"},
    {.name = "slash",
     .letter = 'p',
     .kind = CLI_FLAG,
     .value = &slash,
     .help = "a slash after directories"},
    {.name = "json", .letter = 'j', .kind = CLI_FLAG, .value = &as_json, .help = "for programs"},
    {0},
};

struct listing {
    struct hf_pool *pool;
    struct cli_json json;
    size_t skipped; /* how much of each path is not shown */
    int status;
};

static void put_target(struct listing *listing, const struct cli_found *found)
{
    char target[HF_SYMLINK_MAX + 1];
    ssize_t len = hf_readlinkat(listing->pool, found->dir, found->name, target, sizeof(target) - 1);

    if (len < 0)
        return;
    target[len] = '\0';
    if (as_json) {
        cli_json_text(&listing->json, "target", target);
    } else {
        printf(" -> ");
        cli_put_name(stdout, target);
    }
}

static void print_long(const struct stat *st)
{
    char mode[CLI_MODE_TEXT], stamp[CLI_STAMP_TEXT];

    printf("%s %3" PRIuMAX " %5" PRIuMAX " %5" PRIuMAX " ", cli_mode_text(mode, st->st_mode),
           (uintmax_t)st->st_nlink, (uintmax_t)st->st_uid, (uintmax_t)st->st_gid);
    if (S_ISCHR(st->st_mode) || S_ISBLK(st->st_mode))
        printf("%7u, %5u", major(st->st_rdev), minor(st->st_rdev));
    else
        printf("%14" PRIdMAX, (intmax_t)st->st_size);
    printf(" %.16s ", cli_stamp(stamp, &st->st_mtim));
}

static void put_json(struct listing *listing, const struct cli_found *found, const char *shown,
                     const struct stat *st)
{
    char mode[CLI_MODE_TEXT];

    cli_json_open(&listing->json, NULL, '{');
    cli_json_text(&listing->json, "name", shown);
    cli_json_number(&listing->json, "ino", st->st_ino);
    cli_json_text(&listing->json, "type", cli_type_text(st->st_mode));
    cli_json_text(&listing->json, "mode", cli_mode_text(mode, st->st_mode));
    cli_json_number(&listing->json, "nlink", st->st_nlink);
    cli_json_number(&listing->json, "uid", st->st_uid);
    cli_json_number(&listing->json, "gid", st->st_gid);
    cli_json_number(&listing->json, "size", (uint64_t)st->st_size);
    cli_json_number(&listing->json, "allocated_bytes", (uint64_t)st->st_blocks * 512);
    cli_json_time(&listing->json, "mtime", &st->st_mtim);
    if (S_ISLNK(st->st_mode))
        put_target(listing, found);
    cli_json_close(&listing->json, '}');
}

/* An entry comes right before what lies below it. */
static bool show_entry(void *arg, const struct cli_found *found)
{
    struct listing *listing = arg;
    const char *shown = found->path + listing->skipped;
    struct stat st;

    if (in_full || as_json) {
        int rc = hf_statat(listing->pool, found->dir, found->name, HF_AT_NOFOLLOW, &st);

        if (rc == -ENOENT || rc == -ESTALE)
            return false;
        if (rc != 0) {
            listing->status = cli_fail(found->path, rc);
            return false;
        }
        if (as_json) {
            put_json(listing, found, shown, &st);
            return true;
        }
        print_long(&st);
    }
    cli_put_name(stdout, shown);
    if (slash && S_ISDIR(found->type))
        putchar('/');
    if (in_full && S_ISLNK(st.st_mode))
        put_target(listing, found);
    putchar('\n');
    return true;
}

static bool fail_list_read(void *arg, const char *path, int rc)
{
    struct listing *listing = arg;

    listing->status = cli_fail(path, rc);
    return false;
}

static void list_path(struct listing *listing, const char *path)
{
    const struct cli_visitor visitor = {.below = below,
                                        .entry = show_entry,
                                        .failed = fail_list_read,
                                        .status = &listing->status,
                                        .arg = listing};
    struct cli_found found = {.dir = HF_ROOT_INO, .name = path, .path = path};
    size_t len = strlen(path);
    struct stat st;
    int rc = hf_stat(listing->pool, path, 0, &st);

    if (rc == -ENOENT) /* a symbolic link that leads nowhere can be listed */
        rc = hf_stat(listing->pool, path, HF_AT_NOFOLLOW, &st);
    if (rc != 0) {
        listing->status = cli_fail(path, rc);
        return;
    }
    found.type = st.st_mode;
    listing->skipped = 0;
    if (!S_ISDIR(st.st_mode)) {
        show_entry(listing, &found);
        return;
    }
    while (len > 0 && path[len - 1] == '/')
        len--;
    listing->skipped = len + 1;
    cli_walk(listing->pool, st.st_ino, path, &visitor);
}

static int ls_run(int count, char **operands)
{
    struct listing listing = {.status = EX_OK};
    int status = cli_pool_open(operands[0], HF_OPEN_RDONLY, &listing.pool);

    if (status != EX_OK)
        return status;
    cli_json_begin(&listing.json, stdout);
    if (as_json)
        cli_json_open(&listing.json, NULL, '[');
    if (count == 1)
        list_path(&listing, "/");
    for (int i = 1; i < count; i++) {
        if (count > 2 && !as_json) {
            printf("%s", i > 1 ? "\n" : "");
            cli_put_name(stdout, operands[i]);
            printf(":\n");
        }
        list_path(&listing, operands[i]);
    }
    if (as_json) {
        cli_json_close(&listing.json, ']');
        cli_json_end(&listing.json);
    }
    return cli_pool_close(listing.pool, operands[0], listing.status);
}

const struct cli_verb cli_verb_ls = {
    .name = "ls",
    .operands = "POOL [PATH]...",
    .summary = "list a directory of the pool, the root if none is named",
    .options = ls_options,
    .operands_min = 1,
    .operands_max = 1 << 20,
    .run = ls_run,
};
