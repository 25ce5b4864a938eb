#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The family and the config of docs/models.md, in a copy of the recipes'
folder: the first loss and gradient norm are those of Transformers. What else
the page says is tried by test_pages.sh."""
import json
import os
import pathlib
import re
import shutil
import sys
import tempfile

import test_families
import tiny_run

ROOT = pathlib.Path(__file__).parents[1]


def block(kind):
    text = (ROOT / "docs/models.md").read_text(encoding="utf-8")
    return re.search("```%s\n(.*?)```" % kind, text, re.DOTALL).group(1)


def config():
    """For the tokenizer of these tests, with some rows to spare."""
    return {**json.loads(block("json config.json")), "vocab_size": 480,
            "bos_token_id": 1, "eos_token_id": 2}


def share(folder):
    """The recipes with the page's family among them, for $HONE_SHARE."""
    shutil.copytree(ROOT / "recipes", folder)
    name = config()["model_type"] + ".lua"
    assert not (folder / "models" / name).exists()
    (folder / "models" / name).write_text(block("lua granite.lua"))
    os.environ["HONE_SHARE"] = str(folder)


def main(folder):
    share(folder / "share")
    tiny_run.main(folder / "tiny")
    golden = json.loads((ROOT / "tests/parity/families.json").read_text())
    keys = config()
    test_families.check_golden(folder / "tiny", (keys["model_type"], keys),
                               golden["loss_and_norms"]["granite"])


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="hone-page-") as temporary:
        main(pathlib.Path(temporary))
