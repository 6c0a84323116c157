"""What clients saw, judged: events go in, violations, figures and sentences come out. Pure.

history ──▶ checker (tenure, violations)                 the protocol's rules
       ├──▶ figures, rooms, soak (soak_rooms)            what happened, in numbers
       └──▶ outcome ──▶ expectations ──▶ verdicts        what a drill asked for
"""
