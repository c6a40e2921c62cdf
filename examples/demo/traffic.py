"""The requests of the demo, what each must answer, and what it makes the second service do."""

from __future__ import annotations

import http.client
import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from .errors import DemoError

#: Method, route and status: what one series of requests is counted under.
Series = tuple[str, str, int]


@dataclass(frozen=True, slots=True)
class Step:
    """One request to orders.

    `path` may name the last order of a customer, as in `/orders/{grace}`; `inner` are the requests that orders sends to
    inventory on the way.
    """

    method: str
    path: str
    route: str
    status: int
    body: dict[str, Any] | None = None
    inner: tuple[Series, ...] = ()
    buyer: str = ""

    @property
    def series(self) -> Series:
        """What it is counted under."""
        return self.method, self.route, self.status


CUSTOMERS = {"ada": 1, "grace": 2, "noether": 3}
ORDER, ORDERS, PRODUCT = "/orders/{order_id}", "/orders", "/products/{sku}"
INVOICE, RESERVATIONS = "/orders/{order_id}/invoice", "/reservations"


class Plan:
    """Builds steps, knowing which products the cache has by then."""

    def __init__(self) -> None:
        self._cached: set[str] = set()

    def steps(self, rounds: int) -> Iterator[Step]:
        """The steps of so many rounds: hits, misses, orders, refusals, a failure, a stream, the slow one."""
        for _ in range(rounds):
            yield self._order("ada", "cup", 201)
            for sku in ("tea", "tea", "pot", "cup", "tea"):
                yield self._product(sku)
            yield Step("GET", "/products/spoon", PRODUCT, 404, inner=(("GET", PRODUCT, 404),))
            yield self._order("grace", "tea", 201)
            yield self._order("noether", "pot", 201)
            yield self._order("ada", "book", 409)
            yield Step("POST", "/orders", ORDERS, 422, {"customer_id": 1, "sku": "tea", "quantity": 0})
            yield Step("POST", "/orders", ORDERS, 404, {"customer_id": 99, "sku": "tea", "quantity": 1})
            for customer in CUSTOMERS:
                yield Step("GET", f"/orders/{{{customer}}}", ORDER, 200)
            yield Step("GET", "/orders/999999", ORDER, 404)
            yield Step("GET", "/orders/{noether}/invoice", INVOICE, 200)
            yield Step("GET", "/orders/{grace}/invoice", INVOICE, 500)
            yield Step("GET", "/export", "/export", 200)
            yield Step("GET", "/report", "/report", 200)

    def _product(self, sku: str) -> Step:
        return Step("GET", f"/products/{sku}", PRODUCT, 200, inner=self._fetched(sku))

    def _order(self, customer: str, sku: str, status: int) -> Step:
        inner = (*self._fetched(sku), ("POST", RESERVATIONS, status))
        body = {"customer_id": CUSTOMERS[customer], "sku": sku, "quantity": 2}
        return Step("POST", "/orders", ORDERS, status, body, inner, buyer=customer if status == 201 else "")

    def _fetched(self, sku: str) -> tuple[Series, ...]:
        """The request to inventory that a cache miss makes."""
        if sku in self._cached:
            return ()
        self._cached.add(sku)
        return (("GET", PRODUCT, 200),)


@dataclass(slots=True)
class Sent:
    """How often each series was asked for, by service."""

    orders: Counter[Series]
    inventory: Counter[Series]

    @property
    def total(self) -> int:
        """Requests that both services served."""
        return self.orders.total() + self.inventory.total()


def drive(port: int, steps: list[Step], progress: Callable[[int, str], None]) -> Sent:
    """Send the steps one after another to orders.

    Args:
        port: of orders, on 127.0.0.1.
        steps: what to send.
        progress: told before each step how many are done, and what comes.

    Raises:
        DemoError: an answer is not what the step says.
    """
    sent, last_orders = Sent(Counter(), Counter()), dict[str, int]()
    for number, step in enumerate(steps):
        path = step.path.format(**last_orders)
        progress(number, f"{step.method} {path}")
        status, answer = _request(port, step.method, path, step.body)
        if status != step.status:
            raise DemoError(f"{step.method} {path} answered {status} instead of {step.status}: {answer[:200]!r}")
        if step.buyer:
            last_orders[step.buyer] = json.loads(answer)["id"]
        sent.orders[step.series] += 1
        sent.inventory.update(step.inner)
    progress(len(steps), "")
    return sent


def _request(port: int, method: str, path: str, body: dict[str, Any] | None) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        headers = {"Content-Type": "application/json"} if body is not None else {}
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        response = connection.getresponse()
        return response.status, response.read()
    except (OSError, http.client.HTTPException) as error:
        raise DemoError(f"{method} {path}: {type(error).__name__}: {error}") from error
    finally:
        connection.close()
