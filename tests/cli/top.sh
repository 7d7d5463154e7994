#!/bin/bash
# SPDX-License-Identifier: MIT
# top: screens as text; and on a terminal of its own, which it gives back in every way it ends.
. "$(dirname "$0")/cli.sh" || exit 1

try 0 "$HOLDFAST" mkpool "$pool" --size 16M
head -c 4M /dev/urandom >"$work/bytes"
try 0 "$HOLDFAST" put "$pool" "$work/bytes" file

try 64 "$HOLDFAST" top "$pool"
says "this needs a terminal; --batch N"
for interval in 0 50ms 2h x 1.5 ""; do
    try 64 "$HOLDFAST" top "$pool" --batch 1 "--interval=$interval"
    says "--interval"
done
try 64 "$HOLDFAST" top "$pool" --batch 0
try 66 "$HOLDFAST" top "$work/missing" --batch 1

# screens as text, plain where the locale is
hold pin "$pool" file 0 65536
hold lease "$pool" file 65536 4096 lease gpu
try 75 "$HOLDFAST" truncate "$pool" file --size 0 --policy deadline:20ms
"$HOLDFAST" punch "$pool" file --off 0 --len 64K &
puncher=$!
for i in $(seq 6000); do
    try 0 "$HOLDFAST" pins "$pool" --waiting --json
    [ "$(json 'len(it)')" = 1 ] && break
    sleep 0.05
done
try 0 env LC_ALL=C "$HOLDFAST" top "$pool" --batch 2 --interval 100ms
same "$(grep -c "^$pool  20..-..-.. .* every 100ms  slots, tmpfs, memory$" <<<"$out")" 2
same "$(LC_ALL=C grep -c '[^ -~]' <<<"$out")" 0
same "$(grep -c '^pool 16M: used 4.0M (25%), saved 0, detached 0, free 12M, resident 4.0M  \[#*\.*\]$' <<<"$out")" 2
same "$(grep -c '^pins 1, leases 1: cpu 1 io_uring 0 rdma 0 gpu 1$' <<<"$out")" 2
same "$(grep -c '^layout changes waiting 1, recalled 1, ' <<<"$out")" 2
same "$(grep -c ' 1 waits, mean ' <<<"$out")" 2
same "$(grep '^layout changes  ' <<<"$out" | awk '{print $3, $4}' | xargs)" "2 - 2 0.0"
# the change that waits, under it the pin that it waits for, then the lease
rows=$(tail -n 3 <<<"$out")
same "$(awk '{print $1}' <<<"$rows" | xargs)" "$puncher ${holder_pid[pin]} ${holder_pid[lease]}"
same "$(awk '{print $3}' <<<"$rows" | xargs)" "change pin lease"
same "$(awk '{print $NF}' <<<"$rows" | xargs)" "/file /file /file"
same "$(awk 'length > 80' <<<"$out" | grep -v "^$pool ")" ""
try 0 "$HOLDFAST" top "$pool" -b 1
grep -q '█' <<<"$out" || fail "no bar in a UTF-8 locale: $out"
"$HOLDFAST" top "$pool" -b 1000 -i 100ms | head -n 1 >/dev/null
same "${PIPESTATUS[0]}" 0
let_go pin
let_go lease
wait "$puncher" || fail "punch failed after the pin was gone"

# an engine that counts: all but the pins
try 0 "$HOLDFAST" mkpool "$work/counts" --size 8M --engine refcount
try 0 "$HOLDFAST" top "$work/counts" --batch 1
grep -q 'refcount counts pins and does not know whose they are' <<<"$out" ||
    fail "the library's sentence is missing: $out"

ulimit -c 0
python3 - "$HOLDFAST" "$pool" <<'PROGRAM' || fail "top does not treat its terminal well"
import fcntl, os, pty, select, signal, struct, sys, termios

HOLDFAST, POOL = sys.argv[1:]
GIVEN_BACK = b"\x1b[?1049l"


class Screen:
    def __init__(self, term="xterm", rows=24, columns=80):
        self.master, self.slave = pty.openpty()
        self.resize(rows, columns)
        self.before = termios.tcgetattr(self.slave)
        self.seen = b""
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self.master)
            os.login_tty(self.slave) if hasattr(os, "login_tty") else self.login()
            os.environ["TERM"] = term
            os.execv(HOLDFAST, [HOLDFAST, "top", POOL, "--interval", "100ms"])

    def login(self):
        os.setsid()
        fcntl.ioctl(self.slave, termios.TIOCSCTTY, 0)
        for number in range(3):
            os.dup2(self.slave, number)

    def resize(self, rows, columns):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def read(self):
        if not select.select([self.master], [], [], 600)[0]:
            raise TimeoutError(f"nothing more came after {self.seen!r}")
        self.seen += os.read(self.master, 65536)

    def until(self, text):
        self.seen = b""
        for _ in range(500):  # it is drawn ten times a second, whether the text comes or not
            self.read()
            if text in self.seen:
                return
        raise TimeoutError(f"{text!r} did not come")

    def type(self, text):
        os.write(self.master, text)

    def end(self, status):
        """What it says must be read while it ends: the pty has little room."""
        while GIVEN_BACK not in self.seen:
            self.read()
        assert os.waitpid(self.pid, 0)[1] == status
        assert termios.tcgetattr(self.slave) == self.before, "the terminal's modes are not those of before"
        os.close(self.slave)
        os.close(self.master)


def started(**how):
    screen = Screen(**how)
    screen.until(b"space refresh")
    return screen


screen = started()
assert os.fsencode(POOL)[:60] in screen.seen and b"\x1b[?1049h" in screen.seen
assert termios.tcgetattr(screen.slave) != screen.before
screen.type(b"l\f")
screen.until(b"OLDEST LEASES")
screen.type(b"x")
screen.resize(5, 30)
screen.until(b"w waits")  # the last line, cut to what fits
screen.resize(60, 200)
screen.until(b"space refresh")
screen.resize(1, 1)
screen.type(b"a ")
screen.resize(24, 80)
screen.until(b"space refresh")
screen.type(b"q")
screen.end(0)

for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
    screen = started()
    os.kill(screen.pid, number)
    screen.end(number)
screen = started()
os.kill(screen.pid, signal.SIGINT)
os.kill(screen.pid, signal.SIGINT)  # the second one does not wait for the first
screen.end(signal.SIGINT)
screen = started()
screen.type(b"\x03")
screen.end(signal.SIGINT)
for number in (signal.SIGABRT, signal.SIGSEGV):
    screen = started()
    os.kill(screen.pid, number)
    while GIVEN_BACK not in screen.seen:
        screen.read()
    assert os.waitpid(screen.pid, 0)[1] != 0  # a sanitizer turns the signal into an exit status
    assert termios.tcgetattr(screen.slave) == screen.before

# a terminal that goes away is the end too
screen = started()
os.close(screen.slave)
os.close(screen.master)
os.waitpid(screen.pid, 0)

os.environ["LSAN_OPTIONS"] = "detect_leaks=0"  # ncurses keeps what it began with
screen = Screen(term="no-such-terminal")
screen.until(b"the terminal 'no-such-terminal' is not known")
assert os.waitstatus_to_exitcode(os.waitpid(screen.pid, 0)[1]) == 64
PROGRAM
try 0 "$HOLDFAST" info "$pool" --json
same "$(json 'it["processes"]["now"]')" 1
