"""Spec -> manifests: pods, deployments, services, routes, and every name."""
