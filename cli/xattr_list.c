/* SPDX-License-Identifier: MIT */
/* The names of a file's extended attributes. */
#include "cli.h"

#include <errno.h>
#include <holdfast/serve.h>
#include <stdlib.h>

char *cli_xattr_list(struct hf_pool *pool, uint64_t at, const char *path, ssize_t *len)
{
    char *list;

    do {
        *len = hf_listxattrat(pool, at, path, NULL, 0);
        if (*len <= 0)
            return NULL;
        list = cli_alloc((size_t)*len);
        *len = hf_listxattrat(pool, at, path, list, (size_t)*len);
        if (*len >= 0)
            return list;
        free(list);
    } while (*len == -ERANGE); /* there are more now */
    return NULL;
}
