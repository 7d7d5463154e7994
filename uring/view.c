/* SPDX-License-Identifier: MIT */
/*
 * A descriptor and a mapping of the ring of the library's own. io_uring_queue_exit(3) returns while
 * requests still run, and then nobody can be told of their end. Since a second descriptor is open,
 * the ring lives on behind that call, and hf_uring_exit() sees their completions.
 */
#include "private.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static void *translate(const struct hf_uring *uring, const void *from, const void *word)
{
    return (char *)uring->view.memory + ((const char *)word - (const char *)from);
}

static void note_places(struct hf_uring *uring)
{
    const struct io_uring_sq *sq = &uring->ring->sq;
    const struct io_uring_cq *cq = &uring->ring->cq;
    struct view *view = &uring->view;

    view->sq_head = translate(uring, sq->ring_ptr, sq->khead);
    view->sq_tail = translate(uring, sq->ring_ptr, sq->ktail);
    view->cq_head = translate(uring, cq->ring_ptr, cq->khead);
    view->cq_tail = translate(uring, cq->ring_ptr, cq->ktail);
    view->lost = translate(uring, cq->ring_ptr, cq->koverflow);
    view->cqes = translate(uring, cq->ring_ptr, cq->cqes);
    view->cq_mask = cq->ring_entries - 1;
    view->cqe_shift = uring->setup_flags & IORING_SETUP_CQE32 ? 1 : 0;
    view->lost_before = *view->lost;
}

/* Cancels what is not there: whether the kernel knows how. */
static int try_cancel(const struct hf_uring *uring)
{
    struct io_uring_sync_cancel_reg nothing = {.addr = (uintptr_t)uring, .fd = -1};
    int rc = io_uring_register((unsigned)uring->fd, IORING_REGISTER_SYNC_CANCEL, &nothing, 1);

    if (rc >= 0 || rc == -ENOENT)
        return 0;
    if (rc == -EINVAL)
        return uring_fail(-EOPNOTSUPP, "Linux 6.0 or newer is needed, for synchronous cancels");
    if (rc == -EEXIST)
        return uring_fail(rc, "the ring is another thread's (IORING_SETUP_SINGLE_ISSUER)");
    return uring_fail(rc, "the ring cannot be used: %s", strerror(-rc));
}

int view_open(struct hf_uring *uring)
{
    const struct io_uring *ring = uring->ring;
    size_t bytes = ring->sq.ring_sz > ring->cq.ring_sz ? ring->sq.ring_sz : ring->cq.ring_sz;
    int rc;

    if (!(ring->features & IORING_FEAT_SINGLE_MMAP) || !(ring->features & IORING_FEAT_NODROP))
        return uring_fail(-EOPNOTSUPP, "Linux 6.0 or newer is needed");
    uring->fd = fcntl(ring->ring_fd, F_DUPFD_CLOEXEC, 3);
    if (uring->fd < 0)
        return errno == EMFILE
                   ? uring_fail(-EMFILE, "no descriptor is left")
                   : uring_fail(-EOPNOTSUPP, "the ring has no descriptor: %s", strerror(errno));
    uring->view.memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE,
                              uring->fd, (off_t)IORING_OFF_SQ_RING);
    if (uring->view.memory == MAP_FAILED) {
        rc = uring_fail(errno == ENOMEM ? -ENOMEM : -EOPNOTSUPP,
                        "the ring cannot be mapped a second time: %s", strerror(errno));
        close(uring->fd);
        return rc;
    }
    uring->view.bytes = bytes;
    note_places(uring);
    rc = try_cancel(uring);
    if (rc)
        view_close(uring);
    return rc;
}

void view_close(struct hf_uring *uring)
{
    munmap(uring->view.memory, uring->view.bytes);
    close(uring->fd);
}
