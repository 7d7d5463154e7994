/* SPDX-License-Identifier: MIT */
/*
 * The sum of an object (XXH3), which is taken while nobody else works for it: after its read and
 * before its write. So it counts in full for a program that waits for one object. It calls nothing.
 *
 * It is built twice, and tier_check_bytes() chooses. The processors that the whole library is built
 * for have registers of 16 bytes. With those of 32 a MiB that came from a disk takes 22 us, not 56
 * (AMD EPYC, GCC 14). The sum is the same.
 */
#include "tier.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#ifdef TIER_SUM_AVX2
#define TIER_SUM tier_sum_avx2
#else
#define TIER_SUM tier_sum_plain
#endif

uint64_t TIER_SUM(const struct iovec *iov, int pieces, uint64_t len)
{
    XXH3_state_t state;

    XXH3_64bits_reset(&state);
    for (int i = 0; i < pieces && len; i++) {
        size_t part = iov[i].iov_len < len ? iov[i].iov_len : len;

        XXH3_64bits_update(&state, iov[i].iov_base, part);
        len -= part;
    }
    return XXH3_64bits_digest(&state);
}
