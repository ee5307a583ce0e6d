// Saving and loading, by any number of ranks in any partition.
#include <fmt/ranges.h>
#include <sys/stat.h>

#include <cmath>
#include <limits>

#include "tests/trainer/checkpoint_fixture.h"

namespace braid {
namespace {

namespace fs = std::filesystem;
using test::PretendedRun;
using test::TemporaryFolder;
using ::testing::HasSubstr;

TEST(checkpoint, round_trip_of_one_rank) {
    const TemporaryFolder folder;
    const PretendedRun run(100);
    const std::string path = test::save(folder / "checkpoints", run);
    EXPECT_EQ(path, folder / "checkpoints/step-00000100");
    const CheckpointReader reader = CheckpointReader::open(path);
    reader.verify();
    test::expect_equal(reader, run);
    EXPECT_EQ(reader.manifest().training, run.content().training);
    EXPECT_EQ(reader.manifest().config, run.content().config);
}

struct Partition {
    int ranks, rows, columns;
};

// Written by 1 to 4 ranks whole, by rows, columns and a grid; read in boxes of every other partition.
TEST(checkpoint, every_partition_reads_every_other) {
    const PretendedRun run(7);
    for (const auto& [ranks, rows, columns] :
         {Partition{1, 0, 0}, {2, 0, 0}, {3, 3, 1}, {2, 1, 2}, {4, 2, 2}, {3, 5, 4}}) {
        const TemporaryFolder folder;
        const CheckpointReader reader =
            CheckpointReader::open(test::save(folder.path(), run, ranks, rows, columns));
        reader.verify();
        for (const auto& [unused, read_rows, read_columns] :
             {Partition{0, 1, 1}, {0, 4, 1}, {0, 1, 3}, {0, 3, 3}, {0, 7, 2}}) {
            SCOPED_TRACE(fmt::format("written by {} ranks as {}x{}, read as {}x{}", ranks, rows, columns,
                                     read_rows, read_columns));
            test::expect_equal(reader, run, read_rows, read_columns);
        }
    }
}

TEST(checkpoint, a_rank_without_shards_writes_no_file) {
    const TemporaryFolder folder;
    const PretendedRun run(1);
    const int num_ranks = static_cast<int>(run.tensors.size()) + 2;
    const std::string path = test::save(folder.path(), run, num_ranks);
    const CheckpointReader reader = CheckpointReader::open(path);
    reader.verify();
    test::expect_equal(reader, run);
    EXPECT_EQ(reader.manifest().files.size(), run.tensors.size() + 1); // and index.h5
    EXPECT_EQ(reader.manifest().layout.num_ranks, num_ranks);
}

TEST(checkpoint, saving_twice_gives_the_same_state_and_another_save_id) {
    const TemporaryFolder folder;
    const PretendedRun run(5);
    const Manifest a = CheckpointReader::open(test::save(folder / "a", run, 2)).manifest();
    const Manifest b = CheckpointReader::open(test::save(folder / "b", run, 2)).manifest();
    EXPECT_NE(a.save_id, b.save_id);
    EXPECT_EQ(a.tensors, b.tensors);
}

TEST(checkpoint, files_are_for_the_user_alone) {
    const TemporaryFolder folder;
    const mode_t before = ::umask(0);
    const std::string path = test::save(folder / "run/checkpoints", PretendedRun(1), 2);
    ::umask(before);
    const auto mode_of = [](const std::string& name) {
        struct stat status;
        EXPECT_EQ(::stat(name.c_str(), &status), 0) << name;
        return status.st_mode & 0777;
    };
    EXPECT_EQ(mode_of(folder / "run/checkpoints"), 0700u);
    EXPECT_EQ(mode_of(path), 0700u);
    int num_files = 0;
    for (const auto& entry : fs::directory_iterator(path)) {
        EXPECT_EQ(mode_of(entry.path().string()), 0600u) << entry.path();
        ++num_files;
    }
    EXPECT_EQ(num_files, 4); // two ranks, index, manifest
}

TEST(checkpoint, not_finite_is_never_saved_and_all_ranks_learn_it) {
    for (const double bad : {std::nan(""), std::numeric_limits<double>::infinity(), -HUGE_VAL}) {
        const TemporaryFolder folder;
        PretendedRun run(20);
        test::save(folder.path(), PretendedRun(10), 2);
        for (const NamedTensor& tensor : run.tensors) {
            if (tensor.info.name == "model/layers.0.experts.up")
                tensor.value.data<float>()[100] = static_cast<float>(bad);
        }
        int num_told = 0;
        run_thread_ranks(2, [&](Communicator& comm) {
            const auto gather = [&](const std::string& text) { return all_gather_text(comm, text); };
            const auto shards = test::shards_of_rank(run.tensors, comm.rank(), 2);
            const std::string message = test::message_of<AgreedError>(
                [&] { save_checkpoint(folder.path(), shards, run.content(2), comm.rank(), gather); });
            EXPECT_THAT(message, HasSubstr("model/layers.0.experts.up"));
            EXPECT_THAT(message, HasSubstr("step 20"));
            const auto both = all_gather_text(comm, message);
            if (comm.rank() == 0) num_told = both[0] == both[1] ? 2 : 1;
        });
        EXPECT_EQ(num_told, 2);
        EXPECT_EQ(find_latest_checkpoint(folder.path()).step, 10);
        EXPECT_EQ(std::distance(fs::directory_iterator(folder.path()), fs::directory_iterator()), 1);
    }
}

TEST(checkpoint, every_element_type_is_checked_for_finite_numbers) {
    const TemporaryFolder folder;
    Allocator allocator;
    for (const DType dtype : {DType::f32, DType::f64, DType::bf16}) {
        const Tensor value = Tensor::zeros(allocator, {1000}, dtype);
        const TensorShard shard{{"model/x", TensorKind::parameter, dtype, {1000}}, whole_box({1000}), value};
        auto* last = static_cast<uint8_t*>(value.raw_data()) + value.bytes() - 1;
        last[0] = 0x7f;
        last[-1] = dtype == DType::f64 ? 0xf0 : 0x80;
        EXPECT_THROW(write_rank_file(folder.path(), 0, std::string(32, '0'), 1, std::span(&shard, 1), 512),
                     NonFiniteError)
            << name_of(dtype);
    }
}

TEST(checkpoint, strict_about_missing_unknown_and_different_tensors) {
    const TemporaryFolder folder;
    const PretendedRun run(3);
    const CheckpointReader reader = CheckpointReader::open(test::save(folder.path(), run));
    std::vector<TensorInfo> wanted;
    for (const NamedTensor& tensor : run.tensors) wanted.push_back(tensor.info);
    const TensorKind all[] = {TensorKind::parameter, TensorKind::optimizer, TensorKind::buffer};
    reader.expect(wanted, all);
    const auto message = [&](const std::vector<TensorInfo>& changed) {
        return test::message_of<CheckpointError>([&] { reader.expect(changed, all); });
    };

    auto more = wanted;
    more.push_back({"model/new", TensorKind::parameter, DType::f32, {2}});
    EXPECT_THAT(message(more), HasSubstr("missing: model/new"));
    auto fewer = wanted;
    fewer.erase(fewer.begin());
    EXPECT_THAT(message(fewer), HasSubstr("unknown to the model: model/layers.0.attn.q.weight"));
    auto reshaped = wanted;
    reshaped[0].shape = {10, 24};
    EXPECT_THAT(message(reshaped),
                HasSubstr("expected parameter f32 [10, 24], found parameter f32 [24, 10]"));
    auto retyped = wanted;
    retyped[0].dtype = DType::f64;
    EXPECT_THAT(message(retyped), HasSubstr("expected parameter f64"));

    std::vector<TensorInfo> parameters(wanted.begin(), wanted.begin() + 4);
    const TensorKind only_parameters[] = {TensorKind::parameter};
    reader.expect(parameters, only_parameters); // for generation, the optimizer is not asked for
}

TEST(checkpoint, a_store_is_saved_by_section_and_loaded_back) {
    const TemporaryFolder folder;
    Allocator allocator;
    const auto declare = [&](ParameterStore& store) {
        const auto spec = [](const std::string& name, const Shape& shape) {
            ParameterSpec made;
            made.name = name;
            made.shape = shape;
            made.fan_in = 1;
            made.init = {Initializer::Kind::normal, 1, 0};
            return made;
        };
        store.begin_unit("layers.0");
        store.declare({spec("q.weight", {5, 3}), spec("k.weight", {2, 3})});
        store.declare(spec("norm.weight", {7}));
        store.declare_buffer("router.bias", {4}, DType::f64);
        store.allocate(allocator, DType::f32, false);
    };
    ParameterStore store, other;
    declare(store);
    declare(other);
    store.initialize(1);
    other.initialize(2);
    store.units()[0]->buffers[0]->value.data<float>()[2] = 0.25f;

    const std::vector<NamedTensor> state = model_state(store), loaded = model_state(other);
    std::vector<std::string> names;
    for (const NamedTensor& tensor : state) names.push_back(tensor.info.name);
    EXPECT_THAT(names, ::testing::ElementsAre("model/q.weight", "model/k.weight", "model/norm.weight",
                                              "buffer/router.bias"));
    const auto alone = [](const std::string& text) { return std::vector<std::string>{text}; };
    const std::string path = save_checkpoint(folder.path(), test::shards_of_rank(state, 0, 1),
                                             PretendedRun(1).content(), 0, alone);
    const TensorKind kinds[] = {TensorKind::parameter, TensorKind::buffer};
    load_state(CheckpointReader::open(path), loaded, kinds);
    for (size_t i = 0; i < state.size(); ++i)
        EXPECT_EQ(std::memcmp(state[i].value.raw_data(), loaded[i].value.raw_data(), state[i].value.bytes()),
                  0)
            << names[i];
}

TEST(checkpoint, h5py_reads_the_index_as_one_file) {
    const TemporaryFolder folder;
    const PretendedRun run(42);
    const std::string path = test::save(folder.path(), run, 4, 2, 2);
    std::string expected;
    for (const NamedTensor& tensor : run.tensors) {
        const auto dims = tensor.info.shape.dims();
        expected += fmt::format("{} {} {} ", tensor.info.name, name_of(tensor.info.dtype),
                                dims.empty() ? "1" : fmt::format("{}", fmt::join(dims, ",")));
        const auto* bytes = static_cast<const uint8_t*>(tensor.value.raw_data());
        for (size_t i = 0; i < tensor.value.bytes(); ++i) expected += fmt::format("{:02x}", bytes[i]);
        expected += "\n";
    }
    test::write_file(folder / "expected", expected);
    const auto result = test::run_python(R"(
import sys, h5py, numpy
folder, count = sys.argv[1], 0
index = h5py.File(f"{folder}/step-00000042/index.h5", "r")
assert index.attrs["step"] == 42
for line in open(f"{folder}/expected"):
    name, dtype, shape, bits = line.split()
    shape = tuple(map(int, shape.split(",")))
    data = index[name]
    assert data.shape == shape, (name, data.shape, shape)
    raw = bytes.fromhex(bits)
    if dtype == "bf16":  # h5py widens it to float
        expected = (numpy.frombuffer(raw, "<u2").astype("<u4") << 16).view("<f4")
        assert (data.astype("<f4")[...] == expected.reshape(shape)).all(), name
    else:
        types = {"f32": "<f4", "f64": "<f8", "i64": "<i8", "u8": "u1"}
        assert data.dtype == types[dtype], (name, data.dtype)
        assert data[...].tobytes() == raw, name
    count += 1
print("read", count)
)",
                                         folder.path());
    EXPECT_EQ(result.exit_code, 0) << result.output;
    EXPECT_EQ(result.output, fmt::format("read {}\n", run.tensors.size()));
}

} // namespace
} // namespace braid
