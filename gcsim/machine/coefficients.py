"""The names of what enters the kernels, and of what they add up.

What a pool's chips, model and parallelism contribute is bound once into a vector of coefficients
(`gcsim.machine.cost`); the kernels view it as a record, so that the equations can name their terms.
"""

import numpy as np

# All layers together, per chip. "_s" terms are at peak x efficiency.
COEFFICIENTS = (
    "projection_s_per_token",  # QKV and output projections: compute
    "projection_weights_s",  # ... reading their weights once
    "projection_moved_s_per_token",  # ... moving activations
    "attention_decode_s_per_pair",  # attention core, layers that see everything: compute
    "attention_decode_s_per_window_pair",  # ... layers with a sliding window
    "attention_prefill_s_per_pair",
    "attention_prefill_s_per_window_pair",
    "kv_s_per_token",  # reading the keys and values of one token
    "kv_s_per_window_token",
    "ffn_s_per_token",  # dense FFN, shared experts, router
    "ffn_weights_s",
    "ffn_moved_s_per_token",
    "expert_s_per_token",
    "expert_weights_s_per_expert",
    "expert_moved_s_per_token",
    "experts",  # per layer; 0 for a dense model
    "experts_per_token",
    "expert_skew",
    "head_s_per_seq",
    "head_weights_s",
    "all_reduces",  # number of all-reduces over tp chips
    "all_reduce_chips",
    "all_reduce_latency_s",
    "all_reduce_bytes_per_token",
    "dispatches",  # number of expert dispatch + combine pairs (0 without expert parallelism)
    "dispatch_chips",
    "dispatch_latency_s",
    "dispatch_bytes_per_token",
    "all_reduce_phases_s",
    "stage_latency_s",
    "link_bytes_per_s",
    "comm_exposed",  # 1 - the fraction of communication hidden behind compute
    "layers_overhead_s",  # fixed times of the serving stack
    "prompt_overhead_s",
    "seq_overhead_s",
    "fused",  # 1: a layer streams as one pipeline, 0: operators run one after another
    "stages",  # pipeline stages
    "tokens_per_seq",  # tokens that one decode iteration verifies (1 + draft tokens)
    "draft_factor",  # 1 + time of drafting as a fraction of an iteration
    "accepted_ppm",  # tokens that one decode iteration yields, in millionths
    "flops_per_token",  # for MFU: work without efficiencies, over all chips
    "flops_per_seq",
    "flops_per_decode_pair",
    "flops_per_window_decode_pair",
    "flops_per_prefill_pair",
    "flops_per_window_prefill_pair",
    "weight_bytes",  # for MBU: all weights but the experts, over all chips
    "bytes_per_expert",
    "kv_bytes_per_token",
    "kv_bytes_per_window_token",
)
RECORD = np.dtype((np.record, [(name, "f8") for name in COEFFICIENTS]))

# What `account` adds up, in this order.
TOTALS = (
    "busy_s",
    "compute_s",
    "weights_s",
    "experts_s",
    "kv_s",
    "communication_s",
    "overhead_s",
    "flops",
    "bytes",
    "iterations",
    "tokens",
)
