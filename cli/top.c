/* SPDX-License-Identifier: MIT */
/*
 * The verb top: a pool at a glance, again and again. A screen is drawn as lines of text, which go
 * to the terminal or, with --batch, to standard output. A refresh costs O(pins). The list is walked
 * once for the counts and the few rows that are shown, and once for the holders of each shown
 * layout change. Only the files that are shown are given their names, and those are remembered for
 * a while.
 */
#include "cache_rates.h"
#include "cli.h"
#include "listen.h"
#include "page.h"
#include "terminal.h"

#include <errno.h>
#include <inttypes.h>
#include <langinfo.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define NS_PER_S UINT64_C(1000000000)
#define BATCH_COLUMNS 80
#define BATCH_ROWS 40
#define ROWS_MAX 256
#define BAR_ROWS 6      /* of the histogram */
#define HOLDERS_SHOWN 3 /* of a layout change, while all is shown */
#define NAMES_KEPT 64   /* a power of two */
#define NAME_KEPT_S 10  /* a file may have been renamed */

static uint64_t interval_ns = NS_PER_S;
static uint32_t batch_screens;
static const char *page_address;

static struct cli_option top_options[] = {
    {.name = "interval",
     .letter = 'i',
     .kind = CLI_TIME,
     .value = &interval_ns,
     .value_name = "TIME",
     .help = "how long to wait between two screens (1s)",
     .min = NS_PER_S / 10,
     .max = 3600 * NS_PER_S},
    {.name = "batch",
     .letter = 'b',
     .kind = CLI_COUNT,
     .value = &batch_screens,
     .value_name = "N",
     .help = "print N screens as text instead",
     .min = 1,
     .max = UINT32_MAX},
    CLI_LISTEN_OPTION(page_address, "show it in browsers instead; a PORT alone: on this machine"),
    {0},
};

struct sample {
    uint64_t at_ns;
    struct hf_stats stats;
};

struct name {
    uint64_t ino, read_ns;
    char path[HF_SYMLINK_MAX + 1];
};

enum rows_shown { SHOW_ALL, SHOW_WAITS, SHOW_LEASES };

struct top {
    struct hf_pool *pool;
    const char *path;
    struct hf_pool_info info;
    struct sample now, before; /* before.at_ns 0: there was none */
    struct cli_pins pins;
    struct cli_pin_counts counts;
    char no_pins[256]; /* why there is no list; "" if there is one */
    const struct hf_pin_info *oldest[ROWS_MAX];
    int change_count, oldest_count; /* changes come first in `oldest` */
    struct name *names;
    struct cache_rates *caches;
    enum rows_shown shown;
    bool utf8;
    /* the screen under way */
    int rows, columns, line_count;
    enum terminal_style styles[ROWS_MAX];
    FILE *out;
};

/* ------------------------------------------------------------------------------ sample --- */

static int read_pins(struct top *top)
{
    int rc = cli_pins_read(top->pool, &top->pins);

    top->no_pins[0] = '\0';
    if (rc == -EOPNOTSUPP)
        snprintf(top->no_pins, sizeof(top->no_pins), "%s", hf_strerror_detail());
    cli_pins_count(&top->pins, &top->counts);
    return rc == -EOPNOTSUPP ? 0 : rc;
}

static int read_sample(struct top *top)
{
    int rc;

    top->before = top->now;
    top->now = (struct sample){.at_ns = cli_now_ns(), .stats.size = sizeof(top->now.stats)};
    top->info = (struct hf_pool_info){.size = sizeof(top->info)};
    rc = hf_pool_info(top->pool, &top->info);
    if (rc == 0)
        rc = hf_stats(top->pool, &top->now.stats);
    if (rc == 0)
        top->caches = cache_rates_read(top->caches, top->pool);
    return rc == 0 ? read_pins(top) : rc;
}

/* ------------------------------------------------------------------------------- lines --- */

static void begin_top_line(struct top *top, enum terminal_style style)
{
    if (top->line_count < ROWS_MAX)
        top->styles[top->line_count++] = style;
}

static void end_line(struct top *top)
{
    fputc('\n', top->out);
}

/* Four characters, each one column wide, for a terminal without UTF-8. */
static void put_glyph(const struct top *top, const char *utf8, char plain)
{
    if (top->utf8)
        fputs(utf8, top->out);
    else
        fputc(plain, top->out);
}

#define COUNT_TEXT 24
static const char *count_text(char buf[COUNT_TEXT], uint64_t count)
{
    if (count < UINT64_C(10000000))
        snprintf(buf, COUNT_TEXT, "%" PRIu64, count);
    else if (count < UINT64_C(10000000000))
        snprintf(buf, COUNT_TEXT, "%.2fM", (double)count / 1e6);
    else
        snprintf(buf, COUNT_TEXT, "%.2fG", (double)count / 1e9);
    return buf;
}

static void draw_title(struct top *top)
{
    char stamp[32] = "", every[CLI_TIME_TEXT];
    time_t now = time(NULL);
    struct tm local;

    if (localtime_r(&now, &local) != NULL)
        strftime(stamp, sizeof(stamp), "%Y-%m-%d %H:%M:%S", &local);
    begin_top_line(top, TERMINAL_TITLE);
    cli_put_escaped(top->out, top->path);
    fprintf(top->out, "  %s  every %s  %s, %s, %s", stamp, cli_duration(every, interval_ns),
            top->info.engine, top->info.media,
            top->info.flags & HF_POOL_DURABLE ? "durable" : "memory");
    end_line(top);
}

/* Rounded up, so that anything above zero shows. */
static int share_width(uint64_t part, uint64_t whole, int width)
{
    int cells = (int)((double)part * width / (double)whole + 0.5);

    return part > 0 && cells == 0 ? 1 : cells > width ? width : cells;
}

static void put_bar(struct top *top, int width)
{
    const struct hf_pool_info *info = &top->info;
    int used = share_width(cli_used_bytes(info), info->pool_bytes, width);
    int detached = share_width(info->detached_bytes, info->pool_bytes, width);

    if (used + detached > width)
        used = width - detached;
    fputc('[', top->out);
    for (int i = 0; i < width; i++) {
        if (i < used)
            put_glyph(top, "\u2588", '#');
        else if (i < used + detached)
            put_glyph(top, "\u2592", '+');
        else
            put_glyph(top, "\u00b7", '.');
    }
    fputc(']', top->out);
}

static void draw_space(struct top *top)
{
    const struct hf_pool_info *info = &top->info;
    char size[CLI_SIZE_TEXT], used[CLI_SIZE_TEXT], saved[CLI_SIZE_TEXT], detached[CLI_SIZE_TEXT],
        free_text[CLI_SIZE_TEXT], resident[CLI_SIZE_TEXT];
    int width;

    begin_top_line(top, TERMINAL_PLAIN);
    width = fprintf(
        top->out, "pool %s: used %s (%.0f%%), saved %s, detached %s, free %s, resident %s  ",
        cli_size(size, info->pool_bytes), cli_size(used, cli_used_bytes(info)),
        100.0 * (double)cli_used_bytes(info) / (double)info->pool_bytes,
        cli_size(saved, info->saved_bytes), cli_size(detached, info->detached_bytes),
        cli_size(free_text, info->free_bytes), cli_size(resident, info->resident_bytes));
    width = top->columns - width - 2;
    if (width > 0)
        put_bar(top, width);
    end_line(top);
}

static void draw_users(struct top *top)
{
    const struct hf_pool_info *info = &top->info;

    begin_top_line(top, TERMINAL_PLAIN);
    fprintf(top->out, "processes %u/%u, threads %u/%u, open files %u/%u, inodes %" PRIu64,
            info->processes, info->max_processes, info->threads, info->max_threads, info->files,
            info->max_files, info->inodes);
    end_line(top);
}

static void draw_caches(struct top *top)
{
    for (int i = 0; i < cache_rates_count(top->caches); i++) {
        begin_top_line(top, TERMINAL_PLAIN);
        cache_rates_print(top->caches, i, top->out);
        end_line(top);
    }
}

/* Sums over the table of counts; -1 takes all of that dimension. */
static uint64_t count_of_pins(const struct cli_pin_counts *counts, int kind, int state, int purpose)
{
    uint64_t sum = 0;

    for (int k = 0; k < CLI_PIN_KINDS; k++) {
        for (int s = 0; s < CLI_PIN_STATES; s++) {
            for (int p = 0; p < CLI_PURPOSES; p++) {
                if ((kind < 0 || kind == k) && (state < 0 || state == s) &&
                    (purpose < 0 || purpose == p))
                    sum += counts->of[k][s][p];
            }
        }
    }
    return sum;
}

static void put_pin_counts(struct top *top)
{
    const struct cli_pin_counts *counts = &top->counts;

    begin_top_line(top, TERMINAL_PLAIN);
    if (top->no_pins[0] != '\0') {
        fprintf(top->out, "pins not known, leases %u/%u", top->info.leases, top->info.max_leases);
        end_line(top);
        return;
    }
    fprintf(top->out, "pins %" PRIu64 ", leases %" PRIu64 ":",
            count_of_pins(counts, CLI_PINS, -1, -1), count_of_pins(counts, CLI_LEASES, -1, -1));
    for (int purpose = 0; purpose < CLI_PURPOSES; purpose++)
        fprintf(top->out, " %s %" PRIu64, cli_purpose_words[purpose],
                count_of_pins(counts, -1, -1, purpose));
    end_line(top);
    begin_top_line(top, counts->waiting > 0 ? TERMINAL_ALARM : TERMINAL_PLAIN);
    fprintf(top->out, "layout changes waiting %" PRIu64, counts->waiting);
    for (int state = CLI_PIN_RECALLED; state < CLI_PIN_STATES; state++)
        fprintf(top->out, ", %s %" PRIu64, cli_state_words[state],
                count_of_pins(counts, -1, state, -1));
    end_line(top);
}

/* ---------------------------------------------------------------- counters, histogram --- */

static void draw_counter(struct top *top, const char *label, uint64_t now, uint64_t before)
{
    double seconds = (double)(top->now.at_ns - top->before.at_ns) / NS_PER_S;
    char total[COUNT_TEXT], rate[COUNT_TEXT] = "-";

    if (top->before.at_ns != 0) {
        double a_second = (double)(now - before) / seconds;

        snprintf(rate, sizeof(rate), a_second < 1000 ? "%.1f" : "%.0f", a_second);
    }
    fprintf(top->out, "%-15s%11s%9s   ", label, count_text(total, now), rate);
}

static void put_pair(struct top *top, const char *one, uint64_t one_count, const char *other,
                     uint64_t other_count)
{
    char text[COUNT_TEXT], more[COUNT_TEXT];

    fprintf(top->out, "%-8s%8s  %-9s%8s   ", one, count_text(text, one_count), other,
            count_text(more, other_count));
}

static void draw_counters(struct top *top, int row)
{
    const struct hf_stats *now = &top->now.stats, *before = &top->before.stats;

    switch (row) {
    case 0:
        draw_counter(top, "layout changes", now->changes, before->changes);
        break;
    case 1:
        draw_counter(top, "pins slow", now->pins_slow, before->pins_slow);
        break;
    case 2:
        draw_counter(top, "waits at gates", now->gate_waits, before->gate_waits);
        break;
    case 3:
        draw_counter(top, "faults", now->faults, before->faults);
        break;
    case 4:
        draw_counter(top, "heavy barriers", now->barriers, before->barriers);
        break;
    case 5:
        draw_counter(top, "recalls", now->recalls, before->recalls);
        break;
    case 6:
        put_pair(top, "gave up",
                 now->timed_out + now->busy + now->cancelled + now->own_pins + now->deadlocks,
                 "deadlocks", now->deadlocks);
        break;
    default:
        put_pair(top, "detached", now->detaches, "reaped", now->reaped);
        break;
    }
}

/* The part of a bar, `cells` high in all, that lies in one row; rows count from below. */
static void put_bar_cell(const struct top *top, double cells, int row)
{
    static const char *const eighths[] = {"\u2581", "\u2582", "\u2583", "\u2584",
                                          "\u2585", "\u2586", "\u2587", "\u2588"};
    int eighth = (int)((cells - row) * 8 + 0.5);

    if (cells > 0 && row == 0 && eighth < 1)
        eighth = 1;
    if (eighth < 1)
        fputc(' ', top->out);
    else
        put_glyph(top, eighths[eighth > 8 ? 7 : eighth - 1], eighth < 4 ? '.' : '#');
}

static void put_histogram(const struct top *top, int row)
{
    const uint64_t *buckets = top->now.stats.wait_log2_ns;
    uint64_t most = 1;

    for (int i = 0; i < HF_WAIT_BUCKETS; i++)
        most = buckets[i] > most ? buckets[i] : most;
    for (int i = 0; i < HF_WAIT_BUCKETS && row < BAR_ROWS; i++)
        put_bar_cell(top, (double)buckets[i] * BAR_ROWS / (double)most, BAR_ROWS - 1 - row);
    for (int i = 0; i < HF_WAIT_BUCKETS && row == BAR_ROWS; i++) {
        if (i % 10 == 0)
            put_glyph(top, "\u253c", '+');
        else
            put_glyph(top, "\u2500", '-');
    }
    if (row == BAR_ROWS + 1)
        fprintf(top->out, "%-10s%-10s%-10s%-10s", "1ns", "1us", "1ms", "1s"); /* 2^10 each */
}

static void put_events(struct top *top)
{
    const struct hf_stats *stats = &top->now.stats;
    uint64_t waits = stats->drains_waited;
    char count[COUNT_TEXT], mean[CLI_TIME_TEXT], longest[CLI_TIME_TEXT];

    begin_top_line(top, TERMINAL_HEAD);
    fprintf(top->out, "%-15s%11s%9s   %s waits", "", "TOTAL", "/S", count_text(count, waits));
    if (waits > 0)
        fprintf(top->out, ", mean %s, longest %s", cli_duration(mean, stats->wait_ns_total / waits),
                cli_duration(longest, stats->wait_ns_max));
    end_line(top);
    for (int row = 0; row < BAR_ROWS + 2; row++) {
        begin_top_line(top, TERMINAL_PLAIN);
        draw_counters(top, row);
        put_histogram(top, row);
        end_line(top);
    }
}

/* ------------------------------------------------------------------------------- table --- */

static const char *file_name(struct top *top, uint64_t ino)
{
    struct name *name = &top->names[ino % NAMES_KEPT];
    uint64_t now = cli_now_ns();

    if (name->ino == ino && now - name->read_ns < NAME_KEPT_S * NS_PER_S)
        return name->path;
    name->ino = ino;
    name->read_ns = now;
    if (hf_path(top->pool, ino, name->path, sizeof(name->path)) != 0)
        snprintf(name->path, sizeof(name->path), "(deleted, inode %" PRIu64 ")", ino);
    return name->path;
}

static bool line_left(const struct top *top)
{
    return top->line_count < top->rows;
}

static void put_row(struct top *top, const struct hf_pin_info *pin, int indent)
{
    char age[CLI_TIME_TEXT], range[CLI_RANGE_TEXT];
    const char *state = cli_pin_state(pin);
    bool waits = pin->state == HF_PIN_WAITING;

    if (!line_left(top))
        return;
    begin_top_line(top, waits                        ? TERMINAL_ALARM
                        : strcmp(state, "held") != 0 ? TERMINAL_WARN
                                                     : TERMINAL_PLAIN);
    fprintf(top->out, "%7d ", (int)pin->pid);
    cli_put_command(top->out, pin, indent, 15);
    fprintf(top->out, " %-6s %-11s %c %-8s %6s %s ", cli_pin_kind(pin), state, cli_pin_mode(pin)[0],
            cli_pin_purpose(pin), cli_pin_age(age, pin), cli_pin_range(range, pin));
    cli_put_escaped(top->out, file_name(top, pin->ino));
    cli_put_label(top->out, pin);
    end_line(top);
}

/* Keeps those with the greatest age, in order, in list[from .. *count). */
static void keep_oldest(struct top *top, int from, int *count, int room,
                        const struct hf_pin_info *pin)
{
    int at = *count;

    while (at > from && top->oldest[at - 1]->age_ns < pin->age_ns)
        at--;
    if (at >= room)
        return;
    if (*count < room)
        (*count)++;
    memmove(&top->oldest[at + 1], &top->oldest[at],
            sizeof(top->oldest[0]) * (size_t)(*count - at - 1));
    top->oldest[at] = pin;
}

/* A lease, or what a dead process has left. */
static bool is_long(const struct hf_pin_info *pin)
{
    return pin->state == HF_PIN_QUARANTINED ||
           (pin->state != HF_PIN_WAITING && (pin->flags & HF_PIN_LEASE) != 0);
}

/* Layout changes before leases; each has all the lines that are left for it. */
static void find_oldest_pin(struct top *top)
{
    int room = top->rows - top->line_count;

    room = room > ROWS_MAX / 2 ? ROWS_MAX / 2 : room < 0 ? 0 : room;
    top->change_count = 0;
    for (size_t i = 0; i < top->pins.count; i++) {
        if (top->pins.list[i].state == HF_PIN_WAITING && top->shown != SHOW_LEASES)
            keep_oldest(top, 0, &top->change_count, room, &top->pins.list[i]);
    }
    top->oldest_count = top->change_count;
    for (size_t i = 0; i < top->pins.count; i++) {
        if (is_long(&top->pins.list[i]) && top->shown != SHOW_WAITS)
            keep_oldest(top, top->change_count, &top->oldest_count, top->change_count + room,
                        &top->pins.list[i]);
    }
}

static void put_holders(struct top *top, const struct hf_pin_info *change)
{
    int holders = 0, most = top->shown == SHOW_ALL ? HOLDERS_SHOWN : ROWS_MAX;

    for (size_t i = 0; i < top->pins.count; i++) {
        if (!cli_pin_blocks(&top->pins.list[i], change))
            continue;
        if (holders++ < most)
            put_row(top, &top->pins.list[i], 2);
    }
    if (holders > most && line_left(top)) {
        begin_top_line(top, TERMINAL_PLAIN);
        fprintf(top->out, "%7s   and %d more", "", holders - most);
        end_line(top);
    }
}

/* Shown already, below a layout change. */
static bool is_shown(const struct top *top, const struct hf_pin_info *pin)
{
    for (int i = 0; i < top->change_count; i++) {
        if (cli_pin_blocks(pin, top->oldest[i]))
            return true;
    }
    return false;
}

static void put_table(struct top *top)
{
    static const char *const titles[] = {"LONGEST WAITS, OLDEST LEASES", "LONGEST WAITS",
                                         "OLDEST LEASES"};

    if (top->no_pins[0] != '\0') {
        begin_top_line(top, TERMINAL_PLAIN);
        fputs(top->no_pins, top->out);
        end_line(top);
        return;
    }
    begin_top_line(top, TERMINAL_TITLE);
    fprintf(top->out, "%7s %-15s %-6s %-11s M %-8s %6s RANGE, FILE", "PID", "COMMAND", "KIND",
            "STATE", "PURPOSE", "AGE");
    end_line(top);
    find_oldest_pin(top);
    if (top->oldest_count == 0 && line_left(top)) {
        begin_top_line(top, TERMINAL_PLAIN);
        fprintf(top->out, "%7s nothing to show of: %s", "", titles[top->shown]);
        end_line(top);
    }
    for (int i = 0; i < top->oldest_count; i++) {
        if (i >= top->change_count && is_shown(top, top->oldest[i]))
            continue;
        put_row(top, top->oldest[i], 0);
        if (i < top->change_count)
            put_holders(top, top->oldest[i]);
    }
}

/* ------------------------------------------------------------------------------ screen --- */

/* All lines of a screen of rows x columns; to be freed. */
static char *draw_screen(struct top *top, int rows, int columns)
{
    char *text = NULL;
    size_t bytes = 0;

    top->rows = rows < ROWS_MAX ? rows : ROWS_MAX;
    top->columns = columns;
    top->line_count = 0;
    top->out = open_memstream(&text, &bytes);
    if (top->out == NULL) {
        cli_note("out of memory");
        exit(EX_OSERR);
    }
    draw_title(top);
    draw_space(top);
    draw_users(top);
    draw_caches(top);
    put_pin_counts(top);
    put_events(top);
    put_table(top);
    if (fclose(top->out) != 0) {
        cli_note("out of memory");
        exit(EX_OSERR);
    }
    return text;
}

/* The last line is for the keys. */
static void show_screen(struct top *top)
{
    struct terminal_line lines[ROWS_MAX] = {{"", TERMINAL_PLAIN}};
    int rows, columns, count = 0;
    char *text, *next;

    terminal_size(&rows, &columns);
    rows = rows < ROWS_MAX ? rows : ROWS_MAX;
    next = text = draw_screen(top, rows - 1, columns);
    while (*next != '\0' && count < rows - 1) {
        char *end = strchrnul(next, '\n');

        lines[count] = (struct terminal_line){next, top->styles[count]};
        count++;
        next = *end != '\0' ? end + 1 : end;
        *end = '\0';
    }
    while (count < rows - 1)
        lines[count++] = (struct terminal_line){"", TERMINAL_PLAIN};
    lines[count++] = (struct terminal_line){"q quit   a all   w waits   l leases   space refresh",
                                            TERMINAL_HEAD};
    terminal_show(lines, count);
    free(text);
}

/* False: the key ends the program. */
static bool obey(struct top *top, int key)
{
    switch (key) {
    case 'q':
    case TERMINAL_GONE:
        return false;
    case 'a':
        top->shown = SHOW_ALL;
        return true;
    case 'w':
        top->shown = SHOW_WAITS;
        return true;
    case 'l':
        top->shown = SHOW_LEASES;
        return true;
    default:
        return true;
    }
}

static int run_screens(struct top *top)
{
    bool goes_on = true;
    int rc = 0;

    while (goes_on && !cli_interrupted()) {
        uint64_t now = cli_now_ns(), next = top->now.at_ns + interval_ns;
        int key = 0;

        if (top->now.at_ns == 0 || now >= next) {
            rc = read_sample(top);
            if (rc != 0)
                break;
            next = (now = cli_now_ns()) + interval_ns;
        }
        show_screen(top);
        if (!cli_interrupted())
            key = terminal_key(next - now);
        goes_on = obey(top, key);
        if (key == ' ')
            top->now.at_ns = 0;
    }
    return rc;
}

static void sleep_until(uint64_t time_ns)
{
    uint64_t now = cli_now_ns();

    while (now < time_ns && !cli_interrupted()) {
        cli_sleep(time_ns - now);
        now = cli_now_ns();
    }
}

/* False: the screen could not be written, or the reader has gone, which is not a failure. */
static bool print_screen(const char *text, bool first)
{
    if (printf("%s%s", first ? "" : "\n", text) >= 0 && fflush(stdout) == 0)
        return true;
    if (errno == EPIPE)
        clearerr(stdout);
    return false;
}

static int run_batch(struct top *top)
{
    bool goes_on = true;

    for (uint32_t i = 0; i < batch_screens && goes_on && !cli_interrupted(); i++) {
        char *text;
        int rc;

        if (i > 0)
            sleep_until(top->now.at_ns + interval_ns);
        rc = read_sample(top);
        if (rc != 0)
            return rc;
        text = draw_screen(top, BATCH_ROWS, BATCH_COLUMNS);
        goes_on = print_screen(text, i == 0);
        free(text);
    }
    return 0;
}

static int watch_pool(struct hf_pool *pool, const char *path)
{
    struct top top = {.pool = pool,
                      .path = path,
                      .names = cli_alloc(NAMES_KEPT * sizeof(struct name)),
                      .utf8 = strcmp(nl_langinfo(CODESET), "UTF-8") == 0};
    int rc, status = EX_OK;

    if (batch_screens > 0) {
        rc = run_batch(&top);
    } else {
        status = terminal_start();
        rc = status == EX_OK ? run_screens(&top) : 0;
        terminal_stop();
    }
    if (rc != 0)
        status = cli_fail(path, rc);
    cli_pins_free(&top.pins);
    cache_rates_free(top.caches);
    free(top.names);
    return status;
}

static int top_run(int count, char **operands)
{
    struct hf_pool *pool;
    int status;

    (void)count;
    if (page_address != NULL && batch_screens > 0)
        return cli_usage("--listen and --batch exclude each other");
    if (page_address != NULL)
        return page_serve(page_address, operands[0], interval_ns);
    status = cli_pool_open(operands[0], HF_OPEN_RDONLY, &pool);
    if (status != EX_OK)
        return status;
    return cli_pool_close(pool, operands[0], watch_pool(pool, operands[0]));
}

const struct cli_verb cli_verb_top = {
    .name = "top",
    .operands = "POOL",
    .summary = "watch a pool: its space, its pins, what waits and for how long",
    .details =
        "Keys: q quits; a shows waits and leases, w waits alone, l leases alone; space reads\n"
        "again at once. The histogram counts how long layout changes have waited for pins.",
    .options = top_options,
    .operands_min = 1,
    .operands_max = 1,
    .run = top_run,
};
