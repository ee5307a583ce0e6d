#include "trainer/evaluator.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "parallel/agreement.h"
#include "parallel/collectives.h"
#include "trainer/batch.h"

namespace braid {

Evaluation evaluate(const Model& model, Allocator& allocator, Communicator& group,
                    const ValidationLoader& data, int64_t micro_batch) {
    const EvenSplit split{data.num_windows(), group.size()};
    const int64_t first = split.first(group.rank()), last = first + split.length(group.rank());
    const std::vector<Segment> segments = model.segments(false);
    Recorder recorder(model.moe_layers().size(), false);
    agree(group, [&] { // a bad token in one rank's windows must end all ranks
        for (int64_t at = first; at < last; at += micro_batch) {
            const Batch batch = to_tensors(allocator, data.micro_batch(at, std::min(micro_batch, last - at)));
            Context ctx;
            ctx.allocator = &allocator;
            ctx.recorder = &recorder;
            ctx.documents = batch.documents;
            ctx.labels = batch.labels;
            Values values = {batch.tokens};
            for (const Segment& segment : segments) values = segment.forward(ctx, values, nullptr);
        }
    });
    std::vector<double> nats = {recorder.cross_entropy};
    all_reduce_sum(group, std::span(nats));
    const int64_t labels = data.num_valid_labels(0, data.num_windows());
    const double bytes = data.num_label_bytes(0, data.num_windows());
    return {labels > 0 ? nats[0] / static_cast<double>(labels) : 0,
            bytes > 0 ? nats[0] / std::numbers::ln2 / bytes : 0};
}

} // namespace braid
