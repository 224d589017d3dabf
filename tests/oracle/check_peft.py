#!/usr/bin/env python3
"""Has transformers and peft read what slad exports, and compares their logits with slad's own.

    python3 tests/oracle/check_peft.py make DIR
    slad train --teacher DIR/teacher --student DIR/student --data DIR/data --out DIR/run --steps 8 --batch 4
    slad export DIR/run --out DIR/export
    slad eval DIR/run --data DIR/data --predictions DIR/predictions.safetensors
    python3 tests/oracle/check_peft.py check DIR/run DIR/data/val.safetensors DIR/predictions.safetensors
    python3 tests/oracle/check_peft.py check DIR/export DIR/data/val.safetensors DIR/predictions.safetensors

with any of the options on adapters, and with DIR/registers, DIR/swiglu or DIR/vit (--head cls) as student; and the other way round, has slad read what peft writes:

    python3 tests/oracle/check_peft.py adapt DIR
    for a in DIR/adapters/*; do slad eval $a --data DIR/data --predictions $a/predictions.safetensors; done
    python3 tests/oracle/check_peft.py adapted DIR

(and start from it: slad train --student-adapter DIR/adapters/NAME ... --lr 0 --head-lr 0 --steps 1 leaves its logits).

`check` ends with 1 if a logit differs by more than 1e-4, or if a tensor that the model at hand has is missing from the
folder, or one that the folder has under the names of this version of transformers is not used; `adapted` if slad's logits
differ by more than 1e-4 from peft's. Needs torch, safetensors,
transformers (4.57 and 5.23 are known to work) and peft (0.17, 0.21).
"""

import json
import pathlib
import sys
import warnings

import torch
import transformers
from peft import AutoPeftModel, LoraConfig, PeftModel, get_peft_model, load_peft_weights, set_peft_model_state_dict
from safetensors.torch import load_file, save_file
from transformers import AutoModelForImageClassification, Dinov2Config, Dinov2ForImageClassification, Dinov2Model

CLASSES = 4
IMAGE = 56
LIMIT = 1e-4


def make(folder):
    """A pair of encoders of random weights, students of other types, and tensors with labels."""
    torch.manual_seed(0)
    for name, width, layers, heads in (("teacher", 128, 4, 2), ("student", 64, 3, 1)):
        config = Dinov2Config(hidden_size=width, num_hidden_layers=layers, num_attention_heads=heads, image_size=70,
                              patch_size=14, initializer_range=0.2)
        Dinov2Model(config).save_pretrained(folder / name)
    common = dict(hidden_size=64, num_hidden_layers=3, num_attention_heads=1, image_size=70, patch_size=14,
                  initializer_range=0.2)
    for name, model in {
        "registers": transformers.Dinov2WithRegistersModel(transformers.Dinov2WithRegistersConfig(**common)),
        "swiglu": Dinov2Model(Dinov2Config(use_swiglu_ffn=True, **common)),
        "vit": transformers.ViTModel(transformers.ViTConfig(intermediate_size=128, **common), add_pooling_layer=False),
    }.items():
        model.save_pretrained(folder / name)
    (folder / "data").mkdir(parents=True, exist_ok=True)
    for part, count in (("train", 16), ("val", 10)):
        tensors = {"pixel_values": torch.randn(count, 3, IMAGE, IMAGE),
                   "labels": torch.arange(count, dtype=torch.int64) % CLASSES}
        save_file(tensors, folder / "data" / f"{part}.safetensors", metadata={"num_classes": str(CLASSES)})


def logits(model, pixels):
    resize = {"interpolate_pos_encoding": True} if model.config.model_type == "vit" else {}
    with torch.no_grad():
        return model.eval()(pixel_values=pixels, **resize).logits


def base_model(folder, classes):
    config = json.loads((folder / "adapter_config.json").read_text())
    return AutoModelForImageClassification.from_pretrained(config["base_model_name_or_path"], num_labels=classes)


def count_keys(folder, classes):
    """Adapter tensors that the model misses, those it has, and tensors of the folder that it has no place for."""
    model = get_peft_model(base_model(folder, classes), LoraConfig.from_pretrained(folder))
    result = set_peft_model_state_dict(model, load_peft_weights(folder, device="cpu"))
    missing = [key for key in result.missing_keys if "lora_" in key or "modules_to_save" in key]
    present = [name for name, _ in model.named_parameters() if "lora_" in name]
    return missing, len(present), list(result.unexpected_keys)


def report(what, got, wanted):
    difference = (got - wanted).abs().max().item()
    print(f"{what}: largest difference {difference:.2g} of logits up to {wanted.abs().max().item():.3g}")
    return difference <= LIMIT


def adapter_matters(folder, pixels, wanted):
    """Whether the logits move when B is zero; otherwise the comparisons would say nothing of A and B."""
    model = PeftModel.from_pretrained(base_model(folder, wanted.shape[1]), folder)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.zero_()
    difference = (logits(model, pixels) - wanted).abs().max().item()
    print(f"{folder.name}: without B A the logits move by {difference:.2g}")
    return difference > 10 * LIMIT


def check_adapter(folder, pixels, wanted):
    classes = wanted.shape[1]
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*adapter keys.*")
        model = PeftModel.from_pretrained(base_model(folder, classes), folder)
        good = report(f"{folder.name}, PeftModel", logits(model, pixels), wanted)
        good &= report(f"{folder.name}, merge_and_unload", logits(model.merge_and_unload(), pixels), wanted)
        model = AutoPeftModel.from_pretrained(folder, num_labels=classes)
        good &= report(f"{folder.name}, AutoPeftModel", logits(model, pixels), wanted)
        model = base_model(folder, classes)
        model.load_adapter(str(folder))
        good &= report(f"{folder.name}, load_adapter of transformers", logits(model, pixels), wanted)
    good &= adapter_matters(folder, pixels, wanted)
    missing, present, unexpected = count_keys(folder, classes)
    adapters = [key for key in load_file(folder / "adapter_model.safetensors") if "lora_" in key]
    print(f"{folder.name}: {len(missing)} tensors missing; {len(unexpected)} of {len(adapters)} under the names of "
          "another version of transformers")
    return good and not missing and len(unexpected) == len(adapters) - present


def check(folder, data, predictions):
    pixels = load_file(data)["pixel_values"]
    wanted = load_file(predictions)
    model = AutoModelForImageClassification.from_pretrained(folder / "student")
    good = report("student", logits(model, pixels), wanted["student_logits"])
    for role in ("student", "teacher"):
        adapter = folder / f"{role}-adapter"
        if adapter.exists():
            good &= check_adapter(adapter, pixels, wanted[f"{role}_logits"])
    return good


ADAPTERS = {
    "plain": dict(target_modules=["query", "key", "value", "q_proj", "k_proj", "v_proj"], r=4, lora_alpha=6),
    "all": dict(target_modules="all-linear", exclude_modules=["classifier"], r=4, lora_alpha=4),
    "rslora": dict(target_modules=r".*(q_proj|query|fc1)", r=9, lora_alpha=3, use_rslora=True),
    "patterns": dict(target_modules="all-linear", exclude_modules=["classifier"], r=4, lora_alpha=6,
                     rank_pattern={"fc1": 2, r"^dinov2.encoder.layer.0.*(q_proj|query)": 3},
                     alpha_pattern={r"layer\.\d+\.mlp.fc[12]": 1, "v_proj": 9, "value": 9}),
    "layers": dict(target_modules=["q_proj", "query", "fc2"], r=2, lora_alpha=2, layers_to_transform=[0, 2]),
    "half": dict(target_modules=["v_proj", "value", "fc1"], r=8, lora_alpha=8),
    "bfloat": dict(target_modules=["k_proj", "key", "fc2"], r=8, lora_alpha=16),
}


def fill_adapters(model):
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name or ("modules_to_save" in name and "original" not in name):
                parameter.copy_(0.1 * torch.randn_like(parameter))


def adapt(folder):
    """Adapters of every form that slad reads, with the logits that peft computes with them."""
    torch.manual_seed(1)
    pixels = load_file(folder / "data" / "val.safetensors")["pixel_values"]
    for name, options in ADAPTERS.items():
        base = Dinov2ForImageClassification.from_pretrained(folder / "student", num_labels=CLASSES)
        model = get_peft_model(base, LoraConfig(modules_to_save=["classifier"], **options))
        fill_adapters(model)
        kind = {"half": torch.float16, "bfloat": torch.bfloat16}.get(name)
        if kind:
            with torch.no_grad():
                for key, parameter in model.named_parameters():
                    if "lora_" in key:
                        parameter.copy_(parameter.to(kind))
        out = folder / "adapters" / name
        model.save_pretrained(out)
        if kind:
            state = {key: value.to(kind) if "lora_" in key else value
                     for key, value in load_file(out / "adapter_model.safetensors").items()}
            save_file(state, out / "adapter_model.safetensors", metadata={"format": "pt"})
        save_file({"logits": logits(model, pixels).contiguous()}, out / "expected")
    adapt_hub(folder, pixels)


def adapt_hub(folder, pixels):
    """An adapter of the fused qkv layers, as peft writes it for a model of the hub or timm."""
    base = Dinov2ForImageClassification.from_pretrained(folder / "student", num_labels=CLASSES)
    layers, width = base.config.num_hidden_layers, base.config.hidden_size
    blocks = torch.nn.ModuleList()
    for _ in range(layers):
        block = torch.nn.Module()
        block.attn = torch.nn.Module()
        block.attn.qkv = torch.nn.Linear(width, 3 * width)
        block.attn.proj = torch.nn.Linear(width, width)
        blocks.append(block)
    model = torch.nn.Module()
    model.blocks = blocks
    model.classifier = torch.nn.Linear(2 * width, CLASSES)
    model = get_peft_model(model, LoraConfig(target_modules=["qkv", "proj"], r=5, lora_alpha=7,
                                             modules_to_save=["classifier"]))
    fill_adapters(model)
    out = folder / "adapters" / "hub"
    model.save_pretrained(out)
    config = json.loads((out / "adapter_config.json").read_text())
    config["base_model_name_or_path"] = "../student"
    (out / "adapter_config.json").write_text(json.dumps(config))
    state = load_file(out / "adapter_model.safetensors")
    weights = base.state_dict()
    for key in [key for key in state if key.endswith("lora_A.weight")]:
        delta = 7 / 5 * state[key.replace("lora_A", "lora_B")] @ state[key]
        layer = key.split(".")[3]
        names = [["attention.output.dense", "attention.o_proj"]]
        if ".qkv." in key:
            names = [[f"attention.attention.{old}", f"attention.{new}_proj"]
                     for old, new in (("query", "q"), ("key", "k"), ("value", "v"))]
        for part, both in zip(delta.chunk(len(names)), names):
            for name in both:
                if f"dinov2.encoder.layer.{layer}.{name}.weight" in weights:
                    weights[f"dinov2.encoder.layer.{layer}.{name}.weight"] += part
    for part in ("weight", "bias"):
        weights[f"classifier.{part}"] = state[f"base_model.model.classifier.{part}"]
    base.load_state_dict(weights)
    save_file({"logits": logits(base, pixels).contiguous()}, out / "expected")


def adapted(folder):
    good = True
    for out in sorted((folder / "adapters").iterdir()):
        wanted = load_file(out / "expected")["logits"]
        good &= report(out.name, load_file(out / "predictions.safetensors")["student_logits"], wanted)
    return good


def main():
    transformers.logging.set_verbosity_error()
    paths = [pathlib.Path(argument) for argument in sys.argv[2:]]
    if sys.argv[1:2] == ["make"] and len(paths) == 1:
        make(paths[0])
    elif sys.argv[1:2] == ["adapt"] and len(paths) == 1:
        adapt(paths[0])
    elif sys.argv[1:2] == ["adapted"] and len(paths) == 1:
        sys.exit(0 if adapted(paths[0]) else 1)
    elif sys.argv[1:2] == ["check"] and len(paths) == 3:
        sys.exit(0 if check(*paths) else 1)
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main()
