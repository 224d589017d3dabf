"""Resized position tables by their owners' rules, for tests/test_position.c.

Run: python3 tests/oracle/make_positions.py (needs torch, safetensors).
Writes tests/fixtures/positions.safetensors: MODE.RxC [1 + R*C, WIDTH] from a table [1, 1 + 37*37, WIDTH] of formula.py.
transformers: interpolate(size=...); hub: interpolate(scale_factor=(patches + 0.1) / grid); antialias: size and antialias.
"""

import os

import torch
from formula import tensor
from safetensors.torch import save_file
from torch.nn.functional import interpolate

GRID, WIDTH = 37, 6
SIZES = [(16, 16), (27, 27), (37, 37), (16, 32), (40, 45), (1, 1)]


def main():
    table = torch.from_numpy(tensor("positions", (1, 1 + GRID * GRID, WIDTH)))
    image = table[:, 1:].reshape(1, GRID, GRID, WIDTH).permute(0, 3, 1, 2)
    out = {}
    for rows, columns in SIZES:
        results = {
            "transformers": interpolate(image, size=(rows, columns), mode="bicubic", align_corners=False),
            "hub": interpolate(image, scale_factor=((rows + 0.1) / GRID, (columns + 0.1) / GRID), mode="bicubic"),
            "antialias": interpolate(image, size=(rows, columns), mode="bicubic", antialias=True),
        }
        for mode, result in results.items():
            if (rows, columns) == (GRID, GRID):
                result = image  # every owner leaves a table of the right size alone
            assert result.shape[-2:] == (rows, columns), (mode, result.shape)
            flat = result.permute(0, 2, 3, 1).reshape(rows * columns, WIDTH)
            out[f"{mode}.{rows}x{columns}"] = torch.cat([table[0, :1], flat]).contiguous()
    folder = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "fixtures")
    save_file(out, os.path.join(folder, "positions.safetensors"))


if __name__ == "__main__":
    main()
