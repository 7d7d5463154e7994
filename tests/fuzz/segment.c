/* SPDX-License-Identifier: MIT */
/*
 * What killed processes have left beside the metadata: the run segment, POOL/recent, POOL/segment
 * and LMDB's lock file. The first process to attach reads them, and none of them may lead it
 * astray.
 */
#include "fuzz.h"

static void run(const uint8_t *bytes, size_t len)
{
    static const char *const names[] = {"run", "recent", "segment", "meta/lock.mdb"};
    struct fuzz_input input = {bytes, len};

    fuzz_image_restore();
    fuzz_image_damage(names[fuzz_take(&input, 1) % 4], &input);
    fuzz_image_use();
    fuzz_image_expect(true);
}

const struct fuzz_target fuzz_target = {fuzz_image_make, run};
