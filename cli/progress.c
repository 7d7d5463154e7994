/* SPDX-License-Identifier: MIT */
/*
 * The progress line of long work. It costs one clock read a step and one write each 100 ms. There
 * is none when stderr is not a terminal, so that logs stay clean.
 */
#include "cli.h"

#include <inttypes.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define REDRAW_NS UINT64_C(100000000)
#define NAME_ROOM 40

uint64_t cli_now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

void cli_progress_begin(struct cli_progress *progress, const char *noun)
{
    *progress = (struct cli_progress){
        .shown = isatty(STDERR_FILENO) == 1,
        .start_ns = cli_now_ns(),
        .noun = noun,
    };
}

/* The last part of the name: what is at its end says most. */
static const char *name_tail(const char *name)
{
    size_t len = strlen(name);

    return len > NAME_ROOM ? name + len - NAME_ROOM : name;
}

static void draw_line(const struct cli_progress *progress, const char *name, uint64_t now_ns)
{
    double seconds = (double)(now_ns - progress->start_ns) / 1e9;
    char done[CLI_SIZE_TEXT], rate[CLI_SIZE_TEXT];

    fprintf(stderr, "\r\033[K%s: %" PRIu64, cli_current_verb->name, progress->items);
    if (progress->total != 0)
        fprintf(stderr, " of %" PRIu64, progress->total);
    fprintf(stderr, " %s", progress->noun);
    if (progress->bytes != 0)
        fprintf(stderr, ", %s, %s/s", cli_size(done, progress->bytes),
                cli_size(rate, (uint64_t)((double)progress->bytes / seconds)));
    if (name != NULL) {
        fputs("  ", stderr);
        cli_put_name(stderr, name_tail(name));
    }
    fflush(stderr);
}

void cli_progress_step(struct cli_progress *progress, const char *name)
{
    uint64_t now_ns;

    if (!progress->shown)
        return;
    now_ns = cli_now_ns();
    if (now_ns - (progress->last_ns != 0 ? progress->last_ns : progress->start_ns) < REDRAW_NS)
        return;
    progress->last_ns = now_ns;
    draw_line(progress, name, now_ns);
}

void cli_progress_wipe(struct cli_progress *progress)
{
    if (progress->shown && progress->last_ns != 0)
        fputs("\r\033[K", stderr);
}

void cli_progress_end(struct cli_progress *progress)
{
    uint64_t now_ns = cli_now_ns();
    char took[CLI_TIME_TEXT];

    if (!progress->shown)
        return;
    progress->total = 0;
    draw_line(progress, NULL, now_ns);
    fprintf(stderr, " in %s\n", cli_duration(took, now_ns - progress->start_ns));
}
