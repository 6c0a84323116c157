"""`fleet drill`: break the fleet under load, and hold what clients saw to PROTOCOL.

    cli ──▶ run ──▶ local_stage (lab.fleet.local, network ──▶ links), compose_stage (Docker), soak_stage
             │  └──▶ load (its own process): session clients, ghosts, plain clients, soak_load ──▶ history
             │  └──▶ steps of a Drill (drills, store_drills, network_drills, mixture), faults
             └──▶ checker (tenure, violations), figures, soak_figures ──▶ Outcome ──▶ report (plots), grafana

`checker`, `tenure`, `violations`, `figures`, `soak_figures`, `lives` and `scenario` are pure: events go in, violations
and sentences come out. docs/drills.md says what is played, and how the checker is proven.
"""
