#include "trainer/training/evaluator.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "parallel/agreement.h"
#include "parallel/collectives.h"
#include "trainer/training/batch.h"

namespace braid {

Evaluation evaluate(const Model& model, Allocator& allocator, const Mesh& mesh,
                    const std::shared_ptr<const ValidationLoader>& data, int64_t micro_batch,
                    const StopRequested& stop_requested) {
    const auto [num_ranks, rank] = mesh.grid().data;
    const EvenSplit split{data->num_windows(), num_ranks};
    const int64_t first = split.first(rank), last = first + split.length(rank);
    const std::vector<LayerSegment> segments = model.segments(false);
    Recorder recorder(model.moe_layers().size(), false);
    // As many micro-batches on every rank, for ranks that share experts.
    const int64_t most = (data->num_windows() + num_ranks - 1) / num_ranks;
    for (int64_t at = first; at < first + most; at += micro_batch) {
        Batch batch;
        agree(mesh.world(), [&] { // a bad token in one rank's windows must end all ranks
            if (stop_requested && stop_requested()) throw Error(ExitCode::stopped, "stopped by a signal");
            const int64_t count = std::clamp<int64_t>(last - at, 0, micro_batch);
            const MicroBatch windows =
                count > 0 ? interruptible([data, at, count] { return data->micro_batch(at, count); },
                                          stop_requested)
                          : empty_micro_batch();
            expect_tokens_in_vocabulary(windows, model.config().vocab_size);
            batch = to_tensors(allocator, windows);
        });
        LayerContext ctx;
        ctx.allocator = &allocator;
        ctx.recorder = &recorder;
        ctx.mesh = &mesh;
        ctx.documents = batch.documents;
        Values values = {batch.tokens};
        for (const LayerSegment& segment : segments) {
            if (&segment == &segments.back()) values.push_back(batch.labels);
            values = segment.forward(ctx, values, nullptr);
        }
    }
    recorder.settle();
    std::vector<double> nats = {recorder.cross_entropy};
    all_reduce_sum(mesh.world(), std::span(nats));
    const int64_t labels = data->num_valid_labels(0, data->num_windows());
    const double bytes = data->num_label_bytes(0, data->num_windows());
    return {labels > 0 ? nats[0] / static_cast<double>(labels) : 0,
            bytes > 0 ? nats[0] / std::numbers::ln2 / bytes : 0};
}

} // namespace braid
