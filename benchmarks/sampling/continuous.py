"""transformers' own continuous batching."""

import sys

import torch
from contestants import THREADS, serve
from transformers import AutoModelForCausalLM, ContinuousBatchingConfig, GenerationConfig


def main() -> None:
    """Answer jobs."""
    torch.set_num_threads(THREADS)
    model = AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype=torch.bfloat16).eval()
    model.set_attn_implementation("sdpa")

    def do(job: dict, _: object) -> list[list[int]]:
        generation = GenerationConfig(do_sample=False, eos_token_id=-1, pad_token_id=0)
        settings = ContinuousBatchingConfig(max_requests_per_batch=job["batch"], use_cuda_graph=False)
        manager = model.init_continuous_batching(generation, settings)
        manager.start()
        names = [
            manager.add_request(prompt, max_new_tokens=length)
            for prompt, length in zip(job["prompts"], job["lengths"], strict=True)
        ]
        found = {}
        while len(found) < len(names) and manager.is_running():
            result = manager.get_result(timeout=1)
            if result is not None and result.is_finished():
                found[result.request_id] = list(result.generated_tokens)
        manager.stop(block=True)
        return [found[name] for name in names]

    serve(do)


if __name__ == "__main__":
    main()
