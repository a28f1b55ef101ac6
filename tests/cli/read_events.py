"""Prints as JSON what TensorBoard's own reader finds in a folder of event files: read_events.py FOLDER

Checksums are compared, restarts are handled and old forms of values are brought into new ones as TensorBoard does it."""

import json
import sys

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.plugin_event_accumulator import EventAccumulator as PluginAccumulator
from tensorboard.util import tensor_util

everything = {"scalars": 0, "histograms": 0, "tensors": 0, "compressedHistograms": 1, "images": 1, "audio": 1}
found = EventAccumulator(sys.argv[1], size_guidance=everything).Reload()
shown = PluginAccumulator(sys.argv[1], size_guidance=everything).Reload()  # as the pages of TensorBoard see it
tags = found.Tags()


def plugin_of(tag):
    return shown.SummaryMetadata(tag).plugin_data.plugin_name


def text_of(event):
    return tensor_util.make_ndarray(event.tensor_proto).item().decode()


print(json.dumps({
    "scalars": {tag: [[event.step, event.value] for event in found.Scalars(tag)] for tag in tags["scalars"]},
    "texts": {tag: [[event.step, text_of(event)] for event in found.Tensors(tag)] for tag in tags["tensors"]},
    "histograms": {tag: [[event.step, event.histogram_value.min, event.histogram_value.max, event.histogram_value.num,
                          sum(event.histogram_value.bucket)] for event in found.Histograms(tag)]
                   for tag in tags["histograms"]},
    "plugins": {tag: plugin_of(tag) for tag in shown.Tags()["tensors"]},
    "shown_steps": {tag: [event.step for event in shown.Tensors(tag)] for tag in shown.Tags()["tensors"]},
}))
