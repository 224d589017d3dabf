#!/usr/bin/env python3
"""Has transformers and peft read what slad exports, and compares their logits with slad's own.

    python3 tests/oracle/check_peft.py make DIR
    slad train --teacher DIR/teacher --student DIR/student --data DIR/data --out DIR/run --steps 8 --batch 4
    slad export DIR/run --out DIR/export
    slad eval DIR/run --data DIR/data --predictions DIR/predictions.safetensors
    python3 tests/oracle/check_peft.py check DIR/run DIR/data/val.safetensors DIR/predictions.safetensors
    python3 tests/oracle/check_peft.py check DIR/export DIR/data/val.safetensors DIR/predictions.safetensors

`check` ends with 1 if a logit differs by more than 1e-4, or if a tensor that the model at hand has is missing from the
folder, or one that the folder has under the names of this version of transformers is not used. Needs torch, safetensors,
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
from transformers import Dinov2Config, Dinov2ForImageClassification, Dinov2Model

CLASSES = 4
IMAGE = 56
LIMIT = 1e-4


def make(folder):
    """A pair of encoders of random weights, and tensors with labels."""
    torch.manual_seed(0)
    for name, width, layers, heads in (("teacher", 128, 4, 2), ("student", 64, 3, 1)):
        config = Dinov2Config(hidden_size=width, num_hidden_layers=layers, num_attention_heads=heads, image_size=70,
                              patch_size=14, initializer_range=0.2)
        Dinov2Model(config).save_pretrained(folder / name)
    (folder / "data").mkdir(parents=True, exist_ok=True)
    for part, count in (("train", 16), ("val", 10)):
        tensors = {"pixel_values": torch.randn(count, 3, IMAGE, IMAGE),
                   "labels": torch.arange(count, dtype=torch.int64) % CLASSES}
        save_file(tensors, folder / "data" / f"{part}.safetensors", metadata={"num_classes": str(CLASSES)})


def logits(model, pixels):
    with torch.no_grad():
        return model.eval()(pixel_values=pixels).logits


def base_model(folder, classes):
    config = json.loads((folder / "adapter_config.json").read_text())
    return Dinov2ForImageClassification.from_pretrained(config["base_model_name_or_path"], num_labels=classes)


def count_keys(folder, classes):
    """Adapter tensors that the model misses, and tensors of the folder that it has no place for."""
    model = get_peft_model(base_model(folder, classes), LoraConfig.from_pretrained(folder))
    result = set_peft_model_state_dict(model, load_peft_weights(folder, device="cpu"))
    missing = [key for key in result.missing_keys if "lora_" in key or "modules_to_save" in key]
    return missing, list(result.unexpected_keys)


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
    missing, unexpected = count_keys(folder, classes)
    adapters = [key for key in load_file(folder / "adapter_model.safetensors") if "lora_" in key]
    print(f"{folder.name}: {len(missing)} tensors missing; {len(unexpected)} of {len(adapters)} under the names of "
          "another version of transformers")
    return good and not missing and len(unexpected) == len(adapters) // 2


def check(folder, data, predictions):
    pixels = load_file(data)["pixel_values"]
    wanted = load_file(predictions)
    model = Dinov2ForImageClassification.from_pretrained(folder / "student")
    good = report("student", logits(model, pixels), wanted["student_logits"])
    for role in ("student", "teacher"):
        adapter = folder / f"{role}-adapter"
        if adapter.exists():
            good &= check_adapter(adapter, pixels, wanted[f"{role}_logits"])
    return good


def main():
    transformers.logging.set_verbosity_error()
    paths = [pathlib.Path(argument) for argument in sys.argv[2:]]
    if sys.argv[1:2] == ["make"] and len(paths) == 1:
        make(paths[0])
    elif sys.argv[1:2] == ["check"] and len(paths) == 3:
        sys.exit(0 if check(*paths) else 1)
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main()
