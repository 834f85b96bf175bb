"""Tasks of compiled models: heads and losses.

Codes: U011 unknown task of a compiled model; U029 the task does not fit the kind of
model.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
)
from transformers.modeling_outputs import (
    CausalLMOutputWithPast,
    MaskedLMOutput,
    SequenceClassifierOutput,
)
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
from transformers.utils.generic import can_return_tuple

from azc.check.flatten import self_contained
from azc.check.program import ModelSpec, Program
from azc.diagnostics import UsageError
from azc.lower.modules import norm
from azc.lower.runtime import newest
from azc.model.cache import AzcCache
from azc.model.config import AzcConfig, spec_of
from azc.model.generation import AzcGenerationMixin
from azc.model.inputs import check_classes, check_token_labels
from azc.model.modeling import AzcModel, AzcPreTrainedModel
from azc.model.packing import documents_of, next_labels

__all__ = [
    "AzcForCausalLM",
    "AzcForMaskedLM",
    "AzcForSequenceClassification",
    "Task",
    "build_model",
    "default_task",
    "register",
]

Task = Literal["base", "causal-lm", "masked-lm", "sequence-classification"]


class MaskedLMHead(nn.Module):
    """Head of a masked language model like BERT's (Devlin et al. 2019): dense, GELU,
    norm, output matrix.
    """

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.dense = nn.Linear(spec.hidden, spec.hidden)
        self.norm = norm(spec.norm, spec.hidden, spec.norm_eps, bias=True)
        self.decoder = nn.Linear(spec.hidden, spec.vocab)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """Compute logits [B, N, vocab] from hidden states [B, N, hidden]."""
        logits: torch.Tensor = self.decoder(self.norm(F.gelu(self.dense(hidden))))
        return logits


class AzcForMaskedLM(AzcPreTrainedModel):
    """A compiled model with a masked language modelling head.

    Raises:
        ValueError: If the model is causal: tokens would not see those after a mask.
    """

    accepts_loss_kwargs = True
    _tied_weights_keys = {  # noqa: RUF012  (as transformers declares it)
        "head.decoder.weight": "model.embeddings.tokens.weight"
    }

    def __init__(self, config: AzcConfig) -> None:
        super().__init__(config)
        spec = spec_of(config)
        if spec.causal:
            raise ValueError(
                f"`{spec.name}` is a decoder, which can't do masked language modelling"
            )
        self.model = AzcModel(config, add_pooling_layer=False)
        self.head = MaskedLMHead(spec)
        self.post_init()

    def get_output_embeddings(self) -> nn.Module:
        """Return the output matrix."""
        return self.head.decoder

    def set_output_embeddings(self, new_embeddings: nn.Linear) -> None:
        """Replace the output matrix."""
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
        position_ids: torch.Tensor | None = None,
        document_ids: torch.Tensor | None = None,
        targets_only: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
        **kwargs: Any,
    ) -> MaskedLMOutput:
        """Compute `logits` [B, N, vocab], and the loss.

        Other arguments and errors are those of `AzcModel.forward`.

        Args:
            labels: int [B, N], −100 for tokens without label.
            targets_only: Compute logits only for labelled tokens, in row-major
                order: [labelled, vocab].
            num_items_in_batch: The number of labels to divide the summed loss by.

        Returns:
            `logits`, and with labels `loss`, the mean cross-entropy in nats over
            labelled tokens.
        """
        outputs = self.model(
            input_ids,
            attention_mask=attention_mask,
            token_type_ids=token_type_ids,
            inputs_embeds=inputs_embeds,
            output_hidden_states=output_hidden_states,
            position_ids=position_ids,
            document_ids=document_ids,
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
            loss = self.loss_function(
                logits=logits,
                labels=labels.flatten().long(),
                vocab_size=self.config.vocab_size,
                num_items_in_batch=num_items_in_batch,
            )
        return MaskedLMOutput(
            loss=loss, logits=logits, hidden_states=outputs.hidden_states
        )


class AzcForCausalLM(AzcPreTrainedModel, AzcGenerationMixin):
    """A compiled decoder with an output matrix for the logits of the next token, and
    `generate`.

    Raises:
        ValueError: If the model is not causal.
    """

    accepts_loss_kwargs = True
    _tied_weights_keys = {  # noqa: RUF012  (as transformers declares it)
        "lm_head.weight": "model.embeddings.tokens.weight"
    }

    def __init__(self, config: AzcConfig) -> None:
        super().__init__(config)
        spec = spec_of(config)
        if not spec.causal:
            raise ValueError(
                f"`{spec.name}` is an encoder; set `causal = true` to make it a decoder"
            )
        self.model = AzcModel(config, add_pooling_layer=False)
        self.lm_head = nn.Linear(spec.hidden, spec.vocab, bias=False)
        self.post_init()

    @property
    def _is_stateful(self) -> bool:  # type: ignore[override]
        """True if tokens can't be removed from the cache, as assisted generation
        does.
        """
        return bool(self.model.sums)

    def get_output_embeddings(self) -> nn.Module:
        """Return the output matrix."""
        head: nn.Module = self.lm_head
        return head

    def set_output_embeddings(self, new_embeddings: nn.Linear) -> None:
        """Replace the output matrix."""
        self.lm_head = new_embeddings

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        output_hidden_states: bool | None = None,
        past_key_values: AzcCache | None = None,
        use_cache: bool | None = None,
        position_ids: torch.Tensor | None = None,
        document_ids: torch.Tensor | None = None,
        logits_to_keep: int | torch.Tensor = 0,
        num_items_in_batch: torch.Tensor | int | None = None,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast:
        """Compute `logits` [B, N, vocab] of the next token, and the loss.

        Other arguments and errors are those of `AzcModel.forward`.

        Args:
            labels: The tokens themselves, int [B, N], −100 for tokens without
                label. The logits of a token are compared with the label of the next
                token of its document.
            logits_to_keep: Compute logits and loss only for this many last tokens,
                0 for all, or for the tokens at these indices.
            num_items_in_batch: The number of labels to divide the summed loss by.
            **kwargs: `shift_labels`, int [B, N], are labels that are already
                shifted, as for rows split across devices; other arguments go to the
                base model.

        Returns:
            `logits`, `past_key_values`, and with labels `loss`, the mean
            cross-entropy in nats.
        """
        # Not a named argument: transformers would look for it in batches as labels.
        shift_labels = kwargs.pop("shift_labels", None)
        outputs = self.model(
            input_ids,
            attention_mask=attention_mask,
            token_type_ids=token_type_ids,
            inputs_embeds=inputs_embeds,
            output_hidden_states=output_hidden_states,
            past_key_values=past_key_values,
            use_cache=use_cache,
            position_ids=position_ids,
            document_ids=document_ids,
            return_dict=True,
            **kwargs,
        )
        hidden = outputs.last_hidden_state
        kept: slice | torch.Tensor = slice(None)
        if not isinstance(logits_to_keep, int):
            kept = logits_to_keep
        elif logits_to_keep < 0:
            raise ValueError(f"logits_to_keep must be at least 0; got {logits_to_keep}")
        elif logits_to_keep:
            kept = slice(-logits_to_keep, None)
        logits = self.lm_head(hidden[:, kept])
        loss = None
        batch, tokens, _ = hidden.shape
        for given in (labels, shift_labels):
            if given is not None:
                check_token_labels(given, batch, tokens, self.config.vocab_size)
        if labels is not None and shift_labels is None:
            shift_labels = _next_labels(
                labels, attention_mask, position_ids, document_ids
            )
        if shift_labels is not None:
            loss = self.loss_function(
                logits=logits,
                labels=labels,
                vocab_size=self.config.vocab_size,
                num_items_in_batch=num_items_in_batch,
                shift_labels=shift_labels[:, kept].contiguous(),
            )
        return CausalLMOutputWithPast(
            loss=loss,
            logits=logits,
            past_key_values=outputs.past_key_values,
            hidden_states=outputs.hidden_states,
        )


def _next_labels(
    labels: torch.Tensor,
    attention_mask: torch.Tensor | None,
    position_ids: torch.Tensor | None,
    document_ids: torch.Tensor | None,
) -> torch.Tensor:
    """Return the label of the token after each one, from the arguments of a model."""
    real = None if attention_mask is None else attention_mask.bool()
    if real is not None:
        real = newest(real, labels)
    if document_ids is None and position_ids is not None:
        every = torch.ones_like(labels, dtype=torch.bool)
        document_ids = documents_of(position_ids, every if real is None else real)
    return next_labels(labels, real, document_ids)


class AzcForSequenceClassification(AzcPreTrainedModel):
    """A compiled model with a classifier on the pooled first token, in a decoder on the
    last one.
    """

    accepts_loss_kwargs = True

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
        position_ids: torch.Tensor | None = None,
        document_ids: torch.Tensor | None = None,
        num_items_in_batch: torch.Tensor | int | None = None,
        **kwargs: Any,
    ) -> SequenceClassifierOutput:
        """Compute `logits` [B, num_labels], and the loss.

        With D documents in rows, logits are [D, num_labels] and labels [D]. Other
        arguments and errors are those of `AzcModel.forward`.

        Args:
            labels: Labels, [B] or [B, num_labels]. `config.problem_type`, or else
                their type, selects the loss.
            num_items_in_batch: The number of labels to divide the summed loss by.

        Returns:
            `logits`, and with labels `loss`, a mean over the labels.
        """
        outputs = self.model(
            input_ids,
            attention_mask=attention_mask,
            token_type_ids=token_type_ids,
            inputs_embeds=inputs_embeds,
            output_hidden_states=output_hidden_states,
            position_ids=position_ids,
            document_ids=document_ids,
            return_dict=True,
            **kwargs,
        )
        logits = self.classifier(self.dropout(outputs.pooler_output))
        loss = None
        if labels is not None:
            problem = self.config.problem_type
            check_classes(labels, len(logits), self.num_labels, problem)
            loss = self._loss(logits, labels, num_items_in_batch)
        return SequenceClassifierOutput(
            loss=loss, logits=logits, hidden_states=outputs.hidden_states
        )

    def _loss(
        self,
        logits: torch.Tensor,
        labels: torch.Tensor,
        num_items_in_batch: torch.Tensor | int | None,
    ) -> torch.Tensor:
        """Compute the loss of logits [B, num_labels]: a mean, or a sum over
        `num_items_in_batch`.
        """
        given = {"labels": labels, "pooled_logits": logits, "config": self.config}
        loss: torch.Tensor
        if num_items_in_batch is None or not labels.is_floating_point():
            loss = self.loss_function(**given, num_items_in_batch=num_items_in_batch)
            return loss
        # For floating point labels transformers always averages over the current batch.
        count = torch.as_tensor(num_items_in_batch, device=logits.device)
        loss = self.loss_function(**given) * (labels.numel() / count)
        return loss


_CLASSES: dict[str, type[AzcPreTrainedModel]] = {
    "base": AzcModel,
    "causal-lm": AzcForCausalLM,
    "masked-lm": AzcForMaskedLM,
    "sequence-classification": AzcForSequenceClassification,
}


def default_task(model: ModelSpec) -> Task:
    """Return the default task of a model."""
    return "causal-lm" if model.causal else "masked-lm"


def build_model(
    program: Program, name: str, task: Task | None = None, num_labels: int = 2
) -> AzcPreTrainedModel:
    """Build a model of a checked program, with fresh weights from torch's global
    generator.

    Args:
        program: The program.
        name: The model.
        task: The task; by default "causal-lm" for a causal model, else "masked-lm".
        num_labels: The number of classes of a classifier.

    Raises:
        UsageError: If the task is unknown, or the model does not support it.
    """
    config = AzcConfig(
        program=self_contained(program, name), model=name, num_labels=num_labels
    )
    causal = program.models[name].causal
    task = task or default_task(program.models[name])
    if task not in _CLASSES:
        known = ", ".join(_CLASSES)
        raise UsageError("U011", f"unknown task `{task}`", f"known: {known}")
    if task == ("masked-lm" if causal else "causal-lm"):
        kind, help_ = "an encoder", "set `causal = true` in the model for a decoder"
        if causal:
            kind, help_ = "a decoder", "its tasks: causal-lm, sequence-classification"
        message = f"`{name}` is {kind}, which does not support {task}"
        raise UsageError("U029", message, help_)
    return _CLASSES[task](config)


def register() -> None:
    """Register the classes with AutoConfig, AutoModel and so on; repeated calls do
    nothing.
    """
    AutoConfig.register("azc", AzcConfig, exist_ok=True)
    AutoModel.register(AzcConfig, AzcModel, exist_ok=True)
    AutoModelForCausalLM.register(AzcConfig, AzcForCausalLM, exist_ok=True)
    # Trainer uses these names to find models whose smoothed labels it must shift.
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES["azc"] = AzcForCausalLM.__name__
    AutoModelForMaskedLM.register(AzcConfig, AzcForMaskedLM, exist_ok=True)
    AutoModelForSequenceClassification.register(
        AzcConfig, AzcForSequenceClassification, exist_ok=True
    )
