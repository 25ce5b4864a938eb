#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# A short run of tests/fuzz/damaged_files.py: damaged json, csv and Parquet
# files and bombs are refused by name or read right. Its head says how to run it
# in full.
set -euo pipefail
source=$(realpath "$(dirname "$0")")
env -u HONE_TEST_DATA python3 "$source/fuzz/damaged_files.py" "$1" 40 1
