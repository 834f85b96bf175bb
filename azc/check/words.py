"""Words of PyTorch, NumPy, einops and papers, and what azc has instead.

Data for the help lines of unknown names; what is offered here exists in this version.
`CALLS` are rewritten where the result checks: `bmm(q, k.T)` becomes `q @ k.T`. The
others are told as they stand here.
"""

from __future__ import annotations

from collections.abc import Mapping

from azc.mixing.convolution import CONV_KINDS

__all__ = [
    "CALLS",
    "ENTRIES",
    "LAYERS",
    "NAMES",
    "OPERATIONS",
    "RENAMED",
    "SETTINGS",
    "VALUES",
]


def _each(groups: Mapping[str, str]) -> Mapping[str, str]:
    """One entry for each of the words that share one."""
    return {word: text for words, text in groups.items() for word in words.split()}


# A call as it is known elsewhere: the expression that means the same. Names stand for
# operands, a number for itself.
CALLS: tuple[tuple[str, str], ...] = (
    # Products
    ("mm(a, b)", "a @ b"),
    ("bmm(a, b)", "a @ b"),
    ("dot(a, b)", "a @ b"),
    ("mat_mul(a, b)", "a @ b"),
    ("inner(a, b)", "a @ b.T"),
    ("outer(a, b)", "a @ b.T"),
    ("similarity(a, b)", "a @ b.T"),
    ("multiply(a, b)", "a * b"),
    ("times(a, b)", "a * b"),
    ("prod(a, b)", "a * b"),
    ("hadamard(a, b)", "a * b"),
    ("divide(a, b)", "a / b"),
    ("true_divide(a, b)", "a / b"),
    ("plus(a, b)", "a + b"),
    ("subtract(a, b)", "a - b"),
    ("minus(a, b)", "a - b"),
    ("negative(x)", "-x"),
    ("t(x)", "x.T"),
    ("swapaxes(x, -1, -2)", "x.T"),
    ("swapaxes(x, -2, -1)", "x.T"),
    ("transposed(x)", "x.T"),
    # Powers
    ("pow(x, 2)", "square(x)"),
    ("pow(x, 0.5)", "sqrt(x)"),
    ("pow(x, 3)", "square(x) * x"),
    ("power(x, 2)", "square(x)"),
    ("sqr(x)", "square(x)"),
    ("squared(x)", "square(x)"),
    ("rsqrt(x)", "reciprocal(sqrt(x))"),
    ("inverse(x)", "reciprocal(x)"),
    ("recip(x)", "reciprocal(x)"),
    # Elementwise
    ("absolute(x)", "abs(x)"),
    ("fabs(x)", "abs(x)"),
    ("log1p(x)", "log(1 + x)"),
    ("expm1(x)", "exp(x) - 1"),
    ("ln(x)", "log(x)"),
    ("logistic(x)", "sigmoid(x)"),
    ("expit(x)", "sigmoid(x)"),
    ("sigm(x)", "sigmoid(x)"),
    ("log_sigmoid(x)", "logsigmoid(x)"),
    ("soft_plus(x)", "softplus(x)"),
    ("soft_sign(x)", "softsign(x)"),
    ("swish(x)", "silu(x)"),
    ("mish(x)", "x * tanh(softplus(x))"),
    ("relu2(x)", "square(relu(x))"),
    ("squared_relu(x)", "square(relu(x))"),
    ("relu6(x)", "minimum(relu(x), 6)"),
    ("leaky_relu(x)", "maximum(x, 0.01 * x)"),
    ("max(a, b)", "maximum(a, b)"),
    ("min(a, b)", "minimum(a, b)"),
    ("fmax(a, b)", "maximum(a, b)"),
    ("fmin(a, b)", "minimum(a, b)"),
    ("clamp(x, a, b)", "minimum(maximum(x, a), b)"),
    ("clip(x, a, b)", "minimum(maximum(x, a), b)"),
    # Rows
    ("max(x)", "amax(x)"),
    ("min(x)", "-amax(-x)"),
    ("amin(x)", "-amax(-x)"),
    ("avg(x)", "mean(x)"),
    ("average(x)", "mean(x)"),
    ("logsumexp(x)", "log(sum(exp(x)))"),
    ("log_softmax(x)", "log(softmax(x))"),
    ("softmin(x)", "softmax(-x)"),
    ("norm(x)", "sqrt(sum(square(x)))"),
    ("l1norm(x)", "sum(abs(x))"),
    ("l2norm(x)", "normalize(x)"),
    ("l2_norm(x)", "normalize(x)"),
    ("l2_normalize(x)", "normalize(x)"),
    ("normalise(x)", "normalize(x)"),
    ("unit(x)", "normalize(x)"),
    ("unit_norm(x)", "normalize(x)"),
    ("layernorm(x)", "layer_norm(x)"),
    ("rmsnorm(x)", "rms_norm(x)"),
    # Pairs of rows
    ("cosine_similarity(a, b)", "cosine(a, b)"),
    ("cos_sim(a, b)", "cosine(a, b)"),
    ("cosine_sim(a, b)", "cosine(a, b)"),
    ("cdist(a, b)", "euclidean(a, b)"),
    ("pairwise_distance(a, b)", "euclidean(a, b)"),
    ("distance(a, b)", "euclidean(a, b)"),
    ("dist(a, b)", "euclidean(a, b)"),
    ("l2_distance(a, b)", "euclidean(a, b)"),
    # Positions
    ("rotary(x)", "rope(x)"),
    ("rotary_embedding(x)", "rope(x)"),
    ("apply_rope(x)", "rope(x)"),
    ("apply_rotary(x)", "rope(x)"),
    ("apply_rotary_pos_emb(x)", "rope(x)"),
    # Attention itself
    ("sdpa(q, k, v)", "softmax(scale(q @ k.T)) @ v"),
    ("self_attention(q, k, v)", "softmax(scale(q @ k.T)) @ v"),
    ("scaled_dot_product_attention(q, k, v)", "softmax(scale(q @ k.T)) @ v"),
    ("attn(q, k, v)", "softmax(scale(q @ k.T)) @ v"),
    ("mha(q, k, v)", "softmax(scale(q @ k.T)) @ v"),
    ("multihead_attention(q, k, v)", "softmax(scale(q @ k.T)) @ v"),
    ("flash_attention(q, k, v)", "softmax(scale(q @ k.T)) @ v"),
)

_SHAPES = (
    "every value is already the matrix of one head; `.T` is the only way to reshape it"
)
_MASKS = (
    "padding is masked by azc itself; `window(s, radius = 16)` limits what a token sees"
)
_HEADS = "heads are split and joined by the layer: a program says what one head does"
*_FIRST, _LAST = CONV_KINDS
_KINDS = f"{', '.join(_FIRST)} and {_LAST}"
_PROJECTIONS = "every parameter is a learned projection of its own: (q, k, v, gate)"

# Operations that are not there: what is.
OPERATIONS: Mapping[str, str] = _each(
    {
        "view reshape rearrange reduce squeeze unsqueeze expand flatten contiguous"
        " repeat_interleave broadcast_to tile": _SHAPES,
        "permute movedim moveaxis": "`x.T` transposes; there are no other axes",
        "chunk split unbind split_heads merge_heads": _HEADS,
        "cat concat concatenate stack hstack vstack": "values can't be put side by side;"
        " the layer joins the heads. Add what comes from each: `a @ x + b @ y`",
        "einsum tensordot contract": "`@` and `.T` are how products are written",
        "dropout attention_dropout": "dropout is a setting of the model:"
        " `attention_dropout = 0.1`",
        "mask masked_fill masked_softmax apply_mask attn_mask attention_mask"
        " key_padding_mask": _MASKS,
        "where keep": f"there are no conditions; {_MASKS}",
        "tril triu causal causal_mask autoregressive": "causal models can't be compiled"
        " yet; `window(s, radius = 16)` reaches equally far to both sides",
        "local local_attention sliding_window band banded": "`window(s, radius = 16)`"
        " limits what a token sees",
        "topk top_k argmax argmin argsort sort gather scatter index_select take cumsum"
        " cumprod": "nothing picks or orders entries; `softmax` weighs them",
        "sin cos": "there is no sine or cosine of numbers; `rope(x)` turns features by"
        " their positions, and `cosine(a, b)` compares rows",
        "tan atan atan2 asin acos sinh cosh": "of these, there is only `tanh`",
        "var variance": "the variance of a row is `mean(square(x - mean(x)))`",
        "std": "the deviation of a row is `sqrt(mean(square(x - mean(x))))`",
        "median quantile mode prod": "of a row there are `sum`, `mean` and `amax`",
        "sign floor ceil round trunc": "there is no rounding; `softsign(x)` is"
        " x / (1 + |x|), and `tanh(x)` lies between -1 and 1",
        "pow power": "`square(x)` is x², `sqrt(x)` is √x, `exp(y * log(x))` any power"
        " of a positive x",
        "exp2 log2 log10 erf": "there are `exp` and `log`, to base e",
        "batch_norm batchnorm group_norm groupnorm instance_norm": "there are"
        " `layer_norm(x)` and `rms_norm(x)`, each over a row",
        "softmax1 softmax_one quiet_softmax": "with one more in the sum:"
        " `exp(s) / (1 + sum(exp(s)))`",
        "sparsemax entmax entmax15 hardmax gumbel_softmax": "weights of a row come from"
        " `softmax`, or from `relu(s) / sum(relu(s))`",
        "hardtanh hardsigmoid hardswish": "`minimum(maximum(x, -1), 1)` clips",
        "prelu rrelu celu selu glu": "there are relu, gelu, silu, elu, softplus"
        " and tanh; a gate is `sigmoid(a) * b`",
        "linear dense proj projection fc to_q to_k to_v w_q w_k w_v": _PROJECTIONS,
        "embedding position positions position_embedding pos_emb pos_embed"
        " sinusoidal": "positions are a setting of the model, or `rope(x)` and"
        " `alibi(s)` in a program",
        "alibi_bias get_alibi bias": "`alibi(s)` adds its bias to the scores s",
        "ones zeros full eye arange linspace rand randn ones_like zeros_like"
        " tensor parameter": "numbers are written out and broadcast: `1 + x`",
        "len size shape numel dim": "lengths are not values; `mean(x)` divides by the"
        " length of a row, and `scale(x)` by √d",
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
        "float half to detach cuda type cast": "number types are the model's, not the"
        " program's",
        "print assert": "`azc check -v` shows the type of every value",
        "residual skip add_norm": "the layer adds its input and norms by itself",
        "fft fft2 ifft rfft dft": "there is no Fourier transform",
        "scaled rescale": "`scale(x)` is x / √d",
    }
)

# Names that stand for nothing: what they would be for.
NAMES: Mapping[str, str] = _each(
    {
        "d d_k dk d_head head_dim dim": "the width of a head is not a value: `scale(x)`"
        " is x / √d, and `mean(x)` divides by the length of a row",
        "n n_tokens seq_len length l t": "the number of tokens is not a value: `mean(x.T).T`"
        " is the mean over the tokens",
        "h heads num_heads n_heads": _HEADS,
        "mask attn_mask attention_mask key_padding_mask": _MASKS,
        "pi e inf infinity nan eps": "numbers are written out: 3.14159, 1e-6",
        "torch np numpy math nn functional": "operations have no prefix: `softmax(x)`",
        "x hidden hidden_states inputs input": "a program sees projections of its"
        " layer's input: its parameters",
        "self": "a program has no self: what it uses are its parameters",
    }
)

# Settings under other names: the same, by another word.
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
        "is_decoder autoregressive": "causal",
        "residuals residual_type": "residual",
        "kernel_size kernels kernel_width": "kernel",
        "kinds": "kind",
        "operations operators": "ops",
    }
)

# Settings of models and arguments of layers that are none.
SETTINGS: Mapping[str, str] = _each(
    {
        "num_layers num_hidden_layers n_layers n_layer depth encoder_layers"
        " layers": "layers are written out: `layers { repeat 12 { sdpa } }`",
        "kv_heads num_kv_heads n_kv_heads num_key_value_heads": "every head has"
        " projections of its own",
        "head_dim head_size d_head d_kv": "a head is hidden / heads wide",
        "pre_norm prenorm norm_first": "a norm before each branch is `residual = pre`",
        "post_norm postnorm": "a norm after each branch is `residual = post`",
        "lr learning_rate batch_size epochs steps seed optimizer": "training is no part"
        " of a model: `azc evolve --help`",
        "name": "a model's name stands after the word `model`",
    }
)

# What is named as a layer and is none.
LAYERS: Mapping[str, str] = _each(
    {
        "attn mha multihead_attention multi_head_attention self_attention"
        " scaled_dot_product_attention transformer encoder_layer bert"
        " transformer_layer": "attention as in BERT is `sdpa`, of std.attention",
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

# Entries of spaces that are none.
ENTRIES: Mapping[str, str] = _each(
    {
        "population population_size generations rounds budget evaluations steps seed"
        " strategy mutation mutation_rate data objective": "how to search is said to"
        " `azc evolve`; a space says what may vary",
        "layers num_layers n_layers": "the number of layers is `depth`",
        "model init initial base from_model": "where a search begins is `start`",
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

# Values that are none, by setting: another value, or words.
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
            "glu": "gated ones are geglu and swiglu",
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
