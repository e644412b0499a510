"""`python -s -P inside NUMBER`: become a zygote that listens on the inherited socket with that number.

The folder is loaded as the package `jail_inside` and its place is not put on the module path, so that nothing beside it
can be imported by accident.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys


def load() -> None:
    """Make `import jail_inside` work."""
    here = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [entry for entry in sys.path if entry != here]
    spec = importlib.util.spec_from_file_location(
        "jail_inside", os.path.join(here, "__init__.py"), submodule_search_locations=[here]
    )
    if spec is None or spec.loader is None:
        raise ImportError(f"nothing to load in {here}")
    package = importlib.util.module_from_spec(spec)
    sys.modules["jail_inside"] = package
    spec.loader.exec_module(package)


if __name__ == "__main__":
    load()
    importlib.import_module("jail_inside.zygote").main(int(sys.argv[1]))
