"""Benchmarks that show what a part is good for, with numbers that a rerun gives again."""
