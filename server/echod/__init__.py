"""echod: the echo daemon, in layers; each imports only those below it.

__main__     patch, parse, run: nothing else
daemon       wiring; the start order and the drain order, each as one list
admin/       /metrics, /livez, /readyz, HAProxy's agent
ports/       accept, PROXY header, what the connections of a port share
client/      one client: lines in, what is owed, what is unsent, how it ends
rooms/       what a line can reach beside its own session
limits/      places, bytes a second, bytes unsent, open files
store/       group commit, and Redis or memory behind it
metrics, logs, loop/
             the numbers; what is said; sockets, work, time and deadlines
config       every setting with its unit, default and reason
protocol/, values/
             bytes to lines, lines to replies; text from outside, checked: pure
"""

__version__ = "0.1.0"
