/* SPDX-License-Identifier: MIT */
/* Prometheus' text exposition format: see exposition.h. Each metric has a text of its own until all
 * of them are printed. */
#include "exposition.h"

#include "cli.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define METRICS_MAX 96 /* there are some 70 */

struct metric {
    const char *name;
    FILE *out; /* writes into text */
    char *text;
    size_t bytes;
};

/* A stream keeps the addresses of its metric's text and bytes, so metrics stay where they are. */
struct exposition {
    struct metric metrics[METRICS_MAX];
    size_t count;
    struct metric *current;
};

struct exposition *exposition_begin(void)
{
    return cli_alloc(sizeof(struct exposition));
}

static void fail_memory(void)
{
    cli_note("out of memory");
    exit(EX_OSERR);
}

static struct metric *new_metric(struct exposition *exposition, const char *name)
{
    struct metric *metric = &exposition->metrics[exposition->count++];

    assert(exposition->count <= METRICS_MAX);
    metric->name = name;
    metric->out = open_memstream(&metric->text, &metric->bytes);
    if (metric->out == NULL)
        fail_memory();
    return metric;
}

void exposition_metric(struct exposition *exposition, const char *name, const char *type,
                       const char *help)
{
    for (size_t i = 0; i < exposition->count; i++) {
        exposition->current = &exposition->metrics[i];
        if (strcmp(exposition->current->name, name) == 0)
            return;
    }
    exposition->current = new_metric(exposition, name);
    fprintf(exposition->current->out, "# HELP holdfast_%s %s\n# TYPE holdfast_%s %s\n", name, help,
            name, type);
}

/* A value with the format's escapes; a byte that is not UTF-8 becomes U+FFFD. */
static void put_label_value(FILE *out, const char *text)
{
    fputc('"', out);
    while (*text != '\0') {
        int len = cli_utf8_len(text);

        if (len == 0) {
            fputs("\xef\xbf\xbd", out);
            len = 1;
        } else if (*text == '\n') {
            fputs("\\n", out);
        } else if (*text == '"' || *text == '\\') {
            fprintf(out, "\\%c", *text);
        } else {
            fwrite(text, 1, (size_t)len, out);
        }
        text += len;
    }
    fputc('"', out);
}

char *exposition_label(const char *name, const char *value)
{
    char *text = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&text, &bytes);

    if (out == NULL)
        fail_memory();
    fprintf(out, ",%s=", name);
    put_label_value(out, value);
    if (fclose(out) != 0)
        fail_memory();
    return text;
}

static void begin_sample(const struct metric *metric, const char *suffix, const char *pool,
                         const char *labels)
{
    fprintf(metric->out, "holdfast_%s%s{pool=", metric->name, suffix);
    put_label_value(metric->out, pool);
    fprintf(metric->out, "%s} ", labels);
}

void exposition_sample(struct exposition *exposition, const char *suffix, const char *pool,
                       const char *labels, uint64_t value)
{
    begin_sample(exposition->current, suffix, pool, labels);
    fprintf(exposition->current->out, "%" PRIu64 "\n", value);
}

void exposition_sample_ns(struct exposition *exposition, const char *suffix, const char *pool,
                          const char *labels, uint64_t ns)
{
    begin_sample(exposition->current, suffix, pool, labels);
    fprintf(exposition->current->out, EXPOSITION_SECONDS "\n", EXPOSITION_SECONDS_OF(ns));
}

void exposition_end(struct exposition *exposition, FILE *out)
{
    for (size_t i = 0; i < exposition->count; i++) {
        struct metric *metric = &exposition->metrics[i];

        if (fclose(metric->out) != 0)
            fail_memory();
        if (out != NULL)
            fwrite(metric->text, 1, metric->bytes, out);
        free(metric->text);
    }
    free(exposition);
}
