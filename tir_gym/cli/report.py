"""`tir-gym report RUN [RUN ...]`: stored runs as one page to look at and to pass on, alone or against each other."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tir_gym.cli.options import DEFAULT_STORE, AsJson, DataDir, EnvArgs, Store, env_options
from tir_gym.cli.printing import say
from tir_gym.cli.stores import existing_store
from tir_gym.errors import UsageError

if TYPE_CHECKING:
    from tir_gym.cli.reporting.learning import TrainingLog
    from tir_gym.env import ToolEnv
    from tir_gym.records import Trace


def command(
    runs: Annotated[list[str], typer.Argument(metavar="RUN...", help="Names of runs, see `runs`.")],
    format: Annotated[
        str | None, typer.Option("--format", metavar="FORMS", help="html, md, json, or several: html,md,json.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="FILE", help="Where to; every form has its own suffix."),
    ] = None,
    figures: Annotated[
        Path | None, typer.Option("--figures", metavar="DIR", help="Draw the plots as PNG and SVG files, too.")
    ] = None,
    training: Annotated[
        list[Path] | None,
        typer.Option("--training", metavar="DIR", help="Training runs to draw; the store's own folder if absent."),
    ] = None,
    env: Annotated[
        str | None, typer.Option("--env", metavar="ID", help="Explain episodes in this environment, not the recorded.")
    ] = None,
    data_dir: DataDir = None,
    env_arg: EnvArgs = None,
    store: Store = DEFAULT_STORE,
    as_json: AsJson = False,
) -> None:
    """Report on runs: tables, curves, who wins where, the hardest tasks, and three episodes walked turn by turn."""
    from tir_gym.cli.reporting.contents import make_report
    from tir_gym.cli.reporting.document import document
    from tir_gym.cli.reporting.writing import write_report

    forms = _forms(format)
    twice = {name for name in runs if runs.count(name) > 1}
    if twice:
        raise UsageError(f"run {sorted(twice)[0]!r} is named twice; name each once")
    options = env_options(data_dir=data_dir, env_args=env_arg)
    if env is not None:
        from tir_gym.making import options_of

        options_of(env)  # there must be such an environment; whether it explains an episode is told on the page
    logs = _logs(training, store)
    with existing_store(store) as opened:
        report = make_report([opened.run(name) for name in runs], lambda trace: _env_of(trace, env, options), logs)
    drawn = []
    if figures is not None:
        from tir_gym.cli.reporting.papers import write_figures

        drawn = write_figures(report, figures)
    quiet = as_json and output is None and not forms
    written = {} if quiet else _files(output or _OUTPUT, forms)
    for form, file in written.items():
        write_report(report, file, form)
    if as_json:
        from tir_gym.cli.printing import print_json

        print_json(document(report) | {"files": [str(path) for path in [*written.values(), *drawn]]})
        return
    for path in written.values():
        say(f"Report:  {path}")
    if figures is not None:
        kinds = " and ".join(sorted({path.suffix[1:].upper() for path in drawn}))
        say(f"Figures: {f'{len(drawn)} files, {kinds}, in {figures}' if drawn else 'none, for want of points'}")


_OUTPUT = Path("outputs/report.html")


def _files(output: Path, forms: list[str]) -> dict[str, Path]:
    """The file of each form: the one that was named, with the suffix of the form in place of another form's."""
    from tir_gym.cli.reporting.writing import FORMS

    suffix = output.suffix.removeprefix(".")
    named = output.with_suffix("") if suffix in FORMS else output
    chosen = forms or [suffix if suffix in FORMS else "html"]
    return {form: named.with_name(f"{named.name}.{form}") for form in chosen}


def _logs(training: list[Path] | None, store: str) -> list[TrainingLog]:
    """Logs under the named folders; else the one that stands beside the store, as in the folder of a training run."""
    from tir_gym.cli.reporting.learning import LOGS, find_logs, read_log

    if training is None:
        if "://" in store:
            return []
        beside = Path(store).absolute().parent
        return [read_log(beside.name, beside / name) for name in LOGS if (beside / name).is_file()]
    found = find_logs(training)
    if not found:
        raise UsageError(f"no training run under {', '.join(map(str, training))}: there is no {' or '.join(LOGS)}")
    return [read_log(name, path) for name, path in found]


def _env_of(trace: Trace, env_id: str | None, options: dict[str, Any]) -> ToolEnv:
    from tir_gym.replay_trace import env_of

    return env_of(trace, env_id=env_id, **options)


def _forms(text: str | None) -> list[str]:
    from tir_gym.cli.reporting.writing import FORMS

    forms = [] if text is None else [form.strip() for form in text.split(",")]
    for form in forms:
        if form not in FORMS:
            raise UsageError(f"--format {form!r}: choose from {', '.join(FORMS)}, with commas between")
    return list(dict.fromkeys(forms))
