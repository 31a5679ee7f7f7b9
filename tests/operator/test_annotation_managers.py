"""Who wrote an annotation: the manager that the API server names, the last one of several."""

from rewriter_operator.cluster.managers import annotation_managers


def entry(manager: str, time: str, *annotations: str) -> dict[str, object]:
    fields = {f"f:{name}": {} for name in annotations}
    return {"manager": manager, "time": time, "fieldsV1": {"f:metadata": {"f:annotations": {".": {}, **fields}}}}


def test_the_last_manager_of_each_annotation_is_named_and_other_annotations_are_not() -> None:
    fields = [
        entry("argocd-server", "2026-03-02T10:00:00Z", "rewriter.dev/abort", "team"),
        entry("kubectl-annotate", "2026-03-02T11:00:00Z", "rewriter.dev/abort", "rewriter.dev/run"),
        entry("kubectl-rewriter", "2026-03-01T11:00:00Z", "rewriter.dev/abort"),
        {"manager": "rewriter-operator", "subresource": "status", "fieldsV1": {"f:status": {}}},
        {"manager": "old"},
    ]
    found = annotation_managers({"managedFields": fields})
    assert found == {"rewriter.dev/abort": "kubectl-annotate", "rewriter.dev/run": "kubectl-annotate"}


def test_an_object_without_managed_fields_names_nobody() -> None:
    assert annotation_managers({}) == {}
    assert annotation_managers({"managedFields": None}) == {}
