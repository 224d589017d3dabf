"""Resized position tables by their owners' rules, for tests/test_position.c.

Run: python3 tests/oracle/make_positions.py (needs torch, safetensors).
Writes tests/fixtures/positions.safetensors: MODE.RxC [1 + R*C, WIDTH] from a table [1, 1 + 37*37, WIDTH] of formula.py;
and, of a table of SMALL_GRID, trained.MODE.RxC and trained.MODE.RxC.gradient [1 + SMALL_GRID^2, WIDTH], the table's
gradient from a gradient "dresized" of formula.py.
transformers: interpolate(size=...); hub: interpolate(scale_factor=(patches + 0.1) / grid); antialias: size and antialias.
"""

import os

import torch
from formula import tensor
from safetensors.torch import save_file
from torch.nn.functional import interpolate

GRID, WIDTH = 37, 6
SMALL_GRID, SMALL_SIZES = 9, [(4, 4), (5, 14), (20, 9)]
SIZES = [(16, 16), (27, 27), (37, 37), (16, 32), (40, 45), (1, 1)]


def resize_by_every_rule(table, grid, rows, columns):
    """{mode: [1 + rows * columns, WIDTH]}; every owner leaves a table of the right size alone."""
    image = table[:, 1:].reshape(1, grid, grid, WIDTH).permute(0, 3, 1, 2)
    results = {
        "transformers": interpolate(image, size=(rows, columns), mode="bicubic", align_corners=False),
        "hub": interpolate(image, scale_factor=((rows + 0.1) / grid, (columns + 0.1) / grid), mode="bicubic"),
        "antialias": interpolate(image, size=(rows, columns), mode="bicubic", antialias=True),
    }
    out = {}
    for mode, result in results.items():
        if (rows, columns) == (grid, grid):
            result = image
        assert result.shape[-2:] == (rows, columns), (mode, result.shape)
        out[mode] = torch.cat([table[0, :1], result.permute(0, 2, 3, 1).reshape(rows * columns, WIDTH)])
    return out


def main():
    table = torch.from_numpy(tensor("positions", (1, 1 + GRID * GRID, WIDTH)))
    out = {}
    for rows, columns in SIZES:
        for mode, result in resize_by_every_rule(table, GRID, rows, columns).items():
            out[f"{mode}.{rows}x{columns}"] = result.contiguous()
    for rows, columns in SMALL_SIZES:
        gradient = torch.from_numpy(tensor("dresized", (1 + rows * columns, WIDTH)))
        for mode in ("transformers", "hub", "antialias"):
            trained = torch.from_numpy(tensor("trained", (1, 1 + SMALL_GRID * SMALL_GRID, WIDTH))).requires_grad_()
            result = resize_by_every_rule(trained, SMALL_GRID, rows, columns)[mode]
            result.backward(gradient)
            out[f"trained.{mode}.{rows}x{columns}"] = result.detach().contiguous()
            out[f"trained.{mode}.{rows}x{columns}.gradient"] = trained.grad[0].contiguous()
    folder = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "fixtures")
    save_file(out, os.path.join(folder, "positions.safetensors"))


if __name__ == "__main__":
    main()
