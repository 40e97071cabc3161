"""Runs rounds.py on NumPy, with its arguments, and prints all of its rounds as one JSON object.

    rounds_numpy.py                                  -> {"libraries": {...}}
    rounds_numpy.py X.npy K TOP unit|fitted DTYPE SECONDS [--seed S]
                                                     -> {"libraries": {...}, "log": [[seconds, explained variance], ...]}

`seconds` are by the clock of rounds.py, which starts when the rows are loaded, normalised and the first decoder is made.
"""

import contextlib
import io
import json
import pathlib
import runpy
import sys

import numpy as np
import threadpoolctl


def libraries():
    found = {"numpy": np.__version__, "python": sys.version.split()[0]}
    for pool in threadpoolctl.threadpool_info():
        found[f"{pool['internal_api']} of numpy"] = f"{pool['version']} ({pool.get('architecture', 'unknown')})"
    return found


def main():
    answer = {"libraries": libraries()}
    if len(sys.argv) > 1:
        script = pathlib.Path(__file__).with_name("rounds.py")
        sys.argv = [str(script), *sys.argv[1:], "--device", "cpu"]
        # What it prints is a summary of the log.
        with contextlib.redirect_stdout(io.StringIO()):
            ran = runpy.run_path(str(script), run_name="__main__")
        answer["log"] = [[seconds, float(explained)] for seconds, explained in ran["log"]]
    print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
