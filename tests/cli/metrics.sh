#!/bin/bash
# SPDX-License-Identifier: MIT
# metrics: what comes out is Prometheus' text format, and what it says is so.
. "$(dirname "$0")/cli.sh" || exit 1

# Reads $out as the format asks, then prints a Python expression over metrics[name][labels]. The labels are (key,
# value) pairs in their order, without the pool's.
metric() {
    python3 - "$work/out" "$path" "$1" <<'PROGRAM' || fail "the metrics are not good: $1"
import os, re, sys

NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
SAMPLE = re.compile(r"(" + NAME + r")\{((?:\w+=\"(?:[^\"\\]|\\[\\\"n])*\",?)*)\} (\S+)")
LABEL = re.compile(r"(\w+)=\"((?:[^\"\\]|\\[\\\"n])*)\"")
text = open(sys.argv[1], "rb").read().decode("utf-8")
path = os.fsencode(sys.argv[2]).decode("utf-8", "replace")
assert text.endswith("\n")
types, helped, metrics, family = {}, set(), {}, None
for line in text.split("\n")[:-1]:
    if line.startswith("# HELP "):
        family = line.split(" ")[2]
        assert family not in helped and len(line.split(" ")) > 3, line
        helped.add(family)
    elif line.startswith("# TYPE "):
        _, _, name, kind = line.split(" ")
        assert name == family and name not in types, line
        assert kind in ("counter", "gauge", "histogram"), line
        types[name] = kind
    else:
        name, labels, value = SAMPLE.fullmatch(line).groups()
        labels = [(key, re.sub(r"\\(.)", lambda m: "\n" if m[1] == "n" else m[1], label))
                  for key, label in LABEL.findall(labels)]
        kind = types[family]
        suffixes = ("_bucket", "_sum", "_count") if kind == "histogram" else ("",)
        assert name in [family + suffix for suffix in suffixes], line
        assert (kind == "counter") == name.endswith("_total"), line
        assert labels[0] == ("pool", path), (labels, path)
        samples = metrics.setdefault(name.removeprefix("holdfast_"), {})
        assert name.startswith("holdfast_") and tuple(labels[1:]) not in samples, line
        samples[tuple(labels[1:])] = float(value)
assert helped == set(types)
for name, kind in types.items():
    if kind != "histogram":
        continue
    name = name.removeprefix("holdfast_")
    buckets = [(float(dict(labels)["le"]), count)
               for labels, count in metrics[name + "_bucket"].items()]
    assert buckets == sorted(buckets) and buckets[-1][0] == float("inf"), buckets
    assert [count for _, count in buckets] == sorted(count for _, count in buckets), buckets
    assert buckets[-1][1] == metrics[name + "_count"][()], name
    metrics[name + "_bounds"] = buckets
it = {name: samples[()] for name, samples in metrics.items() if () in samples}
print(eval(sys.argv[3]))
PROGRAM
}

# The number of pins and leases with these labels.
pins_of() {
    metric "int(metrics['pins'][(('kind', '$1'), ('state', '$2'), ('purpose', '$3'))])"
}

# How many layout changes gave up: by deadline, busy, cancelled, own pin, deadlock.
given_up() {
    metric '[int(metrics["given_up_total"][(("cause", cause),)])
             for cause in ("deadline", "busy", "cancelled", "own_pin", "deadlock")]'
}

path=$pool
try 0 "$HOLDFAST" mkpool "$pool" --size 16M
head -c 1M /dev/urandom >"$work/bytes"
try 0 "$HOLDFAST" put "$pool" "$work/bytes" file
hold pin "$pool" file 0 65536
hold lease "$pool" file 524288 8192 lease rdma write

try 0 "$HOLDFAST" metrics "$pool"
same "$(metric 'it["pool_bytes"], it["used_bytes"], it["detached_bytes"]')" "(16777216.0, 1048576.0, 0.0)"
same "$(metric 'it["used_bytes"] + it["free_bytes"] == it["pool_bytes"] < it["limit_bytes"]')" True
same "$(metric 'it["inodes"], it["processes"], it["leases"]')" "(2.0, 3.0, 1.0)"
same "$(metric 'it["registrations"]')" 0.0
same "$(metric 'dict(list(metrics["pool_info"])[0])["engine"]')" slots
same "$(metric 'sum(metrics["pins"].values())')" 2.0
same "$(pins_of pin held cpu)$(pins_of lease held rdma)$(pins_of lease recalled rdma)" 110
same "$(metric 'it["lease_oldest_seconds"] > 0')" True
same "$(metric 'it["wait_seconds_count"], it["layout_changes_total"]')$(given_up)" \
    "(0.0, 0.0)[0, 0, 0, 0, 0]"

# a wait that ends at its deadline is in the histogram, in seconds
try 75 "$HOLDFAST" truncate "$pool" file --size 512K --policy deadline:30ms
try 0 "$HOLDFAST" metrics "$pool"
same "$(metric 'it["wait_seconds_count"], it["layout_changes_total"]')$(given_up)" \
    "(1.0, 1.0)[1, 0, 0, 0, 0]"
same "$(metric 'it["recalls_total"]')" 1.0
same "$(pins_of lease held rdma)$(pins_of lease recalled rdma)" 01
same "$(metric 'it["wait_seconds_sum"] == it["wait_longest_seconds"] > 0')" True # from when it began to wait
same "$(metric '[count for bound, count in metrics["wait_seconds_bounds"]
                 if bound >= it["wait_seconds_sum"]][0]')" 1.0
same "$(metric '[count for bound, count in metrics["wait_seconds_bounds"]
                 if bound < it["wait_seconds_sum"]][-1]')" 0.0

# one that does not wait is another thing
try 75 "$HOLDFAST" truncate "$pool" file --size 512K --policy nowait
try 0 "$HOLDFAST" metrics "$pool"
same "$(metric 'it["wait_seconds_count"], it["layout_changes_total"]')$(given_up)" \
    "(1.0, 2.0)[1, 1, 0, 0, 0]"

# what is held and not in the file
try 0 "$HOLDFAST" truncate "$pool" file --size 0 --policy detach
try 0 "$HOLDFAST" metrics "$pool"
same "$(metric 'it["detached_bytes"], it["detaches_total"]')" "(73728.0, 1.0)"
same "$(pins_of pin detached cpu)$(pins_of lease detached rdma)" 11
let_go pin
let_go lease

# A deadline that passes at another change's gate is counted as well. All had let go, so counts begin at 0.
try 0 "$HOLDFAST" put "$pool" "$work/bytes" other
hold other "$pool" other 0 65536
"$HOLDFAST" truncate "$pool" other --size 0 &
change=$!
for ((i = 0; i < 6000; i++)); do
    try 0 "$HOLDFAST" pins "$pool" --waiting --json
    [ "$(json 'len(it)')" = 1 ] && break
    sleep 0.05
done
try 75 "$HOLDFAST" truncate "$pool" other --size 4K --policy deadline:1ms
says "past the deadline: a gate over the pages is held by process $change"
try 0 "$HOLDFAST" metrics "$pool"
same "$(given_up)" "[1, 0, 0, 0, 0]"
let_go other
wait "$change" || fail "the change that waited failed"

# a pool's path may hold anything
path=$work/$'a "pool" \\ of\nodd \xff names \xc3\xa9'
try 0 "$HOLDFAST" mkpool "$path" --size 8M
try 0 "$HOLDFAST" metrics "$path"
same "$(metric 'it["pool_bytes"]')" 8388608.0

# an engine that counts has no list of pins: those metrics are missing, and the rest is there
path=$work/counts
try 0 "$HOLDFAST" mkpool "$path" --size 8M --engine refcount
try 0 "$HOLDFAST" metrics "$path"
same "$(metric '"pins" in metrics, "wait_seconds_bucket" in metrics')" "(False, True)"

path=$work/missing
try 66 "$HOLDFAST" metrics "$path"
same "$out" ""
