/* SPDX-License-Identifier: MIT */
/* Each build of the sum of an object is XXH3 of its bytes, whatever pieces they lie in. So what one
 * processor has written to a disk, another one finds whole. */
#include "support.h"

#include "cache/tier.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#define ROUNDS 2000
#define LONGEST 70000u
#define SHORT 600u /* each length up to it */

static unsigned char bytes[LONGEST];

/* Pieces of random lengths; the last one may be longer than what is left, as a page is. */
static int cut(struct test_rng *rng, uint64_t len, struct iovec *iov)
{
    uint64_t at = 0;
    int pieces = 0;

    while (at < len && pieces < TIER_PIECES - 1) {
        uint64_t part = 1 + test_below(rng, pieces % 2 ? 300 : 20000);

        part = part < LONGEST - at ? part : LONGEST - at;
        iov[pieces++] = (struct iovec){bytes + at, part};
        at += part;
    }
    if (at < len)
        iov[pieces++] = (struct iovec){bytes + at, LONGEST - at};
    return pieces;
}

static void sums(void)
{
    struct test_rng rng = {test_seed()};
    struct iovec iov[TIER_PIECES];

    for (unsigned i = 0; i < LONGEST; i++)
        bytes[i] = (unsigned char)test_random(&rng);
    for (unsigned i = 1; i <= ROUNDS; i++) {
        uint64_t len = i < SHORT ? i : 1 + test_below(&rng, LONGEST);
        uint64_t expected = XXH3_64bits(bytes, len);
        int pieces = cut(&rng, len, iov);

        EXPECT_EQ(tier_check_bytes(iov, pieces, len) == expected, true);
        EXPECT_EQ(tier_sum_plain(iov, pieces, len) == expected, true);
#ifdef HF_CACHE_AVX2
        if (__builtin_cpu_supports("avx2"))
            EXPECT_EQ(tier_sum_avx2(iov, pieces, len) == expected, true);
#endif
    }
}

TEST_SCENARIO(sums)
