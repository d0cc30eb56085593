"""The compiled loops, on arrays and scalars.

Axis letters in shapes, here and in every kernel: V vocabulary, D embedding, H hidden, B batch, T time, N rows of a
batch (or words of a context), K blocks or samples, R rows of a sparse gradient. Arrays are C-contiguous, all of
one call in float32 or all in float64; ids are int32 and have been checked. A kernel allocates nothing, keeps
nothing and releases the interpreter lock; a shape that does not fit raises ValueError before anything is written.

`ngram_counts`, `ngram_estimates` and `ngram`, from which `fastlm.models.ngram` takes its parts, are no layers: their
axes are T places of a text, M n-grams of an order and R rows of anything else, and a trie keeps the arrays that it
looks things up in. Nor are `mixing`, where K counts models and N tokens, `adaptation`, where M counts the words of
a cache, and `frozen`, where Q counts queries, N the words of a window and R those of a table.
"""

from fastlm.errors import compiled_modules

with compiled_modules(__name__):
    from fastlm.kernels.activations import gelu_backward, gelu_forward, relu_backward, relu_forward
    from fastlm.kernels.class_softmax import (
        class_forward,
        class_forward_backward,
        class_log_probs,
        class_scratch_size,
    )
    from fastlm.kernels.distributions import entropies_and_ranks, softmax_log_probs, softmax_log_probs_batch
    from fastlm.kernels.dropout import dropout_forward, dropout_mask, word_dropout
    from fastlm.kernels.embedding import add_rows, embedding_backward, embedding_forward
    from fastlm.kernels.gru import gru_backward, gru_forward, gru_step
    from fastlm.kernels.layer_norm import layer_norm_backward, layer_norm_forward
    from fastlm.kernels.linear import (
        linear_backward,
        linear_backward_weight,
        linear_forward,
        linear_forward_vector,
        tanh_backward,
        tanh_forward,
    )
    from fastlm.kernels.lstm import lstm_backward, lstm_forward, lstm_step
    from fastlm.kernels.matrix import (
        PANEL_BYTES,
        cpu_level,
        pack_matrix,
        pack_transposed,
    )
    from fastlm.kernels.recurrent import elman_backward, elman_forward, elman_step
    from fastlm.kernels.sampled import (
        nce_forward_backward,
        sampled_backward_weight,
        sampled_softmax_forward_backward,
        target_logits,
    )
    from fastlm.kernels.sampling import alias_table, draw_rows
    from fastlm.kernels.softmax import (
        softmax_backward_weight,
        softmax_forward,
        softmax_forward_backward,
    )
    from fastlm.kernels.updates import (
        adagrad_update,
        adam_update,
        averaged_update,
        decay_update,
        momentum_update,
        sgd_update,
        squared_norm,
    )
    from fastlm.kernels.window import (
        average_backward,
        average_backward_weight,
        average_forward,
        pack_windows,
        pack_words,
        window_backward,
        window_forward,
    )

__all__ = [
    "PANEL_BYTES",
    "adagrad_update",
    "adam_update",
    "add_rows",
    "alias_table",
    "average_backward",
    "average_backward_weight",
    "average_forward",
    "averaged_update",
    "class_forward",
    "class_forward_backward",
    "class_log_probs",
    "class_scratch_size",
    "cpu_level",
    "decay_update",
    "draw_rows",
    "dropout_forward",
    "dropout_mask",
    "elman_backward",
    "elman_forward",
    "elman_step",
    "embedding_backward",
    "embedding_forward",
    "entropies_and_ranks",
    "gelu_backward",
    "gelu_forward",
    "gru_backward",
    "gru_forward",
    "gru_step",
    "layer_norm_backward",
    "layer_norm_forward",
    "linear_backward",
    "linear_backward_weight",
    "linear_forward",
    "linear_forward_vector",
    "lstm_backward",
    "lstm_forward",
    "lstm_step",
    "momentum_update",
    "nce_forward_backward",
    "pack_matrix",
    "pack_transposed",
    "pack_windows",
    "pack_words",
    "relu_backward",
    "relu_forward",
    "sampled_backward_weight",
    "sampled_softmax_forward_backward",
    "sgd_update",
    "softmax_backward_weight",
    "softmax_forward",
    "softmax_forward_backward",
    "softmax_log_probs",
    "softmax_log_probs_batch",
    "squared_norm",
    "tanh_backward",
    "tanh_forward",
    "target_logits",
    "window_backward",
    "window_forward",
    "word_dropout",
]
