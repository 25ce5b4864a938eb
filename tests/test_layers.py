#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The shape of the source: layers, sizes, and who may include what.

core/LAYERS names the folders of the engine from top to bottom. An include that
points up, a circle, a file without a layer, a name that two files have, a file
or an engine that grew too long, and a plugin that sees more of the engine than
hone/plugin.h fail. A tree with each of these faults, made here, proves that
they are found.
"""
import pathlib
import re
import sys
import tempfile

PUBLIC = ("hone/plugin.h", "hone/nf4.h")
LINES_SAID, LINES_MOST, CORE_LINES_MOST = 600, 700, 36743
CONTRACT_LINES_MOST = 876  # plugin.h is one file, and only grows
INCLUDE = re.compile(r'^\s*#\s*include\s*"([^"]+)"', re.M)
SOURCES = (".c", ".h", ".cu", ".cuh")


def sources(folder):
    return sorted(p for p in folder.rglob("*") if p.suffix in SOURCES)


def includes(path):
    return INCLUDE.findall(path.read_text(encoding="utf-8"))


def line_count(path):
    return len(path.read_text(encoding="utf-8").splitlines())


def read_layers(path):
    """The folders of core/, top first."""
    lines = (line.split("#")[0].split() for line in open(path))
    return [line[0] for line in lines if line]


def circle(graph):
    """The nodes of one circle of a graph {node: [node, ...]}; or None."""
    done, path = set(), []

    def visit(node):
        if node in path:
            return path[path.index(node):] + [node]
        if node in done:
            return None
        path.append(node)
        for other in graph.get(node, ()):
            found = visit(other)
            if found:
                return found
        path.pop()
        done.add(node)
        return None

    for node in graph:
        found = visit(node)
        if found:
            return found
    return None


def core_files(root):
    """{name: path} of the engine's files, but for the public headers."""
    return {p.name: p for p in sorted((root / "core").rglob("*.[ch]"))
            if p.parent.name != "hone"}


def check_core(root):
    layers = read_layers(root / "core/LAYERS")
    files, graph = core_files(root), {}
    for path in sorted((root / "core").glob("*/*.[ch]")):
        if path != files[path.name]:
            yield f"core: two files have the name {path.name}"
    for name, path in files.items():
        said, folder = path.relative_to(root), path.parent.name
        if folder not in layers or path.parent.parent != root / "core":
            yield f"{said}: no layer; core/LAYERS names the folders"
            continue
        graph[name] = [other for other in includes(path) if other in files]
        for other in graph[name]:
            there = files[other].parent.name
            if there in layers and layers.index(there) < layers.index(folder):
                yield f"{said} includes {there}/{other}, which is above it"
        for other in includes(path):
            if other not in files and other not in PUBLIC:
                yield f"{said} includes {other}, which is not in core/"
    found = circle({n: g for n, g in graph.items() if n.endswith(".h")})
    if found:
        yield "core: headers include each other: " + " -> ".join(found)


def check_plugins(root):
    engine = core_files(root)
    for folder in ("plugins", "kernels", "tests/fake"):
        for path in sources(root / folder):
            for other in includes(path):
                inside = (path.parent / other).resolve()
                in_core = (root / "core").resolve() in inside.parents
                if other in engine or in_core:
                    yield (f"{path.relative_to(root)} includes {other}: "
                           f"a plugin sees {PUBLIC[0]} alone")


def check_sizes(root, say):
    total = 0
    for folder in ("core", "plugins", "kernels", "tests"):
        for path in sources(root / folder):
            lines = line_count(path)
            total += lines if folder == "core" else 0
            name = path.relative_to(root)
            most = CONTRACT_LINES_MOST if name.name == "plugin.h" else LINES_MOST
            if lines > most:
                yield f"{name}: {lines} lines, at most {most}"
            elif lines > LINES_SAID:
                say(f"note: {name}: {lines} lines, about {LINES_SAID} is long")
    say(f"core: {total} lines")
    if total > CORE_LINES_MOST:
        yield f"core: {total} lines, at most {CORE_LINES_MOST}"


def check(root, say=lambda text: None):
    return [*check_core(root), *check_plugins(root), *check_sizes(root, say)]


# One fault each: the files of a tree, and words of the message it must give.
FAULTS = [
    ({"core/ground/arena.h": '#include "train.h"\n'}, "which is above it"),
    ({"core/stray.c": "\n"}, "no layer"),
    ({"core/ground/train.c": "\n"}, "two files have the name"),
    ({"core/phases/train.h": '#include "train_step.h"\n',
      "core/phases/train_step.h": '#include "train.h"\n'}, "include each other"),
    ({"core/phases/train.c": '#include "gemm.h"\n'}, "not in core/"),
    ({"core/phases/train.c": "\n" * (LINES_MOST + 1)}, f"at most {LINES_MOST}"),
    ({f"core/phases/train_{i}.c": "\n" * LINES_SAID
      for i in range(CORE_LINES_MOST // LINES_SAID + 2)},
     f"at most {CORE_LINES_MOST}"),
    ({"plugins/wsd.c": '#include "arena.h"\n'}, "a plugin sees"),
    ({"kernels/cpu/gemm.c": '#include "../../core/ground/arena.h"\n'},
     "a plugin sees"),
]
GOOD = {
    "core/LAYERS": "phases a run\nground memory\n",
    "core/phases/train.h": '#include "arena.h"\n#include "hone/plugin.h"\n',
    "core/phases/train.c": '#include "train.h"\n',
    "core/ground/arena.h": "#include <stddef.h>\n",
    "core/include/hone/plugin.h": "\n",
    "plugins/wsd.c": '#include "hone/plugin.h"\n',
}


def found_in(tree):
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        for name, text in tree.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return check(root)


def prove():
    """What a sound tree and the trees with one fault each get wrong."""
    for fault in found_in(GOOD):
        yield f"a sound tree is refused: {fault}"
    for tree, words in FAULTS:
        if not any(words in fault for fault in found_in({**GOOD, **tree})):
            yield f"not found: '{words}' in {sorted(tree)[:2]}"


def main():
    faults = list(prove())
    faults += check(pathlib.Path(__file__).resolve().parents[1], print)
    for fault in faults:
        print(fault)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
