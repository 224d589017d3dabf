"""The joint SLAD step, attention and matrix products against PyTorch on the same processor.

    python3 -m venv ~/peers && ~/peers/bin/pip install torch numpy safetensors transformers
    ./run build
    ~/peers/bin/python bench/compare_pytorch.py --small            # a pair of a minute
    ~/peers/bin/python bench/compare_pytorch.py                    # ViT-B/14 + ViT-S/14, 224 px, batch 8
    ~/peers/bin/python bench/compare_pytorch.py --pieces           # GEMM and attention alone

The virtual environment stands outside the repository: its wheels bring several GB, and no test needs them.

Both sides get the same weights and the same start of what is trained (made by a formula and written as files), the same
images and labels, the same number of threads, and take turns, each turn a process of its own, so that other work on the
machine hits them alike. That they compute the same thing is checked: their losses have to agree at every step. The
figures are medians over the turns with the least and the greatest; processor time (user and system, all threads) stands
beside the clock's because it is the steadier one on a machine that does other work. Threads that wait by spinning count
there, so a comparison of processor time is best made with --threads 1, where nobody waits.

PyTorch runs as its users write it: frozen nn.Linear layers with the LoRA product beside the query-key-value layer as
peft has it, scaled_dot_product_attention, the three losses, AdamW, clip_grad_norm_. --peer fused is a plain ViT with one
query-key-value layer as in DINOv2's own code, transformers the Hugging Face model with three; --compile sends both
encoders through torch.compile.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "tests", "oracle"))

WIDTHS = {"tiny": (64, 6), "small": (192, 6), "vit-s": (384, 12), "vit-b": (768, 12), "vit-l": (1024, 24)}
PATCH, HEAD_WIDTH, MLP_RATIO, CLASSES = 14, 64, 4, 10
# As slad's defaults, and the schedule that bench_step asks for.
RANK, ALPHA, TAU, LR, HEAD_LR, CLIP, WARMUP_STEPS = 16, 16.0, 2.0, 5e-4, 1e-3, 1.0, 50
GEMM_SHAPES = [(2048, 384, 384), (2048, 1152, 384), (2048, 1536, 384), (2048, 384, 1536),
               (2048, 768, 768), (2048, 2304, 768), (2048, 3072, 768), (2048, 768, 3072)]
ATTENTION_HEADS, ATTENTION_TOKENS, ATTENTION_BATCH = {"ViT-S": 6, "ViT-B": 12}, (257, 1370), 8


def processor_seconds():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def peak_bytes():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


# ---- What both sides read --------------------------------------------------------------------------------------------


def write_models(folder, teacher, student, size):
    """Hugging Face folders of both encoders, and the start of all that is trained. Kept if they are there already."""
    from formula import encoder_tensors, tensor
    from safetensors.numpy import save_file

    for name in (teacher, student):
        width, layers = WIDTHS[name]
        path = os.path.join(folder, f"{name}-{size}")
        if os.path.exists(os.path.join(path, "config.json")):
            continue
        os.makedirs(path, exist_ok=True)
        values = encoder_tensors(name, width, layers, width * MLP_RATIO, PATCH, size // PATCH)
        save_file(values, os.path.join(path, "model.safetensors"), metadata={"format": "pt"})
        with open(os.path.join(path, "config.json"), "w") as file:
            json.dump({"model_type": "dinov2", "hidden_size": width, "num_hidden_layers": layers, "qkv_bias": True,
                       "num_attention_heads": width // HEAD_WIDTH, "mlp_ratio": MLP_RATIO, "patch_size": PATCH,
                       "image_size": size, "hidden_act": "gelu", "layer_norm_eps": 1e-6}, file)
    start = {}
    width, layers = WIDTHS[teacher]
    for i in range(layers):
        start[f"teacher.layers.{i}.qkv.lora_A"] = tensor(f"A{i}", (RANK, width), width**-0.5)
        start[f"teacher.layers.{i}.qkv.lora_B"] = tensor(f"B{i}", (3 * width, RANK), 0.05)
    for model, name in (("teacher", teacher), ("student", student)):
        start[f"{model}.head.weight"] = tensor(f"{model}.weight", (CLASSES, 2 * WIDTHS[name][0]), 0.02)
        start[f"{model}.head.bias"] = tensor(f"{model}.bias", (CLASSES,), 0.0)
    save_file(start, os.path.join(folder, f"start-{teacher}-{student}.safetensors"))


def pixels_and_labels(batch, size):
    """The batch of bench_step."""
    import numpy as np
    import torch

    index = np.arange(batch * 3 * size * size, dtype=np.uint64) * np.uint64(2654435761)
    pixels = ((index % np.uint64(1000)).astype(np.float64) / 500.0 - 1.0).astype(np.float32)
    return torch.from_numpy(pixels.reshape(batch, 3, size, size)), torch.arange(batch) % CLASSES


# ---- PyTorch's side --------------------------------------------------------------------------------------------------


def lora(x, adapter):
    import torch.nn.functional as F

    a, b = adapter
    return ALPHA / RANK * F.linear(F.linear(x, a), b)


def make_fused_encoder(folder, adapters):
    """A ViT as DINOv2's own code has it; adapters(i) gives A [r, d] and B [3 d, r] of layer i."""
    import torch
    import torch.nn.functional as F
    from safetensors.torch import load_file
    from torch import nn

    with open(os.path.join(folder, "config.json")) as file:
        config = json.load(file)
    width, heads = config["hidden_size"], config["num_attention_heads"]

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm1, self.norm2 = nn.LayerNorm(width, eps=1e-6), nn.LayerNorm(width, eps=1e-6)
            self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
            self.fc1, self.fc2 = nn.Linear(width, MLP_RATIO * width), nn.Linear(MLP_RATIO * width, width)
            self.scale1, self.scale2 = nn.Parameter(torch.ones(width)), nn.Parameter(torch.ones(width))

        def forward(self, x, adapter):
            batch, tokens, _ = x.shape
            h = self.norm1(x)
            qkv = self.qkv(h) + lora(h, adapter)
            q, k, v = qkv.reshape(batch, tokens, 3, heads, HEAD_WIDTH).permute(2, 0, 3, 1, 4).unbind(0)
            h = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(batch, tokens, width)
            x = x + self.scale1 * self.proj(h)
            return x + self.scale2 * self.fc2(F.gelu(self.fc1(self.norm2(x))))

    class Encoder(nn.Module):
        def __init__(self):
            super().__init__()
            self.patches = nn.Conv2d(3, width, PATCH, stride=PATCH)
            self.cls, self.position = nn.Parameter(torch.zeros(1, 1, width)), nn.Parameter(torch.zeros(1))
            self.blocks = nn.ModuleList(Block() for _ in range(config["num_hidden_layers"]))
            self.norm = nn.LayerNorm(width, eps=1e-6)

        def forward(self, pixels):
            x = self.patches(pixels).flatten(2).transpose(1, 2)
            x = torch.cat([self.cls.expand(len(x), -1, -1), x], 1) + self.position
            for i, block in enumerate(self.blocks):
                x = block(x, adapters(i))
            return self.norm(x)

    model, values = Encoder(), load_file(os.path.join(folder, "model.safetensors"))
    model.patches.weight.data = values["embeddings.patch_embeddings.projection.weight"]
    model.patches.bias.data = values["embeddings.patch_embeddings.projection.bias"]
    model.cls.data, model.position.data = values["embeddings.cls_token"], values["embeddings.position_embeddings"]
    model.norm.weight.data, model.norm.bias.data = values["layernorm.weight"], values["layernorm.bias"]
    for i, block in enumerate(model.blocks):
        layer = f"encoder.layer.{i}."
        for kind in ("weight", "bias"):
            block.qkv.get_parameter(kind).data = torch.cat(
                [values[f"{layer}attention.attention.{part}.{kind}"] for part in ("query", "key", "value")])
            for own, theirs in (("proj", "attention.output.dense"), ("fc1", "mlp.fc1"), ("fc2", "mlp.fc2"),
                                ("norm1", "norm1"), ("norm2", "norm2")):
                block.get_submodule(own).get_parameter(kind).data = values[f"{layer}{theirs}.{kind}"]
        block.scale1.data = values[layer + "layer_scale1.lambda1"]
        block.scale2.data = values[layer + "layer_scale2.lambda1"]
    return model.requires_grad_(False)


def make_transformers_encoder(folder, adapters):
    """The Hugging Face model; each of q, k and v has the LoRA product beside it, as peft would have it."""
    import torch.nn.functional as F
    from transformers import AutoModel

    model = AutoModel.from_pretrained(folder, attn_implementation="sdpa").eval().requires_grad_(False)
    width = model.config.hidden_size
    found = [m for n, m in model.named_modules() if n.rsplit(".", 1)[-1] in ("q_proj", "k_proj", "v_proj", "query", "key", "value")]
    assert len(found) == 3 * model.config.num_hidden_layers, "this version of transformers names its layers otherwise"
    for index, part in enumerate(found):
        i, c = divmod(index, 3)

        def forward(x, part=part, i=i, c=c):
            a, b = adapters(i)
            return F.linear(x, part.weight, part.bias) + lora(x, (a, b[c * width:(c + 1) * width]))

        part.forward = forward
    return lambda pixels: model(pixels).last_hidden_state


def run_pytorch_steps(options):
    import torch
    import torch.nn.functional as F
    from safetensors.torch import load_file

    torch.set_num_threads(options["threads"])
    before = peak_bytes()
    folder, teacher, student = options["folder"], options["teacher"], options["student"]
    start = load_file(os.path.join(folder, f"start-{teacher}-{student}.safetensors"))
    trained = {name: value.requires_grad_(True) for name, value in start.items()}
    (wide, deep), (narrow, shallow) = WIDTHS[teacher], WIDTHS[student]

    def own(i):
        return trained[f"teacher.layers.{i}.qkv.lora_A"], trained[f"teacher.layers.{i}.qkv.lora_B"]

    def shared(i):
        a, b = own(i * deep // shallow)
        return a[:, :narrow], b.view(3, wide, RANK)[:, :narrow].reshape(3 * narrow, RANK)

    make = make_transformers_encoder if options["peer"] == "transformers" else make_fused_encoder
    encoders = {"teacher": make(os.path.join(folder, f"{teacher}-{options['size']}"), own),
                "student": make(os.path.join(folder, f"{student}-{options['size']}"), shared)}
    if options["compile"]:
        encoders = {name: torch.compile(encoder) for name, encoder in encoders.items()}
    pixels, labels = pixels_and_labels(options["batch"], options["size"])

    def logits(model):
        hidden = encoders[model](pixels)
        features = torch.cat([hidden[:, 0], hidden[:, 1:].mean(1)], 1)
        return F.linear(features, trained[f"{model}.head.weight"], trained[f"{model}.head.bias"])

    groups = [dict(params=[v for n, v in trained.items() if (".head." in n) == head], lr=HEAD_LR if head else LR)
              for head in (False, True)]
    optimizer = torch.optim.AdamW(groups, weight_decay=0.0)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, step / WARMUP_STEPS))
    losses, clock, used = [], 0.0, 0.0
    for step in range(options["steps"] + 2):
        if step == 2:
            clock, used = time.perf_counter(), processor_seconds()
        optimizer.zero_grad()
        z_teacher, z_student = logits("teacher"), logits("student")
        target, guess = F.log_softmax(z_teacher.detach() / TAU, 1), F.log_softmax(z_student / TAU, 1)
        loss = (F.cross_entropy(z_student, labels) + F.cross_entropy(z_teacher, labels) +
                TAU * TAU * F.kl_div(guess, target, reduction="batchmean", log_target=True))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(list(trained.values()), CLIP)
        optimizer.step()
        scheduler.step()
        losses.append(loss.item())
    steps = options["steps"]
    return {"seconds_per_step": (time.perf_counter() - clock) / steps, "losses": losses,
            "processor_seconds_per_step": (processor_seconds() - used) / steps,
            "peak_resident_bytes": peak_bytes(), "resident_before_bytes": before, "version": torch.__version__}


def rate(work, flops, threads, turn=0.1):
    """GFLOP/s of a function by processor time, shared among the threads, and by the clock; medians of a few turns."""
    work()
    repeats, rates = 1, []
    while True:
        begin = time.perf_counter()
        for _ in range(repeats):
            work()
        if time.perf_counter() - begin > turn:
            break
        repeats *= 2
    for _ in range(5):
        begin, used = time.perf_counter(), processor_seconds()
        for _ in range(repeats):
            work()
        clock, used = time.perf_counter() - begin, processor_seconds() - used
        rates.append((flops * repeats / (used / threads) / 1e9, flops * repeats / clock / 1e9))
    return {"processor": statistics.median(r[0] for r in rates), "clock": statistics.median(r[1] for r in rates)}


def run_pytorch_pieces(options):
    import numpy as np
    import torch
    import torch.nn.functional as F

    threads = options["threads"]
    torch.set_num_threads(threads)
    out = {"version": torch.__version__}
    for rows, columns, depth in GEMM_SHAPES:
        a, w, c = torch.rand(rows, depth) - 0.5, torch.rand(columns, depth) - 0.5, torch.empty(rows, columns)
        flops = 2.0 * rows * columns * depth
        out[f"gemm {rows}x{columns}x{depth}"] = rate(lambda: torch.mm(a, w.t(), out=c), flops, threads)
        left, right, product = a.numpy(), w.numpy().T, np.empty((rows, columns), np.float32)
        out[f"openblas {rows}x{columns}x{depth}"] = rate(lambda: np.matmul(left, right, out=product), flops, threads)
    for model, heads in ATTENTION_HEADS.items():
        for tokens in ATTENTION_TOKENS:
            qkv = torch.randn(ATTENTION_BATCH, tokens, 3, heads, HEAD_WIDTH, requires_grad=True)
            dout = torch.randn(ATTENTION_BATCH, tokens, heads * HEAD_WIDTH)
            product = 2.0 * ATTENTION_BATCH * heads * tokens * tokens * HEAD_WIDTH

            def forward():
                q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
                return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(dout.shape)

            def both():
                qkv.grad = None
                forward().backward(dout)

            def alone():
                with torch.no_grad():
                    forward()

            once, twice = rate(alone, 2 * product, threads), rate(both, 7 * product, threads)
            out[f"attention {model} {tokens}"] = {
                by: {"forward": once[by], "both": twice[by], "backward": 5 / (7 / twice[by] - 2 / once[by])} for by in once}
    return out


# ---- Taking turns ----------------------------------------------------------------------------------------------------


def run_json(command, threads):
    """Runs a program that prints one JSON object. All libraries are held to the same number of threads."""
    env = dict(os.environ, POCL_MAX_PTHREAD_COUNT=str(threads), OMP_NUM_THREADS=str(threads),
               OPENBLAS_NUM_THREADS=str(threads), MKL_NUM_THREADS=str(threads))
    result = subprocess.run(command, env=env, stdout=subprocess.PIPE, text=True)
    if result.returncode != 0:
        sys.exit(f"{' '.join(command)}: exit code {result.returncode}")
    return json.loads(result.stdout)


def run_child(kind, options):
    return run_json([sys.executable, os.path.abspath(__file__), "--child", kind, json.dumps(options)], options["threads"])


def spread(values, digits=3):
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f}..{max(values):.{digits}f})"


def compare_steps(args):
    options = {"teacher": args.teacher, "student": args.student, "size": args.size, "batch": args.batch,
               "steps": args.steps, "threads": args.threads, "folder": args.folder, "peer": args.peer,
               "compile": args.compile}
    write_models(args.folder, args.teacher, args.student, args.size)
    models = [os.path.join(args.folder, f"{name}-{args.size}") for name in (args.teacher, args.student)]
    ours_command = [os.path.join(args.build, "bench", "bench_step"), *models, "--batch", str(args.batch), "--size",
                    str(args.size), "--steps", str(args.steps), "--json", "--init",
                    os.path.join(args.folder, f"start-{args.teacher}-{args.student}.safetensors")]
    ours, theirs = [], []
    for turn in range(args.turns):
        ours.append(run_json(ours_command, args.threads))
        theirs.append(run_child("steps", options))
        print(f"turn {turn + 1} of {args.turns}: processor seconds a step {ours[-1]['processor_seconds_per_step']:.3f} "
              f"and {theirs[-1]['processor_seconds_per_step']:.3f}", file=sys.stderr, flush=True)
    far = max(abs(a - b) / abs(b) for o, t in zip(ours, theirs) for a, b in zip(o["losses"], t["losses"]))
    if not far < 1e-3:
        sys.exit(f"the two sides do not compute the same: losses {ours[0]['losses']} and {theirs[0]['losses']}")
    print(f"{args.teacher} + {args.student}, {args.size} px, batch {args.batch}, rank {RANK}, {args.threads} thread(s); "
          f"{args.turns} turns of {args.steps} steps after 2; PyTorch {theirs[0]['version']} ({args.peer}"
          f"{', compiled' if args.compile else ''}); losses agree within {far:.1e}\n")
    print("| a step | slad | PyTorch | ratio |\n| --- | --- | --- | --- |")
    for name, key in (("processor time, s", "processor_seconds_per_step"), ("clock, s", "seconds_per_step")):
        a, b = [o[key] for o in ours], [t[key] for t in theirs]
        print(f"| {name} | {spread(a)} | {spread(b)} | {statistics.median(y / x for x, y in zip(a, b)):.2f} |")
    key = "peak_resident_bytes"
    a, b = [o[key] / 2**20 for o in ours], [t[key] / 2**20 for t in theirs]
    print(f"| peak resident memory, MiB | {spread(a, 0)} | {spread(b, 0)} | "
          f"{statistics.median(a) / statistics.median(b):.2f} |")
    a = [(o[key] - o["resident_before_bytes"]) / 2**20 for o in ours]
    b = [(t[key] - t["resident_before_bytes"]) / 2**20 for t in theirs]
    print(f"| the same above that before the models, MiB | {spread(a, 0)} | {spread(b, 0)} | "
          f"{statistics.median(a) / statistics.median(b):.2f} |")
    print(f"| images/s by the clock | {spread([args.batch / o['seconds_per_step'] for o in ours], 2)} | "
          f"{spread([args.batch / t['seconds_per_step'] for t in theirs], 2)} | |")
    return {"options": options, "slad": ours, "pytorch": theirs}


def compare_pieces(args):
    build = os.path.join(args.build, "bench")
    options = {"threads": args.threads}
    gemm, attention, theirs = [], [], []
    for turn in range(args.turns):
        gemm.append(run_json([os.path.join(build, "bench_gemm"), "--rounds", "5", "--cpu-time", "--json"], args.threads))
        attention.append(run_json([os.path.join(build, "bench_attention"), "--rounds", "5", "--cpu-time", "--json"],
                                  args.threads))
        theirs.append(run_child("pieces", options))
        print(f"turn {turn + 1} of {args.turns}", file=sys.stderr, flush=True)
    print(f"GFLOP/s of processor time, {args.threads} thread(s), medians of {args.turns} turns; "
          f"PyTorch {theirs[0]['version']}\n")
    print("| rows x columns x depth | slad | torch.mm | OpenBLAS (numpy's) | slad / torch | slad / OpenBLAS |")
    print("| --- | --- | --- | --- | --- | --- |")
    for index, (rows, columns, depth) in enumerate(GEMM_SHAPES):
        name = f"{rows}x{columns}x{depth}"
        a = [g["shapes"][index]["register_tile"]["median_gflops"] for g in gemm]
        b, c = ([t[f"{who} {name}"]["processor"] for t in theirs] for who in ("gemm", "openblas"))
        print(f"| {name.replace('x', ' x ')} | {spread(a, 1)} | {spread(b, 1)} | {spread(c, 1)} | "
              f"{statistics.median(x / y for x, y in zip(a, b)):.2f} | "
              f"{statistics.median(x / y for x, y in zip(a, c)):.2f} |")
    print(f"\nslad's measured peak: {spread([g['peak_gflops'] for g in gemm], 1)}\n")
    print("| attention | pass | slad | PyTorch | ratio |\n| --- | --- | --- | --- | --- |")
    for model in ATTENTION_HEADS:
        for tokens in ATTENTION_TOKENS:
            found = [next(s["median_gflops"] for s in a["shapes"] if s["model"] == model and s["tokens"] == tokens)
                     for a in attention]
            for which in ("forward", "backward", "both"):
                a = [7 / (2 / f["forward"] + 5 / f["backward"]) if which == "both" else f[which] for f in found]
                b = [t[f"attention {model} {tokens}"]["processor"][which] for t in theirs]
                print(f"| {model}, {tokens} tokens | {which} | {spread(a, 1)} | {spread(b, 1)} | "
                      f"{statistics.median(x / y for x, y in zip(a, b)):.2f} |")
    return {"gemm": gemm, "attention": attention, "pytorch": theirs}


def main():
    if sys.argv[1:2] == ["--child"]:
        options = json.loads(sys.argv[3])
        print(json.dumps({"steps": run_pytorch_steps, "pieces": run_pytorch_pieces}[sys.argv[2]](options)))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="the small pair: 192 wide and 64 wide, 6 layers each")
    parser.add_argument("--teacher", choices=WIDTHS, default="vit-b")
    parser.add_argument("--student", choices=WIDTHS, default="vit-s")
    parser.add_argument("--size", type=int, default=224, help="pixels a side, a multiple of 14 (default: 224)")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--steps", type=int, default=3, help="timed steps of a turn, after two that are not (default: 3)")
    parser.add_argument("--turns", type=int, default=5, help="how often the two sides take turns (default: 5)")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--peer", choices=("fused", "transformers"), default="fused")
    parser.add_argument("--compile", action="store_true", help="torch.compile both encoders")
    parser.add_argument("--pieces", action="store_true", help="GEMM and attention instead of whole steps")
    parser.add_argument("--build", default=os.path.join(HERE, "..", "build"), help="slad's build folder")
    parser.add_argument("--folder", help="where the models are written and kept (default: a temporary folder)")
    parser.add_argument("--json", metavar="FILE", help="write all measurements to a file")
    args = parser.parse_args()
    if args.small:
        args.teacher, args.student = "small", "tiny"
    if WIDTHS[args.student][0] > WIDTHS[args.teacher][0] or args.size % PATCH or min(args.turns, args.steps) < 1:
        parser.error("the student must not be wider than the teacher, --size a multiple of 14, turns and steps at least 1")
    with tempfile.TemporaryDirectory() as temporary:
        args.folder = args.folder or temporary
        result = compare_pieces(args) if args.pieces else compare_steps(args)
    if args.json:
        with open(args.json, "w") as file:
            json.dump(result, file, indent=1)


if __name__ == "__main__":
    main()
