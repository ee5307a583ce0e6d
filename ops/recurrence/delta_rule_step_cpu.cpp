#include <vector>

#include "ops/cpu/vector_math.h"
#include "ops/recurrence/delta_view_cpu.h"

namespace braid::ops::cpu {
namespace {

/// Takes one token into the state [d_k, d_v] of one head. error: scratch [d_v].
template <typename T>
void step(int64_t dk, int64_t dv, const T* q, const T* k, const T* v, T decay, T beta, T scale,
          T* __restrict state, T* __restrict error, T* __restrict o) {
    std::fill_n(error, dv, T(0));
    for (int64_t i = 0; i < dk; ++i)
        for (int64_t j = 0; j < dv; ++j) error[j] += k[i] * state[i * dv + j];
    for (int64_t j = 0; j < dv; ++j) error[j] = beta * (v[j] - decay * error[j]);
    std::fill_n(o, dv, T(0));
    for (int64_t i = 0; i < dk; ++i) {
        const T key = k[i], query = scale * q[i];
        for (int64_t j = 0; j < dv; ++j) {
            const T updated = decay * state[i * dv + j] + key * error[j];
            state[i * dv + j] = updated;
            o[j] += query * updated;
        }
    }
}

} // namespace

void delta_rule_step(const DeltaInputs& in, const Tensor& o, const Tensor& state) {
    const DeltaInputs wide = widened(in);
    const Rounded result(o);
    dispatch_float(state.dtype(), [&]<typename T>() {
        const DeltaView<T> view(wide);
        const int64_t dk = view.key_dim, dv = view.value_dim, heads = view.num_value_heads;
        for_each_task(heads, 4 * view.num_tokens * heads * dk * dv, [&](int64_t head) {
            const int64_t key_head = head / view.heads_per_key;
            std::vector<T> error(static_cast<size_t>(dv));
            for (int64_t t = 0; t < view.num_tokens; ++t) {
                T decay = view.g ? *log_decay(view, t, head) : T(0);
                exp(&decay, &decay, 1);
                step(dk, dv, view.query(t, key_head), view.key(t, key_head), view.value(t, head), decay,
                     view.beta[t * view.beta_stride + head], view.scale, state.data<T>() + head * dk * dv,
                     error.data(), result.data<T>() + (t * heads + head) * dv);
            }
        });
    });
}

} // namespace braid::ops::cpu
