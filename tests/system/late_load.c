/* SPDX-License-Identifier: MIT */
/*
 * A running program can load the library, beside others. glibc has little room for the threads'
 * variables of such libraries. The test runs with the least that glibc keeps
 * (glibc.rtld.optional_static_tls=0), which leaves others 512 bytes elsewhere.
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
