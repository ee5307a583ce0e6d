#include <fmt/core.h>

#include <algorithm>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "data/build.h"
#include "data/entropy.h"
#include "data/inspect.h"
#include "data/synth.h"
#include "data/token_file.h"
#include "launch/commands.h"
#include "launch/output.h"
#include "trainer/config/run_config.h"
#include "trainer/run/run_samples.h"

namespace braid {

namespace {

using nlohmann::ordered_json;

void print_json(const ordered_json& object) {
    // Paths need not be UTF-8, JSON must.
    print_output(object.dump(2, ' ', false, ordered_json::error_handler_t::replace) + "\n");
}

void report_file(const std::string& path, const TokenFileSummary& made) {
    print_notice(fmt::format("{}: {} tokens, {} documents, {} bytes\n", path, made.num_tokens,
                             made.num_documents, made.num_bytes));
}

void add_build(Command data, CommandRun& action) {
    struct Options {
        BuildOptions build;
        ValidationSplit split;
        bool force = false;
    };
    auto options = std::make_shared<Options>();
    const Command command =
        data.subcommand("build", "Make a token file from text, JSON lines, or folders of them");
    command
        .option("INPUT", options->build.inputs,
                "Files and folders; - is standard input; .gz and .zst are unpacked")
        .required();
    command.option("-o,--output", options->build.output, "The token file to write").required();
    command.option("--tokenizer", options->build.tokenizer, "'bytes': ids are the bytes of the text")
        .show_default();
    command.flag("--force", options->force, "Replace output files that exist");
    command.option(
        "--format", options->build.documents.format,
        "auto (by name; standard input by how it starts), text or jsonl",
        {{"auto", InputFormat::automatic}, {"text", InputFormat::text}, {"jsonl", InputFormat::jsonl}});
    command
        .option("--text-field", options->build.documents.text_field,
                "JSON lines: the key that holds the text")
        .show_default();
    command.option("--document-start", options->build.documents.document_start,
                   "Text: a line whose start matches this regular expression starts a document (default: one "
                   "document per file)");
    command
        .option("--max-document-bytes", options->build.documents.max_document_bytes,
                "Refuse documents that are longer")
        .range(1, int64_t{1} << 40)
        .show_default();
    const Option output = command.option("--validation", options->split.output,
                                         "A second token file, of documents held out for validation");
    const Option fraction = command.option("--validation-fraction", options->split.fraction,
                                           "The share of the documents to hold out, between 0 and 1");
    output.needs(fraction);
    fraction.needs(output);
    command.callback([options, &action] {
        action = [options] {
            if (options->force) options->build.overwrite = Overwrite::yes;
            if (!options->split.output.empty()) options->build.validation = options->split;
            const BuildResult result = build_token_file(options->build);
            report_file(options->build.output, result.train);
            if (result.validation) report_file(options->split.output, *result.validation);
            return ExitCode::ok;
        };
    });
}

void add_synth(Command data, CommandRun& action) {
    struct Options {
        SyntheticOptions synthetic;
        std::string task;
        bool force = false;
    };
    auto options = std::make_shared<Options>();
    options->synthetic.documents = 20'000;
    options->synthetic.test_documents = 1'000;
    SyntheticOptions& made = options->synthetic;
    const Command command = data.subcommand(
        "synth", "Make a task with known answers (docs/data.md): a training file and one to test on");
    command.option("TASK", options->task, "recall, copy or parity")
        .required()
        .one_of({"recall", "copy", "parity"});
    command.option("-o,--output", made.output, "The token file to train on").required();
    command.option("--test", made.test_output, "The token file to test on").required();
    command.option("--length", made.length, "Tokens of a document").show_default();
    command.option("--pairs", made.pairs, "recall: pairs of a key and a value, at most 128").show_default();
    command.option("--symbols", made.symbols, "copy: how many different symbols there are").show_default();
    command.option("--documents", made.documents, "Documents to train on").show_default();
    command.option("--test-documents", made.test_documents, "Documents to test on").show_default();
    command.option("--seed", made.seed, "Other documents").show_default();
    command.flag("--force", options->force, "Replace output files that exist");
    command.callback([options, &action] {
        action = [options] {
            for (const auto task : {SyntheticTask::recall, SyntheticTask::copy, SyntheticTask::parity})
                if (to_string(task) == options->task) options->synthetic.task = task;
            if (options->force) options->synthetic.overwrite = Overwrite::yes;
            const SyntheticResult result = write_synthetic(options->synthetic);
            report_file(options->synthetic.output, result.train);
            report_file(options->synthetic.test_output, result.test);
            return ExitCode::ok;
        };
    });
}

void add_info(Command data, CommandRun& action) {
    struct Options {
        std::string file, validation;
        bool entropy = false, json = false;
    };
    auto options = std::make_shared<Options>();
    const Command command = data.subcommand("info", "Sizes, tokenizer and fingerprint of a token file");
    command.option("FILE", options->file).required();
    const Option entropy =
        command.flag("--entropy", options->entropy,
                     "Also the entropy of its bytes under Witten-Bell n-gram models, nats per byte");
    command
        .option("--validation", options->validation, "Measure the entropy on this token file instead of FILE")
        .needs(entropy);
    command.flag("--json", options->json, "Print one JSON object");
    command.callback([options, &action] {
        action = [options] {
            const TokenFile file(options->file);
            ordered_json info = token_file_info(file);
            if (options->entropy) {
                std::optional<TokenFile> validation;
                if (!options->validation.empty()) validation.emplace(options->validation);
                const TokenFile& measured = validation ? *validation : file;
                info["entropy"] = entropy_info(ngram_entropy(file, measured), measured);
            }
            options->json ? print_json(info) : print_output(to_lines(info));
            return ExitCode::ok;
        };
    });
}

void add_verify(Command data, CommandRun& action) {
    auto path = std::make_shared<std::string>();
    const Command command = data.subcommand("verify", "Read a whole token file and compare its fingerprint");
    command.option("FILE", *path).required();
    command.callback([path, &action] {
        action = [path] {
            const TokenFile file(*path);
            file.verify();
            print_output(fmt::format("{}: good, {} tokens, {} documents\n", *path, file.num_tokens(),
                                     file.num_documents()));
            return ExitCode::ok;
        };
    });
}

/// The samples of a run, whose folder or config is `path`, from `first` on; or, where a step is named, all
/// that it learns from.
ordered_json samples_of_run(const std::string& path, int64_t first, int64_t count, int64_t step) {
    const std::string config_path =
        std::filesystem::is_directory(path) ? (std::filesystem::path(path) / "config.yaml").string() : path;
    const RunConfig config = read_run_config(config_path);
    const LoaderOptions options{.sequence_length = config.train.sequence_length,
                                .vocab_size = config.model.vocab_size};
    TrainLoader loader(config.data, options);
    const SamplePosition position = follow_run(loader, config, config_path);
    const int64_t num_samples = position.sample_after(config.train.steps, config.train.global_batch);
    if (step > 0) {
        if (step <= position.first_step || step > config.train.steps)
            throw ConfigError("--step: {} has the steps {} to {}, found {}", path, position.first_step + 1,
                              config.train.steps, step);
        first = position.sample_after(step - 1, config.train.global_batch);
        count = config.train.global_batch;
    }
    if (first >= num_samples)
        throw ConfigError("--sample: {} draws the samples 0 to {}, found {}", config_path, num_samples - 1,
                          first);
    return show_samples(loader, first, std::min(count, num_samples - first));
}

void add_show(Command data, CommandRun& action) {
    struct Options {
        std::string file;
        int64_t document = 0, window = 0, sample = -1, step = 0, count = 5, sequence_length = 0;
        bool json = false;
    };
    auto options = std::make_shared<Options>();
    const Command command =
        data.subcommand("show", "Print documents, windows as training cuts them, or a run's samples");
    command
        .option("FILE", options->file,
                "A token file; with --sample or --step a run folder or the config of a run")
        .required();
    const Option document =
        command.option("--document", options->document, "The first document to show").range(0, INT64_MAX);
    const Option window =
        command.option("--window", options->window, "The first window to show").range(0, INT64_MAX);
    const Option length = command.option("--sequence-length", options->sequence_length, "Tokens in a window")
                              .range(1, INT64_MAX);
    window.needs(length);
    length.needs(window);
    document.excludes(window);
    const Option sample = command
                              .option("--sample", options->sample,
                                      "The first sample to show, counted from 0 over all steps of the run")
                              .range(0, INT64_MAX)
                              .excludes(document)
                              .excludes(window);
    const Option count =
        command.option("--count", options->count, "How many to show").range(1, INT64_MAX).show_default();
    command.option("--step", options->step, "Show all samples that this step of the run learns from")
        .range(1, INT64_MAX)
        .excludes(document)
        .excludes(window)
        .excludes(sample)
        .excludes(count);
    command.flag("--json", options->json, "Print a JSON list");
    command.callback([options, &action] {
        action = [options] {
            const ordered_json shown = [&] {
                if (options->sample >= 0 || options->step > 0)
                    return samples_of_run(options->file, options->sample, options->count, options->step);
                const TokenFile file(options->file);
                return options->sequence_length > 0
                           ? show_windows(file, options->sequence_length, options->window, options->count)
                           : show_documents(file, options->document, options->count);
            }();
            options->json ? print_json(shown) : print_output(to_text(shown));
            return ExitCode::ok;
        };
    });
}

} // namespace

void add_data_command(Command app, CommandRun& action) {
    const Command data = app.subcommand("data", "Build, check and look into token files");
    data.require_subcommand();
    add_build(data, action);
    add_synth(data, action);
    add_info(data, action);
    add_verify(data, action);
    add_show(data, action);
}

} // namespace braid
