// Every hot operation of the CUDA backend at shapes of published models, forward and backward, as fractions
// of rates that are measured in the same run: a large product of matrices, and a copy.
//
//     bench_gpu_kernels [--filter REGEX] [--repetitions N] [--seconds-per-op S] [--json FILE] [--list]
//     [--small]
//
// bench/README.md says how to read the table. Exit codes: 0; 1 where a case failed; 2 without a GPU.

#include <fmt/core.h>
#include <getopt.h>
#include <regex.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>

#include "bench/cuda/gpu_timer.h"
#include "bench/gpu_cases.h"
#include "bench/gpu_report.h"
#include "ops/cuda/gemm.h"
#include "tensor/cuda/runtime.h"
#include "trainer/machine/build_info.h"

namespace {

using namespace braid;
using namespace braid::bench;
using Clock = std::chrono::steady_clock;

struct Options {
    std::string filter, json;
    int64_t repetitions = 30;
    double seconds_per_op = 2;
    bool small = false, list = false;
};

double seconds_since(Clock::time_point start) {
    return std::chrono::duration<double>(Clock::now() - start).count();
}

double median(std::vector<double> values) {
    std::sort(values.begin(), values.end());
    return values[values.size() / 2];
}

/// Times cases one by one on the first GPU.
class Bench {
  public:
    explicit Bench(const Options& options)
        : options_(options),
          stream_(Device{DeviceKind::cuda, 0}),
          memory_(stream_),
          cache_filler_(Tensor::empty(memory_, {options.small ? 1 << 12 : 1 << 28}, DType::u8)) {}

    Yardsticks measure_yardsticks();
    /// Never throws but where the GPU is lost: lost() says so then, and nothing more can be measured.
    Result run(const GpuCase& measured_case);
    bool lost() const { return lost_; }

  private:
    struct Running {
        Rig rig;
        Measured measured; // uses the rig, and goes before it

        explicit Running(const Stream& stream) : rig(stream) {}
    };

    Timing time(Running& running);
    double seconds_of(const GpuCase& yardstick);

    const Options options_;
    const Stream stream_;
    Allocator memory_;
    Tensor cache_filler_; // larger than the second-level cache of any GPU: 256 MiB
    bool lost_ = false;
};

Timing Bench::time(Running& running) {
    const auto& [before, timed] = running.measured;
    for (int warm_up = 0; warm_up < 2; ++warm_up) { // libraries load and choose kernels, memory is taken
        before();
        timed();
    }
    stream_.synchronize();
    GpuTimer timer(stream_);
    std::vector<double> on_gpu, on_host;
    const auto start = Clock::now();
    const auto least = std::min<int64_t>(options_.repetitions, 3);
    for (int64_t i = 0; i < options_.repetitions; ++i) {
        if (i >= least && seconds_since(start) > options_.seconds_per_op) break;
        before();
        // Leaves nothing of the operands in the cache; and while the GPU is at it, the host gets ahead.
        cache_filler_.fill_zero();
        timer.start();
        const auto host_start = Clock::now();
        timed();
        on_host.push_back(1e3 * seconds_since(host_start));
        timer.stop();
        on_gpu.push_back(timer.milliseconds());
    }
    return {.milliseconds = median(on_gpu),
            .fastest = *std::min_element(on_gpu.begin(), on_gpu.end()),
            .slowest = *std::max_element(on_gpu.begin(), on_gpu.end()),
            .host_milliseconds = median(on_host),
            .repetitions = static_cast<int>(on_gpu.size()),
            .peak_bytes = running.rig.allocator.statistics().peak_used_bytes};
}

Result Bench::run(const GpuCase& measured_case) {
    Result result{measured_case.name, measured_case.shape, measured_case.work, "", {}};
    auto running = std::make_unique<Running>(stream_);
    try {
        running->measured = measured_case.prepare(running->rig);
        result.timing = time(*running);
    } catch (const std::exception& error) {
        result.error = error.what();
        lost_ = context_is_lost();
    }
    if (lost_) running.release(); // whose end would wait for the GPU
    return result;
}

double Bench::seconds_of(const GpuCase& yardstick) {
    const Result result = run(yardstick);
    if (!result.error.empty())
        throw Error(ExitCode::internal, fmt::format("{}: {}", yardstick.name, result.error));
    return result.timing.milliseconds * 1e-3;
}

/// y = x Wᵀ of [n, n] matrices as a linear layer calls it: 2 n³ FLOPs.
GpuCase square_product(DType dtype, int64_t n) {
    return {"yardstick, GEMM", "", {}, [=](Rig& rig) {
                const Tensor x = rig.random({n, n}, dtype), w = rig.random({n, n}, dtype),
                             y = Tensor::empty(rig.allocator, {n, n}, dtype);
                return Measured{[] {},
                                [=] {
                                    ops::cuda::gemm(y, false, true, 1, ops::cuda::matrix_of(x),
                                                    ops::cuda::matrix_of(w), 0, ops::cuda::matrix_of(y));
                                }};
            }};
}

/// A copy by the runtime: every byte is read once and written once.
GpuCase device_copy(int64_t bytes) {
    return {"yardstick, copy", "", {}, [=](Rig& rig) {
                const Tensor x = Tensor::zeros(rig.allocator, {bytes}, DType::u8),
                             y = Tensor::zeros(rig.allocator, {bytes}, DType::u8);
                return Measured{[] {},
                                [=, &rig] {
                                    cuda::copy(y.raw_data(), x.raw_data(), x.bytes(),
                                               rig.allocator.stream().native());
                                }};
            }};
}

Yardsticks Bench::measure_yardsticks() {
    const int64_t wide = options_.small ? 64 : 8192, narrow = options_.small ? 32 : 4096,
                  bytes = options_.small ? 1 << 16 : 1 << 30;
    const auto cube = [](int64_t n) { return 2 * std::pow(static_cast<double>(n), 3); };
    return {.gemm_bf16 = cube(wide) / seconds_of(square_product(DType::bf16, wide)),
            .gemm_f32 = cube(narrow) / seconds_of(square_product(DType::f32, narrow)),
            .copy = 2 * static_cast<double>(bytes) / seconds_of(device_copy(bytes))};
}

/// An extended regular expression of POSIX.
class Filter {
  public:
    explicit Filter(const std::string& expression) {
        if (const int fault = regcomp(&compiled_, expression.c_str(), REG_EXTENDED | REG_NOSUB)) {
            char what[256];
            regerror(fault, &compiled_, what, sizeof what);
            throw ConfigError("--filter: '{}' is no regular expression: {}", expression, what);
        }
    }
    ~Filter() { regfree(&compiled_); }
    Filter(const Filter&) = delete;
    Filter& operator=(const Filter&) = delete;

    bool finds(const std::string& text) const {
        return regexec(&compiled_, text.c_str(), 0, nullptr, 0) == 0;
    }

  private:
    regex_t compiled_;
};

std::vector<GpuCase> chosen_cases(const Options& options) {
    const Filter filter(options.filter);
    std::vector<GpuCase> chosen;
    for (const auto& group :
         {sequence_cases, recurrence_cases, expert_cases, dense_cases, optimizer_cases, step_cases})
        for (GpuCase& one : group(options.small))
            if (filter.finds(one.name + " " + one.shape)) chosen.push_back(std::move(one));
    if (chosen.empty())
        throw ConfigError("--filter: '{}' is found in no case; --list names them", options.filter);
    return chosen;
}

RunHead head_of(const Options& options) {
    const cuda::DeviceInfo info = cuda::device_info(0);
    return {.device = info.name,
            .capability = fmt::format("{}.{}", info.major, info.minor),
            .driver = cuda_version_text(cuda::driver_version()),
            .runtime = cuda_version_text(cuda::runtime_version()),
            .commit = build_info().commit,
            .multiprocessors = info.num_multiprocessors,
            .highest_clock_mhz = highest_clock_mhz(0),
            .memory_gib = static_cast<double>(info.total_bytes) * 0x1p-30,
            .small = options.small};
}

void write_json(const std::string& path, const nlohmann::json& json) {
    if (path.empty()) return;
    std::ofstream file(path);
    file << json.dump(2) << "\n";
    if (!file.flush()) throw WriteError("{}: cannot be written", path);
}

/// Tables and the file, as far as the run gets; the exit code.
int report(const Options& options) {
    const std::vector<GpuCase> cases = chosen_cases(options);
    const RunHead head = head_of(options);
    fmt::print("{}", text_of(head));
    // A lost GPU fails all that comes after, the destructors of its tensors too: it is never destroyed then.
    auto* const bench = new Bench(options);
    std::optional<Yardsticks> first, last;
    std::vector<Result> results;
    std::string fatal;
    bool failed = false;
    try {
        first = bench->measure_yardsticks();
        fmt::print("{}\n{}", text_of(*first, {}), table_head());
        for (const GpuCase& one : cases) {
            results.push_back(bench->run(one));
            failed = failed || !results.back().error.empty();
            fmt::print("{}", table_line(results.back(), *first));
            std::fflush(stdout);
            write_json(options.json,
                       json_of(head, *first, {}, results, "ended early")); // should it be killed
            if (bench->lost())
                throw Error(
                    ExitCode::internal,
                    fmt::format("{}: the GPU answers nothing more in this process; the {} cases after "
                                "it were not run, --filter chooses them",
                                one.name, cases.size() - results.size()));
        }
        last = bench->measure_yardsticks();
        fmt::print("\n{}", text_of(*first, last));
    } catch (const std::exception& error) {
        fatal = error.what();
        fmt::print(stderr, "bench_gpu_kernels: {}\n", fatal);
    }
    write_json(options.json, json_of(head, first.value_or(Yardsticks{}), last, results, fatal));
    std::fflush(stdout);
    if (bench->lost()) std::_Exit(1);
    delete bench;
    return failed || !fatal.empty() ? 1 : 0;
}

int run(const Options& options) {
    if (options.list) {
        for (const GpuCase& one : chosen_cases(options)) fmt::print("{:26} {}\n", one.name, one.shape);
        return 0;
    }
    if (num_cuda_devices() == 0)
        throw ConfigError("no GPU found: CUDA's driver is missing, or shows this process none");
    return report(options);
}

constexpr const char* kUsage =
    "usage: bench_gpu_kernels [OPTION...]\n"
    "  --filter REGEX       only cases in whose name and shape this is found\n"
    "  --repetitions N      at most so many a case (30)\n"
    "  --seconds-per-op S   no further repetition of a case after so long, from the third on (2)\n"
    "  --json FILE          writes all numbers there too\n"
    "  --small              tiny shapes: whether everything runs, as on an emulated GPU\n"
    "  --list               names the cases, and runs none\n"
    "  --help\n";

/// The number that all of `text` is, at least `least`.
template <typename T>
T number_of(const char* option, std::string_view text, T least) {
    T value{};
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size() || !(value >= least))
        throw ConfigError("--{}: expected a number from {} on, found '{}'", option, least, text);
    return value;
}

/// Nothing where the usage was asked for.
std::optional<Options> parse(int argc, char** argv) {
    const option known[] = {{"filter", required_argument, nullptr, 'f'},
                            {"repetitions", required_argument, nullptr, 'r'},
                            {"seconds-per-op", required_argument, nullptr, 's'},
                            {"json", required_argument, nullptr, 'j'},
                            {"small", no_argument, nullptr, 't'},
                            {"list", no_argument, nullptr, 'l'},
                            {"help", no_argument, nullptr, 'h'},
                            {}};
    Options options;
    for (int index = 0, chosen = 0; (chosen = getopt_long(argc, argv, "", known, &index)) != -1;) {
        if (chosen == 'f') options.filter = optarg;
        if (chosen == 'r') options.repetitions = number_of<int64_t>("repetitions", optarg, 1);
        if (chosen == 's') options.seconds_per_op = number_of<double>("seconds-per-op", optarg, 0);
        if (chosen == 'j') options.json = optarg;
        if (chosen == 't') options.small = true;
        if (chosen == 'l') options.list = true;
        if (chosen == 'h') return std::nullopt;
        if (chosen == '?') throw ConfigError("{}", kUsage);
    }
    if (optind < argc) throw ConfigError("unexpected '{}'\n{}", argv[optind], kUsage);
    return options;
}

} // namespace

int main(int argc, char** argv) {
    try {
        if (const auto options = parse(argc, argv)) return run(*options);
        fmt::print("{}", kUsage);
        return 0;
    } catch (const Error& error) {
        fmt::print(stderr, "bench_gpu_kernels: {}\n", error.what());
        return static_cast<int>(error.exit_code());
    } catch (const std::exception& error) {
        fmt::print(stderr, "bench_gpu_kernels: {}\n", error.what());
        return 1;
    }
}
