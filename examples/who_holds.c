/* SPDX-License-Identifier: MIT */
/* Prints what is held in a pool, what waits, and by which process. Usage: who_holds POOL */
#include <holdfast/holdfast.h>
#include <inttypes.h>
#include <stdio.h>

static int print(void *arg, const struct hf_pin_info *info)
{
    static const char *const states[] = {"holds", "holds detached", "waits for",
                                         "is dead, and its device may still write"};

    (void)arg;
    printf("%s (%d) %s bytes %" PRIu64 " to %" PRIu64 " of inode %" PRIu64 "\n", info->command,
           (int)info->pid, states[info->state], info->off, info->off + info->len - 1, info->ino);
    return 0;
}

int main(int argc, char **argv)
{
    struct hf_pool *pool;
    int rc;

    if (argc != 2) {
        fprintf(stderr, "usage: %s POOL\n", argv[0]);
        return 2;
    }
    rc = hf_pool_open(argv[1], HF_OPEN_RDONLY, &pool);
    if (rc == 0) {
        rc = hf_pins(pool, print, NULL);
        hf_pool_close(pool);
    }
    if (rc)
        fprintf(stderr, "%s: %s\n", argv[1], hf_strerror_detail());
    return rc ? 1 : 0;
}
