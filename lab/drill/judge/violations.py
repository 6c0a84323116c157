"""The rules of a history, by name, and what breaks one. Pure.

A rule says what PROTOCOL promises in the words of what clients saw; a violation says which
events can't all be true of a service that keeps it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

REPLY, FOREIGN, REFUSED = "reply", "foreign", "refused"
ACKNOWLEDGED, FORWARD, UNKNOWN = "acknowledged", "forward", "unknown"
OWNER, EPOCH, FENCE = "owner", "epoch", "fence"
LOST, ENDED, INTERNAL = "lost", "ended", "internal"
PLAIN, QUIET = "plain", "quiet"
# Of lives, in a soak.
IDLE, SLOW = "idle though in time", "slow-consumer"
ABSENT, NOBODY = "absent though there", "delivered to nobody"
ANEW, ROOM = "its room began anew", "a room was lost"
COUNT, TWICE = "miscounted", "posted twice"

RULES: Mapping[str, str] = {
    REPLY: "the reply to line n is line n-1 and line n, in the order of the lines (§2.2)",
    FOREIGN: "no session gets bytes of another",
    REFUSED: "a line that is next, or the last one repeated, is never refused (§2.2)",
    ACKNOWLEDGED: "a line that was answered is in every later WELCOME (§2.2)",
    FORWARD: "the seq of a WELCOME never goes back without `rolled-back` (§2.1)",
    UNKNOWN: "a line that was not answered was committed once or not at all (§2.2)",
    OWNER: "no line sent after a takeover is answered on the earlier connection (§2.3)",
    FENCE: "no member hears what was posted after a later owner had joined (§2.3)",
    EPOCH: "every resume raises the epoch (§2.1)",
    LOST: "no session is lost or rolled back while the store keeps its data (§5)",
    ENDED: "a session that has ended does not come back (§2.4)",
    INTERNAL: "no daemon has a bug to report (§4)",
    PLAIN: "every reply on the plain port is the line before and the line (§1)",
    QUIET: "once all is quiet, connections in the metrics are those in the kernel",
    IDLE: "no connection is idle whose client is never silent for as long as it may be (§4)",
    SLOW: "no connection is closed for what waits for a client that reads in time (§4)",
    ABSENT: "TELL finds whoever is connected, where no fault is (§3)",
    NOBODY: "TELL is not delivered to whoever has long left (§3)",
    ANEW: "no member hears that its room began anew (§3)",
    ROOM: "a room keeps its history while somebody is in it, and for a life longer (§3)",
    COUNT: "WHO counts the members, where nobody comes or goes (§3)",
    TWICE: "a post that is sent again is known again (§3)",
}
# What a forgotten renewal breaks: a soak asks for these.
OF_LIVES = frozenset(
    {LOST, ENDED, REFUSED, INTERNAL, IDLE, SLOW, ABSENT, NOBODY, ANEW, ROOM, COUNT, TWICE}
)


@dataclass(frozen=True, slots=True)
class Violation:
    """What breaks a rule.

    Attributes:
        rule: Its name in `RULES`.
        session: The public name; "" where no session is concerned.
        text: What can't be, in one sentence.
        events: The events that prove it, in the order in which they were seen.
    """

    rule: str
    session: str
    text: str
    events: tuple[Mapping[str, Any], ...]
