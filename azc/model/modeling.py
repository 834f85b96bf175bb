"""The model classes of transformers around a compiled encoder."""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    PreTrainedModel,
)
from transformers.modeling_outputs import (
    BaseModelOutputWithPooling,
    MaskedLMOutput,
    SequenceClassifierOutput,
)
from transformers.utils.generic import can_return_tuple

from azc.check.flatten import self_contained
from azc.check.program import ModelSpec, Program
from azc.diagnostics import UsageError
from azc.lower.attention import OperationWeight
from azc.lower.layer import compile_encoder
from azc.lower.modules import DepthwiseConv, LightConv, norm
from azc.model.config import AzcConfig, spec_of

__all__ = [
    "AzcForMaskedLM",
    "AzcForSequenceClassification",
    "AzcModel",
    "AzcPreTrainedModel",
    "Task",
    "build_model",
    "register",
]

Task = Literal["base", "masked-lm", "sequence-classification"]


class Packing:
    """Real tokens first: the order that compiled layers see a batch in.

    Positions then count real tokens alone, so that a sequence padded on the left, on
    the right or in holes gives what it gives without its padding.
    """

    def __init__(self, mask: torch.Tensor) -> None:
        """`mask`: [B, N], nonzero = real."""
        real = mask.bool()
        self.first = real.flatten().to(torch.int8).argmax(-1, keepdim=True)
        self.order = torch.argsort((~real).to(torch.int8), dim=-1, stable=True)
        self.inverse = torch.argsort(self.order, dim=-1)
        self.real = real.gather(1, self.order)

    def pack(self, x: torch.Tensor, spare: torch.Tensor) -> torch.Tensor:
        """[B, N, C] with the real tokens first, and the batch's first real token in all
        of the padding: what is finite at every real token, and has a finite gradient
        there, is so in padding. `spare` [C] stands in for it if no token is real.
        """
        first = x.flatten(0, 1).index_select(0, self.first)
        filler = torch.where(self.real.any(), first, spare).detach()
        packed = x.gather(1, self.order[:, :, None].expand_as(x))
        return torch.where(self.real[:, :, None], packed, filler)

    def unpack(self, x: torch.Tensor) -> torch.Tensor:
        """[B, N, C] with every token where it was."""
        return x.gather(1, self.inverse[:, :, None].expand_as(x))


def _sinusoids(tokens: int, hidden: int, like: torch.Tensor) -> torch.Tensor:
    """[N, hidden], sines in the even features, cosines in the odd ones (Vaswani et al.
    2017, section 3.5).
    """
    position = torch.arange(tokens, device=like.device, dtype=torch.float32)
    half = torch.arange((hidden + 1) // 2, device=like.device, dtype=torch.float32)
    rate = torch.exp(half * (-2.0 * math.log(10000.0) / hidden))
    angle = position[:, None] * rate
    both = torch.stack((angle.sin(), angle.cos()), -1).flatten(1)
    return both[:, :hidden].to(like.dtype)


class Embeddings(nn.Module):
    """Token, token type and position embeddings, summed; normed in post-norm models."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.spec = spec
        self.tokens = nn.Embedding(spec.vocab, spec.hidden)
        if spec.positions == "learned":
            self.positions = nn.Embedding(spec.max_length, spec.hidden)
        if spec.token_types:
            self.token_types = nn.Embedding(spec.token_types, spec.hidden)
        if spec.residual == "post":
            self.norm = norm(spec.norm, spec.hidden, spec.norm_eps, spec.bias)
        self.dropout = nn.Dropout(spec.dropout)

    def forward(
        self,
        embeds: torch.Tensor,
        token_type_ids: torch.Tensor | None,
        packing: Packing | None,
    ) -> torch.Tensor:
        """From the tokens' own embeddings [B, N, hidden] to the encoder's input, real
        tokens first.
        """
        spec, tokens = self.spec, embeds.shape[1]
        if spec.token_types:
            if token_type_ids is None:
                embeds = embeds + self.token_types.weight[0]
            else:
                embeds = embeds + self.token_types(token_type_ids)
        if packing is not None:
            embeds = packing.pack(embeds, self.tokens.weight[0])
        if spec.positions == "learned":
            embeds = embeds + self.positions.weight[:tokens]
        elif spec.positions == "sinusoidal":
            embeds = embeds + _sinusoids(tokens, spec.hidden, embeds)
        if spec.residual == "post":
            embeds = self.norm(embeds)
        dropped: torch.Tensor = self.dropout(embeds)
        return dropped


def _refuse(given: dict[str, Any]) -> None:
    """Raises ValueError for what BERT takes and would be silently wrong here."""
    if given.get("position_ids") is not None:
        raise ValueError("position_ids can't be given: positions count the real tokens")
    if given.get("output_attentions"):
        raise ValueError("output_attentions: a program need not have attention weights")


class AzcPreTrainedModel(PreTrainedModel):
    """What all compiled models share."""

    config_class = AzcConfig
    base_model_prefix = "model"
    supports_gradient_checkpointing = True
    # Keywords that are not known are ignored, `num_items_in_batch` too: Trainer is to
    # divide the loss over accumulated batches itself.
    accepts_loss_kwargs = False
    _no_split_modules = ["Layer"]  # noqa: RUF012  (as transformers declares it)

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, (OperationWeight, LightConv, DepthwiseConv)):
            module.reset_parameters()


class AzcModel(AzcPreTrainedModel):
    """Embeddings, the compiled encoder (`encoder`, an `fx.GraphModule`), pooler."""

    def __init__(self, config: AzcConfig, add_pooling_layer: bool = True) -> None:
        super().__init__(config)
        spec = spec_of(config)
        self.embeddings = Embeddings(spec)
        self.encoder = compile_encoder(spec)
        if spec.residual == "pre":
            self.norm = norm(spec.norm, spec.hidden, spec.norm_eps, spec.bias)
        self.pooler = nn.Linear(spec.hidden, spec.hidden) if add_pooling_layer else None
        self.max_length = spec.max_length if spec.positions == "learned" else None
        self.pre_norm = spec.residual == "pre"
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        """The token embeddings."""
        return self.embeddings.tokens

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replaces the token embeddings."""
        self.embeddings.tokens = value  # type: ignore[assignment]

    def _embeds(
        self, input_ids: torch.Tensor | None, inputs_embeds: torch.Tensor | None
    ) -> torch.Tensor:
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("give either input_ids or inputs_embeds")
        if inputs_embeds is None:
            embeds: torch.Tensor = self.embeddings.tokens(input_ids)
        else:
            embeds = inputs_embeds
        if self.max_length is not None and embeds.shape[1] > self.max_length:
            raise ValueError(
                f"{embeds.shape[1]} tokens; the model was made for max_length ="
                f" {self.max_length}"
            )
        return embeds

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        output_hidden_states: bool | None = None,
        **kwargs: Any,
    ) -> BaseModelOutputWithPooling:
        """Hidden states of a batch.

        `input_ids` int [B, N] or `inputs_embeds` [B, N, hidden]; `attention_mask`
        [B, N], nonzero at real tokens, which may be anywhere; `token_type_ids` int
        [B, N]. Gives `last_hidden_state` [B, N, hidden], `pooler_output` [B, hidden] of
        the first real token, and on request `hidden_states`, layers + 1 of them. Raises
        ValueError for inputs of other shapes.
        """
        _refuse(kwargs)
        embeds = self._embeds(input_ids, inputs_embeds)
        batch, tokens, _ = embeds.shape
        packing = None
        seen = torch.ones((batch, tokens), dtype=torch.bool, device=embeds.device)
        if attention_mask is not None:
            if attention_mask.shape != (batch, tokens):
                raise ValueError(
                    f"attention_mask is [B, N] = [{batch}, {tokens}]; got"
                    f" {list(attention_mask.shape)}"
                )
            packing = Packing(attention_mask)
            # A sequence of padding alone is computed as if it were real: no softmax is
            # ever over nothing.
            seen = packing.real | ~packing.real.any(-1, keepdim=True)
        hidden = self.embeddings(embeds, token_type_ids, packing)
        states = self.encoder(hidden, seen)
        if self.pre_norm:
            states = (*states[:-1], self.norm(states[-1]))
        pooled = None
        if self.pooler is not None:
            pooled = torch.tanh(self.pooler(states[-1][:, 0]))
        if output_hidden_states is None:
            output_hidden_states = self.config.output_hidden_states
        if not output_hidden_states:
            states = states[-1:]
        if packing is not None:
            states = tuple(packing.unpack(state) for state in states)
        return BaseModelOutputWithPooling(
            last_hidden_state=states[-1],
            pooler_output=pooled,
            hidden_states=states if output_hidden_states else None,
        )


class MaskedLMHead(nn.Module):
    """Dense, GELU, norm, output matrix: BERT's head (Devlin et al. 2019)."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.dense = nn.Linear(spec.hidden, spec.hidden)
        self.norm = norm(spec.norm, spec.hidden, spec.norm_eps, bias=True)
        self.decoder = nn.Linear(spec.hidden, spec.vocab)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """[…, hidden] to logits […, vocab]."""
        logits: torch.Tensor = self.decoder(self.norm(F.gelu(self.dense(hidden))))
        return logits


class AzcForMaskedLM(AzcPreTrainedModel):
    """A compiled model with a masked-language-model head."""

    _tied_weights_keys = {  # noqa: RUF012  (as transformers declares it)
        "head.decoder.weight": "model.embeddings.tokens.weight"
    }

    def __init__(self, config: AzcConfig) -> None:
        super().__init__(config)
        self.model = AzcModel(config, add_pooling_layer=False)
        self.head = MaskedLMHead(spec_of(config))
        self.post_init()

    def get_output_embeddings(self) -> nn.Module:
        """The output matrix."""
        return self.head.decoder

    def set_output_embeddings(self, new_embeddings: nn.Linear) -> None:
        """Replaces the output matrix."""
        self.head.decoder = new_embeddings

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        output_hidden_states: bool | None = None,
        labelled_only: bool = False,
        **kwargs: Any,
    ) -> MaskedLMOutput:
        """As the base model, and `logits` [B, N, vocab].

        `labels` int [B, N], −100 where there is none, gives `loss`, the mean
        cross-entropy in nats over the labelled tokens. `labelled_only` computes the
        head there alone: `logits` are then [labelled, vocab], in row-major order.
        """
        _refuse(kwargs)
        outputs = self.model(
            input_ids,
            attention_mask=attention_mask,
            token_type_ids=token_type_ids,
            inputs_embeds=inputs_embeds,
            output_hidden_states=output_hidden_states,
            return_dict=True,
        )
        hidden = outputs.last_hidden_state
        if labelled_only and labels is not None:
            chosen = labels != -100
            hidden, labels = hidden[chosen], labels[chosen]
        logits = self.head(hidden)
        loss = None
        if labels is not None:
            flat = logits.flatten(0, -2).float()
            loss = F.cross_entropy(flat, labels.flatten(), ignore_index=-100)
        return MaskedLMOutput(
            loss=loss, logits=logits, hidden_states=outputs.hidden_states
        )


class AzcForSequenceClassification(AzcPreTrainedModel):
    """A compiled model with a classifier on the pooled first token."""

    def __init__(self, config: AzcConfig) -> None:
        super().__init__(config)
        spec = spec_of(config)
        self.num_labels = config.num_labels or 2
        self.model = AzcModel(config)
        self.dropout = nn.Dropout(spec.dropout)
        self.classifier = nn.Linear(spec.hidden, self.num_labels)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        output_hidden_states: bool | None = None,
        **kwargs: Any,
    ) -> SequenceClassifierOutput:
        """As the base model, and `logits` [B, num_labels]; `labels` [B] give `loss`, of
        the kind that `config.problem_type` says or that their type suggests.
        """
        _refuse(kwargs)
        outputs = self.model(
            input_ids,
            attention_mask=attention_mask,
            token_type_ids=token_type_ids,
            inputs_embeds=inputs_embeds,
            output_hidden_states=output_hidden_states,
            return_dict=True,
        )
        logits = self.classifier(self.dropout(outputs.pooler_output))
        loss = None
        if labels is not None:
            loss = self.loss_function(
                labels=labels, pooled_logits=logits, config=self.config
            )
        return SequenceClassifierOutput(
            loss=loss, logits=logits, hidden_states=outputs.hidden_states
        )


_CLASSES: dict[str, type[AzcPreTrainedModel]] = {
    "base": AzcModel,
    "masked-lm": AzcForMaskedLM,
    "sequence-classification": AzcForSequenceClassification,
}


def build_model(
    program: Program, name: str, task: Task = "masked-lm", num_labels: int = 2
) -> AzcPreTrainedModel:
    """A model of a checked program, with fresh weights from torch's global generator.

    Raises `UsageError` for an unknown task.
    """
    if task not in _CLASSES:
        known = ", ".join(_CLASSES)
        raise UsageError("U011", f"unknown task `{task}`", f"known: {known}")
    config = AzcConfig(
        program=self_contained(program, name), model=name, num_labels=num_labels
    )
    return _CLASSES[task](config)


def register() -> None:
    """Makes the classes known to AutoConfig, AutoModel…; doing so again changes
    nothing.
    """
    AutoConfig.register("azc", AzcConfig, exist_ok=True)
    AutoModel.register(AzcConfig, AzcModel, exist_ok=True)
    AutoModelForMaskedLM.register(AzcConfig, AzcForMaskedLM, exist_ok=True)
    AutoModelForSequenceClassification.register(
        AzcConfig, AzcForSequenceClassification, exist_ok=True
    )
