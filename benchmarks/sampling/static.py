"""transformers' static `generate`: batches padded on the left, each as long as its longest answer."""

import sys

import torch
from contestants import THREADS, serve
from transformers import AutoModelForCausalLM


def main() -> None:
    """Answer jobs."""
    torch.set_num_threads(THREADS)
    model = AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype=torch.bfloat16).eval()
    model.generation_config.eos_token_id = None

    def do(job: dict, _: object) -> list[list[int]]:
        answers = []
        for start in range(0, len(job["prompts"]), job["batch"]):
            prompts = job["prompts"][start : start + job["batch"]]
            lengths = job["lengths"][start : start + job["batch"]]
            longest = max(map(len, prompts))
            ids = torch.tensor([[0] * (longest - len(prompt)) + prompt for prompt in prompts])
            seen = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts])
            out = model.generate(
                ids, attention_mask=seen, max_new_tokens=max(lengths), do_sample=False, pad_token_id=0
            )
            new = out[:, longest:].tolist()
            answers += [row[:length] for row, length in zip(new, lengths, strict=True)]
        return answers

    serve(do)


if __name__ == "__main__":
    main()
