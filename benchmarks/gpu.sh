#!/usr/bin/env bash
# The GPU check on a machine that has torch and its companions but no network: nothing is installed, nothing is fetched.
#
#     OUT=folder bash benchmarks/gpu.sh [--device cuda|cpu] [--quick]
#
# Prints as it goes and writes $OUT/gpu.md and $OUT/steps.md (default: the working folder). Exit code 1 if a check or a round fails.
# PYTHON names the interpreter.
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
python=${PYTHON:-python3}
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
mkdir -p "${OUT:=.}" "$place/copy" "$place/site"
for part in pyproject.toml README.md LICENSE udacore plugins; do cp -r "$here/$part" "$place/copy/"; done  # pip writes beside what it builds
"$python" "$here/benchmarks/gpu_path.py" "$place/copy" "$place/site"
export PYTHONPATH="$place/site${PYTHONPATH:+:$PYTHONPATH}" CUBLAS_WORKSPACE_CONFIG=:4096:8 UDACORE_CACHE="$place/cache"
"$python" -u "$here/benchmarks/gpu.py" --write "$OUT/gpu.md" "$@"
"$python" -u "$here/benchmarks/steps.py" --write "$OUT/steps.md" --seconds 240 "$@"
