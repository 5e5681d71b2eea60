"""The page's own files: read once, served with a tag of their content, compressed where they were built so."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

DIRECTORY = Path(__file__).parent / "static"
INDEX = "index.html"
TYPES: Mapping[str, str] = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".ico": "image/x-icon",
    ".json": "application/json",
    ".webmanifest": "application/manifest+json",
    ".woff2": "font/woff2",
    ".txt": "text/plain; charset=utf-8",
}
"""Other files are not served."""


@dataclass(frozen=True)
class StaticFile:
    """A file, and the same compressed with gzip if there is one."""

    path: Path
    compressed: Path | None
    media_type: str
    tag: str


def found(directory: Path) -> dict[str, StaticFile]:
    """By path below the directory. Only these are served, so no path of a request is ever opened."""
    files = {}
    for path in sorted(directory.rglob("*")) if directory.is_dir() else ():
        if path.suffix not in TYPES or not path.is_file():
            continue
        compressed = path.with_name(f"{path.name}.gz")
        tag = hashlib.sha256(path.read_bytes()).hexdigest()[:20]
        files[path.relative_to(directory).as_posix()] = StaticFile(
            path, compressed if compressed.is_file() else None, TYPES[path.suffix], f'"{tag}"'
        )
    return files


class StaticFiles:
    """The files of a directory as they were at the start."""

    def __init__(self, directory: Path = DIRECTORY) -> None:
        self._files = found(directory)

    async def serve(self, request: Request) -> Response:
        name = request.path_params.get("path", "") or INDEX
        file = self._files.get(name)
        if file is None and name == INDEX:
            text = "The page was not built. Run: make setup, and install the release again."
            return JSONResponse({"error": text}, 503)
        if file is None:
            return JSONResponse({"error": "There is nothing at this address."}, 404)
        hashed = name.startswith("assets/")
        headers = {
            "ETag": file.tag,
            "Vary": "Accept-Encoding",
            "Cache-Control": "public, max-age=31536000, immutable" if hashed else "no-cache",
        }
        if file.tag in request.headers.get("if-none-match", ""):
            return Response(None, 304, headers)
        path = file.path
        accepted = [part.partition(";")[0].strip() for part in request.headers.get("accept-encoding", "").split(",")]
        if file.compressed is not None and "gzip" in accepted:
            path = file.compressed
            headers["Content-Encoding"] = "gzip"
        try:
            content = path.read_bytes()
        except OSError:
            return JSONResponse({"error": "The release was replaced. Load the page again."}, 503)
        return Response(content, 200, headers, file.media_type)
