/* SPDX-License-Identifier: MIT */
/*
 * Numbers, times and names as people read them. A name in a pool may have any bytes but '/' and
 * NUL. On a terminal, bytes that could move the cursor or are not text are shown as escapes. A pipe
 * gets the bytes themselves.
 */
#include "cli.h"

#include <inttypes.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <wchar.h>
#include <wctype.h>

#define NS_PER_S UINT64_C(1000000000)

const char *cli_size(char buf[CLI_SIZE_TEXT], uint64_t bytes)
{
    static const char units[] = "BKMGTPE";
    size_t unit = 0;
    double value = (double)bytes;

    while (value >= 1023.5 && unit + 2 < sizeof(units)) {
        value /= 1024;
        unit++;
    }
    if (unit == 0)
        snprintf(buf, CLI_SIZE_TEXT, "%" PRIu64, bytes);
    else
        snprintf(buf, CLI_SIZE_TEXT, value < 9.95 ? "%.1f%c" : "%.0f%c", value, units[unit]);
    return buf;
}

const char *cli_duration(char buf[CLI_TIME_TEXT], uint64_t ns)
{
    double s = (double)ns / NS_PER_S;

    if (ns < 1000)
        snprintf(buf, CLI_TIME_TEXT, "%" PRIu64 "ns", ns);
    else if (ns < 1000000)
        snprintf(buf, CLI_TIME_TEXT, "%.3gus", s * 1e6);
    else if (ns < NS_PER_S)
        snprintf(buf, CLI_TIME_TEXT, "%.3gms", s * 1e3);
    else if (s < 100)
        snprintf(buf, CLI_TIME_TEXT, "%.3gs", s);
    else if (s < 3600)
        snprintf(buf, CLI_TIME_TEXT, "%.0fm%02.0fs", s / 60 - 0.5, (double)((uint64_t)s % 60));
    else
        snprintf(buf, CLI_TIME_TEXT, "%" PRIu64 "h%02" PRIu64 "m", (uint64_t)s / 3600,
                 (uint64_t)s / 60 % 60);
    return buf;
}

const char *cli_policy_text(char buf[CLI_POLICY_TEXT], const struct hf_policy *policy)
{
    char time[CLI_TIME_TEXT];

    switch (policy->kind) {
    case HF_POLICY_NOWAIT:
        return strcpy(buf, "nowait");
    case HF_POLICY_DETACH:
        return strcpy(buf, "detach");
    case HF_POLICY_DEADLINE:
    case HF_POLICY_DEADLINE_DETACH:
        snprintf(buf, CLI_POLICY_TEXT, "deadline%s:%s",
                 policy->kind == HF_POLICY_DEADLINE ? "" : "-detach",
                 cli_duration(time, policy->deadline_ns));
        return buf;
    default:
        return strcpy(buf, "wait");
    }
}

const char *cli_uuid_text(char buf[CLI_UUID_TEXT], const uint8_t uuid[16])
{
    char *end = buf;

    for (int i = 0; i < 16; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10)
            *end++ = '-';
        end += sprintf(end, "%02x", uuid[i]);
    }
    return buf;
}

const char *cli_mode_text(char buf[CLI_MODE_TEXT], mode_t mode)
{
    static const char bits[] = "rwxrwxrwx";

    buf[0] = S_ISDIR(mode)    ? 'd'
             : S_ISLNK(mode)  ? 'l'
             : S_ISFIFO(mode) ? 'p'
             : S_ISSOCK(mode) ? 's'
             : S_ISCHR(mode)  ? 'c'
             : S_ISBLK(mode)  ? 'b'
                              : '-';
    for (int i = 0; i < 9; i++)
        buf[1 + i] = (mode & (0400u >> i)) != 0 ? bits[i] : '-';
    if (mode & S_ISUID)
        buf[3] = (mode & 0100) ? 's' : 'S';
    if (mode & S_ISGID)
        buf[6] = (mode & 0010) ? 's' : 'S';
    if (mode & S_ISVTX)
        buf[9] = (mode & 0001) ? 't' : 'T';
    buf[10] = '\0';
    return buf;
}

const char *cli_type_text(mode_t mode)
{
    switch (mode & S_IFMT) {
    case S_IFREG:
        return "file";
    case S_IFDIR:
        return "directory";
    case S_IFLNK:
        return "symlink";
    case S_IFIFO:
        return "fifo";
    case S_IFSOCK:
        return "socket";
    case S_IFCHR:
        return "character device";
    case S_IFBLK:
        return "block device";
    default:
        return "unknown";
    }
}

const char *cli_stamp(char buf[CLI_STAMP_TEXT], const struct timespec *time)
{
    struct tm local;
    char zone[8], seconds[24];

    if (localtime_r(&time->tv_sec, &local) == NULL) {
        snprintf(buf, CLI_STAMP_TEXT, "%jd.%09ld", (intmax_t)time->tv_sec, time->tv_nsec);
        return buf;
    }
    strftime(seconds, sizeof(seconds), "%Y-%m-%d %H:%M:%S", &local);
    strftime(zone, sizeof(zone), "%z", &local);
    snprintf(buf, CLI_STAMP_TEXT, "%s.%09ld %s", seconds, time->tv_nsec, zone);
    return buf;
}

static void put_escaped(FILE *out, unsigned char byte)
{
    static const char named[] = "abtnvfr"; /* 7 .. 13 */

    if (byte >= 7 && byte <= 13)
        fprintf(out, "\\%c", named[byte - 7]);
    else
        fprintf(out, "\\%03o", byte);
}

void cli_put_name(FILE *out, const char *name)
{
    if (isatty(fileno(out)))
        cli_put_escaped(out, name);
    else
        fputs(name, out);
}

void cli_put_escaped(FILE *out, const char *name)
{
    mbstate_t state = {0};
    size_t left = strlen(name);

    while (left > 0) {
        wchar_t wide;
        size_t len = mbrtowc(&wide, name, left, &state);

        if (len == (size_t)-1 || len == (size_t)-2 || !iswprint((wint_t)wide)) {
            put_escaped(out, (unsigned char)*name);
            memset(&state, 0, sizeof(state));
            len = 1;
        } else if (*name == '\\') {
            fputs("\\\\", out);
        } else {
            fwrite(name, 1, len, out);
        }
        name += len;
        left -= len;
    }
}
