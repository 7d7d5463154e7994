/* SPDX-License-Identifier: MIT */
/* Numbers as people read them, and strings as JSON wants them. Calls nothing else of this
 * folder. */
#include "lab/lab.h"

#include <inttypes.h>
#include <string.h>

const char *lab_count_text(char buf[LAB_TEXT], uint64_t count)
{
    char digits[LAB_TEXT];
    int len = snprintf(digits, sizeof digits, "%" PRIu64, count), to = 0;

    for (int i = 0; i < len; i++) {
        if (i && (len - i) % 3 == 0)
            buf[to++] = ',';
        buf[to++] = digits[i];
    }
    buf[to] = '\0';
    return buf;
}

const char *lab_bytes_text(char buf[LAB_TEXT], double bytes)
{
    static const char *const units[] = {"bytes", "KiB", "MiB", "GiB", "TiB"};
    unsigned unit = 0;

    while (bytes >= 1024 && unit < 4) {
        bytes /= 1024;
        unit++;
    }
    snprintf(buf, LAB_TEXT, unit && bytes < 100 ? "%.1f %s" : "%.0f %s", bytes, units[unit]);
    return buf;
}

const char *lab_ns_text(char buf[LAB_TEXT], double ns)
{
    static const char *const units[] = {"ns", "us", "ms", "s"};
    unsigned unit = 0;

    while (ns >= 999.5 && unit < 3) {
        ns /= 1000;
        unit++;
    }
    snprintf(buf, LAB_TEXT,
             ns < 9.995   ? "%.2f %s"
             : ns < 99.95 ? "%.1f %s"
                          : "%.0f %s",
             ns, units[unit]);
    return buf;
}

void lab_json_string(FILE *out, const char *text)
{
    fputc('"', out);
    for (const unsigned char *c = (const unsigned char *)text; *c; c++) {
        if (*c == '"' || *c == '\\')
            fprintf(out, "\\%c", *c);
        else if (*c < 0x20 || *c == 0x7f)
            fprintf(out, "\\u%04x", *c);
        else
            fputc(*c, out);
    }
    fputc('"', out);
}
