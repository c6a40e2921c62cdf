"""Whose values are hidden: by name, by the user's lists, by the user's function; the mark says that something was."""

from __future__ import annotations

import json
import logging
import tracemalloc
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from otel_distro.guard import Guard
from otel_distro.logs.any_values import AnyValues
from otel_distro.logs.fields import extras_of
from otel_distro.logs.json_lines import JsonLines
from otel_distro.otlp.exporters import build_encoder
from otel_distro.redaction import policy, redact_path, redact_query, redact_text, redact_url
from tests.tracing_rig import Collected, provider


@pytest.fixture
def guard() -> Iterator[Guard]:
    yield Guard(output=lambda level, text: None)
    policy.use(policy.Policy())


def exported(protocol: str = "http/protobuf", **attributes: Any) -> dict[str, Any]:
    """The attributes of a span as they leave by OTLP."""
    collected = Collected()
    made = provider(collected)
    encoder = build_encoder("traces", protocol)
    shown: dict[str, Any] = {}
    for _ in range(2):  # the second span meets what the encoder has remembered
        made.get_tracer("t").start_span("s", attributes={k.replace("__", "."): v for k, v in attributes.items()}).end()
        body = encoder.encode([collected.spans[-1]]).body
        if protocol == "http/json":
            pairs = json.loads(body)["resourceSpans"][0]["scopeSpans"][0]["spans"][0]["attributes"]
            shown = {pair["key"]: next(iter(pair["value"].values())) for pair in pairs}
        else:
            request = ExportTraceServiceRequest.FromString(body)
            pairs = request.resource_spans[0].scope_spans[0].spans[0].attributes
            shown = {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in pairs}
    return shown


@pytest.mark.parametrize(
    "name",
    ["author", "authors", "authority", "max_tokens", "maxTokens", "total_tokens", "prompt_tokens", "tokenizer",
     "token_count", "token_limit", "secretary", "page", "q", "compass", "monkey"],
)  # fmt: skip
def test_a_name_that_only_looks_like_a_secret_stays(name: str) -> None:
    """Authors and token counts are no credentials."""
    assert redact_query(f"{name}=1") == f"{name}=1"


@pytest.mark.parametrize(
    "name",
    ["auth", "oauth_verifier", "authorization", "Authentication", "authToken", "access_token", "accessToken", "tokens",
     "token", "id_token", "secret", "client_secret", "api_key", "X-Api-Key", "password", "pwd", "sig", "session",
     "X-Amz-Signature", "jwt", "code", "otp"],
)  # fmt: skip
def test_a_name_that_speaks_of_a_secret_is_hidden(name: str) -> None:
    """Whatever the spelling, the value of a credential does not leave in a URL."""
    assert redact_query(f"{name}=canary") == f"{name}=REDACTED"


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("a=1;token=canary", "a=1;token=REDACTED"),
        ("token=can;ary&b=2", "token=REDACTED&b=2"),
        ("token=canary;b=2&pwd=canary", "token=REDACTED;b=2&pwd=REDACTED"),
        ("token=can;ary;canary;c=3", "token=REDACTED;c=3"),
        ("q=a;b;c", "q=a;b;c"),
        (";token=canary", ";token=REDACTED"),
    ],
)
def test_semicolons_separate_parameters_too(query: str, expected: str) -> None:
    """What follows a hidden value behind a semicolon belongs to it, unless it is a parameter of its own."""
    assert redact_query(query) == expected
    assert redact_url(f"http://h/?{query}") == f"http://h/?{expected}"


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/a;token=canary", "/a;token=REDACTED"),
        ("/a;jsessionid=canary/b;v=1", "/a;jsessionid=REDACTED/b;v=1"),
        ("/a;token=can;ary;v=1/b;c", "/a;token=REDACTED;v=1/b;c"),
        ("/a;b;/;/c", "/a;b;/;/c"),
        ("/token=kept/a", "/token=kept/a"),
    ],
)
def test_parameters_of_a_path_are_redacted_too(path: str, expected: str) -> None:
    """Segment by segment (RFC 3986 section 3.3), alone, in a URL and in a message."""
    assert redact_path(path) == expected
    assert redact_url(f"http://h{path}?q=1#top") == f"http://h{expected}?q=1#top"
    assert redact_text(f"404 for http://h{path} again") == f"404 for http://h{expected} again"


@pytest.mark.parametrize("protocol", ["http/protobuf", "http/json"])
def test_an_attribute_whose_name_speaks_of_a_secret_leaves_without_its_value(protocol: str) -> None:
    """The application's own attributes too, the first time and from the cache; conventions and counts stay."""
    shown = exported(
        protocol, user__password="canary", api_key="canary", pin=4711, access_token=["canary"], has_token=True,
        session__id="s1", gen_ai__usage__input_tokens=512, plain="p",
    )  # fmt: skip
    hidden = {name for name, value in shown.items() if value == "REDACTED"}
    assert hidden == {"user.password", "api_key", "pin", "access_token"}
    assert (shown["session.id"], shown["plain"], shown["has_token"]) == ("s1", "p", True)
    assert "canary" not in str(shown)


def test_the_conventions_session_id_is_no_secret_anywhere_but_for_whom_says_so(guard: Guard) -> None:
    """A span's attribute, a log's field and an attribute of the logs API alike; the user's own list wins."""

    def shown() -> tuple[object, ...]:
        record = logging.makeLogRecord({"session.id": "s1", "sessionid": "canary"})
        return (
            exported(session__id="s1")["session.id"],
            extras_of(record)["session.id"],
            json.loads(JsonLines(service="s").format(record))["session.id"],
            AnyValues().attributes({"session.id": "s1"})[0]["session.id"],
            AnyValues().body({"session.id": "s1"})["session.id"],
        )

    assert set(shown()) == {"s1"}
    assert extras_of(logging.makeLogRecord({"sessionid": "canary"})) == {"sessionid": "REDACTED"}
    policy.use(policy.build(("session",), (), None, guard))
    assert set(shown()) == {"REDACTED"}


def test_the_users_lists_hide_and_keep(guard: Guard) -> None:
    """Hidden names are added to ours, kept ones win over both; letter case does not matter."""
    policy.use(policy.build(("email", "^card"), ("^csrf_token$",), None, guard))
    assert redact_query("Email=a&card_no=1&csrf_token=2&token=3") == (
        "Email=REDACTED&card_no=REDACTED&csrf_token=2&token=REDACTED"
    )
    assert exported(user__email="canary", csrf_token="kept") == {"user.email": "REDACTED", "csrf_token": "kept"}


def test_a_list_entry_that_is_no_expression_is_left_out(guard: Guard) -> None:
    """One line, and the others of the list count."""
    policy.use(policy.build(("(", "email"), (), None, guard))
    assert redact_query("email=a") == "email=REDACTED"
    assert [failure.count for failure in guard.failures] == [1]


@pytest.mark.parametrize(
    "listed",
    [("(?i)^AA$",), ("email", "(?i)^AA$"), ("(?P<n>e)mail", "^(?P<n>a)a$"), ("(e)mail", r"^(a)\1$")],
)
def test_flags_and_groups_of_an_entry_are_its_own(guard: Guard, listed: tuple[str, ...]) -> None:
    """An expression that means something else beside others, or within a group, hides and keeps as it is written."""
    policy.use(policy.build(listed, (), None, guard))
    assert redact_query("aa=1&page=2") == "aa=REDACTED&page=2"
    policy.use(policy.build(("a",), listed, None, guard))
    assert redact_query("aa=1&page=2") == "aa=1&page=REDACTED"
    assert not guard.failures


@pytest.mark.parametrize("protocol", ["http/protobuf", "http/json"])
def test_the_users_function_sees_every_text_last(guard: Guard, protocol: str) -> None:
    """It gets name and text, and what it gives is what leaves, from the cache as well."""
    policy.use(policy.Policy(hook=lambda name, text: text.replace("canary", f"<{name}>"), guard=guard))
    assert exported(protocol, url__path="/reset/canary", n=1)["url.path"] == "/reset/<url.path>"


@pytest.mark.parametrize("protocol", ["http/protobuf", "http/json"])
def test_texts_in_lists_and_mappings_are_looked_at_too(guard: Guard, protocol: str) -> None:
    """A secret is hidden by its own name however deep it lies, and the user's function sees each other text."""
    nested: Any = {"password": "canary", "items": ["plain", {"token": "canary"}]}
    shown = str(exported(protocol, payload=nested))
    assert (shown.count("canary"), shown.count("REDACTED"), shown.count("plain")) == (0, 2, 1)
    policy.use(policy.Policy(hook=lambda name, text: text.replace("plain", f"<{name}>"), guard=guard))
    assert "<items>" in str(exported(protocol, payload=nested))


@pytest.mark.parametrize(
    "hook", [lambda name, text: 1 / 0, lambda name, text: None, policy.LateHook("no_such_module:f")]
)
def test_a_function_that_fails_lets_nothing_out(guard: Guard, hook: Any) -> None:
    """Whoever asked for it wants the text hidden rather than sent: it leaves as the mark."""
    policy.use(policy.Policy(hook=hook, guard=guard))
    assert exported(text="canary") == {"text": "REDACTED"}


@pytest.mark.parametrize(
    ("hook", "reason"),
    [
        (lambda name, text: {}[text], "KeyError"),
        (lambda name, text: None, "it gave NoneType for a text"),
        (policy.LateHook("hidden"), "'hidden' is not of the form module:function"),
        (
            policy.LateHook("no_such_module:f"),
            "'no_such_module:f': ModuleNotFoundError: No module named 'no_such_module'",
        ),
        (policy.LateHook("posixpath:sep"), "'posixpath:sep' is no function"),
    ],
)
def test_the_line_about_a_function_that_fails_is_not_hidden_by_it(hook: Any, reason: str) -> None:
    """Else nobody learns why all lines say REDACTED; and it tells nothing of the text, which an error may quote."""
    lines = JsonLines(service="shop")
    said: list[str] = []

    def say(level: int, text: str) -> None:
        record = logging.LogRecord("otel_distro", level, "", 0, "%s", (text,), None)
        said.append(json.loads(lines.format(record))["message"])

    guard = Guard(output=say)
    policy.use(policy.Policy(hook=hook, guard=guard))
    try:
        record = logging.LogRecord("shop", logging.INFO, "", 0, "canary", None, None)
        assert json.loads(lines.format(record))["message"] == "REDACTED"
    finally:
        policy.use(policy.Policy())
    assert said == [f"OTEL_DISTRO_REDACTION_HOOK: {reason} (such texts leave as REDACTED)"]


def test_a_function_that_works_sees_our_lines_too(guard: Guard) -> None:
    """Every text, whoever says it."""
    policy.use(policy.Policy(hook=lambda name, text: text.replace("canary", "-"), guard=guard))
    record = logging.LogRecord("otel_distro", logging.INFO, "", 0, "%s", ("a canary",), None)
    assert json.loads(JsonLines(service="shop").format(record))["message"] == "a -"


def test_a_function_of_the_applications_is_imported_when_it_is_needed(guard: Guard) -> None:
    """`module:function` is looked up at the first text, when the application is there."""
    policy.use(policy.Policy(hook=policy.LateHook("posixpath:join"), guard=guard))
    assert exported(a="b") == {"a": "a/b"}


@pytest.mark.parametrize("protocol", ["http/protobuf", "http/json"])
@pytest.mark.parametrize(
    ("given", "left"),
    [
        ({"url__full": "https://joe:pw@h/a?token=x&page=2"}, "https://REDACTED:REDACTED@h/a?token=REDACTED&page=2"),
        ({"http__url": "https://h/a#access_token=x"}, "https://h/a#access_token=REDACTED"),
        ({"http__target": "/a?code=x&page=2"}, "/a?code=REDACTED&page=2"),
        ({"url__query": "sig=x&page=2"}, "sig=REDACTED&page=2"),
        ({"db__statement": "SELECT a FROM t WHERE b = 'x'", "db__system": "sqlite"}, "SELECT a FROM t WHERE b = ?"),
        ({"db__query__text": "SELECT 7", "db__system__name": "a.new.one"}, "SELECT ?"),
        ({"db__query__text": 'SELECT "x"', "db__system__name": "mysql"}, "SELECT ?"),
        ({"db__statement": "SELECT 'x'"}, "SELECT ?"),
        ({"db__statement": "get user:7", "db__system": "memcached"}, "get user:7"),
        ({"db__statement": 7, "db__system": "sqlite"}, 7),
    ],
)
def test_urls_and_statements_of_others_leave_without_their_secrets(
    protocol: str, given: dict[str, Any], left: object, guard: Guard
) -> None:
    """Contrib's instrumentations and applications write them as they are; what is no SQL stays."""
    name = next(iter(given)).replace("__", ".")
    shown = exported(protocol, **given)[name]
    assert (int(shown) if isinstance(left, int) else shown) == left


def test_texts_of_others_stay_where_the_user_says_so(guard: Guard) -> None:
    """`OTEL_DISTRO_REDACTION_KEEP` names the attribute."""
    policy.use(policy.build((), (r"^db\.statement$",), None, guard))
    shown = exported(db__statement="SELECT 7", url__query="token=x")
    assert shown == {"db.statement": "SELECT 7", "url.query": "token=REDACTED"}


def test_names_of_strangers_are_not_kept() -> None:
    """Keys of payloads that an application logs, and parameters of URLs, take no memory once they are told."""
    lines = JsonLines(service="shop")

    def told() -> None:
        for number in range(40):
            name = f"{number}" + "x" * 500_000
            extras_of(logging.makeLogRecord({"msg": "got it", name: {f"a{name}": 1}}))
            lines.format(logging.makeLogRecord({"msg": "got it", name: {f"a{name}": 1}}))
            redact_url(f"http://host/?{name}=1")

    tracemalloc.start()
    try:
        told()
        assert tracemalloc.get_traced_memory()[0] < 2_000_000
    finally:
        tracemalloc.stop()
