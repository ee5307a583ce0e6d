#include "tensor/tape.h"

#include <algorithm>
#include <set>

#include "tensor/cuda/arithmetic.h"
#include "tensor/memory/build_cuda.h"

namespace braid {
namespace {

template <typename T>
void sum_into(T* out, const T* a, const T* b, int64_t count) {
    using Sum = Accumulation<T>;
#pragma omp parallel for simd schedule(static) if (count > 1 << 15)
    for (int64_t i = 0; i < count; ++i)
        out[i] = static_cast<T>(static_cast<Sum>(a[i]) + static_cast<Sum>(b[i]));
}

void add_tensors(const Tensor& a, const Tensor& b, const Tensor& out) {
    if constexpr (kBuildCuda)
        if (out.device().kind == DeviceKind::cuda) return cuda::add(a, b, out);
    dispatch_storage(out.dtype(),
                     [&]<typename T>() { sum_into(out.data<T>(), a.data<T>(), b.data<T>(), out.numel()); });
}

} // namespace

void Gradients::add(const ValueRef& x, Tensor dx) {
    check(dx.defined() && dx.numel() == x.shape.numel() && dx.dtype() == x.dtype,
          "a gradient of shape {} ({}) was given for a value of shape {} ({})", to_string(dx.shape()),
          name_of(dx.dtype()), to_string(x.shape), name_of(x.dtype));
    check(dx.is_contiguous(), "a gradient of shape {} is not packed", to_string(dx.shape()));
    Tensor& sum = table_[x.id];
    if (!sum.defined()) {
        sum = std::move(dx);
        return;
    }
    // The first contribution may be shared: a residual addition gives one gradient to both of its inputs.
    Tensor out = sum.is_sole_owner() ? sum : Tensor::empty(allocator_, sum.shape(), sum.dtype());
    add_tensors(sum, dx, out);
    sum = std::move(out);
}

Tensor Gradients::take(const ValueRef& y) {
    const auto found = table_.find(y.id);
    if (found == table_.end()) return {};
    Tensor dy = std::move(found->second);
    table_.erase(found);
    return dy.view(y.shape);
}

void Tape::seed(const Tensor& y, double factor) {
    check(y.numel() == 1, "only a value of one element can be a loss, not {}", to_string(y.shape()));
    seeds_.push_back({y.ref(), factor});
}

void Tape::backward(Context& ctx, Gradients& gradients) {
    for (const Seed& seed : seeds_) {
        Tensor dy = Tensor::empty(*ctx.allocator, seed.value.shape, seed.value.dtype);
        dy.fill(seed.factor);
        gradients.add(seed.value, std::move(dy));
    }
    seeds_.clear();
    while (!records_.empty()) {
        OpRecord record = std::move(records_.back());
        records_.pop_back();
        std::vector<Tensor> dy;
        for (const ValueRef& output : record.outputs) dy.push_back(gradients.take(output));
        if (std::none_of(dy.begin(), dy.end(), [](const Tensor& g) { return g.defined(); })) continue;
        if (record.data_gradient) {
            ProfileScope scope(ctx.profiler, record.name, ProfilePhase::data_gradient);
            record.data_gradient(Backward{ctx, record.saved, dy, &gradients, &scope});
        }
        if (record.weight_gradient) {
            ProfileScope scope(ctx.profiler, record.name, ProfilePhase::weight_gradient);
            record.weight_gradient(Backward{ctx, record.saved, dy, nullptr, &scope});
        }
    }
}

int64_t Tape::saved_bytes() const {
    std::set<const void*> seen;
    int64_t bytes = 0;
    for (const OpRecord& record : records_)
        for (const Tensor& tensor : record.saved)
            if (tensor.defined() && seen.insert(tensor.storage_key()).second)
                bytes += static_cast<int64_t>(tensor.storage_bytes());
    return bytes;
}

} // namespace braid
