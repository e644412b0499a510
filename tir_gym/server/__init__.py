"""Environments for clients elsewhere: WebSocket sessions, plain HTTP, MCP tools, OpenEnv's clients.

`tir-gym serve` runs it; `gym.make("tir_gym/Remote-v0", url=...)` is its client. What goes over the wire is written in
`docs/server.schema.json`, how to use it in `docs/server.md`. Needs the extra `server`.
"""

from tir_gym.errors import MissingExtra

try:
    import prometheus_client  # noqa: F401
    import starlette  # noqa: F401
    import uvicorn  # noqa: F401
    import websockets  # noqa: F401
except ImportError as error:
    raise MissingExtra(
        f"the environment server needs the package {error.name}: pip install 'tir-gym[server]'", name=error.name
    ) from error

from tir_gym.server.app import create_app
from tir_gym.server.catalogue import Catalogue
from tir_gym.server.running import EnvironmentServer, Terms
from tir_gym.server.sessions import Bounds

__all__ = ["Bounds", "Catalogue", "EnvironmentServer", "Terms", "create_app"]
