"""What `fleet experiment models` measured, one `Summary` for each system. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lab.measure.samples import Figure, Group, grouped

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lab.measure.models.measure import Measured
    from lab.measure.models.workload import Workload
    from lab.measure.samples import Repeats


class Summary(Group["Measured"]):
    """One system over its repeats; the serial server was given fewer of the `clients`."""

    measured_loop_s = Figure(lambda one: one.loop_s)
    cpu_s = Figure(lambda one: sum(one.cpu_s_by_part.values()))
    """Of all its parts, a loop."""
    idle_bytes = Figure(lambda one: sum(one.idle_bytes_by_part.values()))
    most_bytes = Figure(lambda one: sum(one.most_bytes_by_part.values()))
    load_busy = Figure()
    reply_p50_s = Figure()
    reply_p99_s = Figure()

    def __init__(self, repeats: Sequence[Measured], clients: int) -> None:
        super().__init__(repeats)
        self.system = self.first.system
        self.clients = self.first.clients
        self.extrapolated = self.clients < clients
        self.loop_s = self.measured_loop_s
        """For all `clients`."""
        if self.extrapolated:
            self.loop_s = self.measured_loop_s.times(clients / self.clients)
        self.served_at_once = max(one.served_at_once for one in repeats)
        self.unevenness = max(one.unevenness for one in repeats)

    def cpu_s_of(self, part: str) -> Repeats:
        """Of one part, a loop; 0 if the system has none."""
        return self.of(lambda one: one.cpu_s_by_part.get(part, 0.0))

    def most_bytes_of(self, part: str) -> Repeats:
        """Of one part; 0 if the system has none."""
        return self.of(lambda one: one.most_bytes_by_part.get(part, 0))


def summarise(measured: Sequence[Measured], workload: Workload) -> dict[str, Summary]:
    """By system, in the order of their first repeat."""
    groups = grouped(measured, lambda one: one.system)
    return {name: Summary(group, workload.clients) for name, group in groups.items()}
