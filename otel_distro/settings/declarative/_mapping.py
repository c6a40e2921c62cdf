"""From a document of the schema 1.0 to the variables that say the same."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from . import _exporters
from ._node import Found, Node

_DISTRIBUTIONS = ("otel-distro", "otel_distro")
_FOUND_ANYWAY = frozenset({"host", "process", "service"})
_LANGUAGES = ("cpp", "dotnet", "erlang", "go", "java", "js", "php", "ruby", "rust", "swift")
_HTTP = "OTEL_INSTRUMENTATION_HTTP_"
_PARENTS = {
    "remote_parent_sampled": "always_on",
    "remote_parent_not_sampled": "always_off",
    "local_parent_sampled": "always_on",
    "local_parent_not_sampled": "always_off",
}


def map_document(document: Mapping[str, Any]) -> Found:
    """What a document says, as variables; what nothing here does is named, place by place."""
    found = Found()
    root = Node(document, "", found)
    _file_format(root)
    root.ignore("stability")
    root.copy_to("OTEL_", disabled="SDK_DISABLED", log_level="LOG_LEVEL")
    limits = root.child("attribute_limits")
    if limits is not None:
        _limits(limits, "OTEL_ATTRIBUTE_")
    _resource(root.child("resource"), found)
    _propagator(root.child("propagator"), found)
    _tracer_provider(root.child("tracer_provider"), found)
    _exporters.meter_provider(root.child("meter_provider"), found)
    _logger_provider(root.child("logger_provider"), found)
    for key in ("instrumentation/development", "instrumentation"):
        _instrumentation(root.child(key))
    _distribution(root.child("distribution"), found)
    root.done()
    return found


def _file_format(root: Node) -> None:
    text = root.take("file_format")
    if text is None or not text.startswith("1."):
        said = "no file_format" if text is None else f"file_format {text[:20]!r}"
        root.found.unsupported("file_format", said, "it is read as 1.0")


def _limits(node: Node, prefix: str) -> None:
    node.copy_to(prefix, attribute_value_length_limit="VALUE_LENGTH_LIMIT", attribute_count_limit="COUNT_LIMIT")
    node.done()


def _resource(node: Node | None, found: Found) -> None:
    if node is None:
        return
    listed = node.take("attributes_list")
    pairs: dict[str, str] = {}
    for attribute in node.children("attributes"):
        kind = attribute.take("type")
        name, value = attribute.take("name"), attribute.take("value")
        attribute.done()
        if name is None or value is None:
            found.unsupported(attribute.path, "not a name and a value")
            continue
        if kind not in {None, "string"}:
            found.unsupported(f"{attribute.path}.type", "a resource's attributes are texts", "it is a text")
        pairs[name] = value
    said = [f"{quote(name)}={quote(value)}" for name, value in pairs.items()]
    # later entries win, and single attributes have precedence
    entries = [*([listed] if listed else []), *said]
    if entries:
        found.set("OTEL_RESOURCE_ATTRIBUTES", ",".join(entries), node.at("attributes"))
    detection = node.child("detection/development")
    if detection is not None:
        names = [name for detector in detection.children("detectors") for name in detector.keys()]  # noqa: SIM118 - a node is no mapping
        asked = [name for name in names if name not in _FOUND_ANYWAY]
        if asked:
            found.set("OTEL_EXPERIMENTAL_RESOURCE_DETECTORS", ",".join(asked), detection.at("detectors"))
        detection.done()
    node.done()


def _propagator(node: Node | None, found: Found) -> None:
    if node is None:
        found.set("OTEL_PROPAGATORS", "none", "propagator")
        return
    names = [name for entry in node.children("composite") for name in entry.keys()]  # noqa: SIM118 - a node is no mapping
    names += (node.take("composite_list") or "").split(",")
    node.done()
    chosen = list(dict.fromkeys(stripped for name in names if (stripped := name.strip())))
    found.set("OTEL_PROPAGATORS", ",".join(chosen) or "none", node.path)


def _tracer_provider(node: Node | None, found: Found) -> None:
    _exporters.processors(node, found, "TRACES", "OTEL_BSP_")
    if node is None:
        return
    limits = node.child("limits")
    if limits is not None:
        limits.copy_to(
            "OTEL_",
            event_count_limit="SPAN_EVENT_COUNT_LIMIT",
            link_count_limit="SPAN_LINK_COUNT_LIMIT",
            event_attribute_count_limit="EVENT_ATTRIBUTE_COUNT_LIMIT",
            link_attribute_count_limit="LINK_ATTRIBUTE_COUNT_LIMIT",
        )
        _limits(limits, "OTEL_SPAN_ATTRIBUTE_")
    generator = node.child("id_generator")
    if generator is not None:
        _named(generator, "OTEL_PYTHON_ID_GENERATOR", found)
    sampler = node.child("sampler")
    if sampler is not None:
        name, argument = _sampler(sampler, found)
        found.set("OTEL_TRACES_SAMPLER", name, sampler.path)
        if argument is not None:
            found.set("OTEL_TRACES_SAMPLER_ARG", argument, sampler.path)
    node.done()


def _named(node: Node, variable: str, found: Found) -> None:
    for name in node.keys():  # noqa: SIM118 - what is looked at is taken away
        options = node.child(name)
        if options is not None:
            options.done("options of an installed part are not passed on")
        found.set(variable, name, node.path)


def _sampler(node: Node, found: Found) -> tuple[str, str | None]:
    kind = next(iter(node.keys()), "always_on")
    options = node.child(kind) or Node(None, node.path, found)
    node.done("one sampler can be chosen")
    argument = None
    if kind == "parent_based":
        kind, argument = _parent_based(options, found)
    elif kind == "trace_id_ratio_based":
        kind, argument = "traceidratio", options.take("ratio")
    options.done()
    return kind, argument


def _parent_based(options: Node, found: Found) -> tuple[str, str | None]:
    root = options.child("root")
    name, argument = ("always_on", None) if root is None else _sampler(root, found)
    for key, usual in _PARENTS.items():
        parent = options.child(key)
        if parent is not None and parent.keys() not in ([], [usual]):
            found.unsupported(parent.path, "a parent's decision is followed", f"{usual} is used")
    if name not in {"always_on", "always_off", "traceidratio"}:
        found.unsupported(options.at("root"), "no such root of a parent-based sampler", "always_on is used")
        return "parentbased_always_on", None
    return f"parentbased_{name}", argument


def _logger_provider(node: Node | None, found: Found) -> None:
    _exporters.processors(node, found, "LOGS", "OTEL_BLRP_")
    if node is None:
        return
    limits = node.child("limits")
    if limits is not None:
        _limits(limits, "OTEL_LOGRECORD_ATTRIBUTE_")
    node.done()


def _instrumentation(node: Node | None) -> None:
    if node is None:
        return
    node.ignore(*_LANGUAGES)
    general = node.child("general")
    if general is not None:
        general.copy_to("OTEL_", stability_opt_in_list="SEMCONV_STABILITY_OPT_IN")
        http = general.child("http")
        if http is not None:
            for side in ("client", "server"):
                _captured(http.child(side), side.upper())
            http.done()
        general.done()
    python = node.child("python")
    if python is not None:
        off = []
        for name in python.keys():  # noqa: SIM118 - what is looked at is taken away
            library = python.child(name)
            if library is not None:
                off += [name] if library.take("enabled") == "false" else []
                library.done()
        if off:
            python.found.set("OTEL_PYTHON_DISABLED_INSTRUMENTATIONS", ",".join(off), python.path)
    node.done()


def _captured(node: Node | None, side: str) -> None:
    if node is None:
        return
    for key, name in (("request_captured_headers", "REQUEST"), ("response_captured_headers", "RESPONSE")):
        headers = node.texts(key)
        if headers:
            node.found.set(f"{_HTTP}CAPTURE_HEADERS_{side}_{name}", ",".join(headers), node.at(key))
    methods = node.texts("known_methods")
    if methods:
        node.found.set(f"{_HTTP}KNOWN_METHODS", ",".join(methods), node.at("known_methods"))
    node.done()


def _distribution(node: Node | None, found: Found) -> None:
    """Our own settings, by the names of their variables without the prefix; other distributions' are theirs."""
    if node is None:
        return
    for name in _DISTRIBUTIONS:
        ours = node.child(name)
        if ours is not None:
            for key in ours.keys():  # noqa: SIM118 - what is looked at is taken away
                text = ours.take(key)
                if text is not None:
                    found.set(f"OTEL_DISTRO_{key.upper()}", text, ours.at(key))
