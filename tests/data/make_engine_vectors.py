#!/usr/bin/env python3
"""Makes tests/data/engine/*.safetensors: what PyTorch says of the cases in tests/engine/cases.c.

Needs Debian's python3-torch and python3-torchvision, and the reference implementation of ParchGrad
(parchgrad_reference.py), whose rules and synthetic weights are used as they are:

    /usr/bin/python3 tests/data/make_engine_vectors.py PATH/TO/parchgrad_reference.py tests/data/engine [CASE...]

Weights, inputs and p-values come from the counter hash that the reference documents (lib/base/random.h:
pm_synth), so a file holds outputs only:
    heatmap, heatmap_double [H, W]      in fp32 and in double precision (rounded to fp32)
    logits, logits_double [classes]     likewise
    target [1]                          class index
    LAYER/h [C] (F16, 0 or 1), LAYER/scales and LAYER/scales_double [4] = M, N, scale of H, scale of L
                                        (M, N NaN and scales 1 where nothing is partitioned)
    LAYER/spread_double [2]             variance over space of the sum of all channels, before and after
    LAYER/channel_variance_double [C]   before; left out for the deepest networks, to keep files small
    ig_double [2]                       ig: the sum of (x - x0) gbar, and the integral of p_y along the target logit
Layers are those of the last backward pass's last sample. Methods and baselines that the reference lacks are written here
in the plainest way.

NAME_activations.safetensors hold what statistics are made of, in double precision:
    mean [C of all convolutions]        mean over space of ReLU of the raw output
    density [convolutions]              share of raw outputs above 0
    logits [classes]

NAME_curves.safetensors hold what taking pixels away by case NAME's heat map (fp32) does, in double precision:
    ratios [R]                          shares of pixels
    REPLACEMENT/CURVE/MEASURE [R]       replacement zero, mean (of each color) or noise (stream "replacement/0"); curve morf or
                                        lerf; measure p (of the target), aopc, lodds, fracdiff, correct
    REPLACEMENT/auc [2]                 numpy.trapz of p over the ratios, by their range: morf, lerf
    box [4], box/score [4]              xmin, ymin, xmax, ymax; mu_in, mu_in_w, mu_out, mu_out_w

    /usr/bin/python3 tests/data/make_engine_vectors.py PATH/TO/parchgrad_reference.py tests/data/engine keys

writes keys.txt, one line an architecture: name, number of tensors, SHA-256 of their "name d0,d1,...\n" in state-dict
order (counters and auxiliary heads left out, 7 classes), number of default hooks, SHA-256 of their names, each with a newline.
"""
import fnmatch
import functools
import hashlib
import importlib.util
import json
import math
import struct
import sys
from pathlib import Path

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
import torchvision


class CifarBlock(nn.Module):
    """He et al., arXiv:1512.03385, section 4.2, with shortcut A."""

    def __init__(self, channels_in, channels, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.halves, self.pad = stride != 1 or channels_in != channels, channels // 4

    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if self.halves:
            x = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.pad, self.pad))
        return F.relu(y + x)


class CifarResNet(nn.Module):
    def __init__(self, blocks, classes):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16)
        channels_in = 16
        for stage, channels in enumerate((16, 32, 64)):
            layer = []
            for i in range(blocks):
                layer.append(CifarBlock(channels_in, channels, 2 if stage and not i else 1))
                channels_in = channels
            setattr(self, f"layer{stage + 1}", nn.Sequential(*layer))
        self.linear = nn.Linear(64, classes)

    def forward(self, x):
        x = self.layer3(self.layer2(self.layer1(F.relu(self.bn1(self.conv1(x))))))
        return self.linear(F.avg_pool2d(x, x.shape[-2:]).flatten(1))


# name: (architecture, height, width, classes, changes to the reference's BASE); a string as layer_ratio is globs
CASES = {
    "resnet18_64_off": ("resnet18", 64, 64, 1000, {"mask": "off"}),
    "resnet18_64_cls": ("resnet18", 64, 64, 1000, {}),
    "resnet18_64_novc": ("resnet18", 64, 64, 1000, {"variance_conservation": False}),
    "resnet18_64_all_q0.05": ("resnet18", 64, 64, 1000, {"layer_ratio": 1.0, "quantile": 0.05}),
    "resnet18_64_ratio0.9_alpha0.3": ("resnet18", 64, 64, 1000, {"layer_ratio": 0.9, "quantile": None, "alpha": 0.3}),
    "resnet18_64_gamma2": ("resnet18", 64, 64, 1000, {"gamma": 2.0}),
    "resnet18_64_gamma2_exact": ("resnet18", 64, 64, 1000, {"gamma": 2.0, "exact_variance": True}),
    "resnet18_32_cls": ("resnet18", 32, 32, 1000, {}),
    "resnet50_64_cls": ("resnet50", 64, 64, 1000, {}),
    "vgg16_bn_64_cls": ("vgg16_bn", 64, 64, 1000, {}),
    "vgg16_bn_64_novc": ("vgg16_bn", 64, 64, 1000, {"variance_conservation": False}),
    "vgg16_64_cls": ("vgg16", 64, 64, 1000, {}),
    # beyond the reference's own list
    "resnet18_64_gamma0.5_novc": ("resnet18", 64, 64, 1000, {"gamma": 0.5, "variance_conservation": False}),
    "resnet18_64_h_empty": ("resnet18", 64, 64, 1000, {"quantile": None, "alpha": 0.0}),
    "resnet18_64_l_empty": ("resnet18", 64, 64, 1000, {"quantile": 1.0, "p_value_threshold": 2.0}),
    "resnet18_40x72_cls": ("resnet18", 40, 72, 1000, {"quantile": 0.2, "layer_ratio": "layer2.*,layer4.0.conv?"}),
    "resnet18_65_off": ("resnet18", 65, 65, 1000, {"mask": "off"}),
    "resnet18_64_inputgrad": ("resnet18", 64, 64, 1000, {"method": "inputgrad"}),
    "vgg16_bn_64_inputgrad": ("vgg16_bn", 64, 64, 1000, {"method": "inputgrad"}),
    "vgg16_bn_64_inputgrad_novc": ("vgg16_bn", 64, 64, 1000, {"method": "inputgrad", "variance_conservation": False}),
    "resnet18_64_ins_q0.3": ("resnet18", 64, 64, 1000, {"mask": "ins", "quantile": 0.3}),
    "resnet18_64_ins_alpha": ("resnet18", 64, 64, 1000, {"mask": "ins", "quantile": None, "alpha": 0.49, "gamma": 2.0, "layer_ratio": 1.0}),
    "resnet18_64_ins_empty": ("resnet18", 64, 64, 1000, {"mask": "ins", "quantile": None, "alpha": 0.0}),
    "vgg16_bn_64_ins_q0.3": ("vgg16_bn", 64, 64, 1000, {"mask": "ins", "quantile": 0.3}),
    "vgg16_64_ins_q0.2": ("vgg16", 64, 64, 1000, {"mask": "ins", "quantile": 0.2}),
    "resnet18_64_guided": ("resnet18", 64, 64, 1000, {"guided": True}),
    "vgg16_bn_64_guided": ("vgg16_bn", 64, 64, 1000, {"guided": True}),
    "resnet18_64_ig": ("resnet18", 64, 64, 1000, {"method": "ig"}),
    "vgg16_bn_64_ig5": ("vgg16_bn", 64, 64, 1000, {"method": "ig", "steps": 5}),
    "resnet18_64_ig_off": ("resnet18", 64, 64, 1000, {"method": "ig", "steps": 8, "mask": "off"}),
    "resnet18_64_ig_baseline": ("resnet18", 64, 64, 1000, {"method": "ig", "steps": 7, "baseline": "baseline/0"}),
    "resnet18_64_ig_guided": ("resnet18", 64, 64, 1000, {"method": "ig", "steps": 4, "guided": True}),
    "resnet18_64_ig_ins": ("resnet18", 64, 64, 1000, {"method": "ig", "steps": 4, "mask": "ins", "quantile": 0.3}),
    "resnet18_64_smoothgrad4": ("resnet18", 64, 64, 1000, {"method": "smoothgrad", "samples": 4}),
    "resnet18_64_smoothgrad_ins": ("resnet18", 64, 64, 1000, {"method": "smoothgrad", "samples": 3, "mask": "ins", "quantile": 0.3}),
    "resnet18_64_vargrad": ("resnet18", 64, 64, 1000, {"method": "vargrad", "samples": 5}),
    "vgg16_64_vargrad_off": ("vgg16", 64, 64, 1000, {"method": "vargrad", "samples": 3, "mask": "off"}),
    "resnet18_64_gradcam": ("resnet18", 64, 64, 1000, {"method": "gradcam"}),
    "vgg16_bn_96x64_gradcam": ("vgg16_bn", 96, 64, 1000, {"method": "gradcam", "mask": "off"}),
    "resnet18_64_gradcam_guided": ("resnet18", 64, 64, 1000, {"method": "gradcam", "guided": True}),
    "resnet18_64_gradcam_below": ("resnet18", 64, 64, 1000, {"method": "gradcam", "cam_layer": "layer2.0.conv1", "guided": True}),
    "vgg16_64_gradcam_hooked": ("vgg16", 64, 64, 1000, {"method": "gradcam", "cam_layer": "features.19"}),
    "resnet34_64_cls": ("resnet34", 64, 64, 1000, {}),
    "resnet50_70_off": ("resnet50", 70, 70, 1000, {"mask": "off", "layer_ratio": "layer1.0.*"}),
    "resnet101_64_gamma3": ("resnet101", 64, 64, 1000, {"gamma": 3.0, "layer_ratio": "layer3.2?.conv3,layer4.*"}),
    "resnet152_48_cls": ("resnet152", 48, 48, 1000, {"layer_ratio": "layer3.[0-3].conv2,layer4.*.conv1"}),
    "vgg11_32_cls": ("vgg11", 32, 32, 10, {}),
    "vgg13_bn_48_gamma2_exact": ("vgg13_bn", 48, 48, 10, {"gamma": 2.0, "exact_variance": True}),
    "vgg19_48_cls": ("vgg19", 48, 48, 10, {"quantile": 0.3}),
    "mobilenet_v2_64_cls": ("mobilenet_v2", 64, 64, 1000, {}),
    "mobilenet_v2_96_ratio0.5": ("mobilenet_v2", 96, 96, 1000, {"layer_ratio": 0.5, "quantile": 0.5}),
    "efficientnet_b0_64_off": ("efficientnet_b0", 64, 64, 1000, {"mask": "off"}),
    "efficientnet_b0_64_cls": ("efficientnet_b0", 64, 64, 1000, {}),
    "efficientnet_b0_80x56_squeeze": ("efficientnet_b0", 80, 56, 1000, {"quantile": 0.3, "layer_ratio": "features.[45]*.fc?,features.3.0.*"}),
    "efficientnet_b0_96_ratio0.5_ins": ("efficientnet_b0", 96, 96, 1000, {"layer_ratio": 0.5, "mask": "ins", "quantile": 0.3}),
    "mobilenet_v2_72x64_ins": ("mobilenet_v2", 72, 64, 1000, {"mask": "ins", "quantile": 0.6, "layer_ratio": "features.1[0-2].*"}),
    "efficientnet_b1_64_cls": ("efficientnet_b1", 64, 64, 1000, {"layer_ratio": "features.6.[0-1].block.[12].*,features.8.0"}),
    "efficientnet_b2_64_gamma2": ("efficientnet_b2", 64, 64, 100, {"gamma": 2.0, "layer_ratio": "features.5.*.block.[1-3].*"}),
    "efficientnet_b3_64_off": ("efficientnet_b3", 64, 64, 100, {"mask": "off", "layer_ratio": "features.4.0.*"}),
    "efficientnet_b4_64_cls": ("efficientnet_b4", 64, 64, 100, {"layer_ratio": "features.[1-3].0.block.1.0,features.7.*"}),
    "efficientnet_b5_64_novc": ("efficientnet_b5", 64, 64, 100, {"variance_conservation": False, "layer_ratio": "features.5.*.block.1.0"}),
    "efficientnet_b6_64_gamma3_exact": ("efficientnet_b6", 64, 64, 10, {"gamma": 3.0, "exact_variance": True, "layer_ratio": "features.6.1.*"}),
    "efficientnet_b7_64_cls": ("efficientnet_b7", 64, 64, 10, {"quantile": 0.2, "layer_ratio": "features.[2-5].3.block.[1-3].*"}),
    "squeezenet1_0_64_cls": ("squeezenet1_0", 64, 64, 1000, {"quantile": 0.3, "layer_ratio": "features.9.*,features.1?.*"}),
    "squeezenet1_0_70x54_off": ("squeezenet1_0", 70, 54, 1000, {"mask": "off"}),
    "squeezenet1_1_64_cls": ("squeezenet1_1", 64, 64, 1000, {"layer_ratio": "features.9.*,features.1?.*"}),
    "squeezenet1_1_54x70_gamma2": ("squeezenet1_1", 54, 70, 1000, {"gamma": 2.0}),
    "densenet121_64_cls": ("densenet121", 64, 64, 1000, {}),
    "densenet121_64_ratio0.5_off": ("densenet121", 64, 64, 1000, {"layer_ratio": 0.5, "mask": "off"}),
    "googlenet_64_cls": ("googlenet", 64, 64, 1000, {}),
    "googlenet_64_transform": ("googlenet", 64, 64, 1000, {"method": "inputgrad", "transform_input": True}),
    "googlenet_96_cls": ("googlenet", 96, 96, 1000, {}),
    "inception_v3_96_ratio0.3": ("inception_v3", 96, 96, 1000, {"layer_ratio": 0.3}),
    "mobilenet_v2_96_guided": ("mobilenet_v2", 96, 96, 1000, {"guided": True, "quantile": 0.5, "layer_ratio": "features.1[4-8]*"}),
    "mobilenet_v2_96_gradcam": ("mobilenet_v2", 96, 96, 1000, {"method": "gradcam", "guided": True}),
    "efficientnet_b0_64_ig_ins": ("efficientnet_b0", 64, 64, 1000, {"method": "ig", "steps": 3, "mask": "ins", "quantile": 0.6}),
    "efficientnet_b0_96_gradcam_depthwise": ("efficientnet_b0", 96, 96, 1000,
                                             {"method": "gradcam", "cam_layer": "features.4.0.block.1.0", "layer_ratio": "features.4.0.block.1.0,features.5.*.3.0"}),
    "densenet121_64_guided": ("densenet121", 64, 64, 1000, {"guided": True, "layer_ratio": "features.denseblock4.*.conv2"}),
    "densenet121_64_gradcam": ("densenet121", 64, 64, 1000, {"method": "gradcam", "mask": "off", "layer_ratio": "features.denseblock4.*.conv2"}),
    "googlenet_64_guided": ("googlenet", 64, 64, 1000, {"guided": True}),
    "inception_v3_96_smoothgrad": ("inception_v3", 96, 96, 1000, {"method": "smoothgrad", "samples": 2, "layer_ratio": "Mixed_7c.*"}),
    "convnext_tiny_64_vargrad": ("convnext_tiny", 64, 64, 1000, {"method": "vargrad", "samples": 2, "layer_ratio": "features.7.*"}),
    "convnext_tiny_96_gradcam": ("convnext_tiny", 96, 96, 1000, {"method": "gradcam", "layer_ratio": "features.7.*"}),
    "cifar_resnet20_32_guided": ("cifar_resnet20", 32, 32, 10, {"guided": True}),
    "cifar_resnet20_32_off": ("cifar_resnet20", 32, 32, 10, {"mask": "off"}),
    "cifar_resnet20_32_cls": ("cifar_resnet20", 32, 32, 10, {}),
    "cifar_resnet32_32_all": ("cifar_resnet32", 32, 32, 100, {"layer_ratio": 1.0}),
    "cifar_resnet56_32_gamma3_exact": ("cifar_resnet56", 32, 32, 10, {"gamma": 3.0, "exact_variance": True}),
    "convnext_tiny_64_ratio0.5": ("convnext_tiny", 64, 64, 1000, {"layer_ratio": 0.5}),
    "convnext_tiny_96_off": ("convnext_tiny", 96, 96, 1000, {"mask": "off"}),
    "convnext_tiny_96_cls": ("convnext_tiny", 96, 96, 1000, {}),
    "convnext_small_47x70_gamma2": ("convnext_small", 47, 70, 1000, {"gamma": 2.0, "layer_ratio": "features.0.0,features.4.1,features.5.2?.block.0"}),
    "convnext_base_64_cls": ("convnext_base", 64, 64, 100, {"layer_ratio": "features.6.1,features.7.*"}),
    "convnext_large_32_cls": ("convnext_large", 32, 32, 10, {"layer_ratio": "features.5.26.*,features.7.[02].*"}),
}
# activations: (architecture, side, classes)
ACTIVATIONS = {
    "resnet18_64_activations": ("resnet18", 64, 1000),
    "vgg16_64_activations": ("vgg16", 64, 1000),
    "vgg16_bn_64_activations": ("vgg16_bn", 64, 1000),
    "cifar_resnet20_32_activations": ("cifar_resnet20", 32, 10),
}
# curves along the heat maps of these cases; 1: nothing of the photograph is left
# the reference's own list, and two sizes more
CURVES = [f"{case}_curves" for case in (
    "resnet18_64_off", "resnet18_64_cls", "resnet18_64_novc", "resnet18_64_all_q0.05", "resnet18_64_ratio0.9_alpha0.3",
    "resnet18_64_ins_q0.3", "resnet18_64_gamma2", "resnet18_64_gamma2_exact", "resnet18_64_inputgrad", "resnet18_64_ig",
    "resnet18_64_smoothgrad4", "resnet18_64_guided", "resnet18_32_cls", "resnet18_40x72_cls", "resnet50_64_cls",
    "vgg16_bn_64_cls", "vgg16_bn_64_novc", "vgg16_bn_64_ig5", "vgg16_bn_64_guided", "vgg16_64_cls", "efficientnet_b0_64_off",
    "efficientnet_b0_64_cls", "efficientnet_b0_96_ratio0.5_ins", "convnext_tiny_64_ratio0.5", "inception_v3_96_ratio0.3",
    "cifar_resnet20_32_cls")]
RATIOS = (0, 0.1, 0.2, 0.3, 0.4, 0.5, 1)
# (conv, linear) gains beside the reference's own, by the same aim: softmax away from 0 and 1
GAINS = {"resnet34": (1.2, 0.1), "resnet101": (0.8, 1.0), "resnet152": (0.8, 1.0), "vgg11": (1.5, 1.0), "vgg13_bn": (1.5, 1.0),
         "mobilenet_v2": (1.3, 3.0), "efficientnet_b1": (1.2, 16.0), "efficientnet_b2": (1.2, 16.0), "efficientnet_b3": (1.2, 16.0),
         "efficientnet_b4": (1.2, 16.0), "efficientnet_b5": (1.2, 16.0), "efficientnet_b6": (1.2, 8.0), "efficientnet_b7": (1.2, 16.0),
         "vgg19": (1.5, 1.0), "cifar_resnet20": (1.2, 0.3), "cifar_resnet32": (1.2, 0.3), "cifar_resnet56": (1.0, 0.05),
         "convnext_small": (1.4, 3.0), "convnext_base": (1.4, 3.0), "convnext_large": (1.4, 2.0),
         "squeezenet1_0": (1.4, 1.0), "squeezenet1_1": (1.45, 1.0), "densenet121": (1.4, 2.5), "googlenet": (1.4, 0.4)}


def extend(ref):
    """Teach the reference globs, CIFAR ResNets, and to measure layers where the mask is off."""
    ref.GAIN.update(GAINS)
    for depth, blocks in ((20, 3), (32, 5), (44, 7), (56, 9)):
        setattr(torchvision.models, f"cifar_resnet{depth}", lambda weights=None, num_classes=10, b=blocks: CifarResNet(b, num_classes))
    for arch in ("googlenet", "inception_v3"):  # torchvision would draw their weights for minutes
        plain = getattr(torchvision.models, arch)
        setattr(torchvision.models, arch, functools.partial(plain, **{"aux_logits": True, "init_weights": False}))
    plain_layers = ref.default_layers

    def layers(arch, model, layer_ratio=None):
        if isinstance(layer_ratio, str):
            return [(n, m) for n, m in ref.convolutions(model) if any(fnmatch.fnmatchcase(n, g) for g in layer_ratio.split(","))]
        return plain_layers(arch, model, layer_ratio)

    def total_spread(g):
        return ref.ParchGrad.spread(g) - 1e-13

    class Recording(ref.ParchGrad):
        def __init__(self, arch, model, cfg, classes=1000):
            super().__init__(arch, model, cfg, classes)
            if cfg["mask"] == "off":
                for name, conv in layers(arch, model, cfg.get("layer_ratio")):
                    self.handles.append(conv.register_forward_hook(self._hook(name)))
            self.plain = {n: getattr(F, n) for n in ("relu", "hardtanh")}
            if self.guided:  # functional ReLUs and ReLU6 too, which the reference's modules do not see
                for n, f in self.plain.items():
                    setattr(F, n, self._clamping(f))

        @staticmethod
        def _clamping(plain):
            def clamped(x, *args, inplace=False):
                out = plain(x, *args)
                if out.requires_grad:
                    out.register_hook(lambda g: g.clamp(min=0))
                return out
            return clamped

        def close(self):
            super().close()
            for n, f in self.plain.items():
                setattr(F, n, f)

        def _rescale(self, name, conv, output, grad):
            if self.cfg["mask"] == "off":
                self.record[name] = [{"m": float("nan"), "n": float("nan"), "scale_h": 1.0, "scale_l": 1.0,
                                      "channel_variance": g.flatten(1).var(dim=1) if g[0].numel() > 1 else torch.zeros(g.shape[0]),
                                      "h": torch.ones(g.shape[0], dtype=torch.bool), "spread": [total_spread(g)] * 2} for g in grad]
                return grad
            out = super()._rescale(name, conv, output, grad)
            for row, before, after in zip(self.record[name], grad, out):
                row["spread"] = [total_spread(before), total_spread(after)]
                if self.cfg.get("exact_variance") and math.isfinite(row["m"]):  # not recorded there: read off the largest value
                    for key, group in (("scale_h", row["h"]), ("scale_l", ~row["h"])):
                        a, b = before[group].flatten(), after[group].flatten()
                        at = a.abs().argmax()
                        row[key] = (b[at] / a[at]).item()
            return out

    ref.default_layers, ref.ParchGrad = layers, Recording


def integrate(ref, arch, model, x, cfg, classes):
    """ig from any baseline: heat map, logits, record, and (sum of (x - x0) gbar, integral of p_y over the target logit)."""
    hooks, y, steps = ref.ParchGrad(arch, model, cfg, classes), cfg["target"], cfg.get("steps", 25)
    x0 = ref.synth_tensor(cfg["baseline"], x.shape).to(x.dtype) if "baseline" in cfg else torch.zeros_like(x)
    path = torch.stack([x0 + (x - x0) * (i / steps) for i in range(steps + 1)])
    g, logits = ref.seeded_gradient(model, path, y)
    hooks.close()
    parts = (x - x0) * ((g[:-1] + g[1:]) / 2).mean(0)
    p, l = torch.softmax(logits, -1)[:, y], logits[:, y]
    both = [parts.sum().item(), ((p[:-1] + p[1:]) / 2 * (l[1:] - l[:-1])).sum().item()]
    return parts.mean(0).abs(), model(x[None]).detach()[0], hooks.record, both


def vargrad(ref, arch, model, x, cfg, classes):
    hooks, sigma = ref.ParchGrad(arch, model, cfg, classes), 0.15 * (x.max() - x.min())
    g = torch.stack([ref.seeded_gradient(model, (x + ref.synth_tensor(f"noise/{k}", x.shape) * sigma * math.sqrt(3))[None], cfg["target"])[0][0]
                     for k in range(cfg["samples"])])
    hooks.close()
    return g.var(0, unbiased=False).mean(0), model(x[None]).detach()[0], hooks.record


def gradcam(ref, arch, model, x, cfg, classes):
    """At a convolution: its raw output and the gradient as ParchGrad leaves it. By default: what the last pooling reads,
    and the gradient as it arrives there, before guided clamps it."""
    uses, pool = [], F.adaptive_avg_pool2d

    def keep(tensor):
        uses.append({"map": tensor.detach()[0]})
        tensor.register_hook(lambda g, use=uses[-1]: use.__setitem__("gradient", g[0].clone()))

    def keep_pooled(tensor, size):
        tensor = tensor * 1  # apart from the ReLU's output, whose gradient guided clamps
        keep(tensor)
        return pool(tensor, size)
    hooks = ref.ParchGrad(arch, model, cfg, classes)
    if "cam_layer" in cfg:
        hooks.handles.append(dict(model.named_modules())[cfg["cam_layer"]].register_forward_hook(lambda m, i, o: keep(o)))
    else:
        F.adaptive_avg_pool2d = keep_pooled
    _, logits = ref.seeded_gradient(model, x[None], cfg["target"])
    F.adaptive_avg_pool2d = pool
    hooks.close()
    heat = (uses[-1]["gradient"].mean((1, 2))[:, None, None] * uses[-1]["map"]).sum(0).relu()
    return F.interpolate(heat[None, None], size=x.shape[1:], mode="bilinear", align_corners=False)[0, 0], logits[0], hooks.record


def attribute(ref, arch, model, x, cfg, classes):
    if cfg["method"] == "ig":
        heat, logits, record, both = integrate(ref, arch, model, x, cfg, classes)
        if "baseline" not in cfg:
            assert torch.equal(heat, ref.attribute(arch, model, x, cfg, classes)[0])
        return heat, logits, record, both
    own = {"vargrad": vargrad, "gradcam": gradcam}.get(cfg["method"])
    return *(own(ref, arch, model, x, cfg, classes) if own else ref.attribute(arch, model, x, cfg, classes)), None


def save(path, tensors, meta):
    header, blob = {"__metadata__": meta}, b""
    for name, a in tensors.items():
        dtype = np.float16 if name.endswith("/h") else np.float32
        a = np.ascontiguousarray(np.asarray(a), dtype=dtype)
        header[name] = {"dtype": "F16" if dtype == np.float16 else "F32", "shape": list(a.shape), "data_offsets": [len(blob), len(blob) + a.nbytes]}
        blob += a.tobytes()
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    Path(path).write_bytes(struct.pack("<Q", len(text)) + text + blob)


def run(ref, name, model, out):
    arch, height, width, classes, over = CASES[name]
    cfg = {**ref.BASE, **over}
    x = 2 * ref.synth_tensor("input/0", (3, height, width))
    model.transform_input = cfg.get("transform_input", False)
    if cfg["target"] == "top":
        with torch.no_grad():
            cfg["target"] = int(model(x[None])[0].argmax())
    heat, logits, record, _ = attribute(ref, arch, model, x, cfg, classes)
    model.double()
    exact, exact_logits, exact_record, ig = attribute(ref, arch, model, x.double(), cfg, classes)
    model.float()
    tensors = {"heatmap": heat, "heatmap_double": exact, "logits": logits, "logits_double": exact_logits, "target": [cfg["target"]]}
    if ig:
        tensors["ig_double"] = ig
    deep = sum(len(rows[0]["h"]) for rows in record.values()) > 12000
    for layer in record:
        row, twin = record[layer][-1], exact_record[layer][-1]
        assert (row["h"] == twin["h"]).all()
        tensors[f"{layer}/h"] = row["h"]
        for r, suffix in ((row, ""), (twin, "_double")):
            tensors[f"{layer}/scales{suffix}"] = [r["m"], r["n"], r["scale_h"], r["scale_l"]]
        tensors[f"{layer}/spread_double"] = twin["spread"]
        if not deep:
            tensors[f"{layer}/channel_variance_double"] = twin["channel_variance"]
    save(Path(out) / f"{name}.safetensors", tensors, {"arch": arch, "config": json.dumps(cfg)})
    off = ((heat - exact.float()).norm() / heat.norm()).item()
    print(f"{name}: p_y {torch.softmax(exact_logits, 0)[cfg['target']]:.4f} fp32 against double {off:.1e} layers {len(record)}", flush=True)


def run_activations(ref, name, model, out):
    arch, side, _ = ACTIVATIONS[name]
    raw, convs = {}, ref.convolutions(model)
    handles = [m.register_forward_hook(lambda m, i, o, n=n: raw.__setitem__(n, o[0])) for n, m in convs]
    means, logits = ref.gather(model.double(), 2 * ref.synth_tensor("input/0", (3, side, side)).double())
    model.float()
    for handle in handles:
        handle.remove()
    save(Path(out) / f"{name}.safetensors", {"mean": torch.cat([means[n] for n, _ in convs]), "logits": logits,
                                             "density": [(raw[n] > 0).double().mean().item() for n, _ in convs]}, {"arch": arch})
    print(f"{name}: {sum(len(m) for m in means.values())} channels, {len(convs)} convolutions", flush=True)


def curves(ref, model, x, target, heat, replacement):
    """evaluate() of the reference, with something else than 0 in place of the pixels."""
    out, p = {}, torch.softmax(model(x[None])[0], -1)
    top = int(p.argmax())
    for order in ("morf", "lerf"):
        index = torch.sort(heat.flatten(), descending=order == "morf", stable=True).indices
        batch = []
        for r in RATIOS:
            z, taken = x.clone().flatten(1), index[: int(heat.numel() * r)]
            z[:, taken] = replacement.flatten(1)[:, taken]
            batch.append(z.view_as(x))
        q = torch.softmax(torch.cat([model(z[None]) for z in batch]), -1)
        out[order] = {"aopc": p[target] - q[:, target], "lodds": torch.log(q[:, target] / (p[target] + 1e-10)),
                      "fracdiff": (p[top] - q[:, top]).abs(), "correct": (q.argmax(-1) == target).double(), "p": q[:, target]}
    return out


def stored_heat_map(path):
    """The case's own, in fp32: the curves are of that map to the bit."""
    raw = path.read_bytes()
    size = struct.unpack("<Q", raw[:8])[0]
    entry = json.loads(raw[8:8 + size])["heatmap"]
    first, end = entry["data_offsets"]
    return torch.frombuffer(bytearray(raw[8 + size + first:8 + size + end]), dtype=torch.float32).reshape(entry["shape"])


def run_curves(ref, name, model, out):
    arch, height, width, classes, over = CASES[name.removesuffix("_curves")]
    cfg = {**ref.BASE, **over}
    x = 2 * ref.synth_tensor("input/0", (3, height, width))
    with torch.no_grad():
        cfg["target"] = int(model(x[None])[0].argmax())
    heat = stored_heat_map(Path(out) / f"{name.removesuffix('_curves')}.safetensors")
    box = (width // 4, height // 4, width * 3 // 4, height * 7 // 8)
    tensors = {"ratios": RATIOS, "box": box, "box/score": list(ref.box_score(heat.double(), *box).values())}
    model.double()
    x = x.double()
    with torch.no_grad():
        noise = ref.synth_tensor("replacement/0", x.shape).double()
        for kind, replacement in (("zero", torch.zeros_like(x)), ("mean", x.mean(dim=(1, 2), keepdim=True).expand_as(x)), ("noise", noise)):
            found = curves(ref, model, x, cfg["target"], heat, replacement)
            for order, measures in found.items():
                for measure, values in measures.items():
                    tensors[f"{kind}/{order}/{measure}"] = values
            tensors[f"{kind}/auc"] = [np.trapz(found[o]["p"], RATIOS) / (RATIOS[-1] - RATIOS[0]) for o in ("morf", "lerf")]
            if kind == "zero":  # the reference's own
                want = ref.evaluate(model, x, cfg["target"], heat, RATIOS)
                for order in want:
                    for measure in ("aopc", "lodds", "fracdiff"):
                        assert torch.allclose(torch.tensor(want[order][measure]).double(), found[order][measure], atol=1e-6)
    model.float()
    save(Path(out) / f"{name}.safetensors", tensors, {"arch": arch, "config": json.dumps(cfg)})
    print(f"{name}: p_y", " ".join(f"{v:.3f}" for v in tensors["zero/morf/p"]), flush=True)


def keys(ref, out):
    lines = []
    for arch in [f"resnet{d}" for d in (18, 34, 50, 101, 152)] + [f"vgg{d}{b}" for b in ("", "_bn") for d in (11, 13, 16, 19)] + \
            [f"cifar_resnet{d}" for d in (20, 32, 44, 56)] + [f"convnext_{s}" for s in ("tiny", "small", "base", "large")] + \
            ["mobilenet_v2"] + [f"efficientnet_b{n}" for n in range(8)] + ["squeezenet1_0", "squeezenet1_1"] + \
            [f"densenet{d}" for d in (121, 161, 169, 201)] + ["googlenet", "inception_v3"]:
        model = getattr(torchvision.models, arch)(weights=None, num_classes=7)
        tensors = [(n, t.shape) for n, t in model.state_dict().items() if not n.endswith("num_batches_tracked") and not n.lower().startswith("aux")]
        shapes = "".join(f"{n} {','.join(map(str, s))}\n" for n, s in tensors)
        hooks = [n for n, _ in ref.default_layers(arch, model)]
        names = "".join(f"{n}\n" for n in hooks)
        digest = lambda text: hashlib.sha256(text.encode()).hexdigest()
        lines.append(f"{arch} {len(tensors)} {digest(shapes)} {len(hooks)} {digest(names)}\n")
    (Path(out) / "keys.txt").write_text("".join(lines))


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    spec = importlib.util.spec_from_file_location("parchgrad_reference", sys.argv[1])
    ref = importlib.util.module_from_spec(spec)
    sys.dont_write_bytecode = True
    spec.loader.exec_module(ref)
    extend(ref)
    torch.set_num_threads(1)
    Path(sys.argv[2]).mkdir(parents=True, exist_ok=True)
    if sys.argv[3:] == ["keys"]:
        keys(ref, sys.argv[2])
        return
    built = None
    for name in sys.argv[3:] or [*CASES, *ACTIVATIONS, *CURVES]:
        gather = name in ACTIVATIONS
        arch, classes = ACTIVATIONS[name][::2] if gather else CASES[name.removesuffix("_curves")][::3]
        if built != (arch, classes):
            built, model = (arch, classes), ref.build(arch, classes)
        (run_activations if gather else run_curves if name in CURVES else run)(ref, name, model, sys.argv[2])


if __name__ == "__main__":
    main()
