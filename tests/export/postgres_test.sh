#!/usr/bin/env bash
# `parchmill export --format postgres` into a PostgreSQL of the test's own: a cluster in a temporary
# folder, on a Unix socket only, stopped at the end. Every column of every table says the same in both
# databases: counts, NULLs, sums, texts and blobs by digest. Exit status 77 means skipped.
set -euo pipefail
postgres=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -n 1)
if [ ! -x "$postgres/initdb" ] || ! command -v psql >/dev/null; then
    echo "skipped: needs Debian's postgresql"
    exit 77
fi
if ! /usr/bin/python3 -c '' 2>/dev/null; then
    echo "skipped: needs python3"
    exit 77
fi
parchmill=$PARCHMILL_BIN_DIR/parchmill
dir=$(mktemp -d)
chmod 755 "$dir"
mkdir "$dir/cluster"
as=()
if [ "$(id -u)" = 0 ]; then # the server refuses to run as root
    as=(runuser -u postgres --)
    chown postgres "$dir/cluster"
fi
pg() { (cd / && "${as[@]}" "$@"); }
end() {
    pg "$postgres/pg_ctl" -D "$dir/cluster/data" -m immediate -w stop >/dev/null 2>&1 || true
    rm -rf "$dir"
}
trap end EXIT
pg "$postgres/initdb" -D "$dir/cluster/data" -A trust -U tester -E UTF8 --locale=C.UTF-8 >/dev/null
pg "$postgres/pg_ctl" -D "$dir/cluster/data" -w -l "$dir/cluster/log" \
    -o "-k $dir/cluster -c listen_addresses='' -c fsync=off" start >/dev/null
psql() { command psql -X -q -h "$dir/cluster" -U tester -d postgres -v ON_ERROR_STOP=1 "$@"; }

db=$dir/r.db
cp "$MADE/r.db" "$db"
# What COPY has escapes for, and what looks like one; infinity is there (gamma).
/usr/bin/python3 - "$db" <<'END'
import sqlite3, sys
with sqlite3.connect(sys.argv[1]) as db:
    db.execute("UPDATE run SET name = ?", ["a\tb\\c\nd\re\\N'\"\\."])
    db.execute("UPDATE run SET weights_path = '\\N', data_root = ''")
END
before=$(sha256sum <"$db")
"$parchmill" export 2 --db "$db" --format postgres --out "$dir/2.sql" >/dev/null 2>&1
"$parchmill" export 2 --db "$db" --format postgres --out "$dir/2.sql" >/dev/null 2>&1 # a former export
psql -1 -f "$dir/2.sql" 2>"$dir/said" || { cat "$dir/said"; exit 1; }
"$parchmill" export 1 --db "$db" --format postgres --out - 2>/dev/null | psql -f - 2>>"$dir/said"
[ ! -s "$dir/said" ] || { echo "psql says:"; cat "$dir/said"; exit 1; }
# Twice is refused, whole: what was there stays.
if psql -f "$dir/2.sql" >/dev/null 2>&1; then echo "the same run twice was taken"; exit 1; fi

for run in 1 2; do
    "$parchmill" export $run --db "$db" --format sqlite --out "$dir/$run.db" >/dev/null 2>&1
    /usr/bin/python3 "$PARCHMILL_SOURCE_DIR/tests/export/check_postgres.py" "$dir/$run.db" \
        "parchmill_run_$run" "$dir/cluster"
done
# Without a table: it is there and empty.
"$parchmill" export 3 --db "$db" --format postgres --without heat_map --out - 2>/dev/null | psql -1 -f -
[ "$(psql -At -c 'SELECT count(*) FROM parchmill_run_3.heat_map')" = 0 ]
[ "$(psql -At -c 'SELECT count(*) FROM parchmill_run_3.result_wide')" = 10 ]
[ "$(sha256sum <"$db")" = "$before" ] || { echo "the database was changed"; exit 1; }
# Half a script leaves nothing, however it is sent.
head -n 400 "$dir/2.sql" | sed 's/parchmill_run_2/half/' | psql -f - >/dev/null 2>&1 || true
[ "$(psql -At -c "SELECT count(*) FROM pg_namespace WHERE nspname = 'half'")" = 0 ]
