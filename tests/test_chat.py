#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Chats from the model's folder to ids: where the template and its special
tokens come from, `hone tokenize --chat`, the rows of hone.data.messages,
sharegpt and preference with what is learnt of them, and rows that are named.
"""
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

BUILD = pathlib.Path(sys.argv[1]).resolve()
SOURCE = pathlib.Path(__file__).resolve().parent.parent
TEMPLATE = """{{ bos_token }}{% for m in messages -%}
<{{ m.role }}>{% if m.tool_calls %}{% for c in m.tool_calls -%}
call {{ c.function.name }} {{ c.function.arguments|tojson }}{% endfor %}{% else -%}
{{ m.content }}{% endif %}</s>
{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"""
RECIPE = """local hone = require "hone"
return hone.train {
  model = hone.model "model",
  data = hone.data.%s,
  batch = hone.pack {}, optimizer = hone.adamw {},
  global_batch = 1, steps = 1,
}
"""
bad = []


def check(what, got, want):
    if got != want:
        bad.append(what)
        print(f"{what}\n  want {want!r}\n  got  {got!r}")


def hone(folder, *args, **more):
    env = {**os.environ, "HONE_CACHE": str(folder / "cache"), "NO_COLOR": "1"}
    return subprocess.run([BUILD / "bin/hone", *args], cwd=folder, env=env,
                          text=True, capture_output=True, **more)


def model(folder, base, template=TEMPLATE, config=None):
    """A folder with the tokenizer BASE of tests/tokenizer."""
    to = folder / "model"
    to.mkdir(exist_ok=True)
    bases = json.load(open(SOURCE / "tests/tokenizer/cases.json"))["bases"]
    (to / "tokenizer.json").write_text(json.dumps(bases[base]))
    for old in ("chat_template.jinja", "special_tokens_map.json"):
        (to / old).unlink(missing_ok=True)
    (to / "tokenizer_config.json").write_text(json.dumps(config or {
        "bos_token": "<s>", "eos_token": {"content": "</s>"},
        "chat_template": template}))
    return to


def texts(folder, lines, *flags):
    done = hone(folder, "tokenize", "model", "--chat", *flags,
                input="".join(json.dumps(x) + "\n" for x in lines))
    return [json.loads(x) for x in done.stdout.splitlines()], done


HI = [{"role": "user", "content": "the cat"}]
PLAIN = "<s><user>the cat</s>\n"


def test_sources(folder):
    """The same template from all places that Transformers reads."""
    to = model(folder, "pieces")
    check("config", texts(folder, [HI], "--text")[0], [PLAIN])
    named = [{"name": "tool_use", "template": "tools {{ tools|length }}"},
             {"name": "default", "template": TEMPLATE}]
    model(folder, "pieces", named)
    check("named templates",
          texts(folder, [HI, {"messages": HI, "tools": [{"name": "f"}]}],
                "--text")[0], [PLAIN, "tools 1"])
    (to / "chat_template.jinja").write_text("{{ messages[0].content }}\n")
    check("a file goes before", texts(folder, [HI], "--text")[0], ["the cat"])
    (to / "chat_templates").mkdir()
    (to / "chat_templates/tool_use.jinja").write_text("file {{ eos_token }}")
    check("a folder of them",
          texts(folder, [{"messages": HI, "tools": []}], "--text")[0],
          ["file </s>"])
    (to / "chat_templates/tool_use.jinja").unlink()
    (to / "chat_templates").rmdir()
    model(folder, "pieces", config={"chat_template": TEMPLATE})
    (to / "special_tokens_map.json").write_text('{"bos_token": "<s>"}')
    check("special_tokens_map.json", texts(folder, [HI], "--text")[0], [PLAIN])
    model(folder, "pieces", config={"bos_token": "<s>"})
    done = texts(folder, [HI])[1]
    check("no template", (done.returncode, "no chat template" in done.stderr),
          (2, True))


def test_tokenize(folder):
    model(folder, "pieces")
    ids, done = texts(folder, [HI])
    plain = hone(folder, "tokenize", "model", "--no-special", "--json",
                 input=json.dumps(PLAIN) + "\n").stdout
    check("ids are those of the text", ids, [json.loads(plain)])
    check("all is well", done.returncode, 0)
    model(folder, "pieces", "{% if messages[0].role == 'system' %}"
          "{{ raise_exception('no \"system\"') }}{% endif %}{{ a.b.c }}x")
    out, done = texts(folder, [[{"role": "system"}], HI, [],
                               {"messages": HI, "a": {"b": {"c": "日"}}}],
                      "--text")
    check("lines that fail", out, [{"error": 'no "system"'},
                                   {"error": "line 1: 'a' is undefined"},
                                   {"error": "the conversation has no message"},
                                   "日x"])
    check("and the status", done.returncode, 2)


def prep(folder, data, rows, *flags):
    (folder / "recipe.lua").write_text(RECIPE % data)
    with open(folder / "rows.jsonl", "w") as f:
        f.writelines(json.dumps(r) + "\n" for r in rows)
    return hone(folder, "prep", "recipe.lua", "--show", "9", *flags)


def shown(done):
    """The rows as they are shown, without what heads them, and without the
    space that SentencePiece's kind puts behind a special token."""
    parts = done.stdout.split("\n--- ")[1:]
    return [p.split("\n", 1)[1].replace("s> ", "s>") for p in parts]


CHAT = [{"role": "user", "content": "the cat"},
        {"role": "assistant", "content": "sat on"},
        {"role": "user", "content": "a mat"},
        {"role": "assistant", "content": "Hello, world!"}]


def test_messages(folder):
    for base, bos in (("pieces", "<s>"), ("bytes", "<s>")):
        model(folder, base)
        for loss, marks in (("assistant", (1, 3)), ("last", (3,)),
                            ("all", None)):
            want = bos
            for i, m in enumerate(CHAT):
                said = m["content"] + "</s>"
                want += f"<{m['role']}>" + (
                    f"⟦{said}⟧" if marks and i in marks else said) + "\n"
            if loss == "all":
                want = bos + "⟦" + want[len(bos):] + "⟧"
            done = prep(folder, 'messages { "rows.jsonl", loss = "%s" }'
                        % loss, [{"messages": CHAT}])
            check(f"{base}, {loss}: {done.stderr}",
                  [s.rstrip("\n") for s in shown(done)],
                  [want.rstrip("\n") if loss != "all" else want])


def test_sharegpt(folder):
    model(folder, "pieces")
    row = {"conversations": [
        {"from": "human", "value": "the cat"},
        {"from": "function_call",
         "value": '{"name": "f", "arguments": {"b": 1, "a": "sat"}}'},
        {"from": "observation", "value": "2"},
        {"from": "gpt", "value": "on"}], "system": "mat"}
    want = ('<s><system>mat</s>\n<user>the cat</s>\n<assistant>'
            '⟦call f {"b": 1, "a": "sat"}</s>⟧\n<tool>2</s>\n'
            '<assistant>⟦on</s>⟧\n\n')
    done = prep(folder, 'sharegpt { "rows.jsonl" }', [row])
    check("sharegpt: " + done.stderr, shown(done), [want])
    text = json.dumps(row).replace('"from"', '"who"').replace(
        '"human"', '"me"').replace('"value"', '"said"')
    done = prep(folder, 'sharegpt { "rows.jsonl", role = "who", '
                'content = "said", user = "me" }', [json.loads(text)])
    check("renamed: " + done.stderr, shown(done), [want])


def test_two_systems(folder):
    """What a column says before all turns and what the first turn does are
    the same, or the row is named; neither is lost."""
    model(folder, "pieces")
    chat = [{"from": "human", "value": "the cat"},
            {"from": "gpt", "value": "on"}]
    want = ("<s><system>mat</s>\n<user>the cat</s>\n<assistant>⟦on</s>⟧\n\n")

    def rows(column, *turns):
        return {"system": column,
                "conversations": [{"from": "system", "value": t}
                                  for t in turns] + chat}
    for row in (rows("mat"), rows("mat", "mat"), rows("", "mat"),
                rows(None, "mat"), rows([], "mat")):
        done = prep(folder, 'sharegpt { "rows.jsonl" }', [row])
        check(f"{row}: {done.stderr}", shown(done), [want])
    for row, words in ((rows("mat", "sat"), "'system' says another thing than "
                        "the first turn, which is of role 'system' as well; "
                        "leave out one of them with map"),
                       (rows("mat", ""), "'system' says another thing"),
                       (rows(["mat"]), "'system' is no text")):
        done = prep(folder, 'sharegpt { "rows.jsonl" }', [row])
        check(f"{row}: {done.stderr}", (done.returncode, "rows.jsonl: row 1 "
              in done.stderr and words in done.stderr), (2, True))
    done = prep(folder, 'sharegpt { "rows.jsonl", map = function(row) '
                "row.system = nil return row end }", [rows("sat", "mat")])
    check("the cure: " + done.stderr, shown(done), [want])


def test_preference(folder):
    """What is before an answer is text, messages, or in the answer's list."""
    model(folder, "pieces")
    begun = "<s><user>the cat</s>\n<assistant>⟦"
    want = [begun + "sat on</s>⟧\n\n", begun + "a mat</s>⟧\n\n"]
    good, worse = ({"role": "assistant", "content": c}
                   for c in ("sat on", "a mat"))
    turn = {"from": "human", "value": "the cat"}
    system = [{"role": "system", "content": "Hello"}]
    for row, head in (
            ({"chosen": HI + [good], "rejected": HI + [worse]}, ""),
            ({"prompt": HI, "chosen": [good], "rejected": [worse]}, ""),
            ({"prompt": HI, "chosen": "sat on", "rejected": "a mat"}, ""),
            ({"prompt": "the cat", "chosen": good, "rejected": worse}, ""),
            ({"conversations": [turn], "chosen":
              {"from": "gpt", "value": "sat on"}, "rejected": worse}, ""),
            ({"chosen_messages": system + HI + [good],
              "rejected_messages": system + HI + [worse]}, "Hello"),
            ({"prompt": HI + [worse] + HI, "chosen": good,
              "rejected": worse}, "a mat")):
        done = prep(folder, 'auto { "rows.jsonl" }', [row])
        got = shown(done)
        check(f"{row}: " + done.stderr, [g[g.rindex("<user>"):].rstrip("\n")
                                         for g in got],
              [w[w.rindex("<user>"):].rstrip("\n") for w in want])
        check(f"{row}: before", [head in g and g.count("⟦") == 1
                                 for g in got], [True, True])
    rows = [{"prompt": HI, "chosen": [{"role": "user"}]},
            {"prompt": HI, "chosen": good, "rejected": [{"content": "x"}]},
            {"prompt": "x", "chosen": 5, "rejected": "y"},
            {"prompt": "the cat", "chosen": " sat", "rejected": " on"}]
    done = prep(folder, 'preference { "rows.jsonl", broken = "skip" }', rows)
    for i, words in enumerate(("no field 'rejected'", "rejected, message 1: no "
                               "text 'role from'", "'chosen' is neither")):
        check(f"row {i + 1}: {words}", any(
            f"row {i + 1} " in t and words in t
            for t in done.stderr.splitlines()), True)
    check("texts are joined", len(shown(done)), 2)
    (folder / "model/tokenizer_config.json").write_text(
        json.dumps({"eos_token": "</s>"}))
    done = prep(folder, 'preference { "rows.jsonl" }', rows[3:])
    check("texts need no template: " + done.stderr, done.returncode, 0)
    done = prep(folder, 'preference { "rows.jsonl" }', rows[1:2])
    check("messages do: " + done.stderr, done.returncode == 2 and
          "row is a conversation" in done.stderr, True)


OTHER_ROLE = [{"role": "developer", "content": "the mat"}] + CHAT
BROKEN = [
    ({"messages": []}, "'messages' has no messages"),
    ({"chat": CHAT}, "no field 'messages'"),
    ({"messages": [{"content": "x"}]}, "message 1: no text 'role'"),
    ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
     "message 1: a part of type 'image_url'"),
    ({"messages": CHAT, "images": ["a.png"]}, "the row has 'images'"),
    ({"messages": CHAT, "tools": [{"name": "f"}]}, "no place for them"),
    ({"messages": HI + [{"role": "stop", "content": ""}]},
     "the chat template refuses it: no stop"),
    ({"messages": [{"role": "quiet", "content": "x"}] + CHAT},
     "message 1: nothing is written of what 'quiet' says; say user ="),
]


def test_broken(folder):
    model(folder, "pieces", "{% set messages = messages|rejectattr('role', "
          "'equalto', 'quiet')|list %}" + TEMPLATE +
          "{% if messages[-1].role == 'stop' %}"
          "{{ raise_exception('no stop') }}{% endif %}")
    done = prep(folder, 'messages { "rows.jsonl", broken = "skip" }',
                [r for r, _ in BROKEN] + [{"messages": OTHER_ROLE}])
    told = done.stderr.splitlines()
    for i, (_, words) in enumerate(BROKEN):
        check(f"row {i + 1}: {words}",
              any(f"row {i + 1} " in t and words in t for t in told), True)
    check("the last row is learnt", len(shown(done)), 1)
    check("and the exit status", done.returncode, 0)


def test_left_out(folder):
    """A template that keeps the last answer to itself: the row, the template
    and the cure are named, and the cure works."""
    to = model(folder, "pieces", "{% for m in messages %}{% if m.role == 'user'"
               " or not loop.last %}<{{ m.role }}>{{ m.content }}</s>"
               "{% endif %}{% endfor %}")
    done = prep(folder, 'messages { "rows.jsonl" }', [{"messages": CHAT}])
    check("exit status of a turn left out: " + done.stderr, done.returncode, 2)
    for words in ("rows.jsonl: row 1 ", f"the chat template of {to}: message 4",
                  '"weight": 0'):
        check(words, words in done.stderr, True)
    done = prep(folder, 'messages { "rows.jsonl" }',
                [{"messages": CHAT[:3] + [dict(CHAT[3], weight=0)]}])
    check("without weight: " + done.stderr, shown(done),
          ["<user>the cat</s>⟦<assistant>sat on</s>⟧<user>a mat</s>\n"])


def test_weights_and_parts(folder):
    model(folder, "pieces")
    chat = [dict(CHAT[0], content=[{"type": "text", "text": "the "},
                                   {"type": "text", "text": "cat"}]),
            dict(CHAT[1], weight=0), CHAT[2], CHAT[3]]
    weights = [dict(CHAT[1], **{key: w}) for key in ("weight", "loss_weight")
               for w in ("0", "1", 0.5, 2, -1, [], {}, "", 1, 1.0, True, None,
                         0, 0.0, False)]
    done = prep(folder, 'messages { "rows.jsonl", broken = "skip" }',
                [{"messages": [CHAT[0], answer]} for answer in weights] +
                [{"messages": [dict(CHAT[0], weight="5 kg"), CHAT[1]]}])
    told = done.stderr.splitlines()
    for i, answer in enumerate(weights):
        key = list(answer)[-1]
        check(f"row {i + 1}: {answer}", any(
            f"rows.jsonl: row {i + 1} " in t and f"message 2: '{key}' must be "
            "0, not learnt, or 1; mend it with map" in t for t in told),
              i % 15 < 8)
    check("rows whose weight is one: " + done.stderr, len(shown(done)), 9)
    done = prep(folder, 'messages { "rows.jsonl" }', [{"messages": chat}])
    check("parts joined, a turn without weight: " + done.stderr, shown(done),
          ["<s><user>the cat</s>\n<assistant>sat on</s>\n<user>a mat</s>\n"
           "<assistant>⟦Hello, world!</s>⟧\n\n"])
    tokens = []
    for parts in (["the \0cat"], ["the \0", "cat"]):
        chat[0]["content"] = [{"type": "text", "text": t} for t in parts]
        tokens.append(shown(prep(folder, 'messages { "rows.jsonl" }',
                                 [{"messages": chat}])))
    check("parts with a zero in them", tokens[1], tokens[0])


def test_generate(folder):
    """--chat says what --prompt says with the template's text written out."""
    tiny = folder / "model"
    shutil.copytree(SOURCE / "datasets/tiny", tiny)
    (tiny / "chat_template.jinja").write_text(
        "{{ bos_token }}Once {{ messages[0].content }}"
        "{% if add_generation_prompt %} time{% endif %}")
    said = [hone(folder, "generate", "model", *how, "--max-tokens", "12")
            for how in (("--chat", "upon a"), ("--prompt", "Once upon a time"))]
    check("generate --chat: " + said[0].stderr,
          (said[0].returncode, said[0].stdout), (0, said[1].stdout))
    both = hone(folder, "generate", "model", "--chat", "a", "--prompt", "b")
    check("not both", both.returncode, 2)


def test_ended_prompt(folder):
    """A token that the tokenizer puts behind a text is none of a prompt that
    goes on; one before it is, and so is one that the user writes."""
    to = folder / "model"
    shutil.copytree(SOURCE / "datasets/tiny", to)
    plain = json.loads((to / "tokenizer.json").read_text())
    end, begin = plain["added_tokens"][0], "The"
    text = {"Sequence": {"id": "A", "type_id": 0}}
    ids = {end["content"]: end["id"], begin: plain["model"]["vocab"][begin]}
    before, behind = ({"SpecialToken": {"id": t, "type_id": 0}}
                      for t in (begin, end["content"]))

    def says(prompt, single):
        (to / "tokenizer.json").write_text(json.dumps({
            **plain, "post_processor": single and {
                "type": "TemplateProcessing", "pair": [], "single": single,
                "special_tokens": {t: {"id": t, "ids": [i], "tokens": [t]}
                                   for t, i in ids.items()}}}))
        return hone(folder, "generate", "model", "--prompt", prompt,
                    "--max-tokens", "12")

    prompt = " cat and the"
    want = says(begin + prompt, None)
    check("plain: " + want.stderr, want.returncode, 0)
    for single in ([before, text], [before, text, behind],
                   [before, text, behind, behind]):
        check(f"goes on behind {single}", says(prompt, single).stdout,
              want.stdout)
    written = prompt + end["content"]
    check("an end that is written stays",
          says(written, [before, text, behind]).stdout,
          says(begin + written, None).stdout)
    check("and matters", says(written, [text]).stdout != want.stdout, True)
    done = says("", [text, behind])
    check("nothing but an end: " + done.stderr, (
        done.returncode, "--prompt: it has no tokens" in done.stderr),
        (2, True))


def main():
    with tempfile.TemporaryDirectory() as name:
        for test in (test_sources, test_tokenize, test_messages,
                     test_sharegpt, test_two_systems, test_preference,
                     test_broken, test_left_out, test_weights_and_parts,
                     test_generate, test_ended_prompt):
            folder = pathlib.Path(name) / test.__name__
            folder.mkdir()
            test(folder)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
