#!/usr/bin/env bash
# Builds the server's image and runs it as the compose file says, on a Docker of its own that is gone afterwards.
#
#     tests/docker.sh [PYTHON]
#
# There is no registry to ask here, so the base is the root file system of `container_engine.sh` with pip in it, and pip
# finds its packages in deploy/wheels, which this makes. Exits with 77 where no engine can be had.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${1:-.venv/bin/python}

if [ -z "${TIR_GYM_ENGINE_URL:-}" ]; then
    PYTHON=$python exec tests/container_engine.sh docker bash "$0" "$python"
fi

context=$(mktemp -d)
name=tir-gym-server-$$
trap 'docker rm --force $name >/dev/null 2>&1 || true; rm -rf "$context"' EXIT

echo "collecting packages ..."
# What is committed, and what is not yet but would be.
git ls-files -z --cached --others --exclude-standard | xargs -0 -I{} sh -c '[ ! -e "$1" ] || echo "$1"' _ {} |
    tar -c -T - | tar -x -C "$context"
mkdir -p "$context/deploy/wheels" "$context/base"
"$python" -m pip wheel --quiet --disable-pip-version-check -w "$context/deploy/wheels" \
    -c constraints.txt '.[server,mcp]' 'hatchling>=1.27'
rm -f "$context"/deploy/wheels/tir_gym-*.whl # the image builds its own
cp -r "$("$python" -c 'import pip, pathlib; print(pathlib.Path(pip.__file__).parent)')" "$context/base/pip"
printf 'FROM tir-gym/rootfs:latest\nCOPY pip /usr/lib/python3/dist-packages/pip\n' >"$context/base/Dockerfile"

export DOCKER_BUILDKIT=0
docker build --quiet --network none -t tir-gym/python "$context/base"
docker build --quiet --network none -t tir-gym -f "$context/deploy/Dockerfile" \
    --build-arg BASE=tir-gym/python --build-arg "PIP_OPTIONS=--no-index --find-links /src/deploy/wheels" "$context"
docker image inspect --format 'image: {{.Size}} bytes' tir-gym

# Without a token it must not start, since it would listen for everybody.
if docker run --rm --network none tir-gym 2>"$context/said"; then
    echo "it started without a token" >&2
    exit 1
fi
grep -q TIR_GYM_TOKEN "$context/said"

# As deploy/compose.yaml has it, but for the network, of which this engine has only the host's.
port=$("$python" -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])')
docker run --detach --name "$name" --network host -e TIR_GYM_TOKEN=secret --read-only --tmpfs /tmp --cap-drop ALL \
    --security-opt no-new-privileges:true --memory 4g tir-gym --port "$port" >/dev/null
"$python" tests/with_docker.py "http://127.0.0.1:$port"
docker stop --time 20 "$name" >/dev/null
[ "$(docker inspect --format '{{.State.ExitCode}}' "$name")" = 0 ] || { docker logs "$name" >&2; exit 1; }

if docker compose version >/dev/null 2>&1; then
    compose="docker compose"
elif command -v docker-compose >/dev/null; then
    compose=docker-compose
else
    echo "compose file: not run, there is neither docker compose nor docker-compose here"
    exit
fi
# The file itself is read, and refused without a token; what is run differs in its port and network, as above.
TIR_GYM_TOKEN=secret $compose -f "$context/deploy/compose.yaml" config --quiet
if $compose -f "$context/deploy/compose.yaml" config --quiet 2>"$context/said"; then
    echo "the compose file was taken without a token" >&2
    exit 1
fi
grep -q TIR_GYM_TOKEN "$context/said"
sed -e '/^    ports:/,/^    [a-z_]*:/{/^    ports:/d;/^      /d}' -e "s/^    command: .*/    command: [--port, \"$port\"]/" \
    -e '$a\    network_mode: host' "$context/deploy/compose.yaml" >"$context/deploy/here.yaml"
up() { TIR_GYM_TOKEN=secret $compose -p "$name" -f "$context/deploy/here.yaml" "$@"; }
trap 'up down --timeout 5 >/dev/null 2>&1 || true; docker rm --force $name >/dev/null 2>&1 || true; rm -rf "$context"' EXIT
up up --detach --no-build
"$python" tests/with_docker.py "http://127.0.0.1:$port"
served=$(up ps --quiet)
format='{{.HostConfig.ReadonlyRootfs}} {{.HostConfig.CapDrop}} {{.HostConfig.PidsLimit}} {{.HostConfig.Memory}}'
[ "$(docker inspect --format "$format" "$served")" = "true [ALL] 4096 $((4 << 30))" ]
up stop --timeout 20
[ "$(docker inspect --format '{{.State.ExitCode}}' "$served")" = 0 ] || { docker logs "$served" >&2; exit 1; }
echo "compose file: run by $($compose version --short)"
