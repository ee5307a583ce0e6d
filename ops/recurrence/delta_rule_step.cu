#include "ops/recurrence/delta_view_cuda.h"

namespace braid::ops::cuda {
namespace {

using namespace braid::cuda;

constexpr int kColumns = 32;                 // of the state, by a block; a warp reads neighbours
constexpr int kGroups = kThreads / kColumns; // which share out the rows

/// The sums over the groups of a block's threads, for each column, on all of them.
template <typename T>
__device__ T group_sum(T value) {
    __shared__ T parts[kGroups][kColumns];
    const unsigned column = threadIdx.x % kColumns;
    __syncthreads(); // the sums of the call before have been read
    parts[threadIdx.x / kColumns][column] = value;
    __syncthreads();
    T sum = 0;
    for (int group = 0; group < kGroups; ++group) sum += parts[group][column];
    return sum;
}

/// Takes the tokens one by one into the columns of the state [d_k, d_v] of one head that this block holds.
template <typename Stored>
__global__ void step_kernel(DeltaView<Stored> view, Accumulation<Stored>* states, Stored* o) {
    using T = Accumulation<Stored>;
    const int64_t head = blockIdx.x, key_head = head / view.heads_per_key;
    const int column = static_cast<int>(blockIdx.y * kColumns + threadIdx.x % kColumns);
    const int group = static_cast<int>(threadIdx.x / kColumns);
    const bool used = column < view.value_dim;
    T* state = states + view.state_at(0, head) + column;
    for (int64_t t = 0; t < view.num_tokens; ++t) {
        const Stored *query = view.query(t, key_head), *key = view.key(t, key_head);
        const T decay = view.g ? std::exp(view.g[t * view.g_stride + head]) : T(1);
        T recalled = 0;
        for (int i = group; used && i < view.key_dim; i += kGroups)
            recalled += load(key[i]) * state[static_cast<int64_t>(i) * view.value_dim];
        recalled = group_sum(recalled);
        const T value = used ? load(view.value(t, head)[column]) : T(0);
        const T error = view.beta[t * view.beta_stride + head] * (value - decay * recalled);
        T output = 0;
        for (int i = group; used && i < view.key_dim; i += kGroups) {
            T& element = state[static_cast<int64_t>(i) * view.value_dim];
            element = decay * element + load(key[i]) * error;
            output += view.scale * load(query[i]) * element;
        }
        output = group_sum(output);
        if (used && group == 0) o[view.output_at(t, head) + column] = static_cast<Stored>(output);
    }
}

} // namespace

void delta_rule_step(const DeltaInputs& in, const Tensor& o, const Tensor& state) {
    dispatch_storage(o.dtype(), [&]<typename Stored>() {
        const DeltaView<Stored> view(in);
        const dim3 grid(static_cast<unsigned>(view.num_value_heads),
                        static_cast<unsigned>((view.value_dim + kColumns - 1) / kColumns));
        launch(step_kernel<Stored>, grid, kThreads, 0, o, view, state.data<Accumulation<Stored>>(),
               o.data<Stored>());
    });
}

} // namespace braid::ops::cuda
