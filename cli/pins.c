/* SPDX-License-Identifier: MIT */
/*
 * The verb pins: what is held, by which process, and which layout change waits for it. The list is
 * sorted by file, with layout changes after the pins that they may wait for. A file has few layout
 * changes that wait, so to compare each of its pins with each of its layout changes is O(pins).
 */
#include "cli.h"

#include <stdlib.h>

static bool as_json, waiting_only;
static const char *file_path;

static struct cli_option pins_options[] = {
    {.name = "file",
     .letter = 'f',
     .kind = CLI_TEXT,
     .value = &file_path,
     .value_name = "PATH",
     .help = "only pins, leases and layout changes of this file"},
    {.name = "waiting",
     .letter = 'w',
     .kind = CLI_FLAG,
     .value = &waiting_only,
     .help = "only layout changes that wait, each with what it waits for"},
    {.name = "json", .letter = 'j', .kind = CLI_FLAG, .value = &as_json, .help = "for programs"},
    {0},
};

/* The part of the list that is about one file. */
struct file_pins {
    const struct hf_pin_info *pins, *changes, *end; /* pins and leases before the changes */
    const char *path;                               /* null: it has no name any more */
    const char *title;
};

struct view {
    struct cli_pins pins;
    struct cli_inode_names *names;
    size_t pin_count, lease_count, put_count, change_count; /* shown */
    struct cli_json json;
};

/* By file and range; a waiting change comes after the pins that it waits for. */
static int by_range(const void *a, const void *b)
{
    const struct hf_pin_info *left = a, *right = b;
    int order = cli_compare(left->ino, right->ino);

    if (order == 0)
        order = cli_compare(left->state == HF_PIN_WAITING, right->state == HF_PIN_WAITING);
    if (order == 0)
        order = cli_compare(left->off, right->off);
    if (order == 0)
        order = cli_compare((uint64_t)left->tid, (uint64_t)right->tid);
    return order;
}

static void count(struct view *view, const struct hf_pin_info *pin)
{
    if (pin->state == HF_PIN_WAITING)
        view->change_count++;
    else if ((pin->flags & HF_PIN_PUT) != 0)
        view->put_count++;
    else if ((pin->flags & HF_PIN_LEASE) != 0)
        view->lease_count++;
    else
        view->pin_count++;
}

/* -------------------------------------------------------------------------------- text --- */

static void print_head(void)
{
    printf("%7s %7s %-15s %-6s %-11s %-5s %-8s %8s %-17s ", "PID", "TID", "COMMAND", "KIND",
           "STATE", "MODE", "PURPOSE", "AGE", "RANGE");
    printf("%s\n", waiting_only ? "FILE" : "WAITERS          FILE");
}

static void print_pin_line(const struct hf_pin_info *pin, int indent)
{
    char age[CLI_TIME_TEXT], range[CLI_RANGE_TEXT];

    printf("%7d %7d ", (int)pin->pid, (int)pin->tid);
    cli_put_command(stdout, pin, indent, 15);
    printf(" %-6s %-11s %-5s %-8s %8s %-17s ", cli_pin_kind(pin), cli_pin_state(pin),
           cli_pin_mode(pin), cli_pin_purpose(pin), cli_pin_age(age, pin),
           cli_pin_range(range, pin));
}

static void print_title(const struct file_pins *file, const struct hf_pin_info *pin)
{
    cli_put_name(stdout, file->title);
    cli_put_label(stdout, pin);
    putchar('\n');
}

/* "123:1.5s,456:20ms": the threads that wait for the pin, and since when. */
static void print_waiters(const struct file_pins *file, const struct hf_pin_info *pin)
{
    char age[CLI_TIME_TEXT];
    int columns = 0;

    for (const struct hf_pin_info *change = file->changes; change < file->end; change++) {
        if (cli_pin_blocks(pin, change))
            columns += printf("%s%d:%s", columns > 0 ? "," : "", (int)change->tid,
                              cli_pin_age(age, change));
    }
    if (columns == 0)
        columns = printf("-");
    printf("%*s ", columns < 16 ? 16 - columns : 0, "");
}

static void print_file(struct view *view, const struct file_pins *file)
{
    for (const struct hf_pin_info *pin = file->pins; pin < file->end; pin++) {
        print_pin_line(pin, 0);
        print_waiters(file, pin);
        print_title(file, pin);
        count(view, pin);
    }
}

/* The first of the layout changes that wait for the pin, or null. */
static const struct hf_pin_info *first_waiter(const struct file_pins *file,
                                              const struct hf_pin_info *pin)
{
    for (const struct hf_pin_info *change = file->changes; change < file->end; change++)
        if (cli_pin_blocks(pin, change))
            return change;
    return NULL;
}

/* A layout change, and below it those it waits for. A pin that several wait for has a line below
 * each, and counts once. */
static void print_change(struct view *view, const struct file_pins *file,
                         const struct hf_pin_info *change)
{
    print_pin_line(change, 0);
    print_title(file, change);
    count(view, change);
    for (const struct hf_pin_info *pin = file->pins; pin < file->changes; pin++) {
        if (!cli_pin_blocks(pin, change))
            continue;
        print_pin_line(pin, 2);
        print_title(file, pin);
        if (first_waiter(file, pin) == change)
            count(view, pin);
    }
}

static void print_count(const char *before, size_t number, const char *noun)
{
    printf("%s%zu %s%s", before, number, noun, number == 1 ? "" : "s");
}

static void print_counts(const struct view *view)
{
    if (waiting_only) {
        print_count("", view->change_count, "layout change");
        print_count(" waiting for ", view->pin_count, "pin");
        print_count(" and ", view->lease_count, "lease");
        putchar('\n');
    } else {
        print_count("", view->pin_count, "pin");
        print_count(", ", view->lease_count, "lease");
        if (view->put_count > 0)
            print_count(", ", view->put_count, "put");
        print_count(", ", view->change_count, "layout change");
        printf(" waiting\n");
    }
}

/* -------------------------------------------------------------------------------- JSON --- */

static void put_holder(struct cli_json *json, const struct hf_pin_info *pin)
{
    cli_json_number(json, "pid", (uint64_t)pin->pid);
    cli_json_number(json, "tid", (uint64_t)pin->tid);
    cli_json_text(json, "command", pin->command);
    cli_json_text(json, "kind", cli_pin_kind(pin));
    cli_json_text(json, "state", cli_pin_state(pin));
    if (pin->state != HF_PIN_WAITING) {
        cli_json_bool(json, "recalled", (pin->flags & HF_PIN_RECALLED) != 0);
        cli_json_bool(json, "stopped", (pin->flags & HF_PIN_STOPPED) != 0);
        cli_json_text(json, "mode", cli_pin_mode(pin));
        cli_json_text(json, "purpose", cli_pin_purpose(pin));
        if (pin->label[0] != '\0')
            cli_json_text(json, "label", pin->label);
        else
            cli_json_null(json, "label");
    }
    cli_json_number(json, "off", pin->off);
    cli_json_number(json, "len", pin->len);
    cli_json_number(json, "age_ns", pin->age_ns);
}

/* A pin with the layout changes that wait for it, a layout change with the pins it waits for. */
static void put_others(struct cli_json *json, const struct file_pins *file,
                       const struct hf_pin_info *pin)
{
    bool waits = pin->state == HF_PIN_WAITING;
    const struct hf_pin_info *other = waits ? file->pins : file->changes;
    const struct hf_pin_info *end = waits ? file->changes : file->end;

    cli_json_open(json, waits ? "holders" : "waiters", '[');
    for (; other < end; other++) {
        if (waits ? !cli_pin_blocks(other, pin) : !cli_pin_blocks(pin, other))
            continue;
        cli_json_open(json, NULL, '{');
        put_holder(json, other);
        cli_json_close(json, '}');
    }
    cli_json_close(json, ']');
}

static void put_pin(struct cli_json *json, const struct file_pins *file,
                    const struct hf_pin_info *pin)
{
    cli_json_open(json, NULL, '{');
    put_holder(json, pin);
    cli_json_number(json, "ino", pin->ino);
    if (file->path != NULL)
        cli_json_text(json, "file", file->path);
    else
        cli_json_null(json, "file");
    put_others(json, file, pin);
    cli_json_close(json, '}');
}

/* --------------------------------------------------------------------------------- all --- */

static void show_file(struct view *view, const struct file_pins *file)
{
    if (as_json) {
        for (const struct hf_pin_info *pin = waiting_only ? file->changes : file->pins;
             pin < file->end; pin++)
            put_pin(&view->json, file, pin);
    } else if (waiting_only) {
        for (const struct hf_pin_info *change = file->changes; change < file->end; change++)
            print_change(view, file, change);
    } else {
        print_file(view, file);
    }
}

/* Cuts the sorted list into files; ino 0: all, else that one. */
static void show_files(struct view *view, uint64_t ino)
{
    const struct hf_pin_info *next = view->pins.list;
    const struct hf_pin_info *end = view->pins.count > 0 ? next + view->pins.count : next;

    while (next < end) {
        char lost[CLI_LOST_NAME_TEXT];
        struct file_pins file = {.pins = next, .path = cli_inode_name(view->names, next->ino)};

        file.title = cli_inode_title(view->names, next->ino, lost);
        while (next < end && next->ino == file.pins->ino && next->state != HF_PIN_WAITING)
            next++;
        file.changes = next;
        while (next < end && next->ino == file.pins->ino)
            next++;
        file.end = next;
        if (ino == 0 || ino == file.pins->ino)
            show_file(view, &file);
    }
}

/* Device pins of processes that all have died: no process is left that knows which blocks they
 * held. */
static void print_ghosts(struct hf_pool *pool)
{
    struct hf_pool_info info = {.size = sizeof(info)};
    char left[CLI_TIME_TEXT];

    if (hf_pool_info(pool, &info) == 0 && info.quarantine_left_ns != 0)
        printf(
            "all processes had died, some with device pins: blocks that leave a file are quarantined "
            "for %s more\n",
            cli_duration(left, info.quarantine_left_ns));
}

static void show_pins(struct hf_pool *pool, struct view *view, uint64_t ino)
{
    if (view->pins.count > 0)
        qsort(view->pins.list, view->pins.count, sizeof(view->pins.list[0]), by_range);
    if (as_json) {
        cli_json_begin(&view->json, stdout);
        cli_json_open(&view->json, NULL, '[');
        show_files(view, ino);
        cli_json_close(&view->json, ']');
        cli_json_end(&view->json);
    } else {
        print_head();
        show_files(view, ino);
        print_counts(view);
        print_ghosts(pool);
    }
}

static int find_file(struct hf_pool *pool, uint64_t *ino)
{
    struct stat st;
    int rc;

    *ino = 0;
    if (file_path == NULL)
        return EX_OK;
    rc = hf_stat(pool, file_path, 0, &st);
    if (rc != 0)
        return cli_fail(file_path, rc);
    if (!S_ISREG(st.st_mode)) {
        cli_note("%s: this is a %s, and only files can be pinned", file_path,
                 cli_type_text(st.st_mode));
        return EX_NOINPUT;
    }
    *ino = st.st_ino;
    return EX_OK;
}

static int show_pool(struct hf_pool *pool, const char *path)
{
    struct view view = {0};
    uint64_t ino;
    int status = find_file(pool, &ino);
    int rc;

    if (status != EX_OK)
        return status;
    rc = cli_pins_read(pool, &view.pins);
    if (rc == 0) {
        status = cli_inode_names_read(pool, &view.names);
        show_pins(pool, &view, ino);
        cli_inode_names_free(view.names);
    } else {
        status = cli_fail(path, rc);
    }
    cli_pins_free(&view.pins);
    return status;
}

static int pins_run(int count_of_operands, char **operands)
{
    struct hf_pool *pool;
    int status = cli_pool_open(operands[0], HF_OPEN_RDONLY, &pool);

    (void)count_of_operands;
    if (status != EX_OK)
        return status;
    return cli_pool_close(pool, operands[0], show_pool(pool, operands[0]));
}

const struct cli_verb cli_verb_pins = {
    .name = "pins",
    .operands = "POOL",
    .summary = "show which process holds which range of which file, and what waits for it",
    .details = "WAITERS are the threads of layout changes that wait for the pin, and since when.",
    .options = pins_options,
    .operands_min = 1,
    .operands_max = 1,
    .run = pins_run,
};
