"""N-best lists made by rule from real sentences: substitutions, deletions and insertions at random places."""

from collections.abc import Sequence
from itertools import combinations

import numpy as np

KINDS = ("substitution", "deletion", "insertion")
NUM_PLACES = 7  # two ways each: 128 hypotheses
Edits = dict[int, tuple[str, str]]  # by place: the kind, and the word that comes in


def shared_places(words: Sequence[str], size: int, others: Sequence[str], random: np.random.Generator) -> list[str]:
    """Make a list as decoders do: a few places are in doubt, and hypotheses differ in what they have there.

    Seven places of the sentence are drawn, and an edit for each; a hypothesis is the sentence with some of them, the
    fewest first.
    """
    edits = draw_edits(words, min(NUM_PLACES, len(words)), others, random)
    subsets = (places for count in range(len(edits) + 1) for places in combinations(sorted(edits), count))
    texts = dict.fromkeys(edited(words, {place: edits[place] for place in places}) for places in subsets)
    return list(texts)[:size]


def own_places(words: Sequence[str], size: int, others: Sequence[str], random: np.random.Generator) -> list[str]:
    """Make a list of the hardest kind: each hypothesis is the sentence with one edit, at a place of its own."""
    return [edited(words, {}), *(edited(words, draw_edits(words, 1, others, random)) for _ in range(size - 1))]


RULES = {"shared places": shared_places, "own places": own_places}


def draw_edits(words: Sequence[str], count: int, others: Sequence[str], random: np.random.Generator) -> Edits:
    """Draw edits at different places; words come in as often as they stand in `others`."""
    places = random.choice(len(words), count, replace=False).tolist()
    return {place: (str(random.choice(KINDS)), others[random.integers(len(others))]) for place in places}


def edited(words: Sequence[str], edits: Edits) -> str:
    """Apply edits to a sentence."""
    result = []
    for place, word in enumerate(words):
        kind, other = edits.get(place, ("", ""))
        result += {"substitution": [other], "deletion": [], "insertion": [other, word]}.get(kind, [word])
    return " ".join(result)
