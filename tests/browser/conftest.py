"""Browser tests are collected where a browser was named, as tests/browser.sh does: `make test` needs packages alone."""

import os

collect_ignore = [] if os.environ.get("TIR_GYM_BROWSER") else ["test_pages.py"]
