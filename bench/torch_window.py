"""The modern window model as one writes it with PyTorch: what fastlm's is compared with."""

import torch
from torch.nn import functional


class WindowModel(torch.nn.Module):
    """The model of `fastlm.nn.window_network.WindowNetwork` under a tied softmax, without dropout."""

    def __init__(
        self,
        vocab_size: int,
        hidden_size: int,
        *,
        context_size: int,
        embedding_dim: int,
        num_layers: int,
        num_averages: int,
    ) -> None:
        super().__init__()
        self.size, self.lengths = context_size, [context_size << k for k in range(num_averages)]
        self.embedding = torch.nn.Embedding(vocab_size + 1, embedding_dim)
        torch.nn.init.uniform_(self.embedding.weight, -0.1, 0.1)
        self.window = torch.nn.Linear(context_size * embedding_dim, hidden_size)
        self.averages = torch.nn.ModuleList(
            torch.nn.Conv1d(embedding_dim, embedding_dim, length, groups=embedding_dim, bias=False)
            for length in self.lengths
        )
        self.distant = torch.nn.Linear(num_averages * embedding_dim, hidden_size)
        self.norms = torch.nn.ModuleList(torch.nn.LayerNorm(hidden_size) for _ in range(num_layers))
        self.inner = torch.nn.ModuleList(torch.nn.Linear(hidden_size, 2 * hidden_size) for _ in self.norms[1:])
        self.outer = torch.nn.ModuleList(torch.nn.Linear(2 * hidden_size, hidden_size) for _ in self.norms[1:])
        self.projection = torch.nn.Linear(hidden_size, embedding_dim)
        self.bias = torch.nn.Parameter(torch.zeros(vocab_size))

    def forward(self, runs: torch.Tensor) -> torch.Tensor:
        """Return logits (B T, V) at the places of `runs` (B, C + T - 1)."""
        words = self.embedding(runs)
        end = sum(self.lengths)
        windows = words[:, end:].unfold(1, self.size, 1).transpose(2, 3).flatten(2)
        num_places, averages = windows.shape[1], []
        for length, convolution in zip(self.lengths, self.averages, strict=True):
            stretch = words[:, end - length : end + num_places - 1].transpose(1, 2)
            averages.append(convolution(stretch).transpose(1, 2))
            end -= length
        hidden = self.norms[0](self.window(windows) + self.distant(torch.cat(averages, dim=2)))
        for norm, inner, outer in zip(self.norms[1:], self.inner, self.outer, strict=True):
            hidden = norm(hidden + outer(functional.gelu(inner(hidden), approximate="tanh")))
        logits = functional.linear(self.projection(hidden), self.embedding.weight[:-1], self.bias)
        return logits.flatten(0, 1)
