"""The model classes of transformers around a compiled encoder.

Codes: U011 there is no such task for a compiled model.
"""

from __future__ import annotations

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
from azc.model.embeddings import Embeddings, Places
from azc.model.inputs import (
    check_classes,
    check_inputs,
    check_token_labels,
    refuse_unserved,
)
from azc.model.layers import CheckpointedLayer

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


class AzcPreTrainedModel(PreTrainedModel):
    """What all compiled models share."""

    config_class = AzcConfig
    base_model_prefix = "model"
    supports_gradient_checkpointing = True
    # Trainer is to divide the loss over accumulated batches itself.
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
        refuse_unserved(config, {})
        spec = spec_of(config)
        self.embeddings = Embeddings(spec)
        self.encoder = compile_encoder(spec, CheckpointedLayer)
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
        [B, N], bool or 0 and 1, true at real tokens, which may be anywhere;
        `token_type_ids` int [B, N]. Gives `last_hidden_state` [B, N, hidden],
        `pooler_output` [B, hidden] of the first real token, and on request
        `hidden_states`, layers + 1 of them. Raises ValueError for inputs of other
        shapes or types, for ids that have no embedding (told on the CPU alone), and for
        what the model does not serve.
        """
        refuse_unserved(self.config, kwargs)
        check_inputs(
            input_ids,
            inputs_embeds,
            attention_mask,
            token_type_ids,
            hidden=self.config.hidden_size,
            vocab=getattr(self.embeddings.tokens, "num_embeddings", None),
            token_types=self.config.type_vocab_size,
            max_length=self.max_length,
        )
        embeds = inputs_embeds
        if embeds is None:
            embeds = self.embeddings.tokens(input_ids)
        places = Places.of(attention_mask, embeds)
        hidden = self.embeddings(embeds, token_type_ids, places)
        states = self.encoder(hidden, places.mask, places.positions, places.order)
        if self.pre_norm:
            states = (*states[:-1], self.norm(states[-1]))
        pooled = None
        if self.pooler is not None:
            pooled = torch.tanh(self.pooler(places.first(states[-1])))
        if output_hidden_states is None:
            output_hidden_states = self.config.output_hidden_states
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
        targets_only: bool = False,
        **kwargs: Any,
    ) -> MaskedLMOutput:
        """As the base model, and `logits` [B, N, vocab].

        `labels` int [B, N], −100 where there is none, gives `loss`, the mean
        cross-entropy in nats over the labelled tokens. `targets_only` computes the
        head there alone: `logits` are then [labelled, vocab], in row-major order.
        """
        outputs = self.model(
            input_ids,
            attention_mask=attention_mask,
            token_type_ids=token_type_ids,
            inputs_embeds=inputs_embeds,
            output_hidden_states=output_hidden_states,
            return_dict=True,
            **kwargs,
        )
        hidden = outputs.last_hidden_state
        if labels is not None:
            batch, tokens, _ = hidden.shape
            check_token_labels(labels, batch, tokens, self.config.vocab_size)
        if targets_only and labels is not None:
            chosen = labels != -100
            hidden, labels = hidden[chosen], labels[chosen]
        logits = self.head(hidden)
        loss = None
        if labels is not None:
            flat = logits.flatten(0, -2).float()
            loss = F.cross_entropy(flat, labels.flatten().long(), ignore_index=-100)
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
        outputs = self.model(
            input_ids,
            attention_mask=attention_mask,
            token_type_ids=token_type_ids,
            inputs_embeds=inputs_embeds,
            output_hidden_states=output_hidden_states,
            return_dict=True,
            **kwargs,
        )
        logits = self.classifier(self.dropout(outputs.pooler_output))
        loss = None
        if labels is not None:
            problem = self.config.problem_type
            check_classes(labels, len(logits), self.num_labels, problem)
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
