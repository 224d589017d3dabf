#!/usr/bin/env python3
"""Models in every form that slad reads: their features by their owners' own code, and the students that slad exports of
them by transformers and peft.

    python3 tests/oracle/check_forms.py build/slad DIR [--hub CHECKOUT]

Makes tiny models of random weights in DIR (types dinov2, dinov2_with_registers and vit of transformers, plain and
gated; files of timm; with --hub, which names a checkout of facebookresearch/dinov2, files of its model), and compares for
each, at the grid of its position table and at another:
features of `slad features` with the owner's own; after `slad train` for two steps (shared adapters on qkv, on all layers,
all weights) the logits of `slad eval --predictions` with those of RUN/student in transformers, of its ONNX file in
onnxruntime, and of the adapters in peft. Prints the largest differences; ends with 1 if one exceeds 1e-4. Needs torch,
safetensors, transformers, peft, timm and onnxruntime.
"""

import argparse
import json
import pathlib
import subprocess
import sys

import onnxruntime
import timm
import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModel, AutoModelForImageClassification

WIDTH, LAYERS, HEADS, GRID, OTHER = 128, 2, 2, 5, 8
CLASSES, LIMIT = 3, 1e-4


def randomise(model):
    """Weights large enough that every one of them is seen in the output."""
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for name, value in model.named_parameters():
            fan_in = value[0].numel() if value.dim() > 1 and value.shape[0] > 1 else 4
            noise = torch.randn(value.shape, generator=generator) / fan_in**0.5
            gain = value.dim() == 1 and name.endswith(("weight", "gamma", "lambda1"))
            value.copy_(1 + 0.2 * noise if gain else noise)
    return model.eval()


def of_transformers(folder, kind, registers=0, gated=False):
    patch = 16 if kind == "vit" else 14
    fields = {"hidden_size": WIDTH, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS, "patch_size": patch,
              "image_size": GRID * patch}
    if registers:
        fields["num_register_tokens"] = registers
    if kind != "vit":
        fields["use_swiglu_ffn"] = gated
    model = randomise(AutoModel.from_config(AutoConfig.for_model(kind, **fields)))
    model.save_pretrained(folder)
    options = {"interpolate_pos_encoding": True} if kind == "vit" else {}
    return folder, patch, lambda pixels: model(pixels, **options).last_hidden_state


def of_timm(path, registers=0, gated=False):
    fields = {"img_size": GRID * 14, "patch_size": 14, "embed_dim": WIDTH, "depth": LAYERS, "num_heads": HEADS,
              "init_values": 1e-5, "num_classes": 0, "reg_tokens": registers, "no_embed_class": registers > 0,
              "global_pool": "token"}
    if gated:
        # as the published giant: two thirds of four times the width, in steps of 8
        hidden = (int(WIDTH * 4 * 2 / 3) + 7) // 8 * 8
        fields.update(mlp_ratio=2 * hidden / WIDTH, mlp_layer=timm.layers.SwiGLUPacked, act_layer=torch.nn.SiLU)
    models = {GRID: randomise(timm.models.vision_transformer.VisionTransformer(**fields))}
    values = models[GRID].state_dict()
    save_file({name: value.contiguous() for name, value in values.items()}, path)
    models[OTHER] = timm.models.vision_transformer.VisionTransformer(**{**fields, "img_size": OTHER * 14}).eval()
    # as timm.create_model loads files: the filter resizes the position table
    timm.models.load_checkpoint(models[OTHER], str(path), filter_fn=timm.models.vision_transformer.checkpoint_filter_fn)
    return path, 14, lambda pixels: models[pixels.shape[-1] // 14].forward_features(pixels)


def of_hub(path, checkout, registers=0, gated=False):
    sys.path.insert(0, str(checkout))
    from dinov2.models.vision_transformer import DinoVisionTransformer

    sys.path.pop(0)
    model = randomise(DinoVisionTransformer(
        img_size=GRID * 14, patch_size=14, embed_dim=WIDTH, depth=LAYERS, num_heads=HEADS, init_values=1.0,
        ffn_layer="swiglufused" if gated else "mlp", block_chunks=0, num_register_tokens=registers,
        interpolate_antialias=registers > 0, interpolate_offset=0.0 if registers else 0.1))
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, path)

    def features(pixels):
        out = model.forward_features(pixels)
        return torch.cat([out["x_norm_clstoken"][:, None], out["x_norm_regtokens"], out["x_norm_patchtokens"]], 1)

    return path, 14, features


def slad(program, *arguments):
    command = [str(program), *map(str, arguments), "--log-level", "error"]
    done = subprocess.run(command, stdout=subprocess.DEVNULL, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)} ended with {done.returncode}")


def make_data(folder, size):
    folder.mkdir(parents=True, exist_ok=True)
    generator = torch.Generator().manual_seed(size)
    for part, count in (("train", 8), ("val", 5)):
        tensors = {"pixel_values": torch.randn(count, 3, size, size, generator=generator),
                   "labels": torch.arange(count, dtype=torch.int64) % CLASSES}
        save_file(tensors, folder / f"{part}.safetensors", metadata={"num_classes": str(CLASSES)})
    return folder


def check_features(program, folder, path, patch, features):
    worst = 0.0
    for grid in (GRID, OTHER):
        data = make_data(folder / f"data{grid}", grid * patch)
        out = folder / f"features{grid}.safetensors"
        slad(program, "features", path, "--data", data, "--out", out)
        with torch.no_grad():
            expected = features(load_file(data / "val.safetensors")["pixel_values"])
        found = load_file(out)["last_hidden_state"]
        assert found.shape == expected.shape, (found.shape, expected.shape)
        worst = max(worst, float((found - expected).abs().max()))
    return worst


def logits_of(model, pixels):
    options = {"interpolate_pos_encoding": True} if model.config.model_type == "vit" else {}
    with torch.no_grad():
        return model.eval()(pixel_values=pixels, **options).logits


METHODS = {"slad": [], "slad-all": ["--lora-targets", "all"], "finetune": ["--method", "finetune"]}


def check_student(program, folder, path, method):
    """At the grid of the table, where all owners agree, and at another, trained with the rule of transformers."""
    worst, adapter = 0.0, 0.0
    for grid in (GRID, OTHER):
        data, run = folder / f"data{grid}", folder / f"{method}{grid}"
        student = run / "student"
        rule = "auto" if grid == GRID else "antialias" if "reg" in folder.name else "transformers"
        teacher = [] if method == "finetune" else ["--teacher", path]
        slad(program, "train", *teacher, "--student", path, "--data", data, "--out", run, "--steps", 2, "--batch", 4,
             "--lr", 0.02, "--head", "cls" if "vit" in folder.name else "cls-mean", "--pos-embed", rule, "--overwrite",
             *METHODS[method])
        predictions = run / "predictions.safetensors"
        slad(program, "eval", run, "--data", data, "--predictions", predictions)
        pixels = load_file(data / "val.safetensors")["pixel_values"]
        stored = load_file(predictions)
        model, info = AutoModelForImageClassification.from_pretrained(student, output_loading_info=True)
        assert not info["missing_keys"] and not info["unexpected_keys"], info
        config = json.loads((student / "config.json").read_text())
        own_rule = {"hub": "hub", "hub-gated": "hub", "timm": "antialias", "timm-gated": "antialias"}.get(folder.name)
        assert config.get("slad_pos_embed") == (own_rule if rule == "auto" else None), config
        assert type(model).__name__ == config["architectures"][0]
        worst = max(worst, float((logits_of(model, pixels) - stored["student_logits"]).abs().max()))
        slad(program, "export", run, "--what", "onnx", "--out", run / "export")
        session = onnxruntime.InferenceSession(run / "export" / "onnx" / "model.onnx")
        logits = torch.from_numpy(session.run(["logits"], {"pixel_values": pixels.numpy()})[0])
        worst = max(worst, float((logits - stored["student_logits"]).abs().max()))
        if path.is_dir() and method != "finetune":
            adapter = max(adapter, check_adapters(path, run, pixels, stored))
    return worst, adapter


def check_adapters(path, run, pixels, stored):
    import peft

    worst = 0.0
    for role in ("student", "teacher"):
        base = AutoModelForImageClassification.from_pretrained(path, num_labels=CLASSES)
        model = peft.PeftModel.from_pretrained(base, run / f"{role}-adapter")
        worst = max(worst, float((logits_of(model, pixels) - stored[f"{role}_logits"]).abs().max()))
    return worst


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program", type=pathlib.Path)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--hub", type=pathlib.Path)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    forms = {
        "dinov2": lambda at: of_transformers(at, "dinov2"),
        "dinov2-gated": lambda at: of_transformers(at, "dinov2", 0, True),
        "dinov2-reg": lambda at: of_transformers(at, "dinov2_with_registers", 4),
        "dinov2-reg-gated": lambda at: of_transformers(at, "dinov2_with_registers", 4, True),
        "vit": lambda at: of_transformers(at, "vit"),
        "timm": lambda at: of_timm(at.with_suffix(".safetensors")),
        "timm-reg": lambda at: of_timm(at.with_suffix(".safetensors"), 4),
        "timm-gated": lambda at: of_timm(at.with_suffix(".safetensors"), 0, True),
    }
    if arguments.hub:
        forms["hub"] = lambda at: of_hub(at.with_suffix(".safetensors"), arguments.hub)
        forms["hub-reg"] = lambda at: of_hub(at.with_suffix(".safetensors"), arguments.hub, 4)
        forms["hub-gated"] = lambda at: of_hub(at.with_suffix(".safetensors"), arguments.hub, 0, True)
    print(f"transformers {transformers.__version__}, timm {timm.__version__}, torch {torch.__version__}")
    failed = False
    for name, make in forms.items():
        folder = arguments.folder / name
        folder.mkdir(parents=True, exist_ok=True)
        path, patch, features = make(folder / "model")
        worst = check_features(arguments.program, folder, path, patch, features)
        print(f"{name:18} features {worst:.2e}", end="", flush=True)
        for method in METHODS:
            student, adapters = check_student(arguments.program, folder, path, method)
            print(f"; {method}: student {student:.2e}, adapters {adapters:.2e}", end="", flush=True)
            worst = max(worst, student, adapters)
        print()
        failed = failed or worst > LIMIT
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
