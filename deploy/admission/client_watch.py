"""A client who leaves while its request is answered gives the request up; knows no route.

As a server says it: by `http.disconnect`, which only who reads on after the body comes to know.
"""

import asyncio

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class ClientWatch:
    """ASGI middleware for a server that cancels nothing itself.

    A request whose client has left after it had sent all is cancelled, once, until its answer is
    whole. It ends with `ClientDisconnect`, as one does whose client leaves within its body.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request on. Raises: ClientDisconnect; what the application raises."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        watched = _Watched(receive, send)
        answer = asyncio.ensure_future(self._app(scope, watched.receive, watched.send))
        watch = asyncio.create_task(watched.cancel_when_gone(answer))
        try:
            await answer
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if watched.gave_up and not (task and task.cancelling()):
                raise ClientDisconnect from None
            raise
        finally:
            watch.cancel()


class _Watched:
    """The two ends of one request."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive, self._send = receive, send
        self._asked, self._gone, self._answered = asyncio.Event(), asyncio.Event(), False
        self.gave_up = False

    async def receive(self) -> Message:
        """As the server's, which has one reader at a time: after the body that is the watch."""
        if self._asked.is_set():
            await self._gone.wait()
            return {"type": "http.disconnect"}
        message = await self._receive()
        if message["type"] == "http.disconnect":
            self._gone.set()
        if not message.get("more_body", False):
            self._asked.set()
        return message

    async def send(self, message: Message) -> None:
        """As the server's."""
        # Once all is sent the server says that nobody is there, too.
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            self._answered = True
        await self._send(message)

    async def cancel_when_gone(self, answer: "asyncio.Future[None]") -> None:
        """Wait until the client has left, and end its request if it is not answered by then."""
        await self._asked.wait()
        while not self._gone.is_set():
            if (await self._receive())["type"] == "http.disconnect":
                self._gone.set()
        if not self._answered and not answer.done():
            self.gave_up = True
            answer.cancel()
