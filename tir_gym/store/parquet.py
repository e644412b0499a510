"""Episodes as rows of a Parquet file that RL trainers take prompts from, with all that was played beside them.

`data_source`, `prompt`, `ability`, `reward_model` and `extra_info` are what verl reads (its
examples/data_preprocess/gsm8k_multiturn_w_tool.py); `env_class` and `reward_spec` are SkyRL's
(https://docs.skyrl.ai/docs/datasets/dataset-preparation). Neither is told the gold: `ground_truth` is the task's id, by
which the environment that `extra_info` names finds it. `messages` and `tools` are the conversation that was played,
`rewards` and `turn_rewards` its credit by message of the agent. For prompts alone, keep the rows with `repeat` 0.

`tools`, `extra_info.env_kwargs` and the arguments of calls are JSON text: in columns, the fields of one tool would turn
up in all others.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import count, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tir_gym.errors import MissingExtra, UsageError
from tir_gym.records import Message, Trace
from tir_gym.store.learning import beside, lessons, plain
from tir_gym.store.messages import conversation, shown_turns
from tir_gym.store.run import EpisodeRow, Run

if TYPE_CHECKING:
    import pyarrow

ENV_CLASS = "tir_gym"
"""Name under which a SkyRL environment for these rows is to be registered."""

_ROWS = 100
"""Rows of a group; one group at a time is in memory."""


def export_parquet(run: Run, path: str | Path, *, only_success: bool = False) -> int:
    """Write one row per episode, by task id and repeat; infrastructure failures are left out.

    Args:
        run: The run.
        path: The file; its folders are made.
        only_success: Leave out episodes that did not succeed.

    Returns:
        How many.

    Raises:
        MissingExtra: pyarrow is not installed.
        UsageError: A message has parts that are no text.
    """
    try:
        import pyarrow
        from pyarrow.parquet import ParquetWriter
    except ImportError as error:
        raise MissingExtra("Parquet files need pyarrow; run pip install 'tir-gym[parquet]'") from error
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    schema, rows, written = _schema(), _rows(run, only_success=only_success), 0
    with ParquetWriter(path, schema) as writer:
        while group := list(islice(rows, _ROWS)):
            writer.write_table(pyarrow.Table.from_pylist(group, schema=schema))
            written += len(group)
    return written


def _rows(run: Run, *, only_success: bool) -> Iterator[dict[str, Any]]:
    numbers = count()
    for row, trace in lessons(run, only_success=only_success):
        yield plain(_row(run, row, trace, next(numbers)))


def _row(run: Run, row: EpisodeRow, trace: Trace, index: int) -> dict[str, Any]:
    recorded = trace.provenance
    return {
        "data_source": recorded.env_id,
        "prompt": [
            {"role": message["role"], "content": str(message.get("content") or "")} for message in trace.messages
        ],
        "ability": "tool_use",
        "env_class": ENV_CLASS,
        "reward_model": {"style": "rule", "ground_truth": row.task_id},
        "reward_spec": {"method": "rule", "ground_truth": row.task_id},
        "extra_info": {
            "index": index,
            "split": str(run.config.get("split") or ""),
            "task_id": row.task_id,
            "env_id": recorded.env_id,
            "env_kwargs": json.dumps(recorded.env_kwargs, sort_keys=True),
            "seed": None if recorded.seed is None else str(recorded.seed),
            "agent": recorded.agent,
            "ending": trace.ending,
        },
        "messages": _texts(row, conversation(trace)),
        "tools": json.dumps([tool.to_openai() for tool in trace.tools]),
        **beside(row, trace, shown_turns(trace)),
    }


def _texts(row: EpisodeRow, messages: list[Message]) -> list[Message]:
    if any(isinstance(message.get("content"), list) for message in messages):
        raise UsageError(
            f"the episode of task {row.task_id}, repeat {row.repeat}: a message of several parts fits no row; "
            "take --format openai"
        )
    return messages


def _schema() -> pyarrow.Schema:
    import pyarrow as pa

    text, many = pa.string(), pa.list_(pa.float64())
    function = pa.struct([("name", text), ("arguments", text)])
    call = pa.struct([("id", text), ("type", text), ("function", function)])
    message = [
        ("role", text),
        ("content", text),
        ("tool_calls", pa.list_(call)),
        ("tool_call_id", text),
        ("name", text),
    ]
    about = [(name, text) for name in ("split", "task_id", "env_id", "env_kwargs", "seed", "agent", "ending")]
    return pa.schema(
        [
            ("data_source", text),
            ("prompt", pa.list_(pa.struct([("role", text), ("content", text)]))),
            ("ability", text),
            ("env_class", text),
            ("reward_model", pa.struct([("style", text), ("ground_truth", text)])),
            ("reward_spec", pa.struct([("method", text), ("ground_truth", text)])),
            ("extra_info", pa.struct([("index", pa.int64()), *about])),
            ("messages", pa.list_(pa.struct(message))),
            ("tools", text),
            ("task_id", text),
            ("repeat", pa.int64()),
            ("success", pa.bool_()),
            ("return", pa.float64()),
            ("rewards", many),
            ("turn_rewards", many),
        ]
    )
