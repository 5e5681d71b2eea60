"""The module gateway_controller against images of a real engine."""

from __future__ import annotations

import io
import subprocess
import tarfile
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.engine import ROOT, docker, environment
from tests.module_process import answer_of

RULES = {
    file.stem: yaml.safe_load(file.read_text())["detect"]
    for file in sorted((ROOT / "roles/ib_gateway/files/controllers").glob("*.yml"))
}
SCRIPT = "/home/ibgateway/scripts/run.sh"
# As the start scripts of the two images call their controllers.
RUNS_IBC = '#!/bin/bash\n"${IBC_PATH}/scripts/ibcstart.sh" "${TWS_MAJOR_VRSN}" -g &\n'
RUNS_IBCONTROLLER = "#!/bin/bash\n\tibcontroller run &\n"

Build = Callable[..., str]


@pytest.fixture(scope="module")
def image() -> Iterator[Build]:
    """Create an image: `script` is its start script, the rest are instructions of a Dockerfile."""
    tags: list[str] = []

    def build(*instructions: str, script: str = "#!/bin/sh\n") -> str:
        content = io.BytesIO()
        with tarfile.open(fileobj=content, mode="w") as files:
            member = tarfile.TarInfo(SCRIPT.removeprefix("/"))
            member.size, member.mode = len(script), 0o755
            files.addfile(member, io.BytesIO(script.encode()))
        tag = f"wtest-controller-{uuid.uuid4().hex[:12]}:1"
        changes = [word for line in (f'CMD ["{SCRIPT}"]', *instructions) for word in ("--change", line)]
        ended = subprocess.run(
            ["docker", "import", *changes, "-", tag],
            input=content.getvalue(),
            capture_output=True,
            env=environment(),
            check=False,
        )
        assert ended.returncode == 0, ended.stderr
        tags.append(tag)
        return tag

    yield build
    docker("image", "rm", "--force", *tags)


def call(images: Mapping[str, str], **arguments: Any) -> dict[str, Any]:
    asked = {
        "images": [{"name": name, "controller": controller} for name, controller in images.items()],
        "controllers": RULES,
        **arguments,
    }
    return answer_of("gateway_controller", asked, environment())


def containers(image: str) -> list[str]:
    return docker("ps", "--all", "--quiet", "--filter", f"ancestor={image}").stdout.split()


@pytest.mark.parametrize(
    ("instructions", "script", "controller", "evidence"),
    [
        (["ENV IBC_INI=/home/ibgateway/ibc/config.ini", "ENV IBC_PATH=/home/ibgateway/ibc"], "", "ibc", "IBC_INI"),
        (["ENV IBC_PROGRAM=gateway", "ENV IBC_TWS_PATH=/home/ibgateway/Jts"], "", "ibcontroller", "IBC_PROGRAM"),
        ([], RUNS_IBC, "ibc", SCRIPT),
        ([], RUNS_IBCONTROLLER, "ibcontroller", SCRIPT),
        (["ENV IBC_PATH=/left/over", "ENV IBC_PROGRAM=gateway"], RUNS_IBCONTROLLER, "ibcontroller", SCRIPT),
        (["LABEL ib-gateway.login-controller=ibc", "ENV IBC_PROGRAM=gateway"], "", "ibc", "label"),
    ],
    ids=["ibc variables", "ibcontroller variables", "ibc script", "ibcontroller script", "both variables", "label"],
)
def test_a_controller_is_detected(
    image: Build, instructions: list[str], script: str, controller: str, evidence: str
) -> None:
    tag = image(*instructions, script=script)
    answer = call({tag: "auto"})
    assert answer["controllers"] == {tag: controller}, answer
    assert evidence in answer["evidence"][tag]
    assert answer["changed"] is False
    assert containers(tag) == []


def test_the_simulators_image_is_detected() -> None:
    tags = docker("image", "ls", "--format", "{{.Repository}}:{{.Tag}}", "gateway-simulator").stdout.split()
    assert tags, "no simulator image; run `make setup` first"
    assert call({tags[0]: "auto"})["controllers"] == {tags[0]: "ibc"}


def test_an_image_without_a_known_controller_is_refused_with_what_to_do(image: Build) -> None:
    tag = image(script="#!/bin/sh\nexec other-controller\n")
    answer = call({tag: "auto"})
    assert answer["failed"]
    assert tag in answer["msg"]
    assert "ibc, ibcontroller" in answer["msg"]
    assert "Nothing was started" in answer["msg"]
    assert "ib_gateway_login_controller" in answer["msg"]


def test_an_image_of_ones_own_is_accepted_under_the_name_that_is_given(image: Build) -> None:
    tag = image()
    assert call({tag: "ibcontroller"})["controllers"] == {tag: "ibcontroller"}


def test_a_name_that_the_image_disproves_is_refused(image: Build) -> None:
    tag = image("ENV IBC_APP_DIR=/home/ibgateway/ibcontroller")
    answer = call({tag: "ibc"})
    assert answer["failed"]
    assert "ib_gateway_login_controller is ibc" in answer["msg"]
    assert "Set it to auto or ibcontroller" in answer["msg"]


def test_an_unknown_label_is_refused(image: Build) -> None:
    tag = image("LABEL ib-gateway.login-controller=ibc9")
    answer = call({tag: "auto"})
    assert answer["failed"]
    assert "'ibc9'" in answer["msg"]


def test_an_image_that_is_not_on_the_host_is_an_error_except_in_check_mode() -> None:
    tag = f"wtest-missing-{uuid.uuid4().hex[:12]}:1"
    answer = call({tag: "auto"})
    assert answer["failed"]
    assert f"{tag} is not on the host" in answer["msg"]
    answer = call({tag: "auto"}, _ansible_check_mode=True)
    assert (answer["changed"], answer["controllers"]) == (False, {})


def test_check_mode_creates_no_container(image: Build) -> None:
    by_script, by_variables = image(script=RUNS_IBC), image("ENV IBC_APP_DIR=/x")
    answer = call({by_script: "auto", by_variables: "auto"}, _ansible_check_mode=True)
    assert answer["controllers"] == {by_variables: "ibcontroller"}
    assert containers(by_script) == []


def test_a_host_without_docker_is_an_error_except_in_check_mode(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "no docker command" in call({"some:1": "auto"})["msg"]
    assert call({"some:1": "auto"}, _ansible_check_mode=True)["controllers"] == {}
