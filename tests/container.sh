#!/usr/bin/env bash
# Runs the tests of containers, and the attacks on them, on a real engine: on the one that answers at DOCKER_HOST or at a
# usual socket, else, as root, on a Docker and on a Podman of their own, which are gone afterwards.
#
#     tests/container.sh [PYTHON] [pytest arguments]
#
# TIR_GYM_ENGINES="docker" keeps to some of them. PYTHON gets the Docker SDK if it lacks it. Exits with 77 where no
# engine can be had.
set -euo pipefail
cd "$(dirname "$0")/.."

python=${1:-.venv/bin/python}
shift || true

"$python" -c 'import docker' 2>/dev/null ||
    PIP_CONSTRAINT=constraints.txt "$python" -m pip install --quiet --disable-pip-version-check 'docker>=7.1'

tests=("$python" -m pytest tests/test_container*.py tests/escape/test_escape.py "$@")

# An engine that cannot build the image, for want of a network, is of no use here.
there='
from tir_gym.sandboxes.container import build_image, connect
build_image(packages=())
print(connect().url)
'
if url=$("$python" -c "$there" 2>/dev/null); then
    echo "engine: $url, which was there"
    DOCKER_HOST=$url TIR_GYM_ENGINE_URL=$url "${tests[@]}"
    exit
fi

ran=""
for engine in ${TIR_GYM_ENGINES:-docker podman}; do
    echo "engine: a $engine of our own"
    status=0
    TIR_GYM_ENGINE_NAME=$engine PYTHON=$python tests/container_engine.sh "$engine" "${tests[@]}" || status=$?
    case $status in
    0) ran+=" $engine" ;;
    77) ;; # not here, as it has said
    *) exit "$status" ;;
    esac
done
[ -n "$ran" ] || exit 77
echo "ran on:$ran"
