#include "trainer/checkpoint/checkpoint_state.h"

#include <utility>

namespace braid {

std::vector<NamedTensor> model_state(const ParameterStore& store) {
    std::vector<NamedTensor> state;
    const auto add = [&](TensorInfo info, const Tensor& value) { state.push_back({std::move(info), value}); };
    for (size_t unit = 0; unit < store.units().size(); ++unit) {
        for (const PlacedSection& section : store.sections(static_cast<int>(unit))) {
            const ParameterSpec& spec = section->spec;
            add({"model/" + spec.name, TensorKind::parameter, store.dtype(), spec.shape},
                section.parameter->value().rows(section->first_row, spec.shape[0]));
        }
        for (const Buffer* buffer : store.units()[unit]->buffers)
            add({"buffer/" + buffer->name, TensorKind::buffer, buffer->dtype, buffer->shape}, buffer->value);
    }
    return state;
}

void load_state(const CheckpointReader& checkpoint, std::span<const NamedTensor> tensors,
                std::span<const TensorKind> kinds) {
    std::vector<TensorInfo> wanted;
    for (const NamedTensor& tensor : tensors) wanted.push_back(tensor.info);
    checkpoint.expect(wanted, kinds);
    Allocator host;
    for (const NamedTensor& tensor : tensors) {
        const bool is_here = tensor.value.device() == host.device();
        const Tensor here =
            is_here ? tensor.value : Tensor::empty(host, tensor.value.shape(), tensor.value.dtype());
        checkpoint.read(tensor.info.name, whole_box(tensor.info.shape), here);
        if (!is_here) copy(here, tensor.value);
    }
}

} // namespace braid
