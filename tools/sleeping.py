# SPDX-License-Identifier: MIT
"""Part of tools/lint.py: calls that may sleep. Those of src/api/ say so and are tried beside a stopped process, and the
Python package makes them without the interpreter's lock."""
import re

# What hf_atomic_begin() allows; hf_pin() has its check where it leaves the fast path.
NEVER_SLEEP = {"hf_act_for", "hf_atomic_begin", "hf_atomic_end", "hf_cancel", "hf_lease_give", "hf_lease_quarantine", "hf_lease_release",
               "hf_lease_state", "hf_pin", "hf_pin_at", "hf_stats", "hf_strerror_detail", "hf_unpin",
               "hf_version"}
MAKE_A_POOL = {"hf_pool_create", "hf_pool_open_anonymous"}  # no other process has it yet
API_FUNCTION = re.compile(r"^[a-z][^;{}=]*?\b(hf_\w+)\([^;{}]*\)\n\{\n(.*)", flags=re.M)

# They wait for nothing, as their header says.
CACHE_NEVER_SLEEPS = {"hfc_detail", "hfc_fetch_fd", "hfc_fetch_next", "hfc_release", "hfc_tier_stats"}
CLUSTER_NEVER_SLEEPS = {"hfx_detail", "hfx_epoch", "hfx_member", "hfx_owner", "hfx_server_address"}
WITHOUT_LOCK = re.compile(r"\b(?:UNSHARED_WITHOUT_LOCK|WITHOUT_LOCK|ON_PATHS?)(?=\()")
HANDED_ON = re.compile(r"(?:\bON_KEY\(\w+|\bpthread_create\(&\w+, NULL), (\w+)")
COMMENT_OR_STRING = re.compile(r'/\*.*?\*/|"(?:\\.|[^"\\\n])*"', flags=re.S)
FUNCTION = re.compile(r"^\w[^;{}=#]*?\b(\w+)\([^;{}]*\)\n\{\n.*?^\}", flags=re.M | re.S)


def end_of_arguments(text, begin):
    depth = 0
    for at in range(begin, len(text)):
        depth += (text[at] == "(") - (text[at] == ")")
        if depth == 0:
            return at
    return len(text)


def locked_calls(text):
    """(line, sentence) for each call that may wait and is not made without the lock. Such a call is an argument of a
    macro that releases the lock, or stands in a function that is called there."""
    text = COMMENT_OR_STRING.sub(lambda match: re.sub(r"[^\n]", " ", match.group()), text)
    spans = [(match.end(), end_of_arguments(text, match.end())) for match in WITHOUT_LOCK.finditer(text)]
    without = {called for begin, end in spans for called in re.findall(r"\b\w+(?=\()", text[begin:end])}
    without |= set(HANDED_ON.findall(text))
    spans += [match.span() for match in FUNCTION.finditer(text) if match.group(1) in without]
    for match in re.finditer(r"\b(hf[cx]?_\w+)\(", text):
        if match.group(1) in NEVER_SLEEP | CACHE_NEVER_SLEEPS | CLUSTER_NEVER_SLEEPS or any(a <= match.start() < b for a, b in spans):
            continue
        yield text.count("\n", 0, match.start()) + 1, f"{match.group(1)}() may wait, and has the interpreter's lock"


def found(c_files, read, calls):
    """(file, line, sentence) for each finding. calls: of the public headers, their functions first."""
    tested = set(re.findall(r"\bCALL\((hf_\w+)", read("tests/system/atomic_section.c")))
    beside_stopped = set(re.findall(r"\b(hf_\w+)\(", read("tests/kill/stop.c") + read("tests/kill/stop_calls.c")))
    for name in (name for name in c_files if name.startswith("src/api/")):
        text = read(name)
        for match in (match for match in API_FUNCTION.finditer(text) if match.group(1) not in NEVER_SLEEP):
            function, first = match.groups()
            number = text.count("\n", 0, match.start(1)) + 1
            if first.strip() != "api_begins(__func__);":
                yield name, number, f"{function} does not begin with api_begins(__func__)"
            if function not in tested:
                yield name, number, f"{function} has no row in tests/system/atomic_section.c"
            # The same call by inode only begins elsewhere.
            if not {function, function.removesuffix("at")} & (beside_stopped | MAKE_A_POOL):
                yield name, number, f"{function} is not made beside a stopped process, in tests/kill/stop_calls.c"
    beside_stopped = set(re.findall(r"\b(hfc_\w+)\(", read("tests/cache/stop.c") + read("tests/cache/objects.c")))
    for function, name, number, *_ in calls:  # a check is of a cache that no process has open
        if function.startswith("hfc_") and function not in beside_stopped | {"hfc_detail", "hfc_check"}:
            yield name, number, f"{function} is not made beside a stopped process, in tests/cache/stop.c"
    for name in (name for name in c_files if name.startswith("python/")):
        yield from ((name, *call) for call in locked_calls(read(name)))
