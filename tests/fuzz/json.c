/* SPDX-License-Identifier: MIT */
/*
 * What `--json` prints of a name, which may be any bytes. It has to be one string of JSON (RFC
 * 8259) in UTF-8, from which the same bytes come back.
 */
#include "cli.h"
#include "fuzz.h"

#include <stdio.h>
#include <stdlib.h>

#define TEXT_MAX 256u /* a name */

static unsigned hex(const char *digits)
{
    unsigned value = 0;

    for (int i = 0; i < 4; i++) {
        static const char all[] = "0123456789abcdef";
        const char *digit = digits[i] ? strchr(all, digits[i]) : NULL;

        EXPECT(digit != NULL);
        value = value * 16 + (unsigned)(digit - all);
    }
    return value;
}

/* Reads what follows a backslash; a lone surrogate stands for a byte. */
static char escaped(const char **at)
{
    char letter = *(*at)++;
    unsigned value;

    if (letter != 'u') {
        EXPECT(letter == '"' || letter == '\\');
        return letter;
    }
    value = hex(*at);
    *at += 4;
    EXPECT(value < 0x80 || (value >= 0xdc80 && value <= 0xdcff));
    return (char)value;
}

/* From after the first quotation mark; returns what follows the last one. */
static const char *read_string(const char *at, char *out)
{
    while (*at != '"') {
        EXPECT((unsigned char)*at >= 0x20);
        if (*at == '\\') {
            at++;
            *out++ = escaped(&at);
            continue;
        }
        EXPECT(cli_utf8_len(at) > 0);
        for (int len = cli_utf8_len(at); len > 0; len--)
            *out++ = *at++;
    }
    *out = '\0';
    return at + 1;
}

static void run(const uint8_t *bytes, size_t len)
{
    char text[TEXT_MAX + 1] = "", back[TEXT_MAX + 1], *printed;
    struct cli_json json;
    size_t printed_len;
    FILE *out = open_memstream(&printed, &printed_len);

    EXPECT(out != NULL);
    memcpy(text, bytes, len < TEXT_MAX ? len : TEXT_MAX);
    cli_json_begin(&json, out);
    cli_json_text(&json, NULL, text);
    cli_json_end(&json);
    EXPECT_EQ(fclose(out), 0);
    EXPECT_EQ(strlen(printed), printed_len);
    EXPECT(printed[0] == '"');
    EXPECT(strcmp(read_string(printed + 1, back), "\n") == 0);
    EXPECT(strcmp(back, text) == 0);
    free(printed);
}

const struct fuzz_target fuzz_target = {NULL, run};
