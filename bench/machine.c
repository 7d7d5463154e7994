/* SPDX-License-Identifier: MIT */
/* The machine's facts that numbers mean nothing without, and where a disk's file system is. */
#include "bench.h"

#include <limits.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <sys/vfs.h>
#include <unistd.h>

#define XFS_MAGIC 0x58465342
#define ZFS_MAGIC 0x2fc12fc1
#define BCACHEFS_MAGIC 0xca451a4e

/* The kinds of file systems that lie on a disk and are measured as such. */
static const char *disk_type(const char *path)
{
    static const struct {
        unsigned magic;
        const char *name;
    } types[] = {
        {EXT4_SUPER_MAGIC, "ext4"},          {XFS_MAGIC, "xfs"}, {BTRFS_SUPER_MAGIC, "btrfs"},
        {F2FS_SUPER_MAGIC, "f2fs"},          {ZFS_MAGIC, "zfs"}, {BCACHEFS_MAGIC, "bcachefs"},
        {OVERLAYFS_SUPER_MAGIC, "overlayfs"}};
    struct statfs fs;

    if (statfs(path, &fs) != 0 || access(path, W_OK | X_OK) != 0)
        return NULL;
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++)
        if ((unsigned)fs.f_type == types[i].magic)
            return types[i].name;
    return NULL;
}

void bench_find_disk(void)
{
    const char *const places[] = {"/var/tmp", "/tmp", getenv("HOME"), "."};

    for (size_t i = 0; i < sizeof places / sizeof places[0] && !bench.disk; i++)
        if (places[i] && (bench.disk_type = disk_type(places[i])))
            bench.disk = places[i];
}

/* The rest of the first line of the file that begins with `label`, and a colon; empty if none
 * does. */
static void line_of(const char *path, const char *label, char *value, size_t room)
{
    FILE *file = fopen(path, "re");
    char line[512];

    value[0] = '\0';
    while (file && !value[0] && fgets(line, sizeof line, file)) {
        char *colon = strchr(line, ':');

        line[strcspn(line, "\n")] = '\0';
        if (strncmp(line, label, strlen(label)) == 0 && colon)
            snprintf(value, room, "%s", colon + 1 + strspn(colon + 1, " \t"));
    }
    if (file)
        fclose(file);
}

static void whole_line(const char *path, char *value, size_t room)
{
    FILE *file = fopen(path, "re");

    value[0] = '\0';
    if (file && fgets(value, (int)room, file))
        value[strcspn(value, "\n")] = '\0';
    if (file)
        fclose(file);
}

static bool is_virtual(void)
{
    char flags[8192] = "";
    FILE *file = fopen("/proc/cpuinfo", "re");
    bool found = false;

    while (file && !found && fgets(flags, sizeof flags, file))
        found = strstr(flags, " hypervisor") != NULL;
    if (file)
        fclose(file);
    return found;
}

static void memory_text(char *value, size_t room)
{
    char kib[64], text[LAB_TEXT];

    line_of("/proc/meminfo", "MemTotal", kib, sizeof kib);
    snprintf(value, room, "%s", lab_bytes_text(text, strtod(kib, NULL) * 1024));
}

static void date_text(char *value, size_t room)
{
    time_t now = time(NULL);
    struct tm utc;

    gmtime_r(&now, &utc);
    strftime(value, room, "%Y-%m-%d %H:%M UTC", &utc);
}

const struct bench_fact *bench_machine(void)
{
    static struct bench_fact facts[] = {
        {"Holdfast", ""}, {"date", ""},   {"processor", ""},     {"CPUs used", ""},
        {"kernel", ""},   {"memory", ""}, {"memory folder", ""}, {"shmem huge pages", ""},
        {"disk", ""},     {NULL, ""},
    };
    struct utsname kernel;
    char model[128];

    uname(&kernel);
    line_of("/proc/cpuinfo", "model name", model, sizeof model);
    snprintf(facts[0].value, sizeof facts[0].value, "%s", hf_version());
    date_text(facts[1].value, sizeof facts[1].value);
    snprintf(facts[2].value, sizeof facts[2].value, "%s%s", model[0] ? model : kernel.machine,
             is_virtual() ? " (a virtual machine)" : "");
    snprintf(facts[3].value, sizeof facts[3].value, "%u of %ld", bench.cpus,
             sysconf(_SC_NPROCESSORS_ONLN));
    snprintf(facts[4].value, sizeof facts[4].value, "%s %s", kernel.sysname, kernel.release);
    memory_text(facts[5].value, sizeof facts[5].value);
    snprintf(facts[6].value, sizeof facts[6].value, "%.100s, tmpfs", bench.folder);
    whole_line("/sys/kernel/mm/transparent_hugepage/shmem_enabled", facts[7].value,
               sizeof facts[7].value);
    if (bench.disk)
        snprintf(facts[8].value, sizeof facts[8].value, "%s, %s", bench.disk, bench.disk_type);
    else
        snprintf(facts[8].value, sizeof facts[8].value, "none");
    return facts;
}
