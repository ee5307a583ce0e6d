#include "trainer/checkpoint/checkpoint_diff.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>

#include "base/error.h"

namespace braid {

namespace {

constexpr int64_t kElementsAtOnce = int64_t{1} << 22;

double to_double(bf16 value) {
    return static_cast<float>(value);
}
template <typename T>
double to_double(T value) {
    return static_cast<double>(value);
}

// What the comparison of one tensor adds up.
struct Sums {
    TensorDifference difference;
    double max_b = 0, sum_squares_b = 0;

    template <typename T>
    void add(const std::byte* a, const std::byte* b, int64_t count) {
        for (int64_t i = 0; i < count; ++i, a += sizeof(T), b += sizeof(T)) {
            T x, y;
            std::memcpy(&x, a, sizeof(T));
            std::memcpy(&y, b, sizeof(T));
            if (std::memcmp(a, b, sizeof(T)) != 0) ++difference.num_different;
            const double value = to_double(y), distance = std::abs(to_double(x) - value);
            difference.max_difference = std::max(difference.max_difference, distance);
            max_b = std::max(max_b, std::abs(value));
            sum_squares_b += value * value;
        }
        difference.num_elements += count;
    }

    void add(DType dtype, const std::byte* a, const std::byte* b, int64_t count) {
        switch (dtype) {
            case DType::f32:
                return add<float>(a, b, count);
            case DType::f64:
                return add<double>(a, b, count);
            case DType::bf16:
                return add<bf16>(a, b, count);
            case DType::u8:
                return add<uint8_t>(a, b, count);
            case DType::u16:
                return add<uint16_t>(a, b, count);
            case DType::i32:
                return add<int32_t>(a, b, count);
            case DType::i64:
                return add<int64_t>(a, b, count);
        }
    }
};

Sums compare_tensor(const CheckpointReader& a, const CheckpointReader& b, const TensorInfo& tensor) {
    Sums sums;
    sums.difference.name = tensor.name;
    std::vector<std::byte> of_a, of_b;
    for (const Box& box : split_into_boxes(tensor.shape, kElementsAtOnce)) {
        const auto bytes = static_cast<size_t>(box.numel()) * size_of(tensor.dtype);
        of_a.resize(bytes);
        of_b.resize(bytes);
        a.read(tensor.name, box, of_a);
        b.read(tensor.name, box, of_b);
        sums.add(tensor.dtype, of_a.data(), of_b.data(), box.numel());
    }
    return sums;
}

// Tensors of one size of numbers: "model", "buffer", "optimizer/MOMENT".
std::string group_of(const TensorInfo& tensor) {
    const size_t first = tensor.name.find('/');
    if (tensor.kind != TensorKind::optimizer || first == std::string::npos)
        return tensor.name.substr(0, first);
    return tensor.name.substr(0, tensor.name.find('/', first + 1));
}

template <typename T>
void compare_value(const std::string& name, const T& a, const T& b, std::vector<std::string>& out) {
    if (a != b) out.push_back(fmt::format("{}: {} and {}", name, a, b));
}

template <typename T>
void compare_maps(const std::string& name, const std::map<std::string, T>& a,
                  const std::map<std::string, T>& b, std::vector<std::string>& out) {
    for (const auto& [key, value] : a) {
        const auto other = b.find(key);
        if (other == b.end())
            out.push_back(fmt::format("{}/{}: only in the first", name, key));
        else
            compare_value(name + "/" + key, value, other->second, out);
    }
    for (const auto& [key, value] : b)
        if (!a.contains(key)) out.push_back(fmt::format("{}/{}: only in the second", name, key));
}

void compare_training(const TrainingState& a, const TrainingState& b, std::vector<std::string>& out) {
    compare_value("step", a.step, b.step, out);
    compare_value("sample", a.sample, b.sample, out);
    compare_value("tokens", a.tokens, b.tokens, out);
    compare_maps("data", a.data, b.data, out);
    compare_maps("counters", a.counters, b.counters, out);
    compare_maps("quantities", a.quantities, b.quantities, out);
}

} // namespace

CheckpointDifference compare_checkpoints(const CheckpointReader& a, const CheckpointReader& b) {
    CheckpointDifference result;
    compare_training(a.manifest().training, b.manifest().training, result.structure);
    struct Group {
        double sum_squares = 0;
        int64_t count = 0;
    };
    std::map<std::string, Group> groups;
    std::vector<std::pair<std::string, Sums>> compared; // with the tensor's group
    for (const StoredTensor& stored : a.manifest().tensors) {
        const TensorInfo& tensor = stored.info;
        const StoredTensor* other = b.manifest().find(tensor.name);
        if (!other) {
            result.structure.push_back(fmt::format("{}: only in the first", tensor.name));
        } else if (other->info != tensor) {
            result.structure.push_back(fmt::format("{}: {} {} and {} {}", tensor.name, name_of(tensor.dtype),
                                                   to_string(tensor.shape), name_of(other->info.dtype),
                                                   to_string(other->info.shape)));
        } else {
            const Sums& sums = compared.emplace_back(group_of(tensor), compare_tensor(a, b, tensor)).second;
            Group& group = groups[compared.back().first];
            group.sum_squares += sums.sum_squares_b;
            group.count += sums.difference.num_elements;
        }
    }
    for (const StoredTensor& stored : b.manifest().tensors)
        if (!a.manifest().find(stored.info.name))
            result.structure.push_back(fmt::format("{}: only in the second", stored.info.name));

    for (auto& [group_name, sums] : compared) {
        if (sums.difference.num_different == 0) continue;
        const Group& group = groups[group_name];
        const double rms = std::sqrt(group.sum_squares / static_cast<double>(group.count));
        const double scale = std::max(sums.max_b, 1e-3 * rms);
        if (sums.difference.max_difference > 0)
            sums.difference.error = sums.difference.max_difference / scale;
        result.tensors.push_back(sums.difference);
    }
    std::stable_sort(result.tensors.begin(), result.tensors.end(),
                     [](const TensorDifference& x, const TensorDifference& y) { return x.error > y.error; });
    return result;
}

} // namespace braid
