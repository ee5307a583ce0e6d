#include "trainer/checkpoint/global_tensors.h"

#include <algorithm>
#include <cstring>
#include <sstream>

#include "parallel/collectives.h"

namespace braid {
namespace {

// A part as text: "NAME\nRANK shape offset extent\n" and its numbers as bytes.

std::string encode(const TensorShard& shard) {
    std::string text = fmt::format("{}\n{}", shard.tensor.name, shard.box.offset.size());
    for (const int64_t n : shard.tensor.shape.dims()) text += fmt::format(" {}", n);
    for (const int64_t n : shard.box.offset) text += fmt::format(" {}", n);
    for (const int64_t n : shard.box.extent) text += fmt::format(" {}", n);
    text += "\n";
    const auto add = [&](double value) { text.append(reinterpret_cast<const char*>(&value), sizeof value); };
    if (is_floating(shard.data.dtype()))
        dispatch_float(shard.data.dtype(), [&]<typename T>() {
            for (const T value : shard.data.span<T>()) add(static_cast<double>(value));
        });
    else
        for (const int64_t value : shard.data.span<int64_t>()) add(static_cast<double>(value));
    return text;
}

class Assembly {
  public:
    /// Adds the part that starts at `at`; returns where the next one starts.
    size_t add(const std::string& text, size_t at) {
        const size_t name_end = text.find('\n', at), header_end = text.find('\n', name_end + 1);
        const std::string name = text.substr(at, name_end - at);
        std::istringstream header(text.substr(name_end + 1, header_end - name_end - 1));
        size_t rank = 0;
        header >> rank;
        std::vector<int64_t> shape(rank), offset(rank), extent(rank);
        for (auto* list : {&shape, &offset, &extent})
            for (int64_t& n : *list) header >> n;
        const Box box{offset, extent}, whole = whole_box(Shape(shape));
        auto& tensor = tensors_[name];
        auto& seen = seen_[name];
        tensor.resize(static_cast<size_t>(whole.numel()));
        seen.resize(tensor.size());
        const char* numbers = text.data() + header_end + 1;
        for_each_run(box, whole, box, [&](int64_t to, int64_t from, int64_t count) {
            std::memcpy(&tensor[static_cast<size_t>(to)], numbers + from * 8, static_cast<size_t>(count) * 8);
            for (int64_t i = 0; i < count; ++i) ++seen[static_cast<size_t>(to + i)];
        });
        return header_end + 1 + static_cast<size_t>(box.numel()) * 8;
    }
    GlobalTensors take() {
        for (const auto& [name, counts] : seen_)
            for (size_t i = 0; i < counts.size(); ++i)
                check(counts[i] == 1, "{}: element {} has {} owners", name, i, int{counts[i]});
        return std::move(tensors_);
    }

  private:
    GlobalTensors tensors_;
    std::map<std::string, std::vector<unsigned char>> seen_;
};

} // namespace

GlobalTensors gather_tensors(Communicator& world, const std::vector<StatePart>& parts) {
    Allocator host;
    std::string mine;
    for (const StatePart& part : parts) mine += encode(to_shard(host, part));
    Assembly assembly;
    for (const std::string& text : all_gather_text(world, mine))
        for (size_t at = 0; at < text.size();) at = assembly.add(text, at);
    return assembly.take();
}

void scatter_tensors(const GlobalTensors& tensors, const std::vector<StatePart>& parts) {
    Allocator host;
    for (const StatePart& part : parts) {
        const std::vector<double>& values = tensors.at(part.info.name);
        const Box whole = whole_box(part.info.shape);
        std::vector<double> packed(static_cast<size_t>(part.box.numel()));
        for_each_run(part.box, whole, part.box, [&](int64_t from, int64_t to, int64_t count) {
            std::copy_n(values.begin() + from, count, packed.begin() + to);
        });
        change_on_host(host, part, [&](const Tensor& storage, int64_t first) {
            for_each_run(part, [&](int64_t to, int64_t from, int64_t count) {
                const Tensor run = storage.rows(to - first, count);
                if (is_floating(run.dtype()))
                    dispatch_float(run.dtype(), [&]<typename T>() {
                        for (int64_t i = 0; i < count; ++i)
                            run.data<T>()[i] = static_cast<T>(packed[static_cast<size_t>(from + i)]);
                    });
                else
                    for (int64_t i = 0; i < count; ++i)
                        run.data<int64_t>()[i] = static_cast<int64_t>(packed[static_cast<size_t>(from + i)]);
            });
        });
    }
}

} // namespace braid
