"""The server in its container, driven from outside; run by `tests/docker.sh`.

python tests/with_docker.py URL
"""

import sys
import time

from serving import http

from tir_gym.agents import make_agent
from tir_gym.episode import play_episode
from tir_gym.errors import InfrastructureError
from tir_gym.making import make_env


def main() -> None:
    url = sys.argv[1]
    for _ in range(300):
        try:
            if http(f"{url}/healthz")[0] == 200:
                break
        except OSError:
            time.sleep(0.2)
    assert http(f"{url}/metrics")[0] == 401
    refused = ""
    try:
        make_env("tir_gym/Remote-v0", url=url, env_id="tir_gym/Calculator-v0", token="wrong", patience=0)
    except InfrastructureError as error:
        refused = error.kind
    assert refused == "server_refused", refused or "a wrong token was let in"
    for id in ("tir_gym/Calculator-v0", "tir_gym/Assistant-v0", "tir_gym/Lookup-v0", "tir_gym/Search-v0"):
        with make_env("tir_gym/Remote-v0", url=url, env_id=id, token="secret", split="test") as there:
            here = make_env(id, split="test")
            for task in here.task_ids(3):
                ours = play_episode(here, make_agent("random"), task=task).trace
                theirs = play_episode(there, make_agent("random"), task=task).trace
                assert theirs.infra_error is None, theirs.infra_error
                assert [turn.observation for turn in theirs.turns] == [turn.observation for turn in ours.turns]
                assert [turn.reward for turn in theirs.turns] == [turn.reward for turn in ours.turns]
    print("the server in its container plays as it does here")


if __name__ == "__main__":
    main()
