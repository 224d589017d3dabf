#!/usr/bin/env python3
"""Pre-train the bundled foundation pair: two small encoders of DINOv2's architecture, without a label.

    python3 pretrain.py targets --out targets.safetensors
    python3 pretrain.py teacher --targets targets.safetensors --out teacher
    python3 pretrain.py student --targets targets.safetensors --teacher teacher --out student

Images: the 60,000 of Fashion-MNIST's training file (Debian package dataset-fashion-mnist; neither a label file nor the t10k
file is opened) and the photographs of Debian's tuxpaint-stamps-default.

Contrastive methods need many more images than a CPU core sees in an hour, so the teacher learns from fixed targets. An
image's target is made of its patches' similarities to a dictionary learnt by k-means (Coates, Ng, Lee 2011), pooled over a
4x4 grid and reduced by PCA, then averaged with the targets of its nearest neighbours. The teacher sees a crop with other
grey values or colours, in which some patches are left out, and predicts the target of the whole image: it must complete what
is missing and forget what does not matter. The student is distilled, as DINOv2's small models were: from the same view it
predicts the frozen teacher's tokens, and the target, through linear maps that are thrown away.

Needs torch (2.9 or later, for Muon), transformers, safetensors and Pillow; runs on one CPU core. A checkpoint beside the
output (OUT.checkpoint) makes a stopped run go on where it was when the same command is given again.
"""
import argparse
import gzip
import json
import math
import pathlib
import time

import numpy
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch.nn import functional
from transformers import Dinov2Config, Dinov2Model

IMAGE_SIZE = 56
PATCH_SIZE = 14
FASHION_SIDE = 28
PHOTOGRAPH_SIDE = 80
MEAN = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
STD = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)
SHAPES = {"teacher": (192, 6), "student": (64, 6)}  # width, layers; heads are 64 wide
NO_PHOTOGRAPHS = ("symbols", "cartoon")

WORDS = 128
WORD_SIDE = 6
CELLS = 4
TARGET_WIDTH = 256
NEIGHBOUR_WIDTH = 128
NEIGHBOURS = {"fashion": 8, "photographs": 2}


# Images


def read_fashion(folder):
    """uint8 [60000,1,28,28]"""
    data = gzip.decompress((folder / "train-images-idx3-ubyte.gz").read_bytes())
    pixels = torch.from_numpy(numpy.frombuffer(data, numpy.uint8, offset=16).copy())
    return pixels.view(-1, 1, FASHION_SIDE, FASHION_SIDE)


def read_photographs(folder):
    """uint8 [N,4,PHOTOGRAPH_SIDE,PHOTOGRAPH_SIDE]: RGBA, the longer side fitted to the square."""
    photographs = []
    for path in sorted(folder.rglob("*.png")):
        if any(word in part for part in path.relative_to(folder).parts for word in NO_PHOTOGRAPHS):
            continue
        image = Image.open(path).convert("RGBA")
        image.thumbnail((PHOTOGRAPH_SIDE, PHOTOGRAPH_SIDE), Image.Resampling.BICUBIC)
        square = Image.new("RGBA", (PHOTOGRAPH_SIDE, PHOTOGRAPH_SIDE))
        square.paste(image, ((PHOTOGRAPH_SIDE - image.width) // 2, (PHOTOGRAPH_SIDE - image.height) // 2))
        photographs.append(numpy.asarray(square))
    return torch.from_numpy(numpy.stack(photographs)).permute(0, 3, 1, 2).contiguous()


def grey(photographs):
    """[n,4,any,any] uint8 -> [n,1,28,28] in 0..1, on black."""
    pixels = photographs.float() / 255
    luma = (pixels[:, :3] * torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)).sum(dim=1, keepdim=True) * pixels[:, 3:]
    return functional.interpolate(luma, size=FASHION_SIDE, mode="bilinear", antialias=True, align_corners=False)


# Targets


def normalised(patches):
    """Contrast normalisation of [n, WORD_SIDE^2]."""
    patches = patches - patches.mean(dim=1, keepdim=True)
    return patches / (patches.square().mean(dim=1, keepdim=True) + 0.01).sqrt()


def learn_dictionary(images, generator, sample=60_000, iterations=15):
    """Spherical k-means on whitened patches. Returns the filters [WORDS, WORD_SIDE^2] and their offsets [WORDS]."""
    pieces = []
    for batch in images[torch.randint(len(images), (sample,), generator=generator)].split(5000):
        unfolded = functional.unfold(batch, WORD_SIDE)
        place = torch.randint(unfolded.shape[2], (len(batch),), generator=generator)
        pieces.append(unfolded[torch.arange(len(batch)), :, place])
    patches = normalised(torch.cat(pieces))
    centre = patches.mean(dim=0)
    values, vectors = torch.linalg.eigh(torch.cov((patches - centre).T))
    whitening = vectors @ torch.diag((values + 0.1).rsqrt()) @ vectors.T
    patches = (patches - centre) @ whitening
    words = functional.normalize(torch.randn(WORDS, WORD_SIDE**2, generator=generator), dim=1)
    for _ in range(iterations):
        best, owner = (patches @ words.T).max(dim=1)
        sums = torch.zeros_like(words).index_add_(0, owner, patches * best[:, None])
        words = functional.normalize(sums + 0.1 * torch.randn(words.shape, generator=generator), dim=1)
    filters = words @ whitening
    return filters, filters @ centre


def describe(images, dictionary):
    """Pooled similarities to the dictionary: [n,1,28,28] in 0..1 -> [n, WORDS * CELLS^2]."""
    filters, offsets = dictionary
    filters = (filters - filters.mean(dim=1, keepdim=True)).view(WORDS, 1, WORD_SIDE, WORD_SIDE)
    box = torch.full((1, 1, WORD_SIDE, WORD_SIDE), 1 / WORD_SIDE**2)
    described = []
    for batch in images.split(500):
        batch = functional.pad(batch, (2, 2, 2, 2))
        mean = functional.conv2d(batch, box)
        variance = (functional.conv2d(batch.square(), box) - mean.square()).clamp(min=0)
        similarity = functional.conv2d(batch, filters) / (variance + 0.01).sqrt() - offsets.view(1, -1, 1, 1)
        described.append(functional.adaptive_avg_pool2d((similarity - 1).clamp(min=0), CELLS).flatten(1).sqrt())
    return torch.cat(described)


def neighbour_mean(vectors, count):
    """Mean of each vector and its count - 1 nearest by cosine of the leading NEIGHBOUR_WIDTH components."""
    unit = functional.normalize(vectors[:, :NEIGHBOUR_WIDTH], dim=1)
    nearest = torch.cat([(part @ unit.T).topk(count, dim=1).indices for part in unit.split(2000)])
    return torch.cat([vectors[part].mean(dim=1) for part in nearest.split(2000)])


def make_targets(options):
    """Writes fashion [60000, TARGET_WIDTH] and photographs [N, TARGET_WIDTH], components scaled by variance^(-1/4)."""
    start = time.time()
    generator = torch.Generator().manual_seed(options.seed)
    images = {
        "fashion": read_fashion(options.fashion).float() / 255,
        "photographs": grey(read_photographs(options.photographs)),
    }
    dictionary = learn_dictionary(torch.cat([images["fashion"], images["photographs"]]), generator)
    described = {name: describe(pixels, dictionary) for name, pixels in images.items()}
    print(f"described {time.time() - start:.0f} s", flush=True)
    centre = described["fashion"].mean(dim=0)
    centred = described["fashion"] - centre
    components = torch.linalg.eigh(centred.T @ centred / len(centred))[1][:, -TARGET_WIDTH:].flip(1)
    targets = {}
    for name, vectors in described.items():
        targets[name] = neighbour_mean((vectors - centre) @ components, NEIGHBOURS[name])
    centre, spread = targets["fashion"].mean(dim=0), targets["fashion"].std(dim=0).sqrt()
    targets = {name: (vectors - centre) / spread for name, vectors in targets.items()}
    scale = targets["fashion"].square().mean().sqrt()
    save_file({name: (vectors / scale).contiguous() for name, vectors in targets.items()}, options.out)
    print(f"{options.out}: {time.time() - start:.0f} s", flush=True)


# Augmentation, on whole batches


def uniform(generator, low, high, *shape):
    return low + (high - low) * torch.rand(*shape, generator=generator)


def crop(images, generator, least_area):
    """Random resized, rotated, flipped crops: [n,c,any,any] -> [n,c,IMAGE_SIZE,IMAGE_SIZE]."""
    n = len(images)
    area = uniform(generator, least_area, 1.0, n)
    aspect = torch.exp(uniform(generator, math.log(3 / 4), math.log(4 / 3), n))
    width = (area * aspect).sqrt().clamp(max=1.0)
    height = (area / aspect).sqrt().clamp(max=1.0)
    x = uniform(generator, -1.0, 1.0, n) * (1 - width)
    y = uniform(generator, -1.0, 1.0, n) * (1 - height)
    angle = uniform(generator, -0.2, 0.2, n) * (torch.rand(n, generator=generator) < 0.5)
    flip = torch.where(torch.rand(n, generator=generator) < 0.5, -1.0, 1.0)
    cosine, sine = angle.cos(), angle.sin()
    rows = [width * cosine * flip, -height * sine, x, width * sine * flip, height * cosine, y]
    matrix = torch.stack(rows, dim=1).view(n, 2, 3)
    grid = functional.affine_grid(matrix, (n, images.shape[1], IMAGE_SIZE, IMAGE_SIZE), align_corners=False)
    return functional.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def blur(images, generator):
    """A binomial filter with steps of two pixels on some of the images."""
    chosen = torch.rand(len(images), generator=generator) < 0.2
    soft = images[chosen]
    for axis in (2, 3):
        soft = 0.5 * soft + 0.25 * (soft.roll(2, axis) + soft.roll(-2, axis))
    images = images.clone()
    images[chosen] = soft
    return images


def view(fashion, photographs, generator, least_area):
    """One augmented, normalised view of a batch: [n,3,IMAGE_SIZE,IMAGE_SIZE], the photographs last."""
    cut = crop(fashion, generator, least_area)
    n = len(cut)
    gamma = torch.exp(uniform(generator, -0.5, 0.5, n, 1, 1, 1))
    contrast = uniform(generator, 0.5, 1.2, n, 1, 1, 1)
    cut = (cut.clamp(min=1e-4) ** gamma * contrast).clamp(0, 1)
    tinted = torch.rand(n, 1, 1, 1, generator=generator) < 0.3
    tint = torch.where(tinted, uniform(generator, 0.4, 1.0, n, 3, 1, 1), torch.ones(1))
    ground = torch.where(tinted, uniform(generator, 0.0, 0.3, n, 3, 1, 1), torch.zeros(1))
    clothes = cut * tint + (1 - cut) * ground

    cut = crop(photographs, generator, least_area)
    n = len(cut)
    background = uniform(generator, 0.0, 1.0, n, 3, 1, 1)
    cut = cut[:, :3] * cut[:, 3:] + background * (1 - cut[:, 3:])
    cut = cut * uniform(generator, 0.6, 1.3, n, 3, 1, 1) + uniform(generator, -0.15, 0.15, n, 1, 1, 1)

    return (blur(torch.cat([clothes, cut]).clamp(0, 1), generator) - MEAN) / STD


class Batches:
    """Views with the targets of their images; what a step gets is a function of (seed, step)."""

    def __init__(self, options):
        self.fashion = read_fashion(options.fashion)
        self.photographs = read_photographs(options.photographs)
        self.targets = load_file(options.targets)
        self.options = options

    def draw(self, generator):
        photographs = round(self.options.batch * self.options.photograph_share)
        fashion = torch.randint(len(self.fashion), (self.options.batch - photographs,), generator=generator)
        photographs = torch.randint(len(self.photographs), (photographs,), generator=generator)
        pixels = view(
            self.fashion[fashion].float() / 255,
            self.photographs[photographs].float() / 255,
            generator,
            self.options.least_area,
        )
        return pixels, torch.cat([self.targets["fashion"][fashion], self.targets["photographs"][photographs]])


# Encoders


def make_model(width, layers):
    """A new encoder. Its weights are drawn wider than transformers does, since these models are narrow."""
    config = Dinov2Config(
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=width // 64,
        mlp_ratio=4,
        image_size=IMAGE_SIZE,
        patch_size=PATCH_SIZE,
        layerscale_value=1.0,
    )
    model = Dinov2Model(config)
    for name, parameter in model.named_parameters():
        if name == "embeddings.patch_embeddings.projection.weight":
            torch.nn.init.trunc_normal_(parameter, std=0.03)
        elif parameter.ndim > 1 and "mask_token" not in name:
            torch.nn.init.trunc_normal_(parameter, std=width**-0.5)
    return model


def encode(model, pixels, kept=None):
    """Tokens after the final LayerNorm, CLS first; `kept` [n,k] names the patches that are not left out."""
    hidden = model.embeddings(pixels)
    if kept is not None:
        index = torch.cat([torch.zeros(len(kept), 1, dtype=torch.long), kept + 1], dim=1)
        hidden = hidden.gather(1, index[:, :, None].expand(-1, -1, hidden.shape[2]))
    for layer in model.encoder.layer:
        hidden = layer(hidden)
    return model.layernorm(hidden).float()


def summary(tokens):
    """What a classifier's head sees: CLS, then the mean of the patches."""
    return torch.cat([tokens[:, 0], tokens[:, 1:].mean(dim=1)], dim=1)


class Teacher(torch.nn.Module):
    def __init__(self, options):
        super().__init__()
        self.model = make_model(*SHAPES["teacher"])
        self.predictor = torch.nn.Linear(2 * self.model.config.hidden_size, TARGET_WIDTH)
        self.share = options.keep

    def loss(self, pixels, target, generator):
        patches = (IMAGE_SIZE // PATCH_SIZE) ** 2
        order = torch.rand(len(pixels), patches, generator=generator).argsort(dim=1)
        with torch.autocast("cpu", torch.bfloat16):
            tokens = encode(self.model, pixels, order[:, : round(patches * self.share)])
        return functional.mse_loss(self.predictor(summary(tokens)), target)


class Student(torch.nn.Module):
    def __init__(self, options):
        super().__init__()
        self.model = make_model(*SHAPES["student"])
        teacher = Dinov2Model.from_pretrained(options.teacher, dtype=torch.float32).eval().requires_grad_(False)
        self.frozen = [teacher]  # in a list, so that it is neither trained nor part of the checkpoint
        width, teacher_width = self.model.config.hidden_size, teacher.config.hidden_size
        self.patches = torch.nn.Linear(width, teacher_width)
        self.summary = torch.nn.Linear(2 * width, 2 * teacher_width)
        self.predictor = torch.nn.Linear(2 * width, TARGET_WIDTH)

    def loss(self, pixels, target, generator):
        del generator  # the student sees every patch
        with torch.autocast("cpu", torch.bfloat16):
            with torch.no_grad():
                wanted = encode(self.frozen[0], pixels)
            tokens = encode(self.model, pixels)
        seen = summary(tokens)
        return (
            functional.mse_loss(self.patches(tokens[:, 1:]), wanted[:, 1:])
            + functional.mse_loss(self.summary(seen), summary(wanted))
            + functional.mse_loss(self.predictor(seen), target)
        )


# Training


def make_optimizers(trainee, options):
    """Muon for the layers' matrices, AdamW for the rest, each with its peak learning rate."""
    matrices = [p for name, p in trainee.model.named_parameters() if name.startswith("encoder.layer") and p.ndim == 2]
    taken = {id(p) for p in matrices}
    rest = [p for p in trainee.parameters() if id(p) not in taken]
    muon = torch.optim.Muon(
        matrices, lr=options.muon_lr, momentum=0.9, weight_decay=0.05, adjust_lr_fn="match_rms_adamw"
    )
    adamw = torch.optim.AdamW(rest, lr=options.lr, betas=(0.9, 0.98), weight_decay=0.0)
    return [(muon, options.muon_lr), (adamw, options.lr)]


def rate(step, steps):
    """Linear warm-up over a twentieth of the steps, then a cosine to 1 %."""
    warmup = max(1, steps // 20)
    if step < warmup:
        return (step + 1) / warmup
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * (step - warmup) / (steps - warmup)))


def save(model, folder):
    """The folder of a Hugging Face model, weights in F16, with the preprocessing that it was trained for."""
    model.save_pretrained(folder)
    path = folder / "model.safetensors"
    save_file({name: t.half().contiguous() for name, t in load_file(path).items()}, path, metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    config["dtype"] = "float16"
    (folder / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    preprocessor = {
        "crop_size": {"height": IMAGE_SIZE, "width": IMAGE_SIZE},
        "do_center_crop": True,
        "do_convert_rgb": True,
        "do_normalize": True,
        "do_rescale": True,
        "do_resize": True,
        "image_mean": [0.485, 0.456, 0.406],
        "image_processor_type": "BitImageProcessor",
        "image_std": [0.229, 0.224, 0.225],
        "resample": 3,
        "rescale_factor": 1 / 255,
        "size": {"shortest_edge": IMAGE_SIZE},
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(preprocessor, indent=2) + "\n")


def train(options):
    torch.manual_seed(options.seed)
    batches = Batches(options)
    trainee = Teacher(options) if options.what == "teacher" else Student(options)
    optimizers = make_optimizers(trainee, options)
    checkpoint = options.out.with_name(options.out.name + ".checkpoint")
    first, spent = 0, 0.0
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        trainee.load_state_dict(state["trainee"])
        for (optimizer, _), values in zip(optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(values)
        first, spent = state["step"], state["seconds"]
        print(f"going on at step {first}", flush=True)

    start, total = time.process_time() - spent, 0.0
    for step in range(first, options.steps):
        generator = torch.Generator().manual_seed(options.seed * 1_000_003 + step)
        loss = trainee.loss(*batches.draw(generator), generator)
        trainee.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trainee.parameters(), 1.0)
        for optimizer, peak in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = peak * rate(step, options.steps)
            optimizer.step()
        total += loss.item()
        done, seconds = step + 1, time.process_time() - start
        if done % 50 == 0:
            print(f"step {done}/{options.steps} loss {total / 50:.4f} processor time {seconds:.0f} s", flush=True)
            total = 0.0
        if done % 100 == 0 or done == options.steps:
            state = {
                "trainee": trainee.state_dict(),
                "optimizers": [optimizer.state_dict() for optimizer, _ in optimizers],
                "step": done,
                "seconds": seconds,
            }
            torch.save(state, checkpoint)
            save(trainee.model, options.out)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["targets", "teacher", "student"])
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--targets", type=pathlib.Path, help="what `targets` wrote")
    parser.add_argument("--teacher", type=pathlib.Path, help="the trained teacher's folder, for the student")
    parser.add_argument("--fashion", type=pathlib.Path, default=pathlib.Path("/usr/share/datasets/fashion-mnist"))
    parser.add_argument("--photographs", type=pathlib.Path, default=pathlib.Path("/usr/share/tuxpaint/stamps"))
    parser.add_argument("--photograph-share", type=float, default=1 / 16)
    parser.add_argument("--steps", type=int, default=1600)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--muon-lr", type=float, default=1e-2)
    parser.add_argument("--least-area", type=float, default=0.5, help="least area of a crop")
    parser.add_argument("--keep", type=float, default=0.75, help="share of the patches that the teacher sees")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.what == "targets":
        make_targets(options)
        return
    if options.targets is None:
        parser.error("--targets is missing")
    if options.what == "student" and options.teacher is None:
        parser.error("the student needs --teacher")
    train(options)


if __name__ == "__main__":
    main()
