#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""hone check on every tests/recipes/bad/NAME.lua: its messages are those of
NAME.err to the letter, each with file and line, stdout is empty, the status is
2, and it takes less than 0.2 s (those that run into a cap of the sandbox say
"-- slow"). "-- set: KEY=VALUE ..." in a recipe stands for --set.

HONE_GOLDEN=write writes NAME.err anew, to be read before it is committed.
"""
import os
import pathlib
import re
import subprocess
import sys
import time

FEWEST, MOST_S = 40, 0.2
BUILD = pathlib.Path(sys.argv[1]).resolve()
TESTS = pathlib.Path(__file__).resolve().parent
PLACE = re.compile(r"(\S+\.lua(:\d+)?|--set \S+): .")


def sanitized():
    cache = (BUILD / "CMakeCache.txt").read_text()
    return re.search(r"^HONE_SANITIZE:BOOL=(ON|1|TRUE)$", cache, re.M)


def sets(text):
    words = " ".join(re.findall(r"^-- set: (.*)$", text, re.M)).split()
    return [word for pair in words for word in ("--set", pair)]


def is_slow(recipe):
    return "-- slow" in (TESTS / recipe).read_text()


def check(recipe, env):
    """What hone check says, its status, and the best of five times."""
    command = [BUILD / "bin/hone", "check", recipe,
               *sets((TESTS / recipe).read_text())]
    best = float("inf")
    for _ in range(1 if is_slow(recipe) else 5):
        start = time.monotonic()
        done = subprocess.run(command, cwd=TESTS, env=env, text=True,
                              capture_output=True)
        best = min(best, time.monotonic() - start)
        if best < MOST_S:
            break
    return done, best


def faults(recipe, done, seconds, limit):
    golden = (TESTS / recipe).with_suffix(".err")
    said = done.stderr.replace(str(TESTS.parent), "SOURCE")
    if os.environ.get("HONE_GOLDEN") == "write":
        golden.write_text(said)
    wanted = golden.read_text() if golden.exists() else ""
    if said != wanted:
        yield f"says\n{said}instead of\n{wanted}"
    if done.returncode != 2:
        yield f"exit status {done.returncode}"
    for line in said.splitlines():
        if not PLACE.match(line):
            yield f"no place in: {line}"
    if seconds > limit and not is_slow(recipe):
        yield f"took {seconds:.3f} s, more than {limit} s"


def main():
    env = {**os.environ, "HONE_SHARE": "recipes/share"}
    env.pop("HONE_PLUGIN_PATH", None)
    limit = 20 * MOST_S if sanitized() else MOST_S
    recipes = sorted((TESTS / "recipes/bad").glob("*.lua"))
    slowest, wrong, messages = 0, 0, 0
    for path in recipes:
        recipe = path.relative_to(TESTS)
        done, seconds = check(recipe, env)
        messages += len(done.stderr.splitlines())
        if not is_slow(recipe):
            slowest = max(slowest, seconds)
        for fault in faults(recipe, done, seconds, limit):
            wrong += 1
            print(f"{recipe}: {fault}")
    print(f"{len(recipes)} recipes, {messages} messages, the slowest took "
          f"{1000 * slowest:.0f} ms")
    return 1 if wrong or len(recipes) < FEWEST else 0


sys.exit(main())
