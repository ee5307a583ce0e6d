#include <fmt/core.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <set>

#include "base/atomic_file.h"
#include "launch/blas_kernels.h"
#include "launch/commands.h"
#include "launch/output.h"
#include "launch/ranks.h"
#include "ops/cpu/bf16_gemm.h"
#include "ops/cpu/gemm.h"
#include "ops/cuda/gemm.h"
#include "parallel/agreement.h"
#include "parallel/collectives.h"
#include "parallel/cuda/nccl_comm.h"
#include "tensor/cuda/runtime.h"
#include "tensor/memory/build_cuda.h"
#include "trainer/config/device_choice.h"
#include "trainer/machine/build_info.h"
#include "trainer/machine/machine_info.h"
#include "trainer/machine/machine_rates.h"

namespace braid {
namespace {

struct DoctorArguments {
    std::string device = "auto", output = "braid-calibration.json";
    bool calibrate = false, force = false;
    int64_t max_bytes = 0; // 0: by mode
};

/// What is found and measured, the same on all ranks but for `machine`, which is this rank's.
struct Findings {
    MachineInfo machine;
    int ranks = 1, node_size = 1, threads = 1;
    std::string mpi;
    std::vector<std::string> hosts, gpus; // by rank; gpus is empty but for the first rank of a host
    Device device;
    std::vector<GemmRate> gemms;
    std::vector<CopyRate> copies;
    std::vector<CollectiveRate> collectives;
};

constexpr double kGi = 1 << 30;

std::string cuda_version_text(int version) {
    return version == 0 ? "(none)" : fmt::format("{}.{}", version / 1000, version % 1000 / 10);
}

/// Of a library that counts major 10000 + minor 100 + patch.
std::string library_version_text(int version) {
    return fmt::format("{}.{}.{}", version / 10000, version / 100 % 100, version % 100);
}

/// Of this machine, a line for each GPU and one for the libraries.
std::string describe_gpus() {
    if constexpr (kBuildCuda) {
        const int count = cuda::num_devices();
        std::string text =
            fmt::format("driver for CUDA {}, runtime {}, NCCL {}, cuBLASLt {}\n",
                        cuda_version_text(cuda::driver_version()), cuda_version_text(cuda::runtime_version()),
                        library_version_text(nccl_version()),
                        library_version_text(static_cast<int>(ops::cuda::cublaslt_version())));
        if (count == 0) text += "no GPU found\n";
        for (int i = 0; i < count; ++i) {
            const cuda::DeviceInfo info = cuda::device_info(i);
            text += fmt::format(
                "GPU {}: {}, compute capability {}.{}, {} multiprocessors, {:.1f} of {:.1f} "
                "GiB free\n",
                i, info.name, info.major, info.minor, info.num_multiprocessors,
                static_cast<double>(info.free_bytes) / kGi, static_cast<double>(info.total_bytes) / kGi);
        }
        return text;
    }
    return "not built with CUDA\n";
}

const char* kind_name(DeviceKind kind) {
    return kind == DeviceKind::cpu ? "cpu" : "cuda";
}

DeviceChoice device_choice(const std::string& name) {
    return name == "cpu" ? DeviceChoice::cpu : name == "cuda" ? DeviceChoice::cuda : DeviceChoice::automatic;
}

void print_machine(const Findings& found) {
    const BuildInfo& build = build_info();
    std::string text =
        fmt::format("braid {}, commit {}, {} build by {}; MPI {}, OpenMP {}, CUDA {}\n", build.version,
                    build.commit, build.type, build.compiler, build.mpi ? "on" : "off",
                    build.openmp ? "on" : "off", build.cuda ? "on" : "off");
    const MachineInfo& machine = found.machine;
    text += fmt::format("processor: {}, {}; {} cores allowed, {} threads a rank\n", machine.processor,
                        machine.instructions, machine.cores, found.threads);
    text += fmt::format("memory: {:.1f} of {:.1f} GiB free; /dev/shm {:.2f} GiB\n",
                        static_cast<double>(machine.free_memory_bytes) / kGi,
                        static_cast<double>(machine.memory_bytes) / kGi,
                        static_cast<double>(machine.shared_memory_bytes) / kGi);
    const auto libraries = library_versions();
    for (const char* name : {"openblas", "onednn", "hdf5"})
        text += fmt::format("{}: {}\n", name, libraries.at(name));
    text += fmt::format("products of bf16 on the CPU: {}\n",
                        ops::cpu::bf16_gemm() == ops::cpu::Bf16Gemm::onednn ? "oneDNN" : "OpenBLAS, in f32");
    text +=
        fmt::format("job: {} rank(s) on {} host(s), {} on this one; MPI: {}\n", found.ranks,
                    std::set(found.hosts.begin(), found.hosts.end()).size(), found.node_size,
                    found.mpi.empty() ? (build.mpi ? "not started, one process" : "not built") : found.mpi);
    for (size_t rank = 0; rank < found.gpus.size(); ++rank)
        if (!found.gpus[rank].empty()) text += fmt::format("on {}:\n{}", found.hosts[rank], found.gpus[rank]);
    print_output(text + fmt::format("ranks compute on: {}\n\n",
                                    found.device.kind == DeviceKind::cpu ? "cpu" : "cuda, a GPU each"));
}

void print_rates(const Findings& found) {
    std::string text = "GEMM, all ranks at once         GFLOP/s  slowest rank\n";
    for (const GemmRate& rate : found.gemms)
        text += fmt::format("{:<5} {:<20} {:>12.1f}  {:>12.1f}\n", kind_name(rate.device.kind),
                            name_of(rate.precision), rate.total * 1e-9, rate.lowest * 1e-9);
    text += "\ncopy, all ranks at once       GB/s of the slowest rank\n";
    for (const CopyRate& rate : found.copies)
        text += fmt::format("{:<26} {:>7.2f}\n", rate.kind, rate.lowest * 1e-9);
    if (found.collectives.empty())
        text += "\none rank: no collectives to measure; start with braid-mpirun -n N\n";
    else
        text += "\ncollective                    bytes            us   bus GB/s\n";
    for (const CollectiveRate& rate : found.collectives)
        text +=
            fmt::format("{:<5} {:<16} {:>12} {:>13.1f} {:>10.3f}\n", kind_name(rate.device),
                        name_of(rate.collective), rate.bytes, rate.seconds * 1e6, rate.bus_bandwidth * 1e-9);
    print_output(text);
}

void print_advice(const Findings& found) {
    std::vector<std::string> advice;
    if constexpr (kBuildCuda) {
        const int gpus = cuda::num_devices();
        if (gpus > 0 && gpus < found.node_size)
            advice.push_back(
                fmt::format("{} GPUs for {} ranks of this host: start at most {} ranks, or use "
                            "the CPU",
                            gpus, found.node_size, gpus));
        if (gpus > 0 && cuda::driver_version() < cuda::runtime_version())
            advice.push_back("the driver is older than the CUDA runtime of this build: update the driver");
    }
    if (const char* better = better_blas_kernels())
        advice.push_back(
            fmt::format("OpenBLAS runs its kernels for {}, which do without this processor's AVX2: set "
                        "OPENBLAS_CORETYPE={}",
                        ops::cpu::blas_kernels(), better));
    if (found.threads * found.node_size > found.machine.cores)
        advice.push_back(
            fmt::format("{} threads in each of {} ranks on {} cores: lower OMP_NUM_THREADS or the ranks",
                        found.threads, found.node_size, found.machine.cores));
    constexpr int64_t kSharedPerRank = 64 << 20;
    if (found.node_size > 1 && found.machine.shared_memory_bytes < found.node_size * kSharedPerRank)
        advice.push_back(fmt::format("/dev/shm has {} MiB; give it 64 MiB for each of {} ranks",
                                     found.machine.shared_memory_bytes >> 20, found.node_size));
    if (ops::cpu::bf16_gemm() == ops::cpu::Bf16Gemm::widened)
        advice.push_back("no bf16 instructions are used on this CPU: bf16 saves memory there, not time");
    for (const std::string& line : advice) print_output("advice: " + line + "\n");
}

std::string to_json(const Findings& found) {
    nlohmann::ordered_json table{
        {"format", "braid-calibration"},
        {"version", 1},
        {"braid", {{"version", build_info().version}, {"commit", build_info().commit}}},
        {"hosts", found.hosts},
        {"threads", found.threads},
        {"device", kind_name(found.device.kind)},
        {"gemm", nlohmann::json::array()},
        {"copy", nlohmann::json::array()},
        {"collective", nlohmann::json::array()}};
    for (const GemmRate& rate : found.gemms)
        table["gemm"].push_back({{"device", kind_name(rate.device.kind)},
                                 {"precision", name_of(rate.precision)},
                                 {"flops_per_second", rate.total},
                                 {"slowest_rank", rate.lowest}});
    for (const CopyRate& rate : found.copies)
        table["copy"].push_back(
            {{"kind", rate.kind}, {"bytes", rate.bytes}, {"bytes_per_second", rate.lowest}});
    for (const CollectiveRate& rate : found.collectives)
        table["collective"].push_back({{"device", kind_name(rate.device)},
                                       {"collective", name_of(rate.collective)},
                                       {"bytes", rate.bytes},
                                       {"seconds", rate.seconds},
                                       {"bus_bytes_per_second", rate.bus_bandwidth}});
    return table.dump(2) + "\n";
}

Findings examine(MpiSession& session, const Stream& compute, int threads) {
    Communicator& world = session.world();
    Findings found{.machine = machine_info(),
                   .ranks = world.size(),
                   .node_size = session.node_size(),
                   .threads = threads,
                   .mpi = session.library(),
                   .device = compute.device()};
    std::string gpus;
    agree(world, [&] {
        if (session.node_rank() == 0) gpus = describe_gpus();
    });
    found.hosts = all_gather_text(world, host_name());
    found.gpus = all_gather_text(world, gpus);
    return found;
}

ExitCode doctor(const DoctorArguments& arguments) {
    return run_as_rank([&](MpiSession& session) {
        Communicator* world = &session.world();
        const int threads = set_num_threads(0, session.node_size());
        const Overwrite overwrite = arguments.force ? Overwrite::yes : Overwrite::no;
        Stream compute;
        agree(*world, [&] {
            compute = Stream(
                choose_device(device_choice(arguments.device), session.node_rank(), session.node_size()));
            // A file in the way is refused before anything is measured.
            if (arguments.calibrate && world->rank() == 0) AtomicOutput(arguments.output, overwrite);
        });
        session.use_gpus(compute);
        world = &session.world();
        Findings found = examine(session, compute, threads);
        const bool prints = world->rank() == 0;
        if (prints) print_machine(found);
        found.gemms = measure_gemm_rates(*world, compute);
        found.copies = measure_copy_rates(*world, compute);
        const bool full = arguments.calibrate;
        const int64_t most = arguments.max_bytes > 0 ? arguments.max_bytes : int64_t{1} << (full ? 26 : 24);
        found.collectives =
            measure_collectives(*world, compute, full ? 4096 : 65536, most, full ? 4 : 16, full ? 20 : 5);
        if (prints) print_rates(found);
        if (prints) print_advice(found);
        agree(*world, [&] {
            if (!full || !prints) return;
            write_file_atomically(arguments.output, to_json(found), overwrite);
            print_output(fmt::format("wrote {}\n", arguments.output));
        });
        return ExitCode::ok;
    });
}

} // namespace

void add_doctor_command(Command app, CommandRun& action) {
    auto arguments = std::make_shared<DoctorArguments>();
    const Command command = app.subcommand(
        "doctor", "What this machine and job offer: libraries, GPUs, GEMM and copy rates, bandwidths");
    command.option("--device", arguments->device, "auto, cpu or cuda, as train.device")
        .one_of({"auto", "cpu", "cuda"})
        .show_default();
    const Option calibrate = command.flag("--calibrate", arguments->calibrate,
                                          "Measure more sizes, more often, and write them as JSON");
    command.option("-o,--output", arguments->output, "The file of --calibrate")
        .needs(calibrate)
        .show_default();
    command.flag("--force", arguments->force, "Replace an output file that exists").needs(calibrate);
    command
        .option("--max-bytes", arguments->max_bytes,
                "The largest message of the collectives; left out, 16 MiB, or 64 MiB with --calibrate")
        .range(65536, int64_t{1} << 30);
    command.callback([&action, arguments] { action = [arguments] { return doctor(*arguments); }; });
}

} // namespace braid
