"""The oracles: the formulas of the papers in float64 NumPy, written for reading and never for speed.

Pure functions: nothing given is changed. Axis letters as in the kernels: V vocabulary, D embedding, H hidden,
B batch, T time, N rows of a batch or words of context. A weight is (outputs, inputs). A gradient is `d` + the name
of what it is the gradient of. A sparse gradient is a pair (ids, values) of shapes (N,) and (N, D); an id that
occurs twice counts as the sum of its rows.
"""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
Sparse = tuple[NDArray[np.integer], Array]
Gradient = Array | Sparse


# Layers


def embedding_forward(ids: ArrayLike, table: Array) -> Array:
    """Rows of `table` (V, D) for `ids` of any shape: (..., D)."""
    return table[np.asarray(ids)]


def embedding_backward(dout: Array, ids: ArrayLike, num_rows: int) -> Array:
    """Return the dense gradient (num_rows, D) of the table."""
    dtable = np.zeros((num_rows, dout.shape[-1]))
    np.add.at(dtable, np.asarray(ids), dout)
    return dtable


def linear_forward(x: Array, weight: Array, bias: Array | None = None) -> Array:
    """``y = W x + b`` for each row of `x` (N, inputs)."""
    y = x @ weight.T
    return y if bias is None else y + bias


def linear_backward(dy: Array, x: Array, weight: Array) -> tuple[Array, Array, Array]:
    """Gradients (dx, dweight, dbias)."""
    return dy @ weight, dy.T @ x, dy.sum(axis=0)


def pack(matrix: NDArray[np.floating]) -> NDArray[np.floating]:
    """Cut a right operand (D, N) into panels of W columns of 128 bytes, padded with zeros: (ceil(N / W), D, W)."""
    width = 128 // matrix.itemsize
    panels = np.zeros((-(-matrix.shape[1] // width), matrix.shape[0], width), matrix.dtype)
    for column in range(matrix.shape[1]):
        panels[column // width, :, column % width] = matrix[:, column]
    return panels


def tanh_forward(x: Array) -> Array:
    return np.tanh(x)


def tanh_backward(dy: Array, y: Array) -> Array:
    """Return the gradient of the argument, from the function's value `y`."""
    return dy * (1 - y**2)


def elman_forward(x: Array, w_hh: Array, initial: Array, resets: ArrayLike) -> Array:
    """Return the hidden states (T, B, H) of an Elman network (Elman 1990; Mikolov et al. 2010).

    ``hidden[t] = tanh(x[t] + W_h previous)``, where previous is ``hidden[t - 1]`` (`initial` for t = 0), or
    zero in the streams b that have ``resets[t, b]``.

    Parameters
    ----------
    x
        (T, B, H): what the input contributes, bias included.
    w_hh, initial, resets
        (H, H), (B, H) and (T, B).
    """
    hidden = np.empty_like(x)
    for t in range(len(x)):
        hidden[t] = np.tanh(x[t] + _previous(hidden, initial, resets, t) @ w_hh.T)
    return hidden


def elman_backward(
    dhidden: Array, hidden: Array, w_hh: Array, initial: Array, resets: ArrayLike
) -> tuple[Array, Array, Array]:
    """Full backpropagation through time: gradients (dx, dw_hh, dinitial).

    `dhidden` (T, B, H) is what flows in from the layer above, at each step.
    """
    dx, dw_hh = np.empty_like(hidden), np.zeros_like(w_hh)
    dnext = np.zeros_like(initial)  # what flows in from step t + 1
    for t in reversed(range(len(hidden))):
        dx[t] = tanh_backward(dhidden[t] + dnext, hidden[t])
        dw_hh += dx[t].T @ _previous(hidden, initial, resets, t)
        dnext = np.where(np.asarray(resets)[t, :, None] != 0, 0.0, dx[t] @ w_hh)
    return dx, dw_hh, dnext


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def lstm_forward(
    x: Array, w_hh: Array, initial: Array, initial_cell: Array, resets: ArrayLike
) -> tuple[Array, Array, Array]:
    """Return hidden states, cells and gates (T, B, 4, H) of an LSTM (Hochreiter & Schmidhuber 1997; Gers et al. 2000).

    ``c[t] = f * c[t - 1] + i * g``, ``h[t] = o * tanh(c[t])``, where i, f, o and g, in this order of their rows in
    `x` and `w_hh`, are sigmoids and a tanh of ``x[t] + W_h h[t - 1]``.

    Parameters
    ----------
    x
        (T, B, 4H): what the input contributes, bias included.
    w_hh, initial, initial_cell, resets
        (4H, H), (B, H), (B, H) and (T, B).
    """
    T, B, H = len(x), *initial.shape
    hidden, cell, gates = np.empty((T, B, H)), np.empty((T, B, H)), np.empty((T, B, 4, H))
    for t in range(T):
        raw = (x[t] + _previous(hidden, initial, resets, t) @ w_hh.T).reshape(B, 4, H)
        i, f, o, g = sigmoid(raw[:, 0]), sigmoid(raw[:, 1]), sigmoid(raw[:, 2]), np.tanh(raw[:, 3])
        cell[t] = f * _previous(cell, initial_cell, resets, t) + i * g
        hidden[t] = o * np.tanh(cell[t])
        gates[t] = np.stack([i, f, o, g], axis=1)
    return hidden, cell, gates


def lstm_backward(
    dhidden: Array, states: tuple[Array, Array, Array], w_hh: Array, initial: Array, initial_cell: Array,
    resets: ArrayLike,
) -> tuple[Array, Array, Array, Array]:  # fmt: skip
    """Full backpropagation through time: gradients (dx, dw_hh, dinitial, dinitial_cell).

    `states` is what `lstm_forward` returned.
    """
    hidden, cell, gates = states
    T, B, H = hidden.shape
    dx, dw_hh = np.empty((T, B, 4 * H)), np.zeros_like(w_hh)
    dnext, dcell_next = np.zeros((B, H)), np.zeros((B, H))
    for t in reversed(range(T)):
        i, f, o, g = (gates[t, :, gate] for gate in range(4))
        dh = dhidden[t] + dnext
        dcell = dcell_next + dh * o * (1 - np.tanh(cell[t]) ** 2)
        di, df, do, dg = dcell * g, dcell * _previous(cell, initial_cell, resets, t), dh * np.tanh(cell[t]), dcell * i
        dx[t] = np.concatenate([di * i * (1 - i), df * f * (1 - f), do * o * (1 - o), dg * (1 - g**2)], axis=1)
        dw_hh += dx[t].T @ _previous(hidden, initial, resets, t)
        ends = np.asarray(resets)[t, :, None] != 0
        dnext, dcell_next = np.where(ends, 0.0, dx[t] @ w_hh), np.where(ends, 0.0, dcell * f)
    return dx, dw_hh, dnext, dcell_next


def gru_forward(x: Array, w_hh: Array, initial: Array, resets: ArrayLike) -> tuple[Array, Array]:
    """Return hidden states and gates (T, B, 3, H) of gated recurrent units (Cho et al. 2014, the first version).

    ``h[t] = (1 - z) * n + z * h[t - 1]``, ``n = tanh(x_n[t] + r * (W_n h[t - 1]))``, where r and z are sigmoids of
    ``x[t] + W h[t - 1]``. The rows of `x` and `w_hh` are those of r, z and n, in this order.

    Parameters
    ----------
    x
        (T, B, 3H): what the input contributes, bias included.
    w_hh, initial, resets
        (3H, H), (B, H) and (T, B).
    """
    T, B, H = len(x), *initial.shape
    hidden, gates = np.empty((T, B, H)), np.empty((T, B, 3, H))
    w_r, w_z, w_n = w_hh.reshape(3, H, H)
    for t in range(T):
        previous, (x_r, x_z, x_n) = _previous(hidden, initial, resets, t), x[t].reshape(B, 3, H).transpose(1, 0, 2)
        r, z = sigmoid(x_r + previous @ w_r.T), sigmoid(x_z + previous @ w_z.T)
        n = np.tanh(x_n + r * (previous @ w_n.T))
        hidden[t] = (1 - z) * n + z * previous
        gates[t] = np.stack([r, z, n], axis=1)
    return hidden, gates


def gru_backward(
    dhidden: Array, states: tuple[Array, Array], w_hh: Array, initial: Array, resets: ArrayLike
) -> tuple[Array, Array, Array]:
    """Full backpropagation through time: gradients (dx, dw_hh, dinitial); `states` is what `gru_forward` returned."""
    hidden, gates = states
    T, B, H = hidden.shape
    dx, dw_hh, dnext = np.empty((T, B, 3 * H)), np.zeros_like(w_hh), np.zeros((B, H))
    w_r, w_z, w_n = w_hh.reshape(3, H, H)
    for t in reversed(range(T)):
        previous, (r, z, n) = _previous(hidden, initial, resets, t), gates[t].transpose(1, 0, 2)
        dh = dhidden[t] + dnext
        dn = dh * (1 - z) * (1 - n**2)
        dr, dz = dn * (previous @ w_n.T) * r * (1 - r), dh * (previous - n) * z * (1 - z)
        dx[t] = np.concatenate([dr, dz, dn], axis=1)
        dw_hh += np.concatenate([dr.T @ previous, dz.T @ previous, (dn * r).T @ previous])
        dprevious = dh * z + dr @ w_r + dz @ w_z + (dn * r) @ w_n
        dnext = np.where(np.asarray(resets)[t, :, None] != 0, 0.0, dprevious)
    return dx, dw_hh, dnext


def _previous(hidden: Array, initial: Array, resets: ArrayLike, t: int) -> Array:
    """Return the state (B, H) that step `t` starts from."""
    return np.where(np.asarray(resets)[t, :, None] != 0, 0.0, hidden[t - 1] if t > 0 else initial)


# Output


def log_softmax(logits: Array) -> Array:
    """Natural log-probabilities over the last axis."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def softmax_loss(hidden: Array, targets: ArrayLike, weight: Array, bias: Array) -> float:
    """Cross-entropy in nats, summed over the events; a target of -1 is no event.

    Shapes: hidden (N, H), targets (N,), weight (V, H), bias (V,).
    """
    events, targets = _events(targets)
    log_probs = log_softmax(linear_forward(hidden[events], weight, bias))
    return -float(log_probs[np.arange(len(targets)), targets].sum())


def softmax_loss_backward(hidden: Array, targets: ArrayLike, weight: Array, bias: Array) -> tuple[Array, Array, Array]:
    """Gradients (dhidden, dweight, dbias) of the summed cross-entropy: of the logits it is p - 1[target]."""
    events, targets = _events(targets)
    dlogits = np.exp(log_softmax(linear_forward(hidden[events], weight, bias)))
    dlogits[np.arange(len(targets)), targets] -= 1
    dhidden = np.zeros_like(hidden)
    dhidden[events], dweight, dbias = linear_backward(dlogits, hidden[events], weight)
    return dhidden, dweight, dbias


def _events(targets: ArrayLike) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the rows that have a target, and these targets."""
    targets = np.asarray(targets, dtype=np.int64)
    events = np.flatnonzero(targets >= 0)
    return events, targets[events]


def class_log_probs(
    hidden: Array, classes: ArrayLike, class_weight: Array, class_bias: Array, weight: Array, bias: Array
) -> Array:
    """Return log P(class | h) + log P(word | class, h), (N, V), for words of these `classes` (V,) (Goodman 2001)."""
    classes = np.asarray(classes)
    log_probs = log_softmax(linear_forward(hidden, class_weight, class_bias))[:, classes]
    for k in np.unique(classes):
        words = classes == k
        log_probs[:, words] += log_softmax(linear_forward(hidden, weight[words], bias[words]))
    return log_probs


def adaptive_log_probs(
    hidden: Array, head_weight: Array, head_bias: Array, tails: Sequence[tuple[Array, Array, Array]]
) -> Array:
    """Return log-probabilities (N, V) of words by frequency, under an adaptive softmax (Grave et al. 2017).

    The last rows of the head are the tails, each of which is (projection, weight, bias).
    """
    head = log_softmax(linear_forward(hidden, head_weight, head_bias))
    first = head.shape[1] - len(tails)
    parts = [head[:, :first]]
    for i, (projection, weight, bias) in enumerate(tails):
        within = log_softmax(linear_forward(linear_forward(hidden, projection), weight, bias))
        parts.append(head[:, [first + i]] + within)
    return np.concatenate(parts, axis=1)


def sampled_softmax_loss(
    hidden: Array,
    targets: ArrayLike,
    weight: Array,
    bias: Array,
    samples: Sequence[int],
    inclusion: Array,
    penalty: float = 0.0,
) -> float:
    """Return the cross-entropy among the target and the samples (Jean et al. 2015), summed.

    Every word's logit is corrected by -log of its probability to be among the samples, `inclusion` (V,). The penalty is
    on the squared logarithm of Z (Devlin et al. 2014), of which exp(logit) / inclusion over the samples, and exp(logit)
    of the target, which is always there, are an unbiased estimate (Bengio & Senecal 2008).
    """
    loss = 0.0
    for i, target in zip(*_events(targets), strict=True):
        logits = linear_forward(hidden[i], weight, bias)
        others = [word for word in samples if word != target]
        corrected = logits - np.log(inclusion)
        loss -= log_softmax(corrected[[target, *others]])[0]
        estimate = np.exp(logits[target]) + (np.exp(logits[others]) / inclusion[others]).sum()
        loss += penalty * np.log(estimate) ** 2
    return float(loss)


def nce_loss(
    hidden: Array,
    targets: ArrayLike,
    weight: Array,
    bias: Array,
    samples: Sequence[int],
    draws: Sequence[float],
    expected: Array,
) -> float:
    """Noise-contrastive estimation (Gutmann & Hyvarinen 2010; Mnih & Teh 2012), summed over the events.

    ``-log s(x_w) - sum over the noise of log s(-x_v)``, with ``x_v = logit_v - log(K q(v))`` and Z taken as 1;
    `expected` (V,) is K q, and a sample stands for so many `draws` of the noise.
    """
    loss = 0.0
    for i, target in zip(*_events(targets), strict=True):
        x = linear_forward(hidden[i], weight, bias) - np.log(expected)
        loss += np.log1p(np.exp(-x[target]))
        loss += sum(number * np.log1p(np.exp(x[word])) for word, number in zip(samples, draws, strict=True))
    return float(loss)


# Models


def nnlm_log_probs(
    windows: ArrayLike,
    *,
    embeddings: Array,
    hidden_weight: Array,
    hidden_bias: Array,
    output_weight: Array,
    output_bias: Array,
    direct_weight: Array | None = None,
    projection: tuple[Array, Array] | None = None,
) -> Array:
    """Return (N, V) log-probabilities of the neural probabilistic language model of Bengio et al. (2003).

    ``y = softmax(W_y tanh(W_h e + b_h) + b_y [+ W_d e])``, e the embeddings of the window's words, oldest first.

    Parameters
    ----------
    windows
        (N, context_size) ids.
    embeddings, hidden_weight, hidden_bias, output_weight, output_bias, direct_weight
        (V + 1, D), (H, context_size * D), (H,), (V, H), (V,), (V, context_size * D).
    projection
        Weight and bias of a linear map between the hidden layer and the output, where sizes differ (tied tables).
    """
    looked_up = embedding_forward(windows, embeddings)
    e = looked_up.reshape(len(looked_up), -1)
    hidden = np.tanh(linear_forward(e, hidden_weight, hidden_bias))
    if projection is not None:
        hidden = linear_forward(hidden, *projection)
    logits = linear_forward(hidden, output_weight, output_bias)
    if direct_weight is not None:
        logits = logits + linear_forward(e, direct_weight)
    return log_softmax(logits)


def rnnlm_log_probs(
    inputs: ArrayLike,
    resets: ArrayLike,
    memory: Array,
    *,
    embeddings: Array,
    layers: Sequence[tuple[str, Array, Array, Array]],
    output_weight: Array,
    output_bias: Array,
    residual: bool = False,
    projection: tuple[Array, Array] | None = None,
) -> tuple[Array, Array]:
    """Run the recurrent language model of Mikolov et al. (2010) over one chunk.

    ``h_t = tanh(W_x e_t + W_h h_{t-1} + b)``, ``y_t = softmax(W_y h_t + b_y)``; or with other cells, and several.

    Parameters
    ----------
    inputs, resets, memory
        (T, B) ids, (T, B), and the state (L, S, B, H) before the chunk: for each layer the hidden state, and for an
        LSTM the cell.
    embeddings, output_weight, output_bias
        (V + 1, D), (V, H), (V,).
    layers
        For each the cell, "elman", "gru" or "lstm", its w_xh, its bias and its w_hh.
    residual
        Whether what goes into a layer is added to what comes out of it, where both have one size.
    projection
        Weight and bias of a linear map between the last layer and the output, where sizes differ (tied tables).

    Returns
    -------
    log_probs, memory
        (T, B, V) natural log-probabilities, and the state after the chunk.
    """
    x, after = embedding_forward(inputs, embeddings), np.empty_like(memory)
    for layer, (cell, w_xh, bias, w_hh) in enumerate(layers):
        projected = linear_forward(x, w_xh, bias)
        forward = {"elman": elman_forward, "gru": gru_forward, "lstm": lstm_forward}[cell]
        states = forward(projected, w_hh, *memory[layer], resets)
        hidden, *others = states if isinstance(states, tuple) else (states,)
        after[layer, 0] = hidden[-1]
        if cell == "lstm":
            after[layer, 1] = others[0][-1]
        x = hidden + x if residual and hidden.shape == x.shape else hidden
    if projection is not None:
        x = linear_forward(x, *projection)
    return log_softmax(linear_forward(x, output_weight, output_bias)), after


# Optimizers: the value after one step for each of the gradients, which may be dense or sparse, also by turns.
# They are lazy: a row's state changes only in the steps that have a gradient for it. A row that is touched with
# a gradient of zero counts as touched. `learning_rate` is one number, or one for each step. `weight_decay` shrinks the
# rows of a matrix that a step touches, before it does anything else (Loshchilov & Hutter 2019).


def sgd(
    value: Array, gradients: Iterable[Gradient], learning_rate: float | Sequence[float], *, weight_decay: float = 0.0
) -> Array:
    """``value -= learning_rate * gradient``."""
    value = value.copy()
    for rate, (rows, gradient) in _steps(gradients, learning_rate):
        _shrink(value, rows, rate * weight_decay)
        value[rows] -= rate * gradient
    return value


def averaged_sgd(
    value: Array, gradients: Sequence[Gradient], learning_rate: Sequence[float], *, weight_decay: float = 0.0
) -> Array:
    """Return the mean of the values that `sgd` has after each of the steps (Polyak & Juditsky 1992)."""
    ends = range(1, len(gradients) + 1)
    values = [sgd(value, gradients[:end], learning_rate[:end], weight_decay=weight_decay) for end in ends]
    return np.mean(values, axis=0)


def momentum(
    value: Array,
    gradients: Iterable[Gradient],
    learning_rate: float | Sequence[float],
    *,
    momentum: float = 0.9,
    weight_decay: float = 0.0,
) -> Array:
    """SGD with Polyak's momentum: ``velocity = momentum * velocity + gradient``, ``value -= rate * velocity``."""
    value, velocity = value.copy(), np.zeros_like(value)
    for rate, (rows, gradient) in _steps(gradients, learning_rate):
        _shrink(value, rows, rate * weight_decay)
        velocity[rows] = momentum * velocity[rows] + gradient
        value[rows] -= rate * velocity[rows]
    return value


def adagrad(
    value: Array,
    gradients: Iterable[Gradient],
    learning_rate: float | Sequence[float],
    *,
    epsilon: float = 1e-10,
    initial: float = 0.0,
    weight_decay: float = 0.0,
) -> Array:
    """Adagrad (Duchi, Hazan & Singer 2011): ``value -= rate * gradient / (sqrt(sum of squares) + epsilon)``."""
    value, squares = value.copy(), np.full_like(value, initial)
    for rate, (rows, gradient) in _steps(gradients, learning_rate):
        _shrink(value, rows, rate * weight_decay)
        squares[rows] += gradient**2
        value[rows] -= rate * gradient / (np.sqrt(squares[rows]) + epsilon)
    return value


def adam(
    value: Array,
    gradients: Iterable[Gradient],
    learning_rate: float | Sequence[float],
    *,
    beta1: float = 0.9,
    beta2: float = 0.999,
    epsilon: float = 1e-8,
    weight_decay: float = 0.0,
) -> Array:
    """Adam (Kingma & Ba 2015, algorithm 1); the bias correction counts all steps, also for rows touched in few."""
    value, mean, square = value.copy(), np.zeros_like(value), np.zeros_like(value)
    for step, (rate, (rows, gradient)) in enumerate(_steps(gradients, learning_rate), start=1):
        _shrink(value, rows, rate * weight_decay)
        mean[rows] = beta1 * mean[rows] + (1 - beta1) * gradient
        square[rows] = beta2 * square[rows] + (1 - beta2) * gradient**2
        corrected_mean = mean[rows] / (1 - beta1**step)
        corrected_square = square[rows] / (1 - beta2**step)
        value[rows] -= rate * corrected_mean / (np.sqrt(corrected_square) + epsilon)
    return value


def global_norm(gradients: Iterable[Gradient]) -> float:
    """Return the Euclidean norm of all gradients as one vector."""
    return float(np.sqrt(sum((_rows(gradient)[1] ** 2).sum() for gradient in gradients)))


def clip_global_norm(gradients: Sequence[Gradient], max_norm: float) -> list[Gradient]:
    """Gradients scaled to a global norm of `max_norm` where it is larger (Pascanu, Mikolov & Bengio 2013)."""
    norm = global_norm(gradients)
    scale = max_norm / norm if norm > max_norm else 1.0
    return [(g[0], scale * g[1]) if isinstance(g, tuple) else scale * g for g in gradients]


def _steps(
    gradients: Iterable[Gradient], learning_rate: float | Sequence[float]
) -> Iterable[tuple[float, tuple[slice | NDArray[np.integer], Array]]]:
    gradients = list(gradients)
    rates = np.broadcast_to(learning_rate, len(gradients))
    return zip(rates, map(_rows, gradients), strict=True)


def _shrink(value: Array, rows: slice | NDArray[np.integer], share: float) -> None:
    if value.ndim > 1:
        value[rows] *= 1 - share


def _rows(gradient: Gradient) -> tuple[slice | NDArray[np.integer], Array]:
    """Return the rows that a gradient touches, each once, and their values."""
    if not isinstance(gradient, tuple):
        return slice(None), gradient
    ids, values = gradient
    distinct, places = np.unique(ids, return_inverse=True)
    summed = np.zeros((len(distinct), *values.shape[1:]))
    np.add.at(summed, places.reshape(-1), values)
    return distinct, summed
