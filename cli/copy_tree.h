/* SPDX-License-Identifier: MIT */
/*
 * Copies inside a pool, for cp and snapshot: content that is shared where it can be, attributes,
 * links. A copy is made under a name of its own beside its target, and renamed when it is whole.
 */
#ifndef HOLDFAST_CLI_COPY_TREE_H
#define HOLDFAST_CLI_COPY_TREE_H

#include "transfer.h"

#include <holdfast/serve.h>

enum copy_sharing { COPY_SHARES_OR_COPIES, COPY_SHARES, COPY_COPIES };

struct copy_pair {
    uint64_t from, to; /* inodes of a directory and of its copy */
};

/* A file that is to be copied together with others. */
struct copy_pending {
    struct cli_found found; /* with names of its own */
    uint64_t to_dir;
};

#define COPY_PENDING 128u

struct copy_tree {
    struct transfer transfer;
    enum copy_sharing sharing;
    const struct hf_policy *policy;
    uint64_t top;           /* the copy's own first directory, which is not copied */
    struct copy_pair *dirs; /* from the top down to the one under way */
    size_t depth, room;
    struct copy_pending pending[COPY_PENDING];
    size_t pending_count;
};

/* Copies the file `from`, a symbolic link as such, and with `below` a directory with all that is in
 * it. `replace`: a file of the target's name may go. False: nothing was made, and the reason is
 * printed. */
bool copy_tree_make(struct copy_tree *copy, const char *from, const char *to, bool below,
                    bool replace);

#endif
