# SPDX-License-Identifier: MIT
"""Recipes drawn at random, with a model of random weights each: what the tests
of plans and budgets (test_random_recipes.py, test_fit.py, gpu/plan_random.py)
plan, run and refuse. The same seed draws the same ones.

write(folder, rng, size) leaves folder/recipe.lua and what it names, and says
in a few words what was drawn. SIZES has how large; a Size with a GPU draws
what a GPU alone has (fp8, fp16), too."""
import json
import pathlib
import re
import shutil

TOKENIZER = pathlib.Path(__file__).parent.parent / "datasets/tiny"
ROWS = 40

SIZES = {
    "tiny": dict(gpu=False, hidden=(32, 48, 64, 96), head=(8, 16), layers=(2, 4),
                 vocab=(500, 1000), most=1e6, length=(8, 96), tokens=256),
    "small": dict(gpu=False, hidden=(128, 192, 256), head=(16, 32), layers=(2, 4),
                  vocab=(4000, 16000), most=12e6, length=(64, 200), tokens=1024),
    "gpu": dict(gpu=True, hidden=(64, 192, 512, 768, 1024, 1536, 2048),
                head=(64, 128), layers=(2, 12), vocab=(512, 32000, 151936),
                most=250e6, length=(32, 2048), tokens=8192),
}
WINDOW = {"sliding_window": 24}
GEMMA = {"hidden_activation": "gelu_pytorch_tanh", "hidden_act":
         "gelu_pytorch_tanh", "query_pre_attn_scalar": 64, **WINDOW}
FAMILIES = {
    "llama": {},
    "mistral": WINDOW,
    "qwen2": {"use_sliding_window": True, "max_window_layers": 1, **WINDOW},
    "qwen3": {"attention_bias": False},
    "gemma2": {**GEMMA, "attn_logit_softcapping": 50.0,
               "final_logit_softcapping": 30.0},
    "gemma3_text": {**GEMMA, "rope_theta": 1e6, "rope_local_base_freq": 1e4,
                    "sliding_window_pattern": 2},
    "phi3": {"pad_token_id": 0, **WINDOW},
}


def draw_config(rng, size):
    """A config.json whose weights are no more than the size's `most`."""
    family = rng.choice(list(FAMILIES))
    head = rng.choice(size["head"] + ((256,) if size["gpu"] and
                                      family.startswith("gemma") else ()))
    kv = rng.choice((1, 2, 4))
    while True:
        hidden = rng.choice(size["hidden"])
        layers = rng.randint(*size["layers"])
        vocab = rng.choice(size["vocab"])
        inner = int(hidden * rng.choice((1.5, 2.5, 3, 4)))
        heads = kv * max(1, hidden // head // kv)
        if 2 * vocab * hidden + layers * hidden * (
                3 * inner + 2 * head * (heads + kv)) <= size["most"]:
            break
    return dict(
        architectures=["-"], model_type=family, hidden_size=hidden,
        intermediate_size=inner, num_hidden_layers=layers,
        num_attention_heads=heads, num_key_value_heads=kv, head_dim=head,
        vocab_size=vocab, tie_word_embeddings=rng.random() < 0.5,
        max_position_embeddings=8192, rms_norm_eps=1e-5, hidden_act="silu",
        torch_dtype=rng.choice(("bfloat16", "float32")), bos_token_id=1,
        eos_token_id=2) | FAMILIES[family]


def draw_optimizer(rng):
    name, states = rng.choice((
        ("adamw", ("fp32", "bf16", "int8")), ("adamw", ("fp32", "int8")),
        ("lion", ("fp32", "bf16")), ("adafactor", ()), ("muon", ()),
        ("sgd", ())))
    more = {"lr": "1e-4", "weight_decay": rng.choice(("0", "0.1"))}
    if states:
        more["state"] = f'"{rng.choice(states)}"'
    if name == "sgd":
        more["momentum"] = rng.choice(("0", "0.9"))
    return name, more


def draw_method(rng, size, config, keys):
    """What is trained, and in what the rest is held; fills KEYS in."""
    model = {"init": '"random"'}
    method = rng.choice(("full", "lora", "lora", "nf4", "nf4") +
                        (("fp8", "fp8") if size["gpu"] else ()))
    if method == "full":
        keys["master"] = rng.choice(("true", "false"))
        model["storage"] = rng.choice(('"file"', '"bf16"'))
        return method, model
    r = rng.choice((2, 4, 8, 16, 32))
    lora = {"r": r, "alpha": 16, "dropout": rng.choice((0, 0, 0.1)),
            "rslora": rng.choice(("true", "false"))}
    if rng.random() < 0.3 and config["model_type"] != "phi3":
        lora["targets"] = '{ "q_proj", "v_proj", "down_proj" }'
    if rng.random() < 0.2 and not config["tie_word_embeddings"]:
        lora["modules_to_save"] = '"lm_head"'
    keys["adapter"] = f"hone.lora {table(lora)}"
    if method != "lora":
        model["storage"] = f'"{method}"'
        option = {"nf4": "nested", "fp8": "copies"}[method]
        model[option] = rng.choice(("true", "false"))
    else:
        model["storage"] = rng.choice(('"file"', '"bf16"', '"fp32"'))
    if not config["tie_word_embeddings"]:
        model["embeddings"] = rng.choice(('"auto"', '"device"', '"host"'))
    return method, model


def draw_layout(rng, size, longest, keys):
    """How rows are laid out, and whether a step is one micro-batch."""
    tokens = max(longest, rng.choice((1, 2, 4, 4)) * size["tokens"] // 4)
    rows = max(1, tokens // (longest + 64))
    if rng.random() < 0.5:
        keys["batch"] = f"hone.pack {{ tokens = {tokens} }}"
        keys["global_tokens"] = tokens * rng.choice((1, 2))
        return "pack"
    keys["batch"] = "hone.pad " + table(
        {"rows": rows, "multiple": rng.choice((16, 64))})
    single = rng.random() < 0.5
    keys["global_batch"] = rows if single else rows + rng.randint(1, 4)
    if single and rng.random() < 0.5:
        keys["clip"] = 0
        keys["update"] = '"backward"'
    return "pad"


KEEPS = ("auto", "all", "light", "none", "offload", "away")


def draw_means(rng, layers, keys):
    """What the solver would choose otherwise."""
    keep = rng.choice(("auto",) * 4 + KEEPS[1:] + ("table",))
    if keep == "table":
        keep = table({f"[{i}]": f'"{rng.choice(KEEPS)}"'
                      for i in range(layers) if rng.random() < 0.7})
    keys["keep"] = keep if keep[0] == "{" else f'"{keep}"'
    keys["logits_chunk"] = rng.choice((0, 0, 0, 64, 256))
    keys["mlp_chunk"] = rng.choice((0, 0, 0, 64, 256))
    keys["states"] = rng.choice(('"device"', '"device"', '"host"'))


def table(values):
    return "{ %s }" % ", ".join(f"{k} = {v}" for k, v in values.items())


def write_rows(path, rng, longest):
    least = max(2, longest // rng.choice((1, 2, 16)))
    with open(path, "w") as file:
        for _ in range(ROWS):
            ids = [rng.randrange(3, 480)
                   for _ in range(rng.randint(least, longest))]
            file.write(json.dumps({"input_ids": ids}) + "\n")


def write(folder, rng, size):
    """Folder and recipe; a dict of what was drawn."""
    size = SIZES[size]
    folder.mkdir(parents=True)
    config = draw_config(rng, size)
    for file in TOKENIZER.glob("tokenizer*.json"):
        shutil.copy(file, folder)
    (folder / "config.json").write_text(json.dumps(config))
    longest = rng.randint(*size["length"])
    write_rows(folder / "rows.jsonl", rng, longest)
    keys = {"seed": rng.randrange(100), "steps": rng.choice((3, 5, 8)),
            "save": rng.choice(("{}", "{}", "{ every = 2, keep = 1 }"))}
    method, model = draw_method(rng, size, config, keys)
    name, options = draw_optimizer(rng)
    layout = draw_layout(rng, size, longest, keys)
    draw_means(rng, config["num_hidden_layers"], keys)
    if size["gpu"] and method != "fp8" and "update" not in keys:
        keys["precision"] = rng.choice(('"auto"',) * 4 + ('"fp16"', '"fp32"'))
    data = {"val": rng.choice((0, 4))}
    if data["val"] and rng.random() < 0.5:
        keys["eval"] = "{ every = 2 }"
    keys = {"model": "hone.model { \".\", %s" % table(model)[2:],
            "data": "hone.data.tokenized { \"rows.jsonl\", %s" %
                    table(data)[2:],
            "optimizer": f"hone.{name} {table(options)}", **keys}
    (folder / "recipe.lua").write_text(
        'local hone = require "hone"\nreturn hone.train {\n' +
        "".join(f"  {k} = {v},\n" for k, v in keys.items()) + "}\n")
    return f"{config['model_type']} {method} {name} {layout}"


# ---------------------------------------------------------------- budgets

UNITS = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}


def least(refusal):
    """Bytes that a refused run needs, with what rounding may have taken; 0:
    the text does not say."""
    found = re.search(r"needs ([0-9.]+) (\w+) of memory at the least", refusal)
    return int((float(found[1]) + 0.01) * UNITS[found[2]]) if found else 0


def budget(rng, least_bytes, most):
    """From the least to what is plenty, which a third of them are."""
    share = rng.choice((0, 0.1, 0.3, 0.6, 2, 2))
    return int(least_bytes + max(most - least_bytes, 0) * share) + 1024


def allow(recipe, bytes_):
    """The recipe's budget, in its file."""
    text = recipe.read_text()
    recipe.write_text(text[:-2] + f'  memory = "{bytes_ >> 10}KiB",\n}}\n')


def same_plan(a, b):
    """But for what a run does not look for: the runners-up."""
    cut = r', "runners_up": \[[^]]*\]'
    return re.sub(cut, "", a) == re.sub(cut, "", b)
