#include "trainer/machine/machine_rates.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <functional>
#include <memory>
#include <numeric>

#include "parallel/collectives.h"
#include "tensor/cuda/runtime.h"
#include "tensor/memory/build_cuda.h"
#include "tensor/tensor.h"
#include "trainer/machine/gemm_rate.h"

namespace braid {
namespace {

constexpr int64_t kCopyBytes = int64_t{1} << 26;

double seconds_of(const std::function<void()>& body) {
    const auto start = std::chrono::steady_clock::now();
    body();
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

double lowest_of_ranks(Communicator& world, double value) {
    const std::vector<double> all = all_gather_equal(world, std::span(&value, 1));
    return *std::min_element(all.begin(), all.end());
}

/// The best of some copies of kCopyBytes after a first one.
CopyRate copy_rate(Communicator& world, const std::string& kind, const std::function<void()>& copy) {
    copy();
    barrier(world);
    double best = 1e300;
    for (int i = 0; i < 5; ++i) best = std::min(best, seconds_of(copy));
    return {kind, kCopyBytes, lowest_of_ranks(world, static_cast<double>(kCopyBytes) / best)};
}

/// The tensors of one size of message on one device.
class Messages {
  public:
    Messages(Communicator& world, const Stream& stream, int64_t bytes)
        : world_(world),
          comm_(stream.device().kind == DeviceKind::cpu ? world : *world.on_device()),
          stream_(stream),
          allocator_(stream),
          part_(std::max<int64_t>(4, bytes / world.size() / 4 * 4)),
          parts_(static_cast<size_t>(world.size()), part_),
          values_(Tensor::zeros(allocator_, {total() / 4}, DType::f32)),
          received_(Tensor::zeros(allocator_, {total() / 4}, DType::f32)) {}

    int64_t total() const { return part_ * world_.size(); }

    void run(MeasuredCollective collective) {
        switch (collective) {
            case MeasuredCollective::all_reduce:
                comm_.all_reduce_any_order(values_.raw_data(), values_.numel(), DType::f32)->wait();
                break;
            case MeasuredCollective::all_gather:
                comm_.all_gather(values_.raw_data(), received_.raw_data(), parts_)->wait();
                break;
            case MeasuredCollective::reduce_scatter: {
                OrderedAllReduce sum(world_, allocator_, values_, OrderedAllReduce::Result::own_share);
                sum.add_parts();
                sum.finish();
                break;
            }
            case MeasuredCollective::all_to_all:
                comm_.all_to_all(values_.raw_data(), parts_, received_.raw_data(), parts_)->wait();
                break;
        }
        stream_.synchronize();
    }

  private:
    Communicator& world_;
    Communicator& comm_;
    const Stream stream_;
    Allocator allocator_;
    const int64_t part_;
    const std::vector<int64_t> parts_;
    const Tensor values_, received_;
};

} // namespace

const char* name_of(MeasuredCollective collective) {
    constexpr const char* kNames[] = {"all-reduce", "all-gather", "reduce-scatter", "all-to-all"};
    return kNames[static_cast<int>(collective)];
}

double bus_factor(MeasuredCollective collective, int num_ranks) {
    const double n = num_ranks;
    return (collective == MeasuredCollective::all_reduce ? 2 : 1) * (n - 1) / n;
}

std::vector<GemmRate> measure_gemm_rates(Communicator& world, const Stream& compute) {
    std::vector<Stream> streams{Stream()};
    if (compute.device().kind != DeviceKind::cpu) streams.push_back(compute);
    std::vector<GemmRate> rates;
    for (const Stream& stream : streams)
        for (const DType precision : {DType::f32, DType::f64, DType::bf16}) {
            barrier(world);
            const double own = measure_gemm_rate(precision, stream);
            const std::vector<double> all = all_gather_equal(world, std::span(&own, 1));
            rates.push_back({stream.device(), precision, std::accumulate(all.begin(), all.end(), 0.0),
                             *std::min_element(all.begin(), all.end())});
        }
    return rates;
}

std::vector<CopyRate> measure_copy_rates(Communicator& world, const Stream& compute) {
    std::vector<char> from(kCopyBytes, 1), to(kCopyBytes);
    std::vector<CopyRate> rates{
        copy_rate(world, "host", [&] { std::memcpy(to.data(), from.data(), to.size()); })};
    if constexpr (kBuildCuda) {
        if (compute.device().kind == DeviceKind::cpu) return rates;
        const std::unique_ptr<void, void (*)(void*)> pinned(cuda::allocate_pinned(kCopyBytes),
                                                            cuda::release_pinned);
        std::memset(pinned.get(), 1, kCopyBytes);
        Allocator allocator(compute);
        const Tensor a = Tensor::zeros(allocator, {kCopyBytes}, DType::u8),
                     b = Tensor::zeros(allocator, {kCopyBytes}, DType::u8);
        const auto add = [&](const char* kind, void* target, const void* source) {
            rates.push_back(copy_rate(world, kind, [&] {
                cuda::copy(target, source, kCopyBytes, compute.native());
                compute.synchronize();
            }));
        };
        add("host-device", a.raw_data(), pinned.get());
        add("device-host", pinned.get(), a.raw_data());
        add("device-device", b.raw_data(), a.raw_data());
    }
    return rates;
}

std::vector<CollectiveRate> measure_collectives(Communicator& world, const Stream& compute, int64_t least,
                                                int64_t most, int step, int repetitions) {
    std::vector<CollectiveRate> rates;
    if (world.size() == 1) return rates;
    std::vector<Stream> streams{Stream()};
    if (world.on_device()) streams.push_back(compute);
    for (const Stream& stream : streams)
        for (int64_t bytes = least; bytes <= most; bytes *= step) {
            Messages messages(world, stream, bytes);
            for (const auto collective :
                 {MeasuredCollective::all_reduce, MeasuredCollective::all_gather,
                  MeasuredCollective::reduce_scatter, MeasuredCollective::all_to_all}) {
                messages.run(collective); // connects the ranks
                barrier(world);
                double seconds = seconds_of([&] {
                                     for (int i = 0; i < repetitions; ++i) messages.run(collective);
                                 }) /
                                 repetitions;
                all_reduce_max(world, std::span(&seconds, 1));
                rates.push_back(
                    {stream.device().kind, collective, messages.total(), seconds,
                     bus_factor(collective, world.size()) * static_cast<double>(messages.total()) / seconds});
            }
        }
    return rates;
}

} // namespace braid
