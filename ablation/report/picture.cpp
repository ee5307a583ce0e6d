#include <fmt/format.h>
#include <sys/wait.h>

#include <array>
#include <cmath>
#include <cstdio>
#include <memory>

#include "ablation/report/curve_json.h"
#include "ablation/report/report.h"
#include "base/atomic_file.h"
#include "base/error.h"

namespace braid::report {
namespace {

constexpr std::array<const char*, 8> kColours = {"#0072b2", "#d55e00", "#009e73", "#cc79a7",
                                                 "#e69f00", "#56b4e9", "#882255", "#666666"};
constexpr const char* kHead = R"(set border 3 lc rgb '#555555'
set tics nomirror textcolor rgb '#333333'
set grid ytics lc rgb '#e4e4e4' lt 1
set xlabel 'training tokens (millions)'
set ylabel 'loss (nats per token)'
set key outside right top
)";

/// A text in single quotes, for a key that takes no markup.
std::string quoted(const std::string& text) {
    std::string result = "'";
    for (const char c : text) {
        if (c == '\'')
            result += "''";
        else
            result += static_cast<unsigned char>(c) < ' ' ? ' ' : c;
    }
    return result + "'";
}

} // namespace

void draw_losses(const Json& data, ReportFormat format, const std::string& path) {
    AtomicOutput output(path, Overwrite::yes);
    std::string script = format == ReportFormat::svg
                             ? "set terminal svg size 1280,800 noenhanced font 'DejaVu Sans,15'\n"
                             : "set terminal pngcairo size 1280,800 noenhanced font 'DejaVu Sans,15'\n";
    script += "set output " + quoted(output.path()) + "\n" + kHead;
    std::string plots, points;
    for (const Json& run : data["runs"]) {
        const char* const colour = kColours[run["group"].get<size_t>() % kColours.size()];
        const TokenAxis axis(run["axis"]);
        const std::string field = run["curves"].contains("eval_loss") ? "eval_loss" : "loss";
        for (const std::string& name : {std::string("loss"), field}) {
            if (!run["curves"].contains(name) ||
                (name == "loss" && field != "loss" && data["runs"].size() > 8))
                continue;
            const Json& curve = run["curves"][name];
            plots += fmt::format("{} '-' using 1:2 with lines lc rgb '{}' lw {} {}",
                                 plots.empty() ? "plot" : ",", colour, name == field ? 2.5 : 0.7,
                                 name == field ? "title " + quoted(run["name"]) : "notitle");
            for (size_t i = 0; i < curve["step"].size(); ++i)
                points += curve["mean"][i].is_number()
                              ? fmt::format("{} {}\n", axis.at(curve["step"][i]) / 1e6,
                                            curve["mean"][i].get<double>())
                              : "\n";
            points += "e\n";
            if (field == "loss") break;
        }
    }
    if (plots.empty()) throw DataError("a picture needs a run with losses, found none");
    script += plots + "\n" + points;
    std::FILE* const pipe = ::popen("gnuplot -d", "w");
    if (!pipe) throw WriteError("{}: gnuplot cannot be started", path);
    std::fwrite(script.data(), 1, script.size(), pipe);
    const int status = ::pclose(pipe);
    if (status != 0)
        throw WriteError("{}: gnuplot ended with {}; launch/install_deps.sh installs gnuplot-nox", path,
                         WIFEXITED(status) ? WEXITSTATUS(status) : status);
    output.publish();
}

} // namespace braid::report
