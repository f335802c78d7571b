#!/usr/bin/env python3
"""PyTorch's prediction for each photograph of a folder with labels.csv: file name, top-1 class.

    python3 tests/data/make_top1.py resnet18 WEIGHTS.pth DIR > tests/data/resnet18_ilsvrc_val_top1.csv

Needs Debian's python3-torch, python3-torchvision, python3-pil. Preprocessing is torchvision's:
resize 256 (antialiased bilinear), centre crop 224, ImageNet mean and standard deviation.
"""
import csv, sys
from pathlib import Path

import torch
import torchvision
from PIL import Image
from torchvision import transforms as T

arch, weights, data = sys.argv[1], sys.argv[2], Path(sys.argv[3])
model = getattr(torchvision.models, arch)(weights=None)
model.load_state_dict(torch.load(weights, map_location="cpu"))
model.eval()
torch.set_num_threads(2)
prepare = T.Compose([T.Resize(256), T.CenterCrop(224), T.ToTensor(),
                     T.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])])
paths = sorted({row["path"] for row in csv.DictReader(open(data / "labels.csv", newline=""))})
print("name,top1")
with torch.no_grad():
    for path in paths:
        x = prepare(Image.open(data / path).convert("RGB"))[None]
        print(f"{Path(path).name},{int(model(x)[0].argmax())}")
