"""What `fleet experiment models` measured, one `Summary` for each system. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lab.measure.experiment.samples import Repeats

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from lab.measure.experiment.models import Measured
    from lab.measure.experiment.workload import Workload


@dataclass(frozen=True, slots=True)
class Summary:
    """One system over its repeats."""

    system: str
    clients: int
    """Measured; fewer than the workload's for the serial server."""
    loop_s: Repeats
    """For the workload's clients: extrapolated if fewer were measured."""
    measured_loop_s: Repeats
    served_at_once: int
    unevenness: float
    cpu_s: Repeats
    """Of all its parts, a loop."""
    cpu_s_by_part: dict[str, Repeats]
    idle_bytes: Repeats
    most_bytes: Repeats
    most_bytes_by_part: dict[str, Repeats]
    load_busy: Repeats
    reply_p50_s: Repeats
    reply_p99_s: Repeats

    @property
    def extrapolated(self) -> bool:
        """Whether `loop_s` was not measured."""
        return self.loop_s != self.measured_loop_s


def summarise(measured: Sequence[Measured], workload: Workload) -> dict[str, Summary]:
    """By system, in the order of their first repeat."""
    grouped: dict[str, list[Measured]] = {}
    for one in measured:
        grouped.setdefault(one.system, []).append(one)
    return {name: _summary(group, workload) for name, group in grouped.items()}


def _summary(group: Sequence[Measured], workload: Workload) -> Summary:
    first = group[0]

    def repeats(figure: Callable[[Measured], float]) -> Repeats:
        return Repeats({one.repeat: figure(one) for one in group})

    def by_part(figure: Callable[[Measured], Mapping[str, float]]) -> dict[str, Repeats]:
        parts = list(figure(first))
        return {part: Repeats({one.repeat: figure(one)[part] for one in group}) for part in parts}

    measured_loop_s = repeats(lambda one: one.loop_s)
    fewer = first.clients < workload.clients
    return Summary(
        system=first.system,
        clients=first.clients,
        loop_s=measured_loop_s.times(workload.clients / first.clients)
        if fewer
        else measured_loop_s,
        measured_loop_s=measured_loop_s,
        served_at_once=max(one.served_at_once for one in group),
        unevenness=max(one.unevenness for one in group),
        cpu_s=repeats(lambda one: sum(one.cpu_s_by_part.values())),
        cpu_s_by_part=by_part(lambda one: one.cpu_s_by_part),
        idle_bytes=repeats(lambda one: sum(one.idle_bytes_by_part.values())),
        most_bytes=repeats(lambda one: sum(one.most_bytes_by_part.values())),
        most_bytes_by_part=by_part(lambda one: one.most_bytes_by_part),
        load_busy=repeats(lambda one: one.load_busy),
        reply_p50_s=repeats(lambda one: one.reply_p50_s),
        reply_p99_s=repeats(lambda one: one.reply_p99_s),
    )
