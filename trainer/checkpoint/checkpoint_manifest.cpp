#include "trainer/checkpoint/checkpoint_manifest.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/sha256.h"

namespace braid {

namespace {

using Json = nlohmann::ordered_json; // keeps the order of keys, so that equal manifests have equal texts

constexpr std::string_view kFormat = "braid checkpoint";
constexpr std::string_view kHashKey = "\"sha256\":\"", kHashEnd = "\"}\n";
constexpr size_t kHexDigits = 64;
constexpr size_t kHashLine = kHashKey.size() + kHexDigits + kHashEnd.size();

Json to_json(const StoredFile& file) {
    return Json{{"name", file.name}, {"bytes", file.bytes}, {"sha256", file.sha256}};
}

StoredFile file_from(const Json& json) {
    return {json.at("name").get<std::string>(), json.at("bytes").get<int64_t>(),
            json.at("sha256").get<std::string>()};
}

Json to_json(const StoredTensor& tensor) {
    const auto dims = tensor.info.shape.dims();
    Json boxes = Json::array();
    for (const StoredBox& stored : tensor.boxes)
        boxes.push_back(Json{{"offset", stored.box.offset},
                             {"extent", stored.box.extent},
                             {"file", stored.file},
                             {"dataset", stored.dataset},
                             {"byte", stored.byte},
                             {"blocks", stored.blocks}});
    return Json{{"name", tensor.info.name},
                {"kind", to_string(tensor.info.kind)},
                {"dtype", name_of(tensor.info.dtype)},
                {"shape", std::vector<int64_t>(dims.begin(), dims.end())},
                {"boxes", boxes}};
}

DType dtype_from(const std::string& name) {
    for (DType dtype : {DType::f32, DType::f64, DType::bf16, DType::u8, DType::u16, DType::i32, DType::i64})
        if (name_of(dtype) == name) return dtype;
    throw CheckpointError("unknown element type '{}'", name);
}

Shape shape_from(const std::vector<int64_t>& dims) {
    int64_t bytes = 16; // more than any element has
    bool fits = dims.size() <= Shape::kMaxRank;
    for (int64_t dim : dims) fits = fits && dim >= 1 && !__builtin_mul_overflow(bytes, dim, &bytes);
    if (!fits)
        throw CheckpointError("expected a shape of at most {} sizes from 1 up, found [{}]", Shape::kMaxRank,
                              fmt::join(dims, ", "));
    return Shape(dims);
}

StoredTensor tensor_from(const Json& json) {
    StoredTensor tensor;
    tensor.info.name = json.at("name").get<std::string>();
    const auto kind_name = json.at("kind").get<std::string>();
    const auto kind = from_name<TensorKind>(kind_name);
    if (!kind) throw CheckpointError("{}: unknown kind '{}'", tensor.info.name, kind_name);
    tensor.info.kind = *kind;
    tensor.info.dtype = dtype_from(json.at("dtype").get<std::string>());
    tensor.info.shape = shape_from(json.at("shape").get<std::vector<int64_t>>());
    for (const Json& stored : json.at("boxes"))
        tensor.boxes.push_back({{stored.at("offset").get<std::vector<int64_t>>(),
                                 stored.at("extent").get<std::vector<int64_t>>()},
                                stored.at("file").get<std::string>(),
                                stored.at("dataset").get<std::string>(),
                                stored.at("byte").get<int64_t>(),
                                stored.at("blocks").get<std::vector<std::string>>()});
    return tensor;
}

Json to_json(const TrainingState& state) {
    return Json{{"step", state.step}, {"sample", state.sample},     {"tokens", state.tokens},
                {"data", state.data}, {"counters", state.counters}, {"quantities", state.quantities}};
}

TrainingState training_from(const Json& json) {
    return {json.at("step").get<int64_t>(),
            json.at("sample").get<int64_t>(),
            json.at("tokens").get<int64_t>(),
            json.at("data").get<std::map<std::string, std::string>>(),
            json.at("counters").get<std::map<std::string, int64_t>>(),
            json.at("quantities").get<std::map<std::string, double>>()};
}

// A JSON list with one element per line, so that people can read and grep it.
template <typename T>
std::string lines(const std::vector<T>& elements) {
    std::vector<std::string> texts;
    texts.reserve(elements.size());
    for (const T& element : elements) texts.push_back(to_json(element).dump());
    return fmt::format("[\n{}\n]", fmt::join(texts, ",\n"));
}

Manifest manifest_from(const Json& json) {
    const auto format = json.at("format").get<std::string>();
    if (format != kFormat) throw CheckpointError("format: expected '{}', found '{}'", kFormat, format);
    const auto version = json.at("version").get<int64_t>();
    if (version != Manifest::kVersion)
        throw CheckpointError("version: this program reads version {}, found {}", Manifest::kVersion,
                              version);
    Manifest manifest;
    manifest.save_id = json.at("save_id").get<std::string>();
    manifest.block_bytes = json.at("block_bytes").get<int64_t>();
    manifest.layout = {json.at("layout").at("ranks").get<int64_t>(),
                       json.at("layout").at("axes").get<std::map<std::string, int64_t>>()};
    manifest.training = training_from(json.at("training"));
    manifest.config = json.at("config").get<std::string>();
    for (const Json& file : json.at("files")) manifest.files.push_back(file_from(file));
    for (const Json& tensor : json.at("tensors")) manifest.tensors.push_back(tensor_from(tensor));
    return manifest;
}

// A hundred thousand nested lists would overflow the stack of nlohmann-json when it frees them; ours nest 6.
// A list of short values takes some twenty times its text in memory; ours are mostly names and hashes.
void expect_modest(std::string_view text) {
    constexpr int kMaxDepth = 8;
    constexpr size_t kFreeValues = 1000, kBytesPerValue = 8;
    int depth = 0;
    size_t values = 0;
    bool in_string = false;
    for (size_t i = 0; i < text.size(); ++i) {
        const char c = text[i];
        if (c == '"') in_string = !in_string;
        if (in_string) {
            i += c == '\\'; // what follows is no quote
            continue;
        }
        if (c == '[' || c == '{') ++depth;
        if (c == ']' || c == '}') --depth;
        if (depth > kMaxDepth)
            throw CheckpointError("expected at most {} nested lists, found more", kMaxDepth);
        values += c == ',' || c == '[' || c == '{';
        if (values > kFreeValues + text.size() / kBytesPerValue)
            throw CheckpointError("expected at most one value in {} bytes, found more", kBytesPerValue);
    }
}

// Gives the errors of nlohmann-json our type.
template <typename Build>
auto parse_json(std::string_view text, const std::string& path, Build build) {
    try {
        expect_modest(text);
        return build(Json::parse(text));
    } catch (const nlohmann::json::exception& error) {
        throw CheckpointError("{}: {}", path, error.what());
    } catch (const CheckpointError& error) {
        throw CheckpointError("{}: {}", path, error.what());
    }
}

} // namespace

const StoredTensor* Manifest::find(std::string_view name) const {
    const auto found =
        std::lower_bound(tensors.begin(), tensors.end(), name,
                         [](const StoredTensor& t, std::string_view n) { return t.info.name < n; });
    return found != tensors.end() && found->info.name == name ? &*found : nullptr;
}

std::string to_text(const Manifest& manifest) {
    const Json layout{{"ranks", manifest.layout.num_ranks}, {"axes", manifest.layout.axes}};
    std::string text = fmt::format(
        "{{\"format\":\"{}\",\n\"version\":{},\n\"save_id\":{},\n\"block_bytes\":{},\n\"layout\":{},\n"
        "\"training\":{},\n\"config_sha256\":\"{}\",\n\"config\":{},\n\"files\":{},\n\"tensors\":{},\n",
        kFormat, Manifest::kVersion, Json(manifest.save_id).dump(), manifest.block_bytes, layout.dump(),
        to_json(manifest.training).dump(), sha256_hex(manifest.config), Json(manifest.config).dump(),
        lines(manifest.files), lines(manifest.tensors));
    const std::string hash = sha256_hex(text);
    return text.append(kHashKey).append(hash).append(kHashEnd);
}

Manifest parse_manifest(const std::string& text, const std::string& path) {
    const size_t body = text.size() < kHashLine ? 0 : text.size() - kHashLine;
    const std::string_view last = std::string_view(text).substr(body);
    if (body == 0 || !last.starts_with(kHashKey) || !last.ends_with(kHashEnd))
        throw CheckpointError("{}: expected a last line with the SHA-256 of the lines before it, found none",
                              path);
    const std::string stated(last.substr(kHashKey.size(), kHexDigits));
    const std::string actual = sha256_hex(text.data(), body);
    if (stated != actual)
        throw CheckpointError("{}: the content was changed: its last line says SHA-256 {}, found {}", path,
                              stated, actual);
    const Manifest manifest = parse_json(text, path, manifest_from);
    check_manifest(manifest, path);
    // Whatever the checks do not look at (unknown or repeated keys, 1.0 for 1, spaces) shows up here.
    if (to_text(manifest) != text)
        throw CheckpointError("{}: not in the form that this program writes", path);
    return manifest;
}

std::string to_text(const RankRecord& record) {
    return fmt::format("{{\"files\":{},\"tensors\":{}}}", lines(record.files), lines(record.tensors));
}

RankRecord parse_rank_record(const std::string& text) {
    return parse_json(text, "record of a rank", [](const Json& json) {
        RankRecord record;
        for (const Json& file : json.at("files")) record.files.push_back(file_from(file));
        for (const Json& tensor : json.at("tensors")) record.tensors.push_back(tensor_from(tensor));
        return record;
    });
}

} // namespace braid
