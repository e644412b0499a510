#!/usr/bin/env bash
# Runs a command with a container engine of its own, started by hand in a temporary folder and gone afterwards.
#
#     tests/container_engine.sh docker|podman COMMAND [ARGUMENT ...]
#
# The command finds DOCKER_HOST, TIR_GYM_ENGINE_URL (the same), TIR_GYM_ENGINE_PID (of the daemon), TIR_GYM_ENGINE_KIND
# (docker, podman), and in the engine the image that `ContainerSandbox` takes by default. Needs root and the engine's
# programs (Debian's docker.io or podman); for the image debootstrap, once: the root file system is kept in
# $TIR_GYM_ROOTFS, or under build/. PYTHON is the interpreter that has the package, .venv/bin/python by default. Exits
# with 77 if there is no engine to be had.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
python=${PYTHON:-$root/.venv/bin/python}
rootfs=${TIR_GYM_ROOTFS:-$root/build/container/rootfs.tar}

kind=${1:?docker or podman}
shift

not_run() {
    echo "not run: $*" >&2
    exit 77 # what automake and others read as skipped
}

[ "$(id -u)" = 0 ] || not_run "a container engine is started by hand as root only"
case $kind in
docker) needs="dockerd containerd runc" ;;
podman) needs="podman conmon runc" ;;
*) echo "$0: no engine '$kind'; choose docker or podman" >&2; exit 2 ;;
esac
for program in $needs; do
    command -v "$program" >/dev/null ||
        not_run "no $program here; on Debian and Ubuntu: apt install docker.io, or podman and runc"
done

# A minimal system with Python. Built aside and moved, so that a half-made one is never taken for whole.
if [ ! -e "$rootfs" ]; then
    command -v debootstrap >/dev/null || not_run "no debootstrap here to make an image with; apt install debootstrap"
    suite=$(. /etc/os-release && echo "$VERSION_CODENAME")
    echo "making a root file system of $suite with debootstrap ..." >&2
    mkdir -p "$(dirname "$rootfs")"
    made=$(mktemp -d "$(dirname "$rootfs")/rootfs.XXXXXX")
    if ! debootstrap --variant=minbase --include=python3 "$suite" "$made/tree" >"$made/log" 2>&1; then
        tail -5 "$made/log" >&2
        rm -rf "$made"
        not_run "debootstrap could not fetch $suite"
    fi
    rm -rf "$made"/tree/var/cache/apt/* "$made"/tree/var/lib/apt/lists/* "$made"/tree/usr/share/{doc,man,locale,info}/*
    tar -C "$made/tree" --numeric-owner --exclude='./dev/*' -cf "$made/rootfs.tar" .
    mv "$made/rootfs.tar" "$rootfs"
    rm -rf "$made"
fi

# The path must be short: a socket's address has 108 bytes.
home=$(mktemp -d /tmp/tir-gym-engine.XXXXXX)
cgroup=$(basename "$home")
command=""
daemon=""

# Everything the engine has started names the temporary folder in its arguments.
ours() {
    grep -lsF "$home/" /proc/[0-9]*/cmdline | cut -d / -f 3 || true
}

stop() {
    trap '' INT TERM
    [ -z "$command" ] || { kill "$command" && wait "$command"; } 2>/dev/null || true
    if [ "$kind" = podman ] && [ -e "$home/engine.sock" ]; then
        "${podman[@]}" rm --all --force --time 0 >/dev/null 2>&1 || true
    fi
    if [ -n "$daemon" ]; then
        kill "$daemon" 2>/dev/null || true
        for _ in $(seq 100); do kill -0 "$daemon" 2>/dev/null || break; sleep 0.1; done
    fi
    # What a daemon that was itself killed has left: containers, shims, mounts, cgroups.
    local left path
    for path in /sys/fs/cgroup/*/"$cgroup"/*/cgroup.procs /sys/fs/cgroup/"$cgroup"/*/cgroup.procs; do
        [ ! -e "$path" ] || while read -r left; do kill -9 "$left" 2>/dev/null || true; done <"$path"
    done
    for left in $(ours); do kill -9 "$left" 2>/dev/null || true; done
    for _ in $(seq 50); do [ -n "$(ours)" ] || break; sleep 0.1; done
    awk -v home="$home/" 'index($2, home) == 1 { print $2 }' /proc/self/mounts | sort -r |
        while read -r path; do umount -l "$path" 2>/dev/null || true; done
    for path in /sys/fs/cgroup/*/"$cgroup" /sys/fs/cgroup/"$cgroup"; do
        [ ! -d "$path" ] || find "$path" -depth -type d -exec rmdir {} + 2>/dev/null || true
    done
    rm -rf "$home"
}
trap stop EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# gVisor, where it is there: `runtime="runsc"`.
runtimes=""
if command -v runsc >/dev/null; then
    runtimes='"runsc": {"path": "'$(command -v runsc)'", "runtimeArgs": ["--network=none", "--ignore-cgroups"]}'
fi
echo "{\"runtimes\": {$runtimes}}" >"$home/daemon.json"
url=unix://$home/engine.sock
# In a session of its own: Ctrl-C is for the command, and the engine goes when that has ended.
if [ "$kind" = docker ]; then
    setsid dockerd --host "$url" --data-root "$home/data" --exec-root "$home/exec" --pidfile "$home/pid" \
        --config-file "$home/daemon.json" --cgroup-parent "/$cgroup" --storage-driver overlay2 \
        --iptables=false --ip6tables=false --bridge none >"$home/log" 2>&1 </dev/null &
else
    # crun refuses hybrid cgroups. The limits of open files and processes must be named: the defaults ask for more than
    # root may have in some places.
    cat >"$home/containers.conf" <<EOF
[containers]
default_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
EOF
    export CONTAINERS_CONF=$home/containers.conf
    podman=(podman --root "$home/data" --runroot "$home/exec" --tmpdir "$home/tmp" --storage-driver overlay
        --network-config-dir "$home/net")
    setsid "${podman[@]}" system service --time 0 "$url" >"$home/log" 2>&1 </dev/null &
fi
daemon=$!

export DOCKER_HOST=$url TIR_GYM_ENGINE_URL=$url TIR_GYM_ENGINE_PID=$daemon TIR_GYM_ENGINE_KIND=$kind
ready() { # a socket that accepts: it is there a moment before the engine listens
    "$python" -c 'import socket, sys; socket.socket(socket.AF_UNIX).connect(sys.argv[1])' "$home/engine.sock" 2>/dev/null
}
for _ in $(seq 120); do
    ! ready || break
    kill -0 "$daemon" 2>/dev/null || break
    sleep 0.25
done
ready || { tail -20 "$home/log" >&2; not_run "$kind did not start"; }

# Where the machine is itself a container, an engine may start and yet run nothing; that is no fault of ours. What comes
# after is.
"$python" - "$rootfs" <<'EOF' || { tail -5 "$home/log" >&2; not_run "$kind cannot run containers here"; }
import sys

import docker

client = docker.from_env()
client.api.import_image_from_file(sys.argv[1], repository="tir-gym/rootfs", tag="latest")
client.containers.run("tir-gym/rootfs:latest", ["true"], network_mode="none", remove=True)
EOF
"$python" -c 'from tir_gym.sandboxes.container import build_image as build
build(base="tir-gym/rootfs:latest", packages=(), network="none")'

# Not in the foreground, where this shell would hear of nothing before the command ends.
"$@" <&0 &
command=$!
status=0
wait "$command" || status=$?
command=""
exit "$status"
