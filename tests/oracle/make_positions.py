"""Resized position tables by their owners' rules, for tests/test_position.c.

Run: python3 tests/oracle/make_positions.py [CHECKOUT] (needs torch, safetensors, transformers, timm; CHECKOUT is one of
facebookresearch/dinov2). What is written is what the owners' own code gives, within 1e-6; the script fails otherwise.
Writes tests/fixtures/positions.safetensors: MODE.RxC [1 + R*C, WIDTH] from a table [1, 1 + 37*37, WIDTH] of formula.py;
and, of a table of SMALL_GRID, trained.MODE.RxC and trained.MODE.RxC.gradient [1 + SMALL_GRID^2, WIDTH], the table's
gradient from a gradient "dresized" of formula.py.
transformers: interpolate(size=...); hub: interpolate(scale_factor=(patches + 0.1) / grid); antialias: size and antialias.
"""

import os
import sys

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


def owners(checkout):
    """(owner, mode, function of table, rows and columns): the code that each owner runs."""
    from timm.layers import resample_abs_pos_embed
    from transformers import Dinov2Config, Dinov2WithRegistersConfig, ViTConfig
    from transformers.models.dinov2.modeling_dinov2 import Dinov2Embeddings
    from transformers.models.dinov2_with_registers.modeling_dinov2_with_registers import Dinov2WithRegistersEmbeddings
    from transformers.models.vit.modeling_vit import ViTEmbeddings

    def of_transformers(embeddings, config):
        def resize(table, rows, columns):
            module = embeddings(config(hidden_size=WIDTH, num_attention_heads=1, image_size=GRID * 14, patch_size=14))
            module.position_embeddings = torch.nn.Parameter(table)
            tokens = torch.zeros(1, 1 + rows * columns, WIDTH)
            return module.interpolate_pos_encoding(tokens, rows * 14, columns * 14)[0]

        return resize

    def of_timm(table, rows, columns):
        return resample_abs_pos_embed(table, (rows, columns), (GRID, GRID), num_prefix_tokens=1)[0]

    def of_hub(registers):
        from dinov2.models.vision_transformer import DinoVisionTransformer

        model = DinoVisionTransformer(img_size=GRID * 14, patch_size=14, embed_dim=WIDTH, depth=1, num_heads=1,
                                      num_register_tokens=registers, interpolate_antialias=registers > 0,
                                      interpolate_offset=0.0 if registers else 0.1)

        def resize(table, rows, columns):
            model.pos_embed = torch.nn.Parameter(table)
            return model.interpolate_pos_encoding(torch.zeros(1, 1 + rows * columns, WIDTH), rows * 14, columns * 14)[0]

        return resize

    found = [
        ("transformers dinov2", "transformers", of_transformers(Dinov2Embeddings, Dinov2Config)),
        ("transformers vit", "transformers", of_transformers(ViTEmbeddings, ViTConfig)),
        ("transformers dinov2_with_registers", "antialias",
         of_transformers(Dinov2WithRegistersEmbeddings, Dinov2WithRegistersConfig)),
        ("timm", "antialias", of_timm),
    ]
    if checkout:
        sys.path.insert(0, checkout)
        found += [("hub", "hub", of_hub(0)), ("hub with registers", "antialias", of_hub(4))]
    return found


def compare_with_owners(out, table, checkout):
    for owner, mode, resize in owners(checkout):
        worst = 0.0
        for rows, columns in SIZES:
            with torch.no_grad():
                result = resize(table, rows, columns).detach()
            worst = max(worst, float((result - out[f"{mode}.{rows}x{columns}"]).abs().max()))
        print(f"{owner}: {mode}, differs by {worst:.2g}")
        assert worst < 1e-6, owner


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
    compare_with_owners(out, table, sys.argv[1] if len(sys.argv) > 1 else None)
    folder = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "fixtures")
    save_file(out, os.path.join(folder, "positions.safetensors"))


if __name__ == "__main__":
    main()
