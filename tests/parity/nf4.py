#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""For developers: nf4 against bitsandbytes on the CPU. Needs torch,
transformers, accelerate, bitsandbytes.

    nf4.py golden > tests/golden/nf4.txt   what test_nf4_codes holds hone to
    nf4.py BUILD MODEL                     a real model: what `hone export --to
        nf4` writes against what Transformers saves; each reads the other's, and
        the logits of hone are those of the same numbers in Transformers

Exit status 1 where codes or scales of blocks differ; where second codes or
scales do though the offset does not; where an offset is further away than what
torch's sum in fp32 makes of it (4 ulp; hone sums up in double), or a second
scale further than twice that; and where a logit is more than 1e-5 of the
largest off."""
import json
import os
import subprocess
import sys
import tempfile

os.environ["OMP_NUM_THREADS"] = "1"  # in threads of loaders as well

import numpy
import torch


# ---------------------------------------------------------------- the golden

def weights(count):
    """As weight() in test_nf4_codes.c."""
    i = numpy.arange(count, dtype=numpy.uint64)
    u = ((i * 2654435761) & 0xffffffff) >> numpy.uint64(8)
    d = u.astype(numpy.float64) / 2**24 - 0.5
    by = 1 + (i // 64 % 7).astype(numpy.float64)
    return (d * d * d * by).astype(numpy.float32)


def golden():
    import bitsandbytes.functional as F
    for count in (64, 250, 63, 256 * 64 + 64 * 40 + 9):
        x = torch.tensor(weights(count)).reshape(1, -1)
        codes, state = F.quantize_4bit(x, quant_type="nf4",
                                       compress_statistics=True)
        _, plain = F.quantize_4bit(x, quant_type="nf4",
                                   compress_statistics=False)
        back = F.dequantize_4bit(codes, state).reshape(-1)[::61]
        print(count)
        print(bytes(codes.numpy().ravel()).hex())
        print(bytes(state.absmax.numpy()).hex())
        for numbers in (plain.absmax, state.state2.absmax,
                        state.offset.reshape(1), back):
            print(" ".join(f"{v:.9g}" for v in numbers.tolist()))


# ------------------------------------------------------------- a real model

def say(good, text):
    print(("ok    " if good else "WRONG ") + text)
    return 0 if good else 1


def ulps(a, b, of):
    """The largest difference, in ulps of the number OF."""
    return float(numpy.abs(a.astype(numpy.float64) - b).max()
                 / numpy.spacing(numpy.float32(abs(of))))


def quantised(folder):
    """{weight: {part: array or dict}} and the names of all tensors."""
    from safetensors import safe_open
    with safe_open(os.path.join(folder, "model.safetensors"), "np") as f:
        found = {}
        for name in f.keys():
            if ".quant_state." not in name:
                continue
            base = name.split(".quant_state.")[0]
            parts = {p: f.get_tensor(f"{base}.{p}") for p in
                     ("absmax", "nested_absmax", "quant_map",
                      "nested_quant_map")}
            parts["codes"] = f.get_tensor(base)
            parts["state"] = json.loads(bytes(f.get_tensor(name)))
            found[base] = parts
        return found, sorted(f.keys())


def compare(ours, theirs):
    (a, names_a), (b, names_b) = quantised(ours), quantised(theirs)
    wrong = say(names_a == names_b and a, f"{len(a)} quantised weights, "
                f"{len(names_a)} tensors of the same names")
    codes = second = same = coded = 0
    offsets = []
    for name, x in a.items():
        y = b[name]
        codes += int((x["codes"] != y["codes"]).sum())
        sx, sy = dict(x["state"]), dict(y["state"])
        ox, oy = (numpy.float32(s.pop("nested_offset")) for s in (sx, sy))
        wrong += sx != sy and say(False, f"{name}: {sx} and {sy}")
        for part in ("quant_map", "nested_quant_map"):
            wrong += (x[part] != y[part]).any() and say(False, name + part)
        offsets.append(ulps(ox, oy, oy))
        second = max(second, ulps(x["nested_absmax"], y["nested_absmax"],
                                  max(oy, y["nested_absmax"].max())))
        if ox == oy:
            same += 1
            coded += int((x["absmax"] != y["absmax"]).sum())
            wrong += (x["nested_absmax"] != y["nested_absmax"]).any() and say(
                False, f"{name}: second scales differ")
    wrong += say(codes == 0, f"codes: {codes} differ")
    near = sum(o <= 1 for o in offsets)
    wrong += say(max(offsets) <= 4, f"offsets: {near} within one ulp, all "
                 f"within {max(offsets):.0f}")
    wrong += say(second <= 8, f"second scales: within {second:.0f} ulp of the "
                 "largest or the offset")
    return wrong + say(coded == 0, f"second codes: {coded} differ in the "
                       f"{same} weights with the same offset")


def hone(build, *args):
    subprocess.run([os.path.join(build, "bin/hone"), *args], check=True,
                   stderr=subprocess.DEVNULL)


def logits(build, model, rows):
    with tempfile.TemporaryDirectory() as folder:
        ids, out = os.path.join(folder, "ids"), os.path.join(folder, "out")
        with open(ids, "w", encoding="ascii") as f:
            f.writelines(" ".join(map(str, row)) + "\n" for row in rows)
        subprocess.run([os.path.join(build, "bin/parity_dump"), "logits",
                        model, "-", ids, out], check=True)
        flat = numpy.fromfile(out, dtype=numpy.float32)
    return flat.reshape(sum(map(len, rows)), -1)


def load(folder, **more):
    import transformers
    transformers.utils.logging.disable_progress_bar()
    return transformers.AutoModelForCausalLM.from_pretrained(
        folder, device_map={"": "cpu"}, **more)


def real(build, model):
    import transformers
    rows = [[1, 2, 3, 4, 5, 100, 200, 300], [7, 8, 9, 10]]
    how = transformers.BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=torch.float32)
    with tempfile.TemporaryDirectory() as folder:
        ours, theirs, plain = (os.path.join(folder, n) for n in
                               ("ours", "theirs", "plain"))
        hone(build, "export", model, "--to", "nf4", "--out", ours)
        load(model, quantization_config=how,
             dtype=torch.float32).save_pretrained(theirs)
        wrong = compare(ours, theirs)
        # Both ways: Transformers reads ours, hone reads theirs. What the
        # numbers mean is compared in double, as plain matrices.
        for name, made in (("hone", ours), ("Transformers", theirs)):
            hone(build, "export", made, "--to", "merged", "--out", plain)
            got = logits(build, made, rows)
            want = load(plain, dtype=torch.float64).eval()
            model4 = load(made, dtype=torch.float32).eval()
            first = model4.model.layers[0].mlp.up_proj.weight
            import bitsandbytes.functional as F
            same = torch.equal(
                F.dequantize_4bit(first.data, first.quant_state).double(),
                want.model.layers[0].mlp.up_proj.weight)
            wrong += say(same, f"made by {name}: bitsandbytes and hone read "
                         "the same numbers")
            with torch.no_grad():
                want = numpy.concatenate([want(torch.tensor([r])).logits[0]
                                          .numpy() for r in rows])
            off = float(numpy.abs(got - want).max() / numpy.abs(want).max())
            wrong += say(off < 1e-5, f"made by {name}: logits within {off:.1e} "
                         "of the largest")
            subprocess.run(["rm", "-r", plain], check=True)
    return 1 if wrong else 0


if __name__ == "__main__":
    if sys.argv[1:] == ["golden"]:
        golden()
    elif len(sys.argv) == 3:
        sys.exit(real(*sys.argv[1:]))
    else:
        sys.exit(__doc__)
