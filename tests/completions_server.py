"""A small completions server: `/v1/completions` in token ids over a local engine, as vLLM's server has it.

python completions_server.py FOLDER        prints its port, serves until it is killed

`POST /trouble {"times": 2, "how": 503}` lets the next two completions fail: by a status, or by `"drop"`, which closes
the connection without an answer, `"text"`, which answers in text only, or `"late"`, which never answers.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from pathlib import Path
from typing import Any

import torch
import uvicorn
from safetensors.torch import load_file
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tir_gym.agents.engines import LocalEngine
from tir_gym.errors import UsageError
from tir_gym.rollout import SamplingParams

NAME = "tiny"


class Face:
    """The routes."""

    def __init__(self, engine: LocalEngine) -> None:
        self._engine = engine
        self._trouble: list[Any] = []
        self.seen: list[dict[str, Any]] = []

    async def models(self, _: Request) -> Response:
        return JSONResponse({"data": [{"id": NAME, "max_model_len": self._engine.context}]})

    async def completions(self, request: Request) -> Response:
        body = await request.json()
        self.seen.append(body)
        how = self._trouble.pop(0) if self._trouble else None
        if how == "drop":
            raise ConnectionAbortedError("as told")
        if how == "late":
            await asyncio.sleep(3600)
        if how == "text":
            return JSONResponse({"choices": [{"text": "hello", "finish_reason": "stop"}]})
        if how is not None:
            return JSONResponse({"error": {"message": "trouble"}}, status_code=how, headers={"retry-after": "0.01"})
        prompt = body["prompt"]
        params = SamplingParams(
            max_tokens=body["max_tokens"],
            temperature=body["temperature"],
            top_p=body.get("top_p", 1.0),
            stop_ids=tuple(body.get("stop_token_ids", ())),
            seed=body.get("seed"),
        )
        try:
            scores = (await self._engine.logprobs(prompt)).tolist() if "prompt_logprobs" in body else None
            output = await self._engine.generate(prompt, params)
        except UsageError as error:
            return JSONResponse({"error": {"message": str(error)}}, status_code=400)
        told = (
            [None, *({str(id): {"logprob": s}} for id, s in zip(prompt[1:], scores[1:], strict=True))]
            if scores
            else None
        )
        choice = {
            "prompt_token_ids": prompt,
            "token_ids": output.ids.tolist(),
            "logprobs": {"token_logprobs": output.logprobs.tolist()},
            "prompt_logprobs": told,
            "finish_reason": output.finish,
        }
        return JSONResponse({"choices": [choice]})

    async def collective_rpc(self, request: Request) -> Response:
        folder = Path((await request.json())["kwargs"]["weights_path"])
        await self._engine.update(load_file(folder / "model.safetensors"), self._engine.weight_version + 1)
        return JSONResponse({"results": [None]})

    async def reset_prefix_cache(self, _: Request) -> Response:
        return Response()

    async def trouble(self, request: Request) -> Response:
        body = await request.json()
        self._trouble = [body["how"]] * body["times"]
        return JSONResponse({})


def main() -> None:
    torch.set_num_threads(1)
    face = Face(LocalEngine.load(sys.argv[1], device="cpu", max_slots=8))
    app = Starlette(
        routes=[
            Route("/v1/models", face.models),
            Route("/v1/completions", face.completions, methods=["POST"]),
            Route("/collective_rpc", face.collective_rpc, methods=["POST"]),
            Route("/reset_prefix_cache", face.reset_prefix_cache, methods=["POST"]),
            Route("/trouble", face.trouble, methods=["POST"]),
        ]
    )
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        print(listening.getsockname()[1], flush=True)
        uvicorn.Server(uvicorn.Config(app, log_level="critical")).run(sockets=[listening])


if __name__ == "__main__":
    main()
