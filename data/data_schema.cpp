#include "data/data_schema.h"

namespace braid {

namespace {

const Schema<DataSource>& source_schema() {
    static const Schema<DataSource> schema =
        Schema<DataSource>()
            .key("path", &DataSource::path,
                 {.help = "a token file, relative to the working directory",
                  .required = true,
                  .aliases = {"data_path", "dataset_path"}})
            .key("weight", &DataSource::weight,
                 {.help = "share of the samples, relative to the other files", .above = 0, .max = 1e9})
            .example("{path: train.h5}");
    return schema;
}

const Schema<ValidationSet>& validation_schema() {
    static const Schema<ValidationSet> schema =
        Schema<ValidationSet>()
            .key("path", &ValidationSet::path,
                 {.help = "a token file", .required = true, .changes_numbers = false})
            .example("{path: valid.h5}");
    return schema;
}

void check_skip(const DataConfig& data, SectionCheck& check) {
    int64_t before = 0;
    for (const auto& [first, last] : data.skip) {
        if (last < first)
            return check.fail(
                "skip", fmt::format("expected a first step and a later last, found [{}, {}]", first, last));
        if (first < before)
            return check.fail("skip", fmt::format("expected first steps in rising order, found {} behind {}",
                                                  first, before));
        before = first;
    }
}

} // namespace

const Schema<DataConfig>& data_schema() {
    using D = DataConfig;
    static const Schema<D> schema =
        Schema<D>()
            .list("train", &D::train, source_schema(),
                  {.help = "the files to train on",
                   .required = true,
                   .aliases = {"train_data_path", "dataset"},
                   .example = "[{path: train.h5}]"})
            .map("validation", &D::validation, validation_schema(),
                 {.help = "sets to evaluate on; NAME is in the metrics, as eval/NAME/loss",
                  .aliases = {"valid_data_path", "eval_dataset"},
                  .changes_numbers = false,
                  .example = "{web: {path: valid.h5}}"})
            .key("packing", &D::packing,
                 {.help = "documents follow each other in a sequence, and nothing crosses a border",
                  .aliases = {"reset_attention_mask", "reset_position_ids"}})
            .key("seed", &D::seed, {.help = "order of the samples", .default_text = "seed"})
            .key(
                "skip", &D::skip,
                {.help = "steps, first and last, whose batches are left out: the data behind them move up; a "
                         "run may go on with further ones from a checkpoint before them",
                 .min = 1,
                 .max = 1e12,
                 .aliases = {"skip_batches", "iterations_to_skip"},
                 .example = "[[500, 510]]"})
            .example("{train: [{path: train.h5}]}")
            .rule("data.train names at least one file",
                  [](const D& data, SectionCheck& check) {
                      if (data.train.empty())
                          check.fail("train", "expected at least one file, found an empty list");
                  })
            .rule("the ranges of data.skip begin at most where they end, in the order of their first steps",
                  check_skip, {"skip"});
    return schema;
}

} // namespace braid
