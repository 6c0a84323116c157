"""`fleet experiment`: a question, measurements, and a report that answers it in words.

    cli ──▶ models ──▶ systems (who is measured), clients (the article's load) ──▶ Visit, Loop
     │        └──▶ models_summary, models_answers, models_plots, models_report
     ├──▶ scaling ──▶ stack (daemons, Redis, HAProxy), the bench's generator ──▶ Point
     │        └──▶ c10k, scaling_answers (usl, costs), scaling_plots, scaling_report
     ├──▶ calm (what other programs did meanwhile)
     └──▶ page (one self-contained HTML file), results (the directory, the index)

`samples` (when two figures differ), `workload`, `usl`, `costs`, `models_summary`, `*_answers`
and `page` are pure: measurements go in,
sentences, tables and HTML come out. docs/experiments.md says how to read a report.
"""
