"""echod: the echo daemon, in layers; each imports only those below it (`lint-imports`).

__main__     patch, parse, run: nothing else
daemon       wiring, and the order in which a daemon starts
drain        the order in which it leaves
admin/       /metrics, /livez, /readyz, HAProxy's agent
ports/       accept, PROXY header, whom a port serves and whom it turns away
client/      one client: lines in, what is owed, what is unsent, how it ends
rooms/       what a line can reach beside its own session
limits/      places, bytes a second, bytes unsent, open files
store/       group commit, and Redis or memory behind it
metrics, loop/, logs
             the numbers; sockets, work, time and deadlines; what is said
config, protocol/
             every setting with its unit, default and reason; bytes to lines, lines to replies
values/      text from outside, checked
"""

__version__ = "0.1.0"
