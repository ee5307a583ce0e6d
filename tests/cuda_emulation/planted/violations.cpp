// Kernels that work on the emulated GPU by luck alone: `emulation_violations NAME` runs one, which the
// emulation ends with a line that says why, or prints a number that tells what the kernel found.

#include <cstdio>
#include <string>
#include <type_traits>

#include "ops/cuda/tensor_core.h"
#include "ops/cuda/tile.h"

namespace braid::ops::cuda {
namespace {

using braid::cuda::dynamic_shared;

__global__ void copy_kernel(const int* from, int* to, int ends_group, int waits, int offset) {
    int* const shared = dynamic_shared<int>();
    start_copy(shared, from + offset, 16);
    if (ends_group) end_copies();
    if (waits) wait_for_copies<0>();
    to[0] = shared[0];
}

__global__ void early_read_kernel(const int* from, int* to) {
    int* const shared = dynamic_shared<int>();
    start_copy(shared, from, 16);
    end_copies();
    wait_for_copies<1>();
    to[0] = shared[0];
    wait_for_copies<0>();
}

__global__ void matrix_kernel() {
    uint32_t values[4];
    load_matrices<false>(values, dynamic_shared<bf16>() + 4);
}

__global__ void vector_kernel(const float* from, float* to, int offset) {
    for (int i = 0; i < 4; ++i) to[i] = load_quad(from + offset).at[i];
}

__global__ void static_memory_kernel(int* to) {
    __shared__ int sum;
    sum += 1;
    to[0] = sum;
}

__global__ void alignment_kernel(int* to) {
    to[0] = static_cast<int>(reinterpret_cast<uintptr_t>(dynamic_shared<float>()) % 128);
}

__global__ void overrun_kernel() {
    dynamic_shared<int>()[16] = 1;
}

__global__ void last_writer_kernel(int* to) {
    to[0] = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
}

__global__ void half_at_barrier_kernel() {
    if (threadIdx.x < 16)
        __syncthreads();
    else
        __syncwarp();
}

template <typename... Parameters>
void launch(void (*kernel)(Parameters...), dim3 grid, dim3 block,
            std::type_identity_t<Parameters>... arguments) {
    cuda_emulation::run(reinterpret_cast<const void*>(kernel), grid, block, 64,
                        [&] { kernel(arguments...); });
}

int* zeros() {
    void* data = nullptr;
    cudaMalloc(&data, 64);
    cudaMemsetAsync(data, 0, 64, nullptr);
    return static_cast<int*>(data);
}

void run(const std::string& name) {
    int *const in = zeros(), *const out = zeros();
    if (name == "copy") launch(copy_kernel, 1, 1, in, out, 1, 1, 0);
    if (name == "copy_without_wait") launch(copy_kernel, 1, 1, in, out, 1, 0, 0);
    if (name == "copy_without_group") launch(copy_kernel, 1, 1, in, out, 0, 1, 0);
    if (name == "misaligned_copy") launch(copy_kernel, 1, 1, in, out, 1, 1, 1);
    if (name == "early_read") launch(early_read_kernel, 1, 1, in, out);
    if (name == "misaligned_matrix") launch(matrix_kernel, 1, 32);
    if (name == "vector" || name == "misaligned_vector")
        launch(vector_kernel, 1, 1, reinterpret_cast<float*>(in), reinterpret_cast<float*>(out),
               name == "vector" ? 4 : 2);
    if (name == "static_memory") launch(static_memory_kernel, 2, 1, out);
    if (name == "alignment") launch(alignment_kernel, 1, 1, out);
    if (name == "overrun") launch(overrun_kernel, 1, 1);
    if (name == "last_writer") launch(last_writer_kernel, 4, 64, out);
    if (name == "barrier") launch(half_at_barrier_kernel, 1, 32);
    int found = 0;
    cudaMemcpyAsync(&found, out, sizeof found, cudaMemcpyDeviceToHost, nullptr);
    std::printf("%d\n", found);
}

} // namespace
} // namespace braid::ops::cuda

int main(int count, char** values) {
    if (count != 2) return 2;
    braid::ops::cuda::run(values[1]);
    return 0;
}
