/* SPDX-License-Identifier: MIT */
/* Owns the model of what a power cut leaves: see medium.h. */
#include "medium.h"

#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SECTOR 512u

/* --- the log goes by --- */

static void apply(struct medium_file *files, const struct power_record *record)
{
    struct medium_file *file = &files[record->file];

    switch (record->what) {
    case POWER_MADE:
        file->named = true;
        break;
    case POWER_REMOVED:
        file->named = false;
        break;
    case POWER_SIZE:
        for (uint64_t page = (record->at + POWER_PAGE - 1) / POWER_PAGE;
             page < MEDIUM_PAGES && page * POWER_PAGE < file->bytes; page++)
            file->pages[page] = 0;
        file->bytes = record->at;
        break;
    case POWER_PAGE_SET:
        file->pages[record->at] = record->content + 1;
        break;
    default:
        break;
    }
}

static bool is_name(const struct power_record *record)
{
    return record->what == POWER_MADE || record->what == POWER_REMOVED;
}

/* Syncing a directory makes its names certain, syncing a file all else of it. */
static bool made_certain(const struct power_record *record, const struct power_record *sync)
{
    if (sync->what == POWER_SYNCED)
        return is_name(record) ? record->in == sync->file : record->file == sync->file;
    return record->what == POWER_PAGE_SET && record->file == sync->file &&
           record->at >= sync->at / POWER_PAGE && record->at * POWER_PAGE < sync->end;
}

static void sync_some(struct medium *medium, const struct power_record *sync)
{
    struct medium_file *file = &medium->files[sync->file];
    uint64_t longest = file->bytes;
    unsigned kept = 0;

    for (unsigned i = 0; i < medium->pending_count; i++) {
        const struct power_record *record = &medium->log->records[medium->pending[i]];

        if (record->what == POWER_SIZE && record->file == sync->file)
            longest = record->at;
        if (made_certain(record, sync))
            apply(medium->files, record);
        else
            medium->pending[kept++] = medium->pending[i];
    }
    medium->pending_count = kept;
    /* What is needed to reach the bytes again. */
    if (sync->what == POWER_SYNCED_IN) {
        uint64_t end = sync->end < longest ? sync->end : longest;

        file->bytes = file->bytes > end ? file->bytes : end;
    }
}

void medium_go(struct medium *medium, uint32_t at)
{
    const struct power_record *record = &medium->log->records[at];

    switch (record->what) {
    case POWER_STEP:
        break;
    case POWER_SYNCED:
    case POWER_SYNCED_IN:
        sync_some(medium, record);
        break;
    default:
        if (medium->pending_count == MEDIUM_PENDING)
            FAIL("%u changes that nobody syncs", MEDIUM_PENDING);
        medium->pending[medium->pending_count++] = at;
    }
}

/* --- a cut --- */

static struct medium_file after[POWER_FILES];

static void settle(const struct medium *medium, const struct medium_cut *cut)
{
    memcpy(after, medium->files, sizeof(after));
    for (unsigned i = 0; i < medium->pending_count; i++)
        if (medium_takes(cut, i) && i != cut->torn)
            apply(after, &medium->log->records[medium->pending[i]]);
}

static bool has_name(const struct power_log *log, const char *path)
{
    for (uint32_t i = 0; i < log->file_count; i++)
        if (strcmp(log->files[i].path, path) == 0)
            return after[i].named;
    return false;
}

static bool is_there(const struct power_log *log, uint32_t file)
{
    const char *path = log->files[file].path;

    return after[file].named && has_name(log, "") &&
           (strncmp(path, "meta/", 5) != 0 || has_name(log, "meta"));
}

uint64_t medium_hash(const struct medium *medium, const struct medium_cut *cut)
{
    uint64_t hash = 0;

    settle(medium, cut);
    for (uint32_t i = 0; i < medium->log->file_count; i++) {
        if (!is_there(medium->log, i))
            continue;
        hash = test_mix(hash, test_mix(i, after[i].bytes));
        for (uint64_t page = 0; page < MEDIUM_PAGES; page++)
            if (after[i].pages[page])
                hash = test_mix(hash, test_mix(page, after[i].pages[page]));
    }
    if (cut->torn < medium->pending_count)
        hash = test_mix(hash, test_mix(medium->pending[cut->torn], cut->sectors));
    return hash;
}

static void place_page(int fd, uint64_t page, const unsigned char *content, uint64_t bytes)
{
    uint64_t off = page * POWER_PAGE;
    uint64_t len = bytes > off ? bytes - off : 0;

    len = len < POWER_PAGE ? len : POWER_PAGE;
    EXPECT_EQ(pwrite(fd, content, len, (off_t)off), (long long)len);
}

static void place_file(const struct medium *medium, const struct medium_cut *cut, uint32_t at,
                       const char *path)
{
    const struct medium_file *file = &after[at];
    const struct power_record *torn = NULL;
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

    EXPECT_OK(fd);
    EXPECT_EQ(ftruncate(fd, (off_t)file->bytes), 0);
    for (uint64_t page = 0; page < MEDIUM_PAGES; page++)
        if (file->pages[page])
            place_page(fd, page, medium->log->arena + file->pages[page] - 1, file->bytes);
    if (cut->torn < medium->pending_count)
        torn = &medium->log->records[medium->pending[cut->torn]];
    if (torn && torn->file == at && torn->what == POWER_PAGE_SET &&
        (torn->at + 1) * POWER_PAGE <= file->bytes)
        EXPECT_EQ(pwrite(fd, medium->log->arena + torn->content, cut->sectors * SECTOR,
                         (off_t)(torn->at * POWER_PAGE)),
                  (long long)cut->sectors * SECTOR);
    close(fd);
}

/* Directories come before what is in them, as they were made. */
void medium_place(const struct medium *medium, const struct medium_cut *cut, const char *path)
{
    char below[512];

    settle(medium, cut);
    for (uint32_t i = 0; i < medium->log->file_count; i++) {
        const struct power_file *file = &medium->log->files[i];

        if (strcmp(file->path, "..") == 0 || !is_there(medium->log, i))
            continue;
        snprintf(below, sizeof(below), "%s%s%s", path, *file->path ? "/" : "", file->path);
        if (file->dir)
            EXPECT_EQ(mkdir(below, 0700), 0);
        else
            place_file(medium, cut, i, below);
    }
}
