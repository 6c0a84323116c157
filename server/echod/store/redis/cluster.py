"""A Redis Cluster as this daemon sees it: asked anew whenever a shard does not serve (ADR 24).

    a link breaks, MOVED, silence ─▶ refresh: several nodes at once ─▶ Topology ─▶ a link to the master

One for a daemon: its shards fail together, and what one of them learns all know.
"""

from __future__ import annotations

import dataclasses
import logging
import random
from time import monotonic, time
from typing import TYPE_CHECKING

from gevent.event import AsyncResult
from gevent.pool import Pool

from echod.store.base import StoreError
from echod.store.redis.link import Link
from echod.store.topology import Address, Topology, parse_nodes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from echod.store.topology import NodeView, Shard
    from echod.values.store_url import StoreUrl

log = logging.getLogger(__name__)

# A node that takes longer to connect to, or to answer, is taken for one that is away: the others
# are asked at the same time.
ASK_S_MAX = CONNECT_S_MAX = 0.3
# Nodes asked at once; the URL's are among them when fewer than this are known.
ASKED_MAX = 8
# A master is silent so long before it is asked who serves its slots, and whether it is the link.
SILENCE_S = 0.5
# What is asked for within this time after an answer gets that answer.
FRESH_S = 0.02


class Cluster:
    """See the module.

    Attributes:
        topology: as it was seen last.
        clocks_apart_s: between the nodes that answered last, the one ahead and the one behind.
    """

    def __init__(self, url: StoreUrl, timeout_s: float, password_file: str = "") -> None:
        """`url` names some of its nodes, and says how every one is spoken to."""
        self.topology = Topology()
        self.clocks_apart_s = 0.0
        self._url = url
        self._timeout_s = timeout_s
        self._password_file = password_file
        self._asking: AsyncResult[None] | None = None
        self._seen_at = -FRESH_S
        self._named = [Address(*node) for node in url.nodes]

    def refresh(self) -> None:
        """Ask several nodes at once; whoever comes meanwhile waits for the same answers.

        Raises:
            StoreError: of kind `unreachable`, none of them answered.
        """
        if monotonic() - self._seen_at < FRESH_S:
            return
        if self._asking is not None:
            self._asking.get()
            return
        asking = self._asking = AsyncResult()
        try:
            self._look()
        except BaseException as error:
            # Who asks may be killed, or meet a bug: whoever waits for its answers must not for ever.
            text = f"whoever asked has failed: {error!r}"
            known = isinstance(error, StoreError)
            asking.set_exception(error if known else StoreError("unreachable", text))
            raise
        else:
            asking.set(None)
        finally:
            self._asking = None

    def _look(self) -> None:
        addresses = self._to_ask()
        views: list[Sequence[NodeView]] = []
        clocks: list[float] = []
        errors: list[StoreError] = []

        def ask(address: Address) -> None:
            try:
                view, offset_s = self._ask(address)
            except StoreError as error:
                errors.append(error)
            else:
                views.append(view)
                clocks.append(offset_s)

        pool = Pool(len(addresses))
        for address in addresses:
            pool.spawn(ask, address)
        # Each is bounded by itself; this holds where a name takes long to be looked up.
        pool.join(timeout=3 * ASK_S_MAX)
        pool.kill(block=False)
        if not views:
            why = f": {errors[0]}" if errors else ""
            raise StoreError("unreachable", f"no node of {len(addresses)} answers{why}")
        self._seen_at = monotonic()
        self.clocks_apart_s = max(clocks) - min(clocks)
        if self.topology.see(views):
            log.info(
                "shards-seen %s",
                " ".join(
                    f"{shard.number}={shard.master.host}:{shard.master.port}/{len(shard.slots)}"
                    for shard in self.topology.shards
                    if shard.master
                ),
            )

    def _to_ask(self) -> list[Address]:
        """Some of the nodes that are known, and of the URL's."""
        known = list(dict.fromkeys(self.topology.addresses.values()))
        random.shuffle(known)
        named = [address for address in self._named if address not in known]
        random.shuffle(named)
        # Those known may all have moved: one of the URL's is asked in any case.
        return [*known[: ASKED_MAX - 1], *named][:ASKED_MAX]

    def _ask(self, address: Address) -> tuple[list[NodeView], float]:
        """What a node says, and how far its clock is ahead of this machine's, in seconds."""
        link = self._link(address, ASK_S_MAX)
        try:
            sent_at = time()
            text, (seconds, micros) = link.execute(("CLUSTER", "NODES"), ("TIME",))
            here_s = (sent_at + time()) / 2
            try:
                nodes = parse_nodes(text.decode(), by_name=self._url.tls is not None)
            except ValueError as error:
                raise StoreError("protocol", str(error)) from error
        finally:
            link.reset()
        filled = [
            node if node.address.host
            else dataclasses.replace(node, address=Address(address.host, node.address.port))
            for node in nodes
        ]  # fmt: skip
        return filled, int(seconds) + int(micros) / 1e6 - here_s

    def _link(
        self, address: Address, timeout_s: float, on_silence: Callable[[], bool] | None = None
    ) -> Link:
        place = dataclasses.replace(self._url, host=address.host, port=address.port)
        return Link(
            *(place, timeout_s, self._password_file),
            connect_s_max=CONNECT_S_MAX,
            silence_s=SILENCE_S,
            on_silence=on_silence,
        )

    def link(self, shard: Shard) -> Link:
        """A connection to the shard's master, found anew.

        Where the master is silent, it is waited for as long as nobody else serves.

        Raises:
            StoreError: the shard has no master that can be reached now.
        """
        self.refresh()
        master_id, address = shard.master_id, shard.master
        if address is None or not shard.slots:
            raise StoreError("unreachable", f"nobody serves shard {shard.number}")

        def alive() -> bool:
            return self.check(shard, master_id)

        return self._link(address, self._timeout_s, alive)

    def check(self, shard: Shard, master_id: str) -> bool:
        """The master is silent, and may not serve any more: ask the others, and itself anew.

        Returns:
            Whether it answers, so that it is the link that does not: its other end has gone.

        Raises:
            StoreError: of kind `moved`: another node is the shard's master now.
        """
        try:
            self.refresh()
        except StoreError:
            return False  # then nobody knows better
        if shard.master_id != master_id or shard.master is None:
            raise StoreError("moved", f"shard {shard.number} has another master")
        try:
            self._ask(shard.master)
        except StoreError:
            return False
        return True
