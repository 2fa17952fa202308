"""A small OpenAI-compatible server for tests: answers from a function, fails as it is told."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Reply = tuple[int, dict[str, str], bytes]


def completion(text: str, finish_reason: str = "stop") -> Reply:
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish_reason}
    usage = {"prompt_tokens": 7, "completion_tokens": len(text.split())}
    return 200, {}, json.dumps({"choices": [choice], "usage": usage}).encode()


def failure(status: int, message: str = "no", **headers: str) -> Reply:
    return status, headers, json.dumps({"error": {"message": message}}).encode()


@dataclass
class Script:
    """What the server says, and what it was asked."""

    answer: Callable[[dict[str, Any]], Reply]
    models: tuple[str, ...] = ("fake",)
    owner: str = "tunesmith"
    asked: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    url: str = ""


def handler_for(script: Script) -> type[BaseHTTPRequestHandler]:
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # head and body in one packet: two would wait for the client's acknowledgement

        def log_message(self, *_):
            pass

        def send(self, status, headers, body):
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_GET(self):
            listed = [{"id": name, "object": "model", "owned_by": script.owner} for name in script.models]
            self.send(200, {}, json.dumps({"object": "list", "data": listed}).encode())

        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with lock:
                script.asked.append(body)
                script.headers.append(dict(self.headers))
                reply = script.answer(body)
            self.send(*reply)

    return Handler


@contextmanager
def server(answer: Callable[[dict[str, Any]], Reply], **settings: Any) -> Iterator[Script]:
    """Serve on a free loopback port while the block runs."""
    script = Script(answer, **settings)
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), handler_for(script))
    httpd.daemon_threads = True
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.005}, daemon=True)
    thread.start()
    script.url = f"http://127.0.0.1:{httpd.server_address[1]}/v1"
    try:
        yield script
    finally:
        httpd.shutdown()
        httpd.server_close()
        thread.join()


def last_user(body: dict[str, Any]) -> str:
    return next(turn["content"] for turn in reversed(body["messages"]) if turn["role"] == "user")
