/* SPDX-License-Identifier: MIT */
/*
 * Choices: which file, which name, which range. Few names in few directories, so that operations
 * meet; ranges around page edges and the end of file, where the mistakes are.
 */
#include "exercise.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

struct open_file *choose_open(struct exercise *x)
{
    size_t first = test_below(&x->rng, EXERCISE_FILES);

    for (size_t i = 0; i < EXERCISE_FILES; i++) {
        struct open_file *open = &x->files[(first + i) % EXERCISE_FILES];

        if (open->file)
            return open;
    }
    return NULL;
}

struct open_file *choose_free_place(struct exercise *x)
{
    for (size_t i = 0; i < EXERCISE_FILES; i++)
        if (!x->files[i].file)
            return &x->files[i];
    return NULL;
}

struct model_node *choose_dir(struct exercise *x)
{
    struct model_node *dir = x->top;

    while (dir->entry_count > 0 && test_chance(&x->rng, 60)) {
        struct model_node *node = dir->entries[test_below(&x->rng, dir->entry_count)].node;

        if (!S_ISDIR(node->mode))
            break;
        dir = node;
    }
    return dir;
}

static void choose_name(struct exercise *x, char name[HF_NAME_MAX + 2])
{
    static const char *const plain[] = {
        "a",        "b",    "c",      "dd",        "dir",
        "file",     "link", "new",    "old",       "x.y",
        ".hidden",  "...",  "sp ace", "new\nline", "\303\244\303\266",
        "\377\376", "zz",   "a0",     "Z",
    };
    size_t kind = test_below(&x->rng, 100), len = HF_NAME_MAX;

    if (kind < 94) {
        strcpy(name, plain[test_below(&x->rng, sizeof(plain) / sizeof(plain[0]))]);
        return;
    }
    if (kind == 99)
        len = HF_NAME_MAX + 1;
    memset(name, 'A' + (int)test_below(&x->rng, 3), len);
    name[len] = '\0';
}

static bool append(char *path, size_t len, const char *component)
{
    size_t used = strlen(path);

    return used + 1 + strlen(component) + 1 <= len &&
           snprintf(path + used, len - used, "/%s", component) > 0;
}

/* "." or "x/.." where x is a directory there. */
static void append_detour(struct exercise *x, const struct model_node *dir, char *path, size_t len)
{
    if (test_chance(&x->rng, 50)) {
        append(path, len, ".");
        return;
    }
    for (size_t i = 0; i < dir->entry_count; i++)
        if (S_ISDIR(dir->entries[i].node->mode)) {
            if (strlen(path) + HF_NAME_MAX + 8 < len && append(path, len, dir->entries[i].name))
                append(path, len, "..");
            return;
        }
}

void choose_path(struct exercise *x, char *path, size_t len)
{
    struct model_node *dir = choose_dir(x);
    char name[HF_NAME_MAX + 2];

    path[0] = '\0';
    if (dir != x->model.root && !model_path(&x->model, dir, path, len))
        FAIL("the model lost a directory");
    if (test_chance(&x->rng, 4))
        append_detour(x, dir, path, len);
    if (test_chance(&x->rng, 5)) { /* through whatever this is */
        choose_name(x, name);
        append(path, len, name);
    }
    if (dir->entry_count > 0 && test_chance(&x->rng, 50))
        strcpy(name, dir->entries[test_below(&x->rng, dir->entry_count)].name);
    else
        choose_name(x, name);
    if (!append(path, len, name)) {
        path[0] = '\0';
        if (x->top != x->model.root)
            model_path(&x->model, x->top, path, len);
        append(path, len, "deep");
    }
    if (test_chance(&x->rng, 10))
        memmove(path, path + 1, strlen(path)); /* relative to the root */
}

static uint64_t choose_length(struct exercise *x)
{
    size_t kind = test_below(&x->rng, 1000);

    if (kind < 4)
        return HF_HUGE_BYTES + test_below(&x->rng, 2 * HF_HUGE_BYTES);
    if (kind < 60)
        return 1 + test_below(&x->rng, 100 * TEST_PAGE);
    if (kind < 500)
        return 1 + test_below(&x->rng, 6 * TEST_PAGE);
    return 1 + test_below(&x->rng, TEST_PAGE);
}

static uint64_t choose_offset(struct exercise *x, const struct model_node *node)
{
    static const uint64_t far_away[] = {
        UINT64_C(1) << 31,
        UINT64_C(5) << 30,
        UINT64_C(1) << 42,
        HF_FILE_BYTES_MAX - 8 * TEST_PAGE,
    };
    uint64_t size = node->content.size;
    size_t kind = test_below(&x->rng, 100);

    if (kind < 2)
        return far_away[test_below(&x->rng, 4)] + test_below(&x->rng, 4 * TEST_PAGE);
    if (kind < 4)
        return HF_HUGE_BYTES * test_below(&x->rng, 3);
    if (kind < 20 && size < 100 * TEST_PAGE)
        return size + test_below(&x->rng, 3 * TEST_PAGE);
    if (kind < 50 && node->content.count > 0) { /* near a page that has a block */
        size_t place = test_below(&x->rng, node->content.count);

        return node->content.pages[place].index * TEST_PAGE + test_below(&x->rng, TEST_PAGE);
    }
    if (kind < 60)
        return 0;
    return size ? test_below(&x->rng, size < 64 * TEST_PAGE ? size : 64 * TEST_PAGE) : 0;
}

static void choose_in_window(struct exercise *x, const struct model_node *node, uint64_t *off,
                             uint64_t *len)
{
    uint64_t bytes = node->window_pages * TEST_PAGE, start;

    start = test_below(&x->rng, bytes);
    *len = choose_length(x);
    if (*len > bytes - start)
        *len = bytes - start;
    *off = node->window_first * TEST_PAGE + start;
}

void choose_range(struct exercise *x, const struct model_node *node, bool whole_pages,
                  uint64_t *off, uint64_t *len)
{
    if (node->window_pages) {
        choose_in_window(x, node, off, len);
    } else {
        *off = choose_offset(x, node);
        *len = choose_length(x);
    }
    if (whole_pages || test_chance(&x->rng, 30)) {
        uint64_t end = (*off + *len + TEST_PAGE - 1) / TEST_PAGE * TEST_PAGE;

        *off = *off / TEST_PAGE * TEST_PAGE;
        *len = end - *off;
    }
}

void expect_one_of(struct exercise *x, long long rc, const int *errnos)
{
    note_result(x, rc);
    if (errnos[0] == 0) {
        if (rc < 0)
            FAIL("gave %s, expected success; %s", strerrorname_np((int)-rc), hf_strerror_detail());
        return;
    }
    for (const int *e = errnos; *e; e++)
        if (rc == -*e)
            return;
    FAIL("gave %lld (%s), expected %s%s", rc, rc < 0 ? strerrorname_np((int)-rc) : "success",
         strerrorname_np(errnos[0]), errnos[1] ? " or another" : "");
}

bool is_full(struct exercise *x, uint64_t pages)
{
    return test_free_bytes(x->pool) / TEST_PAGE < pages + 64;
}
