/* SPDX-License-Identifier: MIT */
/*
 * A small JSON writer. It keeps only the depth and whether a comma is due, so a listing of any
 * length is written as it is read.
 */
#include "cli.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>

void cli_json_begin(struct cli_json *json, FILE *out)
{
    *json = (struct cli_json){.out = out, .first = true};
}

void cli_json_end(struct cli_json *json)
{
    assert(json->depth == 0);
    fputc('\n', json->out);
}

int cli_utf8_len(const char *bytes)
{
    const unsigned char *text = (const unsigned char *)bytes;
    unsigned char lead = text[0];
    int len = lead < 0x80                   ? 1
              : lead >= 0xc2 && lead < 0xe0 ? 2
              : lead >= 0xe0 && lead < 0xf0 ? 3
              : lead >= 0xf0 && lead < 0xf5 ? 4
                                            : 0;

    for (int i = 1; i < len; i++) {
        if ((text[i] & 0xc0) != 0x80)
            return 0;
    }
    if (lead == 0xe0 && text[1] < 0xa0) /* too long a form */
        return 0;
    if (lead == 0xed && text[1] >= 0xa0) /* a surrogate */
        return 0;
    if ((lead == 0xf0 && text[1] < 0x90) || (lead == 0xf4 && text[1] >= 0x90))
        return 0;
    return len;
}

/* A sequence of UTF-8 does not go on past a NUL, and one follows. */
static void put_string(FILE *out, const char *text, size_t bytes)
{
    const char *end = text + bytes;

    fputc('"', out);
    while (text < end) {
        unsigned char byte = (unsigned char)*text;
        int len = cli_utf8_len(text);

        if (len == 0) {
            fprintf(out, "\\udc%02x", byte);
            len = 1;
        } else if (byte == '"' || byte == '\\') {
            fprintf(out, "\\%c", byte);
        } else if (byte < 0x20 || byte == 0x7f) {
            fprintf(out, "\\u%04x", byte);
        } else {
            fwrite(text, 1, (size_t)len, out);
        }
        text += len;
    }
    fputc('"', out);
}

static void new_line(struct cli_json *json)
{
    fprintf(json->out, "\n%*s", json->depth * 2, "");
}

static void begin_item(struct cli_json *json, const char *key)
{
    if (!json->first)
        fputc(',', json->out);
    json->first = false;
    if (json->depth > 0)
        new_line(json);
    if (key != NULL) {
        put_string(json->out, key, strlen(key));
        fputs(": ", json->out);
    }
}

void cli_json_open(struct cli_json *json, const char *key, char bracket)
{
    begin_item(json, key);
    fputc(bracket, json->out);
    json->depth++;
    json->first = true;
}

void cli_json_close(struct cli_json *json, char bracket)
{
    json->depth--;
    if (!json->first)
        new_line(json);
    fputc(bracket, json->out);
    json->first = false;
}

void cli_json_text(struct cli_json *json, const char *key, const char *text)
{
    cli_json_bytes(json, key, text, strlen(text));
}

void cli_json_bytes(struct cli_json *json, const char *key, const char *bytes, size_t len)
{
    begin_item(json, key);
    put_string(json->out, bytes, len);
}

void cli_json_number(struct cli_json *json, const char *key, uint64_t number)
{
    begin_item(json, key);
    fprintf(json->out, "%" PRIu64, number);
}

void cli_json_numbers(struct cli_json *json, const struct cli_number *numbers)
{
    for (; numbers->key != NULL; numbers++)
        cli_json_number(json, numbers->key, numbers->number);
}

void cli_json_bool(struct cli_json *json, const char *key, bool value)
{
    begin_item(json, key);
    fputs(value ? "true" : "false", json->out);
}

void cli_json_null(struct cli_json *json, const char *key)
{
    begin_item(json, key);
    fputs("null", json->out);
}

void cli_json_time(struct cli_json *json, const char *key, const struct timespec *time)
{
    cli_json_open(json, key, '{');
    begin_item(json, "sec");
    fprintf(json->out, "%jd", (intmax_t)time->tv_sec);
    cli_json_number(json, "nsec", (uint64_t)time->tv_nsec);
    cli_json_close(json, '}');
}

void cli_json_policy(struct cli_json *json, const char *key, const struct hf_policy *policy)
{
    static const char *const kinds[] = {"default",  "wait",   "nowait",
                                        "deadline", "detach", "deadline-detach"};
    size_t kind = policy->kind < sizeof(kinds) / sizeof(kinds[0]) ? policy->kind : 0;

    cli_json_open(json, key, '{');
    cli_json_text(json, "kind", kinds[kind]);
    cli_json_number(json, "deadline_ns", policy->deadline_ns);
    cli_json_close(json, '}');
}
