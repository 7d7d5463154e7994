#!/bin/bash
# SPDX-License-Identifier: MIT
# The dashboard and the alert rules of packaging/ name only metrics and labels that exist. promtool reads them. Each alert
# is raised where it should be, and not where all is well.
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

# The dashboard's expressions as rules, and for each alert a pool that has it, beside one that is well.
python3 - "$SOURCE_ROOT/packaging" "$work" <<'PROGRAM' || fail "the alerts are not those of this test"
import json, re, sys

PACKAGING, WORK = sys.argv[1:]
board = json.load(open(f"{PACKAGING}/grafana/holdfast.json"))
with open(f"{WORK}/dashboard.yml", "w") as out:
    out.write("groups:\n- name: dashboard\n  rules:\n")
    for number, target in enumerate(target for panel in board["panels"] for target in panel["targets"]):
        expression = target["expr"].replace("$__rate_interval", "5m").replace("$pool", ".*")
        out.write(f"  - record: panel:{number}\n    expr: {json.dumps(expression)}\n")

POOL, CACHE = 'pool="/p"', 'pool="/p",cache="/c"'
# the labels of the alert, and the series with their values when it is raised and when all is well
CASES = {
    "HoldfastPoolDown": (POOL, {f"holdfast_pool_up{{{POOL}}}": ("0", "1")}),
    "HoldfastPoolFull": (POOL, {f"holdfast_free_bytes{{{POOL}}}": ("4", "5"),
                                f"holdfast_pool_bytes{{{POOL}}}": ("100", "100")}),
    "HoldfastChangeWaits": (POOL, {f"holdfast_layout_change_oldest_wait_seconds{{{POOL}}}": ("61", "60")}),
    "HoldfastHolderStopped": (POOL, {f'holdfast_pins{{{POOL},kind="pin",state="stopped",purpose="cpu"}}': ("1", "0")}),
    "HoldfastQuarantine": (POOL, {f'holdfast_pins{{{POOL},kind="lease",state="quarantined",purpose="rdma"}}':
                                  ("1", "0")}),
    "HoldfastGivesUp": (POOL, {f'holdfast_given_up_total{{{POOL},cause="deadline"}}': ("0+61", "0+29"),
                               f'holdfast_given_up_total{{{POOL},cause="deadlock"}}': ("0+0", "0+29"),
                               f'holdfast_given_up_total{{{POOL},cause="busy"}}': ("0+0", "0+999")}),
    "HoldfastLimitNear": (POOL, {f"holdfast_threads{{{POOL}}}": ("91", "90"),
                                 f"holdfast_threads_max{{{POOL}}}": ("100", "100")}),
    "HoldfastCacheTierFails": (CACHE, {f"holdfast_cache_tier_errors_total{{{CACHE}}}": ("0+1", "7+0")}),
    "HoldfastCacheTierDamaged": (CACHE, {f"holdfast_cache_tier_damaged_total{{{CACHE}}}": ("0+1", "7+0")}),
    "HoldfastCacheTierSlow": (CACHE, {f"holdfast_cache_tier_skipped_total{{{CACHE}}}": ("0+11", "0+9"),
                                      f"holdfast_cache_evictions_total{{{CACHE}}}": ("0+100", "0+100")}),
    "HoldfastCacheHeld": (CACHE, {f"holdfast_cache_held_bytes{{{CACHE}}}": ("51", "50"),
                                  f"holdfast_cache_capacity_bytes{{{CACHE}}}": ("100", "100")}),
}
rules = f"{PACKAGING}/prometheus/holdfast.rules.yml"
assert sorted(re.findall(r"- alert: (\w+)", open(rules).read())) == sorted(CASES)


def case(alert, well):
    labels, series = CASES[alert]
    text = "- interval: 1m\n  input_series:\n"
    for name, values in series.items():
        value = values[well]
        text += f"  - series: {json.dumps(name)}\n    values: {value if '+' in value else value + '+0'}x120\n"
    text += "  promql_expr_test:\n  - eval_time: 90m\n"
    text += f"    expr: sum by (pool, cache) (ALERTS{{alertname=\"{alert}\",alertstate=\"firing\"}})\n"
    raised = f"    exp_samples:\n    - labels: {json.dumps('{' + labels + '}')}\n      value: 1\n"
    return text if well else text + raised


with open(f"{WORK}/alerts.yml", "w") as out:
    out.write(f"rule_files: [{json.dumps(rules)}]\ntests:\n")
    for alert in CASES:
        out.write(case(alert, False) + case(alert, True))
PROGRAM
try 0 promtool check rules "$work/dashboard.yml"
try 0 promtool test rules "$work/alerts.yml"
"$HOLDFAST" metrics "$pool" | promtool check metrics >"$work/lint" 2>&1 || fail "promtool: $(cat "$work/lint")"
