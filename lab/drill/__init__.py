"""`fleet drill`: break the fleet under load, and hold what clients saw to PROTOCOL.

    cli ──▶ run ──▶ drills/   steps at their times ──▶ stage/ (processes, containers)
     │       │ └──▶ load/     its own process: session clients, ghosts, members, … ──▶ history
     │       └────▶ judge/    history ──▶ Outcome ──▶ verdicts
     └──▶ report

`judge`, `scenario` and `lives` are pure. docs/drills.md says what is played, and how the checker
is proven.
"""
