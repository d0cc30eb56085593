import doctest

import pytest

from fastlm import RNNLM, Corpus, Trainer, Vocabulary
from fastlm.training import identity
from fastlm.training.identity import check_same_run, run_identity

VOCABULARY = Vocabulary([f"w{i}" for i in range(8)])
TRAIN, VALID = (Corpus.from_ids(ids, VOCABULARY) for ids in ([2, 3, 4, 1], [5, 6, 1]))


def describe(**options: object) -> dict[str, str]:
    model = RNNLM(VOCABULARY, embedding_dim=3, hidden_size=4)
    return run_identity(Trainer(model, **options), TRAIN, VALID, 10)  # type: ignore[arg-type]


def test_every_option_of_the_trainer_either_decides_or_is_known_not_to() -> None:
    """An option that is added must be put on one of the two lists, or runs that differ in it would be taken for one."""
    trainer = Trainer(RNNLM(VOCABULARY, embedding_dim=3, hidden_size=4))
    harmless = {"threads", "progress", "log", "callback", "output", "checkpoint", "checkpoint_every", "resume"}
    parts = {"model", "time_used", "history", "recipe"}  # a recipe is named where there is one
    assert vars(trainer).keys() - harmless - parts <= describe().keys()


def test_what_decides_nothing_is_not_in_it() -> None:
    assert describe() == describe(threads=3, progress=True, log="log", output="model", checkpoint="c", resume=True)


def test_what_decides_is_in_it() -> None:
    assert describe(optimizer="sgd", learning_rate=0.002) != describe(learning_rate=0.002)
    assert describe()["training text"].startswith("4 tokens with the CRC-32 ")


def test_all_differences_are_named() -> None:
    before, now = {"a": "1", "b": "2", "gone": "3"}, {"a": "1", "b": "5", "new": "4"}
    words = "another run: b is 5, there 2; new is 4, there not known; gone is not known, there 3. Give"
    with pytest.raises(ValueError, match=words):
        check_same_run("folder", before, now)
    check_same_run("folder", before, before)


def test_examples() -> None:
    results = doctest.testmod(identity)
    assert results.attempted > 0
    assert results.failed == 0
