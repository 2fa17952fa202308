"""What a server measures of itself, as Prometheus reads it.

Names and labels follow OpenTelemetry's conventions for generative AI (semantic conventions 1.37, `gen_ai.*`)
in Prometheus's spelling; the mapping stands in `NAMES`.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector

from tunesmith.core.record import CHAT, COMPLETIONS, SCORE, Entry

NAMES: Final = {
    "gen_ai.server.request.duration": "gen_ai_server_request_duration_seconds",
    "gen_ai.server.time_to_first_token": "gen_ai_server_time_to_first_token_seconds",
    "gen_ai.server.time_per_output_token": "gen_ai_server_time_per_output_token_seconds",
    "gen_ai.client.token.usage": "gen_ai_token_usage",
}
"""OpenTelemetry's name → ours."""
OPERATIONS: Final = {CHAT: "chat", COMPLETIONS: "text_completion", SCORE: "score"}
"""Endpoint → `gen_ai.operation.name`."""
LABELS: Final = ("gen_ai_request_model", "gen_ai_operation_name")
SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
CONTENT_TYPE: Final = CONTENT_TYPE_PLAIN_0_0_4
UNKNOWN: Final = "unknown"
"""Stands for models that are not here: a client's words are no label."""

Gauges = Callable[[], Mapping[str, float]]
"""Measures now: label → value."""


class Measured(Collector):
    """A gauge whose values are taken when somebody asks."""

    def __init__(self, name: str, words: str, label: str, measure: Gauges) -> None:
        self.name, self.words, self.label, self.measure = name, words, label, measure

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """The values now."""
        family = GaugeMetricFamily(self.name, self.words, labels=[self.label])
        for label, value in self.measure().items():
            family.add_metric([label], value)
        yield family


class Metrics:
    """Counts and times of one server."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        name = NAMES["gen_ai.server.request.duration"]
        words = "Seconds from a request's arrival to the end of its answer."
        self.duration = self.histogram(name, words, "http_response_status_code")
        name = NAMES["gen_ai.server.time_to_first_token"]
        self.first = self.histogram(name, "Seconds from a request's arrival to its first token.")
        name = NAMES["gen_ai.server.time_per_output_token"]
        self.between = self.histogram(name, "Seconds for each token of an answer behind its first.")
        self.tokens = Counter(
            NAMES["gen_ai.client.token.usage"],
            "Tokens of answered requests.",
            (*LABELS, "gen_ai_token_type"),
            registry=self.registry,
        )

        self.deviations = Counter(
            "tunesmith_prompt_deviations",
            "Chats whose prompt was not like those that the model learned from, by how it differed.",
            (LABELS[0], "deviation"),
            registry=self.registry,
        )

    def histogram(self, name: str, words: str, *labels: str) -> Histogram:
        """A new histogram of seconds."""
        return Histogram(name, words, (*LABELS, *labels), buckets=SECONDS, registry=self.registry)

    def gauge(self, name: str, words: str, label: str, measure: Gauges) -> None:
        """Add values that are taken when somebody asks."""
        self.registry.register(Measured(name, words, label, measure))

    def saw(self, entry: Entry, *, known: bool) -> None:
        """Count a request; `known` is whether it was about a model that is here."""
        labels = (entry.model if known else UNKNOWN, OPERATIONS.get(entry.endpoint, entry.endpoint))
        self.duration.labels(*labels, str(entry.status)).observe(entry.total_seconds)
        if entry.first_token_seconds is not None:
            self.first.labels(*labels).observe(entry.first_token_seconds)
            behind = (entry.completion_tokens or 0) - 1
            if behind > 0:
                seconds = (entry.total_seconds - entry.first_token_seconds) / behind
                self.between.labels(*labels).observe(seconds)
        for kind, number in (("input", entry.prompt_tokens), ("output", entry.completion_tokens)):
            if number:
                self.tokens.labels(*labels, kind).inc(number)

    def deviated(self, model: str, deviations: Sequence[str]) -> None:
        """Count how a prompt differed from what a model learned from."""
        for deviation in deviations:
            self.deviations.labels(model, deviation).inc()

    def text(self) -> bytes:
        """Everything, in Prometheus's text format."""
        return generate_latest(self.registry)
