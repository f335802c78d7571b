#!/usr/bin/env bash
# Every file of an export, by `parchmill export`, against what Python's own sqlite3 reads in the
# database; the Python module the same way. Exit status 77 means skipped.
set -euo pipefail
python=/usr/bin/python3
if ! "$python" -c 'import numpy' 2>/dev/null; then
    echo "skipped: needs Debian's python3-numpy"
    exit 77
fi
parchmill=$PARCHMILL_BIN_DIR/parchmill
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cp "$MADE/r.db" "$MADE/single.db" "$dir/"
db=$dir/r.db
before=$(sha256sum <"$db")

fails() { # fails CODE WORDS COMMAND...: it does, and says so in one line
    local want=$1 words=$2 code=0
    shift 2
    "$@" >/dev/null 2>"$dir/err" || code=$?
    [ "$code" = "$want" ] || { echo "exit status $code, not $want: $*"; cat "$dir/err"; exit 1; }
    [ "$(wc -l <"$dir/err")" = 1 ] && grep -qF -- "$words" "$dir/err" ||
        { echo "'$words' is not said by: $*"; cat "$dir/err"; exit 1; }
}
export_() { "$parchmill" export --db "$db" "$@"; }

for run in 1 2 3; do
    for format in csv jsonl; do
        export_ $run --format $format --out "$dir/$run.$format" >/dev/null 2>"$dir/err$run"
    done
    export_ $run --format csv --table results --out - 2>/dev/null | cmp - "$dir/$run.csv/results.csv"
done
grep -q 'channel_gradient of 2 configurations is over images of other runs' "$dir/err2"
export_ 1 --format npy --out "$dir/1.npy" >/dev/null
export_ 2 --format npy --out "$dir/2.npy" >/dev/null
# The same run again is the same bytes, and takes the former's place.
cp -r "$dir/1.csv" "$dir/copy"
export_ 1 --format csv --out "$dir/1.csv" >/dev/null 2>&1
diff -r "$dir/1.csv" "$dir/copy"

export_ 2 --format sqlite --out "$dir/2.db" >/dev/null 2>&1
"$parchmill" sql --db "$dir/2.db" 'SELECT count(*) FROM result_wide' | grep -qx ' *45'
"$parchmill" status --db "$dir/2.db" >/dev/null
"$parchmill" export --db "$dir/2.db" --format csv --out "$dir/2.db.csv" >/dev/null 2>&1 # the only run
for table in results curves layers channels configurations images boxes failures; do
    cmp "$dir/2.csv/$table.csv" "$dir/2.db.csv/$table.csv"
done

# A run that is not done is told, and what is there comes out.
cp "$db" "$dir/half.db"
"$python" - "$dir/half.db" <<END
import sqlite3, sys
with sqlite3.connect(sys.argv[1]) as db:
    db.execute("UPDATE run SET state = 'cancelled', items_dropped = 3 WHERE run_id = 2")
END
"$parchmill" export 2 --db "$dir/half.db" --format jsonl --table images --out "$dir/half.jsonl" >/dev/null 2>"$dir/err"
grep -qx 'parchmill export: run 2 is cancelled: the export has what is there, 12 of 15 images' "$dir/err"
[ "$(wc -l <"$dir/half.jsonl")" = 15 ]

fails 2 'RUN is missing' export_ --format csv --out "$dir/no"
grep -qF '2 (second "run", done)' "$dir/err"
fails 1 'there is no run 9' export_ 9 --format csv --out "$dir/no"
fails 2 'there are: csv, jsonl' export_ 1 --format xml --out "$dir/no"
fails 2 '--out - takes one table' export_ 1 --format csv --out -
fails 2 'there are: results, curves' export_ 3 --format csv --table result --out "$dir/no"
fails 2 '--without goes with' export_ 1 --format csv --without heat_map --out "$dir/no"
fails 2 'is the database itself' export_ 1 --format sqlite --force --out "$db"
fails 2 'is there already' export_ 3 --format sqlite --out "$dir/2.db"
# A folder with anything else in it stays, whatever is said.
mkdir -p "$dir/mine/a"
cp "$db" "$dir/mine/a/r.db"
fails 2 'holds more than an export' "$parchmill" export 1 --db "$dir/mine/a/r.db" --format csv --force --out "$dir/mine"
fails 2 'holds more than an export' export_ 1 --format npy --force --out "$dir/mine"
cmp "$db" "$dir/mine/a/r.db"
export_ 3 --format sqlite --force --out "$dir/2.db" >/dev/null 2>&1
[ "$("$parchmill" sql --db "$dir/2.db" --format csv 'SELECT run FROM run_progress' | tail -n 1 | tr -d '\r')" = 3 ]
# Kept nothing at all: one line says how to keep it.
export_ 3 --format sqlite --without heat_map,channel_gradient_item --force --out "$dir/bare.db" >/dev/null 2>&1
fails 1 'again with --heatmaps f16' "$parchmill" export --db "$dir/bare.db" --format npy --out "$dir/no"
[ ! -e "$dir/no" ]

# No space: which file, and why. A limit of 8 KiB is as good as a full disk to SQLite.
fails_small() { (ulimit -f 8; trap '' XFSZ; fails "$@"); }
fails_small 1 "$dir/no/results.csv: File too large" export_ 1 --format csv --out "$dir/no"
fails_small 1 "$dir/no/configuration_1.heat_map.npy: File too large" export_ 1 --format npy --out "$dir/no"
fails_small 1 "$dir/no: database: no space left" export_ 1 --format sqlite --out "$dir/no"
fails_small 1 "/run.db: database: no space left" export_ 1 --format postgres --out "$dir/no"
[ -z "$(find "$dir" -maxdepth 1 -name 'no*')" ]
full() { export_ 1 --format postgres --out - >/dev/full; }
full 2>"$dir/err" && exit 1
grep -qx 'parchmill export: standard output: No space left on device' "$dir/err"

# Stopped: 130, and nothing left; what is there meanwhile is for nobody else.
mkdir "$dir/temporary"
mkfifo "$dir/pipe"
exec 9<>"$dir/pipe"
TMPDIR=$dir/temporary "$parchmill" export 1 --db "$db" --format postgres --out - >"$dir/pipe" 2>"$dir/err" &
pid=$!
read -r line <&9 # it writes, and waits for its reader
[ -n "$(ls -A "$dir/temporary")" ] || { echo "no scratch database"; exit 1; }
if find "$dir/temporary" -mindepth 1 -maxdepth 1 -perm /077 | grep .; then echo "others may read it"; exit 1; fi
kill -TERM $pid
cat <&9 >/dev/null &
reader=$!
code=0; wait $pid || code=$?
kill $reader
exec 9>&-
[ "$code" = 130 ] || { echo "exit status $code, not 130"; exit 1; }
grep -qx 'parchmill export: stopped' "$dir/err"
[ -z "$(ls -A "$dir/temporary")" ] || { echo "left over: $(ls -A "$dir/temporary")"; exit 1; }
for format in csv sqlite; do
    for ((try = 0, code = 0; try < 50 && code != 130; try++)); do
        rm -rf "$dir/stopped"
        "$parchmill" export 1 --db "$db" --format $format --out "$dir/stopped" >/dev/null 2>"$dir/err" &
        pid=$!
        while kill -0 $pid 2>/dev/null && ! compgen -G "$dir/stopped.tmp-*" >/dev/null; do :; done
        kill -TERM $pid 2>/dev/null || true
        code=0; wait $pid || code=$?
    done
    [ "$code" = 130 ] || { echo "$format: exit status $code, not 130"; cat "$dir/err"; exit 1; }
    [ ! -e "$dir/stopped" ]
done
if compgen -G "$dir/*.tmp-*" >/dev/null; then echo "a temporary is left"; exit 1; fi
[ "$(sha256sum <"$db")" = "$before" ] || { echo "the database was changed"; exit 1; }

"$python" -B "$PARCHMILL_SOURCE_DIR/tests/export/check_files.py" "$db" "$dir" "$PARCHMILL_SOURCE_DIR/python"
