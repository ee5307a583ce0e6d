#include "base/hdf5_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <numeric>
#include <random>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/temporary_folder.h"

namespace braid {
namespace {

using test::run_python;
using test::TemporaryFolder;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using Shape = std::vector<int64_t>;

template <typename T>
std::vector<T> counting(int64_t count) {
    std::vector<T> values(static_cast<size_t>(count));
    for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<T>(i % 251);
    return values;
}

// The message of the error that opening and reading must end in.
std::string refusal(const std::string& path, const std::string& dataset, ExitCode code = ExitCode::data) {
    try {
        const Hdf5File file = Hdf5File::open(path, code);
        const Hdf5Dataset found = file.dataset(dataset);
        return "no error; found " + std::string(name_of(found.dtype));
    } catch (const Error& error) {
        EXPECT_EQ(error.exit_code(), code);
        return error.what();
    }
}

template <typename T>
void round_trip(const std::string& path) {
    const auto values = counting<T>(24);
    {
        Hdf5File file = Hdf5File::create(path);
        file.write("a/b/values", dtype_of<T>(), {4, 6}, values.data());
        file.close();
    }
    const Hdf5File file = Hdf5File::open(path, ExitCode::data);
    std::vector<T> back(24);
    file.read("a/b/values", dtype_of<T>(), {4, 6}, back.data());
    EXPECT_EQ(values, back);
    std::vector<T> box(6);
    file.read_box("a/b/values", dtype_of<T>(), {1, 2}, {2, 3}, box.data());
    EXPECT_EQ(box, (std::vector<T>{T(8), T(9), T(10), T(14), T(15), T(16)}));
    // The offset is that of the bytes.
    const Hdf5Dataset found = file.dataset("a/b/values");
    read_all_at(file.descriptor(), back.data(), 24 * sizeof(T), found.offset, path, ExitCode::data);
    EXPECT_EQ(values, back);
    std::filesystem::remove(path);
}

TEST(hdf5_file, round_trips_every_dtype) {
    const TemporaryFolder folder;
    round_trip<uint8_t>(folder / "file.h5");
    round_trip<uint16_t>(folder / "file.h5");
    round_trip<int32_t>(folder / "file.h5");
    round_trip<int64_t>(folder / "file.h5");
    round_trip<float>(folder / "file.h5");
    round_trip<double>(folder / "file.h5");
}

TEST(hdf5_file, bf16_reads_as_f32_in_h5py) {
    const TemporaryFolder folder;
    const std::vector<bf16> values{bf16(1.5f), bf16(-0.1f), bf16(3e38f), bf16(0.f)};
    {
        Hdf5File file = Hdf5File::create(folder / "file.h5");
        file.write("values", DType::bf16, {4}, values.data());
        file.close();
    }
    std::vector<bf16> back(4);
    Hdf5File::open(folder / "file.h5", ExitCode::data).read("values", DType::bf16, {4}, back.data());
    for (int i = 0; i < 4; ++i) EXPECT_EQ(values[i].bits, back[i].bits);
    const auto result = run_python(R"(
import h5py, sys
values = h5py.File(sys.argv[1], 'r')['values'][:]
assert values.dtype == 'float32', values.dtype
assert values[0] == 1.5 and values[1] == -0.10009765625, values
)",
                                   folder / "file.h5");
    EXPECT_EQ(result.exit_code, 0) << result.output;
}

TEST(hdf5_file, datasets_are_allocated_early_aligned_and_written_by_pwrite) {
    const TemporaryFolder folder;
    const auto values = counting<double>(1000);
    Hdf5Dataset first, second;
    {
        Hdf5File file = Hdf5File::create(folder / "file.h5");
        first = file.create_dataset("first", DType::f64, {10, 100});
        second = file.create_dataset("second", DType::f64, {1000});
        file.close();
    }
    EXPECT_EQ(first.offset % 64, 0);
    EXPECT_EQ(second.offset % 64, 0);
    EXPECT_EQ(first.num_elements, 1000);
    {
        const FileDescriptor file(::open((folder / "file.h5").c_str(), O_WRONLY));
        write_all_at(file.get(), values.data(), 8000, first.offset, "file.h5");
        write_all_at(file.get(), values.data(), 8000, second.offset, "file.h5");
    }
    const Hdf5File file = Hdf5File::open(folder / "file.h5", ExitCode::data);
    std::vector<double> back(1000);
    for (const char* name : {"first", "second"}) {
        EXPECT_EQ(file.dataset(name).offset, name == std::string("first") ? first.offset : second.offset);
        file.read(name, DType::f64, name == std::string("first") ? Shape{10, 100} : Shape{1000}, back.data());
        EXPECT_EQ(back, values);
    }
}

TEST(hdf5_file, scalars_and_empty_datasets) {
    const TemporaryFolder folder;
    const double pi = 3.25;
    {
        Hdf5File file = Hdf5File::create(folder / "file.h5");
        file.write("scalar", DType::f64, {}, &pi);
        file.write("empty", DType::i64, {0}, nullptr);
        file.write("empty2", DType::i64, {3, 0, 2}, nullptr);
        file.create_group("group/inner");
        file.close();
    }
    const Hdf5File file = Hdf5File::open(folder / "file.h5", ExitCode::data);
    double back = 0;
    file.read("scalar", DType::f64, {}, &back);
    EXPECT_EQ(back, pi);
    EXPECT_TRUE(file.read_vector<int64_t>("empty", 10).empty());
    file.read("empty2", DType::i64, {3, 0, 2}, nullptr);
    EXPECT_EQ(file.dataset("empty").offset, -1);
    EXPECT_THAT(file.names("/"), ElementsAre("empty", "empty2", "group", "scalar"));
    EXPECT_THAT(file.names("group"), ElementsAre("inner"));
    EXPECT_TRUE(file.contains("group/inner"));
    EXPECT_FALSE(file.contains("group/outer"));
    EXPECT_FALSE(file.contains("nothing/inner"));
}

TEST(hdf5_file, attributes_round_trip) {
    const TemporaryFolder folder;
    const std::string long_text(50000, 'x');
    {
        Hdf5File file = Hdf5File::create(folder / "file.h5");
        file.create_group("group");
        file.write_attribute("/", "count", int64_t{-5});
        file.write_attribute("/", "ratio", 0.1);
        file.write_attribute("group", "text", "naïve");
        file.write_attribute("group", "empty", "");
        file.write_attribute("group", "long", long_text);
        const std::vector<int64_t> shape{3, 1, 4};
        const std::vector<double> weights{0.5, 1e300};
        file.write_attribute("group", "shape", std::span<const int64_t>(shape));
        file.write_attribute("group", "weights", std::span<const double>(weights));
        EXPECT_THROW(file.write_attribute("/", "nul", std::string_view("a\0b", 3)), InternalError);
        file.close();
    }
    const Hdf5File file = Hdf5File::open(folder / "file.h5", ExitCode::checkpoint);
    EXPECT_EQ(file.read_i64("/", "count"), -5);
    EXPECT_EQ(file.read_f64("/", "ratio"), 0.1);
    EXPECT_EQ(file.read_string("group", "text"), "naïve");
    EXPECT_EQ(file.read_string("group", "empty"), "");
    EXPECT_EQ(file.read_string("group", "long"), long_text);
    EXPECT_THAT(file.read_i64_list("group", "shape"), ElementsAre(3, 1, 4));
    EXPECT_THAT(file.read_f64_list("group", "weights"), ElementsAre(0.5, 1e300));
    EXPECT_TRUE(file.has_attribute("/", "count"));
    EXPECT_FALSE(file.has_attribute("/", "text"));
    EXPECT_THROW(file.read_i64("/", "ratio"), Error);
    EXPECT_THROW(file.read_i64("/", "missing"), Error);
    EXPECT_THROW(file.read_i64("group", "shape"), Error);
    EXPECT_THROW(file.read_string("/", "count"), Error);
}

TEST(hdf5_file, type_and_shape_must_be_what_the_caller_expects) {
    const TemporaryFolder folder;
    const auto values = counting<float>(12);
    {
        Hdf5File file = Hdf5File::create(folder / "file.h5");
        file.write("values", DType::f32, {3, 4}, values.data());
        file.close();
    }
    const Hdf5File file = Hdf5File::open(folder / "file.h5", ExitCode::checkpoint);
    std::vector<float> back(12);
    for (const Shape& shape : {Shape{4, 3}, Shape{12}, Shape{3, 4, 1}, Shape{}}) {
        try {
            file.read("values", DType::f32, shape, back.data());
            FAIL() << "read as another shape";
        } catch (const Error& error) {
            EXPECT_EQ(error.exit_code(), ExitCode::checkpoint);
            EXPECT_THAT(error.what(), HasSubstr("values: expected f32 ["));
            EXPECT_THAT(error.what(), HasSubstr("found f32 [3, 4]"));
        }
    }
    EXPECT_THROW(file.read("values", DType::i32, {3, 4}, back.data()), Error);
    EXPECT_THROW(file.read("missing", DType::f32, {3, 4}, back.data()), Error);
    EXPECT_THROW(file.read_vector<float>("values", 100), Error);
    EXPECT_THROW(file.read_box("values", DType::f32, {2, 0}, {2, 4}, back.data()), Error);
    EXPECT_THROW(file.read_box("values", DType::f32, {INT64_MAX, 0}, {1, 1}, back.data()), Error);
    EXPECT_THROW(file.names("values"), Error);
}

TEST(hdf5_file, creating_needs_a_free_name_and_sets_the_mode) {
    const TemporaryFolder folder;
    const mode_t before = ::umask(0);
    {
        Hdf5File file = Hdf5File::create(folder / "file.h5", 0600);
        file.close();
    }
    ::umask(before);
    struct stat status;
    ASSERT_EQ(::stat((folder / "file.h5").c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 0777, 0600u);
    EXPECT_THROW(Hdf5File::create(folder / "file.h5"), WriteError);
    EXPECT_THROW(Hdf5File::create(folder / "missing/file.h5"), WriteError);
}

// Everything reliability of a loader hangs on: what h5py can put into a file that ours must not follow.
TEST(hdf5_file, foreign_features_are_refused) {
    const TemporaryFolder folder;
    const auto made = run_python(R"(
import h5py, numpy as np, sys, os
os.chdir(sys.argv[1])
with h5py.File('other.h5', 'w') as f: f['x'] = np.arange(10)
with h5py.File('evil.h5', 'w', libver='latest') as f:
    f['good'] = np.arange(10)
    f['external_link'] = h5py.ExternalLink('other.h5', '/x')
    f['soft_link'] = h5py.SoftLink('/good')
    f['group_link'] = h5py.ExternalLink('other.h5', '/')
    layout = h5py.VirtualLayout(shape=(10,), dtype='i8')
    layout[:] = h5py.VirtualSource('other.h5', 'x', shape=(10,))
    f.create_virtual_dataset('virtual', layout)
    f.create_dataset('compressed', data=np.zeros(1000), chunks=(100,), compression='gzip')
    f.create_dataset('chunked', data=np.arange(100), chunks=(30,))
    f.create_dataset('checksummed', data=np.arange(100), chunks=(30,), fletcher32=True)
    f.create_dataset('external', shape=(10,), dtype='u1', external=[('/etc/passwd', 0, 10)])
    f.create_dataset('giant', shape=(1 << 40,), dtype='f8')
    f.create_dataset('giant_chunked', shape=(1 << 40,), dtype='f8', chunks=(1024,))
    f['strings'] = np.array([b'abc', b'def'])
    f['big_endian'] = np.arange(4, dtype='>i4')
    f.create_dataset('vlen', (2,), dtype=h5py.vlen_dtype(np.int32))
    f['compound'] = np.zeros(3, dtype=[('a', 'i4'), ('b', 'f4')])
    f['signed8'] = np.zeros(3, dtype='i1')
    f.create_dataset('null', dtype='f4', data=h5py.Empty('f4'))
    f['good'].attrs['vlen'] = 'variable'
    f['good'].attrs['many'] = np.zeros(5000, dtype='i8')
    f['good'].attrs['matrix'] = np.zeros((2, 2), dtype='i8')
)",
                                 folder.path());
    ASSERT_EQ(made.exit_code, 0) << made.output;
    const std::string path = folder / "evil.h5";
    EXPECT_THAT(refusal(path, "external_link"), HasSubstr("expected a hard link"));
    EXPECT_THAT(refusal(path, "soft_link"), HasSubstr("expected a hard link"));
    EXPECT_THAT(refusal(path, "group_link/x"), HasSubstr("expected a hard link"));
    EXPECT_THAT(refusal(path, "virtual"), HasSubstr("virtual dataset"));
    EXPECT_THAT(refusal(path, "compressed"), HasSubstr("found chunks"));
    EXPECT_THAT(refusal(path, "chunked"), HasSubstr("found chunks"));
    EXPECT_THAT(refusal(path, "external"), HasSubstr("external storage"));
    EXPECT_THAT(refusal(path, "giant"), HasSubstr("needs 8796093022208 bytes"));
    for (const char* name : {"strings", "big_endian", "vlen", "compound", "signed8"})
        EXPECT_THAT(refusal(path, name), HasSubstr("found another type")) << name;
    EXPECT_THAT(refusal(path, "null"), HasSubstr("null"));
    EXPECT_THAT(refusal(path, "missing"), HasSubstr("found none"));
    EXPECT_THAT(refusal(path, "good"), HasSubstr("no error"));

    const Hdf5File file = Hdf5File::open(path, ExitCode::data, {.compact_and_chunked = true});
    EXPECT_THROW(file.names("/"), Error);
    EXPECT_EQ(file.read_vector<int64_t>("chunked", 100), counting<int64_t>(100));
    EXPECT_EQ(file.read_vector<int64_t>("checksummed", 100), counting<int64_t>(100));
    for (const char* name : {"compressed", "giant", "giant_chunked", "virtual", "external"})
        EXPECT_THROW(file.dataset(name), Error) << name;
    EXPECT_THROW(file.read_string("good", "vlen"), Error);
    EXPECT_THROW(file.read_i64_list("good", "many"), Error);
    EXPECT_THROW(file.read_i64_list("good", "matrix"), Error);
}

TEST(hdf5_file, only_plain_hdf5_files_open) {
    const TemporaryFolder folder;
    {
        Hdf5File file = Hdf5File::create(folder / "file.h5");
        file.write("values", DType::i64, {100}, counting<int64_t>(100).data());
        file.close();
    }
    const std::string content = test::read_file(folder / "file.h5");
    std::filesystem::create_symlink("file.h5", folder / "link.h5");
    test::write_file(folder / "text.h5", "not hdf5 at all");
    test::write_file(folder / "empty.h5", "");
    test::write_file(folder / "polyglot.h5", std::string(512, '#') + content);
    EXPECT_THAT(refusal(folder / "file.h5", "values"), HasSubstr("no error"));
    EXPECT_THAT(refusal(folder / "link.h5", "values"), HasSubstr("symbolic link"));
    for (const char* name : {"text.h5", "empty.h5", "polyglot.h5"})
        EXPECT_THAT(refusal(folder / name, "values"), HasSubstr("signature")) << name;
    EXPECT_THAT(refusal(folder.path(), "values"), HasSubstr("folder"));
    EXPECT_THAT(refusal(folder / "missing.h5", "values"), HasSubstr("No such file"));
    // Cut anywhere, the file is refused.
    for (size_t size = 0; size < content.size(); size += 7) {
        test::write_file(folder / "cut.h5", content.substr(0, size));
        EXPECT_THAT(refusal(folder / "cut.h5", "values"), Not(HasSubstr("no error"))) << size;
    }
    const Hdf5File followed =
        Hdf5File::open(folder / "link.h5", ExitCode::data, {.symlinks = Symlinks::follow});
    EXPECT_EQ(followed.read_vector<int64_t>("values", 100), counting<int64_t>(100));
}

// Metadata is checksummed: a flipped bit is refused or lies in the bulk data, which files of ours hash
// separately.
TEST(hdf5_file, flipped_bits_never_crash_nor_change_shape) {
    const TemporaryFolder folder;
    {
        Hdf5File file = Hdf5File::create(folder / "file.h5");
        file.write("group/values", DType::i64, {20}, counting<int64_t>(20).data());
        file.write_attribute("/", "name", "text");
        file.close();
    }
    const std::string content = test::read_file(folder / "file.h5");
    const unsigned seed = 7;
    std::mt19937 random(seed);
    int refused = 0;
    for (int trial = 0; trial < 500; ++trial) {
        std::string changed = content;
        const size_t bit = random() % (8 * content.size());
        changed[bit / 8] = static_cast<char>(changed[bit / 8] ^ (1 << (bit % 8)));
        test::write_file(folder / "flipped.h5", changed);
        try {
            const Hdf5File file = Hdf5File::open(folder / "flipped.h5", ExitCode::data);
            EXPECT_EQ(file.dataset("group/values").shape, Shape{20}) << "seed " << seed << " bit " << bit;
        } catch (const Error&) {
            ++refused;
        }
    }
    EXPECT_GT(refused, 50) << "seed " << seed;
}

TEST(hdf5_file, a_killed_writer_leaves_a_file_nobody_accepts) {
    const TemporaryFolder folder;
    const pid_t child = ::fork();
    if (child == 0) {
        Hdf5File file = Hdf5File::create(folder / "file.h5");
        const auto values = counting<int64_t>(100000);
        file.write("values", DType::i64, {100000}, values.data());
        ::kill(::getpid(), SIGKILL);
    }
    ::waitpid(child, nullptr, 0);
    EXPECT_THAT(refusal(folder / "file.h5", "values"), Not(HasSubstr("no error")));
}

TEST(hdf5_file, a_full_disk_is_a_write_error_without_a_crash) {
    const TemporaryFolder folder;
    const pid_t child = ::fork();
    if (child == 0) {
        ::signal(SIGXFSZ, SIG_IGN);
        const rlimit limit{20000, 20000};
        ::setrlimit(RLIMIT_FSIZE, &limit);
        try {
            Hdf5File file = Hdf5File::create(folder / "file.h5");
            const auto values = counting<int64_t>(100000);
            file.write("values", DType::i64, {100000}, values.data());
            file.close();
        } catch (const WriteError&) {
            std::exit(7);
        }
        std::exit(98);
    }
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 7) << status;
}

TEST(hdf5_file, virtual_datasets_show_the_boxes_of_siblings_in_h5py) {
    const TemporaryFolder folder;
    for (const int rank : {0, 1}) {
        Hdf5File file = Hdf5File::create(folder / fmt::format("rank-{}.h5", rank));
        std::vector<float> values(6, static_cast<float>(rank + 1));
        values[0] = 10;
        file.write("w/piece", DType::f32, {2, 3}, values.data());
        file.close();
    }
    {
        Hdf5File index = Hdf5File::create(folder / "index.h5");
        const std::vector<Hdf5Box> boxes{
            {{0, 0}, {2, 3}, "rank-0.h5", "/w/piece", {2, 3}, {}},
            {{0, 3}, {1, 3}, "rank-1.h5", "/w/piece", {2, 3}, {0, 0}},
            {{1, 3}, {1, 3}, "rank-1.h5", "/w/piece", {2, 3}, {1, 0}},
        };
        index.create_virtual_dataset("model/w", DType::f32, {2, 6}, boxes);
        index.close();
    }
    const auto result = run_python(R"(
import h5py, sys
w = h5py.File(sys.argv[1], 'r')['model/w'][:]
assert w.tolist() == [[10, 1, 1, 10, 2, 2], [1, 1, 1, 2, 2, 2]], w
)",
                                   folder / "index.h5");
    EXPECT_EQ(result.exit_code, 0) << result.output;
    EXPECT_THAT(refusal(folder / "index.h5", "model/w"), HasSubstr("virtual dataset"));
}

TEST(hdf5_file, a_missing_sibling_of_a_virtual_dataset_never_reads_as_zeros) {
    const TemporaryFolder folder;
    {
        Hdf5File index = Hdf5File::create(folder / "index.h5");
        const std::vector<Hdf5Box> boxes{{{0}, {3}, "gone.h5", "/w", {3}, {}}};
        for (DType dtype :
             {DType::u8, DType::u16, DType::i32, DType::i64, DType::f32, DType::f64, DType::bf16})
            index.create_virtual_dataset(std::string(name_of(dtype)), dtype, {4}, boxes);
        index.close();
    }
    const auto result = run_python(R"(
import h5py, numpy as np, sys
f = h5py.File(sys.argv[1], 'r')
for name in ('f32', 'f64', 'bf16'): assert np.isnan(f[name][:]).all(), (name, f[name][:])
assert (f['i32'][:] == -2**31).all() and (f['i64'][:] == -2**63).all()
assert (f['u8'][:] == 255).all() and (f['u16'][:] == 65535).all()
)",
                                   folder / "index.h5");
    EXPECT_EQ(result.exit_code, 0) << result.output;
}

TEST(hdf5_file, a_file_that_somebody_writes_is_refused_as_locked) {
    const TemporaryFolder folder;
    const std::string path = folder / "a.h5";
    {
        Hdf5File file = Hdf5File::create(path);
        file.write("values", DType::u8, {3}, "abc");
        file.close();
    }
    {
        const FileDescriptor held(::open(path.c_str(), O_RDWR | O_CLOEXEC));
        ASSERT_EQ(::flock(held.get(), LOCK_EX | LOCK_NB), 0);
        EXPECT_THAT(refusal(path, "values"),
                    HasSubstr("a.h5: locked: another program has it open for writing; close it there"));
    }
    EXPECT_EQ(refusal(path, "values"), "no error; found u8");
}

TEST(hdf5_file, threads_may_share_a_file) {
    const TemporaryFolder folder;
    {
        Hdf5File file = Hdf5File::create(folder / "file.h5");
        for (int i = 0; i < 8; ++i)
            file.write(fmt::format("values{}", i), DType::i64, {1000}, counting<int64_t>(1000).data());
        file.close();
    }
    const Hdf5File file = Hdf5File::open(folder / "file.h5", ExitCode::data);
    std::vector<std::thread> threads;
    std::vector<int> good(4, 0);
    for (int t = 0; t < 4; ++t)
        threads.emplace_back([&, t] {
            for (int i = 0; i < 40; ++i)
                good[t] += file.read_vector<int64_t>(fmt::format("values{}", i % 8), 1000) ==
                           counting<int64_t>(1000);
        });
    for (std::thread& thread : threads) thread.join();
    EXPECT_THAT(good, ElementsAre(40, 40, 40, 40));
}

} // namespace
} // namespace braid
