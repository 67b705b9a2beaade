"""Serves the files of the page: read and compressed once at start, under a path with a hash of their contents."""

import gzip
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from trainingjob_console.errors import NotFoundError

FOLDER: Final = Path(__file__).with_name("static")
SHELL: Final = "index.html"
_SHA_PLACEHOLDER: Final = b"@SHA@"
"""Placeholder in `index.html` for the hash in the paths of all other files."""

_SHA_LENGTH: Final = 16
_TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_CACHE_FOREVER: Final = "public, max-age=31536000, immutable"


@dataclass(frozen=True, slots=True)
class _File:
    plain: bytes
    packed: bytes
    media_type: str

    def response(self, request: Request, cache: str) -> Response:
        headers = {"Cache-Control": cache, "Vary": "Accept-Encoding"}
        if "gzip" in request.headers.get("accept-encoding", ""):
            headers["Content-Encoding"] = "gzip"
            return Response(self.packed, headers=headers, media_type=self.media_type)
        return Response(self.plain, headers=headers, media_type=self.media_type)


def _file(name: str, content: bytes) -> _File:
    packed = gzip.compress(content, 9, mtime=0)
    return _File(content, packed, _TYPES[Path(name).suffix])


class StaticFiles:
    """All files of the page, in memory.

    Attributes:
        sha: hash of all files. Paths with it never change, so browsers cache them for ever.
    """

    def __init__(self, folder: Path = FOLDER) -> None:
        contents = {
            path.name: path.read_bytes()
            for path in sorted(folder.iterdir())
            if path.suffix in _TYPES
        }
        digest = hashlib.sha256()
        for name, content in contents.items():
            digest.update(b"%s\0%d\0%s" % (name.encode(), len(content), content))
        self.sha: Final = digest.hexdigest()[:_SHA_LENGTH]
        shell = contents.pop(SHELL).replace(_SHA_PLACEHOLDER, self.sha.encode())
        self._shell: Final = _file(SHELL, shell)
        self._files: Final = {name: _file(name, each) for name, each in contents.items()}

    def routes(self) -> list[BaseRoute]:
        """Return the routes: the files, and `index.html` for all other paths. They must be the last routes."""
        return [
            Route("/static/{sha}/{name}", self._serve_file, methods=["GET"]),
            Route("/api/{rest:path}", _not_found, methods=["GET", "POST"]),
            Route("/static/{rest:path}", _not_found, methods=["GET"]),
            Route("/{rest:path}", self._serve_shell, methods=["GET"]),
        ]

    async def _serve_file(self, request: Request) -> Response:
        file = self._files.get(request.path_params["name"])
        if file is None or request.path_params["sha"] != self.sha:
            # The file of another version: the requesting page is outdated.
            raise NotFoundError("there is no such file in this version; load the page again")
        return file.response(request, _CACHE_FOREVER)

    async def _serve_shell(self, request: Request) -> Response:
        return self._shell.response(request, "no-store")


async def _not_found(request: Request) -> Response:
    raise NotFoundError("there is nothing at this path")
