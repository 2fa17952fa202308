"""A thread of its own for a sampler: requests come from any thread, events go out through a callback."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from itertools import count
from typing import NamedTuple

from tunesmith.runtime.sampling import Request, SampleEvent, Sampler
from tunesmith.runtime.threads import apply_threads

log = logging.getLogger(__name__)
Listener = Callable[["SampleEvent | Exception"], None]
"""Called on the sampling thread with each event, or once with the failure that ended the request."""


class Submit(NamedTuple):
    """A request under the number that its sender holds."""

    ticket: int
    request: Request
    listener: Listener


class Cancel(NamedTuple):
    """The sender does not want the rest."""

    ticket: int


class Close(NamedTuple):
    """End the thread."""


class SamplingThread:
    """Steps a sampler while there is work, and sleeps while there is none.

    When idle, the first request waits `max_wait_seconds` for company, so that requests sent together are
    computed together.
    """

    def __init__(self, sampler: Sampler, *, max_wait_seconds: float, num_threads: int) -> None:
        self._sampler, self._max_wait_seconds, self._num_threads = sampler, max_wait_seconds, num_threads
        self._inbox: queue.SimpleQueue[Submit | Cancel | Close] = queue.SimpleQueue()
        self._tickets = count(1)
        self._keys: dict[int, int] = {}
        self._listeners: dict[int, Listener] = {}
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="sampling", daemon=True)
        self._thread.start()

    def submit(self, request: Request, listener: Listener) -> int:
        """Queue a request; returns the ticket that cancels it."""
        ticket = next(self._tickets)
        self._inbox.put(Submit(ticket, request, listener))
        return ticket

    def cancel(self, ticket: int) -> None:
        """Drop a request; nothing happens when it is finished."""
        self._inbox.put(Cancel(ticket))

    def close(self) -> None:
        """End the thread; requests that still run are dropped without an event."""
        self._inbox.put(Close())
        self._thread.join()

    def _run(self) -> None:
        apply_threads(self._num_threads)
        while not self._closing:
            self._read_inbox()
            if self._sampler.busy and not self._closing:
                self._step()

    def _read_inbox(self) -> None:
        """Take all messages; when there is nothing to compute, wait for one, then shortly for its company."""
        wait = None if not self._sampler.busy else 0.0
        while not self._closing:
            try:
                message = self._inbox.get(timeout=wait) if wait != 0.0 else self._inbox.get_nowait()
            except queue.Empty:
                return
            wait = self._max_wait_seconds if wait is None else wait
            self._handle(message)

    def _handle(self, message: Submit | Cancel | Close) -> None:
        if isinstance(message, Close):
            self._closing = True
        elif isinstance(message, Cancel):
            key = self._keys.get(message.ticket)
            for event in self._sampler.cancel(key) if key is not None else []:
                self._deliver(event)
        else:
            key = self._sampler.submit(message.request)
            self._keys[message.ticket] = key
            self._listeners[key] = message.listener

    def _step(self) -> None:
        try:
            events = self._sampler.step()
        except Exception as error:
            # Out of memory or a fault in one batch must not take the server down: the requests of this batch
            # are told, the next ones are served.
            log.exception("a sampling step failed")
            for key in self._sampler.reset():
                self._forget(key)(error)
            return
        for event in events:
            if event.text or event.num_generated == 1 or event.finish_reason is not None:
                self._deliver(event)

    def _deliver(self, event: SampleEvent) -> None:
        listener = self._listeners[event.key]
        if event.finish_reason is not None:
            self._forget(event.key)
        listener(event)

    def _forget(self, key: int) -> Listener:
        ticket = next(ticket for ticket, held in self._keys.items() if held == key)
        del self._keys[ticket]
        return self._listeners.pop(key)
