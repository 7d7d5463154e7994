/* SPDX-License-Identifier: MIT */
/*
 * The originals: regular files of a real tree, each from a page boundary on, with a checksum a
 * page. They are read in the order of their names, so every run on the same tree loads the same.
 * After that the memory is read-only: what a reader compares with cannot be what a bug has damaged.
 */
#include "demo.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#define FILES_MAX 8000u
#define FILES_MIN 100u
#define BYTES_MAX (512 * LAB_MIB)

/* A tree while it is read. */
struct reading {
    struct demo_tree *tree;
    const char *input;
    char *originals;
    uint64_t pages_max;
    bool full;
};

static void add_file(struct reading *reading, const char *path, uint64_t bytes)
{
    struct demo_tree *tree = reading->tree;
    struct demo_file *file = &tree->files[tree->file_count];

    *file = (struct demo_file){strdup(path), bytes, tree->pages};
    if (!file->path)
        lab_fail("out of memory");
    for (uint64_t page = 0; page < demo_pages(file); page++)
        tree->sums[tree->pages + page] = XXH3_64bits(
            reading->originals + (tree->pages + page) * LAB_PAGE, demo_page_bytes(file, page));
    if (bytes)
        tree->filled[tree->filled_count++] = (uint32_t)tree->file_count;
    tree->pages += demo_pages(file);
    tree->bytes += bytes;
    tree->file_count++;
    reading->full |= tree->file_count == FILES_MAX;
    if (tree->file_count % 64 == 0)
        demo_progress("reading %s: %" PRIu64 " files, %" PRIu64 " MiB", reading->input,
                      tree->file_count, tree->bytes / LAB_MIB);
}

/* The content of fd into the originals. False: it could not be read, or does not fit. */
static bool read_content(struct reading *reading, int fd, uint64_t *bytes)
{
    char *to = reading->originals + reading->tree->pages * LAB_PAGE;
    uint64_t room = (reading->pages_max - reading->tree->pages) * LAB_PAGE, done = 0;
    ssize_t got = 0;

    while (done < room && (got = read(fd, to + done, room - done)) > 0)
        done += (uint64_t)got;
    *bytes = done;
    if (got < 0)
        memset(to, 0, done);
    return got >= 0 && done < room;
}

static void read_file(struct reading *reading, const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    uint64_t bytes, room = (reading->pages_max - reading->tree->pages) * LAB_PAGE;
    struct stat info;

    if (fd < 0 || fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) {
        reading->tree->unreadable++;
    } else if ((uint64_t)info.st_size >= room) {
        reading->full = true;
    } else if (read_content(reading, fd, &bytes)) {
        add_file(reading, path + strlen(reading->input) + 1, bytes);
    } else {
        reading->tree->unreadable++;
    }
    if (fd >= 0)
        close(fd);
}

static void read_folder(struct reading *reading, const char *path);

static void read_tree_entry(struct reading *reading, const char *folder, const char *name)
{
    char path[PATH_MAX];
    struct stat info;

    if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0 || reading->full)
        return;
    if (snprintf(path, sizeof path, "%s/%s", folder, name) >= (int)sizeof path ||
        lstat(path, &info) != 0)
        reading->tree->unreadable++;
    else if (S_ISDIR(info.st_mode))
        read_folder(reading, path);
    else if (S_ISREG(info.st_mode))
        read_file(reading, path);
}

static int by_bytes(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static void read_folder(struct reading *reading, const char *path)
{
    struct dirent **entries;
    int count = scandir(path, &entries, NULL, by_bytes);

    if (count < 0) {
        if (reading->tree->file_count == 0 && strcmp(path, reading->input) == 0) {
            lab_say("%s: %s", path, strerror(errno));
            exit(EX_NOINPUT);
        }
        reading->tree->unreadable++;
        return;
    }
    for (int i = 0; i < count; i++) {
        read_tree_entry(reading, path, entries[i]->d_name);
        free(entries[i]);
    }
    free(entries);
}

/* No more than memory holds: the originals once, and once in a pool in the folder. */
static uint64_t pages_max(const char *folder)
{
    uint64_t third = lab_room(folder) / 3;

    return (third < BYTES_MAX ? third : BYTES_MAX) / LAB_PAGE;
}

static void expect_enough(const char *input, const struct demo_tree *tree)
{
    if (tree->filled_count >= FILES_MIN)
        return;
    lab_say("%s: %" PRIu64 " files with content could be read and fit into memory, %" PRIu64
            " could not be read; at "
            "least %u are needed (--input DIR takes another tree)",
            input, tree->filled_count, tree->unreadable, FILES_MIN);
    exit(EX_NOINPUT);
}

void demo_tree_read(const char *input, const char *folder, struct demo_tree *tree)
{
    uint64_t room = pages_max(folder);
    struct reading reading = {.tree = tree, .pages_max = room};
    char *trimmed = strdup(input);
    size_t len = strlen(input);

    while (trimmed && len > 1 && trimmed[len - 1] == '/')
        trimmed[--len] = '\0';
    reading.input = trimmed;
    reading.originals = lab_shared(room * LAB_PAGE);
    *tree = (struct demo_tree){.originals = reading.originals,
                               .files = lab_alloc(FILES_MAX * sizeof *tree->files),
                               .filled = lab_alloc(FILES_MAX * sizeof *tree->filled),
                               .sums = lab_shared(room * sizeof *tree->sums)};
    read_folder(&reading, trimmed);
    demo_progress_wipe();
    expect_enough(input, tree);
    mprotect(reading.originals, room * LAB_PAGE, PROT_READ);
    free(trimmed);
}

/* Each byte is looked at once, and is good if it is the original's or zero. So it does not matter
 * what a writer does to it meanwhile. */
static bool original_or_zero(const char *original, const void *memory, uint64_t bytes)
{
    const volatile unsigned char *seen = memory;

    for (uint64_t i = 0; i < bytes; i++) {
        unsigned char byte = seen[i];

        if (byte != 0 && byte != (unsigned char)original[i])
            return false;
    }
    return true;
}

enum demo_verdict demo_judge(const struct demo_tree *tree, uint64_t page, const void *memory,
                             uint64_t bytes)
{
    if (XXH3_64bits(memory, bytes) == tree->sums[page])
        return DEMO_WHOLE;
    return original_or_zero(demo_original(tree, page), memory, bytes) ? DEMO_PARTLY : DEMO_FOREIGN;
}
