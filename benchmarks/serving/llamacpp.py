"""llama.cpp's server through xllamacpp, in an environment of its own: `llamacpp.py PORT MODEL.gguf`."""

import os
import sys
import time

import xllamacpp

SLOTS, CONTEXT = 64, 256


def main() -> None:
    """Serve until killed."""
    params = xllamacpp.CommonParams()
    params.model.path = sys.argv[2]
    params.hostname, params.port = "127.0.0.1", int(sys.argv[1])
    params.n_parallel = SLOTS
    params.n_ctx = SLOTS * CONTEXT
    params.n_gpu_layers = 0
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = len(os.sched_getaffinity(0))
    params.warmup = True
    params.verbosity = 0
    server = xllamacpp.Server(params)
    print(server.listening_address, flush=True)
    while True:
        time.sleep(3600)


if __name__ == "__main__":
    main()
