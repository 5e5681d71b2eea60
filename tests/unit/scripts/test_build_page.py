"""scripts/build_page.py fetches what package-lock.json names, each with its hash, and builds the page with it."""

from __future__ import annotations

import base64
import gzip
import hashlib
import importlib.util
import io
import json
import tarfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parents[3] / "scripts/build_page.py"
BUNDLER = """\
#!/bin/sh
for argument; do case $argument in --outdir=*) directory=${argument#*=} ;; esac; done
cat "$PWD/node_modules/preact/index.js" > "$directory/app.js"
"""
FAILS = '#!/bin/sh\necho partial > "${PWD%/*}/src/dashboard/static/app.js"\nexit 1\n'


def archive(files: dict[str, str], version: str = "1.0.0") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, text in {"package.json": json.dumps({"version": version}), **files}.items():
            member = tarfile.TarInfo(f"package/{name}")
            member.size = len(text)
            member.mode = 0o755 if name.startswith("bin/") else 0o644
            tar.addfile(member, io.BytesIO(text.encode()))
    return buffer.getvalue()


class Registry:
    """Serves packages, and counts what was fetched; ``lock`` names them with their hashes."""

    def __init__(self, packages: dict[str, bytes]) -> None:
        self.packages = packages
        self.cut_off = False
        self.fetched: list[str] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.fetched.append(self.path)
                name = self.path[1:].partition("/-/")[0]
                content = outer.packages.get(name, b"")
                self.send_response(200 if name in outer.packages else 404)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content[: len(content) // 2] if outer.cut_off else content)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        Thread(target=self.server.serve_forever, daemon=True).start()

    def lock(self, version: str = "1.0.0") -> str:
        packages: dict[str, object] = {"": {"dependencies": {"preact": version}}}
        for name, content in self.packages.items():
            digest = base64.b64encode(hashlib.sha512(content).digest()).decode()
            packages[f"node_modules/{name}"] = {"version": version, "integrity": f"sha512-{digest}"}
        return json.dumps({"packages": packages})


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    bundler = archive({"bin/esbuild": BUNDLER})
    preact = archive({"index.js": "page()"})
    served = Registry({"preact": preact, "@esbuild/linux-x64": bundler, "@esbuild/linux-arm64": bundler})
    monkeypatch.setenv("NPM_CONFIG_REGISTRY", f"http://127.0.0.1:{served.server.server_port}/")
    yield served
    served.server.shutdown()
    served.server.server_close()


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, registry: Registry) -> ModuleType:
    """The script, for a clone in a temporary directory."""
    spec = importlib.util.spec_from_file_location("build_page", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    web = tmp_path / "dashboard_web"
    (web / "src").mkdir(parents=True)
    for name in ("index.html", "icon.svg"):
        (web / "src" / name).write_text(name)
    (web / "package-lock.json").write_text(registry.lock())
    for name, path in (("WEB", web), ("MODULES", web / "node_modules"), ("TARGET", tmp_path / "src/dashboard/static")):
        monkeypatch.setattr(module, name, path)
    return module


def test_the_page_is_built_with_the_packages_of_the_lock(page: ModuleType, registry: Registry) -> None:
    page.main()
    files = {path.name: path.read_bytes() for path in page.TARGET.iterdir()}
    assert files["app.js"] == b"page()"
    assert set(files) == {name + more for name in ("app.js", "index.html", "icon.svg") for more in ("", ".gz")}
    assert gzip.decompress(files["app.js.gz"]) == b"page()"
    assert len(registry.fetched) == 2


def test_the_same_sources_give_the_same_bytes(page: ModuleType) -> None:
    page.main()
    before = {path.name: path.read_bytes() for path in page.TARGET.iterdir()}
    page.main()
    assert {path.name: path.read_bytes() for path in page.TARGET.iterdir()} == before


def test_a_package_is_fetched_once_for_each_version(page: ModuleType, registry: Registry) -> None:
    page.main()
    page.main()
    assert len(registry.fetched) == 2
    registry.packages["preact"] = archive({"index.js": "newer()"}, "1.1.0")
    lock = json.loads((page.WEB / "package-lock.json").read_text())
    lock["packages"]["node_modules/preact"] = json.loads(registry.lock("1.1.0"))["packages"]["node_modules/preact"]
    (page.WEB / "package-lock.json").write_text(json.dumps(lock))
    page.main()
    assert registry.fetched[2:] == ["/preact/-/preact-1.1.0.tgz"]
    assert (page.TARGET / "app.js").read_text() == "newer()"


def test_a_package_with_another_hash_is_refused(page: ModuleType, registry: Registry) -> None:
    registry.packages["preact"] = archive({"index.js": "other()"})
    with pytest.raises(SystemExit, match="its hash differs"):
        page.main()
    assert not (page.MODULES / "preact").exists()
    assert not page.TARGET.exists()


def test_a_package_that_cannot_be_fetched_is_an_error_with_its_address(page: ModuleType, registry: Registry) -> None:
    del registry.packages["preact"]
    with pytest.raises(SystemExit, match=r"/preact/-/preact-1\.0\.0\.tgz cannot be fetched: .*404"):
        page.main()


def test_a_download_that_is_cut_off_is_an_error_and_is_repeated(page: ModuleType, registry: Registry) -> None:
    registry.cut_off = True
    with pytest.raises(SystemExit, match=r"preact-1\.0\.0\.tgz cannot be fetched: IncompleteRead.*REGISTRY"):
        page.main()
    assert not (page.MODULES / "preact").exists()
    registry.cut_off = False
    page.main()
    assert (page.TARGET / "app.js").read_text() == "page()"


def test_a_package_that_cannot_be_written_is_an_error_and_leaves_nothing(
    page: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_path: Path, _content: bytes) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_bytes", full)
        with pytest.raises(SystemExit, match=r"ERROR: .*No space left on device"):
            page.main()
    assert list(page.MODULES.iterdir()) == []
    page.main()
    assert (page.TARGET / "app.js").read_text() == "page()"


def test_a_machine_without_a_bundler_is_an_error(page: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page.platform, "machine", lambda: "riscv64")
    with pytest.raises(SystemExit, match="ERROR: There is no bundler of the page for riscv64"):
        page.main()
    assert not page.MODULES.exists()


def test_a_failed_build_leaves_no_part_of_a_page(page: ModuleType, registry: Registry) -> None:
    page.main()
    for bundler in page.MODULES.glob("@esbuild/*/bin/esbuild"):
        bundler.write_text(FAILS)
    with pytest.raises(SystemExit, match="the bundler failed"):
        page.main()
    assert not page.TARGET.exists()
