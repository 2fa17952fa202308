"""llama.cpp through xllamacpp, in an environment of its own: `llamacpp.py MODEL.gguf`."""

import sys
from concurrent.futures import ThreadPoolExecutor

import xllamacpp
from contestants import THREADS, serve


def open_server(path: str, batch: int, context: int) -> xllamacpp.Server:
    """A server with `batch` slots, each with room for `context` tokens."""
    params = xllamacpp.CommonParams()
    params.model.path = path
    params.n_parallel = batch
    params.n_ctx = batch * context
    params.n_gpu_layers = 0
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = THREADS
    params.warmup = True
    params.verbosity = 0
    return xllamacpp.Server(params)


def main() -> None:
    """Answer jobs."""
    opened: list[xllamacpp.Server] = []

    def prepare(job: dict) -> xllamacpp.Server:
        """A server that remembers no prompt; the last one's memory is given back first."""
        longest = max(len(p) + n for p, n in zip(job["prompts"], job["lengths"], strict=True))
        opened.clear()
        opened.append(open_server(sys.argv[1], job["batch"], -(-longest // 256) * 256))
        return opened[0]

    def do(job: dict, server: xllamacpp.Server) -> list[list[int]]:
        def answer(prompt: list[int], length: int) -> list[int]:
            body = {
                "prompt": prompt, "max_tokens": length, "ignore_eos": True, "temperature": 0.0,
                "cache_prompt": job["shared"],
            }  # fmt: skip
            # It answers with text; asking for the tokens' probabilities too would cost it time.
            return [0] * server.handle_completions(body)["usage"]["completion_tokens"]

        with ThreadPoolExecutor(job["batch"]) as pool:
            return list(pool.map(answer, job["prompts"], job["lengths"]))

    serve(do, prepare)


if __name__ == "__main__":
    main()
