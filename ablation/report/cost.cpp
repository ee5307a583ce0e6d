#include "ablation/report/cost.h"

#include <algorithm>
#include <filesystem>

#include "ablation/report/curve_json.h"

namespace braid::report {
namespace {

namespace fs = std::filesystem;

struct VariantCost {
    std::string id, label;
    int64_t runs = 0, tuning_runs = 0;
    RankHours judging, tuning;
};

std::string folder_name(const std::string& folder) {
    return fs::path(folder).lexically_normal().filename().string();
}

bool is_below(const std::string& folder, const std::string& parent) {
    return fs::path(folder).lexically_normal().parent_path() == fs::path(parent).lexically_normal();
}

/// The variants of the sweep as its verdict lists them.
std::vector<VariantCost> listed_variants(const Json& verdict) {
    std::vector<VariantCost> variants;
    if (!verdict.is_object() || !verdict.contains("variants") || !verdict["variants"].is_array())
        return variants;
    for (const Json& variant : verdict["variants"]) {
        if (!variant.is_object() || !variant.contains("id") || !variant["id"].is_string()) continue;
        VariantCost cost{.id = variant["id"], .label = variant["id"], .judging = {}, .tuning = {}};
        if (variant.contains("label") && variant["label"].is_string()) cost.label = variant["label"];
        variants.push_back(std::move(cost));
    }
    return variants;
}

/// The variant of a run of the sweep, whose folder is ID_sSEED, or ID_KEY-VALUE_sSEED where it tuned. The
/// longest name that fits, as one may begin another. Added where the verdict lists none.
VariantCost& variant_of(std::vector<VariantCost>& variants, const std::string& name, bool tuned) {
    VariantCost* best = nullptr;
    for (VariantCost& variant : variants)
        if (name.starts_with(variant.id + "_") && (!best || variant.id.size() > best->id.size()))
            best = &variant;
    if (best) return *best;
    std::string id = name.substr(0, name.rfind("_s"));
    // The tuned key may have underscores of its own, so that only a listed variant is found for certain.
    if (tuned) id = id.substr(0, id.rfind('_'));
    variants.push_back({.id = id, .label = id, .judging = {}, .tuning = {}});
    return variants.back();
}

/// The cost of a group of the page that no sweep holds; groups may have one label.
VariantCost& group_of(std::vector<VariantCost>& groups, size_t group, const std::string& label) {
    const std::string id = std::to_string(group);
    const auto found =
        std::find_if(groups.begin(), groups.end(), [&](const VariantCost& one) { return one.id == id; });
    if (found != groups.end()) return *found;
    groups.push_back({.id = id, .label = label, .judging = {}, .tuning = {}});
    return groups.back();
}

} // namespace

RankHours& RankHours::operator+=(const RankHours& other) {
    steps += other.steps;
    all += other.all;
    return *this;
}

RankHours rank_hours(const RunData& run) {
    RankHours hours{.steps = run.step_rank_hours()};
    if (run.record().is_object())
        for (const Json& start : run.record()["starts"])
            hours.all += number_of(start, "hours") * std::max(1.0, number_of(start, "ranks"));
    if (hours.all <= 0) hours.all = hours.steps;
    return hours;
}

Json cost_of(const RankHours& hours, double price) {
    Json cost = {{"rank_hours", hours.all}, {"step_rank_hours", hours.steps}};
    if (price > 0) cost["money"] = price * hours.all;
    return cost;
}

Json cost_json(const Report& report, const Json& data, double price) {
    std::vector<VariantCost> variants = listed_variants(report.verdict()), groups;
    RankHours total, tuning;
    for (size_t i = 0; i < report.runs().size(); ++i) {
        const RunData& run = *report.runs()[i];
        const bool of_sweep = !report.sweep().empty() && is_below(run.folder(), report.sweep() + "/runs");
        const size_t group = data["runs"][i]["group"];
        VariantCost& variant = of_sweep ? variant_of(variants, folder_name(run.folder()), false)
                                        : group_of(groups, group, data["groups"][group]["label"]);
        const RankHours hours = rank_hours(run);
        ++variant.runs;
        variant.judging += hours;
        total += hours;
    }
    for (const auto& run : report.tuning()) {
        VariantCost& variant = variant_of(variants, folder_name(run->folder()), true);
        const RankHours hours = rank_hours(*run);
        ++variant.tuning_runs;
        variant.tuning += hours;
        tuning += hours;
        total += hours;
    }
    RankHours trunks;
    for (const auto& run : report.trunks()) trunks += rank_hours(*run);
    total += trunks;
    variants.insert(variants.end(), groups.begin(), groups.end());
    Json cost = cost_of(total, price);
    if (price > 0) cost["price"] = price;
    cost["variants"] = Json::array();
    for (const VariantCost& variant : variants) {
        RankHours both = variant.judging;
        both += variant.tuning;
        Json one = {{"id", variant.id}, {"label", variant.label}, {"runs", variant.runs}};
        one.update(cost_of(both, price));
        if (!report.sweep().empty()) {
            one["tuning_runs"] = variant.tuning_runs;
            one["tuning"] = cost_of(variant.tuning, price);
        }
        cost["variants"].push_back(std::move(one));
    }
    if (!report.sweep().empty()) {
        cost["tuning"] = cost_of(tuning, price);
        cost["tuning"]["runs"] = report.tuning().size();
    }
    if (!report.trunks().empty()) {
        cost["trunks"] = cost_of(trunks, price);
        cost["trunks"]["runs"] = report.trunks().size();
    }
    return cost;
}

} // namespace braid::report
