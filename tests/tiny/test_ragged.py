import pytest
import torch
from tiny_models import tiny_llama
from tiny_sessions import rows, tiny_session

from tunesmith.core.errors import ModelError
from tunesmith.runtime.models import output_head, prepare_for_training
from tunesmith.runtime.ragged import Segment, cut, pack, segment_attention
from tunesmith.runtime.readouts import TargetLogProbability
from tunesmith.runtime.step import Encoded


def lengths(step: list[Encoded]) -> list[int]:
    return [len(row.token_ids) for row in step]


def test_cutting_keeps_order_and_every_example():
    assert list(cut([5, 40, 17, 30], max_tokens=47)) == [slice(0, 2), slice(2, 4)]


def test_an_example_longer_than_the_limit_stands_alone():
    assert list(cut([5, 40, 5], max_tokens=10)) == [slice(0, 1), slice(1, 2), slice(2, 3)]


def test_a_step_of_nothing_has_no_micro_batch():
    assert list(cut([], max_tokens=10)) == []


def test_an_example_is_never_cut_from_its_parent():
    assert list(cut([5, 5, 5, 5], max_tokens=10, parents=[None, 0, 0, None])) == [slice(0, 3), slice(3, 4)]


def test_a_child_that_does_not_stand_right_behind_its_parent_stays_with_it():
    assert list(cut([4, 4, 4, 4], max_tokens=6, parents=[None, None, 0, None])) == [slice(0, 3), slice(3, 4)]


def test_reads_point_at_the_token_before_each_target():
    micro = pack([Encoded((1, 2, 3), (0, 0, 1)), Encoded((4, 5), (1, 0.5))])
    assert micro.read_R.tolist() == [1, 3]
    assert micro.target_R.tolist() == [3, 5]
    assert micro.sequence_R.tolist() == [0, 1]
    assert micro.weight_R.tolist() == [1, 0.5]
    assert micro.position_T.tolist() == [0, 1, 2, 0, 1, *range(27)]
    assert micro.token_T.numel() == 32


def test_a_completion_is_read_off_the_end_of_its_prompt_and_counts_on():
    prompt = Encoded((7, 8, 9), (0, 0, 0))
    micro = pack([prompt, Encoded((1, 2), (1, 1)), Encoded((3,), (1,))], [None, 0, 0])
    assert micro.position_T[:6].tolist() == [0, 1, 2, 3, 4, 3]
    assert micro.read_R.tolist() == [2, 3, 2]
    assert micro.target_R.tolist() == [1, 2, 3]
    assert micro.sequence_R.tolist() == [1, 1, 2]


def test_a_shared_prompt_gives_the_log_probabilities_of_whole_rows():
    session = tiny_session()
    prompt, one, other, more = rows(9, 12, 30, 4)
    prompt = Encoded(prompt.token_ids, (0.0,) * 9)
    tails = [Encoded(tail.token_ids, (1.0,) * len(tail.token_ids)) for tail in (one, other, more)]
    # A tree: two completions of the prompt, and one that goes on behind the second.
    shared = session.forward([prompt, *tails], (TargetLogProbability(),), parents=[None, 0, 0, 2])["logprob"]
    whole = [
        Encoded(prompt.token_ids + tails[0].token_ids, (0.0,) * 9 + (1.0,) * 12),
        Encoded(prompt.token_ids + tails[1].token_ids, (0.0,) * 9 + (1.0,) * 30),
        Encoded(prompt.token_ids + tails[1].token_ids + tails[2].token_ids, (0.0,) * 39 + (1.0,) * 4),
    ]
    expected = session.forward(whole, (TargetLogProbability(),))["logprob"]
    torch.testing.assert_close(shared, expected, rtol=1e-4, atol=1e-4)


def test_one_segment_never_sees_another():
    session = tiny_session()
    first, second, third = rows(11, 23, 8)
    before = session.forward([first, second], (TargetLogProbability(),))["logprob"]
    after = session.forward([first, third], (TargetLogProbability(),))["logprob"]
    assert torch.equal(before[: first.num_supervised], after[: first.num_supervised])


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


def test_a_window_narrower_than_prompt_and_completion_together_is_refused():
    states = torch.zeros(1, 2, 6, 4)
    with pytest.raises(ModelError, match="sliding_window"):
        segment_attention(
            torch.nn.Module(), states, states, states, None,
            segments=(Segment(0, 3), Segment(3, 3, parent=0)), sliding_window=3,
        )  # fmt: skip
