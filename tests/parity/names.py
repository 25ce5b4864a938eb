# SPDX-License-Identifier: MIT
"""Writes tests/golden/other_tools.txt: every key of the configs of other tools,
each of which tests/test_recipe.c wants an answer for (recipes/names.lua). Reads
sources and imports nothing; FOLDERs hold transformers/, peft/, trl/, axolotl/:
site-packages, or wheels of `pip download --no-deps` unpacked.
python3 tests/parity/names.py FOLDER... > tests/golden/other_tools.txt"""
import ast
import pathlib
import re
import sys

FOLDERS = [pathlib.Path(folder) for folder in sys.argv[1:]]
# Title, files, the class and those of its bases that these files have.
TOOLS = [
    ("transformers", ["training_args.py"], "TrainingArguments"),
    ("trl", ["trainer/base_config.py", "trainer/sft_config.py"], "SFTConfig"),
    ("trl", ["trainer/model_config.py"], "ModelConfig"),
    ("trl", ["scripts/utils.py"], "ScriptArguments"),
    ("peft", ["config.py", "tuners/lora/config.py"], "LoraConfig"),
    ("axolotl", ["utils/schemas/*.py"], "AxolotlInputConfig"),
    ("axolotl", ["utils/schemas/datasets.py"], "SFTDataset"),
]


def find(package):
    for folder in FOLDERS:
        if (folder / package).is_dir():
            return folder / package
    sys.exit(f"none of {sys.argv[1:]} has {package}")


def version(package):
    for info in find(package).parent.glob(f"{package}-*.dist-info"):
        return re.match(r".*-(.*)\.dist-info", info.name).group(1)
    sys.exit(f"{package}: which version?")


def classes(package, patterns):
    return {node.name: node for pattern in patterns
            for path in sorted(find(package).glob(pattern))
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.ClassDef)}


def keys(name, known):
    """Of the class and its bases, as they stand there."""
    if name not in known:
        return []
    own = [s.target.id for s in known[name].body
           if isinstance(s, ast.AnnAssign) and s.target.id[0] != "_"]
    return own + [key for base in known[name].bases
                  for key in keys(getattr(base, "id", ""), known)]


def main():
    print("# Keys of other tools, for test_recipe: each gets an answer in a "
          "recipe (tests/parity/names.py).")
    seen = set()
    for package, patterns, name in TOOLS:
        found = keys(name, classes(package, patterns))
        if not found:
            sys.exit(f"{package}: no {name}")
        print(f"# {package} {version(package)}: {name}, {len(set(found))} "
              "keys, less those above")
        for key in found:
            if key not in seen:
                print(key)
            seen.add(key)


main()
