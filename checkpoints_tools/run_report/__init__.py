"""The parts of report.py: `run_data` reads run folders, `figures` draws, `svg` and `page` make one HTML file of it."""
