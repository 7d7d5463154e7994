#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Each check of tools/lint.py finds what it is there for.

usage: lint_seeds.py SOURCES

In a copy of the sources, one violation at a time: the check has to say the sentence that is expected, and nothing
without it. What a check needs and is not installed (codespell, clang-format) leaves its seed out.
"""
import os
import re
import shutil
import subprocess
import sys
import tempfile

SOURCES = sys.argv[1]

# (check, file, what is added at its end or a pair that is replaced, part of the finding). A file that is not there is
# made. Each finding that lint.py can make has a seed.
SEEDS = [
    ("layers", "src/base/error.c", '#include "fs/fs.h"\n', "base/ may not use fs/"),
    ("layers", "src/base/error.c", '#include "nowhere/x.h"\n', "there is no folder src/nowhere"),
    ("layers", "src/meta/env.c", '#include "shm/lane.h"\n', "others include shm/shm.h"),
    ("layers", "cli/cat.c", '#include "shm/shm.h"\n', "cli/ uses only the public header"),
    ("layers", "lab/text.c", '#include "bench/bench.h"\n', "lab/ may not use"),
    ("layers", "tools/lint.py", ('{"bench", "cache"', '{"bench", "elsewhere", "cache"'), "there is no folder elsewhere"),
    ("layers", "docs/house.svg", ("  fabric  ", "  "), "fabric is not in it"),
    ("layers", "docs/house.svg", (" model ", " "), "model is not in it"),
    ("layers", "ARCHITECTURE.md", ("| mm |", "| ww |"), "src/mm is not in it"),
    ("cycles", "tools/lint.py", ("CYCLE_FILES_MAX = {", "CYCLE_FILES_MAX = {} and {"), "files call each other"),
    ("cycles", "uring/detail.c", "void f(void)\n{\n    hf_uring_open(0, 0, 0);\n}\n", "files call each other"),
    ("cycles", "bench/medians.c", "void f(void)\n{\n    bench_print_notes();\n}\n", "files call each other"),
    ("ordering", "src/base/error.c", "/* SEED.EDGE/p: alone. */\n", "SEED.EDGE/p has no partner"),
    ("ordering", "src/base/error.c", "/* SEED.EDGE/p, SEED.EDGE/m: unlisted. */\n", "SEED.EDGE has no section"),
    ("ordering", "docs/ORDERING.md", ("- */p*: `serve()`", "- */p*: `zap()`"), "does not stand in zap()"),
    ("ordering", "docs/ORDERING.md", ("- *Engines*: slots, slots-fenced.\n", ""), "needs a line *Engines*, once"),
    ("ordering", "docs/ORDERING.md", ("- */m*: `slots_zapped()`: a f", "- */q*: f"), "PIN.SB/q is in its section but not in"),
    ("ordering", "docs/ORDERING.md", ("*Model*: `slots--SLOT.PUB`", "*Model*: `some`"), "SLOT.PUB: *Model* names a case"),
    ("ordering", "docs/ORDERING.md", ("none: two words", "none yet. Two words"), "names a case of model/run.py, or says"),
    ("ordering", "docs/ORDERING.md", ("`slots--PIN.SB-heavy`", "`slots--seed`"), "model/run.py has no case slots--seed"),
    ("ordering", "docs/ORDERING.md", ("### SLOT.PUB\n", "### PIN.SB\n"), "PIN.SB has a section already"),
    ("ordering", "docs/ORDERING.md", "### SEED.EDGE\n", "SEED.EDGE has a section but no tag in src/"),
    ("ordering", "docs/ORDERING.md", "SEED.EDGE\n", "SEED.EDGE has no section"),
    ("atomics", "src/base/error.c", "int f(int *x) { return __atomic_load_n(x, 0); }\n", "__atomic_load_n"),
    ("atomics", "cli/cat.c", "int f(int *x) { return __atomic_load_n(x, 0); }\n", "__atomic_load_n"),
    ("atomics", "fuse/mount.h", "#include <stdatomic.h>\n", "the order has to be in the name"),
    ("atomics", "cli/cat.c", "static _Atomic int seed;\n", "_Atomic: the order has to be in the name"),
    ("asserted", "src/fs/end.c", "/* Adds. Under the layout mutex. */\nstatic int f(void)\n{\n    return 0;\n}\n", "f() does not"),
    ("asserted", "src/fs/vnode.h", ("{\n    shm_assert_none_held();\n    if (__b", "{\n    if (__b"), "fs_uncapable() does"),
    ("descriptors", "src/base/error.c", 'int f(void) { return open("x", 0); }\n', "open(): what the library opens"),
    ("descriptors", "bench/main.c", 'int f(void) { return open("x", 0); }\n', "open() without O_CLOEXEC"),
    ("descriptors", "bench/main.c", "int f(void) { return fcntl(0, F_DUPFD, 3); }\n", "F_DUPFD: as open()"),
    ("descriptors", "src/meta/env.c", "int f(void) { return mdb_env_open(0, 0, 0, 0); }\n", "opens files: between"),
    ("symbols", "include/holdfast/holdfast.h", "int hf_seed(void);\n", "hf_seed is in include/holdfast/holdfast.h"),
    ("symbols", "include/holdfast/holdfast.h", "int hf_seed(void);\n", "hf_seed has no manual page"),
    ("symbols", "src/libholdfast.map", ("hf_version;", "hf_version; hf_seed;"), "hf_seed is here but in no public header"),
    ("sleeping", "src/api/pool.c", "int hf_seed(void)\n{\n    return 0;\n}\n", "hf_seed does not begin with"),
    ("sleeping", "src/api/pool.c", "int hf_seed(void)\n{\n    api_begins(__func__);\n}\n", "hf_seed has no row in"),
    ("sleeping", "python/look.c", "int f(struct hf_file *x)\n{\n    return hf_close(x);\n}\n", "hf_close() may wait"),
    ("sleeping", "tests/kill/stop_calls.c", ("hf_statvfs(", "hf_stat_fs("), "hf_statvfs is not made beside a stopped"),
    ("described", "include/holdfast/holdfast.h", ("-EXDEV   the", "-EDOM    the"), "-EDOM is in the header"),
    ("described", "include/holdfast/holdfast.h", ("-EXDEV   the", "it fails: the"), "-EXDEV is in man/"),
    ("described", "include/holdfast/holdfast.h", ("HF_AT_NOFOLLOW 0x1u", "HF_AT_SEED 0x1u"), "HF_AT_SEED is in the"),
    ("described", "man/hf_stat.3.scd", "_HF_AT_SEED_\n", "HF_AT_SEED is in no header"),
    ("shape", "cli/cat.c", "int x; \n", "has blanks at its end"),
    ("shape", "cli/cat.c", "/* TO" "DO: more */\n", "says that something is left to do"),
    ("shape", "cli/cat.c", "int x;", "does not end with a newline"),
    ("shape", "cli/cat.c", "\n" * 800, "a file has at most 800"),
    ("shape", "cli/cat.c", ("SPDX", "SPD"), "does not begin with"),
    ("shape", "cli/list_uti" "ls.c", "\n", "does not say what it is"),
    ("casts", "src/fs/end.c", "unsigned long long f(int x) { return (unsigned long long)x; }\n", "use PRIu64"),
    ("unique", "src/fs/end.c", "static int zap(void)\n{\n    return 0;\n}\n", "zap() is in src/dax/change.c too"),
    ("unique", "uring/view.c", "static int zap(void)\n{\n    return 0;\n}\n", "zap() is in"),
    ("unique", "cli/cat.c", "static int zap(void)\n{\n    return 0;\n}\n", "zap() is in"),
    ("lengths", "tools/lint.py", ("LONG_FUNCTION_LINES = 25", "LONG_FUNCTION_LINES = 15"), "5 of 100 functions in src/"),
    ("width", "cli/cat.c", f"int {'x' * 100};\n", "code has 100"),
    ("width", "README.md", f"{'x ' * 61}\n", "prose has 120"),
    ("width", "cli/page/top.js", f"let {'x' * 100};\n", "code has 100"),
    ("width", "cli/page/top.css", f"{'x' * 100} {{}}\n", "code has 100"),
    ("width", "cli/page/top.html", f"<p>{'x' * 100}\n", "code has 100"),
    ("named", "ARCHITECTURE.md", "`hf_seed()`\n", "there is no function hf_seed()"),
    ("named", "ARCHITECTURE.md", "`src/fs/seed.c`\n", "there is no file src/fs/seed.c"),
    ("named", "cli/cat.c", "/* As hf_seed() does. */\n", "there is no function hf_seed()"),
    ("named", "cli/cat.c", "/* As in bound.c. */\n", "there is no file bound.c"),
    ("words", "README.md", "The thread, to wh" "om it belongs.\n", "a clause has a noun"),
    ("words", "cli/page/top.js", "// A cell is no" " block.\n", "is not a"),
    ("words", "README.md", "Wh" "ose lock it is waits.\n", "a clause has a noun"),
    ("words", "cli/cat.c", "/* Wh" "o comes later\n * waits. */\n", "a clause has a noun"),
    ("words", "docs/CACHE.md", "**Wh" "o waits.** Puts do not.\n", "a clause has a noun"),
    ("words", "cli/cat.c", "/* The CPU is free: wh" "o asks sleeps. */\n", "a clause has a noun"),
    ("words", "src/base/error.c", "/* It waits for\n * wh" "o comes. */\n", "a clause has a noun"),
    ("words", "docs/FORMAT.md", "It is written an" "ew.\n", "once more"),
    ("words", "cli/cat.c", "/* A hole is\n * no" " block. */\n", "is not a"),
    ("words", "docs/TRACING.md", "A holder lets go" " of the pin.\n", "released"),
    ("words", "cli/cat.c", 'const char *x = "behind ' 'end of file";\n', "past end of file"),
    ("sentences", "README.md", "\nThe file" + " is long and" * 12 + " wide.\n", "a sentence of 39"),
    ("sentences", "cli/cat.c", "/* The file" + " is long\n * and" * 12 + " wide. */\n", "a sentence of 39"),
    ("sentences", "cli/page/top.js", "// The file" + " is long\n// and" * 12 + " wide.\n", "a sentence of 39"),
    ("sentences", "tools/setup.sh", "# The file" + " is long\n# and" * 12 + " wide.\n", "a sentence of 39"),
    ("sentences", "model/run.py", '"""The file' + " is long\nand" * 12 + ' wide."""\n', "a sentence of 39"),
    ("spelling", "README.md", "rec" "ieve\n", "spelling: "),
    ("format", "cli/cat.c", "int  x ;\n", "is not as `make fmt` leaves it"),
]
NEEDS = {"spelling": "codespell", "format": "clang-format"}


def copy_sources(folder):
    listed = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
                            cwd=SOURCES, check=True, capture_output=True).stdout
    for name in (name.decode() for name in listed.split(b"\0") if name):
        if os.path.isfile(os.path.join(SOURCES, name)):
            os.makedirs(os.path.dirname(os.path.join(folder, name)), exist_ok=True)
            shutil.copy2(os.path.join(SOURCES, name), os.path.join(folder, name))
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)


def lint(folder, check, *options):
    return subprocess.run([sys.executable, "tools/lint.py", *options, check], cwd=folder, check=False,
                          capture_output=True, text=True)


def finds(folder, check, name, seed, expected):
    path = os.path.join(folder, name)
    is_new = not os.path.exists(path)
    if is_new:
        before = ""
    else:
        with open(path, encoding="utf-8") as file:
            before = file.read()
    after = before + seed if isinstance(seed, str) else before.replace(*seed)
    with open(path, "w", encoding="utf-8") as file:
        file.write(after)
    run = lint(folder, check)
    if is_new:
        os.remove(path)
    else:
        with open(path, "w", encoding="utf-8") as file:
            file.write(before)
    if after != before and run.returncode == 1 and expected in run.stdout:
        return True
    print(f"{check}: a seed in {name} was not found ({expected!r}):\n{run.stdout}{run.stderr}")
    return False


def finds_in_library(folder):
    """A library that exports one function, which no header has, lacks all that the headers have."""
    compiler = os.environ.get("CC", "cc").split()
    if not shutil.which(compiler[0]) or not shutil.which("nm"):
        print("symbols: no compiler or nm is installed")
        return True
    with tempfile.TemporaryDirectory(prefix="holdfast-lint-") as built:
        os.mkdir(os.path.join(built, "src"))
        subprocess.run([*compiler, "-shared", "-fPIC", "-x", "c", "-o", os.path.join(built, "src", "libholdfast.so"), "-"],
                       input="int hf_seed(void) { return 0; }\n", text=True, check=True)
        run = lint(folder, "symbols", "--build", built)
    if "hf_seed is exported by" in run.stdout and "hf_pin is not exported by" in run.stdout:
        return True
    print(f"symbols: the seeds in a library were not found:\n{run.stdout}{run.stderr}")
    return False


def main():
    if not shutil.which("git") or not os.path.exists(os.path.join(SOURCES, ".git")):
        print("skipped: this is not a git checkout")
        return 77
    failed = 0
    with tempfile.TemporaryDirectory(prefix="holdfast-lint-") as folder:
        copy_sources(folder)
        for check in dict.fromkeys(seed[0] for seed in SEEDS):
            if not shutil.which(NEEDS.get(check, "git")):
                print(f"{check}: {NEEDS[check]} is not installed")
                continue
            run = lint(folder, check)
            if run.returncode != 0:
                print(f"{check}: finds something without a seed:\n{run.stdout}{run.stderr}")
                failed += 1
            failed += sum(not finds(folder, *seed) for seed in SEEDS if seed[0] == check)
        failed += not finds_in_library(folder)
        with open(os.path.join(folder, "tools/lint.py"), encoding="utf-8") as file:
            checks = set(re.findall(r'^    "(\w+)": check_', file.read(), flags=re.M))
        for check in sorted(checks - {seed[0] for seed in SEEDS}):
            print(f"{check}: has no seed here")
            failed += 1
    print(f"{len(SEEDS)} seeds, {failed} failures")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
