"""The trace store: every run and every episode of it, in SQLite or PostgreSQL, written as the run goes.

    with open_store("outputs/runs.db") as store:
        run = store.begin_run("first", {"env_id": "tir_gym/Calculator-v0", "agent": "oracle"})
        run.record(played, repeat=0)
        run.finish()

`schema.py` says what lies where, `database.py` opens it, `store.py` and `run.py` read and write it, `jsonl.py` carries
runs from one store to another; `messages.py`, `sharegpt.py`, `atif.py` and `parquet.py` make training data of them,
`learning.py` being what these share; `whole.py` says whether a trace hangs together. Needs SQLAlchemy, so it is
imported only by who keeps episodes.
"""

from tir_gym.store.atif import export_atif
from tir_gym.store.jsonl import export_jsonl, import_jsonl
from tir_gym.store.messages import conversation, export_openai
from tir_gym.store.parquet import export_parquet
from tir_gym.store.run import EpisodeRow, Run
from tir_gym.store.sharegpt import export_sharegpt
from tir_gym.store.store import RunInfo, Store, open_store

__all__ = [
    "EpisodeRow",
    "Run",
    "RunInfo",
    "Store",
    "conversation",
    "export_atif",
    "export_jsonl",
    "export_openai",
    "export_parquet",
    "export_sharegpt",
    "import_jsonl",
    "open_store",
]
