import pytest
import torch
from tiny_models import tiny_llama
from torch.nn.functional import cross_entropy

from tunesmith.core.errors import ModelError
from tunesmith.runtime import lora
from tunesmith.runtime.models import output_head, prepare_for_training
from tunesmith.runtime.ragged import Segment, cut, pack, segment_attention
from tunesmith.runtime.readouts import OutputHead, ReadChunk, TargetLogProbability, read_backward, read_values
from tunesmith.runtime.session import AdamW, Session
from tunesmith.runtime.step import Encoded
from tunesmith.train.objectives import SupervisedFineTuning

SHAPE = lora.LoraShape(rank=4, alpha=8)


def rows(*lengths: int, seed: int = 1) -> list[Encoded]:
    generator = torch.Generator().manual_seed(seed)
    return [
        Encoded(
            tuple(torch.randint(0, 256, (length,), generator=generator).tolist()),
            tuple(index >= length // 2 for index in range(length)),
        )
        for length in lengths
    ]


def session(*, microbatch_tokens: int = 1000, **changes: object) -> Session:
    model = tiny_llama(**changes)
    head = prepare_for_training(model)
    found = Session(
        model,
        head=head,
        shape=SHAPE,
        optimiser=AdamW((0.9, 0.99), 0.0),
        microbatch_tokens=microbatch_tokens,
        seed=3,
    )
    with torch.no_grad():  # B starts at zero, which would hide every fault in A's gradient
        for index, parameter in enumerate(found.trainable):
            parameter.add_(
                torch.randn(parameter.shape, generator=torch.Generator().manual_seed(index)) * 0.05
            )
    return found


def gradients(found: Session) -> list[torch.Tensor]:
    return [parameter.grad for parameter in found.trainable]


def plain_gradients(found: Session, step: list[Encoded]) -> tuple[float, list[torch.Tensor]]:
    """The same step as anyone would write it: one row at a time, transformers' attention, all logits."""
    found.model.set_attn_implementation("eager")
    num_reads = sum(row.num_supervised for row in step)
    total = 0.0
    for row in step:
        logits_TV = found.model(input_ids=torch.tensor([row.token_ids])).logits[0]
        labels_T = torch.tensor([token if on else -100 for token, on in zip(*row, strict=True)])
        loss = cross_entropy(logits_TV[:-1], labels_T[1:], ignore_index=-100, reduction="sum") / num_reads
        loss.backward()
        total += float(loss.detach())
    return total, gradients(found)


def test_packed_rows_give_the_loss_and_gradient_of_separate_rows():
    step = rows(5, 40, 17, 300)
    packed, plain = session(), session()
    report = packed.forward_backward(step, SupervisedFineTuning())
    loss, expected = plain_gradients(plain, step)
    assert report.loss == pytest.approx(loss, rel=1e-5)
    for found, wanted in zip(gradients(packed), expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("limit", [1, 50, 100, 10_000])
def test_the_micro_batch_limit_leaves_the_gradient_unchanged(limit: int):
    step = rows(5, 40, 17, 30, seed=2)
    whole, parts = session(), session(microbatch_tokens=limit)
    assert parts.forward_backward(step, SupervisedFineTuning()).loss == pytest.approx(
        whole.forward_backward(step, SupervisedFineTuning()).loss, rel=1e-5
    )
    for found, wanted in zip(gradients(parts), gradients(whole), strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-7)


def test_cutting_keeps_order_and_every_example():
    step = rows(5, 40, 17, 30)
    parts = list(cut(step, max_tokens=47))
    assert [len(row.token_ids) for part in parts for row in part] == [5, 40, 17, 30]
    assert [len(part) for part in parts] == [2, 2]


def test_an_example_longer_than_the_limit_stands_alone():
    assert [len(part) for part in cut(rows(5, 40, 5), max_tokens=10)] == [1, 1, 1]


def test_reads_point_at_the_token_before_each_target():
    micro = pack([Encoded((1, 2, 3), (False, False, True)), Encoded((4, 5), (True, True))])
    assert micro.read_R.tolist() == [1, 3]
    assert micro.target_R.tolist() == [3, 5]
    assert micro.sequence_R.tolist() == [0, 1]
    assert micro.position_T.tolist() == [0, 1, 2, 0, 1, *range(27)]
    assert micro.token_T.numel() == 32


def test_the_base_gets_no_gradient_and_does_not_change():
    found = session()
    before = {name: tensor.clone() for name, tensor in found.model.named_parameters() if "lora" not in name}
    found.forward_backward(rows(20), SupervisedFineTuning())
    found.optim_step(learning_rate=0.1, max_norm=1.0)
    after = dict(found.model.named_parameters())
    assert all(
        after[name].grad is None and torch.equal(after[name], tensor) for name, tensor in before.items()
    )


@pytest.mark.parametrize(("scale", "softcap"), [(1.0, None), (0.25, None), (1.0, 3.0)])
def test_the_chunked_output_layer_equals_the_plain_one(scale: float, softcap: float | None):
    torch.manual_seed(0)
    layer = torch.nn.Linear(8, 50, bias=False).requires_grad_(False)
    layer.weight.mul_(5)
    hidden, target = torch.randn(21, 8), torch.randint(0, 50, (21,))
    weight = torch.rand(21)
    head = OutputHead(layer, scale, softcap)
    reads = ReadChunk(target, torch.zeros(21, dtype=torch.long), weight)
    chunked, plain = hidden.clone().requires_grad_(), hidden.clone().requires_grad_()
    readouts = (TargetLogProbability(),)
    total = read_backward(
        chunked,
        reads,
        readouts=readouts,
        heads={"output": head},
        loss=lambda values, part: -(values["logprob"] * part.weight_C).sum(),
        chunk_reads=4,
    )
    logprob = torch.log_softmax(head(plain), dim=-1).gather(1, target[:, None]).squeeze(1)
    expected = -(logprob * weight).sum()
    expected.backward()
    assert total == pytest.approx(float(expected.detach()), rel=1e-5)
    torch.testing.assert_close(chunked.grad, plain.grad, rtol=1e-4, atol=1e-6)
    values = read_values(hidden, reads, readouts=readouts, heads={"output": head}, chunk_reads=4)
    torch.testing.assert_close(values["logprob"], logprob.detach(), rtol=1e-4, atol=1e-5)


def test_a_model_set_up_for_training_refuses_to_run_without_segments():
    model = tiny_llama()
    prepare_for_training(model)
    with pytest.raises(ModelError, match="without segments"):
        model(input_ids=torch.tensor([[1, 2, 3]]))


def test_a_model_whose_output_our_head_does_not_reproduce_is_refused():
    class Scaled(type(tiny_llama())):
        """A model that does something to its logits that its configuration does not say."""

        def forward(self, **inputs):
            output = super().forward(**inputs)
            output.logits = output.logits * 1.5
            return output

    model = tiny_llama()
    model.__class__ = Scaled
    with pytest.raises(ModelError, match="logits differ"):
        prepare_for_training(model)


def test_the_head_reads_scale_and_cap_from_the_configuration():
    model = tiny_llama()
    model.config.logits_scaling = 4.0
    model.config.final_logit_softcapping = 30.0
    head = output_head(model)
    assert (head.scale, head.softcap) == (0.25, 30.0)


def test_bfloat16_training_stays_near_float32():
    step = rows(30, 20)
    exact, rounded = session(), session(dtype=torch.bfloat16)
    loss = exact.forward_backward(step, SupervisedFineTuning()).loss
    assert rounded.forward_backward(step, SupervisedFineTuning()).loss == pytest.approx(loss, rel=0.02)
    assert all(parameter.dtype == torch.float32 for parameter in rounded.trainable)


def test_validation_does_not_move_the_random_state():
    found = session()
    before = torch.get_rng_state()
    found.forward(rows(10), (TargetLogProbability(),))
    assert torch.equal(before, torch.get_rng_state())


def test_eight_steps_give_the_golden_losses():
    found = session()
    losses = []
    for _ in range(8):
        losses.append(found.forward_backward(rows(30, 12, 25, seed=5), SupervisedFineTuning()).loss)
        found.optim_step(learning_rate=3e-2, max_norm=1.0)
    assert losses == pytest.approx(GOLDEN, rel=2e-4)


GOLDEN = [7.1047, 6.8409, 5.8938, 5.1815, 4.9938, 4.7740, 5.0672, 4.6406]


@pytest.mark.parametrize(
    "feature", [{"softcap": 30.0}, {"s_aux": 1.0}, {"position_bias": 1.0}, {"sliding_window": 4}]
)
def test_what_the_attention_does_not_compute_is_refused(feature: dict):
    states = torch.zeros(1, 2, 6, 4)
    with pytest.raises(ModelError, match=next(iter(feature))):
        segment_attention(
            torch.nn.Module(), states, states, states, None, segments=(Segment(0, 6),), **feature
        )


def test_a_window_wider_than_every_segment_hides_nothing():
    states = torch.zeros(1, 2, 6, 4)
    segments = (Segment(0, 3), Segment(3, 3))
    output, _ = segment_attention(
        torch.nn.Module(), states, states, states, None, segments=segments, sliding_window=3
    )
    assert output.shape == (1, 6, 2, 4)
