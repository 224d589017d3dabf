"""Features of ViT-S/14 and ViT-B/14 shapes by transformers, for tests/test_features.c.

Run: python3 tests/oracle/make_features.py (needs torch, transformers, safetensors; about a minute).
Writes tests/fixtures/features.safetensors: for each case tokens [T', d] (every STRIDE-th token of the final LayerNorm),
and mean [d] of the patches. Weights and images come from formula.py.
"""

import os

import torch
from formula import encoder, tensor
from safetensors.torch import save_file

STRIDE = 16
CASES = [
    ("s224", 384, 12, 6, 224), ("s126", 384, 12, 6, 126),
    ("b224", 768, 12, 12, 224), ("b126", 768, 12, 12, 126),
]


def main():
    out = {}
    for name, width, layers, heads, size in CASES:
        model = encoder(f"{name[0]}.", width, layers, heads, 4, 14, 37, torch.float64)
        # the position table is resized in float32 by definition; double would be another rule
        pixels = torch.from_numpy(tensor(f"image{size}", (1, 3, size, size), 2.0)).double()
        with torch.no_grad():
            hidden = model(pixels).last_hidden_state[0]
        out[f"{name}.tokens"] = hidden[::STRIDE].float().contiguous()
        out[f"{name}.mean"] = hidden[1:].mean(0).float().contiguous()
        print(name, tuple(hidden.shape), float(hidden.abs().max()))
    folder = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "fixtures")
    save_file(out, os.path.join(folder, "features.safetensors"))


if __name__ == "__main__":
    main()
