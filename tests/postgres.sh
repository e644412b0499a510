#!/usr/bin/env bash
# Runs the tests of the trace store and of the SQL sandbox on a PostgreSQL server of their own, which lives in a
# temporary folder, listens on a socket there, and is gone afterwards.
#
#     tests/postgres.sh [PYTHON] [pytest arguments]
#
# Needs initdb and pg_ctl, on the path or where Debian and Ubuntu keep them. PYTHON gets the driver if it lacks it.
set -euo pipefail
cd "$(dirname "$0")/.."

python=${1:-.venv/bin/python}
shift || true

bin=""
for folder in $(command -v initdb | xargs -r dirname) $(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V -r); do
    if [ -x "$folder/initdb" ] && [ -x "$folder/pg_ctl" ]; then bin=$folder; break; fi
done
if [ -z "$bin" ]; then
    echo "not run: no PostgreSQL server here; on Debian and Ubuntu: apt install postgresql" >&2
    exit 77 # what automake and others read as skipped
fi

"$python" -c 'import psycopg' 2>/dev/null ||
    PIP_CONSTRAINT=constraints.txt "$python" -m pip install --quiet --disable-pip-version-check 'psycopg[binary]>=3.2'

# The server refuses to run as root.
as_user=()
if [ "$(id -u)" = 0 ]; then
    user=nobody
    id postgres >/dev/null 2>&1 && user=postgres
    as_user=(setpriv --reuid "$user" --regid "$(id -g "$user")" --clear-groups env HOME=/tmp)
fi

home=$(mktemp -d /tmp/tir-gym-postgres.XXXXXX)
[ ${#as_user[@]} = 0 ] || chown "$user" "$home"

stop() {
    (cd "$home" && "${as_user[@]}" "$bin/pg_ctl" -D "$home/data" -m immediate -w stop >/dev/null 2>&1) || true
    rm -rf "$home"
}
trap stop EXIT

(
    cd "$home"
    "${as_user[@]}" "$bin/initdb" -D "$home/data" -U tests -A trust -E UTF8 --locale C.UTF-8 --no-sync >/dev/null
    "${as_user[@]}" "$bin/pg_ctl" -D "$home/data" -l "$home/log" -w \
        -o "-c listen_addresses='' -c unix_socket_directories='$home' -c fsync=off" start >/dev/null
) || { cat "$home/log" >&2 2>/dev/null; exit 1; }

TIR_GYM_POSTGRES_URL="postgresql+psycopg://tests@/postgres?host=$home" \
    "$python" -m pytest tests/test_store_postgres.py tests/test_sql_postgres.py tests/escape/test_sql_attacks.py "$@"
