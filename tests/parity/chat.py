#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Chat templates against Transformers: the same text, or the same refusal.

    PY tests/parity/chat.py [--plugin build/lib/hone/plugins/jinja.so] [--random 300]
    PY tests/parity/chat.py --spans [--random 300]
    PY tests/parity/chat.py --golden tests/golden/chat.json --each 12
    PY tests/parity/chat.py --engine tests/golden/jinja.json

PY is a Python with transformers and jinja2. For each template of the test
material (HONE_TEST_DATA) its own cases with their expected output, then random
conversations that Transformers renders (render_jinja_template). What
raise_exception says must be equal; of other errors only that there is one.
--spans looks at what is to be learnt instead, where a template does not mark it:
how often a turn is not found, and that what is found has what the assistant
says and nothing that others say.
--golden writes what a few of them give, for tests/test_template.c; --engine
what jinja2 makes of tests/jinja_templates.py, which is compared here as well.
"""
import argparse
import hashlib
import json
import os
import pathlib
import random
import re
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
import jinja_templates  # noqa: E402
from template_plugin import ASSISTANT, Plugin, Refused  # noqa: E402

DATA = pathlib.Path(os.environ.get("HONE_TEST_DATA", "/nonexistent"))


# ------------------------------------------------------------ the reference

def reference(template, variables):
    """("text", it), ("raised", words) or ("error", words)."""
    import jinja2
    from transformers.utils.chat_template_utils import render_jinja_template
    v = dict(variables)
    chat = v.pop("messages")
    try:
        text, _ = render_jinja_template(
            conversations=[chat], tools=v.pop("tools", None),
            documents=v.pop("documents", None), chat_template=template,
            add_generation_prompt=v.pop("add_generation_prompt", False), **v)
        return "text", text[0]
    except jinja2.exceptions.TemplateError as e:
        if type(e) is jinja2.exceptions.TemplateError:
            return "raised", str(e)
        return "error", f"{type(e).__name__}: {e}"
    except Exception as e:  # whatever Python itself raises
        return "error", f"{type(e).__name__}: {e}"


def ours(loaded, variables):
    try:
        return "text", loaded.render(variables)
    except Refused as e:
        return ("raised", e.raised) if e.raised is not None else ("error",
                                                                   str(e))


def differs(a, b):
    return a[0] != b[0] or (a[0] != "error" and a[1] != b[1])


# ------------------------------------------------------- random conversations

WORDS = ["Hello", "world", "how", "are", "you", "naïve", "日本語", "🙂", "1.5",
         "<b>", "&", "\"quoted\"", "it's", "\\n", "{{ x }}", "{%", "x = 1;",
         "a\tb", "tool", "answer", "<|im_end|>", "</s>", "ß", "É"]
SPACES = [" ", "\n", "\n\n", "  ", "\t", " \n "]


def words(r, most=12):
    text = "".join(r.choice(WORDS) + r.choice(SPACES)
                   for _ in range(r.randint(0, most)))
    if r.random() < 0.6:
        text = text.strip()
    return r.choice(["", " ", "\n"]) + text if r.random() < 0.2 else text


def value(r, depth=0):
    kind = r.randint(0, 9 if depth < 3 else 6)
    if kind == 0:
        return r.randint(-1000, 10**12)
    if kind == 1:
        return r.choice([0.0, 1.0, -2.5, 1e-7, 3.14159, 1e22, 1e16, 0.1])
    if kind == 2:
        return r.choice([True, False])
    if kind == 3:
        return None
    if kind < 7:
        return words(r, 3)
    if kind == 7:
        return [value(r, depth + 1) for _ in range(r.randint(0, 3))]
    return {r.choice(["a", "b", "city", "items", "日", "n 1", "type"]):
            value(r, depth + 1) for _ in range(r.randint(0, 3))}


def parameter(r, depth=0):
    p = {"type": r.choice(["string", "integer", "number", "boolean", "array",
                           "object", ["string", "null"]])}
    if r.random() < 0.7:
        p["description"] = words(r, 5)
    if p["type"] == "array" and r.random() < 0.8:
        p["items"] = parameter(r, depth + 1) if depth < 2 else {"type": "string"}
    if p["type"] == "object" and r.random() < 0.8 and depth < 2:
        p["properties"] = {k: parameter(r, depth + 1)
                           for k in r.sample(["x", "y", "z"], r.randint(0, 3))}
    if r.random() < 0.2:
        p["enum"] = [words(r, 1) for _ in range(r.randint(1, 3))]
    if r.random() < 0.2:
        p["default"] = value(r, 2)
    if r.random() < 0.1:
        p["nullable"] = r.random() < 0.5
    if r.random() < 0.1:
        p["oneOf"] = [{"type": "string"}, {"type": "integer", "default": 3}]
    return p


def tool(r):
    names = r.sample(["city", "unit", "count", "filter", "when"],
                     r.randint(0, 4))
    f = {"name": r.choice(["get_weather", "search", "add", "run-it"]),
         "description": words(r, 6),
         "parameters": {"type": "object",
                        "properties": {n: parameter(r) for n in names},
                        "required": names[:r.randint(0, len(names))]}}
    if r.random() < 0.1:
        del f["parameters"]
    if r.random() < 0.1:
        f["return"] = {"type": "string", "description": words(r, 3)}
    return f if r.random() < 0.1 else {"type": "function", "function": f}


def tool_call(r):
    args = {k: value(r) for k in r.sample(["city", "n", "x"], r.randint(0, 3))}
    f = {"name": r.choice(["get_weather", "search", "add"]),
         "arguments": json.dumps(args) if r.random() < 0.3 else args}
    c = f if r.random() < 0.1 else {"type": "function", "function": f}
    if r.random() < 0.6:
        c["id"] = r.choice(["abcdefghi", "call_1", "123456789", "functions.add:0"])
    return c


def content(r):
    if r.plain or r.random() < 0.8:
        return words(r)
    parts = [{"type": "text", "text": words(r)} for _ in range(r.randint(1, 2))]
    if r.random() < 0.3:
        parts.insert(0, {"type": r.choice(["image", "image_url", "video"])})
    return parts


def assistant(r):
    m = {"role": "assistant", "content": content(r)}
    if r.random() < 0.25 and isinstance(m["content"], str):
        m["content"] = ("<think>" + words(r, 4) + "</think>" + words(r, 1)
                        + m["content"])
    if r.random() < 0.15:
        m[r.choice(["reasoning_content", "thinking", "reasoning"])] = words(r, 4)
    if r.random() < 0.2:
        m["tool_calls"] = [tool_call(r) for _ in range(r.randint(0, 2))]
        if r.random() < 0.5:
            m["content"] = "" if r.plain else None
        elif not r.plain and r.random() < 0.3:
            del m["content"]
    if r.random() < 0.05:
        m["channel"] = r.choice(["final", "analysis", "commentary"])
    return m


def tool_result(r):
    m = {"role": r.choice(["tool", "tool", "ipython"]),
         "content": r.choice([words(r), json.dumps(value(r)), content(r)])}
    if r.random() < 0.5:
        m["tool_call_id"] = r.choice(["abcdefghi", "call_1"])
    if r.random() < 0.5:
        m["name"] = "get_weather"
    if not r.plain and r.random() < 0.1:
        m["content"] = value(r)
    return m


def conversation(r):
    """Two in three are what a template expects; the others are not."""
    messages = []
    r.plain = r.random() < 0.66
    if r.random() < 0.4:
        messages.append({"role": r.choice(["system", "system", "developer"]),
                         "content": content(r)})
    for _ in range(r.randint(1 if r.plain else 0, 4)):
        messages.append({"role": "user", "content": content(r)})
        if r.plain or r.random() < 0.85:
            messages.append(assistant(r))
            while messages[-1].get("tool_calls") and r.random() < 0.8:
                messages.append(tool_result(r))
                if r.random() < 0.7:
                    messages.append(assistant(r))
    if r.plain and r.random() < 0.5:
        messages.append({"role": "user", "content": content(r)})
    if not r.plain and r.random() < 0.3:
        r.shuffle(messages)
    if r.random() < 0.05:
        messages.append({"role": r.choice(["critic", "user"]), "content": "?"})
    v = {"messages": messages, "add_generation_prompt": r.random() < 0.5,
         "bos_token": r.choice(["<s>", "<|begin_of_text|>", ""]),
         "eos_token": r.choice(["</s>", "<|im_end|>"])}
    if r.random() < 0.3:
        v["tools"] = [tool(r) for _ in range(r.randint(0, 3))]
    if r.random() < 0.1:
        v["documents"] = [{"title": words(r, 2), "text": words(r)}
                          for _ in range(r.randint(1, 2))]
    for name in ("enable_thinking", "thinking", "keep_thinking"):
        if r.random() < 0.15:
            v[name] = r.random() < 0.5
    if r.random() < 0.1:
        v["reasoning_effort"] = r.choice(["low", "high"])
    if r.random() < 0.1:
        v["builtin_tools"] = r.choice([["browser"], ["python", "browser"], []])
    if r.random() < 0.1:
        v["date_string"] = "1 Jan 2025"
    return v


# ------------------------------------------------------- the test material

def cases(root):
    """(name, template, variables, expected text) of the material."""
    base = root / "chat_templates"
    for c in json.load(open(base / "hf_jinja/chat_template_cases.json")):
        yield "hf_jinja/" + c["name"], c["chat_template"], c["data"], \
            c["expected"], c
    d = json.load(open(base / "llama_cpp/chat_template_cases.json"))
    for c in d["cases"]:
        v = {k: d[k] for k in ("messages", "add_generation_prompt")}
        v.update({k: c[k] for k in ("bos_token", "eos_token") if k in c})
        yield "llama_cpp/" + c["name"], c["chat_template"], v, \
            c.get("expected_jinja"), c
    qwen = (base / "trl/qwen3.jinja").read_text()
    for i, c in enumerate(json.load(open(base / "meta_pytorch/qwen3_cases.json"))):
        v = {k: c[k] for k in ("messages", "add_generation_prompt")}
        yield f"meta_pytorch/{i}", qwen, {**v, **c["kwargs"]}, c["expected"], c


def templates(root):
    """{text: name}, each once."""
    found = {}
    for p in sorted((root / "chat_templates").rglob("*.jinja")):
        found.setdefault(p.read_text(), f"{p.parent.name}/{p.name}")
    for name, text, *_ in cases(root):
        found.setdefault(text, name)
    for p in sorted((root / "tokenizers").glob("*/tokenizer_config.json")):
        text = json.load(open(p)).get("chat_template")
        if isinstance(text, str):
            found.setdefault(text, f"tokenizers/{p.parent.name}")
    return found


# --------------------------------------------------------------------- main

def show(name, variables, want, got):
    print(f"--- {name}")
    print("variables:", json.dumps(variables, ensure_ascii=False)[:1500])
    print("want:", repr(want)[:1200])
    print("got: ", repr(got)[:1200])


def check_cases(plugin, root):
    bad = count = other = 0
    for name, text, variables, expected, c in cases(root):
        got = ours(plugin.load(text), variables)
        want = reference(text, variables)
        count += 1
        if got == ("text", expected):
            continue
        if not differs(want, got):
            other += 1
            print(f"note: {name}: Transformers gives something else than the "
                  f"case expects (jinja2 flag there: "
                  f"{c.get('jinja2_3.1.2_reproduces')}); equal to Transformers")
            continue
        bad += 1
        show(name, variables, expected, got)
    print(f"{count} cases of the material, {bad} differ, {other} where "
          "Transformers itself differs from the case")
    return bad


def write(path, parts):
    """An object of lists and objects, one item of these a line."""
    def one(x):
        return json.dumps(x, ensure_ascii=False, separators=(",", ":"))

    with open(path, "w") as f:
        for i, (key, part) in enumerate(parts.items()):
            rows = ([f"{one(k)}:{one(v)}" for k, v in part.items()]
                    if isinstance(part, dict) else [one(v) for v in part])
            ends = "{}" if isinstance(part, dict) else "[]"
            f.write(("," if i else "{") + f"{one(key)}:{ends[0]}\n"
                    + ",\n".join(rows) + f"\n{ends[1]}\n")
        f.write("}\n")


def check_engine(plugin):
    bad = 0
    for text in jinja_templates.all_templates():
        want = reference(text, jinja_templates.VARIABLES)
        got = ours(plugin.load(text), jinja_templates.VARIABLES)
        if want[0] == "text" and re.search(r" at 0x|<function|<built-in",
                                           want[1]):
            continue  # an address
        if differs(want, got):
            bad += 1
            print(f"--- {text!r}\nwant: {want!r}\ngot:  {got!r}")
    print(f"{len(jinja_templates.all_templates())} small templates, {bad} "
          "differ")
    return bad


def write_engine(path):
    out = []
    for text in jinja_templates.all_templates():
        kind, it = reference(text, jinja_templates.VARIABLES)
        if not re.search(r" at 0x|<function|<built-in", it):
            out.append([text, kind, it if kind != "error" else ""])
    write(path, {"variables": jinja_templates.VARIABLES, "templates": out})


def check_random(plugin, root, n, seed, only, most):
    bad = total = raised = errors = 0
    for text, name in templates(root).items():
        if only and not re.search(only, name):
            continue
        r = random.Random(f"{seed} {name}")
        loaded = plugin.load(text)
        wrong = 0
        for _ in range(n):
            variables = conversation(r)
            want = reference(text, variables)
            got = ours(loaded, variables)
            total += 1
            raised += want[0] == "raised"
            errors += want[0] == "error"
            if differs(want, got):
                wrong += 1
                if wrong <= most:
                    show(name, variables, want, got)
        if wrong:
            print(f"{name}: {wrong} of {n} differ")
        bad += wrong
    print(f"{total} random conversations, {bad} differ; in {raised} the "
          f"template raises, in {errors} there is another error")
    return bad


def misplaced(text, spans, messages):
    """A content (a long one: short ones stand in others) that is not on its
    side of the spans; None: all are."""
    rest, at = b"", 0
    for a, b in spans:
        rest, at = rest + text[at:a] + b"\0", b
    side = {True: b"\0".join(text[a:b] for a, b in spans),
            False: rest + text[at:]}
    said, raw = {True: [], False: []}, {True: "", False: ""}
    for m in messages:
        c, whose = m.get("content"), m["role"] == "assistant"
        raw[whose] += str(c) + "\0"
        if isinstance(c, str) and not m.get("tool_calls"):
            c = re.sub(r"<think>.*</think>", "", c, flags=re.S).strip()
            said[whose].append(c)
    for whose, contents in said.items():
        for c in contents:
            if len(c) > 12 and c not in raw[not whose] and \
                    c.encode() in text and c.encode() not in side[whose]:
                return c
    return None


def check_spans(plugin, root, n, seed, only, most):
    bad = total = lost = 0
    for text, name in templates(root).items():
        if (only and not re.search(only, name)) or \
                re.search(r"{%[-+]?\s*generation", text):
            continue
        r = random.Random(f"{seed} {name} spans")
        loaded = plugin.load(text)
        told = {}
        for _ in range(n):
            v = dict(conversation(r), add_generation_prompt=False)
            if not r.plain or ours(loaded, v)[0] != "text":
                continue
            total += 1
            try:
                c = misplaced(*loaded.call(v, ASSISTANT), v["messages"])
            except Refused as e:
                words = re.sub(r"message \d+: (.*?);.*", r"\1", str(e))
                told[words] = told.get(words, 0) + 1
                continue
            if c is not None:
                bad += 1
                show(name, v, c, loaded.call(v, ASSISTANT)) \
                    if bad <= most else None
        for words, count in told.items():
            print(f"{name}: {count}: {words}")
            lost += count
    print(f"{total} random conversations, in {lost} a turn is not found, in "
          f"{bad} the wrong words are learnt")
    return bad


def digest(outcome):
    """t: text, r: raised, with the SHA-256 of it; e: another error."""
    kind, it = outcome
    sha = hashlib.sha256(it.encode()).hexdigest()[:12]
    return "e" if kind == "error" else f"{kind[0]}:{sha}"


def write_golden(root, path, each, seed):
    r = random.Random(f"golden {seed}")
    chats = [conversation(r) for _ in range(each)]
    out = {"conversations": chats, "templates": {}}
    for text, name in sorted(templates(root).items(), key=lambda x: x[1]):
        if "strftime_now" not in text:  # another text tomorrow
            out["templates"][name] = " ".join(
                digest(reference(text, v)) for v in chats)
    write(path, out)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--plugin", default="build/lib/hone/plugins/jinja.so")
    p.add_argument("--random", type=int, default=300)
    p.add_argument("--seed", default="0")
    p.add_argument("--only", help="a regular expression on template names")
    p.add_argument("--show", type=int, default=2, help="differences shown")
    p.add_argument("--golden")
    p.add_argument("--engine")
    p.add_argument("--spans", action="store_true")
    p.add_argument("--each", type=int, default=12,
                   help="conversations of the golden file")
    a = p.parse_args()
    if a.golden:
        write_golden(DATA, a.golden, a.each, a.seed)
        return 0
    if a.engine:
        write_engine(a.engine)
        return 0
    plugin = Plugin(a.plugin)
    bad = 0
    if a.spans:
        return check_spans(plugin, DATA, a.random, a.seed, a.only,
                           a.show) != 0
    if not a.only:
        bad += check_engine(plugin) + check_cases(plugin, DATA)
    bad += check_random(plugin, DATA, a.random, a.seed, a.only, a.show)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
