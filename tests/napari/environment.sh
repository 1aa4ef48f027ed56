#!/usr/bin/env bash
# Make the environment that napari runs in, if it is not there yet, and print the path of its python.
#   environment.sh
# It is its own one, as napari and Qt are large, and nothing else of this project needs them. Some 3 GB and 3 minutes. It
# stays in NAPARI_ENV, or the user's cache, and is brought up to date where this file, what the package requires or the
# clone has changed. The windows need an X server with GLX; `make desktop` has its packages.
set -euo pipefail
cd "$(dirname "$0")/../.."
env=$(realpath -m "${NAPARI_ENV:-${XDG_CACHE_HOME:-$HOME/.cache}/dpsau2net-monai/napari}")
key=$(cat tests/napari/environment.sh setup.cfg constraints.txt; pwd)

mkdir -p "$env"
exec 9> "$env.lock"
flock 9  # one maker at a time
if [ "$(cat "$env/finished" 2> /dev/null)" != "$(sha256sum <<< "$key")" ]; then
  echo "making $env for napari" >&2
  "${PYTHON:-python3}" -m venv --clear "$env"  # it may be that of another Python
  "$env/bin/python" -m pip install --quiet --constraint constraints.txt --editable ".[napari,onnx,openvino]" \
    pytest pytest-qt >&2
  sha256sum <<< "$key" > "$env/finished"
fi
echo "$env/bin/python"
