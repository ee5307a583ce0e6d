#pragma once

#include <vector>

#include "ops/documents.h"
#include "tensor/tape.h"

namespace braid::ops {

struct AttentionOptions {
    double scale = 1;   // of the logits, usually 1 / sqrt(d)
    int64_t window = 0; // token t sees tokens (t - window, t] of its document; 0: all up to t
};

/// Causal softmax attention (Vaswani et al., 2017, arXiv:1706.03762) within each document, with Hq query
/// heads that share Hkv key/value heads in groups of g = Hq / Hkv (Ainslie et al., 2023, arXiv:2305.13245):
///     o[t, h] = sum_s p[t, s] v[s, floor(h/g)],   p[t, .] = softmax over visible s of scale q[t, h] . k[s,
///     floor(h/g)]
/// q [T, Hq, d], k [T, Hkv, d], v [T, Hkv, dv]; gives [T, Hq, dv]. Computed in tiles with the online softmax
/// of FlashAttention (Dao, 2023, arXiv:2307.08691): memory is linear in T. The bits depend neither on the
/// number of threads nor on other documents. With q, k, v and o in bf16, the logits, the softmax, its
/// statistics and all sums are f32.
Tensor attention(Context& ctx, const Tensor& q, const Tensor& k, const Tensor& v,
                 const DocumentsPtr& documents, const AttentionOptions& options);

/// The same for the last tokens of documents: `documents` are those of the queries q [T, Hq, d], and
/// `key_documents`, as many, those of all keys [S, Hkv, d] and values [S, Hkv, dv], none of them shorter than
/// its queries.
Tensor attention(Context& ctx, const Tensor& q, const Tensor& keys, const Tensor& values,
                 const DocumentsPtr& documents, const DocumentsPtr& key_documents,
                 const AttentionOptions& options);

/// The keys and values of earlier tokens of some documents: those of document 0 first.
struct AttentionState {
    Tensor keys, values;         // [sum of lengths, Hkv, d], [sum of lengths, Hkv, dv]
    std::vector<int64_t> length; // of each document
};
struct AttentionContinued {
    Tensor o;             // [T, Hq, dv]
    AttentionState state; // with the new tokens behind the earlier ones
};
/// attention of documents that go on after `earlier` tokens, which are visible to the new ones as they would
/// be in the whole documents; gradients reach through states.
AttentionContinued attention_continued(Context& ctx, const Tensor& q, const Tensor& k, const Tensor& v,
                                       const DocumentsPtr& documents, const AttentionState& earlier,
                                       const AttentionOptions& options);

struct AttentionStatistics {
    Tensor max_logit;    // [Hq] f64, the largest visible scaled logit; -infinity without tokens
    Tensor mean_entropy; // [Hq] f64, of p[t, .] in nats, the mean over tokens; 0 without tokens
};

/// Diagnostics of attention(ctx, q, k, ...), in a pass of its own that changes nothing.
AttentionStatistics attention_statistics(Context& ctx, const Tensor& q, const Tensor& k,
                                         const DocumentsPtr& documents, const AttentionOptions& options);

} // namespace braid::ops
