"""The `fleet` command: the fleet without containers, and what is measured on it.

    cli                the commands
    local_up           `fleet up`: flags, what it says, signals
    local              the fleet: start order, stop order, deaths
    redis_server, haproxy_server, locust_server, prometheus_server
                       one part each
    processes          a child process: ready, signals, end; no orphans
    ports, binaries    where a part listens, where its program comes from
    wait, errors       a condition with a deadline; what a person is told
    bench/             `fleet bench`: the servers measured against each other

Nothing here is imported by `echod` or by the containers.
"""
