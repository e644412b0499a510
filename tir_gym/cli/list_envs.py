"""`tir-gym list`: the environments there are."""

from __future__ import annotations

from tir_gym.cli.options import AsJson
from tir_gym.cli.printing import print_json, print_table
from tir_gym.registration import cards


def command(as_json: AsJson = False) -> None:
    """List the environments: their ids, what they are, and what they need."""
    found = list(cards().values())
    if as_json:
        print_json({"environments": [card.model_dump(mode="json", exclude={"entry_point"}) for card in found]})
        return
    print_table(("id", "title", "needs"), [(card.id, card.title, _needs(card.needs)) for card in found])


def _needs(needs: str) -> str:
    return {"": "nothing", "data_dir": "a data folder: --data-dir DIR", "url": "a server: --url URL"}[needs]
