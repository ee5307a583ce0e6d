#include "trainer/metrics/tensorboard.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ctime>
#include <filesystem>
#include <limits>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "tests/support/temporary_folder.h"
#include "trainer/metrics/metrics.h"

namespace braid {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using test::TemporaryFolder;

// An own reader of the file format, sharing nothing with the writer: prints one JSON object an event.
constexpr const char* kReader = R"(
import json, struct, sys

def crc32c(data):
    crc = 0xffffffff
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ 0x82f63b78 * (crc & 1)
    return crc ^ 0xffffffff

def check(data, stored):
    crc = crc32c(data)
    assert ((crc >> 15 | crc << 17) + 0xa282ead8) & 0xffffffff == struct.unpack('<I', stored)[0]

def fields(data):
    at = 0
    def varint():
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value
    while at < len(data):
        key = varint()
        if key & 7 == 0:
            yield key >> 3, varint()
            continue
        size = {1: 8, 5: 4}.get(key & 7) or varint()
        assert key & 7 in (1, 2, 5) and at + size <= len(data)
        yield key >> 3, data[at:at + size]
        at += size

def signed(value):
    return value - (1 << 64) if value >> 63 else value

def read_event(data):
    event = {'scalars': {}}
    for number, value in fields(data):
        if number == 1:
            event['wall_time'] = struct.unpack('<d', value)[0]
        elif number == 2:
            event['step'] = signed(value)
        elif number == 3:
            event['version'] = value.decode()
        elif number == 7:
            event['session'] = dict(fields(value))[1]
        else:
            assert number == 5, number
            for inner, entry in fields(value):
                scalar = dict(fields(entry))
                assert inner == 1 and scalar.keys() == {1, 2}
                event['scalars'][scalar[1].decode()] = repr(struct.unpack('<f', scalar[2])[0])
    return event

with open(sys.argv[1], 'rb') as file:
    while head := file.read(12):
        check(head[:8], head[8:])
        data = file.read(struct.unpack('<Q', head[:8])[0])
        check(data, file.read(4))
        print(json.dumps(read_event(data)))
)";

std::vector<json> read_events(const std::string& path) {
    const auto result = test::run_python(kReader, path);
    EXPECT_EQ(result.exit_code, 0) << result.output;
    std::vector<json> events;
    std::istringstream lines(result.output);
    for (std::string line; std::getline(lines, line);) events.push_back(json::parse(line));
    return events;
}

TEST(tensorboard, crc32c_gives_published_values) {
    // RFC 3720 B.4, and the check value of the catalogues.
    EXPECT_EQ(crc32c("123456789"), 0xe3069283u);
    EXPECT_EQ(crc32c(std::string(32, '\0')), 0x8a9136aau);
    EXPECT_EQ(crc32c(std::string(32, '\xff')), 0x62a8ab43u);
    std::string rising, falling;
    for (int i = 0; i < 32; ++i) rising += static_cast<char>(i), falling += static_cast<char>(31 - i);
    EXPECT_EQ(crc32c(rising), 0x46dd794eu);
    EXPECT_EQ(crc32c(falling), 0x113fdb5cu);
    EXPECT_EQ(crc32c(""), 0u);
}

TEST(tensorboard, an_independent_reader_finds_what_was_written) {
    const TemporaryFolder folder;
    const auto before = static_cast<double>(std::time(nullptr)); // whatever year this machine has
    EventFile file(folder.path(), 101);
    file.write(101, {{"loss", 1.5f}, {"eval/web/loss", -0.1f}});
    file.write(int64_t{1} << 40, {{"a", std::numeric_limits<float>::infinity()}});
    file.write(103, {{std::string(300, 'x'), std::numeric_limits<float>::quiet_NaN()}});
    file.write(104, {});
    file.sync();

    const auto events = read_events(file.path());
    ASSERT_EQ(events.size(), 6u);
    EXPECT_EQ(events[0]["version"], "brain.Event:2");
    EXPECT_EQ(events[1]["session"], 1);
    EXPECT_EQ(events[1]["step"], 101);
    EXPECT_EQ(events[2]["step"], 101);
    EXPECT_EQ(events[2]["scalars"], (json{{"loss", "1.5"}, {"eval/web/loss", "-0.10000000149011612"}}));
    EXPECT_EQ(events[3]["step"], int64_t{1} << 40);
    EXPECT_EQ(events[3]["scalars"], (json{{"a", "inf"}}));
    EXPECT_EQ(events[4]["scalars"], (json{{std::string(300, 'x'), "nan"}}));
    EXPECT_EQ(events[5]["scalars"], json::object());
    for (const json& event : events) EXPECT_NEAR(event["wall_time"].get<double>(), before, 300);
}

TEST(tensorboard, records_of_later_steps_become_a_file_of_their_own) {
    const TemporaryFolder folder;
    const auto steps_of = [](const std::string& path) {
        std::vector<int64_t> steps;
        for (const json& event : read_events(path)) steps.push_back(event["step"]);
        return steps;
    };
    const std::string path = [&] {
        EventFile file(folder.path(), 1);
        for (const int64_t step : {1, 2, 200, 3, 70000})
            file.write(step, {{"loss", static_cast<float>(step)}});
        return file.path();
    }();
    EXPECT_EQ(event_files(folder.path()), (std::vector<std::string>{path}));
    EXPECT_EQ(cut_back_events(path, 70000, folder / "later"), 0);
    EXPECT_FALSE(fs::exists(folder / "later"));

    std::string whole = test::read_file(path);
    EXPECT_EQ(cut_back_events(path, 3, folder / "later"), 2);
    EXPECT_EQ(steps_of(path), (std::vector<int64_t>{0, 1, 1, 2, 3})); // the first two are version and session
    EXPECT_EQ(steps_of(folder / "later"), (std::vector<int64_t>{0, 200, 70000}));
    EXPECT_EQ(read_events(folder / "later")[2]["scalars"], (json{{"loss", "70000.0"}}));

    // Torn at any byte: whole records stay, and no length reads beyond the file.
    for (size_t length = 0; length < whole.size(); ++length) {
        test::write_file(path, whole.substr(0, length));
        fs::remove(folder / "later");
        const int64_t moved = cut_back_events(path, 3, folder / "later");
        EXPECT_LE(moved, 1) << length; // the last record is never whole
        if (moved == 0) {
            EXPECT_EQ(test::read_file(path), whole.substr(0, length));
        }
    }
    test::write_file(path, "a stranger's file");
    EXPECT_EQ(cut_back_events(path, 3, folder / "later"), 0);
}

TEST(tensorboard, names_of_later_starts_sort_later) {
    const TemporaryFolder folder;
    test::write_file(folder / "events.out.tfevents.9000000000.elsewhere.1", ""); // a clock far ahead
    test::write_file(folder / "events.out.tfevents.99999999999999.elsewhere.1", "");
    std::vector<std::string> paths;
    for (int start = 0; start < 3; ++start) paths.push_back(EventFile(folder.path(), start).path());
    EXPECT_THAT(paths[0], ::testing::HasSubstr("/events.out.tfevents.9000000001."));
    EXPECT_LT(paths[0], paths[1]);
    EXPECT_LT(paths[1], paths[2]);
    EXPECT_THROW(EventFile(folder / "missing", 0), WriteError);
}

TEST(tensorboard, metrics_become_scalars) {
    const TemporaryFolder folder;
    {
        MetricsWriter writer(folder.path(), 7, true);
        StepMetrics metrics;
        metrics.step = 8;
        metrics.tokens = 4096;
        metrics.loss = 1.5;
        metrics.eval = {{"web", {2.5, 3.5}}};
        writer.write(metrics);
        writer.write({{8, 3, "moe", {{"dead_experts", 2}}}, {8, 11, "attn", {{"entropy", 0.5}}}});
        writer.write(std::vector<LayerMetrics>{});
    }
    std::vector<json> events;
    for (const auto& entry : fs::directory_iterator(folder.path()))
        if (entry.path().filename().string().starts_with("events.")) events = read_events(entry.path());
    ASSERT_EQ(events.size(), 4u);
    EXPECT_EQ(events[1]["step"], 8);
    EXPECT_EQ(events[2]["step"], 8);
    EXPECT_EQ(events[2]["scalars"], (json{{"loss", "1.5"},
                                          {"tokens", "4096.0"},
                                          {"eval/web/loss", "2.5"},
                                          {"eval/web/bits_per_byte", "3.5"}}));
    EXPECT_EQ(events[3]["scalars"],
              (json{{"layers/03.moe/dead_experts", "2.0"}, {"layers/11.attn/entropy", "0.5"}}));
}

} // namespace
} // namespace braid
