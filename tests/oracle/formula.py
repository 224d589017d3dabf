"""Values that Python and C (tests/formula.c) compute alike, so that large weights need no files.

Value i of the tensor called name is scale * u + shift, with u in [-1, 1) made of the upper 24 bits of
splitmix64(fnv1a64(name) + (i + 1) * 0x9E3779B97F4A7C15); everything after u is rounded to float32 once.
"""

import numpy as np


def fnv1a64(text: str) -> int:
    value = 0xCBF29CE484222325
    for byte in text.encode():
        value = ((value ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return value


def uniform(name: str, count: int) -> np.ndarray:
    """float64 [count] in [-1, 1)."""
    with np.errstate(over="ignore"):
        state = np.uint64(fnv1a64(name)) + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        state = state ^ (state >> np.uint64(31))
    return (state >> np.uint64(40)).astype(np.float64) / 8388608.0 - 1.0


def tensor(name: str, shape, scale: float = 1.0, shift: float = 0.0) -> np.ndarray:
    """float32 of the given shape."""
    count = int(np.prod(shape))
    return (uniform(name, count) * scale + shift).astype(np.float32).reshape(shape)


def labels(name: str, count: int, classes: int) -> np.ndarray:
    """int64 [count] in 0 .. classes-1."""
    return np.minimum((uniform(name, count) + 1.0) / 2.0 * classes, classes - 1).astype(np.int64)


def encoder_tensors(prefix: str, width: int, layers: int, mlp: int, patch: int, grid: int, kind: str = "dinov2",
                    registers: int = 0, gated: bool = False) -> dict:
    """All tensors of a Dinov2Model, Dinov2WithRegistersModel or ViTModel by their Hugging Face names; prefix keeps
    models apart. mlp is the width of the hidden layer, of a gated one behind the gate."""
    out = {}
    vit = kind == "vit"

    def add(name, shape, scale, shift=0.0):
        out[name] = tensor(prefix + name, shape, scale, shift)

    add("embeddings.cls_token", (1, 1, width), 0.5)
    if not vit:
        add("embeddings.mask_token", (1, width), 0.1)
    if registers:
        add("embeddings.register_tokens", (1, registers, width), 0.5)
    add("embeddings.position_embeddings", (1, 1 + grid * grid, width), 0.5)
    add("embeddings.patch_embeddings.projection.weight", (width, 3, patch, patch), (3.0 / (3 * patch * patch)) ** 0.5)
    add("embeddings.patch_embeddings.projection.bias", (width,), 0.1)
    fc1, fc2 = ("intermediate.dense", "output.dense") if vit else ("mlp.fc1", "mlp.fc2")
    if gated:
        fc1, fc2 = "mlp.weights_in", "mlp.weights_out"
    for i in range(layers):
        layer = f"encoder.layer.{i}."
        for norm in ("layernorm_before", "layernorm_after") if vit else ("norm1", "norm2"):
            add(layer + norm + ".weight", (width,), 0.3, 1.0)
            add(layer + norm + ".bias", (width,), 0.2)
        for part in ("query", "key", "value"):
            add(layer + f"attention.attention.{part}.weight", (width, width), 1.5 * (3.0 / width) ** 0.5)
            add(layer + f"attention.attention.{part}.bias", (width,), 0.2)
        add(layer + "attention.output.dense.weight", (width, width), (3.0 / width) ** 0.5)
        add(layer + "attention.output.dense.bias", (width,), 0.1)
        add(layer + fc1 + ".weight", (2 * mlp if gated else mlp, width), (3.0 / width) ** 0.5)
        add(layer + fc1 + ".bias", (2 * mlp if gated else mlp,), 0.1)
        add(layer + fc2 + ".weight", (width, mlp), (3.0 / mlp) ** 0.5)
        add(layer + fc2 + ".bias", (width,), 0.1)
        if not vit:
            add(layer + "layer_scale1.lambda1", (width,), 0.2, 0.5)
            add(layer + "layer_scale2.lambda1", (width,), 0.2, 0.5)
    add("layernorm.weight", (width,), 0.3, 1.0)
    add("layernorm.bias", (width,), 0.2)
    return out


def encoder(prefix: str, width: int, layers: int, heads: int, mlp_ratio: int, patch: int, grid: int, dtype,
            kind: str = "dinov2", registers: int = 0, gated: bool = False):
    """A transformers model with these values, loaded from a folder as a user would."""
    import json
    import os
    import tempfile

    from safetensors.numpy import save_file
    from transformers import AutoModel

    mlp = width * mlp_ratio
    config = {
        "model_type": kind, "hidden_size": width, "num_hidden_layers": layers, "num_attention_heads": heads,
        "patch_size": patch, "image_size": patch * grid, "hidden_act": "gelu", "qkv_bias": True,
    }
    if kind == "vit":
        config.update(intermediate_size=mlp, layer_norm_eps=1e-12)
    else:
        config.update(mlp_ratio=mlp_ratio, layer_norm_eps=1e-6, use_swiglu_ffn=gated)
    if registers:
        config.update(num_register_tokens=registers)
    if gated:
        mlp = (int(mlp * 2 / 3) + 7) // 8 * 8
    values = encoder_tensors(prefix, width, layers, mlp, patch, grid, kind, registers, gated)
    with tempfile.TemporaryDirectory() as folder:
        with open(os.path.join(folder, "config.json"), "w") as file:
            json.dump(config, file)
        save_file(values, os.path.join(folder, "model.safetensors"), metadata={"format": "pt"})
        model, info = AutoModel.from_pretrained(folder, attn_implementation="eager", output_loading_info=True)
    missing = [name for name in info["missing_keys"] if not name.startswith("pooler.")]
    assert not missing and not info["unexpected_keys"], info
    return model.to(dtype).eval()
