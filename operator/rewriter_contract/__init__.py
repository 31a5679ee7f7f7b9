"""What the operator, the trainer and the sampler agree on: files on the volume, HTTP bodies, names of variables.

Standard library only: the three programs meet here and nowhere else, so importing this package must never pull in
kopf, kubernetes, torch or vllm.
"""
