/* SPDX-License-Identifier: MIT */
/* The two builds of the library as tables of calls, and pools and files made through them. */
#include "bench.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define LAB_LIBRARY "libholdfast_lab.so"

const struct bench_library bench_real = {
#define X(call) .call = call,
    BENCH_CALLS(X)
#undef X
};

const struct bench_engine bench_engines[BENCH_ENGINES] = {
    {"slots", "slots", false, false},
    {"slots-fenced", "slots-fenced", false, false},
    {"refcount", "refcount", false, false},
    {"srcu", "srcu", false, false},
    {"percpu-rwsem", "percpu-rwsem", false, false},
    {"rcu", "rcu", false, false},
    {"slots-membarrier", "slots-membarrier (lab build)", true, false},
    {"blind", "blind (lab build)", true, true},
    {"unpatched", "unpatched (lab build)", true, true},
};

static void *open_lab_library(void)
{
    char path[PATH_MAX];
    ssize_t len = readlink("/proc/self/exe", path, sizeof path - sizeof LAB_LIBRARY);
    void *handle;

    if (len < 0)
        lab_fail("/proc/self/exe: %s", strerror(errno));
    path[len] = '\0';
    strcpy(strrchr(path, '/') + 1, LAB_LIBRARY);
    handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!handle)
        lab_fail("%s", dlerror());
    return handle;
}

/* POSIX makes a symbol's address fit a pointer to a function; ISO C knows no cast for it. */
static void find_call(void *handle, const char *name, void *call)
{
    void *found = dlsym(handle, name);

    if (!found)
        lab_fail("%s", dlerror());
    memcpy(call, &found, sizeof found);
}

static const struct bench_library *lab_build(void)
{
    static struct bench_library library;
    static void *handle;

    if (!handle) {
        handle = open_lab_library();
#define X(call) find_call(handle, #call, &library.call);
        BENCH_CALLS(X)
#undef X
    }
    return &library;
}

int64_t bench_must(const struct bench_library *library, int64_t rc, const char *what)
{
    const char *sentence = library->hf_strerror_detail();

    if (rc < 0)
        lab_fail("%s: %s", what, sentence[0] ? sentence : strerror((int)-rc));
    return rc;
}

int64_t bench_must_host(int64_t rc, const char *what)
{
    if (rc < 0)
        lab_fail("%s: %s", what, strerror(errno));
    return rc;
}

bool bench_has_room(uint64_t bytes, const char *rows)
{
    struct statvfs room;

    bench_must_host(statvfs(bench.folder, &room), bench.folder);
    if ((uint64_t)room.f_bavail * room.f_frsize > bytes)
        return true;
    bench_note("space: no rows of %s, since %s has less than %" PRIu64 " MiB of room", rows,
               bench.folder, bytes / LAB_MIB);
    return false;
}

/* The others can do without, but not the default; once an engine, however many groups ask for
 * it. */
static void note_missing(const struct bench_engine *engine, const char *sentence)
{
    static bool noted[BENCH_ENGINES];
    bool *before = &noted[engine - bench_engines];

    if (engine == bench_engines)
        lab_fail("making a pool: %s", sentence);
    if (!*before)
        bench_note("The engine %s is left out: %s.", engine->name, sentence);
    *before = true;
}

struct bench_pool *bench_engine_pool(const struct bench_engine *engine, uint64_t bytes)
{
    const struct bench_library *library = engine->lab ? lab_build() : &bench_real;
    struct hf_pool_options options = {
        .size = sizeof options, .engine = engine->name, .pool_bytes = bytes};
    struct bench_pool *pool = lab_alloc(sizeof *pool);

    pool->library = library;
    if (library->hf_pool_open_anonymous(&options, &pool->pool) == 0)
        return pool;
    note_missing(engine, library->hf_strerror_detail());
    free(pool);
    return NULL;
}

struct bench_pool *bench_pool_new(uint64_t bytes)
{
    return bench_engine_pool(bench_engines, bytes);
}

void bench_pool_end(struct bench_pool *pool)
{
    bench_must(pool->library, pool->library->hf_pool_close(pool->pool), "closing a pool");
    free(pool);
}

struct hf_file *bench_file_new(struct bench_pool *pool)
{
    struct hf_file *file;
    char name[32];

    snprintf(name, sizeof name, "file-%u", pool->files++);
    bench_must(pool->library,
               pool->library->hf_open(pool->pool, name, O_RDWR | O_CREAT, 0600, &file),
               "making a file");
    return file;
}

void bench_file_fill(const struct bench_pool *pool, struct hf_file *file, uint64_t pages)
{
    const struct bench_library *library = pool->library;

    bench_must(library, library->hf_truncate(file, 0, NULL), "emptying a file");
    bench_must(library, library->hf_fallocate(file, 0, 0, pages * LAB_PAGE, NULL),
               "filling a file");
}

void bench_file_map(const struct bench_pool *pool, struct hf_file *file, uint64_t first,
                    uint64_t pages)
{
    const struct bench_library *library = pool->library;
    struct iovec iov[512];
    struct hf_pin pin;

    bench_must(
        library,
        library->hf_pin(file, first * LAB_PAGE, pages * LAB_PAGE, HF_PIN_READ, iov, 512, &pin),
        "pinning");
    bench_must(library, library->hf_unpin(&pin), "unpinning");
}
