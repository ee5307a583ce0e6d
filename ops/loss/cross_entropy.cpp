#include "ops/loss/cross_entropy.h"

#include <algorithm>
#include <bit>

#include "ops/loss/cross_entropy_kernels.h"

namespace braid::ops {
namespace {

constexpr int64_t kMinChunkTokens = 16; // with fewer, reading W dominates

DType logit_dtype(const Tensor& h) {
    return accumulation_dtype(h.dtype());
}

void expect_head(const Tensor& h, const Parameter* w) {
    check(w->shape().rank() == 2, "head: a weight of shape {} is no matrix", to_string(w->shape()));
    expect_shape(h, {h.dim(0), w->shape()[1]}, "head, hidden states");
    expect_dtype(h, w->compute_value().dtype(), "head, hidden states");
}

Tensor empty_chunk(Context& ctx, const Tensor& h, int64_t vocabulary, const LogitOptions& options) {
    const int64_t row_bytes = vocabulary * static_cast<int64_t>(size_of(logit_dtype(h)));
    const int64_t tokens =
        head_chunk_tokens(options, h.device().kind, ctx.allocator->device_bytes(), row_bytes);
    return Tensor::empty(*ctx.allocator, {std::min(tokens, h.dim(0)), vocabulary}, logit_dtype(h));
}

double gemm_flops(const Shape& h, const Parameter* w) {
    return 2.0 * static_cast<double>(h[0]) * static_cast<double>(w->shape().numel());
}

/// Labels as rows of this part of the head.
Tensor local_labels(Context& ctx, const Tensor& labels, const Parameter* w) {
    const Partition& partition = w->sections()[0].partition;
    // To look at labels on a GPU the host would have to wait; they were checked before they went there.
    if (labels.device().kind == DeviceKind::cpu) expect_labels_in_range(labels, partition.global()[0]);
    if (w->shape()[0] == partition.global()[0]) return labels;
    const Tensor local = Tensor::empty(*ctx.allocator, labels.shape(), DType::i32);
    device::local_labels(labels, partition.first_row(), w->shape()[0], local);
    return local;
}

struct TokenLosses {
    Tensor losses, lse, labels; // labels as rows of this part of the head
};

TokenLosses run_token_losses(Context& ctx, const Tensor& h, const Parameter* w, const Tensor& labels,
                             const LogitOptions& options, const CombineHeadParts& combine) {
    expect_head(h, w);
    expect_shape(labels, {h.dim(0)}, "cross-entropy, labels");
    expect_dtype(labels, DType::i32, "cross-entropy, labels");
    ProfileScope scope(ctx.profiler, "linear_cross_entropy");
    scope.count_flops(gemm_flops(h.shape(), w));
    TokenLosses result{Tensor::empty(*ctx.allocator, {h.dim(0)}, DType::f64),
                       Tensor::empty(*ctx.allocator, {h.dim(0)}, DType::f64), local_labels(ctx, labels, w)};
    const Tensor label_logits = Tensor::empty(*ctx.allocator, {h.dim(0)}, DType::f64);
    device::label_logits(h, *w, result.labels, options, empty_chunk(ctx, h, w->shape()[0], options),
                         label_logits, result.lse);
    if (combine) combine(result.lse, label_logits);
    device::finish_token_losses(labels, label_logits, result.lse, result.losses);
    return result;
}

} // namespace

int64_t head_chunk_tokens(const LogitOptions& options, DeviceKind kind, int64_t device_bytes,
                          int64_t row_bytes) {
    constexpr int64_t kCpuBytes = int64_t{64} << 20, kMostGpuBytes = int64_t{1} << 30, kTileTokens = 128;
    const bool is_gpu_choice = options.chunk_bytes == 0 && kind == DeviceKind::cuda;
    int64_t bytes = options.chunk_bytes > 0 ? options.chunk_bytes : kCpuBytes;
    // The power of two: drivers keep some MiB for themselves, and not all of them as many.
    if (is_gpu_choice)
        bytes = std::min(static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(device_bytes))) / 64,
                         kMostGpuBytes);
    const int64_t tokens = std::max(bytes / std::max<int64_t>(row_bytes, 1), kMinChunkTokens);
    return is_gpu_choice && tokens > kTileTokens ? tokens / kTileTokens * kTileTokens : tokens;
}

void expect_labels_in_range(const Tensor& labels, int64_t size) {
    const auto label = labels.span<int32_t>();
    for (size_t t = 0; t < label.size(); ++t)
        if (label[t] < -1 || label[t] >= size)
            throw DataError("label {} at position {} of the batch is outside the vocabulary of {}", label[t],
                            t, size);
}

LossOutputs linear_cross_entropy(Context& ctx, const Tensor& h, const Parameter* w, const Tensor& labels,
                                 const LogitOptions& options, const CombineHeadParts& combine) {
    const auto [losses, lse, local] = run_token_losses(ctx, h, w, labels, options, combine);
    LossOutputs out{Tensor::empty(*ctx.allocator, {1}, DType::f64),
                    Tensor::empty(*ctx.allocator, {1}, DType::f64), losses};
    device::sum_losses(losses, lse, out.cross_entropy, out.z_loss);
    if (!ctx.tape) return out;
    ctx.tape->record({"linear_cross_entropy",
                      {out.cross_entropy.ref(), out.z_loss.ref()},
                      {h, local, lse},
                      [w, options, ref = h.ref()](const Backward& run) {
                          const Tensor& h = run.saved[0];
                          Tensor dh = Tensor::empty(*run.ctx.allocator, ref.shape, ref.dtype);
                          device::cross_entropy_gradient(
                              h, *w, run.saved[1], run.saved[2], options, run.dy[0], run.dy[1],
                              empty_chunk(run.ctx, h, w->shape()[0], options), dh, w->gradient());
                          run.count_flops(3 * gemm_flops(ref.shape, w));
                          run.add(ref, dh);
                      }});
    return out;
}

Tensor logits(Context& ctx, const Tensor& h, const Parameter* w, const LogitOptions& options) {
    expect_head(h, w);
    ProfileScope scope(ctx.profiler, "logits");
    scope.count_flops(gemm_flops(h.shape(), w));
    Tensor y = Tensor::empty(*ctx.allocator, {h.dim(0), w->shape()[0]}, logit_dtype(h));
    device::logits(h, *w, options, y);
    return y;
}

} // namespace braid::ops
