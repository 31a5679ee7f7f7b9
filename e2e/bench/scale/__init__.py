"""The operator at 200 and at 1,000 releases on a real API server, beside the Argo Rollouts controller (docs/scale.md).

Only pods and the gateway are played; API server, controller manager, operator and peer are the programs that ship.
"""
