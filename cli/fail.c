/* SPDX-License-Identifier: MIT */
/*
 * Messages, and what ends a verb: one form of sentence, and one table from errors to exit codes.
 * The pool is opened and closed here too, so that this fails in the same way everywhere.
 */
#include "cli.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

static void begin_message(void)
{
    fflush(stdout);
    fputs("holdfast: ", stderr);
    if (cli_current_verb != NULL)
        fprintf(stderr, "%s: ", cli_current_verb->name);
}

int cli_exit_code(int rc)
{
    switch (-rc) {
    case 0:
        return EX_OK;
    case EINVAL:
    case E2BIG:
    case ENAMETOOLONG:
        return EX_USAGE;
    case EUCLEAN:
        return EX_DATAERR;
    case ENOENT:
    case ENOTDIR:
    case EISDIR:
    case ELOOP:
    case ENXIO:
    case ENODATA:
        return EX_NOINPUT;
    case EEXIST:
    case ENOTEMPTY:
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
        return EX_CANTCREAT;
    case EBUSY:
    case ETIMEDOUT:
    case EAGAIN:
    case EDEADLK:
    case EINTR:
    case ENFILE:
    case EMFILE:
    case ENOLCK:
        return EX_TEMPFAIL;
    case EACCES:
    case EPERM:
    case EROFS:
        return EX_NOPERM;
    case EOPNOTSUPP:
        return EX_UNAVAILABLE;
    case ENOMEM:
        return EX_OSERR;
    default:
        return EX_IOERR;
    }
}

/* "a/b: there is no such file", "a/b is a directory": the name need not be said twice. */
static bool begins_with_name(const char *why, const char *what)
{
    size_t len = strlen(what);

    return strncmp(why, what, len) == 0 && (why[len] == ':' || why[len] == ' ');
}

static int print_failure(const char *what, const char *why, int rc)
{
    begin_message();
    if (!begins_with_name(why, what)) {
        cli_put_name(stderr, what);
        fputs(": ", stderr);
    }
    cli_put_name(stderr, why);
    fputc('\n', stderr);
    return cli_exit_code(rc);
}

int cli_fail(const char *what, int rc)
{
    const char *why = hf_strerror_detail();

    return print_failure(what, why[0] != '\0' ? why : strerror(-rc), rc);
}

int cli_fail_why(const char *what, const char *why, int rc)
{
    return print_failure(what, why, rc);
}

int cli_fail_host(const char *what, int error)
{
    return print_failure(what, strerror(error), -error);
}

int cli_usage(const char *format, ...)
{
    va_list args;

    begin_message();
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    return EX_USAGE;
}

void cli_note(const char *format, ...)
{
    va_list args;

    begin_message();
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
}

static void *checked(void *memory)
{
    if (memory == NULL) {
        cli_note("out of memory");
        exit(EX_OSERR);
    }
    return memory;
}

void *cli_alloc(size_t bytes)
{
    return checked(calloc(1, bytes != 0 ? bytes : 1));
}

void *cli_grow(void *array, size_t used, size_t *room, size_t item_bytes)
{
    if (used < *room)
        return array;
    *room = *room != 0 ? *room * 2 : 64;
    return checked(reallocarray(array, *room, item_bytes));
}

char *cli_strdup(const char *text)
{
    return checked(strdup(text));
}

char *cli_join(const char *dir, const char *name)
{
    size_t dir_len = strlen(dir);
    char *path = cli_alloc(dir_len + strlen(name) + 2);

    while (dir_len > 0 && dir[dir_len - 1] == '/')
        dir_len--;
    memcpy(path, dir, dir_len);
    path[dir_len] = '/';
    strcpy(path + dir_len + 1, name);
    return path;
}

char *cli_last_name(const char *path)
{
    size_t end = strlen(path), start;
    char *name;

    while (end > 0 && path[end - 1] == '/')
        end--;
    start = end;
    while (start > 0 && path[start - 1] != '/')
        start--;
    name = cli_alloc(end - start + 1);
    memcpy(name, path + start, end - start);
    return name;
}

int cli_pool_open(const char *path, uint32_t flags, struct hf_pool **out)
{
    int rc = hf_pool_open(path, flags, out);

    return rc == 0 ? EX_OK : cli_fail(path, rc);
}

int cli_pool_close(struct hf_pool *pool, const char *path, int status)
{
    int rc = hf_pool_close(pool);

    if (rc != 0 && status == EX_OK)
        return cli_fail(path, rc);
    return status;
}
