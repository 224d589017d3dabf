"""Writes what transformers' image processors (Pillow backend) and torchvision's RandomResizedCrop do to images of a
counter formula, into fixtures/preprocess:

CONFIG/preprocessor_config.json  what a case reads
evaluate.txt   lines: CONFIG seed height width result_height result_width hash value[0] value[last]
crops.txt      lines: height width low high seed epoch sample  top left crop_height crop_width flip
crop_flip.txt  lines: CONFIG image_seed height width low high seed epoch sample hash

Hashes are over the float32 values [3, H, W], little endian. The draws of crops come from slad's generator
(Philox4x32-10, purpose 4), the rule from torchvision's RandomResizedCrop.get_params."""

import json
import math
import os

import numpy as np
from PIL import Image
from transformers.models.bit.image_processing_pil_bit import BitImageProcessorPil
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

from counter_image import counter_image, fnv

FOLDER = os.path.join(os.path.dirname(__file__), "..", "fixtures", "preprocess")
IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
CONFIGS = {
    "dinov2": {"image_processor_type": "BitImageProcessor", "crop_size": {"height": 224, "width": 224},
               "do_center_crop": True, "do_convert_rgb": True, "do_normalize": True, "do_rescale": True,
               "do_resize": True, **IMAGENET, "resample": 3, "rescale_factor": 0.00392156862745098,
               "size": {"shortest_edge": 256}},
    "small": {"image_processor_type": "BitImageProcessor", "crop_size": 28, "size": {"shortest_edge": 32}, **IMAGENET,
              "resample": 3},
    "padded": {"image_processor_type": "BitImageProcessor", "crop_size": {"height": 45, "width": 30},
               "size": {"shortest_edge": 24}, "resample": 2},
    "unresized": {"image_processor_type": "BitImageProcessor", "do_resize": False, "crop_size": 33, "resample": None,
                  "do_normalize": False},
    "stretched": {"image_processor_type": "BitImageProcessor", "size": {"height": 40, "width": 56},
                  "crop_size": {"height": 28, "width": 42}, "resample": 1, **IMAGENET, "do_rescale": True},
    "bare": {"image_processor_type": "BitImageProcessor"},
    "old": {"feature_extractor_type": "BitImageProcessor", "size": 48, "crop_size": 42, "unknown": [1, {"a": None}]},
    "vit": {"image_processor_type": "ViTImageProcessor", "size": {"height": 28, "width": 42}},
    "raw": {"image_processor_type": "BitImageProcessor", "size": 32, "crop_size": 28, "do_rescale": False,
            "do_normalize": True, "image_mean": [120.0, 110.5, 100.25], "image_std": [60.0, 61.0, 62.5]},
}
SIZES = [(28, 28), (1, 1), (7, 90), (90, 7), (64, 48), (47, 65), (100, 33), (33, 34)]


def processor(config: dict):
    kind = ViTImageProcessorPil if config.get("image_processor_type", "").startswith("ViT") else BitImageProcessorPil
    return kind(**{key: value for key, value in config.items() if value is not None and not key.endswith("_type")})


def values(config: dict, image: np.ndarray) -> np.ndarray:
    result = processor(config)(Image.fromarray(image), return_tensors="np")["pixel_values"][0]
    assert result.dtype == np.float32
    return np.ascontiguousarray(result)


def philox(counter: list, key: list) -> list:
    c, k = list(counter), list(key)
    for _ in range(10):
        left, right = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [(right >> 32) ^ c[1] ^ k[0], right & 0xFFFFFFFF, (left >> 32) ^ c[3] ^ k[1], left & 0xFFFFFFFF]
        k = [(k[0] + 0x9E3779B9) & 0xFFFFFFFF, (k[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return c


def draws(seed: int, epoch: int, sample: int):
    block = 0
    while True:
        yield from philox([block, epoch, sample, 4], [seed & 0xFFFFFFFF, seed >> 32])
        block += 1


def crop_rule(height: int, width: int, low: float, high: float, words) -> tuple:
    def uniform() -> float:
        return (next(words) >> 8) * 2.0**-24

    def below(bound: int) -> int:
        word = next(words)
        while word < 2**32 % bound:
            word = next(words)
        return word % bound

    logs = math.log(3 / 4), math.log(4 / 3)
    for _ in range(10):
        area = height * width * (low + (high - low) * uniform())
        ratio = math.exp(logs[0] + (logs[1] - logs[0]) * uniform())
        crop_width, crop_height = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < crop_width <= width and 0 < crop_height <= height:
            top = below(height - crop_height + 1)
            return top, below(width - crop_width + 1), crop_height, crop_width
    ratio, crop_height, crop_width = width / height, height, width
    if ratio < 3 / 4:
        crop_height = round(width / (3 / 4))
    elif ratio > 4 / 3:
        crop_width = round(height * (4 / 3))
    return (height - crop_height) // 2, (width - crop_width) // 2, crop_height, crop_width


def crop_and_flip(height: int, width: int, low: float, high: float, key: tuple) -> tuple:
    words = draws(*key)
    crop = crop_rule(height, width, low, high, words)
    return *crop, int((next(words) >> 8) * 2.0**-24 < 0.5)


def write(name: str, lines: list) -> None:
    with open(os.path.join(FOLDER, name), "w", encoding="ascii") as file:
        file.write("\n".join(lines) + "\n")


def main() -> None:
    evaluate, crops, crop_flip = [], [], []
    for name, config in CONFIGS.items():
        os.makedirs(os.path.join(FOLDER, name), exist_ok=True)
        with open(os.path.join(FOLDER, name, "preprocessor_config.json"), "w", encoding="ascii") as file:
            json.dump(config, file, indent=2)
            file.write("\n")
        for index, (height, width) in enumerate(SIZES):
            result = values(config, counter_image(index, height, width))
            evaluate.append(f"{name} {index} {height} {width} {result.shape[1]} {result.shape[2]} "
                            f"{fnv(result.tobytes()):016x} {result.flat[0]:.9g} {result.flat[-1]:.9g}")
    shapes = [(60, 80), (1, 1), (5, 200), (200, 5), (3, 4), (224, 224), (17, 1), (375, 500)]
    for index in range(80):
        height, width = shapes[index % len(shapes)]
        low, high = [(0.35, 1.0), (0.08, 1.0), (1.0, 1.0), (0.5, 0.5)][index // 8 % 4]
        key = (index * 0x123456789, index % 3, index)
        crop = crop_and_flip(height, width, low, high, key)
        crops.append(" ".join(str(value) for value in (height, width, low, high, *key, *crop)))
        top, left, crop_height, crop_width, flip = crop
        if index >= 24 or (height, width) == (375, 500):
            continue
        image = Image.fromarray(counter_image(index, height, width))
        resized = image.crop((left, top, left + crop_width, top + crop_height)).resize((28, 28), 3)
        if flip:
            resized = resized.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        plain = dict(CONFIGS["small"], do_resize=False, do_center_crop=False)
        data = values(plain, np.array(resized)).tobytes()
        fields = ("small", index, height, width, low, high, *key)
        crop_flip.append(" ".join(str(field) for field in fields) + f" {fnv(data):016x}")
    write("evaluate.txt", evaluate)
    write("crops.txt", crops)
    write("crop_flip.txt", crop_flip)


if __name__ == "__main__":
    main()
