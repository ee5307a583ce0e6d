#include "trainer/metrics/metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmath>
#include <csignal>
#include <filesystem>
#include <limits>
#include <nlohmann/json.hpp>
#include <sstream>

#include "base/error.h"
#include "tests/support/temporary_folder.h"

namespace braid {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using test::TemporaryFolder;
using ::testing::HasSubstr;

StepMetrics step_metrics(int64_t step) {
    StepMetrics metrics;
    metrics.step = step;
    metrics.tokens = step * 8192;
    metrics.loss = 5.0 / static_cast<double>(step + 1);
    return metrics;
}

std::vector<int64_t> steps_in(const std::string& path) {
    std::istringstream lines(test::read_file(path));
    std::vector<int64_t> steps;
    for (std::string line; std::getline(lines, line);) steps.push_back(json::parse(line)["step"]);
    return steps;
}

TEST(metrics, a_line_has_the_documented_fields_in_order) {
    StepMetrics metrics;
    metrics.step = 120;
    metrics.tokens = int64_t{1} << 60; // beyond what a double holds exactly
    metrics.loss = 0.1;
    metrics.aux_loss = 1.0;
    metrics.z_loss = 2.5e-300;
    metrics.mtp_loss = 3;
    metrics.grad_norm = 1e300;
    metrics.lr = 3e-3;
    metrics.tokens_per_second = 12345.678;
    metrics.mfu = 0.5;
    metrics.step_seconds = 0.25;
    metrics.data_seconds = 0;
    metrics.comm_seconds = -0.0;
    metrics.host_waits = 12;
    metrics.communication = {{"tensor", {7, 1000}}, {"data", {8, int64_t{1} << 60}}};
    metrics.memory_bytes = 123456789012;
    metrics.memory_used_bytes = 12345678901;
    metrics.expert_load_max = 1.5;
    metrics.expert_load_min = 0.5;
    metrics.worst_sequences = {{77, 4.5}, {3, 4.25}};
    metrics.eval = {{"web", {1.25, 1.5}}, {"code", {2, 3}}};
    metrics.eval_loss = 1.625;
    metrics.tasks = {{"facts", {0.75, 0.125, 0.5, 2.5}}};
    EXPECT_EQ(to_json_line(metrics),
              R"({"step":120,"tokens":1152921504606846976,"loss":0.1,"aux_loss":1.0,"z_loss":2.5e-300,)"
              R"("mtp_loss":3.0,"grad_norm":1e+300,"lr":0.003,"tokens_per_second":12345.678,"mfu":0.5,)"
              R"("step_seconds":0.25,"data_seconds":0.0,"comm_seconds":-0.0,"host_waits":12,)"
              R"("comm_bytes/data":1152921504606846976,"comm_calls/data":8,"comm_bytes/tensor":1000,)"
              R"("comm_calls/tensor":7,"memory_bytes":123456789012,"memory_used_bytes":12345678901,)"
              R"("expert_load_max":1.5,"expert_load_min":0.5,"eval/code/loss":2.0,)"
              R"("eval/code/bits_per_byte":3.0,"eval/web/loss":1.25,"eval/web/bits_per_byte":1.5,)"
              R"("eval_loss":1.625,"task/facts/accuracy":0.75,"task/facts/accuracy_stderr":0.125,)"
              R"("task/facts/accuracy_norm":0.5,"task/facts/bits_per_byte":2.5,)"
              R"("worst_sequences":[{"sample":77,"loss":4.5},{"sample":3,"loss":4.25}]})");
}

TEST(metrics, what_does_not_apply_is_absent) {
    StepMetrics metrics;
    metrics.step = 3;
    EXPECT_EQ(to_json_line(metrics), R"({"step":3,"tokens":0})");
}

TEST(metrics, every_double_keeps_its_bits) {
    using limits = std::numeric_limits<double>;
    for (const double value : {0.1 + 0.2, 1.0 / 3, limits::max(), limits::lowest(), limits::min(),
                               limits::denorm_min(), limits::epsilon(), 9007199254740993.0, 5e-324, -0.0}) {
        StepMetrics metrics;
        metrics.loss = value;
        const double read = json::parse(to_json_line(metrics))["loss"].get<double>();
        EXPECT_EQ(std::memcmp(&read, &value, sizeof value), 0) << value << " came back as " << read;
    }
}

TEST(metrics, numbers_that_are_not_finite_become_null) {
    const double infinity = std::numeric_limits<double>::infinity();
    StepMetrics metrics;
    metrics.loss = std::nan("");
    metrics.grad_norm = infinity;
    metrics.worst_sequences = {{1, -infinity}};
    EXPECT_EQ(to_json_line(metrics), R"({"step":0,"tokens":0,"loss":null,"grad_norm":null,)"
                                     R"("worst_sequences":[{"sample":1,"loss":null}]})");
    EXPECT_EQ(to_json_line(LayerMetrics{1, 2, "moe", {{"load", infinity}}}),
              R"({"step":1,"layer":2,"sublayer":"moe","load":null})");
}

TEST(metrics, names_are_escaped) {
    const LayerMetrics layer{1, 2, "a\"\n\xff\\", {{"x", 1}}};
    const json object = json::parse(to_json_line(layer));
    EXPECT_EQ(object["sublayer"], "a\"\n\xEF\xBF\xBD\\"); // U+FFFD for the byte that is no UTF-8
    EXPECT_EQ(to_json_line(layer).find('\n'), std::string::npos);
    EXPECT_THROW(to_json_line(LayerMetrics{1, 2, "moe", {{"step", 1}}}), InternalError);
}

TEST(metrics, the_lines_read_in_python) {
    const TemporaryFolder folder;
    MetricsWriter writer(folder.path(), -1, false);
    StepMetrics metrics = step_metrics(1);
    metrics.grad_norm = std::nan("");
    metrics.mfu = 5e-324;
    writer.write(metrics);
    const auto result = test::run_python(R"(
import json, sys
def refuse(name): raise ValueError(name)
line, = open(sys.argv[1])
print(sorted(json.loads(line, parse_constant=refuse).items()))
)",
                                         folder / "metrics.jsonl");
    EXPECT_EQ(result.output,
              "[('grad_norm', None), ('loss', 2.5), ('mfu', 5e-324), ('step', 1), ('tokens', 8192)]\n");
}

CutBack cut_back(const TemporaryFolder& folder, const std::string& name, int64_t last_step) {
    return cut_back_lines(folder / name, last_step, folder / ("later-" + name));
}

TEST(metrics, a_resume_cuts_back_to_the_step_of_the_checkpoint) {
    const TemporaryFolder folder;
    {
        MetricsWriter writer(folder.path(), -1, false);
        for (int64_t step = 0; step <= 10; ++step) {
            writer.write(step_metrics(step));
            if (step % 2 == 0) writer.write({{step, 0, "attn", {{"x", 1}}}, {step, 1, "moe", {{"x", 2}}}});
        }
        writer.sync();
    }
    {
        EXPECT_EQ(cut_back(folder, "metrics.jsonl", 7), (CutBack{8, 3, 0}));
        EXPECT_EQ(cut_back(folder, "layers.jsonl", 7), (CutBack{8, 4, 0}));
        MetricsWriter(folder.path(), 7, false).write(step_metrics(8));
    }
    EXPECT_EQ(steps_in(folder / "metrics.jsonl"), (std::vector<int64_t>{0, 1, 2, 3, 4, 5, 6, 7, 8}));
    EXPECT_EQ(steps_in(folder / "layers.jsonl"), (std::vector<int64_t>{0, 0, 2, 2, 4, 4, 6, 6}));
    EXPECT_EQ(steps_in(folder / "later-metrics.jsonl"), (std::vector<int64_t>{8, 9, 10}));
    EXPECT_EQ(steps_in(folder / "later-layers.jsonl"), (std::vector<int64_t>{8, 8, 10, 10}));
    fs::remove(folder / "later-metrics.jsonl");
    EXPECT_EQ(cut_back(folder, "metrics.jsonl", -1).superseded, 9);
    EXPECT_EQ(test::read_file(folder / "metrics.jsonl"), "");
    EXPECT_EQ(steps_in(folder / "later-metrics.jsonl"), (std::vector<int64_t>{0, 1, 2, 3, 4, 5, 6, 7, 8}));
    // What was superseded before is never written over.
    test::write_file(folder / "metrics.jsonl", "{\"step\":9}\n");
    EXPECT_THROW(cut_back(folder, "metrics.jsonl", 7), WriteError);
    EXPECT_EQ(steps_in(folder / "metrics.jsonl"), (std::vector<int64_t>{9}));
}

// A crash may stop the last write anywhere: every length of the file must cut back to its whole lines.
TEST(metrics, a_line_torn_at_any_byte_is_removed) {
    const TemporaryFolder folder;
    const std::string path = folder / "metrics.jsonl";
    std::string text;
    std::vector<size_t> ends;
    for (int64_t step = 1; step <= 3; ++step) {
        text += to_json_line(step_metrics(step)) + "\n";
        ends.push_back(text.size());
    }
    for (size_t length = 0; length <= text.size(); ++length) {
        test::write_file(path, text.substr(0, length));
        const auto whole = std::count_if(ends.begin(), ends.end(), [&](size_t end) { return end <= length; });
        const size_t kept = whole == 0 ? 0 : ends[static_cast<size_t>(whole) - 1];
        const CutBack cut = cut_back_lines(path, 100, folder / "later");
        EXPECT_EQ(cut, (CutBack{whole, 0, length == kept ? 0 : 1})) << "length " << length;
        EXPECT_EQ(test::read_file(path), text.substr(0, kept)) << "length " << length;
    }
    EXPECT_EQ(std::distance(fs::directory_iterator(folder.path()), fs::directory_iterator()), 1);
}

TEST(metrics, cutting_back_drops_what_is_no_line_of_metrics) {
    const TemporaryFolder folder;
    const std::string path = folder / "metrics.jsonl", bad[] = {"",
                                                                "nonsense",
                                                                "[1]",
                                                                "{}",
                                                                R"({"step":"1"})",
                                                                R"({"step":1.0})",
                                                                R"({"step":18446744073709551615})",
                                                                R"({"step":1} x)",
                                                                std::string(4096, '\0'),
                                                                std::string(100000, '[')};
    std::string text = "{\"step\":1}\n";
    for (const std::string& line : bad) text += line + "\n";
    test::write_file(path, text + "{\"step\":2}\n{\"step\":-9223372036854775808}\n{\"step\":3}");
    EXPECT_EQ(cut_back_lines(path, 3, folder / "later"), (CutBack{3, 0, 11}));
    EXPECT_EQ(test::read_file(path), "{\"step\":1}\n{\"step\":2}\n{\"step\":-9223372036854775808}\n");
}

// The lines of two blocks and more, so that lines cross the borders of what is read at once.
TEST(metrics, cuts_back_files_larger_than_its_buffer) {
    const TemporaryFolder folder;
    const std::string path = folder / "layers.jsonl";
    std::string text, kept;
    for (int64_t step = 0; step < 3000; ++step) {
        const std::string line = R"({"step":)" + std::to_string(step) + R"(,"x":")" +
                                 std::string(static_cast<size_t>(step), 'x') + "\"}\n";
        text += line;
        if (step <= 2500) kept += line;
    }
    ASSERT_GT(kept.size(), size_t{2} << 20);
    test::write_file(path, text);
    EXPECT_EQ(cut_back_lines(path, 2500, folder / "later"), (CutBack{2501, 499, 0}));
    EXPECT_TRUE(test::read_file(path) == kept);
    EXPECT_TRUE(test::read_file(folder / "later") == text.substr(kept.size()));
    test::write_file(path, std::string((size_t{1} << 24) + (size_t{2} << 20), 'x'));
    EXPECT_THROW(cut_back_lines(path, 0, folder / "other"), DataError);
}

TEST(metrics, a_file_that_needs_no_cut_is_left_alone) {
    const TemporaryFolder folder;
    EXPECT_EQ(cut_back_lines(folder / "missing", 5, folder / "later"), CutBack{});
    EXPECT_FALSE(fs::exists(folder / "missing"));
    const auto inode = [](const std::string& path) {
        struct stat status;
        EXPECT_EQ(::stat(path.c_str(), &status), 0);
        return status.st_ino;
    };
    test::write_file(folder / "a", "{\"step\":1}\n");
    ASSERT_EQ(::chmod((folder / "a").c_str(), 0640), 0);
    const auto before = inode(folder / "a");
    cut_back_lines(folder / "a", 1, folder / "later");
    EXPECT_EQ(inode(folder / "a"), before);
    EXPECT_FALSE(fs::exists(folder / "later"));
    cut_back_lines(folder / "a", 0, folder / "later");
    EXPECT_EQ(fs::status(folder / "a").permissions(), static_cast<fs::perms>(0640));
    fs::create_symlink("a", folder / "link");
    EXPECT_THROW(cut_back_lines(folder / "link", 0, folder / "other"), DataError);
}

TEST(metrics, a_file_ending_inside_a_line_gets_a_new_line) {
    const TemporaryFolder folder;
    test::write_file(folder / "log.txt", "whole\nto");
    LineFile(folder / "log.txt").append("next");
    LineFile(folder / "log.txt").append("last");
    EXPECT_EQ(test::read_file(folder / "log.txt"), "whole\nto\nnext\nlast\n");
    fs::create_symlink("log.txt", folder / "link");
    EXPECT_THROW(LineFile(folder / "link"), WriteError);
    EXPECT_THROW(LineFile(folder.path()), WriteError);
    ASSERT_EQ(::mkfifo((folder / "fifo").c_str(), 0600), 0);
    EXPECT_THROW(LineFile(folder / "fifo"), WriteError);
}

// A file size limit stands for a full disk: the write comes back short, then fails.
TEST(metrics, a_full_disk_is_a_write_error_and_a_resume_mends_the_file) {
    const TemporaryFolder folder;
    const std::string path = folder / "metrics.jsonl";
    const pid_t child = ::fork();
    if (child == 0) {
        ::signal(SIGXFSZ, SIG_IGN);
        const rlimit limit{1000, 1000};
        ::setrlimit(RLIMIT_FSIZE, &limit);
        try {
            MetricsWriter writer(folder.path(), -1, false);
            for (int64_t step = 1; step < 1000; ++step) writer.write(step_metrics(step));
        } catch (const WriteError& error) {
            const bool named = std::string(error.what()).find("metrics.jsonl") != std::string::npos;
            ::_exit(named ? static_cast<int>(error.exit_code()) : 99);
        }
        ::_exit(98);
    }
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_EQ(WEXITSTATUS(status), 7);
    EXPECT_EQ(fs::file_size(path), 1000u);
    EXPECT_EQ(cut_back(folder, "metrics.jsonl", 5).unreadable, 1);
    MetricsWriter writer(folder.path(), 5, true);
    writer.write(step_metrics(6));
    EXPECT_EQ(steps_in(path), (std::vector<int64_t>{1, 2, 3, 4, 5, 6}));
}

} // namespace
} // namespace braid
