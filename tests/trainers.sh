#!/usr/bin/env bash
# Other people's trainers on our environments, each in a virtual environment of its own under build/trainers, because
# their pins exclude one another. A second run finds them there. Takes some 6 GB and, the first time, half an hour.
#
#     tests/trainers.sh [PYTHON] [trl | verl | skyrl | verifiers ...]
#
# PYTHON has this package with the extra `train`; it teaches the policy that the trainers are given.
set -euo pipefail
cd "$(dirname "$0")/.."

python=${1:-.venv/bin/python}
shift || true
[ $# -gt 0 ] || set -- trl verl skyrl verifiers

# What each needs beside this package. What verl and SkyRL import and do not name is named here.
needs() {
    case $1 in
        trl) echo "trl torch transformers" ;;
        verl) echo "verl torch TransferQueue cachetools uvicorn fastapi" ;;
        skyrl) echo "skyrl skyrl-gym torch ray loguru hydra-core omegaconf jaxtyping tensordict aiohttp httpx fastapi uvicorn torchdata accelerate" ;;
        verifiers) echo "verifiers uv" ;;
        *) echo "no trainer '$1'; there are trl, verl, skyrl and verifiers" >&2; return 1 ;;
    esac
}

home=build/trainers
mkdir -p "$home"
export TIR_GYM_POLICY="$PWD/$home/policy" TRL_EXPERIMENTAL_SILENCE=1 TOKENIZERS_PARALLELISM=false
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1} # models here are tiny, and threads that wait for each other cost more

for trainer in "$@"; do
    packages=$(needs "$trainer")
    venv=$home/$trainer
    key=$({ pwd; cat pyproject.toml "tests/trainers/$trainer.txt"; } | cksum | tr -cd '0-9')
    if [ ! -e "$venv/.installed-$key" ]; then
        echo "Installing $trainer into $venv ..."
        rm -rf "$venv"
        "$python" -m venv "$venv"
        # shellcheck disable=SC2086  # a list of words
        PIP_DISABLE_PIP_VERSION_CHECK=1 "$venv/bin/python" -m pip install --quiet \
            --constraint "tests/trainers/$trainer.txt" --editable . pytest hypothesis $packages
        touch "$venv/.installed-$key"
    fi
    if [ "$trainer" != verifiers ] && [ ! -e "$TIR_GYM_POLICY/model.safetensors" ]; then
        "$python" tests/trainers/make_policy.py "$TIR_GYM_POLICY"
    fi
    echo "=== $trainer"
    PATH="$PWD/$venv/bin:$PATH" "$venv/bin/python" -m pytest -q -p no:cacheprovider "tests/trainers/with_$trainer.py"
done
