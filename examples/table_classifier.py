"""A table of your own
===================

Three wines told apart by thirteen measurements of chemistry, as a table of pandas, by the built-in perceptron.
"""

import pandas as pd
from sklearn.datasets import load_wine
from sklearn.model_selection import train_test_split

import infoplane as ip


# %%
# A function without arguments gives inputs and labels twice, for training and for test. Fractions are taken as they
# are, so columns are scaled here, by what the training split knows. Labels may be names.
def data() -> list[tuple[pd.DataFrame, pd.Series]]:
    """The training and the test split."""
    wine = load_wine(as_frame=True)
    names = wine.target.map(dict(enumerate(wine.target_names)))
    train, test, train_names, test_names = train_test_split(
        wine.data, names, test_size=0.5, stratify=names, random_state=0
    )
    mean, std = train.mean(), train.std()
    return [((train - mean) / std, train_names), ((test - mean) / std, test_names)]


# %%
# On the command line, in the folder of this file:
# ``infoplane record --dataset table_classifier:data --model mlp --widths 32,16,8 --probe-size 80 -o table.h5``,
# then ``infoplane plot table.h5``. The same in Python:
if __name__ == "__main__":
    settings = ip.TrainingSettings(
        dataset="table_classifier:data", model="mlp", widths=(32, 16, 8), epochs=30, probe_size=80
    )
    ip.train(settings, "table.h5", force=True)
    ip.plot_plane(ip.information_plane("table.h5"), caption=True)
