"""The `fleet` command: the fleet without containers, and what is measured on it.

    cli          the commands
    fleet/       `fleet up`: the fleet's parts as processes; start order, stop order, deaths
    measure/     `fleet bench` and `fleet experiment`: servers against each other
    drill/       `fleet drill`: breaks the fleet and judges what clients saw
    top/, chat/  the fleet's figures, and a room, in a terminal
    dashboards/  Grafana's, made by code
    wait, errors, web, browser
                 a condition with a deadline; what a person is told; pages, asked for and seen

Nothing here is imported by `echod` or by the containers.
"""
