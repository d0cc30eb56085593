"""One training step of the same model, by fastlm, by PyTorch and by plain NumPy: what bench speed compares.

Every contender trains a recurrent model (batch streams, BPTT 35), an NNLM (four words, D = 100) or a modern window
model (`MODERN`) over 10,000 words: forward pass, cross-entropy, backward pass, clipping at a global norm, SGD update;
float32, no dropout. A contender is a function from a `Setting` to a function that takes one step and returns its mean
loss.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

VOCAB_SIZE, BPTT_LEN, CONTEXT_SIZE, WINDOW_DIM = 10_000, 35, 4, 100
LEARNING_RATE, MAX_NORM = 0.5, 0.25
MODERN = {"context_size": 16, "embedding_dim": 256, "num_layers": 3, "num_averages": 3}
MODERN_RUN = 64  # places of a run
STEPS_OF_TEXT = 20
GATES = {"rnnlm": 1, "gru": 3, "lstm": 4}  # of the recurrent kinds; "rnnlm" is the one of Elman and Mikolov


@dataclass(frozen=True)
class Setting:
    """A model and a batch; `hidden` is also the embedding dimension of the recurrent kinds."""

    kind: str
    batch: int
    hidden: int
    threads: int = 1
    precision: str = "float32"  # of what is multiplied: "bfloat16" for fastlm, and for PyTorch by autocast

    @property
    def tokens(self) -> int:
        """Tokens in a step."""
        return self.batch * (BPTT_LEN if self.kind in GATES else 1)

    @property
    def flops(self) -> int:
        """FLOPs of a step: 6 x the multiply-adds of the dense products, the lookup excluded."""
        if self.kind == "window":
            dim, residual = MODERN["embedding_dim"], 4 * self.hidden * (MODERN["num_layers"] - 1)
            inner = dim * (MODERN["context_size"] + MODERN["num_averages"] + 1) + residual
            return 6 * self.tokens * (self.hidden * inner + dim * VOCAB_SIZE)
        inputs = 2 * self.hidden * GATES[self.kind] if self.kind in GATES else CONTEXT_SIZE * WINDOW_DIM
        return 6 * self.tokens * self.hidden * (inputs + VOCAB_SIZE)

    def __str__(self) -> str:
        return f"{self.kind} batch {self.batch} hidden {self.hidden}"


Step = Callable[[], float]


def zipf_ids(count: int) -> np.ndarray:
    """Words as frequent as in a text: p(k) ~ 1 / k."""
    weights = 1.0 / np.arange(1, VOCAB_SIZE + 1)
    return np.random.default_rng(1).choice(VOCAB_SIZE, count, p=weights / weights.sum())


def fastlm_model(setting: Setting, num_tokens: int, **options):
    """Return a model of fastlm and a corpus of so many tokens for it."""
    import fastlm

    vocabulary = fastlm.Vocabulary([f"w{i}" for i in range(VOCAB_SIZE - 2)])
    corpus = fastlm.Corpus.from_ids(zipf_ids(num_tokens), vocabulary)
    options = {"hidden_size": setting.hidden, "dropout": 0.0, **options}
    if setting.kind in GATES:
        cell = "elman" if setting.kind == "rnnlm" else setting.kind
        return fastlm.RNNLM(vocabulary, cell=cell, embedding_dim=setting.hidden, **options), corpus
    if setting.kind == "window":
        options = {"activation": "gelu", "tied": True, "context": "continuous", **MODERN, **options}
        return fastlm.NNLM(vocabulary, **options), corpus
    return fastlm.NNLM(vocabulary, context_size=CONTEXT_SIZE, embedding_dim=WINDOW_DIM, **options), corpus


def fastlm_step(setting: Setting) -> Step:
    from itertools import cycle

    from fastlm.nn.optimizers import SGD, gradient_norm
    from fastlm.nn.parallel import Workers, products_of
    from fastlm.nn.workspace import Workspace

    model, corpus = fastlm_model(setting, STEPS_OF_TEXT * setting.tokens)
    workers = Workers(setting.threads)
    workers.__enter__()  # for the life of the process
    workspace = Workspace("float32", workers, training=True)
    parameters = model.parameter_list
    optimizer = SGD(parameters)
    batches = cycle(list(model.training_batches(corpus, batch_size=setting.batch, bptt_len=BPTT_LEN, seed=(1, 1))))

    def step() -> float:
        for parameter in parameters:
            parameter.clear_gradient()
        with products_of(setting.precision):
            loss, count = model.loss_and_gradients(next(batches), workspace)
        norm = gradient_norm(parameters, workers)
        optimizer.step(LEARNING_RATE, workers, scale=min(1.0, MAX_NORM / norm))
        return loss / count

    return step


def torch_step(setting: Setting) -> Step:
    """As pytorch/examples word_language_model does it: zero_grad, backward, clip_grad_norm_, a loop of add_."""
    import torch

    torch.set_num_threads(setting.threads)
    torch.manual_seed(1)
    inputs, targets = (torch.from_numpy(array) for array in batch_arrays(setting))
    if setting.kind in GATES:
        encoder = torch.nn.Embedding(VOCAB_SIZE + 1, setting.hidden)
        layer_of = {"rnnlm": torch.nn.RNN, "gru": torch.nn.GRU, "lstm": torch.nn.LSTM}[setting.kind]
        recurrent = layer_of(setting.hidden, setting.hidden)
        decoder = torch.nn.Linear(setting.hidden, VOCAB_SIZE)
        model = torch.nn.ModuleList([encoder, recurrent, decoder])
        zeros = torch.zeros(1, setting.batch, setting.hidden)
        carried = [(zeros, zeros) if setting.kind == "lstm" else zeros]

        def detached(state: "torch.Tensor | tuple[torch.Tensor, ...]") -> "torch.Tensor | tuple[torch.Tensor, ...]":
            return tuple(part.detach() for part in state) if isinstance(state, tuple) else state.detach()

        def forward() -> "torch.Tensor":
            output, carried[0] = recurrent(encoder(inputs), detached(carried[0]))
            return decoder(output).view(-1, VOCAB_SIZE)
    elif setting.kind == "window":
        from torch_window import WindowModel

        model = WindowModel(VOCAB_SIZE, setting.hidden, **MODERN)

        def forward() -> "torch.Tensor":
            return model(inputs)
    else:
        encoder = torch.nn.Embedding(VOCAB_SIZE + 1, WINDOW_DIM)
        layer = torch.nn.Linear(CONTEXT_SIZE * WINDOW_DIM, setting.hidden)
        decoder = torch.nn.Linear(setting.hidden, VOCAB_SIZE)
        model = torch.nn.ModuleList([encoder, layer, decoder])

        def forward() -> "torch.Tensor":
            return decoder(torch.tanh(layer(encoder(inputs).flatten(1))))

    def step() -> float:
        model.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=setting.precision == "bfloat16"):
            loss = torch.nn.functional.cross_entropy(forward(), targets.view(-1))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), MAX_NORM)
        for parameter in model.parameters():
            parameter.data.add_(parameter.grad, alpha=-LEARNING_RATE)
        return loss.item()

    return step


def batch_arrays(setting: Setting) -> tuple[np.ndarray, np.ndarray]:
    """Return inputs and targets of one step: (T, B) and (T, B), or (N, 4) and (N,)."""
    ids = zipf_ids(setting.tokens + 1)
    if setting.kind in GATES:
        return ids[:-1].reshape(BPTT_LEN, -1), ids[1:].reshape(BPTT_LEN, -1)
    if setting.kind == "window":
        seen = MODERN["context_size"] * 2 ** MODERN["num_averages"]
        return zipf_ids(setting.tokens // MODERN_RUN * (seen + MODERN_RUN - 1)).reshape(-1, seen + MODERN_RUN - 1), ids[
            1:
        ]
    return zipf_ids(setting.tokens * CONTEXT_SIZE).reshape(-1, CONTEXT_SIZE), ids[1:]


def numpy_step(setting: Setting) -> Step:
    """Written out, with the products of all time steps taken together where the formulas allow it; no gates."""
    rng = np.random.default_rng(1)
    inputs, targets = batch_arrays(setting)
    recurrent = setting.kind == "rnnlm"
    dim, width = (setting.hidden, setting.hidden) if recurrent else (WINDOW_DIM, CONTEXT_SIZE * WINDOW_DIM)
    shapes = [(VOCAB_SIZE + 1, dim), (setting.hidden, width), (setting.hidden,), (VOCAB_SIZE, setting.hidden)]
    shapes += [(VOCAB_SIZE,), (setting.hidden, setting.hidden)][: 2 if recurrent else 1]
    parameters = [rng.uniform(-0.1, 0.1, shape).astype(np.float32) for shape in shapes]
    table, w_x, b, w_y, b_y = parameters[:5]
    rows = np.arange(setting.tokens)

    def step() -> float:
        e = table[inputs.reshape(-1)].reshape(-1, width)
        h = e @ w_x.T + b
        previous = forward_in_time(h, parameters[5]) if recurrent else np.tanh(h, out=h)
        p = h @ w_y.T
        p += b_y
        p -= p.max(axis=1, keepdims=True)
        np.exp(p, out=p)
        p /= p.sum(axis=1, keepdims=True)
        loss = -np.log(p[rows, targets.reshape(-1)]).mean()
        p[rows, targets.reshape(-1)] -= 1
        p /= setting.tokens
        dh = p @ w_y
        gradients = [None, None, None, p.T @ h, p.sum(axis=0)]
        if recurrent:
            backward_in_time(dh, h, parameters[5])
            gradients.append(dh.T @ previous)
        else:
            dh *= 1 - h * h
        gradients[1], gradients[2] = dh.T @ e, dh.sum(axis=0)
        gradients[0] = np.zeros_like(table)
        np.add.at(gradients[0], inputs.reshape(-1), (dh @ w_x).reshape(-1, dim))
        norm = np.sqrt(sum(float(np.vdot(g, g)) for g in gradients))
        for parameter, gradient in zip(parameters, gradients, strict=True):
            np.multiply(gradient, LEARNING_RATE * min(1.0, MAX_NORM / norm), out=gradient)
            np.subtract(parameter, gradient, out=parameter)
        return float(loss)

    def forward_in_time(h: np.ndarray, w_h: np.ndarray) -> np.ndarray:
        steps = h.reshape(BPTT_LEN, -1, setting.hidden)
        previous = np.zeros_like(steps)
        for t in range(BPTT_LEN):
            if t:
                previous[t] = steps[t - 1]
                steps[t] += steps[t - 1] @ w_h.T
            np.tanh(steps[t], out=steps[t])
        return previous.reshape(h.shape)

    def backward_in_time(dh: np.ndarray, h: np.ndarray, w_h: np.ndarray) -> None:
        dsteps, steps = dh.reshape(BPTT_LEN, -1, setting.hidden), h.reshape(BPTT_LEN, -1, setting.hidden)
        for t in reversed(range(BPTT_LEN)):
            dsteps[t] *= 1 - steps[t] ** 2
            if t:
                dsteps[t - 1] += dsteps[t] @ w_h

    return step


CONTENDERS: dict[str, Callable[[Setting], Step]] = {"fastlm": fastlm_step, "torch": torch_step, "numpy": numpy_step}


def takes_part(name: str, setting: Setting) -> bool:
    """Whether a contender has been written for such a model."""
    return name != "numpy" or setting.kind in ("rnnlm", "nnlm")
