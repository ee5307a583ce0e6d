#include "ops/update/muon_kernels.h"

#include "ops/update/rectangles_cuda.h"

namespace braid::ops::cuda {
namespace {

using namespace braid::cuda;

template <typename T>
void update_momentum(const Tensor& momentum, const Tensor& gradients, const Tensor& ahead, double beta,
                     double gradient_scale) {
    const T b = static_cast<T>(beta), share = static_cast<T>((1 - beta) * gradient_scale);
    const T* g = gradients.data<T>();
    T *m = momentum.data<T>(), *next = ahead.defined() ? ahead.data<T>() : nullptr;
    for_each(momentum, momentum.numel(), [=] __device__(int64_t i) {
        const T m1 = b * m[i] + share * g[i];
        m[i] = m1;
        if (next) next[i] = b * m1 + share * g[i];
    });
}

/// All fragments in one launch.
template <typename T>
void apply(const Tensor& values, const Tensor& updates, const MuonFragments& fragments, double lr) {
    const T* o = updates.data<T>();
    T* p = values.data<T>();
    const RectanglesView view(fragments.rectangles());
    const double* factors = fragments.factor_values().data<double>();
    for_each(values, fragments.rectangles().num_elements(), [=] __device__(int64_t index) {
        const RectanglesView::Place place = view[index];
        const double* f = factors + 3 * place.rectangle;
        const double fragment_lr = lr * f[0];
        const T keep = static_cast<T>(1 - fragment_lr * f[1]), step = static_cast<T>(fragment_lr * f[2]);
        p[place.to] = keep * p[place.to] - step * o[place.from];
    });
}

} // namespace

void muon_momentum(const Tensor& momentum, const Tensor& gradients, const Tensor& ahead, double beta,
                   double gradient_scale) {
    dispatch_float(momentum.dtype(), [&]<typename T>() {
        update_momentum<T>(momentum, gradients, ahead, beta, gradient_scale);
    });
}

void muon_apply(const Tensor& values, const Tensor& updates, const MuonFragments& fragments, double lr) {
    dispatch_float(values.dtype(), [&]<typename T>() { apply<T>(values, updates, fragments, lr); });
}

} // namespace braid::ops::cuda
