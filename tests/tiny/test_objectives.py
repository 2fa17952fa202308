"""The supervised losses against their plain formulas, and the noise of NEFTune.

Legend of tensor names: C reads, V vocabulary, D hidden width, T tokens.
"""

import pytest
import torch
from tiny_models import tiny_llama
from tiny_sessions import assert_equal_gradients, gradients, rows, tiny_session
from torch import nn
from torch.nn.functional import cross_entropy, log_softmax

from tunesmith.core.errors import ModelError
from tunesmith.core.recipe import Sft, Text
from tunesmith.runtime.neftune import Neftune
from tunesmith.runtime.ragged import pack, register
from tunesmith.runtime.readouts import OutputHead, ReadChunk, read_backward, read_values
from tunesmith.runtime.readouts_supervised import row_statistics
from tunesmith.runtime.step import Encoded, StepFacts
from tunesmith.train.objectives import supervised

VOCABULARY, WIDTH, READS = 23, 8, 11


def case(dtype: torch.dtype = torch.float64):
    """Hidden rows, an output layer, targets and weights."""
    draw = torch.Generator().manual_seed(3)
    layer = nn.Linear(WIDTH, VOCABULARY, bias=False, dtype=dtype)
    with torch.no_grad():
        layer.weight.copy_(torch.randn(VOCABULARY, WIDTH, generator=draw))
    hidden_CD = torch.randn(READS, WIDTH, generator=draw).to(dtype)
    target_C = torch.randint(VOCABULARY, (READS,), generator=draw)
    weight_C = torch.rand(READS, generator=draw) + 0.1
    return hidden_CD, layer, ReadChunk(target_C, torch.zeros(READS, dtype=torch.long), weight_C)


def step_of(settings, hidden_CD, layer, reads, chunk_reads: int = 4):
    """Loss of a step and its gradients by the hidden rows and by the output layer."""
    objective = supervised(settings)
    den = objective.denominators(StepFacts(1, READS, float(reads.weight_C.double().sum())))
    leaf_CD = hidden_CD.clone().requires_grad_()
    layer.weight.grad = None
    found = read_backward(
        leaf_CD * 1.0,
        reads,
        readouts=objective.readouts,
        heads={"output": OutputHead(layer)},
        loss=lambda values, part: objective.loss(values, part, den),
        chunk_reads=chunk_reads,
    )
    return found, leaf_CD.grad, layer.weight.grad


def plain_nll(logits_CV, target_C, settings):
    return cross_entropy(logits_CV, target_C, reduction="none", label_smoothing=settings.label_smoothing)


def plain_dft(logits_CV, target_C, settings):
    """The formula of arXiv:2508.05629, equation 9, as TRL's dft_loss has it: −sg(p) log p."""
    logprob_C = log_softmax(logits_CV, -1).gather(1, target_C[:, None]).squeeze(1)
    return -(logprob_C.exp().detach() * logprob_C)


CASES = {
    "nll": (Sft(), plain_nll),
    "label smoothing": (Sft(label_smoothing=0.1), plain_nll),
    "z-loss": (Text(z_loss=0.01), plain_nll),
    "smoothing and z-loss": (Text(label_smoothing=0.3, z_loss=0.01), plain_nll),
    "dft": (Sft(loss="dft"), plain_dft),
    "dft and z-loss": (Sft(loss="dft", z_loss=0.01), plain_dft),
}


@pytest.mark.parametrize("name", CASES)
def test_each_loss_and_its_gradients_equal_the_plain_formula(name):
    settings, formula = CASES[name]
    hidden_CD, layer, reads = case(torch.float32)
    found, hidden_grad, layer_grad = step_of(settings, hidden_CD, layer, reads)

    wide_CD, weight = hidden_CD.double().requires_grad_(), layer.weight.detach().double().requires_grad_()
    logits_CV = wide_CD @ weight.T
    loss_C = formula(logits_CV, reads.target_C, settings)
    loss_C = loss_C + settings.z_loss * torch.logsumexp(logits_CV, -1) ** 2
    expected = (loss_C * reads.weight_C).sum() / reads.weight_C.double().sum()
    expected.backward()
    assert found.loss == pytest.approx(float(expected.detach()), rel=1e-6)
    assert torch.allclose(hidden_grad.double(), wide_CD.grad, atol=1e-6)
    assert torch.allclose(layer_grad.double(), weight.grad, atol=1e-6)


@pytest.mark.parametrize("name", CASES)
def test_reports_have_the_log_likelihood_whatever_the_loss_is(name):
    settings, _ = CASES[name]
    hidden_CD, layer, reads = case(torch.float32)
    found, _, _ = step_of(settings, hidden_CD, layer, reads)
    nll_C = cross_entropy(layer(hidden_CD), reads.target_C, reduction="none")
    assert torch.allclose(found.values["logprob"], -nll_C, atol=1e-6)


@pytest.mark.parametrize("name", CASES)
def test_the_chunks_do_not_change_a_loss(name):
    settings, _ = CASES[name]
    whole, whole_grad, _ = step_of(settings, *case(torch.float32), chunk_reads=READS)
    cut, cut_grad, _ = step_of(settings, *case(torch.float32), chunk_reads=1)
    assert cut.loss == pytest.approx(whole.loss, rel=1e-6)
    assert torch.allclose(cut_grad, whole_grad, atol=1e-7)


def test_a_token_of_twice_the_weight_counts_like_two_tokens():
    hidden_CD, layer, reads = case(torch.float32)
    double = reads._replace(weight_C=torch.tensor([2.0] + (READS - 1) * [1.0]))
    rows = torch.tensor([0, *range(READS)])
    again = ReadChunk(reads.target_C[rows], reads.sequence_C[rows], torch.ones(READS + 1))
    settings = Sft(label_smoothing=0.2)
    assert step_of(settings, hidden_CD, layer, double)[0].loss == pytest.approx(
        step_of(settings, hidden_CD[rows], layer, again)[0].loss, rel=1e-6
    )


def test_a_step_without_a_learned_token_divides_by_one():
    assert supervised(Sft()).denominators(StepFacts(2, 0, 0.0)) == {"weight": 1.0}


def test_the_row_s_own_gradient_passes_torch_s_numerical_check():
    hidden_CD, layer, reads = case()
    logits_CV = layer(hidden_CD).detach().requires_grad_()
    assert torch.autograd.gradcheck(lambda rows: row_statistics(rows, reads.target_C)[:3], (logits_CV,))


def test_the_numerical_check_sees_a_wrong_gradient():
    hidden_CD, layer, reads = case()
    logits_CV = layer(hidden_CD).detach().requires_grad_()

    def wrong(rows_CV):
        logprob_C, mean_C, normaliser_C, _ = row_statistics(rows_CV, reads.target_C)
        return logprob_C, mean_C, normaliser_C.detach() + 0 * logprob_C

    with pytest.raises(RuntimeError, match="Jacobian mismatch"):
        torch.autograd.gradcheck(wrong, (logits_CV,))


def test_bfloat16_rows_are_summed_in_float32():
    hidden_CD, layer, reads = case(torch.bfloat16)
    values = read_values(
        hidden_CD,
        reads,
        readouts=supervised(Sft(label_smoothing=0.1)).readouts,
        heads={"output": OutputHead(layer)},
    )
    logits_CV = layer(hidden_CD).double()
    assert {value.dtype for value in values.values()} == {torch.float32}
    expected_C = log_softmax(logits_CV, -1).mean(-1)
    assert torch.allclose(values["mean_logprob"].double(), expected_C, atol=1e-6)


def test_one_chunk_keeps_its_logits_and_nothing_else_of_a_vocabulary_s_width():
    hidden_CD, layer, reads = case(torch.bfloat16)
    kept = []

    def pack_hook(tensor):
        kept.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack_hook, lambda tensor: tensor):
        row_statistics(layer(hidden_CD.requires_grad_()), reads.target_C)
    wide = [tensor for tensor in kept if tensor.shape == (READS, VOCABULARY)]
    assert [tensor.dtype for tensor in wide] == [torch.bfloat16]


# --- NEFTune ----------------------------------------------------------------------------------------------

LENGTHS = (3, 7, 5)


def noise_of(lengths: tuple[int, ...], num_tokens: int, *, num_rows: int = 1, alpha: float = 5.0):
    """What the hook adds to embeddings of zeros."""
    embedding = nn.Embedding.from_pretrained(torch.zeros(4, 64))
    noise = Neftune(alpha)
    noise.attach(embedding)
    noise.lengths = lengths
    return embedding(torch.zeros(num_rows, num_tokens, dtype=torch.long)).detach()


def test_the_noise_is_uniform_within_alpha_over_the_root_of_length_times_width():
    noise_TD = noise_of(LENGTHS, 16)[0]
    start = 0
    for length in LENGTHS:
        part = noise_TD[start : start + length]
        bound = 5.0 / (length * 64) ** 0.5
        assert 0.97 * bound < float(part.abs().max()) <= bound
        assert float(part.std()) == pytest.approx(bound / 3**0.5, rel=0.1)
        start += length
    assert not noise_TD[start:].any()


def test_an_example_gets_the_same_noise_packed_alone_and_padded():
    torch.manual_seed(5)
    packed_TD = noise_of(LENGTHS, 32)[0]
    torch.manual_seed(5)
    alone = [noise_of((length,), length)[0] for length in LENGTHS]
    torch.manual_seed(5)
    padded_BTD = noise_of(LENGTHS, 7, num_rows=3)
    assert torch.equal(packed_TD[:15], torch.cat(alone))
    for row, length in enumerate(LENGTHS):
        assert torch.equal(padded_BTD[row, :length], alone[row])
        assert not padded_BTD[row, length:].any()


def test_the_noise_is_in_torch_s_global_random_state():
    state = torch.get_rng_state()
    first = noise_of(LENGTHS, 16)
    assert not torch.equal(noise_of(LENGTHS, 16), first)
    torch.set_rng_state(state)
    assert torch.equal(noise_of(LENGTHS, 16), first)


def model_with_noise():
    model = tiny_llama(attn_implementation=register())
    noise = Neftune(5.0)
    handle = noise.attach(model.get_input_embeddings())
    return model, noise, handle


def hidden(model, examples):
    micro = pack(examples)
    output = model.get_decoder()(
        input_ids=micro.token_T[None],
        position_ids=micro.position_T[None],
        use_cache=False,
        segments=micro.segments,
    )
    return output.last_hidden_state[0].detach()


EXAMPLES = [Encoded(tuple(range(1, 1 + length)), length * (1.0,)) for length in LENGTHS]


def test_only_a_learning_forward_has_noise_and_it_is_gone_when_removed():
    model, noise, handle = model_with_noise()
    model.train()
    state = torch.get_rng_state()
    quiet = hidden(model, EXAMPLES)  # no lengths: nothing learns
    noise.lengths = LENGTHS
    loud = hidden(model, EXAMPLES)
    model.eval()
    validation = hidden(model, EXAMPLES)
    assert torch.equal(validation, quiet)
    assert not torch.allclose(loud, quiet, atol=1e-3)
    model.train()
    handle.remove()
    assert torch.equal(hidden(model, EXAMPLES), quiet)
    torch.set_rng_state(state)


def test_validation_leaves_the_random_state_alone():
    model, noise, _ = model_with_noise()
    noise.lengths = LENGTHS
    model.eval()
    state = torch.get_rng_state()
    hidden(model, EXAMPLES)
    assert torch.equal(torch.get_rng_state(), state)


def test_a_packed_learning_forward_equals_each_example_alone_given_the_same_noise():
    model, noise, _ = model_with_noise()
    model.train()
    torch.manual_seed(7)
    noise.lengths = LENGTHS
    packed = hidden(model, EXAMPLES)[: sum(LENGTHS)]
    torch.manual_seed(7)
    alone = []
    for length, example in zip(LENGTHS, EXAMPLES, strict=True):
        noise.lengths = (length,)
        alone.append(hidden(model, [example])[:length])
    assert torch.allclose(packed, torch.cat(alone), atol=1e-5)


def test_lengths_that_do_not_fit_the_embeddings_are_an_error():
    with pytest.raises(ModelError, match="3 examples of 15 tokens do not fit"):
        noise_of(LENGTHS, 14)


def noisy_session(**changes):
    """A session whose embeddings get noise while it learns."""
    session = tiny_session(**changes)
    session.neftune = Neftune(5.0)
    session.neftune.attach(session.model.get_input_embeddings())
    return session


@pytest.mark.parametrize("name", CASES)
def test_micro_batches_leave_the_gradient_of_every_loss_unchanged_with_noise_too(name):
    objective = supervised(CASES[name][0])
    whole, parts = noisy_session(), noisy_session(microbatch_tokens=1)
    step = rows(9, 20, 33)
    torch.manual_seed(1)
    expected = whole.forward_backward(step, objective).loss
    torch.manual_seed(1)
    assert parts.forward_backward(step, objective).loss == pytest.approx(expected, rel=1e-5)
    assert_equal_gradients(parts, whole, rtol=1e-4, atol=1e-6)


def test_a_session_adds_noise_where_it_learns_and_nowhere_else():
    noisy, quiet, step = noisy_session(), tiny_session(), rows(9, 20)
    objective = supervised(Sft())
    state = torch.get_rng_state()
    assert noisy.losses(step, objective.readouts) == quiet.losses(step, objective.readouts)
    assert torch.equal(torch.get_rng_state(), state)
    assert noisy.forward_backward(step, objective).loss != quiet.forward_backward(step, objective).loss
    assert not torch.equal(torch.get_rng_state(), state)
    assert not torch.allclose(*(gradients(it)["model.norm.weight"] for it in (noisy, quiet)), rtol=1e-3)
