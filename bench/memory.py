"""Peak anonymous memory of training on a corpus, and on one that is ten times as long.

Anonymous memory is what a process has for itself; the pages of a mapped corpus are the system's, which takes them back
when it needs them.
"""

import argparse
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

from zipf import write_text

NUM_TOKENS = 8_000_000  # of the shorter text: twice what is shuffled together, in groups as large as the longer one's
TIMES = 10
VOCAB_SIZE = 10_000
STEPS = 400
KINDS = [("nnlm", "sentence"), ("nnlm", "continuous"), ("rnnlm", "continuous"), ("rnnlm", "sentence")]


def print_growth(options: argparse.Namespace) -> None:
    """Print the peaks, each of a process of its own, and by how much the second is larger."""
    import fastlm

    with tempfile.TemporaryDirectory() as scratch:
        text = Path(scratch) / "zipf.txt"
        write_text(text, NUM_TOKENS, num_words=800_000)
        short, long = Path(scratch) / "short", Path(scratch) / "long"
        fastlm.Corpus.prepare(text, short, max_size=VOCAB_SIZE)
        fastlm.Corpus.prepare([text] * TIMES, long, max_size=VOCAB_SIZE)
        print(f"| peak anonymous MB of training | {NUM_TOKENS:,} tokens | {TIMES} times as many | growth |")
        print("| --- " * 4 + "|")
        for kind, context in KINDS:
            first, second = (measured(kind, context, corpus) for corpus in (short, long))
            growth = 100 * (second / first - 1)
            print(f"| {kind}, {context} | {first:.1f} | {second:.1f} | {growth:+.1f} % |", flush=True)


def measured(kind: str, context: str, corpus: Path) -> float:
    command = [sys.executable, "-P", str(Path(__file__).parent), "large", "--memory-of", f"{kind},{context},{corpus}"]
    return float(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)


def peak_of_training(kind: str, context: str, path: str) -> float:
    """Peak anonymous megabytes of this process, in which a model is trained for some steps and measured."""
    watch = Watch()
    import fastlm
    from fastlm.models import ARCHITECTURES

    corpus = fastlm.Corpus.open(path)
    model = ARCHITECTURES[kind](corpus.vocabulary, embedding_dim=32, hidden_size=32, context=context)

    def stop(event: Any) -> None:
        if getattr(event, "step", 0) == STEPS:
            raise KeyboardInterrupt

    fastlm.Trainer(model, callback=stop, threads=1).fit(corpus, epochs=2)
    return watch.peak()


class Watch:
    """Looks at the anonymous memory of this process a thousand times a second, as Linux tells it."""

    def __init__(self) -> None:
        self._most = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def _look(self) -> None:
        while not self._stop.wait(0.001):
            status = Path("/proc/self/status").read_text()
            self._most = max(self._most, int(status.partition("RssAnon:")[2].split()[0]))

    def peak(self) -> float:
        """End, and return megabytes."""
        self._stop.set()
        self._thread.join()
        return self._most / 1024
