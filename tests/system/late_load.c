/* SPDX-License-Identifier: MIT */
/*
 * A program that runs already can load the library, beside others that need the little room that
 * glibc keeps for the threads' variables of such libraries. The test runs with what glibc keeps at
 * least (glibc.rtld.optional_static_tls=0), so that 512 bytes are left over elsewhere.
 *
 * usage: late-load LIBRARY
 */
#include <dlfcn.h>
#include <stdio.h>

int main(int argc, char **argv)
{
    int (*open_pool)(const char *path, unsigned flags, void **out);
    void *library = argc > 1 ? dlopen(argv[1], RTLD_NOW) : NULL, *pool;

    if (!library) {
        fprintf(stderr, "%s\n", argc > 1 ? dlerror() : "usage: late-load LIBRARY");
        return 1;
    }
    *(void **)&open_pool = dlsym(library, "hf_pool_open");
    if (!open_pool || open_pool("/nonexistent", 0, &pool) >= 0) {
        fprintf(stderr, "a pool that is not there was opened, or hf_pool_open() is missing\n");
        return 1;
    }
    return 0;
}
