"""What can go wrong for the person at the command line: `LabError`, and its text is theirs.

    LabError
      binaries.BinaryNotFoundError   a server program is nowhere
      ports.PortError                a port can't be had
      processes.StartError           a program ended, or said nothing, before it was ready
      haproxy_server.ConfigError     HAProxy refuses its configuration
      local.DirectoryError           the fleet's directory can't be used
      swarm.SwarmError               the fleet can't be deployed on a swarm so

`cli.main` prints it and exits with status 1. Everything else is a bug, with a traceback.
"""


class LabError(Exception):
    """The lab can't do what it was asked to; the text says why, and what to do."""
