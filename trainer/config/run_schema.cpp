#include "trainer/config/run_schema.h"

#include "data/data_schema.h"
#include "layers/specification/model_schema.h"
#include "layers/specification/pattern.h"
#include "optim/optimizer_schema.h"
#include "parallel/parallel_schema.h"
#include "trainer/config/resolve_run.h"

namespace braid {

namespace {

constexpr double kMaxSteps = 1e12, kMaxTokenCount = 1e18, kMaxLength = 16'777'216;

const Schema<StartConfig>& start_schema() {
    using S = StartConfig;
    static const auto branches = [](const S& start) { return start.mode == StartMode::branch; };
    static const Schema<S> schema =
        Schema<S>()
            .key("from", &S::from,
                 {.help = "a run folder (its newest checkpoint that verifies) or a checkpoint; resolved "
                          "once, into "
                          "run.json, and not needed any more when this run has a checkpoint of its own",
                  .required = true,
                  .aliases = {"load", "load_path", "init_from", "checkpoint", "resume_from_checkpoint",
                              "pretrained_checkpoint"}})
            .key("mode", &S::mode,
                 {.help = "branch goes on with its steps, moments and data, under another schedule, data or "
                          "batch; weights "
                          "takes its weights alone and starts at step 0",
                  .required = true,
                  .synonyms =
                      "finetune=weights fine-tune=weights warm_start=weights continue=branch resume=branch"})
            .key("missing", &S::missing,
                 {.help = "mode weights: tensors that the checkpoint lacks",
                  .synonyms = "init=random keep=random"})
            .key("surplus", &S::surplus,
                 {.help = "mode weights: tensors that the model lacks", .synonyms = "ignore=drop skip=drop"})
            .key("map", &S::map,
                 {.help = "mode weights: a name or prefix in the model: that in the checkpoint, as "
                          "{layers.4: layers.3}"})
            .pointless("missing", "start.mode is branch", branches)
            .pointless("surplus", "start.mode is branch", branches)
            .pointless("map", "start.mode is branch", branches)
            .example("{from: runs/stable, mode: branch}");
    return schema;
}

const Schema<TrainConfig>& train_schema() {
    using T = TrainConfig;
    static const Schema<T> schema =
        Schema<T>()
            .key("steps", &T::steps,
                 {.help = "optimizer steps, counted from 1; the schedule counts to it; required unless "
                          "tokens is given",
                  .min = 1,
                  .max = kMaxSteps,
                  .default_text = "none",
                  .aliases = {"train_iters", "max_steps", "num_steps", "training_steps"}})
            .count("tokens", {.help = "steps in tokens, rounded up",
                              .min = 1,
                              .max = kMaxTokenCount,
                              .counts_tokens = true,
                              .aliases = {"train_tokens", "max_tokens"}})
            .key("stop_at", &T::stop_at,
                 {.help = "save and stop after this step; 0 means run to the end",
                  .min = 0,
                  .max = kMaxSteps,
                  .aliases = {"exit_interval", "hard_stop"},
                  .changes_numbers = false})
            .key("sequence_length", &T::sequence_length,
                 {.help = "tokens per sequence",
                  .min = 1,
                  .max = kMaxLength,
                  .required = true,
                  .aliases = {"seq_length", "seq_len", "max_sequence_length", "max_seq_len", "block_size",
                              "max_position_embeddings"}})
            .key("global_batch", &T::global_batch,
                 {.help = "sequences per step over all ranks; required unless global_batch_tokens is given",
                  .min = 1,
                  .max = kMaxLength,
                  .default_text = "none",
                  .aliases = {"global_batch_size", "batch_size"}})
            .count("global_batch_tokens", {.help = "global_batch in tokens; a multiple of sequence_length",
                                           .min = 1,
                                           .max = kMaxTokenCount,
                                           .counts_tokens = true})
            .key("micro_batch", &T::micro_batch,
                 {.help = "most sequences that a rank runs at once",
                  .min = 1,
                  .max = kMaxLength,
                  .default_text = "global_batch",
                  .aliases = {"micro_batch_size", "local_batch_size", "device_batch_size",
                              "rank_microbatch_size", "device_train_microbatch_size",
                              "train_micro_batch_size_per_gpu"},
                  .changes_numbers = false})
            .key("precision", &T::precision,
                 {.help = "what is computed in; bf16 keeps weights, their gradients and moments, norms and "
                          "states in f32",
                  .aliases = {"dtype", "params_dtype", "fp32", "mixed_precision_param"},
                  .synonyms = "fp32=f32 float32=f32 float=f32 single=f32 32=f32 fp16=bf16 f16=bf16 "
                              "float16=bf16 half=bf16 16=bf16 mixed=bf16 bfloat=bf16 fp64=f64 float64=f64 "
                              "double=f64"})
            .key("device", &T::device,
                 {.help = "where the arithmetic runs; auto is cuda where every rank of a machine has a GPU",
                  .changes_numbers = false,
                  .synonyms = "gpu=cuda nvidia=cuda cuda0=cuda"})
            .key("recompute", &T::recompute,
                 {.help = "what the backward pass computes again instead of keeping",
                  .aliases = {"recompute_granularity", "recompute_modules", "activation_checkpoint",
                              "activation_checkpointing", "gradient_checkpointing"},
                  .changes_numbers = false,
                  .synonyms = "full=layers all=layers selective=layers true=layers false=none"})
            .key("freeze", &T::freeze,
                 {.help = "global parameter names, * and ? standing for any text and character, that are "
                          "held still: no "
                          "update, no decay, no moments, no part in the gradient norm",
                  .aliases = {"freeze_modules", "frozen", "freeze_parameters"}})
            .key(
                "threads", &T::threads,
                {.help = "threads per rank; auto is OMP_NUM_THREADS, else a rank's share of the node's cores",
                 .min = 1,
                 .max = 4096,
                 .zero_word = "auto",
                 .aliases = {"num_threads"},
                 .changes_numbers = false})
            .example("{steps: 400, sequence_length: 512, global_batch: 16}");
    return schema;
}

const Schema<CheckpointConfig>& checkpoint_schema() {
    using C = CheckpointConfig;
    static const Schema<C> schema = Schema<C>()
                                        .key("every", &C::every,
                                             {.help = "steps between checkpoints; 0 means only the last step",
                                              .min = 0,
                                              .max = kMaxSteps,
                                              .aliases = {"save_interval", "interval"},
                                              .changes_numbers = false})
                                        .key("keep", &C::keep,
                                             {.help = "newest checkpoints that stay; 0 means all",
                                              .min = 0,
                                              .max = 1e9,
                                              .aliases = {"keep_latest_k", "keep_last_k", "save_total_limit"},
                                              .changes_numbers = false})
                                        .not_built({"async", "async_mode", "async_save"})
                                        .example("{every: 100, keep: 3}");
    return schema;
}

const Schema<TaskConfig>& task_schema() {
    static const Schema<TaskConfig> schema =
        Schema<TaskConfig>()
            .key("path", &TaskConfig::path,
                 {.help = "JSON lines {\"context\": TEXT, \"choices\": [TEXT, ...], \"answer\": NUMBER}, "
                          "the answer counted from 0",
                  .required = true,
                  .changes_numbers = false})
            .key("items", &TaskConfig::items,
                 {.help = "the first this many; 0 means all",
                  .min = 0,
                  .max = 1e9,
                  .aliases = {"limit", "num_examples"},
                  .changes_numbers = false})
            .example("{path: questions.jsonl}");
    return schema;
}

const Schema<EvalConfig>& eval_schema() {
    using E = EvalConfig;
    static const Schema<E> schema =
        Schema<E>()
            .key("every", &E::every,
                 {.help = "steps between evaluations; 0 means none",
                  .min = 0,
                  .max = kMaxSteps,
                  .aliases = {"eval_interval", "eval_steps", "eval_freq"},
                  .changes_numbers = false})
            .key("tokens", &E::tokens,
                 {.help = "labels per validation set; 0 means the whole set",
                  .min = 0,
                  .max = kMaxTokenCount,
                  .counts_tokens = true,
                  .aliases = {"eval_iters"},
                  .changes_numbers = false})
            .key("at_start", &E::at_start,
                 {.help = "evaluate before the first step", .changes_numbers = false})
            .map("tasks", &E::tasks, task_schema(),
                 {.help = "questions with choices; NAME is in the metrics, as task/NAME/accuracy",
                  .aliases = {"downstream_tasks", "lm_eval"},
                  .changes_numbers = false,
                  .example = "{arithmetic: {path: questions.jsonl}}"})
            .key("prompts", &E::prompts,
                 {.help = "texts to continue at each evaluation, into samples.jsonl",
                  .aliases = {"sample_prompts"},
                  .changes_numbers = false,
                  .example = "[\"Once upon a time\"]"})
            .key("prompt_tokens", &E::prompt_tokens,
                 {.help = "tokens of each continuation", .min = 1, .max = 65536, .changes_numbers = false})
            .key("prompt_temperature", &E::prompt_temperature,
                 {.help = "of the draws; 0 means the likeliest token each time",
                  .min = 0,
                  .max = 100,
                  .changes_numbers = false})
            .pointless("prompt_tokens", "eval.prompts is empty",
                       [](const E& eval) { return eval.prompts.empty(); })
            .pointless("prompt_temperature", "eval.prompts is empty",
                       [](const E& eval) { return eval.prompts.empty(); })
            .example("{every: 100, tokens: 65536}");
    return schema;
}

const Schema<LogConfig>& log_schema() {
    using L = LogConfig;
    static const Schema<L> schema =
        Schema<L>()
            .key("every", &L::every,
                 {.help = "steps between lines of metrics.jsonl",
                  .min = 1,
                  .max = kMaxSteps,
                  .aliases = {"log_interval", "log_freq", "logging_steps"},
                  .changes_numbers = false})
            .key("layers_every", &L::layers_every,
                 {.help = "steps between records of layers.jsonl; 0 means none",
                  .min = 0,
                  .max = kMaxSteps,
                  .changes_numbers = false})
            .key("tensorboard", &L::tensorboard,
                 {.help = "write TensorBoard events",
                  .aliases = {"enable_tensorboard", "tensorboard_dir"},
                  .changes_numbers = false})
            .key("profile", &L::profile,
                 {.help = "write time and FLOP/s per operation and layer, and a Chrome trace",
                  .aliases = {"enable_profiling", "use_pytorch_profiler"},
                  .changes_numbers = false})
            .example("{every: 1, layers_every: 50}");
    return schema;
}

} // namespace

const Schema<RunConfig>& run_schema() {
    using R = RunConfig;
    static const Schema<R> schema =
        Schema<R>()
            .documented(
                "extends", "path",
                "a file that this one changes, relative to this one: maps merge, lists replace, null deletes")
            .key("name", &R::name,
                 {.help = "of the run and its folder; may hold keys, as in "
                          "\"nano-{model.norm.placement}-s{seed}\"",
                  .default_text = "the file's name",
                  .aliases = {"run_name", "experiment_name", "exp_name"},
                  .changes_numbers = false})
            .key("run_dir", &R::run_dir,
                 {.help = "the run folder",
                  .default_text = "runs/NAME",
                  .aliases = {"save", "save_folder", "dump_folder", "output_dir"},
                  .changes_numbers = false})
            .key("seed", &R::seed,
                 {.help = "of the initial weights; data.seed defaults to it", .aliases = {"init_seed"}})
            .section("start", &R::start, start_schema(), "another run's checkpoint to start from")
            .section("model", &R::model, model_schema(), "the model", true)
            .section("parallel", &R::parallel, parallel_schema(), "how ranks share the work")
            .section("train", &R::train, train_schema(), "the training loop", true)
            .section("optimizer", &R::optimizer, optimizer_schema(), "the optimizer")
            .section("data", &R::data, data_schema(), "what it trains and evaluates on", true)
            .section("checkpoint", &R::checkpoint, checkpoint_schema(), "when state is saved")
            .section("eval", &R::eval, eval_schema(), "when validation sets are evaluated")
            .section("log", &R::log, log_schema(), "what is reported")
            .not_built({"moe", "sweep"})
            .pointless("start", "start.from is empty", [](const R& run) { return run.start.from.empty(); })
            .finish(resolve_counts, {"train", "optimizer"})
            .finish(resolve_run)
            .rule(
                "train.steps and train.tokens are alternatives, as are global_batch and global_batch_tokens",
                nullptr)
            .rule("train.stop_at is at most train.steps; warm-up and decay fit into train.steps", check_steps,
                  {"train", "optimizer"})
            .rule("eval.every and eval.at_start need a set in data.validation, eval.tasks or eval.prompts",
                  check_eval, {"data", "eval"})
            .rule("data.skip names steps of the run, and with them it stays within 2^60 tokens",
                  check_skipped, {"data", "train"})
            .rule("the sublayers and layers that optimizer.groups names exist", check_groups,
                  {"model", "optimizer"});
    return schema;
}

const SchemaDocs& run_docs() {
    static const SchemaDocs docs = [] {
        SchemaDocs all;
        run_schema().describe("", all);
        return all;
    }();
    return docs;
}

} // namespace braid
