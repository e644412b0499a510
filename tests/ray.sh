#!/usr/bin/env bash
# Runs the tests of environments on a Ray cluster, made of a head and two nodes on this machine, in a virtual environment
# of their own: Ray is an extra that `dev` leaves out.
#
#     tests/ray.sh [PYTHON] [pytest arguments]
#
# The environment is made once, in build/ray or where RAY_VENV says; remove it to have it made again.
set -euo pipefail
cd "$(dirname "$0")/.."

python=${1:-python3}
shift || true
venv=${RAY_VENV:-build/ray}

if [ ! -e "$venv/.installed" ]; then
    echo "Installing Ray into $venv ..."
    "$python" -m venv --clear "$venv"
    PIP_CONSTRAINT=constraints.txt "$venv/bin/python" -m pip install --quiet --disable-pip-version-check \
        --editable '.[ray]' 'tokenizers>=0.22' 'hypothesis>=6.100' 'pytest>=8'
    touch "$venv/.installed"
fi

export RAY_USAGE_STATS_ENABLED=0 TOKENIZERS_PARALLELISM=false
exec "$venv/bin/python" -m pytest -q -p no:cacheprovider -p no:xdist tests/test_ray_workers.py "$@"
