"""The Grafana dashboard: the form that Grafana reads, and data from a real Prometheus for each of its queries."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import product
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]  # it carries no types
import pytest
import requests
from tests import prometheus
from tests.contract.test_alert_rules import render

from gateway_watch.metrics.specs import SPECS as GATEWAY_SPECS
from host_service.metric_families import Kind, MetricSpec
from position_manager.service.metrics import SPECS as MANAGER_SPECS

ROOT = Path(__file__).parents[2]
DASHBOARD: dict[str, Any] = json.loads((ROOT / "roles/monitoring/files/grafana-dashboard.json").read_text())
PANELS: list[dict[str, Any]] = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]

SOURCE = {
    "type": "object",
    "required": ["type", "uid"],
    "properties": {"type": {"const": "prometheus"}, "uid": {"const": "${datasource}"}},
}
TEXT = {"type": "string", "minLength": 1}
NUMBER = {"type": "integer", "minimum": 0}
GRID = {
    "type": "object",
    "required": ["h", "w", "x", "y"],
    "properties": {
        "h": {**NUMBER, "minimum": 1},
        "w": {**NUMBER, "minimum": 1, "maximum": 24},
        "x": NUMBER,
        "y": NUMBER,
    },
    "additionalProperties": False,
}
ROW = {
    "type": "object",
    "required": ["id", "type", "title", "gridPos", "collapsed", "panels"],
    "properties": {"type": {"const": "row"}, "title": TEXT, "gridPos": GRID, "panels": {"maxItems": 0}},
}
PANEL = {
    "type": "object",
    "required": ["id", "type", "title", "description", "datasource", "gridPos", "targets", "fieldConfig", "options"],
    "properties": {
        "id": {**NUMBER, "minimum": 1},
        "type": {"enum": ["stat", "timeseries", "state-timeline"]},
        "title": TEXT,
        "description": TEXT,
        "datasource": SOURCE,
        "gridPos": GRID,
        "targets": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "required": ["refId", "datasource", "expr", "legendFormat"],
                "properties": {"refId": {"pattern": "^[A-Z]$"}, "datasource": SOURCE, "expr": TEXT},
            },
        },
        "fieldConfig": {
            "type": "object",
            "required": ["defaults", "overrides"],
            "properties": {"defaults": {"type": "object", "required": ["unit"]}, "overrides": {"type": "array"}},
        },
        "options": {"type": "object"},
    },
    "additionalProperties": False,
}
SCHEMA = {
    "type": "object",
    "required": ["title", "uid", "schemaVersion", "version", "time", "templating", "annotations", "panels", "refresh"],
    "properties": {
        "title": TEXT,
        "uid": {"type": "string", "pattern": "^[a-zA-Z0-9-_]{1,40}$"},
        "schemaVersion": {"type": "integer", "minimum": 36},
        "time": {"type": "object", "required": ["from", "to"]},
        "templating": {
            "type": "object",
            "required": ["list"],
            "properties": {
                "list": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "required": ["name", "type", "query"],
                        "properties": {"name": TEXT, "type": {"enum": ["datasource", "query"]}},
                    },
                }
            },
        },
        "panels": {
            "type": "array",
            "items": {"if": {"properties": {"type": {"const": "row"}}}, "then": ROW, "else": PANEL},
        },
    },
}


def exposition(specs: Iterable[MetricSpec]) -> str:
    """Each metric of a service with each of its labels, as the service's own table lists them."""
    return "".join(f"{line}\n" for spec in specs for line in _lines(spec))


def _lines(spec: MetricSpec) -> Iterator[str]:
    names = [label.name for label in spec.labels]
    for values in product(*(label.values[:3] or ("any",) for label in spec.labels)):
        labels = [f'{name}="{value}"' for name, value in zip(names, values, strict=True)]
        if spec.kind is not Kind.HISTOGRAM:
            yield f"{spec.name}{{{','.join(labels)}}} 1"
            continue
        for bound in ("0.1", "1", "+Inf"):
            bucket = ",".join([*labels, f'le="{bound}"'])
            yield f"{spec.name}_bucket{{{bucket}}} 1"


@contextmanager
def exporter(text: str) -> Iterator[int]:
    """Gives the port on which the text is served."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, format: str, *args: object) -> None:
            """Log nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server.server_port
        server.shutdown()


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@contextmanager
def process(log: Path, program: str, *arguments: str) -> Iterator[None]:
    with log.open("wb") as output:
        running = subprocess.Popen([prometheus.programs() / program, *arguments], stdout=output, stderr=output)
        try:
            yield
        finally:
            running.terminate()
            running.wait(20)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a Prometheus with the role's configuration and rules, once it has scraped everything twice."""
    directory = tmp_path_factory.mktemp("prometheus")
    ports = {name: free_port() for name in ("prometheus_port", "alertmanager_port", "node_exporter_port", "relay_port")}
    units = 'node_systemd_unit_state{name="ib-gateway.service",state="failed"} 0\n'
    with ExitStack() as stack:
        gateway = stack.enter_context(exporter(exposition(GATEWAY_SPECS) + units))
        manager = stack.enter_context(exporter(exposition(MANAGER_SPECS)))
        targets = [
            {
                "job": "gateway-watch",
                "port": gateway,
                "labels": {"gateway": "ib-gateway", "unit": "ib-gateway.service"},
            },
            {"job": "position-manager", "port": manager, "labels": {"manager": "m", "unit": "m.service"}},
        ]
        plain = {"scrape_seconds": 1} | ports
        config = render("prometheus.yml", directory, __monitoring_targets=targets, __monitoring_plain=plain)
        node = f"--web.listen-address=127.0.0.1:{ports['node_exporter_port']}"
        stack.enter_context(process(directory / "node.log", "prometheus-node-exporter", node))
        stack.enter_context(
            process(
                directory / "prometheus.log",
                "prometheus",
                f"--config.file={config}",
                f"--storage.tsdb.path={directory / 'data'}",
                f"--web.listen-address=127.0.0.1:{ports['prometheus_port']}",
            )
        )
        address = f"http://127.0.0.1:{ports['prometheus_port']}"
        wait_for_data(address, {"gateway-watch", "position-manager", "node", "prometheus"})
        yield address


def wait_for_data(address: str, jobs: set[str], seconds: float = 60.0) -> None:
    """Until each job was scraped three times; Prometheus reports that to queries only."""
    until = time.monotonic() + seconds
    found: set[str] = set()
    while time.monotonic() < until:
        try:
            found = {each["metric"]["job"] for each in query(address, "count_over_time((up == 1)[1m:1s]) >= 3")}
        except requests.RequestException:
            # Not started, or not ready yet.
            found = set()
        if jobs <= found:
            return
        time.sleep(0.2)
    raise AssertionError(f"no data of {jobs - found} within {seconds:.0f} s")


def query(address: str, expression: str) -> list[Any]:
    answer = requests.get(f"{address}/api/v1/query", params={"query": expression}, timeout=10).json()
    assert answer["status"] == "success", f"{expression}: {answer.get('error')}"
    result: list[Any] = answer["data"]["result"]
    return result


def expressions() -> Iterator[tuple[str, str]]:
    for panel in PANELS:
        for target in panel["targets"]:
            yield panel["title"], target["expr"]
    for annotation in DASHBOARD["annotations"]["list"]:
        yield annotation["name"], annotation["expr"]


def test_grafana_can_read_it() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    jsonschema.validate(DASHBOARD, SCHEMA, jsonschema.Draft202012Validator)
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(ids) == len(set(ids))
    variables = {variable["name"] for variable in DASHBOARD["templating"]["list"]}
    used = set(re.findall(r"\$\{?(\w+)", json.dumps(DASHBOARD["panels"])))
    assert used == variables


def test_the_schema_finds_a_panel_without_a_query() -> None:
    broken = json.loads(json.dumps(DASHBOARD))
    del broken["panels"][1]["targets"][0]["expr"]
    with pytest.raises(jsonschema.ValidationError, match="'expr' is a required property"):
        jsonschema.validate(broken, SCHEMA, jsonschema.Draft202012Validator)


def test_no_panel_covers_another_one() -> None:
    taken: dict[tuple[int, int], str] = {}
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        for cell in product(range(place["x"], place["x"] + place["w"]), range(place["y"], place["y"] + place["h"])):
            assert cell not in taken, f"{panel['title']} covers {taken[cell]}"
            taken[cell] = panel["title"]


def test_each_query_returns_data(server: str) -> None:
    empty = [
        f"{title}: {expression}"
        for title, expression in expressions()
        if not query(server, expression.replace("$gateway", ".*").replace("$manager", ".*"))
    ]
    assert empty == []
    assert len(list(expressions())) > 40


def test_each_variable_offers_a_value(server: str) -> None:
    for variable in DASHBOARD["templating"]["list"]:
        found = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["query"])
        if found is not None:
            assert any(found[2] in each["metric"] for each in query(server, found[1]))
    assert query(server, "an_unknown_metric") == []
