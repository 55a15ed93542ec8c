#!/usr/bin/env bash
# Gathers what a GPU machine with PyTorch, but without network, needs for bench_real_size.py, in a folder to carry there:
#   tests/benchmarks/real_size_kit.sh COMFYUI [OUT] [PACKAGE ...]
# COMFYUI: the folder with main.py. OUT: build/real_size_kit. PACKAGE: what that machine lacks besides. PYTHON_VERSION
# (3.12) is that of its Python, on Linux on x86-64. SMALL=1 takes comfy-kitchen without its kernels. What is left out of
# ComfyUI are large files of text encoders.
set -euo pipefail
host=$(realpath "$1") out=${2:-build/real_size_kit} version=${PYTHON_VERSION:-3.12}
shift; [ $# -gt 0 ] && shift
mkdir -p "$out/comfyui" "$out/wheels"
for part in comfy comfy_api comfy_api_nodes comfy_config comfy_execution comfy_extras utils middleware app alembic_db; do
    [ -d "$host/$part" ] && cp -r "$host/$part" "$out/comfyui/"
done
cp "$host"/*.py "$out/comfyui/"
find "$out/comfyui" \( -name __pycache__ -o -name '*.json' -size +200k -o -name '*.model' -o -name merges.txt -o -name vocab.json \) \
    -prune -exec rm -rf {} +
# comfy-kitchen and comfy-aimdo as this ComfyUI wants them; PyAV writes the videos of the checks.
wanted=$(grep -E '^comfy-(kitchen|aimdo)' "$host/requirements.txt" || true)
for package in $wanted torchsde trampoline av einops safetensors "$@"; do
    built=""
    case "$package" in comfy-kitchen*) built=${SMALL:+--implementation py --abi none} ;; esac
    python3 -m pip download -q --no-deps --only-binary=:all: --python-version "$version" $built --platform any \
        --platform manylinux_2_28_x86_64 --platform manylinux_2_17_x86_64 --platform manylinux2014_x86_64 \
        -d "$out/wheels" "$package"
done
du -sh "$out"
cat <<TEXT
There, from the root of this repository:
  python3 -m pip install -q --no-index --no-deps --target /tmp/real_size_site $out/wheels/*.whl
  PYTHONPATH=/tmp/real_size_site python3 tests/benchmarks/bench_real_size.py --comfyui $out/comfyui --budget 460
TEXT
