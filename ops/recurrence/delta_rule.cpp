#include "ops/recurrence/delta_rule.h"

#include <algorithm>
#include <cmath>

#include "ops/basic/elementwise_kernels.h"
#include "ops/recurrence/chunked_recurrence.h"

namespace braid::ops {
namespace {

/// x, or a copy of it that the host can read.
Tensor on_host(Allocator& host, const Tensor& x) {
    if (!x.defined() || x.device().kind == DeviceKind::cpu) return x;
    Tensor packed = x;
    if (!x.is_contiguous()) {
        packed = Tensor::empty(x.allocator(), x.shape(), x.dtype());
        device::scale(x, 1, packed);
    }
    return to_device(host, packed);
}

} // namespace

Tensor gated_delta_rule(Context& ctx, const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& g,
                        const Tensor& beta, const DocumentsPtr& documents, double scale,
                        const Tensor& initial, Tensor* last) {
    return chunked_recurrence(ctx, {q, k, v, g, beta, scale}, documents, initial, last);
}

DeltaDiagnostics delta_diagnostics(const Tensor& device_g, const Tensor& device_states) {
    Allocator host;
    const Tensor g = on_host(host, device_g), last_states = on_host(host, device_states);
    DeltaDiagnostics result;
    if (g.defined() && g.numel() > 0)
        dispatch_float(g.dtype(), [&]<typename T>() {
            double sum = 0;
            for (int64_t t = 0; t < g.dim(0); ++t)
                for (int64_t h = 0; h < g.dim(1); ++h) {
                    const double decay = std::exp(static_cast<double>(g.data<T>()[t * g.row_stride() + h]));
                    sum += decay;
                    result.decay_min = std::min(result.decay_min, decay);
                }
            result.decay_mean = sum / static_cast<double>(g.numel());
        });
    if (last_states.defined() && last_states.numel() > 0)
        dispatch_float(last_states.dtype(), [&]<typename T>() {
            double sum = 0;
            for (const T x : last_states.span<T>()) sum += static_cast<double>(x) * static_cast<double>(x);
            result.state_rms = std::sqrt(sum / static_cast<double>(last_states.numel()));
        });
    return result;
}

} // namespace braid::ops
