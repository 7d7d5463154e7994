/* SPDX-License-Identifier: MIT */
/*
 * The loop: choose an operation by weight, run it, look at everything at intervals, reopen the pool
 * at intervals. On a failure the last operations are printed. So the one that went wrong and those
 * that led to it can be read without a replay.
 */
#include "exercise.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COMPARE_EVERY 250
#define REOPEN_EVERY 1000

static struct exercise *failing;

static void print_log(void)
{
    struct exercise *x = failing;
    uint64_t first = x->logged > EXERCISE_LOG ? x->logged - EXERCISE_LOG : 0;

    fprintf(stderr, "the last %" PRIu64 " notes of the exerciser on %s:\n", x->logged - first,
            x->pool_name);
    for (uint64_t i = first; i < x->logged; i++)
        fprintf(stderr, "%6" PRIu64 " %s\n", i, x->log[i % EXERCISE_LOG]);
}

void note(struct exercise *x, const char *format, ...)
{
    char *line = x->log[x->logged++ % EXERCISE_LOG];
    va_list args;

    va_start(args, format);
    vsnprintf(line, sizeof(x->log[0]), format, args);
    va_end(args);
    for (char *c = line; *c; c++)
        if ((unsigned char)*c < ' ' || (unsigned char)*c > '~')
            *c = '?';
    if (getenv("HF_TEST_TRACE"))
        fprintf(stderr, "%s\n", line);
}

void note_result(struct exercise *x, long long rc)
{
    char *line = x->log[(x->logged - 1) % EXERCISE_LOG];
    size_t used = strlen(line), room = sizeof(x->log[0]) - used;

    if (rc < 0)
        snprintf(line + used, room, " = %s", strerrorname_np((int)-rc));
    else
        snprintf(line + used, room, " = %lld", rc);
}

static const struct operation *const all_operations[] = {
    file_operations,      layout_operations, name_operations,
    attribute_operations, pin_operations,    share_operations,
};
#define KINDS (sizeof(all_operations) / sizeof(all_operations[0]))

static const struct operation *choose_operation(struct exercise *x)
{
    unsigned total = 0, at;

    for (size_t kind = 0; kind < KINDS; kind++)
        for (const struct operation *op = all_operations[kind]; op->name; op++)
            total += op->weight;
    at = (unsigned)test_below(&x->rng, total);
    for (size_t kind = 0; kind < KINDS; kind++)
        for (const struct operation *op = all_operations[kind]; op->name; op++) {
            if (at < op->weight)
                return op;
            at -= op->weight;
        }
    FAIL("no operation was chosen");
}

static void close_all(struct exercise *x)
{
    pins_release_of(x, NULL);
    for (size_t i = 0; i < EXERCISE_FILES; i++)
        if (x->files[i].file && !x->files[i].node->window_pages)
            file_close(x, &x->files[i]);
}

/* The windowed file is opened once and lives at the first place. */
static void open_shared(struct exercise *x, const struct exercise_plan *plan)
{
    struct open_file *open = &x->files[0];

    if (!plan->shared)
        return;
    EXPECT_EQ(hf_open(x->pool, plan->shared, O_RDWR, 0, &open->file), 0);
    if (!open->node) {
        open->node = model_node_new(&x->model, NULL, S_IFREG | 0644);
        open->node->window_first = plan->shared_first;
        open->node->window_pages = plan->shared_pages;
        open->node->content.size = plan->shared_size_pages * TEST_PAGE;
        open->node->opens = 1;
        open->flags = O_RDWR;
    }
}

static void reopen(struct exercise *x, const struct exercise_plan *plan)
{
    note(x, "reopen");
    close_all(x);
    if (plan->shared)
        EXPECT_EQ(hf_close(x->files[0].file), 0);
    test_pool_close(x->pool);
    if (x->alone && !plan->accompanied && test_chance(&x->rng, 50))
        test_pool_check(x->pool_name);
    x->pool = test_pool_open(x->pool_name);
    open_shared(x, plan);
    compare_all(x);
}

static void begin(struct exercise *x, const struct exercise_plan *plan)
{
    struct hf_pool_info info = {.size = sizeof(info)};
    struct stat root;

    x->rng.state = plan->seed;
    x->pool_name = plan->pool_name;
    x->pool = test_pool_open(plan->pool_name);
    x->alone = strcmp(plan->top, "/") == 0;
    model_init(&x->model);
    x->top = x->model.root;
    EXPECT_EQ(hf_stat(x->pool, "/", 0, &root), 0);
    x->top->mode = root.st_mode; /* follows the pool's */
    if (!x->alone) {
        EXPECT_EQ(hf_mkdir(x->pool, plan->top, 0755), 0);
        x->top = model_node_new(&x->model, NULL, S_IFDIR | 0755);
        model_enter(x->model.root, plan->top + 1, x->top);
    }
    EXPECT_EQ(hf_pool_info(x->pool, &info), 0);
    x->pool_bytes = info.pool_bytes;
    x->blocks_at_start = (info.pool_bytes - info.free_bytes - info.detached_bytes) / TEST_PAGE;
    open_shared(x, plan);
    failing = x;
    test_on_failure = print_log;
}

void exercise_run(const struct exercise_plan *plan)
{
    struct exercise *x = calloc(1, sizeof(*x));

    begin(x, plan);
    while (x->done < plan->count) {
        choose_operation(x)->run(x);
        x->done++;
        if (x->done % COMPARE_EVERY == 0)
            compare_all(x);
        if (x->done % REOPEN_EVERY == 0)
            reopen(x, plan);
    }
    compare_all(x);
    close_all(x);
    compare_all(x);
    EXPECT(plan->count < 10000 || (x->clones && x->merged));
    printf("%" PRIu64 " KiB compacted, %" PRIu64 " KiB trimmed, shrunk %" PRIu64 " times\n",
           x->compacted >> 10, x->trimmed >> 10, x->shrunk);
    if (plan->shared)
        EXPECT_EQ(hf_close(x->files[0].file), 0);
    test_pool_close(x->pool);
    test_on_failure = NULL;
    model_free(&x->model);
    free(x);
}
