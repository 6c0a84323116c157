"""The `fleet` command: the fleet without containers, and what is measured on it.

    cli          the commands
    measure/     `fleet bench` and `fleet experiment`: servers against each other
    drill/       `fleet drill`: breaks the fleet and judges what clients saw
    top/, chat/  the fleet's figures, and a room, in a terminal
    dashboards/  Grafana's, made by code
    report/      the page, the plots and the place of what was measured or drilled
    fleet/       `fleet up`: the fleet's parts as processes; what reaches, breaks and reads them
    wait, errors, web, browser
                 a condition with a deadline; what a person is told; pages, asked for and seen

Each imports only what stands below it, and none of those beside it.

Nothing here is imported by `echod` or by the containers.
"""
