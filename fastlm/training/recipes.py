"""Recipes: names for all that it takes to train a good model, from how text is split to the last epoch."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from fastlm.models import NETWORKS, NeuralModel
from fastlm.models.outputs import USED_BY, OutputOptions
from fastlm.text.source import TextSource
from fastlm.text.subwords import build_vocabulary
from fastlm.text.vocabulary import Vocabulary
from fastlm.training.identity import RUN_OPTIONS
from fastlm.training.trainer import Trainer

__all__ = ["RECIPES", "Recipe", "recipe"]

TEXT_SETTINGS = ("vocab_size", "min_count", "tokenizer", "lower_case")
# What a recipe says of these goes with what it says of the first, and is left out where that is overridden.
GOES_WITH = {
    "optimizer": ("learning_rate", "momentum", "weight_decay", "averaging_patience"),
    "dropout": ("embedding_dropout", "hidden_dropout", "output_dropout"),
    "output": tuple(USED_BY),
}


@dataclass(frozen=True)
class Recipe:
    """All settings of a model and its training, under a name.

    What a recipe does not say is as the classes have it. `fastlm.recipe` returns one by name.

    Attributes
    ----------
    name : str
    architecture : str
        The family: "nnlm" or "rnnlm".
    purpose : str
        What it is for.
    settings : dict
        Arguments of the model, of `Trainer` and of `Trainer.fit`, and how text is split: "vocab_size", "min_count",
        "tokenizer", "lower_case". Those of one name, as "seed", are for all who have it.
    overrides : dict
        Those of the settings that were given in place of the recipe's own.

    Examples
    --------
    >>> import fastlm
    >>> text = ["the cat sat on the mat", "the dog sat on the rug"] * 50
    >>> recipe = fastlm.recipe("gru", embedding_dim=8, hidden_size=16, batch_size=2, epochs=2)
    >>> vocabulary = recipe.vocabulary(text)
    >>> corpus = fastlm.Corpus.encode(text, vocabulary)
    >>> model = recipe.model(vocabulary)
    >>> len(recipe.trainer(model, threads=1).fit(corpus, corpus).epochs)
    2
    >>> model.info["recipe"]["name"], model.info["recipe"]["overridden"]["hidden_size"]
    ('gru', 16)
    """

    name: str
    architecture: str
    purpose: str
    settings: Mapping[str, Any]
    overrides: Mapping[str, Any] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all settings that there can be."""
        return tuple(sorted({*TEXT_SETTINGS, *_model_settings(self.architecture), *RUN_OPTIONS, "epochs"}))

    @property
    def epochs(self) -> int:
        """Passes over the text, at most."""
        return int(self.settings["epochs"])

    @property
    def text_settings(self) -> dict[str, Any]:
        """How text is split, and which words are kept."""
        return self._of(TEXT_SETTINGS)

    @property
    def model_settings(self) -> dict[str, Any]:
        """Arguments of the model."""
        return self._of(_model_settings(self.architecture))

    @property
    def training_settings(self) -> dict[str, Any]:
        """Arguments of `Trainer`, without the number of epochs."""
        return self._of(RUN_OPTIONS)

    def overridden(self, **overrides: Any) -> "Recipe":
        """Return the recipe with other settings in place of some of its own.

        Parameters
        ----------
        **overrides
            By name; see `settings`. With another optimizer go the rates that were chosen for the recipe's; with
            `dropout` the rates by place; with another output layer the options of the recipe's.

        Raises
        ------
        ValueError
            If there is no setting of a name.

        Examples
        --------
        >>> recipe("lstm").overridden(epochs=3).epochs
        3
        """
        for name in overrides:
            if name not in self.names:
                raise ValueError(
                    f"the recipe {self.name!r} for an {NETWORKS[self.architecture].__name__} has no setting {name!r}; "
                    f"there are {', '.join(self.names)}"
                )
        same = {name for name, value in overrides.items() if name in self.settings and self.settings[name] == value}
        changed = {name: value for name, value in overrides.items() if name not in same}
        dropped = {other for name in changed for other in GOES_WITH.get(name, ())}
        kept = {name: value for name, value in self.settings.items() if name not in dropped}
        return Recipe(self.name, self.architecture, self.purpose, kept | overrides, dict(self.overrides) | changed)

    def vocabulary(self, source: TextSource, *, errors: str = "strict") -> Vocabulary:
        """Build the vocabulary of a text; see `Vocabulary.build`.

        Where neither the recipe nor an override says "vocab_size", all words are kept; on the command line, 20,000.

        Parameters
        ----------
        source : str, path-like or iterable of str
            As for `Vocabulary.build`.
        errors : {"strict", "replace", "skip"}
        """
        return build_vocabulary(source, errors=errors, **self.text_settings)

    def model(self, vocabulary: Vocabulary) -> NeuralModel:
        """Make a new model."""
        make: Callable[..., NeuralModel] = NETWORKS[self.architecture]
        return make(vocabulary, **self.model_settings)

    def trainer(self, model: NeuralModel, **job: Any) -> Trainer:
        """Make the trainer of a model.

        Parameters
        ----------
        model : NeuralModel
            One of `model`.
        **job
            Arguments of `Trainer` about how the work is done and told of: threads, progress, log, callback, output,
            checkpoint, checkpoint_every, resume.
        """
        for name in job:
            if name in RUN_OPTIONS:
                raise ValueError(
                    f"{name} belongs to the recipe; override it there: fastlm.recipe({self.name!r}, {name}=…)"
                )
        if model.architecture != self.architecture:
            raise ValueError(
                f"the recipe {self.name!r} trains an {NETWORKS[self.architecture].__name__}, got an "
                f"{type(model).__name__}; make the model by its method model(vocabulary)"
            )
        return Trainer(model, recipe=self, **self.training_settings, **job)

    def described(self, model: NeuralModel, epochs: int) -> dict[str, Any]:
        """Return what the file of a model says of the recipe: its name, and all that was not by it."""
        differing = {
            name: model.config[name]
            for name, value in self.model_settings.items()
            if model.config.get(name, value) != value
        }
        if epochs != self.epochs:
            differing["epochs"] = epochs
        return {"name": self.name, "overridden": dict(self.overrides) | differing}

    def _of(self, names: tuple[str, ...]) -> dict[str, Any]:
        return {name: self.settings[name] for name in names if name in self.settings}


def recipe(name: str, **overrides: Any) -> Recipe:
    """Return a recipe by its name.

    Parameters
    ----------
    name : str
        "nnlm-classic", "nnlm", "elman", "gru", "lstm", "lstm-large", "quick" or "subword".
    **overrides
        Settings to take in place of the recipe's; see `Recipe.overridden`.

    Returns
    -------
    Recipe

    Raises
    ------
    ValueError
        If there is no such recipe, or it has no such setting.

    Examples
    --------
    >>> lstm = recipe("lstm", hidden_size=300)
    >>> lstm.architecture, lstm.settings["hidden_size"], lstm.settings["tied"]
    ('rnnlm', 300, True)
    """
    if name not in RECIPES:
        raise ValueError(f"there is no recipe {name!r}; there are {', '.join(RECIPES)}")
    return RECIPES[name].overridden(**overrides)


def _model_settings(architecture: str) -> tuple[str, ...]:
    """Name the arguments of a family's class that a recipe may set."""
    arguments = set(inspect.signature(NETWORKS[architecture]).parameters) - {"vocabulary", "source", "output_options"}
    return (*sorted(arguments), *OutputOptions.__annotations__)


# The table. Sizes and epochs are chosen for texts of a million words, as the Penn Treebank; larger texts take less
# dropout and fewer epochs. Where it is from: tied tables (Press & Wolf 2017), dropout by place with masks held over
# time (Gal & Ghahramani 2016), DropConnect and penalties (Merity et al. 2017, 2018), AdamW with a cosine (Loshchilov &
# Hutter 2019).
RECIPES = {
    made.name: made
    for made in (
        Recipe(
            "nnlm-classic",
            "nnlm",
            "the textbook's window model (Bengio et al. 2003), regularised",
            {
                **{"context_size": 6, "embedding_dim": 256, "hidden_size": 256, "tied": True, "context": "continuous"},
                **{"embedding_dropout": 0.2, "output_dropout": 0.4, "word_dropout": 0.1, "optimizer": "adamw"},
                **{"learning_rate": 0.0015, "weight_decay": 0.05, "batch_size": 256, "epochs": 9, "patience": 5},
            },
        ),
        Recipe(
            "nnlm",
            "nnlm",
            "the modern window model (Sun & Iyyer 2021), in an hour and a half",
            {
                **{"num_layers": 3, "context_size": 8, "num_averages": 4, "activation": "gelu", "tied": True},
                **{"context": "continuous", "embedding_dim": 256, "hidden_size": 512, "embedding_dropout": 0.3},
                **{"hidden_dropout": 0.35, "output_dropout": 0.45, "word_dropout": 0.15, "optimizer": "adamw"},
                **{"learning_rate": 0.0015, "weight_decay": 0.1, "batch_size": 512, "epochs": 12, "patience": 6},
            },
        ),
        Recipe(
            "elman",
            "rnnlm",
            "the plain recurrent network (Mikolov et al. 2010), regularised, in an hour",
            {
                **{"cell": "elman", "num_layers": 1, "embedding_dim": 400, "hidden_size": 400, "tied": True},
                **{"embedding_dropout": 0.3, "output_dropout": 0.55, "word_dropout": 0.1},
                **{"recurrent_rate_factor": 0.1, "optimizer": "adamw", "learning_rate": 0.004},
                **{"weight_decay": 0.1, "batch_size": 20, "bptt_len": 35, "max_grad_norm": 0.25},
                **{"epochs": 18, "patience": 6},
            },
        ),
        Recipe(
            "gru",
            "rnnlm",
            "gated recurrent units (Cho et al. 2014), in an hour and a half",
            {
                **{"cell": "gru", "num_layers": 2, "embedding_dim": 400, "hidden_size": 650, "tied": True},
                **{"embedding_dropout": 0.3, "hidden_dropout": 0.25, "output_dropout": 0.4},
                **{"word_dropout": 0.1, "recurrent_dropout": 0.3, "optimizer": "adamw", "learning_rate": 0.002},
                **{"weight_decay": 0.05, "batch_size": 20, "bptt_len": 35, "max_grad_norm": 0.25},
                **{"epochs": 13, "patience": 6},
            },
        ),
        Recipe(
            "lstm",
            "rnnlm",
            "long short-term memory (Hochreiter & Schmidhuber 1997), tuned, in two and a half hours",
            {
                **{"cell": "lstm", "num_layers": 2, "embedding_dim": 400, "hidden_size": 650, "tied": True},
                **{"embedding_dropout": 0.3, "hidden_dropout": 0.25, "output_dropout": 0.4},
                **{"word_dropout": 0.1, "recurrent_dropout": 0.3, "optimizer": "adamw", "learning_rate": 0.002},
                **{"weight_decay": 0.05, "batch_size": 20, "bptt_len": 35, "random_bptt_len": True},
                **{"activation_penalty": 2.0, "temporal_penalty": 1.0, "max_grad_norm": 0.25},
                **{"epochs": 15, "patience": 6},
            },
        ),
        Recipe(
            "lstm-large",
            "rnnlm",
            "a larger LSTM with more dropout and more epochs, for a long afternoon",
            {
                **{"cell": "lstm", "num_layers": 2, "embedding_dim": 400, "hidden_size": 800, "tied": True},
                **{"embedding_dropout": 0.4, "hidden_dropout": 0.3, "output_dropout": 0.4},
                **{"word_dropout": 0.1, "recurrent_dropout": 0.4, "optimizer": "adamw", "learning_rate": 0.002},
                **{"weight_decay": 0.05, "batch_size": 20, "bptt_len": 35, "random_bptt_len": True},
                **{"activation_penalty": 2.0, "temporal_penalty": 1.0, "max_grad_norm": 0.25},
                **{"epochs": 24, "patience": 6},
            },
        ),
        Recipe(
            "quick",
            "rnnlm",
            "a good model of any text in five minutes",
            {
                **{"cell": "lstm", "num_layers": 1, "embedding_dim": 256, "hidden_size": 256, "tied": True},
                **{"vocab_size": 10_000, "dropout": 0.35, "optimizer": "adamw", "learning_rate": 0.003},
                **{"batch_size": 20, "bptt_len": 35, "epochs": 20, "patience": 3, "time_limit": 300.0},
            },
        ),
        Recipe(
            "subword",
            "rnnlm",
            "an LSTM over pieces of words, for languages with many forms of a word, as Korean; in two hours",
            {
                **{"cell": "lstm", "num_layers": 1, "embedding_dim": 400, "hidden_size": 800, "tied": True},
                **{"tokenizer": "subword", "vocab_size": 8_000, "dropout": 0.2, "optimizer": "adamw"},
                **{"learning_rate": 0.002, "batch_size": 32, "bptt_len": 50, "epochs": 12, "patience": 3},
                **{"time_limit": 7200.0},
            },
        ),
    )
}
