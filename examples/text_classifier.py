"""A text classifier of your own
=============================

Data and network that a file of your own makes go through ``infoplane record`` as the built-in ones do. Here it is
text: sentences as padded numbers of words, and a small transformer that reads them.
"""

import torch
from torch import Tensor, nn

import infoplane as ip

PADDING, WORDS, LENGTH, TOPICS = 0, 40, 12, 3


# %%
# A function without arguments gives inputs and labels twice, for training and for test. Whole numbers are taken as
# tokens.
def sentences(count: int) -> tuple[Tensor, Tensor]:
    """Sentences of 4 to 12 words, half of them any words and half of them among eight of the topic."""
    topics = torch.randint(TOPICS, (count,))
    any_words = torch.randint(1, WORDS, (count, LENGTH))
    of_topic = 1 + 8 * topics[:, None] + torch.randint(8, (count, LENGTH))
    tokens = torch.where(torch.rand(count, LENGTH) < 0.5, of_topic, any_words)
    lengths = torch.randint(4, LENGTH + 1, (count, 1))
    return tokens.where(torch.arange(LENGTH) < lengths, PADDING), topics


def data() -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """The training and the test split."""
    return sentences(1000), sentences(400)


# %%
# The network gives logits. A function that makes it may ask for ``input_shape`` and ``classes``.
class Reader(nn.Module):
    """Embedding, a layer of attention, the mean over the words, and two layers."""

    def __init__(self, classes: int, width: int = 32) -> None:
        super().__init__()
        self.embedding = nn.Embedding(WORDS, width, padding_idx=PADDING)
        self.attention = nn.TransformerEncoderLayer(width, 4, 2 * width, dropout=0.0, batch_first=True)
        self.hidden = nn.Sequential(nn.Linear(width, width), nn.ReLU())
        self.logits = nn.Linear(width, classes)

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits (n, topics) of tokens (n, words)."""
        padding = tokens == PADDING
        read = self.attention(self.embedding(tokens), src_key_padding_mask=padding)
        words = read.masked_fill(padding[..., None], 0.0)
        return self.logits(self.hidden(words.sum(1) / (~padding).sum(1, keepdim=True)))


def network(classes: int) -> Reader:
    """The network with random weights."""
    return Reader(classes)


# %%
# On the command line, in the folder of this file:
# ``infoplane record --dataset text_classifier:data --model text_classifier:network -o text.h5``, then
# ``infoplane plot text.h5``. The same in Python:
if __name__ == "__main__":
    settings = ip.TrainingSettings(
        dataset="text_classifier:data", model="text_classifier:network", epochs=10, probe_size=200
    )
    ip.train(settings, "text.h5", force=True)
    ip.plot_plane(ip.information_plane("text.h5"), caption=True)

# %%
# X are sequences of names, so they are compared by the words in which they differ, padding left out.
