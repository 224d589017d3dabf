"""Every method and sharing option on a tiny pair, by PyTorch in double precision, for tests/test_methods.c.

Run: python3 tests/oracle/make_methods.py (needs torch, transformers, peft, safetensors; about a minute).
Writes tests/fixtures/methods.safetensors. For each case of CASES, and for the first stage of those of two as CASE.first:
CASE.losses [STEPS, 5] (what is minimised, student, teacher, KL with tau^2, features; NaN where there is none),
CASE.norms [STEPS] before clipping, and CASE.gradient.NAME of step 0 for everything that is trained; CASE.average.NAME
after the last step where an average is kept. Names are those of state.safetensors. Encoders, images, labels and the
initial values of adapters, heads and projection (the formula of "init.NAME") come from formula.py.

Before that, the adapters of this script are held to peft's own: the split form, the fused one (peft's with one A for q, k
and v), all linear layers, and another scale (rsLoRA); logits and gradients agree to rounding.
"""

import math
import os

import torch
import torch.nn.functional as F
from dropout_masks import factors
from formula import encoder, labels, tensor
from safetensors.torch import save_file

TEACHER = dict(width=24, layers=5, heads=3)
STUDENT = dict(width=16, layers=2, heads=2)
# As those encoders may be made.
KINDS = {"plain": {}, "giant": dict(kind="dinov2_with_registers", registers=3, gated=True), "vit": dict(kind="vit")}
PATCH, GRID, SIZE = 4, 5, 16
RANK, ALPHA, PRIVATE_RANK, CLASSES, TAU = 3, 4.0, 2, 5, 2.0
IMAGES, BATCH, STEPS, WARMUP, SEED = 16, 6, 10, 0.2, 7
LR, HEAD_LR, DECAY, CLIP = 4e-3, 1e-2, 0.05, 2.5
PROJECTION = "student.projection.weight"

# teacher, student: what is trained of each (None: there is no teacher). stages 2: the teacher first.
DEFAULTS = dict(teacher=None, student="lora", stages=1, share="none", map="even-a", truncation="block", scale="same",
                unmapped="lora", private=0, form="fused", targets="qkv", dropout=0.0, plus=1.0, ema=0.0, feature=None,
                smoothing=0.0, mixed=False, probe=False, head="cls-mean", teacher_kind="plain", student_kind="plain")
SHARED = dict(teacher="lora", share="both")
# As tests/test_methods.c names and sets them.
CASES = {
    "finetune": dict(student="all"),
    "split": dict(form="split"),
    "targets_all": dict(targets="all"),
    "split_all": dict(form="split", targets="all"),
    "kd_probe": dict(teacher="probe", stages=2),
    "kd_lora": dict(teacher="lora", stages=2),
    "kd_finetune": dict(teacher="all", stages=2),
    "teacher_probe": dict(teacher="probe"),
    "teacher_all": dict(teacher="all"),
    "student_all": dict(teacher="lora", student="all"),
    "student_probe": dict(teacher="lora", student="probe"),
    "share_a": dict(SHARED, share="a"),
    "share_b": dict(SHARED, share="b"),
    "even_a": dict(SHARED),
    "even_b": dict(SHARED, map="even-b"),
    "even_c": dict(SHARED, map="even-c"),
    "first": dict(SHARED, map="first"),
    "last": dict(SHARED, map="last"),
    "list": dict(SHARED, map=[3, -1]),
    "list_twice": dict(SHARED, map=[2, 2]),
    "naive": dict(SHARED, truncation="naive"),
    "fan_in": dict(SHARED, scale="fan-in"),
    "unmapped": dict(SHARED, unmapped="frozen"),
    "shared_split": dict(SHARED, form="split"),
    "shared_all": dict(SHARED, targets="all"),
    "shared_split_all": dict(SHARED, form="split", targets="all", map="last"),
    "private": dict(SHARED, private=PRIVATE_RANK),
    "private_split": dict(SHARED, private=PRIVATE_RANK, form="split", share="a", map=[-1, 1]),
    "plus": dict(SHARED, plus=4.0),
    "ema": dict(SHARED, ema=0.7),
    "feature_cls": dict(SHARED, feature="cls"),
    "feature_patch": dict(SHARED, feature="patch"),
    "feature_registers": dict(SHARED, feature="patch", teacher_kind="giant"),
    "finetune_giant": dict(student="all", student_kind="giant"),
    "finetune_vit": dict(student="all", student_kind="vit", head="cls"),
    "giant": dict(SHARED, targets="all", teacher_kind="giant", student_kind="giant"),
    "vit": dict(SHARED, targets="all", student_kind="vit", head="cls"),
    "dropout": dict(SHARED, dropout=0.2),
    "dropout_all": dict(SHARED, dropout=0.1, private=PRIVATE_RANK, form="split", targets="all", map=[3, -1]),
    "dropout_kd": dict(teacher="lora", stages=2, dropout=0.3),
    "dropout_probe": dict(teacher="probe", stages=2, dropout=0.3),
    "head_init": dict(SHARED, probe=True),
    "smoothing": dict(SHARED, smoothing=0.1),
    "mixed": dict(SHARED, mixed=True),
    "mixed_smoothing": dict(student="lora", mixed=True, smoothing=0.1),
    "mixed_kd": dict(teacher="lora", stages=2, mixed=True, smoothing=0.2),
}


def parameter(name, shape):
    scale = 0.1 if ".head." in name else 0.3
    return torch.from_numpy(tensor("init." + name, shape, scale)).double().requires_grad_(True)


def file_name(name):
    """The checkpoint's name of a parameter of transformers' model; a part of one ends in # and its number."""
    for new, old in (("attention.q_proj", "attention.attention.query"), ("attention.k_proj", "attention.attention.key"),
                     ("attention.v_proj", "attention.attention.value"), ("attention.o_proj", "attention.output.dense")):
        name = name.replace(new, old)
    if name.startswith("layers."):  # of ViTModel
        name = "encoder.layer." + name[len("layers."):].replace("mlp.fc1", "intermediate.dense")
        name = name.replace("mlp.fc2", "output.dense")
    for part, number in (("gate_proj", 0), ("up_proj", 1)):
        if part in name:
            return f"{name.replace(part, 'weights_in')}#{number}"
    return name.replace("down_proj", "weights_out")


def hidden_width(spec, kind):
    return (spec["width"] * 4 * 2 // 3 + 7) // 8 * 8 if KINDS[kind].get("gated") else 4 * spec["width"]


def sites(spec, case, kind):
    """The adapted layers of a block: name, width in, blocks, and width of a block out."""
    d, hidden = spec["width"], hidden_width(spec, kind)
    qkv = [("qkv", d, 3, d)] if case["form"] == "fused" else [(part, d, 1, d) for part in "qkv"]
    if case["targets"] == "qkv":
        return qkv
    return qkv + [("proj", d, 1, d), ("fc1", d, 2 if KINDS[kind].get("gated") else 1, hidden), ("fc2", hidden, 1, d)]


def modules_of(layer):
    """The linear layers of a block with the site of each and its block of that."""
    attention, mlp = layer.attention, layer.mlp
    for c, part in enumerate((attention.q_proj, attention.k_proj, attention.v_proj)):
        yield part, "qkv", c
        yield part, "qkv"[c], 0
    yield attention.o_proj, "proj", 0
    if hasattr(mlp, "gate_proj"):
        yield mlp.gate_proj, "fc1", 0
        yield mlp.up_proj, "fc1", 1
        yield mlp.down_proj, "fc2", 0
    else:
        yield mlp.fc1, "fc1", 0
        yield mlp.fc2, "fc2", 0


def teacher_layer(how, i):
    wide, narrow = TEACHER["layers"], STUDENT["layers"]
    if isinstance(how, list):
        return how[i]
    return {"even-a": i * wide // narrow, "even-b": (i + 1) * wide // narrow - 1, "first": i,
            "even-c": (2 * i * (wide - 1) + narrow - 1) // (2 * (narrow - 1)), "last": i + wide - narrow}[how]


class Model:
    """An encoder with adapters and a head. Every adapted layer is x W^T + b + sum of scale (x A^T) B^T over its pairs."""

    def __init__(self, name, spec, case, trained):
        self.name, self.spec, self.case, self.trained, self.parameters = name, spec, case, trained, {}
        self.training, self.adapted, self.step = True, True, 0
        self.kind = case[f"{name}_kind"]
        self.model = encoder(name + ".", spec["width"], spec["layers"], spec["heads"], 4, PATCH, GRID, torch.float64,
                             **KINDS[self.kind])
        self.model.requires_grad_(False)
        self.pairs = {}  # (layer, site) -> list of (A, B, scale); A and B are functions
        if trained == "all":
            for key, value in self.model.named_parameters():
                if "mask_token" not in key and "pooler" not in key:
                    self.parameters[f"{name}.model.{file_name(key)}"] = value.requires_grad_(True)
        features = spec["width"] * (1 if case["head"] == "cls" else 2)
        for part, shape in (("weight", (CLASSES, features)), ("bias", (CLASSES,))):
            self.parameters[f"{name}.head.{part}"] = parameter(f"{name}.head.{part}", shape)
        for i, layer in enumerate(self.model.layers if self.kind == "vit" else self.model.encoder.layer):
            for module, site, block in modules_of(layer):
                self.hook(module, i, site, block)

    def hook(self, module, layer, site, block):
        def add(_, inputs, output):
            rows = module.out_features
            if not self.adapted:
                return output
            for number, (a, b, scale) in enumerate(self.pairs.get((layer, site), [])):
                x = self.drop(inputs[0], layer, site, number)
                output = output + scale * F.linear(F.linear(x, a()), b()[block * rows:(block + 1) * rows])
            return output

        module.register_forward_hook(add)

    def drop(self, x, layer, site, private):
        """What a pair sees of x: dropout with a mask of the step, the image's place in the batch, and the pair's stream."""
        if not self.case["dropout"] or not self.training:
            return x
        place = ["qkv", "q", "k", "v", "proj", "fc1", "fc2"].index(site)
        stream = layer << 5 | place << 2 | private << 1 | (self.name == "student")
        return x * torch.from_numpy(factors(SEED, self.step, stream, range(len(x)), *x.shape[1:], self.case["dropout"]))

    def own(self, i, site, kind, rank):
        """A factor of this model's own: kind is lora_A, lora_B, private_A or private_B."""
        name, inner, blocks, rows = site
        key = f"{self.name}.layers.{i}.{name}.{kind}"
        shape = (rank, inner) if kind.endswith("A") else (blocks * rows, rank)
        self.parameters[key] = parameter(key, shape)
        return lambda: self.parameters[key]

    def adapt(self, i, site, a=None, b=None, scale=1.0, private=0):
        """Adds the pair of a site, of its own where no other factor is given, and one of rank `private`, if not 0."""
        factors = (a or self.own(i, site, "lora_A", RANK), b or self.own(i, site, "lora_B", RANK))
        self.pairs[i, site[0]] = [(*factors, ALPHA / RANK * scale)]
        if private:
            factors = (self.own(i, site, "private_A", private), self.own(i, site, "private_B", private))
            self.pairs[i, site[0]].append((*factors, ALPHA / private))

    def run(self, pixels):
        options = {"interpolate_pos_encoding": True} if self.kind == "vit" else {}
        hidden = self.model(pixels, **options).last_hidden_state
        self.prefix = 1 + KINDS[self.kind].get("registers", 0)
        mean = [] if self.case["head"] == "cls" else [hidden[:, self.prefix:].mean(1)]
        pooled = torch.cat([hidden[:, 0], *mean], 1)
        return F.linear(pooled, *(self.parameters[f"{self.name}.head.{part}"] for part in ("weight", "bias"))), hidden


def shared_factors(teacher, site, layer, case):
    """A student's part of a teacher's pair: leading columns of A, leading rows of each block of B."""
    name, inner, blocks, rows = site
    a, b, _ = teacher.pairs[layer, name][0]

    def leading():
        if case["truncation"] == "naive":
            return b()[:blocks * rows]
        wide = len(b()) // blocks
        return torch.cat([b()[c * wide:c * wide + rows] for c in range(blocks)])

    return lambda: a()[:, :inner], leading


def make_models(case):
    teacher = Model("teacher", TEACHER, case, case["teacher"]) if case["teacher"] else None
    student = Model("student", STUDENT, case, case["student"])
    layers = [teacher_layer(case["map"], i) for i in range(STUDENT["layers"])]
    shared = case["share"] != "none"
    for j in range(TEACHER["layers"]):
        if case["teacher"] == "lora" and not (case["unmapped"] == "frozen" and j not in layers):
            for site in sites(TEACHER, case, case["teacher_kind"]):
                teacher.adapt(j, site, private=case["private"] if shared and j in layers else 0)
    for i, j in enumerate(layers):
        for site in sites(STUDENT, case, case["student_kind"]) if case["student"] == "lora" else []:
            if not shared or j < 0:
                student.adapt(i, site)
                continue
            a, b = shared_factors(teacher, site, j, case)
            student.adapt(i, site, a if case["share"] in ("both", "a") else None,
                          b if case["share"] in ("both", "b") else None,
                          math.sqrt(TEACHER["width"] / STUDENT["width"]) if case["scale"] == "fan-in" else 1.0,
                          case["private"])
    if case["feature"]:
        student.parameters[PROJECTION] = parameter(PROJECTION, (TEACHER["width"], STUDENT["width"]))
    return teacher, student


def decays(name, value):
    """Matrices of linear layers and the patch embedding's; not biases, norms, tokens and positions."""
    return value.dim() > 1 and not name.endswith(("cls_token", "register_tokens", "position_embeddings"))


def make_optimizer(parameters, plus):
    """One group a parameter, as its rate and its decay ask for."""
    groups = []
    for name, value in parameters.items():
        rate = HEAD_LR if ".head." in name or name == PROJECTION else LR * (plus if name.endswith("_B") else 1)
        groups.append(dict(params=[value], lr=rate, base=rate, weight_decay=DECAY if decays(name, value) else 0.0))
    return torch.optim.AdamW(groups, betas=(0.9, 0.999), eps=1e-8)


def rate(step):
    rising = math.ceil(WARMUP * STEPS - 1e-9)
    return step / rising if step < rising else 0.5 * (1 + math.cos(math.pi * (step - rising) / (STEPS - rising)))


def feature_loss(student, teacher, hidden_s, hidden_t, kind):
    """Registers, which one may have and the other not, are left out."""
    hidden_s, hidden_t = (torch.cat([hidden[:, :1], hidden[:, model.prefix:]], 1)
                          for model, hidden in ((student, hidden_s), (teacher, hidden_t)))
    target = F.layer_norm(hidden_t.detach(), (TEACHER["width"],), eps=1e-6)
    projected = F.linear(hidden_s, student.parameters[PROJECTION])
    return F.mse_loss(projected[:, 0], target[:, 0]) if kind == "cls" else F.mse_loss(projected, target)


def losses_of(teacher, student, case, pixels, target, stage):
    """What is minimised, and its parts. Stage "heads" trains those by their labels alone, "first" the teacher alone,
    "second" the student alone."""
    parts = [torch.tensor(math.nan, dtype=torch.float64)] * 4
    total = 0
    if stage != "first":
        z_s, hidden_s = student.run(pixels)
        parts[0] = F.cross_entropy(z_s, target, label_smoothing=case["smoothing"])
        total = total + parts[0]
    if teacher:
        z_t, hidden_t = teacher.run(pixels)
    if teacher and stage != "second":
        parts[1] = F.cross_entropy(z_t, target, label_smoothing=case["smoothing"])
        total = total + parts[1]
    if teacher and stage != "first":
        log_p, log_q = F.log_softmax(z_t.detach() / TAU, 1), F.log_softmax(z_s / TAU, 1)
        parts[2] = TAU * TAU * F.kl_div(log_q, log_p, reduction="batchmean", log_target=True)
        total = total + (0.0 if stage == "heads" else 1.0) * parts[2]
        if case["feature"]:
            parts[3] = feature_loss(student, teacher, hidden_s, hidden_t, case["feature"])
            total = total + parts[3]
    return [total, *parts]


def make_images(case):
    """Pixels and targets. Those of mixed images are shares of two labels; their pixels are as good as any."""
    pixels = torch.from_numpy(tensor("methods.pixels", (IMAGES, 3, SIZE, SIZE), 2.0)).double()
    target = torch.from_numpy(labels("methods.labels", IMAGES, CLASSES))
    if case["mixed"]:
        share = torch.from_numpy(tensor("methods.mix", (IMAGES, 1), 0.5, 0.5)).double()
        second = torch.from_numpy(labels("methods.labels_2", IMAGES, CLASSES))
        target = share * F.one_hot(target, CLASSES) + (1 - share) * F.one_hot(second, CLASSES)
    return pixels, target


def whole(values):
    """Parts of a tensor put together: #0 above #1."""
    joined = {}
    for key, value in values.items():
        name = key.split("#")[0]
        joined[name] = torch.cat([joined[name], value]) if name in joined else value
    return joined


def train(name, out, teacher, student, case, stage):
    pixels, target = make_images(case)
    parameters = {}
    if teacher and stage != "second":
        parameters.update(teacher.parameters)
    if stage != "first":
        parameters.update(student.parameters)
    if stage == "heads":
        parameters = {key: value for key, value in parameters.items() if ".head." in key}
    optimizer = make_optimizer(parameters, case["plus"])
    batches = [slice(i, min(i + BATCH, IMAGES)) for i in range(0, IMAGES, BATCH)]
    losses, norms, average = [], [], {}
    for step in range(STEPS):
        rows = batches[step % len(batches)]
        for model in (teacher, student):
            if model:
                model.step = step
        parts = losses_of(teacher, student, case, pixels[rows], target[rows], stage)
        optimizer.zero_grad()
        parts[0].backward()
        if step == 0:
            out.update(whole({f"{name}.gradient.{key}": value.grad.clone() for key, value in parameters.items()}))
        norms.append(float(torch.nn.utils.clip_grad_norm_(list(parameters.values()), CLIP)))
        for group in optimizer.param_groups:
            group["lr"] = group["base"] * rate(step)
        optimizer.step()
        decay = min(case["ema"], (1 + step) / (10 + step)) if step else 0.0
        for key, value in parameters.items() if case["ema"] else []:
            average[key] = decay * average.get(key, 0.0) + (1 - decay) * value.detach().clone()
        losses.append([float(part.detach()) for part in parts])
    out.update({f"{name}.average.{key}": value for key, value in average.items()})
    out[f"{name}.losses"] = torch.tensor(losses, dtype=torch.float64)
    out[f"{name}.norms"] = torch.tensor(norms, dtype=torch.float64)
    clipped = sum(norm > CLIP for norm in norms)
    print(f"{name}: {sum(p.numel() for p in parameters.values())} values, loss {losses[0][0]:.4f} -> {losses[-1][0]:.4f}, "
          f"clipped {clipped}")


def run(name, out):
    case = dict(DEFAULTS, **CASES[name])
    teacher, student = make_models(case)
    if case["stages"] == 2:
        train(name + ".first", out, teacher, student, case, "first")
        teacher.training = False
        for value in teacher.parameters.values():
            value.requires_grad_(False)
        train(name, out, teacher, student, case, "second")
        return
    if case["probe"]:
        teacher.adapted = student.adapted = False
        train(name + ".first", out, teacher, student, case, "heads")
        teacher.adapted = student.adapted = True
    train(name, out, teacher, student, case, "both" if teacher else "alone")


def check_peft(form, targets, rs_lora):
    """This script's adapters against peft's on the same encoder: features, and the gradients of A and B."""
    from peft import LoraConfig, get_peft_model

    case = dict(DEFAULTS, form=form, targets=targets)
    student = Model("student", STUDENT, case, "lora")
    scale = math.sqrt(RANK) if rs_lora else 1.0
    for i in range(STUDENT["layers"]):
        for site in sites(STUDENT, case, "plain"):
            student.adapt(i, site, scale=scale)
    names = {"q": "attention.q_proj", "k": "attention.k_proj", "v": "attention.v_proj", "proj": "attention.o_proj",
             "fc1": "mlp.fc1", "fc2": "mlp.fc2"}
    modules = [names[part] for part in (names if targets == "all" else "qkv")]
    base = encoder("student.", STUDENT["width"], STUDENT["layers"], STUDENT["heads"], 4, PATCH, GRID, torch.float64)
    theirs = get_peft_model(base, LoraConfig(r=RANK, lora_alpha=ALPHA, lora_dropout=0.0, bias="none",
                                             use_rslora=rs_lora, target_modules=modules)).double()
    theirs_of = dict(theirs.named_parameters())
    d, expected = STUDENT["width"], []
    for key, value in student.parameters.items():
        if ".layers." not in key:
            continue
        _, _, i, site, kind = key.split(".")
        for c, part in enumerate("qkv" if site == "qkv" else [site]):
            their = theirs_of[f"base_model.model.encoder.layer.{i}.{names[part]}.{kind}.default.weight"]
            rows = slice(c * d, (c + 1) * d) if site == "qkv" and kind == "lora_B" else slice(None)
            their.data.copy_(value.data[rows])
            expected.append((value, rows, their, site == "qkv" and kind == "lora_A"))
    pixels = torch.from_numpy(tensor("methods.pixels", (IMAGES, 3, SIZE, SIZE), 2.0)).double()[:BATCH]
    ours, other = student.model(pixels).last_hidden_state, theirs(pixels).last_hidden_state
    assert (ours - other).abs().max() < 1e-12, (ours - other).abs().max()
    slope = torch.from_numpy(tensor("methods.slope", tuple(ours.shape), 1.0)).double()
    (ours * slope).sum().backward()
    (other * slope).sum().backward()
    sums = {}
    for value, rows, their, summed in expected:  # one A of ours is three of theirs, whose gradients add up
        if summed:
            sums[id(value)] = (value, sums.get(id(value), (None, 0.0))[1] + their.grad)
        else:
            sums[id(their)] = (value, (rows, their.grad))
    for value, theirs_grad in sums.values():
        ours_grad = value.grad
        if isinstance(theirs_grad, tuple):
            ours_grad, theirs_grad = ours_grad[theirs_grad[0]], theirs_grad[1]
        assert (ours_grad - theirs_grad).norm() <= 1e-11 * theirs_grad.norm()
    print(f"peft agrees: {form}, targets {targets}{', rsLoRA' if rs_lora else ''}")


def main():
    torch.set_num_threads(1)  # threads would only wait for one another: nothing here is large
    for form in ("split", "fused"):
        for targets in ("qkv", "all"):
            check_peft(form, targets, False)
    check_peft("split", "qkv", True)
    out = {}
    for name in CASES:
        run(name, out)
    folder = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "fixtures")
    save_file({k: v.float().contiguous() for k, v in out.items()}, os.path.join(folder, "methods.safetensors"))


if __name__ == "__main__":
    main()
