/* SPDX-License-Identifier: MIT */
/*
 * The verb pins: who holds what, and who waits. A snapshot is taken first and named afterwards,
 * since the callback of hf_pins() may not call the library.
 */
#include "cli.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static bool as_json;

static struct cli_option pins_options[] = {
    {.name = "json", .letter = 'j', .kind = CLI_FLAG, .value = &as_json, .help = "for programs"},
    {0},
};

struct pin_list {
    struct hf_pin_info *list;
    size_t count, room;
};

static int keep_pin(void *arg, const struct hf_pin_info *info)
{
    struct pin_list *pins = arg;

    pins->list = cli_grow(pins->list, pins->count, &pins->room, sizeof(pins->list[0]));
    pins->list[pins->count++] = *info;
    return 0;
}

static int compare(uint64_t left, uint64_t right)
{
    return (left > right) - (left < right);
}

/* By file and range; who waits comes after who is waited for. */
static int by_range(const void *a, const void *b)
{
    const struct hf_pin_info *left = a, *right = b;
    int order = compare(left->ino, right->ino);

    if (order == 0)
        order = compare(left->state == HF_PIN_WAITING, right->state == HF_PIN_WAITING);
    if (order == 0)
        order = compare(left->off, right->off);
    if (order == 0)
        order = compare((uint64_t)left->tid, (uint64_t)right->tid);
    return order;
}

/* A layout change may reach to the end of any file. */
static uint64_t range_end(const struct hf_pin_info *pin)
{
    return pin->len > UINT64_MAX - pin->off ? UINT64_MAX : pin->off + pin->len;
}

static void print_range(const struct hf_pin_info *pin)
{
    char from[CLI_SIZE_TEXT], to[CLI_SIZE_TEXT], text[3 * CLI_SIZE_TEXT];
    uint64_t end = range_end(pin);

    if (end >= HF_FILE_BYTES_MAX)
        snprintf(text, sizeof(text), "%s..end", cli_size(from, pin->off));
    else if (end < (UINT64_C(1) << 20))
        snprintf(text, sizeof(text), "%" PRIu64 "..%" PRIu64, pin->off, end);
    else
        snprintf(text, sizeof(text), "%s..%s", cli_size(from, pin->off), cli_size(to, end));
    printf(" %-17s", text);
}

static void print_pin(const struct hf_pin_info *pin, const struct cli_inode_names *names)
{
    char lost[CLI_LOST_NAME_TEXT], age[CLI_TIME_TEXT];
    bool waits = pin->state == HF_PIN_WAITING;

    printf("%7d %7d ", (int)pin->pid, (int)pin->tid);
    cli_put_escaped(stdout, pin->command);
    printf("%*s", (int)(15 - strlen(pin->command)), "");
    printf(" %-8s %-6s %-8s %8s", cli_pin_state(pin->state), waits ? "-" : cli_pin_mode(pin->flags),
           waits ? "-" : cli_pin_purpose(pin->flags),
           pin->age_ns != 0 ? cli_duration(age, pin->age_ns) : "-");
    print_range(pin);
    putchar(' ');
    cli_put_name(stdout, cli_inode_title(names, pin->ino, lost));
    putchar('\n');
}

static void print_pins(const struct pin_list *pins, const struct cli_inode_names *names)
{
    size_t waiting = 0;

    printf("%7s %7s %-15s %-8s %-6s %-8s %8s %-17s FILE\n", "PID", "TID", "COMMAND", "STATE",
           "MODE", "PURPOSE", "AGE", "RANGE");
    for (size_t i = 0; i < pins->count; i++) {
        print_pin(&pins->list[i], names);
        waiting += pins->list[i].state == HF_PIN_WAITING;
    }
    printf("%zu pin%s, %zu layout change%s waiting\n", pins->count - waiting,
           pins->count - waiting == 1 ? "" : "s", waiting, waiting == 1 ? "" : "s");
}

static void put_pin(struct cli_json *json, const struct hf_pin_info *pin,
                    const struct cli_inode_names *names)
{
    const char *path = cli_inode_name(names, pin->ino);

    cli_json_open(json, NULL, '{');
    cli_json_number(json, "pid", (uint64_t)pin->pid);
    cli_json_number(json, "tid", (uint64_t)pin->tid);
    cli_json_text(json, "command", pin->command);
    cli_json_text(json, "state", cli_pin_state(pin->state));
    if (pin->state != HF_PIN_WAITING) {
        cli_json_text(json, "mode", cli_pin_mode(pin->flags));
        cli_json_text(json, "purpose", cli_pin_purpose(pin->flags));
    }
    cli_json_number(json, "off", pin->off);
    cli_json_number(json, "len", pin->len);
    cli_json_number(json, "age_ns", pin->age_ns);
    cli_json_number(json, "ino", pin->ino);
    if (path != NULL)
        cli_json_text(json, "file", path);
    else
        cli_json_null(json, "file");
    cli_json_close(json, '}');
}

static void put_pins(const struct pin_list *pins, const struct cli_inode_names *names)
{
    struct cli_json json;

    cli_json_begin(&json, stdout);
    cli_json_open(&json, NULL, '[');
    for (size_t i = 0; i < pins->count; i++)
        put_pin(&json, &pins->list[i], names);
    cli_json_close(&json, ']');
    cli_json_end(&json);
}

static int show_pins(struct hf_pool *pool, const char *path)
{
    struct pin_list pins = {0};
    struct cli_inode_names *names;
    int rc = hf_pins(pool, keep_pin, &pins);

    if (rc == 0)
        rc = cli_inode_names_read(pool, &names);
    if (rc != 0) {
        free(pins.list);
        return cli_fail(path, rc);
    }
    if (pins.count > 0)
        qsort(pins.list, pins.count, sizeof(pins.list[0]), by_range);
    if (as_json)
        put_pins(&pins, names);
    else
        print_pins(&pins, names);
    cli_inode_names_free(names);
    free(pins.list);
    return EX_OK;
}

static int pins_run(int count, char **operands)
{
    struct hf_pool *pool;
    int status = cli_pool_open(operands[0], HF_OPEN_RDONLY, &pool);

    (void)count;
    if (status != EX_OK)
        return status;
    return cli_pool_close(pool, operands[0], show_pins(pool, operands[0]));
}

const struct cli_verb cli_verb_pins = {
    .name = "pins",
    .operands = "POOL",
    .summary = "show who holds which range of which file, and who waits for it",
    .options = pins_options,
    .operands_min = 1,
    .operands_max = 1,
    .run = pins_run,
};
