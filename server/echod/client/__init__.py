"""One client: what is read, what its lines mean, what is owed, how it ends.

In this order, each importing only those above it:

life, growth   a connection's states; lines that a full store has no room for: pure
terms          what a port hands its connections
lingering      the end of a socket that the server closes
errand         a line that concerns another key than its session's
conversation   what a connection tells whoever knows what its lines mean
connection     one client
directory      which session is at which connection
plain, session what lines mean on either port
check          a health check, which is no connection of a client
"""
