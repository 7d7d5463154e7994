/* SPDX-License-Identifier: MIT */
/*
 * Pins in Python, beside what Python costs without them and beside the same calls in C. A process
 * of the interpreter measures its rows when it is asked (python/bench/pins.py), and sleeps while
 * others are measured.
 */
#include "bench.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define PINS 20000u
#define SCRIPT "pins.py"
#define PACKAGE "../python" /* in a build folder; installed, the interpreter knows where it is */

static pid_t interpreter;
static FILE *ask, *answers;
static struct bench_pool *pool;
static struct hf_file *file;

/* ------------------------------------------------------------------------ the process ------ */

/* A place beside this program, in text that stays. */
static const char *beside_program(const char *name)
{
    char own[PATH_MAX] = "";

    if (readlink("/proc/self/exe", own, sizeof own - 1) > 0)
        *strrchr(own, '/') = '\0';
    return bench_text("%s/%s", own, name);
}

static _Noreturn void run_interpreter(int from, int to)
{
    const char *script = beside_program(SCRIPT), *package = beside_program(PACKAGE);
    int nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    dup2(from, STDIN_FILENO);
    dup2(to, STDOUT_FILENO);
    dup2(nowhere, STDERR_FILENO);
    if (access(bench_text("%s/holdfast/__init__.py", package), R_OK) == 0)
        setenv("PYTHONPATH", package, 1);
    setenv("PYTHONDONTWRITEBYTECODE", "1", 1);
    execl("/usr/bin/python3", "python3", script, "--serve", (char *)NULL); /* Debian's own */
    execlp("python3", "python3", script, "--serve", (char *)NULL);
    _exit(127);
}

/* Stores the keys of its rows; false: there is no interpreter, or no package for it. */
static bool start_interpreter(char keys[256])
{
    int asked[2], answered[2];

    bench_must_host(pipe2(asked, O_CLOEXEC), "pipe");
    bench_must_host(pipe2(answered, O_CLOEXEC), "pipe");
    interpreter = fork();
    bench_must_host(interpreter, "fork");
    if (interpreter == 0)
        run_interpreter(asked[0], answered[1]);
    close(asked[0]);
    close(answered[1]);
    ask = fdopen(asked[1], "w");
    answers = fdopen(answered[0], "r");
    return ask && answers && fgets(keys, 256, answers);
}

static void end_interpreter(void)
{
    if (ask)
        fclose(ask);
    if (answers)
        fclose(answers);
    ask = answers = NULL;
    kill(interpreter, SIGKILL);
    waitpid(interpreter, NULL, 0);
}

/* ---------------------------------------------------------------------------- the rows ------ */

static double measure_python(void *state)
{
    char line[64];

    if (fprintf(ask, "%s\n", (const char *)state) < 0 || fflush(ask) != 0 ||
        !fgets(line, sizeof line, answers))
        lab_fail("the interpreter of Python has ended");
    return strtod(line, NULL);
}

static double measure_c(void *state)
{
    uint64_t start = bench_own_cpu_ns();

    (void)state;
    for (unsigned i = 0; i < PINS; i++) {
        struct iovec iov;
        struct hf_pin pin;

        bench_must(&bench_real, bench_real.hf_pin(file, 0, LAB_PAGE, HF_PIN_READ, &iov, 1, &pin),
                   "pinning");
        bench_real.hf_unpin(&pin);
    }
    return (double)(bench_own_cpu_ns() - start) / PINS;
}

static const char hold[] = "a page held and let go", array[] = "an array on a page, and gone",
                  in_c[] = "the same beside C", read_all[] = "a byte of each of 4,096 pages";

static const struct {
    const char *key, *situation, *subject, *beside;
} rows[] = {
    {"hold.bytearray", hold, "memoryview of a bytearray", NULL},
    {"hold.pin", hold, "pin, memoryview, release", "python.hold.bytearray"},
    {"array.bytearray", array, "numpy.frombuffer of a bytearray", NULL},
    {"array.pin", array, "numpy.frombuffer of a pin", "python.array.bytearray"},
    {"read.pread", read_all, "os.pread, tmpfs", NULL},
    {"read.pin", read_all, "pin, memoryview, release", "python.read.pread"},
    {"read.mmap", read_all, "mmap of tmpfs, views made before", "python.read.pread"},
};

static bool is_among(const char *key, const char *keys)
{
    const char *at = strstr(keys, key);

    return at && strchr(" \n", at[strlen(key)]);
}

static void add_python_row(struct bench_group *group, const char *key, const char *situation,
                           const char *subject, const char *beside, double (*measure)(void *state),
                           const char *of)
{
    bench_add(group, (struct bench_row){.key = key,
                                        .situation = situation,
                                        .subject = subject,
                                        .beside = beside,
                                        .measure = measure,
                                        .state = (void *)(uintptr_t)of});
}

static void begin_python(struct bench_group *group)
{
    char keys[256];

    if (!start_interpreter(keys)) {
        bench_note("Python is left out: python3 or the package holdfast for it is missing");
        return;
    }
    pool = bench_pool_new(16 * LAB_MIB);
    file = bench_file_new(pool);
    bench_file_fill(pool, file, 1);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (is_among(rows[i].key, keys))
            add_python_row(group, bench_text("python.%s", rows[i].key), rows[i].situation,
                           rows[i].subject, rows[i].beside, measure_python, rows[i].key);
    if (!is_among("array.pin", keys))
        bench_note("arrays are left out: numpy is missing");
    add_python_row(group, "python.c.pin", in_c, "hf_pin, hf_unpin in C", NULL, measure_c, NULL);
    add_python_row(group, "python.c.python", in_c, "pin, memoryview, release", "python.c.pin",
                   measure_python, "hold.pin");
}

static void end_python(void)
{
    end_interpreter();
    if (!pool)
        return;
    bench_must(&bench_real, bench_real.hf_close(file), "closing a file");
    bench_pool_end(pool);
    pool = NULL;
}

struct bench_group bench_python_group = {
    .name = "python",
    .title = "pins in Python, by CPU time",
    .help = "pins as buffers in Python, beside memoryview, numpy, os.pread and C",
    .unit = "ns",
    .ratio = "x the first",
    .begin = begin_python,
    .end = end_python,
};
