#!/bin/bash
# SPDX-License-Identifier: MIT
# Databases with every journal: writers at the same time, and writers killed in the middle. Each transaction
# adds a row and counts it in another table, so a torn one shows.
. "$(dirname "$0")/mount.sh" || exit 1
need sqlite3

writers=3

# So many transactions, in SQL; each says its number once it is committed.
transactions() {
    local writer=$1 count=$2 i

    for ((i = 1; i <= count; i++)); do
        echo "BEGIN IMMEDIATE;
INSERT INTO row(writer, number, bytes) VALUES ($writer, $i, randomblob(abs(random() % 6000)));
UPDATE counter SET rows = rows + 1 WHERE writer = $writer;
COMMIT;
SELECT $i;"
    done
}

# Becomes the shell of sqlite, so that it is the process to be waited for and killed.
write_rows() {
    local database=$1 writer=$2 count=$3

    exec stdbuf -oL sqlite3 -bail -cmd '.timeout 600000' -cmd 'PRAGMA synchronous = FULL' "$database" \
        < <(transactions "$writer" "$count" 2>/dev/null) >"$work/written-$writer" 2>"$work/writer-$writer.err"
}

make_database() {
    local i

    rm -f "$1"*
    sqlite3 "$1" "PRAGMA journal_mode = $2;
CREATE TABLE row(writer INTEGER, number INTEGER, bytes BLOB, UNIQUE (writer, number));
CREATE TABLE counter(writer INTEGER PRIMARY KEY, rows INTEGER NOT NULL);" >"$work/said" 2>&1 ||
        fail "no database: $(cat "$work/said")"
    [ "$2" = wal ] && same "$(head -n 1 "$work/said")" wal
    for ((i = 0; i < writers; i++)); do
        run sqlite3 "$1" "INSERT INTO counter VALUES ($i, 0)"
    done
}

is_whole() {
    same "$(sqlite3 -cmd '.timeout 600000' "$1" 'PRAGMA integrity_check')" ok
    same "$(sqlite3 "$1" 'SELECT count(*) FROM counter WHERE rows !=
        (SELECT count(*) FROM row WHERE row.writer = counter.writer)')" 0
    same "$(sqlite3 "$1" 'SELECT count(*) FROM counter WHERE rows !=
        (SELECT coalesce(max(number), 0) FROM row WHERE row.writer = counter.writer)')" 0
}

all_write() {
    local database=$1 count=$2 i

    for ((i = 0; i < writers; i++)); do
        write_rows "$database" "$i" "$count" &
        writing[i]=$!
    done
    while kill -0 "${writing[@]}" 2>/dev/null; do
        is_readable "$database"
    done
    wait "${writing[@]}"
    for ((i = 0; i < writers; i++)); do
        [ ! -s "$work/writer-$i.err" ] || fail "a writer said: $(cat "$work/writer-$i.err")"
        same "$(tail -n 1 "$work/written-$i")" "$count"
    done
    is_whole "$database"
}

# A reader beside the writers, through a mapping where there is one, sees whole transactions only.
is_readable() {
    same "$(sqlite3 -cmd '.timeout 600000' -cmd 'PRAGMA mmap_size = 100000000' "$1" \
        'SELECT (SELECT sum(rows) FROM counter) = (SELECT count(*) FROM row)' | tail -n 1)" 1
}

# What a killed writer said is committed is there.
kill_in_the_middle() {
    local database=$1 said

    : >"$work/written-0"
    write_rows "$database" 0 100000 &
    writing=($!)
    await test -s "$work/written-0"
    sleep "0.$((RANDOM % 4))$((RANDOM % 10))"
    kill -KILL "${writing[0]}"
    wait "${writing[0]}" 2>/dev/null
    said=$(tail -n 1 "$work/written-0")
    is_whole "$database"
    [ "$(sqlite3 "$database" 'SELECT rows FROM counter WHERE writer = 0')" -ge "$said" ] ||
        fail "a transaction that was committed is gone"
    sqlite3 "$database" 'DELETE FROM row; UPDATE counter SET rows = 0; VACUUM' || fail "it cannot be used any more"
}

start "$(pick 128M 1G)"
dedup_follows
mkdir "$dir/top"
crowd top
for journal in delete truncate persist wal; do
    if [ $journal = wal ] && ! maps_shared; then
        echo "no shared mappings here: no write-ahead log"
        continue
    fi
    make_database "$dir/top/$journal" $journal
    all_write "$dir/top/$journal" "$(pick 40 2000)"
    make_database "$dir/top/$journal" $journal
    for ((round = 0; round < $(pick 2 30); round++)); do
        kill_in_the_middle "$dir/top/$journal"
    done
done
finish
