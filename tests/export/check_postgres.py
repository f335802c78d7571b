"""check_postgres.py FILE SCHEMA SOCKET: the tables of SCHEMA in the PostgreSQL at SOCKET hold what the
SQLite database FILE holds."""

import hashlib
import math
import sqlite3
import struct
import subprocess
import sys

path, schema, socket = sys.argv[1:]
db = sqlite3.connect(f"file:{path}?mode=ro", uri=True)


def postgres(sql):
    out = subprocess.run(
        ["psql", "-X", "-q", "-At", "-F", "\x1f", "-h", socket, "-U", "tester", "-d", "postgres", "-v",
         "ON_ERROR_STOP=1", "-c", f"SET search_path TO {schema}", "-c", sql],
        capture_output=True, check=True, text=True).stdout
    return [line.split("\x1f") for line in out.splitlines()]


def digest(values):
    return hashlib.md5("".join(sorted(values)).encode()).hexdigest()


def renamed(name):
    """PostgreSQL has xmin and xmax of its own."""
    return name[0] + "_" + name[1:] if name in ("xmin", "xmax", "ymin", "ymax") else name


# How a column is told in one value on either side, to the bit.
TOLD = {
    "INTEGER": ('coalesce(sum("{}"), 0)::text', lambda values: str(sum(values))),
    "REAL": ("encode(float8send(\"{}\"), 'hex')", lambda values: digest(struct.pack(">d", v).hex() for v in values)),
    "TEXT": ('md5("{}")', lambda values: digest(hashlib.md5(v.encode()).hexdigest() for v in values)),
    "BLOB": ('md5("{}")', lambda values: digest(hashlib.md5(v).hexdigest() for v in values)),
}


def told(kind, name):
    one = TOLD[kind][0].format(name)
    if kind == "INTEGER":
        return one
    return f"""md5(coalesce(string_agg({one}, '' ORDER BY {one} COLLATE "C"), ''))"""


tables = [r[0] for r in db.execute(
    "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' AND name <> 'broker'")]
OURS = f"relnamespace = '{schema}'::regnamespace AND relkind = 'r'"
assert sorted(r[0] for r in postgres(f"SELECT relname FROM pg_class WHERE {OURS}")) == sorted(tables)
comments = {(t, c): text for t, c, text in postgres(
    "SELECT relname, attname, coalesce(col_description(t.oid, attnum), '') FROM pg_class t"
    f" JOIN pg_attribute a ON a.attrelid = t.oid AND attnum > 0 WHERE {OURS}")}
keys = {}
for table, column in postgres(
        "SELECT relname, attname FROM pg_class t JOIN pg_index i ON i.indrelid = t.oid AND i.indisprimary"
        " CROSS JOIN unnest(i.indkey) WITH ORDINALITY AS k (number, place)"
        f" JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = k.number WHERE {OURS} ORDER BY t.oid, k.place"):
    keys.setdefault(table, []).append(column)
others = {table: (int(foreign), int(unique)) for table, foreign, unique in postgres(
    "SELECT relname, (SELECT count(*) FROM pg_constraint WHERE contype = 'f' AND conrelid = t.oid),"
    " (SELECT count(*) FROM pg_index WHERE indisunique AND NOT indisprimary AND indrelid = t.oid)"
    f" FROM pg_class t WHERE {OURS}")}

filled = 0
for table in tables:
    count = db.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
    filled += count > 0
    columns = [(r[1], renamed(r[1]), r[2]) for r in db.execute(f"PRAGMA table_info({table})")]
    assert {c for t, c in comments if t == table} == {theirs for _, theirs, _ in columns}
    assert all(len(comments[table, theirs]) > 3 for _, theirs, _ in columns), table
    key = sorted((r[5], r[1]) for r in db.execute(f"PRAGMA table_info({table})") if r[5])
    assert keys[table] == [name for _, name in key], table
    foreign = len({r[0] for r in db.execute(f"PRAGMA foreign_key_list({table})")})
    unique = sum(r[2] for r in db.execute(f"PRAGMA index_list({table})") if r[3] != "pk")
    assert others[table] == (foreign, unique), (table, others[table])
    got = postgres("SELECT count(*)::text" + "".join(
        f', (count(*) - count("{theirs}"))::text, {told(kind, theirs)}' for _, theirs, kind in columns)
        + f' FROM "{table}"')[0]
    assert int(got[0]) == count, table
    for at, (name, _, kind) in enumerate(columns):
        values = [r[0] for r in db.execute(f'SELECT "{name}" FROM {table}') if r[0] is not None]
        assert int(got[1 + 2 * at]) == count - len(values), (table, name)
        assert got[2 + 2 * at] == TOLD[kind][1](values), (table, name)
assert filled > 15, filled

want = db.execute("SELECT count(*), count(mu_in_w), sum(mu_in_w) FROM result_wide").fetchone()
got = postgres("SELECT count(*), count(mu_in_w), sum(mu_in_w) FROM result_wide")[0]
assert (int(got[0]), int(got[1])) == want[:2] and math.isclose(float(got[2]), want[2], rel_tol=1e-12)
assert int(postgres("SELECT count(*) FROM layer_gradient_wide")[0][0]) == \
    db.execute("SELECT count(*) FROM layer_gradient_wide").fetchone()[0]
assert postgres("SELECT count(label_name) FROM result_named")[0][0] == \
    str(db.execute("SELECT count(label_name) FROM result_named").fetchone()[0])
comment = postgres("SELECT obj_description('result'::regclass)")[0][0]
assert comment == "What one configuration says of one image: numbers, or an error.", comment
