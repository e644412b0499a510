"""`tir-gym serve [ID ...]`: environments for clients elsewhere, until interrupted."""

from __future__ import annotations

import gc
import os
import sys
from typing import Annotated

import typer

from tir_gym.cli.options import EnvArgs, key_values
from tir_gym.cli.printing import print_json, say
from tir_gym.errors import UsageError

TOKEN = "TIR_GYM_TOKEN"
"""Variable that holds the token, for server and clients."""


def command(
    ids: Annotated[
        list[str] | None,
        typer.Argument(metavar="[ID]...", help="What clients may make; all that need nothing if absent."),
    ] = None,
    host: Annotated[str, typer.Option("--host", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Port; 0 for any that is free.")] = 8765,
    env_arg: EnvArgs = None,
    allow: Annotated[
        list[str] | None,
        typer.Option("--allow", metavar="OPTION", help="Let clients choose this option of an environment too."),
    ] = None,
    expose_gold: Annotated[
        bool, typer.Option("--expose-gold", help="Send gold traces and matching; for trainers and oracles.")
    ] = False,
    max_sessions: Annotated[int, typer.Option("--max-sessions", min=1, help="Sessions open at one time.")] = 2000,
    max_snapshots: Annotated[
        int, typer.Option("--max-snapshots", min=1, help="Kept for a session and its forks together.")
    ] = 256,
    max_turns: Annotated[
        int, typer.Option("--max-turns", min=1, help="Turns of an episode that a client may choose.")
    ] = 1000,
    max_message: Annotated[int, typer.Option("--max-message", min=1024, help="Bytes of one message.")] = 4 << 20,
    idle: Annotated[float, typer.Option("--idle", help="Seconds until an unused session is closed.")] = 1800.0,
    grace: Annotated[
        float, typer.Option("--grace", help="Seconds for which a session outlives its dropped connection.")
    ] = 60.0,
    schema: Annotated[
        bool, typer.Option("--schema", help="Print the JSON Schema of requests and replies, and end.")
    ] = False,
) -> None:
    """Serve environments over WebSocket, HTTP and MCP.

    Clients: `gym.make("tir_gym/Remote-v0", url=...)`, any MCP client, OpenEnv's clients, or your own by the schema at
    /schema. A token in $TIR_GYM_TOKEN is demanded of every client; without one the server listens on loopback only.
    """
    if schema:
        from tir_gym.server.protocol import schema as schema_of_messages

        print_json(schema_of_messages())
        return
    from tir_gym.server import Bounds, Catalogue, EnvironmentServer, Terms

    if not ids and env_arg:
        raise UsageError("--env-arg needs the ID of the environment that it is an option of")
    server = EnvironmentServer(
        Catalogue(ids or (), fixed=key_values(env_arg, "--env-arg"), allowed=allow or ()),
        Bounds(
            sessions=max_sessions,
            snapshots=max_snapshots,
            turns=max_turns,
            idle=idle,
            grace=grace,
            message=max_message,
        ),
        Terms(host, port, os.environ.get(TOKEN) or None, expose_gold),
    )
    _collect_less()
    server.run(on_ready=lambda: _tell(server.url))


def _collect_less() -> None:
    """Keep the garbage collector from looking through what this process has loaded, and from looking often: episodes
    hold no circles, and each look through a hundred thousand objects is a step that all sessions wait for."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)


def _tell(url: str) -> None:
    say(f"tir-gym serves at {url} (Ctrl-C ends it)")
    sys.stdout.flush()  # whoever starts it in a pipe waits for this line
