"""The options of a model are the arguments of its class, and the help says what holds without them."""

import argparse
import inspect
import re

import pytest

from fastlm.cli.model_options import MODEL_OPTIONS, add_nnlm_options, add_rnnlm_options
from fastlm.models import NNLM, RNNLM, NeuralModel

KINDS = {NNLM: add_nnlm_options, RNNLM: add_rnnlm_options}
NO_OPTIONS = {"vocabulary", "dtype", "source", "seed", "output_options"}  # the seed is an option of the training, too


def actions(kind: type[NeuralModel]) -> dict[str, argparse.Action]:
    parser = argparse.ArgumentParser(add_help=False)
    KINDS[kind](parser)
    return {action.dest: action for action in parser._actions}


@pytest.mark.parametrize("kind", KINDS)
def test_every_argument_has_an_option_and_the_other_way_round(kind: type[NeuralModel]) -> None:
    arguments = set(inspect.signature(kind).parameters) - NO_OPTIONS
    assert set(actions(kind)) == arguments <= set(MODEL_OPTIONS)


def test_no_option_is_for_nobody() -> None:
    assert set(MODEL_OPTIONS) == {"seed"}.union(*map(actions, KINDS))


@pytest.mark.parametrize("kind", KINDS)
def test_the_help_says_the_default(kind: type[NeuralModel]) -> None:
    for name, parameter in inspect.signature(kind).parameters.items():
        if name not in NO_OPTIONS:
            action, default = actions(kind)[name], parameter.default
            if default is False:
                assert action.nargs == 0, name
            elif default is None:
                assert action.help.endswith("(as --dropout)"), name
            else:
                assert re.fullmatch(r".*\((.*)\)", action.help)[1] == re.sub(r"\.0$", "", str(default)), name
