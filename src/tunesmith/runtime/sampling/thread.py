"""A thread of its own for a sampler: requests come from any thread, events go out through a callback."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from itertools import count
from typing import Any, NamedTuple, TypeVar

from tunesmith.core.errors import UserError
from tunesmith.runtime.sampling.port import Busy, Request, SampleEvent, Sampling
from tunesmith.runtime.threads import apply_threads

log = logging.getLogger(__name__)
Result = TypeVar("Result")
Listener = Callable[["SampleEvent | Exception"], None]
"""Called on the sampling thread with each event, or once with what ended the request: CannotAdmit where the
sampler refuses it, the failure of a step."""


class Submit(NamedTuple):
    """A request under the number that its sender holds."""

    ticket: int
    request: Request
    listener: Listener


class Cancel(NamedTuple):
    """The sender does not want the rest."""

    ticket: int


class Call(NamedTuple):
    """Something to run between two steps."""

    function: Callable[[], Any]
    future: Future[Any]


class Close(NamedTuple):
    """End the thread."""


class Customer(NamedTuple):
    """Who waits for a request's events."""

    ticket: int
    listener: Listener


class SamplingThread:
    """Steps a sampler while there is work, and sleeps while there is none.

    When idle, the first request waits `max_wait_seconds` for company, so that requests sent together are
    computed together.  At most `max_waiting` requests may be without their first token (None: any number).
    """

    def __init__(
        self,
        sampler: Sampling,
        *,
        max_wait_seconds: float,
        num_threads: int,
        max_waiting: int | None = None,
    ) -> None:
        self._sampler, self._max_wait_seconds, self._num_threads = sampler, max_wait_seconds, num_threads
        self.max_waiting = max_waiting
        self._inbox: queue.SimpleQueue[Submit | Cancel | Call | Close] = queue.SimpleQueue()
        self._tickets = count(1)
        self._waiting: set[int] = set()
        """Tickets without a first event."""
        self._lock = threading.Lock()
        """Guards `_waiting` and `_closed`, which senders read and change."""
        self._closed = False
        self._keys: dict[int, int] = {}
        """Ticket → key, of requests that are with the sampler."""
        self._customers: dict[int, Customer] = {}
        """By key."""
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="sampling", daemon=True)
        self._thread.start()

    def submit(self, request: Request, listener: Listener) -> int:
        """Queue a request; returns the ticket that cancels it.

        Raises Busy when too many wait already.  A request that the sampler refuses is told to the listener.
        """
        with self._lock:
            self._check_open()
            if self.max_waiting is not None and len(self._waiting) >= self.max_waiting:
                raise Busy(
                    f"{len(self._waiting)} requests wait already, and no more are taken",
                    next_step="try again in a moment, or send fewer at a time",
                )
            ticket = next(self._tickets)
            self._waiting.add(ticket)
            self._inbox.put(Submit(ticket, request, listener))
        return ticket

    def cancel(self, ticket: int) -> None:
        """Drop a request; nothing happens when it is finished."""
        self._inbox.put(Cancel(ticket))

    def call(self, function: Callable[[], Result]) -> Future[Result]:
        """Run something on the sampling thread between two steps, such as a pass over its model."""
        future: Future[Result] = Future()
        with self._lock:
            self._check_open()
            self._inbox.put(Call(function, future))
        return future

    def close(self) -> None:
        """End the thread; requests that still run are dropped, and no listener is called any more."""
        with self._lock:
            self._closed = True
        self._inbox.put(Close())
        self._thread.join()
        while not self._inbox.empty():
            message = self._inbox.get()
            if isinstance(message, Call):
                message.future.cancel()

    def _check_open(self) -> None:
        if self._closed:
            raise Busy("the sampler is being closed", next_step="send the request to a server that runs")

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

    def _handle(self, message: Submit | Cancel | Call | Close) -> None:
        if isinstance(message, Close):
            self._closing = True
        elif isinstance(message, Cancel):
            self._cancel(message.ticket)
        elif isinstance(message, Call):
            run(message)
        else:
            self._submit(message)

    def _submit(self, message: Submit) -> None:
        try:
            key = self._sampler.submit(message.request)
        except UserError as error:
            self._refuse(message, error)
            return
        except Exception as error:
            # A fault in reading one request (its grammar's library, its tokens) must not end the thread: the
            # others would wait for ever.
            log.exception("a request could not be queued")
            self._refuse(message, error)
            return
        self._keys[message.ticket] = key
        self._customers[key] = Customer(message.ticket, message.listener)

    def _refuse(self, message: Submit, error: Exception) -> None:
        self._no_longer_waits(message.ticket)
        tell(message.listener, error)

    def _cancel(self, ticket: int) -> None:
        key = self._keys.get(ticket)
        if key is not None:
            for event in self._sampler.cancel(key):
                self._deliver(event)

    def _step(self) -> None:
        try:
            events = self._sampler.step()
        except Exception as error:
            # Out of memory or a fault in one batch must not take the server down: the requests of this batch
            # are told, the next ones are served.
            log.exception("a sampling step failed")
            for key in self._sampler.reset():
                tell(self._forget(key), error)
            return
        for event in events:
            if event.key in self._customers:  # a listener that failed has left in between
                self._deliver(event)

    def _deliver(self, event: SampleEvent) -> None:
        customer = self._customers[event.key]
        self._no_longer_waits(customer.ticket)
        if event.finish_reason is not None:
            self._forget(event.key)
        elif not (event.text or event.logprobs or event.num_generated == 1):
            return
        if not tell(customer.listener, event) and event.finish_reason is None:
            self._forget(event.key)
            self._sampler.cancel(event.key)

    def _forget(self, key: int) -> Listener:
        customer = self._customers.pop(key)
        del self._keys[customer.ticket]
        self._no_longer_waits(customer.ticket)
        return customer.listener

    def _no_longer_waits(self, ticket: int) -> None:
        with self._lock:
            self._waiting.discard(ticket)


def run(message: Call) -> None:
    """Run a call; its result or its failure goes to the future."""
    if not message.future.set_running_or_notify_cancel():
        return
    try:
        message.future.set_result(message.function())
    except Exception as error:
        # Whatever goes wrong in there is its caller's to know.
        message.future.set_exception(error)


def tell(listener: Listener, news: SampleEvent | Exception) -> bool:
    """Call a listener; whether it took the news."""
    try:
        listener(news)
    except Exception:
        # A listener that fails (its client is gone, its loop closed) must not stop the others' events.
        log.exception("a listener failed; its request is dropped")
        return False
    return True
