#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""hone.lora's ways to say which modules are adapted and how: names, patterns,
ranks and alphas by pattern; what the adapter's files then say to PEFT, and that
a run goes on from them. parity/families.py shows that PEFT reads them so. What
LoRA+'s rates do, whatever the optimizer. DoRA: what it starts from, and that it
is the same read back, merged and evaluated; parity/adapters.py holds both
against PEFT."""
import array
import json
import pathlib
import shutil
import sys
import tempfile

import test_families
import tiny_run

LORA = """adapter = hone.lora { r = 4, alpha = 8,
    targets = { "q_proj", [[model\\.layers\\.[12]\\.mlp\\.(up|down)_proj]] },
    rank_pattern = { ["mlp.*"] = 2, [ [[layers\\.1\\.mlp\\.up_proj]] ] = 3 },
    alpha_pattern = { q_proj = 5 } },"""
INIT = 'adapter = hone.lora { init = "out/adapter" },'
AT = "base_model.model.model.layers.%s.lora_A.weight"
RANKS = {AT % "0.self_attn.q_proj": 4, AT % "1.self_attn.q_proj": 4,
         AT % "2.self_attn.q_proj": 4, AT % "1.mlp.up_proj": 3,
         AT % "1.mlp.down_proj": 2, AT % "2.mlp.up_proj": 2,
         AT % "2.mlp.down_proj": 2}
BAD = [
    ('targets = "q_(proj"', "regular expression"),
    ('targets = "mlp.(gate|down)_pro"', "names no linear"),
    ('rank_pattern = { q_proj = 2.5 }', "whole numbers above 0"),
    ('modules_to_save = "lm_hed"', "is no module of this model"),
    ('rank_pattern = "q_proj=2"', "a table such as"),
    ('alpha_pattern = { ["q_(proj"] = 2 }', "regular expression"),
    ('init = "out/adapter", rank_pattern = { q_proj = 2 }', "leave it out"),
]


def write(folder, adapter):
    recipe = tiny_run.RECIPE % (adapter, "hone.pack { tokens = 2048 }")
    (folder / "r.lua").write_text(recipe)


def shapes(path):
    with open(path / "adapter_model.safetensors", "rb") as f:
        header = json.loads(f.read(int.from_bytes(f.read(8), "little")))
    return {n: t["shape"] for n, t in header.items() if "lora_A" in n}


def tensors(path):
    """Of an adapter, which is fp32: numbers by name."""
    data = (path / "adapter_model.safetensors").read_bytes()
    n = int.from_bytes(data[:8], "little")
    return {name: array.array("f", data[8 + n + t["data_offsets"][0]:
                                        8 + n + t["data_offsets"][1]])
            for name, t in json.loads(data[8:8 + n]).items()
            if name != "__metadata__"}


def check_rates(folder, more):
    """One step of SGD from where B is 0 and A has no gradient: B is what was
    taken, and that is 16 times as much, to the bit."""
    at = {}
    for ratio in 1, 16:
        adapter = f"adapter = hone.lora {{ r = 4, lr_ratio = {ratio} }}, {more}"
        recipe = tiny_run.RECIPE % (adapter, "hone.pack { tokens = 2048 }")
        (folder / "r.lua").write_text(recipe.replace(
            "adamw { lr = 1e-2, weight_decay = 0.1 }", "sgd { lr = 0.125 }")
            .replace("steps = 5", "steps = 2"))
        run(folder, f"ratio{ratio}", "--fresh")
        at[ratio] = tensors(folder / f"ratio{ratio}/adapter")
    for name, was in at[1].items():
        is_b = ".lora_B." in name
        assert any(was), name
        assert [x * (16 if is_b else 1) for x in was] == list(at[16][name])
    _, text = test_families.hone(folder, "run", "r.lua", "--set",
                                 "adapter.lr_ratio=4", "--out",
                                 folder / "ratio16")
    assert "'adapter.lr_ratio' is 4 and was 16" in text, text


def losses(folder, out):
    lines = map(json.loads, (folder / out / "metrics.jsonl").read_text()
                .splitlines())
    return [m.get("loss", m.get("eval_loss")) for m in lines]


def call(folder, *arguments):
    code, text = test_families.hone(folder, *arguments)
    assert code == 0, text
    return text


def check_dora(folder):
    recipe = tiny_run.RECIPE % ("adapter = hone.lora { r = 4, %s },",
                                "hone.pack { tokens = 1024 }")
    write = (folder / "r.lua").write_text
    write(recipe % "dropout = 0.1")
    run(folder, "lora", "--set", "steps=1")
    write(recipe % "dora = true, dropout = 0.1")
    config = run(folder, "dora", "--set", "steps=1")
    assert config["use_dora"] is True, config
    # Before anything is learnt it is the model itself, as LoRA is.
    assert losses(folder, "dora")[:2] == losses(folder, "lora")[:2]
    got = tensors(folder / "dora/adapter")
    assert len([n for n in got if n.endswith(".lora_magnitude_vector")]) == 21

    # More micro-batches, layers computed again: the same to rounding.
    write(recipe % "dora = true")
    for out, more in (("one", []), ("two", ["keep=none", "batch.tokens=384"])):
        run(folder, out, *[a for m in more for a in ("--set", m)])
    for a, b in zip(losses(folder, "one"), losses(folder, "two")):
        assert abs(a - b) < 1e-5 * a, (a, b)
    # From files, as they are and as codes.
    write(recipe.replace('init = "random"', 'storage = "%s"') % (
        "file", "dora = true"))
    (folder / "full.lua").write_text((folder / "full.lua").read_text().replace(
        "steps = 5", "steps = 1"))
    call(folder, "run", "full.lua", "--out", folder / "base", "--set",
         "optimizer.lr=0")
    for storage in "file", "nf4":
        write((folder / "r.lua").read_text().replace('"model"', '"base/model"')
              .replace('"file"', f'"{storage}"'))
        run(folder, storage)
        ours = json.loads(call(folder, "eval", "r.lua", "--adapter",
                               folder / storage / "adapter", "--json")
                          .splitlines()[-1])["loss"]
        assert abs(ours - losses(folder, storage)[-1]) < 1e-6
        call(folder, "export", folder / storage, "--to", "merged", "--out",
             folder / f"merged-{storage}")
        text = recipe.replace(', init = "random"', "") % "dora = true"
        write(text.replace('"model"', f'"merged-{storage}"'))
        merged = json.loads(call(folder, "eval", "r.lua", "--json")
                            .splitlines()[-1])["loss"]
        assert abs(ours - merged) < 1e-5, (ours, merged)
        write(recipe.replace('init = "random"', 'storage = "file"') %
              "dora = true")
    write(recipe % 'init = "file/adapter", dora = false')
    code, text = test_families.hone(folder, "check", "r.lua")
    assert code == 2 and "'dora' is 0 here and 1 in the adapter" in text, text


def run(folder, out, *more):
    code, text = test_families.hone(folder, "run", "r.lua", *more, "--out",
                                    folder / out)
    assert code == 0, text
    return json.loads((folder / out / "adapter/adapter_config.json")
                      .read_text())


def main(folder):
    tiny_run.main(folder)
    write(folder, LORA)
    first = run(folder, "out")
    got = shapes(folder / "out/adapter")
    assert {n: s[0] for n, s in got.items()} == RANKS, got
    assert list(first["rank_pattern"].items()) == [
        (r"layers\.1\.mlp\.up_proj", 3), ("mlp.*", 2)], first
    assert first["alpha_pattern"] == {"q_proj": 5}, first
    # Names alone would mean gate_proj's and layer 0's neighbours too.
    assert sorted(first["target_modules"]) == sorted(
        n[len("base_model.model."):-len(".lora_A.weight")] for n in RANKS)

    write(folder, INIT)
    second = run(folder, "again")
    assert second == first, (first, second)
    assert shapes(folder / "again/adapter") == got

    write(folder, 'adapter = hone.lora { modules_to_save = "embed_tokens" },')
    third = run(folder, "saved")
    assert third["modules_to_save"] == ["embed_tokens", "lm_head"], third
    write(folder, INIT.replace("out", "saved"))
    assert run(folder, "on") == third
    config = folder / "saved/adapter/adapter_config.json"
    config.write_text(json.dumps({**third, "modules_to_save": ["lm_head"]}))
    BAD.append(('init = "saved/adapter"', "nor of a module"))

    for options, words in BAD:
        write(folder, "adapter = hone.lora { %s }," % options)
        code, text = test_families.hone(folder, "check", "r.lua")
        assert code == 2 and words in text, (options, code, text)
    check_dora(folder)
    shutil.rmtree(folder / "again")
    check_rates(folder, "")
    check_rates(folder, 'clip = 0, update = "backward",')


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="hone-lora-") as temporary:
        main(pathlib.Path(temporary) / "tiny")
