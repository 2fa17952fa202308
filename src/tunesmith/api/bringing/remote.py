"""The fine-tuning API of another server, read only."""

from __future__ import annotations

import base64
import binascii
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tunesmith.core.endpoint import RETRIED, check_url, client_settings
from tunesmith.core.errors import ServerError
from tunesmith.core.files import explain_disk_errors

PAGE = 100
ATTEMPTS = 4
PAUSE_SECONDS = 1.0
NOT_FOUND = 404


class Gone(Exception):
    """What was asked for is not there any more."""


@dataclass(frozen=True)
class Remote:
    """A client of the service; `sleep` waits before another try."""

    client: httpx.Client
    sleep: Callable[[float], None] = time.sleep

    def jobs(self) -> Iterator[dict[str, Any]]:
        """Every job, the newest first."""
        yield from self.pages("fine_tuning/jobs")

    def events(self, job_id: str) -> Iterator[dict[str, Any]]:
        """Everything that happened to a job, the newest first."""
        yield from self.pages(f"fine_tuning/jobs/{job_id}/events")

    def pages(self, path: str) -> Iterator[dict[str, Any]]:
        """The items of a list that comes page by page."""
        after: str | None = None
        while True:
            asked: dict[str, Any] = {"limit": PAGE} | ({} if after is None else {"after": after})
            items, has_more = self.page(path, asked)
            yield from items
            if not has_more or not items:
                return
            after = items[-1]["id"]

    def page(self, path: str, asked: Mapping[str, Any]) -> tuple[list[dict[str, Any]], bool]:
        """Items of a list, and whether there are more."""
        step = "the URL usually ends in /v1"
        what = "the server does not list jobs as OpenAI's API does"
        try:
            answer = self.get(path, asked)
        except Gone as error:
            raise ServerError(what, value=str(self.client.base_url), next_step=step) from error
        try:
            page = answer.json()
            return list(page["data"]), bool(page["has_more"])
        except (ValueError, KeyError, TypeError) as error:
            raise ServerError(what, value=str(self.client.base_url), next_step=step) from error

    def download(self, file_id: str, place: Path) -> None:
        """Write the content of a file; raises Gone where it was deleted."""
        content = self.get(f"files/{file_id}/content").content
        with explain_disk_errors(place):
            place.write_bytes(content)

    def get(self, path: str, asked: Mapping[str, Any] | None = None) -> httpx.Response:
        """One answer, after some patience.  Raises Gone, and ServerError for anything else that fails."""
        reason = ""
        for attempt in range(ATTEMPTS):
            if attempt:
                self.sleep(PAUSE_SECONDS * 2**attempt)
            try:
                answer = self.client.get(path, params=dict(asked or {}))
            except httpx.ConnectError as error:
                reason = f"ConnectError: {error}"
                break  # nobody is there
            except httpx.TransportError as error:
                reason = f"{type(error).__name__}: {error}"
                continue
            if answer.is_success:
                return answer
            if answer.status_code == NOT_FOUND:
                raise Gone(said(answer))
            reason = f"{answer.status_code}: {said(answer)}"
            if answer.status_code not in RETRIED:
                break
        step = "check --endpoint and the key in --api-key-variable"
        raise ServerError(f"the server did not answer ({reason})", value=path, next_step=step)


@contextmanager
def connected(url: str, key: str | None) -> Iterator[Remote]:
    """A service by its base URL.  Raises ServerError for what is none."""
    check_url(url)
    settings = client_settings(url, key)
    with httpx.Client(base_url=url.rstrip("/") + "/", timeout=httpx.Timeout(60.0), **settings) as client:
        yield Remote(client)


def said(answer: httpx.Response) -> str:
    """What an error says."""
    try:
        return str(answer.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return answer.reason_phrase


def plain_table(path: Path) -> None:
    """OpenAI sends its tables as base64: write the text in its place."""
    try:
        text = base64.b64decode(path.read_bytes().strip(), validate=True)
    except binascii.Error:
        return
    path.write_bytes(text)
