"""The parts of report.py: `run_data` reads run folders, `figures` draws, `svg`, `page` and `sections` make the page."""

import logging

logging.getLogger("matplotlib").setLevel(logging.ERROR)  # nothing about its cache of fonts: the browser sets the text
