"""What a port hands each of its connections: the daemon's parts that they use, and their limits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from echod.loop.reader import READERS

if TYPE_CHECKING:
    from echod.config import Config
    from echod.limits.capacity import Capacity
    from echod.limits.sources import Sources
    from echod.limits.unsent import Unsent
    from echod.loop.clock import Clock
    from echod.loop.reader import CallbackReader, GreenletReader
    from echod.metrics import Metrics
    from echod.store.committer import Committer


@dataclass(frozen=True, slots=True)
class Terms:
    """One port's: flat, because each line looks at several.

    Attributes:
        unsent_bytes_pause: replies that wait for the store or the client, above which a client
            is not read. The limits are the settings of the same names.
    """

    clock: Clock
    committer: Committer
    metrics: Metrics
    capacity: Capacity
    sources: Sources
    unsent: Unsent
    reader: type[CallbackReader | GreenletReader]
    idle_s_max: float
    inflight_lines_max: int
    line_bytes_max: int
    line_s_max: float
    linger_s_max: float
    outbox_bytes_max: int
    send_s_max: float
    unsent_bytes_pause: int

    @classmethod
    def of(  # noqa: PLR0913 — the parts, of each of which a daemon has one
        cls,
        config: Config,
        idle_s_max: float,
        *,
        clock: Clock,
        committer: Committer,
        metrics: Metrics,
        capacity: Capacity,
        sources: Sources,
        unsent: Unsent,
    ) -> Self:
        """As a daemon's settings say; how long a client may be silent differs between ports."""
        return cls(
            clock=clock,
            committer=committer,
            metrics=metrics,
            capacity=capacity,
            sources=sources,
            unsent=unsent,
            reader=READERS[config.reader],
            idle_s_max=idle_s_max,
            inflight_lines_max=config.inflight_lines_max,
            line_bytes_max=config.line_bytes_max,
            line_s_max=config.line_s_max,
            linger_s_max=config.linger_s_max,
            outbox_bytes_max=config.outbox_bytes_max,
            send_s_max=config.send_s_max,
            # Replies that are held will be unsent: reading stops at half of what may be, so that
            # what one more receive can add still fits, and only who takes nothing is slow.
            unsent_bytes_pause=config.outbox_bytes_max // 2,
        )
