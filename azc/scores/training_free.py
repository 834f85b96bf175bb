"""Training-free scores: predictions of a model's quality from initial weights and one
batch.

Higher is meant to be better. A score is a function of a model and its inputs. It has no
side effects on weights, gradients, the model's mode or the state of random generators.
Sums over layers grow with depth, so compare models of similar size.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import torch
from torch import nn

from azc.lower.runtime import positions_of
from azc.scores.watch import (
    Inputs,
    Scored,
    attention_weights,
    captured,
    checked,
    gradients,
    layers_of,
    loss_of,
    real_tokens,
    still,
    submodules,
)

__all__ = [
    "SCORES",
    "Score",
    "activation_distance",
    "head_confidence",
    "head_importance",
    "jacobian_covariance",
    "layers_hidden",
    "parameters",
    "synaptic_diversity",
    "synaptic_saliency",
    "w_pca",
]

Score = Callable[[Scored, Inputs], float]

_MIXING = r"(attention|conv)\..+"
_MIXED = r"(attention|conv)\.output"
_ACTIVATION = r"ffn\.\d+\.activation"
_CONTRIBUTION = 0.99  # share of variance that the components of W-PCA explain
_FLOOR = 1e-5  # added to eigenvalues in the covariance of Jacobians


def parameters(model: Scored, inputs: Inputs) -> float:
    """Count the learned weights, tied ones once."""
    return float(sum(weight.numel() for weight in model.parameters()))


def layers_hidden(model: Scored, inputs: Inputs) -> float:
    """Multiply the number of layers by the hidden width."""
    spec = checked(model)
    return float(len(spec.layers) * spec.hidden)


def synaptic_saliency(model: Scored, inputs: Inputs) -> float:
    """Compute synaptic saliency, Σ |θ · ∂L/∂θ| over the weights of all layers.

    It is SNIP (Lee et al. 2019, equation 6), summed over a model as by Abdelfattah et
    al. 2021, section 3.
    """
    weights = _learned(layers_of(model))
    with still(model):
        grads = gradients(loss_of(model, inputs), weights)
    pairs = zip(weights, grads, strict=True)
    return sum(float((weight * grad).detach().abs().sum()) for weight, grad in pairs)


def synaptic_diversity(model: Scored, inputs: Inputs) -> float:
    """Compute synaptic diversity, Σ ‖W‖ · ‖∂L/∂W‖ with nuclear norms, over the matrices
    of token mixing.

    Zhou et al. 2022, equation 6; Serianni and Kalita 2023, section 4.
    """
    mixing = [m for layer in layers_of(model) for m in submodules(layer, _MIXING)]
    weights = [m.weight for m in mixing if isinstance(m, nn.Linear)]
    with still(model):
        grads = gradients(loss_of(model, inputs), weights)
    pairs = zip(weights, grads, strict=True)
    return sum(_nuclear(weight) * _nuclear(grad) for weight, grad in pairs)


def activation_distance(model: Scored, inputs: Inputs) -> float:
    """Compute the activation distance, ln |K + 1| (Mellor et al. 2021, section 3).

    K is the number of inner units of feed-forward networks that are on for both of two
    tokens, or off for both. Tokens take the place of the paper's images; a unit is on
    if the argument of its activation is positive. The identity is added so that batches
    with equal tokens have a score.
    """
    on = [states > 0 for states in _inner(model, inputs)]
    if not on:
        return 0.0
    code = 2.0 * torch.cat(on, -1).double() - 1.0
    # c cᵀ is the number of units that agree minus the number of those that differ.
    alike = (code @ code.T + code.shape[1]) / 2.0
    return float(torch.linalg.slogdet(alike + torch.eye(len(alike))).logabsdet)


def jacobian_covariance(model: Scored, inputs: Inputs) -> float:
    """Compute the Jacobian covariance score, −Σ (ln(v + k) + 1 / (v + k)) with k =
    1e-5.

    v are the eigenvalues of the correlations between the gradients of the loss by the
    embedded tokens of each sequence (Mellor et al. 2020, as in Abdelfattah et al. 2021,
    section 3.1). Sequences without labels are left out; gradients of shorter sequences
    are padded with zeros.
    """
    ids = inputs["input_ids"]
    others = {name: x for name, x in inputs.items() if name != "input_ids"}
    with still(model):
        embeds = model.get_input_embeddings()(ids).detach().requires_grad_()
        (grad,) = gradients(
            loss_of(model, {**others, "inputs_embeds": embeds}), [embeds]
        )
    rows = _side_by_side(grad, real_tokens(inputs)).flatten(1).double()
    rows = rows - rows.mean(1, keepdim=True)
    norm = rows.norm(dim=1, keepdim=True)
    rows = (rows / norm)[norm[:, 0] > 0]
    values = torch.linalg.eigvalsh(rows @ rows.T).clamp(min=0.0) + _FLOOR
    return -float((values.log() + 1.0 / values).sum())


def head_confidence(model: Scored, inputs: Inputs) -> float:
    """Compute the head confidence: the largest attention weight of a token, averaged
    over tokens and summed over heads.

    Voita et al. 2019, section 4; Serianni and Kalita 2023, section 4. It is 0 for a
    model without softmax between tokens.
    """
    real = real_tokens(inputs)
    with still(model):
        weights = attention_weights(model, inputs)
    largest = (each.amax(-1).transpose(1, 2)[real] for each in weights)
    return float(sum(each.mean(0).sum() for each in largest))


def head_importance(model: Scored, inputs: Inputs) -> float:
    """Compute the head importance, Σ |Aₕ(x) · ∂L/∂Aₕ(x)| over heads and sequences.

    Aₕ is the output of a head before the output projection (Michel et al. 2019,
    equation 2; Serianni and Kalita 2023, section 4). Heads of convolution layers count,
    too.
    """
    layers = layers_of(model)
    outputs = [m for layer in layers for m in submodules(layer, _MIXED)]
    with still(model), captured(outputs, lambda args: args[0]) as mixed:
        grads = gradients(loss_of(model, inputs), mixed)
    total = 0.0
    heads = [layer.heads for layer in checked(model).layers]
    for own, value, grad in zip(heads, mixed, grads, strict=True):
        each = (value * grad).unflatten(-1, (own, -1)).sum((1, 3))
        total += float(each.detach().abs().sum())
    return total


def w_pca(model: Scored, inputs: Inputs) -> float:
    """Compute W-PCA (Wang 2025): a number of principal components times the number of
    parameters.

    The components are those that explain 99 % of the variance of tokens inside each
    feed-forward network, before its activation, summed over the networks.
    """
    found = sum(_components(states) for states in _inner(model, inputs))
    return found * parameters(model, inputs)


SCORES: Mapping[str, Score] = MappingProxyType(
    {
        "layers × hidden": layers_hidden,
        "parameters": parameters,
        "synaptic saliency": synaptic_saliency,
        "synaptic diversity": synaptic_diversity,
        "activation distance": activation_distance,
        "Jacobian covariance": jacobian_covariance,
        "head confidence": head_confidence,
        "head importance": head_importance,
        "W-PCA": w_pca,
    }
)


def _learned(modules: Sequence[nn.Module]) -> list[nn.Parameter]:
    return [w for each in modules for w in each.parameters() if w.requires_grad]


def _nuclear(matrix: torch.Tensor) -> float:
    return float(torch.linalg.svdvals(matrix.detach()).sum())


def _inner(model: Scored, inputs: Inputs) -> list[torch.Tensor]:
    """Return the arguments of the activations of feed-forward networks at real tokens,
    each [T, width].
    """
    real = real_tokens(inputs)
    found = [m for layer in layers_of(model) for m in submodules(layer, _ACTIVATION)]
    with still(model), torch.no_grad(), captured(found, lambda args: args[0]) as inner:
        model.model(**{name: x for name, x in inputs.items() if name != "labels"})
    return [states[real] for states in inner]


def _side_by_side(x: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
    """Move the padding of [B, N, C] to the end and cut it to the longest sequence."""
    moved = torch.zeros_like(x)
    batch, places = real.nonzero(as_tuple=True)
    moved[batch, positions_of(real, real)[real]] = x[batch, places]
    return moved[:, : int(real.sum(1).max())]


def _components(states: torch.Tensor) -> int:
    """Count the principal components of [T, C] that explain the share of variance."""
    centered = (states - states.mean(0)).double()
    tall = len(centered) > centered.shape[1]
    square = centered.T @ centered if tall else centered @ centered.T
    values = torch.linalg.eigvalsh(square).flip(0).clamp(min=0.0)
    share = values.cumsum(0) / values.sum()
    return int((share <= _CONTRIBUTION).sum()) + 1
