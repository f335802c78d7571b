#!/usr/bin/python3
"""Writes tests/data/weights: tiny weights files as PyTorch itself saves them, and archives that
no reader should take. Run once with Debian's python3-torch; the files are committed.

Values come from the counter hash (lib/base/random.h: pm_synth), stream = the tensor's name as
the reader gives it, rounded down to 1/64 so that every element type holds them exactly.
tests/weights/*.c computes the same values; nothing here comes from our own reader."""
import io
import json
import os
import pickle
import struct
import zipfile
from collections import OrderedDict

import numpy as np
import torch

OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "weights")
MASK = (1 << 64) - 1


def fnv1a64(text):
    h = 0xCBF29CE484222325
    for b in text.encode():
        h = ((h ^ b) * 0x100000001B3) & MASK
    return h


def splitmix64(x):
    x = (x + 0x9E3779B97F4A7C15) & MASK
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & MASK
    return x ^ (x >> 31)


def synth(name, *shape):
    seed = fnv1a64(name)
    count = int(np.prod(shape, dtype=np.int64))
    u = [(splitmix64((seed + i) & MASK) >> 40) * 2.0**-24 for i in range(count)]
    values = np.floor((2 * np.array(u, dtype=np.float64) - 1) * 64) / 64
    return torch.tensor(values, dtype=torch.float32).reshape(shape)


def plain():
    d = OrderedDict()
    d["conv.weight"] = synth("conv.weight", 2, 3, 2, 2)
    d["half"] = synth("half", 4, 5).half()
    d["bfloat"] = synth("bfloat", 3, 4).bfloat16()
    d["long"] = torch.tensor([0, 1, -1, 2**24, -(2**40), 2**62])
    d["num_batches_tracked"] = torch.tensor(7)
    d["empty"] = torch.zeros(0, 3)
    return d


def strided():
    base = synth("base", 6, 4)
    return OrderedDict(base=base, transposed=base.t(), stepped=base[1:5:2, ::2], row=base[3],
                       expanded=base[2:3, 1].expand(5), one=base[:, 2:3][4:5])


def training():
    names = ["conv1.weight", "fc.bias"]
    weights = OrderedDict(("module." + n, synth(n, 3, 2)) for n in names)
    momentum = {0: {"momentum_buffer": torch.ones(3, 2)}}
    return {"epoch": 3, "arch": "tiny", "best_prec1": 91.5, "state_dict": weights,
            "optimizer": {"state": momentum, "param_groups": [{"lr": 0.1, "params": [0, 1]}]}}


def parameters():
    return OrderedDict((n, torch.nn.Parameter(synth(n, 2, 3))) for n in ["w", "b"])


def save(name, value, **how):
    torch.save(value, os.path.join(OUT, name), **how)


def write(name, data):
    with open(os.path.join(OUT, name), "wb") as f:
        f.write(data)


def entries(name):
    with zipfile.ZipFile(os.path.join(OUT, name)) as z:
        return [(n, z.read(n)) for n in z.namelist()]


def rezip(name, files, method=zipfile.ZIP_STORED):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as z:
        for n, data in files:
            z.writestr(zipfile.ZipInfo(n), data, compress_type=method)
    write(name, out.getvalue())


def patch_sizes(name, source, entry, stored, unpacked):
    """The sizes that local header and central directory declare for one entry, replaced."""
    data = bytearray(open(os.path.join(OUT, source), "rb").read())
    for signature, at, name_at in ((b"PK\3\4", 18, 30), (b"PK\1\2", 20, 46)):
        i = -1
        while (i := data.find(signature, i + 1)) >= 0:
            if data[i + name_at:i + name_at + len(entry)] == entry.encode():
                struct.pack_into("<II", data, i + at, stored, unpacked)
    write(name, bytes(data))


def safetensors():
    header, data = OrderedDict(), b""
    header["__metadata__"] = {"format": "pt"}
    tensors = plain()
    kinds = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64"}
    for n, t in tensors.items():
        raw = t.view(torch.int16) if t.dtype == torch.bfloat16 else t
        raw = raw.numpy().tobytes()
        header[n] = {"dtype": kinds[t.dtype], "shape": list(t.shape),
                     "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    write("plain.safetensors", struct.pack("<Q", len(text)) + text + data)


def bad():
    files = entries("plain_zip.pth")
    top = files[0][0].split("/")[0]
    rezip("bad_missing_entry.pth", [f for f in files if not f[0].endswith("/data/1")])
    rezip("bad_short_entry.pth",
          [(n, d[:-4] if n.endswith("/data/0") else d) for n, d in files])
    rezip("bad_big_endian.pth", files + [(top + "/byteorder", b"big")])
    rezip("bad_torchscript.pth", files + [(top + "/constants.pkl", b"\x80\x02).")])
    rezip("bad_no_pickle.pth", [f for f in files if not f[0].endswith("data.pkl")])
    rezip("bad_twice.pth", files + [f for f in files if f[0].endswith("/data/0")])
    call = b"\x80\x02cos\nsystem\nX\x04\x00\x00\x00true\x85R."
    rezip("bad_os_system.pth", [("a/data.pkl", call)])
    stream = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03."
    write("bad_os_system_stream.pth", stream + b"\x80\x02}X\x0d\x00\x00\x00little_endian\x88s." + call)
    patch_sizes("bad_bomb_pickle.pth", "deflated.pth", "archive/data.pkl", 200, 0xFFFFFFF0)
    size = len(next(d for n, d in files if n.endswith("/data/0")))
    data = bytearray(open(os.path.join(OUT, "plain_zip.pth"), "rb").read())
    first = next(d for n, d in files if n.endswith("/data/0"))
    data[data.index(first)] ^= 1
    write("bad_crc.pth", bytes(data))
    patch_sizes("bad_bomb.pth", "plain_zip.pth", top + "/data/0", size, 0xFFFFFFF0)
    save("bad_double.pth", {"w": torch.zeros(2, dtype=torch.float64)})


def main():
    os.makedirs(OUT, exist_ok=True)
    torch.manual_seed(0)
    for old, suffix in ((False, "_zip"), (True, "_stream")):
        how = {"_use_new_zipfile_serialization": not old}
        save("plain%s.pth" % suffix, plain(), **how)
        save("strided%s.pth" % suffix, strided(), **how)
        save("training%s.pth" % suffix, training(), **how)
        save("parameters%s.pth" % suffix, parameters(), **how)
    files = entries("plain_zip.pth")
    top = files[0][0].split("/")[0]
    rezip("deflated.pth", [("archive" + n[len(top):], d) for n, d in files], zipfile.ZIP_DEFLATED)
    tensors = [synth("0", 3), synth("1", 5), synth("2", 1).half()]
    for protocol in (2, 4, 5):
        write("list_p%d.pkl" % protocol, pickle.dumps(tensors, protocol=protocol))
    safetensors()
    bad()


if __name__ == "__main__":
    main()
