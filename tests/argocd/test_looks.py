"""When Argo CD may disagree with Git, and when somebody made them differ who must not."""

from e2e.argocd.looks import Look, Looks, table


def test_before_the_first_sync_and_after_a_commit_the_two_may_differ_until_they_were_seen_to_agree_again() -> None:
    looks = Looks("story")
    looks.disturbed("a commit")
    looks.look("", "Missing", "OutOfSync")
    looks.look("Bootstrapping", "Progressing", "Synced")
    assert looks.disagreements == []
    looks.look("Idle", "Healthy", "OutOfSync")
    assert looks.disagreements == [Look("Idle", "Healthy", "OutOfSync")]


def test_a_commit_that_argo_cd_has_not_noticed_yet_still_excuses_what_follows() -> None:
    looks = Looks("story")
    looks.disturbed("a commit")
    looks.look("Idle", "Healthy", "Synced")
    looks.look("Idle", "Healthy", "OutOfSync")
    assert looks.disagreements == []


def test_what_was_told_to_be_settled_excuses_nothing_more() -> None:
    looks = Looks("story")
    looks.disturbed("a hand")
    looks.settled()
    looks.look("Training", "Progressing", "Unknown")
    assert looks.disagreements == [Look("Training", "Progressing", "Unknown")]


def test_the_table_counts_each_pair_of_words_beside_the_releases_state() -> None:
    looks = Looks("story")
    for _ in range(3):
        looks.look("Idle", "Healthy", "Synced")
    looks.disturbed("a commit")
    looks.look("Idle", "Healthy", "OutOfSync")
    assert looks.healths() == ["Healthy"]
    assert table([looks]).splitlines() == [
        "story  release  health   sync                      looks",
        "story  Idle     Healthy  Synced                    3",
        "story  Idle     Healthy  OutOfSync after a commit  1",
    ]
