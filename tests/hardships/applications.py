"""Applications of others, from the package index and as their users start them, with the distro and without.

The same answers and exit codes, one server span for each request, and nothing that the distro has to say.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.hardships.environments import environment
from tests.programs import OURS
from tests.servers import OtlpSink
from tests.serving import Serving

Request = tuple[str, str, object]
"""Method, path, and what is sent as JSON, None for nothing."""


@dataclass(frozen=True)
class Application:
    """An application that can be had from the package index.

    Attributes:
        name: of it, also of its environment in the cache.
        requirements: as pip takes them.
        command: with `{port}`, and `{file}` for the path of `program`.
        probe: the path that is answered when it serves.
        requests: what it is asked.
        program: text of the one file that it needs; its name's ending stands before the first line.
        environ: variables.
    """

    name: str
    requirements: tuple[str, ...]
    command: tuple[str, ...]
    probe: str
    requests: tuple[Request, ...]
    program: str = ""
    environ: Mapping[str, str] = field(default_factory=dict)


_CHAT = {"model": "fake", "messages": [{"role": "user", "content": "hello"}]}

APPLICATIONS = (
    Application(
        "mlflow",  # FastAPI around Flask, SQLAlchemy 2.1, two workers
        ("mlflow==3.17.2",),
        (
            *("mlflow", "server", "--host", "127.0.0.1", "--port", "{port}", "--workers", "2"),
            *("--backend-store-uri", "sqlite:///mlflow.db"),
        ),
        "/health",
        (
            ("GET", "/version", None),
            ("POST", "/api/2.0/mlflow/experiments/create", {"name": "one"}),
            ("POST", "/api/2.0/mlflow/experiments/search", {"max_results": 10}),
            ("POST", "/api/2.0/mlflow/runs/create", {"experiment_id": "0"}),
            ("POST", "/api/2.0/mlflow/experiments/create", {"name": "one"}),
            ("GET", "/nowhere", None),
        ),
    ),
    Application(
        "prefect",  # asynchronous SQLAlchemy 2.0 under FastAPI 0.115
        (
            *("prefect==3.4.10", "fastapi==0.115.14", "starlette<0.47", "pydantic<2.12", "sqlalchemy<2.1"),
            *("griffe==1.5.0", "importlib_metadata"),  # which it forgets to ask for
        ),
        ("prefect", "server", "start", "--host", "127.0.0.1", "--port", "{port}"),
        "/api/health",
        (
            ("POST", "/api/flows/", {"name": "one"}),
            ("POST", "/api/flows/filter", {}),
            ("POST", "/api/flows/filter", {"limit": -5}),
            ("GET", "/api/flows/00000000-0000-0000-0000-000000000000", None),
            ("POST", "/api/variables/", {"name": "one", "value": "two"}),
            ("GET", "/api/variables/name/one", None),
            ("GET", "/openapi.json", None),
        ),
        environ={"PREFECT_HOME": "prefect", "PREFECT_SERVER_ANALYTICS_ENABLED": "false"},
    ),
    Application(
        "gradio",  # asks itself before it serves, has a queue of its own
        ("gradio==6.31.0",),
        ("python", "{file}", "{port}"),
        "/config",
        (
            ("GET", "/", None),
            ("GET", "/gradio_api/info", None),
            ("POST", "/gradio_api/run/greet", {"data": ["you"]}),
            ("POST", "/gradio_api/call/fail", {"data": ["you"]}),
            ("GET", "/nowhere", None),
        ),
        """.py
import sys, gradio

def fail(name):
    raise ValueError(name)

with gradio.Blocks() as page:
    box, button, other = gradio.Textbox(), gradio.Button(), gradio.Button()
    button.click(lambda name: "hello " + name, box, box, api_name="greet")
    other.click(fail, box, box, api_name="fail")
page.launch(server_name="127.0.0.1", server_port=int(sys.argv[1]))
""",
        {"GRADIO_ANALYTICS_ENABLED": "False"},
    ),
    Application(
        "litellm",  # hundreds of routes, streams
        ("litellm[proxy]==1.106.2",),
        ("litellm", "--host", "127.0.0.1", "--port", "{port}", "--config", "{file}"),
        "/health/liveliness",
        (
            ("GET", "/health/readiness", None),
            ("GET", "/v1/models", None),
            ("POST", "/v1/chat/completions", _CHAT),
            ("POST", "/v1/chat/completions", {**_CHAT, "stream": True}),
            ("POST", "/v1/chat/completions", {**_CHAT, "model": "none"}),
            ("GET", "/routes", None),
        ),
        """.yaml
model_list:
  - model_name: fake
    litellm_params: {model: openai/fake, api_key: none, mock_response: "hello"}
""",
        {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true"},
    ),
    Application(
        "marimo",  # Starlette
        ("marimo==0.25.2",),
        ("marimo", "run", "{file}", "--headless", "--host", "127.0.0.1", "-p", "{port}"),
        "/health",
        (("GET", "/", None), ("GET", "/api/status", None), ("GET", "/nowhere", None)),
        """.py
import marimo

app = marimo.App()

@app.cell
def _():
    return
""",
    ),
    Application(
        "chainlit",  # Socket.IO within FastAPI, and `os._exit` at the end of its lifespan
        ("chainlit==2.12.0",),
        ("chainlit", "run", "{file}", "--headless", "--host", "127.0.0.1", "--port", "{port}"),
        "/project/settings",
        (
            ("GET", "/", None),
            ("GET", "/auth/config", None),
            ("GET", "/ws/socket.io/?EIO=4&transport=polling", None),
            ("GET", "/nowhere", None),
        ),
        """.py
import chainlit

@chainlit.on_message
async def answer(message):
    await chainlit.Message(content="hello").send()
""",
    ),
    Application(
        "nicegui",  # serves from a program's last line, Socket.IO mounted within FastAPI
        ("nicegui==3.18.0",),
        ("python", "{file}", "{port}"),
        "/api/1",
        (
            ("GET", "/", None),
            ("GET", "/user/one", None),
            ("GET", "/api/3", None),
            ("GET", "/api/x", None),
            ("GET", "/_nicegui_ws/socket.io/?EIO=4&transport=polling", None),
            ("GET", "/nowhere", None),
        ),
        """.py
import sys
from nicegui import app, ui

@ui.page("/user/{name}")
def user(name: str):
    ui.label(name)

@ui.page("/")
def index():
    ui.label("hello")

@app.get("/api/{number}")
def api(number: int):
    return number

ui.run(host="127.0.0.1", port=int(sys.argv[1]), show=False, reload=False)
""",
    ),
    Application(
        "django",  # names its settings after its imports, as `startproject` does; contrib's instrumentor
        ("django==5.2.19", "uvicorn==0.54.0", "opentelemetry-instrumentation-django==0.66b1"),
        ("uvicorn", "program:app", "--port", "{port}"),
        "/item/1",
        (
            ("GET", "/item/2", None),
            ("GET", "/waiting/2", None),
            ("GET", "/failing", None),
            ("GET", "/nowhere", None),
        ),
        """.py
import asyncio
from django.core.asgi import get_asgi_application
from django.conf import settings
from django.http import JsonResponse
from django.urls import path

def item(request, number):
    return JsonResponse({"number": number})

async def waiting(request, number):
    await asyncio.sleep(0)
    return JsonResponse({"number": number})

def failing(request):
    raise ValueError

urlpatterns = [path("item/<int:number>", item), path("waiting/<int:number>", waiting), path("failing", failing)]
settings.configure(SECRET_KEY="x", ROOT_URLCONF="program", ALLOWED_HOSTS=["*"])
app = get_asgi_application()
""",
    ),
    Application(
        "admin",  # GraphQL and two admin pages mounted within FastAPI, by FastAPI's own command
        (
            *("fastapi[standard]==0.165.0", "strawberry-graphql[fastapi]==0.341.2", "sqladmin==0.32.0"),
            *("starlette-admin==1.0.3", "sqlalchemy==2.0.58"),
        ),
        ("fastapi", "run", "{file}", "--host", "127.0.0.1", "--port", "{port}"),
        "/docs",
        (
            ("POST", "/graphql", {"query": "{hello}"}),
            ("POST", "/graphql", {"query": "{nothing}"}),
            ("GET", "/admin/user/list", None),
            ("GET", "/admin/user/details/1", None),
            ("GET", "/other/user/list", None),
            ("GET", "/other/api/user?skip=0&limit=10", None),
            ("GET", "/nowhere", None),
        ),
        """.py
import strawberry
from fastapi import FastAPI
from sqladmin import Admin, ModelView
from sqlalchemy import create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from starlette_admin.contrib import sqla
from strawberry.fastapi import GraphQLRouter

class Base(DeclarativeBase):
    pass

class User(Base):
    __tablename__ = "users"
    id: Mapped[int] = mapped_column(primary_key=True)

class UserAdmin(ModelView, model=User):
    column_list = [User.id]

@strawberry.type
class Query:
    @strawberry.field
    def hello(self) -> str:
        return "hello"

engine = create_engine("sqlite:///admin.db", connect_args={"check_same_thread": False})
Base.metadata.create_all(engine)
app = FastAPI()
app.include_router(GraphQLRouter(strawberry.Schema(Query)), prefix="/graphql")
Admin(app, engine).add_view(UserAdmin)
other = sqla.Admin(engine, title="other", base_url="/other")
other.add_view(sqla.ModelView(User))
other.mount_to(app)
""",
    ),
)


@dataclass(frozen=True)
class Outcome:
    """What one run gave.

    Attributes:
        statuses: of the answers, 0 where none came.
        code: the exit code after SIGTERM, None where it took longer than a minute.
        spans: how many server spans each request has.
        said: lines of the distro's own.
    """

    statuses: list[int]
    code: int | None
    spans: list[int]
    said: list[str]


def main(cache: Path, only: str = "") -> bool:
    """Run every application both ways; True when nothing differs and no span is missing.

    Args:
        cache: directory outside the tree, for their environments.
        only: the name of one; all of them when empty.
    """
    good = True
    for application in APPLICATIONS:
        if only not in {"", application.name}:
            continue
        programs = environment(cache, application.name, application.requirements)
        try:
            bare, ours = (run(programs, cache, application, launcher) for launcher in ((), OURS))
        except (RuntimeError, TimeoutError) as error:
            good = False
            print(f"{application.name}: did not serve: {error}", flush=True)
            continue
        passed = (
            bare.statuses == ours.statuses
            and 0 not in ours.statuses
            and bare.code == ours.code
            and set(ours.spans) == {1}
            and not ours.said
        )
        good &= passed
        print(f"{application.name}: {'the same' if passed else 'DIFFERS'}", flush=True)
        if not passed:
            print(f"  without: {bare}\n  with: {ours}", flush=True)
    return good


def run(programs: Path, cache: Path, application: Application, launcher: Sequence[str]) -> Outcome:
    """Start it, ask everything, end it."""
    home = cache / f"{application.name}-{'ours' if launcher else 'bare'}-{time.time_ns()}"
    home.mkdir()
    ending, _, text = application.program.partition("\n")
    file = home / f"program{ending}"
    file.write_text(text)
    command = [part.replace("{file}", str(file)) for part in (*launcher, *application.command)]
    command[0] = str(programs / command[0])
    with OtlpSink() as sink:
        environ = {
            **application.environ,
            "HOME": str(home),
            "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
            "OTEL_EXPORTER_OTLP_ENDPOINT": sink.url,
            "OTEL_EXPORTER_PROMETHEUS_PORT": "0",
            "OTEL_LOG_LEVEL": "warning",
        }
        serving = Serving(command, environ, home / "log", cwd=home, probe=application.probe)
        traces = [f"{number:032x}" for number in range(1, len(application.requests) + 1)]
        code: int | None = None
        with serving:
            statuses = [
                ask(serving.port, request, trace) for request, trace in zip(application.requests, traces, strict=True)
            ]
            with contextlib.suppress(subprocess.TimeoutExpired):
                code = serving.stop(seconds=60)
        # some leave processes behind
        with contextlib.suppress(ProcessLookupError):
            os.killpg(serving.pid, signal.SIGKILL)
        found = Counter(
            span.trace_id for span in sink.spans if span.kind == "SERVER" and span.parent_span_id == f"{1:016x}"
        )
    said = [line for line in serving.log().splitlines() if line.startswith("otel-distro: ")]
    return Outcome(statuses, code, [found[trace] for trace in traces], said)


def ask(port: int, request: Request, trace: str) -> int:
    """The status of the answer, which is read to its end; 0 for none."""
    method, path, content = request
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    headers = {"traceparent": f"00-{trace}-{1:016x}-01", "Content-Type": "application/json"}
    try:
        connection.request(method, path, None if content is None else json.dumps(content), headers)
        answer = connection.getresponse()
        answer.read()
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        connection.close()
    return answer.status
