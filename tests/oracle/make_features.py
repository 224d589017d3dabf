"""Features of ViT-S/14 and ViT-B/14 shapes, and of tiny models of each other kind, by transformers in double, for
tests/test_features.c.

Run: python3 tests/oracle/make_features.py (needs torch, transformers, safetensors; about a minute).
Writes tests/fixtures/features.safetensors: for each case tokens [T', d] (every STRIDE-th token of the final LayerNorm),
and mean [d] of the patches, without class token and registers. Weights and images come from formula.py.
"""

import os

import torch
from formula import encoder, tensor
from safetensors.torch import save_file

STRIDE = 16
TINY_STRIDE = 3
CASES = [
    ("s224", 384, 12, 6, 224), ("s126", 384, 12, 6, 126),
    ("b224", 768, 12, 12, 224), ("b126", 768, 12, 12, 126),
]
# name, kind, registers, gated, patch: width 128, 2 layers, 2 heads, a position grid of 5 x 5, at that and another grid
TINY = [
    ("vit", "vit", 0, False, 16), ("reg", "dinov2_with_registers", 4, False, 14), ("gate", "dinov2", 0, True, 14),
    ("reggate", "dinov2_with_registers", 2, True, 14),
]


def add(out, name, model, size, registers, stride, **options):
    # the position table is resized in float32 by definition; double would be another rule
    pixels = torch.from_numpy(tensor(f"image{size}", (1, 3, size, size), 2.0)).double()
    with torch.no_grad():
        hidden = model(pixels, **options).last_hidden_state[0]
    out[f"{name}.tokens"] = hidden[::stride].float().contiguous()
    out[f"{name}.mean"] = hidden[1 + registers :].mean(0).float().contiguous()
    print(name, tuple(hidden.shape), float(hidden.abs().max()))


def main():
    out = {}
    for name, width, layers, heads, size in CASES:
        model = encoder(f"{name[0]}.", width, layers, heads, 4, 14, 37, torch.float64)
        add(out, name, model, size, 0, STRIDE)
    for name, kind, registers, gated, patch in TINY:
        model = encoder(f"{name}.", 128, 2, 2, 4, patch, 5, torch.float64, kind, registers, gated)
        for grid in (5, 8):
            options = {"interpolate_pos_encoding": True} if kind == "vit" else {}
            add(out, f"{name}{grid}", model, grid * patch, registers, TINY_STRIDE, **options)
    folder = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "fixtures")
    save_file(out, os.path.join(folder, "features.safetensors"))


if __name__ == "__main__":
    main()
