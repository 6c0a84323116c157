"""A client of the plain port: the article's, without its pauses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import gevent

from lab.drill.load.crowd import CONNECT_S_MAX
from lab.drill.load.texts import Texts
from loadtest.client import PlainClient
from loadtest.errors import ClientError, WrongReply

if TYPE_CHECKING:
    from lab.drill.load.crowd import Crowd

REPLY_S_MAX = 3.0


class Plain:
    """It compares every byte."""

    expected: ClassVar[bool] = True

    def __init__(self, crowd: Crowd, name: str, address: tuple[str, int] | None = None) -> None:
        self.crowd = crowd
        self.name = name
        self.address = address or crowd.plain
        self._chance = crowd.dice(name)
        self._texts = Texts(self._chance, crowd.load.text_bytes)
        self._connection = 0

    def run(self) -> None:
        """Connection after connection, until the crowd leaves."""
        while not self.crowd.leaving.is_set():
            self._connection += 1
            try:
                self._converse()
            except WrongReply as error:
                self._note("plain-wrong", text=str(error))
            except ClientError as error:
                self._note("plain", n=0, how=f"{type(error).__name__} {error.kind}")
            self.crowd.leaving.wait(self._chance.uniform(0.05, 0.3))

    def _converse(self) -> None:
        host, port = self.address
        with PlainClient(
            host, port, connect_s_max=CONNECT_S_MAX, reply_s_max=REPLY_S_MAX
        ) as client:
            while not self.crowd.finishing:
                client.ask(self._texts.next() + b"\n")
                self.crowd.served.add(self.name)
                self._note("plain", n=1)
                gevent.sleep(self._chance.expovariate(self.crowd.load.rate))
            client.finish()
            self.crowd.leaving.wait()

    def _note(self, kind: str, **fields: Any) -> None:  # noqa: ANN401 — as `record`
        self.crowd.history.record(kind, c=self.name, k=self._connection, **fields)
