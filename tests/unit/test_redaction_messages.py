"""Texts as applications log them: what is a credential by its name does not leave, whatever it is written as."""

from __future__ import annotations

import json

import pytest

from otel_distro.redaction import policy, redact_message, redact_text, redact_url

CANARY = "canary7"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("--password=canary7 -v", "--password=REDACTED -v"),
        ("pg_dump --password canary7 -v", "pg_dump --password REDACTED -v"),
        ("['pg_dump', '--password', 'canary7', 'db']", "['pg_dump', '--password', REDACTED, 'db']"),
        ("pg_dump --password -v", "pg_dump --password -v"),
        ("_token=canary7", "_token=REDACTED"),
        (f"{'settings.' * 9}password=canary7", f"{'settings.' * 9}password=REDACTED"),
        ("password:      canary7", "password:      REDACTED"),
        ("password  := 'canary7'", "password  := REDACTED"),
        ("config['password'] = 'canary7'", "config['password'] = REDACTED"),
        ("user[password]=canary7", "user[password]=REDACTED"),
        ("`password`=canary7", "`password`=REDACTED"),
        ('password="""canary7""" next', "password=REDACTED next"),
        ("password=SecretStr('canary7') host=h", "password=REDACTED host=h"),
        ("token: password: canary7", "token: REDACTED REDACTED"),
        ("password=\\canary7", "password=REDACTED"),
        ("password:\n[SQL: INSERT ('canary7')]", "password:"),
        ("auth: (none)\nhost: h", "auth: REDACTED\nhost: h"),
        ("    login(password=read(\n  File x", "    login(password=REDACTED\n  File x"),
    ],
)
def test_a_credential_is_known_by_its_name(text: str, expected: str) -> None:
    """Options, attributes, long dotted names, columns, indices and calls name what follows; the rest stays."""
    assert redact_message(text) == expected


@pytest.mark.parametrize(
    "value",
    [
        {"api_keys": [CANARY, "b"]},
        {"auth": ("joe", CANARY)},
        {"password": {"old": CANARY, "new": ["]", CANARY]}},
        {"password": f"it's \"{CANARY}"},
        {"password": f'\\" {CANARY}'},
        {"command": ["pg_dump", "--password", CANARY]},
        {"body": json.dumps({"password": f'a"{CANARY}'})},
        {"body": json.dumps(json.dumps({"password": f'a"{CANARY}'}))},
    ],
)
def test_what_is_shown_as_python_or_json_keeps_its_secrets(value: dict[str, object]) -> None:
    """Lists, tuples, nested JSON and quotes within a value hide none of it, and what stands behind it is not lost."""
    for text in (repr(value), json.dumps(value, default=repr)):
        shown = redact_message(f"{text} for order 7")
        assert CANARY not in shown
        assert shown.endswith(" for order 7")


def test_a_tuple_may_be_a_name_and_its_value() -> None:
    """Headers as ASGI has them, and items of a mapping."""
    headers = [(b"x-api-key", CANARY.encode()), ("cookie", f"a={CANARY}"), ("accept", "text/html")]
    assert redact_message(str(headers)) == "[(b'x-api-key', REDACTED), ('cookie', REDACTED), ('accept', 'text/html')]"


@pytest.mark.parametrize(
    "text",
    ["('body', 'password') is missing", "monkey's 'passport', 'auth'", "see password (in the docs)", "tokens: 512"],
)
def test_a_name_without_a_value_hides_nothing(text: str) -> None:
    """Names alone, as in messages about fields, stay."""
    assert redact_message(text) == text


def test_names_of_the_users_list_are_hidden_in_messages() -> None:
    """`OTEL_DISTRO_REDACTION_HIDE` holds for what a message names, also where it names no other secret."""
    from otel_distro.guard import Guard

    policy.use(policy.build(["^iban$"], [], None, Guard(output=lambda level, text: None)))
    try:
        assert redact_message("paid iban=DE12 order=7") == "paid iban=REDACTED order=7"
    finally:
        policy.use(policy.Policy())


@pytest.mark.parametrize("mark", "/?#)]>'\"(")
def test_a_password_of_a_url_may_have_any_character(mark: str) -> None:
    """A driver takes a password as it is; so nothing of it leaves because nobody has encoded it."""
    url = f"postgresql://joe:pa{mark}canary@host/db"
    assert redact_text(f"cannot parse {url} of app") == "cannot parse postgresql://REDACTED:REDACTED@host/db of app"
    assert redact_url(url) == "postgresql://REDACTED:REDACTED@host/db"


@pytest.mark.parametrize(
    "text",
    [
        "https://medium.com/@joe", "http://host:8080/?mail=a@b.c", '["http://host:80","a@b.c"]', "http://[::1]:80/@joe",
        "http://[::1]/@joe", "kafka://a:9092,b:9092/x@y", "http://host:80, a@b.c",
    ],
)  # fmt: skip
def test_a_port_is_no_password(text: str) -> None:
    """An `@` behind host and port is none of userinfo."""
    assert redact_text(text) == text
