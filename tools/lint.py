#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Checks what the compiler cannot: the house rules of ARCHITECTURE.md and docs/ORDERING.md.

usage: lint.py [--build DIR] [CHECK ...]

Each check is one function that yields (file, line, sentence); the list is at the end. A check
without its tool says so and passes. Only Python's standard library is used.
"""
import argparse
import importlib.util
import os
import re
import shutil
import subprocess
import sys

import prose
import sleeping

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
MAP_FILE = "src/libholdfast.map"
ORDERING = "docs/ORDERING.md"
LINES_MAX = 800
LICENSE_LINE = "SPDX-License-Identifier: MIT"

# What a folder of src/ may include, besides itself and the public header.
ARROW = ["base", "shm", "sync", "mm", "dax", "fs", "pool", "api"]
MAY_USE = {folder: set(ARROW[:place]) for place, folder in enumerate(ARROW)}
MAY_USE["media"] = MAY_USE["meta"] = {"base", "shm"}
for folder in ("dax", "fs", "pool", "api"):
    MAY_USE[folder] |= {"media", "meta"}

# Folders of programs that see only the public header, and what such a folder may include of another one.
PUBLIC_ONLY = {"bench", "cache", "cli", "cluster", "demo", "examples", "fabric", "fuse", "lab", "python", "uring"}
PROGRAMS_MAY_USE = {"cli": {"fuse/mount.h"}, "bench": {"lab/lab.h", "lab/limit.h"}, "demo": {"lab/lab.h"}}

# Folders of src/ of which others may include only these headers; the rest is parts of them, or private.
HEADERS_FOR_OTHERS = {"shm": {"shm/shm.h"}}

ATOMICS_HERE = {"src/base/atomic.h", "src/base/fence.h"}


def tracked_files():
    """All files git knows or would add, relative to the root."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, check=False, capture_output=True)
    if listed.returncode != 0:
        sys.exit("lint: this is not a git checkout, so the files to look at are not known")
    names = sorted({name.decode() for name in listed.stdout.split(b"\0") if name})
    return [name for name in names if os.path.isfile(os.path.join(ROOT, name))]


FILES = tracked_files()
C_FILES = [name for name in FILES if name.endswith((".c", ".h"))]
HEADERS = [name for name in C_FILES if name.startswith("include/holdfast/")]


def read(name):
    with open(os.path.join(ROOT, name), encoding="utf-8") as text:
        return text.read()


def numbered(name):
    return enumerate(read(name).splitlines(), start=1)


def without_comments(text):
    """Comments become blanks, so that line numbers stay."""
    def blank(match):
        return re.sub(r"[^\n]", " ", match.group(0))
    return re.sub(r"/\*.*?\*/", blank, text, flags=re.S)


# ------------------------------------------------------------------------------- layers ----

INCLUDE = re.compile(r'^\s*#\s*include\s*"([^"]+)"')


def check_source_include(name, number, folder, target):
    first = target.split("/")[0]
    if "/" not in target or first == folder or first == "holdfast":
        return None
    if first not in MAY_USE:
        return name, number, f'"{target}": there is no folder src/{first}'
    if first not in MAY_USE[folder]:
        allowed = ", ".join(sorted(MAY_USE[folder])) or "nothing"
        return name, number, f"{folder}/ may not use {first}/ (it may use: {allowed})"
    if target not in HEADERS_FOR_OTHERS.get(first, {target}):
        return name, number, f'"{target}": others include {", ".join(HEADERS_FOR_OTHERS[first])}'
    return None


def check_program_include(name, number, place, target):
    first = target.split("/")[0]
    if first in MAY_USE:
        return name, number, f'{place}/ uses only the public header, not "{target}"'
    if first in PUBLIC_ONLY - {place} and target not in PROGRAMS_MAY_USE.get(place, set()):
        return name, number, f'{place}/ may not use "{target}"'
    return None


SHOWN_IN = {"docs/house.svg": r"<text [^>]*>([^<]*)</text>", "ARCHITECTURE.md": r"^\| ([\w, ]+) \|"}


def check_folder_shown(folder, *places):
    """The picture of the house has every folder, and the table those that may not include all others."""
    for name in places or SHOWN_IN:
        words = SHOWN_IN[name]
        shown = " ".join(re.findall(words, read(name), flags=re.M))
        if not re.search(rf"(?<![\w/]){folder if name.endswith('.svg') else folder.removeprefix('src/')}\b", shown):
            yield name, 1, f"{folder} is not in it"


def check_folders():
    """A folder that has moved would otherwise not be checked any longer, and nobody would see it."""
    there = {name.rsplit("/", 1)[0] for name in FILES if "/" in name}
    for folder in sorted({f"src/{folder}" for folder in MAY_USE} | PUBLIC_ONLY):
        if folder not in there:
            yield "tools/lint.py", 1, f"there is no folder {folder}"
        yield from check_folder_shown(folder)
    for folder in sorted({name.split("/")[0] for name in there} - PUBLIC_ONLY - {"src"}):
        if not folder.startswith("."):
            yield from check_folder_shown(folder, "docs/house.svg")


def check_layers():
    yield from check_folders()
    for name in C_FILES:
        parts = name.split("/")
        for number, line in numbered(name):
            match = INCLUDE.match(line)
            if not match:
                continue
            finding = None
            if parts[0] == "src" and len(parts) > 2 and parts[1] in MAY_USE:
                finding = check_source_include(name, number, parts[1], match.group(1))
            elif parts[0] in PUBLIC_ONLY:
                finding = check_program_include(name, number, parts[0], match.group(1))
            if finding:
                yield finding


# --------------------------------------------------------------------------------- cycles ----

# How many files of a folder may call each other in a ring, itself or through others. A number only falls.
CYCLE_FILES_MAX = {"fabric": 2, "python": 4, "src/fs": 6, "src/meta": 7, "src/shm": 4, "uring": 3}
STRUCT_NAME = re.compile(r"\bstruct \w+")  # some are named as a function is
FUNCTION = re.compile(r"^(static )?[A-Za-z_][^;{}=#]*?\b(\w+)\([^;{}]*\)\s*\{(.*?)^\}", flags=re.M | re.S)


def calls_between(folder):
    """The files that each file of a folder calls, inline functions of its headers included."""
    names = [name for name in C_FILES if name.rpartition("/")[0] == folder]
    texts = {name: STRUCT_NAME.sub("struct", without_comments(LITERAL.sub('""', read(name)))) for name in names}
    owner, inline = {}, {}
    for name, text in texts.items():
        for match in FUNCTION.finditer(text):
            if name.endswith(".h"):
                inline[match.group(2)] = match.group(3)
            elif not match.group(1):
                owner[match.group(2)] = name
    calls = {}
    for name in names:
        if name.endswith(".c"):
            words, waiting = set(), [texts[name]]
            while waiting:
                fresh = set(re.findall(r"\w+", waiting.pop())) - words
                words |= fresh
                waiting += [inline[word] for word in fresh & inline.keys()]
            calls[name] = {owner[word] for word in words & owner.keys()} - {name}
    return calls


def check_cycles():
    folders = {name.rpartition("/")[0] for name in C_FILES if name.startswith(("src/", *PUBLIC_ONLY))}
    for folder in sorted(folders):
        reached = {name: set(called) for name, called in calls_between(folder).items()}
        for middle in reached:
            for name in reached:
                if middle in reached[name]:
                    reached[name] |= reached[middle]
        rings = {frozenset(other for other in reached[name] if name in reached[other])
                 for name in reached if name in reached[name]}
        for ring in sorted(rings, key=sorted):
            if len(ring) > CYCLE_FILES_MAX.get(folder, 0):
                files = " ".join(os.path.basename(name) for name in sorted(ring))
                yield min(ring), 1, (f"{len(ring)} files call each other, {CYCLE_FILES_MAX.get(folder, 0)} may"
                                     f" in {folder}: {files}")


# ----------------------------------------------------------------------- memory ordering ----

TAG = re.compile(r"\b([A-Z]+\.[A-Z]+)/([a-z])\b")
ATOMIC_BUILTIN = re.compile(r"\b__(?:atomic|sync)_\w+")
ATOMIC_OF_C11 = re.compile(r"<stdatomic\.h>|\b_Atomic\b|\batomic_(?:load|store|exchange|compare|fetch|init|flag|thread|signal)\w*\(")

# Outside src/, which a program may not include: where atomics are, and why they may be there.
ATOMICS_ELSEWHERE = {
    "lab/limit.c": "references that stand beside the library, with structures of their own",
    "lab/lab.h": "counters that other processes watch, with the order behind a name",
    "bench/peers.c": "other ways to hold a page, as their users write them",
    "tests/support/process.c": "flags and counters of tests, with the order behind a name",
    "tests/cluster/history.c": "numbers and times that clients in several processes raise",
    "tests/cluster/registers.c": "numbers that members in several processes raise",
    "tests/mount/crowd.c": "bytes that another process may be changing",
    "tests/storm/leases.c": "an offer, which one of several takers gets",
    "tests/unit/base_test.c": "words that a futex waits for",
    "cache/": "the index and run state of a cache, each builtin with its order as an argument or in its name",
    "cluster/client.c": "a hint for the thread that polls, with its order as an argument",
    "cluster/peer.c": "a number that names memory, with its order as an argument",
    "fuse/": "the server's own words, each builtin with its order as an argument",
}
ATOMICS_OF_C11_HERE = "examples/"  # programs of users


EDGE = re.compile(r"^### ([A-Z]+\.[A-Z]+)\n(.*?)(?=^##|\Z)", flags=re.M | re.S)
EDGE_FIELD = re.compile(r"^- \*([^*]+)\*:((?:.|\n  )+)", flags=re.M)
EDGE_FIELDS = {"Forbidden", "Engines", "Shown by", "Model"}
MODEL_CASE = re.compile(r"`([a-z-]+--[\w.-]+)`")
NO_MODEL = re.compile(r"none(?: of its own)?:(?:\s+\S+){5}")  # a reason is a sentence, not "none yet"


def tagged_sides():
    """What each tag's sides are in src/, and where the first of each side stands."""
    sides = {}
    for name in C_FILES:
        if not name.startswith(("src/", "cache/")):
            continue
        for number, line in numbered(name):
            for tag, side in TAG.findall(line):
                sides.setdefault(tag, {}).setdefault(side, (name, number))
    return sides


def model_cases():
    """The names of the cases of model/run.py."""
    spec = importlib.util.spec_from_file_location("run", os.path.join(ROOT, "model", "run.py"))
    run = importlib.util.module_from_spec(spec)
    sys.dont_write_bytecode = True
    spec.loader.exec_module(run)
    return {case[0] for case in run.CASES}


def tagged_functions():
    """The functions of src/ in which, or in the comment before which, an end of an edge stands: {(tag, side): names}."""
    functions = {}
    for name in C_FILES:
        if not name.startswith(("src/", "cache/")):
            continue
        text = read(name)
        code = without_comments(text)
        for match in FUNCTION.finditer(code):
            begin = max(code.rfind(mark, 0, match.start()) for mark in ";}#") + 1
            head = code[match.start():match.start(3)]
            for end in TAG.findall(text[begin:match.end()]):
                functions.setdefault(end, set()).update(re.findall(r"\b(\w+)\(", head))
    return functions


def check_edge(tag, number, section, sides, cases, functions):
    """A section has each field once, the ends that src/ has, and cases of the models or why there is none.

    An end begins with the functions in which its tag stands, up to the first colon.
    """
    fields = EDGE_FIELD.findall(section)
    for field in sorted(EDGE_FIELDS | {f"/{side}" for side in sides}):
        texts = [text for name, text in fields if name == field]
        if len(texts) != 1 or not texts[0].strip():
            yield ORDERING, number, f"{tag}: its section needs a line *{field}*, once"
    for field, text in fields:
        if field not in EDGE_FIELDS and field.lstrip("/") not in sides:
            yield ORDERING, number, f"{tag}{field} is in its section but not in src/"
        if field.startswith("/"):
            for function in NAMED_FUNCTION.findall(text.split(": ")[0]):
                if function not in functions.get((tag, field[1:]), ()):
                    yield ORDERING, number, f"{tag}{field} does not stand in {function}()"
        if field != "Model":
            continue
        named = MODEL_CASE.findall(text)
        if not named and not NO_MODEL.match(text.strip()):
            yield ORDERING, number, f"{tag}: *Model* names a case of model/run.py, or says none and why"
        for case in named:
            if case not in cases:
                yield ORDERING, number, f"{tag}: model/run.py has no case {case}"


def check_ordering():
    sides = tagged_sides()
    text = read(ORDERING) if ORDERING in FILES else ""
    cases, functions = model_cases(), tagged_functions()
    sections = {}
    for match in EDGE.finditer(text):
        tag, section = match.groups()
        number = text.count("\n", 0, match.start()) + 1
        if tag in sections:
            yield ORDERING, number, f"{tag} has a section already"
        elif tag not in sides:
            yield ORDERING, number, f"{tag} has a section but no tag in src/"
        else:
            yield from check_edge(tag, number, section, sides[tag], cases, functions)
        sections[tag] = number
    for tag, found in sorted(sides.items()):
        name, number = min(found.values())
        if len(found) < 2:
            yield name, number, f"{tag}/{min(found)} has no partner: an edge has two sides"
        if tag not in sections:
            yield name, number, f"{tag} has no section in {ORDERING}"
    for number, line in enumerate(text.splitlines(), start=1):
        for tag in re.findall(r"\b([A-Z]+\.[A-Z]+)\b", line):
            if tag not in sections and tag != "WHAT.WHY":
                yield ORDERING, number, f"{tag} has no section"


def check_atomics():
    for name in C_FILES:
        if name in ATOMICS_HERE:
            continue
        in_src = name.startswith("src/")
        listed = not in_src and name.startswith(tuple(ATOMICS_ELSEWHERE))
        for number, line in enumerate(without_comments(read(name)).splitlines(), start=1):
            builtin, of_c11 = ATOMIC_BUILTIN.search(line), ATOMIC_OF_C11.search(line)
            if builtin and not listed:
                yield name, number, (f"{builtin.group(0)}: atomics are in base/atomic.h and"
                                     " base/fence.h, or where ATOMICS_ELSEWHERE says why")
            if of_c11 and not name.startswith(ATOMICS_OF_C11_HERE):
                yield name, number, f"{of_c11.group(0)}: the order has to be in the name"


# --------------------------------------------------------------------------------- locks ----

# What a comment says of the locks that a function wants. src/meta knows none of them.
LOCKS_SAID = re.compile(r"(?:^|[.:,] )(?:[Uu]nder (?:the (?:layout )?mutex|\w+_mutex)|(?:Called with|[Ww]ith) no lock held)\b(?!,)")
COMMENT_ABOVE = re.compile(r"/\*((?:[^*]|\*(?!/))*)\*/\n[a-z][^;{}=#/]*?\b(\w+)\([^;{}]*\)\s*[;{]")


def check_asserted():
    """Debug builds check what comments say of locks: such a function begins with an assertion."""
    names = [name for name in C_FILES if name.startswith("src/") and not name.startswith("src/meta/")]
    bodies = {match.group(2): match.group(3) for name in names for match in FUNCTION.finditer(without_comments(read(name)))}
    for name in names:
        text = read(name)
        for match in COMMENT_ABOVE.finditer(text):
            words = " ".join(line.strip(" *") for line in match.group(1).split("\n")).strip()
            function = match.group(2)
            if LOCKS_SAID.search(words) and "shm_assert_" not in bodies.get(function, "shm_assert_"):
                yield name, text.count("\n", 0, match.end()) + 1, f"{function}() does not assert what its comment says of locks"


# --------------------------------------------------------------------------- descriptors ----

DESCRIPTORS_HERE = "src/base/descriptor.c"
GUARD = "hf_fd_guard_begin()"
OPENS = re.compile(
    r"(?<![\w.>\"])(open|openat|openat2|creat|fopen|freopen|opendir|popen|tmpfile|mkstemp|mkostemp|memfd_create|shm_open|eventfd|"
    r"epoll_create1?|timerfd_create|signalfd|inotify_init1?|pidfd_open|socket|socketpair|accept4?|pipe2?|dup|dup3)\(([^;]*)")
OPENS_INSIDE = re.compile(r"(?<![\w.])(mdb_env_open|lib\.map_new|dlopen)\(")
CLOSED_BY_EXEC = re.compile(r'CLOEXEC|"[rwa+]+e"')


def check_descriptors():
    """The library opens through one file; programs, which occupy 0 to 2 when they start, so that exec closes it."""
    for name in C_FILES:
        text = without_comments(read(name))
        in_library = name.startswith("src/") and name != DESCRIPTORS_HERE
        if not in_library and name.split("/")[0] not in PUBLIC_ONLY - {"examples"}:
            continue
        for match in OPENS.finditer(text):
            number, call = text.count("\n", 0, match.start()) + 1, match.group(1)
            if in_library:
                yield name, number, f"{call}(): what the library opens is opened by {DESCRIPTORS_HERE}"
            elif call != "opendir" and not CLOSED_BY_EXEC.search(match.group(2)) and 'open("/", O_PATH' not in match.group(0):
                yield name, number, f"{call}() without O_CLOEXEC or its like"
        for match in re.finditer(r"F_DUPFD\b" + ("|F_DUPFD_CLOEXEC" if in_library else ""), text):
            yield name, text.count("\n", 0, match.start()) + 1, f"{match.group(0)}: as open()"
        for match in OPENS_INSIDE.finditer(text):
            begins = text.rfind("\n}\n", 0, match.start())
            if in_library and text.find(GUARD, max(begins, 0), match.start()) < 0:
                number = text.count("\n", 0, match.start()) + 1
                yield name, number, f"{match.group(1)}() opens files: between {GUARD} and its end"


# ------------------------------------------------------------------------------- symbols ----

def header_functions():
    """What each function is declared in."""
    declared = {}
    for name in HEADERS:
        text = "\n".join(line for line in without_comments(read(name)).splitlines()
                         if not line.startswith("#"))
        for function in re.findall(r"^[a-z][\w \*]*?\b(hf[cx]?_\w+)\(", text, flags=re.M):
            declared[function] = name
    return declared


# A library of its own: its header, what it exports, where it is built.
ADAPTERS = {"include/holdfast/cache.h": ("cache/libholdfast-cache.map", "cache/libholdfast-cache.so"),
            "include/holdfast/cluster.h": ("cluster/libholdfast-cluster.map", "cluster/libholdfast-cluster.so"),
            "include/holdfast/fabric.h": ("fabric/libholdfast-fabric.map", "fabric/libholdfast-fabric.so"),
            "include/holdfast/uring.h": ("uring/libholdfast-uring.map", "uring/libholdfast-uring.so")}


def map_functions(name):
    return set(re.findall(r"\b(hf[cx]?_\w+);", read(name)))


def exported_functions(library):
    listed = subprocess.run(["nm", "-D", "--defined-only", library], check=True,
                            capture_output=True, text=True).stdout
    names = {line.split()[-1].split("@")[0] for line in listed.splitlines()
             if line.split()[-2:-1] != ["A"]}
    return names


def manual_functions():
    """Functions with a page of their own, and those that the NAME section of another lists."""
    found = set()
    for name in FILES:
        if re.fullmatch(r"man/\w+\.3\.scd", name):
            found.add(os.path.basename(name).split(".")[0])
            match = re.search(r"^# NAME\n(.*?)^# ", read(name), flags=re.M | re.S)
            if match:
                found |= set(re.findall(r"\bhf[cx]?_\w+", match.group(1).replace("\\_", "_")))
    return found


def check_library(declared, map_file, library):
    for function in sorted(declared.keys() - map_functions(map_file)):
        yield map_file, 1, f"{function} is in {declared[function]} but not here"
    for function in sorted(map_functions(map_file) - declared.keys()):
        yield map_file, 1, f"{function} is here but in no public header"
    built = OPTIONS.build and os.path.join(OPTIONS.build, library)
    if not built or not os.path.exists(built):
        note(f"symbols: {library} is not built, only headers and map are compared")
        return
    exported = exported_functions(built)
    for function in sorted(declared.keys() - exported):
        yield declared[function], 1, f"{function} is not exported by {built}"
    for function in sorted(exported - declared.keys()):
        yield map_file, 1, f"{function} is exported by {built} but in no public header"


def check_symbols():
    declared = header_functions()
    for function in sorted(declared.keys() - manual_functions()):
        yield declared[function], 1, f"{function} has no manual page (man/{function}.3.scd)"
    for header, (map_file, library) in ADAPTERS.items():
        mine = {function: name for function, name in declared.items() if name == header}
        yield from check_library(mine, map_file, library)
    core = {function: name for function, name in declared.items() if name not in ADAPTERS}
    yield from check_library(core, MAP_FILE, os.path.join("src", "libholdfast.so"))


def check_sleeping():
    yield from sleeping.found(C_FILES, read, header_calls())


# ----------------------------------------------------------------------------- described ----

# The header is cut to the contract, the manual has the full text: both name the same errors and flags.
ERRNO = re.compile(r"-E[A-Z0-9]{2,}\b")
CONSTANT = re.compile(r"(?<![A-Za-z0-9])HF_[A-Z0-9_]*[A-Z0-9](?![A-Z0-9])")
GENERAL_PAGE = "man/holdfast.7.scd"  # has the errors that any call may return, and the policies
ANY_CALL = {"-ECHILD", "-EINVAL", "-EUCLEAN"}  # may stand in a page alone: "Rules for every call" is about them
HEADER_ITEM = re.compile(r"""
    ^/\*(?P<ruler>\ -{10}.*?\*/)
  | ^/\*(?P<comment>.*?)\*/(?P<group>\n\n)?
  | ^\#define\ (?P<define>HF_\w+)(?P<remark>[^\n]*)
  | ^enum\ \w+\ \{(?P<enum>.*?)^\};
  | ^[a-z][\w\ *]*?\b(?P<function>hf[cx]?_\w+)\([^;]*;(?P<end>\n\n)?""", flags=re.M | re.S | re.X)
ERRORS_AS = re.compile(r"Errors as ((?:hf_\w+\(\)(?:,? and |, )?)+)")


def header_calls():
    """(function, header, line, what comments say of it, the constants above it) for each public function."""
    for name in HEADERS:
        text = read(name)
        begin = text.index("/* -----")  # before it: the version, and limits
        group = comment = remarks = ""
        constants = []
        for match in HEADER_ITEM.finditer(text, begin):
            item = match.groupdict()
            if item["ruler"]:
                group = comment = ""
            elif item["group"]:
                group, comment = group + item["comment"], ""
            elif item["comment"]:
                comment = item["comment"]
            elif item["define"]:
                constants.append(item["define"])
                remarks += item["remark"]
            elif item["enum"]:
                constants += CONSTANT.findall(without_comments(item["enum"]))
            else:
                number = text.count("\n", 0, match.start()) + 1
                yield item["function"], name, number, " ".join((group, comment, remarks)), constants
                constants, remarks = [], ""
                comment = "" if item["end"] else comment


def page_errors(text):
    """The errors for which a page gives a cause of its own."""
    section = re.search(r"^# ERRORS\n(.*?)^# ", text, flags=re.M | re.S)
    found = set()
    for errors, cause in re.findall(r"^(\*-E[^\n]*)\n\t([^\n]*)", section.group(1) if section else "", flags=re.M):
        if not re.match(r"as (?:usual|in \*holdfast\*\(7\))", cause):
            found |= set(ERRNO.findall(errors))
    return found


def check_described():
    calls = {function: rest for function, *rest in header_calls()}
    general = read(GENERAL_PAGE)
    known = {constant for name in HEADERS for constant in CONSTANT.findall(read(name))}
    for name in FILES:
        if not re.fullmatch(r"man/\w+\.3\.scd", name):
            continue
        text = read(name).replace("\\_", "_")
        named = re.search(r"^# NAME\n(.*?)^# ", text, flags=re.M | re.S).group(1)
        mine = [function for function in re.findall(r"\bhf[cx]?_\w+", named) if function in calls]
        said, constants, place = set(), set(), None
        for function in mine:
            header, number, comment, above = calls[function]
            place = place or (header, number)
            for others in ERRORS_AS.findall(comment):
                comment += " ".join(calls[other][2] for other in re.findall(r"hf_\w+", others))
            said |= set(ERRNO.findall(comment))
            constants |= set(above)
        for errno in sorted(said - set(ERRNO.findall(text))):
            yield name, 1, f"{errno} is in the header, but not here"
        for errno in sorted(page_errors(text) - said - ANY_CALL):
            yield *place, f"{errno} is in {name}, but not here"
        for constant in sorted(constants - set(CONSTANT.findall(text + general))):
            yield name, 1, f"{constant} is in the header, but not here"
        for constant in sorted(set(CONSTANT.findall(text)) - known):
            yield name, 1, f"{constant} is in no header"


# --------------------------------------------------------------------------------- shape ----

NAME_OF_NOTHING = re.compile(r"(?:^|[_-])(?:utils?|helpers?|managers?|common|misc)(?:[_.-]|$)")


def check_shape():
    for name in FILES:
        if NAME_OF_NOTHING.search(os.path.basename(name)):
            yield name, 1, "its name does not say what it is"
        if not name.endswith((".c", ".h", ".py", ".sh", ".build", ".bash", *OF_PAGES)):
            continue
        text = read(name)
        lines = text.splitlines()
        if len(lines) > LINES_MAX:
            yield name, LINES_MAX, f"{len(lines)} lines; a file has at most {LINES_MAX}"
        if not any(LICENSE_LINE in line for line in lines[:2]):
            yield name, 1, f"does not begin with {LICENSE_LINE}"
        if text and not text.endswith("\n"):
            yield name, len(lines), "does not end with a newline"
        for number, line in enumerate(lines, start=1):
            if line != line.rstrip():
                yield name, number, "has blanks at its end"
            elif re.search(r"\b(TODO|FIXME|XXX)\b", line) and name != "tools/lint.py":
                yield name, number, "says that something is left to do"


WIDE_CAST = re.compile(r"\((?:unsigned long long|long long unsigned)(?: int)?\)")


def check_casts():
    """A uint64_t is printed by PRIu64. The formats of Python's C API have no such name."""
    for name in C_FILES:
        if not name.startswith("python/"):
            for number, line in enumerate(without_comments(read(name)).splitlines(), start=1):
                if WIDE_CAST.search(line):
                    yield name, number, "a cast to print a number: use PRIu64 and its like"


STATIC_FUNCTION = re.compile(r"^static [A-Za-z_][^;{}=#]*?\b(\w+)\([^;{}]*\)\s*\{", flags=re.M)


def check_unique():
    """A search for a function of the library or a program finds one, and each has a noun that tells it from others."""
    first = {}
    for name in C_FILES:
        if not name.startswith(("src/", *(f"{folder}/" for folder in PUBLIC_ONLY - {"examples"}))):
            continue
        text = without_comments(read(name))
        for match in STATIC_FUNCTION.finditer(text):
            function = match.group(1)
            if first.setdefault(function, name) != name and function != "__attribute__":
                yield name, text.count("\n", 0, match.start(1)) + 1, f"{function}() is in {first[function]} too"


LONG_FUNCTION_LINES = 25
BODY = re.compile(r"^[A-Za-z_][^;{}=#]*?\b(\w+)\([^;{}]*\)\n\{\n(.*?)^\}", flags=re.M | re.S)


def check_lengths():
    """Of 100 functions, 95 have at most LONG_FUNCTION_LINES lines, in src/ and in all."""
    lengths = []
    for name in C_FILES:
        text = read(name)
        for match in BODY.finditer(text):
            lengths.append((match.group(2).count("\n"), name, text.count("\n", 0, match.start(1)) + 1, match.group(1)))
    for place in ("src/", ""):
        here = sorted(function for function in lengths if function[1].startswith(place))
        lines, name, number, function = here[len(here) * 95 // 100]
        if lines > LONG_FUNCTION_LINES:
            yield name, number, (f"{function}() has {lines} lines, and 5 of 100 functions in {place or 'all folders'} have as"
                                 f" many or more; {LONG_FUNCTION_LINES} are allowed")


CODE_COLUMNS = 100
PROSE_COLUMNS = 120
OF_PAGES = (".js", ".css", ".html")
LITERAL = re.compile(r'"(?:\\.|[^"\\])*"')


def check_width():
    """Strings of code and tables of prose may be wider: they cannot be broken."""
    for name in FILES:
        if name.endswith((".c", ".h", *OF_PAGES)):
            for number, line in numbered(name):
                if len(line) > CODE_COLUMNS and len(LITERAL.sub('""', line)) > CODE_COLUMNS:
                    yield name, number, f"{len(line)} columns; code has {CODE_COLUMNS}"
        elif name.endswith((".md", ".scd")):
            literal = False
            for number, line in numbered(name):
                literal ^= line.startswith("```")
                if (len(line) > PROSE_COLUMNS and not literal and "://" not in line
                        and not line.startswith(("|", "#", "!["))):
                    yield name, number, f"{len(line)} columns; prose has {PROSE_COLUMNS}"


NAMED_FUNCTION = re.compile(r"\b([a-z]\w+)\(\)")
NAMED_FILE = re.compile(r"\b((?:\w+/)+\w+\.(?:[ch]|py|sh|pml|def))\b")
NAMED_IN = ("ARCHITECTURE.md", "CONTRIBUTING.md", "docs/DECISIONS.md", "docs/ENGINES.md", "docs/FORMAT.md",
            "docs/MOUNT.md", ORDERING)


NAMED_BESIDE = re.compile(r"(?<![\w/.*<\"])((?:\w+/)*\w+\.(?:c|h|py|sh|pml|scd|md))\b")
# Of the system, the kernel and other libraries.
NAMED_ELSEWHERE = re.compile(r"(?:sys|linux|rdma)/|sysexits\.h|liburing\.h|dlpack\.h|get_user_pages_fast|getdents")


def named_in_comments(functions):
    """A comment names a file beside it by its last part, another one with its folder."""
    for name in C_FILES:
        folder = os.path.dirname(name)
        for match in prose.C_TEXT.finditer(read(name)):
            if match.group(0)[0] != "/":
                continue
            number = read(name).count("\n", 0, match.start()) + 1
            for function in NAMED_FUNCTION.findall(match.group(0)):
                if function not in functions and not NAMED_ELSEWHERE.match(function):
                    yield name, number, f"there is no function {function}()"
            for file in NAMED_BESIDE.findall(match.group(0)):
                places = {f"{folder}/{file}", file, f"src/{file}", f"docs/{file}", f"include/{file}"}
                if places.isdisjoint(FILES) and not NAMED_ELSEWHERE.match(file):
                    yield name, number, f"there is no file {file} beside it"


def check_named():
    """What a document or a comment names must be there: it would be searched for. NAME and CALL stand for any name."""
    functions = set()
    for name in C_FILES:
        functions |= set(re.findall(r"\b(\w+)\(", without_comments(read(name))))
    yield from named_in_comments(functions)
    for name in NAMED_IN:
        for number, line in numbered(name):
            for function in NAMED_FUNCTION.findall(line):
                if function not in functions and "NAME" not in function:
                    yield name, number, f"there is no function {function}()"
            for file in NAMED_FILE.findall(line):
                if {file, f"src/{file}"}.isdisjoint(FILES) and not re.search("NAME|CALL", file):
                    yield name, number, f"there is no file {file}"


# ------------------------------------------------------------------------------ language ----

WORDS_IN = (".c", ".h", ".md", ".scd", ".py", ".pyi", ".sh", ".build", ".bash", ".pml", ".def", ".js", ".css")


def check_words():
    for name in FILES:
        if name.endswith(WORDS_IN) and name != "tools/prose.py":
            for number, found, advice in prose.words_found(name, read(name)):
                yield name, number, f'"{found}": {advice}'


def check_sentences():
    """Sentences of comments and prose have at most prose.WORDS_MAX words."""
    for name in FILES:
        if not name.endswith((*WORDS_IN, ".cc", ".hpp", "Makefile")):
            continue
        for number, words, sentence in prose.sentences(name, read(name)):
            if words > prose.WORDS_MAX:
                yield name, number, f"a sentence of {words} words; it may have {prose.WORDS_MAX}: {sentence[:60]} ..."


# ---------------------------------------------------------------------------- other tools ----

def check_spelling():
    if not shutil.which("codespell"):
        note("spelling: codespell is not installed")
        return
    texts = [name for name in FILES if not name.endswith((".png", ".svg"))]
    run = subprocess.run(["codespell", "--ignore-words-list=inout,fo,te,ans,ser", *texts],
                         cwd=ROOT, capture_output=True, text=True, check=False)
    for line in run.stdout.splitlines():
        match = re.match(r"(.+?):(\d+): (.*)", line)
        if match:
            yield match.group(1), int(match.group(2)), "spelling: " + match.group(3)


def check_format():
    if not shutil.which("clang-format"):
        note("format: clang-format is not installed")
        return
    run = subprocess.run(["clang-format", "--dry-run", *C_FILES], cwd=ROOT, capture_output=True,
                         text=True, check=False)
    seen = set()
    for line in run.stderr.splitlines():
        match = re.match(r"(.+?):(\d+):\d+: (?:warning|error)", line)
        if match and match.group(1) not in seen:
            seen.add(match.group(1))
            yield match.group(1), int(match.group(2)), "is not as `make fmt` leaves it"


CHECKS = {
    "layers": check_layers,
    "cycles": check_cycles,
    "ordering": check_ordering,
    "atomics": check_atomics,
    "asserted": check_asserted,
    "descriptors": check_descriptors,
    "symbols": check_symbols,
    "sleeping": check_sleeping,
    "described": check_described,
    "shape": check_shape,
    "casts": check_casts,
    "unique": check_unique,
    "lengths": check_lengths,
    "width": check_width,
    "named": check_named,
    "words": check_words,
    "sentences": check_sentences,
    "spelling": check_spelling,
    "format": check_format,
}
NOTES = []
OPTIONS = argparse.Namespace()


def note(sentence):
    NOTES.append(sentence)


def main():
    parser = argparse.ArgumentParser(description="Check the house rules.")
    parser.add_argument("--build", default=None, help="build folder with the library")
    parser.add_argument("checks", nargs="*", metavar="CHECK", help=", ".join(CHECKS))
    parser.parse_args(namespace=OPTIONS)
    unknown = set(OPTIONS.checks) - set(CHECKS)
    if unknown:
        parser.error(f"no such check: {', '.join(sorted(unknown))}")
    if OPTIONS.build:
        OPTIONS.build = os.path.abspath(OPTIONS.build)
    count = 0
    for name in OPTIONS.checks or CHECKS:
        for file, line, sentence in CHECKS[name]():
            print(f"{file}:{line}: {sentence}")
            count += 1
    for sentence in NOTES:
        print(f"lint: {sentence}")
    print(f"lint: {count} finding{'' if count == 1 else 's'}")
    return 1 if count else 0


if __name__ == "__main__":
    sys.exit(main())
