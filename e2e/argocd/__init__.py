"""The real Argo CD beside a real API server and the real operator: docs/argocd.md says what is shown with it.

Pods and the gateway are the fast stand-ins of tests/faults: what is shown here is what Argo CD makes of a release.
"""
