#include "data/windows.h"

#include <algorithm>
#include <vector>

#include "base/error.h"

namespace braid {

Windows::Windows(const std::string& path, int64_t sequence_length, int extra_depths)
    : file_(path), sequence_length_(sequence_length), extra_depths_(extra_depths) {
    check(sequence_length >= 1 && extra_depths >= 0, "windows of {} tokens and {} extra depths",
          sequence_length, extra_depths);
}

template <typename Visit>
void Windows::visit_documents(int64_t window, const Visit& visit) const {
    check(window >= 0 && window < num_all(), "{}: window {} of {}", file_.path(), window, num_all());
    const std::vector<int64_t>& offsets = file_.document_offsets();
    const int64_t first = window * sequence_length_,
                  last = std::min(first + sequence_length_, file_.num_tokens());
    auto next = std::upper_bound(offsets.begin(), offsets.end(), first); // the end of the first document
    for (int64_t begin = first; begin < last; ++next) {
        if (*next == begin) continue; // an empty document
        const int64_t end = std::min(*next, last);
        visit(static_cast<size_t>(next - offsets.begin() - 1), begin, end);
        begin = end;
    }
}

void Windows::append(int64_t window, MicroBatch* batch) const {
    const int64_t first = window * sequence_length_;
    const int64_t available = std::min(sequence_length_ + 1 + extra_depths_, file_.num_tokens() - first);
    check(available > 0, "{}: window {} of {}", file_.path(), window, num_all());
    std::vector<int32_t> tokens(static_cast<size_t>(sequence_length_ + 1 + extra_depths_), 0);
    file_.read(first, std::span(tokens).first(static_cast<size_t>(available)));
    std::vector<uint8_t> counts(tokens.size(), 0);
    file_.read_mask(first, std::span(counts).first(static_cast<size_t>(available)));

    const auto base = static_cast<int64_t>(batch->tokens.size());
    batch->tokens.insert(batch->tokens.end(), tokens.begin(), tokens.begin() + sequence_length_);
    batch->labels.resize(static_cast<size_t>(base + sequence_length_), -1);
    for (auto& labels : batch->extra_labels) labels.resize(static_cast<size_t>(base + sequence_length_), -1);

    visit_documents(window, [&](size_t document, int64_t begin, int64_t end) {
        for (int depth = 1; depth <= 1 + extra_depths_; ++depth) {
            std::vector<int32_t>& labels =
                depth == 1 ? batch->labels : batch->extra_labels[static_cast<size_t>(depth - 2)];
            const int64_t stop = std::min(end, document_end(document) - depth);
            for (int64_t at = begin; at < stop; ++at) {
                const auto ahead = static_cast<size_t>(at - first + depth);
                if (!counts[ahead]) continue;
                labels[static_cast<size_t>(base + at - first)] = tokens[ahead];
                batch->num_valid_labels += depth == 1;
            }
        }
        batch->document_offsets.push_back(static_cast<int32_t>(base + end - first));
    });
    if (available < sequence_length_) // the filling is a document of its own
        batch->document_offsets.push_back(static_cast<int32_t>(base + sequence_length_));
    ++batch->num_sequences;
}

int64_t Windows::num_valid_labels(int64_t window, int depth) const {
    int64_t count = 0;
    visit_documents(window, [&](size_t document, int64_t begin, int64_t end) {
        const int64_t stop = std::min(end, document_end(document) - depth);
        if (stop > begin) count += num_counted(begin + depth, stop + depth);
    });
    return count;
}

int64_t Windows::num_counted(int64_t begin, int64_t end) const {
    if (!file_.summary().has_loss_mask) return end - begin;
    std::vector<uint8_t> counts(static_cast<size_t>(end - begin));
    file_.read_mask(begin, counts);
    return std::count(counts.begin(), counts.end(), 1);
}

double Windows::num_label_bytes(int64_t window) const {
    double bytes = 0;
    visit_documents(window, [&](size_t document, int64_t begin, int64_t end) {
        const int64_t stop = std::min(end, document_end(document) - 1);
        const int64_t count = stop > begin ? num_counted(begin + 1, stop + 1) : 0;
        const int64_t document_tokens = document_end(document) - file_.document_offsets()[document];
        bytes += static_cast<double>(count) * (static_cast<double>(file_.document_bytes()[document]) /
                                               static_cast<double>(document_tokens));
    });
    return bytes;
}

} // namespace braid
