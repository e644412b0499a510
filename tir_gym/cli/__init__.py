"""The command line: `tir-gym list | info | play | eval | replay | rescore | validate | report | export | import |
runs | view | bench | make-policy | sft | train | serve | demo | doctor`.

This file puts the commands together and turns errors into one line and an exit code (`exits.py`). Each command is
one file. What a command needs is imported when it runs, so that help is quick.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from tir_gym.cli import (
    bench,
    demo,
    doctor,
    evaluate,
    exits,
    export,
    info,
    list_envs,
    make_policy,
    play,
    replay,
    report,
    rescore,
    runs,
    serve,
    sft,
    train,
    train_ppo,
    validate,
    view,
)
from tir_gym.cli.printing import error_line, say
from tir_gym.errors import InfrastructureError, TirGymError

app = typer.Typer(
    name="tir-gym",
    help="Gymnasium environments for agents that use tools: benchmark an agent, look at what it did, trust the number.",
    epilog=exits.EPILOG,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich" if sys.stdout.isatty() else None,
)
app.command("list")(list_envs.command)
app.command("info")(info.command)
app.command("play")(play.command)
app.command("eval")(evaluate.command)
app.command("replay")(replay.command)
app.command("validate")(validate.command)
app.command("rescore")(rescore.command)
app.command("report")(report.command)
app.command("view")(view.command)
app.command("serve")(serve.command)
app.command("runs")(runs.command)
app.command("export")(export.export_command)
app.command("import")(export.import_command)
app.command("train-ppo")(train_ppo.command)
app.command("bench")(bench.command)
app.command("make-policy")(make_policy.command)
app.command("sft")(sft.command)
app.command("train")(train.command)
app.command("demo")(demo.command)
app.command("doctor")(doctor.command)


@app.callback(invoke_without_command=True)
def _start(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", help="Show tracebacks, also with TIR_GYM_DEBUG=1; works after a command too.")
    ] = False,
) -> None:
    if version:
        import tir_gym

        say(f"tir-gym {tir_gym.__version__}")
        raise typer.Exit(exits.OK)
    if context.invoked_subcommand is None:
        print(context.get_help())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: Without the program's name; `sys.argv` by default.

    Returns:
        The exit code, see `exits.py`. An error becomes one line on stderr, after its traceback if that was asked for.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    verbose = "--verbose" in words or os.environ.get("TIR_GYM_DEBUG", "") not in ("", "0")
    words = [word for word in words if word != "--verbose"]
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a trace may hold what a terminal cannot show
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # `module:Class` may be a module of the folder one stands in; last, to hide none
    try:
        result: Any = app(args=words, prog_name="tir-gym", standalone_mode=False)
        sys.stdout.flush()
        if result == exits.INTERRUPTED:  # how newer Typers tell of Ctrl-C; older ones raise Abort
            raise KeyboardInterrupt
        return int(result or exits.OK)
    except (KeyboardInterrupt, typer.Abort):
        error_line("interrupted")
        return exits.INTERRUPTED
    except (BrokenPipeError, SystemExit) as stop:
        if isinstance(stop, SystemExit) and not isinstance(stop.__context__, BrokenPipeError):
            raise
        # Whoever read our output has had enough (`tir-gym list | head`). Python would complain again at its exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.__stdout__.fileno() if sys.__stdout__ else 1)
        return exits.OK
    except Exception as error:
        if verbose:
            traceback.print_exc()
        text, code = _explain(error)
        error_line(text)
        return code


def _explain(error: Exception) -> tuple[str, int]:
    """What to say about an error, and the exit code."""
    if isinstance(error, InfrastructureError):
        return str(error), exits.INFRASTRUCTURE
    if isinstance(error, TirGymError):
        return str(error), exits.USAGE
    if hasattr(error, "format_message"):  # Typer's and Click's own: a wrong option or argument
        return f"{error.format_message()} Try --help.", exits.USAGE
    if isinstance(error, OSError):
        return f"{error.filename or type(error).__name__}: {error.strerror or error}", exits.USAGE
    notes = "".join(f", {line}" for line in getattr(error, "__notes__", ()))
    frames = traceback.extract_tb(error.__traceback__)
    place = f" at {frames[-1].filename}:{frames[-1].lineno} in {frames[-1].name}" if frames else ""
    return f"{type(error).__name__}: {error}{notes}{place} (a bug; --verbose shows the traceback)", exits.BUG
