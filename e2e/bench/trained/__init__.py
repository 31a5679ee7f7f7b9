"""Rewriters that are really trained on a flawed reward, as trials for the bench of the gate (e2e/bench/trials.py)."""
