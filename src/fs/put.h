/* SPDX-License-Identifier: MIT */
/* Putting in place: memory to fill that no file has yet, and its publishing. */
#ifndef HF_FS_PUT_H
#define HF_FS_PUT_H

#include "fs/name.h"
#include "fs/vnode.h"
#include "holdfast/put.h"

/* What hf_put_begin() asks for. The arguments are good. */
struct fs_put_wish {
    uint64_t off, len;
    uint32_t flags; /* what fills the memory: HF_PIN_CPU to HF_PIN_GPU */
    struct iovec *iov;
    int iovcnt;
};

int fs_put_begin(struct hf_file *file, const struct fs_put_wish *wish, struct hf_put *out);
/* `name`: null, or that of a file without one. */
int fs_put_commit(struct hf_file *file, const struct hf_put *put, uint64_t len,
                  struct fs_first_name *name);
int fs_put_abort(struct fs *fs, const struct hf_put *put);

#endif
