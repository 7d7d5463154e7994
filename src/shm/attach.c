/* SPDX-License-Identifier: MIT */
/*
 * Attaching to a pool's run segment and leaving it.
 *
 * POOL/lock carries locks that the kernel drops after the last thread of a process has left user
 * space, and that no child inherits: life.c. Byte 1 + i is held by the process of entry i, as long
 * as it is attached. Byte 0 is held shared while a process attaches, until it has its entry. A
 * process that holds byte 0 exclusively, while no entry's byte is locked, is alone. It may throw
 * the old segment away, build one, or remove it. A process tries for that only while it has
 * SHM_ALONE_BYTE, which tells others its pid. Where the segment is: run_file.c.
 */
#include "base/descriptor.h"
#include "base/error.h"
#include "base/fence.h"
#include "base/fork.h"
#include "base/futex.h"
#include "holdfast/holdfast.h"
#include "shm/private.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/membarrier.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define PATH_BYTES (sizeof(((struct shm_attach *)0)->pool_dir) + 8)
#define UNSEEN_NS (UINT64_C(10) * HF_NS_PER_SEC)
#define MAP_TRIES 2000 /* of 1 ms: how long a segment may be missing while others are attached */

static pthread_mutex_t all_mutex = PTHREAD_MUTEX_INITIALIZER;
static struct shm *all; /* this process's segments */

/* ---- byte 0 ---- */

/* *first: we are alone, and byte 0 is ours; else it is shared. -EAGAIN: another process is
 * alone. */
static int lock_attach_byte(int fd, void *first)
{
    int rc = shm_byte_lock(fd, F_WRLCK, SHM_ATTACH_BYTE);

    *(bool *)first = rc == 0 && !shm_anybody_attached(fd, SHM_NONE);
    if (*(bool *)first || (rc && rc != -EAGAIN && rc != -EACCES))
        return rc;
    return shm_byte_lock(fd, F_RDLCK, SHM_ATTACH_BYTE);
}

/* The kernel does not say which process has byte 0, since that lock belongs to a descriptor. So a
 * process tries for byte 0 alone only while it has a lock of its own too, of which the kernel does
 * say it. So the holder is known from the first moment on. When it cannot have that lock for
 * another reason, its pid is not known; nothing else depends on it. -EAGAIN: another has it. */
static int note_alone(int fd)
{
    struct flock lock = {
        .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = SHM_ALONE_BYTE, .l_len = 1};

    return fcntl(fd, F_SETLK, &lock) && (errno == EAGAIN || errno == EACCES) ? -EAGAIN : 0;
}

static void note_no_more(int fd)
{
    struct flock lock = {
        .l_type = F_UNLCK, .l_whence = SEEK_SET, .l_start = SHM_ALONE_BYTE, .l_len = 1};
    int rc = fcntl(fd, F_SETLK, &lock);

    (void)rc;
}

/* True: another process has byte 0 alone, or tries for it. *pid 0: not known here. */
static bool find_alone(int fd, uint32_t *pid)
{
    struct flock note = {
        .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = SHM_ALONE_BYTE, .l_len = 1};
    struct flock byte = {
        .l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = SHM_ATTACH_BYTE, .l_len = 1};

    *pid = 0;
    if (fcntl(fd, F_GETLK, &note) == 0 && note.l_type != F_UNLCK) {
        *pid = note.l_pid > 0 ? (uint32_t)note.l_pid : 0;
        return true;
    }
    return fcntl(fd, F_OFD_GETLK, &byte) == 0 && byte.l_type != F_UNLCK;
}

/* A process of another pid namespace may be stopped, and nobody here can see that. */
static int unseen_too_long(const struct shm_waiting *waiting)
{
    if (waiting->holder || hf_now_ns() - waiting->same_ns < UNSEEN_NS)
        return 0;
    return hf_fail(EBUSY, "for 10 seconds the pool is being opened or closed by a process that "
                          "cannot be seen from here, as in another pid namespace; it may be "
                          "stopped: continue it or end it, or try again");
}

/* Waits for the process that is alone, which may be stopped, as for the holder of a lock. */
static int await_attach_byte(int fd)
{
    struct shm_waiting waiting;
    struct timespec pause = {0};
    uint32_t pid;

    shm_waiting_begin(&waiting, false, NULL);
    while (find_alone(fd, &pid)) {
        uint64_t now = hf_now_ns(), tick = shm_waiting_tick(&waiting);
        int rc = shm_waiting_goes_on(NULL, &waiting, pid, 0);

        if (rc)
            return shm_waiting_failed(NULL, &waiting, rc, "the opening or closing of the pool");
        rc = unseen_too_long(&waiting);
        if (rc)
            return rc;
        pause.tv_nsec = tick > now ? (long)(tick - now) : 0;
        if (nanosleep(&pause, NULL))
            waiting.interrupted = true;
    }
    return 0;
}

static int try_attach_byte(struct shm_attach *at, const char *path)
{
    int rc = note_alone(at->lock_fd);

    if (rc)
        return rc;
    rc = shm_life_begin(at->lock_fd, path, lock_attach_byte, &at->first, &at->life);
    if (rc || !at->first)
        note_no_more(at->lock_fd);
    return rc;
}

/* Waits in this thread, which a signal may interrupt. */
static int take_attach_byte(struct shm_attach *at, const char *path, bool exclusive)
{
    int rc;

    while ((rc = try_attach_byte(at, path)) == -EAGAIN && !exclusive) {
        rc = await_attach_byte(at->lock_fd);
        if (rc)
            return rc;
    }
    if (exclusive && (rc == -EAGAIN || (rc == 0 && !at->first)))
        return hf_fail(EBUSY, "%s: the pool is in use; close it everywhere first", at->pool_dir);
    return rc ? hf_fail_errno(-rc, "%s: cannot lock it", path) : 0;
}

/* On an overlay, which lies on other file systems, a mapping does not keep the locks of the file
 * that was mapped (life.c). Then nobody could see that the pool is in use. A process that is not
 * the first sees the lock of an earlier one. */
static int check_life(const struct shm_attach *at)
{
    if (!at->first || shm_byte_is_locked(at->lock_fd, SHM_ATTACH_BYTE))
        return 0;
    return hf_fail(EOPNOTSUPP,
                   "%s: a lock does not stay here, as in an overlay (the root of a container), so "
                   "no process would see that another uses the pool: use a volume, or /dev/shm",
                   at->pool_dir);
}

int shm_attach_begin(const char *pool_dir, bool exclusive, struct shm_attach *at)
{
    char path[sizeof at->pool_dir + 8];
    int rc;

    memset(at, 0, sizeof *at);
    if (snprintf(at->pool_dir, sizeof at->pool_dir, "%s", pool_dir) >= (int)sizeof at->pool_dir)
        return hf_fail(ENAMETOOLONG, "%.80s...: the path is too long", pool_dir);
    snprintf(path, sizeof path, "%s/lock", pool_dir);
    at->lock_fd = hf_fd_open(path, O_RDWR | O_NOFOLLOW, 0);
    if (at->lock_fd < 0)
        return hf_fail_errno(errno, "%s: cannot open it (is %s a pool?)", path, pool_dir);
    rc = take_attach_byte(at, path, exclusive);
    if (rc == 0)
        rc = check_life(at);
    if (rc)
        shm_attach_cancel(at);
    return rc;
}

static void unmap_head(struct shm_attach *at)
{
    if (at->head)
        munmap(at->head, sizeof *at->head);
    at->head = NULL;
}

void shm_attach_cancel(struct shm_attach *at)
{
    unmap_head(at);
    shm_life_end(&at->life);
    if (at->lock_fd >= 0)
        close(at->lock_fd);
    at->lock_fd = -1;
}

/* Opens the segment that is in use, and reads its header. A descriptor; -ENOENT: there is none that
 * is whole and of this POOL/lock. Then the header's version is not ours if a segment of another
 * version is there. Each version has the magic and the version at the same place. */
static int open_standing(const struct shm_attach *at, char *path, size_t size,
                         struct shm_run *header)
{
    struct stat st, lock;
    int fd = shm_run_find(at, path, size);

    header->magic = 0;
    header->version = SHM_VERSION;
    if (fd < 0)
        return fd;
    if (fstat(fd, &st) || fstat(at->lock_fd, &lock) || (uint64_t)st.st_size < sizeof *header ||
        pread(fd, header, sizeof *header, 0) != sizeof *header ||
        !shm_laid_out_well(header, (uint64_t)st.st_size) || header->lock_dev != lock.st_dev ||
        header->lock_ino != lock.st_ino) {
        if (header->magic != SHM_MAGIC)
            header->version = SHM_VERSION;
        close(fd);
        return -ENOENT;
    }
    return fd;
}

/* Maps it. 0: with *out, a copy of its *header, and *fd. -ENOENT: as above, or it is another
 * pool's. */
static int map_standing(const struct shm_attach *at, const uint8_t uuid[16], char *path,
                        size_t size, struct shm_run **out, struct shm_run *header, int *fd)
{
    struct shm_run *run;

    *fd = open_standing(at, path, size, header);
    if (*fd < 0)
        return *fd;
    if (memcmp(header->uuid, uuid, 16)) {
        close(*fd);
        return -ENOENT;
    }
    run = mmap(NULL, header->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, *fd, 0);
    if (run == MAP_FAILED) {
        int rc = -errno;

        close(*fd);
        return rc;
    }
    *out = run;
    return 0;
}

/* The segment that an earlier attacher of this boot has left, mapped; null: none. */
static struct shm_run *map_left(const struct shm_attach *at, const uint8_t uuid[16],
                                struct shm_run *header)
{
    char path[sizeof at->pool_dir + 8];
    struct shm_run *run;
    uint8_t boot[16];
    int fd;

    shm_boot_id(boot);
    if (map_standing(at, uuid, path, sizeof path, &run, header, &fd))
        return NULL;
    close(fd);
    if (header->ready && !memcmp(header->boot, boot, sizeof boot))
        return run;
    munmap(run, header->bytes);
    return NULL;
}

int shm_adopt(struct shm_attach *at, const uint8_t uuid[16],
              int (*each)(void *arg, const struct shm_adopted *file), void *arg)
{
    struct shm_run header, *run = map_left(at, uuid, &header);
    const struct shm_vnode *vnodes;
    int rc = 0;

    if (!run)
        return 0;
    vnodes = (void *)((char *)run + header.at_vnodes);
    for (uint32_t i = 0; i < header.vnodes_high && i < header.limits.vnodes && rc == 0; i++) {
        const struct shm_vnode *vnode = &vnodes[i];
        struct shm_adopted file = {vnode->ino,         vnode->size,     vnode->atime_ns,
                                   vnode->mtime_ns,    vnode->ctime_ns, vnode->pending_version,
                                   vnode->pending_size};

        if (vnode->state == SHM_VNODE_READY && (vnode->dirty || vnode->pending_version))
            rc = each(arg, &file);
    }
    munmap(run, header.bytes);
    return rc;
}

static bool for_device(uint64_t key)
{
    return key && key != SHM_KEY_CLAIMED && SHM_FOR_DEVICE(SHM_KEY_FLAGS(key));
}

/* When the quarantine of the process of that entry (index + 1) ends. It is counted from now if
 * nobody has seen the process dead, or only by a clock that is not ours. */
static uint64_t ends_of(const struct shm_run *run, const struct shm_run *header, uint32_t owner)
{
    const struct shm_process *processes = (const void *)((const char *)run + header->at_processes);

    if (owner == 0 || owner > header->limits.processes)
        return 0;
    if (processes[owner - 1].died_ns == 0 || shm_has_other_clock(header))
        return header->quarantine_ns + hf_now_ns();
    return header->quarantine_ns + processes[owner - 1].died_ns;
}

static uint64_t later(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* The same of a hold; 0: nothing may be written to it. */
static uint64_t hold_ends(const struct shm_run *run, const struct shm_run *header,
                          const struct shm_hold *hold)
{
    uint32_t state = hold->state;

    if (shm_hold_given_up(state) && hold->key)
        return shm_has_other_clock(header) ? header->quarantine_ns + hf_now_ns() : hold->ends_ns;
    if ((shm_hold_holds(state) || SHM_HOLD_KIND(state) == SHM_HOLD_PUT) && for_device(hold->key))
        return ends_of(run, header, SHM_HOLD_OWNER(state));
    return 0;
}

static uint64_t ghosts_in(const struct shm_run *run, const struct shm_run *header)
{
    const struct shm_lane *lanes = (const void *)((const char *)run + header->at_lanes);
    const struct shm_hold *holds = (const void *)((const char *)run + header->at_holds);
    uint64_t ends = header->ghost_ends_ns;

    if (ends && shm_has_other_clock(header))
        ends = header->quarantine_ns + hf_now_ns();
    for (uint32_t i = 0; i < header->limits.lanes && i < header->lanes_used; i++)
        for (unsigned slot = 0; slot < SHM_SLOTS; slot++)
            if (for_device(lanes[i].keys[slot]))
                ends = later(ends, ends_of(run, header, lanes[i].owner));
    for (uint32_t i = 0; i < header->limits.holds && i < header->holds_high; i++)
        ends = later(ends, hold_ends(run, header, &holds[i]));
    return ends > hf_now_ns() ? ends : 0;
}

uint64_t shm_ghosts(struct shm_attach *at, const uint8_t uuid[16], bool *known)
{
    struct shm_run header, *run = map_left(at, uuid, &header);
    uint64_t ends = run ? ghosts_in(run, &header) : 0;

    *known = run != NULL;
    if (run)
        munmap(run, header.bytes);
    return ends;
}

uint64_t shm_under_way(struct shm_attach *at, const uint8_t uuid[16])
{
    struct shm_run header, *run = map_left(at, uuid, &header);
    uint64_t under_way = run ? header.records.under_way : 0;

    if (run)
        munmap(run, header.bytes);
    return under_way;
}

/* The vnodes' mutexes are made when their entries are taken. */
static int init_run(struct shm_run *run, const struct shm_run *header)
{
    int rc;

    *run = *header;
    shm_boot_id(run->boot);
    shm_note_namespaces(run);
    if (getrandom(&run->hold_generations, sizeof run->hold_generations, 0) < 0)
        return -errno;
    run->hold_generations &= ~(SHM_KEY_STEP - 1);
    rc = shm_mutex_init(&run->table_mutex);
    rc = rc ? rc : shm_mutex_init(&run->space_mutex);
    rc = rc ? rc : shm_mutex_init(&run->grace_mutex);
    rc = rc ? rc : shm_mutex_init(&run->readers_mutex);
    return rc ? rc : shm_mutex_init(&run->barrier_mutex);
}

static int anonymous_file(uint64_t bytes)
{
    int fd = hf_fd_memfd("holdfast-run", 0);

    if (fd >= 0 && ftruncate(fd, (off_t)bytes) == 0)
        return fd;
    if (fd >= 0)
        close(fd);
    return -errno;
}

static int name_pool(const struct shm_attach *at, struct shm_run *header)
{
    struct stat lock;

    if (at->anonymous)
        return 0;
    if (fstat(at->lock_fd, &lock))
        return -errno;
    header->lock_dev = lock.st_dev;
    header->lock_ino = lock.st_ino;
    snprintf(header->pool_dir, sizeof header->pool_dir, "%s", at->pool_dir);
    return 0;
}

/* The segment's file is in use as long as we live. */
static int use_run_file(int fd, const char *path, void **life)
{
    int rc = shm_life_lock(fd, path, F_RDLCK, 0, life);

    if (rc)
        return hf_fail_errno(-rc, "%s: cannot lock the run segment", path);
    shm_byte_lock(fd, F_UNLCK, 0);
    return 0;
}

/* A new segment's file, mapped, with memory for the parts that every process looks at. Returns a
 * descriptor. */
static int map_new(const struct shm_attach *at, const struct shm_run *header, mode_t mode,
                   bool aside, char path[PATH_BYTES], struct shm_run **out)
{
    int fd = at->anonymous ? anonymous_file(header->bytes)
                           : shm_run_make(at, header, mode, aside, path, PATH_BYTES);
    struct shm_run *run;
    int rc;

    if (fd < 0)
        return hf_fail_errno(-fd, "%s: cannot make the run segment of %" PRIu64 " bytes",
                             *path ? path : at->pool_dir, header->bytes);
    run = mmap(NULL, header->bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
    rc = run == MAP_FAILED ? hf_fail_map(errno, "the run segment") : shm_reserve_first(run, header);
    if (rc == 0) {
        *out = run;
        return fd;
    }
    if (run != MAP_FAILED)
        munmap(run, header->bytes);
    if (*path)
        unlink(path);
    close(fd);
    return rc;
}

int shm_build(struct shm_attach *at, const uint8_t uuid[16], mode_t mode, const char *engine,
              const struct shm_limits *limits, struct shm **out)
{
    struct shm_run header = {.magic = SHM_MAGIC, .version = SHM_VERSION};
    char path[PATH_BYTES] = "";
    void *run_life = NULL;
    struct shm_run *run;
    struct shm *shm;
    int fd, rc;

    shm_lay_out(&header, limits);
    memcpy(header.uuid, uuid, 16);
    snprintf(header.engine, sizeof header.engine, "%s", engine);
    rc = name_pool(at, &header);
    fd = rc ? rc : map_new(at, &header, mode, false, path, &run);
    if (fd == -ENOSPC && !at->anonymous)
        fd = map_new(at, &header, mode, true, path, &run);
    if (fd < 0)
        return fd;
    rc = init_run(run, &header);
    if (rc == 0 && !at->anonymous)
        rc = use_run_file(fd, path, &run_life);
    shm = rc ? NULL : shm_view(run, &header, at->lock_fd, fd);
    if (!shm) {
        shm_life_end(&run_life);
        munmap(run, header.bytes);
        close(fd);
        return rc ? rc : -ENOMEM;
    }
    snprintf(shm->run_path, sizeof shm->run_path, "%s", path);
    shm->run_life = run_life;
    *out = shm;
    return 0;
}

/* Its processes are of another version, or have another /dev/shm, or the file was removed, and they
 * stay. SHM_AGAIN: its first attacher died, or they may be about to leave, as the server of a mount
 * that has just been unmounted. */
static int not_there(struct shm_attach *at, const char *path, uint32_t version)
{
    static _Thread_local unsigned tries;

    shm_attach_cancel(at);
    if (tries++ < MAP_TRIES) {
        usleep(1000);
        return SHM_AGAIN;
    }
    tries = 0;
    if (version != SHM_VERSION)
        return hf_fail(EBUSY,
                       "%s is in use by programs of another version of Holdfast (their run segment "
                       "has version %" PRIu32 ", this one's %u): end them first",
                       at->pool_dir, version, SHM_VERSION);
    return hf_fail(EBUSY,
                   "%s is in use, and the run segment of its processes %s%s is not here: they have "
                   "another /dev/shm, or it was removed; end them first",
                   at->pool_dir, *path ? "in " : "", path);
}

/* The segment stays the same until we have joined: byte 0 is shared, so nobody is alone. */
static int map_head(struct shm_attach *at, int fd)
{
    void *head = mmap(NULL, sizeof *at->head, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

    if (head == MAP_FAILED)
        return hf_fail_map(errno, "the run segment");
    at->head = head;
    shm_lock_as((uint32_t)getpid());
    return 0;
}

int shm_may_join(struct shm_attach *at)
{
    char path[sizeof at->pool_dir + 8];
    struct shm_run header;
    int fd = open_standing(at, path, sizeof path, &header), rc;

    if (fd == -ENOENT || (fd >= 0 && !header.ready)) {
        if (fd >= 0)
            close(fd);
        return not_there(at, path, header.version);
    }
    if (fd < 0)
        return hf_fail_errno(-fd, "the run segment %s", path);
    rc = shm_check_namespaces(&header, at->pool_dir);
    rc = rc ? rc : map_head(at, fd);
    close(fd);
    return rc;
}

int shm_map(struct shm_attach *at, const uint8_t uuid[16], struct shm **out)
{
    char path[sizeof at->pool_dir + 8];
    void *run_life = NULL;
    struct shm_run header, *run;
    struct shm *shm;
    int fd, rc;

    rc = map_standing(at, uuid, path, sizeof path, &run, &header, &fd);
    if (rc == 0 && !hf_load_acquire(&run->ready)) {
        munmap(run, header.bytes);
        close(fd);
        rc = -ENOENT;
    }
    if (rc == -ENOENT)
        return not_there(at, path, header.version);
    if (rc)
        return hf_fail_map(-rc, "the run segment");
    rc = use_run_file(fd, path, &run_life);
    shm = rc ? NULL : shm_view(run, &header, at->lock_fd, fd);
    if (!shm) {
        shm_life_end(&run_life);
        munmap(run, header.bytes);
        close(fd);
        return rc ? rc : -ENOMEM;
    }
    shm->run_life = run_life;
    rc = shm_recent_join(shm, at->pool_dir);
    if (rc) {
        shm_unview(shm);
        return rc;
    }
    snprintf(shm->run_path, sizeof shm->run_path, "%s", path);
    *out = shm;
    return 0;
}

/* Both kinds: the private one is cheaper and does while one process is attached. */
static bool register_membarrier(void)
{
    return syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0) == 0 &&
           syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED, 0, 0) == 0;
}

/* The first decides for all: once files are biased, a layout change without the barrier is
 * wrong. */
static int do_without_membarrier(const struct shm_attach *at, struct shm *shm, bool needs_barrier)
{
    if (needs_barrier)
        return hf_fail(EOPNOTSUPP, "sys_membarrier is not allowed here, and engine %.23s needs it",
                       shm->run->engine);
    if (at->first)
        hf_store_seq_cst(&shm->run->fences_only, 1u);
    if (hf_load_acquire(&shm->run->fences_only))
        return 0;
    return hf_fail(EOPNOTSUPP,
                   "sys_membarrier is not allowed here, and others use the pool with it: "
                   "make it with --engine slots-fenced");
}

int shm_attach_done(struct shm_attach *at, struct shm *shm, bool needs_barrier)
{
    char lock_path[sizeof at->pool_dir + 8];
    struct stat st;
    int rc;

    shm->fork_count = hf_fork_count;
    if (at->lock_fd >= 0 && fstat(at->lock_fd, &st) == 0) {
        shm->lock_dev = st.st_dev;
        shm->lock_ino = st.st_ino;
    }
    rc = register_membarrier() ? 0 : do_without_membarrier(at, shm, needs_barrier);
    snprintf(lock_path, sizeof lock_path, "%s/lock", at->pool_dir);
    rc = rc ? rc : shm_process_take(shm, lock_path);
    if (rc) {
        shm_unview(shm);
        return rc;
    }
    /* ATTACH.SB/p: this process counts before it makes its first pin.
     * Pairs with ATTACH.SB/m in membarrier() (src/sync/barrier.c). Without it: a layout change
     * takes the private barrier, which does not reach this process, and misses its slot. */
    hf_fence_full();
    hf_store_release(&shm->run->ready, 1u);
    pthread_mutex_lock(&all_mutex);
    shm->next = all;
    all = shm;
    pthread_mutex_unlock(&all_mutex);
    note_no_more(at->lock_fd);
    unmap_head(at);
    shm_life_end(&at->life);
    return 0;
}

void shm_attach_undo(struct shm *shm)
{
    shm_unview(shm);
}

static int lock_alone(int fd, void *arg)
{
    const struct shm *shm = arg;
    int rc = shm_byte_lock(fd, F_WRLCK, SHM_ATTACH_BYTE);

    return rc == 0 && shm_anybody_attached(fd, shm->self) ? -EBUSY : rc;
}

bool shm_detach_last(struct shm *shm)
{
    char path[sizeof shm->run->pool_dir + 8];

    if (!*shm->run_path)
        return true;
    snprintf(path, sizeof path, "%.4095s/lock", shm->run->pool_dir);
    if (note_alone(shm->lock_fd))
        return false;
    if (shm_life_begin(shm->lock_fd, path, lock_alone, shm, &shm->leaving) == 0)
        return true;
    note_no_more(shm->lock_fd);
    return false;
}

void shm_detach(struct shm *shm, bool last)
{
    struct shm **link;

    pthread_mutex_lock(&all_mutex);
    for (link = &all; *link != shm; link = &(*link)->next)
        ;
    *link = shm->next;
    pthread_mutex_unlock(&all_mutex);
    shm_lanes_end(shm);
    shm_process_leave(shm);
    if (last && *shm->run_path)
        shm_run_remove(shm);
    shm_life_end(&shm->life);
    shm_life_end(&shm->leaving);
    if (shm->lock_fd >= 0)
        close(shm->lock_fd);
    shm_unview(shm);
}

/* Runs in a forked child, where this is the only thread, and any thread of the parent may have the
 * mutexes. The parent's memory stays mapped and is left alone: it may be in the middle of a
 * change. */
void shm_in_child(void)
{
    all_mutex = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
    shm_lanes_in_child();
    for (struct shm *shm = all; shm; shm = shm->next) {
        if (shm->lock_fd >= 0)
            close(shm->lock_fd);
        if (shm->run_fd >= 0)
            close(shm->run_fd);
        shm->lock_fd = shm->run_fd = -1;
        shm->life = shm->run_life = shm->leaving = NULL; /* not copied to this process */
        shm->id = SHM_ID_OF_PARENT;
    }
    all = NULL;
}
