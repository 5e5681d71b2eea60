#!/usr/bin/python
"""Ansible module: detect the login controller in gateway images."""

from __future__ import annotations

import contextlib
import io
import json
import re
import shutil
import subprocess
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: gateway_controller
short_description: Detect the login controller in gateway images
description:
  - Reports which login controller each image of the engine holds, without starting anything.
  - The label C(ib-gateway.login-controller) decides. Without it the variables that the image defines decide, and
    where they are not conclusive the start script. To read the script a container is created and removed again.
  - Fails if an image holds a controller other than the one that O(images) expects, or none of O(controllers).
  - Runs on the Docker host. It uses C(DOCKER_HOST) of the task's environment, if set.
author: ib-gateway-ansible
requirements:
  - the C(docker) command line
  - Linux, Python 3.11 to 3.13
options:
  images:
    description: The images, each with C(name) and C(controller), which is the one expected or C(auto).
    type: list
    elements: dict
    required: true
  controllers:
    description:
      - The controllers that the project knows, by name. C(environment) is a list of variables that only an image with
        this controller defines, C(script) is a regular expression found in its start script.
    type: dict
    required: true
attributes:
  check_mode:
    support: partial
    description:
      - Images that are missing, and images that only their start script can identify, are left out of
        RV(controllers).
  diff_mode:
    support: none
    description: Changes nothing that lasts, so there is no difference to show.
seealso:
  - module: gateway_login
"""

EXAMPLES = r"""
- name: Detect the login controller
  gateway_controller:
    images: [{name: "ghcr.io/gnzsnz/ib-gateway:10.50.1f", controller: auto}]
    controllers:
      ibc: {environment: [IBC_INI], script: ibcstart}
      ibcontroller: {environment: [IBC_APP_DIR], script: ibcontroller run}
"""

RETURN = r"""
controllers:
  description: The controller of each image.
  returned: always
  type: dict
  sample: {"ghcr.io/gnzsnz/ib-gateway:10.50.1f": ibc}
evidence:
  description: What shows the controller of each image.
  returned: always
  type: dict
  sample: {"ghcr.io/gnzsnz/ib-gateway:10.50.1f": "the image defines IBC_INI, IBC_PATH"}
"""

ARGUMENTS: dict[str, dict[str, Any]] = {
    "images": {"type": "list", "elements": "dict", "required": True},
    "controllers": {"type": "dict", "required": True},
}

AUTO = "auto"
LABEL = "ib-gateway.login-controller"
TIMEOUT = 120
"""Seconds for one docker command."""

SCRIPT_BYTES = 1_000_000


class DetectionError(Exception):
    """No controller can be named; the message is for the operator."""


class NoDockerError(DetectionError):
    """There is no docker command, as on a host that check mode has not deployed to."""


@dataclass(frozen=True)
class Found:
    """A controller and what shows it."""

    controller: str
    evidence: str


def docker(*arguments: str) -> bytes:
    """The standard output of a docker command. Raises DetectionError."""
    program = shutil.which("docker")
    if program is None:
        raise NoDockerError("There is no docker command on the host.")
    try:
        ended = subprocess.run([program, *arguments], capture_output=True, timeout=TIMEOUT, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired) as error:
        raise DetectionError(f"docker {arguments[0]} failed: {error}") from error
    if ended.returncode != 0:
        raise DetectionError(f"docker {' '.join(arguments)} failed: {ended.stderr.decode(errors='replace').strip()}")
    return ended.stdout


def by_label(labels: Mapping[str, str], rules: Mapping[str, Any], image: str) -> Found | None:
    """The controller that the image's label names. Raises DetectionError for an unknown one."""
    named = labels.get(LABEL)
    if named is None:
        return None
    if named not in rules:
        raise DetectionError(
            f"The label {LABEL} of {image} is {named!r}, and the project knows {', '.join(sorted(rules))}. "
            "Pin an image with one of these in ib_gateway_image."
        )
    return Found(named, f"its label {LABEL} is {named}")


def by_environment(names: set[str], rules: Mapping[str, Any]) -> Found | None:
    """The only controller whose variables the image defines."""
    defined = {name: sorted(names & set(rule["environment"])) for name, rule in rules.items()}
    matching = [name for name, variables in defined.items() if variables]
    if len(matching) != 1:
        return None
    return Found(matching[0], f"it defines {', '.join(defined[matching[0]])}")


def by_script(path: str, script: str, rules: Mapping[str, Any]) -> Found | None:
    """The only controller that the start script runs."""
    matching = [name for name, rule in rules.items() if re.search(rule["script"], script)]
    return Found(matching[0], f"its start script {path} runs it") if len(matching) == 1 else None


def start_files(config: Mapping[str, Any]) -> list[str]:
    """Absolute paths in the image's command: its start script is one of them."""
    words = [*(config.get("Entrypoint") or ()), *(config.get("Cmd") or ())]
    return [word for word in words if word.startswith("/")]


def read_file(image: str, path: str) -> str:
    """The text of a file of the image; empty if it is no regular file. Raises DetectionError."""
    container = docker("create", "--network", "none", image).decode().strip()
    try:
        archive = docker("cp", "--follow-link", f"{container}:{path}", "-")
    finally:
        docker("rm", "--force", container)
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        for member in files:
            content = files.extractfile(member) if member.isfile() else None
            if content is not None:
                return content.read(SCRIPT_BYTES).decode(errors="replace")
    return ""


def detect(image: str, config: Mapping[str, Any], rules: Mapping[str, Any], read_scripts: bool) -> Found | None:
    """The controller of an image, from its `docker image inspect` Config; None if nothing shows one.

    Raises DetectionError.
    """
    names = {entry.partition("=")[0] for entry in config.get("Env") or ()}
    found = by_label(config.get("Labels") or {}, rules, image) or by_environment(names, rules)
    if found is not None or not read_scripts:
        return found
    for path in start_files(config):
        with contextlib.suppress(tarfile.TarError):
            found = by_script(path, read_file(image, path), rules)
            if found is not None:
                return found
    return None


def check(image: str, expected: str, found: Found | None, rules: Mapping[str, Any]) -> Found:
    """The controller to use. Raises DetectionError if it is unknown or not the expected one."""
    known = ", ".join(sorted(rules))
    if found is None and expected == AUTO:
        raise DetectionError(
            f"{image} shows none of the login controllers that the project knows ({known}): neither its label {LABEL}, "
            "nor its variables, nor its start script. Nothing was started. Pin another image in ib_gateway_image, or, "
            "if you know its controller, set ib_gateway_login_controller."
        )
    if found is None:
        return Found(expected, "ib_gateway_login_controller names it")
    if expected not in (AUTO, found.controller):
        raise DetectionError(
            f"{image} holds the login controller {found.controller} ({found.evidence}), and "
            f"ib_gateway_login_controller is {expected}. Nothing was started. Set it to auto or {found.controller}."
        )
    return found


def config_of(image: str) -> dict[str, Any] | None:
    """The image's configuration; None if the engine does not have it. Raises DetectionError."""
    try:
        answer = docker("image", "inspect", "--format", "{{json .Config}}", image)
    except DetectionError as error:
        if "no such image" in str(error).lower():
            return None
        raise
    config: dict[str, Any] = json.loads(answer)
    return config


def run(params: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
    """The module's result. Raises DetectionError."""
    rules: Mapping[str, Any] = params["controllers"]
    result: dict[str, Any] = {"changed": False, "controllers": {}, "evidence": {}}
    for entry in params["images"]:
        image, expected = entry["name"], entry["controller"]
        config = config_of(image)
        if config is None and not check_mode:
            raise DetectionError(f"The image {image} is not on the host. Run site.yml, which gets it there.")
        found = detect(image, config, rules, read_scripts=not check_mode) if config is not None else None
        if found is None and check_mode:
            continue
        found = check(image, expected, found, rules)
        result["controllers"][image] = found.controller
        result["evidence"][image] = found.evidence
    return result


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    try:
        result = run(module.params, module.check_mode)
    except NoDockerError as error:
        result = {"changed": False, "controllers": {}, "evidence": {}}
        if not module.check_mode:
            module.fail_json(msg=str(error), **result)
    except DetectionError as error:
        module.fail_json(msg=str(error), controllers={}, evidence={})
    module.exit_json(**result)


if __name__ == "__main__":
    main()
