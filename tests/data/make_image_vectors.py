"""Makes tests/data/images: small pictures in every mode that the decoder knows, and expected.csv
with what Pillow (and torch, for tensors) make of them. Run once with Debian's python3-pil and
python3-torch; the files are committed, the tests do not need Python.

expected.csv: file,step,a,b,c,sha256
  decode,width,height,-        Image.open(file).convert("RGB")
  bilinear|bicubic,w,h,-       that, resized
  tensor,resize,crop,filter    resized, cropped, to_tensor, normalize: float32 [3][crop][crop]
geometry.csv: where crop and boxes fall by Python's own int() and round().
Where Pillow and the project part on purpose: 16-bit grey is its high byte here; Pillow clips at 255."""
import csv
import hashlib
import io
import struct
import zlib
from pathlib import Path

import numpy as np
import torch
from PIL import Image

HERE = Path(__file__).parent / "images"
MEAN, STD = torch.tensor([0.485, 0.456, 0.406])[:, None, None], torch.tensor([0.229, 0.224, 0.225])[:, None, None]
W, H = 61, 43


def photograph(w, h, seed):
    """Smooth shapes, edges and grain: everything chroma subsampling and ringing care about."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:h, 0:w].astype(np.float64)
    planes = []
    for c in range(3):
        p = 127 + 90 * np.sin(x / (5 + 3 * c) + seed) * np.cos(y / (9 - 2 * c))
        p[(x - w * 0.6) ** 2 + (y - h * 0.4) ** 2 < (h * 0.25) ** 2] = 30 + 100 * c
        p += rng.normal(0, 12, (h, w))
        planes.append(p)
    return np.clip(np.stack(planes, -1), 0, 255).astype(np.uint8)


def png_chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def scanlines(samples, depth):
    """samples [h][w][c] -> filter byte 0 and packed big-endian samples a row."""
    h, w, c = samples.shape
    out = b""
    for row in samples:
        if depth == 16:
            packed = row.astype(">u2").tobytes()
        else:
            bits = np.unpackbits(row.astype(np.uint8).reshape(-1, 1), axis=1)[:, 8 - depth:]
            packed = np.packbits(bits.reshape(-1)).tobytes()
        out += b"\0" + packed
    return out


def png(samples, depth, colour, extra=b"", adam7=False):
    samples = samples if samples.ndim == 3 else samples[:, :, None]
    h, w, _ = samples.shape
    if adam7:
        passes = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]
        raw = b"".join(scanlines(samples[y::dy, x::dx], depth) for y, x, dy, dx in passes
                       if samples[y::dy, x::dx].size)
    else:
        raw = scanlines(samples, depth)
    head = struct.pack(">IIBBBBB", w, h, depth, colour, 0, 0, int(adam7))
    return (b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", head) + extra +
            png_chunk(b"IDAT", zlib.compress(raw, 9)) + png_chunk(b"IEND", b""))


def saved(image, **how):
    buffer = io.BytesIO()
    image.save(buffer, **how)
    return buffer.getvalue()


def without_segments(jpeg, *markers):
    out, at = jpeg[:2], 2
    while jpeg[at + 1] != 0xDA:
        length = struct.unpack(">H", jpeg[at + 2:at + 4])[0]
        if jpeg[at + 1] not in markers:
            out += jpeg[at:at + 2 + length]
        at += 2 + length
    return out + jpeg[at:]


def adobe(transform):
    return b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00" + bytes([transform])


def make_files():
    rgb = photograph(W, H, 1)
    pil = Image.fromarray(rgb)
    grey = pil.convert("L")
    alpha = (np.add.outer(np.arange(H), np.arange(W)) * 2 % 256).astype(np.uint8)
    wide = (rgb.astype(np.uint16) << 8) | photograph(W, H, 2)
    wide_alpha = np.concatenate([wide, (alpha.astype(np.uint16) * 257)[:, :, None]], -1)
    palette = pil.quantize(200)
    plte = b"".join(bytes(c) for c in rgb.reshape(-1, 3)[::17][:16])
    index = (np.add.outer(np.arange(H) // 5, np.arange(W) // 7) % 16).astype(np.uint8)
    cmyk = Image.merge("CMYK", [grey, grey.rotate(180), Image.fromarray(alpha), grey.point(lambda v: v // 3)])
    cmyk_jpeg = saved(cmyk, format="JPEG", quality=88)
    bare = without_segments(saved(pil, format="JPEG", quality=92, subsampling=0), 0xE0)
    exif = Image.Exif()
    exif[0x0112] = 6
    yield "rgb.png", saved(pil, format="PNG")
    yield "rgba.png", saved(Image.fromarray(np.dstack([rgb, alpha])), format="PNG")
    yield "grey.png", saved(grey, format="PNG")
    yield "grey_alpha.png", saved(Image.merge("LA", [grey, Image.fromarray(alpha)]), format="PNG")
    yield "bits1.png", png(index & 1, 1, 0)
    yield "bits2.png", png(index & 3, 2, 0)
    yield "bits4.png", png(index, 4, 0)
    yield "grey_trns.png", png(index * 16, 8, 0, png_chunk(b"tRNS", b"\0\x40"))
    yield "rgb_trns.png", png(rgb, 8, 2, png_chunk(b"tRNS", b"\0\x10\0\x20\0\x30"))
    yield "palette.png", saved(palette, format="PNG")
    yield "palette_trns.png", saved(palette, format="PNG", transparency=bytes(range(200)))
    yield "palette1.png", png(index & 1, 1, 3, png_chunk(b"PLTE", plte[:6]))
    yield "palette2.png", png(index & 3, 2, 3, png_chunk(b"PLTE", plte[:12]))
    yield "palette4_trns.png", png(index, 4, 3, png_chunk(b"PLTE", plte) + png_chunk(b"tRNS", bytes(range(0, 160, 10))))
    yield "rgb16.png", png(wide, 16, 2)
    yield "rgba16.png", png(wide_alpha, 16, 6)
    yield "grey16.png", png(wide[:, :, 0], 16, 0)
    yield "grey_alpha16.png", png(wide_alpha[:, :, 2:], 16, 4)
    yield "interlaced.png", png(rgb, 8, 2, adam7=True)
    yield "interlaced4.png", png(index, 4, 3, png_chunk(b"PLTE", plte), adam7=True)
    yield "gamma.png", png(rgb, 8, 2, png_chunk(b"gAMA", struct.pack(">I", 100000)))
    yield "yuv444.jpg", saved(pil, format="JPEG", quality=90, subsampling=0)
    yield "yuv422.jpg", saved(pil, format="JPEG", quality=85, subsampling=1)
    yield "yuv420.jpg", saved(pil, format="JPEG", quality=75, subsampling=2)
    yield "progressive.jpg", saved(pil, format="JPEG", quality=80, progressive=True)
    yield "grey.jpg", saved(grey, format="JPEG", quality=80)
    yield "turned.jpg", saved(pil, format="JPEG", quality=80, exif=exif)
    yield "rgb_adobe.jpg", bare[:2] + adobe(0) + bare[2:]
    yield "cmyk.jpg", cmyk_jpeg
    yield "cmyk_bare.jpg", without_segments(cmyk_jpeg, 0xEE)
    yield "ycck.jpg", without_segments(cmyk_jpeg, 0xEE)[:2] + adobe(2) + without_segments(cmyk_jpeg, 0xEE)[2:]
    yield "lossy.webp", saved(pil, format="WEBP", quality=80)
    yield "lossless.webp", saved(pil, format="WEBP", lossless=True)
    yield "lossy_alpha.webp", saved(Image.fromarray(np.dstack([rgb, alpha])), format="WEBP", quality=80)
    yield "lossless_alpha.webp", saved(Image.fromarray(np.dstack([rgb, alpha])), format="WEBP", lossless=True, exact=True)
    yield "two_frames.webp", saved(pil, format="WEBP", quality=80, save_all=True,
                                   append_images=[Image.fromarray(photograph(W, H, 3))])


def sha(array):
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


def decoded(file):
    image = Image.open(file)
    if file.name == "grey16.png":
        assert image.mode == "I"
        high = (np.asarray(image) >> 8).astype(np.uint8)
        return Image.fromarray(np.dstack([high] * 3))
    return image.convert("RGB")


def tensor(image, resize, crop, how):
    w, h = image.size
    nw, nh = (w, h) if not resize else (resize, int(resize * h / w)) if w <= h else (int(resize * w / h), resize)
    left, top = int(round((nw - crop) / 2.0)), int(round((nh - crop) / 2.0))
    cut = image.resize((nw, nh), how).crop((left, top, left + crop, top + crop))
    x = torch.from_numpy(np.asarray(cut).copy()).permute(2, 0, 1).contiguous().to(torch.float32).div(255)
    return x.sub_(MEAN).div_(STD).numpy()


def geometry_rows(count=250):
    rng = np.random.default_rng(7)
    for i in range(count):
        w, h = (int(v) for v in rng.integers(1, 900, 2))
        resize, crop = (int(rng.choice([0, 32, 256, 342])), int(rng.choice([1, 31, 32, 224, 299])))
        nw, nh = (w, h) if not resize else (resize, int(resize * h / w)) if w <= h else (int(resize * w / h), resize)
        left, top = int(round((nw - crop) / 2.0)), int(round((nh - crop) / 2.0))
        box = [float(v) for v in np.round(rng.uniform(-0.1, 1.1, 4) * [w, h, w, h], int(i % 3))]
        mapped = [max(0, min(crop, int(v * n / o - t)))
                  for v, n, o, t in zip(box, (nw, nh, nw, nh), (w, h, w, h), (left, top, left, top))]
        yield [w, h, resize, crop, *box, nw, nh, left, top, *mapped]


def main():
    HERE.mkdir(exist_ok=True)
    rows = []
    for name, data in make_files():
        file = HERE / name
        file.write_bytes(data)
        image = decoded(file)
        rows.append([name, "decode", *image.size, "-", sha(np.asarray(image))])
    filters = {"bilinear": Image.BILINEAR, "bicubic": Image.BICUBIC}
    image = decoded(HERE / "rgb.png")
    for w, h in [(1, 1), (2, 3), (7, 5), (30, 21), (60, 42), (61, 20), (20, 43), (61, 43), (62, 44), (100, 43),
                 (61, 100), (127, 89), (300, 11), (3, 250)]:
        for name, how in filters.items():
            rows.append(["rgb.png", name, w, h, "-", sha(np.asarray(image.resize((w, h), how)))])
    for resize, crop in [(32, 28), (32, 32), (43, 31), (40, 52), (0, 40), (0, 64), (64, 56), (9, 4)]:
        for name, how in filters.items():
            rows.append(["yuv420.jpg", "tensor", resize, crop, name,
                         sha(tensor(decoded(HERE / "yuv420.jpg"), resize, crop, how))])
    with open(HERE / "expected.csv", "w", newline="") as out:
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(["file", "step", "a", "b", "c", "sha256"])
        writer.writerows(rows)
    with open(HERE / "geometry.csv", "w", newline="") as out:
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow("width height resize crop xmin ymin xmax ymax resized_width resized_height left top "
                        "crop_xmin crop_ymin crop_xmax crop_ymax".split())
        writer.writerows(geometry_rows())


main()
