#include "trainer/checkpoint/checkpoint_index.h"

#include "base/hdf5_file.h"
#include "trainer/checkpoint/checkpoint_writer.h"

namespace braid {

void write_checkpoint_index(const std::string& folder, const Manifest& manifest) {
    Hdf5File index =
        Hdf5File::create(fmt::format("{}/{}", folder, Manifest::kIndexName), kCheckpointFileMode);
    index.write_attribute("/", "save_id", manifest.save_id);
    index.write_attribute("/", "step", manifest.training.step);
    for (const StoredTensor& tensor : manifest.tensors) {
        std::vector<Hdf5Box> boxes;
        for (const StoredBox& stored : tensor.boxes) {
            const std::vector<int64_t> count = dataset_shape(stored.box.extent);
            const std::vector<int64_t> start =
                stored.box.offset.empty() ? std::vector<int64_t>{0} : stored.box.offset;
            boxes.push_back({start, count, stored.file, stored.dataset, count, {}});
        }
        const auto dims = tensor.info.shape.dims();
        index.create_virtual_dataset("/" + tensor.info.name, tensor.info.dtype,
                                     dataset_shape({dims.begin(), dims.end()}), boxes);
    }
    index.close();
}

} // namespace braid
