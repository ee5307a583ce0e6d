#pragma once

#include <functional>

#include "ops/loss/logit_options.h"
#include "tensor/parameters/parameter.h"
#include "tensor/tape.h"

namespace braid::ops {

/// Sums over the labels that count, in nats. Each is f64 [1]; multiply its gradient to scale or weigh it. And
/// what they are sums of, for reports.
struct LossOutputs {
    Tensor cross_entropy; // sum of -log p(label)
    Tensor z_loss;        // sum of log(sum of e^logit)² (Chowdhery et al. 2022, PaLM)
    Tensor token_losses;  // -log p(label) of each token, f64 [T], 0 where none counts; takes no gradient
};

/// Combines what the ranks that hold parts of the head have found, f64 [T] each, in place: lse becomes the
/// logarithm of the sum of e^lse over ranks, label_logits their sum. Empty where one rank holds the head.
using CombineHeadParts = std::function<void(const Tensor& lse, const Tensor& label_logits)>;

/// Tokens whose logits exist at once, where a row of them (the vocabulary, or this rank's part) takes
/// row_bytes. Each chunk reads all weights once forward, and twice backward beside their gradient.
///
/// Without options.chunk_bytes, logits of 64 MiB on the CPU. On a GPU of device_bytes in all, a 64th of that
/// rounded up to a power of two, at most 1 GiB (for bf16, half as much again holds the rounded gradients), in
/// whole tiles of 128 tokens. The choice decides in what order gradients are summed, so it follows from what
/// the device has, never from what is free at the time: equal GPUs give equal bits.
int64_t head_chunk_tokens(const LogitOptions& options, DeviceKind kind, int64_t device_bytes,
                          int64_t row_bytes);

/// Throws DataError naming the first of labels i32 [T], on the CPU, that is neither -1 nor in [0, size).
void expect_labels_in_range(const Tensor& labels, int64_t size);

/// The language model's head and loss: softmax cross-entropy of logits = cap(logit_scale h Wᵀ). h [T, D], w
/// [V, D], labels i32 [T] with -1 where none counts. Throws DataError on any other label outside [0, V),
/// unless the labels lie on a GPU: whoever puts them there calls expect_labels_in_range before.
///
/// Tokens go through in chunks of head_chunk_tokens(), in forward and, recomputed, in backward, so
/// all logits never exist at once. w may be some rows of the head; then `combine` makes the sums whole, and
/// dh is this part's share of a sum over ranks. The gradient of w is part of the same pass: it is added with
/// the data gradient.
///
/// With h and w's compute_value() in bf16, logits are f32, their gradients are rounded to bf16 where they
/// enter the products that give dh and dw, dh is bf16 and dw f32.
LossOutputs linear_cross_entropy(Context& ctx, const Tensor& h, const Parameter* w, const Tensor& labels,
                                 const LogitOptions& options = {}, const CombineHeadParts& combine = {});

/// All logits [T, V], f32 for h in bf16. Records no gradient.
Tensor logits(Context& ctx, const Tensor& h, const Parameter* w, const LogitOptions& options = {});

} // namespace braid::ops
