/* SPDX-License-Identifier: MIT */
/*
 * fuzz-TARGET CORPUS [--runs N | --seconds N] [--seed S]
 *     Runs each file of the folder CORPUS, then inputs made of these from the seed.
 * fuzz-TARGET FILE...
 *     Runs these.
 * With libFuzzer the arguments are its own: CORPUS, -max_total_time=N, ...
 *
 * The input of a run that ends the process is printed, and can be written to a file with printf(1).
 */
#include "fuzz.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static uint8_t input[FUZZ_INPUT_MAX];
static size_t input_len;

static void print_input(void)
{
    dprintf(STDERR_FILENO, "input of %zu bytes: printf '", input_len);
    for (size_t i = 0; i < input_len; i++)
        dprintf(STDERR_FILENO, "\\x%02x", input[i]);
    dprintf(STDERR_FILENO, "' >input\n");
}

static void on_signal(int number)
{
    dprintf(STDERR_FILENO, "signal %d\n", number);
    print_input();
    signal(number, SIG_DFL);
    raise(number);
}

#ifdef FUZZ_LIBFUZZER
int LLVMFuzzerRunDriver(int *argc, char ***argv, int (*run)(const uint8_t *bytes, size_t len));

static int run_bytes(const uint8_t *bytes, size_t len)
{
    fuzz_target.run(bytes, len);
    return 0;
}

/* test_fail() ends the process; libFuzzer keeps the inputs of crashes. */
static void crash(void)
{
    abort();
}

static int body(int argc, char **argv)
{
    test_on_failure = crash;
    if (fuzz_target.begin)
        fuzz_target.begin();
    return LLVMFuzzerRunDriver(&argc, &argv, run_bytes);
}
#else

#define SEEDS_MAX 1024u
#define HANGS_SECONDS 60u

static struct {
    uint8_t *bytes;
    size_t len;
} seeds[SEEDS_MAX];
static unsigned seed_count;
static uint64_t runs = 1000, seconds, seed = 1;

static void run_input(void)
{
    alarm(HANGS_SECONDS * (test_is_slow() ? 10 : 1));
    fuzz_target.run(input, input_len);
    alarm(0);
}

static void load(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n;

    EXPECT_OK(fd);
    n = read(fd, input, sizeof(input));
    EXPECT_OK(n);
    close(fd);
    input_len = (size_t)n;
    if (seed_count == SEEDS_MAX)
        return;
    seeds[seed_count].bytes = malloc(input_len + 1);
    EXPECT(seeds[seed_count].bytes != NULL);
    memcpy(seeds[seed_count].bytes, input, input_len);
    seeds[seed_count++].len = input_len;
}

static int by_name(const struct dirent **left, const struct dirent **right)
{
    return strcmp((*left)->d_name, (*right)->d_name);
}

static void replay(const char *path)
{
    struct dirent **entries;
    int count = scandir(path, &entries, NULL, by_name);
    char name[4096];

    if (count < 0) {
        load(path);
        run_input();
        runs = 0;
        return;
    }
    for (int i = 0; i < count; i++) {
        snprintf(name, sizeof(name), "%s/%s", path, entries[i]->d_name);
        if (entries[i]->d_name[0] != '.') {
            load(name);
            run_input();
        }
        free(entries[i]);
    }
    free(entries);
}

/* ---- inputs ---- */

static const uint64_t telling[] = {0,        1,          2,         3,         7,     8,
                                   255,      4095,       4096,      32767,     65535, INT32_MAX,
                                   1u << 31, UINT32_MAX, INT64_MAX, UINT64_MAX};

static void put_in(struct test_rng *rng, const uint8_t *bytes, size_t len)
{
    size_t at = test_below(rng, input_len + 1);

    if (len > sizeof(input) - input_len)
        len = sizeof(input) - input_len;
    memmove(input + at + len, input + at, input_len - at);
    memcpy(input + at, bytes, len);
    input_len += len;
}

static void take_out(struct test_rng *rng)
{
    size_t at = test_below(rng, input_len), len = 1 + test_below(rng, input_len - at);

    memmove(input + at, input + at + len, input_len - at - len);
    input_len -= len;
}

static void overwrite(struct test_rng *rng, uint64_t value)
{
    size_t at = test_below(rng, input_len), len = (size_t)1 << test_below(rng, 4);

    memcpy(input + at, &value, len < input_len - at ? len : input_len - at);
}

static void change_input(struct test_rng *rng)
{
    unsigned other = (unsigned)test_below(rng, seed_count + 1);
    uint64_t chance = test_random(rng);
    size_t from;

    switch (input_len ? test_below(rng, 6) : 0) {
    case 0:
        put_in(rng, (const uint8_t *)&chance, 1 + test_below(rng, 8));
        break;
    case 1:
        take_out(rng);
        break;
    case 2:
        overwrite(rng, telling[test_below(rng, sizeof(telling) / sizeof(telling[0]))]);
        break;
    case 3:
        overwrite(rng, chance);
        break;
    case 4:
        input[test_below(rng, input_len)] ^= (uint8_t)(1u << test_below(rng, 8));
        break;
    default:
        if (other == seed_count || seeds[other].len == 0)
            break;
        from = test_below(rng, seeds[other].len);
        put_in(rng, seeds[other].bytes + from, 1 + test_below(rng, seeds[other].len - from));
    }
}

static void make_input(struct test_rng *rng)
{
    unsigned from = (unsigned)test_below(rng, seed_count + 1);

    input_len = 0;
    if (from < seed_count) {
        input_len = seeds[from].len;
        memcpy(input, seeds[from].bytes, input_len);
    }
    for (uint64_t changes = 1 + test_below(rng, 8); changes > 0; changes--)
        change_input(rng);
}

static int take_arguments(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        bool last = i + 1 == argc;

        if (strcmp(argv[i], "--runs") == 0 && !last)
            runs = strtoull(argv[++i], NULL, 0);
        else if (strcmp(argv[i], "--seconds") == 0 && !last)
            seconds = strtoull(argv[++i], NULL, 0);
        else if (strcmp(argv[i], "--seed") == 0 && !last)
            seed = strtoull(argv[++i], NULL, 0);
        else if (argv[i][0] == '-')
            return 2;
        else
            replay(argv[i]);
    }
    return 0;
}

static int body(int argc, char **argv)
{
    const int signals[] = {SIGSEGV, SIGBUS, SIGABRT, SIGILL, SIGFPE, SIGALRM};
    uint64_t start_ns = test_now_ns(), done = 0;

    test_on_failure = print_input;
    for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
        signal(signals[i], on_signal);
    if (fuzz_target.begin)
        fuzz_target.begin();
    if (take_arguments(argc, argv))
        return 2;
    for (; seconds ? test_now_ns() - start_ns < seconds * 1000000000 : done < runs; done++) {
        struct test_rng rng = {.state = test_mix(seed, done)};

        make_input(&rng);
        run_input();
    }
    printf("%u files of the corpus, and %" PRIu64 " inputs of seed %" PRIu64 "\n", seed_count, done,
           seed);
    return 0;
}
#endif

int main(int argc, char **argv)
{
    return test_main(argc, argv, body);
}
