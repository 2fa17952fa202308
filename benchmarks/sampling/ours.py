"""tunesmith's sampler: `ours.py MODEL [ADAPTER …]`; a job says how many of the adapters its requests mix."""

import sys
from itertools import cycle
from pathlib import Path

from contestants import THREADS, serve

from tunesmith.runtime.lora.bank import AdapterBank
from tunesmith.runtime.models import load_for_inference
from tunesmith.runtime.sampling.engine import Sampler
from tunesmith.runtime.sampling.open import open_sampler
from tunesmith.runtime.sampling.port import Request
from tunesmith.runtime.threads import apply_threads

MEMORY_BYTES = 1 << 30


def main() -> None:
    """Answer jobs."""
    apply_threads(THREADS)
    folder, paths = Path(sys.argv[1]), {f"adapter {at}": Path(path) for at, path in enumerate(sys.argv[2:])}
    loaded = load_for_inference(folder)
    bank = AdapterBank(loaded.model, info=loaded.info)
    for name, path in paths.items():
        bank.add(name, path)
    open_sampler(loaded, bank=bank)

    def prepare(job: dict) -> Sampler:
        """A sampler that remembers no prompt."""
        return Sampler(
            loaded.model, loaded.tokenizer, bank=bank, max_batch=job["batch"], memory_bytes=MEMORY_BYTES
        )

    def do(job: dict, sampler: Sampler) -> list[list[int]]:
        used = list(paths)[: job["adapters"]] or [None]
        tasks = zip(job["prompts"], job["lengths"], cycle(used), strict=False)
        requests = [
            Request(tuple(prompt), length, adapter=name, logprobs=0) for prompt, length, name in tasks
        ]
        answers: dict[int, list[int]] = {sampler.submit(request): [] for request in requests}
        while sampler.busy:
            for event in sampler.step():
                answers[event.key] += [known.token_id for known in event.logprobs]
        return list(answers.values())

    serve(do, prepare)


if __name__ == "__main__":
    main()
