"""What clients saw, judged: events go in, violations, figures and sentences come out. Pure.

history ──▶ checker (tenure, signs), rooms              the rules (violations)
       ├──▶ figures                                     what happened, in numbers
       └──▶ outcome ──▶ expectations ──▶ verdicts       what a drill asked for
"""
