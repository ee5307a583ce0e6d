// Whatever is done to a checkpoint's files, nothing but the saved numbers is ever read from them.
#include <sys/resource.h>
#include <sys/stat.h>

#include <fstream>
#include <random>

#include "base/atomic_file.h"
#include "base/sha256.h"
#include "tests/trainer/checkpoint_fixture.h"

namespace braid {
namespace {

namespace fs = std::filesystem;
using test::PretendedRun;
using test::read_file;
using test::TemporaryFolder;
using test::write_file;
using ::testing::HasSubstr;

constexpr uint32_t kSeed = 20240517;

std::string open_error(const std::string& path) {
    return test::message_of<CheckpointError>([&] { CheckpointReader::open(path); });
}

std::string verify_error(const std::string& path) {
    return test::message_of<CheckpointError>([&] { CheckpointReader::open(path).verify(); });
}

// What an attacker would do: changes the manifest and makes its last line fit.
std::string with_hash(const std::string& body) {
    return fmt::format("{}\"sha256\":\"{}\"}}\n", body, sha256_hex(body));
}

std::string body_of(const std::string& manifest) {
    return manifest.substr(0, manifest.rfind("\"sha256\":"));
}

std::string replaced(std::string text, const std::string& from, const std::string& to) {
    const size_t at = text.find(from);
    if (at == std::string::npos) throw std::runtime_error("the manifest does not hold " + from);
    return text.replace(at, from.size(), to);
}

TEST(checkpoint_tamper, every_changed_byte_of_a_manifest_is_found) {
    const TemporaryFolder folder;
    std::string text = read_file(test::save(folder.path(), PretendedRun(1), 2) + "/manifest.json");
    parse_manifest(text, "manifest.json");
    for (size_t i = 0; i < text.size(); ++i) {
        for (const int mask : {1 << (i % 8), 0x20, 0xff}) {
            text[i] = static_cast<char>(text[i] ^ mask);
            EXPECT_THROW(parse_manifest(text, "manifest.json"), CheckpointError) << "byte " << i;
            text[i] = static_cast<char>(text[i] ^ mask);
        }
    }
    for (size_t length = 0; length < text.size(); ++length)
        EXPECT_THROW(parse_manifest(text.substr(0, length), "manifest.json"), CheckpointError) << length;
    for (const std::string& extra :
         {std::string("\n"), std::string(" "), std::string("{}"), std::string(1, '\0')}) {
        EXPECT_THROW(parse_manifest(text + extra, "manifest.json"), CheckpointError);
        EXPECT_THROW(parse_manifest(extra + text, "manifest.json"), CheckpointError);
    }
}

TEST(checkpoint_tamper, a_manifest_with_a_fitting_hash_still_has_to_make_sense) {
    const TemporaryFolder folder;
    const std::string path = test::save(folder.path(), PretendedRun(1), 2, 2, 1) + "/manifest.json";
    const std::string body = body_of(read_file(path));
    parse_manifest(with_hash(body), "m");
    const std::string q = "\"name\":\"model/layers.0.attn.q.weight\"";
    struct Change {
        std::string from, to, message;
    };
    const std::vector<Change> changes = {
        {"\"version\":1", "\"version\":2", "reads version 1, found 2"},
        {"\"version\":1", "\"version\":1.0", "not in the form"},
        {"\"version\":1", "\"version\":true", "must be number"},
        {"\"format\":\"braid checkpoint\"", "\"format\":\"other\"", "expected 'braid checkpoint'"},
        {"\"format\":\"braid checkpoint\"", "\"format\":[[[]]]", "type must be string"},
        {"\"block_bytes\":512", "\"block_bytes\":0", "block_bytes"},
        {"\"block_bytes\":512", "\"block_bytes\":1e300", "block_bytes"},
        {"\"block_bytes\":512", "\"block_bytes\":1073741824", "expected 512 to 67108864"},
        {"\"block_bytes\":512", "\"block_bytes\":9223372036854775807", "block_bytes"},
        {"\"block_bytes\":512", "\"unknown\":1,\n\"block_bytes\":512", "not in the form"},
        {"\"block_bytes\":512", "\"block_bytes\":513,\n\"block_bytes\":512", "not in the form"},
        {"\"step\":1,", "\"step\":-1,", "training"},
        {"\"lr\":0.0", "\"lr\":0.00", "not in the form"},
        {"\"lr\":0.0", "\"lr\":1e999,\"x\":0.0", "number overflow"},
        {"seed: 7", "seed: 8", "not in the form"}, // the hash of the config no longer fits
        {"\"ranks\":2", "\"ranks\":0", "at least 1 rank"},
        {"\"name\":\"rank-00000.h5\"", "\"name\":\"../rank-0.h5\"", "expected rank-NNNNN.h5"},
        {"\"name\":\"rank-00000.h5\"", "\"name\":\"rank-00001.h5\"", "ascending"},
        {"\"name\":\"index.h5\"", "\"name\":\"indez.h5\"", "expected rank-NNNNN.h5"},
        {q, "\"name\":\"model/../x\"", "no tensor name"},
        {q, "\"name\":\"zmodel\"", "its dataset is"},
        {q, "\"name\":\"model/layers.0.attn.p.weight\"", "its dataset is"},
        {q + ",\"kind\":\"parameter\"", q + ",\"kind\":\"weights\"", "unknown kind"},
        {"\"shape\":[24,10]", "\"shape\":[-24,10]", "expected a shape"},
        {"\"shape\":[24,10]", "\"shape\":[24,0]", "expected a shape"},
        {"\"shape\":[24,10]", "\"shape\":[4611686018427387904,10]", "expected a shape"},
        {"\"shape\":[24,10]", "\"shape\":[1,1,1,1,1,24,10]", "expected a shape"},
        {"\"shape\":[24,10]", "\"shape\":[24,11]", "of 264 elements"},
        {"\"shape\":[24,10]", "\"shape\":[24]", "not within the shape"},
        {"\"offset\":[12,0],\"extent\":[12,10]", "\"offset\":[11,0],\"extent\":[12,10]", "overlap"},
        {"\"offset\":[12,0],\"extent\":[12,10]", "\"offset\":[13,0],\"extent\":[12,10]", "not within"},
        {"\"offset\":[12,0],\"extent\":[12,10]", "\"offset\":[12,0],\"extent\":[12,5]", "of 240 elements"},
        {"\"file\":\"rank-00001.h5\",\"dataset\":\"/model/norm",
         "\"file\":\"rank-00002.h5\",\"dataset\":\"/model/norm", "is not listed"},
        {"\"file\":\"rank-00001.h5\",\"dataset\":\"/model/norm",
         "\"file\":\"/etc/passwd\",\"dataset\":\"/model/norm", "is not listed"},
        {"\"byte\":", "\"byte\":-", "not within"},
        {"\"byte\":", "\"byte\":99", "not within"},
    };
    for (const Change& change : changes) {
        const std::string changed = with_hash(replaced(body, change.from, change.to));
        EXPECT_THAT(test::message_of<CheckpointError>([&] { parse_manifest(changed, "m"); }),
                    HasSubstr(change.message))
            << change.from << " -> " << change.to;
    }
}

TEST(checkpoint_tamper, nested_or_endless_json_does_no_harm) {
    const std::string deep(1 << 20, '[');
    for (const std::string& text : {deep, "{\"format\":" + deep + std::string(1 << 20, ']') + ",",
                                    std::string("{\"format\":\"") + std::string(1 << 20, 'x')})
        EXPECT_THROW(parse_manifest(with_hash(text), "m"), CheckpointError);
    std::string many = "{\"format\":[1";
    for (int i = 0; i < 1 << 20; ++i) many += ",1";
    EXPECT_THAT(test::message_of<CheckpointError>([&] { parse_manifest(with_hash(many + "],\n"), "m"); }),
                HasSubstr("at most one value in 8 bytes"));
}

// Two boxes of one file at the same bytes, and boxes that hold the right number of elements but overlap.
TEST(checkpoint_tamper, boxes_cover_a_tensor_and_its_bytes_once) {
    const TemporaryFolder folder;
    const std::string path = test::save(folder.path(), PretendedRun(1), 2, 2, 2);
    const Manifest good = CheckpointReader::open(path).manifest();
    const auto change = [&](const std::function<void(std::vector<StoredBox>&)>& edit) {
        Manifest bad = good;
        for (StoredTensor& tensor : bad.tensors)
            if (tensor.info.name == "model/layers.0.attn.q.weight") edit(tensor.boxes);
        return test::message_of<CheckpointError>([&] { check_manifest(bad, "m"); });
    };
    check_manifest(good, "m");
    EXPECT_THAT(change([](auto& boxes) { boxes[3].box = boxes[0].box; }), HasSubstr("overlap"));
    EXPECT_THAT(change([](auto& boxes) { boxes.pop_back(); }), HasSubstr("180 of 240"));
    EXPECT_THAT(change([](auto& boxes) { boxes.clear(); }), HasSubstr("0 of 240"));
    EXPECT_THAT(change([](auto& boxes) { boxes[1].byte = boxes[0].byte + 4; }), HasSubstr("share bytes"));
    EXPECT_THAT(change([](auto& boxes) {
                    for (StoredBox& box : boxes) box.file = boxes[0].file, box.dataset = boxes[0].dataset;
                }),
                HasSubstr("share dataset"));
}

// Reads everything the checkpoint has; true if it refused, a test failure if it gave other numbers.
bool refuses(const std::string& path, const PretendedRun& run) {
    try {
        test::expect_equal(CheckpointReader::open(path), run, 2, 1);
        return false;
    } catch (const CheckpointError&) {
        return true;
    }
}

void flip_bits(int num_flips) {
    const TemporaryFolder folder;
    const PretendedRun run(1);
    const std::string path = test::save(folder.path(), run, 2, 2, 2);
    std::mt19937 random(kSeed);
    int num_refused = 0;
    for (int i = 0; i < num_flips; ++i) {
        const std::string names[] = {"rank-00000.h5", "rank-00001.h5", "index.h5", "manifest.json"};
        const std::string file = path + "/" + names[random() % 4];
        std::fstream stream(file, std::ios::in | std::ios::out | std::ios::binary);
        const auto at = static_cast<std::streamoff>(random() % fs::file_size(file));
        const int bit = static_cast<int>(random() % 8);
        stream.seekg(at);
        const char old = static_cast<char>(stream.get());
        stream.seekp(at).put(static_cast<char>(old ^ (1 << bit))).flush();
        const std::string where =
            fmt::format("seed {}, flip {}: bit {} of byte {} of {}", kSeed, i, bit, at, file);
        SCOPED_TRACE(where);
        EXPECT_FALSE(verify_error(path).empty());
        num_refused += refuses(path, run);
        stream.seekp(at).put(old).flush();
        ASSERT_TRUE(stream.good());
        if (::testing::Test::HasFailure()) return;
    }
    // Reading checks just what it reads: flips in HDF5's own bytes and in the index change no number.
    EXPECT_GT(num_refused, num_flips / 4);
    CheckpointReader::open(path).verify();
}

TEST(checkpoint_tamper, no_flipped_bit_is_read) {
    flip_bits(300);
}
TEST(checkpoint_tamper, slow_ten_thousand_flipped_bits) {
    flip_bits(10000);
}

TEST(checkpoint_tamper, cut_longer_missing_and_additional_files) {
    const TemporaryFolder folder;
    const std::string path = test::save(folder.path(), PretendedRun(1), 2);
    for (const std::string name : {"rank-00000.h5", "rank-00001.h5", "index.h5", "manifest.json"}) {
        const std::string file = path + "/" + name, content = read_file(file);
        for (const size_t length : {size_t{0}, size_t{8}, content.size() / 2, content.size() - 1}) {
            fs::resize_file(file, length);
            EXPECT_THAT(open_error(path), HasSubstr(name)) << length;
        }
        write_file(file, content + '\0');
        EXPECT_THAT(open_error(path), HasSubstr(name));
        fs::remove(file);
        EXPECT_THAT(open_error(path), HasSubstr(name));
        write_file(file, content);
        CheckpointReader::open(path).verify();
    }
    write_file(path + "/rank-00002.h5", "");
    EXPECT_THAT(open_error(path), HasSubstr("found 'rank-00002.h5', which the manifest does not list"));
    fs::remove(path + "/rank-00002.h5");
    fs::create_directory(path + "/.hidden");
    EXPECT_THAT(open_error(path), HasSubstr(".hidden"));
}

TEST(checkpoint_tamper, files_of_another_checkpoint) {
    const TemporaryFolder folder;
    const PretendedRun run(10);
    const std::string a = test::save(folder.path(), run, 2),
                      b = test::save(folder.path(), PretendedRun(20), 2);
    const std::string file = "/rank-00001.h5";
    ASSERT_EQ(fs::file_size(a + file), fs::file_size(b + file)); // so that only the content can tell
    fs::copy_file(b + file, a + file, fs::copy_options::overwrite_existing);
    EXPECT_THAT(verify_error(a), HasSubstr("rank-00001.h5"));
    EXPECT_TRUE(refuses(a, run));

    // Even if the manifest is made to list the foreign file, the save ids do not fit.
    Manifest manifest = CheckpointReader::open(a).manifest();
    for (StoredFile& listed : manifest.files)
        listed.sha256 = sha256_file_hex(a + "/" + listed.name, ExitCode::data);
    write_file(a + "/manifest.json", to_text(manifest));
    EXPECT_THAT(verify_error(a), HasSubstr("of step 20"));
    EXPECT_TRUE(refuses(a, run));

    // A folder under another step's name is not that step.
    fs::rename(b, folder / "step-00000030");
    const LatestCheckpoint latest = find_latest_checkpoint(folder.path());
    EXPECT_TRUE(latest.path.empty());
    ASSERT_EQ(latest.rejected.size(), 2u);
    EXPECT_THAT(latest.rejected[0].reason, HasSubstr("it holds step 20"));
}

TEST(checkpoint_tamper, links_and_special_files_are_refused) {
    const TemporaryFolder folder;
    const std::string path = test::save(folder.path(), PretendedRun(1));
    for (const std::string name : {"rank-00000.h5", "index.h5", "manifest.json"}) {
        const std::string file = path + "/" + name, aside = folder / "aside";
        fs::rename(file, aside);
        fs::create_symlink(aside, file);
        EXPECT_THAT(open_error(path), HasSubstr("symbolic link")) << name;
        fs::remove(file);
        ASSERT_EQ(::mkfifo(file.c_str(), 0600), 0);
        EXPECT_THAT(open_error(path), HasSubstr("expected a regular file")) << name;
        fs::remove(file);
        fs::rename(aside, file);
    }
    // The folder itself may lie on another disk; but a link must lead to one.
    fs::rename(path, folder / "elsewhere");
    fs::create_symlink(folder / "elsewhere", path);
    EXPECT_EQ(find_latest_checkpoint(folder.path()).step, 1);
    fs::remove_all(folder / "elsewhere");
    EXPECT_THAT(find_latest_checkpoint(folder.path()).rejected.at(0).reason, HasSubstr("expected a folder"));
}

// Storage that leads out of the file, put in by somebody who then makes every hash fit.
TEST(checkpoint_tamper, virtual_external_and_additional_objects_are_refused) {
    struct Change {
        std::string python, message;
    };
    const std::vector<Change> changes = {
        {"file.create_dataset(name, shape=shape, dtype='<f4', external=[('/etc/passwd', 0, 960)])",
         "external"},
        {"layout = h5py.VirtualLayout(shape, '<f4'); layout[...] = h5py.VirtualSource('o.h5', 'x', shape); "
         "file.create_virtual_dataset(name, layout)",
         "virtual"},
        {"file[name] = h5py.ExternalLink('o.h5', 'x')", "external one"},
        {"file[name] = h5py.SoftLink('/model/norm.weight')", "soft"},
        {"file.create_dataset(name, shape=shape, dtype='<f4', chunks=(4, 10))", "chunks"},
        {"file.create_dataset(name, data=numpy.ones(shape, '<f8'))", "expected f32 [24, 10], found f64"},
        {"file.create_dataset(name, data=numpy.ones((10, 24), '<f4'))", "expected f32 [24, 10], found"},
        {"file.create_dataset(name, data=numpy.ones(shape, '<f4'))", "were changed"},
        {"", "expected an object of this name"},
        {"file['other'] = 1", "expected an object of this name"},
    };
    const PretendedRun run(1);
    for (const Change& change : changes) {
        const TemporaryFolder folder;
        const std::string path = test::save(folder.path(), run), file = path + "/rank-00000.h5";
        const auto result = test::run_python(
            "import h5py, numpy, sys\nname, shape = 'model/layers.0.attn.q.weight', (24, 10)\n"
            "with h5py.File(sys.argv[1], 'r+') as file:\n    del file[name]\n    " +
                change.python + "\n",
            file);
        ASSERT_EQ(result.exit_code, 0) << result.output;
        Manifest manifest = parse_manifest(read_file(path + "/manifest.json"), "m");
        for (StoredFile& listed : manifest.files) {
            listed.sha256 = sha256_file_hex(path + "/" + listed.name, ExitCode::data);
            listed.bytes = static_cast<int64_t>(fs::file_size(path + "/" + listed.name));
        }
        write_file(path + "/manifest.json", to_text(manifest));
        EXPECT_THAT(verify_error(path), HasSubstr(change.message)) << change.python;
    }
}

TEST(checkpoint_tamper, an_object_the_manifest_does_not_list_is_refused) {
    const TemporaryFolder folder;
    const std::string path = test::save(folder.path(), PretendedRun(1));
    Manifest manifest = CheckpointReader::open(path).manifest();
    std::erase_if(manifest.tensors, [](const StoredTensor& t) { return t.info.name == "model/norm.weight"; });
    write_file(path + "/manifest.json", to_text(manifest));
    EXPECT_THAT(verify_error(path), HasSubstr("group /model: found 'norm.weight'"));
}

TEST(checkpoint_tamper, a_dataset_elsewhere_than_listed_is_refused) {
    const TemporaryFolder folder;
    const std::string path = test::save(folder.path(), PretendedRun(1));
    Manifest manifest = CheckpointReader::open(path).manifest();
    for (StoredTensor& tensor : manifest.tensors)
        if (tensor.info.name == "model/scale") tensor.boxes[0].byte = 0; // HDF5's signature
    write_file(path + "/manifest.json", to_text(manifest));
    EXPECT_THAT(verify_error(path), HasSubstr("/model/scale: the manifest says byte 0, the file says"));
}

// 8 TiB declared by a small file, and by a sparse one that has the size: refused before memory is taken.
TEST(checkpoint_tamper, declared_sizes_take_no_memory) {
    const TemporaryFolder folder;
    const PretendedRun run(1);
    const std::string path = test::save(folder.path(), run);
    Manifest manifest = CheckpointReader::open(path).manifest();
    constexpr int64_t kHuge = int64_t{1} << 41; // elements, 8 TiB in f32
    manifest.block_bytes = int64_t{64} << 20;
    for (StoredTensor& tensor : manifest.tensors) {
        tensor.boxes[0].blocks.resize(1, std::string(64, '0'));
        if (tensor.info.name != "model/norm.weight") continue;
        tensor.info.shape = {kHuge};
        tensor.boxes[0].box = whole_box(tensor.info.shape);
        tensor.boxes[0].blocks.resize(4 * kHuge / manifest.block_bytes, std::string(64, '0'));
    }
    const auto peak_kib = [] {
        struct rusage usage;
        ::getrusage(RUSAGE_SELF, &usage);
        return usage.ru_maxrss;
    };
    const auto before = peak_kib();
    write_file(path + "/manifest.json", to_text(manifest));
    EXPECT_THAT(open_error(path), HasSubstr("8796093022208 bytes"));

    // Now the file has the bytes; the model still has the shape.
    const int64_t bytes = int64_t{9} << 40;
    if (::truncate((path + "/rank-00000.h5").c_str(), bytes) == 0) {
        for (StoredFile& file : manifest.files)
            if (file.name == "rank-00000.h5") file.bytes = bytes;
        for (StoredTensor& tensor : manifest.tensors)
            if (tensor.info.name == "model/norm.weight") tensor.boxes[0].byte = int64_t{1} << 20;
        write_file(path + "/manifest.json", to_text(manifest));
        const TensorKind kinds[] = {TensorKind::parameter, TensorKind::optimizer, TensorKind::buffer};
        EXPECT_THAT(
            test::message_of<CheckpointError>(
                [&] { load_state(CheckpointReader::open(path), run.tensors, kinds); }),
            HasSubstr("model/norm.weight (expected parameter f32 [37], found parameter f32 [2199023255552]"));
    }
    // The manifest's own text and hashes, many times over; a sanitizer also keeps what was freed.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    constexpr int64_t kMostKib = 1 << 20;
#else
    constexpr int64_t kMostKib = 100 << 10;
#endif
    EXPECT_LT(peak_kib() - before, kMostKib);
}

} // namespace
} // namespace braid
