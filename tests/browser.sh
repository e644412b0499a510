#!/usr/bin/env bash
# Runs the tests of the viewer in a real browser: the Chromium or Chrome of this machine, driven by Playwright.
#
#     tests/browser.sh [PYTHON] [pytest arguments]
#
# Screenshots of every page stay under build/screenshots.
set -euo pipefail
cd "$(dirname "$0")/.."

python=${1:-.venv/bin/python}
shift || true

for name in chromium chromium-browser google-chrome; do
    if command -v "$name" >/dev/null; then browser=$(command -v "$name"); break; fi
done
if [ -z "${browser:-}" ]; then
    echo "not run: no Chromium here; on Debian and Ubuntu: apt install chromium" >&2
    exit 77 # what automake and others read as skipped
fi
if ! "$python" -c 'import playwright, starlette, uvicorn, jinja2' 2>/dev/null; then
    echo "not run: no Playwright in $python; pip install 'tir-gym[dev]'" >&2
    exit 77
fi
"$browser" --version

TIR_GYM_BROWSER=$browser exec "$python" -m pytest -n 0 tests/browser -v "$@"
