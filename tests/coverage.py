#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Which lines the tests run: builds with counters, runs the suite, adds up.

    tests/coverage.py [--least 85] [--build build-coverage] [--no-run]

Prints the share of each folder and the files with the most lines never run; a
core/ below LEAST per cent fails. A file that is compiled more than once (the
levels of the CPU pack, the references in float and double) counts as run where
any of its objects was.
"""
import argparse
import collections
import gzip
import json
import os
import pathlib
import subprocess
import sys
import tempfile

SOURCE = pathlib.Path(__file__).resolve().parent.parent
FOLDERS = ("core", "plugins", "kernels/ops", "kernels/cpu")


def run_tests(build):
    jobs = f"-j{os.cpu_count()}"
    subprocess.run(["cmake", "-S", SOURCE, "-B", build, "-G", "Ninja",
                    "-DCMAKE_BUILD_TYPE=Debug", "-DHONE_COVERAGE=ON",
                    "-DHONE_CUDA=OFF", "-DCMAKE_C_FLAGS_DEBUG=-O1"],
                   check=True, stdout=subprocess.DEVNULL)
    subprocess.run(["cmake", "--build", build, jobs], check=True,
                   stdout=subprocess.DEVNULL)
    for old in build.rglob("*.gcda"):
        old.unlink()
    environment = {**os.environ, "OMP_WAIT_POLICY": "passive"}
    return subprocess.run(["ctest", "--test-dir", build, jobs,
                           "--output-on-failure"], env=environment).returncode


def counts(build):
    """{file: {line: times}} of everything that was compiled."""
    found = collections.defaultdict(lambda: collections.defaultdict(int))
    notes = sorted(build.rglob("*.gcno"))
    with tempfile.TemporaryDirectory() as scratch:
        for i in range(0, len(notes), 50):
            subprocess.run(["gcov", "--json-format", "--preserve-paths",
                            "--hash-filenames", *notes[i:i + 50]],
                           cwd=scratch, check=True, stdout=subprocess.DEVNULL,
                           stderr=subprocess.DEVNULL)
            for report in pathlib.Path(scratch).glob("*.gz"):
                with gzip.open(report) as f:
                    data = json.load(f)
                report.unlink()
                for file in data["files"]:
                    path = pathlib.Path(data["current_working_directory"],
                                        file["file"]).resolve()
                    for line in file["lines"]:
                        found[path][line["line_number"]] += line["count"]
    return found


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--least", type=float, default=85)
    options.add_argument("--build", type=pathlib.Path,
                         default=SOURCE / "build-coverage")
    options.add_argument("--no-run", action="store_true")
    o = options.parse_args()
    failed = 0 if o.no_run else run_tests(o.build)
    total = collections.Counter()
    run = collections.Counter()
    never = []
    for path, lines in counts(o.build.resolve()).items():
        if SOURCE not in path.parents:
            continue
        name = path.relative_to(SOURCE).as_posix()
        for folder in FOLDERS:
            if name.startswith(folder + "/"):
                hit = sum(n > 0 for n in lines.values())
                total[folder] += len(lines)
                run[folder] += hit
                never.append((len(lines) - hit, hit / len(lines), name))
    for missed, share, name in sorted(never, reverse=True)[:15]:
        print(f"{missed:5} lines never run, {100 * share:5.1f} %  {name}")
    for folder in FOLDERS:
        print(f"{folder:12} {run[folder]:6} of {total[folder]:6} lines, "
              f"{100 * run[folder] / total[folder]:.1f} %")
    print(f"{'together':12} {sum(run.values()):6} of {sum(total.values()):6} "
          f"lines, {100 * sum(run.values()) / sum(total.values()):.1f} %")
    if 100 * run["core"] / total["core"] < o.least:
        sys.exit(f"core/ is below {o.least:g} %")
    sys.exit(failed)


if __name__ == "__main__":
    main()
