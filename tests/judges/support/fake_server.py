"""A server of the protocol of chat completions that answers by a function."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Reply = Callable[[dict[str, Any]], tuple[int, dict[str, Any] | str]]


def message(text: str, finish: str = "stop", logprobs: Any = None) -> tuple[int, dict[str, Any]]:
    choice = {
        "index": 0,
        "finish_reason": finish,
        "message": {"role": "assistant", "content": text},
        "logprobs": logprobs,
    }
    usage = {"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12}
    return 200, {
        "id": "x",
        "object": "chat.completion",
        "created": 0,
        "model": "m",
        "choices": [choice],
        "usage": usage,
    }


def tops(**probabilities: float) -> dict[str, Any]:
    alternatives = [
        {"token": t.replace("_", " "), "logprob": math.log(p), "bytes": None}
        for t, p in probabilities.items()
    ]
    return {"content": [{**alternatives[0], "top_logprobs": alternatives}]}


def as_stream(answer: dict[str, Any]) -> str:
    """The same reply as the events of a stream."""
    (choice,) = answer["choices"]
    text, rest = choice["message"]["content"], {k: choice[k] for k in ("logprobs",)}
    parts = [{"choices": [{"delta": {"content": c}, **rest}]} for c in (text[:3], text[3:])]
    end = {"choices": [{"delta": {}, "finish_reason": choice["finish_reason"]}]}
    return "".join(f"data: {json.dumps(p)}\n\n" for p in [*parts, end]) + "data: [DONE]\n"


class Server:
    """Answers completions by a function, and remembers what it was asked.

    A request with `stream` is answered by the events of a stream.
    """

    def __init__(self, reply: Reply) -> None:
        self.asked: list[dict[str, Any]] = []
        self.keys: set[str] = set()
        self.connections: set[int] = set()
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _send(self, status: int, body: dict[str, Any] | str) -> None:
                """A string is sent as it is, as HTML."""
                is_json = isinstance(body, dict)
                data = (json.dumps(body) if is_json else str(body)).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json" if is_json else "text/html")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def do_GET(self) -> None:
                self._send(
                    200,
                    {
                        "object": "list",
                        "data": [{"id": "m", "object": "model", "created": 0, "owned_by": "x"}],
                    },
                )

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                server.keys.add(self.headers.get("Authorization", ""))
                server.asked.append(body)
                server.connections.add(self.client_address[1])
                status, answer = reply(body)
                if body.get("stream") and isinstance(answer, dict) and "choices" in answer:
                    answer = as_stream(answer)
                self._send(status, answer)

            def log_message(self, *_: object) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}/v1"
        threading.Thread(
            target=self._http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
        ).start()

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()


def with_choice(**choice: Any) -> dict[str, Any]:
    return {"id": "x", "object": "chat.completion", "model": "m", "choices": [choice]}
