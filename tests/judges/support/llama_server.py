"""llama.cpp's own server with the packaged model, in a process of its own: MODEL PORT [SLOTS].

With one slot, the default, no prompt is computed beside another or taken from the cache: both move
its log-odds by up to 0.3 nats (docs/traps.md), and the tests compare answers exactly.
"""

from __future__ import annotations

import sys
import time

import xllamacpp

if __name__ == "__main__":
    parameters = xllamacpp.CommonParams()
    parameters.model.path = sys.argv[1]
    parameters.port = int(sys.argv[2])
    slots = int(sys.argv[3]) if len(sys.argv) > 3 else 1
    parameters.n_parallel = slots
    parameters.cache_prompt = slots > 1
    parameters.n_ctx = slots * 2048
    parameters.cpuparams.n_threads = 1  # it spins while it waits, and the tests run here too
    parameters.cpuparams_batch.n_threads = 1
    server = xllamacpp.Server(parameters)  # serves until it is collected
    while True:
        time.sleep(60)
