#!/usr/bin/env bash
# Has the client library of OpenEnv drive our server, unchanged, from a virtual environment of its own.
#
#     tests/openenv.sh [PYTHON]
#
# PYTHON has this package; the environment is made once, in build/openenv or where OPENENV_VENV says; remove it to have it
# made again.
set -euo pipefail
cd "$(dirname "$0")/.."

python=${1:-.venv/bin/python}
venv=${OPENENV_VENV:-build/openenv}

if [ ! -x "$venv/bin/python" ] || ! "$venv/bin/python" -c 'import openenv.core' 2>/dev/null; then
    echo "Installing openenv-core 0.3.0 into $venv ..."
    "$python" -m venv --clear "$venv"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check 'openenv-core==0.3.0'
fi

said=$(mktemp)
TIR_GYM_TOKEN=secret "$python" -c 'import sys; from tir_gym.cli import main; sys.exit(main())' \
    serve tir_gym/Calculator-v0 tir_gym/Assistant-v0 --port 0 >"$said" &
server=$!
trap 'kill $server 2>/dev/null; wait $server 2>/dev/null; rm -f "$said"' EXIT
for _ in $(seq 300); do
    grep -q http "$said" && break
    kill -0 $server
    sleep 0.2
done
url=$(sed -n 's/.* at \(http[^ ]*\) .*/\1/p' "$said")
"$venv/bin/python" tests/with_openenv.py "${url/:\/\//://any:secret@}"
