"""Read a parchmill database from Python: results as rows, heat maps and channel vectors as arrays.

    import parchmill
    db = parchmill.open("results.db")
    db.runs()                                   # where each run stands
    db.results(1).frame().groupby("mask")["mu_in_w"].mean()
    maps, images = db.heat_maps(1, 2)           # [n, side, side]
    variances, in_h, images = db.channels(1, 2, "layer4.1.conv2")
    db.sql("SELECT count(*) AS n FROM result_wide WHERE run = ?", [1])

The file is opened read-only, also while a broker writes to it. Needs NumPy; heat maps need the library
zstd (Debian: libzstd1), which is found at run time; frame() needs pandas. The tables are described in
docs/SCHEMA.md.
"""

import ctypes
import ctypes.util
import os
import sqlite3
import urllib.parse

import numpy

__all__ = ["open", "Database", "Rows", "Error"]

ATTACH = 24  # SQLITE_ATTACH
APPLICATION_ID = 0x504D494C  # "PMIL"
SCHEMA = 9  # the oldest that has all that is asked for here

# The images of a run that one of its configurations has results of, in the run's order.
_ITEMS = """ FROM run JOIN data_set_item AS i ON i.data_set_id = run.data_set_id
    JOIN run_configuration AS rc ON rc.run_id = run.run_id AND rc.configuration_id = :configuration
    JOIN {table} AS t ON t.configuration_id = rc.configuration_id AND t.image_id = i.image_id
    WHERE run.run_id = :run"""
_MAPS = "SELECT i.path, t.side, t.format, t.zstd, t.scale" + _ITEMS.format(table="heat_map")
_VECTORS = (
    "SELECT i.path, t.variances, t.in_h" + _ITEMS.format(table="channel_gradient_item")
    + " AND t.layer_id = :layer"
)


class Error(Exception):
    """What is asked for is not there, or the file is not what it should be."""


class Rows(list):
    """Rows of a question as dicts by column; None is NULL. `columns` has the names in order."""

    def __init__(self, columns, rows):
        super().__init__(dict(zip(columns, row)) for row in rows)
        self.columns = list(columns)

    def frame(self):
        """The same as a pandas.DataFrame."""
        try:
            import pandas
        except ImportError as error:
            raise Error("frame() needs pandas (Debian: python3-pandas)") from error
        return pandas.DataFrame(list(self), columns=self.columns)

    def column(self, name):
        """One column as an array [n]: float64 with NaN for NULL where all are numbers (int64 where
        all are whole and none is NULL), else objects."""
        values = [row[name] for row in self]
        if values and all(type(v) is int and -(2**63) <= v < 2**63 for v in values):
            return numpy.array(values, numpy.int64)
        if all(v is None or isinstance(v, (int, float)) for v in values):
            return numpy.array([numpy.nan if v is None else v for v in values], numpy.float64)
        return numpy.array(values, object)

    def array(self):
        """A structured array [n], one field a column, with the types of column()."""
        columns = [(name, self.column(name)) for name in self.columns]
        out = numpy.empty(len(self), [(name, values.dtype) for name, values in columns])
        for name, values in columns:
            out[name] = values
        return out


class _Zstd:
    """libzstd by its C interface: Python has none of its own before 3.14."""

    library = None

    @classmethod
    def load(cls):
        if cls.library is None:
            name = ctypes.util.find_library("zstd")
            if not name:
                raise Error("heat maps need the library zstd (Debian: libzstd1); it is not here")
            library = ctypes.CDLL(name)
            library.ZSTD_decompress.restype = ctypes.c_size_t
            library.ZSTD_decompress.argtypes = [
                ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_size_t]
            library.ZSTD_isError.restype = ctypes.c_uint
            library.ZSTD_isError.argtypes = [ctypes.c_size_t]
            cls.library = library
        return cls.library

    @classmethod
    def decompress(cls, data, size):
        library = cls.load()
        out = ctypes.create_string_buffer(max(size, 1))
        got = library.ZSTD_decompress(out, size, data, len(data))
        if library.ZSTD_isError(got) or got != size:
            raise Error(f"a stored heat map is not {size} bytes")
        return out.raw[:size]


def _map(side, form, data, scale):
    kind = numpy.dtype({"f16": "<f2", "f32": "<f4"}[form])
    values = numpy.frombuffer(_Zstd.decompress(data, side * side * kind.itemsize), kind)
    return (values.astype(numpy.float64) * scale).astype(numpy.float32).reshape(side, side)


class Database:
    """A database, open for reading. Use parchmill.open(); close() or `with` ends it."""

    def __init__(self, path):
        path = os.fspath(path)
        if not os.path.exists(path):
            raise Error(f"{path}: there is no such file")
        uri = "file:" + urllib.parse.quote(os.path.abspath(path)) + "?mode=ro"
        self._db = sqlite3.connect(uri, uri=True)
        try:
            (found,) = self._db.execute("PRAGMA application_id").fetchone()
            (schema,) = self._db.execute("PRAGMA user_version").fetchone()
        except sqlite3.DatabaseError as error:
            self._db.close()
            raise Error(f"{path}: {error}") from error
        if found != APPLICATION_ID:
            self._db.close()
            raise Error(f"{path} is not a parchmill database")
        if schema < SCHEMA:
            self._db.close()
            raise Error(f"{path} has schema {schema}, older than {SCHEMA}: parchmill refresh --db {path} "
                        "brings it (or a copy of it) up to date")
        # mode=ro is of this file alone: ATTACH could make another.
        self._db.set_authorizer(lambda action, *_: sqlite3.SQLITE_DENY if action == ATTACH else sqlite3.SQLITE_OK)

    def close(self):
        self._db.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def sql(self, query, params=()):
        """Rows of one SELECT; params are for ? (a sequence) or :name (a dict)."""
        cursor = self._db.execute(query, params)
        return Rows([column[0] for column in cursor.description or ()], cursor)

    def runs(self):
        """One row a run: run, name, state, model, data_set, items, items_done, items_failed ..."""
        return self.sql("SELECT * FROM run_progress ORDER BY run")

    def configurations(self, run):
        """One row for each configuration of the run, as in the table configuration."""
        return self.sql(
            "SELECT c.* FROM run_configuration AS rc JOIN configuration AS c USING (configuration_id)"
            " WHERE rc.run_id = ? ORDER BY rc.ordinal", [run])

    def results(self, run):
        """One row for each image and configuration of the run, with the columns of result_wide."""
        return self.sql(
            "SELECT * FROM result_wide WHERE run = ? ORDER BY configuration, image", [run])

    def heat_map(self, configuration, image, run=None):
        """The heat map [side, side], float32, of a configuration's number and an image's
        path (as in results) or SHA-256. In another run's data set the path may be another image, or the
        photograph have another label: pass the `run` that is meant; an Error, where it is needed."""
        rows = self._db.execute(
            "SELECT h.side, h.format, h.zstd, h.scale FROM heat_map AS h WHERE h.configuration_id = :c"
            " AND h.image_id IN (SELECT i.image_id FROM data_set_item AS i JOIN image AS p"
            "  USING (image_id) WHERE (i.path = :image OR p.sha256 = :image) AND (:run IS NULL"
            "  OR i.data_set_id = (SELECT data_set_id FROM run WHERE run_id = :run)))"
            " LIMIT 2", {"c": configuration, "image": image, "run": run}).fetchall()
        if not rows:
            where = "" if run is None else f" in run {run}"
            raise Error(f"there is no heat map of {image} by configuration {configuration}{where}; "
                        "runs keep them with --heatmaps f16")
        if len(rows) > 1:
            raise Error(f"{image} is more than one image with a heat map by configuration "
                        f"{configuration}: pass its path and the run (run=N)")
        return _map(*rows[0])

    def heat_maps(self, run, configuration):
        """(maps, images): maps [n, side, side], float32; images, a list of n paths, in the order of the
        run. n is 0 where none were kept."""
        maps, images = [], []
        for path, *stored in self._db.execute(
                _MAPS + " ORDER BY i.item", {"run": run, "configuration": configuration}):
            maps.append(_map(*stored))
            images.append(path)
        if not maps:
            return numpy.empty((0, 0, 0), numpy.float32), images
        return numpy.stack(maps), images

    def layers(self, configuration):
        """One row for each layer that the configuration hooked: conv, layer, channels."""
        return self.sql(
            "SELECT DISTINCT l.conv, l.name AS layer, l.channels FROM layer_gradient AS g"
            " JOIN layer AS l USING (layer_id) WHERE g.configuration_id = ? ORDER BY l.conv",
            [configuration])

    def channels(self, run, configuration, layer):
        """(variances, in_h, images): the gradient's variance over space, [n, C] float32; whether the
        channel was in H, [n, C] bool; a list of n paths, in the order of the run. `layer` is its name,
        e.g. "layer4.1.conv2". n is 0 where none were kept (runs keep them with --channels full)."""
        found = self._db.execute(
            "SELECT l.layer_id, l.channels FROM layer AS l JOIN run USING (model_id)"
            " WHERE run.run_id = ? AND l.name = ?", [run, layer]).fetchone()
        if found is None:
            raise Error(f"run {run} has no measured layer {layer}")
        layer_id, count = found
        variances, in_h, images = [], [], []
        for path, values, bits in self._db.execute(
                _VECTORS + " ORDER BY i.item",
                {"run": run, "configuration": configuration, "layer": layer_id}):
            variances.append(numpy.frombuffer(values, "<f4"))
            in_h.append(numpy.unpackbits(numpy.frombuffer(bits, "u1"), bitorder="little")[:count])
            images.append(path)
        if not images:
            return numpy.empty((0, count), numpy.float32), numpy.empty((0, count), bool), images
        return numpy.stack(variances), numpy.stack(in_h).astype(bool), images


def open(path):
    """The database at `path`, for reading."""
    return Database(path)
