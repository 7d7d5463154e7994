/* SPDX-License-Identifier: MIT */
/*
 * Owns the failures. The linker leads the library's calls to its own waits through here
 * (-Wl,--wrap). One of them fails, as if another thread had the lock and the wait had ended early.
 * It fails with an error that the library may get at this place: shm/bound.c says which comes of
 * which bound.
 *
 * A wait that its thread does not insist on (shm_lock_moment()) has no error; it fails too.
 */
#include "waits.h"

#include "base/error.h"
#include "base/futex.h"
#include "shm/shm.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

static _Thread_local struct {
    bool on, met;
    int err;
    enum waits_mode mode;
    unsigned at, count;
    const void *lock; /* that failed; null: none yet */
    uint64_t gave[4]; /* a bit an error */
    void (*release)(void);
} fault;

void waits_begin(int err, enum waits_mode mode, unsigned at, void (*release)(void))
{
    fault.met = false;
    fault.err = err;
    fault.mode = mode;
    fault.at = at;
    fault.count = 0;
    fault.lock = NULL;
    memset(fault.gave, 0, sizeof(fault.gave));
    fault.release = release;
    fault.on = true;
}

bool waits_end(void)
{
    fault.on = false;
    return fault.met;
}

bool waits_gave(int err)
{
    return fault.gave[err / 64] & UINT64_C(1) << err % 64;
}

/* The bound of the thread lets a wait end so. */
static bool possible(int err)
{
    enum shm_patience patience = shm_bound.patience;

    switch (err) {
    case EINTR:
        return true;
    case ETIMEDOUT:
        return shm_bound.until_ns && patience != SHM_PATIENCE_NONE;
    case EAGAIN:
        return shm_bound.puts_off;
    default:
        return patience == SHM_PATIENCE_NONE ||
               (patience == SHM_PATIENCE_CALL && !shm_bound.puts_off);
    }
}

/* 0, or with what the wait for `lock` ends. `moment`: nobody can cancel it, and any bound ends
 * it. */
static int which(const void *lock, bool moment)
{
    static const int errors[] = {EBUSY, ETIMEDOUT, EAGAIN};

    if (!fault.on)
        return 0;
    if (fault.met && fault.mode == WAITS_ONE)
        return 0;
    if (fault.met && fault.mode == WAITS_ALL)
        return moment ? 0 : EINTR;
    if (fault.met) {
        for (unsigned i = 0; lock == fault.lock && i < 3; i++)
            if (moment || possible(errors[i]))
                return errors[i];
        return 0;
    }
    if (!moment && !possible(fault.err))
        return 0;
    if (++fault.count != fault.at)
        return 0;
    fault.met = true;
    fault.lock = lock;
    return fault.err;
}

static int fails(const void *lock, bool moment)
{
    int err = which(lock, moment);

    if (err && !moment)
        fault.gave[err / 64] |= UINT64_C(1) << err % 64;
    return err;
}

static int failed(int err, const char *what)
{
    return hf_fail(err, "%s is held, as the test has it", what);
}

int __real_shm_lock(struct shm *shm, struct shm_mutex *mutex, const char *what, bool *died);
int __wrap_shm_lock(struct shm *shm, struct shm_mutex *mutex, const char *what, bool *died);
int __wrap_shm_lock(struct shm *shm, struct shm_mutex *mutex, const char *what, bool *died)
{
    int err = fails(mutex, false);

    return err ? failed(err, what) : __real_shm_lock(shm, mutex, what, died);
}

int __real_shm_lock_table(struct shm *shm);
int __wrap_shm_lock_table(struct shm *shm);
int __wrap_shm_lock_table(struct shm *shm)
{
    int err = fails(&shm->run->table_mutex, false);

    return err ? failed(err, "the table") : __real_shm_lock_table(shm);
}

bool __real_shm_lock_moment(struct shm_mutex *mutex, bool *died);
bool __wrap_shm_lock_moment(struct shm_mutex *mutex, bool *died);
bool __wrap_shm_lock_moment(struct shm_mutex *mutex, bool *died)
{
    return !fails(mutex, true) && __real_shm_lock_moment(mutex, died);
}

bool __real_shm_lock_now(struct shm_mutex *mutex, bool *died);
bool __wrap_shm_lock_now(struct shm_mutex *mutex, bool *died);
bool __wrap_shm_lock_now(struct shm_mutex *mutex, bool *died)
{
    return !fails(mutex, true) && __real_shm_lock_now(mutex, died);
}

bool __real_shm_lock_table_moment(struct shm *shm);
bool __wrap_shm_lock_table_moment(struct shm *shm);
bool __wrap_shm_lock_table_moment(struct shm *shm)
{
    return !fails(&shm->run->table_mutex, true) && __real_shm_lock_table_moment(shm);
}

int __real_shm_await_free(struct shm *shm, const uint32_t *word, const char *what);
int __wrap_shm_await_free(struct shm *shm, const uint32_t *word, const char *what);
int __wrap_shm_await_free(struct shm *shm, const uint32_t *word, const char *what)
{
    int err = fails(word, false);

    return err ? failed(err, what) : __real_shm_await_free(shm, word, what);
}

/* At a gate, or for the process that opens the pool. */
int __real_shm_waiting_goes_on(struct shm *shm, struct shm_waiting *waiting, uint32_t holder,
                               uint64_t term);
int __wrap_shm_waiting_goes_on(struct shm *shm, struct shm_waiting *waiting, uint32_t holder,
                               uint64_t term);
int __wrap_shm_waiting_goes_on(struct shm *shm, struct shm_waiting *waiting, uint32_t holder,
                               uint64_t term)
{
    int err = fails(waiting->blocked, false);

    return err ? -err : __real_shm_waiting_goes_on(shm, waiting, holder, term);
}

int __real_hf_futex_wait(uint32_t *word, uint32_t value, uint64_t until_ns);
int __wrap_hf_futex_wait(uint32_t *word, uint32_t value, uint64_t until_ns);
int __wrap_hf_futex_wait(uint32_t *word, uint32_t value, uint64_t until_ns)
{
    if (fault.on && fault.release) {
        fault.on = false;
        fault.release();
        fault.on = true;
    }
    return __real_hf_futex_wait(word, value, until_ns);
}

/* --- syncs --- */

/* Nothing here is about what is on the medium: tests/power is. */
int fsync(int fd)
{
    (void)fd;
    return 0;
}

int fdatasync(int fd)
{
    (void)fd;
    return 0;
}

int msync(void *at, size_t len, int flags)
{
    (void)at, (void)len, (void)flags;
    return 0;
}

/* As LMDB opens what it writes a transaction's last page to. */
int open_plain(const char *path, int flags, ...) __asm__("open");
int open_plain(const char *path, int flags, ...)
{
    va_list args;
    mode_t mode = 0;

    va_start(args, flags);
    if (flags & (O_CREAT | __O_TMPFILE))
        mode = va_arg(args, mode_t);
    va_end(args);
    return (int)syscall(SYS_openat, AT_FDCWD, path, flags & ~O_SYNC, mode);
}
