#include "tensor/cuda/sort.h"

#include <limits>

#include "tensor/cuda/for_each.h"

#if BRAID_CUDA_EMULATION
#include <numeric>
#include <vector>
#else
#include <cub/device/device_radix_sort.cuh>
#endif

namespace braid::cuda {

#if BRAID_CUDA_EMULATION

void stable_sort(const Tensor& keys, const Tensor& sorted, const Tensor& order) {
    const cuda_emulation::DeviceAccess access;
    const int32_t* key = keys.data<int32_t>();
    std::vector<int32_t> places(static_cast<size_t>(keys.numel()));
    std::iota(places.begin(), places.end(), 0);
    std::stable_sort(places.begin(), places.end(), [&](int32_t a, int32_t b) { return key[a] < key[b]; });
    for (size_t i = 0; i < places.size(); ++i) {
        order.data<int32_t>()[i] = places[i];
        sorted.data<int32_t>()[i] = key[places[i]];
    }
}

#else

void stable_sort(const Tensor& keys, const Tensor& sorted, const Tensor& order) {
    const int64_t count = keys.numel();
    check(count <= std::numeric_limits<int32_t>::max(), "{} keys to sort", count);
    if (count == 0) return;
    Allocator& allocator = order.allocator();
    const Tensor places = Tensor::empty(allocator, {count}, DType::i32);
    int32_t* place = places.data<int32_t>();
    for_each(places, count, [=] __device__(int64_t i) { place[i] = static_cast<int32_t>(i); });
    size_t bytes = 0;
    const auto sort = [&](void* scratch) {
        expect_success(cub::DeviceRadixSort::SortPairs(scratch, bytes, keys.data<int32_t>(),
                                                       sorted.data<int32_t>(), place, order.data<int32_t>(),
                                                       static_cast<int>(count), 0, 32, stream_of(order)),
                       "cub::DeviceRadixSort");
    };
    sort(nullptr);
    const Tensor scratch = Tensor::empty(allocator, {static_cast<int64_t>(bytes)}, DType::u8);
    sort(scratch.raw_data());
}

#endif

} // namespace braid::cuda
