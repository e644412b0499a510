"""`llm:MODEL@BASE_URL`: a language model behind any endpoint that speaks OpenAI's chat protocol.

In the `openai` dialect tools and calls travel natively, as `tools` and `tool_calls`. In a text dialect the request
has no `tools`: the dialect's own words about them end the system message, the message's text is the action, and tool
results go back as a user message.

**Whose failure is it?** An endpoint that gives no answer is nobody's in the episode: `AgentFailure`, and no statistic
counts it. A conversation that has outgrown the model's context is the agent's: it says nothing, the episode ends and
is scored. Only when not even the task's opening fits is it an `AgentFailure` again, because then the endpoint is set
up wrong for the environment. Calls that cannot be read go to the environment as they are, which scores them.
"""

from __future__ import annotations

import json
import logging
import random
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from tir_gym.agent import AgentFailure
from tir_gym.agents.endpoint import ChatEndpoint, EndpointError, Usage
from tir_gym.dialects import Dialect, get_dialect
from tir_gym.env import Action
from tir_gym.errors import UsageError
from tir_gym.messages import Observation
from tir_gym.records import Message, ToolCall

log = logging.getLogger("tir_gym.agents")

_FORM = re.compile(r"(?P<model>.+)@(?P<url>https?://.+)", re.DOTALL)


class LLMAgent:
    """Keeps the conversation, asks the model for the next message, and plays it.

    Args:
        target: `MODEL@BASE_URL`; the model's name may hold any character.
        temperature: Of sampling; the server's default if `None`.
        max_tokens: Limit of one message; the server's default if `None`. For servers that want
            `max_completion_tokens` instead, give it in `extra_body`.
        timeout: Seconds without a byte after which an attempt is given up.
        max_retries: Attempts after the first, for each message.
        backoff: Seconds before the first retry; doubled for each further one.
        api_key_env: Environment variable that holds the key; `OPENAI_API_KEY` if it is set, else no key is sent that
            means anything.
        extra_body: Further fields of the request, such as `{"seed": 1, "top_p": 0.9}`.

    Raises:
        UsageError: `target` has another form, or an option cannot be.
    """

    needs_gold = False

    def __init__(
        self,
        target: str,
        *,
        temperature: float | None = None,
        max_tokens: int | None = None,
        timeout: float = 120.0,
        max_retries: int = 5,
        backoff: float = 1.0,
        api_key_env: str | None = None,
        extra_body: Mapping[str, Any] | None = None,
    ) -> None:
        form = _FORM.fullmatch(target)
        if form is None:
            raise UsageError(f"llm:{target}: write llm:MODEL@BASE_URL, such as llm:qwen3-8b@http://localhost:8000/v1")
        for name, value, least in (
            ("timeout", timeout, 1e-3),
            ("max_retries", max_retries, 0),
            ("backoff", backoff, 0),
        ):
            if value < least:
                raise UsageError(f"{name}={value!r}: give a number of at least {least:g}")
        self._endpoint = ChatEndpoint(
            form["model"],
            form["url"],
            timeout=timeout,
            max_retries=max_retries,
            backoff=backoff,
            api_key_env=api_key_env,
        )
        self._options: dict[str, Any] = {}
        if temperature is not None:
            self._options["temperature"] = temperature
        if max_tokens is not None:
            self._options["max_tokens"] = max_tokens
        if extra_body:
            self._options["extra_body"] = dict(extra_body)
        self._context_overflows = 0

    @property
    def usage(self) -> dict[str, int]:
        """Counts since `begin`: `requests`, `retries`, `prompt_tokens`, `completion_tokens`, `context_overflows`."""
        return {**asdict(self._endpoint.usage), "context_overflows": self._context_overflows}

    def begin(self, env_info: dict[str, Any]) -> None:
        self._dialect = get_dialect(env_info["dialect"])
        self._tools: Sequence[Mapping[str, Any]] = env_info["tools"]
        self._native = self._dialect.name == "openai"
        self._jitter = random.Random(f"llm/{env_info['seed']}/{env_info['task_id']}")
        self._transcript: list[Message] = []
        self._turn = 0
        self._endpoint.usage = Usage()
        self._context_overflows = 0

    def act(self, observation: Observation, info: dict[str, Any]) -> Action:
        self._hear(observation, info.get("history"))
        try:
            message = self._ask()
        except EndpointError as error:
            if error.kind != "context_overflow" or self._turn == 0:
                raise AgentFailure(str(error)) from error
            log.warning("the conversation has outgrown the model's context; the agent says nothing: %s", error)
            self._context_overflows += 1
            return self._dialect.render("", ())
        action = self._heard_back(message)
        self._turn += 1
        return action

    def close(self) -> None:
        """Close the connection. Safe to call twice."""
        self._endpoint.close()

    def _hear(self, observation: Observation, history: Sequence[Message] | None) -> None:
        """Add what is new. A history replaces all before it; it may hold the new messages already."""
        if history is not None:
            self._transcript = [dict(message) for message in history]
            new = [dict(message) for message in observation]
            if self._transcript[-len(new) :] == new:
                return
        self._transcript.extend(dict(message) for message in observation)

    def _ask(self) -> dict[str, Any]:
        try:
            return self._endpoint.complete(self._request(self._transcript), self._jitter)
        except EndpointError as error:
            # Many servers parse the arguments of earlier calls to render them, and refuse a conversation that holds
            # unreadable ones. It is the model that wrote them, so the episode must go on for it to be scored.
            readable = [_with_readable_calls(message) for message in self._transcript]
            if error.kind not in ("bad_request", "server_error") or readable == self._transcript:
                raise
            log.warning("the endpoint refuses the conversation; its unreadable calls are quoted: %s", error)
            self._transcript = readable
            self._endpoint.usage.retries += 1
            return self._endpoint.complete(self._request(readable), self._jitter)

    def _request(self, transcript: Sequence[Message]) -> dict[str, Any]:
        if not self._native:
            prompt = self._dialect.tool_prompt(self._tools)
            return {"messages": _as_text(transcript, prompt, self._dialect), **self._options}
        request = {"messages": list(transcript), **self._options}
        if self._tools:
            request["tools"] = list(self._tools)
        return request

    def _heard_back(self, message: dict[str, Any]) -> Action:
        """The action that a message is, after adding the message to the conversation."""
        content = message.get("content")
        if not self._native:
            text = content if isinstance(content, str) else ""
            self._transcript.append({"role": "assistant", "content": text})
            return text
        # As the server sent it, but for fields without a value, which it may refuse to take back, and ids that it has
        # not given, by which results find their calls.
        kept = {key: value for key, value in message.items() if value is not None and value != []}
        kept["role"] = "assistant"
        if isinstance(kept.get("tool_calls"), list):
            kept["tool_calls"] = [
                {**call, "id": call.get("id") or f"call_{self._turn}_{i}"} if isinstance(call, dict) else call
                for i, call in enumerate(kept["tool_calls"])
            ]
        kept.setdefault("content", None if "tool_calls" in kept else "")
        self._transcript.append(kept)
        return dict(kept)


def _with_readable_calls(message: Message) -> Message:
    """The message with arguments that are no JSON object quoted in one."""
    calls = message.get("tool_calls")
    if not isinstance(calls, list):
        return message
    return {**message, "tool_calls": [_with_readable_arguments(call) for call in calls]}


def _with_readable_arguments(call: Any) -> Any:
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict):
        return call
    arguments = function.get("arguments")
    try:
        if isinstance(json.loads(arguments or "{}"), dict):
            return call
    except (TypeError, ValueError, RecursionError):
        pass
    return {**call, "function": {**function, "arguments": json.dumps({"unreadable": str(arguments)})}}


def _as_text(transcript: Iterable[Message], tool_prompt: str, dialect: Dialect) -> list[Message]:
    """The conversation for a model that is told of its tools in words: no `tool` messages, no `tool_calls`.

    Neighbouring tool results become one user message, because many chat templates demand that roles alternate.
    """
    messages: list[Message] = []
    follows_result = False
    for message in transcript:
        is_result = message["role"] == "tool"
        if is_result:
            text = _result_text(message, dialect.name)
            if follows_result:
                messages[-1]["content"] += f"\n{text}"
            else:
                messages.append({"role": "user", "content": text})
        elif message.get("tool_calls"):  # from a history, which is in OpenAI's form
            said = dialect.parse(message)
            calls = [item for item in said.items if isinstance(item, ToolCall)]
            messages.append({"role": "assistant", "content": dialect.render(said.text, calls)})
        else:
            messages.append(dict(message))
        follows_result = is_result
    if not messages or messages[0]["role"] != "system":
        messages.insert(0, {"role": "system", "content": ""})
    messages[0]["content"] = f"{messages[0]['content']}\n\n{tool_prompt}".strip()
    return messages


def _result_text(message: Message, dialect: str) -> str:
    if dialect == "hermes":
        return f"<tool_response>\n{message['content']}\n</tool_response>"
    return f"Result of {message.get('name', 'a call that could not be read')}: {message['content']}"
