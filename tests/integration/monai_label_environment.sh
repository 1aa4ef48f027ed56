#!/usr/bin/env bash
# Make the environment that MONAI Label runs in, if it is not there yet, and print the path of its python.
#   monai_label_environment.sh
# It is its own one, as MONAI Label takes numpy 1 alone, and torchvision, of which the torch that this project is tested with
# on the CPU has no build. Some 8 GB and 5 minutes; it stays in MONAI_LABEL_ENV, or the user's cache, for all clones, and is
# brought up to date where this file or what the bundle requires has changed.
set -euo pipefail
cd "$(dirname "$0")/../.."
env=$(realpath -m "${MONAI_LABEL_ENV:-${XDG_CACHE_HOME:-$HOME/.cache}/dpsau2net-monai/monai-label}")
version=0.8.5

fail() { echo "error: $*" >&2; exit 1; }

# one that numpy 1.26 is built for
for python in "${PYTHON:-python3}" python3.12 python3.11 python3.10 none; do
  "$python" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 13))' 2> /dev/null && break
done
[ "$python" != none ] || fail "MONAI Label $version needs Python 3.10, 3.11 or 3.12; name one: PYTHON=python3.12"

# the bundle's packages by their names alone, as the versions in its metadata are those tested with numpy 2
read -r monai packages < <("$python" - bundle/configs/metadata.json << 'END'
import json, sys
metadata = json.load(open(sys.argv[1]))
print(metadata["monai_version"], *sorted({**metadata["required_packages_version"], **metadata.get("optional_packages_version", {})}))
END
)
key=$( (cat tests/integration/monai_label_environment.sh; echo "$monai $packages") | sha256sum)

mkdir -p "$env"
exec 9> "$env.lock"
flock 9  # one maker at a time
if [ "$(cat "$env/finished" 2> /dev/null)" != "$key" ]; then
  echo "making $env for MONAI Label $version" >&2
  "$python" -m venv "$env"
  pip() { "$env/bin/python" -m pip --quiet "$@" >&2 || fail "$env: pip $1 failed, see above"; }
  # sam2, which another of its apps needs, would be built, with a torch of its own
  pip install --no-deps "monailabel==$version"
  "$env/bin/python" - > "$env/requirements.txt" << 'END'
import importlib.metadata
print(*(line for line in importlib.metadata.requires("monailabel") if not line.startswith("sam2")), sep="\n")
END
  # what it takes of these is gone in their next versions; of setuptools that is distutils
  printf '%s\n' "monai==$monai" "torch==2.12.*" "numpy<2" "pydicom<3" "pynetdicom<3" "dicomweb-client==0.59.1" \
    "setuptools<81" > "$env/constraints.txt"
  # shellcheck disable=SC2086
  pip install --constraint "$env/constraints.txt" --requirement "$env/requirements.txt" torchvision setuptools $packages
  echo "$key" > "$env/finished"
fi
found=$("$env/bin/python" -c 'import importlib.metadata as m; print(m.version("monailabel"))' 2> /dev/null) || found=none
[ "$found" = "$version" ] || fail "$env has MONAI Label $found, not $version: remove that folder and run $0 again"
echo "$env/bin/python"
