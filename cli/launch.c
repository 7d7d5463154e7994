/* SPDX-License-Identifier: MIT */
/*
 * Programs of their own behind verbs: they link what must not be in this one, or what takes long to
 * load. They are looked for beside the running program first, so that the build folder and a moved
 * installation work. Then they are looked for where they were installed.
 */
#include "cli.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The folder of the running program, in buf. */
static bool program_folder(char buf[PATH_MAX])
{
    ssize_t len = readlink("/proc/self/exe", buf, PATH_MAX - 1);
    char *slash;

    if (len < 0)
        return false;
    buf[len] = '\0';
    slash = strrchr(buf, '/');
    if (slash == NULL)
        return false;
    *slash = '\0';
    return true;
}

static bool find_program(const char *topic, char found[PATH_MAX])
{
    const char *const beside[] = {topic, "cli", "libexec/holdfast"};
    char folder[PATH_MAX];
    int len;

    for (size_t i = 0; i < sizeof(beside) / sizeof(beside[0]) && program_folder(folder); i++) {
        len = snprintf(found, PATH_MAX, "%s/../%s/holdfast-%s", folder, beside[i], topic);
        if (len < PATH_MAX && access(found, X_OK) == 0)
            return true;
    }
    snprintf(found, PATH_MAX, "%s/holdfast-%s", HF_LIBEXEC_DIR, topic);
    return access(found, X_OK) == 0;
}

int cli_launch(const char *topic, char **argv)
{
    char path[PATH_MAX];

    if (!find_program(topic, path)) {
        cli_note("%s: there is no such program; it is installed with holdfast (ninja install)",
                 path);
        return EX_UNAVAILABLE;
    }
    fflush(stdout);
    execv(path, argv);
    return cli_fail_host(path, errno);
}
