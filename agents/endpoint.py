"""A chat endpoint that speaks OpenAI's protocol, and what to do when it does not answer.

Retried, with exponential backoff or as the server's `Retry-After` says: 408, 409, 429, 5xx, timeouts, lost
connections, and answers that are no chat completion. Not retried: any other status, and a 429 that says that a quota
is spent. What remains is an `EndpointError` whose `kind` is one of

| kind | what happened |
|---|---|
| `rate_limit` | 429 to the last |
| `quota` | 429, and the quota is spent |
| `server_error` | 408, 409 or 5xx to the last |
| `timeout` | no answer within the time limit, to the last |
| `connection` | no connection, or it broke, to the last |
| `bad_response` | answers that are no chat completion, to the last |
| `context_overflow` | the conversation is longer than the model can read |
| `unauthorized` | 401 or 403 |
| `not_found` | 404: no such model, or no such path |
| `bad_request` | any other status |
"""

from __future__ import annotations

import json
import os
import random
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from tir_gym.errors import UsageError

if TYPE_CHECKING:
    import openai

_RETRIED = frozenset({"rate_limit", "server_error", "timeout", "connection", "bad_response"})
_LONGEST_WAIT = 60.0
"""Seconds between two attempts, unless the server asks for more."""
_LONGEST_RETRY_AFTER = 600.0
"""Seconds; a server that wants a longer pause is given up at once."""
_OVERFLOW = re.compile(
    r"context[ _](?:length|window|size)|exceed_context|(?:prompt|input|request) is too (?:long|large)|"
    r"maximum input length|too many (?:input )?tokens",
    re.IGNORECASE,
)


class EndpointError(Exception):
    """No answer. `kind` is one of the table above; the text says what happened and, where it can, what to do."""

    def __init__(self, kind: str, message: str, *, status: int | None = None) -> None:
        super().__init__(f"{kind}: {message}")
        self.kind = kind
        self.status = status


@dataclass
class Usage:
    """What was asked for and given."""

    requests: int = 0
    """HTTP requests, retries among them."""
    retries: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0


class ChatEndpoint:
    """One model at one base URL. Keeps its connection; not for use by several threads at a time.

    Args:
        model: The model's name there.
        base_url: Such as `http://localhost:8000/v1`.
        timeout: Seconds without a byte after which an attempt is given up.
        max_retries: Attempts after the first.
        backoff: Seconds before the first retry; doubled for each further one.
        api_key_env: Environment variable that holds the key; `OPENAI_API_KEY` if it is set, else no key.

    Raises:
        UsageError: `api_key_env` names a variable that is not set.
    """

    def __init__(
        self,
        model: str,
        base_url: str,
        *,
        timeout: float = 120.0,
        max_retries: int = 5,
        backoff: float = 1.0,
        api_key_env: str | None = None,
    ) -> None:
        self.model = model
        self.base_url = base_url
        self.usage = Usage()
        self._timeout = timeout
        self._max_retries = max_retries
        self._backoff = backoff
        self._key_name = api_key_env or "OPENAI_API_KEY"
        key = os.environ.get(self._key_name)
        if api_key_env and not key:
            raise UsageError(f"api_key_env={api_key_env!r}: that environment variable is not set; export it")
        self._key = key or "none"  # the client demands a key, a local server does not look at it
        self._client: openai.OpenAI | None = None
        self._unreachable = False

    def complete(self, request: Mapping[str, Any], jitter: random.Random) -> dict[str, Any]:
        """Ask for a chat completion.

        Args:
            request: Its body, `model` aside.
            jitter: Spreads retries of many clients in time.

        Returns:
            The message of the first choice, as the server sent it.

        Raises:
            EndpointError: After the last retry, or at once where retrying is no use: also where the request before
                found no server to the last, so that a run against a dead endpoint waits once and not for each task.
        """
        retries = 0 if self._unreachable else self._max_retries
        for attempt in range(retries + 1):
            self.usage.requests += 1
            self.usage.retries += attempt > 0
            try:
                message = self._attempt(request)
                self._unreachable = False
                return message
            except _Attempt as failed:
                self._unreachable = failed.kind == "connection" and attempt == retries
                if failed.kind not in _RETRIED:
                    raise EndpointError(failed.kind, self._said(failed), status=failed.status) from failed.__cause__
                last = failed
                wait = self._wait(failed, attempt, jitter)
            if attempt < retries:
                if wait > _LONGEST_RETRY_AFTER:
                    asked = f"the server asks to wait {wait:.0f} s, more than {_LONGEST_RETRY_AFTER:.0f} s"
                    raise EndpointError(last.kind, f"{self._said(last)}; {asked}", status=last.status)
                time.sleep(wait)
        tried = f"given up after {retries + 1} attempts" if retries else "not tried again"
        raise EndpointError(last.kind, f"{self._said(last)}; {tried}", status=last.status) from last.__cause__

    def close(self) -> None:
        """Close the connection. Safe to call twice."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def _attempt(self, request: Mapping[str, Any]) -> dict[str, Any]:
        import openai  # heavy, and only this agent needs it

        if self._client is None:
            # The client's own retries are off: they would be neither counted nor seeded.
            self._client = openai.OpenAI(
                api_key=self._key, base_url=self.base_url, timeout=self._timeout, max_retries=0
            )
        try:
            # The raw body, because a typed completion loses the fields that its types do not know.
            response = self._client.chat.completions.with_raw_response.create(model=self.model, **request)
            body = response.content
        except openai.APITimeoutError as error:
            raise _Attempt("timeout", f"no answer within {self._timeout:g} s") from error
        except openai.APIConnectionError as error:
            raise _Attempt("connection", f"{error.__cause__ or error}") from error
        except openai.APIStatusError as error:
            text = _error_text(error.body) or str(error)
            wait = _retry_after(error.response.headers)
            raise _Attempt(self._kind(error, text), text, status=error.status_code, retry_after=wait) from error
        return self._message(body)

    def _kind(self, error: openai.APIStatusError, text: str) -> str:
        status = error.status_code
        if status == 429:
            return "quota" if "insufficient_quota" in (error.code, error.type) else "rate_limit"
        if status not in (401, 403, 404) and any(
            _OVERFLOW.search(part or "") for part in (text, error.code, error.type)
        ):
            return "context_overflow"
        if status in (408, 409) or status >= 500:
            return "server_error"
        return {401: "unauthorized", 403: "unauthorized", 404: "not_found"}.get(status, "bad_request")

    def _message(self, body: bytes) -> dict[str, Any]:
        try:
            data = json.loads(body)
        except (ValueError, RecursionError) as error:
            raise _Attempt("bad_response", f"the answer is not JSON: {body[:80]!r}") from error
        choices = data.get("choices") if isinstance(data, dict) else None
        message = choices[0].get("message") if choices and isinstance(choices[0], dict) else None
        if not isinstance(message, dict):
            raise _Attempt("bad_response", f"the answer holds no `choices[0].message`: {body[:200]!r}")
        counts = data.get("usage")
        if isinstance(counts, dict):
            self.usage.prompt_tokens += _count(counts.get("prompt_tokens"))
            self.usage.completion_tokens += _count(counts.get("completion_tokens"))
        return message

    def _wait(self, failed: _Attempt, attempt: int, jitter: random.Random) -> float:
        backoff = min(_LONGEST_WAIT, self._backoff * 2.0**attempt) * (0.75 + 0.5 * jitter.random())
        return backoff if failed.retry_after is None else failed.retry_after

    def _said(self, failed: _Attempt) -> str:
        status = f"{failed.status} " if failed.status else ""
        fix = {
            "unauthorized": f"; set the environment variable {self._key_name} or name another with api_key_env",
            "not_found": f"; check the model's name {self.model!r} and the base URL, which as a rule ends in /v1",
            "connection": "; is the server running there?",
        }.get(failed.kind, "")
        return f"{self.base_url}: {status}{failed}{fix}"


class _Attempt(Exception):
    """One attempt has failed."""

    def __init__(self, kind: str, message: str, *, status: int | None = None, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.kind = kind
        self.status = status
        self.retry_after = retry_after


def _error_text(body: object) -> str:
    """The server's words; the client has unwrapped OpenAI's `{"error": ...}` already."""
    if isinstance(body, Mapping):
        found = body.get("message") or body.get("detail") or body.get("error")
        return found if isinstance(found, str) else json.dumps(found or dict(body), default=str)[:500]
    return body[:500] if isinstance(body, str) else ""


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait, from `retry-after-ms` or from `Retry-After` as seconds or as a date (RFC 9110, 10.2.3)."""
    try:
        if "retry-after-ms" in headers:
            return max(0.0, float(headers["retry-after-ms"]) / 1000.0)
        if "retry-after" not in headers:
            return None
        value = headers["retry-after"]
        if re.fullmatch(r"\s*\d+(\.\d+)?\s*", value):
            return float(value)
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, TypeError):
        return None


def _count(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0
