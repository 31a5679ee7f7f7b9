"""Learning curves of the tiny model: samples drawn once, once per phase, and before every step."""
