#!/bin/bash
# SPDX-License-Identifier: MIT
# metrics --listen: one scrape for several pools, what is refused, pools that come and go, and how it ends.
. "$(dirname "$0")/cli.sh" || exit 1

try 0 "$HOLDFAST" mkpool "$pool" --size 8M
try 64 "$HOLDFAST" metrics "$pool" "$pool"
says "is given twice"
"$HOLDFAST" metrics "$pool" --listen x 2>"$work/err" >/dev/null
if grep -q 'built without it' "$work/err"; then
    echo "skipped: this holdfast was built without libmicrohttpd"
    exit 77
fi

# the library may have been removed since
library=$(ldconfig -p | awk '$1 ~ /^libmicrohttpd\.so\.[0-9]+$/ {print $NF; exit}')
if [ -n "$library" ] && unshare -m true 2>/dev/null; then
    try 69 unshare -m bash -c 'mount --bind /dev/null "$1" && shift && exec "$@"' - "$library" \
        "$HOLDFAST" metrics "$pool" --listen 0
    says "--listen needs libmicrohttpd"
fi

for address in x 70000 1.2.3.4:99999 127.0.0.1:80x :: '[::1' '[::1]' example.org:80; do
    try 64 "$HOLDFAST" metrics "$pool" --listen "$address"
    says "--listen $address: an address is ADDR:PORT"
done
try 64 "$HOLDFAST" metrics "$pool" --listen ""
try 64 "$HOLDFAST" metrics "$pool" --listen 192.0.2.1:0 # an address for documents
says "this machine does not have that address"

python3 - "$HOLDFAST" "$work" <<'PROGRAM' || fail "the server does not do what the manual says"
import http.client, os, re, shutil, signal, socket, subprocess, sys

HOLDFAST, WORK = sys.argv[1:]
A, B, LATER = (os.path.join(WORK, name) for name in ("pool", "counts", "later"))


def holdfast(*words):
    return subprocess.run([HOLDFAST, *words], check=True, capture_output=True, text=True).stdout


class Server:
    def __init__(self, *pools, address="0"):
        self.errors = open(os.path.join(WORK, "errors"), "w+")
        self.process = subprocess.Popen([HOLDFAST, "metrics", *pools, "--listen", address], text=True,
                                        stdout=subprocess.PIPE, stderr=self.errors)
        self.url = self.process.stdout.readline().strip()
        self.host, self.port = re.fullmatch(r"http://\[?([^]]+?)\]?:(\d+)/metrics", self.url).groups()

    def ask(self, path="/metrics", method="GET", connection=None, **headers):
        connection = connection or http.client.HTTPConnection(self.host, int(self.port), timeout=600)
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode(), answer

    def said(self):
        self.errors.seek(0)
        return self.errors.read()

    def end(self, number):
        os.kill(self.process.pid, number)
        assert self.process.wait(600) == -number
        self.process.stdout.close()
        return self.said()


def ups(text):
    return {path: int(up) for path, up in re.findall(r'^holdfast_pool_up\{pool="(.*)"\} (.)$', text, re.M)}


try:
    holdfast("mkpool", B, "--size", "8M", "--engine", "refcount")
    server = Server(A, B, LATER)
    assert server.host == "127.0.0.1", server.url  # unless told otherwise
    status, text, answer = server.ask()
    assert status == 200 and answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert ups(text) == {A: 1, B: 1, LATER: 0}
    # everything that is printed, under one heading for all pools
    printed = holdfast("metrics", A, B)
    changing = re.compile(r"^(holdfast_\w+\{.*\}) .*$", re.M)
    assert set(changing.sub(r"\1", printed).splitlines()) == \
        {line for line in changing.sub(r"\1", text).splitlines() if LATER not in line}
    heads = [line for line in text.splitlines() if line.startswith("# TYPE")]
    assert len(heads) == len(set(heads)) > 30
    family = None
    for line in text.splitlines():
        if line.startswith("#"):
            family = line.split()[2]
        assert line.startswith("#") or line.startswith(family), line

    # counts go on between scrapes, since the pool stays open
    holdfast("truncate", A, "file", "--size", "8K", "--create")
    holdfast("truncate", A, "file", "--size", "0")
    changes = re.search(r'^holdfast_layout_changes_total\{pool="%s"\} (\d+)$' % re.escape(A), server.ask()[1], re.M)
    assert int(changes[1]) > 0, changes

    # pools come, go, are others, are damaged; each is said once
    holdfast("mkpool", LATER, "--size", "8M")
    assert ups(server.ask()[1])[LATER] == 1
    shutil.rmtree(LATER)
    assert ups(server.ask()[1])[LATER] == 0 == ups(server.ask()[1])[LATER]
    holdfast("mkpool", LATER, "--size", "16M")
    status, text, _ = server.ask()
    assert f'holdfast_pool_bytes{{pool="{LATER}"}} {16 << 20}\n' in text
    shutil.rmtree(LATER)
    os.mkdir(LATER)
    status, text, _ = server.ask()
    assert status == 200 and ups(text) == {A: 1, B: 1, LATER: 0}
    said = server.said()
    assert said.count(f"{LATER}: can be read again") == 2, said
    assert len(said.splitlines()) == 5, said

    # what is not a scrape
    assert server.ask("/")[0] == 404
    assert server.ask("/metrics?x=1")[0] == 200
    for method in ("POST", "PUT", "DELETE"):
        status, _, answer = server.ask(method=method)
        assert status == 405 and answer.headers["Allow"] == "GET, HEAD"
    status, text, answer = server.ask(method="HEAD")
    assert status == 200 and text == "" and int(answer.headers["Content-Length"]) > 1000
    assert server.ask(Host="example.org")[0] == server.ask(Host="127.0.0.1.example.org")[0] == 403
    assert server.ask(Host="localhost")[0] == server.ask(Host="[::1]:1")[0] == 200
    with socket.create_connection((server.host, int(server.port)), 600) as noise:
        noise.sendall(b"\0" * 100000 + b"\r\n\r\n")
    with socket.create_connection((server.host, int(server.port)), 600) as old:
        old.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        assert old.recv(12) == b"HTTP/1.1 200"
    idle = [socket.create_connection((server.host, int(server.port)), 600) for _ in range(8)]
    kept = http.client.HTTPConnection(server.host, int(server.port), timeout=600)
    assert server.ask(connection=kept)[0] == server.ask(connection=kept)[0] == 200

    # a second one on the same port
    second = subprocess.run([HOLDFAST, "metrics", A, "--listen", server.port], capture_output=True, text=True)
    assert second.returncode == 75 and "another program listens there already" in second.stderr
    server.end(signal.SIGTERM)
    for connection in idle:
        connection.close()
    # the port is free at once
    server = Server(A, address=f"127.0.0.1:{server.port}")
    assert server.ask()[0] == 200
    assert server.end(signal.SIGINT) == ""
    server = Server(A, address="0.0.0.0:0")
    server.host = "127.0.0.1"
    assert server.ask(Host="example.org")[0] == 200  # not only for this machine
    server.end(signal.SIGTERM)
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        print("not tried: this machine has no IPv6")
    else:
        server = Server(A, address="[::1]:0")
        assert server.host == "::1" and server.ask()[0] == 200
        server.end(signal.SIGTERM)
finally:
    if server.process.poll() is None:
        server.process.kill()
PROGRAM
# nobody has it open any more
try 0 "$HOLDFAST" fsck "$pool"
