"""A stand-in for AWS on 127.0.0.1: moto's own server, with faults at will and a record of every call.

`python tests/aws_endpoint.py --port 5005` serves until it is ended, and prints its address in its first line. Tests use
`AwsEndpoint`, which runs just that. Programs that get its `environment` connect to it instead of AWS.

Its state is one JSON document at `/_endpoint`. GET reads it, POST changes the members that it names:

- `calls`: every call so far, such as `ec2:RunInstances`, in order; POST `[]` forgets them.
- `fault`: null, or `{"action": "ec2:RunInstances", "nth": 1, "code": "UnauthorizedOperation", "after": false,
  "lasting": false}`. Without `action`, the nth call from now that changes something is meant. With `after`, the call
  takes effect and the connection is dropped instead of an answer. With `lasting`, every later call is refused as well,
  as for a run that died.
- `address`: the public address reported for every instance; null leaves moto's.
- `console`: the text of every instance's console; null: there is none yet.
- `vcpus`: the quota of running on-demand standard instances, in vCPUs.
"""

from __future__ import annotations

import argparse
import base64
import copy
import io
import json
import os
import re
import select
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from types import TracebackType
from typing import Any
from urllib.parse import parse_qs
from xml.sax.saxutils import escape

import boto3  # type: ignore[import-untyped]
import botocore.session  # type: ignore[import-untyped]
from werkzeug.serving import WSGIRequestHandler, make_server
from werkzeug.wrappers import Request, Response

_SYSTEMS = {
    "ami-0123456789abcdef0": ("ubuntu/images/hvm-ssd-gp3/ubuntu-noble-24.04-amd64-server-20260101", "099720109477"),
    "ami-0123456789abcdef1": ("ubuntu/images/hvm-ssd-gp3/ubuntu-noble-24.04-amd64-server-20250101", "099720109477"),
    "ami-0123456789abcdef2": ("debian-12-amd64-20260101-2000", "136693071363"),
}
IMAGES = [
    {
        "ami_id": image,
        "name": name,
        "owner_id": owner,
        "description": name,
        "image_type": "machine",
        "architecture": "x86_64",
        "state": "available",
        "public": True,
        "root_device_type": "ebs",
        "root_device_name": "/dev/xvda" if name.startswith("debian") else "/dev/sda1",
        "virtualization_type": "hvm",
        "hypervisor": "xen",
        "creation_date": "2025-01-01T00:00:00.000Z" if "20250101" in name else "2026-01-01T00:00:00.000Z",
        "platform": None,
        "sriov": "simple",
    }
    for image, (name, owner) in _SYSTEMS.items()
]

# As the calls' credentials name the service, and as policies do.
_PREFIXES = {"monitoring": "cloudwatch"}
_READING = re.compile(r".*:(Describe|Get|List|Lookup|Simulate|Search|Test)")

_Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class _RestOperations:
    """Finds the operation of a service whose calls are identified by method and path."""

    def __init__(self, service: str) -> None:
        model = botocore.session.get_session().get_service_model(service)
        self._operations = []
        for name in model.operation_names:
            http = model.operation_model(name).http
            pattern = "".join(
                "[^/]+" if part.startswith("{") else re.escape(part)
                for part in re.split(r"(\{[^}]+\})", http["requestUri"].partition("?")[0])
            )
            self._operations.append((http["method"], re.compile(pattern.removesuffix("/") + "/?$"), name))

    def find(self, method: str, path: str) -> str:
        found = [
            (path_.pattern.count("[^/]+"), name)
            for verb, path_, name in self._operations
            if verb == method and path_.match(path)
        ]
        return min(found)[1] if found else f"{method} {path}"


class Endpoint:
    """The WSGI application: records the calls, fails those that are to fail, and handles what moto cannot."""

    def __init__(self, aws: _Application) -> None:
        self._aws = aws
        self._lock = threading.Lock()
        self._backup = _RestOperations("backup")
        # What a backup plan's selections are, by the ID of the plan and their own: moto has none.
        self._selected: dict[str, dict[str, dict[str, Any]]] = {}
        self._dead = False
        self.told: dict[str, Any] = {"calls": [], "fault": None, "address": None, "console": None, "vcpus": 32}

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        request = Request(environ)
        # Read whole, and given to moto as if nobody had.
        body = request.get_data(cache=True)
        if request.path == "/_endpoint":
            return self._control(request, body)(environ, start_response)
        scope = re.search(r"Credential=[^/]+/\d+/[^/]+/([^/]+)/", request.headers.get("Authorization", ""))
        if scope is None:
            return self._moto(request, body)(environ, start_response)
        service = _PREFIXES.get(scope[1], scope[1])
        form = {name: values[0] for name, values in parse_qs(body.decode("latin-1")).items()}
        action = f"{service}:{self._operation(service, request, form)}"
        with self._lock:
            self.told["calls"].append(action)
            fault = self._fault(action, form)
            if fault and not fault.get("after"):
                return _refusal(service, request, fault["code"])(environ, start_response)
            answer = self._own(action, form) or self._selections(action, request, body) or self._moto(request, body)
            if fault:
                environ["werkzeug.socket"].shutdown(2)
        if action == "backup:DescribeBackupVault" and answer.status_code == 400:
            # So AWS answers for a vault that is not there.
            answer = _refusal(service, request, "AccessDeniedException")
        elif action == "backup:DescribeBackupVault":
            # AWS always returns the number, and moto none: it takes no snapshots.
            answer.set_data(json.dumps(json.loads(answer.get_data()) | {"NumberOfRecoveryPoints": 0}))
        if self.told["address"] and action == "ec2:DescribeInstances":
            answer.set_data(
                re.sub(r"(<ipAddress>)[^<]*", rf"\g<1>{self.told['address']}", answer.get_data(as_text=True))
            )
        return answer(environ, start_response)

    def _moto(self, request: Request, body: bytes) -> Response:
        environ = request.environ | {"wsgi.input": io.BytesIO(body), "CONTENT_LENGTH": str(len(body))}
        environ = {name: value for name, value in environ.items() if not name.startswith("werkzeug.request")}
        return Response.from_app(self._aws, environ, buffered=True)

    def _control(self, request: Request, body: bytes) -> Response:
        with self._lock:
            if request.method == "POST":
                changes = json.loads(body)
                if unknown := changes.keys() - self.told.keys():
                    return Response(f"Unknown: {', '.join(sorted(unknown))}\n", 400)
                self.told |= changes
                if "fault" in changes:
                    self._dead = False
            return Response(json.dumps(self.told), mimetype="application/json")

    def _operation(self, service: str, request: Request, form: dict[str, str]) -> str:
        if target := request.headers.get("X-Amz-Target"):
            return target.partition(".")[2]
        if cbor := re.match(r"/service/[^/]+/operation/(\w+)", request.path):
            return cbor[1]
        if service == "s3":
            # Objects only, in one request each.
            return f"{request.method.capitalize()}Object{request.query_string.decode()}"
        return self._backup.find(request.method, request.path) if service == "backup" else form.get("Action", "")

    def _fault(self, action: str, form: dict[str, str]) -> dict[str, Any] | None:
        """The fault for this call: what was asked for is counted down, and is over when it has happened once."""
        fault: dict[str, Any] | None = self.told["fault"]
        if fault is None:
            return None
        if self._dead:
            return fault | {"after": False}
        named = fault.get("action")
        rehearsed = form.get("DryRun", "false") == "true"
        changes = not _READING.match(action) and not rehearsed
        if (action != named if named else not changes) or (rehearsed and fault.get("after")):
            return None
        fault["nth"] = fault.get("nth", 1) - 1
        if fault["nth"] > 0:
            return None
        if fault.get("lasting"):
            self._dead = True
        else:
            self.told["fault"] = None
        return copy.copy(fault)

    def _own(self, action: str, form: dict[str, str]) -> Response | None:
        """What moto cannot answer, in the shape of the real API."""
        if action == "ec2:GetConsoleOutput":
            now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
            text = self.told["console"]
            output = f"<output>{base64.b64encode(text.encode()).decode()}</output>" if text is not None else ""
            return Response(
                '<GetConsoleOutputResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/">'
                f"<requestId>00000000</requestId><instanceId>{escape(form['InstanceId'])}</instanceId>"
                f"<timestamp>{now}</timestamp>{output}</GetConsoleOutputResponse>",
                mimetype="text/xml",
            )
        if action == "servicequotas:GetServiceQuota":
            quota = {
                "ServiceCode": "ec2",
                "QuotaCode": "L-1216C47A",
                "Value": float(self.told["vcpus"]),
                "Unit": "None",
                "QuotaName": "Running On-Demand Standard (A, C, D, H, I, M, R, T, Z) instances",
                "Adjustable": True,
            }
            return Response(json.dumps({"Quota": quota}), mimetype="application/x-amz-json-1.1")
        return None

    def _selections(self, action: str, request: Request, body: bytes) -> Response | None:
        """The selections of backup plans, as AWS Backup keeps them."""
        plan, _, selection = request.path.removeprefix("/backup/plans/").partition("/selections/")
        of_plan = self._selected.setdefault(plan, {}) if action.startswith("backup:") else {}
        match action:
            case "backup:DeleteBackupPlan" if of_plan:
                return _refusal("backup", request, "InvalidRequestException")
            case "backup:CreateBackupSelection":
                selection = str(uuid.uuid4())
                made = {"SelectionId": selection, "BackupPlanId": plan, "CreationDate": int(time.time())}
                of_plan[selection] = made | {"BackupSelection": json.loads(body)["BackupSelection"]}
                told = made
            case "backup:ListBackupSelections":
                told = {
                    "BackupSelectionsList": [
                        {name: value for name, value in found.items() if name != "BackupSelection"}
                        | {name: found["BackupSelection"][name] for name in ("SelectionName", "IamRoleArn")}
                        for found in of_plan.values()
                    ]
                }
            case "backup:GetBackupSelection" if selection in of_plan:
                told = of_plan[selection]
            case "backup:DeleteBackupSelection" if selection in of_plan:
                del of_plan[selection]
                told = {}
            case "backup:GetBackupSelection" | "backup:DeleteBackupSelection":
                return _refusal("backup", request, "ResourceNotFoundException")
            case _:
                return None
        return Response(json.dumps(told), mimetype="application/json")


def _refusal(service: str, request: Request, code: str) -> Response:
    """An error of AWS in the protocol of the call."""
    message = f"The test endpoint refuses this call with {code}."
    if service == "ec2":
        return Response(
            f"<Response><Errors><Error><Code>{code}</Code><Message>{message}</Message></Error></Errors>"
            "<RequestID>00000000</RequestID></Response>",
            400,
            mimetype="text/xml",
        )
    if "/operation/" in request.path:
        members = b"".join(
            b"\x78" + bytes([len(part)]) + part.encode() for part in ("__type", code, "message", message)
        )
        return Response(b"\xa2" + members, 400, {"smithy-protocol": "rpc-v2-cbor"}, mimetype="application/cbor")
    if service == "backup" or "X-Amz-Target" in request.headers:
        return Response(
            json.dumps({"__type": code, "message": message}),
            400,
            {"x-amzn-ErrorType": code},
            mimetype="application/x-amz-json-1.1",
        )
    return Response(
        f"<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error>"
        "<RequestId>00000000</RequestId></ErrorResponse>",
        400,
        mimetype="text/xml",
    )


class AwsEndpoint:
    """The endpoint in a process of its own, as a context manager.

    `environment` is that of the caller, without AWS settings of his, and with those that lead to the endpoint.
    """

    def __init__(self) -> None:
        self.url = ""
        self.environment: dict[str, str] = {}

    def __enter__(self) -> AwsEndpoint:
        self._process = subprocess.Popen([sys.executable, __file__], stdout=subprocess.PIPE, text=True)
        assert self._process.stdout
        if not select.select([self._process.stdout], [], [], 60)[0]:
            self._end()
            raise TimeoutError("the AWS endpoint did not start within 60 s")
        self.url = self._process.stdout.readline().strip()
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")} | {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent",
            "AWS_CONFIG_FILE": "/nonexistent",
        }
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._end()

    def _end(self) -> None:
        self._process.terminate()
        self._process.wait(10)
        assert self._process.stdout
        self._process.stdout.close()

    def change(self, **changes: Any) -> None:
        """Changes members of the document: `change(fault={"action": "ec2:RunInstances", "code": "Throttling"})`."""
        request = urllib.request.Request(f"{self.url}/_endpoint", json.dumps(changes).encode())  # noqa: S310 its own
        urllib.request.urlopen(request, timeout=10).close()  # noqa: S310 its own

    def ask(self) -> dict[str, Any]:
        """The whole document."""
        with urllib.request.urlopen(f"{self.url}/_endpoint", timeout=10) as answer:  # noqa: S310 its own
            document: dict[str, Any] = json.load(answer)
        return document

    def client(self, service: str, region: str = "us-east-1") -> Any:
        """A boto3 client of the endpoint."""
        return boto3.client(
            service, region, endpoint_url=self.url, aws_access_key_id="testing", aws_secret_access_key="testing"
        )


class _Quiet(WSGIRequestHandler):
    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Logs nothing about successful calls."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=0, help="0, the default, takes a free one")
    port = parser.parse_args().port
    with tempfile.NamedTemporaryFile("w", suffix=".json") as images:
        json.dump(IMAGES, images)
        images.flush()
        # Read by moto when it is imported.
        os.environ |= {"MOTO_AMIS_PATH": images.name, "MOTO_IAM_LOAD_MANAGED_POLICIES": "true"}
        from moto.ec2.utils import EC2_PREFIX_TO_RESOURCE
        from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

        # As AWS itself calls it in the filters of DescribeTags.
        EC2_PREFIX_TO_RESOURCE["eipalloc"] = "elastic-ip"
        application = Endpoint(DomainDispatcherApplication(create_backend_app))
        server = make_server("127.0.0.1", port, application, threaded=True, request_handler=_Quiet)
        os.environ["MOTO_PORT"] = str(server.port)
        print(f"http://127.0.0.1:{server.port}", flush=True)  # noqa: T201 the first line of its output
        server.serve_forever()


if __name__ == "__main__":
    main()
