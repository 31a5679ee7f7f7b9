"""Crash points and faults between the real operator and a real API server; docs/faults.md says what is shown with them.

The operator is the shipped program in a process of its own, only its clock runs faster. Trainer, sampler and serving
pods are fast stand-ins here, and only here: real files, real HTTP, no model.
"""
