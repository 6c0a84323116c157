"""The event loop's parts: waiting for sockets and for work, time, deadlines; nothing of echo."""
