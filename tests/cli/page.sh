#!/bin/bash
# SPDX-License-Identifier: MIT
# top --listen: what the page is told of space, cells, files and pins, pools that go, and what Chromium makes of it.
. "$(dirname "$0")/cli.sh" || exit 1

try 0 "$HOLDFAST" mkpool "$pool" --size 16M
"$HOLDFAST" top "$pool" --listen x 2>"$work/err" >/dev/null
if grep -q 'built without it' "$work/err"; then
    echo "skipped: this holdfast was built without libmicrohttpd"
    exit 77
fi
try 64 "$HOLDFAST" top "$pool" --listen 0 --batch 1
says "--listen and --batch exclude each other"
head -c 4M /dev/urandom >"$work/bytes"
name='<img src=x onerror="document.title=1">'
try 0 "$HOLDFAST" put "$pool" "$work/bytes" "$name"
head -c 1M /dev/urandom >"$work/bytes"
try 0 "$HOLDFAST" put "$pool" "$work/bytes" $'odd\xff'
try 0 "$HOLDFAST" put "$pool" "$work/bytes" gone
hold pin "$pool" "$name" 0 65536
hold lease "$pool" "$name" 1048576 8192 lease rdma write
hold gone "$pool" gone 0 8192 lease gpu
try 0 "$HOLDFAST" rm "$pool" gone --policy detach
"$HOLDFAST" truncate "$pool" "$name" --size 0 &
change=$!
for i in $(seq 6000); do
    try 0 "$HOLDFAST" pins "$pool" --waiting --json
    [ "$(json 'len(it)')" = 1 ] && break
    sleep 0.05
done

python3 - "$HOLDFAST" "$work" "$name" "$change" "$(command -v chromium)" <<'PROGRAM' || fail "the page is not what the manual says"
import html, http.client, json, os, re, shutil, signal, subprocess, sys

HOLDFAST, WORK, NAME, CHANGE, CHROMIUM = sys.argv[1:]
POOL, COUNTS = os.path.join(WORK, "pool"), os.path.join(WORK, "counts")
HELD, WRITTEN, WAITED = 1, 2, 4


def holdfast(*words):
    return subprocess.run([HOLDFAST, *words], check=True, capture_output=True, text=True).stdout


class Server:
    def __init__(self, pool):
        self.errors = open(os.path.join(WORK, "errors"), "w+")
        self.process = subprocess.Popen([HOLDFAST, "top", pool, "--listen", "0", "--interval", "200ms"], text=True,
                                        stdout=subprocess.PIPE, stderr=self.errors)
        self.url = self.process.stdout.readline().strip()
        self.port = int(re.fullmatch(r"http://127\.0\.0\.1:(\d+)/", self.url)[1])

    def ask(self, path="/", **headers):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=600)
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode(), answer

    def state(self):
        status, text, answer = self.ask("/state.json")
        assert status == 200 and answer.headers["Content-Type"] == "application/json", text
        return json.loads(text)

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(600) == -signal.SIGTERM
        self.process.stdout.close()
        self.errors.seek(0)
        return self.errors.read()


def cells(state):
    return [run[1:] for run in state["runs"] for _ in range(run[0])]


def check_pages(server):
    for path, kind in (("/", "text/html"), ("/top.css", "text/css"), ("/top.js", "text/javascript")):
        status, text, answer = server.ask(path)
        assert status == 200 and answer.headers["Content-Type"] == kind + "; charset=utf-8", path
        assert not re.search(r"https?://", text), path  # nothing comes from outside
        assert "default-src 'self'" in answer.headers["Content-Security-Policy"]
    assert server.ask("/top.html")[0] == 404
    assert server.ask("/state.json", Host="example.org")[0] == 403


def check_state(state):
    info = json.loads(holdfast("info", POOL, "--json"))
    assert state["readable"] and state["pool"] == POOL and state["interval_ms"] == 200
    for name in ("pool_bytes", "free_bytes", "detached_bytes", "saved_bytes"):
        assert state[name] == info[name], (name, state[name], info)
    assert state["used_bytes"] == 5 << 20 and state["detached_bytes"] == 8192
    assert [file["file"] for file in state["files"]] == ["/" + NAME, "/odd\udcff", None]
    assert [file["blocks"] for file in state["files"]] == [1024, 256, 2]
    assert state["file_count"] == 3 and state["files"][0]["pins"] == 2
    # each cell is one block here
    all_cells = cells(state)
    assert state["cell_blocks"] == 1 and len(all_cells) == 4096
    assert sum(used for used, *_ in all_cells) == 1024 + 256 + 2
    assert sum(detached for _, detached, *_ in all_cells) == 2
    assert sum(rank == 0 for used, _, _, rank, _ in all_cells if used) == 1024
    flags = [flags for *_, flags in all_cells]
    assert sum(bool(flag & HELD) for flag in flags) == 16 + 2 + 2
    assert sum(bool(flag & WRITTEN) for flag in flags) == 2
    assert sum(bool(flag & WAITED) for flag in flags) == 1024
    # what waits comes first
    pins = state["pins"]
    assert state["pin_count"] == len(pins) == 4 and pins[0]["pid"] == int(CHANGE)
    assert [pins[0][key] for key in ("kind", "state", "range")] == ["change", "waiting", "0..end"]
    assert sorted((pin["kind"], pin["state"], pin["mode"], pin["purpose"]) for pin in pins[1:]) == \
        [("lease", "detached", "read", "gpu"), ("lease", "recalled", "write", "rdma"), ("pin", "held", "read", "cpu")]


# The page as it is after some looks. What is in the pool is text in it, whatever it looks like.
def check_browser(server):
    folder = os.path.join(WORK, "chromium")
    shown = subprocess.run([CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder}",
                            "--virtual-time-budget=3000", "--dump-dom", server.url],
                           capture_output=True, text=True, env={**os.environ, "HOME": WORK})
    shown = shown.stdout or shown.stderr
    rows = [[html.unescape(re.sub("<[^>]*>", "", cell)) for cell in re.findall("<td>(.*?)</td>", row)]
            for row in re.findall("<tr[^>]*>(.*?)</tr>", shown)]
    waits = [row for row in rows if len(row) == 9 and row[3] == "waiting"]
    assert len(waits) == 1 and waits[0][0] == CHANGE and waits[0][8] == "/" + NAME, shown
    assert len([row for row in rows if len(row) == 9]) == 4, rows
    assert ["layout changes"] == [row[0] for row in rows if len(row) == 3][:1], rows
    assert "4096 cells of 4K: 1282 used, 20 pinned, 1024 waited for" in shown, shown
    assert f"<title>{POOL} - holdfast top</title>" in shown and "<img" not in shown, shown
    assert int(re.search(r'data-looks="(\d+)"', shown)[1]) > 1, shown  # it asks again
    assert re.search(r'id="trouble"[^>]* hidden', shown), shown


try:
    server = Server(POOL)
    check_pages(server)
    check_state(server.state())
    if CHROMIUM:
        check_browser(server)
    else:
        print("not tried: there is no Chromium here to show the page")
    assert server.end() == ""

    # an engine that counts has no list of pins; a pool may go and come back
    holdfast("mkpool", COUNTS, "--size", "8M", "--engine", "refcount")
    server = Server(COUNTS)
    state = server.state()
    assert state["readable"] and "refcount" in state["no_pins"] and state["pins"] == [], state
    shutil.rmtree(COUNTS)
    assert server.state() == {"pool": COUNTS, "interval_ms": 200, "readable": False}
    holdfast("mkpool", COUNTS, "--size", "16M")
    assert server.state()["pool_bytes"] == 16 << 20
    said = server.end()
    assert len(said.splitlines()) == 2 and "can be read again" in said, said
except BaseException:
    for child in [server.process] if "server" in globals() else []:
        child.kill()
    raise
PROGRAM
let_go pin
let_go lease
let_go gone
wait "$change" || fail "the truncate failed after its pins were gone"
