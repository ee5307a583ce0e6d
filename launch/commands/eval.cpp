#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/atomic_file.h"
#include "base/hdf5_file.h"
#include "base/sha256.h"
#include "launch/commands.h"
#include "launch/device_option.h"
#include "launch/ranks.h"
#include "ops/cpu/blas_check.h"
#include "parallel/agreement.h"
#include "trainer/config/run_check.h"
#include "trainer/inference/inference.h"
#include "trainer/inference/requests.h"
#include "trainer/training/evaluator.h"

namespace braid {
namespace {

struct EvalArguments {
    std::string checkpoint, data, task, logits, requests, output;
    std::vector<int32_t> tokens;
    int64_t max_tokens = 0, max_items = 0, micro_batch = 0;
    bool force = false;
    std::string device;
};

ExitCode evaluate_file(const EvalArguments& arguments) {
    return run_as_rank([&](MpiSession& session) {
        set_num_threads(0, session.node_size());
        std::unique_ptr<InferenceModel> model;
        std::shared_ptr<const ValidationLoader> data;
        agree(session.world(), [&] {
            model = std::make_unique<InferenceModel>(arguments.checkpoint,
                                                     chosen_device(arguments.device, session));
            const LoaderOptions options{.sequence_length = model->config().train.sequence_length,
                                        .vocab_size = model->config().model.vocab_size};
            data = std::make_shared<const ValidationLoader>(arguments.data, options, arguments.max_tokens);
        });
        const int64_t micro_batch =
            arguments.micro_batch > 0 ? arguments.micro_batch : model->config().train.micro_batch;
        const Evaluation result =
            evaluate(model->model(), model->allocator(), Mesh(session.world(), {}), data, micro_batch);
        if (session.world().rank() == 0) {
            const nlohmann::ordered_json line = {{"checkpoint_step", model->step()},
                                                 {"data", arguments.data},
                                                 {"labels", data->num_valid_labels(0, data->num_windows())},
                                                 {"loss", result.loss},
                                                 {"bits_per_byte", result.bits_per_byte}};
            fmt::print("{}\n", line.dump());
        }
        return ExitCode::ok;
    });
}

ExitCode evaluate_task(const EvalArguments& arguments) {
    return run_as_rank([&](MpiSession& session) {
        Communicator& world = session.world();
        set_num_threads(0, session.node_size());
        std::unique_ptr<InferenceModel> model;
        std::optional<TaskSet> task;
        agree(world, [&] {
            model = std::make_unique<InferenceModel>(arguments.checkpoint,
                                                     chosen_device(arguments.device, session));
            task.emplace(arguments.task, model->tokenizer(),
                         task_options(model->config(), {arguments.task, arguments.max_items}));
        });
        expect_same_everywhere(world, task->fingerprint(), arguments.task, ExitCode::data);
        const TaskScore score = evaluate(model->model(), model->allocator(), Mesh(world, {}), *task);
        if (world.rank() == 0) {
            const nlohmann::ordered_json line = {{"checkpoint_step", model->step()},
                                                 {"task", arguments.task},
                                                 {"items", task->num_items()},
                                                 {"accuracy", score.accuracy},
                                                 {"accuracy_stderr", score.accuracy_stderr},
                                                 {"accuracy_norm", score.accuracy_norm},
                                                 {"bits_per_byte", score.bits_per_byte}};
            fmt::print("{}\n", line.dump());
        }
        return ExitCode::ok;
    });
}

ExitCode write_logits(const EvalArguments& arguments) {
    set_num_threads(0, 1);
    ops::cpu::check_blas();
    InferenceModel model(arguments.checkpoint, chosen_device(arguments.device));
    for (int32_t token : arguments.tokens)
        if (token < 0 || token >= model.config().model.vocab_size)
            throw DataError("--tokens: expected ids from 0 to {}, found {}",
                            model.config().model.vocab_size - 1, token);
    Allocator host;
    const Tensor logits = to_device(host, model.logits(arguments.tokens));
    AtomicOutput output(arguments.logits, arguments.force ? Overwrite::yes : Overwrite::no);
    Hdf5File file = Hdf5File::create(output.path());
    file.write("logits", logits.dtype(), {logits.dim(0), logits.dim(1)}, logits.raw_data());
    file.close();
    output.publish();
    return ExitCode::ok;
}

ExitCode answer_requests(const EvalArguments& arguments) {
    return run_as_rank([&](MpiSession& session) {
        Communicator& world = session.world();
        set_num_threads(0, session.node_size());
        std::optional<AtomicOutput> output;
        std::unique_ptr<InferenceModel> model;
        std::vector<Request> requests;
        std::string lines;
        agree(world, [&] {
            if (world.rank() == 0)
                output.emplace(arguments.output, arguments.force ? Overwrite::yes : Overwrite::no);
            model = std::make_unique<InferenceModel>(arguments.checkpoint,
                                                     chosen_device(arguments.device, session));
            requests = read_requests(arguments.requests, model->tokenizer());
            for (const Request& request : requests) lines += request.line + "\n";
        });
        expect_same_everywhere(world, sha256_hex(lines), arguments.requests, ExitCode::data);
        const TrainConfig& train = model->config().train;
        const std::vector<RequestScore> scores =
            score_requests(*model, requests, train.micro_batch * train.sequence_length, world);
        agree(world, [&] {
            if (!output) return;
            std::string text;
            for (size_t i = 0; i < requests.size(); ++i) text += to_json_line(requests[i], scores[i]) + "\n";
            const FileDescriptor file = create_file(output->path());
            write_all(file.get(), text.data(), text.size(), output->path());
            output->publish();
        });
        return ExitCode::ok;
    });
}

} // namespace

void add_eval_command(Command app, CommandRun& action) {
    auto arguments = std::make_shared<EvalArguments>();
    const Command command = app.subcommand("eval",
                                           "Loss of a checkpoint on a token file, its accuracy in a task, "
                                           "its logits, or the likelihoods of texts");
    command.option("CHECKPOINT", arguments->checkpoint, "A checkpoint, or a run folder for its newest one")
        .required();
    const Option data = command.option("--data", arguments->data, "A token file; prints one JSON object");
    command.option("--max-tokens", arguments->max_tokens, "At most this many tokens of it; 0: all")
        .non_negative()
        .needs(data);
    command.option("--micro-batch", arguments->micro_batch, "Sequences at once; 0: as in training")
        .non_negative()
        .needs(data);
    const Option task = command.option("--task", arguments->task,
                                       "JSON lines of {\"context\": TEXT, \"choices\": [TEXT, ...], "
                                       "\"answer\": NUMBER}; prints one JSON object");
    command.option("--max-items", arguments->max_items, "At most this many of them; 0: all")
        .non_negative()
        .needs(task);
    const Option tokens =
        command.option("--tokens", arguments->tokens, "Token ids of one document, as 1,2,3");
    const Option logits = command.option("--logits", arguments->logits,
                                         "The HDF5 file that gets their logits [tokens, vocabulary]");
    const Option requests = command.option("--requests", arguments->requests,
                                           "JSON lines of {\"context\": TEXT, \"continuation\": TEXT}");
    const Option output = command.option("-o,--output", arguments->output,
                                         "The JSON lines with their log-likelihoods that --requests gives");
    command.flag("--force", arguments->force, "Replace the file of --logits or -o");
    add_device_option(command, arguments->device);
    tokens.needs(logits).excludes(data).excludes(requests);
    logits.needs(tokens);
    requests.needs(output).excludes(data);
    task.excludes(data).excludes(tokens).excludes(requests);
    output.needs(requests);
    command.callback([arguments, &action] {
        if (arguments->data.empty() && arguments->task.empty() && arguments->tokens.empty() &&
            arguments->requests.empty())
            refuse_missing(
                "--data FILE, or --task FILE, or --tokens IDS with --logits FILE, or --requests FILE "
                "with -o FILE,");
        action = [arguments] {
            if (!arguments->requests.empty()) return answer_requests(*arguments);
            if (!arguments->task.empty()) return evaluate_task(*arguments);
            return arguments->data.empty() ? write_logits(*arguments) : evaluate_file(*arguments);
        };
    });
}

} // namespace braid
