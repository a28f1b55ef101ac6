"""Checks the file that representations_file_test.cpp writes, with h5py and docs/evaluation.md alone: read_representations.py FILE"""

import json
import sys

import h5py
import numpy as np

with h5py.File(sys.argv[1], "r") as file:
    attributes = {name: value.decode() if isinstance(value, bytes) else value for name, value in file.attrs.items()}
    assert attributes["format"] == "layalign representations" and attributes["version"] == 1, attributes
    languages, layers = json.loads(attributes["languages"]), json.loads(attributes["layers"])
    sentences = file["sentences"][...]
    assert sorted(file) == sorted([*layers, "sentences"])
    for place, layer in enumerate(layers):
        values = file[layer][...]
        assert values.dtype == np.dtype("<f4") and values.shape[:2] == (len(languages), sentences.size), layer
        assert (values.ravel() == 1000 * place + np.arange(values.size)).all(), layer
print(f"{len(layers)} layers of {', '.join(languages)}; sentences {' '.join(map(str, sentences))}; "
      f"mode {attributes['mode']}; weights {attributes['weights']}")
