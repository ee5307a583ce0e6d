#include "parallel/collectives.h"

#include <algorithm>
#include <numeric>

#include "ops/basic/ordered_sum.h"

namespace braid {
namespace {

/// all[r * count ..] = the values of rank r.
template <typename T>
std::vector<T> gather_equal(Communicator& comm, std::span<const T> values) {
    const auto size = static_cast<size_t>(comm.size());
    std::vector<T> all(values.size() * size);
    const std::vector<int64_t> bytes(size, static_cast<int64_t>(values.size_bytes()));
    comm.all_gather(values.data(), all.data(), bytes)->wait();
    return all;
}

template <typename T, typename Combine>
void reduce_in_rank_order(Communicator& comm, std::span<T> values, Combine&& combine) {
    if (comm.size() == 1) return;
    const std::vector<T> all = gather_equal<T>(comm, values);
    for (size_t i = 0; i < values.size(); ++i) {
        T result = all[i];
        for (size_t r = 1; r < static_cast<size_t>(comm.size()); ++r)
            result = combine(result, all[r * values.size() + i]);
        values[i] = result;
    }
}

std::vector<int64_t> part_bytes(const EvenSplit& split, size_t element_bytes) {
    std::vector<int64_t> bytes;
    for (int r = 0; r < split.size; ++r)
        bytes.push_back(split.length(r) * static_cast<int64_t>(element_bytes));
    return bytes;
}

} // namespace

Communicator& for_memory_of(Communicator& comm, const Tensor& x) {
    if (x.device().kind == DeviceKind::cpu || comm.size() == 1) return comm;
    Communicator* device = comm.on_device();
    check(device != nullptr, "a tensor on {} was given to ranks without a GPU", to_string(x.device()));
    return *device;
}

OrderedAllReduce::OrderedAllReduce(Communicator& comm, Allocator& allocator, Tensor values, Result result)
    : comm_(for_memory_of(comm, values)),
      values_(values.view({values.numel()})),
      split_{values_.numel(), comm.size()},
      result_(result) {
    if (comm_.size() == 1) return;
    const size_t element = size_of(values_.dtype());
    const int64_t mine = split_.length(comm_.rank());
    parts_ = Tensor::empty(allocator, {comm_.size(), mine}, values_.dtype());
    const std::vector<int64_t> received(static_cast<size_t>(comm_.size()),
                                        mine * static_cast<int64_t>(element));
    pending_ = comm_.all_to_all(values_.raw_data(), part_bytes(split_, element), parts_.raw_data(), received);
}

void OrderedAllReduce::add_parts() {
    if (comm_.size() == 1) return;
    pending_->wait();
    const int64_t mine = split_.length(comm_.rank()), first = split_.first(comm_.rank());
    const Tensor sum = values_.rows(first, mine);
    ops::ordered_sum(parts_, sum);
    pending_.reset();
    if (result_ == Result::everywhere)
        pending_ = comm_.all_gather(sum.raw_data(), values_.raw_data(),
                                    part_bytes(split_, size_of(values_.dtype())));
}

void OrderedAllReduce::finish() {
    if (pending_) pending_->wait();
    pending_.reset();
    parts_ = {};
}

void all_reduce_sum(Communicator& comm, std::span<int64_t> values) {
    reduce_in_rank_order(comm, values, [](int64_t a, int64_t b) { return a + b; });
}

void all_reduce_sum(Communicator& comm, std::span<double> values) {
    reduce_in_rank_order(comm, values, [](double a, double b) { return a + b; });
}

void all_reduce_max(Communicator& comm, std::span<double> values) {
    // A NaN anywhere must reach every rank; std::max would drop it.
    reduce_in_rank_order(comm, values, [](double a, double b) { return b > a || b != b ? b : a; });
}

std::vector<double> all_gather_equal(Communicator& comm, std::span<const double> values) {
    return gather_equal<double>(comm, values);
}

Tensor all_gather_equal(Allocator& allocator, Communicator& comm, const Tensor& x) {
    std::vector<int64_t> dims(x.shape().dims().begin(), x.shape().dims().end());
    dims.insert(dims.begin(), comm.size());
    const Tensor all = Tensor::empty(allocator, Shape(dims), x.dtype());
    const std::vector<int64_t> bytes(static_cast<size_t>(comm.size()), static_cast<int64_t>(x.bytes()));
    if (comm.size() == 1)
        copy(x, all.view(x.shape()));
    else
        for_memory_of(comm, x).all_gather(x.raw_data(), all.raw_data(), bytes)->wait();
    return all;
}

void all_reduce_counts(Allocator& allocator, Communicator& comm, const Tensor& counts) {
    if (comm.size() > 1) ops::ordered_sum(all_gather_equal(allocator, comm, counts), counts);
}

std::vector<std::string> all_gather_text(Communicator& comm, const std::string& text) {
    const auto own_size = static_cast<int64_t>(text.size());
    const std::vector<int64_t> sizes = gather_equal<int64_t>(comm, std::span(&own_size, 1));
    std::string joined(static_cast<size_t>(std::accumulate(sizes.begin(), sizes.end(), int64_t{0})), '\0');
    comm.all_gather(text.data(), joined.data(), sizes)->wait();
    std::vector<std::string> texts;
    size_t at = 0;
    for (int64_t size : sizes) {
        texts.push_back(joined.substr(at, static_cast<size_t>(size)));
        at += static_cast<size_t>(size);
    }
    return texts;
}

void barrier(Communicator& comm) {
    int64_t none = 0;
    gather_equal<int64_t>(comm, std::span<const int64_t>(&none, 1));
}

} // namespace braid
