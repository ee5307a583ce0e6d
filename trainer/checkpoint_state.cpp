#include "trainer/checkpoint_state.h"

#include <algorithm>
#include <numeric>

namespace braid {

std::vector<NamedTensor> model_state(const ParameterStore& store) {
    std::vector<NamedTensor> state;
    for (const auto& unit : store.units()) {
        for (const Parameter* parameter : unit->parameters) {
            for (const Parameter::Section& section : parameter->sections()) {
                const ParameterSpec& spec = section.spec;
                state.push_back({{"model/" + spec.name, TensorKind::parameter, store.dtype(), spec.shape},
                                 parameter->value().rows(section.first_row, spec.shape[0])});
            }
        }
        for (const Buffer* buffer : unit->buffers)
            state.push_back({{"buffer/" + buffer->name, TensorKind::buffer, buffer->dtype, buffer->shape},
                             buffer->value});
    }
    return state;
}

std::vector<int> assign_writers(std::span<const NamedTensor> tensors, int num_ranks) {
    std::vector<size_t> order(tensors.size());
    std::iota(order.begin(), order.end(), size_t{0});
    std::stable_sort(order.begin(), order.end(),
                     [&](size_t a, size_t b) { return tensors[a].value.bytes() > tensors[b].value.bytes(); });
    std::vector<int> writers(tensors.size());
    std::vector<size_t> bytes(static_cast<size_t>(num_ranks), 0);
    for (size_t i : order) {
        const auto least = std::min_element(bytes.begin(), bytes.end());
        *least += tensors[i].value.bytes();
        writers[i] = static_cast<int>(least - bytes.begin());
    }
    return writers;
}

std::vector<TensorPiece> pieces_of_rank(std::span<const NamedTensor> tensors, int rank, int num_ranks) {
    const std::vector<int> writers = assign_writers(tensors, num_ranks);
    std::vector<TensorPiece> pieces;
    for (size_t i = 0; i < tensors.size(); ++i)
        if (writers[i] == rank)
            pieces.push_back({tensors[i].info, whole_box(tensors[i].info.shape), tensors[i].value});
    return pieces;
}

void load_state(const CheckpointReader& checkpoint, std::span<const NamedTensor> tensors,
                std::span<const TensorKind> kinds) {
    std::vector<TensorInfo> wanted;
    for (const NamedTensor& tensor : tensors) wanted.push_back(tensor.info);
    checkpoint.expect(wanted, kinds);
    for (const NamedTensor& tensor : tensors)
        checkpoint.read(tensor.info.name, whole_box(tensor.info.shape), tensor.value);
}

} // namespace braid
