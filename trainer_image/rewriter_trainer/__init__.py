"""The trainer pod: trains one phase at a time by Mixed Preference Optimization and publishes the weight set.

Three programs: `python -m rewriter_trainer` (control server; each phase runs in a process of its own),
`python -m rewriter_trainer.prepare` (checks and imports what a cycle needs), `python -m rewriter_trainer.record`
(writes promoted.json).
"""
