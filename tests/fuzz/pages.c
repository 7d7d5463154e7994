/* SPDX-License-Identifier: MIT */
/* Pages of the metadata: POOL/meta/data.mdb with bytes changed, pages exchanged, or cut short. */
#include "fuzz.h"

static void run(const uint8_t *bytes, size_t len)
{
    struct fuzz_input input = {bytes, len};
    bool first = fuzz_take(&input, 1) % 2;

    fuzz_image_restore();
    fuzz_image_damage("meta/data.mdb", &input);
    if (first)
        fuzz_image_use();
    else
        fuzz_image_expect(false);
}

const struct fuzz_target fuzz_target = {fuzz_image_make, run};
