"""Networks as people write them, each of a kind that once gave wrong values or a traceback."""

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional


def classes(n: int, count: int = 3) -> Tensor:
    return torch.arange(n) % count


class Pieces(nn.Module):
    """Works through its batch in pieces."""

    def __init__(self, piece: int) -> None:
        super().__init__()
        self.fc, self.act, self.out, self.piece = nn.Linear(20, 8), nn.Tanh(), nn.Linear(8, 3), piece

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.out(self.act(self.fc(piece))) for piece in x.split(self.piece)])


class Halves(Pieces):
    """The same in two halves, however large the batch."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.out(self.act(self.fc(piece))) for piece in x.chunk(2)])


class Experts(nn.Module):
    """Each row goes through one of two experts."""

    def __init__(self) -> None:
        super().__init__()
        self.inside, self.out = nn.Linear(20, 8), nn.Linear(8, 3)
        self.expert = nn.ModuleList(nn.Linear(8, 8) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        h = self.inside(x)
        first = h[:, 0] > 0
        mixed = torch.empty_like(h)
        mixed[first], mixed[~first] = self.expert[0](h[first]), self.expert[1](h[~first])
        return self.out(mixed)


class EarlyExit(nn.Module):
    """Rows that are easy leave after the first layer."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.out = nn.Linear(20, 8), nn.Linear(8, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.tanh(self.first(x))
        hard = h[:, 0].abs() < 0.3
        h = h.clone()
        if hard.any():
            h[hard] = self.second(h[hard])
        return self.out(h)


class TwoViews(nn.Module):
    """Doubles its batch, as contrastive training does."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.project = nn.Linear(20, 8), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        h = self.fc(x)
        return self.project(torch.cat([h, h + 0.1]))


class SortedByLength(nn.Module):
    """Sorts its batch, works on it, and puts it back."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.out = nn.Linear(20, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        order = x.sum(1).argsort()
        return self.out(torch.relu(self.fc(x[order])))[order.argsort()]


class States(nn.Module):
    """The states of a recurrent network of two layers, (2, n, 12)."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(20, 12, num_layers=2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.rnn(x[:, None])[1][0]


class StatesNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.out = States(), nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.encoder(x)[-1])


class SequenceFirst(nn.Module):
    """Works on (positions, n, features)."""

    def __init__(self, cell: type[nn.Module] = nn.GRU) -> None:
        super().__init__()
        self.inside, self.rnn, self.out = nn.Linear(4, 6), cell(6, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.rnn(self.inside(x.transpose(0, 1)))[0][-1])


@dataclass
class Hidden:
    value: Tensor
    count: int = 3


class GivesDataclass(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(20, 8)

    def forward(self, x: Tensor) -> Hidden:
        return Hidden(torch.relu(self.fc(x)))


class GivesDict(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(20, 8)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        h = self.fc(x)
        return {"aux": torch.zeros(len(x), 1), "h": h, "scaled": 2 * h}


class Reads(nn.Module):
    """Takes the hidden layer out of what a module gives."""

    def __init__(self, inside: nn.Module) -> None:
        super().__init__()
        self.inside, self.out = inside, nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        given = self.inside(x)
        return self.out(given["h"] if isinstance(given, dict) else given.value)


class SharedActivation(nn.Module):
    """One activation module for all layers, the commonest network written by hand."""

    def __init__(self, *widths: int) -> None:
        super().__init__()
        self.fc = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))
        self.act = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.fc[:-1]:
            x = self.act(layer(x))
        return self.fc[-1](x)


class Recurrent(nn.Module):
    """One layer used several times in depth."""

    def __init__(self) -> None:
        super().__init__()
        self.inside, self.again, self.act, self.out = nn.Linear(20, 8), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.inside(x))
        for _ in range(3):
            x = self.act(self.again(x))
        return self.out(x)


class Cell(nn.Module):
    """A cell that reads a sequence, one position a call."""

    def __init__(self) -> None:
        super().__init__()
        self.cell, self.out = nn.RNNCell(4, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = x.new_zeros(len(x), 8)
        for position in range(x.shape[1]):
            h = self.cell(x[:, position], h)
        return self.out(h)


class Functional(nn.Module):
    """Activations that are no modules."""

    def __init__(self, activation=functional.relu) -> None:
        super().__init__()
        self.fc1, self.fc2, self.fc3, self.activation = (
            nn.Linear(20, 8),
            nn.Linear(8, 6),
            nn.Linear(6, 3),
            activation,
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.fc3(self.activation(self.fc2(self.activation(self.fc1(x)))))


class FunctionalPooled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv2d(1, 4, 3, padding=1), nn.Linear(64, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(functional.max_pool2d(functional.relu(self.conv(x)), 2).flatten(1))


class FunctionalBranch(nn.Module):
    """An activation after which two paths join."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right, self.out = nn.Linear(20, 8), nn.Linear(20, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(torch.relu(self.left(x)) + self.right(x))


class Text(nn.Module):
    """Padded sentences through torch's own transformer, whose fused path gives nested tensors."""

    def __init__(self, padding: int | None = 0) -> None:
        super().__init__()
        self.words = nn.Embedding(30, 16, padding_idx=padding)
        layer = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True)
        self.encoder, self.head = nn.TransformerEncoder(layer, 2), nn.Linear(16, 2)

    def forward(self, words: Tensor) -> Tensor:
        h = self.encoder(self.words(words), src_key_padding_mask=words == 0)
        return self.head(h.mean(dim=1))


class TakesGradient(nn.Module):
    """An energy whose gradient is what the network gives, as in force fields."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.energy = nn.Linear(20, 8), nn.Linear(8, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = x.requires_grad_()
        energy = self.energy(torch.tanh(self.fc(x))).sum()
        return torch.autograd.grad(energy, x, create_graph=True)[0]
