#!/usr/bin/env python3
"""Has onnxruntime run what slad exports as ONNX, and compares its logits with those of slad and of transformers.

    python3 tests/oracle/check_onnx.py make DIR
    for m in dinov2 registers swiglu vit; do slad export DIR/$m --out DIR/$m-out --what onnx; done
    python3 tests/oracle/check_onnx.py models DIR

compares with transformers; and for a run, with slad itself (DIR as tests/oracle/check_peft.py makes it):

    slad export DIR/run --out DIR/export --what onnx
    slad eval DIR/run --data DIR/data --predictions DIR/predictions.safetensors
    python3 tests/oracle/check_onnx.py run DIR/export/onnx DIR/data/val.safetensors DIR/predictions.safetensors

Both end with 1 if onnx.checker objects, a logit differs by more than 1e-4, or logits depend on the size of the batch.
Needs torch, safetensors, transformers (5.23 is known to work), onnx (1.23) and onnxruntime (1.32).
"""

import json
import pathlib
import sys

import numpy
import onnx
import onnxruntime
import torch
import transformers
from safetensors.torch import load_file

CLASSES = 5
LIMIT = 1e-4
SIZE = 56


def make(folder):
    """Models of every type with random weights; the images are smaller than those the position tables are for."""
    torch.manual_seed(0)
    common = dict(hidden_size=64, num_hidden_layers=3, num_attention_heads=4, image_size=70, patch_size=14,
                  initializer_range=0.2, num_labels=CLASSES)
    models = {
        "dinov2": transformers.Dinov2ForImageClassification(transformers.Dinov2Config(**common)),
        "registers": transformers.Dinov2WithRegistersForImageClassification(
            transformers.Dinov2WithRegistersConfig(num_register_tokens=4, **common)),
        "swiglu": transformers.Dinov2ForImageClassification(
            transformers.Dinov2Config(use_swiglu_ffn=True, **common)),
        "vit": transformers.ViTForImageClassification(transformers.ViTConfig(intermediate_size=128, **common)),
    }
    for name, model in models.items():
        with torch.no_grad():
            for key, parameter in model.named_parameters():
                if parameter.dim() < 2 or "token" in key or "lambda" in key:
                    parameter.add_(0.1 * torch.randn_like(parameter))
        model.save_pretrained(folder / name)
        size = 70 if name == "vit" else SIZE
        (folder / name / "preprocessor_config.json").write_text(json.dumps({
            "image_processor_type": "BitImageProcessor", "size": {"shortest_edge": size},
            "crop_size": {"height": size, "width": size}}))


def open_model(folder):
    """The session of a file that onnx.checker has nothing against."""
    path = folder / "model.onnx"
    onnx.checker.check_model(str(path), full_check=True)
    model = onnx.load(str(path), load_external_data=False)
    assert [opset.version for opset in model.opset_import] == [17]
    metadata = {pair.key: pair.value for pair in model.metadata_props}
    print(f"{path}: {len(model.graph.node)} nodes, {len(json.loads(metadata['class_names']))} classes, "
          f"slad {metadata['slad_version']}")
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def compare(what, session, pixels, wanted):
    got = session.run(["logits"], {"pixel_values": pixels})[0]
    single = numpy.concatenate([session.run(["logits"], {"pixel_values": pixels[i:i + 1]})[0]
                                for i in range(len(pixels))])
    difference = max(numpy.abs(got - wanted).max(), numpy.abs(single - wanted).max())
    print(f"{what}: largest difference {difference:.2g} of logits up to {numpy.abs(wanted).max():.3g}")
    return difference <= LIMIT


def check_models(folder):
    good = True
    for name in ("dinov2", "registers", "swiglu", "vit"):
        model = transformers.AutoModelForImageClassification.from_pretrained(folder / name).eval()
        size = 70 if name == "vit" else SIZE
        pixels = torch.randn(3, 3, size, size)
        with torch.no_grad():
            wanted = model(pixel_values=pixels).logits
        session = open_model(folder / f"{name}-out" / "onnx")
        good &= compare(name, session, pixels.numpy(), wanted.numpy())
    return good


def check_run(folder, data, predictions):
    pixels = load_file(data)["pixel_values"].numpy()
    wanted = load_file(predictions)["student_logits"].numpy()
    return compare(folder, open_model(folder), pixels, wanted)


def main():
    transformers.logging.set_verbosity_error()
    paths = [pathlib.Path(argument) for argument in sys.argv[2:]]
    if sys.argv[1:2] == ["make"] and len(paths) == 1:
        make(paths[0])
    elif sys.argv[1:2] == ["models"] and len(paths) == 1:
        sys.exit(0 if check_models(paths[0]) else 1)
    elif sys.argv[1:2] == ["run"] and len(paths) == 3:
        sys.exit(0 if check_run(*paths) else 1)
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main()
