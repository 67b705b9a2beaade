"""A record endpoint as a process that accepts every record, at once or after a delay.

python -m hack.bench.receiver PORT DELAY_MS
"""

import asyncio
import json
import sys
from typing import Final

from aiohttp import web

PATH: Final = "/api/v1/jobs"


def main() -> None:
    """Serve until killed."""
    port, delay_ms = map(int, sys.argv[1:])

    async def put(request: web.Request) -> web.Response:
        record = json.loads(await request.read())
        await asyncio.sleep(delay_ms / 1000)
        return web.json_response({"uid": record["uid"], "revision": record["revision"]})

    async def ready(request: web.Request) -> web.Response:
        return web.Response(text="ok")

    app = web.Application()
    app.router.add_put(f"{PATH}/{{uid}}", put)
    app.router.add_get("/readyz", ready)
    web.run_app(app, host="127.0.0.1", port=port, access_log=None, print=None)


if __name__ == "__main__":
    main()
