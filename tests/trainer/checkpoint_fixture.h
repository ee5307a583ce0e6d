#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "base/rng.h"
#include "parallel/agreement.h"
#include "parallel/collectives.h"
#include "parallel/thread_comm.h"
#include "tests/support/temporary_folder.h"
#include "trainer/checkpoint/checkpoint_folder.h"
#include "trainer/checkpoint/checkpoint_reader.h"
#include "trainer/checkpoint/checkpoint_state.h"
#include "trainer/checkpoint/checkpoint_writer.h"

namespace braid::test {

/// The state of a pretended run at a step: tensors of every kind, element type and rank, whose bits are a
/// pure function of (name, step, index).
class PretendedRun {
    Allocator allocator_; // first: it must outlive the tensors

  public:
    explicit PretendedRun(int64_t step) : step(step) {
        add("model/layers.0.attn.q.weight", TensorKind::parameter, DType::f32, {24, 10});
        add("model/layers.0.experts.up", TensorKind::parameter, DType::f32, {6, 7, 8});
        add("model/norm.weight", TensorKind::parameter, DType::f32, {37});
        add("model/scale", TensorKind::parameter, DType::f32, {});
        add("optimizer/m/layers.0.attn.q.weight", TensorKind::optimizer, DType::f64, {24, 10});
        add("optimizer/m/norm.weight", TensorKind::optimizer, DType::bf16, {37});
        add("buffer/router.bias", TensorKind::buffer, DType::f64, {16});
        add("buffer/router.counts", TensorKind::buffer, DType::i64, {16});
        add("buffer/seen", TensorKind::buffer, DType::u8, {5, 1, 4});
        add("buffer/large", TensorKind::buffer, DType::f32, {150, 11}); // some blocks of 512 bytes
    }

    CheckpointContent content(int num_ranks = 1) const {
        return {{step, 16 * step, 8000 * step, {{"corpus.h5", "f00d"}}, {{"skipped", 1}}, {{"lr", 1e-3 / 3}}},
                fmt::format("name: pretended\nseed: {}\n", 7),
                {num_ranks, {{"data", num_ranks}}}};
    }

    const int64_t step;
    std::vector<NamedTensor> tensors;

  private:
    void add(const std::string& name, TensorKind kind, DType dtype, const Shape& shape) {
        Tensor value = Tensor::empty(allocator_, shape, dtype);
        auto* bytes = static_cast<uint8_t*>(value.raw_data());
        uint64_t state = static_cast<uint64_t>(step) * 1000003 + 99;
        for (char c : name) state = state * 31 + static_cast<uint8_t>(c);
        for (size_t i = 0; i < value.bytes(); ++i) {
            state = state * 6364136223846793005u + 1442695040888963407u;
            bytes[i] = static_cast<uint8_t>(state >> 56);
            // Any bits but those of NaN and infinity: the last byte of a float holds the upper exponent bits.
            if (is_floating(dtype) && (i + 1) % size_of(dtype) == 0) bytes[i] &= 0xbf;
        }
        tensors.push_back({{name, kind, dtype, shape}, value});
    }
};

/// The part of a whole tensor as a shard of its own memory.
inline TensorShard cut(Allocator& allocator, const NamedTensor& tensor, const Box& box) {
    const Tensor data = Tensor::empty(allocator, Shape(box.extent), tensor.info.dtype);
    const size_t size = size_of(tensor.info.dtype);
    const auto* from = static_cast<const char*>(tensor.value.raw_data());
    auto* to = static_cast<char*>(data.raw_data());
    for_each_run(box, whole_box(tensor.info.shape), box, [&](int64_t a, int64_t b, int64_t count) {
        std::memcpy(to + static_cast<size_t>(b) * size, from + static_cast<size_t>(a) * size,
                    static_cast<size_t>(count) * size);
    });
    return {tensor.info, box, data};
}

/// Cuts a shape into a grid of rows × columns boxes over its first and last dimension; parts that get nothing
/// are left out.
inline std::vector<Box> grid(const Shape& shape, int rows, int columns) {
    std::vector<Box> boxes;
    const Box whole = whole_box(shape);
    if (shape.rank() == 0) return {whole};
    const size_t last = whole.extent.size() - 1;
    if (last == 0) columns = 1;
    for (int row = 0; row < rows; ++row) {
        for (int column = 0; column < columns; ++column) {
            Box box = whole;
            const auto narrow = [&](size_t dim, int part, int parts) {
                const EvenSplit split{whole.extent[dim], parts};
                box.offset[dim] = split.first(part);
                box.extent[dim] = split.length(part);
            };
            narrow(0, row, rows);
            if (last > 0) narrow(last, column, columns);
            if (lies_within(box, shape)) boxes.push_back(box);
        }
    }
    return boxes;
}

/// What `rank` of `num_ranks` writes where whole tensors are dealt out to the ranks.
inline std::vector<TensorShard> shards_of_rank(std::span<const NamedTensor> tensors, int rank,
                                               int num_ranks) {
    std::vector<TensorShard> shards;
    for (size_t i = 0; i < tensors.size(); ++i)
        if (static_cast<int>(i) % num_ranks == rank)
            shards.push_back({tensors[i].info, whole_box(tensors[i].info.shape), tensors[i].value});
    return shards;
}

/// What `rank` of `num_ranks` writes where every tensor is cut into a grid that is dealt out to the ranks.
inline std::vector<TensorShard> grid_shards(Allocator& allocator, const PretendedRun& run, int rank,
                                            int num_ranks, int rows, int columns) {
    std::vector<TensorShard> shards;
    for (const NamedTensor& tensor : run.tensors) {
        const std::vector<Box> boxes = grid(tensor.info.shape, rows, columns);
        for (size_t i = 0; i < boxes.size(); ++i)
            if (static_cast<int>(i) % num_ranks == rank) shards.push_back(cut(allocator, tensor, boxes[i]));
    }
    return shards;
}

/// Saves with `num_ranks` threads as ranks. With rows = 0 the tensors are dealt out whole.
inline std::string save(const std::string& folder, const PretendedRun& run, int num_ranks = 1, int rows = 0,
                        int columns = 1, SaveOptions options = {0, 512}) {
    std::string path;
    run_thread_ranks(num_ranks, [&](Communicator& comm) {
        Allocator allocator;
        const auto shards = rows == 0 ? shards_of_rank(run.tensors, comm.rank(), num_ranks)
                                      : grid_shards(allocator, run, comm.rank(), num_ranks, rows, columns);
        const auto gather = [&](const std::string& text) { return all_gather_text(comm, text); };
        const std::string saved =
            save_checkpoint(folder, shards, run.content(num_ranks), comm.rank(), gather, options);
        if (comm.rank() == 0) path = saved;
    });
    return path;
}

/// Expects that every stored tensor, read in a grid of boxes, has the bits of the run.
inline void expect_equal(const CheckpointReader& reader, const PretendedRun& run, int rows = 1,
                         int columns = 1) {
    Allocator allocator;
    EXPECT_EQ(reader.manifest().tensors.size(), run.tensors.size());
    for (const NamedTensor& tensor : run.tensors) {
        for (const Box& box : grid(tensor.info.shape, rows, columns)) {
            const TensorShard expected = cut(allocator, tensor, box);
            const Tensor found = Tensor::zeros(allocator, Shape(box.extent), tensor.info.dtype);
            reader.read(tensor.info.name, box, found);
            EXPECT_EQ(std::memcmp(found.raw_data(), expected.data.raw_data(), found.bytes()), 0)
                << tensor.info.name << " at " << ::testing::PrintToString(box.offset);
        }
    }
}

/// The message of the error of type E that `body` throws; a test failure if it throws none.
template <typename E>
std::string message_of(const std::function<void()>& body) {
    try {
        body();
    } catch (const E& error) {
        return error.what();
    }
    ADD_FAILURE() << "expected an error, found none";
    return "";
}

} // namespace braid::test
