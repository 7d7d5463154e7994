/* SPDX-License-Identifier: MIT */
/* The verb cluster: the caches of all members as one (holdfast/cluster.h). */
#include "cluster.h"

#include "transfer.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define NS_PER_S UINT64_C(1000000000)

static uint64_t timeout_ns = 2 * NS_PER_S;
static bool as_json;

#define TIMEOUT_OPTION                                                                             \
    {                                                                                              \
        .name = "timeout", .letter = 't', .kind = CLI_TIME, .value = &timeout_ns,                  \
        .value_name = "TIME", .help = "a member that has not answered then is given up (2s)",      \
        .min = NS_PER_S / 100, .max = 3600 * NS_PER_S                                              \
    }

static struct cli_option cluster_options[] = {CLUSTER_OPTIONS, TIMEOUT_OPTION, {0}};
static struct cli_option list_options[] = {
    CLUSTER_OPTIONS,
    TIMEOUT_OPTION,
    {.name = "json", .letter = 'j', .kind = CLI_FLAG, .value = &as_json, .help = "for programs"},
    {0},
};

/* ---- a cluster that is open ---- */

static int fail_members(const char *what, int rc)
{
    return cli_fail_why(what, rc == -ENOENT ? "there is no such key in the cluster" : hfx_detail(),
                        rc);
}

static struct hfx *cluster;

/* The exit code, or EX_OK. */
static int open_members(void)
{
    static char secret[CLUSTER_SECRET_MAX];
    const struct hfx_etcd *etcd = cluster_place.etcd.urls ? &cluster_place.etcd : NULL;
    const char *members = cluster_place.members;
    const struct hfx_options options = {.size = sizeof(options),
                                        .members = members,
                                        .etcd = etcd,
                                        .secret = secret,
                                        .timeout_ns = timeout_ns};
    int status = cluster_check_place(), rc;

    if (status == EX_OK)
        status = cluster_read_secret(secret);
    if (status != EX_OK)
        return status;
    rc = hfx_open(&options, &cluster);
    return rc ? cli_fail_why(members ? members : etcd->urls, hfx_detail(), rc) : EX_OK;
}

static int close_members(int status)
{
    hfx_close(cluster);
    return status;
}

static struct hfc_key key_named(const char *text)
{
    return (struct hfc_key){text, (uint32_t)strlen(text), 0};
}

/* ---- get ---- */

static int print_member_object(const char *name)
{
    const struct hfc_key key = key_named(name);
    ssize_t len = hfx_length(cluster, &key), got;
    char *bytes;
    int error;

    if (len < 0)
        return fail_members(name, (int)len);
    bytes = cli_alloc((size_t)len);
    got = hfx_get(cluster, &key, bytes, (size_t)len);
    error = got < 0 ? 0 : transfer_write_all(STDOUT_FILENO, bytes, (size_t)got);
    free(bytes);
    if (got < 0)
        return fail_members(name, (int)got);
    return error && error != EPIPE ? cli_fail_host("standard output", error) : EX_OK;
}

static int run_cluster_get(int count, char **operands)
{
    int status = open_members();

    (void)count;
    return status != EX_OK ? status : close_members(print_member_object(operands[0]));
}

static const struct cli_verb cluster_get = {
    .name = "cluster get",
    .operands = "KEY",
    .summary = "write an object to standard output",
    .options = cluster_options,
    .operands_min = 1,
    .operands_max = 1,
    .run = run_cluster_get,
};

/* ---- put ---- */

static int put_bytes(const char *source, const char *name, int fd)
{
    const struct hfc_key key = key_named(name);
    char *bytes = NULL;
    size_t len = 0, room = 0;
    ssize_t got = 1;
    int rc = 0;

    while (got != 0 && !cli_interrupted()) {
        bytes = cli_grow(bytes, len, &room, 1);
        got = read(fd, bytes + len, room - len);
        if (got < 0 && errno != EINTR) {
            free(bytes);
            return cli_fail_host(source, errno);
        }
        len += got > 0 ? (size_t)got : 0;
    }
    if (!cli_interrupted())
        rc = hfx_put(cluster, &key, bytes, len);
    free(bytes);
    return rc ? fail_members(source, rc) : EX_OK;
}

static int run_cluster_put(int count, char **operands)
{
    bool is_input = strcmp(operands[0], "-") == 0;
    int fd = is_input ? STDIN_FILENO : open(operands[0], O_RDONLY | O_CLOEXEC);
    int status;

    (void)count;
    if (fd < 0)
        return cli_fail_host(operands[0], errno);
    status = open_members();
    if (status == EX_OK)
        status = close_members(put_bytes(operands[0], operands[1], fd));
    if (!is_input)
        close(fd);
    return status;
}

static const struct cli_verb cluster_put = {
    .name = "cluster put",
    .operands = "SOURCE KEY",
    .summary = "copy a file of the host, or standard input (-), in under a key",
    .options = cluster_options,
    .operands_min = 2,
    .operands_max = 2,
    .run = run_cluster_put,
};

/* ---- rm ---- */

static int run_cluster_rm(int count, char **operands)
{
    int status = open_members();

    if (status != EX_OK)
        return status;
    for (int i = 0; i < count && !cli_interrupted(); i++) {
        const struct hfc_key key = key_named(operands[i]);
        int rc = hfx_remove(cluster, &key);

        if (rc)
            status = fail_members(operands[i], rc);
    }
    return close_members(status);
}

static const struct cli_verb cluster_rm = {
    .name = "cluster rm",
    .operands = "KEY...",
    .summary = "take objects out",
    .options = cluster_options,
    .operands_min = 1,
    .operands_max = 1 << 20,
    .run = run_cluster_rm,
};

/* ---- ls, status ---- */

static struct cli_json listing;

static void put_json_entry(const struct hfx_member *member, const struct hfc_entry *entry)
{
    char key[HFC_KEY_MAX + 1];

    memcpy(key, entry->key, entry->key_len);
    key[entry->key_len] = '\0';
    cli_json_open(&listing, NULL, '{');
    cli_json_text(&listing, "member", member->name);
    cli_json_bytes(&listing, "key", key, entry->key_len);
    cli_json_number(&listing, "space", entry->space);
    cli_json_number(&listing, "bytes", entry->bytes);
    cli_json_close(&listing, '}');
}

static int print_member_key(void *arg, const struct hfc_entry *entry)
{
    const struct hfx_member *member = arg;
    char text[CLI_SIZE_TEXT], key[HFC_KEY_MAX + 1];

    if (as_json) {
        put_json_entry(member, entry);
        return cli_interrupted() ? -EINTR : 0;
    }
    memcpy(key, entry->key, entry->key_len);
    key[entry->key_len] = '\0';
    printf("%-16s %8s  ", member->name, cli_size(text, entry->bytes));
    cli_put_escaped(stdout, key);
    putchar('\n');
    return cli_interrupted() ? -EINTR : 0;
}

static int list_member(unsigned index, struct hfx_member *member)
{
    return hfx_each(cluster, index, print_member_key, member);
}

static void put_json_counts(const struct hfx_member *member, const struct hfx_counts *counts)
{
    const struct cli_number numbers[] = {
        {"capacity_bytes", counts->capacity_bytes},
        {"used_bytes", counts->used_bytes},
        {"objects", counts->objects},
        {"gets", counts->gets},
        {"hits", counts->hits},
        {"puts", counts->puts},
        {"removals", counts->removals},
        {"refused", counts->refused},
        {"given_up", counts->given_up},
        {"connections", counts->connections},
        {NULL, 0},
    };

    cli_json_open(&listing, NULL, '{');
    cli_json_text(&listing, "member", member->name);
    cli_json_text(&listing, "address", member->address);
    cli_json_numbers(&listing, numbers);
    cli_json_close(&listing, '}');
}

static int print_member_counts(unsigned index, struct hfx_member *member)
{
    struct hfx_counts counts = {.size = sizeof(counts)};
    char used[CLI_SIZE_TEXT], room[CLI_SIZE_TEXT];
    int rc = hfx_counts(cluster, index, &counts);

    if (rc)
        return rc;
    if (as_json) {
        put_json_counts(member, &counts);
        return 0;
    }
    printf("%-16s %-24s %s of %s, %" PRIu64 " objects; %" PRIu64 " gets, %" PRIu64 " hits, %" PRIu64
           " puts; %" PRIu64 " connections\n",
           member->name, member->address, cli_size(used, counts.used_bytes),
           cli_size(room, counts.capacity_bytes), counts.objects, counts.gets, counts.hits,
           counts.puts, counts.connections);
    return 0;
}

/* A member that does not answer has its sentence on standard error; the list has the others. */
static int for_each_member(int (*print)(unsigned index, struct hfx_member *member))
{
    int status = open_members();
    struct hfx_member member;

    if (status != EX_OK)
        return status;
    cli_json_begin(&listing, stdout);
    if (as_json)
        cli_json_open(&listing, NULL, '[');
    for (unsigned i = 0; !cli_interrupted() && hfx_member(cluster, i, &member) == 1; i++) {
        int rc = print(i, &member);

        if (rc)
            status = cli_fail_why(member.name, hfx_detail(), rc);
    }
    if (as_json) {
        cli_json_close(&listing, ']');
        cli_json_end(&listing);
    }
    return close_members(status);
}

static int run_cluster_ls(int count, char **operands)
{
    (void)count;
    (void)operands;
    return for_each_member(list_member);
}

static int run_cluster_status(int count, char **operands)
{
    (void)count;
    (void)operands;
    return for_each_member(print_member_counts);
}

static const struct cli_verb cluster_ls = {
    .name = "cluster ls",
    .operands = "",
    .summary = "list all keys: member, bytes, key",
    .options = list_options,
    .run = run_cluster_ls,
};

static const struct cli_verb cluster_status = {
    .name = "cluster status",
    .operands = "",
    .summary = "a line for each member: address, memory, what it has done",
    .options = list_options,
    .run = run_cluster_status,
};

static const struct cli_verb *const cluster_verbs[] = {&cluster_put, &cluster_get,    &cluster_rm,
                                                       &cluster_ls,  &cluster_status, NULL};

const struct cli_verb cli_verb_cluster = {
    .name = "cluster",
    .operands = "VERB [ARGUMENT] ...",
    .summary = CLUSTER_SUMMARY,
    .details = "`holdfast cluster VERB --help` says more.",
    .verbs = cluster_verbs,
};
