"""echod: the echo daemon. Read in this order, the package is the way of a line.

__main__     patch, parse, run: nothing else
config       every setting with its unit, default and reason
daemon       wiring; the start order and the drain order, each as one list
accepting    in turns, on every port; files are kept spare (files)
listener     the PROXY v2 header
capacity     who may have a socket: a budget for each kind; the cap
port         what the connections of a port share
connection   one client: what is read, what is owed, what is unsent
reader       waits for a socket and says "readable": greenlet or callback
protocol/    bytes to lines, lines to replies, errors: pure
store/       group commit, and Redis or memory behind it
sweeper      the deadlines, once a tick; a bug stops nothing behind it (guard)
logs         what is said, on its way out: nobody waits for who reads it
metrics      the numbers, plain
exposition   every metric's name, in one place
admin        /metrics, /livez, /readyz, HAProxy's agent
"""

__version__ = "0.1.0"
