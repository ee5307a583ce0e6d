#include "ops/recurrence/causal_conv_kernels.h"

#include <algorithm>

#include "base/highway_targets.h"
#include "ops/cpu/parallel.h"
#include "ops/cpu/widen.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/recurrence/causal_conv_cpu.cpp"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "ops/cpu/highway_dispatch.h"
#include "ops/cpu/vector_math-inl.h"

#ifndef BRAID_OPS_CPU_CAUSAL_CONV_TYPES
#define BRAID_OPS_CPU_CAUSAL_CONV_TYPES
namespace braid::ops::cpu {

/// Some channels of the tensors of a convolution, for the rows [first, end).
template <typename T>
struct ConvTile {
    const T* x;
    int64_t x_stride;
    const T* w; // [K, C] with the current token's weights first
    int64_t w_stride;
    const T* dy; // as x; null in forward
    int64_t dy_stride;
    const int32_t *before, *after;
    int64_t first, end, taps, num_channels; // of the tile
    bool silu;
};

/// The functions of one target for one element type, which the driver below calls tile by tile.
template <typename T>
struct ConvFunctions {
    void (*forward)(const ConvTile<T>&, T*, int64_t);
    void (*activation_gradient)(const ConvTile<T>&, T*, int64_t);
    void (*data_gradient)(const ConvTile<T>&, const T*, int64_t, T*, int64_t);
    void (*weight_gradient)(const ConvTile<T>&, const T*, int64_t, T*, int64_t);
};

} // namespace braid::ops::cpu
#endif

HWY_BEFORE_NAMESPACE();
namespace braid::ops::cpu::HWY_NAMESPACE {

/// body(c, load, store) for the vectors of n channels, of which c is the first channel; load and store take
/// the address of that channel's element and leave out channels beyond n.
template <typename T, class Body>
HWY_ATTR HWY_INLINE void for_each_vector(int64_t n, const Body& body) {
    const hn::ScalableTag<T> d;
    using V = hn::Vec<decltype(d)>;
    const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
    int64_t c = 0;
    for (; c + lanes <= n; c += lanes)
        body(
            c, [&](const T* from) HWY_ATTR { return hn::LoadU(d, from); },
            [&](V v, T* to) HWY_ATTR { hn::StoreU(v, d, to); });
    if (c == n) return;
    const auto mask = hn::FirstN(d, static_cast<size_t>(n - c));
    body(
        c, [&](const T* from) HWY_ATTR { return hn::MaskedLoad(mask, d, from); },
        [&](V v, T* to) HWY_ATTR { hn::BlendedStore(v, mask, d, to); });
}

/// u[t, c ..]: the convolution before the activation.
template <typename T, class Load>
HWY_ATTR HWY_INLINE auto convolve(const ConvTile<T>& tile, int64_t t, int64_t c, const Load& load) {
    const T* x = tile.x + t * tile.x_stride + c;
    auto u = hn::Mul(load(tile.w + c), load(x));
    for (int64_t j = 1; j <= tile.before[t]; ++j)
        u = hn::MulAdd(load(tile.w + j * tile.w_stride + c), load(x - j * tile.x_stride), u);
    return u;
}

template <typename T>
HWY_ATTR void forward(const ConvTile<T>& tile, T* y, int64_t y_stride) {
    const hn::ScalableTag<T> d;
    for (int64_t t = tile.first; t < tile.end; ++t)
        for_each_vector<T>(tile.num_channels, [&](int64_t c, const auto& load, const auto& store) HWY_ATTR {
            const auto u = convolve(tile, t, c, load);
            store(tile.silu ? silu(d, u) : u, y + t * y_stride + c);
        });
}

/// du: row t - first is the gradient of u[t].
template <typename T>
HWY_ATTR void activation_gradient(const ConvTile<T>& tile, T* du, int64_t du_stride) {
    const hn::ScalableTag<T> d;
    for (int64_t t = tile.first; t < tile.end; ++t)
        for_each_vector<T>(tile.num_channels, [&](int64_t c, const auto& load, const auto& store) HWY_ATTR {
            auto g = load(tile.dy + t * tile.dy_stride + c);
            if (tile.silu) g = hn::Mul(g, silu_derivative(d, convolve(tile, t, c, load)));
            store(g, du + (t - tile.first) * du_stride + c);
        });
}

/// dx[t] from the rows of du at and after t; du as above, its rows reach after[t] beyond the tile's.
template <typename T>
HWY_ATTR void data_gradient(const ConvTile<T>& tile, const T* du, int64_t du_stride, T* dx,
                            int64_t dx_stride) {
    for (int64_t t = tile.first; t < tile.end; ++t)
        for_each_vector<T>(tile.num_channels, [&](int64_t c, const auto& load, const auto& store) HWY_ATTR {
            const T* from = du + (t - tile.first) * du_stride + c;
            auto sum = hn::Mul(load(tile.w + c), load(from));
            for (int64_t j = 1; j <= tile.after[t]; ++j)
                sum = hn::MulAdd(load(tile.w + j * tile.w_stride + c), load(from + j * du_stride), sum);
            store(sum, dx + t * dx_stride + c);
        });
}

/// Adds du[t] x[t - j] to dw[j], [K, C].
template <typename T>
HWY_ATTR void weight_gradient(const ConvTile<T>& tile, const T* du, int64_t du_stride, T* dw,
                              int64_t dw_stride) {
    for (int64_t t = tile.first; t < tile.end; ++t)
        for_each_vector<T>(tile.num_channels, [&](int64_t c, const auto& load, const auto& store) HWY_ATTR {
            const auto g = load(du + (t - tile.first) * du_stride + c);
            for (int64_t j = 0; j <= tile.before[t]; ++j) {
                T* sum = dw + j * dw_stride + c;
                store(hn::MulAdd(g, load(tile.x + (t - j) * tile.x_stride + c), load(sum)), sum);
            }
        });
}

template <typename T>
ConvFunctions<T> make_functions() {
    return {forward<T>, activation_gradient<T>, data_gradient<T>, weight_gradient<T>};
}
ConvFunctions<float> functions_f32() {
    return make_functions<float>();
}
ConvFunctions<double> functions_f64() {
    return make_functions<double>();
}

} // namespace braid::ops::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace braid::ops::cpu {
namespace {

BRAID_HIGHWAY_FUNCTIONS(functions, functions_f32, functions_f64)

/// Cuts a convolution into tiles that stay in the second level cache.
template <typename T>
class ConvDriver {
  public:
    ConvDriver(const Tensor& x, const Tensor& w, const ConvReach& reach, bool silu, const Tensor& dy,
               Allocator& allocator)
        : tokens_(x.dim(0)),
          channels_(x.dim(1)),
          taps_(w.dim(1)),
          allocator_(allocator),
          weights_(Tensor::empty(allocator, {taps_, channels_}, w.dtype())) {
        for (int64_t c = 0; c < channels_; ++c)
            for (int64_t j = 0; j < taps_; ++j)
                weights_.data<T>()[j * channels_ + c] = w.data<T>()[c * taps_ + taps_ - 1 - j];
        whole_ = {x.data<T>(),
                  x.row_stride(),
                  weights_.data<T>(),
                  channels_,
                  dy.defined() ? dy.data<T>() : nullptr,
                  dy.defined() ? dy.row_stride() : 0,
                  reach.before.data(),
                  reach.after.data(),
                  0,
                  tokens_,
                  taps_,
                  channels_,
                  silu};
    }

    void run_forward(T* y) const {
        for_each_task(num_tiles(), work(),
                      [&](int64_t i) { functions_.forward(tile(i), y + first_channel(i), channels_); });
    }

    /// Each tile makes du for its rows and for those after them that read them.
    void run_data_gradient(T* dx) const {
        const ThreadScratch<T> scratch(allocator_, (kTokens + taps_ - 1) * kChannels);
        for_each_task(num_tiles(), work(), [&](int64_t i) {
            T* du = scratch.arrays().take((kTokens + taps_ - 1) * kChannels);
            ConvTile<T> rows = tile(i);
            const int64_t end = rows.end;
            rows.end += whole_.after[end - 1];
            functions_.activation_gradient(rows, du, kChannels);
            rows.end = end;
            functions_.data_gradient(rows, du, kChannels, dx + first_channel(i), channels_);
        });
    }

    /// Rows of tiles are summed apart, then in order.
    void run_weight_gradient(T* dw) const {
        const ThreadScratch<T> scratch(allocator_, kTokens * kChannels);
        const Tensor sums = Tensor::zeros(allocator_, {token_blocks(), taps_, channels_}, dtype_of<T>());
        for_each_task(num_tiles(), work(), [&](int64_t i) {
            T* du = scratch.arrays().take(kTokens * kChannels);
            functions_.activation_gradient(tile(i), du, kChannels);
            functions_.weight_gradient(
                tile(i), du, kChannels,
                sums.data<T>() + i / channel_blocks() * taps_ * channels_ + first_channel(i), channels_);
        });
        for (int64_t c = 0; c < channels_; ++c)
            for (int64_t j = 0; j < taps_; ++j) {
                double total = 0;
                for (int64_t block = 0; block < token_blocks(); ++block)
                    total += static_cast<double>(sums.data<T>()[(block * taps_ + j) * channels_ + c]);
                dw[c * taps_ + taps_ - 1 - j] += static_cast<T>(total);
            }
    }

  private:
    static constexpr int64_t kTokens = 128, kChannels = 256;

    int64_t token_blocks() const { return (tokens_ + kTokens - 1) / kTokens; }
    int64_t channel_blocks() const { return (channels_ + kChannels - 1) / kChannels; }
    int64_t num_tiles() const { return token_blocks() * channel_blocks(); }
    int64_t work() const { return 4 * tokens_ * channels_; }
    int64_t first_channel(int64_t i) const { return i % channel_blocks() * kChannels; }
    ConvTile<T> tile(int64_t i) const {
        ConvTile<T> tile = whole_;
        const int64_t channel = first_channel(i);
        tile.x += channel;
        tile.w += channel;
        if (tile.dy) tile.dy += channel;
        tile.num_channels = std::min(kChannels, channels_ - channel);
        tile.first = i / channel_blocks() * kTokens;
        tile.end = std::min(tokens_, tile.first + kTokens);
        return tile;
    }

    const ConvFunctions<T> functions_ = functions<T>();
    int64_t tokens_, channels_, taps_;
    Allocator& allocator_;
    Tensor weights_; // [K, C], the current token's first
    ConvTile<T> whole_;
};

} // namespace

void causal_conv(const Tensor& x, const Tensor& w, const ConvReach& reach, bool silu, const Tensor& y,
                 Allocator& allocator) {
    const Tensor wide_x = widened(x);
    const Rounded result(y);
    dispatch_float(w.dtype(), [&]<typename T>() {
        ConvDriver<T>(wide_x, w, reach, silu, {}, allocator).run_forward(result.data<T>());
    });
}

void causal_conv_data_gradient(const Tensor& x, const Tensor& w, const ConvReach& reach, bool silu,
                               const Tensor& dy, const Tensor& dx, Allocator& allocator) {
    const Tensor wide_x = widened(x), wide_dy = widened(dy);
    const Rounded result(dx);
    dispatch_float(w.dtype(), [&]<typename T>() {
        ConvDriver<T>(wide_x, w, reach, silu, wide_dy, allocator).run_data_gradient(result.data<T>());
    });
}

void causal_conv_weight_gradient(const Tensor& x, const Tensor& w, const ConvReach& reach, bool silu,
                                 const Tensor& dy, const Tensor& dw, Allocator& allocator) {
    const Tensor wide_x = widened(x), wide_dy = widened(dy);
    dispatch_float(dw.dtype(), [&]<typename T>() {
        ConvDriver<T>(wide_x, w, reach, silu, wide_dy, allocator).run_weight_gradient(dw.data<T>());
    });
}

} // namespace braid::ops::cpu
#endif
