"""What transformers, torch and Python expect of a model: outputs, training, copies."""

from __future__ import annotations

import copy
import io
import pickle
from typing import Any

import pytest
import torch
from torch import fx, nn

from azc.diagnostics import DiagnosticError, UsageError
from azc.lower.layer import Layer
from azc.model.config import AzcConfig
from azc.model.tasks import build_model
from tests.model.models import build, check, masks, text_of

MIXED = "sdpa; conv(kernel = 3); primer; conv(kernel = 3, kind = dynamic)"
# The names with `gradient` are those that all of transformers 5 knows.
pytestmark = pytest.mark.filterwarnings(
    "ignore:`.*gradient_checkpointing:FutureWarning"
)

IDS = torch.randint(0, 50, (3, 9), generator=torch.Generator().manual_seed(5))
MASK = masks([9, 4, 1], 9, "left")


def test_outputs_of_every_kind() -> None:
    model = build(MIXED)
    with torch.no_grad():
        plain = model(IDS)
        assert plain.loss is None
        assert plain.hidden_states is None
        assert plain.logits.shape == (3, 9, 50)
        full = model(IDS, labels=IDS, output_hidden_states=True)
        assert len(full.hidden_states) == 5
        loss, logits, states = model(
            IDS, labels=IDS, output_hidden_states=True, return_dict=False
        )
        assert torch.equal(loss, full.loss)
        assert torch.equal(logits, full.logits)
        assert torch.equal(states[-1], full.hidden_states[-1])
        wanted = nn.functional.cross_entropy(logits.flatten(0, 1), IDS.flatten())
        assert torch.equal(loss, wanted)
        (only,) = model(IDS, return_dict=False)
        assert torch.equal(only, plain.logits)
        model.config.return_dict = False
        (only,) = model(IDS)
        assert torch.equal(only, plain.logits)
        model.config.return_dict = True
        model.config.output_hidden_states = True
        assert len(model(IDS).hidden_states) == 5


def test_the_base_model_gives_pooled_states() -> None:
    base = build(MIXED, task="base")
    with torch.no_grad():
        output = base(IDS, attention_mask=MASK)
        pooled = torch.stack([s[m][0] for s, m in zip(output[0], MASK, strict=True)])
        assert torch.equal(output.pooler_output, torch.tanh(base.pooler(pooled)))
        hidden, pooler = base(IDS, attention_mask=MASK, return_dict=False)
    assert torch.equal(hidden, output.last_hidden_state)
    assert torch.equal(pooler, output.pooler_output)


@pytest.mark.parametrize("residual", ["pre", "post"])
def test_embeds_are_the_ids_embeddings(residual: str) -> None:
    model = build(MIXED, residual=residual)
    embeds = model.get_input_embeddings()(IDS)
    with torch.no_grad():
        found = model(inputs_embeds=embeds, attention_mask=MASK).logits
        assert torch.equal(found, model(IDS, attention_mask=MASK).logits)


@pytest.mark.parametrize(
    ("problem", "labels"),
    [
        (None, torch.tensor([0, 2, 1])),
        ("single_label_classification", torch.tensor([0, 2, 1])),
        ("multi_label_classification", torch.tensor([[1.0, 0, 1]] * 3)),
        ("regression", torch.tensor([[0.5, -1, 2]] * 3)),
    ],
)
def test_classifiers(problem: str | None, labels: torch.Tensor) -> None:
    model = build(MIXED, task="sequence-classification")
    model.config.problem_type = problem
    output = model(IDS, attention_mask=MASK, labels=labels)
    logits = output.logits
    assert logits.shape == (3, 3)
    wanted = {
        "multi_label_classification": nn.functional.binary_cross_entropy_with_logits,
        "regression": nn.functional.mse_loss,
    }.get(str(problem), nn.functional.cross_entropy)(logits, labels)
    torch.testing.assert_close(output.loss, wanted)
    output.loss.backward()
    assert all(p.grad is not None for p in model.classifier.parameters())


def test_targets_only_is_the_same_loss() -> None:
    model = build(MIXED)
    labels = IDS.masked_fill(torch.arange(9) % 3 > 0, -100)
    full = model(IDS, attention_mask=MASK, labels=labels)
    few = model(IDS, attention_mask=MASK, labels=labels, targets_only=True)
    torch.testing.assert_close(few.loss, full.loss)
    torch.testing.assert_close(few.logits, full.logits[labels != -100])


# Training


def train_step(model: Any) -> dict[str, torch.Tensor]:
    model.zero_grad()
    model(IDS, attention_mask=MASK, labels=IDS).loss.backward()
    return {n: p.grad for n, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("reentrant", [False, True])
def test_gradient_checkpointing(reentrant: bool) -> None:
    model = build(MIXED).train()
    plain = {name: grad.clone() for name, grad in train_step(model).items()}
    calls: list[int] = []
    for layer in model.model.encoder.layers.children():
        assert isinstance(layer, Layer)
        linear = next(m for m in layer.modules() if isinstance(m, nn.Linear))
        linear.register_forward_hook(lambda *_: calls.append(1))
    assert not model.is_gradient_checkpointing
    model.gradient_checkpointing_enable({"use_reentrant": reentrant})
    assert model.is_gradient_checkpointing
    again = train_step(model)
    assert len(calls) == 2 * 4  # forward, and again on the way back
    assert plain.keys() == again.keys()
    for name, grad in plain.items():
        assert torch.equal(grad, again[name]), name
    calls.clear()
    with torch.no_grad():
        model.eval()(IDS)
    model(IDS, labels=IDS).loss.backward()
    assert len(calls) == 2 * 4  # in evaluation nothing is computed again
    model.train().gradient_checkpointing_disable()
    calls.clear()
    train_step(model)
    assert len(calls) == 4


def test_checkpointing_repeats_the_dropout() -> None:
    model = build(MIXED, dropout=0.3, attention_dropout=0.3).train()
    torch.manual_seed(7)
    plain = {name: grad.clone() for name, grad in train_step(model).items()}
    model.gradient_checkpointing_enable()
    torch.manual_seed(7)
    for name, grad in train_step(model).items():
        assert torch.equal(grad, plain[name]), name


def dropouts(model: nn.Module) -> list[str]:
    return [n for n, m in model.named_modules() if isinstance(m, nn.Dropout)]


def test_attention_dropout_is_on_softmax_of_scores_alone() -> None:
    programs = """
attention scores(q, k, v) { return softmax(q @ k.T) @ v }
attention features(q, k, v) { return softmax(q) @ (softmax(k.T) @ v) }
attention twice(q, k, v) {
    a = softmax(q @ k.T)
    return a @ (softmax(a) @ v) + a @ k
}
attention none(q, k, v) { return relu(q @ k.T) @ v }
attention column(q, k, v) { return softmax(sum(q)) * v }
""".replace("{ return", "{\n    return").replace("v }", "v\n}")
    for name, wanted in {
        "scores": 1,
        "features": 0,
        "twice": 2,
        "none": 0,
        "column": 0,
    }.items():
        model = build(name, attentions=programs, attention_dropout=0.5)
        model.set_attn_implementation("eager")
        found = [n for n in dropouts(model) if "attention.dropout" in n]
        assert len(found) == wanted, name
    with torch.no_grad():
        model = build("scores", attentions=programs, attention_dropout=0.5).train()
        model.set_attn_implementation("eager")
        one, other = model(IDS).logits, model(IDS).logits
        assert not torch.equal(one, other)
        assert torch.equal(model.eval()(IDS).logits, model(IDS).logits)
        # What is dropped: a fourth of the weights of each row here, the rest grow.
        layer = next(model.train().model.encoder.layers.children())
        seen = []
        (name,) = (n for n, _ in layer.named_modules() if "attention.dropout" in n)
        layer.get_submodule(name).register_forward_hook(
            lambda module, args, out: seen.append((args[0], out))
        )
        model(IDS)
        ((before, after),) = seen
        assert before.shape == (3, 2, 9, 9)
        torch.testing.assert_close(before.sum(-1), torch.ones(3, 2, 9))
        kept = after != 0
        torch.testing.assert_close(after[kept], 2 * before[kept])
        assert 0.3 < kept.float().mean() < 0.7


def test_dropout_where_bert_has_it() -> None:
    model = build("sdpa; conv(kernel = 3)", dropout=0.1, ffn="[8, 8]")
    inner = [n.removeprefix("model.") for n in dropouts(model)]
    assert inner == [
        "embeddings.dropout",
        "encoder.layers.0.dropout",
        "encoder.layers.0.ffn.0.dropout",
        "encoder.layers.0.ffn.1.dropout",
        "encoder.layers.1.dropout",
        "encoder.layers.1.ffn.0.dropout",
        "encoder.layers.1.ffn.1.dropout",
    ]


def test_it_learns() -> None:
    model = build(MIXED, shaken=False, residual="pre").train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(30):
        optimizer.zero_grad()
        loss = model(IDS, attention_mask=MASK, labels=IDS.masked_fill(~MASK, -100)).loss
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.2 * losses[0]


# Number formats


@pytest.mark.parametrize("residual", ["pre", "post"])
def test_bfloat16_is_near(residual: str) -> None:
    layers = MIXED + "; turned; windowed; linear; distances; alibi_keys"
    model = build(layers, shaken=False, residual=residual)
    wanted = model(IDS, attention_mask=MASK, labels=IDS)
    scale = wanted.logits.abs().max()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = model(IDS, attention_mask=MASK, labels=IDS)
    mixed.loss.backward()
    assert (mixed.logits.float() - wanted.logits).abs().max() < 0.1 * scale
    half = copy.deepcopy(model).bfloat16()
    found = half(IDS, attention_mask=MASK, labels=IDS)
    assert found.logits.dtype == torch.bfloat16
    assert found.loss.dtype == torch.float32
    assert (found.logits.float() - wanted.logits).abs().max() < 0.1 * scale
    found.loss.backward()
    for each in (model, half):
        grads = [p.grad for p in each.parameters() if p.grad is not None]
        assert all(grad.isfinite().all() for grad in grads)


def test_float16_on_a_long_sequence_of_padding() -> None:
    model = build(MIXED + "; windowed; distances", shaken=False).half()
    mask = masks([30, 2, 0], 40, "right")
    ids = torch.randint(0, 50, mask.shape)
    output = model(ids, attention_mask=mask, labels=ids)
    output.loss.backward()
    assert output.logits.isfinite().all()


# Copies and compilers


def test_deep_copies_compute_the_same_and_share_nothing() -> None:
    model = build(MIXED)
    other = copy.deepcopy(model)
    with torch.no_grad():
        wanted = model(IDS, attention_mask=MASK).logits
        assert torch.equal(other(IDS, attention_mask=MASK).logits, wanted)
        for parameter in other.parameters():
            parameter.zero_()
        assert torch.equal(model(IDS, attention_mask=MASK).logits, wanted)
    assert list(other.state_dict()) == list(model.state_dict())
    other = copy.deepcopy(model)
    assert other.head.decoder.weight is other.model.embeddings.tokens.weight
    for layer in other.model.encoder.layers.children():
        assert isinstance(layer, Layer)
    model.gradient_checkpointing_enable()
    copied = copy.deepcopy(model).train()
    assert copied.is_gradient_checkpointing
    counts = []
    layer = next(copied.model.encoder.layers.children())
    layer.get_submodule("attention.output").register_forward_hook(
        lambda *_: counts.append(1)
    )
    train_step(copied)
    assert len(counts) == 2


@pytest.mark.parametrize("how", ["pickle", "torch.save"])
def test_a_whole_model_can_be_pickled(how: str) -> None:
    model = build(MIXED + "; turned; distances; windowed", dropout=0.1)
    buffer = io.BytesIO()
    if how == "pickle":
        pickle.dump(model, buffer)
        buffer.seek(0)
        other = pickle.load(buffer)
    else:
        torch.save(model, buffer)
        buffer.seek(0)
        other = torch.load(buffer, weights_only=False)
    with torch.no_grad():
        wanted = model(IDS, attention_mask=MASK).logits
        assert torch.equal(other(IDS, attention_mask=MASK).logits, wanted)
    assert list(other.state_dict()) == list(model.state_dict())
    assert other.head.decoder.weight is other.model.embeddings.tokens.weight
    other.gradient_checkpointing_enable()
    assert other.is_gradient_checkpointing
    grads = train_step(other.train())
    assert grads.keys() == train_step(model.train()).keys()


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_torch_compile(backend: str) -> None:
    model = build("sdpa; conv(kernel = 3)").train()
    wanted = model(IDS, attention_mask=MASK, labels=IDS)
    plain = {name: grad.clone() for name, grad in train_step(model).items()}
    torch._dynamo.reset()
    faster = torch.compile(model, backend=backend, fullgraph=True)
    found = faster(IDS, attention_mask=MASK.long(), labels=IDS)
    torch.testing.assert_close(found.logits, wanted.logits, rtol=1e-5, atol=1e-5)
    model.zero_grad()
    found.loss.backward()
    for name, grad in plain.items():
        again = model.get_parameter(name).grad
        torch.testing.assert_close(again, grad, rtol=1e-4, atol=1e-5)
    if backend == "eager":
        with torch.no_grad():  # another length
            ids, mask = IDS[:, 3:], MASK[:, 3:]
            found = faster(ids, attention_mask=mask).logits
            wanted = model(ids, attention_mask=mask).logits
            torch.testing.assert_close(found, wanted)
    torch._dynamo.reset()


def test_gradients_of_each_sequence_by_vmap() -> None:
    model = build("sdpa; conv(kernel = 3)")
    weights = dict(model.named_parameters())

    def loss(weights: Any, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        batch = {"input_ids": ids[None], "attention_mask": mask[None]}
        out = torch.func.functional_call(model, weights, (), batch)
        total: torch.Tensor = (out.logits[0] * mask[:, None]).square().sum()
        return total

    each = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0, 0))
    found = each(weights, IDS, MASK.long())
    for i, real in enumerate(MASK):
        model.zero_grad()
        model(IDS[i, real][None]).logits.square().sum().backward()
        for name, parameter in weights.items():
            if parameter.grad is not None:
                torch.testing.assert_close(
                    found[name][i], parameter.grad, rtol=1e-3, atol=1e-3
                )


LONG = torch.randint(0, 50, (4, 33), generator=torch.Generator().manual_seed(6))


def test_torch_export() -> None:
    model = build("primer; conv(kernel = 3); windowed; turned")
    batch, tokens = torch.export.Dim("batch"), torch.export.Dim("tokens", max=40)
    shape = {0: batch, 1: tokens}
    exported = torch.export.export(
        model,
        (),
        {"input_ids": IDS, "attention_mask": MASK},
        dynamic_shapes={"input_ids": shape, "attention_mask": shape},
    )
    with torch.no_grad():
        for ids, mask in ((IDS, MASK), (IDS[:2, 2:], MASK[:2, 2:]), (LONG, LONG > 20)):
            found = exported.module()(input_ids=ids, attention_mask=mask)
            wanted = model(ids, attention_mask=mask)
            torch.testing.assert_close(found.logits, wanted.logits)


def test_the_encoder_is_a_graph_to_read() -> None:
    model = build(MIXED)
    encoder = model.model.encoder
    assert isinstance(encoder, fx.GraphModule)
    assert "def forward(self, hidden, mask, positions, order)" in encoder.code
    layer = next(encoder.layers.children())
    assert "scaled_dot_product" in layer.code
    model.set_attn_implementation("eager")
    layer = next(model.model.encoder.layers.children())
    assert "softmax" in layer.code
    assert "self.attention.q_proj" in layer.code


# What it is built from


def test_faults_of_the_configuration() -> None:
    with pytest.raises(DiagnosticError) as caught:
        AzcConfig(program=text_of("nothing_known"), model="m")
    assert caught.value.diagnostics[0].code == "AZG307"
    assert "nothing_known" in str(caught.value)
    with pytest.raises(DiagnosticError):
        AzcConfig(program="model m {", model="m")
    with pytest.raises(UsageError, match="no model `bert`"):
        AzcConfig(program=text_of("sdpa"), model="bert")
    program, _ = check("sdpa")
    with pytest.raises(UsageError, match="unknown task"):
        build_model(program, "m", task="translation")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="no model `bert`"):
        build_model(program, "bert")
    assert AzcConfig().program == ""


def test_resized_embeddings() -> None:
    for tied in (True, False):
        model = build(MIXED, tie_embeddings=tied)
        with torch.no_grad():
            wanted = model(IDS).logits
        model.resize_token_embeddings(61)
        assert model.config.vocab_size == 61
        assert model.head.decoder.bias.shape == (61,)
        assert (
            model.head.decoder.weight is model.model.embeddings.tokens.weight
        ) is tied
        with torch.no_grad():
            found = model(IDS).logits
            assert found.shape == (3, 9, 61)
            torch.testing.assert_close(found[..., :50], wanted)
            assert model(IDS + 11).logits.isfinite().all()
        model.resize_token_embeddings(40)
        ids = IDS.clamp(max=39)
        assert model(ids, labels=ids).logits.shape == (3, 9, 40)
