"""Supervised fine-tuning in one flat file: what `tunesmith train` does, without its speed or its proofs.

    python examples/flat_sft.py MODEL_FOLDER rows.jsonl --out adapter

Read it top to bottom.  The production loop is `src/tunesmith/train/loop.py`; it computes the same
gradient (a test holds the two against each other), packs examples end to end, resumes, and evaluates.

Shapes: T tokens of one example, R supervised tokens of one example, V vocabulary.
"""

import argparse
import json
import math
import random
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

SEED = 0


def read_conversations(path: Path) -> list[list[dict[str, str]]]:
    """One conversation a line: {"messages": [{"role": …, "content": …}, …]}."""
    return [json.loads(line)["messages"] for line in path.read_text(encoding="utf-8").splitlines()]


def render(tokenizer, messages) -> tuple[torch.Tensor, torch.Tensor]:
    """A conversation as token ids, and which of them the assistant wrote.

    The template is applied to ever longer beginnings of the conversation.  What an assistant turn adds
    after its header ("<|im_start|>assistant") is supervised, the end-of-turn token included: a model
    that never learns to stop never stops.
    """
    ids_T = tokenizer.apply_chat_template(messages, return_dict=False)
    supervised_T = [False] * len(ids_T)
    for position, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        header = tokenizer.apply_chat_template(
            messages[:position], add_generation_prompt=True, return_dict=False
        )
        whole = tokenizer.apply_chat_template(messages[: position + 1], return_dict=False)
        assert ids_T[: len(whole)] == whole and whole[: len(header)] == header, (
            "the template rewrites earlier turns"
        )
        supervised_T[len(header) : len(whole)] = [True] * (len(whole) - len(header))
    return torch.tensor(ids_T), torch.tensor(supervised_T)


def loss_sum(model, ids_T: torch.Tensor, supervised_T: torch.Tensor) -> torch.Tensor:
    """Negative log-likelihood of the supervised tokens, summed.

    A sum and not a mean: the step divides once by the number of supervised tokens of ALL its examples.
    Averaging averages would give a short answer's tokens more weight than a long answer's.
    """
    hidden_TD = model.get_base_model().model(input_ids=ids_T[None]).last_hidden_state[0]
    # The hidden state at t predicts the token at t + 1; only rows that predict a supervised token go
    # through the output layer, which is a fifth of a small model's arithmetic.
    read_R = supervised_T[1:].nonzero().squeeze(-1)
    logits_RV = model.get_output_embeddings()(hidden_TD[read_R]).float()
    return torch.nn.functional.cross_entropy(logits_RV, ids_T[1:][read_R], reduction="sum")


def learning_rate_at(step: int, *, num_steps: int, highest: float, warmup_share: float = 0.05) -> float:
    """Up in a straight line, then down along half a cosine."""
    num_warmup = max(1, round(num_steps * warmup_share))
    if step < num_warmup:
        return highest * (step + 1) / num_warmup
    return highest * 0.5 * (1 + math.cos(math.pi * (step - num_warmup) / max(1, num_steps - num_warmup)))


def add_lora(model, *, rank: int, alpha: float):
    """Freeze the model; beside every linear layer of the blocks put two thin float32 matrices that learn."""
    names = {
        name.rsplit(".", 1)[-1]
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and name != "lm_head"
    }
    torch.manual_seed(SEED)
    return get_peft_model(
        model, LoraConfig(r=rank, lora_alpha=alpha, target_modules=sorted(names), lora_dropout=0.0)
    )


def train(model, examples, *, epochs: int, step_examples: int, highest: float) -> list[float]:
    """The loop: for each step a few examples, one gradient, one update.  Returns the loss of each step."""
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trainable, lr=highest, betas=(0.9, 0.99), weight_decay=0.0)
    shuffler = random.Random(SEED)
    order = [i for _ in range(epochs) for i in shuffler.sample(range(len(examples)), len(examples))]
    steps = [order[start : start + step_examples] for start in range(0, len(order), step_examples)]
    losses = []
    for number, members in enumerate(steps):
        num_supervised = sum(int(examples[i][1][1:].sum()) for i in members)
        total = 0.0
        for i in members:
            loss = loss_sum(model, *examples[i]) / num_supervised
            loss.backward()
            total += float(loss.detach())
        torch.nn.utils.clip_grad_norm_(trainable, 1.0)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate_at(number, num_steps=len(steps), highest=highest)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(total)
        print(f"step {number + 1}/{len(steps)}  loss {total:.4f}", flush=True)
    return losses


def main() -> None:
    """Parse, load, train, save."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="a model folder, or a hub id")
    parser.add_argument("rows", type=Path, help="JSONL file of conversations")
    parser.add_argument("--out", type=Path, default=Path("adapter"))
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--step-examples", type=int, default=8)
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--rank", type=int, default=16)
    settings = parser.parse_args()

    tokenizer = AutoTokenizer.from_pretrained(settings.model)
    model = AutoModelForCausalLM.from_pretrained(settings.model, dtype=torch.bfloat16)
    model = add_lora(model, rank=settings.rank, alpha=2.0 * settings.rank)
    examples = [render(tokenizer, messages) for messages in read_conversations(settings.rows)]
    steps = {"epochs": settings.epochs, "step_examples": settings.step_examples}
    train(model, examples, highest=settings.learning_rate, **steps)
    model.save_pretrained(settings.out)
    print(f"saved {settings.out}: load it with peft.PeftModel.from_pretrained")


if __name__ == "__main__":
    main()
