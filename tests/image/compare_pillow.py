"""Decoder, resize and tensor against Pillow and torch, file by file: equal to the last bit or named.

usage: compare_pillow.py IMAGE_DIGEST STRIDE FOLDER_OR_FILE...     every STRIDE-th file of each folder
Exit 77 (skipped) where Pillow or torch are missing."""
import hashlib
import subprocess
import sys
from pathlib import Path

try:
    import numpy as np
    import torch
    from PIL import Image
except ImportError as e:
    print("skipped:", e)
    sys.exit(77)

Image.MAX_IMAGE_PIXELS = None
SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}
MEAN, STD = torch.tensor([0.485, 0.456, 0.406])[:, None, None], torch.tensor([0.229, 0.224, 0.225])[:, None, None]


def sha(array):
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


def expected(path, resize=256, crop=224):
    rgb = Image.open(path).convert("RGB")
    w, h = rgb.size
    nw, nh = (resize, int(resize * h / w)) if w <= h else (int(resize * w / h), resize)
    left, top = int(round((nw - crop) / 2.0)), int(round((nh - crop) / 2.0))
    cut = rgb.resize((nw, nh), Image.BILINEAR).crop((left, top, left + crop, top + crop))
    # torchvision's to_tensor and normalize, step by step
    x = torch.from_numpy(np.asarray(cut).copy()).permute(2, 0, 1).contiguous().to(torch.float32).div(255)
    x = x.sub_(MEAN).div_(STD)
    return sha(np.asarray(rgb)), sha(x.numpy()), sha(np.asarray(rgb.resize((97, 61), Image.BICUBIC)))


def main():
    digest, stride, places = sys.argv[1], int(sys.argv[2]), [Path(p) for p in sys.argv[3:]]
    files = []
    for place in places:
        inside = sorted(p for p in place.rglob("*") if p.suffix.lower() in SUFFIXES) if place.is_dir() else [place]
        files += inside[::stride]
    wrong = 0
    for start in range(0, len(files), 100):
        part = [str(f) for f in files[start:start + 100]]
        done = subprocess.run([digest, *part], capture_output=True, text=True)
        sys.stderr.write(done.stderr)
        ours = {line.split("\t")[0]: tuple(line.split("\t")[1:]) for line in done.stdout.splitlines()}
        for file in part:
            want = expected(file)
            got = ours.get(file)
            if got != want:
                wrong += 1
                what = "refused" if got is None else [n for n, a, b in zip(("rgb", "tensor", "bicubic"), got, want) if a != b]
                print("differs:", file, what)
    print(f"{len(files)} files, {wrong} differ")
    return 1 if wrong or not files else 0


sys.exit(main())
