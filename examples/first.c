/* SPDX-License-Identifier: MIT */
/* A file that cannot lose its memory while it is pinned. */
#include <fcntl.h>
#include <holdfast/holdfast.h>
#include <stdio.h>

int main(void)
{
    const struct hf_pool_options options = {.size = sizeof options, .pool_bytes = 64 << 20};
    const struct hf_policy nowait = {.kind = HF_POLICY_NOWAIT};
    struct hf_pool *pool;
    struct hf_file *file;
    struct iovec piece;
    struct hf_pin pin;

    if (hf_pool_open_anonymous(&options, &pool) ||
        hf_open(pool, "/greeting", O_RDWR | O_CREAT, 0644, &file) ||
        hf_write(file, "hello, world\n", 13, 0) != 13 ||
        hf_pin(file, 0, 13, HF_PIN_READ, &piece, 1, &pin) != 1) {
        fprintf(stderr, "%s\n", hf_strerror_detail());
        return 1;
    }
    if (hf_truncate(file, 0, &nowait)) /* -EBUSY: somebody holds it */
        printf("not now: %s\n", hf_strerror_detail());
    fwrite(piece.iov_base, 1, piece.iov_len, stdout); /* in place, no copy */
    hf_unpin(&pin);
    hf_truncate(file, 0, NULL); /* now it goes */
    hf_close(file);
    return hf_pool_close(pool) ? 1 : 0;
}
