"""`tir-gym runs`: what the store holds, a line for each run."""

from __future__ import annotations

from tir_gym.cli.options import DEFAULT_STORE, AsJson, Store
from tir_gym.cli.printing import number, percent, print_json, print_table
from tir_gym.cli.stores import existing_store


def command(store: Store = DEFAULT_STORE, as_json: AsJson = False) -> None:
    """List the runs of a store."""
    with existing_store(store) as opened:
        found = opened.runs()
    if as_json:
        rows = [{**vars(info), "config": dict(info.config)} for info in found]
        print_json({"store": store, "runs": rows})
        return
    print_table(
        ("run", "environment", "agent", "status", "episodes", "success", "return", "infra", "begun"),
        [
            (
                info.name,
                info.config.get("env_id"),
                info.config.get("agent"),
                info.status,
                info.episodes,
                percent(info.successes / info.episodes if info.episodes else None),
                number(info.mean_return),
                info.infra_failures,
                info.created_at,
            )
            for info in found
        ],
    )
