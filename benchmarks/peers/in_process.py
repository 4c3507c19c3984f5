"""No server at all: how often one core runs the model. ``in_process.py SECONDS BODY`` prints runs per second."""

import sys
import time
from pathlib import Path

from model import load

model = load()
feed = model.decode(Path(sys.argv[2]).read_bytes())
names = [output.name for output in model.session.get_outputs()]
for _ in range(20):
    model.session.run(names, feed)
runs, began = 0, time.perf_counter()
while (elapsed := time.perf_counter() - began) < float(sys.argv[1]):
    model.session.run(names, feed)
    runs += 1
print(runs / elapsed)
