/* SPDX-License-Identifier: MIT */
/* The peer's half. A window came over a network, so each of its fields is checked. */
#include "private.h"

#include <errno.h>
#include <inttypes.h>

static bool is_window(const struct hf_fabric_window *window)
{
    uint64_t sum = 0;

    if (!window || window->region == 0 || window->reserved != 0 || window->pieces == 0 ||
        window->pieces > HF_FABRIC_PIECES)
        return false;
    for (uint32_t i = 0; i < window->pieces; i++) {
        if (window->piece[i].len == 0 || window->piece[i].len > window->len - sum)
            return false;
        sum += window->piece[i].len;
    }
    return sum == window->len;
}

ssize_t hf_fabric_place(const struct hf_fabric_window *window, uint64_t off, uint64_t len,
                        uint64_t *address, uint64_t *key)
{
    const struct hf_fabric_piece *piece;

    if (!is_window(window) || !address || !key)
        return fabric_fail(-EINVAL, "this is not a window");
    if (len == 0 || len > window->len || off > window->len - len)
        return fabric_fail(-EFAULT, "the window has %" PRIu64 " bytes", window->len);
    for (piece = window->piece; off >= piece->len; piece++)
        off -= piece->len;
    *address = piece->address + off;
    *key = piece->key;
    return (ssize_t)(len < piece->len - off ? len : piece->len - off);
}
