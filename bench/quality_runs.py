"""What `python bench quality` trains: tables of runs, each a recipe with what is changed of it."""

from typing import NamedTuple


class Run(NamedTuple):
    """One training run.

    `options` follow `fastlm train`; `at_most` and `minutes` are the validation perplexity and the time, on a machine
    whose two cores reach 160 GFLOP/s, that the run must keep to.
    """

    name: str
    options: str
    at_most: float | None = None
    minutes: int | None = None


class Table(NamedTuple):
    corpus: str  # NAME.train.txt and NAME.valid.txt in the folder of the corpora
    runs: tuple[Run, ...]
    is_spelled: bool = False  # whether unknown words cost what their spelling costs


# The learning rate falls over the 20 minutes. A quicker machine has fewer: --with "--time-limit 10m" at 320 GFLOP/s.
# Where there is AMX, seven minutes of "--precision bfloat16" on a core see as much of the text.
BUDGET = "--time-limit 20m --epochs 1000 --patience 1000"
SMALL_ELMAN = (
    "rnnlm --recipe elman --embedding-dim 256 --hidden-size 256 --embedding-dropout 0.1 --output-dropout 0.3 "
    "--word-dropout 0 --learning-rate 0.005 --weight-decay 0.05 --epochs 3"
)
ELMAN_129 = Run("elman-129", SMALL_ELMAN, 129, 15)  # the level of the published RNNLM, as soon as can be
ELMAN = f"rnnlm --recipe elman {BUDGET}"
LSTM = f"rnnlm --recipe lstm {BUDGET}"
KOREAN = "rnnlm --recipe subword --time-limit 60m"

TABLES = {
    "defaults": Table("ptb", (Run("default-nnlm", "nnlm"), Run("default-rnnlm", "rnnlm"))),
    "recipes": Table(
        "ptb",
        (
            ELMAN_129,
            Run("nnlm-classic", "nnlm --recipe nnlm-classic", 142, 30),
            Run("nnlm", "nnlm --recipe nnlm", 112, 90),
            Run("elman", "rnnlm --recipe elman", 118, 60),
            Run("gru", "rnnlm --recipe gru", 97, 120),
            Run("lstm", "rnnlm --recipe lstm", 87, 150),
            Run("lstm-large", "rnnlm --recipe lstm-large", 80),
            Run("quick", "rnnlm --recipe quick"),
        ),
    ),
    "ablation-elman": Table(
        "ptb",
        (
            Run("elman-20m", ELMAN),
            Run("elman-20m-not-tied", f"{ELMAN} --no-tied"),
            Run("elman-20m-one-rate", f"{ELMAN} --recurrent-rate-factor 1"),
            Run("elman-20m-two-layers", f"{ELMAN} --num-layers 2"),
            Run("elman-20m-two-layers-residual", f"{ELMAN} --num-layers 2 --residual"),
            Run("elman-20m-gru", f"{ELMAN} --cell gru"),
            Run("elman-20m-no-dropout", f"{ELMAN} --dropout 0 --word-dropout 0 --recurrent-dropout 0"),
            Run("elman-20m-constant-rate", f"{ELMAN} --schedule constant"),
            Run("elman-20m-sgd", f"{ELMAN} --optimizer sgd --learning-rate 2"),
            Run("elman-20m-adaptive-output", f"{ELMAN} --output adaptive"),
        ),
    ),
    "ablation-lstm": Table(
        "ptb",
        (
            Run("lstm-20m", LSTM),
            Run("lstm-20m-not-tied", f"{LSTM} --no-tied"),
            Run("lstm-20m-one-layer", f"{LSTM} --num-layers 1"),
            Run("lstm-20m-residual", f"{LSTM} --residual"),
            Run("lstm-20m-no-recurrent-dropout", f"{LSTM} --recurrent-dropout 0"),
            Run("lstm-20m-no-dropout", f"{LSTM} --dropout 0 --word-dropout 0 --recurrent-dropout 0"),
            Run("lstm-20m-no-penalties", f"{LSTM} --activation-penalty 0 --temporal-penalty 0"),
            Run("lstm-20m-no-weight-decay", f"{LSTM} --weight-decay 0"),
            Run("lstm-20m-constant-rate", f"{LSTM} --schedule constant"),
            Run("lstm-20m-asgd", f"{LSTM} --optimizer asgd --learning-rate 15 --schedule constant"),
            Run("lstm-20m-adaptive-output", f"{LSTM} --output adaptive"),
        ),
    ),
    "seeds": Table(
        "ptb", (ELMAN_129, *(Run(f"elman-129-seed-{seed}", f"{SMALL_ELMAN} --seed {seed}") for seed in (2, 3)))
    ),
    "korean": Table(
        "nsmc",
        (
            Run("korean-subword", KOREAN),
            Run("korean-char", f"{KOREAN} --tokenizer char --vocab-size 4000"),
            # Words are what stands between spaces: of the tokens of "word" nobody knows which had a space between them.
            Run("korean-word", f"{KOREAN} --tokenizer whitespace --vocab-size 50000 --output adaptive"),
        ),
        is_spelled=True,
    ),
}
