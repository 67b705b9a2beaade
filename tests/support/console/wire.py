"""Records and changes the frames between a page and the console."""

import json
from collections.abc import Callable
from typing import Any

from playwright.sync_api import Page, WebSocketRoute

from tests.support.console.browser import wait_in

Frame = dict[str, Any]


class Wire:
    """A page's sockets, from its next load on.

    Attributes:
        sent: the frames of the page, in order.
        change: makes of each frame of the console's the ones that the page gets.
        sockets: one for each connection.
    """

    def __init__(self, page: Page) -> None:
        self.sent: list[Frame] = []
        self.change: Callable[[Frame], list[Frame]] = lambda frame: [frame]
        self.sockets: list[WebSocketRoute] = []
        self._page = page
        page.route_web_socket("**/ws", self._connected)

    def subscriptions(self, kind: str) -> list[Frame]:
        """Return those of a kind that the page has made and not ended, of all its connections."""
        ended = {frame["id"] for frame in self.sent if frame["type"] == "unsub"}
        asked = [f for f in self.sent if f["type"] == "sub" and f["kind"] == kind]
        return [frame for frame in asked if frame["id"] not in ended]

    def subscription(self, kind: str) -> Frame:
        """Return the only one of this kind, which a page may make later than it shows what it follows."""
        wait_in(self._page, lambda: len(self.subscriptions(kind)) == 1)
        return self.subscriptions(kind)[0]

    def _connected(self, socket: WebSocketRoute) -> None:
        self.sockets.append(socket)
        server = socket.connect_to_server()

        def from_page(text: str | bytes) -> None:
            self.sent.append(json.loads(text))
            server.send(text)

        def from_console(text: str | bytes) -> None:
            for frame in self.change(json.loads(text)):
                socket.send(json.dumps(frame))

        socket.on_message(from_page)
        server.on_message(from_console)
