"""Words of PyTorch, NumPy, einops and papers, and their counterparts in azc.

Data for the help lines of unknown names. The tests check every expression, setting and
command in these texts, compute the values that they state, and prove that the operations
they call missing are missing. Calls that can be rewritten are in `azc.check.calls`.
"""

from __future__ import annotations

from collections.abc import Mapping

from azc.mixing.convolution import CONV_KINDS

__all__ = [
    "ATTRIBUTES",
    "ENTRIES",
    "LAYERS",
    "NAMES",
    "OPERATIONS",
    "RENAMED",
    "SETTINGS",
    "VALUES",
]


def _each(groups: Mapping[str, str]) -> Mapping[str, str]:
    """Return a mapping with one entry for each word of a group."""
    return {word: text for words, text in groups.items() for word in words.split()}


_SHAPES = (
    "every value is already the matrix of one head; `.T` is the only way to reshape it"
)
_CAUSAL = "`causal = true` in the model hides later tokens from every program"
_MASKS = (
    "azc masks padding by itself, and later tokens where the model has `causal = true`;"
    " `window(s, radius = 16)` limits what a token sees"
)
_HEADS = "the layer splits and joins the heads: a program describes one head"
*_FIRST, _LAST = CONV_KINDS
_KINDS = f"{', '.join(_FIRST)} and {_LAST}"
_PROJECTIONS = "every parameter is a learned projection of its own: (q, k, v, gate)"
_LEARNED = (
    "`conv(x, kernel = 1)` multiplies every feature by a learned weight, which starts at"
    " 1; `conv(x - x + 1, kernel = 1)` is the weights themselves"
)
_DROPOUT = "dropout is a setting of the model: `attention_dropout = 0.1`"
# The number of tokens and the width of a head, which have no names.
_TOKENS = (
    "`mean(x.T).T` is the mean over the tokens, `sum((x - x + 1).T).T` their number"
)
_WIDTH = (
    "`scale(x)` is x / √d, `mean(x)` is the sum of a row over its length, and"
    " `sum(x - x + 1)` is that length"
)

# Operations that do not exist: their replacements.
OPERATIONS: Mapping[str, str] = _each(
    {
        "view reshape rearrange reduce squeeze unsqueeze expand flatten contiguous"
        " repeat_interleave broadcast_to tile": _SHAPES,
        "permute movedim moveaxis": "`x.T` transposes; there are no other axes",
        "chunk split unbind split_heads merge_heads": _HEADS,
        "cat concat concatenate stack hstack vstack": "values can't be put side by side;"
        " the layer joins the heads. Add what comes from each: `a @ x + b @ y`",
        "einsum tensordot contract": "write products with `@` and `.T`",
        "outer ger": "the outer product of two columns is `a @ b.T`; `k.T @ v` is the"
        " sum of those of every token",
        "similarity sim": "`q @ k.T` and `cosine(q, k)` compare every row of q with"
        " every row of k, and so does the distance `euclidean(q, k)`",
        "inverse inv pinv solve": "no operation inverts a matrix; `reciprocal(x)` is 1 /"
        " x of every entry",
        "dropout attention_dropout": _DROPOUT,
        "mask masked_fill masked_softmax apply_mask attn_mask attention_mask"
        " key_padding_mask": _MASKS,
        "where keep": "`c * x + (1 - c) * y` is x where c is 1, and y where c is 0;"
        f" {_MASKS}",
        "tril triu causal causal_mask autoregressive is_causal causal_softmax"
        " causal_attention look_ahead_mask subsequent_mask": _CAUSAL,
        "local local_attention sliding_window band banded": "`window(s, radius = 16)`"
        " limits what a token sees",
        "cumsum cumulative_sum running_sum": "`sum(x.T).T` is the sum over all tokens,"
        " and over those so far where the model has `causal = true`",
        "cumprod": "`exp(sum(log(x).T).T)` is the product over all tokens of a positive"
        " x, and over those so far where the model has `causal = true`",
        "cummax": "`amax(x.T).T` is the largest of all tokens, and of those so far where"
        " the model has `causal = true`",
        "topk top_k argmax argmin argsort sort gather scatter index_select take pick"
        " one_hot": "no operation sorts, or picks by number: `amax(x)` is the largest"
        " entry of a row, and `softmax(x)` weighs all of them",
        "shift roll flip": "`conv(x, kernel = 3)` mixes each token with its neighbours",
        "sin cos": "there is no sine or cosine of numbers; `rope(x)` turns features by"
        " their positions, and `cosine(a, b)` compares rows",
        "tan atan atan2 asin acos atanh asinh acosh": "of such functions, `tanh(x)`,"
        " `exp(x)` and `log(x)` are operations",
        "var variance": "the variance of a row is `mean(square(x - mean(x)))`",
        "std": "the deviation of a row is `sqrt(mean(square(x - mean(x))))`",
        "max min": "`maximum(x, y)` and `minimum(x, y)` are of two values; `amax(x)` is"
        " the largest entry of a row, `-amax(-x)` the smallest",
        "median quantile mode prod": "of a row there are `sum(x)`, `mean(x)` and"
        " `amax(x)`",
        "diag diagonal": "the diagonal of scores s is `sum(window(s, radius = 0))`",
        "sign": "of an x that is not 0, the sign is `x / abs(x)`; `tanh(x)` lies between"
        " -1 and 1",
        "floor ceil round trunc": "no operation rounds; `softsign(x)` is"
        " x / (1 + |x|), and `tanh(x)` lies between -1 and 1",
        "pow power": "`square(x)` is x², `sqrt(x)` is √x, `exp(y * log(x))` any power"
        " of a positive x",
        "erf": "`gelu(x)` is x · (1 + erf(x / √2)) / 2",
        "batch_norm batchnorm group_norm groupnorm": "there are `layer_norm(x)` and"
        " `rms_norm(x)`, each over a row",
        "softmax1 softmax_one quiet_softmax": "with one more in the sum:"
        " `exp(s) / (1 + sum(exp(s)))`",
        "sparsemax entmax entmax15 hardmax gumbel_softmax": "weights of a row come from"
        " `softmax(s)`, or from `relu(s) / (sum(relu(s)) + 1e-6)`",
        "softcap soft_cap logit_softcap": "`30 * tanh(s / 30)` caps scores at 30",
        "prelu rrelu glu": "there are relu, gelu, silu, elu, softplus"
        " and tanh; a gate is `sigmoid(a) * b`",
        "linear dense proj projection fc to_q to_k to_v w_q w_k w_v": _PROJECTIONS,
        "embedding position positions position_embedding pos_emb pos_embed"
        " sinusoidal arange linspace": "positions are a setting of the model, or"
        " `rope(x)` and `alibi(s)` in a program",
        "alibi_bias get_alibi": "`alibi(s)` adds its bias to the scores s",
        "ones zeros full ones_like zeros_like full_like tensor": "numbers are written"
        " out and broadcast: `1 + x`",
        "eye identity": "as scores, `softmax(window(s, radius = 0))` is 1 on the"
        " diagonal, and absent elsewhere",
        "parameter weight learned gain bias": _LEARNED,
        "rand randn randint bernoulli": "nothing in a program is random; " + _DROPOUT,
        "len size shape numel dim": f"{_WIDTH}; {_TOKENS}",
        "mha multihead_attention multi_head_attention multihead gqa mqa"
        " flash_attention flash_attn flex_attention xformers": _HEADS,
        "ffn mlp feed_forward feedforward swiglu geglu": "every layer has a"
        " feed-forward network: the settings `ffn` and `activation`",
        "conv1d conv2d depthwise_conv causal_conv1d": "`conv(x, kernel = 3)` is a"
        " depthwise convolution over the tokens",
        "avg_pool max_pool avg_pool1d max_pool1d pool pooling": "`mean(x.T).T` is the"
        " mean over the tokens, `conv(x, kernel = 3)` mixes neighbours",
        "phi feature_map kernel_fn elu1": "a feature map of linear attention is"
        " `elu(x) + 1`",
        "float half to detach cuda type cast": "the model has a number type, a program"
        " has none",
        "print assert": "`azc check -v` shows the type of every value",
        "residual skip add_norm": "the layer adds its input and norms by itself",
        "fft fft2 ifft rfft dft": "there is no Fourier transform",
        "scaled rescale": "`scale(x)` is x / √d",
    }
)

# Arguments that no operation has.
ATTRIBUTES: Mapping[str, str] = _each(
    {
        "causal is_causal": _CAUSAL,
        "mask attn_mask attention_mask key_padding_mask": _MASKS,
        "dropout dropout_p dropout_rate": _DROPOUT,
        "temperature": "a temperature is written out: `softmax(s / 2)`",
        "dtype": "the model has a number type, a program has none",
    }
)

# Names that are not defined: their meaning elsewhere, in azc.
NAMES: Mapping[str, str] = _each(
    {
        "d d_k dk d_head head_dim dim": f"the width of a head has no name: {_WIDTH}",
        "n n_tokens seq_len length l t": f"the number of tokens has no name: {_TOKENS}",
        "h heads num_heads n_heads": _HEADS,
        "mask attn_mask attention_mask key_padding_mask": _MASKS,
        "causal is_causal causal_mask": _CAUSAL,
        "pi e inf infinity nan eps": "numbers are written out: 3.14159, 1e-6",
        "torch np numpy math nn functional": "call operations without a prefix:"
        " `softmax(x)`",
        "x hidden hidden_states inputs input": "a program sees projections of its"
        " layer's input: its parameters",
        "self": "a program has no self: it computes with its parameters",
    }
)

# Settings under the names of other libraries.
RENAMED: Mapping[str, str] = _each(
    {
        "vocab_size n_vocab num_embeddings": "vocab",
        "hidden_size d_model n_embd embed_dim emb_dim model_dim width hidden_dim": "hidden",
        "num_heads n_heads num_attention_heads nhead n_head head": "heads",
        "intermediate_size d_ff ff_dim ffn_dim dim_feedforward mlp_dim inner_dim"
        " ffn_hidden d_inner feed_forward": "ffn",
        "hidden_act act activation_function nonlinearity": "activation",
        "max_position_embeddings max_len seq_len max_seq_len n_positions block_size"
        " context_length max_tokens length": "max_length",
        "type_vocab_size num_token_types segments": "token_types",
        "layer_norm_eps eps norm_epsilon rms_norm_eps epsilon": "norm_eps",
        "hidden_dropout_prob dropout_prob drop": "dropout",
        "attention_probs_dropout_prob attn_dropout attention_drop": "attention_dropout",
        "position_embedding_type pos_emb position_embeddings position": "positions",
        "normalization norm_type norm_layer": "norm",
        "tie_word_embeddings tie_weights weight_tying tied": "tie_embeddings",
        "use_bias biases qkv_bias": "bias",
        "is_decoder decoder decoder_only autoregressive is_causal causal_lm"
        " causal_mask causal_attention use_causal_mask unidirectional": "causal",
        "residuals residual_type": "residual",
        "kernel_size kernels kernel_width": "kernel",
        "kinds": "kind",
        "operations operators": "ops",
    }
)

# Settings of models and arguments of layers that do not exist.
SETTINGS: Mapping[str, str] = _each(
    {
        "num_layers num_hidden_layers n_layers n_layer depth encoder_layers"
        " layers": "layers are written out: `layers { repeat 12 { sdpa } }`",
        "kv_heads num_kv_heads n_kv_heads num_key_value_heads": "every head has"
        " projections of its own",
        "head_dim head_size d_head d_kv": "a head is hidden / heads wide",
        "pre_norm prenorm norm_first": "a norm before each branch is `residual = pre`",
        "post_norm postnorm": "a norm after each branch is `residual = post`",
        "lr learning_rate batch_size epochs steps seed optimizer": "a model has no"
        " settings for training; see `azc evolve --help`",
        "bidirectional": "tokens see both sides, unless the model has `causal = true`",
        "name": "a model's name follows the word `model`",
    }
)

# Names of layers that do not exist.
LAYERS: Mapping[str, str] = _each(
    {
        "attn mha multihead_attention multi_head_attention self_attention"
        " scaled_dot_product_attention transformer encoder_layer bert"
        " transformer_layer": "attention as in BERT is `sdpa`, from std.attention",
        "ffn mlp feed_forward feedforward swiglu geglu": "every layer has a"
        " feed-forward network: the settings `ffn` and `activation`",
        "linear dense embedding embeddings pooler head lm_head classifier": "the model"
        " has its embeddings and heads; layers mix tokens",
        "dropout layer_norm rms_norm norm residual": "norms, residuals and dropout are"
        " settings of the model",
        "conv1d conv2d convolution lightconv light_conv dynamic_conv depthwise_conv"
        " cnn": f"a convolution is `conv(kernel = 9)`, of the kinds {_KINDS}",
        "lstm gru rnn mamba ssm moe": "a layer is an attention program or `conv`",
    }
)

# Entries of spaces that do not exist.
ENTRIES: Mapping[str, str] = _each(
    {
        "population population_size generations rounds budget evaluations steps seed"
        " strategy mutation mutation_rate data objective": "options of a search go to"
        " `azc evolve`; a space declares what may vary",
        "layers num_layers n_layers": "the number of layers is `depth`",
        "model init initial base from_model": "the model to start from is `start`",
        "op": "operations are listed as `ops`",
        "params parameters args": "the parameters of programs are listed as `inputs`",
        "width widths": "widths of convolutions are listed as `kernel`",
        "type types": "kinds of convolutions are listed as `kind`",
    }
)

_ROPE = (
    "rotate queries and keys in the program, `rope(q) @ rope(k).T`; the model then has"
    " `positions = none`"
)

# Values that do not exist, by setting: another value, or help in words.
VALUES: Mapping[str, Mapping[str, str]] = {
    "positions": _each(
        {
            "rope rotary": _ROPE,
            "alibi": "add it in the program, `softmax(alibi(scale(q @ k.T)))`; the model"
            " then has `positions = none`",
            "absolute learnt embedding": "learned",
            "sine sin sincos fixed": "sinusoidal",
            "relative relative_key t5": "relative positions are `rope` or `alibi` in a"
            " program",
            "no off": "none",
        }
    ),
    "activation": _each(
        {
            "swish": "silu",
            "gelu_new gelu_fast gelu_pytorch_tanh": "gelu_tanh",
            "gelu_python": "gelu",
            "squared_relu relu_squared relusquared": "relu2",
            "glu": "the gated activations are geglu and swiglu",
            "tanh sigmoid elu mish leaky_relu selu": "",
        }
    ),
    "norm": _each(
        {
            "layernorm layer ln": "layer_norm",
            "rmsnorm rms": "rms_norm",
            "batch_norm batchnorm none": "",
        }
    ),
    "residual": _each(
        {
            "pre_norm prenorm pre_ln preln": "pre",
            "post_norm postnorm post_ln postln": "post",
        }
    ),
}
