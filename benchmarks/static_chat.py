"""transformers' static `generate` on chats: `static_chat.py MODEL LONGEST`, a line of JSON in, one out."""

import json
import os
import sys
import time

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer


def main() -> None:
    """Answer jobs until the input ends; templates and tokenizing count, loading does not."""
    folder, longest = sys.argv[1], int(sys.argv[2])
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left")
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).eval()
    pad = tokenizer.pad_token_id
    for line in sys.stdin:
        job = json.loads(line)
        started, made = time.perf_counter(), 0
        texts = [
            tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
            for turns in job["asked"]
        ]
        for start in range(0, len(texts), job["batch"]):
            batch = texts[start : start + job["batch"]]
            rows = tokenizer(batch, return_tensors="pt", padding=True, add_special_tokens=False)
            out = model.generate(**rows, max_new_tokens=longest, do_sample=False, pad_token_id=pad)
            made += int((out[:, rows["input_ids"].shape[1] :] != pad).sum())
        print(json.dumps({"seconds": time.perf_counter() - started, "tokens": made}), flush=True)


if __name__ == "__main__":
    main()
