#include <fmt/format.h>

#include <array>
#include <cmath>

#include "ablation/report/report.h"
#include "base/error.h"

namespace braid::report {
namespace {

using Row = std::vector<std::string>;

std::string shown(const Json& value, const char* form) {
    if (value.is_number()) return fmt::format(fmt::runtime(form), value.get<double>());
    return value.is_string() ? value.get<std::string>() : value.is_null() ? "" : value.dump();
}

/// A value of an object; null where there is none.
Json at(const Json& object, const std::string& key) {
    return object.is_object() && object.contains(key) ? object[key] : Json();
}

/// Rows of the final numbers behind a row of heads. The fields of evaluations are those of any run.
std::vector<Row> final_rows(const Json& data, bool all_digits) {
    std::vector<std::string> evals;
    for (const Json& run : data["runs"])
        for (const auto& [name, value] : run["final"].items())
            if ((name.starts_with("eval/") || name.starts_with("task/")) &&
                std::find(evals.begin(), evals.end(), name) == evals.end())
                evals.push_back(name);
    std::vector<Row> rows(1, Row{"run", "status", "seed", "step", "loss", "eval_loss"});
    rows[0].insert(rows[0].end(), evals.begin(), evals.end());
    for (const char* name : {"tokens", "flops", "hours", "tokens_per_second", "total_parameters",
                             "active_parameters", "rank_hours", "step_rank_hours"})
        rows[0].push_back(name);
    const bool priced = at(at(data, "cost"), "price").is_number();
    if (priced) rows[0].push_back("money");
    const char* const loss = all_digits ? "{}" : "{:.4f}";
    const char* const large = all_digits ? "{}" : "{:.4g}";
    for (const Json& run : data["runs"]) {
        const Json& final = run["final"];
        Row row{run["name"],
                run["status"],
                run["seed"],
                shown(run["step"], "{:.0f}"),
                shown(at(final, "loss"), loss),
                shown(at(final, "eval_loss"), loss)};
        for (const std::string& name : evals) row.push_back(shown(at(final, name), loss));
        row.push_back(shown(run["tokens"], large)), row.push_back(shown(run["flops"], large));
        row.push_back(shown(run["hours"], large)),
            row.push_back(shown(at(final, "tokens_per_second"), large));
        row.push_back(shown(at(run, "total_parameters"), "{:.0f}"));
        row.push_back(shown(at(run, "active_parameters"), "{:.0f}"));
        row.push_back(shown(at(run, "rank_hours"), large));
        row.push_back(shown(at(run, "step_rank_hours"), large));
        if (priced) row.push_back(shown(at(run, "money"), all_digits ? "{}" : "{:.2f}"));
        rows.push_back(std::move(row));
    }
    return rows;
}

/// Rows of the variants of a sweep behind a row of heads; none without a verdict.
std::vector<Row> verdict_rows(const Json& data) {
    const Json variants = at(data["verdict"], "variants");
    if (!variants.is_array()) return {};
    std::vector<Row> rows{{"variant", "mean", "difference", "low", "high", "p", "verdict"}};
    for (const Json& variant : variants) {
        const Json difference = at(variant, "difference");
        const Json label = at(variant, "label");
        rows.push_back(
            {shown(label.is_null() ? at(variant, "id") : label, "{}"), shown(at(variant, "mean"), "{:.4f}"),
             shown(at(difference, "estimate"), "{:+.4f}"), shown(at(difference, "low"), "{:+.4f}"),
             shown(at(difference, "high"), "{:+.4f}"), shown(at(difference, "p"), "{:.3g}"),
             at(variant, "is_reference") == true ? "reference" : shown(at(difference, "verdict"), "{}")});
    }
    return rows;
}

/// All that is known of the variants of a sweep, with all digits, behind a row of heads; none without a
/// verdict.
std::vector<Row> verdict_csv_rows(const Json& data) {
    const Json variants = at(data["verdict"], "variants");
    if (!variants.is_array()) return {};
    std::vector<Row> rows{{"variant", "label", "mean", "difference", "low", "high", "p", "verdict", "seeds",
                           "diverged", "seeds_needed", "rate"}};
    for (const Json& variant : variants) {
        const Json difference = at(variant, "difference"), by_seed = at(variant, "by_seed");
        Row row{shown(at(variant, "id"), "{}"), shown(at(variant, "label"), "{}"),
                shown(at(variant, "mean"), "{}")};
        for (const char* key : {"estimate", "low", "high", "p"})
            row.push_back(shown(at(difference, key), "{}"));
        row.push_back(at(variant, "is_reference") == true ? "reference"
                                                          : shown(at(difference, "verdict"), "{}"));
        row.push_back(by_seed.is_object() ? std::to_string(by_seed.size()) : "");
        row.push_back(shown(at(variant, "diverged"), "{:.0f}"));
        row.push_back(shown(at(difference, "seeds_needed"), "{:.0f}"));
        row.push_back(shown(at(variant, "rate"), "{}"));
        rows.push_back(std::move(row));
    }
    return rows;
}

/// What variants cost and all of it, of a sweep tuning too, behind a row of heads.
std::vector<Row> cost_rows(const Json& data, bool all_digits) {
    const Json cost = at(data, "cost"), variants = at(cost, "variants");
    if (!variants.is_array()) return {};
    const bool tuned = at(cost, "tuning").is_object(), priced = at(cost, "price").is_number();
    if (!tuned && data["runs"].size() < 2) return {}; // the run's row says it
    const char* const large = all_digits ? "{}" : "{:.4g}";
    std::vector<Row> rows{{"variant", "runs", "rank_hours", "step_rank_hours"}};
    if (tuned) rows[0].insert(rows[0].end(), {"tuning_runs", "tuning_rank_hours"});
    if (priced) rows[0].push_back("money");
    const auto add = [&](const Json& label, const Json& runs, const Json& tuning_runs, const Json& of) {
        Row row{shown(label, "{}"), shown(runs, "{:.0f}"), shown(at(of, "rank_hours"), large),
                shown(at(of, "step_rank_hours"), large)};
        if (tuned) {
            row.push_back(shown(tuning_runs, "{:.0f}"));
            row.push_back(shown(at(at(of, "tuning"), "rank_hours"), large));
        }
        if (priced) row.push_back(shown(at(of, "money"), all_digits ? "{}" : "{:.2f}"));
        rows.push_back(std::move(row));
    };
    for (const Json& one : variants) add(at(one, "label"), at(one, "runs"), at(one, "tuning_runs"), one);
    if (const Json trunks = at(cost, "trunks"); trunks.is_object())
        add("steps in common", trunks["runs"], nullptr, trunks);
    add("total", data["runs"].size(), at(at(cost, "tuning"), "runs"), cost);
    return rows;
}

std::string escaped(const std::string& text, std::string_view special, const std::string& before) {
    std::string result;
    for (const char c : text) {
        if (c == '\n' || c == '\r') {
            result += ' ';
            continue;
        }
        if (special.find(c) != std::string_view::npos) result += before;
        result += c;
    }
    return result;
}

std::string markdown_table(const std::vector<Row>& rows) {
    std::string text;
    for (size_t i = 0; i < rows.size(); ++i) {
        for (const std::string& cell : rows[i]) text += "| " + escaped(cell, "|\\`*_<>[]", "\\") + " ";
        text += "|\n";
        if (i > 0) continue;
        for (size_t k = 0; k < rows[0].size(); ++k) text += "|---";
        text += "|\n";
    }
    return text;
}

std::string tex_cell(const std::string& cell) {
    std::string text;
    for (const char c : cell) switch (c) {
            case '\\':
                text += "\\textbackslash{}";
                break;
            case '~':
                text += "\\textasciitilde{}";
                break;
            case '^':
                text += "\\textasciicircum{}";
                break;
            case '\n':
            case '\r':
                text += ' ';
                break;
            default:
                if (std::string_view("&%$#_{}").find(c) != std::string_view::npos) text += '\\';
                text += c;
        }
    return text;
}

std::string tex_table(const std::vector<Row>& rows) {
    std::string text =
        fmt::format("\\begin{{tabular}}{{l{}}}\n\\toprule\n", std::string(rows[0].size() - 1, 'r'));
    for (size_t i = 0; i < rows.size(); ++i) {
        for (size_t k = 0; k < rows[i].size(); ++k) text += (k ? " & " : "") + tex_cell(rows[i][k]);
        text += i == 0 ? " \\\\\n\\midrule\n" : " \\\\\n";
    }
    return text + "\\bottomrule\n\\end{tabular}\n";
}

std::string csv_table(const std::vector<Row>& rows) {
    std::string text;
    for (const Row& row : rows) {
        for (size_t k = 0; k < row.size(); ++k) {
            // A spreadsheet takes a text that begins so for a formula.
            std::string cell = row[k];
            const bool number =
                !cell.empty() && cell.find_first_not_of("+-.eE0123456789") == std::string::npos;
            if (!cell.empty() && std::string_view("=+-@\t").find(cell[0]) != std::string_view::npos &&
                !number)
                cell.insert(cell.begin(), '\'');
            if (cell.find_first_of(",\"\n\r") != std::string::npos)
                cell = fmt::format("\"{}\"", escaped(cell, "\"", "\""));
            if (k > 0) text += ',';
            text += cell;
        }
        text += "\n";
    }
    return text;
}

} // namespace

std::string to_markdown(const Json& data) {
    const std::vector<Row> verdicts = verdict_rows(data);
    std::string text;
    for (const Json& warning : data["warnings"]) text += "> " + escaped(warning, "<>", "\\") + "\n";
    if (!text.empty()) text += "\n";
    if (!verdicts.empty()) text += markdown_table(verdicts) + "\n";
    text += markdown_table(final_rows(data, false));
    const std::vector<Row> cost = cost_rows(data, false);
    return cost.empty() ? text : text + "\n" + markdown_table(cost);
}

std::vector<CsvTable> to_csv(const Json& data) {
    std::vector<CsvTable> tables{{"", csv_table(final_rows(data, true))}};
    const std::vector<Row> verdicts = verdict_csv_rows(data);
    if (!verdicts.empty()) tables.push_back({"-verdicts", csv_table(verdicts)});
    const std::vector<Row> cost = cost_rows(data, true);
    // Runs that no sweep holds have what they cost in their own rows.
    if (!cost.empty() && at(at(data, "cost"), "tuning").is_object())
        tables.push_back({"-cost", csv_table(cost)});
    return tables;
}

std::string to_tex(const Json& data) {
    const std::vector<Row> verdicts = verdict_rows(data);
    std::string text = "% \\usepackage{booktabs}\n";
    if (!verdicts.empty()) text += tex_table(verdicts) + "\n";
    text += tex_table(final_rows(data, false));
    const std::vector<Row> cost = cost_rows(data, false);
    return cost.empty() ? text : text + "\n" + tex_table(cost);
}

} // namespace braid::report
