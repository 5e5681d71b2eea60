"""`cloudwatch-metric`: publish once whether every gateway of this host is verified. A timer runs it each minute.

Exit status: 0 if it was published, 75 if AWS did not take it, 78 if the settings cannot be used.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from gateway_watch.session_calendar import maintenance_end
from host_service import gateway_login
from host_service.gateway_login import GatewayLogin

CONFIG = Path("/etc/cloudwatch-metric.json")
RUNTIME = Path("/run/ib-gateway")
METRIC, DIMENSION = "verified", "Host"
TRY_AGAIN, BAD_SETTINGS = 75, 78


class SettingsError(ValueError):
    """The settings cannot be used; the message names the file and what is wrong."""


@dataclass(frozen=True)
class Settings:
    """``host`` is the value of the metric's dimension; ``gateways`` are the names of the instances."""

    host: str
    namespace: str
    region: str
    gateways: tuple[str, ...]

    @classmethod
    def read(cls, path: Path) -> Settings:
        """Raises SettingsError."""
        try:
            document = json.loads(path.read_bytes())
            text = {name: str(document[name]) for name in ("host", "namespace", "region")}
            return cls(**text, gateways=tuple(map(str, document["gateways"])))
        except OSError as error:
            raise SettingsError(f"{path}: it cannot be read: {error.strerror}") from error
        except (ValueError, KeyError, TypeError) as error:
            raise SettingsError(f"{path}: it is not a configuration ({type(error).__name__}: {error})") from error


def verified(login: GatewayLogin | None) -> bool:
    """Whether a gateway is logged in, answers gateway-watch's own API session, and is connected to IBKR."""
    return login is not None and login.state == "ready" and login.ibkr is not None and login.ibkr.state == "connected"


def value(logins: Sequence[GatewayLogin | None], now: datetime) -> float:
    """1 if every gateway is verified, or if IBKR's own maintenance is under way."""
    return float((bool(logins) and all(map(verified, logins))) or maintenance_end(now) is not None)


def publish(settings: Settings, number: float) -> None:
    """Raises OSError if AWS does not take it."""
    # Needs 60 MB of memory, so only where it is used.
    import boto3  # type: ignore[import-untyped]  # it carries no types
    from botocore.config import Config  # type: ignore[import-untyped]  # likewise
    from botocore.exceptions import BotoCoreError, ClientError  # type: ignore[import-untyped]  # likewise

    try:
        client = boto3.client(
            "cloudwatch",
            region_name=settings.region,
            config=Config(retries={"mode": "standard", "max_attempts": 3}, connect_timeout=5, read_timeout=10),
        )
        client.put_metric_data(
            Namespace=settings.namespace,
            MetricData=[
                {"MetricName": METRIC, "Dimensions": [{"Name": DIMENSION, "Value": settings.host}], "Value": number}
            ],
        )
    except (BotoCoreError, ClientError) as error:
        raise OSError(" ".join(str(error).split())) from error


def main(
    arguments: Sequence[str] | None = None,
    *,
    runtime: Path = RUNTIME,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> int:
    parser = argparse.ArgumentParser(prog="cloudwatch-metric", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--config", type=Path, default=CONFIG, help="the settings, as JSON")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    try:
        settings = Settings.read(options.config)
        logins = [gateway_login.read(runtime / name / gateway_login.NAME) for name in settings.gateways]
        publish(settings, value(logins, now()))
    except SettingsError as error:
        logging.error("%s Run site.yml again.", error)
        return BAD_SETTINGS
    except OSError as error:
        logging.error("CloudWatch did not take the metric: %s. The role of the host must allow it.", error)
        return TRY_AGAIN
    return 0
