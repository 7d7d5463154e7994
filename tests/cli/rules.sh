#!/bin/bash
# SPDX-License-Identifier: MIT
# The dashboard and the alert rules of packaging/ name only metrics and labels that exist; promtool reads the rules.
. "$(dirname "$0")/cli.sh" || exit 1

# A cache's counts are there while a process has it open. A build without liburing has no second tier.
try 0 "$HOLDFAST" mkpool "$pool" --size 16M
mkdir "$work/disk"
if "$HOLDFAST" cache make "$pool" /kv --capacity 2M --tier "$work/disk" --tier-size 4M 2>"$work/no-tier"; then
    "$HOLDFAST" cache top "$pool" /kv --interval 100ms >"$work/watched" &
    holder_pid[watcher]=$!
    for ((i = 0; i < 6000; i++)); do
        grep -q GETS/S "$work/watched" && break
        sleep 0.1
    done
    try 0 "$HOLDFAST" metrics "$pool" --caches
else
    try 0 "$HOLDFAST" metrics "$pool"
fi
python3 - "$work/out" "$SOURCE_ROOT/packaging" <<'PROGRAM' || fail "packaging/ names what does not exist"
import json, re, sys

PACKAGING = sys.argv[2]
values = {}  # of each label of each metric
for name, labels in re.findall(r"^(holdfast_\w+)\{(.*)\} ", open(sys.argv[1]).read(), re.M):
    for label, value in re.findall(r'(\w+)="([^"]*)"', labels):
        values.setdefault(name, {}).setdefault(label, set()).add(value)


def check(place, text):
    """Each name, label and, where no variable stands, value."""
    found = re.findall(r"\b(holdfast_\w+)(?:\{([^}]*)\})?", text)
    for name, selector in found:
        if name.startswith("holdfast_cache_") and "holdfast_cache_hits_total" not in values:
            continue
        if name not in values:
            sys.exit(f"{place}: there is no metric {name}")
        for label, how, value in re.findall(r'(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"', selector):
            if label not in values[name]:
                sys.exit(f"{place}: {name} has no label {label}")
            for word in value.split("|") if "$" not in value else ():
                if word not in values[name][label]:
                    sys.exit(f"{place}: {name} has no {label}={word}")
    return len(found)


assert check("itself", 'holdfast_pins{state="stopped"}') == 1
for wrong in ("holdfast_none", 'holdfast_pins{colour="red"}', 'holdfast_pins{state="odd"}'):
    try:
        check("itself", wrong)
    except SystemExit:
        continue
    sys.exit(f"the check does not find {wrong}")
board = json.load(open(f"{PACKAGING}/grafana/holdfast.json"))
places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in board["panels"]]
assert len(set(places)) == len(places) == len({panel["id"] for panel in board["panels"]})
for panel in board["panels"]:
    for target in panel["targets"]:
        assert check(panel["title"], target["expr"]) > 0
for variable in board["templating"]["list"]:
    check(variable["name"], json.dumps(variable["query"]))
rules = open(f"{PACKAGING}/prometheus/holdfast.rules.yml").read()
for alert, expression in re.findall(r"- alert: (\w+)\n +expr: (.*(?:\n {10}.*)*)", rules):
    assert check(alert, expression) > 0
assert check("the rules", rules.replace("holdfast_given_up_total tells", "")) > 6
PROGRAM
if ! command -v promtool >/dev/null; then
    echo "skipped: promtool, of Debian's package prometheus, is not installed; the names were checked"
    exit 77
fi
try 0 promtool check rules "$SOURCE_ROOT/packaging/prometheus/holdfast.rules.yml"
"$HOLDFAST" metrics "$pool" | promtool check metrics >"$work/lint" 2>&1 || fail "promtool: $(cat "$work/lint")"
