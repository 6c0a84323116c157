"""`lab.fleet.haproxy_server.render`: the containers' configuration with the daemons named."""

from __future__ import annotations

import pytest

from lab.fleet.haproxy_server import ConfigError, Daemon, render
from lab.fleet.local import ROOT

DAEMONS = (
    Daemon("echod1", "127.0.0.1:40001", "127.0.0.1:40002", "127.0.0.1:40003"),
    Daemon("echod2", "127.0.0.1:40011", "127.0.0.1:40012", "127.0.0.1:40013"),
)

TEMPLATE = """\
# server-template in a comment stays
defaults
    timeout connect 1s

resolvers containers
    parse-resolv-conf

# of the next section
    hold valid 1s
frontend echo
    bind "${ECHO_BIND-:1234}"

backend echod
    default-server check
    server-template echod 1-32 server:1234 resolvers containers

backend sessions
    server-template session 1-32 server:1235 resolvers containers
"""

RENDERED = """\
# server-template in a comment stays
defaults
    timeout connect 1s

frontend echo
    bind "${ECHO_BIND-:1234}"

backend echod
    default-server check
    server echod1 127.0.0.1:40001 agent-port 40003
    server echod2 127.0.0.1:40011 agent-port 40013

backend sessions
    server echod1 127.0.0.1:40002 agent-port 40003
    server echod2 127.0.0.1:40012 agent-port 40013
"""


def test_only_servers_and_resolvers_change() -> None:
    """Each template line becomes the servers, the resolvers section goes, the rest stays."""
    assert render(TEMPLATE, DAEMONS) == RENDERED


def test_a_file_without_template_is_refused() -> None:
    """A configuration that would serve nobody is not started."""
    with pytest.raises(ConfigError, match="no server-template line"):
        render("backend echod\n    balance leastconn\n", DAEMONS)


def test_the_projects_file_keeps_its_contract() -> None:
    """haproxy.cfg: a template for the daemons and one for the fallback, resolvers nowhere else."""
    rendered = render((ROOT / "haproxy" / "haproxy.cfg").read_text(), DAEMONS)
    code = [line for line in rendered.splitlines() if not line.lstrip().startswith("#")]

    for daemon in DAEMONS:
        for address in (daemon.echo, daemon.session):
            server = f"    server {daemon.name} {address} agent-port {daemon.agent[-5:]}"
            assert code.count(server) == 2
    assert not [line for line in code if "server-template" in line or "resolvers" in line]
