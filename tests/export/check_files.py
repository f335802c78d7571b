"""check_files.py DB DIR MODULE: DIR/N.csv, N.jsonl and N.npy say of run N what DB says, and so does the
Python module. The tables are asked here in the plainest SQL there is, row by row, not by the views."""

import csv
import json
import math
import os
import shutil
import sqlite3
import struct
import subprocess
import sys

import numpy

db_path, folder, module = sys.argv[1:]
sys.path.insert(0, module)
import parchmill  # noqa: E402

db = sqlite3.connect(f"file:{db_path}?mode=ro", uri=True)
db.row_factory = sqlite3.Row


def rows(sql, *params):
    return [dict(row) for row in db.execute(sql, params)]


def read_csv(path):
    """Rows with None for an empty field that is not quoted, which the csv module cannot tell apart."""
    text = open(path, newline="", encoding="utf-8").read()
    fields, line, at = [], [], 0
    while at < len(text):
        if text[at] == '"':
            end, value = at + 1, ""
            while True:
                stop = text.index('"', end)
                value += text[end:stop]
                if text[stop + 1] != '"':
                    break
                value += '"'
                end = stop + 2
            at = stop + 1
        else:
            stop = at
            while text[stop] not in ",\r":
                stop += 1
            value, at = text[at:stop] or None, stop
        line.append(value)
        if text[at] == ",":
            at += 1
        else:
            assert text[at:at + 2] == "\r\n"
            at += 2
            fields.append(line)
            line = []
    assert [[v or "" for v in r] for r in fields] == list(csv.reader(open(path, newline="", encoding="utf-8")))
    return [dict(zip(fields[0], r)) for r in fields[1:]]


def same(got, want):
    """A value of the export (CSV: text or None; JSON: typed) and one of the database, to the bit."""
    if want is None or got is None:
        return want is None and got is None
    if isinstance(want, float):
        return struct.pack("<d", float(got)) == struct.pack("<d", want)
    if isinstance(want, int):
        return int(got) == want
    return got == want


def compare(run, table, want, key):
    """Columns of `want` must be in both exports, and the rows the same by `key`."""
    for kind in "csv", "jsonl":
        path = f"{folder}/{run}.{kind}/{table}.{kind}"
        got = read_csv(path) if kind == "csv" else [json.loads(l, parse_constant=no) for l in open(path, encoding="utf-8")]
        order = lambda row: tuple(str(float(row[k])) if k == "ratio" else str(row[k]) for k in key)
        got, expected = sorted(got, key=order), sorted(want, key=order)
        assert len(got) == len(expected), (run, table, kind, len(got), len(expected))
        for g, w in zip(got, expected):
            for name, value in w.items():
                assert same(g[name], value), (run, table, kind, name, g[name], value)
    return len(want)


def no(word):
    raise AssertionError(f"{word} in JSON")


def check_tables(run):
    # The run's items and results, joined here by hand.
    the_run = rows("SELECT * FROM run WHERE run_id = ?", run)[0]
    items = rows("SELECT * FROM data_set_item WHERE data_set_id = ?", the_run["data_set_id"])
    configurations = rows("SELECT * FROM run_configuration WHERE run_id = ?", run)
    layers = {r["layer_id"]: r for r in rows("SELECT * FROM layer")}
    workers = {r["worker_id"]: r["name"] for r in rows("SELECT * FROM worker")}
    results, curves, gradients, channels, maps = [], [], [], [], 0
    for c in configurations:
        number = c["configuration_id"]
        conf = rows("SELECT * FROM configuration WHERE configuration_id = ?", number)[0]
        for i in items:
            image = rows("SELECT * FROM image WHERE image_id = ?", i["image_id"])[0]
            key = {"run": run, "image": i["path"], "configuration": number}
            where = "WHERE configuration_id = ? AND image_id = ?"
            for r in rows(f"SELECT * FROM result {where}", number, i["image_id"]):
                results.append(key | {"label": image["label"], "worker": workers.get(r["worker_id"]),
                                      "ms": r["compute_ms"]}
                               | {k: conf[k] for k in ("mask", "gamma", "quantile", "method", "layers", "seed")}
                               | {k: r[k] for k in ("target", "predicted", "p_target", "p_predicted", "mu_in",
                                                    "mu_in_w", "mu_out", "mu_out_w", "error", "stage", "reason",
                                                    "hint", "box_reason", "deletion_auc", "insertion_auc",
                                                    "pointing", "evaluation")})
            for p in rows(f"SELECT * FROM perturbation {where}", number, i["image_id"]):
                curves.append(key | {k: p[k] for k in ("curve", "ratio", "p_target", "aopc", "lodds", "fracdiff", "correct")})
            for g in rows(f"SELECT * FROM layer_gradient {where}", number, i["image_id"]):
                gradients.append(key | {"layer": layers[g["layer_id"]]["name"]}
                                 | {k: g[k] for k in ("selected", "m", "n", "beta", "scale_h", "scale_l",
                                                      "variance_before", "variance_after")})
        for g in rows("SELECT * FROM channel_gradient WHERE configuration_id = ?", number):
            channels.append({"configuration": number, "layer": layers[g["layer_id"]]["name"]}
                            | {k: g[k] for k in ("channel", "count", "mean", "std", "min", "max", "selected")})
    assert compare(run, "results", results, ("configuration", "image")) == len(items) * len(configurations)
    compare(run, "curves", curves, ("configuration", "image", "curve", "ratio"))
    compare(run, "layers", gradients, ("configuration", "image", "layer"))
    compare(run, "channels", channels, ("configuration", "layer", "channel"))
    compare(run, "configurations", [
        {"configuration": c["configuration_id"], "ordinal": c["ordinal"]}
        | {k: v for k, v in rows("SELECT * FROM configuration WHERE configuration_id = ?", c["configuration_id"])[0].items()
           if k in ("label", "sha256", "gamma", "text", "test", "exact", "resize", "crop")}
        for c in configurations], ("configuration",))
    images, boxes = [], []
    for i in items:
        image = rows("SELECT * FROM image WHERE image_id = ?", i["image_id"])[0]
        mine = rows("SELECT * FROM box WHERE image_id = ? ORDER BY ordinal", i["image_id"])
        name = rows("SELECT name FROM class_name WHERE data_set_id = ? AND class = ?", the_run["data_set_id"], image["label"])
        box = mine[0] if mine else dict.fromkeys(("xmin", "ymin", "xmax", "ymax"))
        images.append({"item": i["item"], "image": i["path"], "boxes": len(mine), "label_name": name[0]["name"] if name else None}
                      | {k: image[k] for k in ("sha256", "label", "width", "height", "size_bytes")}
                      | {k: box[k] for k in ("xmin", "ymin", "xmax", "ymax")})
        boxes += [{"item": i["item"], "image": i["path"]} | {k: b[k] for k in ("ordinal", "xmin", "ymin", "xmax", "ymax")} for b in mine]
    compare(run, "images", images, ("image",))
    compare(run, "boxes", boxes, ("image", "ordinal"))
    compare(run, "failures", rows("SELECT item, stage, reason, text, hint, at_ms FROM failure WHERE run_id = ?", run), ("item", "at_ms"))
    told = json.load(open(f"{folder}/{run}.csv/tables.json", encoding="utf-8"))
    for table in told["tables"]:
        with open(f"{folder}/{run}.csv/{table['file']}", newline="", encoding="utf-8") as file:
            names = next(csv.reader(file))
            assert table["rows"] == sum(1 for _ in csv.reader(file))
        assert [c["name"] for c in table["columns"]] == names
        for column in table["columns"]:
            assert len(column["description"]) > 3, (table["name"], column)
    return len(results), len(curves)


def check_arrays(run):
    """The arrays, by numpy.load, against the blobs, unpacked by the command zstd."""
    where = f"{folder}/{run}.npy"
    index = read_csv(f"{where}/index.csv")
    told = json.load(open(f"{where}/tables.json", encoding="utf-8"))
    data_set = rows("SELECT data_set_id FROM run WHERE run_id = ?", run)[0]["data_set_id"]
    ids = {r["path"]: (r["image_id"], r["sha256"]) for r in rows(
        "SELECT i.path, i.image_id, p.sha256 FROM data_set_item i JOIN image p USING (image_id) WHERE data_set_id = ?", data_set)}
    seen = {"heat_map": 0, "variance": 0, "in_h": 0}
    for entry in told["arrays"]:
        array = numpy.load(f"{where}/{entry['file']}")
        assert list(array.shape) == entry["shape"] and array.dtype.name == entry["dtype"]
        assert array.flags.c_contiguous and array.dtype.str[0] in "<|"
        mine = [r for r in index if int(r["configuration"]) == entry["configuration"]]
        assert [int(r["row"]) for r in mine] == list(range(len(array)))
        for r, values in zip(mine, array):
            image, sha256 = ids[r["image"]]
            assert sha256 == r["sha256"]
            key = (entry["configuration"], image)
            seen[entry["array"]] += 1
            if entry["array"] == "heat_map":
                h = rows("SELECT * FROM heat_map WHERE configuration_id = ? AND image_id = ?", *key)[0]
                raw = subprocess.run(["zstd", "-dc"], input=h["zstd"], capture_output=True, check=True).stdout
                want = numpy.frombuffer(raw, {"f16": "<f2", "f32": "<f4"}[h["format"]]).reshape(h["side"], h["side"])
                assert (values == want.astype("f8") * h["scale"]).all() and values.any()
                continue
            g = rows("SELECT g.* FROM channel_gradient_item g JOIN layer l USING (layer_id) WHERE configuration_id = ?"
                     " AND image_id = ? AND l.name = ?", *key, entry["layer"])[0]
            if entry["array"] == "variance":
                assert values.tobytes() == g["variances"]
            else:
                bits = "".join(f"{byte:08b}"[::-1] for byte in g["in_h"])[:len(values)]
                assert [bool(v) for v in values] == [b == "1" for b in bits]
    assert all(seen.values()), seen
    return told, index


def check_module(run, told, index):
    with parchmill.open(db_path) as p:
        results = p.results(run)
        assert [(r["image"], r["mu_in_w"]) for r in results] == [
            (r["image"], r["mu_in_w"]) for r in rows(
                "SELECT image, mu_in_w FROM result_wide WHERE run = ? ORDER BY configuration, image", run)]
        array = results.array()
        assert len(array) == len(results) and array["configuration"].dtype == numpy.int64
        want = rows("SELECT avg(mu_in_w) AS mean FROM result_wide WHERE run = ?", run)[0]["mean"]
        assert math.isclose(numpy.nanmean(array["mu_in_w"]), want, rel_tol=1e-12)
        for c in {e["configuration"] for e in told["arrays"]}:
            names = [r["image"] for r in index if int(r["configuration"]) == c]
            maps, images = p.heat_maps(run, c)
            stored = numpy.load(f"{folder}/{run}.npy/configuration_{c}.heat_map.npy")
            assert images == names and maps.dtype == stored.dtype and (maps == stored).all()
            assert (p.heat_map(c, names[0], run) == stored[0]).all()
            sums = [next(r["sha256"] for r in index if r["image"] == name) for name in names]
            alone = next(i for i, sha256 in enumerate(sums) if sums.count(sha256) == 1)
            assert (p.heat_map(c, sums[alone], run) == stored[alone]).all()
            for e in told["arrays"]:
                if e["configuration"] != c or e["array"] != "variance":
                    continue
                variances, in_h, images = p.channels(run, c, e["layer"])
                assert images == names and variances.dtype == numpy.float32 and in_h.dtype == bool
                assert (variances == numpy.load(f"{folder}/{run}.npy/{e['file']}")).all()
                assert (in_h == numpy.load(f"{folder}/{run}.npy/{e['file'].replace('variance', 'in_h')}")).all()
        assert p.sql("SELECT ? + 1 AS n", [41]) == [{"n": 42}]
        for wrong in (lambda: p.sql("DELETE FROM run"), lambda: p.sql("CREATE TABLE x (a)")):
            try:
                wrong()
            except sqlite3.OperationalError:
                continue
            raise AssertionError("the module wrote")
        try:
            p.heat_map(1, "nothing.png")
        except parchmill.Error as error:
            assert "--heatmaps" in str(error)
        else:
            raise AssertionError("a heat map of nothing")


def check_same_path_twice():
    """One path in two data sets, with other pixels, both with a heat map of one configuration: the run says
    which is meant, and without it nothing is guessed."""
    path = f"{folder}/twice.db"
    with sqlite3.connect(path) as copy:
        db.backup(copy)
        kept = "SELECT r.run_id, i.item, i.image_id, i.path, h.configuration_id FROM run r JOIN data_set_item i USING (data_set_id)" \
               " JOIN run_configuration c USING (run_id) JOIN heat_map h USING (configuration_id, image_id) WHERE r.run_id = ? LIMIT 1"
        _, _, first, name, configuration = copy.execute(kept, (1,)).fetchone()
        _, item, second, _, other = copy.execute(kept, (2,)).fetchone()
        assert first != second
        copy.execute("PRAGMA foreign_keys = OFF")
        copy.execute("UPDATE data_set_item SET path = ? WHERE item = ? AND data_set_id ="
                     " (SELECT data_set_id FROM run WHERE run_id = 2)", (name, item))
        copy.execute("UPDATE heat_map SET configuration_id = ? WHERE configuration_id = ? AND image_id = ?",
                     (configuration, other, second))
        sides = [copy.execute("SELECT side, format, zstd, scale FROM heat_map WHERE configuration_id = ? AND image_id = ?",
                              (configuration, image)).fetchone() for image in (first, second)]
    copy.close()
    with parchmill.open(path) as p:
        for run, (side, form, zstd, scale) in zip((1, 2), sides):
            raw = subprocess.run(["zstd", "-dc"], input=zstd, capture_output=True, check=True).stdout
            want = numpy.frombuffer(raw, {"f16": "<f2", "f32": "<f4"}[form]).reshape(side, side)
            assert (p.heat_map(configuration, name, run=run) == want.astype("f8") * scale).all()
        try:
            p.heat_map(configuration, name)
        except parchmill.Error as error:
            assert "run=" in str(error)
        else:
            raise AssertionError("one of two images was taken")
        try:
            p.heat_map(configuration, name, run=99)
        except parchmill.Error as error:
            assert "run 99" in str(error)
        else:
            raise AssertionError("a heat map of no run")


def check_float16():
    """Maps that were kept as float16 with a scale are those of float32, to 11 bits."""
    with parchmill.open(db_path) as p, parchmill.open(f"{folder}/single.db") as single:
        off = [c for c in p.configurations(1) if c["mask"] == "off"]
        maps, images = p.heat_maps(1, off[0]["configuration_id"])
        want, names = single.heat_maps(1, 1)
        assert len(off) == 1 and names == images[:len(names)] and len(names) == 10 and want.any()
        for one, other in zip(maps, want):
            assert (abs(one - other) <= abs(other) * 2.0**-11 + other.max() * 2.0**-39).all()


def check_older_schema():
    path = f"{folder}/older.db"
    shutil.copy(db_path, path)
    with sqlite3.connect(path) as copy:
        copy.execute(f"PRAGMA user_version = {parchmill.SCHEMA - 1}")
    try:
        parchmill.open(path)
    except parchmill.Error as error:
        assert "parchmill refresh --db" in str(error)
    else:
        raise AssertionError("a file of an older schema was opened")


def check_without_zstd():
    """One clear line, and nothing else of the module needs it."""
    found, parchmill._Zstd.library = parchmill.ctypes.util.find_library, None
    parchmill.ctypes.util.find_library = lambda name: None
    try:
        with parchmill.open(db_path) as p:
            assert p.runs()
            p.heat_maps(1, 1)
    except parchmill.Error as error:
        assert "libzstd1" in str(error)
    else:
        raise AssertionError("no zstd, and yet heat maps")
    finally:
        parchmill.ctypes.util.find_library = found


for number in 1, 2, 3:
    counted = check_tables(number)
    assert counted[0] == {1: 200, 2: 45, 3: 10}[number], counted
    assert (counted[1] > 0) == (number == 2)
for number in 1, 2:
    check_module(number, *check_arrays(number))
check_same_path_twice()
check_float16()
check_older_schema()
check_without_zstd()
