"""The resource: the user's words first, then what is found; unique per process, no secrets."""

from __future__ import annotations

import pytest

from otel_distro import resource
from otel_distro.guard import Guard
from otel_distro.settings import parse


def build(orig_argv: str = "python app.py", **environ: str) -> dict[str, object]:
    return dict(resource.build(parse(environ)[0].general, orig_argv=orig_argv.split()).attributes)


@pytest.mark.parametrize(
    ("command", "name"),
    [
        ("python jobs/mail.py --token canary", "mail"),
        ("python -m shop.orders", "shop.orders"),
        ("python -m shop.__main__", "shop"),
        ("python /venv/bin/uvicorn shop.orders:app --port 80", "shop.orders"),
        ("python /venv/bin/uvicorn --host 0.0.0.0 --port 80 shop.orders:app", "shop.orders"),
        ("python -m gunicorn -b 127.0.0.1:8000 -w 4 orders:make()", "orders"),
        ("python -m fastapi run main.py", "main"),
        ("python /venv/bin/celery -A tasks worker", "celery"),
    ],
)
def test_the_service_is_named_after_the_module_or_script(command: str, name: str) -> None:
    """Without OTEL_SERVICE_NAME the service has the name of what runs."""
    assert build(command)["service.name"] == name


def test_an_interpreter_without_a_program_is_an_unknown_service() -> None:
    """Only an interactive interpreter or -c remains unknown (semantic conventions)."""
    assert str(build("python -c pass")["service.name"]).startswith("unknown_service:")


def test_what_the_user_says_wins() -> None:
    """OTEL_SERVICE_NAME wins over OTEL_RESOURCE_ATTRIBUTES, which win over what is found."""
    found = build(OTEL_SERVICE_NAME="a", OTEL_RESOURCE_ATTRIBUTES="service.name=b,host.name=h,team=t")
    assert (found["service.name"], found["host.name"], found["team"]) == ("a", "h", "t")


def test_a_worker_inherits_the_name_its_parent_found() -> None:
    """A spawned worker's command line names nothing, so its parent leaves it the name."""
    general = parse({})[0].general
    spawned = ["python", "-c", "from multiprocessing.spawn import spawn_main", "--multiprocessing-fork"]
    made = resource.build(general, orig_argv=spawned, inherited_name="orders")
    assert made.attributes["service.name"] == "orders"


def test_every_process_has_an_instance_id_of_its_own() -> None:
    """service.instance.id is unique, also in a forked child, unless the user set it."""
    general = parse({})[0].general
    parent = resource.build(general, orig_argv=["python"])
    child = resource.for_child(parent, general)
    assert parent.attributes["service.instance.id"] != child.attributes["service.instance.id"]
    fixed = parse({"OTEL_RESOURCE_ATTRIBUTES": "service.instance.id=pod-1"})[0].general
    parent = resource.build(fixed, orig_argv=["python"])
    assert resource.for_child(parent, fixed).attributes["service.instance.id"] == "pod-1"


def test_the_command_line_is_not_recorded() -> None:
    """A command line may hold secrets and does not leave."""
    found = build("python app.py --token canary")
    assert not any("canary" in str(value) for value in found.values())
    assert not [name for name in found if name.startswith("process.command")]


def test_a_detector_that_is_not_installed_is_said_and_left_out() -> None:
    """A missing detector costs one line and nothing else."""
    lines: list[str] = []
    found = resource.detect(["nosuch", "process"], Guard(output=lambda level, text: lines.append(text)))
    assert len(lines) == 1
    assert "nosuch" in lines[0]
    assert "process.pid" in found


def test_a_detected_name_stands_between_what_was_said_and_what_is_derived() -> None:
    """The user's service.name wins over a detector's, which wins over the parent's and the command line's."""

    def name(detected: str, **environ: str) -> object:
        general = parse(environ)[0].general
        found = {"service.name": detected}
        made = resource.build(general, orig_argv=["python", "script.py"], inherited_name="parent", detected=found)
        return made.attributes["service.name"]

    assert name("detected") == "detected"
    assert name("detected", OTEL_SERVICE_NAME="said") == "said"
    assert name("detected", OTEL_RESOURCE_ATTRIBUTES="service.name=said") == "said"
    for nothing in ("", "unknown_service", "unknown_service:python"):
        assert name(nothing) == "parent"


def test_a_detected_instance_id_is_not_a_forked_childs() -> None:
    """Workers of one pod push series of their own, whatever a detector calls the pod."""
    general = parse({})[0].general
    made = resource.build(general, orig_argv=["python"], detected={"service.instance.id": "pod-1"})
    assert made.attributes["service.instance.id"] == "pod-1"
    assert resource.for_child(made, general).attributes["service.instance.id"] != "pod-1"


def test_the_sdk_names_itself_and_upstreams_pipeline_upstream() -> None:
    """`opentelemetry` is reserved for upstream's SDK (semantic conventions, `telemetry.sdk.name`)."""
    general = parse({})[0].general
    ours = resource.build(general, orig_argv=["python", "app.py"]).attributes
    theirs = resource.build(general, orig_argv=["python", "app.py"], upstream=True).attributes
    assert (ours["telemetry.sdk.name"], theirs["telemetry.sdk.name"]) == ("otel_distro", "opentelemetry")
    assert ours["telemetry.sdk.version"] == ours["telemetry.distro.version"]
