"""Links that can be cut, as who cuts them sees them; `links` is the process that does it.

Every call returns when the fault is there, so that a drill knows its time.
"""

from __future__ import annotations

import json
import socket
import sys
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Self

from lab.fleet import ports, processes
from lab.fleet.ports import HOST

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

# One order: the process does nothing that waits.
ORDER_S_MAX = 10.0

OUT, IN = "out", "in"
BOTH = (OUT, IN)


@dataclass(frozen=True, slots=True)
class Link:
    """One link, or several that are cut as one. *Out* is towards the target.

    Attributes:
        order: Has a method of `links.Link` done, or what comes near it.
        address: Who connects here (host:port) reaches the target.
    """

    order: Callable[..., dict[str, Any]]
    address: str = ""

    def hold(self, *ways: str) -> dict[str, Any]:
        """Let `ways` stand still; what is sent meanwhile comes when `heal` is called."""
        return self.order("hold", ways=list(ways or BOTH))

    def heal(self) -> dict[str, Any]:
        """All goes on."""
        return self.order("heal")

    def release(self, way: str) -> dict[str, Any]:
        """One direction goes on; the other, and new connects, stay as they are."""
        return self.order("release", way=way)

    def reset(self) -> dict[str, Any]:
        """Both ends of every connection are reset; what was held is lost."""
        return self.order("reset")

    def refuse(self) -> dict[str, Any]:
        """New connects are refused until `heal`."""
        return self.order("refuse")

    def half_open(self, end: str) -> dict[str, Any]:
        """The `end`, "near" or "far", is reset; the other hears nothing any more."""
        return self.order("half", end=end)

    def deafen(self, *, lasting: bool) -> dict[str, Any]:
        """Connections that have said SUBSCRIBE stand still, `lasting`: later ones too."""
        return self.order("deafen", lasting=lasting)

    def strand(self) -> dict[str, Any]:
        """Near ends are reset; what they have sent comes with `heal`; new connections pass."""
        return self.order("strand")

    def count(self) -> dict[str, Any]:
        """`connections`, and bytes `held` by direction."""
        return self.order("count")

    def holds(self, text: str) -> bool:
        """Whether such bytes are on the way."""
        return bool(self.order("find", text=text)["found"])


def together(links: Sequence[Link]) -> Link:
    """Links that are cut as one; their counts are added up."""

    def order(do: str, **words: Any) -> dict[str, Any]:  # noqa: ANN401 — JSON
        answers = [link.order(do, **words) for link in links]
        counted = [what for what, number in answers[0].items() if isinstance(number, int)]
        return {what: sum(answer[what] for answer in answers) for what in counted}

    return Link(order)


class Network:
    """The process of all links. Leaving its `with` block ends it.

    Raises:
        lab.fleet.processes.StartError: It did not start.
    """

    def __init__(self, directory: Path) -> None:
        self.process = processes.start(
            [sys.executable, "-m", "lab.fleet.links"], log=directory / "links.log"
        )
        self._control = socket.create_connection((HOST, self.process.ready["control"]), ORDER_S_MAX)
        self._answers = self._control.makefile("rb")

    def add(self, name: str, target: str) -> Link:
        """A link to `target` (host:port)."""
        answer = self.order("add", name=name, target=ports.split(target))
        return Link(partial(self.order, name=name), f"{HOST}:{answer['port']}")

    def order(self, do: str, **words: Any) -> dict[str, Any]:  # noqa: ANN401 — JSON
        """Have a method of `links.Link` done, or a link added.

        Raises:
            OSError: The process has gone, or does not answer; the text has the order and its last
                words.
        """
        order = json.dumps({"do": do, **words})
        line, why = b"", "the links' process has ended"
        try:
            self._control.sendall(order.encode() + b"\n")
            line = self._answers.readline()
        except OSError as error:
            why = str(error)
        if not line:
            self.process.terminate(1.0)  # its last words are in the log then
            raise ConnectionError(
                f"links: {order}: {why}; its log ends:\n{self.process.log_tail()}"
            )
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        """End it, and every connection with it."""
        self._answers.close()
        self._control.close()
        self.process.terminate(1.0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
