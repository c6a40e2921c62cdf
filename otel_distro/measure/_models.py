"""Calls of language models: duration, tokens and cost.

Source: semantic conventions 1.44, "Generative AI client metrics"; the cost has no convention.
"""

from __future__ import annotations

from time import perf_counter
from types import TracebackType
from typing import Final, Self

from opentelemetry.metrics import Meter

from otel_distro.conventions import exception_type

from ._instruments import Counter, Distribution
from ._labels import MOST, Label
from ._timing import ERROR

_SECONDS: Final = tuple(0.01 * 2**n for n in range(14))
_TOKENS: Final = tuple(4.0**n for n in range(14))
MODEL: Final = "gen_ai.request.model"


class ModelCall:
    """One call; a context manager.

    Args:
        owner: takes the numbers.
        labels: of the call.
    """

    __slots__ = ("_began", "_labels", "_owner")

    def __init__(self, owner: ModelCalls, labels: dict[str, Label]) -> None:
        self._owner = owner
        self._labels = labels
        self._began = 0.0

    def tokens(self, *, input: int = 0, output: int = 0, cost: float = 0.0) -> None:  # noqa: A002 - as providers say
        """Take what the answer says of its usage; of a stream in parts, each part.

        Args:
            input: tokens read.
            output: tokens written.
            cost: in the currency of `ModelCalls`.
        """
        self._owner.take(self._labels, input, output, cost)

    def __enter__(self) -> Self:
        self._began = perf_counter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._owner.took(perf_counter() - self._began, self._labels, error)


class ModelCalls:
    """Calls of the models of one provider.

        claude = ModelCalls("anthropic")

        with claude("claude-opus-4-5") as call:
            answer = await client.messages.create(...)
            call.tokens(input=answer.usage.input_tokens, output=answer.usage.output_tokens, cost=0.012)

    Metrics: `gen_ai.client.operation.duration`, `gen_ai.client.token.usage` by `gen_ai.token.type`, and
    `otel_distro.model.cost`.

    Args:
        provider: `gen_ai.provider.name`, such as `anthropic` or `openai`.
        operation: `gen_ai.operation.name`.
        currency: of the costs, the unit of their metric.
        most: models, and values of every other label, that are told apart.
        meter: see `Counter`.
    """

    __slots__ = ("_cost", "_duration", "_labels", "_tokens")

    def __init__(
        self,
        provider: str,
        *,
        operation: str = "chat",
        currency: str = "USD",
        most: int = MOST,
        meter: Meter | None = None,
    ) -> None:
        self._labels: dict[str, Label] = {"gen_ai.provider.name": provider, "gen_ai.operation.name": operation}
        self._duration = Distribution(
            "gen_ai.client.operation.duration",
            unit="s",
            description="GenAI operation duration.",
            buckets=_SECONDS,
            most=most,
            meter=meter,
        )
        self._tokens = Distribution(
            "gen_ai.client.token.usage",
            unit="{token}",
            description="Number of input and output tokens used.",
            buckets=_TOKENS,
            most=most,
            meter=meter,
        )
        self._cost = Counter(
            "otel_distro.model.cost",
            unit=f"{{{currency}}}",
            description="Cost of GenAI operations.",
            most=most,
            meter=meter,
        )

    def __call__(self, model: str, /, **labels: Label) -> ModelCall:
        """One call of `model`, which is timed while it is entered."""
        return ModelCall(self, {**self._labels, MODEL: model, **labels})

    def take(self, labels: dict[str, Label], read: int, written: int, cost: float) -> None:
        """Take the usage of one call."""
        if read:
            self._tokens.take(read, {**labels, "gen_ai.token.type": "input"})
        if written:
            self._tokens.take(written, {**labels, "gen_ai.token.type": "output"})
        if cost:
            self._cost.take(cost, labels)

    def took(self, seconds: float, labels: dict[str, Label], error: BaseException | None) -> None:
        """Take the time of one call."""
        self._duration.take(seconds, labels if error is None else {**labels, ERROR: exception_type(error)})
