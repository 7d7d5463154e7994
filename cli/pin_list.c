/* SPDX-License-Identifier: MIT */
/*
 * The list of pins, leases and waiting layout changes for the verbs that show it, and the words for
 * what is in it. A snapshot is taken first and looked at afterwards, since the callback of
 * hf_pins() may not call the library.
 */
#include "cli.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static int keep_pin(void *arg, const struct hf_pin_info *info)
{
    struct cli_pins *pins = arg;

    pins->list = cli_grow(pins->list, pins->count, &pins->room, sizeof(pins->list[0]));
    pins->list[pins->count++] = *info;
    return 0;
}

int cli_pins_read(struct hf_pool *pool, struct cli_pins *pins)
{
    pins->count = 0;
    return hf_pins(pool, keep_pin, pins);
}

void cli_pins_free(struct cli_pins *pins)
{
    free(pins->list);
}

/* A layout change may reach to the end of any file. */
static uint64_t range_end(const struct hf_pin_info *pin)
{
    return pin->len > UINT64_MAX - pin->off ? UINT64_MAX : pin->off + pin->len;
}

/* No layout change waits for blocks that have left the file, nor for those of dead processes. */
bool cli_pin_blocks(const struct hf_pin_info *pin, const struct hf_pin_info *change)
{
    return pin->state == HF_PIN_HELD && pin->ino == change->ino &&
           change->state == HF_PIN_WAITING && pin->off < range_end(change) &&
           change->off < range_end(pin);
}

const char *const cli_kind_words[CLI_PIN_KINDS] = {"pin", "lease", "put"};
const char *const cli_state_words[CLI_PIN_STATES] = {"held", "recalled", "stopped", "detached",
                                                     "quarantined"};
const char *const cli_purpose_words[CLI_PURPOSES] = {"cpu", "io_uring", "rdma", "gpu"};

static unsigned kind_of(const struct hf_pin_info *pin)
{
    if ((pin->flags & HF_PIN_PUT) != 0)
        return CLI_PUTS;
    return (pin->flags & HF_PIN_LEASE) != 0 ? CLI_LEASES : CLI_PINS;
}

static unsigned purpose_of(const struct hf_pin_info *pin)
{
    return (pin->flags & HF_PIN_GPU) / HF_PIN_IO_URING;
}

/* Of several, what matters most to a waiting change: a stopped process cannot answer a recall. */
static enum cli_pin_state state_of(const struct hf_pin_info *pin)
{
    if (pin->state == HF_PIN_QUARANTINED)
        return CLI_PIN_QUARANTINED;
    if (pin->state == HF_PIN_DETACHED && kind_of(pin) != CLI_PUTS)
        return CLI_PIN_DETACHED;
    if ((pin->flags & HF_PIN_STOPPED) != 0)
        return CLI_PIN_STOPPED;
    return (pin->flags & HF_PIN_RECALLED) != 0 ? CLI_PIN_RECALLED : CLI_PIN_HELD;
}

static void keep_most(uint64_t *most, uint64_t value)
{
    *most = value > *most ? value : *most;
}

void cli_pins_count(const struct cli_pins *pins, struct cli_pin_counts *out)
{
    *out = (struct cli_pin_counts){0};
    for (size_t i = 0; i < pins->count; i++) {
        const struct hf_pin_info *pin = &pins->list[i];

        if (pin->state == HF_PIN_WAITING) {
            out->waiting++;
            keep_most(&out->longest_wait_ns, pin->age_ns);
            continue;
        }
        out->of[kind_of(pin)][state_of(pin)][purpose_of(pin)]++;
        if (kind_of(pin) == CLI_LEASES)
            keep_most(&out->oldest_lease_ns, pin->age_ns);
    }
}

const char *cli_pin_kind(const struct hf_pin_info *pin)
{
    return pin->state == HF_PIN_WAITING ? "change" : cli_kind_words[kind_of(pin)];
}

const char *cli_pin_state(const struct hf_pin_info *pin)
{
    return pin->state == HF_PIN_WAITING ? "waiting" : cli_state_words[state_of(pin)];
}

const char *cli_pin_mode(const struct hf_pin_info *pin)
{
    if (pin->state == HF_PIN_WAITING)
        return "-";
    return (pin->flags & HF_PIN_WRITE) != 0 ? "write" : "read";
}

const char *cli_pin_purpose(const struct hf_pin_info *pin)
{
    return pin->state == HF_PIN_WAITING ? "-" : cli_purpose_words[purpose_of(pin)];
}

const char *cli_pin_age(char buf[CLI_TIME_TEXT], const struct hf_pin_info *pin)
{
    return pin->age_ns != 0 ? cli_duration(buf, pin->age_ns) : strcpy(buf, "-");
}

#define EXACT_TEXT 23
/* Exact, in the largest unit that divides it. */
static const char *exact_size(char buf[EXACT_TEXT], uint64_t bytes)
{
    static const char *const units[] = {"", "K", "M", "G", "T"};
    size_t unit = 0;

    while (bytes > 0 && bytes % 1024 == 0 && unit + 1 < sizeof(units) / sizeof(units[0])) {
        bytes /= 1024;
        unit++;
    }
    snprintf(buf, EXACT_TEXT, "%" PRIu64 "%.1s", bytes, units[unit]);
    return buf;
}

const char *cli_pin_range(char buf[CLI_RANGE_TEXT], const struct hf_pin_info *pin)
{
    char from[EXACT_TEXT], to[EXACT_TEXT];
    uint64_t end = range_end(pin);

    snprintf(buf, CLI_RANGE_TEXT, "%s..%s", exact_size(from, pin->off),
             end >= HF_FILE_BYTES_MAX ? "end" : exact_size(to, end));
    return buf;
}

void cli_put_label(FILE *out, const struct hf_pin_info *pin)
{
    if (pin->label[0] == '\0')
        return;
    fputs(" [", out);
    cli_put_escaped(out, pin->label);
    putc(']', out);
}

void cli_put_command(FILE *out, const struct hf_pin_info *pin, int indent, int width)
{
    int used = indent + (int)strlen(pin->command);

    fprintf(out, "%*s", indent, "");
    cli_put_escaped(out, pin->command);
    fprintf(out, "%*s", used < width ? width - used : 0, "");
}
