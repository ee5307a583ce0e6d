// What a warp does together for matrix products, with the layouts that the PTX manual gives for mma.m16n8k16
// and ldmatrix.

#include <cuda_runtime.h>

#include <bit>

namespace cuda_emulation {
namespace {

int lane() {
    return static_cast<int>(built().thread.x % 32);
}

/// One of two bf16 numbers in a register.
float half_of(uint32_t word, int which) {
    return std::bit_cast<float>(which ? word & 0xffff0000u : word << 16);
}

struct Operands {
    uint32_t a[4], b[2];
};

} // namespace

void multiply_add(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
    const Operands mine{{a[0], a[1], a[2], a[3]}, {b[0], b[1]}};
    static_assert(sizeof mine <= kLaneBytes);
    share(&mine, sizeof mine, [&](const std::byte* lanes) {
        const auto of = [&](int source) {
            Operands operands;
            std::memcpy(&operands, lanes + static_cast<size_t>(source) * kLaneBytes, sizeof operands);
            return operands;
        };
        for (int i = 0; i < 4; ++i) {
            const int row = lane() / 4 + i / 2 * 8, column = lane() % 4 * 2 + i % 2;
            for (int k = 0; k < 16; ++k) {
                const int quad = k % 8 / 2;
                c[i] += half_of(of(row % 8 * 4 + quad).a[row / 8 + k / 8 * 2], k % 2) *
                        half_of(of(column * 4 + quad).b[k / 8], k % 2);
            }
        }
    });
}

void load_matrices(uint32_t (&to)[4], const void* row, bool transposed) {
    if (reinterpret_cast<uintptr_t>(row) % 16 != 0)
        fail_in_kernel("a row of a matrix in shared memory does not begin at a multiple of 16 bytes");
    share(&row, sizeof row, [&](const std::byte* lanes) {
        const auto element = [&](int matrix, int i, int j) {
            const std::byte* address = nullptr;
            std::memcpy(&address, lanes + static_cast<size_t>(matrix * 8 + i) * kLaneBytes, sizeof address);
            uint16_t value = 0;
            std::memcpy(&value, address + 2 * j, sizeof value);
            return uint32_t{value};
        };
        const int outer = lane() / 4, inner = lane() % 4 * 2;
        for (int m = 0; m < 4; ++m)
            to[m] = transposed ? element(m, inner, outer) | element(m, inner + 1, outer) << 16
                               : element(m, outer, inner) | element(m, outer, inner + 1) << 16;
    });
}

} // namespace cuda_emulation
